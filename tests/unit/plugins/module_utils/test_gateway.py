"""The gateway as it runs: its upstreams, when it has taken its files, and who still talks to a registry."""

from __future__ import annotations

import copy
import http.server
import os
import re
import socket
import socketserver
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import gateway as module
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.parts import NO_REGISTRY


def servers(text: str) -> dict[str, list[str]]:
    """Return the servers of each upstream, in their order, with a mark at those that come only next."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.strip(" ;{").split()
        if words[:1] == ["upstream"]:
            found[words[1]] = []
        elif words[:1] == ["server"]:
            slot = words[1].removeprefix("unix:/wharf/sockets/").removesuffix(".sock")
            found[list(found)[-1]].append(slot + ("?" if "backup" in words else ""))
            assert "max_fails=0" in words  # it would count one as dead for a while
    return found


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        (("a",), {"reads": ["a", "b?"], "writes": ["a", "b?"]}),
        (("b",), {"reads": ["b", "a?"], "writes": ["b", "a?"]}),
        # What is held back has no other place to go: a registry in the middle of a collection must not get it.
        (("reads", "writes"), {"reads": ["reads", "a?", "b?"], "writes": ["writes"]}),
    ],
)
def test_requests_go_to_a_slot_and_next_to_the_other_one(slots: tuple[str, ...], expected: dict) -> None:
    assert servers(module.upstreams(*slots)) == expected


def test_it_is_known_from_the_file_whether_pushes_are_held_back(tmp_path: Path) -> None:
    assert not module.is_held(str(tmp_path))
    for slots, held in ((("a",), False), (("reads", "writes"), True), (("b",), False)):
        Path(module.upstreams_file(str(tmp_path))).write_text(module.upstreams(*slots))
        assert module.is_held(str(tmp_path)) is held


@pytest.mark.parametrize(
    ("tls", "ipv6", "lines"),
    [
        (True, True, ["listen 5000 ssl reuseport backlog=4096;", "listen [::]:5000 ssl reuseport backlog=4096;"]),
        (False, True, ["listen 5000 reuseport backlog=4096;", "listen [::]:5000 reuseport backlog=4096;"]),
        (False, False, ["listen 5000 reuseport backlog=4096;"]),
    ],
)
def test_it_listens_on_what_the_kernel_has(
    monkeypatch: pytest.MonkeyPatch, tls: bool, ipv6: bool, lines: list[str]
) -> None:
    monkeypatch.setattr(module.os.path, "exists", lambda path: ipv6 and path == "/proc/net/if_inet6")
    assert module.listen(tls).splitlines() == [*lines, "listen unix:/tmp/own.sock;"]
    assert module.listen(tls, 5001).splitlines() == [line.replace("5000", "5001") for line in lines]


@pytest.mark.parametrize(
    ("network", "own", "cut_off"),
    [
        ("2026-11-28T19:35:23.123456789Z", "2026-11-28T19:35:23.2Z", False),
        ("2026-11-28T19:35:23.2Z", "2026-11-28T19:35:23.123456789Z", True),
        ("2026-11-28T19:35:23Z", "2026-11-28T19:35:23.000000001Z", False),
        ("2026-11-28T19:35:23.000000001Z", "2026-11-28T19:35:23Z", True),
        ("2026-11-28T19:35:23.1Z", "2026-11-28T19:35:23.1Z", False),
        ("2026-11-28T19:35:59.9Z", "2026-11-28T19:36:00Z", False),
        ("2026-12-01T00:00:00Z", "2026-11-30T23:59:59.99Z", True),
    ],
)
def test_a_gateway_is_cut_off_whose_network_has_started_later(network: str, own: str, cut_off: bool) -> None:
    found = [{"State": {"StartedAt": moment}} for moment in (network, own)]
    assert module.is_cut_off(*found) is cut_off


# As Linux 6.1 and 6.12 print it: five columns for the inode, which is padded, and a path only for named sockets.
UNIX = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01   317 /wharf/sockets/a.sock
ffff8880051d8800: 00000003 00000000 00000000 0001 03 31415 /wharf/sockets/a.sock
0000000000000000: 00000003 00000000 00000000 0001 03   926 /wharf/sockets/a.sock
0000000000000000: 00000003 00000000 00000000 0001 03 9265358 /wharf/sockets/a.sock
0000000000000000: 00000003 00000000 00000000 0001 03 31416
0000000000000000: 00000002 00000000 00000000 0001 02 31417 /wharf/sockets/a.sock
0000000000000000: 00000003 00000000 00000000 0001 03 31418 /wharf/sockets/b.sock
0000000000000000: 00000003 00000000 00000000 0001 03 31419 @/wharf/sockets/a.sock
0000000000000000: 00000003 00000000 00000000 0002 03 31420 /run/a.sock
"""


def test_connections_are_those_that_a_registry_has_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_text", lambda path: UNIX if path == "/proc/7/net/unix" else "")
    assert [module.connections({"State": {"Pid": 7}}, slot) for slot in ("a", "b", "reads")] == [3, 1, 0]
    assert module.connections({"State": {"Pid": 0}}, "a") == 0
    assert module.connections({"State": {"Pid": 8}}, "a") == 0


@pytest.mark.parametrize(
    ("left", "running", "drained"), [([3, 1, 0], True, True), ([2] * 9, True, False), ([2] * 9, False, True)]
)
def test_it_is_drained_when_nobody_is_connected_or_it_does_not_run(
    monkeypatch: pytest.MonkeyPatch, left: list[int], running: bool, drained: bool
) -> None:
    moments = iter(range(9))
    monkeypatch.setattr(module.containers, "container", lambda _name: {"State": {"Running": running}})
    monkeypatch.setattr(module, "connections", lambda *_: left.pop(0))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(moments))
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
    assert module.drain("registry", "a", 5) is drained


class Nginx:
    """A gateway's container, as it is at each look: its workers, and how often the engine has restarted it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *looks: tuple[set[str], dict[str, Any]]) -> None:
        self.looks, self.calls = list(looks), []
        monkeypatch.setattr(module, "workers", lambda _name: self.looks[0][0])
        monkeypatch.setattr(module.containers, "container", self.look)
        monkeypatch.setattr(module.containers, "act", lambda name, verb: self.calls.append((name, verb)))
        monkeypatch.setattr(
            module.containers, "docker", lambda *words: subprocess.CompletedProcess(words, 0, "emerg: unknown\n")
        )
        monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)

    def look(self, _name: str) -> dict[str, Any] | None:
        """Return what the engine knows now; the next look is another one."""
        facts = copy.deepcopy(self.looks[0][1])
        self.looks = self.looks[1:] or self.looks
        return {"State": {"Running": True}, "RestartCount": 0, **facts} if facts is not None else None


def test_a_reload_is_done_when_there_are_new_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    nginx = Nginx(monkeypatch, ({"7", "8"}, {}), ({"7", "8"}, {}), ({"7", "8", "9"}, {}))
    module.reload("gateway")
    assert nginx.calls == [("gateway", "kill?signal=HUP")]


def test_one_that_has_crashed_once_can_be_reloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine counts its restarts for ever."""
    crashed = {"RestartCount": 3}
    Nginx(monkeypatch, ({"7"}, crashed), ({"7"}, crashed), ({"7"}, crashed), ({"9"}, crashed))
    module.reload("gateway")


@pytest.mark.parametrize("after", [{"RestartCount": 1}, {"State": {"Running": False}}, None])
def test_one_that_ends_has_not_taken_its_configuration(monkeypatch: pytest.MonkeyPatch, after: Any) -> None:
    Nginx(monkeypatch, (set(), {}), (set(), after))
    with pytest.raises(WharfError, match="^the gateway does not take its configuration: emerg: unknown$"):
        module.wait_for_workers("gateway")


def test_one_that_refuses_its_files_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RELOAD_SECONDS", -1)
    Nginx(monkeypatch, ({"7"}, {}))
    with pytest.raises(WharfError, match="emerg: unknown"):
        module.reload("gateway")


def test_the_workers_are_the_children_of_the_container_s_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.containers, "container", {"gateway": {"State": {"Pid": 7}}}.get)
    monkeypatch.setattr(module, "read_text", lambda path: "8 9 " if path == "/proc/7/task/7/children" else "")
    assert module.workers("gateway") == {"8", "9"}
    assert module.workers("missing") == set()
    monkeypatch.setattr(module.containers, "container", lambda _name: {"State": {"Pid": 0}})
    assert module.workers("gateway") == set()


def test_who_was_let_in_before_a_switch_is_waited_for_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slept: list[float] = []
    monkeypatch.setattr(module.containers, "container", lambda _name: {"State": {"Running": True}})
    monkeypatch.setattr(module, "connections", lambda *_: 0)
    monkeypatch.setattr(module, "write_atomic", lambda *_: None)
    monkeypatch.setattr(module, "reload", lambda _name: slept.append(0))
    monkeypatch.setattr(module.time, "sleep", slept.append)
    module.switch("reg", str(tmp_path), 59500, "b")
    assert module.drain("reg-reads", "reads", 5)
    assert module.drain("reg-writes", "writes", 5)
    assert slept == [0, module.SETTLE]


@pytest.mark.parametrize("running", [True, False])
def test_a_switch_writes_the_file_and_reloads_a_gateway_that_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, running: bool
) -> None:
    asked, written, reloaded = [], [], []

    def container(name: str) -> dict[str, Any]:
        asked.append(name)
        return {"State": {"Running": running}}

    monkeypatch.setattr(module.containers, "container", container)
    monkeypatch.setattr(module, "reload", reloaded.append)
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(module, "write_atomic", lambda *words: written.append(words))
    module.switch("reg", str(tmp_path), 59500, "b")
    assert written == [(f"{tmp_path}/upstreams.conf", module.upstreams("b").encode(), 0o640, 0, 59500)]
    assert (asked, reloaded) == (["reg-gateway"], ["reg-gateway"] if running else [])


def test_what_is_wrong_with_a_registry_itself_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "SOCKETS", str(tmp_path))
    assert "the registry itself" in module.problem_of("a")


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (200, b"{}", ""),
        (503, b'{"errors":[{"code":"UNAVAILABLE","message":"%s"}]}' % NO_REGISTRY.encode(), "behind it does not"),
        (500, b"", "HTTP status 500"),
        (None, b"", "the gateway itself does not answer"),
    ],
)
def test_a_gateway_is_asked_itself_by_a_socket_in_its_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int | None, body: bytes, problem: str
) -> None:
    """The container's root is imitated by that of this process."""
    asked: list[str] = []
    monkeypatch.setattr(module, "OWN_SOCKET", f"{tmp_path}/own.sock")
    monkeypatch.setattr(module.containers, "container", lambda _name: {"State": {"Pid": os.getpid()}})

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "the test"

    if status is not None:
        server = socketserver.UnixStreamServer(f"{tmp_path}/own.sock", Handler)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
    found = module.own_problem("registry-gateway")
    if status is not None:
        thread.join()
        server.server_close()
    assert problem in found
    assert bool(found) is bool(problem)
    assert asked == ["/health"] * (status is not None)


def test_a_gateway_that_does_not_run_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for found in (None, {"State": {"Pid": 0}}):
        monkeypatch.setattr(module.containers, "container", lambda _name, found=found: found)
        assert module.own_problem("registry-gateway") == "the gateway does not run"


def test_other_servers_come_last_and_never_to_what_is_held_or_asked_by_them(tmp_path: Path) -> None:
    blocks = re.findall(r"upstream (\w+) \{\n(.*?)\}", module.upstreams("a", has_peers=True), re.DOTALL)
    found = {name: re.findall(r"server unix:(\S+)([^;]*);", text) for name, text in blocks}
    assert [*found] == ["own_reads", "reads", "own_writes", "writes"]
    for name in ("reads", "writes"):
        assert found[name][0] == ("/wharf/sockets/a.sock", " max_fails=1 fail_timeout=2s")
        assert found[name][-1] == ("/tmp/peers.sock", " max_fails=0 backup")
        assert "/tmp/peers.sock" not in dict(found[f"own_{name}"])
    assert "peers" not in module.upstreams("reads", "writes", has_peers=True)
    # Which it is the gateway's own directory tells.
    assert module.upstreams_now(str(tmp_path), "a") == module.upstreams("a")
    (tmp_path / "peers.conf").touch()
    assert module.upstreams_now(str(tmp_path), "a") == module.upstreams("a", has_peers=True)


def test_nginx_gets_addresses_and_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"beta.test": ["2001:db8::2", "192.0.2.2"], "gamma.test": ["2001:db8::3"]}

    def resolve(name: str, *_: Any, **__: Any) -> list[Any]:
        if name not in known:
            raise socket.gaierror(-2, "Name or service not known")
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(families[":" in one], socket.SOCK_STREAM, 6, "", (one, 0)) for one in known[name]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    servers = re.findall(r"server (\S+) ", module.peers(["beta.test", "gamma.test"], 5000))
    assert servers == ["192.0.2.2:5000", "[2001:db8::3]:5000"]
    with pytest.raises(WharfError, match="registry_servers: delta has no address here: use an ansible_host"):
        module.peers(["delta"], 5000)


def test_the_port_is_shared_with_what_other_servers_ask() -> None:
    first, peers = module.listen(True), module.peers_listen()
    places = [re.findall(r"listen (\S+?)[ ;]", text) for text in (first, peers)]
    assert places[0] == [*places[1], f"unix:{module.OWN_SOCKET}"]
    assert "reuseport" not in peers  # which nginx takes once for each address

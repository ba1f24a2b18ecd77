"""What a registry's server tells: engine, container, storage and programs, with an engine that is only made up."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import data, gateway, lock, server_info
from ansible_collections.wharf.registry.plugins.module_utils.parts import NO_REGISTRY, SOCKETS_INSIDE
from ansible_collections.wharf.registry.plugins.modules import registry_server_diagnosis as module

# The scheduled programs -----------------------------------------------------------------------------------------------


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Return the directory of the results; no unit has failed."""
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(lock, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "output", lambda *_: "")
    return tmp_path / "results"


@pytest.mark.parametrize("line", ["", "failed", "failed soon", "nonsense", "failed soon no"])
def test_a_result_that_is_damaged_is_a_warning(results, line):
    (results / "back-up").write_text(line)
    (results / ".back-up.half").write_text("")
    details = {"program": "back-up", "when": "time unknown", "message": "it does not say why"}
    assert module.failed_programs() == [("program_failed", details)]


def test_a_trimming_that_failed_is_a_warning_and_what_it_remembers_is_none(results):
    (results / "trim-caches").write_text("failed 1700000000 docker.io: library/debian:13 is not there\n")
    (results / "trim-caches.json").write_text('{"pulled": {}, "logs": {}, "caches": {}}')
    message = "docker.io: library/debian:13 is not there"
    details = {"program": "trim-caches", "when": "2023-11-14 22:13 UTC", "message": message}
    assert module.failed_programs() == [("program_failed", details)]


def test_programs_and_services_that_failed_are_named_once(results, monkeypatch):
    (results / "renew-certificate").write_text("failed 1700000000 the CA: it is gone\n")
    (results / "collect-garbage").write_text("ok 1700000000 nothing is due\n")
    units = "wharf-renew-certificate.service loaded failed\nwharf-back-up.service loaded failed\n"
    monkeypatch.setattr(module, "output", lambda *_: units)
    details = {"program": "renew-certificate", "when": "2023-11-14 22:13 UTC", "message": "the CA: it is gone"}
    assert module.failed_programs() == [
        ("program_failed", details),
        ("unit_failed", {"unit": "wharf-back-up.service"}),  # it was killed
    ]


# The container and its storage ----------------------------------------------------------------------------------------


class Engine:
    """A made-up engine whose containers are well; tests change them."""

    def __init__(self, data_directory: Path, gateway_directory: Path) -> None:
        """Make the containers."""
        running = {"Status": "running", "Pid": 1, "ExitCode": 0, "Error": "", "StartedAt": "2026-11-01T10:20:30.1Z"}
        mounts = {data.MOUNT: data_directory, module.DATA_ID: data_directory / ".wharf"}
        mounts = [{"Source": str(source), "Destination": inner} for inner, source in mounts.items()]
        self.registry = {"State": dict(running), "Mounts": mounts, "Config": {"Env": []}, "HostConfig": {}}
        self.network = {
            "State": dict(running),
            "Mounts": [],
            "HostConfig": {
                "PortBindings": {"5000/tcp": [{"HostIp": "", "HostPort": "5000"}], "5001/tcp": None},
                "NetworkMode": "default",
            },
            "NetworkSettings": {"Networks": {"bridge": {}}},
        }
        gateway = [{"Source": str(gateway_directory), "Destination": "/wharf/gateway"}]
        self.gateway = {"State": dict(running), "Mounts": gateway, "HostConfig": {}}
        self.known = [{"names": ["registry-network"], "ports": {5000}}]
        self.info: dict | None = {}
        self.later = None
        self.log = ""
        self.storage = ("ok", {})
        self.copied = ("copied from alpha 40 seconds ago", False)
        self.settings = SimpleNamespace(caches={}, standby_of="", copy_state=lambda: (1.0, *self.copied))
        self.settings.gateway_directory = "/nothing"
        self.behind = self.front = None  # what is wrong with the registry itself, and with the gateway

    def container(self, name: str) -> dict | None:
        """Return a container."""
        return getattr(self, name.partition("-")[2] or name, None)


@pytest.fixture
def engine(monkeypatch, results, tmp_path):
    """Return a made-up engine; nothing is asked of the registry and its files."""
    for name in ("images", "gateway"):
        (tmp_path / name).mkdir()
    (tmp_path / "images/.wharf").touch()
    made = Engine(tmp_path / "images", tmp_path / "gateway")
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(module, "running_engine", lambda: SimpleNamespace(argv=[]))
    monkeypatch.setattr(module, "config_fault", lambda _argv: ({}, made.later))
    monkeypatch.setattr(module.containers, "container", made.container)
    monkeypatch.setattr(module.containers, "containers", lambda: made.known)
    monkeypatch.setattr(module.containers, "engine_info", lambda _timeout: made.info)
    monkeypatch.setattr(module.forwarding, "fault", lambda *_: None)
    monkeypatch.setattr(module, "Registry", lambda **_: made.settings)
    monkeypatch.setattr(
        module.cache_faults, "faults", lambda name, upstreams: [("cache_silent", {"container": name})] * len(upstreams)
    )
    monkeypatch.setattr(module.containers, "docker", lambda *_, **__: subprocess.CompletedProcess([], 0, made.log))
    monkeypatch.setattr(module, "file_fault", lambda one: one.get("file"))
    monkeypatch.setattr(module, "storage_fault", lambda *_: made.storage)
    monkeypatch.setattr(module, "registry_fault", lambda _slot: made.behind)
    monkeypatch.setattr(module, "gateway_fault", lambda *_: made.front)
    monkeypatch.setattr(module, "served_certificates", lambda _port: [])
    return made


def inspect(tmp_path):
    """Return what the module tells of the container registry, at port 5000."""
    return module.inspect(None, "registry", 5000, "/nothing", tmp_path)


def test_all_is_well(engine, tmp_path):
    (tmp_path / "registry.crt").write_text("PEM")
    found = inspect(tmp_path)
    assert (found["code"], found["details"], found["warnings_found"]) == ("ok", {"place": f"{tmp_path}/images"}, [])
    assert (found["certificate"], found["ca"], found["port_holder"]) == ("PEM", "", "")


@pytest.mark.parametrize(
    ("state", "log", "details"),
    [
        (
            {"Status": "exited", "ExitCode": 2},
            "one\nbad config\nUsage:\n  registry serve\n",
            ("bad config", "docker start registry"),
        ),
        ({"Status": "exited", "ExitCode": 0}, "something", ("", "docker start registry")),
        (
            {"Status": "created", "ExitCode": 128, "Error": "no such\ndevice"},
            "",
            ("no such device", "docker start registry"),
        ),
        ({"Status": "paused"}, "", ("", "docker unpause registry")),
    ],
)
def test_a_container_that_does_not_run_is_told_with_its_reason(engine, tmp_path, state, log, details):
    engine.registry["State"] |= state
    engine.log = log
    found = inspect(tmp_path)
    assert found["code"] == "container_stopped"
    assert found["details"] == {
        "place": f"{tmp_path}/images", "container": "registry", "status": state["Status"], "log": details[0],
        "start": details[1],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("states", "container", "command"),
    [
        ({"gateway": "exited"}, "registry-gateway", "docker start registry-gateway"),
        ({"gateway": "paused"}, "registry-gateway", "docker unpause registry-gateway"),
        # The gateway that runs is in the network that was.
        (
            {"network": "exited"},
            "registry-network",
            "docker start registry-network; docker restart registry-gateway",
        ),
        (
            {"network": "exited", "gateway": "exited"},
            "registry-network",
            "docker start registry-network registry-gateway",
        ),
        (
            {"registry": "paused", "gateway": "exited"},
            "registry",
            "docker unpause registry; docker start registry-gateway",
        ),
    ],
)
def test_all_containers_that_do_not_run_are_started_by_one_command(engine, tmp_path, states, container, command):
    for part, status in states.items():
        getattr(engine, part)["State"]["Status"] = status
    details = inspect(tmp_path)["details"]
    assert (details["container"], details["start"]) == (container, command)


def test_what_the_server_knows_better_than_its_container(engine, tmp_path, monkeypatch):
    engine.registry["State"]["Status"] = "exited"
    (tmp_path / "images/.wharf").unlink()
    assert inspect(tmp_path)["code"] == "data_missing"
    for part, name in (("gateway", "registry-gateway"), ("network", "registry-network"), ("registry", "registry")):
        setattr(engine, part, None)
        found = inspect(tmp_path)
        assert (found["code"], found["details"]["container"]) == ("container_absent", name)
    assert found["details"]["place"] == "/nothing"
    monkeypatch.setattr(module, "running_engine", lambda: None)
    monkeypatch.setattr(module.shutil, "which", lambda _name: None)
    assert inspect(tmp_path)["code"] == "engine_absent"
    monkeypatch.setattr(module.shutil, "which", lambda _name: "/usr/sbin/dockerd")
    monkeypatch.setattr(module, "stopped_fault", lambda _module: ("engine_masked", {"unit": "docker.service"}))
    found = inspect(tmp_path)
    assert (found["code"], found["details"]) == ("engine_masked", {"unit": "docker.service"})


def test_an_engine_that_hangs_is_asked_once(engine, tmp_path, monkeypatch):
    engine.info = None
    monkeypatch.setattr(module.containers, "containers", lambda: pytest.fail("it is asked again"))
    assert inspect(tmp_path)["code"] == "engine_hangs"


def test_another_port_that_is_published_is_told(engine, tmp_path):
    engine.network["HostConfig"]["PortBindings"]["5000/tcp"] = [{"HostPort": "5443"}]
    found = inspect(tmp_path)
    assert (found["code"], found["details"]["published"]) == ("other_port", ["5443"])


def test_the_first_thing_that_is_wrong_is_told(engine, tmp_path):
    """From the last to the first."""
    engine.front = ("gateway_silent", {"output": "timed out"})
    assert inspect(tmp_path)["details"]["output"] == "timed out"
    engine.behind = ("registry_silent", {"output": "refused"})
    assert inspect(tmp_path)["details"]["output"] == "refused"
    engine.network["State"]["StartedAt"] = "2026-11-01T10:20:31.0Z"
    assert inspect(tmp_path)["code"] == "gateway_cut_off"
    engine.network["NetworkSettings"]["Networks"] = {}
    found = inspect(tmp_path)
    assert (found["code"], found["details"]["network"]) == ("no_network", "bridge")
    engine.storage = ("disk_full", {"free": "0 bytes"})
    assert inspect(tmp_path)["code"] == "disk_full"
    engine.gateway["file"] = ("file_unreadable", {"file": "/etc/wharf/gateway/users"})
    assert inspect(tmp_path)["details"]["file"] == "/etc/wharf/gateway/users"
    engine.network["HostConfig"]["PortBindings"] = {}
    assert inspect(tmp_path)["details"]["published"] == ["none"]


@pytest.mark.parametrize("status", ["running", "paused"])
def test_pushes_that_wait_for_somebody_at_work_are_a_warning(engine, tmp_path, monkeypatch, status):
    """Meanwhile the registry itself is frozen, and another one answers."""
    (tmp_path / "gateway/upstreams.conf").write_text(gateway.upstreams("reads", "writes"))
    asked = []
    monkeypatch.setattr(module, "registry_fault", asked.append)
    engine.registry["State"]["Status"] = status
    with lock.lock("collect-garbage"):
        found = inspect(tmp_path)
    assert (found["code"], [one["code"] for one in found["warnings_found"]]) == ("ok", ["pushes_wait"])
    assert found["warnings_found"][0]["details"]["holder"] == "wharf collect-garbage"
    assert asked == ["reads"]
    # Nobody is at work any more: what stood in for it may be gone.
    found = inspect(tmp_path)
    assert (found["code"], found["warnings_found"]) == ("pushes_held", [])
    engine.gateway["State"]["Status"] = "exited"
    assert inspect(tmp_path)["details"]["start"] == "docker start registry-gateway"


@contextlib.contextmanager
def answering(text: bytes) -> Iterator[int]:
    """Answer all connections with this, and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.recv(9999)
                    connection.sendall(text)
                    connection.close()

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]


def test_a_gateway_is_asked_where_it_is_published():
    assert module.gateway_fault(1, ["::", "0.0.0.0"])[0] == "gateway_silent"
    with answering(b"HTTP/1.0 200 OK\r\n\r\n") as port:
        assert module.gateway_fault(port, ["0.0.0.0"]) is None
    alone = f'HTTP/1.0 503 No\r\n\r\n{{"errors":[{{"code":"UNAVAILABLE","message":"{NO_REGISTRY}"}}]}}'
    with answering(alone.encode()) as port:
        assert module.gateway_fault(port, ["0.0.0.0"]) == ("gateway_lost", {})


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("200 OK\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\r\n{}", None),
        ('503 No\r\n\r\n{"errors":[{"code":"UNAVAILABLE","message":"service unavailable"}]}', "unhealthy"),
        ("", "registry_silent"),
    ],
)
def test_the_registry_itself_is_asked(monkeypatch, answer, code):
    with answering(f"HTTP/1.0 {answer}".encode() if answer else b"") as port:
        monkeypatch.setattr(module.gateway, "direct", lambda *_: module.api.Client("127.0.0.1", port))
        found = module.registry_fault("a")
    assert (found and found[0]) == code


def test_a_certificate_that_is_not_served_is_told(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "certificates_in", lambda _path: [b"new"])
    assert inspect(tmp_path)["is_served"]  # nothing is served
    for served, is_served in (([b"new"], True), ([b"old"], False)):
        monkeypatch.setattr(module, "served_certificates", lambda _port, served=served: served)
        assert inspect(tmp_path)["is_served"] is is_served


def test_an_engine_that_would_not_start_again_is_a_warning(engine, tmp_path):
    engine.later = ("engine_json", {"path": "/etc/docker/daemon.json"})
    found = inspect(tmp_path)
    assert (found["code"], [one["code"] for one in found["warnings_found"]]) == ("ok", ["engine_json_later"])


def test_what_is_wrong_with_a_cache_is_a_warning(engine, tmp_path):
    engine.settings.caches = {"upstreams": [{"upstream": "docker.io", "slug": "docker.io"}]}
    found = inspect(tmp_path)
    warning = {"code": "cache_silent", "details": {"container": "registry"}}
    assert (found["code"], found["warnings_found"]) == ("ok", [warning])


def test_a_standby_tells_how_old_its_copy_is_and_nothing_of_what_its_server_does(engine, results, tmp_path):
    engine.settings.standby_of = "alpha"
    for name in ("back-up", "index"):
        (results / name).write_text("failed 1700000000 no room\n")
    found = inspect(tmp_path)
    assert [one["details"]["program"] for one in found["warnings_found"]] == ["index"]
    assert found["details"]["standby_note"] == ": a standby of alpha, copied from alpha 40 seconds ago"
    engine.copied = ("copied from alpha 2 hours ago", True)
    found = inspect(tmp_path)
    assert (found["code"], found["warnings_found"][-1]) == (
        "ok",
        {"code": "standby_behind", "details": {"copied": "copied from alpha 2 hours ago"}},
    )
    engine.info = None  # it hangs
    assert inspect(tmp_path)["details"]["standby_of"] == "alpha"


def test_a_mirror_that_the_firewall_closes_is_a_warning(engine, tmp_path, monkeypatch):
    closed = ("mirror_closed", {"blocked": "a chain"})
    monkeypatch.setattr(module.forwarding, "mirror_fault", lambda _name, network: network is engine.network and closed)
    found = inspect(tmp_path)
    assert (found["code"], [one["code"] for one in found["warnings_found"]]) == ("ok", ["mirror_closed"])


def test_a_disk_that_is_nearly_full_is_a_warning(engine, tmp_path):
    engine.storage = ("disk_low", {"free": "200.0 MiB"})
    found = inspect(tmp_path)
    assert found["code"] == "ok"
    details = {"free": "200.0 MiB", "place": f"{tmp_path}/images"}
    assert found["warnings_found"] == [{"code": "disk_low", "details": details}]


@pytest.mark.parametrize(
    ("known", "processes", "holder"),
    [
        ([{"names": ["web"], "ports": {5000}}], "", "the container web"),
        ([{"names": ["registry-network"], "ports": {5000}}], "docker-proxy", ""),
        ([], "nginx", "nginx"),
        ([], "docker-proxy", ""),  # of an engine that was stopped
    ],
)
def test_what_else_has_the_port_is_told(engine, tmp_path, monkeypatch, known, processes, holder):
    engine.known = known
    monkeypatch.setattr(server_info, "output", lambda *_: f'users:(("{processes}",pid=1,fd=3))')
    found = inspect(tmp_path)
    assert (found["port_holder"], bool(found["port_stop"])) == (holder, bool(holder))


@pytest.mark.parametrize(
    ("known", "group", "command"),
    [
        ([{"names": ["web"]}], "", "docker stop web"),
        ([], "0::/system.slice/nginx.service\n", "systemctl stop nginx.service"),
        ([], "0::/user.slice/user-0.slice/session-1.scope\n", "kill 77"),
    ],
)
def test_the_command_that_stops_what_has_the_port(monkeypatch, known, group, command):
    monkeypatch.setattr(module, "output", lambda *_: 'users:(("nginx",pid=77,fd=3))')
    monkeypatch.setattr(module, "read_text", lambda _path: group)
    assert module.stop_command(5000, known) == command


@pytest.mark.parametrize("name", ["it's", 'a "b"', "back\\slash", "sp ace: #x"])
def test_storage_is_found_whatever_its_path(engine, tmp_path, name):
    engine.registry["Mounts"][0]["Source"] = str(tmp_path / name)
    assert inspect(tmp_path)["details"]["place"] == str(tmp_path / name)


GIGABYTE = 1024**3
GOOD = {"f_files": 1000, "f_ffree": 900, "f_frsize": 4096, "f_bavail": GIGABYTE, "f_blocks": 2 * GIGABYTE, "f_flag": 0}


@pytest.mark.parametrize(
    ("changes", "code", "details"),
    [
        ({}, "ok", {"free": "4.0 TiB"}),
        ({"f_bavail": 0}, "disk_full", {"free": "0 bytes"}),
        ({"f_ffree": 3}, "disk_full", {"free": "3 inodes"}),
        ({"f_files": 0, "f_ffree": 0}, "ok", {"free": "4.0 TiB"}),
        ({"f_bavail": 50000}, "disk_low", {"free": "195.3 MiB"}),
        ({"f_bavail": GIGABYTE // 10}, "disk_low", {"free": "409.6 GiB"}),
    ],
)
def test_free_space_is_judged(monkeypatch, changes, code, details):
    monkeypatch.setattr(module.Path, "read_text", lambda *_: "Uid:\t1\t7\t7\nGid:\t1\t8\t8\n")
    monkeypatch.setattr(module, "denied", lambda *_: "")
    monkeypatch.setattr(module.os, "statvfs", lambda _path: SimpleNamespace(**GOOD | changes))
    assert module.storage_fault(1, "/data") == (code, details)


def test_storage_that_cannot_be_written_is_named(monkeypatch):
    monkeypatch.setattr(module.Path, "read_text", lambda *_: "Uid:\t1\t7\t7\nGid:\t1\t8\t8\n")
    monkeypatch.setattr(
        module,
        "denied",
        lambda _root, uid, gid, wanted: f"{data.MOUNT}/{uid}/{gid}" if (data.MOUNT, 7) in wanted else "",
    )
    monkeypatch.setattr(module.os.path, "exists", lambda _path: True)
    monkeypatch.setattr(module.os, "statvfs", lambda _path: SimpleNamespace(**GOOD))
    monkeypatch.setattr(module.os, "stat", lambda _path: SimpleNamespace(st_uid=0, st_gid=1, st_mode=0o40755))
    owners = {"container_user": "7:8", "owner": "0:1"}
    assert module.storage_fault(1, "/data") == ("wrong_owner", {"directory": "/data/7/8", **owners})
    for mode, code in ((0o40000, "wrong_mode"), (0o40500, "wrong_mode"), (0o40700, "not_allowed")):
        monkeypatch.setattr(module.os, "stat", lambda _path, m=mode: SimpleNamespace(st_uid=7, st_gid=8, st_mode=m))
        assert module.storage_fault(1, "/data")[0] == code
    monkeypatch.setattr(module.os, "statvfs", lambda _path: SimpleNamespace(**GOOD | {"f_flag": os.ST_RDONLY}))
    assert module.storage_fault(1, "/data") == ("mounted_read_only", {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_place_that_the_registrys_user_may_not_use_is_named(tmp_path):
    storage = Path(f"{tmp_path}{data.MOUNT}")
    (storage / module.BLOBS).mkdir(parents=True)
    for directory in [tmp_path, *tmp_path.rglob("*")]:
        directory.chmod(0o755)
    os.chown(storage, 59500, 59500)
    blobs = f"{data.MOUNT}/{module.BLOBS}"
    wanted = [(data.MOUNT, os.R_OK), (data.MOUNT, os.W_OK), (blobs, os.R_OK), (blobs, os.W_OK)]
    assert module.denied(str(tmp_path), 59500, 59500, wanted) == blobs
    os.chown(storage / module.BLOBS, 59500, 59500)
    assert module.denied(str(tmp_path), 59500, 59500, wanted) == ""
    storage.chmod(0)
    assert module.denied(str(tmp_path), 59500, 59500, wanted) == data.MOUNT


def test_what_a_container_needs_is_found_on_the_host_and_named(tmp_path, monkeypatch):
    for name in ("users", "data", "http-secret"):
        (tmp_path / name).touch()
    mounts = {"/wharf/gateway": str(tmp_path), data.MOUNT: "/x", SOCKETS_INSIDE: "/y"}
    mounts = [{"Source": source, "Destination": inner} for inner, source in mounts.items()]
    found = {"State": {"Pid": 1}, "Mounts": mounts}
    assert module.files_of(found) == {
        "/wharf/gateway/users": (f"{tmp_path}/users", os.R_OK),
        SOCKETS_INSIDE: ("/y", os.X_OK),
    }
    monkeypatch.setattr(module, "user_of", lambda _pid: (7, 8))
    monkeypatch.setattr(module, "denied", lambda *_: "")
    assert module.file_fault(found) is None
    monkeypatch.setattr(module, "denied", lambda _root, _uid, _gid, wanted: wanted[0][0])
    details = {"file": f"{tmp_path}/users", "container_user": "7:8"}
    assert module.file_fault(found) == ("file_unreadable", details)


def test_what_other_servers_do_not_share_is_told(engine, tmp_path, monkeypatch):
    engine.settings.gateway_directory = str(tmp_path)
    (tmp_path / "peers.conf").write_text(module.gateway.peers(["192.0.2.2", "192.0.2.3", "192.0.2.4"], 5000))
    seen = [("192.0.2.2", "secret", ""), ("192.0.2.3", "", "no route"), ("192.0.2.4", "", "")]
    monkeypatch.setattr(module.peers, "compare", lambda *_: iter(seen))
    assert inspect(tmp_path)["warnings_found"] == [
        {"code": "other_secret", "details": {"peer": "192.0.2.2"}},
        {"code": "peer_silent", "details": {"peer": "192.0.2.3", "reason": "no route"}},
    ]

"""Pushes that wait on several servers: how that begins, ends, and survives who has begun it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import lock
from ansible_collections.wharf.registry.plugins.module_utils.command import hold, registry, release
from ansible_collections.wharf.registry.plugins.module_utils.command.cli import Task
from ansible_collections.wharf.registry.plugins.module_utils.errors import BusyError, WharfError


class Server:
    """A server on which pushes can be held, and what was done there."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.held = place / "lib/held.json"
        for module in (lock, hold, release):
            monkeypatch.setattr(module, "HELD", self.held)
        monkeypatch.setattr(lock, "LOCK", place / "lock")
        monkeypatch.setattr(release, "HELD_LOCK", place / "held-lock")
        monkeypatch.setattr(hold, "silence", lambda: None)
        monkeypatch.setattr(hold, "STOPPING", ())
        self.own = SimpleNamespace(
            preflight=lambda: self.done.append("preflight"), servers=["alpha", "beta"], is_first=True
        )
        for module in (hold, release):
            monkeypatch.setattr(module, "Registry", lambda **_: self.own)
            monkeypatch.setattr(module, "clean_up", lambda *_: self.done.append("clean up"))
        monkeypatch.setattr(hold, "pushes_held", self.pushes_held)
        monkeypatch.setattr(hold, "put_back", lambda _: self.done.append("put back"))

    @contextlib.contextmanager
    def pushes_held(self, _registry: Any) -> Iterator[None]:
        self.done.append("hold")
        yield
        self.done.append("release")

    def task(self, subcommand: str, **options: Any) -> Task:
        given = {"subcommand": subcommand, "wait": 0, "json": True, "seconds": 600, "stay": True, "done": False}
        given |= {"servers": None, **options}
        task: Any = Task(SimpleNamespace(**given))  # type: ignore[arg-type]
        return task


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Return a server."""
    return Server(tmp_path, monkeypatch)


def until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_pushes_wait_until_they_are_released(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    holder = threading.Thread(target=hold.run, args=(server.task("hold-pushes"),))
    holder.start()
    until(server.held.exists)
    assert server.done == ["clean up", "preflight", "hold"]
    assert 590 < lock.held_for() <= 600
    with pytest.raises(BusyError), lock.lock("deploy-registry"):
        pass
    task = server.task("release-pushes", wait=10)
    release.run(task)
    holder.join()
    assert server.done[3:] == ["put back", "release", "clean up"]
    assert task.result["changed"] and lock.held_for() == 0
    with lock.lock("deploy-registry"):
        pass
    assert capsys.readouterr().out == "held\n"


def test_they_go_on_by_themselves(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "HELD_LEAST", 0)
    hold.run(server.task("hold-pushes", seconds=0))
    assert server.done == ["clean up", "preflight", "hold", "put back", "release"]
    assert not server.held.exists()


@pytest.mark.parametrize("seconds", [0, 119, 3601])
def test_for_how_long_is_limited(server: Server, seconds: int) -> None:
    with pytest.raises(WharfError, match=f"--seconds {seconds}: use a number from 120 to 3600"):
        hold.run(server.task("hold-pushes", seconds=seconds))


@pytest.mark.parametrize(("boot", "left"), [("", 300), ("another\n", 200)])
def test_what_was_killed_holds_all_others_off_also_after_a_reboot(server: Server, boot: str, left: int) -> None:
    boot = boot or Path(lock.BOOT_ID).read_text()
    facts = {"seconds": 600, "boot": boot, "clock": time.monotonic() + 300, "until": time.time() + 200}
    server.held.parent.mkdir()
    server.held.write_text(json.dumps(facts))
    assert lock.held_for() == pytest.approx(left, abs=5)
    for name in ("repair-storage", "hold-pushes"):
        with pytest.raises(BusyError, match="hold-pushes is at work on"), lock.lock(name):
            pass
    holder = lock.lock_holder()
    assert holder and holder.name == "hold-pushes"
    with lock.lock("collect-garbage", path=server.held.with_name("other")):  # with --held
        pass
    release.run(server.task("release-pushes"))
    assert server.done == ["clean up"]
    assert lock.lock_holder() is None


def test_where_the_images_are_changed_elsewhere_that_server_is_released_first(server: Server) -> None:
    server.own.is_first = False
    server.held.parent.mkdir()
    server.held.write_text(json.dumps({"seconds": 600, "boot": "another", "clock": 0, "until": time.time() + 600}))
    with pytest.raises(WharfError, match="it is alpha that changes the images: run `wharf release-pushes` there first"):
        release.run(server.task("release-pushes"))
    assert server.held.exists()
    release.run(server.task("release-pushes", done=True))
    assert not server.held.exists()


def test_servers_that_do_not_know_each_other_hold_nothing(server: Server) -> None:
    for servers, known in (("alpha,beta,gamma", "alpha, beta"), ("alpha,beta", "no other")):
        server.own.servers = [] if known == "no other" else known.split(", ")
        with pytest.raises(WharfError, match=f"this server knows {known}: run playbooks/deploy-registry.yml first"):
            hold.run(server.task("hold-pushes", servers=servers, stay=False))


def test_a_clock_that_was_set_back_holds_nobody_for_longer(server: Server) -> None:
    server.held.parent.mkdir()
    server.held.write_text(json.dumps({"seconds": 600, "boot": "another", "clock": 0, "until": time.time() + 10**6}))
    assert lock.held_for() == 600


def test_whoever_works_on_the_images_ends_first(server: Server) -> None:
    server.held.parent.mkdir()
    server.held.write_text("{}")
    with lock.lock("collect-garbage", path=release.HELD_LOCK), pytest.raises(BusyError, match="collect-garbage is at"):
        release.run(server.task("release-pushes"))
    assert server.held.exists()


FAKE = """#!{python}
import sys, time
if "{says}" == "held":
    print("held", flush=True)
    time.sleep(60)
sys.exit("wharf hold-pushes: " + "{says}")
"""


@pytest.mark.parametrize("says", ["held", "it is at work"])
def test_it_returns_once_pushes_wait_and_tells_why_they_do_not(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    program, started = tmp_path / "wharf", []
    program.write_text(FAKE.format(python=sys.executable, says=says))
    program.chmod(0o755)
    monkeypatch.setattr(hold, "PROGRAM", str(program))
    monkeypatch.setattr(hold, "SCOPE", [])
    popen = subprocess.Popen

    def start(*words: Any, **options: Any) -> Any:
        started.append(popen(*words, **options))
        return started[0]

    monkeypatch.setattr(hold.subprocess, "Popen", start)
    task = server.task("hold-pushes", stay=False, seconds=900, servers="beta,alpha")
    if says == "held":
        assert hold.run(task) == "pushes wait, for 900 s at most"
        assert started[0].poll() is None and os.getsid(started[0].pid) != os.getsid(0)
        assert started[0].args == [str(program), "hold-pushes", "--stay", "--seconds", "900", "--wait", "0"]
        started[0].send_signal(signal.SIGKILL)
        started[0].wait()
    else:
        with pytest.raises(WharfError, match="^it is at work$"):
            hold.run(task)


def several(held_for: float, monkeypatch: pytest.MonkeyPatch, *servers: str) -> registry.Registry:
    own = registry.Registry.__new__(registry.Registry)
    own.servers = servers
    monkeypatch.setattr(registry, "held_for", lambda: held_for)
    return own


def test_what_several_servers_have_is_changed_only_while_all_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    for servers in ((), ("a",)):
        several(0, monkeypatch, *servers).require_held(False, "collect-garbage")
    with pytest.raises(
        WharfError, match=r"2 servers have these images: run playbooks/collect-garbage\.yml, which holds"
    ):
        several(600, monkeypatch, "a", "b").require_held(False, "collect-garbage")
    several(600, monkeypatch, "a", "b").require_held(True, "collect-garbage")
    with pytest.raises(WharfError, match="--held: pushes are not held here, or not for another 120 s"):
        several(119, monkeypatch, "a", "b").require_held(True, "collect-garbage")

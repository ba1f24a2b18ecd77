# SPDX-License-Identifier: MIT
"""The module docker_daemon_config as a process, beside an engine that only pretends."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import engine
from ansible_collections.wharf.registry.plugins.modules import docker_daemon_config

MODULE = docker_daemon_config.__file__
ROOT = Path(MODULE.partition("/ansible_collections/")[0])

# The module as a process ----------------------------------------------------------------------------------------------

# An engine that writes a pid file, serves the events of its API and logs what it would reload.
FAKE_ENGINE = """#!{python}
import json, os, signal, socket, sys, threading, time
home = {home!r}
if "--help" in sys.argv:
    print("      --debug    x\\n      --log-level string    x\\n      --insecure-registry list   x")
    print("      --live-restore    x\\n      --label list    x\\n      --max-concurrent-uploads int    x")
    if os.path.exists(home + "/knows-validate"):
        print("      --validate    x")
    sys.exit()
if "--validate" in sys.argv:
    text = open(sys.argv[sys.argv.index("--config-file") + 1]).read()
    sys.exit("unable to configure the Docker daemon with file %s: bad" % sys.argv[-1] if "bad" in text else 0)
listeners = []
def reload(*_):
    text = open(home + "/daemon.json").read() if os.path.exists(home + "/daemon.json") else None
    with open(home + "/reloads", "a") as log:
        log.write(json.dumps(text and json.loads(text)) + "\\n")
    if text and "bad" in text:
        return
    for one in listeners:
        try:
            one.sendall(b'{{"Type":"daemon","Action":"reload"}}\\n')
        except OSError:
            pass
signal.signal(signal.SIGHUP, reload)
server = socket.socket(socket.AF_UNIX)
server.bind(home + "/docker.sock")
server.listen()
def serve():
    while True:
        one, _ = server.accept()
        one.recv(65536)
        listeners.append(one)
        one.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Type: application/json\\r\\n\\r\\n")
threading.Thread(target=serve, daemon=True).start()
with open(home + "/docker.pid", "w") as file:
    file.write(str(os.getpid()))
while True:
    time.sleep(60)
"""


# Runs the module with its files in a directory, and kills it before the n-th change, where n is not 0: a file replaced,
# a file removed or a signal sent.
RUN = """
import os, runpy, shutil, signal, sys
from ansible.module_utils import basic
from ansible_collections.wharf.registry.plugins.module_utils import daemon_json, engine
path, home, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
daemon_json.PATH, daemon_json.LEDGER = home + "/etc/docker/daemon.json", home + "/var/ledger"
engine.PID_FILE, engine.RELOAD_TIMEOUT = home + "/docker.pid", 1
def found(arg, opt_dirs=None):
    if path := shutil.which(arg):
        return path
    raise ValueError(arg)
basic.get_bin_path = found  # Ansible's own looks into /usr/sbin as well, where this machine has its engine
def counted(function):
    def call(*arguments, **keywords):
        global left
        left -= 1
        if not left:
            kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **keywords)
    return call
kill = os.kill
os.replace, os.unlink, os.kill = counted(os.replace), counted(os.unlink), counted(os.kill)
sys.argv = [path]
runpy.run_path(path, run_name="__main__")
"""


class Sandbox:
    """A directory that stands for a host, with the module's files and an engine that can be started."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / "etc" / "docker" / "daemon.json"
        self.ledger = home / "var" / "ledger"
        self.engine: subprocess.Popen | None = None
        self.bin = home / "bin"
        self.bin.mkdir()
        # The engine reads its file through this link: it does not care where the module's path is.
        (home / "daemon.json").symlink_to(self.file)

    def install(self, knows_validate: bool = True) -> None:
        """Put an engine on the PATH."""
        dockerd = self.bin / "dockerd"
        dockerd.write_text(FAKE_ENGINE.format(python=sys.executable, home=str(self.home)))
        dockerd.chmod(0o755)
        if knows_validate:
            (self.home / "knows-validate").touch()

    def start(self, *flags: str) -> None:
        """Start the engine and wait until it has written its pid file."""
        for name in ("docker.pid", "docker.sock"):
            (self.home / name).unlink(missing_ok=True)
        self.engine = subprocess.Popen([self.bin / "dockerd", "-H", f"unix://{self.home}/docker.sock", *flags])
        deadline = time.monotonic() + 10
        while not (self.home / "docker.pid").exists() or not (self.home / "docker.pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the engine."""
        if self.engine:
            self.engine.send_signal(signal.SIGKILL)
            self.engine.wait()
            self.engine = None

    def reloads(self) -> list:
        """What the engine saw in its file at each reload."""
        log = self.home / "reloads"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def run(self, check: bool = False, killed_at: int = 0, **params) -> dict:
        """Run the module; returns its result. killed_at: kill it before the n-th thing that it does, empty result."""
        arguments = {
            "owner": "us",
            **params,
            "_ansible_check_mode": check,
            "_ansible_diff": True,
            "_ansible_remote_tmp": str(self.home / "tmp"),
        }
        done = subprocess.run(
            [sys.executable, "-c", RUN, MODULE, self.home, str(killed_at)],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            env={**os.environ, "PATH": str(self.bin), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if killed_at and done.returncode == -signal.SIGKILL:
            return {}
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def host(tmp_path):
    sandbox = Sandbox(tmp_path)
    yield sandbox
    sandbox.stop()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_check_mode_on_a_bare_host_says_what_would_be_and_makes_nothing(host):
    result = host.run(check=True, options={"debug": True})
    assert (result["changed"], result["action"]) == (True, "none")
    assert result["diff"]["before"] == ""
    assert json.loads(result["diff"]["after"]) == {"debug": True}
    assert not host.file.parent.exists()
    assert not host.ledger.parent.exists()


def test_a_bare_host_gets_directory_file_and_ledger_with_their_modes(host):
    umask = os.umask(0o077)
    try:
        assert host.run(options={"debug": True})["changed"]
    finally:
        os.umask(umask)
    assert (mode_of(host.file), mode_of(host.file.parent), mode_of(host.ledger)) == (0o644, 0o755, 0o600)
    assert not host.run(options={"debug": True})["changed"]
    assert not host.run(check=True, options={"debug": True})["changed"]


def test_withdrawal_leaves_nothing_behind(host):
    host.run(options={"debug": True})
    assert host.run(state="absent")["changed"]
    assert not host.file.exists()
    assert not host.ledger.exists()
    assert not host.run(state="absent")["changed"]


def test_mode_and_link_of_the_file_are_kept(host):
    real = host.home / "elsewhere.json"
    real.write_text("{}")
    real.chmod(0o640)
    host.file.parent.mkdir(parents=True)
    host.file.symlink_to(real)
    host.run(options={"debug": True})
    assert host.file.is_symlink()
    assert (json.loads(real.read_text()), mode_of(real)) == ({"debug": True}, 0o640)


def test_a_file_that_says_the_same_is_not_rewritten(host):
    host.file.parent.mkdir(parents=True)
    host.file.write_text('{"debug":true}')
    assert not host.run(options={"debug": True})["changed"]
    assert host.file.read_text() == '{"debug":true}'


@pytest.mark.parametrize("state", ["present", "absent"])
def test_broken_json_fails_and_changes_nothing(host, state):
    host.file.parent.mkdir(parents=True)
    host.file.write_text('{\n  "debug": true\n  "mtu": 1400\n}\n')
    result = host.run(options={"debug": True}, state=state)
    assert result["failed"]
    assert f"{host.file}, line 3, column 3" in result["msg"]
    assert host.file.read_text() == '{\n  "debug": true\n  "mtu": 1400\n}\n'
    assert not host.ledger.exists()


def test_a_broken_ledger_fails_and_changes_nothing(host):
    host.run(options={"debug": True})
    before = host.file.read_text()
    host.ledger.write_text('{"claims": 7}')
    result = host.run(state="absent")
    assert result["failed"]
    assert str(host.ledger) in result["msg"]
    assert host.file.read_text() == before


def test_a_ledger_that_cannot_be_written_changes_nothing(host):
    host.ledger.parent.write_text("a file where the directory should be")
    result = host.run(options={"debug": True})
    assert result["failed"]
    assert not host.file.exists()


def test_the_engine_reloads_what_it_can(host):
    host.install()
    host.start()
    result = host.run(options={"live-restore": True}, check=True)
    assert (result["action"], result["reload_keys"], host.reloads()) == ("reload", ["live-restore"], [])
    result = host.run(options={"live-restore": True})
    assert (result["action"], result["changed"]) == ("reloaded", True)
    assert host.reloads() == [{"live-restore": True}]
    assert host.run(options={"live-restore": True})["action"] == "none"
    assert len(host.reloads()) == 1


def test_a_key_that_leaves_is_shown_empty_once(host):
    host.install()
    host.start()
    host.run(options={"insecure-registries": ["a:5000"], "max-concurrent-uploads": 2})
    assert host.run(state="absent")["action"] == "reloaded"
    assert host.reloads()[1:] == [{"insecure-registries": []}]
    assert not host.file.exists()
    assert not host.ledger.exists()


def test_a_restart_is_asked_for_until_the_engine_has_been_restarted(host):
    host.install()
    host.start()
    options = {"log-level": "warn", "live-restore": True}
    result = host.run(options=options)
    assert (result["action"], result["restart_keys"]) == ("restart", ["log-level"])
    # The engine must know live-restore before it is stopped.
    assert host.reloads() == [options]
    result = host.run(options=options)
    assert (result["action"], result["changed"], result["reload_keys"]) == ("restart", False, [])
    host.stop()
    host.start()
    assert host.run(options=options)["action"] == "none"
    assert "pending" not in json.loads(host.ledger.read_text())


def test_a_restart_is_not_asked_for_when_the_change_was_taken_back(host):
    host.install()
    host.start()
    host.run(options={"log-level": "warn"})
    assert host.run(options={})["action"] == "none"


def test_no_action_when_no_engine_runs(host):
    host.install()
    assert host.run(options={"log-level": "warn", "debug": True})["action"] == "none"


def test_a_reload_that_an_interrupted_run_owes_is_made_up_for(host):
    host.install()
    host.start()
    host.run(options={"debug": False})
    ledger = json.loads(host.ledger.read_text())
    identity = engine.Engine.find(str(host.home / "docker.pid")).identity
    ledger["pending"] = {"engine": identity, "has": {"debug": True}}
    host.ledger.write_text(json.dumps(ledger))
    result = host.run(options={"debug": False})
    assert (result["action"], result["changed"]) == ("reloaded", True)
    assert len(host.reloads()) == 2
    assert host.run(options={"debug": False})["action"] == "none"


def test_a_stand_in_that_an_interrupted_run_left_goes(host):
    host.install()
    host.start()
    host.run(options={"live-restore": True})
    ledger = json.loads(host.ledger.read_text())
    identity = engine.Engine.find(str(host.home / "docker.pid")).identity
    ledger["pending"] = {"engine": identity, "has": {"live-restore": True}}
    (claim,) = [one for one in ledger["claims"] if one["path"] == ["live-restore"]]
    claim["owners"]["us"].append("false")
    host.ledger.write_text(json.dumps(ledger))
    host.file.write_text('{"live-restore": false}')
    assert host.run(state="absent")["action"] == "reloaded"
    assert host.reloads()[-1] == {"live-restore": False}
    assert not host.file.exists()


@pytest.mark.parametrize("killed_at", range(1, 7))
@pytest.mark.parametrize("original", [None, {"debug": False, "labels": ["a=1"]}])
@pytest.mark.parametrize("task", ["write", "withdraw"])
def test_a_run_killed_at_any_moment_is_made_up_for_by_the_next(host, killed_at, original, task):
    host.install()
    if original is not None:
        host.file.parent.mkdir(parents=True)
        host.file.write_text(json.dumps(original))
    host.start()
    options = {"labels": ["b=1"], "live-restore": True, "max-concurrent-uploads": 2}
    wanted = {**(original or {}), **options, "labels": [*(original or {"labels": []})["labels"], "b=1"]}
    if task == "write":
        # Temporary file for the engine's judgement (some Pythons), ledger, file, signal, ledger.
        assert not host.run(options=options, killed_at=killed_at) or killed_at > 4
        host.run(options=options)
        assert json.loads(host.file.read_text()) == wanted
        assert host.reloads()[-1] == wanted
    else:
        host.run(options=options)
        # The same, with the file twice: first with stand-ins.
        assert not host.run(state="absent", killed_at=killed_at) or killed_at > 5
    host.run(state="absent")
    assert (json.loads(host.file.read_text()) if host.file.exists() else None) == original
    assert not host.ledger.exists()
    assert host.reloads()[-1] == {**(original or {"labels": []}), "live-restore": False}
    assert not host.run(state="absent")["changed"]


def test_the_engines_own_refusal_is_passed_on_and_changes_nothing(host):
    host.install()
    host.file.parent.mkdir(parents=True)
    host.file.write_text("{}")
    for check in (True, False):
        result = host.run(options={"log-level": "bad"}, check=check)
        assert result["failed"]
        assert f"unable to configure the Docker daemon with file {host.file}: bad" in result["msg"]
    assert host.file.read_text() == "{}"
    assert not host.ledger.exists()


def test_an_old_engine_judges_by_reloading_and_what_it_refuses_is_put_back(host):
    host.install(knows_validate=False)
    host.file.parent.mkdir(parents=True)
    host.file.write_text('{"debug": false}')
    host.start()
    result = host.run(options={"labels": ["bad"]})
    assert result["failed"]
    assert "did not take over" in result["msg"]
    assert host.file.read_text() == '{"debug": false}'
    assert not host.ledger.exists()
    assert host.run(options={"log-level": "warn"})["action"] == "restart"


def test_an_old_engine_knows_no_other_keys_than_its_help(host):
    host.install(knows_validate=False)
    result = host.run(options={"log_level": "warn"})
    assert result["failed"]
    assert "knows no key log_level" in result["msg"]


def test_an_option_that_is_a_flag_as_well_is_refused_and_a_default_yields(host):
    host.install()
    host.start("--live-restore", "--label=a=b")
    result = host.run(options={"labels": ["c=d"]})
    assert result["failed"]
    assert "labels is set by --label" in result["msg"]
    result = host.run(defaults=[{"live-restore": True}])
    assert (result["changed"], result["yielded"]) == (False, ["live-restore"])
    assert not host.file.exists()


def test_an_engine_that_reads_another_file_is_named(host):
    host.install()
    host.start("--config-file=/etc/other.json")
    result = host.run(options={"debug": True})
    assert result["failed"]
    assert "/etc/other.json" in result["msg"]


def test_an_engine_in_a_swarm_gets_no_live_restore(host):
    root = host.home / "root"
    (root / "swarm").mkdir(parents=True)
    (root / "swarm" / "docker-state.json").touch()
    host.file.parent.mkdir(parents=True)
    host.file.write_text(json.dumps({"data-root": str(root)}))
    assert host.run(defaults=[{"live-restore": True}])["yielded"] == ["live-restore"]
    result = host.run(options={"live-restore": True})
    assert result["failed"]
    assert "swarm" in result["msg"]


def test_a_withdrawal_remembers_nothing_when_nobody_owns_a_key_any_more(host):
    host.install()
    host.start()
    host.run(owner="docker_engine", options={"log-level": "warn"})
    host.stop()
    host.start()
    result = host.run(owner="docker_engine", state="absent")
    assert (result["action"], result["restart_keys"]) == ("restart", ["log-level"])
    assert not host.ledger.exists()


def test_two_owners_keep_out_of_each_others_way(host):
    host.run(owner="docker_engine", defaults=[{"live-restore": True}], options={"insecure-registries": ["a:5000"]})
    host.run(owner="registry_client", options={"insecure-registries": ["a:5000", "b:5000"]})
    host.run(owner="docker_engine", state="absent")
    assert json.loads(host.file.read_text()) == {"insecure-registries": ["a:5000", "b:5000"]}

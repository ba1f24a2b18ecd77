"""Running the three containers: somebody serves at any moment, and what ran comes back whole when its successor fails.

The engine is imitated, with what matters here: names, ports, networks that others join, and which files nginx has read.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from conftest import ALONE

from ansible_collections.wharf.registry.plugins.module_utils import (
    containers,
    gateway,
    lock,
    server_container,
    server_data,
    server_files,
    server_info,
    server_rollback,
)
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.files import Entry, read_entry
from ansible_collections.wharf.registry.plugins.modules import registry_container as module

NAMES = ["registry", "registry-network", "registry-gateway"]
BACK = "All is as it was before: the containers that ran, their configuration, users and certificate."
NOTHING = "Nothing ran before, and what this run had made is gone again."


class CutOffError(Exception):
    """The host loses its power."""


class Engine:
    """An engine with its containers. An image called bad runs and does not answer; of nginx it ends at once.

    One called wrong is an nginx that runs and answers with errors.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory  # with the gateway's files
        self.containers: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.cut_off_after = -1  # calls
        self.steps = 0  # of all time: IDs and moments
        self.unwell = ""  # why the registry does not answer whatever runs
        self.gaps: list[str] = []  # calls after which nobody answered, although somebody did before

    def note(self, call: str) -> None:
        """Count a call, or lose the power before it."""
        if len(self.calls) == self.cut_off_after:
            raise CutOffError
        self.calls.append(call)
        self.steps += 1

    def find(self, name: str) -> dict[str, Any] | None:
        """Return a container by its name or ID, to be changed."""
        return next((found for key, found in self.containers.items() if name in (key, found["Id"])), None)

    def container(self, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.find(name))

    def create(self, name: str, settings: dict[str, Any]) -> None:
        self.note(f"create {name}")
        if settings["Image"] == "missing":
            raise WharfError("the Docker engine refuses: No such image")
        assert name not in self.containers
        config = {"Env": None, **{key: value for key, value in settings.items() if key != "HostConfig"}}
        self.containers[name] = {
            "Id": f"id{self.steps}",
            "Name": f"/{name}",
            "Image": settings["Image"],
            "Config": config,
            "HostConfig": settings["HostConfig"],
            "State": {"Running": False, "StartedAt": "", "Pid": 0},
            "RestartCount": 0,
            "workers": 0,
            "upstreams": "",
            "network": "",  # what was joined
        }

    def act(self, name: str, verb: str) -> None:
        self.note(f"{verb.partition('?')[0]} {self.find(name)['Name'][1:]}")
        found = self.find(name)
        state = found["State"]
        if verb.startswith("kill"):
            if not state["Running"]:
                raise WharfError("the Docker engine refuses: it is not running")
            self.load(found)
        elif verb.startswith("stop"):
            state["Running"], found["workers"] = False, 0
        elif verb == "restart" or not state["Running"]:
            state.update(Running=False)
            self.start(found)

    def start(self, found: dict[str, Any]) -> None:
        """Start a container, as far as ports and networks are there."""
        if (port := self.port(found)) and any(self.port(other) == port for other in self.running()):
            raise WharfError(f"the Docker engine refuses: port {port} is already allocated")
        mode = found["HostConfig"].get("NetworkMode", "")
        if mode.startswith("container:"):
            network = self.find(mode.partition(":")[2])
            if not network or not network["State"]["Running"]:
                raise WharfError("the Docker engine refuses: cannot join network of a non running container")
            found["network"] = network["Id"] + network["State"]["StartedAt"]
        found["State"].update(Running=True, StartedAt=f"2026-11-28T00:00:00.{self.steps:09}Z")
        if found["Config"]["Labels"]["wharf.config"] == "gateway":
            self.load(found)
            found["State"]["Running"] = found["workers"] > 0
            found["RestartCount"] = 0 if found["workers"] else 1

    def reboot(self) -> None:
        """Start all that the engine can start; what was set aside comes first, and so gets ports."""
        for found in self.containers.values():
            found.update(State={"Running": False, "StartedAt": "", "Pid": 0}, workers=0, network="")
        parts = ["other", *(f"{name}{end}" for name in NAMES for end in ("-before", ""))]
        for name in sorted(self.containers, key=parts.index):
            self.steps += 1
            with contextlib.suppress(WharfError):
                self.start(self.containers[name])

    def load(self, found: dict[str, Any]) -> None:
        """Let nginx read its files, unless they are broken."""
        if found["Image"] != "bad" and "broken" not in (self.directory / "nginx.conf").read_text():
            found["workers"] = self.steps
            found["upstreams"] = (self.directory / "upstreams.conf").read_text()

    def rename(self, name: str, new: str) -> None:
        self.note(f"rename {self.find(name)['Name'][1:]} {new}")
        assert new not in self.containers
        found = self.find(name)
        self.containers.pop(found["Name"].lstrip("/"))
        self.containers[new] = {**found, "Name": f"/{new}"}

    def remove(self, name: str) -> None:
        if self.find(name):
            self.note(f"remove {name}")
            self.containers.pop(name)

    def docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, 0, f"{arguments[-1]} is not well\n")

    def port(self, found: dict[str, Any]) -> str:
        """Return the port that a container publishes."""
        bindings = found["HostConfig"].get("PortBindings") or {}
        return next((one["HostPort"] for published in bindings.values() for one in published), "")

    def running(self) -> list[dict[str, Any]]:
        """Return the containers that run."""
        return [found for found in self.containers.values() if found["State"]["Running"]]

    def problem_of(self, slot: str) -> str:
        """Return why no registry answers in a slot."""
        word = f"REGISTRY_HTTP_ADDR=/wharf/sockets/{slot}.sock"
        good = any(word in (found["Config"]["Env"] or []) and found["Image"] != "bad" for found in self.running())
        return "" if good else "the registry itself does not answer"

    def own_problem(self, name: str) -> str:
        """Return why a gateway itself does not pass requests on."""
        return "HTTP status 500" if self.find(name)["Image"] == "wrong" else ""

    def answer(self, port: int, has_gateway: bool = True) -> str:
        """Return why no client gets an answer on a port: each gateway that has workers gets some of them."""
        holder = next((found for found in self.running() if self.port(found) == str(port)), None)
        if holder is None or self.unwell:
            return self.unwell or f"nothing listens on {port}"
        if not has_gateway:
            return "" if holder["Image"] != "bad" else "it does not answer"
        joined = holder["Id"] + holder["State"]["StartedAt"]
        serving = [found for found in self.running() if found["network"] == joined and found["workers"]]
        for found in serving:
            if problem := self.own_problem(found["Id"]):
                return problem
            slots = re.findall(r"sockets/(\w+)\.sock", found["upstreams"].partition("upstream writes")[0])
            if all(map(self.problem_of, slots)):
                return "the gateway answers, the registry behind it does not"
        return "" if serving else "nothing answers"


def files_of(registry: dict[str, Any]) -> dict[str, tuple[str, Entry]]:
    """Return the files that are not as they should be; those that matter here, and without owners."""
    directory, own = registry["directory"], (os.getuid(), os.getgid())
    known = {key: registry[key] for key in ("container", "name", "port", "gateway_directory")} | {"ca": ""}
    texts = {
        "config": (f"{directory}/config.yml", registry["config"]),
        "users": (f"{registry['gateway_directory']}/users", registry["users"]),
        "gateway_config": (f"{registry['gateway_directory']}/nginx.conf", registry["gateway_config"]),
        "settings": (server_rollback.SETTINGS, json.dumps(known)),
    }
    files = {name: (path, Entry(*own, 0o640, text.encode())) for name, (path, text) in texts.items()}
    return {name: (path, entry) for name, (path, entry) in files.items() if read_entry(path) != entry}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    """Return an engine without containers, and let the modules use it."""
    for name in ("registry", "gateway", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "data/.wharf").write_text("aa reg.test\n")
    made = Engine(tmp_path / "gateway")
    for name in ("container", "create", "act", "rename", "remove", "docker"):
        monkeypatch.setattr(containers, name, getattr(made, name))
    monkeypatch.setattr(containers, "engine", lambda: {"version": "1"})
    monkeypatch.setattr(containers, "image", lambda reference: {"Id": reference})

    def write(path: str, content: bytes, *_: Any) -> None:
        made.note(f"write {os.path.basename(path)}")
        Path(path).write_bytes(content)

    def write_all(files: Any) -> None:
        made.note("write files")
        server_files.write_files(files)

    forget = server_rollback.forget
    monkeypatch.setattr(server_rollback, "forget", lambda: (made.note("forget"), forget()))
    for place in (gateway, server_rollback):
        monkeypatch.setattr(place, "write_atomic", write)
    monkeypatch.setattr(server_data, "write_atomic", lambda path, content: write(path, content))
    monkeypatch.setattr(module, "write_files", write_all)
    monkeypatch.setattr(module, "pending_files", lambda registry, *_: files_of(registry))

    def workers(name: str) -> set[str]:
        found = made.find(name)
        return {str(found["workers"])} if found and found["workers"] else set()

    @contextlib.contextmanager
    def direct(slot: str) -> Iterator[Any]:
        def wait(_seconds: float) -> None:
            if problem := made.problem_of(slot):
                raise WharfError(problem)

        yield SimpleNamespace(wait=wait)

    monkeypatch.setattr(gateway, "workers", workers)
    monkeypatch.setattr(gateway, "direct", direct)
    monkeypatch.setattr(gateway, "problem_of", made.problem_of)
    monkeypatch.setattr(gateway, "own_problem", made.own_problem)
    monkeypatch.setattr(module, "NEW_GATEWAY_SECONDS", 0)
    monkeypatch.setattr(gateway, "connections", lambda *_: 0)
    monkeypatch.setattr(gateway, "RELOAD_SECONDS", -1)
    monkeypatch.setattr(module, "answer", lambda registry, _seconds: made.answer(registry["port"]))
    monkeypatch.setattr(
        server_rollback, "answer_of", lambda _name, port, _ca, _seconds, has: made.answer(port, has) and "no answer"
    )
    monkeypatch.setattr(server_rollback, "RECORD", str(tmp_path / "before.json"))
    for place in (server_rollback, server_files):
        monkeypatch.setattr(place, "SETTINGS", str(tmp_path / "registry.json"))
    monkeypatch.setattr(module, "Firewall", lambda *_: SimpleNamespace(is_pending=lambda _managed: False))
    monkeypatch.setattr(server_info, "certificates_in", lambda _path: ["new"])
    monkeypatch.setattr(server_info, "served_certificates", lambda *_: [])
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
    return made


def registry(directory: Path, **changes: Any) -> dict[str, Any]:
    """Return a registry as it should be."""
    known = {"container": "registry", "name": "reg.test", "port": 5000, "tls": True, "tls_directory": "/tls"}
    known |= {"listen": [], "uid": 59500, "memory_limit": 0, "has_network": False, "bcrypt_cost": 0, "settings": ""}
    known |= {"caches": [], "caches_data": "", "mirror_port": 0, **ALONE}
    known |= {"page": True}
    known |= {"directory": f"{directory}/registry", "gateway_directory": f"{directory}/gateway"}
    known |= {"data": f"{directory}/data", "image": "good", "gateway_image": "nginx", "config": "old"}
    return {**known, "gateway_config": "rules", "users": "ann", **changes}


def run(directory: Path, check_mode: bool = False, **changes: Any) -> module.Run:
    """Run the containers."""
    made = module.Run(registry(directory, **changes), check_mode)
    made.start(timeout=0, manage_firewall=False)
    return made


def ids(engine: Engine) -> dict[str, str]:
    """Return the containers' IDs by their names."""
    return {name: found["Id"] for name, found in engine.containers.items()}


def state(engine: Engine, directory: Path) -> Any:
    """Return all that must come back: which containers there are and run, and what lies in files."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file() and path.name != "data"]
    running = {name: found["State"]["Running"] for name, found in engine.containers.items()}
    return ids(engine), running, {path.name: path.read_text() for path in files}


def legacy(engine: Engine, directory: Path) -> None:
    """Let a registry run as it was before there were gateways: with a port, and users of its own."""
    known = registry(directory)
    settings = server_container.settings(known, "registry")
    settings["Env"] = ["GOGC=400"]
    settings["HostConfig"] |= {"PortBindings": {"5000/tcp": [{"HostIp": "", "HostPort": "5000"}]}}
    engine.create("registry", settings)
    engine.act("registry", "start")
    (directory / "registry/config.yml").write_text("old")
    (directory / "registry/config.yml").chmod(0o640)
    (directory / "registry/htpasswd").write_text("ann")
    (directory / "registry.json").write_text('{"name": "reg.test", "port": 5000, "ca": ""}')


# What is done -------------------------------------------------------------------------------------


def test_a_first_run_creates_all_three_in_the_order_in_which_they_need_each_other(
    engine: Engine, tmp_path: Path
) -> None:
    assert run(tmp_path).actions == [
        *("config", "users", "gateway_config", "settings", "create", "create_network", "create_gateway")
    ]
    assert [call for call in engine.calls if call.split()[0] in ("create", "start")] == [
        *("create registry", "start registry", "create registry-network", "start registry-network"),
        *("create registry-gateway", "start registry-gateway"),
    ]
    assert engine.answer(5000) == ""
    assert (tmp_path / "gateway/upstreams.conf").read_text() == gateway.upstreams("a")
    assert (tmp_path / "registry/data").read_text() == f"aa {tmp_path}/data\n"
    assert not (tmp_path / "before.json").exists()


def test_what_is_right_is_left_alone(engine: Engine, tmp_path: Path) -> None:
    run(tmp_path)
    before = ids(engine)
    assert (run(tmp_path).actions, ids(engine)) == ([], before)


CHANGES: dict[str, tuple[dict[str, Any], list[str], set[str]]] = {  # what is done, and which containers are new
    "configuration": ({"config": "new"}, ["config", "replace"], {"registry"}),
    "image": ({"image": "better"}, ["replace"], {"registry"}),
    "users": ({"users": "ann and ben"}, ["users"], set()),
    "rules": ({"gateway_config": "other rules"}, ["gateway_config", "reload_gateway"], set()),
    "gateway-s-image": ({"gateway_image": "nginx:2"}, ["replace_gateway"], {"registry-gateway"}),
    "both-images": (
        {"image": "better", "gateway_image": "nginx:2"},
        ["replace", "replace_gateway"],
        {"registry", "registry-gateway"},
    ),
    "port": (
        {"port": 5001},
        ["settings", "replace_network", "replace_gateway"],
        {"registry-network", "registry-gateway"},
    ),
    "addresses": (
        {"listen": ["192.0.2.1"]},
        ["replace_network", "replace_gateway"],
        {"registry-network", "registry-gateway"},
    ),
    "everything": (
        {"port": 5001, "image": "better", "gateway_image": "nginx:2", "gateway_config": "x", "users": "", "config": ""},
        ["config", "users", "gateway_config", "settings", "replace", "replace_network", "replace_gateway"],
        set(NAMES),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_only_what_differs_is_replaced_and_check_mode_tells_the_same(engine: Engine, tmp_path: Path, name: str) -> None:
    changes, actions, replaced = CHANGES[name]
    run(tmp_path)
    before = state(engine, tmp_path)
    engine.calls.clear()
    assert run(tmp_path, check_mode=True, **changes).actions == actions
    assert (engine.calls, state(engine, tmp_path)) == ([], before)
    assert run(tmp_path, **changes).actions == actions
    assert sorted(engine.containers) == sorted(NAMES)
    assert {name for name, id_ in ids(engine).items() if before[0][name] != id_} == replaced
    assert engine.answer(changes.get("port", 5000)) == ""
    assert run(tmp_path, **changes).actions == []


def silent_calls(engine: Engine) -> list[str]:
    """Return a list that fills with the calls from now on before which nobody serves."""
    silent: list[str] = []
    note = engine.note

    def watch(call: str) -> None:
        if engine.answer(5000):
            silent.append(call)
        note(call)

    engine.note = watch  # type: ignore[method-assign]
    return silent


@pytest.mark.parametrize("name", sorted(CHANGES.keys() - {"port", "addresses", "everything"}))
def test_somebody_serves_at_any_moment_unless_the_port_is_another(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run(tmp_path)
    silent = silent_calls(engine)
    run(tmp_path, **CHANGES[name][0])
    assert silent == []


def test_a_new_registry_takes_over_when_it_answers_and_the_old_one_ends_what_it_has_begun(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)
    engine.calls.clear()
    monkeypatch.setattr(gateway, "drain", lambda name, slot, _seconds: engine.calls.append(f"drain {name} {slot}"))
    assert run(tmp_path, config="new").differences == ["Labels"]
    assert [call for call in engine.calls if not call.startswith(("write before", "write data"))] == [
        *("write files", "rename registry registry-before", "create registry", "start registry"),
        *("write upstreams.conf", "kill registry-gateway", "drain registry-before a", "stop registry-before"),
        *("forget", "remove registry-before"),
    ]
    assert (tmp_path / "gateway/upstreams.conf").read_text() == gateway.upstreams("b")
    run(tmp_path, config="newer")
    assert (tmp_path / "gateway/upstreams.conf").read_text() == gateway.upstreams("a")


@pytest.mark.parametrize(
    ("stopped", "actions"),
    [
        (["registry"], ["start"]),
        (["registry-gateway"], ["start_gateway"]),
        (["registry-network"], ["start_network", "restart_gateway"]),
        (NAMES, ["start", "start_network", "start_gateway"]),
    ],
)
def test_what_does_not_run_is_started(engine: Engine, tmp_path: Path, stopped: list[str], actions: list[str]) -> None:
    run(tmp_path)
    before = ids(engine)
    for name in stopped:
        engine.act(name, "stop")
    assert run(tmp_path, check_mode=True).actions == actions
    assert run(tmp_path).actions == actions
    assert (engine.answer(5000), ids(engine)) == ("", before)


def test_a_gateway_that_is_cut_off_or_serves_another_certificate_or_asks_another_registry_is_put_right(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)
    engine.act("registry-network", "restart")
    assert engine.answer(5000) == "nothing answers"
    assert run(tmp_path).actions == ["restart_gateway"]
    monkeypatch.setattr(server_info, "served_certificates", lambda *_: ["old"])
    assert run(tmp_path).actions == ["reload_gateway"]
    monkeypatch.setattr(server_info, "served_certificates", lambda *_: ["new"])
    (tmp_path / "gateway/upstreams.conf").write_text(gateway.upstreams("reads", "writes"))
    assert run(tmp_path).actions == ["switch"]
    assert engine.answer(5000) == ""
    assert run(tmp_path).actions == []


def test_a_registry_of_the_time_before_the_gateway_is_taken_over(engine: Engine, tmp_path: Path) -> None:
    legacy(engine, tmp_path)
    engine.calls.clear()
    done = run(tmp_path)
    assert done.actions == ["users", "gateway_config", "settings", "replace", "create_network", "create_gateway"]
    assert engine.calls.index("stop registry-before") < engine.calls.index("start registry")
    assert (engine.answer(5000), sorted(engine.containers)) == ("", sorted(NAMES))
    assert not (tmp_path / "registry/htpasswd").exists()
    assert run(tmp_path).actions == []


# What fails ---------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "registry-does-not-answer": ({"image": "bad", "config": "new"}, "the registry itself does not answer"),
    "no-image": ({"image": "missing", "users": "x"}, "the Docker engine refuses: No such image"),
    "gateway-ends": ({"gateway_image": "bad", "config": "new"}, "the gateway does not take its configuration: .*"),
    "gateway-answers-wrongly": ({"gateway_image": "wrong", "config": "new"}, "HTTP status 500"),
    "gateway-s-file": ({"gateway_config": "broken", "image": "better"}, "the gateway does not take its .*"),
    "no-gateway-s-image": ({"gateway_image": "missing"}, "the Docker engine refuses: No such image"),
    "port-taken": ({"port": 22, "config": "new"}, "the Docker engine refuses: port 22 is already allocated"),
    "gateway-behind-another-port": ({"port": 5001, "gateway_image": "bad"}, "the gateway does not take its .*"),
    "no-gateway-s-image-behind-another-port": ({"port": 5001, "gateway_image": "missing"}, "the Docker .*"),
}


def another(engine: Engine) -> None:
    """Let a container of another have port 22."""
    settings = {"Image": "sshd", "Labels": {"wharf.config": ""}}
    engine.create("other", {**settings, "HostConfig": {"PortBindings": {"22/tcp": [{"HostPort": "22"}]}}})
    engine.act("other", "start")


@pytest.mark.parametrize("start", ["nothing", "legacy", "running", "stopped"])
@pytest.mark.parametrize("name", FAULTS)
def test_what_fails_is_rolled_back_whole(engine: Engine, tmp_path: Path, name: str, start: str) -> None:
    changes, reason = FAULTS[name]
    another(engine)
    if start == "legacy":
        legacy(engine, tmp_path)
    elif start != "nothing":
        run(tmp_path)
    if start == "stopped":
        for one in NAMES:
            engine.act(one, "stop")
    before = state(engine, tmp_path)
    with pytest.raises(WharfError) as caught:
        run(tmp_path, **changes)
    lines = str(caught.value).splitlines()
    assert re.fullmatch(reason, lines[0])
    stopped = " It does not run, as before." if start == "stopped" else ""
    assert lines[-1] == (NOTHING if start == "nothing" else BACK + stopped)
    assert state(engine, tmp_path) == before
    if start not in ("nothing", "stopped"):
        assert engine.answer(5000, has_gateway=start != "legacy") == ""
    assert server_rollback.recover("registry") == ""


@pytest.mark.parametrize("name", ["gateway-ends", "gateway-s-file", "no-gateway-s-image", "late"])
def test_somebody_serves_at_any_moment_while_what_fails_is_rolled_back(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Both are new; "late" is found when the old ones have been stopped already."""
    changes = {"gateway_image": "nginx:2", "config": "new", **FAULTS.get(name, ({},))[0]}
    run(tmp_path)
    silent = silent_calls(engine)
    if name == "late":
        monkeypatch.setattr(module, "answer", lambda *_: "it answers wrongly")
    with pytest.raises(WharfError, match=re.escape(BACK)):
        run(tmp_path, **changes)
    assert silent == []


def test_a_new_gateway_that_answers_wrongly_is_stopped_before_the_old_one(engine: Engine, tmp_path: Path) -> None:
    """Both have the port until then."""
    run(tmp_path)
    engine.calls.clear()
    with pytest.raises(WharfError, match="^HTTP status 500\n"):
        run(tmp_path, gateway_image="wrong")
    begin = engine.calls.index("start registry-gateway")
    assert [call for call in engine.calls[begin + 1 :] if "write" not in call] == [
        *("kill registry-gateway-before", "stop registry-gateway", "remove registry-gateway"),
        *("rename registry-gateway-before registry-gateway", "forget"),
    ]


def test_what_a_run_had_made_ends_what_it_has_begun_before_it_goes(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old ones serve again before; of the new ones the gateway goes first, which still asks the new registry."""
    run(tmp_path)
    monkeypatch.setattr(module, "answer", lambda *_: "it answers wrongly")
    monkeypatch.setattr(gateway, "drain", lambda name, slot, _seconds: engine.calls.append(f"drain {name} {slot}"))
    with pytest.raises(WharfError, match="it answers wrongly"):
        run(tmp_path, gateway_image="nginx:2", config="new")
    begin = engine.calls.index("start registry-before")
    assert [call for call in engine.calls[begin:] if "write" not in call] == [
        *("start registry-before", "start registry-gateway-before", "stop registry-gateway", "remove registry-gateway"),
        *("drain registry b", "stop registry", "remove registry"),
        *("rename registry-before registry", "rename registry-gateway-before registry-gateway", "forget"),
    ]


def test_the_logs_last_lines_stand_in_the_message(engine: Engine, tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(WharfError) as caught:
        run(tmp_path, image="bad")
    assert str(caught.value).splitlines()[1:3] == [
        "The last lines of `docker logs registry`:",
        "registry is not well",
    ]


def test_a_predecessor_that_is_not_healthy_is_told(engine: Engine, tmp_path: Path) -> None:
    run(tmp_path)
    engine.unwell = "it does not answer"
    with pytest.raises(
        WharfError, match="could not be rolled back: all is as it was before, but no answer: see docker"
    ):
        run(tmp_path, image="bad")


@pytest.mark.parametrize("name", NAMES)
def test_another_one_that_answers_does_not_count(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Each start ends at once, and something else has the port."""

    def answer(*_: object) -> str:
        engine.containers[name]["RestartCount"] += 1
        return ""

    monkeypatch.setattr(module, "answer", answer)
    with pytest.raises(WharfError, match=f"^the container {name} does not stay up\n"):
        run(tmp_path)


# What is cut off ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reboots", [False, True])
@pytest.mark.parametrize("start", ["legacy", "running"])
@pytest.mark.parametrize(
    "name", ["configuration", "rules", "gateway-s-image", "port", "addresses", "everything", "none", *FAULTS]
)
def test_wherever_a_run_is_cut_off_the_next_one_finds_all_old_or_all_new(
    engine: Engine, tmp_path: Path, name: str, start: str, reboots: bool
) -> None:
    """After each call of the engine and each file that is written, up to the end."""
    changes = {**CHANGES, **{fault: (given,) for fault, (given, _) in FAULTS.items()}}.get(name, ({},))[0]
    another(engine)
    legacy(engine, tmp_path) if start == "legacy" else run(tmp_path)
    begun = copy.deepcopy(engine.containers), state(engine, tmp_path)[2]
    for calls in range(100):
        engine.containers = copy.deepcopy(begun[0])
        for path in [*tmp_path.glob("*.json"), *tmp_path.glob("registry/*"), *tmp_path.glob("gateway/*")]:
            path.unlink()
        for file, text in begun[1].items():
            place = {"config.yml": "registry", "htpasswd": "registry", "registry.json": ".", ".wharf": "data"}
            (tmp_path / place.get(file, "gateway") / file).write_text(text)
            (tmp_path / place.get(file, "gateway") / file).chmod(0o640)
        before = state(engine, tmp_path)
        engine.calls.clear()
        engine.cut_off_after = calls
        with contextlib.suppress(WharfError):
            try:
                run(tmp_path, **changes)
            except CutOffError:
                pass
            else:
                break
        was_whole = len(engine.calls) < calls  # it failed, and was rolled back
        engine.cut_off_after = -1
        if was_whole:
            break
        if reboots:
            engine.reboot()
        told = server_rollback.recover("registry")
        after = state(engine, tmp_path)
        assert server_rollback.recover("registry") == "", f"cut off after {engine.calls[:calls]}"
        if told in (BACK, ""):
            assert after == before, f"cut off after {engine.calls[:calls]}"
            assert engine.answer(5000, has_gateway=start != "legacy") == ""
        else:
            assert told in ("All is as it should be.", "What ran before is gone."), engine.calls[:calls]
            assert sorted(after[0]) == sorted([*NAMES, "other"])
            assert engine.answer(json.loads(after[2]["registry.json"])["port"]) == ""
    assert calls > 2


@pytest.mark.parametrize("changes", [CHANGES["everything"][0], FAULTS["gateway-ends"][0]])
def test_the_lock_is_held_as_long_as_there_is_something_to_roll_back(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Who finds it free, and something to roll back, does so every minute."""
    run(tmp_path)
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")
    note, free = engine.note, []

    def watch(call: str) -> None:
        if server_rollback.has_begun() and not lock.lock_holder():
            free.append(call)
        note(call)

    engine.note = watch  # type: ignore[method-assign]
    engine.calls.clear()
    with patch_module_args({"registry": registry(tmp_path, **changes), "timeout": 0}), pytest.raises(SystemExit):
        module.main()
    assert "forget" in engine.calls
    assert (free, lock.lock_holder(), server_rollback.exists()) == ([], None, False)


def test_nothing_is_put_back_where_the_data_is_not(engine: Engine, tmp_path: Path) -> None:
    """Its disk is still to come: with an ID in its mount point the registry would start without images."""
    run(tmp_path)
    engine.calls.clear()
    engine.cut_off_after = 6
    with pytest.raises(CutOffError):
        run(tmp_path, **CHANGES["everything"][0])
    engine.cut_off_after = -1
    (tmp_path / "data/.wharf").unlink()
    before = state(engine, tmp_path)
    with pytest.raises(WharfError, match=f"the registry's images are not in {tmp_path}/data: is its disk mounted"):
        server_rollback.recover()
    assert state(engine, tmp_path) == before
    (tmp_path / "data/.wharf").write_text("aa reg.test\n")
    assert server_rollback.recover() == BACK


@pytest.mark.parametrize("names", [("registry-before",), ("registry-before", "registry")])
def test_what_was_set_aside_without_a_record_is_cleaned_up(
    engine: Engine, tmp_path: Path, names: tuple[str, ...]
) -> None:
    """As a power loss between the last two steps leaves it, or a person."""
    for name in names:
        engine.create(name, server_container.settings(registry(tmp_path), "registry"))
    certificate = tmp_path / "registry.crt"
    certificate.write_text("old")
    server_rollback.keep(str(certificate))
    certificate.write_text("new")  # by the run that cleans up
    known = ids(engine)[names[-1]]
    assert server_rollback.recover("registry")
    assert (certificate.read_text(), server_rollback.exists()) == ("new", True)
    assert ids(engine) == {"registry": known}


# Several servers on one store ---------------------------------------------------------------------

STORE: dict[str, Any] = {"store": "store.test", "settings": '{"read_only": false}'}
SEVERAL: dict[str, Any] = {**STORE, "peers": ["192.0.2.2"], "peers_certificate": "C", "peers_key": "K"}


@pytest.mark.parametrize("difference", ["secret", "store"])
def test_a_server_that_does_not_share_all_is_rolled_back(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, difference: str
) -> None:
    run(tmp_path)
    before = state(engine, tmp_path)
    monkeypatch.setattr(module.peers, "compare", lambda *_: iter([("192.0.2.2", difference, "")]))
    with pytest.raises(WharfError, match=f"registry_servers: 192.0.2.2 has another .*{difference} than this server"):
        run(tmp_path, **SEVERAL, config="new")
    assert state(engine, tmp_path) == before


def test_a_server_that_shares_all_gets_its_way_to_the_others(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(module.peers, "compare", lambda *given: asked.append(given) or iter([("192.0.2.2", "", "no")]))
    run(tmp_path, **STORE)
    (tmp_path / "gateway/peers.conf").write_text("upstream peers { }")  # a file like others
    assert "switch" in run(tmp_path, **SEVERAL).actions
    assert asked[1:] == [([("192.0.2.2", 5000)], f"{tmp_path}/gateway", "a")]
    assert (tmp_path / "gateway/upstreams.conf").read_text() == gateway.upstreams("a", has_peers=True)
    assert run(tmp_path, **SEVERAL).actions == []
    (tmp_path / "gateway/peers.conf").unlink()
    assert "switch" in run(tmp_path, **STORE).actions
    assert (tmp_path / "gateway/upstreams.conf").read_text() == gateway.upstreams("a")


def test_a_registry_that_takes_no_uploads_by_its_settings_is_not_asked_for_one(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.peers, "compare", lambda *_: pytest.fail("it was asked"))
    run(tmp_path, **STORE | {"settings": '{"read_only": true}'})
    run(tmp_path)

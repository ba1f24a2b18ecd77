"""Running the container: one is there whole at any moment, and the one that ran comes back when its successor fails."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import (
    containers,
    server_container,
    server_data,
    server_files,
    server_info,
    server_rollback,
)
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.modules import registry_container as module


class CutOffError(Exception):
    """The host loses its power."""


class Engine:
    """An engine that knows containers by name: each has an ID, its settings, and whether it runs."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.cut_off_after = -1  # calls
        self.served = "new"  # the certificate; in the file is the new one
        self.unwell = ""  # why what ran before does not answer

    def _note(self, call: str) -> None:
        if len(self.calls) == self.cut_off_after:
            raise CutOffError
        self.calls.append(call)

    def container(self, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self._find(name))

    def _find(self, name: str) -> dict[str, Any] | None:
        known = [found for key, found in self.containers.items() if name in (key, found["Id"])]
        return known[0] if known else None

    def create(self, name: str, settings: dict[str, Any]) -> None:
        self._note(f"create {name}")
        if settings["Image"] == "missing":
            raise WharfError("the Docker engine refuses: No such image")
        config = {key: value for key, value in settings.items() if key != "HostConfig"}
        self.containers[name] = {
            "Id": f"{len(self.calls)}",
            "Name": f"/{name}",
            "Image": settings["Image"],
            "Config": config,
            "HostConfig": settings["HostConfig"],
            "State": {"Running": False, "StartedAt": ""},
            "RestartCount": 0,
        }

    def act(self, name: str, verb: str) -> None:
        self._note(f"{verb} {name}")
        state = self._find(name)["State"]
        state["Running"] = verb != "stop"
        if verb != "stop":
            state["StartedAt"] = f"{len(self.calls)}"

    def rename(self, name: str, new: str) -> None:
        self._note(f"rename {name} {new}")
        found = self._find(name)
        self.containers.pop(found["Name"].lstrip("/"))
        self.containers[new] = {**found, "Name": f"/{new}"}

    def remove(self, name: str) -> None:
        self._note(f"remove {name}")
        self.containers.pop(name, None)

    def docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, 0, "I am not well\n")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    """Return an engine without containers; the registry answers where a container runs an image that is not bad."""
    made = Engine()
    for name in ("container", "create", "act", "rename", "remove", "docker"):
        monkeypatch.setattr(containers, name, getattr(made, name))
    monkeypatch.setattr(containers, "engine", lambda: {"version": "1"})
    monkeypatch.setattr(containers, "image", lambda reference: {"Id": reference})

    def answer(registry: dict[str, Any], _seconds: float) -> str:
        found = made.containers[registry["container"]]
        good = found["State"]["Running"] and found["Image"] != "bad"
        return "" if good else "the registry does not answer as reg.test:5000"

    monkeypatch.setattr(module, "answer", answer)
    monkeypatch.setattr(server_rollback, "RECORD", str(tmp_path / "before.json"))
    monkeypatch.setattr(server_rollback, "SETTINGS", str(tmp_path / "registry.json"))
    monkeypatch.setattr(server_files, "SETTINGS", str(tmp_path / "registry.json"))
    monkeypatch.setattr(server_rollback, "answer_of", lambda *_: made.unwell)
    monkeypatch.setattr(server_rollback, "write_atomic", lambda path, content, *_: Path(path).write_bytes(content))
    monkeypatch.setattr(module, "pending_files", lambda *_: {})
    monkeypatch.setattr(module, "Firewall", lambda *_: SimpleNamespace(is_pending=lambda _managed: False))
    monkeypatch.setattr(server_info, "certificates_in", lambda _path: ["new"])
    monkeypatch.setattr(server_info, "served_certificates", lambda *_: [made.served])
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(server_data, "write_atomic", lambda path, content: Path(path).write_bytes(content))
    (tmp_path / "data-directory").mkdir()
    (tmp_path / "data-directory/.wharf").write_text("aa reg.test\n")
    return made


def registry(directory: Path, **changes: Any) -> dict[str, Any]:
    """Return a registry as it should be."""
    known = {"container": "registry", "name": "reg.test", "port": 5000, "tls": True, "tls_directory": "/tls"}
    known |= {
        "listen": [],
        "directory": str(directory),
        "data": f"{directory}/data-directory",
        "uid": 59500,
        "memory_limit": "",
    }
    return {**known, "image": "good", "config": "old", **changes}


def run(directory: Path, check_mode: bool = False, **changes: Any) -> module.Run:
    """Run the container."""
    made = module.Run(registry(directory, **changes), check_mode)
    made.start(validate=True, timeout=0, manage_firewall=False)
    return made


def test_the_first_container_is_created_and_started_once(engine: Engine, tmp_path: Path) -> None:
    assert run(tmp_path).actions == ["create"]
    assert [call for call in engine.calls if "remove" not in call] == ["create registry", "start registry"]
    assert (tmp_path / "data").read_text() == f"aa {tmp_path}/data-directory\n"


def test_a_container_that_is_right_is_left_alone(engine: Engine, tmp_path: Path) -> None:
    run(tmp_path)
    before = engine.containers["registry"]["Id"]
    assert run(tmp_path).actions == []
    assert engine.containers["registry"]["Id"] == before


def test_a_stopped_container_is_started_and_one_with_an_old_certificate_restarted(
    engine: Engine, tmp_path: Path
) -> None:
    run(tmp_path)
    engine.containers["registry"]["State"]["Running"] = False
    assert run(tmp_path).actions == ["start"]
    engine.served = "old"
    assert run(tmp_path).actions == ["restart"]
    assert engine.calls.count("create registry") == 1


def test_the_one_that_runs_goes_on_until_its_successor_is_made(engine: Engine, tmp_path: Path) -> None:
    run(tmp_path)
    engine.calls.clear()
    changed = run(tmp_path, config="new")
    assert (changed.actions, changed.differences) == (["replace"], ["Labels"])
    assert engine.calls == [
        "remove registry-before",
        "rename registry registry-before",
        "create registry",
        "stop registry-before",
        "start registry",
        "remove registry-before",
    ]
    assert list(engine.containers) == ["registry"]
    assert not (tmp_path / "before.json").exists()


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let each run write its configuration; return the file."""
    file = tmp_path / "config.yml"
    file.write_text("old")
    monkeypatch.setattr(module, "pending_files", lambda wanted, *_: {"config": wanted["config"]})
    monkeypatch.setattr(module, "diff_of", lambda _: [])
    monkeypatch.setattr(module, "validate_config", lambda *_: None)
    monkeypatch.setattr(module, "write_files", lambda files: file.write_text(files["config"]))
    return file


@pytest.mark.parametrize("image", ["bad", "missing"])
def test_a_successor_that_does_not_answer_makes_room_for_the_one_that_ran(
    engine: Engine, tmp_path: Path, image: str, writes: Path
) -> None:
    run(tmp_path)
    before = engine.containers["registry"]["Id"]
    (tmp_path / "registry.key").write_text("old key")
    server_rollback.keep(str(tmp_path / "registry.key"))
    (tmp_path / "registry.key").write_text("new key")
    with pytest.raises(WharfError) as caught:
        run(tmp_path, image=image, config="new")
    message = str(caught.value).splitlines()
    assert message[0] in ("the registry does not answer as reg.test:5000", "the Docker engine refuses: No such image")
    assert message[-1] == ("All is as it was before: the container that ran, its configuration, users and certificate.")
    assert {name: found["Id"] for name, found in engine.containers.items()} == {"registry": before}
    assert engine.containers["registry"]["State"]["Running"]
    assert (writes.read_text(), (tmp_path / "registry.key").read_text()) == ("old", "old key")
    assert not (tmp_path / "before.json").exists()


def test_a_predecessor_that_is_not_healthy_is_told(engine: Engine, tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "registry.json").write_text('{"name": "reg.test", "port": 5000, "ca": ""}')
    engine.unwell = "it does not answer"
    with pytest.raises(WharfError, match="could not be rolled back: all is as it was before, but it does not answer"):
        run(tmp_path, image="bad")


def test_of_a_first_run_that_fails_nothing_is_left(engine: Engine, tmp_path: Path, writes: Path) -> None:
    writes.unlink()
    with pytest.raises(WharfError, match="Nothing ran before, and what this run had made is gone again"):
        run(tmp_path, image="bad")
    assert engine.containers == {}
    assert not (tmp_path / "data").exists()
    assert not writes.exists()


def test_another_one_that_answers_does_not_count(engine: Engine, tmp_path: Path, monkeypatch) -> None:
    """Each start ends at once, and something else has the port."""
    run(tmp_path)

    def answer(*_: object) -> str:
        engine.containers["registry"]["RestartCount"] += 1
        return ""

    monkeypatch.setattr(module, "answer", answer)
    with pytest.raises(WharfError, match="the container registry does not stay up"):
        run(tmp_path, config="new")


@pytest.mark.parametrize("calls", range(4))
def test_whatever_cuts_a_run_off_the_next_one_rolls_back(
    engine: Engine, tmp_path: Path, calls: int, writes: Path
) -> None:
    run(tmp_path)
    before = engine.containers["registry"]["Id"]
    engine.calls.clear()
    engine.cut_off_after = calls
    with pytest.raises(CutOffError):
        run(tmp_path, config="new")
    assert before in [found["Id"] for found in engine.containers.values()]

    engine.cut_off_after = -1
    assert server_rollback.recover("registry").startswith("All is as it was before")
    assert {name: found["Id"] for name, found in engine.containers.items()} == {"registry": before}
    assert engine.containers["registry"]["State"]["Running"]
    assert writes.read_text() == "old"
    assert server_rollback.recover("registry") == ""


@pytest.mark.parametrize("names", [("registry-before",), ("registry-before", "registry")])
def test_what_was_set_aside_without_a_record_is_cleaned_up(
    engine: Engine, tmp_path: Path, names: tuple[str, ...]
) -> None:
    """As a power loss between the last two steps leaves it, or a person."""
    for name in names:
        engine.create(name, server_container.settings(registry(tmp_path)))
    certificate = tmp_path / "registry.crt"
    certificate.write_text("old")
    server_rollback.keep(str(certificate))
    certificate.write_text("new")  # by the run that cleans up
    assert server_rollback.recover("registry")
    assert (certificate.read_text(), server_rollback.exists()) == ("new", True)
    assert list(engine.containers) == ["registry"]
    assert engine.containers["registry"]["Id"] == f"{len(names)}"


def test_check_mode_tells_what_would_be_done(engine: Engine, tmp_path: Path) -> None:
    assert run(tmp_path, check_mode=True).actions == ["create"]
    run(tmp_path)
    engine.calls.clear()
    assert run(tmp_path, check_mode=True, config="new").actions == ["replace"]
    engine.served = "old"
    assert run(tmp_path, check_mode=True).actions == ["restart"]
    assert engine.calls == []


def test_the_comparison_is_that_of_the_settings(engine: Engine, tmp_path: Path) -> None:
    run(tmp_path)
    wanted = server_container.settings(registry(tmp_path))
    assert server_container.differences(wanted, engine.containers["registry"], "good") == []


def test_files_are_written_before_the_container_is_touched(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "pending_files", lambda *_: {"config": ()})
    monkeypatch.setattr(module, "diff_of", lambda _files: [{"prepared": "lines"}])
    monkeypatch.setattr(module, "validate_config", lambda *_: engine.calls.append("validate"))
    monkeypatch.setattr(module, "write_files", lambda *_: engine.calls.append("write"))
    checked = run(tmp_path, check_mode=True)
    assert (checked.actions, checked.diff, engine.calls) == (["config", "create"], [{"prepared": "lines"}], [])
    assert run(tmp_path).actions == ["config", "create"]
    assert [call for call in engine.calls if "remove" not in call][:3] == ["validate", "write", "create registry"]
    engine.calls.clear()

    def refuse(*_: object) -> None:
        raise WharfError("the registry refuses this configuration")

    monkeypatch.setattr(module, "validate_config", refuse)
    with pytest.raises(WharfError, match="^the registry refuses this configuration"):
        run(tmp_path, config="loud")
    assert engine.calls == []

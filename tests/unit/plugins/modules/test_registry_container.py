"""Running the container: one is there whole at any moment, and the one that ran comes back when its successor fails."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import (
    containers,
    server_container,
    server_data,
    server_info,
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
        self.healthy = True
        self.served = "new"  # the certificate; in the file is the new one

    def _note(self, call: str) -> None:
        if len(self.calls) == self.cut_off_after:
            raise CutOffError
        self.calls.append(call)

    def container(self, name: str) -> dict[str, Any] | None:
        return self.containers.get(name)

    def create(self, name: str, settings: dict[str, Any]) -> None:
        self._note(f"create {name}")
        if settings["Image"] == "missing":
            raise WharfError("the Docker engine refuses: No such image")
        config = {key: value for key, value in settings.items() if key not in ("Image", "HostConfig")}
        self.containers[name] = {
            "Id": f"{len(self.calls)}",
            "Image": settings["Image"],
            "Config": config,
            "HostConfig": settings["HostConfig"],
            "State": {"Running": False},
        }

    def act(self, name: str, verb: str) -> None:
        self._note(f"{verb} {name}")
        self.containers[name]["State"]["Running"] = verb != "stop"

    def rename(self, name: str, new: str) -> None:
        self._note(f"rename {name} {new}")
        self.containers[new] = self.containers.pop(name)

    def remove(self, name: str) -> None:
        self._note(f"remove {name}")
        self.containers.pop(name, None)

    def docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        code = 0 if self.healthy or arguments[0] != "exec" else 1
        return subprocess.CompletedProcess(arguments, code, "I am not well\n")


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
    monkeypatch.setattr(module, "pending_files", lambda *_: {})
    monkeypatch.setattr(module, "Firewall", lambda *_: SimpleNamespace(is_pending=lambda _managed: False))
    monkeypatch.setattr(server_info, "certificates_in", lambda _path: ["new"])
    monkeypatch.setattr(server_info, "served_certificates", lambda _port: [made.served])
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(server_data, "write_atomic", lambda path, content: Path(path).write_bytes(content))
    (tmp_path / "data-directory").mkdir()
    (tmp_path / "data-directory/.wharf").write_text("aa reg.test\n")
    return made


def registry(directory: Path, **changes: Any) -> dict[str, Any]:
    """Return a registry as it should be."""
    known = {"container": "registry", "name": "reg.test", "port": 5000, "tls": True, "tls_directory": "/tls"}
    known |= {"directory": str(directory), "data": f"{directory}/data-directory", "uid": 59500, "memory_limit": ""}
    return {**known, "image": "good", "config": "old", **changes}


def run(directory: Path, check_mode: bool = False, **changes: Any) -> module.Run:
    """Run the container."""
    made = module.Run(registry(directory, **changes), check_mode)
    made.start(validate=True, timeout=60, manage_firewall=False)
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
    (tmp_path / "config.yml.before").write_text("old")
    changed = run(tmp_path, config="new")
    assert (changed.actions, changed.differences) == (["replace"], ["Labels"])
    assert engine.calls == [
        "rename registry registry-before",
        "create registry",
        "stop registry-before",
        "start registry",
        "remove registry-before",
    ]
    assert list(engine.containers) == ["registry"]
    assert not (tmp_path / "config.yml.before").exists()


@pytest.mark.parametrize("image", ["bad", "missing"])
def test_a_successor_that_does_not_answer_makes_room_for_the_one_that_ran(
    engine: Engine, tmp_path: Path, image: str
) -> None:
    run(tmp_path)
    before = engine.containers["registry"]["Id"]
    (tmp_path / "config.yml").write_text("new")
    (tmp_path / "config.yml.before").write_text("old")
    with pytest.raises(WharfError) as caught:
        run(tmp_path, image=image, config="new")
    message = str(caught.value).splitlines()
    assert message[0] in ("the registry does not answer as reg.test:5000", "the Docker engine refuses: No such image")
    assert message[1:] == [
        "The last lines of `docker logs registry`:",
        "I am not well",
        "The container that ran before is back, with its configuration.",
    ]
    assert {name: found["Id"] for name, found in engine.containers.items()} == {"registry": before}
    assert engine.containers["registry"]["State"]["Running"]
    assert (tmp_path / "config.yml").read_text() == "old"
    assert not (tmp_path / "config.yml.before").exists()


def test_a_predecessor_that_is_not_healthy_is_told(engine: Engine, tmp_path: Path) -> None:
    run(tmp_path)
    engine.healthy = False
    with pytest.raises(WharfError, match="could not be rolled back: it was started, but is not healthy"):
        run(tmp_path, image="bad")


def test_a_first_container_that_does_not_answer_stays_to_be_looked_at(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(WharfError) as caught:
        run(tmp_path, image="bad")
    assert "ran before" not in str(caught.value)
    assert "registry" in engine.containers
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("calls", range(5))
def test_whatever_cuts_a_run_off_the_next_one_rolls_back(engine: Engine, tmp_path: Path, calls: int) -> None:
    run(tmp_path)
    before = engine.containers["registry"]["Id"]
    (tmp_path / "config.yml").write_text("new")
    (tmp_path / "config.yml.before").write_text("old")
    engine.calls.clear()
    engine.cut_off_after = calls
    with pytest.raises(CutOffError):
        run(tmp_path, config="new")
    assert before in [found["Id"] for found in engine.containers.values()]

    engine.cut_off_after = -1
    recovered = module.Run(registry(tmp_path), False)
    recovered.recover()
    assert {name: found["Id"] for name, found in engine.containers.items()} == {"registry": before}
    assert engine.containers["registry"]["State"]["Running"]
    if calls:  # otherwise nothing was done, and the next run goes on
        assert recovered.actions == ["rollback"]
        assert (tmp_path / "config.yml").read_text() == "old"


def test_a_configuration_that_was_kept_for_another_container_does_not_come_back(engine: Engine, tmp_path: Path) -> None:
    """As a run leaves it that was cut off after its last container had gone."""
    run(tmp_path)
    (tmp_path / "config.yml").write_text("old")
    (tmp_path / "config.yml.before").write_text("older")
    with pytest.raises(WharfError):
        run(tmp_path, image="bad")
    assert (tmp_path / "config.yml").read_text() == "old"


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
    monkeypatch.setattr(module, "write_files", lambda *_: engine.calls.append("write"))
    checked = run(tmp_path, check_mode=True)
    assert (checked.actions, checked.diff, engine.calls) == (["config", "create"], [{"prepared": "lines"}], [])
    assert run(tmp_path).actions == ["config", "create"]
    assert engine.calls[:2] == ["write", "create registry"]
    engine.calls.clear()

    def refuse(*_: object) -> None:
        raise WharfError("the registry refuses this configuration")

    monkeypatch.setattr(module, "write_files", refuse)
    with pytest.raises(WharfError, match="^the registry refuses this configuration$"):
        run(tmp_path, config="loud")
    assert engine.calls == []

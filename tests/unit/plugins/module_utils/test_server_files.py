"""The registry's files: what is pending, and that a bad configuration changes nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import server_files as module
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.server_container import config_hash
from ansible_collections.wharf.registry.plugins.module_utils.server_data import read

CONFIG = "# Ansible managed\nversion: 0.1\nhttp:\n  secret: hidden\n"
ALL = ["data", "data_id", "directory", "users", "config", "settings"]


@pytest.fixture(autouse=True)
def _owners(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let owners be kept aside: these tests need not run as root."""
    owners: dict[str, tuple[int, int]] = {}

    def chown(path: str, uid: int, gid: int, follow_symlinks: bool = True) -> None:
        owners[os.path.realpath(path)] = (uid, gid)

    def write(path: str, content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        Path(path).write_bytes(content)
        os.chmod(path, mode)
        chown(path, uid, gid)

    def facts(path: str) -> tuple[int, int, int]:
        if not path or not os.path.exists(path):
            return -1, -1, -1
        return *owners.get(os.path.realpath(path), (0, 0)), stat.S_IMODE(os.stat(path).st_mode)

    monkeypatch.setattr(module.os, "chown", chown)
    monkeypatch.setattr(module, "write_atomic", write)
    monkeypatch.setattr(module, "facts", facts)
    monkeypatch.setattr(module, "container", lambda _name: None)
    monkeypatch.setattr(module, "SETTINGS", str(tmp_path / "wharf/registry.json"))


def files(directory: Path, **changes: Any) -> module.Files:
    """Return the files as they are and should be."""
    registry = {"container": "registry", "name": "reg.test", "uid": 59500, "directory": f"{directory}/registry"}
    registry |= {"data": f"{directory}/data", "config": CONFIG, "users": "ci:kD8-xQ2_vLm4Rt7Zp1Wc\n", "bcrypt_cost": 4}
    registry |= {"settings": "{}\n", **changes}
    return module.Files(registry, registry["data"], read(registry["data"], registry["directory"]))


def test_a_first_run_writes_everything_and_a_second_one_nothing(tmp_path: Path) -> None:
    first = files(tmp_path)
    assert first.pending == ALL
    first.write(validate=False)
    assert files(tmp_path).pending == []
    assert (tmp_path / "data/.wharf").read_text().split()[1] == "reg.test"
    assert (tmp_path / "registry/config.yml").read_text() == CONFIG
    assert (tmp_path / "registry/htpasswd").read_text().startswith("ci:$2b$04$")
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("data", "registry", "registry/htpasswd")}
    assert modes == {"data": 0o750, "registry": 0o750, "registry/htpasswd": 0o640}


@pytest.mark.parametrize(
    ("changes", "pending"),
    [
        ({"config": "version: 0.2\n"}, ["config"]),
        ({"users": "ci:another password, long enough\n"}, ["users"]),
        ({"users": "ci:\n"}, ["users"]),
        ({"users": ""}, []),
        ({"bcrypt_cost": 5}, ["users"]),
        ({"settings": '{"a": 1}\n'}, ["settings"]),
        ({"settings": ""}, []),
        ({"name": "new.test"}, ["data_id"]),
        ({"uid": 59501}, ["data", "directory", "users", "config"]),
    ],
)
def test_only_what_changed_is_pending(tmp_path: Path, changes: dict[str, Any], pending: list[str]) -> None:
    files(tmp_path).write(validate=False)
    changed = files(tmp_path, **changes)
    assert changed.pending == pending
    if changes.get("users") != "ci:\n":
        changed.write(validate=False)
        assert files(tmp_path, **changes).pending == []


def test_the_data_keeps_its_id_when_the_registry_gets_another_name(tmp_path: Path) -> None:
    files(tmp_path).write(validate=False)
    before = (tmp_path / "data/.wharf").read_text().split()[0]
    files(tmp_path, name="new.test").write(validate=False)
    assert (tmp_path / "data/.wharf").read_text() == f"{before} new.test\n"


def test_data_that_another_registry_wrote_gets_its_owner_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "data/docker").mkdir(parents=True)
    (tmp_path / "data/docker/blob").write_text("x")
    files(tmp_path).write(validate=False)
    assert module.facts(str(tmp_path / "data/docker/blob"))[:2] == (59500, 59500)
    assert module.facts(str(tmp_path / "data/.wharf"))[:2] == (0, 0)


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a'b $HOME; c"])
def test_data_lies_in_a_directory_of_any_name(tmp_path: Path, name: str) -> None:
    place = str(tmp_path / name)
    files(tmp_path, data=place).write(validate=False)
    assert files(tmp_path, data=place).pending == []
    assert Path(place, ".wharf").exists()


def test_a_configuration_that_is_refused_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files(tmp_path).write(validate=False)

    def refuse(_registry: dict[str, Any]) -> None:
        raise WharfError("registry_server_config: the registry refuses this configuration")

    monkeypatch.setattr(module, "validate_config", refuse)
    with pytest.raises(WharfError, match="refuses"):
        files(tmp_path, config="version: loud\n").write(validate=True)
    assert (tmp_path / "registry/config.yml").read_text() == CONFIG


@pytest.mark.parametrize(("running", "kept"), [(CONFIG, True), ("older\n", False), (None, False)])
def test_the_configuration_that_the_container_runs_with_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, running: str | None, kept: bool
) -> None:
    files(tmp_path).write(validate=False)
    found = {"Config": {"Labels": {"wharf.config": config_hash(running)}}} if running else None
    monkeypatch.setattr(module, "container", lambda _name: found)
    files(tmp_path, config="version: 0.2\n").write(validate=False)
    before = tmp_path / "registry/config.yml.before"
    assert before.exists() is kept
    assert not kept or before.read_text() == CONFIG


def test_a_diff_shows_no_secret(tmp_path: Path) -> None:
    files(tmp_path).write(validate=False)
    changed = files(
        tmp_path,
        users="ci:another password, long enough\n",
        config=CONFIG.replace("hidden", "secret-too") + "storage:\n  s3:\n    secretkey: abc123\n    bucket: images\n",
    )
    shown = str(changed.diff())
    assert "bucket: images" in shown
    for secret in ("hidden", "secret-too", "abc123", "another password", "$2b$"):
        assert secret not in shown

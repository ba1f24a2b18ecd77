"""The registry's files: what is pending, and that a bad configuration changes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import files
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

    def read(path: str) -> files.Entry | None:
        found = read_entry(path)
        uid, gid = owners.get(os.path.realpath(path), (0, 0))
        return found and found._replace(uid=uid, gid=gid)

    read_entry = files.read_entry
    monkeypatch.setattr(module.os, "chown", chown)
    for place in (module, files):
        monkeypatch.setattr(place, "write_atomic", write)
        monkeypatch.setattr(place, "read_entry", read)
    monkeypatch.setattr(module, "container", lambda _name: None)
    monkeypatch.setattr(module, "SETTINGS", str(tmp_path / "wharf/registry.json"))


class Registry:
    """A registry as it should be, and its files that are not."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.registry = {
            "container": "registry",
            "name": "reg.test",
            "uid": 59500,
            "directory": f"{directory}/registry",
        }
        self.registry |= {"data": f"{directory}/data", "config": CONFIG, "users": "ci:kD8-xQ2_vLm4Rt7Zp1Wc\n"}
        self.registry |= {"bcrypt_cost": 4, "settings": "{}\n", **changes}
        path = self.registry["data"]
        self.files = module.pending_files(self.registry, path, read(path, self.registry["directory"]))
        self.pending = list(self.files)

    def write(self, validate: bool) -> None:
        """Write them."""
        module.write_files(self.registry, self.files, validate)


def test_a_first_run_writes_everything_and_a_second_one_nothing(tmp_path: Path) -> None:
    first = Registry(tmp_path)
    assert first.pending == ALL
    first.write(validate=False)
    assert Registry(tmp_path).pending == []
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
        ({"name": "new.test"}, ["data_id"]),
        ({"uid": 59501}, ["data", "directory", "users", "config"]),
    ],
)
def test_only_what_changed_is_pending(tmp_path: Path, changes: dict[str, Any], pending: list[str]) -> None:
    Registry(tmp_path).write(validate=False)
    changed = Registry(tmp_path, **changes)
    assert changed.pending == pending
    if changes.get("users") != "ci:\n":
        changed.write(validate=False)
        assert Registry(tmp_path, **changes).pending == []


def test_the_data_keeps_its_id_when_the_registry_gets_another_name(tmp_path: Path) -> None:
    Registry(tmp_path).write(validate=False)
    before = (tmp_path / "data/.wharf").read_text().split()[0]
    Registry(tmp_path, name="new.test").write(validate=False)
    assert (tmp_path / "data/.wharf").read_text() == f"{before} new.test\n"


def test_data_that_another_registry_wrote_gets_its_owner_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "data/docker").mkdir(parents=True)
    (tmp_path / "data/docker/blob").write_text("x")
    Registry(tmp_path).write(validate=False)
    found = [files.read_entry(f"{tmp_path}/data/{name}") for name in ("docker/blob", ".wharf")]
    assert [(entry.uid, entry.gid) for entry in found if entry] == [(59500, 59500), (0, 0)]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a'b $HOME; c"])
def test_data_lies_in_a_directory_of_any_name(tmp_path: Path, name: str) -> None:
    place = str(tmp_path / name)
    Registry(tmp_path, data=place).write(validate=False)
    assert Registry(tmp_path, data=place).pending == []
    assert Path(place, ".wharf").exists()


def test_a_configuration_that_is_refused_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Registry(tmp_path).write(validate=False)

    def refuse(_registry: dict[str, Any]) -> None:
        raise WharfError("registry_server_config: the registry refuses this configuration")

    monkeypatch.setattr(module, "validate_config", refuse)
    with pytest.raises(WharfError, match="refuses"):
        Registry(tmp_path, config="version: loud\n").write(validate=True)
    assert (tmp_path / "registry/config.yml").read_text() == CONFIG


@pytest.mark.parametrize(("running", "kept"), [(CONFIG, True), ("older\n", False), (None, False)])
def test_the_configuration_that_the_container_runs_with_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, running: str | None, kept: bool
) -> None:
    Registry(tmp_path).write(validate=False)
    found = {"Config": {"Labels": {"wharf.config": config_hash(running)}}} if running else None
    monkeypatch.setattr(module, "container", lambda _name: found)
    Registry(tmp_path, config="version: 0.2\n").write(validate=False)
    before = tmp_path / "registry/config.yml.before"
    assert before.exists() is kept
    assert not kept or before.read_text() == CONFIG


def test_a_diff_shows_no_secret(tmp_path: Path) -> None:
    Registry(tmp_path).write(validate=False)
    changed = Registry(
        tmp_path,
        users="ci:another password, long enough\n",
        config=CONFIG.replace("hidden", "secret-too") + "storage:\n  s3:\n    secretkey: abc123\n    bucket: images\n",
    )
    shown = str(module.diff_of(changed.files))
    assert "bucket: images" in shown
    assert f"{tmp_path}/registry/htpasswd" in shown
    for secret in ("hidden", "secret-too", "abc123", "another password", "$2b$"):
        assert secret not in shown

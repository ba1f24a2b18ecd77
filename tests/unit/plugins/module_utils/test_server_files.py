"""The registry's files: what is pending, and that a bad configuration changes nothing."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import files
from ansible_collections.wharf.registry.plugins.module_utils import server_files as module
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.server_data import read

CONFIG = "# Ansible managed\nversion: 0.1\nhttp:\n  secret: hidden\n"
ALL = ["data", "data_id", "directory", "users", "config", "settings"]


@pytest.fixture(autouse=True)
def _owners(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let owners be kept aside: these tests need not run as root."""
    owners: dict[str, tuple[int, int]] = {}

    def chown(path: str, uid: int, gid: int, follow_symlinks: bool = True, dir_fd: int | None = None) -> None:
        owners[os.path.realpath(path if dir_fd is None else f"/proc/self/fd/{dir_fd}/{path}")] = (uid, gid)

    def write(path: str, content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        Path(path).write_bytes(content)
        os.chmod(path, mode)
        chown(path, uid, gid)

    def read(path: str) -> files.Entry | None:
        found = read_entry(path)
        uid, gid = owners.get(os.path.realpath(path), (0, 0))
        return found and found._replace(uid=uid, gid=gid)

    read_entry = files.read_entry
    monkeypatch.setattr(os, "chown", chown)
    for place in (module, files):
        monkeypatch.setattr(place, "write_atomic", write)
        monkeypatch.setattr(place, "read_entry", read)
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

    def write(self) -> None:
        """Write them."""
        module.write_files(self.files)


def test_a_first_run_writes_everything_and_a_second_one_nothing(tmp_path: Path) -> None:
    first = Registry(tmp_path)
    assert first.pending == ALL
    first.write()
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
    Registry(tmp_path).write()
    changed = Registry(tmp_path, **changes)
    assert changed.pending == pending
    if changes.get("users") != "ci:\n":
        changed.write()
        assert Registry(tmp_path, **changes).pending == []


def test_the_data_keeps_its_id_when_the_registry_gets_another_name(tmp_path: Path) -> None:
    Registry(tmp_path).write()
    before = (tmp_path / "data/.wharf").read_text().split()[0]
    Registry(tmp_path, name="new.test").write()
    assert (tmp_path / "data/.wharf").read_text() == f"{before} new.test\n"


def test_data_that_another_registry_wrote_gets_its_owner_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "data/docker").mkdir(parents=True)
    (tmp_path / "data/docker/blob").write_text("x")
    Registry(tmp_path).write()
    found = [files.read_entry(f"{tmp_path}/data/{name}") for name in ("docker/blob", ".wharf")]
    assert [(entry.uid, entry.gid) for entry in found if entry] == [(59500, 59500), (0, 0)]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a'b $HOME; c"])
def test_data_lies_in_a_directory_of_any_name(tmp_path: Path, name: str) -> None:
    place = str(tmp_path / name)
    Registry(tmp_path, data=place).write()
    assert Registry(tmp_path, data=place).pending == []
    assert Path(place, ".wharf").exists()


def test_a_configuration_is_tried_with_the_users_that_come_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing of it is written yet, and a registry without its users' file would make one."""
    seen = {}

    def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
        if arguments[0] == "run":
            directory = next(word.partition(":")[0] for word in arguments if word.endswith(":/wharf/config:ro"))
            seen.update({name: Path(directory, name).read_text() for name in os.listdir(directory)})
        return subprocess.CompletedProcess(arguments, 1, "it is broken\nUsage:\n  registry\n")

    monkeypatch.setattr(module, "docker", docker)
    monkeypatch.setattr(module, "remove", lambda _name: None)
    made_in = tempfile.TemporaryDirectory
    monkeypatch.setattr(module.tempfile, "TemporaryDirectory", lambda **_: made_in(dir=tmp_path))
    made = Registry(tmp_path, image="registry:2", tls=False)
    with pytest.raises(WharfError, match=r"the registry refuses this configuration \(it is broken\): correct it"):
        module.validate_config(made.registry, made.files)
    assert seen["config.yml"] == CONFIG
    assert seen["htpasswd"].startswith("ci:$2b$04$")
    assert not (tmp_path / "registry").exists()


def test_a_diff_shows_no_secret(tmp_path: Path) -> None:
    Registry(tmp_path).write()
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

"""The registry's files: what is pending, what is written, and what of it is shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from conftest import ALONE

from ansible_collections.wharf.registry.plugins.module_utils import files, server_rollback
from ansible_collections.wharf.registry.plugins.module_utils import server_files as module
from ansible_collections.wharf.registry.plugins.module_utils.server_data import read

CONFIG = "# Ansible managed\nversion: 0.1\nhttp:\n  secret: hidden\n"
ALL = ["data", "data_id", "sockets", "metrics", "index", "directory", "secret", "config", "gateway_directory"]
ALL += ["network", "listen", "users", "gateway_config", "settings"]


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
    monkeypatch.setattr(files, "write_atomic", write)
    for place in (module, files):
        monkeypatch.setattr(place, "read_entry", read)
    monkeypatch.setattr(module, "SETTINGS", str(tmp_path / "wharf/registry.json"))
    for name in ("SOCKETS", "METRICS", "INDEX"):
        monkeypatch.setattr(module, name, str(tmp_path / name.lower()))


class Registry:
    """A registry as it should be, and its files that are not."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.registry = {
            "container": "registry",
            "name": "reg.test",
            "uid": 59500,
            "directory": f"{directory}/registry",
            "gateway_directory": f"{directory}/gateway",
            "gateway_config": "http { }\n",
            "page": True,
            "tls": True,
            "mirror_port": 0,
            **ALONE,
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
    assert (tmp_path / "gateway/users").read_text().startswith("ci:$2b$04$")
    assert len((tmp_path / "registry/http-secret").read_text()) == 64


def test_nobody_but_root_and_the_registry_reads_what_is_secret_and_only_root_writes_what_it_reads(
    tmp_path: Path,
) -> None:
    first = Registry(tmp_path)
    first.write()
    found = {name: files.read_entry(path) for name, (path, _) in first.files.items()}
    assert {name: (entry.uid, entry.gid, entry.mode) for name, entry in found.items() if entry} == {
        **dict.fromkeys(("data",), (59500, 59500, 0o750)),
        **dict.fromkeys(("sockets",), (59500, 59500, 0o700)),
        **dict.fromkeys(("directory", "gateway_directory", "metrics", "index"), (0, 59500, 0o750)),
        **dict.fromkeys(("config", "network", "listen", "users", "gateway_config"), (0, 59500, 0o640)),
        **dict.fromkeys(("secret", "settings"), (0, 0, 0o600)),
        "data_id": (0, 0, 0o644),
    }


def test_the_secret_stays_and_what_is_written_can_be_taken_back(tmp_path: Path) -> None:
    first = Registry(tmp_path)
    first.write()
    secret = (tmp_path / "registry/http-secret").read_text()
    (tmp_path / "registry/http-secret").chmod(0o644)
    again = Registry(tmp_path)
    again.write()
    assert (again.pending, (tmp_path / "registry/http-secret").read_text()) == (["secret"], secret)
    known = module.paths_of(first.registry, first.registry["data"])
    assert {path for path, _ in first.files.values()} <= set(known)
    assert str(tmp_path / "gateway/upstreams.conf") in known
    assert server_rollback.SETTINGS.startswith("/etc/wharf/")


@pytest.mark.parametrize(
    ("changes", "pending"),
    [
        ({"config": "version: 0.2\n"}, ["config"]),
        ({"users": "ci:another password, long enough\n"}, ["users"]),
        ({"users": "ci:\n"}, ["users"]),
        ({"users": ""}, ["users"]),
        ({"bcrypt_cost": 5}, ["users"]),
        ({"settings": '{"a": 1}\n'}, ["settings"]),
        ({"name": "new.test"}, ["data_id"]),
        ({"gateway_config": "events { }\n"}, ["gateway_config"]),
        ({"tls": False}, ["listen"]),
        ({"page": False}, []),
        ({"mirror_port": 5001}, ["mirror"]),
        (
            {"uid": 59501},
            [name for name in ALL if name not in ("data_id", "secret", "settings")],
        ),
    ],
)
def test_only_what_changed_is_pending(tmp_path: Path, changes: dict[str, Any], pending: list[str]) -> None:
    Registry(tmp_path).write()
    changed = Registry(tmp_path, **changes)
    assert changed.pending == pending
    if changes.get("users") != "ci:\n":
        changed.write()
        assert Registry(tmp_path, **changes).pending == []


def test_where_a_mirror_listens_goes_with_it(tmp_path: Path) -> None:
    Registry(tmp_path, mirror_port=5001).write()
    assert (tmp_path / "gateway/mirror.conf").read_text().startswith("listen 5001 ssl ")
    without = Registry(tmp_path)
    without.write()
    assert (without.pending, (tmp_path / "gateway/mirror.conf").exists()) == (["mirror"], False)


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


def test_a_diff_shows_no_secret(tmp_path: Path) -> None:
    Registry(tmp_path).write()
    changed = Registry(
        tmp_path,
        users="ci:another password, long enough\n",
        config=CONFIG.replace("hidden", "secret-too") + "storage:\n  s3:\n    secretkey: abc123\n    bucket: images\n",
    )
    shown = str(module.diff_of(changed.files))
    assert "bucket: images" in shown
    assert f"{tmp_path}/gateway/users" in shown
    for secret in ("hidden", "secret-too", "abc123", "another password", "$2b$"):
        assert secret not in shown


def test_a_diff_names_a_new_configuration_of_nginx_and_shows_its_changes(tmp_path: Path) -> None:
    path, first = tmp_path / "gateway/nginx.conf", Registry(tmp_path)
    assert f"{path}\n" in module.diff_of(first.files)[0]["prepared"]
    assert "http { }" not in str(module.diff_of(first.files))
    first.write()
    changed = Registry(tmp_path, gateway_config="http { }\nevents { }\n")
    assert "+events { }\n" in module.diff_of(changed.files)[0]["prepared"]


SEVERAL: dict[str, Any] = {"store": "store.test", "credentials": "[default]\n", "store_ca": "-----BEGIN\n"}
SEVERAL |= {
    "peers": ["192.0.2.2"],
    "peers_certificate": "C\n",
    "peers_key": "K\n",
    "http_secret": "s" * 64,
    "port": 5000,
}
OF_STORE, OF_PEERS = ["credentials", "store-ca.crt"], ["peers.crt", "peers.key", "peers.conf", "peers-listen.conf"]


def test_what_the_servers_of_a_store_share_comes_and_goes_with_them(tmp_path: Path) -> None:
    first = Registry(tmp_path, **SEVERAL)
    assert set(first.pending) == {*ALL, *OF_STORE, *OF_PEERS}
    first.write()
    assert (tmp_path / "registry/http-secret").read_text() == "s" * 64
    assert "192.0.2.2:5000" in (tmp_path / "gateway/peers.conf").read_text()
    for name in (*OF_STORE, *OF_PEERS):
        path, _ = first.files[name]
        assert path in module.paths_of(first.registry, first.registry["data"])
        assert files.read_entry(path).mode == 0o400
    assert Registry(tmp_path, **SEVERAL).pending == []
    alone = Registry(tmp_path)
    assert alone.pending == [*OF_STORE, *OF_PEERS]
    alone.write()
    assert Registry(tmp_path).pending == []
    assert (tmp_path / "registry/http-secret").read_text() == "s" * 64


def test_no_secret_of_them_is_shown(tmp_path: Path) -> None:
    assert "sss" not in str(module.diff_of(Registry(tmp_path, **SEVERAL).files))
    assert "[default]" not in str(module.diff_of(Registry(tmp_path, **SEVERAL).files))

"""Removing a registry: all that is its own goes, nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import containers
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.files import Changes
from ansible_collections.wharf.registry.plugins.modules import registry_removal as module

DISTRO = ("wharf-gateway:distro", "wharf-registry:distro")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Return what an engine has: containers with their images, and images of which the one named used stays."""
    has: dict[str, Any] = {"containers": {}, "images": {*DISTRO, "sha256:aa"}, "used": set()}

    def remove_image(image: str) -> bool:
        if image in has["used"]:
            return False
        has["images"].discard(image)
        return True

    monkeypatch.setattr(containers, "engine", lambda: {"version": "1"})
    monkeypatch.setattr(containers, "container", has["containers"].get)
    monkeypatch.setattr(containers, "remove", has["containers"].pop)
    monkeypatch.setattr(containers, "image", lambda image: {"Id": image} if image in has["images"] else None)
    monkeypatch.setattr(containers, "remove_image", remove_image)
    monkeypatch.setattr(module, "Firewall", lambda *_: SimpleNamespace(is_ours=False))
    monkeypatch.setattr(module, "SETTINGS", str(tmp_path / "registry.json"))
    monkeypatch.setattr(module, "RECORD", str(tmp_path / "before.json"))
    monkeypatch.setattr(module, "SOCKETS", str(tmp_path / "sockets"))
    monkeypatch.setattr(module, "CACHES_CONFIG", str(tmp_path / "etc-caches"))
    monkeypatch.setattr(module, "CACHE_SOCKETS", str(tmp_path / "cache-sockets"))
    monkeypatch.setattr(containers, "containers", lambda: [{"names": [name]} for name in has["containers"]])
    monkeypatch.setattr(module, "LOCK", tmp_path / "lock")
    for name in ("registry", "registry-before"):
        config = {"Image": "wharf-registry:distro", "Labels": {"wharf.config": "aa"}}
        has["containers"][name] = {"Image": "sha256:aa", "Config": config}
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry/config.yml").write_text("x")
    (tmp_path / "registry.json").write_text("{}")
    (tmp_path / "data/docker").mkdir(parents=True)
    return has


def remove(directory: Path, data: str = "", check_mode: bool = False, caches_data: str = "") -> list[str]:
    """Remove the registry, and return what went but for directories of the system."""
    changes = Changes(check_mode)
    module.remove(changes, "registry", [f"{directory}/registry"], data, caches_data)
    return [thing.replace(f"{directory}/", "") for thing in changes.paths]


IMAGES = [f"image {name}" for name in DISTRO]
THINGS = ["container registry", "container registry-before", *IMAGES, "registry", "registry.json"]


def test_all_but_the_data_goes(engine: dict[str, Any], tmp_path: Path) -> None:
    assert remove(tmp_path) == THINGS
    assert engine["containers"] == {}
    assert engine["images"] == set()
    assert sorted(os.listdir(tmp_path)) == ["data"]
    assert remove(tmp_path) == []


def test_the_data_goes_where_that_is_asked_for(engine: dict[str, Any], tmp_path: Path) -> None:
    assert remove(tmp_path, f"{tmp_path}/data") == [*THINGS, "data"]
    assert os.listdir(tmp_path) == []


def test_a_container_of_another_stays_whatever_its_name_is(engine: dict[str, Any], tmp_path: Path) -> None:
    engine["containers"]["registry"]["Config"]["Labels"] = {}
    assert "container registry" not in remove(tmp_path)
    assert list(engine["containers"]) == ["registry"]


def test_data_behind_a_link_goes_with_the_link(engine: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with pytest.raises(WharfError, match=r"link leads to .*/data, which has no data ID"):
        remove(tmp_path, f"{tmp_path}/link")
    (tmp_path / "data/.wharf").write_text("aa reg.test")
    assert remove(tmp_path, f"{tmp_path}/link")[-2:] == ["data", "link"]
    assert os.listdir(tmp_path) == []


def test_of_a_mounted_disk_only_the_content_goes(
    engine: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.os.path, "ismount", lambda _path: True)
    assert remove(tmp_path, f"{tmp_path}/data")[-1] == "data/docker"
    assert os.listdir(tmp_path / "data") == []
    assert remove(tmp_path, f"{tmp_path}/data") == []


def test_an_image_that_something_else_runs_from_stays(engine: dict[str, Any], tmp_path: Path) -> None:
    engine["used"] = {*DISTRO, "sha256:aa"}
    assert not set(IMAGES) & set(remove(tmp_path))


def test_check_mode_tells_the_same_and_removes_nothing(engine: dict[str, Any], tmp_path: Path) -> None:
    before = sorted(os.listdir(tmp_path))
    assert remove(tmp_path, check_mode=True) == THINGS
    assert sorted(os.listdir(tmp_path)) == before
    assert len(engine["containers"]) == 2


def test_caches_go_as_well_and_what_they_have_only_with_the_data(engine: dict[str, Any], tmp_path: Path) -> None:
    for name in ("registry-caches", "registry-cache-docker.io", "registry-cache-ghcr.io-before"):
        engine["containers"][name] = engine["containers"]["registry"]
    engine["containers"]["registry-cache-mine"] = {"Image": "x", "Config": {"Image": "x", "Labels": {}}}
    for path in (
        "etc-caches/docker.io",
        "cache-sockets/docker.io",
        "caches/docker/registry",
        "caches/roots",
        "caches/import",
    ):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "caches/mine").touch()
    removed = remove(tmp_path)
    assert {"container registry-caches", "container registry-cache-docker.io", "etc-caches", "cache-sockets"} <= {
        *removed
    }
    assert set(engine["containers"]) == {"registry-cache-mine"}
    assert (tmp_path / "caches/docker/registry").is_dir()
    assert remove(tmp_path, caches_data=f"{tmp_path}/caches") == ["caches/docker", "caches/roots", "caches/import"]
    assert [path.name for path in (tmp_path / "caches").iterdir()] == ["mine"]

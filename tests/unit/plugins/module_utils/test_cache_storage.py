"""Images are written into caches whole, for the registry's user, and through no link."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import bundles, cache_storage
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.storage import Storage
from tests.unit.stored_registry import StoredRegistry

NAME = "docker.io/library/debian"


@pytest.fixture
def bundle(tmp_path: Path) -> bundles.Bundle:
    """Return a bundle of an index in an index."""
    stored = StoredRegistry(tmp_path / "there")
    inner = stored.manifest(NAME, None, {"manifests": [{"digest": stored.image(NAME, None)}]})
    stored.manifest(NAME, "13", {"manifests": [{"digest": inner}]})
    storage = Storage(stored.root)
    bundles.write(bundles.plan(storage, [NAME]), str(tmp_path / "a.tar"))
    return bundles.Bundle(str(tmp_path / "a.tar"))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return where caches that have nothing keep that, while they are filled."""
    monkeypatch.setattr(cache_storage, "LOCK", tmp_path / "lock")
    root = tmp_path / "caches"
    for one in ("blobs", "repositories/docker.io"):
        (root / "docker/registry/v2" / one).mkdir(parents=True)
        if os.getuid() == 0:
            os.chown(root / "docker/registry/v2" / one, 59500, 59501)
    (root / "import").mkdir()
    (root / "import/of-a-run-that-was-killed").touch()
    with cache_storage.filling(str(root)):
        yield root


def files(data: Path) -> list[Path]:
    return sorted(path for path in data.rglob("*") if path.is_file())


def test_an_image_is_there_as_the_registry_would_have_stored_it(bundle, data, tmp_path):
    image = f"{NAME}:13"
    storage = cache_storage.CacheStorage(str(data), "docker.io")
    storage.store(image, bundle)
    digest = bundle.contents.images[0]["digest"]
    assert storage.is_whole(NAME, "13")
    assert storage.tags(NAME) == {"13": digest}
    assert storage.problems(contents=True) == []
    there = {path.relative_to(tmp_path / "there") for path in files(tmp_path / "there")}
    assert {path.relative_to(data) for path in files(data)} == there
    if os.getuid() == 0:
        made = list((data / f"docker/registry/v2/repositories/{NAME}").rglob("*"))
        assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(59500, 59501)}
        assert {path.stat().st_mode & 0o777 for path in made} == {0o755, 0o644}
    layer = next(path for path in files(data) if path.read_bytes() == b"layer")
    before = layer.stat().st_ino
    storage.store(image, bundle)
    assert layer.stat().st_ino == before


def test_half_way_nothing_is_there(bundle, data, monkeypatch):
    storage = cache_storage.CacheStorage(str(data), "docker.io")
    left, put = [0], storage._put

    def failing(path: Path, *arguments: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError("disk full")
        put(path, *arguments)

    monkeypatch.setattr(storage, "_put", failing)
    for allowed in range(9):  # three manifests at least, five links, and the tag's
        left[0] = allowed
        with pytest.raises(OSError, match="disk full"):
            storage.store(f"{NAME}:13", bundle)
        assert storage.tags(NAME) == {}
        assert Storage(data).problems() == []
    left[0] = 9
    storage.store(f"{NAME}:13", bundle)
    assert storage.is_whole(NAME, "13")
    assert list((data / "import").iterdir()) == []


def test_a_file_is_as_old_as_its_place_however_long_the_disk_takes(bundle, data, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: os.utime(descriptor, (1, 1)))  # as if written long ago
    storage = cache_storage.CacheStorage(str(data), "docker.io")
    storage.store(f"{NAME}:13", bundle)
    assert all(path.stat().st_mtime > 1 for path in files(data))


def test_what_has_another_digest_is_not_stored(bundle, data):
    members = bundle.members
    first, second = sorted((name for name in members if "blobs/" in name), key=lambda name: members[name].size)[:2]
    members[first], members[second] = members[second], members[first]
    with pytest.raises(WharfError, match="copy the bundle again"):
        cache_storage.CacheStorage(str(data), "docker.io").store(f"{NAME}:13", bundle)
    assert all("repositories" not in path.parts for path in files(data))


@pytest.mark.parametrize("place", ["repositories/docker.io/library", "blobs/sha256"])
def test_no_link_is_followed(bundle, data, tmp_path, place):
    secret = tmp_path / "secret"
    secret.mkdir()
    (data / "docker/registry/v2" / place).symlink_to(secret)
    with pytest.raises(OSError, match="(symbolic links|Not a directory)"):
        cache_storage.CacheStorage(str(data), "docker.io").store(f"{NAME}:13", bundle)
    assert list(secret.iterdir()) == []


def test_a_link_in_the_place_of_a_file_is_replaced(bundle, data, tmp_path):
    storage = cache_storage.CacheStorage(str(data), "docker.io")
    layer = next(digest for digest, is_manifest in bundle.needs[f"{NAME}:13"].items() if not is_manifest)
    places = [storage.tag_link(NAME, "13"), storage.layer_link(NAME, layer), storage.blob_path(layer)]
    for number, place in enumerate(places):
        with bundle.blob(layer) as file:
            (tmp_path / str(number)).write_bytes(b"x" * file.size)
        place.parent.mkdir(parents=True)
        place.symlink_to(tmp_path / str(number))
    storage.store(f"{NAME}:13", bundle)
    assert storage.is_whole(NAME, "13")
    for number, place in enumerate(places):
        assert not place.is_symlink()
        assert set((tmp_path / str(number)).read_bytes()) == {ord("x")}


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_directory_that_a_run_left_when_it_was_killed_gets_its_owner(bundle, data):
    top = data / "docker/registry/v2"
    storage = cache_storage.CacheStorage(str(data), "docker.io")
    left = storage.tag_link(NAME, "13").parent
    left.mkdir(parents=True, mode=0o700)
    storage.store(f"{NAME}:13", bundle)
    assert (left.stat().st_uid, left.stat().st_mode & 0o777) == (59500, 0o755)
    assert [path.stat().st_uid for path in (data, top, top / "repositories")] == [0, 0, 0]


def test_a_cache_that_is_not_deployed_is_named(data):
    with pytest.raises(WharfError, match="ghcr.io of wharf_caches is not there yet: run playbooks/deploy-registry.yml"):
        cache_storage.CacheStorage(str(data), "ghcr.io")

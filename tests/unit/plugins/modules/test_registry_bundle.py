"""The module registry_bundle: what it refuses before and after a bundle is written."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import bundles, cache_storage, caches, lock
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.storage import Storage
from ansible_collections.wharf.registry.plugins.modules import registry_bundle
from tests.unit.stored_registry import StoredRegistry

PARAMETERS = {
    "container": "registry",
    "images": ["app"],
    "own_images": False,
    "fingerprint": "",
    "room": 0,
    "caches": [],
}


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Return the storage of a registry with two images."""
    top = tmp_path / "registry/docker/registry/v2"
    for tag in ("1", "2"):
        content = json.dumps({"schemaVersion": 2, "tag": tag}).encode()
        number = hashlib.sha256(content).hexdigest()
        for path, text in (
            (top / f"blobs/sha256/{number[:2]}/{number}/data", content),
            (top / f"repositories/app/_manifests/tags/{tag}/current/link", f"sha256:{number}".encode()),
        ):
            path.parent.mkdir(parents=True)
            path.write_bytes(text)
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(caches, "LOCK", tmp_path / "caches-lock")
    monkeypatch.setattr(cache_storage, "LOCK", caches.LOCK)
    monkeypatch.setattr(cache_storage, "PATIENCE", 0)
    monkeypatch.setattr(registry_bundle, "PLACE", str(tmp_path))
    return Storage(tmp_path / "registry")


def write(storage: Storage, path: Path, check_mode: bool = False, **parameters: object) -> dict:
    """Write a bundle."""
    return registry_bundle.write(PARAMETERS | {"path": str(path)} | parameters, storage, {}, check_mode)


def test_check_mode_says_what_would_be_written(storage, tmp_path):
    planned = write(storage, tmp_path / "a.tar", check_mode=True)
    assert not (tmp_path / "a.tar").exists()
    assert write(storage, tmp_path / "a.tar") == planned
    assert (tmp_path / "a.tar").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("registry", "lock")] == ["a.tar"]


def test_the_own_images_come_along_by_their_names(storage, tmp_path, monkeypatch):
    saved = []

    def cli(command: str, *arguments: str) -> str:
        if command == "save":
            saved.extend(arguments[2:])
            Path(arguments[1]).write_text("images")
        return "5000"

    gateway = {"Image": "sha256:bb", "Config": {"Image": "nginx:1.30.5"}}
    monkeypatch.setattr(registry_bundle, "cli", cli)
    monkeypatch.setattr(registry_bundle, "container", lambda name: gateway if name == "registry-gateway" else None)
    inspected = {"Image": "sha256:aa", "Config": {"Image": "registry:3.1.1"}}
    parameters = PARAMETERS | {"own_images": True, "path": str(tmp_path / "a.tar")}
    written = registry_bundle.write(parameters, storage, inspected, False)
    assert saved == ["registry:3.1.1", "nginx:1.30.5"]
    assert written["own_images"] == ["sha256:aa", "sha256:bb"]
    assert written["room"] == write(storage, tmp_path / "b.tar")["room"] + 10000
    assert registry_bundle.check(str(tmp_path / "a.tar"))["own_images"] == written["own_images"]
    with tarfile.open(tmp_path / "a.tar") as bundle:
        assert bundle.extractfile("registry-images.tar").read() == b"images"
    monkeypatch.setattr(registry_bundle, "container", lambda _name: None)
    with pytest.raises(WharfError, match="there is no container registry-gateway: run playbooks/deploy-registry.yml"):
        registry_bundle.write(parameters, storage, inspected, False)


def test_room_is_asked_for_first(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(bundles.shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
    with pytest.raises(WharfError, match="make room there"):
        write(storage, tmp_path / "a.tar")
    assert not (tmp_path / "a.tar").exists()
    with pytest.raises(WharfError, match="has 1000 bytes free, and 9.8 KiB are needed"):
        registry_bundle.reserve(str(tmp_path / "a.tar"), "", 10000)


def test_another_file_of_that_name_is_not_overwritten(storage, tmp_path):
    path = tmp_path / "a.tar"
    assert registry_bundle.reserve(str(path), "0" * 64, 1000) == {"exists": False}
    written = write(storage, path)
    assert registry_bundle.reserve(str(path), written["fingerprint"], 1000)["exists"]
    with pytest.raises(WharfError, match="it is another bundle, or was altered: give another name, or remove it"):
        registry_bundle.reserve(str(path), "0" * 64, 1000)
    path.write_bytes(path.read_bytes()[:5120])
    with pytest.raises(WharfError, match="cut short.*: give another name, or remove it"):
        registry_bundle.reserve(str(path), written["fingerprint"], 1000)
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(WharfError, match="give another name"):
        registry_bundle.reserve(str(path), written["fingerprint"], 1000)


@pytest.mark.parametrize("path", ["a.tar", "", "{}/a", "{}/no/a.tar"])
def test_path_that_cannot_be_is_refused(tmp_path, path):
    with pytest.raises(WharfError, match="(absolute path|no directory)"):
        registry_bundle.reserve(path.format(tmp_path), "0" * 64, 1000)


def test_other_fingerprint_than_expected_is_refused(storage, tmp_path):
    written = write(storage, tmp_path / "a.tar")
    assert registry_bundle.check(str(tmp_path / "a.tar"), written["fingerprint"])["images"] == written["images"]
    with pytest.raises(WharfError, match="it is another bundle, or was altered"):
        registry_bundle.check(str(tmp_path / "a.tar"), "0" * 64)


@pytest.mark.parametrize("check_mode", [False, True])
def test_part_gets_its_name_once_it_is_read_whole(storage, tmp_path, check_mode):
    path, part = tmp_path / "a.tar", tmp_path / "a.tar.part"
    written = write(storage, part)
    parameters = PARAMETERS | {"action": "accept", "path": str(path), "fingerprint": written["fingerprint"]}
    images = [{**image, "cache": False} for image in written["images"]]
    assert registry_bundle.run(parameters, check_mode)["images"] == images
    assert path.exists() != check_mode
    if not check_mode:
        part.write_bytes(path.read_bytes()[:-5120])
        with pytest.raises(WharfError):
            registry_bundle.run(parameters, check_mode)


def test_the_bundle_is_of_whom_its_directory_is_and_no_link_in_it_is_followed(storage, tmp_path):
    theirs, elsewhere = tmp_path / "theirs", tmp_path / "elsewhere"
    theirs.mkdir(mode=0o700)
    (theirs / "a.tar").symlink_to(elsewhere)
    with pytest.raises(FileExistsError):
        write(storage, theirs / "a.tar")
    assert (theirs / "a.tar").is_symlink()
    assert not elsewhere.exists()
    (tmp_path / "link").symlink_to(theirs)
    with pytest.raises(NotADirectoryError):
        write(storage, tmp_path / "link/b.tar")
    assert [path.name for path in theirs.iterdir()] == ["a.tar"]
    if os.getuid() == 0:
        os.chown(theirs, 65534, 65533)
        write(storage, theirs / "b.tar")
        found = (theirs / "b.tar").stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65534, 65533, 0o600)


def test_images_of_caches_are_read_while_nobody_trims_and_are_known_again(storage, tmp_path):
    stored = StoredRegistry(tmp_path / "caches")
    stored.image("hub.test_8443/app", "1")
    upstreams = ["docker.io", "hub.test:8443"]
    wanted = {"images": ["app:1", "hub.test_8443/*"], "caches": upstreams, "caches_data": str(stored.root)}
    written = write(storage, tmp_path / "a.tar", **wanted)
    parameters = PARAMETERS | {"action": "check", "path": str(tmp_path / "a.tar"), "caches": upstreams}
    read = registry_bundle.run(parameters, False)
    assert read["fingerprint"] == written["fingerprint"]
    assert {image["image"]: image["cache"] for image in read["images"]} == {"app:1": False, "hub.test_8443/app:1": True}
    with lock.lock("trim-caches", path=caches.LOCK):
        write(storage, tmp_path / "b.tar", images=["app"])
        with pytest.raises(WharfError, match="trim-caches is at work"):
            write(storage, tmp_path / "c.tar", **wanted)


def test_a_cache_that_is_listed_and_not_deployed_is_named(storage, tmp_path):
    for data, words in (
        (
            str(tmp_path / "caches"),
            "the cache docker.io of wharf_caches is not there yet: run playbooks/deploy-registr",
        ),
        (None, "caches_data is missing"),
    ):
        with pytest.raises(WharfError, match=words):
            write(storage, tmp_path / "a.tar", images=["docker.io/**"], caches=["docker.io"], caches_data=data)


def test_no_link_in_caches_leads_to_images_of_the_registry(storage, tmp_path):
    stored = StoredRegistry(tmp_path / "caches")
    stored.image("docker.io/app", "1")
    wanted = {"images": ["docker.io/app"], "caches": ["docker.io"], "caches_data": str(stored.root)}
    assert write(storage, tmp_path / "a.tar", **wanted)["images"]
    (stored.top / "blobs").rename(tmp_path / "theirs")
    (stored.top / "blobs").symlink_to(tmp_path / "theirs")
    with pytest.raises(WharfError, match="the caches have only parts of docker.io/app"):
        write(storage, tmp_path / "b.tar", **wanted)


def test_path_is_needed_but_for_a_look():
    for action, check_mode in (("write", False), ("reserve", True), ("accept", True), ("check", True)):
        with pytest.raises(WharfError, match="path is missing"):
            registry_bundle.run(PARAMETERS | {"action": action, "path": None}, check_mode)


def test_images_in_an_object_store_are_refused_and_those_of_caches_are_not(storage, tmp_path, monkeypatch):
    settings = tmp_path / "registry.json"
    settings.write_text('{"driver": "s3"}')
    monkeypatch.setattr(registry_bundle, "SETTINGS", str(settings))
    monkeypatch.setattr(registry_bundle, "container", lambda _: {})
    monkeypatch.setattr(registry_bundle, "mounted_at", lambda _: str(storage.top))
    parameters = {**PARAMETERS, "action": "write", "path": "", "caches": ["docker.io"], "caches_data": str(tmp_path)}
    with pytest.raises(WharfError, match=r"the images are in s3.*skopeo copy --all"):
        registry_bundle.run(parameters, check_mode=True)
    with pytest.raises(WharfError, match="docker.io"):  # that cache has nothing
        registry_bundle.run({**parameters, "images": ["docker.io/library/app:1"]}, check_mode=True)

"""A registry's storage in a bucket is read as one in files is, with few requests."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import bucket
from ansible_collections.wharf.registry.plugins.module_utils.errors import DamageError, WharfError
from ansible_collections.wharf.registry.plugins.module_utils.storage import Storage
from tests.unit.stored_bucket import S3, StoredBucket, stored_bucket  # noqa: F401

NAMES = ("app", "app/sub", "v1", "v10")


@pytest.fixture
def stored(stored_bucket: StoredBucket) -> StoredBucket:  # noqa: F811
    """Return a bucket with images, an index, what lacks something, and an upload."""
    for name in NAMES:
        for tag in ("1", "10", "_layers", "_uploads"):
            stored_bucket.image(name, tag, f"{name}:{tag}".encode())
    part = stored_bucket.image("multi", None, b"part")
    stored_bucket.manifest("multi", "all", {"manifests": [{"digest": part}]})
    stored_bucket.link("multi/_manifests/tags/gone/current", "sha256:" + "0" * 64)
    lacking = stored_bucket.image("multi", "lacking", b"lost")
    stored_bucket.write(stored_bucket.top / "repositories/multi/_uploads/1/data", b"upload")
    Storage(stored_bucket.root).blob_path(stored_bucket.blob(b"lost")).unlink()
    assert lacking
    return stored_bucket


def facts(storage: Storage) -> dict[str, Any]:
    """Return what a storage tells."""
    names = storage.repositories()
    return {
        "tags": storage.all_tags(),
        "revisions": {name: storage.revisions(name) for name in names},
        "layers": {name: storage.layers(name) for name in names},
        "pushed": {key: storage.pushed(*key) for key in storage.all_tags()},
        "since": {name: storage.linked_since(name, 0).keys() for name in names},
        "sizes": storage.blob_sizes(),
        "whole": {key: storage.is_whole(*key) for key in storage.all_tags()},
        "summary": storage.summary(contents=True),
        "unknown": list(storage.damage(["nobody"])),
    }


@pytest.mark.parametrize("encrypted", [False, True])
def test_it_tells_what_the_same_in_files_tells(stored: StoredBucket, encrypted: bool) -> None:
    if encrypted:
        (stored.store / "encrypted").touch()
    in_files, in_bucket = facts(Storage(stored.root)), facts(stored.storage())
    for key in ("pushed", "since"):
        in_files.pop(key), in_bucket.pop(key)
    assert in_bucket == in_files
    assert in_bucket["summary"]["problems"] != []
    assert Storage(stored.root).pushed("app", "1") == pytest.approx(stored.storage().pushed("app", "1"))


def test_two_listings_and_the_new_manifests_are_all_that_is_asked_for(stored: StoredBucket) -> None:
    stored.storage().summary(["app", "v1"])
    calls = stored.calls()
    assert [call.split()[0] for call in calls] == ["lsjson", "lsjson", "copy"]
    stored.storage().summary(["app", "v1"])
    assert [call.split()[0] for call in stored.calls()] == ["lsjson", "lsjson"]
    digest = stored.image("v10", "2", b"new")
    assert stored.storage().read(digest)["layers"]
    assert sorted(path.name for path in stored.root.parent.parent.glob("cache/*")) == sorted(
        {one for name in (*NAMES, "multi") for one in Storage(stored.root).revisions(name)}
    )


def test_tags_whose_etag_is_no_md5_are_read_once(stored: StoredBucket) -> None:
    (stored.store / "encrypted").touch()
    for read in (1, 0):
        stored.calls()
        tags = stored.storage().tags("app")
        assert tags == Storage(stored.root).tags("app")
        assert sum(call.startswith("copy") for call in stored.calls()) == read


def test_a_push_between_the_two_listings_is_no_damage(stored: StoredBucket) -> None:
    storage = stored.storage()
    tags = set(storage.links)
    digest = stored.image("app", "new", b"meanwhile")
    for path in storage.rclone.listed(storage.repository("app"), "--hash").items():
        if path[0].endswith("tags/new/current/link"):  # the page with the manifest's link came before
            storage.links.update(storage._noted(dict([path])))
    assert set(storage.links) - tags == {str(storage.tag_link("app", "new"))}
    assert storage.problems(["app"]) == []
    assert storage.tag("app", "new") == digest


def test_what_is_damaged_is_told_as_in_files(stored: StoredBucket) -> None:
    storage = stored.storage()
    with pytest.raises(DamageError, match="is not there"):
        storage.read("sha256:" + "0" * 64)
    digest = storage.tag("app", "1")
    Storage(stored.root).blob_path(digest).write_bytes(b"{}")
    with pytest.raises(DamageError, match="its content has another digest"):
        stored.storage().read(digest)
    Storage(stored.root).tag_link("v1", "1").write_text("")
    assert "v1:1: its link holds no digest" in stored.storage().problems(["v1"])
    layer = stored.blob(b"v10:1")
    assert stored.storage().is_intact(layer)
    Storage(stored.root).blob_path(layer).write_bytes(b"v10:X")
    assert not stored.storage().is_intact(layer)
    assert stored.storage().problems(["v10"]) == []
    (problem,) = stored.storage().problems(["v10"], contents=True)
    assert problem.endswith("which is damaged: its content has another digest")


def test_a_manifest_at_hand_that_this_host_has_damaged_is_fetched_again(stored: StoredBucket) -> None:
    storage = stored.storage()
    digest = storage.tag("app", "1")
    before = storage.read(digest)
    (bucket.CACHE / digest).write_bytes(b"")
    assert storage.read(digest) == before


def test_what_is_at_hand_goes_with_what_is_stored(stored: StoredBucket) -> None:
    storage = stored.storage()
    digest = storage.tag("app", "1")
    storage.read(digest)
    Storage(stored.root).blob_path(digest).unlink()
    gone = bucket.CACHE / digest
    new = stored.image("app", "new", b"new")
    stored.storage().read(new)
    assert gone.exists()  # another run may read it just now
    bucket.DAY, day = -1, bucket.DAY
    try:
        stored.storage().fetch([stored.image("app", "newer", b"newer")])
    finally:
        bucket.DAY = day
    assert not gone.exists() and (bucket.CACHE / new).exists()


def test_rclone_gets_no_secret_and_nothing_of_roots_own(stored: StoredBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    monkeypatch.setenv("RCLONE_S3_ENDPOINT", "other")
    monkeypatch.setenv("https_proxy", "http://proxy.corp.test:3128")
    stored.storage().repositories()
    call = json.loads(stored.log.read_text().splitlines()[0])
    own = {name: value for name, value in call["environment"].items() if name.startswith(("RCLONE", "AWS", "http"))}
    assert own == {
        "AWS_SHARED_CREDENTIALS_FILE": "/etc/wharf/registry/credentials",
        "RCLONE_CONFIG": "/nonexistent",
        "RCLONE_CONFIG_STORE_ENDPOINT": "https://store:7443",
        "RCLONE_CONFIG_STORE_ENV_AUTH": "true",
        "RCLONE_CONFIG_STORE_NO_CHECK_BUCKET": "true",
        "RCLONE_CONFIG_STORE_PROVIDER": "Other",
        "RCLONE_CONFIG_STORE_REGION": "r",
        "RCLONE_CONFIG_STORE_TYPE": "s3",
    }
    assert bucket.Rclone(S3, "").options[-2:] == ("--ca-cert", "/etc/ca.crt")
    assert bucket.Rclone({**S3, "root": "/a/b/", "ca": ""}, "").at("x") == "store:wharf/a/b/x"


def test_a_store_that_is_away_and_a_program_that_is_missing_are_named(
    stored: StoredBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stored.store / "away").touch()
    with pytest.raises(
        WharfError, match=r"^rclone lsjson failed on the bucket wharf: Failed to list: dial tcp: refused$"
    ):
        stored.storage().repositories()
    monkeypatch.setattr(bucket, "has", lambda _: False)
    with pytest.raises(WharfError, match="rclone is not installed"):
        stored.storage().repositories()


def test_an_empty_bucket_has_no_images_and_a_missing_one_is_an_error(stored_bucket: StoredBucket) -> None:  # noqa: F811
    assert stored_bucket.storage().summary()["tags"] == 0
    os.rename(stored_bucket.root, stored_bucket.store / "other")
    with pytest.raises(WharfError, match="rclone lsf failed on the bucket wharf: exit code 3"):
        stored_bucket.storage().repositories()


def test_a_repository_goes_with_its_blobs(stored: StoredBucket) -> None:
    blobs = stored.storage().blob_sizes().keys()
    storage = stored.storage()
    stored.image("smoke/1", "1", b"smoke")  # after the listing
    assert stored.storage().repositories_in("smoke") == ["smoke/1"]
    storage.remove_repository("smoke/1")
    assert stored.storage().blob_sizes().keys() == blobs
    assert "smoke/1" not in stored.storage().repositories()
    assert stored.storage().repositories_in("nobody") == []


def test_what_was_set_aside_comes_back_unless_it_was_pushed_again(stored: StoredBucket) -> None:
    storage = stored.storage()
    paths = [storage.blob_path(stored.blob(b"app:1")), storage.blob_path(stored.blob(b"v1:1"))]
    assert not storage.has_aside()
    storage.set_aside(paths)
    assert storage.has_aside() and not any((stored.root / path).exists() for path in paths)
    stored.blob(b"v1:1")
    storage.put_back()
    assert all((stored.root / path).exists() for path in paths)
    assert not storage.has_aside()

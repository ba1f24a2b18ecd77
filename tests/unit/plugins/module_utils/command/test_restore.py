"""What is restored: verified first, and put in place at once."""

from __future__ import annotations

import hashlib

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import restore
from tests.unit.stored_registry import StoredRegistry


def test_blob_that_no_link_names_is_removed_from_what_was_restored(tmp_path):
    digest = StoredRegistry(tmp_path).image("app", "1", b"layer")
    half = tmp_path / restore.TREE / "blobs/sha256/ab" / ("ab" * 32)
    half.mkdir(parents=True)
    (half / "data").write_text("half of a manif")
    restore.remove_unreferenced(tmp_path)
    assert not half.exists()
    restore.verify_restored(restore.Storage(tmp_path), {"app:1": digest})


def test_restored_tag_that_leads_elsewhere_is_refused(tmp_path):
    StoredRegistry(tmp_path).image("app", "1", b"layer")
    with pytest.raises(restore.WharfError, match="app:1: should lead to sha256:other"):
        restore.verify_restored(restore.Storage(tmp_path), {"app:1": "sha256:other"})


def test_restored_blob_with_a_flipped_byte_is_refused(tmp_path):
    digest = StoredRegistry(tmp_path).image("app", "1", b"layer")
    layer = hashlib.sha256(b"layer").hexdigest()
    restore.Storage(tmp_path).blob_path(f"sha256:{layer}").write_bytes(b"lAyer")
    with pytest.raises(restore.WharfError, match="damaged"):
        restore.verify_restored(restore.Storage(tmp_path), {"app:1": digest})


def test_directories_are_swapped_and_the_old_one_is_kept(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert restore.swap(tmp_path / "new", tmp_path / "old", tmp_path / "kept") == [str(tmp_path / "kept")]
    assert (tmp_path / "old/new").exists()
    assert (tmp_path / "kept/docker/old").exists()


def test_first_directory_of_all_replaces_nothing(tmp_path):
    (tmp_path / "new").mkdir()
    assert restore.swap(tmp_path / "new", tmp_path / "old", tmp_path / "kept") == []
    assert (tmp_path / "old").is_dir()

"""What is restored: verified first, and put in place at once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

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


def test_what_is_laid_in_the_place_of_the_directory_to_restore_into_counts_for_nothing(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with restore.staging_dir(tmp_path) as staging:
        (tmp_path / ".restoring").rename(tmp_path / "away")
        (tmp_path / ".restoring").symlink_to(elsewhere)
        (staging / "file").write_text("restored")
        restore.swap(staging / "file", tmp_path / "docker", tmp_path / "kept")
    assert list(elsewhere.iterdir()) == []
    assert (tmp_path / "docker").read_text() == "restored"


def test_directories_are_swapped_and_the_old_one_is_kept(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert restore.swap(tmp_path / "new", tmp_path / "old", tmp_path / "kept") == [str(tmp_path / "kept")]
    assert (tmp_path / "old/new").exists()
    assert (tmp_path / "kept/docker/old").exists()


@pytest.mark.parametrize("can", [True, False])
def test_directories_are_swapped_back(tmp_path, monkeypatch, can):
    exchange = restore.exchange
    monkeypatch.setattr(restore, "exchange", lambda one, other: can and exchange(one, other))
    places = new, old, kept = tmp_path / "new", tmp_path / "old", tmp_path / "kept"
    for place in (new, old):
        place.mkdir()
        (place / place.name).touch()
    restore.swap(*places)
    restore.swap_back(*places)
    assert ((new / "new").exists(), (old / "old").exists(), kept.exists()) == (True, True, False)
    old.rename(tmp_path / "away")  # as on a fresh server
    restore.swap(*places)
    restore.swap_back(*places)
    assert ((new / "new").exists(), old.exists()) == (True, False)


def test_first_directory_of_all_replaces_nothing(tmp_path):
    (tmp_path / "new").mkdir()
    assert restore.swap(tmp_path / "new", tmp_path / "old", tmp_path / "kept") == []
    assert (tmp_path / "old").is_dir()


def test_repository_is_published_with_its_tags_last_and_the_registrys_own_blobs_stay(tmp_path, monkeypatch):
    staged, running = StoredRegistry(tmp_path / "staged"), StoredRegistry(tmp_path / "running")
    digest = staged.image("team/app", "link", b"layer")
    staged.link(f"team/app/_manifests/tags/link/index/{digest.replace(':', '/')}", digest)
    own = running.image("other", "1", b"layer")
    blob = restore.Storage(running.root).blob_path(f"sha256:{hashlib.sha256(b'layer').hexdigest()}")
    staged_blob = staged.root / blob.relative_to(running.root)
    staged_blob.unlink()
    staged_blob.hardlink_to(blob)
    moved, owned = [], []
    replace = Path.replace
    monkeypatch.setattr(restore, "chown", lambda path, like: owned.append((path, like)))
    monkeypatch.setattr(Path, "replace", lambda self, target: moved.append(target) or replace(self, target))
    restore.publish(restore.Storage(staged.root), restore.Storage(running.root), running.root)
    kinds = [path.relative_to(running.top).parts for path in moved]
    assert [parts[0] for parts in kinds] == ["blobs"] * 3 + ["repositories"] * 5
    assert [parts[3] for parts in kinds[3:]] == ["_layers"] * 2 + ["_manifests"] * 3
    assert [parts[4] for parts in kinds[5:]] == ["revisions", "tags", "tags"]
    assert kinds[-1][-3:] == ("link", "current", "link")
    now = restore.Storage(running.root)
    assert list(now.problems(contents=True)) == []
    assert now.all_tags() == {("other", "1"): own, ("team/app", "link"): digest}
    assert (running.top / "repositories/team", running.root) in owned


def test_files_that_differ_are_replaced_and_a_copy_of_their_directory_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fchown", lambda *_: None)
    monkeypatch.setattr(restore, "chown", lambda path, like: None)
    places = {kind: tmp_path / kind for kind in ("registry", "tls", "ca")}
    staged = tmp_path / "staged/etc"
    for kind in places:
        (staged / kind).mkdir(parents=True)
        (staged / kind / "file").write_text("backup")
        (staged / kind / "config.yml").write_text("of then")
    for kind, content in {"registry": "other", "tls": "backup"}.items():
        places[kind].mkdir()
        (places[kind] / "file").write_text(content)
        (places[kind] / "config.yml").write_text("of now")
    contents = {"directories": {kind: f"/etc/{kind}" for kind in places}}
    job = SimpleNamespace(restic=SimpleNamespace(directories=places), contents=contents)
    with pytest.raises(KeyError), restore.Job.files_restored(job, tmp_path / "staged", "before") as kept:
        assert (tmp_path / "registry/file").read_text() == "backup"
        raise KeyError
    assert (tmp_path / "registry/file").read_text() == "other"
    assert not (tmp_path / "registry.before").exists()
    assert not places["ca"].exists()
    with restore.Job.files_restored(job, tmp_path / "staged", "before") as kept:
        assert kept == [str(tmp_path / "registry.before")]
    assert (tmp_path / "registry.before/file").read_text() == "other"
    assert [(place / "file").read_text() for place in places.values()] == ["backup"] * 3
    assert (places["registry"] / "config.yml").read_text() == "of now"
    assert not (tmp_path / "tls.before").exists()
    assert not (places["ca"] / "config.yml").exists()

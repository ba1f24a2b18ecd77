"""What goes into a backup: every tag, complete, while people push."""

from __future__ import annotations

import hashlib
import os
import shutil

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import staging
from ansible_collections.wharf.registry.plugins.module_utils.command import backup
from ansible_collections.wharf.registry.plugins.module_utils.staging import TREE
from ansible_collections.wharf.registry.plugins.module_utils.storage import Storage
from tests.unit.stored_registry import StoredRegistry


@pytest.fixture
def staged(tmp_path, monkeypatch):
    monkeypatch.setattr(backup, "STATE", tmp_path / "state")
    monkeypatch.setattr(backup, "STAGE", tmp_path / "state/stage")
    return tmp_path / "state/stage"


def test_stage_holds_every_tag_and_no_upload(tmp_path, staged):
    data = tmp_path / "data"
    digest = StoredRegistry(data).image("team/app", "1", b"layer")
    (data / TREE / "repositories/team/app/_uploads/some").mkdir(parents=True)
    assert backup.stage(data) == {"team/app:1": digest}
    assert list(Storage(staged).problems(contents=True)) == []
    assert not (staged / TREE / "repositories/team/app/_uploads").exists()


def test_stage_keeps_the_times_of_links(tmp_path, staged):
    data = tmp_path / "data"
    StoredRegistry(data).image("app", "1", b"layer")
    os.utime(Storage(data).tag_link("app", "1"), (1000, 1000))
    backup.stage(data)
    assert Storage(staged).pushed("app", "1") == 1000


def test_stage_follows_the_registry_and_leaves_alone_what_is_right(tmp_path, staged):
    data = tmp_path / "data"
    registry = StoredRegistry(data)
    registry.image("gone", "1", b"one")
    digest = registry.image("team/stays", "1", b"two")
    backup.stage(data)
    copy = Storage(staged).tag_link("team/stays", "1")
    inode, changed = copy.stat().st_ino, copy.stat().st_ctime_ns
    shutil.rmtree(data / TREE / "repositories/gone")
    assert backup.stage(data) == {"team/stays:1": digest}
    assert (copy.stat().st_ino, copy.stat().st_ctime_ns) == (inode, changed)
    assert Storage(staged).repositories() == ["team/stays"]


def test_a_tag_that_moves_while_it_is_copied_is_copied_with_its_own_time(tmp_path, staged, monkeypatch):
    """restic goes by size and time: neither may be that of before."""
    data, digests = tmp_path / "data", []
    registry = StoredRegistry(data)
    registry.image("app", "1", b"old")
    link, read = Storage(data).tag_link("app", "1"), staging.read_text
    os.utime(link, (1000, 1000))

    def read_and_push(path, opener):
        text = read(path, opener)
        if path == link and not digests:
            digests.append(registry.image("app", "1", b"new"))
        return text

    monkeypatch.setattr(staging, "read_text", read_and_push)
    monkeypatch.setattr(staging.time, "sleep", lambda _: None)
    assert [*backup.stage(data)] == ["app:1"]
    assert Storage(staged).tags("app") == {"1": digests[0]}
    assert Storage(staged).pushed("app", "1") > 1000


def test_stage_takes_nothing_along_that_a_link_to_elsewhere_leads_to(tmp_path, staged, monkeypatch):
    monkeypatch.setattr(staging.time, "sleep", lambda _: None)
    data, secret = tmp_path / "data", tmp_path / "shadow"
    StoredRegistry(data).image("app", "1", b"layer")
    secret.write_text("root:secret")
    link = Storage(data).tag_link("app", "1")
    link.unlink()
    link.symlink_to(secret)
    assert backup.stage(data) == {}
    assert Storage(staged).tag_link("app", "1").read_text() == ""
    assert "app:1: its link holds no digest" in list(Storage(staged).problems())


def test_stage_names_a_tag_whose_blob_is_not_there(tmp_path, staged):
    data = tmp_path / "data"
    StoredRegistry(data).image("app", "1", b"layer")
    layer = hashlib.sha256(b"layer").hexdigest()
    Storage(data).blob_path(f"sha256:{layer}").unlink()
    backup.stage(data)
    assert "which is not there" in " ".join(Storage(staged).problems())

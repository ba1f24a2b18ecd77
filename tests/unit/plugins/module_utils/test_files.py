"""Files that others may have put there: read only where they are files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import files


@pytest.mark.parametrize("opener", [files.no_pipe, files.no_link])
def test_a_pipe_has_no_text_and_keeps_nobody_waiting(tmp_path: Path, opener) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert files.read_text(tmp_path / "pipe", opener) == ""


def test_a_link_is_followed_only_where_that_is_meant(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    assert files.read_text(tmp_path / "link") == "text"
    assert files.read_text(tmp_path / "link", files.no_link) == ""


def test_a_pipe_in_place_of_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    changes = files.Changes(check_mode=False)
    assert changes.put(str(path), files.Entry(os.getuid(), os.getgid(), 0o644, b"text"))
    assert path.read_text() == "text"


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_root_acts_as_the_owner_and_follows_no_link_of_theirs(tmp_path):
    """The owner's directory lies in one that only root may enter, as Docker's volumes do."""
    data, secret = tmp_path / "volumes/data", tmp_path / "secret"
    for directory in (data, secret):
        directory.mkdir(parents=True)
        (directory / "file").write_text("text")
    data.parent.chmod(0o700)
    (data / "link").symlink_to(secret)
    os.chown(data, 59500, 59500)
    with files.acting_as_owner(data):
        assert (data / "file").read_text() == "text"
        (data / "file").unlink()
        (data / "new").touch()
        with pytest.raises(PermissionError):
            (data / "link/file").unlink()
    assert (os.stat(data / "new").st_uid, os.geteuid(), os.getegid()) == (59500, 0, 0)
    (secret / "file").unlink()
    with files.acting_as_owner(tmp_path / "missing"):
        assert os.geteuid() == 0


def test_what_a_block_that_fails_has_done_is_undone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    there, gone, link, new = (tmp_path / name for name in ("there", "gone", "link", "some/where/new"))
    for path in (there, gone):
        path.write_text("before")
        path.chmod(0o640)
    link.symlink_to("there")
    with pytest.raises(KeyError), files.all_or_nothing(*map(str, (there, gone, link, new))):
        there.write_text("after")
        gone.unlink()
        link.unlink()
        new.parent.mkdir(parents=True)
        new.write_text("after")
        raise KeyError
    assert [(path.read_text(), path.stat().st_mode & 0o777) for path in (there, gone)] == [("before", 0o640)] * 2
    assert os.readlink(link) == "there"
    assert not (tmp_path / "some").exists()


def test_what_others_put_into_a_new_directory_stays(tmp_path: Path) -> None:
    with pytest.raises(KeyError), files.all_or_nothing(str(tmp_path / "new/file")):
        (tmp_path / "new").mkdir()
        (tmp_path / "new/theirs").touch()
        raise KeyError
    assert (tmp_path / "new/theirs").exists()


def test_what_a_block_that_succeeds_has_done_stays(tmp_path: Path) -> None:
    with files.all_or_nothing(str(tmp_path / "new")):
        (tmp_path / "new").touch()
    assert (tmp_path / "new").exists()


@pytest.mark.parametrize("path", ["/", "//", "/.", "/tmp/..", "", "t", "tmp/file"])
def test_neither_the_root_directory_nor_a_relative_path_is_ever_removed(path: str, monkeypatch) -> None:
    """A text in the place of a list of paths is "/" and single letters."""
    removed: list[str] = []
    monkeypatch.setattr(files.shutil, "rmtree", removed.append)
    monkeypatch.setattr(files.os, "unlink", removed.append)
    with pytest.raises(OSError, match="only what has an absolute path below / is removed"):
        files.Changes(check_mode=False).remove(path)
    assert removed == []

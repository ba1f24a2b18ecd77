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

"""The module host_files: several small files and directories in one visit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="gives files to root")


def run(files: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    """Run the module; return its result."""
    arguments = {"ANSIBLE_MODULE_ARGS": {"files": files, **options}}
    done = subprocess.run(
        [sys.executable, ROOT / "plugins/modules/host_files.py"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_writes_what_differs_and_removes_what_has_no_content(tmp_path: Path) -> None:
    new, old, right = tmp_path / "a/b/new", tmp_path / "old", tmp_path / "right"
    old.write_text("old")
    right.write_text("right")
    right.chmod(0o644)
    files = [
        {"path": str(new), "mode": "0700", "content": "new\n"},
        {"path": str(old)},
        {"path": str(right), "content": "right"},
    ]
    announced = run(files, _ansible_check_mode=True)
    assert (announced["changed"], announced["paths"]) == (True, [str(new), str(old)])
    assert not new.exists()
    assert old.exists()
    result = run(files)
    assert (result["changed"], result["paths"]) == (True, [str(new), str(old)])
    assert (new.read_text(), new.stat().st_mode & 0o7777) == ("new\n", 0o700)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "new", "right"]
    assert run(files)["changed"] is False


def test_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("text")
    (tmp_path / "link").symlink_to("target")
    assert run([{"path": str(tmp_path / "link"), "content": "other"}])["changed"] is True
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "text"


def test_says_which_file_cannot_be_written_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    result = run([{"path": str(tmp_path / "directory"), "content": "text"}])
    assert (result["failed"], result["msg"]) == (True, f"{tmp_path}/directory: Is a directory")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


def test_contents_are_in_the_difference_only(tmp_path: Path) -> None:
    result = run([{"path": str(tmp_path / "f"), "content": "hidden"}])
    assert result.pop("diff")[0]["after"] == "hidden"
    assert "hidden" not in json.dumps(result)


def test_owners_directories_and_what_is_to_go(tmp_path: Path) -> None:
    settings, old = tmp_path / "settings", tmp_path / "old"
    (old / "below").mkdir(parents=True)
    (old / "below/file").touch()
    wanted = {
        "directories": [{"path": str(settings), "mode": "0750", "gid": 59500}],
        "files": [{"path": str(settings / "users"), "mode": "0640", "gid": 59500, "content": "x"}],
        "remove": [str(old / "below"), str(tmp_path / "missing")],
        "remove_empty": [str(old), str(settings)],
    }
    expected = [str(settings), str(settings / "users"), str(old / "below"), str(old)]
    assert run(**wanted, _ansible_check_mode=True)["paths"] == expected
    assert (old / "below/file").exists()
    assert run(**wanted)["paths"] == expected
    facts = [(path.stat().st_gid, path.stat().st_mode & 0o7777) for path in (settings, settings / "users")]
    assert facts == [(59500, 0o750), (59500, 0o640)]
    assert not old.exists()
    assert run(**wanted)["changed"] is False
    settings.chmod(0o777)
    assert run(**wanted)["paths"] == [str(settings)]


def test_a_difference_shows_no_binary_content(tmp_path: Path) -> None:
    result = run([{"path": str(tmp_path / "f"), "content": "base64:AAEC"}])
    assert (tmp_path / "f").read_bytes() == b"\0\1\2"
    assert result["diff"][0]["after"] == "(not text)\n"

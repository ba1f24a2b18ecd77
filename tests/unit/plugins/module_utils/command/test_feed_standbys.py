"""What is copied to standbys, and in which order. rsync is imitated here; molecule/standby has the real one."""

from __future__ import annotations

import json
import shutil
import subprocess
from argparse import Namespace
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import feed_standbys
from ansible_collections.wharf.registry.plugins.module_utils.command.cli import Task
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from tests.unit.stored_registry import StoredRegistry

STATISTICS = "Number of deleted files: {} (reg: 1)\nNumber of regular files transferred: {}\nTotal bytes sent: 1000\n"


@pytest.fixture
def rsync(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """Have a registry with an image and two standbys; collect what rsync is asked for."""
    seen = SimpleNamespace(runs=[], marks={"beta": {"source": "ID"}, "gamma": {"source": "ID"}}, broken="", files=0)
    seen.registry = StoredRegistry(tmp_path / "data")
    seen.digest = seen.registry.image("team/app", "1")
    registry = SimpleNamespace(require_data=lambda: None, path=tmp_path / "data", uid=0, data_id="ID")

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        arguments = [one for one in command[command.index("rsync") + 1 :] if not one.startswith("--rsh")]
        seen.runs.append(arguments)
        name, _, path = arguments[-2].partition(":")
        if path == feed_standbys.COPIED:
            if seen.broken == name:
                return subprocess.CompletedProcess(command, 255, "", "ssh: no route to host")
            if name not in seen.marks:
                return subprocess.CompletedProcess(command, 23, "", "link_stat failed: No such file or directory (2)")
            Path(arguments[-1]).write_text(json.dumps(seen.marks[name]))
        return subprocess.CompletedProcess(command, 0, STATISTICS.format(0, seen.files), "")

    settings = tmp_path / "etc"
    settings.mkdir()
    standbys = [{"name": name, "address": "127.0.0.1"} for name in ("beta", "gamma")]
    (settings / "standbys.json").write_text(json.dumps(standbys))
    monkeypatch.setattr(feed_standbys, "SETTINGS", settings)
    monkeypatch.setattr(feed_standbys, "STATE", tmp_path / "state")
    monkeypatch.setattr(feed_standbys, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(feed_standbys, "RESULT", tmp_path / "results/feed-standbys.json")
    monkeypatch.setattr(feed_standbys.Registry, "in_files", lambda: registry)
    monkeypatch.setattr(feed_standbys.os, "chown", lambda *_: None)
    monkeypatch.setattr(feed_standbys, "write_atomic", lambda path, content, *_: Path(path).write_bytes(content))
    monkeypatch.setattr(Task, "lock", lambda _: nullcontext())
    monkeypatch.setattr(subprocess, "run", run)
    return seen


def feed(pending: bool = False, only: str = "") -> dict[str, Any]:
    """Run the subcommand; return what it has found out of each standby."""
    task = Task(Namespace(subcommand="feed-standbys", json=True, pending=pending, last=False, only=only, wait=0))
    with suppress(WharfError):
        feed_standbys.run(task)
    return task.result["standbys"]


def test_what_images_need_comes_before_their_tags_and_goes_after_them(rsync, tmp_path):
    rsync.files = 2
    found = feed()["beta"]
    assert (found["tags"], found["sent"], found["changed"]) == (1, 3000, True)
    mark, content, tags, rest, known = rsync.runs[:5]
    assert mark[-2] == "beta:.wharf-copied.json"
    assert "--delete" not in content and "--exclude=**/_manifests/tags/" in content
    assert "--delete" in tags and tags[-1] == "beta:docker/registry/v2/repositories/"
    assert "--delete" in rest and rest[-3:-1] == content[-3:-1]
    assert (known[-2], known[-1]) == (f"{tmp_path}/state/.wharf-copied.json", "beta:")
    assert json.loads(Path(known[-2]).read_text())["source"] == "ID"


def test_nothing_new_is_no_change(rsync):
    assert not feed()["beta"]["changed"]


def test_a_standby_that_is_not_reached_keeps_no_other_from_its_copy(rsync):
    rsync.broken = "beta"
    found = feed()
    assert "no route to host" in found["beta"]["failed"]
    assert found["gamma"]["tags"] == 1
    assert [run[-1] for run in rsync.runs].count("gamma:") == 3


@pytest.mark.parametrize("mark", [None, {"source": "OTHER"}])
def test_what_is_no_copy_is_not_overwritten(rsync, mark):
    rsync.marks = {"gamma": {"source": "ID"}} | ({"beta": mark} if mark else {})
    found = feed()
    assert "its data is no copy of this server's" in found["beta"]["failed"]
    assert [run[-1] for run in rsync.runs].count("beta:") == 0
    assert found["gamma"]["tags"] == 1


def test_what_a_standby_lacks_is_named_and_nothing_is_copied_for_that(rsync):
    feed()
    rsync.runs.clear()
    rsync.registry.image("team/app", "2", b"new")
    rsync.registry.image("team/app", "1", b"moved")
    assert feed(pending=True)["beta"]["missing"] == ["team/app:1", "team/app:2"]
    assert rsync.runs == []
    feed()
    assert feed(pending=True)["beta"]["missing"] == []


def test_one_standby_alone_and_what_is_none(rsync):
    assert [*feed(only="gamma")] == ["gamma"]
    with pytest.raises(KeyError):  # it has raised before it found anything
        feed(only="delta")


def test_before_the_first_push_there_are_no_blobs_to_copy(rsync, tmp_path):
    shutil.rmtree(tmp_path / "data/docker")
    assert feed()["beta"]["tags"] == 0
    assert not [run for run in rsync.runs if any("/blobs" in one for one in run)]


def test_rsync_s_figures_are_read():
    assert feed_standbys.counted(STATISTICS.format(3, 4)) == (7, 1000)
    assert feed_standbys.counted("") == (0, 0)

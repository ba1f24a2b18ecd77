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
from conftest import ROOT

from ansible_collections.wharf.registry.plugins.module_utils.command import feed_standbys
from ansible_collections.wharf.registry.plugins.module_utils.command.cli import Task
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.storage import Storage
from tests.unit.stored_registry import StoredRegistry

STATISTICS = "Number of deleted files: {} (reg: 1)\nNumber of regular files transferred: {}\nTotal bytes sent: 1000\n"


@pytest.fixture
def rsync(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """Have a registry with an image and two standbys; collect what rsync is asked for."""
    listens = {"5000/tcp": [{"HostIp": "0.0.0.0"}, {"HostIp": "::"}]}
    network = {"HostConfig": {"PortBindings": listens}}
    seen = SimpleNamespace(
        network=network, runs=[], marks={"beta": {"source": "ID"}, "gamma": {"source": "ID"}}, broken="", files=0
    )
    seen.registry = StoredRegistry(tmp_path / "data")
    seen.digest = seen.registry.image("team/app", "1")
    registry = SimpleNamespace(
        container="registry",
        require_data=lambda: None,
        path=tmp_path / "data",
        uid=0,
        data_id="ID",
        storage=Storage(tmp_path / "data"),
    )

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
        if path == "" and arguments[-2].endswith(feed_standbys.COPIED):
            seen.marks[arguments[-1].rstrip(":")] = json.loads(Path(arguments[-2]).read_text())
        return subprocess.CompletedProcess(command, 0, STATISTICS.format(0, seen.files), "")

    settings = tmp_path / "etc"
    settings.mkdir()
    standbys = [{"name": name, "address": "127.0.0.1"} for name in ("beta", "gamma")]
    (settings / "standbys.json").write_text(json.dumps(standbys))
    monkeypatch.setattr(feed_standbys, "SETTINGS", settings)
    monkeypatch.setattr(feed_standbys, "STATE", tmp_path / "state")
    monkeypatch.setattr(feed_standbys, "STAGED", tmp_path / "staged.json")
    monkeypatch.setattr(feed_standbys.containers, "container", lambda _: seen.network)
    monkeypatch.setattr(feed_standbys, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(feed_standbys, "RESULT", tmp_path / "results/feed-standbys.json")
    monkeypatch.setattr(feed_standbys.Registry, "in_files", lambda: registry)
    monkeypatch.setattr(feed_standbys.os, "chown", lambda *_: None)
    monkeypatch.setattr(feed_standbys, "write_atomic", lambda path, content, *_: Path(path).write_bytes(content))
    monkeypatch.setattr(Task, "lock", lambda _: nullcontext())
    monkeypatch.setattr(subprocess, "run", run)
    return seen


def feed(pending: bool = False, only: str = "", everything: bool = False) -> dict[str, Any]:
    """Run the subcommand; return what it has found out of each standby."""
    options = Namespace(subcommand="feed-standbys", json=True, pending=pending, last=False, only=only, wait=0)
    options.all = everything
    task = Task(options)
    with suppress(WharfError):
        feed_standbys.run(task)
    return task.result["standbys"]


def test_what_images_need_comes_before_their_tags_and_goes_after_them(rsync, tmp_path):
    rsync.files = 2
    found = feed()["beta"]
    assert (found["tags"], found["sent"], found["changed"]) == (1, 3000, True)
    mark, content, tags, rest, known = rsync.runs[:5]
    assert "--ignore-existing" in content  # the server's may have been damaged since
    assert mark[-2] == "beta:.wharf-copied.json"
    assert "--delete" not in content and "--exclude=**/_manifests/tags/" in content
    assert "--delete" in tags and tags[-2].endswith("/stage/./docker/registry/v2/repositories")
    assert "--delete" in rest and rest[-3:-1] == content[-3:-1]
    assert (known[-2], known[-1]) == (f"{tmp_path}/state/.wharf-copied.json", "beta:")
    assert json.loads(Path(known[-2]).read_text())["source"] == "ID"


@pytest.mark.parametrize("kind", ["systemd/system/wharf-feed-standbys.timer.j2", "cron.d/wharf-feed-standbys.j2"])
def test_how_often_it_copies_is_what_starts_it(monkeypatch, tmp_path, kind):
    monkeypatch.setattr(feed_standbys, "SCHEDULES", (str(tmp_path / "none"), str(tmp_path / "schedule")))
    assert feed_standbys.interval() == 0
    text = (ROOT / "roles/server_programs/templates/etc" / kind).read_text()
    (tmp_path / "schedule").write_text(text.replace("{{ server_programs_standby_interval }}", "90"))
    assert feed_standbys.interval() == 5400


def test_nothing_new_is_no_change(rsync):
    assert not feed()["beta"]["changed"]


@pytest.fixture
def settled(rsync, monkeypatch) -> SimpleNamespace:
    """Have copied everything, and let what was pushed before be old enough to be told from what is pushed now."""
    monkeypatch.setattr(feed_standbys, "SETTLED", -(10**12))
    feed()
    rsync.runs.clear()
    return rsync


def copied(rsync: SimpleNamespace) -> list[str]:
    """Return what beta got, as paths below the storage's root, and forget it."""
    runs = [run for run in rsync.runs if run[-1] == "beta:" and "--relative" in run]
    rsync.runs.clear()
    return sorted(
        {one.partition("/./")[2].removeprefix("docker/registry/v2/") for run in runs for one in run if "/./" in one}
    )


def test_only_what_is_new_is_copied(settled):
    feed()
    assert copied(settled) == []
    digest = settled.registry.image("team/app/more", "2", b"new")
    settled.registry.image("other", "1")
    feed()
    first = f"blobs/sha256/{digest.removeprefix('sha256:')[:2]}"
    found = copied(settled)
    assert first in found and {"repositories/team/app/more/_manifests", "repositories/other/_layers"} <= {*found}
    assert not [one for one in found if one.startswith("repositories/team/app/_") or one == "blobs"]
    feed()
    assert copied(settled) == []
    assert feed(pending=True)["beta"]["missing"] == []


def test_blobs_go_only_after_a_collection(settled, tmp_path):
    settled.registry.image("team/app", "2", b"new")
    feed()
    deleted = [run for run in settled.runs if run[-1] == "beta:" and "--existing" in run]
    assert deleted and not [one for run in deleted for one in run if "/blobs" in one]
    (tmp_path / "results/collect-garbage").write_text("ok 1 removed")
    settled.runs.clear()
    feed()
    assert [run for run in settled.runs if "--existing" in run and any("/blobs" in one for one in run)]


def test_all_is_compared_when_a_person_wants_that(settled):
    feed(everything=True)
    assert not [run for run in settled.runs if "--ignore-existing" in run and "--existing" not in run]
    assert copied(settled) == ["blobs", "repositories"]


def test_nothing_is_written_while_nothing_is_new(settled, tmp_path):
    written = [tmp_path / "staged.json", tmp_path / "state/beta.json"]
    before = [path.stat().st_mtime_ns for path in written]
    feed()
    assert [path.stat().st_mtime_ns for path in written] == before


@pytest.mark.parametrize(
    ("listens", "address"), [(["0.0.0.0", "::"], "127.0.0.1"), (["::"], ""), (["192.0.2.7"], "192.0.2.7"), ([], "")]
)
def test_a_standby_knows_where_the_registry_answers(rsync, listens, address):
    rsync.network["HostConfig"]["PortBindings"] = {"5000/tcp": [{"HostIp": one} for one in listens]}
    feed()
    assert rsync.marks["beta"]["address"] == address


@pytest.mark.parametrize("what", ["repository", "collection", "day", "other", "promoted"])
def test_everything_is_copied_when_more_than_links_may_have_changed(settled, monkeypatch, tmp_path, what):
    if what == "repository":
        settled.registry.image("gone", "1")
        feed()
        copied(settled)
        shutil.rmtree(tmp_path / "data/docker/registry/v2/repositories/gone")
    elif what == "collection":
        (tmp_path / "results").mkdir(exist_ok=True)
        (tmp_path / "results/collect-garbage").write_text("ok 1 removed")
    elif what == "day":
        now = feed_standbys.time.time() + feed_standbys.DAY
        monkeypatch.setattr(feed_standbys.time, "time", lambda: now)
    elif what == "other":  # somebody else has copied there, such as this server before it was restored
        settled.marks["beta"]["at"] = 5
    else:
        settled.marks["beta"] = {"source": "ID", "at": 0}
    feed()
    assert copied(settled) == ["blobs", "repositories"]
    feed()
    assert copied(settled) == []


def test_what_was_just_pushed_is_copied_once_more(rsync):
    feed()
    copied(rsync)
    feed()  # its time may be that of a push that came after it was read
    assert "repositories/team/app/_manifests" in copied(rsync)


def test_a_standby_that_is_not_reached_keeps_no_other_from_its_copy(rsync):
    rsync.broken = "beta"
    found = feed()
    assert "no route to host" in found["beta"]["failed"]
    assert found["gamma"]["tags"] == 1
    assert [run[-1] for run in rsync.runs].count("gamma:") == 4  # the mark, too


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

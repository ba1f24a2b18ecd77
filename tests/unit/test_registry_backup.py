"""The filter that judges a backup's settings, and the program that backs up: what needs no host."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import backup as program
from ansible_collections.wharf.registry.plugins.plugin_utils import backup_report as plays
from ansible_collections.wharf.registry.plugins.plugin_utils import backup_settings as filters

problems = filters.registry_backup_problems
GOOD = {"repository": "/srv/backup", "data": "/var/lib/wharf/registry", "keep": {"daily": 7}, "schedule": "daily"}


def judged(**facts: object) -> list[str]:
    return problems(GOOD | facts, "x_")


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"repository": "s3:https://store.example/bucket", "environment": {"AWS_ACCESS_KEY_ID": "id"}},
        {"host": "store", "repository": "/srv/backup/registry"},
        {"password": "twelve-chars", "keep": {}, "schedule": ""},
    ],
)
def test_good_settings_pass(facts):
    assert judged(**facts) == []


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"repository": ""}, "x_repository: is missing"),
        ({"repository": "backup"}, "x_repository: 'backup' is no place for a backup"),
        ({"repository": "ftp://host/x"}, "x_repository: 'ftp://host/x' is no place"),
        ({"repository": "/var/lib/wharf/registry/backup"}, "lies in what is backed up"),
        ({"repository": "/etc/wharf/backup"}, "lies in what is backed up"),
        (
            {"host": "store", "repository": "sftp:a:/b"},
            "must be an absolute path without spaces, because x_host is set",
        ),
        ({"host": "store", "repository": "/"}, "must be an absolute path"),
        ({"password": "short"}, "x_password: has 5 characters"),
        ({"password": "two\nlines of a password"}, "x_password: must be a text of one line"),
        ({"environment": {"RESTIC_PASSWORD": "x"}}, "RESTIC_PASSWORD is set by the program itself"),
        ({"environment": {"KEY": 1}}, "the value of KEY must be a text"),
        ({"environment": ["KEY"]}, "x_environment: must be a mapping"),
        ({"keep": {"daily": 0}}, "x_keep: daily: 0 cannot be kept"),
        ({"keep": {"dayly": 1}}, "x_keep: dayly: 1 cannot be kept"),
        ({"keep": {"daily": True}}, "x_keep: daily: True cannot be kept"),
        ({"keep": 7}, "x_keep: must be a mapping"),
        ({"schedule": "often"}, "x_schedule: 'often' is unknown"),
    ],
)
def test_bad_settings_are_named(facts, said):
    assert len(found := judged(**facts)) == 1
    assert said in found[0]


def test_no_message_shows_a_password():
    assert "hunter2" not in "".join(judged(password="hunter2", environment={"KEY": ["hunter2"]}))


def test_settings_that_nobody_judges_are_a_mistake():
    with pytest.raises(ValueError, match="does not know repositry"):
        problems({"repositry": "/x"}, "x_")


def image(root: Path, name: str, tag: str, content: bytes) -> str:
    """Store what a push stores, with one layer and no configuration; return the manifest's digest."""
    top = root / program.TREE

    def blob(data: bytes) -> str:
        number = hashlib.sha256(data).hexdigest()
        place = top / "blobs/sha256" / number[:2] / number
        place.mkdir(parents=True, exist_ok=True)
        (place / "data").write_bytes(data)
        return number

    def link(place: str, number: str) -> None:
        (top / "repositories" / name / place).mkdir(parents=True, exist_ok=True)
        (top / "repositories" / name / place / "link").write_text(f"sha256:{number}")

    layer = blob(content)
    manifest = blob(f'{{"layers": [{{"digest": "sha256:{layer}", "size": {len(content)}}}]}}'.encode())
    link(f"_layers/sha256/{layer}", layer)
    link(f"_manifests/revisions/sha256/{manifest}", manifest)
    link(f"_manifests/tags/{tag}/current", manifest)
    return f"sha256:{manifest}"


@pytest.fixture
def staged(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "STATE", tmp_path / "state")
    monkeypatch.setattr(program, "STAGE", tmp_path / "state/stage")
    monkeypatch.setattr(program, "VIEW", tmp_path / "state/view")
    return tmp_path / "state/view"


def test_stage_holds_every_tag_and_no_upload(tmp_path, staged):
    data = tmp_path / "data"
    digest = image(data, "team/app", "1", b"layer")
    (data / program.TREE / "repositories/team/app/_uploads/some").mkdir(parents=True)
    assert program.stage(data) == {"team/app:1": digest}
    assert list(program.Storage(staged).problems(contents=True)) == []
    assert not (staged / program.TREE / "repositories/team/app/_uploads").exists()


def test_stage_keeps_the_times_of_links(tmp_path, staged):
    data = tmp_path / "data"
    image(data, "app", "1", b"layer")
    os.utime(program.Storage(data).tag_link("app", "1"), (1000, 1000))
    program.stage(data)
    assert program.Storage(staged).pushed("app", "1") == 1000


def test_stage_follows_the_registry_and_leaves_alone_what_is_right(tmp_path, staged):
    data = tmp_path / "data"
    image(data, "gone", "1", b"one")
    digest = image(data, "team/stays", "1", b"two")
    program.stage(data)
    copy = program.Storage(staged).tag_link("team/stays", "1")
    inode, changed = copy.stat().st_ino, copy.stat().st_ctime_ns
    shutil.rmtree(data / program.TREE / "repositories/gone")
    assert program.stage(data) == {"team/stays:1": digest}
    assert (copy.stat().st_ino, copy.stat().st_ctime_ns) == (inode, changed)
    assert program.Storage(staged).repositories() == ["team/stays"]


def test_stage_names_a_tag_whose_blob_is_not_there(tmp_path, staged):
    data = tmp_path / "data"
    image(data, "app", "1", b"layer")
    layer = hashlib.sha256(b"layer").hexdigest()
    program.Storage(data).blob_path(f"sha256:{layer}").unlink()
    program.stage(data)
    assert "which is not there" in " ".join(program.Storage(staged).problems())


def test_blob_that_no_link_names_is_dropped_from_what_was_restored(tmp_path):
    digest = image(tmp_path, "app", "1", b"layer")
    half = tmp_path / program.TREE / "blobs/sha256/ab" / ("ab" * 32)
    half.mkdir(parents=True)
    (half / "data").write_text("half of a manif")
    program.drop_unnamed(tmp_path)
    assert not half.exists()
    program.whole(program.Storage(tmp_path), {"app:1": digest}, None)


def test_restored_tag_that_leads_elsewhere_is_refused(tmp_path):
    image(tmp_path, "app", "1", b"layer")
    with pytest.raises(program.WharfError, match="app:1: should lead to sha256:other"):
        program.whole(program.Storage(tmp_path), {"app:1": "sha256:other"}, None)


def test_restored_blob_with_a_flipped_byte_is_refused(tmp_path):
    digest = image(tmp_path, "app", "1", b"layer")
    layer = hashlib.sha256(b"layer").hexdigest()
    program.Storage(tmp_path).blob_path(f"sha256:{layer}").write_bytes(b"lAyer")
    with pytest.raises(program.WharfError, match="damaged"):
        program.whole(program.Storage(tmp_path), {"app:1": digest}, None)


def test_directories_are_exchanged_and_the_old_one_is_kept(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert program.exchange(tmp_path / "new", tmp_path / "old", tmp_path / "kept") == tmp_path / "kept"
    assert (tmp_path / "old/new").exists()
    assert (tmp_path / "kept/docker/old").exists()


def test_first_directory_of_all_replaces_nothing(tmp_path):
    (tmp_path / "new").mkdir()
    assert program.exchange(tmp_path / "new", tmp_path / "old", tmp_path / "kept") is None
    assert (tmp_path / "old").is_dir()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("pack {a} contains 2 errors: [blob {b}: decrypting blob <data/bbbbbbbb> from aaaaaaaa failed", {"blob": "b"}),
        ("Pack ID does not match, want {a}, got {b}", {"pack": "a"}),  # 0.14
        ("pack {a}: does not exist", {"pack": "a"}),
        ("restic repair packs {a}", {}),
    ],
)
def test_what_restic_finds_damaged_is_understood(line, found):
    said = [line.format(a="a" * 64, b="b" * 64)] * 2
    assert program.broken(said) == {kind: [found[kind] * 64] if kind in found else [] for kind in ("blob", "pack")}


def test_time_of_restic_with_nanoseconds_and_any_zone():
    assert program.when("2026-11-24T18:00:00.123456789+01:00") == program.when("2026-11-24T17:00:00.123456Z")


def test_copy_on_the_controller_is_compared_by_name_and_size(tmp_path):
    for name, content in {"config": "x", "data/00/same": "12", "data/00/short": "1", "index/old": "1"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    listed = ["1 config", "2 data/00/same", "2 data/00/short", "3 index/new", "9 locks/somebody"]
    assert plays.wharf_backup_differences(listed, str(tmp_path)) == {
        "missing": ["data/00/short", "index/new"],
        "surplus": ["index/old"],
    }
    assert len(plays.wharf_backup_differences(listed, str(tmp_path / "none"))["missing"]) == 4


def test_lines_say_what_every_program_said():
    made = '{"snapshot": "a", "tags": 2, "total": 1000000, "new": 0, "seconds": 1.0, "message": "done"}'
    results = [{"rc": 0, "stdout": made}, {"rc": 1, "stdout": "", "stderr": "no docker"}, {"skipped": True}]
    assert plays.wharf_backup_lines(results, "server") == [
        "server  snapshot  tags  total   new     seconds",
        "server  a         2     1.0 MB  0.0 MB  1.0",
        "server: done",
        "server: no docker",
    ]
    restored = {"rc": 0, "stdout": '{"seconds": 1.0, "message": "2 tags are back", "kept": ["/old"]}'}
    assert plays.wharf_backup_lines([restored], "server") == [
        "server: 2 tags are back",
        "server: kept what was there: /old",
    ]
    for result in ({"stdout": "killed", "stderr": ""}, {"stdout": "", "stderr": "", "msg": "killed"}):
        assert plays.wharf_backup_lines([result | {"rc": -9}], "server") == ["server: killed"]
    assert "would install it first" in plays.wharf_backup_lines([{"skipped": True}], "server")[0]

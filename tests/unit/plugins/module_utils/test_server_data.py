"""Whose the data is: its own is taken, everything else is refused unless it is confirmed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import server_data as module

PLACE = "/srv/images"
NAME = "reg.test"


def judge(confirmed: str = "", mark: str = "", record: str = "", used: bool = False) -> list[str]:
    """Return what is judged of data in PLACE for the registry NAME."""
    id_, _, name = mark.partition(" ")
    state_id, _, place = record.partition(" ")
    return module.data_problems(module.Data(id_, name, used, state_id, place), PLACE, NAME, confirmed, "server")


@pytest.mark.parametrize(
    "found",
    [
        {},  # a first install
        {"used": True},  # data of a registry that Wharf did not make
        {"mark": f"aa {NAME}", "used": True},  # restored, or a registry that was removed comes back
        {"mark": f"aa {NAME}", "record": f"aa {PLACE}"},
        {"mark": "aa old.test", "record": f"aa {PLACE}"},  # the registry got another name
        {"mark": f"aa {NAME}", "record": "aa /old"},  # the data was moved
    ],
)
def test_its_own_data_is_taken(found: dict) -> None:
    assert judge(**found) == []


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ({"record": f"aa {PLACE}"}, f"is empty, but should hold the images of {NAME}: is its disk mounted?"),
        ({"record": f"aa {PLACE}", "used": True}, "has lost its data ID"),
        ({"record": f"aa {PLACE}", "mark": "bb other.test"}, "holds the data of another registry (other.test, bb)"),
        ({"mark": "bb other.test"}, "holds the data of another registry, other.test"),
        ({"record": "aa /old place"}, f"is empty, and the images of {NAME} are in /old place: "
         "playbooks/move-registry-data.yml moves them"),
        ({"record": "aa /old", "used": True}, "holds something else, and the images"),
    ],
)  # fmt: skip
def test_other_data_and_missing_data_is_refused_unless_confirmed(found: dict, line: str) -> None:
    problems = judge(**found)
    assert len(problems) == 1
    assert problems[0].startswith(f"registry_server_data: {PLACE} on server ")
    assert line in problems[0]
    assert f"registry_server_data_confirm: {PLACE}" in problems[0]
    assert judge("/another", **found) == problems
    assert judge(PLACE, **found) == []


def test_where_the_data_of_a_standby_is_to_lie_its_server_copies_it_there() -> None:
    data = module.Data("", "", False, "aa", "/old")
    line = module.data_problems(data, PLACE, NAME, "", "beta", "alpha")[0]
    assert "the images of reg.test are in /old: alpha copies them there anew, or keep /old. To go on" in line
    assert module.data_problems(data, PLACE, NAME, PLACE, "beta", "alpha") == []


@pytest.mark.parametrize("name", ["images", 'a"b', "a\\b", "a'b $HOME"])
def test_a_place_is_read_and_remembered_whatever_its_name(tmp_path: Path, name: str) -> None:
    path, directory = tmp_path / name, tmp_path / "registry"
    path.mkdir()
    directory.mkdir()
    assert module.read(str(path), str(directory)) == module.Data("", "", False, "", "")
    (path / ".wharf").write_text(f"aa {NAME}\n")
    (path / "docker").mkdir()
    (directory / "data").write_text(f"aa {path}\n")
    assert module.read(str(path), str(directory)) == module.Data("aa", NAME, True, "aa", str(path))


def test_a_disk_s_own_directory_and_what_a_standby_was_told_is_no_data(tmp_path: Path) -> None:
    for name in ("lost+found", ".wharf-moved", ".wharf-copied.json"):
        (tmp_path / name).mkdir()
    assert not module.read(str(tmp_path), str(tmp_path / "no")).used


def test_an_older_place_of_the_same_data_loses_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "write_atomic", lambda path, content: Path(path).write_bytes(content))
    old, new = tmp_path / "old", tmp_path / "new"
    for path in (old, new):
        path.mkdir()
        (path / ".wharf").write_text(f"aa {NAME}\n")
    (tmp_path / "data").write_text(f"aa {old}\n")
    module.write_state(str(tmp_path), str(new), str(new))
    assert (tmp_path / "data").read_text() == f"aa {new}\n"
    assert not (old / ".wharf").exists()
    assert (old / ".wharf-moved").read_text() == f"aa {NAME}\n"
    assert (new / ".wharf").exists()


def test_an_older_place_with_other_data_keeps_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "write_atomic", lambda path, content: Path(path).write_bytes(content))
    old = tmp_path / "old"
    old.mkdir()
    (old / ".wharf").write_text("bb other.test\n")
    (tmp_path / "data").write_text(f"aa {old}\n")
    module.write_state(str(tmp_path), "/new", "/new")
    assert (old / ".wharf").exists()


def test_a_move_is_undone_and_what_was_copied_stays_as_a_copy(tmp_path: Path) -> None:
    directory, old, new = (tmp_path / name for name in ("registry", "old", "new"))
    for path in (directory, old, new):
        path.mkdir()
    (directory / "data").write_text(f"aa {old}\n")
    (new / ".wharf").write_text("aa reg.test\n")
    assert not module.undo_move(str(directory), [str(new)])
    (old / ".wharf-moved").write_text("aa reg.test\n")
    assert module.undo_move(str(directory), [str(old), str(new)])
    assert [sorted(path.name for path in place.iterdir()) for place in (old, new)] == [[".wharf"], [".wharf-copy"]]
    assert not module.undo_move(str(directory), [str(old), str(new)])


@pytest.mark.parametrize(
    ("make", "place", "problem"),
    [
        (lambda top: (top / "images").mkdir(), "images", ""),
        (lambda top: None, "images", ""),
        (lambda top: (top / "images").touch(), "images/below", "which is no directory"),
        (
            lambda top: (top / "images").symlink_to("/home"),
            "images",
            "leads to /home, which is a directory of the system",
        ),
        (lambda top: (top / "images/letters").mkdir(parents=True), "images", r"no registry's data \(letters\)"),
        (lambda top: (top / "images/docker").mkdir(parents=True), "images", ""),
    ],
)
def test_a_place_that_cannot_hold_the_data_is_named(tmp_path: Path, make, place: str, problem: str) -> None:
    make(tmp_path)
    path, nothing = f"{tmp_path}/{place}", module.Data("", "", False, "", "")
    found = module.place_problems(path, os.path.realpath(path), nothing, os.getuid(), "", "server")
    assert bool(found) is bool(problem)
    assert not problem or re.search(problem, found[0])


@pytest.mark.parametrize(("mode", "refused"), [(0o755, False), (0o777, True), (0o1777, False)])
def test_a_place_below_a_directory_of_others_is_refused_until_the_data_lies_there(
    tmp_path: Path, mode: int, refused: bool
) -> None:
    (tmp_path / "shared/below").mkdir(parents=True)
    (tmp_path / "shared").chmod(mode)
    place = f"{tmp_path}/shared/below/images"
    for data, confirmed, counts in (
        (module.Data("", "", False, "", ""), "", True),
        (module.Data("", "", False, "", ""), place, False),
        (module.Data("", "", False, "aa", "/old"), "", True),  # it is about to be moved there
        (module.Data("aa", "reg.test", True, "aa", place), "", False),
    ):
        found = module.place_problems(place, place, data, os.getuid(), confirmed, "server")
        assert len(found) == (refused and counts)
        assert all(f"lies below {tmp_path}/shared, where others than root may write" in line for line in found)


def test_a_place_whose_files_root_cannot_give_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(module.os, "fchown", refuse)
    place, nothing = str(tmp_path / "share"), module.Data("", "", False, "", "")
    [found] = module.place_problems(place, place, nothing, 59500, "", "server")
    assert (
        "takes no file for the user 59500 from root (Operation not permitted): is it a share with root_squash" in found
    )
    assert list(tmp_path.iterdir()) == []

"""Moving the registry's data: what is copied, compared, and refused."""

from __future__ import annotations

import shutil
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import cli, move, registry
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from tests.unit.stored_registry import StoredRegistry

BLOBS = "docker/registry/v2/blobs/sha256"


def copy_tree(old: Path, new: Path) -> None:
    """Stand in for rsync, which need not be installed where unit tests run."""
    shutil.rmtree(new / "docker", ignore_errors=True)
    shutil.copytree(old / "docker", new / "docker")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return the old place, with two blobs and the data ID "aa", and the new one, which is not there."""
    old = tmp_path / "old"
    stored = StoredRegistry(old)
    stored.blob(b"one")
    stored.blob(b"two")
    (old / ".wharf").write_text("aa reg.test\n")
    (tmp_path / "data").write_text(f"aa {old}\n")
    monkeypatch.setattr(registry, "SETTINGS", tmp_path / "registry.json")
    (tmp_path / "registry.json").write_text("{}")
    monkeypatch.setattr(registry, "CONFIGURATION", tmp_path)
    monkeypatch.setattr(registry.data, "container", lambda name: None)
    monkeypatch.setattr(move, "rsync", copy_tree)
    monkeypatch.setattr(cli, "lock", lambda name, wait: nullcontext())
    return old, tmp_path / "new"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what docker is asked for."""
    calls: list[str] = []
    monkeypatch.setattr(move, "cli", lambda *words, check=True: calls.append(" ".join(words)))
    monkeypatch.setattr(move, "ignore_signals", lambda: None)
    return calls


def do(new: Path, step: str = "plan") -> dict[str, object]:
    """Do one step of a move."""
    steps = {name: name == step for name in ("plan", "copy", "finish")}
    own = cli.Task(Namespace(subcommand="move-data", json=True, wait=0, place=str(new), **steps))
    own.result["message"] = move.run(own)
    return own.result


def contents(root: Path) -> dict[str, bytes]:
    """Return the files of the registry below a directory, by their relative paths."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("docker/**/*") if path.is_file()}


def test_plan_changes_nothing(places):
    old, new = places
    message = f"6 bytes would be copied from {old} to {new}; {old} stays as it is"
    assert do(new) == {
        "changed": False,
        "lines": [message],
        "from": str(old),
        "to": str(new),
        "done": False,
        "bytes": 6,
        "message": message,
    }
    assert not new.exists()


def test_copy_is_complete_and_has_no_data_id_of_its_own(places):
    old, new = places
    assert do(new, "copy")["bytes"] == 6
    assert contents(new) == contents(old) != {}
    assert not (new / ".wharf").exists()
    assert (new / ".wharf-copy").read_text().startswith("aa ")
    assert do(new, "copy")["bytes"] == 0


def test_blob_that_was_not_written_as_it_was_read_is_noticed_also_in_the_next_run(places, monkeypatch):
    old, new = places

    def bad_disk(old: Path, new: Path) -> None:
        if not (new / "docker").exists():
            copy_tree(old, new)
            next((new / BLOBS).glob("*/*/data")).write_bytes(b"???")

    monkeypatch.setattr(move, "rsync", bad_disk)
    for _ in range(2):  # in the second, nothing is copied
        with pytest.raises(WharfError, match="was not written as it was read"):
            do(new, "copy")


def test_blob_that_was_damaged_before_is_no_fault_of_the_copy(places):
    old, new = places
    next((old / BLOBS).glob("*/*/data")).write_bytes(b"???")
    do(new, "copy")
    assert contents(new) == contents(old)


def test_data_id_changes_its_place_when_the_copy_is_like_the_original(places, engine):
    old, new = places
    do(new, "copy")
    (old / "docker/late").write_bytes(b"three")
    do(new, "finish")
    assert contents(new) == contents(old)
    assert ((new / ".wharf").read_text(), (old / ".wharf").exists()) == ("aa reg.test\n", False)
    assert engine == ["stop registry"]
    assert do(new)["done"] is True


def test_registry_goes_on_in_the_old_place_when_the_copy_differs(places, engine, monkeypatch):
    old, new = places
    shutil.rmtree(old / "docker")
    StoredRegistry(old).image("app", "1", b"layer")
    monkeypatch.setattr(move, "rsync", lambda old, new: None)
    with pytest.raises(WharfError, match="the copy differs from"):
        do(new, "finish")
    assert engine == ["stop registry", "start registry"]
    assert (old / ".wharf").exists()
    assert not (new / ".wharf").exists()


def test_missing_rsync_is_named(places, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(WharfError, match="rsync is not installed on .*: apt-get install rsync"):
        move.rsync(*places)


def test_place_that_holds_something_is_refused(places):
    places[1].mkdir()
    (places[1] / "file").touch()
    with pytest.raises(WharfError, match="is not empty"):
        do(places[1])


def test_place_inside_the_other_is_refused(places):
    with pytest.raises(WharfError, match="lie in one another"):
        do(places[0] / "below")


def test_data_that_is_not_there_is_refused(places):
    (places[0] / ".wharf").unlink()
    with pytest.raises(WharfError, match="is its disk mounted"):
        do(places[1])


def test_registry_that_was_never_deployed_is_refused(places):
    (places[0].parent / "data").unlink()
    with pytest.raises(WharfError, match="nothing is known of this registry's data: run playbooks/deploy"):
        do(places[1])


def test_no_room_is_refused(places, monkeypatch):
    monkeypatch.setattr(move, "RESERVE", 2**60)
    with pytest.raises(WharfError, match="are needed"):
        do(places[1])


def test_data_that_has_moved_already_is_left_alone(places):
    places[1].mkdir()
    (places[1] / ".wharf").write_text("aa reg.test\n")
    assert do(places[1])["done"] is True

"""The program that moves a registry's data: what it copies, compares, and refuses."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import move

BLOBS = "docker/registry/v2/blobs/sha256"


def blob(root: Path, content: bytes) -> Path:
    """Write a blob as the registry does."""
    digest = hashlib.sha256(content).hexdigest()
    path = root / BLOBS / digest[:2] / digest / "data"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Return the old place, with two blobs and the mark of the registry "aa", and the new one, which is not there."""
    old = tmp_path / "old"
    blob(old, b"one")
    blob(old, b"two")
    (old / ".wharf").write_text("aa reg.test\n")
    (tmp_path / "record").write_text(f"aa {old}\n")
    return old, tmp_path / "new"


def tell(places: tuple[Path, Path], verb: str = "tell") -> dict[str, object]:
    """Run a verb on the two places."""
    old, new = places
    return move.move(verb, "registry", str(old.parent / "record"), str(new), os.getuid())


def contents(root: Path) -> dict[str, bytes]:
    """Return the files below a directory but Wharf's own, by their relative paths."""
    return {path: (root / path).read_bytes() for path, _ in move.below(root) if (root / path).is_file()}


def test_telling_changes_nothing(places: tuple[Path, Path]) -> None:
    old, new = places
    assert tell(places) == {"old": str(old), "new": str(new), "done": False, "bytes": 6}
    assert not new.exists()


def test_a_copy_is_whole_and_has_no_mark_of_its_own(places: tuple[Path, Path]) -> None:
    old, new = places
    assert tell(places, "copy")["bytes"] == 6
    assert contents(new) == contents(old)
    assert not (new / ".wharf").exists()
    assert (new / ".wharf-copy").read_text().startswith("aa ")
    assert tell(places, "copy")["bytes"] == 0


def test_a_copy_that_was_cut_off_becomes_like_the_original(places: tuple[Path, Path]) -> None:
    old, new = places
    tell(places, "copy")
    first, second = sorted((new / BLOBS).glob("*/*/data"))
    first.write_bytes(b"o")
    second.unlink()
    (new / "docker/extra").mkdir()
    (new / "docker/extra/file").touch()
    blob(old, b"three")
    tell(places, "copy")
    assert contents(new) == contents(old)
    assert not (new / "docker/extra").exists()


def test_a_blob_that_was_not_written_as_it_was_read_is_noticed(places: tuple[Path, Path], tmp_path: Path) -> None:
    original = next((places[0] / BLOBS).glob("*/*/data"))
    copy = tmp_path / "sha256" / original.parent.parent.name / original.parent.name / "data"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"???")
    with pytest.raises(SystemExit, match="was not written as it was read"):
        move.compare(original, copy)
    original.write_bytes(b"???")  # damaged before: no fault of the copy
    move.compare(original, copy)


def test_a_place_that_holds_something_is_refused(places: tuple[Path, Path]) -> None:
    places[1].mkdir()
    (places[1] / "file").touch()
    with pytest.raises(SystemExit, match="is not empty"):
        tell(places)


def test_a_place_inside_the_other_is_refused(places: tuple[Path, Path]) -> None:
    with pytest.raises(SystemExit, match="lie in one another"):
        tell((places[0], places[0] / "below"))


def test_data_that_is_not_there_is_refused(places: tuple[Path, Path]) -> None:
    (places[0] / ".wharf").unlink()
    with pytest.raises(SystemExit, match="is its disk mounted"):
        tell(places)


def test_no_room_is_refused(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move, "MARGIN", 2**60)
    with pytest.raises(SystemExit, match="MiB are needed"):
        tell(places)


def test_data_that_has_moved_already_is_left_alone(places: tuple[Path, Path]) -> None:
    places[1].mkdir()
    (places[1] / ".wharf").write_text("aa reg.test\n")
    assert tell(places)["done"] is True

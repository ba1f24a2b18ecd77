"""The guard of all unit tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


def test_no_test_deletes_outside_the_temporary_directory(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="is not below"):
        shutil.rmtree("/nothing-of-this-name")
    (tmp_path / "one").mkdir()
    shutil.rmtree(tmp_path / "one")
    assert not (tmp_path / "one").exists()

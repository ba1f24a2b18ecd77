"""Owners and modes of files and directories: what is wrong with them, and repairing it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path


def facts(path: Path) -> tuple[int, int, int, int] | None:
    """Return the kind, mode, owner and group of what is there; None for nothing."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.S_IFMT(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def mode_problems(
    expected: Mapping[Path, tuple[int, int]], directories: Sequence[Path]
) -> tuple[list[str], dict[Path, str]]:
    """Compare what is there with what should be. Returns errors, and a reason for each path that needs repair.

    Args:
        expected: each path's mode and owner. A missing file is none of this function's business.
        directories: which of them are directories.
    """
    errors, reasons = [], {}
    for path, (mode, owner) in expected.items():
        found = facts(path)
        if found is None:
            if path in directories:
                reasons[path] = f"{path} is missing"
        elif stat.S_ISDIR(found[0]) != (path in directories):
            here, belongs = ("a file", "directory") if path in directories else ("a directory", "file")
            errors.append(f"{path} is {here}, where a {belongs} belongs; move it away")
        elif found[1:] != (mode, owner, owner):
            reasons[path] = f"{path} is {found[1]:o} {found[2]}:{found[3]} instead of {mode:o} {owner}:{owner}"
    return errors, reasons


def repair_modes(expected: Mapping[Path, tuple[int, int]], directories: Sequence[Path]) -> None:
    """Make the directories, and give each path that is there its mode and owner."""
    for path in directories:
        path.mkdir(mode=expected[path][0], parents=True, exist_ok=True)
    for path in mode_problems(expected, directories)[1]:
        mode, owner = expected[path]
        os.chmod(path, mode)
        os.chown(path, owner, owner)

"""What the plays that back up and restore end with, and what they fetch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def backup_lines(results: Sequence[Mapping[str, Any]], host: str) -> list[str]:
    """Return what the programs on a server said, for people.

    Args:
        results: registered results of wharf back-up, wharf check-backup or wharf restore, each run
            with --json. A task that was skipped has no line, unless all were: a server without the programs.
        host: the server's name.

    Returns:
        Lines of text; a table for a backup.
    """
    lines = []
    for result in results:
        if "rc" not in result:
            continue
        try:
            said = json.loads(result["stdout"])
        except ValueError:
            said = {"message": result["stderr"] or result["stdout"] or result["msg"]}
        if "total" in said:
            lines += _table(said, host)
        lines += f"{host}: {said['message']}".splitlines()
        lines += [f"{host}: kept what was there: {place}" for place in said.get("kept", [])]
    return lines or [f"{host}: has no restic yet: would install it first"]


def backup_differences(listed: Sequence[str], directory: str) -> dict[str, list[str]]:
    """Compare a backup with its copy on the controller.

    Args:
        listed: a line for each file of the backup: its size in bytes, a space, its path below the backup's directory.
        directory: the copy's, which need not be there yet.

    Returns:
        missing (paths to fetch; those of another size as well) and surplus (paths that the backup has no more). Locks,
        which last only as long as somebody works, are neither.
    """
    wanted = {path: int(size) for size, _, path in (line.partition(" ") for line in listed)}
    wanted = {path: size for path, size in wanted.items() if not path.startswith("locks/")}
    there = {
        path.relative_to(directory).as_posix(): path.stat().st_size
        for path in Path(directory).rglob("*")
        if path.is_file()
    }
    return {
        "missing": sorted(path for path, size in wanted.items() if there.get(path) != size),
        "surplus": sorted(there.keys() - wanted.keys()),
    }


def _table(said: Mapping[str, Any], host: str) -> list[str]:
    """Return the table of one backup."""
    row = {
        "server": host,
        "snapshot": said["snapshot"],
        "tags": str(said["tags"]),
        "total": f"{said['total'] / 1e6:.1f} MB",
        "new": f"{said['new'] / 1e6:.1f} MB",
        "seconds": f"{said['seconds']:.1f}",
    }
    widths = {key: max(len(key), len(value)) for key, value in row.items()}
    return ["  ".join(f"{cells[key]:<{widths[key]}}" for key in row).rstrip() for cells in ({k: k for k in row}, row)]

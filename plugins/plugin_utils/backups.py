"""What the plays that back up and restore are given, end with and fetch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.wharf.registry.plugins.module_utils.text import human_bytes, table
from ansible_collections.wharf.registry.plugins.plugin_utils.credentials import read_password

# Source: restic's design.rst, repository layout.
_BACKUP_FILE = re.compile(r"config|(?:data/[0-9a-f]{2}|index|keys|snapshots)/[0-9a-f]{64}")


def backup_password(given: str, path: str) -> str:
    """Return the password of a backup: the given one, or that in a file; a text where it is still to be generated."""
    if given or not path:
        return given
    directory, name = os.path.split(path)
    return read_password(directory, name) or "(still to be generated)"


def backup_lines(results: Sequence[Mapping[str, Any]], host: str) -> list[str]:
    """Return the output of wharf on a server, as lines for people.

    Args:
        results: registered results of wharf back-up, wharf check-backup or wharf restore, each run with --json. A task
            that was skipped has no line, unless all were: a server without restic.
        host: the server's name.
    """
    lines = []
    for result in results:
        if "rc" not in result:
            continue
        try:
            output = json.loads(result["stdout"])
        except ValueError:
            output = {"message": result["stderr"] or result["stdout"] or result["msg"]}
        if "total" in output:
            heading = ("server", "snapshot", "tags", "total", "new", "seconds")
            sizes = (human_bytes(output["total"]), human_bytes(output["new"]))
            lines += table([heading, (host, output["snapshot"], output["tags"], *sizes, output["seconds"])])
        lines += [f"{host}: {line}" for line in output["message"].splitlines()]
        lines += [f"{host}: kept what was there: {place}" for place in output.get("kept", [])]
    return lines or [f"{host}: has no restic yet: would install it first"]


def backup_differences(listed: Sequence[str], directory: str) -> dict[str, list[str]]:
    """Compare a backup with its copy on the controller.

    Args:
        listed: a line for each file of the backup: its size in bytes, a space, its path below the backup's directory.
        directory: the copy's, which need not be there yet.

    Returns:
        missing (paths to fetch; those of another size as well) and surplus (paths that the backup has no more). Only
        files of a backup count, by their names: another host may have given the list, and people may keep other files
        in the directory. Locks, which last only as long as somebody works, do not.
    """
    sizes = [line.partition(" ") for line in listed]
    wanted = {path: int(size) for size, _, path in sizes if _BACKUP_FILE.fullmatch(path)}
    files = [path for path in Path(directory).rglob("*") if path.is_file()]
    present = {path.relative_to(directory).as_posix(): path.stat().st_size for path in files}
    return {
        "missing": sorted(path for path, size in wanted.items() if present.get(path) != size),
        "surplus": sorted(path for path in present.keys() - wanted.keys() if _BACKUP_FILE.fullmatch(path)),
    }

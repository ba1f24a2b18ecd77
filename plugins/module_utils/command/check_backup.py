"""Read every byte of the backup, and say what is damaged and which repositories have lost something."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from ..errors import WharfError
from ..restic import TAG, Restic, significant_lines
from ..staging import TREE
from .cli import Task


def run(task: Task) -> str:
    """Check it; without a lock, because a backup that is made meanwhile only adds to it."""
    task.record = True
    start, restic = time.monotonic(), Restic.configured()
    task.result["snapshots"] = count = len(restic.snapshots())
    result = restic.run("check", "--read-data", "--no-lock")
    if result.returncode != 0:
        lines = significant_lines(result.stdout + result.stderr)
        first = f"the backup in {restic.place} is damaged. restic says:"
        raise WharfError("\n".join([first, *lines[:30], *losses(restic, lines)]))
    took = time.monotonic() - start
    return task.line(f"all {count} snapshots are intact: every byte was read, in {took:.0f} s")


def losses(restic: Restic, lines: list[str]) -> list[str]:
    """Name what each snapshot has lost by the damage that restic has found, as far as restic can tell."""
    hits = [hit for kind, ids in damaged_parts(lines).items() if ids for hit in find(restic, f"--{kind}", *ids)]
    # A blob of the registry lies in a directory that bears its digest, and so does each link to it.
    digests = {Path(hit["path"]).parent.name for hit in hits if hit["path"].endswith("/data")}
    for snapshot in find(restic, *sorted(digests)[:10000]) if digests else []:
        hits += [{"snapshot": snapshot["snapshot"], "path": match["path"]} for match in snapshot["matches"]]
    names: dict[str, set[str]] = {}
    for hit in hits:
        repository = re.search("/repositories/(.+?)/_", hit["path"])
        if repository or TREE not in hit["path"]:
            names.setdefault(hit["snapshot"][:8], set()).add(repository[1] if repository else hit["path"])
    found = [f"snapshot {snapshot}: {', '.join(sorted(those))}" for snapshot, those in names.items()]
    return ["What each snapshot has lost something of:", *found] if found else []


def damaged_parts(lines: list[str]) -> dict[str, list[str]]:
    """Return the ids of restic's own blobs that it finds damaged, and of the files (packs) where it names no blob."""
    found: dict[str, set[str]] = {"blob": set(), "pack": set()}
    for line in lines:
        blobs = re.findall(r"\bblob ([0-9a-f]{64})", line)
        packs = re.findall(r"\b(?:pack|Pack ID does not match, want) ([0-9a-f]{64})", line)
        found["blob"].update(blobs)
        found["pack"].update(packs if not blobs else [])
    return {kind: sorted(ids) for kind, ids in found.items()}


def find(restic: Restic, *wanted: str) -> list[dict[str, Any]]:
    """Return what restic finds in this registry's snapshots; nothing if it cannot."""
    result = restic.run("find", "--json", "--no-lock", "--tag", TAG, "--host", restic.name, *wanted)
    found = next((line for line in result.stdout.splitlines() if line.startswith("[")), "[]")
    return json.loads(found) if result.returncode == 0 else []

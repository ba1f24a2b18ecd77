"""Make a snapshot of the registry: images, users, certificate and CA, encrypted, with restic.

The registry goes on meanwhile. Exit code 3: the snapshot was made, of a registry in which an image with a tag is
damaged. What no tag leads to is a warning.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from ..errors import WharfError
from ..files import write_atomic
from ..restic import TAG, Restic, seconds
from ..staging import TREE, stage_links
from ..storage import Storage
from ..text import human_bytes
from .cli import Task, add_wait
from .registry import Registry

STATE = Path("/var/lib/wharf/backup")
STAGE = STATE / "stage"  # always the same place, so that restic finds what it had before
RESERVE = 64 << 20  # bytes that must stay free


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--plan", action="store_true", help="only say what it would do")
    add_wait(parser)


def run(task: Task) -> str:
    """Make a snapshot, or only say what is new."""
    task.record = not task.options.plan
    with task.lock():
        restic, registry = Restic.configured(), Registry()
        exists, size = preflight(restic, registry)
        if not task.options.plan:
            return back_up(task, restic, registry, exists)
    task.result.update(snapshot=None, exists=exists, new=size)
    return task.line(f"would back up {human_bytes(size)}")


def back_up(task: Task, restic: Restic, registry: Registry, exists: bool) -> str:
    """Make a snapshot, and remove those that need not be kept; return the message."""
    start = time.monotonic()
    if not exists:
        restic.output("init")
    tags = stage(registry.path)
    # The state of the registry that goes into the backup, not of the one that people push to meanwhile.
    state = Storage(STAGE).summary()
    problems, warnings = state["problems"], state["warnings"]
    summary = make_snapshot(restic, registry, tags)
    record_repository(restic)
    # Of a registry that is damaged, the older snapshots may be the complete ones: none of them is removed.
    if restic.keep and not problems:
        keep = [f"--keep-{unit}={count}" for unit, count in restic.keep.items()]
        restic.output("forget", "--prune", "--tag", TAG, "--host", restic.name, "--group-by", "host", *keep)
    snapshot, total = summary["snapshot_id"][:8], summary["total_bytes_processed"]
    new, took = summary.get("data_added_packed", summary["data_added"]), round(time.monotonic() - start, 1)
    task.result.update(
        changed=True, snapshot=snapshot, new=new, total=total, tags=len(tags), seconds=took, problems=problems,
        warnings=warnings,
    )  # fmt: skip
    task.bytes = total
    damage = f"; but the registry is damaged: {'; '.join(problems[:20])}" if problems else ""
    for warning in warnings[:20]:
        task.line(f"warning: {warning}")
    return task.line(
        f"snapshot {snapshot}: {len(tags)} tags, {human_bytes(total)}, of them {human_bytes(new)} new, in {took} s"
        f"{damage}"
    )


def preflight(restic: Restic, registry: Registry) -> tuple[bool, int]:
    """Return whether the backup exists, and the bytes that are new to it. Raises WharfError where it refuses."""
    if registry.driver != "filesystem":
        raise WharfError(
            f"the registry keeps its images in {registry.driver}, not in files: let the store keep them, by its"
            " versions, or a copy in another bucket: see docs/back-up-registry.md"
        )
    data = registry.path
    if data.resolve() in Path(restic.repository).resolve().parents:
        raise WharfError(f"wharf_backup_repository: {restic.repository} lies in what is backed up: use another place")
    snapshots = restic.snapshots(required=False)
    known = STATE / "repository.json"
    if snapshots is None and known.exists() and json.loads(known.read_text())["repository"] == restic.repository:
        raise WharfError(
            f"the backup that was in {restic.place} is not there any more: is its disk mounted?"
            f" To begin a new one, remove {known} first"
        )
    # No fewer than are new to the backup: all blobs that came since the last snapshot.
    since = seconds(snapshots[-1]["time"]) - 3600 if snapshots else 0
    files = [path.stat() for path in (data / TREE / "blobs").rglob("*") if path.is_file()]
    size = sum(file.st_size for file in files if file.st_mtime > since)
    room = restic.free_space()
    if room is not None and room < size + RESERVE:
        raise WharfError(
            f"there is no room in {restic.place}: {human_bytes(room)} are free, and {human_bytes(size + RESERVE)} are"
            " needed: make room, or keep fewer snapshots (wharf_backup_keep)"
        )
    return snapshots is not None, size


def stage(data: Path) -> dict[str, str]:
    """Bring STAGE up to date, so that it is a registry's storage of its own; return what is tagged.

    The blobs are shown beside the links, and not copied.
    """
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    blobs = STAGE / TREE / "blobs"
    blobs.parent.mkdir(parents=True, exist_ok=True)
    blobs.unlink(missing_ok=True)
    blobs.symlink_to(data / TREE / "blobs")
    return stage_links(data, STAGE)


def make_snapshot(restic: Restic, registry: Registry, tags: dict[str, str]) -> dict[str, Any]:
    """Back up the staged links, the blobs and the files of the registry; return restic's summary."""
    data, directories = registry.path, {kind: str(path) for kind, path in restic.directories.items()}
    description = {"name": restic.name, "data": str(data), "directories": directories, "tags": tags}
    (STAGE / "wharf.json").write_text(json.dumps(description, indent=1, sort_keys=True))
    places = [path for path in (STAGE, data / TREE / "blobs", *restic.directories.values()) if path.is_dir()]
    (STATE / "places").write_text("".join(f"{place}\n" for place in places))
    # Blobs are compressed already, and never change: their size and time tell whether they are known.
    output = restic.output(
        *("backup", "--json", "--compression", "off", "--host", restic.name, "--tag", TAG),
        *("--ignore-ctime", "--ignore-inode", "--files-from-verbatim", STATE / "places"),
    )
    return next(item for item in map(json.loads, output.splitlines()) if item.get("message_type") == "summary")


def record_repository(restic: Restic) -> None:
    """Note that the backup exists, so that one that is not there any more is not begun anew in silence."""
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(str(STATE / "repository.json"), json.dumps({"repository": restic.repository}).encode(), 0o600)

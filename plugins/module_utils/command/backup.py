"""Make a snapshot of the registry: images, users, certificate and CA, encrypted, with restic.

The registry goes on meanwhile. Exit code 3: the snapshot was made, of a registry that is damaged itself.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from ..errors import WharfError
from ..lock import lock
from ..restic import TAG, Restic, seconds
from ..storage import DIGEST, Storage
from ..text import human_bytes
from .options import add_json, add_wait
from .outcome import perform
from .server import Server

STATE = Path("/var/lib/wharf/backup")
STAGE = STATE / "stage"  # always the same place, so that restic finds what it had before
TREE = "docker/registry/v2"
RESERVE = 64 << 20  # bytes that must stay free

# Why a backup is consistent while people push: the registry writes a blob before the link that names it, and the links
# of layers before those of manifests and tags. So links are copied first, tags before manifests before layers, and the
# blobs are backed up after that. Nothing else removes blobs meanwhile, because garbage collection takes the same lock.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--plan", action="store_true", help="only say what it would do")
    add_wait(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Make a snapshot; return the exit code."""
    return perform(options, back_up, record=not options.plan)


def back_up(options: argparse.Namespace) -> dict[str, Any]:
    """Make a snapshot, and remove those that need not be kept."""
    start = time.monotonic()
    with lock("back-up", options.wait):
        restic, server = Restic.configured(), Server()
        data, exists, size = preflight(restic, server)
        if options.plan:
            return {"snapshot": None, "exists": exists, "new": size, "message": f"would back up {human_bytes(size)}"}
        if not exists:
            restic.output("init")
        tags = stage(data)
        # The state of the registry that goes into the backup, not of the one that people push to meanwhile.
        problems = Storage(STAGE).summary()["problems"]
        summary = make_snapshot(restic, server, data, tags)
        record_repository(restic)
        # Of a registry that is damaged, the older snapshots may be the complete ones: none of them is removed.
        if restic.keep and not problems:
            keep = [f"--keep-{unit}={count}" for unit, count in restic.keep.items()]
            restic.output("forget", "--prune", "--tag", TAG, "--host", restic.name, "--group-by", "host", *keep)
    result = {
        "snapshot": summary["snapshot_id"][:8],
        "new": summary.get("data_added_packed", summary["data_added"]),
        "total": summary["total_bytes_processed"],
        "tags": len(tags),
        "seconds": round(time.monotonic() - start, 1),
        "problems": problems,
    }
    result["message"] = (
        f"snapshot {result['snapshot']}: {result['tags']} tags, {human_bytes(result['total'])},"
        f" of them {human_bytes(result['new'])} new, in {result['seconds']} s"
    )
    if problems:
        result["message"] += "; but the registry is damaged: " + "; ".join(problems[:20])
    return result


def preflight(restic: Restic, server: Server) -> tuple[Path, bool, int]:
    """Return the data, whether the backup exists, and the bytes that are new to it. Nothing is written before.

    Raises:
        WharfError: there is nothing to back up, or no room for it, or the backup that was there is gone.
    """
    if server.driver != "filesystem":
        raise WharfError(f"the registry keeps its images in {server.driver}, not in files: back that storage up itself")
    data = server.data()
    if data.resolve() in Path(restic.repository).resolve().parents:
        raise WharfError(f"wharf_backup_repository: {restic.repository} lies in what is backed up: use another place")
    snapshots = restic.snapshots(required=False)
    known = STATE / "repository.json"
    if snapshots is None and known.exists() and json.loads(known.read_text())["repository"] == restic.repository:
        raise WharfError(
            f"the backup that was in {restic.place} is not there any more: is its disk mounted?"
            f" To begin a new one, remove {known} first"
        )
    size = new_bytes(data, seconds(snapshots[-1]["time"]) - 3600 if snapshots else 0)
    room = restic.free_space()
    if room is not None and room < size + RESERVE:
        raise WharfError(
            f"there is no room in {restic.place}: {human_bytes(room)} are free, and {human_bytes(size + RESERVE)} are"
            " needed: make room, or keep fewer snapshots (wharf_backup_keep)"
        )
    return data, snapshots is not None, size


def new_bytes(data: Path, since: float) -> int:
    """Return how many bytes of blobs came after a time: no less than what is new to the backup."""
    blobs = [
        (data / directory / name).stat() for directory, _, names in os.walk(data / TREE / "blobs") for name in names
    ]
    return sum(blob.st_size for blob in blobs if blob.st_mtime > since)


def stage(data: Path) -> dict[str, str]:
    """Bring the copy of the registry's links in STAGE up to date, and return what is tagged: {"name:tag": digest}.

    The blobs are shown beside them, so that STAGE is a registry's storage of its own.
    """
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    source, target, blobs = data / TREE / "repositories", STAGE / TREE / "repositories", STAGE / TREE / "blobs"
    target.mkdir(parents=True, exist_ok=True)
    blobs.unlink(missing_ok=True)
    blobs.symlink_to(data / TREE / "blobs")
    copied: set[Path] = set()
    for name in Storage(data).repositories():
        # The order in which the registry writes them, backwards. Uploads under way are left out.
        for part in ("_manifests/tags", "_manifests/revisions", "_layers"):
            copied |= copy_links(source / name / part, target / name / part)
    for directory, _, names in os.walk(target, topdown=False):
        place = Path(directory)
        if "link" in names and place / "link" not in copied:
            (place / "link").unlink()
        if place != target and not os.listdir(place):
            place.rmdir()
    storage = Storage(STAGE)
    return {f"{name}:{tag}": digest for name in storage.repositories() for tag, digest in storage.tags(name).items()}


def copy_links(source: Path, target: Path) -> set[Path]:
    """Copy the link files below a directory, with their times; return the copies.

    A copy that is right already is not touched, so that restic finds nothing new.
    """
    copied = set()
    for directory, _, names in os.walk(source):
        if "link" not in names:
            continue
        link, copy = Path(directory, "link"), target / Path(directory).relative_to(source) / "link"
        # Version 2 writes a link in place: one that is read meanwhile is empty, for a moment.
        for _ in range(20):
            content, written = link.read_text(errors="replace"), link.stat().st_mtime_ns
            if DIGEST.fullmatch(content.strip()):
                break
            time.sleep(0.05)
        copied.add(copy)
        if copy.is_file() and copy.stat().st_mtime_ns == written and copy.read_text() == content:
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(content)
        os.utime(copy, ns=(written, written))
    return copied


def make_snapshot(restic: Restic, server: Server, data: Path, tags: dict[str, str]) -> dict[str, Any]:
    """Back up the staged links, the blobs and the files of the registry; return restic's summary."""
    description = {
        "name": restic.name,
        "port": server.port,
        "image": server.inspected["Config"]["Image"] if server.inspected else "",
        "data": str(data),
        "directories": {kind: str(path) for kind, path in restic.directories.items()},
        "tags": tags,
    }
    text = json.dumps(description, indent=1, sort_keys=True)
    if not (STAGE / "wharf.json").exists() or (STAGE / "wharf.json").read_text() != text:
        (STAGE / "wharf.json").write_text(text)
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
    (STATE / "repository.json").write_text(json.dumps({"repository": restic.repository}))
    (STATE / "repository.json").chmod(0o600)

"""Restore a snapshot: images, users, certificate and CA, or one repository.

Everything is read from the backup and compared with its digests first. Then it replaces what is there in one step, with
the registry stopped for a second or two. What was there is kept, and the result says where.
"""

from __future__ import annotations

import argparse
import ctypes
import filecmp
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..data import directory, mounted_at
from ..errors import WharfError
from ..files import free_bytes, write_atomic
from ..lock import lock
from ..restic import Restic, significant_lines
from ..storage import Storage
from ..text import human_bytes, pluralize
from .backup import RESERVE, STAGE, TREE, record_repository
from .docker import call, docker, ignore_signals
from .options import add_json, add_wait
from .outcome import perform
from .server import Server

# The configuration comes from the inventory, and the state file of the data belongs to this server.
NOT_RESTORED = {"config.yml", "config.yml.before", "data"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--snapshot", default="latest", metavar="ID", help="which one (the newest)")
    parser.add_argument("--confirm", default="", metavar="NAME", help="the registry's name, to replace its images")
    parser.add_argument("--repository", default="", metavar="NAME", help="only this one, into the running registry")
    parser.add_argument("--overwrite", action="store_true", help="with --repository: existing tags as well")
    parser.add_argument("--data", default="", metavar="PLACE", help="the directory or volume (where the data is)")
    parser.add_argument(
        "--uid", type=int, default=59500, metavar="NUMBER", help="the registry's user, for data where none was"
    )
    parser.add_argument("--plan", action="store_true", help="only say what it would do")
    parser.add_argument("--list", action="store_true", help="only say which tags the snapshot holds")
    add_wait(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Restore a snapshot; return the exit code."""
    return perform(options, restore, record=False)  # whoever restores sees how it ends


def restore(options: argparse.Namespace) -> dict[str, Any]:
    """Restore a snapshot: all of it, or one repository."""
    start = time.monotonic()
    job = Job(options)
    snapshot, tags = job.snapshot, job.contents["tags"]
    if options.list:
        lines = [f"{reference} {digest}" for reference, digest in sorted(tags.items())]
        return {"snapshot": snapshot["short_id"], "time": snapshot["time"], "tags": tags, "message": "\n".join(lines)}
    with lock("restore", options.wait):
        result = restore_repository(job, options) if options.repository else restore_all(job, options)
    if not options.plan:
        record_repository(job.restic)
    result |= {"snapshot": snapshot["short_id"], "time": snapshot["time"]}
    result["seconds"] = round(time.monotonic() - start, 1)
    result["message"] = f"snapshot {job.title}: {result['message']}"
    return result


class Job:
    """A snapshot, and the server that it is restored on."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Choose the snapshot, and read what it holds.

        Raises:
            WharfError: there is none, or it is damaged.
        """
        self.restic, self.server = Restic.configured(), Server()
        self.snapshot = choose(self.restic, options.snapshot)
        self.title = f"{self.snapshot['short_id']} of {self.snapshot['time'][:16]}"
        description = self.restic.run("dump", "--no-lock", self.snapshot["id"], STAGE / "wharf.json")
        if description.returncode != 0:
            raise damaged(description)
        self.contents: dict[str, Any] = json.loads(description.stdout)

    def unpack(self, target: Path, *paths: Path) -> None:
        """Restore these paths of the snapshot, or all of it, below a directory.

        Raises:
            WharfError: something in the backup is damaged.
        """
        chosen = [word for path in paths for word in ("--include", str(path))]
        result = self.restic.run("restore", self.snapshot["id"], "--target", target, *chosen)
        # Version 0.14 says "There were 3 errors" and ends with 1 as well.
        if result.returncode != 0:
            raise damaged(result)


def choose(restic: Restic, wanted: str) -> dict[str, Any]:
    """Return the snapshot with this ID, or the newest for "latest".

    Raises:
        WharfError: there is none.
    """
    snapshots = restic.snapshots()
    for snapshot in reversed(snapshots):
        if wanted == "latest" or snapshot["id"].startswith(wanted):
            return snapshot
    listed = ", ".join(f"{item['short_id']} ({item['time'][:16]})" for item in snapshots[-10:]) or "none"
    raise WharfError(
        f"wharf_restore_snapshot: {wanted} is no snapshot of {restic.name} in {restic.place}: there are {listed}"
    )


def damaged(result: subprocess.CompletedProcess[str]) -> WharfError:
    """Return why nothing is restored."""
    lines = "\n".join(significant_lines(result.stderr)[:10])
    return WharfError(
        f"the backup is damaged, and nothing was replaced. restic says:\n{lines}\n"
        "Run wharf check-backup, or choose another snapshot (wharf_restore_snapshot)"
    )


@contextmanager
def staging_dir(data: Path) -> Iterator[Path]:
    """Give a fresh directory to restore into, and remove it afterwards.

    It is inside of the data's directory, so that it is the same file system even if a disk is mounted there.
    """
    path = data / ".restoring"
    shutil.rmtree(path, ignore_errors=True)
    try:
        path.mkdir(mode=0o700)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


# All of it ----------------------------------------------------------------------------------------


def restore_all(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Replace the data, the CA, the certificate and the users; keep what was there."""
    place, data = target(job.server, options.data)
    wanted = pluralize(len(job.contents["tags"]), "tag")
    if options.plan and not (data and data.is_dir()):
        return {"message": f"would restore {wanted} into {place}"}
    if not options.plan:
        data = create_data(place, options.uid)
    data /= job.server.root
    storage = Storage(data)
    names = storage.repositories()
    present = pluralize(sum(len(storage.tags(name)) for name in names), "tag")
    if names and options.confirm != job.restic.name:
        raise WharfError(
            f"there is a registry in {data}, with {present}: to replace it with the snapshot {job.title} ({wanted}),"
            f" set wharf_restore_confirm: {job.restic.name}. What is there now is kept"
        )
    require_room(job, data)
    if options.plan:
        return {"message": f"would replace {present} in {data} by {wanted}"}
    with staging_dir(data) as staging:
        tree = unpack_all(job, staging)
        verify_restored(Storage(tree), job.contents["tags"])
        chown_tree(tree, data)
        kept = replace_all(job, staging, tree, data)
    return {"tags": len(job.contents["tags"]), "kept": kept, "message": f"{wanted} restored, each blob verified"}


def target(server: Server, wanted: str) -> tuple[str, Path | None]:
    """Return the directory or volume to restore into, and where it lies; None for a volume that is not there yet.

    Raises:
        WharfError: it is not where the registry has its data.
    """
    mounted = mounted_at(server.inspected)
    place = wanted or (str(mounted) if mounted else server.recorded()[1])
    if not place:
        raise WharfError("there is no registry here: give a directory or volume for the images with --data")
    data = directory(place)
    if mounted and mounted != data:
        raise WharfError(
            f"wharf_registry_data: is {place}, but the registry's container keeps its images in {mounted}:"
            " move the data first, or name the place where it is"
        )
    return place, data


def create_data(place: str, uid: int) -> Path:
    """Return the directory that images are to be restored into, created for the registry's user if it is missing."""
    if not place.startswith("/"):
        docker("volume", "create", place)
    path = directory(place)
    assert path
    path.mkdir(mode=0o750, parents=True, exist_ok=True)
    if path.stat().st_uid == 0:
        os.chown(path, uid, uid)
    return path


def require_room(job: Job, data: Path) -> None:
    """Raise WharfError when the whole snapshot has no room beside the data."""
    output = job.restic.output("stats", job.snapshot["id"], "--mode", "restore-size", "--json", "--no-lock")
    needed, free = json.loads(output)["total_size"] + RESERVE, free_bytes(data)
    if free < needed:
        raise WharfError(
            f"there is no room in {data}: the restored data lies beside the old until all of it is there and verified,"
            f" {human_bytes(needed)} are needed and {human_bytes(free)} are free"
        )


def unpack_all(job: Job, staging: Path) -> Path:
    """Restore the snapshot into the staging directory; return the directory there that is a registry's storage."""
    job.unpack(staging)
    tree = staging / STAGE.relative_to("/")
    blobs = staging / Path(job.contents["data"]).relative_to("/") / TREE / "blobs"
    (tree / TREE / "blobs").unlink()  # a link to the directory of then
    if blobs.is_dir():  # a registry that was never pushed to has none
        blobs.rename(tree / TREE / "blobs")
    remove_unreferenced(tree)
    return tree


def remove_unreferenced(tree: Path) -> None:
    """Remove the blobs that no link names: one of them may be half of a push that came after the links were copied."""
    links = [path for path in (tree / TREE / "repositories").rglob("link") if path.is_file()]
    referenced = {link.read_text(errors="replace").strip() for link in links}
    for blob in list((tree / TREE / "blobs").glob("*/*/*")):
        if f"{blob.parent.parent.name}:{blob.name}" not in referenced:
            shutil.rmtree(blob)


def verify_restored(storage: Storage, tags: dict[str, str], names: list[str] | None = None) -> None:
    """Compare what was restored with its digests, and with the tags that the snapshot should hold.

    Raises:
        WharfError: something is missing or damaged.
    """
    problems = list(storage.problems(names, contents=True))
    found = {f"{name}:{tag}": digest for name in storage.repositories() for tag, digest in storage.tags(name).items()}
    problems += [f"{tag}: should lead to {digest}" for tag, digest in tags.items() if found.get(tag) != digest]
    if problems:
        raise WharfError(
            "what was restored is not complete, and nothing was replaced:\n"
            + "\n".join(problems[:30])
            + "\nThe registry was damaged when this snapshot was made: choose an older one (wharf_restore_snapshot), or"
            " restore the repositories that are complete one by one (wharf_restore_repository)"
        )


def chown_tree(tree: Path, data: Path) -> None:
    """Give all that was restored to the registry's user."""
    owner = data.stat()
    for path, _, names in os.walk(tree):
        os.chown(path, owner.st_uid, owner.st_gid)
        os.chmod(path, 0o755)
        for name in names:
            os.chown(os.path.join(path, name), owner.st_uid, owner.st_gid)


def replace_all(job: Job, staging: Path, tree: Path, data: Path) -> list[str]:
    """Put everything in its place, with the registry stopped; return what was kept of that which was there."""
    stamp = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
    running = bool(job.server.inspected) and job.server.inspected["State"]["Running"]
    ignore_signals()
    if running:
        docker("stop", job.server.container)
    try:
        kept = restore_files(job, staging, stamp)
        old = swap(tree / "docker", data / "docker", data / f"before-restore-{stamp}")
    finally:
        if running:
            start_registry(job.server.container)
    return kept + ([str(old)] if old else [])


def start_registry(container: str) -> None:
    """Start the registry's container, and wait at most 30 seconds until its own health check is content."""
    docker("start", container)
    deadline = time.monotonic() + 30
    health = ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:5001/debug/health"]
    while call("exec", container, *health).returncode != 0 and time.monotonic() < deadline:
        time.sleep(0.2)


def swap(new: Path, old: Path, kept: Path) -> Path | None:
    """Put a directory in the place of another in one step; return where the old one is now, None if there was none."""
    if not old.exists():
        new.rename(old)
        return None
    kept.mkdir(mode=0o700)
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    at_cwd, exchange = -100, 2
    if renameat2 is None or renameat2(at_cwd, bytes(new), at_cwd, bytes(old), exchange) != 0:
        # A file system that cannot: two steps.
        old.rename(kept / "docker")
        new.rename(old)
    else:
        new.rename(kept / "docker")
    return kept


def restore_files(job: Job, staging: Path, stamp: str) -> list[str]:
    """Put CA, certificate and users in their places; return the copies of directories that were there and differ.

    The directories themselves stay, because the container has them mounted.
    """
    kept = []
    for kind, place in job.restic.directories.items():
        source = staging / Path(job.contents["directories"][kind]).relative_to("/")
        files = [path for path in source.glob("*") if path.is_file() and path.name not in NOT_RESTORED]
        same, _, _ = filecmp.cmpfiles(source, place, [path.name for path in files], shallow=False)
        if len(same) == len(files):
            continue
        if place.is_dir():
            copy = place.with_name(f"{place.name}.before-restore-{stamp}")
            shutil.copytree(place, copy)
            copy.chmod(0o700)
            kept.append(str(copy))
        else:
            place.mkdir(parents=True)
            shutil.copystat(source, place)
            os.chown(place, source.stat().st_uid, source.stat().st_gid)
        for path in files:
            info = path.stat()
            write_atomic(str(place / path.name), path.read_bytes(), info.st_mode & 0o7777, info.st_uid, info.st_gid)
    return kept


# One repository -----------------------------------------------------------------------------------


def restore_repository(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Restore one repository into the running registry. Tags that are there and not in the backup stay."""
    name = options.repository
    wanted = {tag: digest for tag, digest in job.contents["tags"].items() if tag.rpartition(":")[0] == name}
    if not wanted:
        names = ", ".join(sorted({tag.rpartition(":")[0] for tag in job.contents["tags"]})[:20]) or "none"
        raise WharfError(f"wharf_restore_repository: {name} is not in the snapshot {job.title}: there are {names}")
    data = job.server.data()
    running = Storage(data)
    current = {f"{name}:{tag}": digest for tag, digest in running.tags(name).items()}
    moved = [tag for tag, digest in wanted.items() if current.get(tag, digest) != digest]
    if moved and not options.overwrite:
        raise WharfError(
            f"these tags lead to something else now than in the snapshot {job.title}: {', '.join(moved[:20])}."
            " To restore them, set wharf_restore_overwrite: true (what they lead to now stays in the registry, by its"
            " digest)"
        )
    tags = pluralize(len(wanted), "tag")
    if options.plan:
        return {"message": f"would restore {tags} of {name}"}
    with staging_dir(data) as staging:
        restored, missing = unpack_repository(job, staging, running, name)
        verify_restored(restored, wanted, [name])
        chown_tree(staging / STAGE.relative_to("/"), data)
        publish(restored, running, name, missing, data)
    return {
        "tags": len(wanted),
        "kept": [f"{tag} led to {current[tag]}" for tag in moved],
        "message": f"{tags} of {name} restored; {pluralize(len(missing), 'blob')} had been missing or damaged",
    }


def unpack_repository(job: Job, staging: Path, running: Storage, name: str) -> tuple[Storage, list[str]]:
    """Build a storage with one repository, of the registry's own blobs where these are intact.

    Returns:
        The storage, and the digests of the blobs that came from the backup.
    """
    job.unpack(staging, STAGE / TREE / "repositories" / name)
    restored = Storage(staging / STAGE.relative_to("/"))
    missing: dict[str, Path] = {}  # digests, and where the backup has them
    for digest in sorted(restored.revisions(name) | restored.layers(name)):
        restored.blob_path(digest).parent.mkdir(parents=True)
        if running.is_intact(digest):
            os.link(running.blob_path(digest), restored.blob_path(digest))
        else:
            missing[digest] = Path(job.contents["data"], TREE, running.blob_path(digest).relative_to(running.top))
    paths = list(missing.values())
    for group in range(0, len(paths), 1000):
        job.unpack(staging, *paths[group : group + 1000])
    for digest, path in missing.items():
        (staging / path.relative_to("/")).rename(restored.blob_path(digest))
    return restored, list(missing)


def publish(restored: Storage, running: Storage, name: str, missing: list[str], data: Path) -> None:
    """Move a repository into the registry, as the registry writes: blobs, links of layers and manifests, tags last."""
    moves = [(restored.blob_path(digest), running.blob_path(digest)) for digest in missing]
    for part in ("_layers", "_manifests/revisions", "_manifests/tags"):
        source, destination = restored.repository(name) / part, running.repository(name) / part
        # A tag's index before its current link, which makes it visible.
        links = [path for path in source.rglob("link") if path.is_file()]
        links.sort(key=lambda path: path.parent.name == "current")
        moves += [(link, destination / link.relative_to(source)) for link in links]
    for source, destination in moves:
        make_directories(destination.parent, data)
        source.replace(destination)


def make_directories(path: Path, data: Path) -> None:
    """Make a directory below the data, and those above it, for the registry's user."""
    if not path.exists():
        make_directories(path.parent, data)
        path.mkdir()
        os.chown(path, data.stat().st_uid, data.stat().st_gid)

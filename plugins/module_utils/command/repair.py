"""Mends what a registry's storage keeps of writes that were cut off: by a full disk, a lost power, a killed process.

    wharf repair-storage             mends
    wharf repair-storage --if-due    the same, where a write can have been cut off since it last looked
    wharf repair-storage --look      only names the files that are due, and changes nothing

The registry (version 2) creates its small files first and fills them afterwards. What is cut off in between stays as an
empty file, with which the registry does the wrong thing: it lists a tag that nobody can pull, fails every later push of
a layer, or takes a manifest for stored that is not, and acknowledges it. This looks for empty files. It pauses the
registry, for less than a second, and writes into each what belongs there, or removes it, so that the next push brings
it anew. To remove needs no room: a storage is mended while its disk is full. No image that is whole loses anything.

The exit code is 0 when all is well afterwards, and 1 when an image was lost, until it is pushed again, or when a file
can only be written once there is room.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DamageError, WharfError
from ..lock import RESULTS, write_result
from ..manifests import blobs
from ..storage import Storage
from ..text import pluralize
from .registry import ROOM, Registry, docker, run

NAME = "repair-storage"
STATE = Path("/run/wharf-repair-storage.json")  # what was seen at the last look; gone after a reboot, as it should be
ENGINE = Path("/run/docker.pid")
SETTLED = 3  # seconds after which an empty file is none that is just being written
EMPTY = {f"{name}:{hashlib.new(name).hexdigest()}" for name in ("sha256", "sha512")}  # blobs may well be empty
# What the registry logs, in each of its formats, when the system refuses to write.
REFUSED = re.compile(rb"no space left on device|disk quota exceeded|input/output error")
LOST = re.compile(r"([^\s;]+):([^\s:]+) \(\S+\) is lost: push it again")


# Whether anything is due --------------------------------------------------------------------------


def look(registry: Registry) -> dict[str, Any]:
    """Return what tells of writes without a look at the storage."""
    log = registry.made["LogPath"]
    space = os.statvfs(registry.root)
    return {
        "started": registry.made["State"]["StartedAt"],
        "log": [os.stat(log).st_ino, os.stat(log).st_size] if log and os.path.exists(log) else [],
        "full": space.f_bavail * space.f_frsize < ROOM,
    }


def is_due(registry: Registry, before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Tell whether a write can have been cut off since the last look, or something was left to do."""
    if before.get("again", True) or before["started"] != now["started"]:
        return True
    # The log tells of a disk that was full for a moment; but where the log's own disk is full, it tells nothing.
    if before["full"] or now["full"] or refused(registry.made["LogPath"], before["log"], now["log"]):
        return True
    return any(is_whole(registry.storage, name, tag) for name, tag in LOST.findall(told(before)))


def engine_runs() -> bool:
    """Tell whether the engine runs."""
    return ENGINE.exists() or subprocess.run(["systemctl", "--quiet", "is-active", "docker"]).returncode == 0


def refused(log: str, before: list[int], now: list[int]) -> bool:
    """Tell whether the log has grown by a write that failed, or was rotated, so that nobody knows."""
    if before == now:
        return False
    if before[:1] != now[:1] or before[1] > now[1]:
        return True
    with open(log, "rb") as file:
        file.seek(before[1])
        return REFUSED.search(file.read(now[1] - before[1])) is not None


def remembered() -> dict[str, Any]:
    """Return what was seen at the last look; nothing when there was none."""
    try:
        return json.loads(STATE.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def remember(state: dict[str, Any]) -> None:
    """Keep it for the next look."""
    new = STATE.with_suffix(".new")
    new.write_text(json.dumps(state))
    new.replace(STATE)


def told(before: dict[str, Any]) -> str:
    """Return how the last run ended, also where there was no room to write its result."""
    try:
        result = (RESULTS / NAME).read_text()
    except FileNotFoundError:
        result = ""
    return before.get("told") or result


# Looking ------------------------------------------------------------------------------------------


def faults(storage: Storage) -> list[Path]:
    """Return the files that must not be empty, and are, and the tags without the file that says where they lead."""
    find = ["find", str(storage.top), "-name", "_uploads", "-prune"]  # uploads: the registry itself removes them
    done = subprocess.run([*find, "-o", "-type", "f", "-size", "0", "-print0"], capture_output=True)
    paths = [Path(os.fsdecode(path)) for path in done.stdout.split(b"\0") if path]
    for name in storage.repositories():
        links = (storage.tag_link(name, tag) for tag in storage.tag_names(name))
        paths += [link.parent.parent for link in links if not link.exists()]
    paths = [path for path in paths if is_fault(path)]
    if paths:
        time.sleep(SETTLED)
    return [path for path in paths if is_fault(path)]


def is_fault(path: Path) -> bool:
    """Tell whether a path that was found is a fault still."""
    try:
        if path.is_dir():
            return not (path / "current/link").exists()
        return path.stat().st_size == 0 and not (path.name == "data" and digest_of(path) in EMPTY)
    except FileNotFoundError:
        return False


def digest_of(path: Path) -> str:
    """Return the digest for which a file stands: that of a blob's content, or the one that a link holds."""
    return f"{path.parent.parent.name if path.name == 'link' else path.parent.parent.parent.name}:{path.parent.name}"


def place(storage: Storage, path: Path) -> tuple[str, str, str]:
    """Return the repository to which a fault belongs, what is below it, such as _layers, and the tag; or nothing."""
    top, parts = storage.top / "repositories", path.relative_to(storage.top).parts[1:]
    if not path.is_relative_to(top):
        return "", "", ""
    start = next(number for number, part in enumerate(parts) if part.startswith("_"))
    below = parts[start + 1 :]
    return "/".join(parts[:start]), parts[start], below[1] if below[:1] == ("tags",) else ""


def is_whole(storage: Storage, name: str, tag: str) -> bool:
    """Tell whether all manifests are there that a tag needs."""
    try:
        return tag in storage.tag_names(name) and bool(storage.closure(storage.tags(name).get(tag, "")))
    except DamageError:
        return False


def is_manifest(storage: Storage, digest: str) -> bool:
    """Tell whether a manifest is stored, and is what its digest says."""
    try:
        return bool(storage.manifest(digest))
    except DamageError:
        return False


def needed(storage: Storage, name: str) -> set[str]:
    """Return the blobs that the manifests of a repository need."""
    links = storage.repository(name).glob("_manifests/revisions/*/*/link")
    manifests = [storage.manifest(digest) for digest in map(digest_of, links) if is_manifest(storage, digest)]
    return {blob["digest"] for manifest in manifests for blob in blobs(manifest)}


# Mending ------------------------------------------------------------------------------------------


@dataclass
class Mended:
    """What was done, was lost, and must wait for room, as sentences; and the manifests that are not there any more."""

    done: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)


def mend(
    storage: Storage, found: list[Path], gone: set[str], hold: Callable[[], contextlib.AbstractContextManager[None]]
) -> Mended:
    """Mend what was found.

    Args:
        storage: the registry's storage.
        found: its faults, as they were a moment ago.
        gone: manifests that the run before has removed: a push that took them for stored may have ended since.
        hold: a context in which nobody writes.

    """
    mended = Mended(gone={digest for digest in gone if not storage.blob_path(digest).exists()})
    # Before anybody has to wait. As long as a layer's link is empty, no manifest that needs it is taken.
    places = {path: place(storage, path) for path in found}
    stays = {name: needed(storage, name) for name, kind, _ in set(places.values()) if kind == "_layers"}
    with hold():
        found = [path for path in found if is_fault(path)]
        for path in found:
            name, kind, tag = places[path]
            if path.name not in ("data", "link") and not tag:
                path.unlink()  # what version 3 writes before it gives it its name
                mended.done.append(f"{path.relative_to(storage.top)} was empty: removed")
            elif not name:
                shutil.rmtree(path.parent)
                mended.gone.add(digest_of(path))
                mended.done.append(f"the blob {digest_of(path)} was empty: removed")
        # What is removed makes a little room for what is written.
        for path in found:
            name, kind, tag = places[path]
            if path.name == "link" and not tag and digest_of(path) not in mended.gone:
                good = digest_of(path) in stays[name] if kind == "_layers" else is_manifest(storage, digest_of(path))
                mend_link(path, name, good, mended)
        doubtful = unlink(storage, mended)
        tags = {(name, tag) for name, _, tag in map(places.get, found) if tag}
        tags |= {(name, tag) for name in doubtful for tag in storage.tag_names(name)}
        for name, tag in sorted(tags):
            mend_tag(storage, name, tag, mended)
    # An index of which a part is gone stays: its other parts are good.
    for name in sorted(doubtful):
        for tag, digest in storage.tags(name).items():
            if not is_whole(storage, name, tag):
                mended.lost.append(f"{name}:{tag} ({digest}) is lost: push it again")
    return mended


def unlink(storage: Storage, mended: Mended) -> set[str]:
    """Remove the links to manifests that are gone; return the repositories that had any."""
    doubtful = set()
    for name in storage.repositories() if mended.gone else ():
        for digest in mended.gone:
            for kind in ("_layers", "_manifests/revisions"):
                directory = storage.repository(name) / kind / digest.replace(":", "/")
                if directory.exists():
                    shutil.rmtree(directory)
                    doubtful.add(name)
                    mended.done.append(f"{name}: the link to {digest} led nowhere: removed")
    return doubtful


def mend_link(link: Path, name: str, good: bool, mended: Mended) -> None:
    """Mend a repository's link to a layer or a manifest: write it if it is good for anything."""
    if good:
        with room_for(f"{name}: the link to {digest_of(link)} was empty: written", mended):
            write(link)
    else:
        shutil.rmtree(link.parent)
        mended.done.append(f"{name}: the link to {digest_of(link)} led nowhere: removed")


def mend_tag(storage: Storage, name: str, tag: str, mended: Mended) -> None:
    """Mend one tag of a repository whose other links are mended."""
    current = storage.tag_link(name, tag)
    directory = current.parent.parent
    pushed = []
    for link in directory.glob("index/*/*/link"):
        # Also where the revision's own link has to wait for room.
        revision = storage.repository(name) / "_manifests/revisions" / digest_of(link).replace(":", "/") / "link"
        if revision.exists() and is_manifest(storage, digest_of(link)):
            pushed.append(link)
            if is_fault(link):
                with room_for(f"{name}:{tag}: the link to {digest_of(link)} was empty: written", mended):
                    write(link)
        elif is_fault(link) or digest_of(link) in mended.gone:
            shutil.rmtree(link.parent)
    if not current.is_file() or is_fault(current):
        if not pushed:
            shutil.rmtree(directory)
            mended.done.append(f"{name}:{tag} had never been pushed whole: removed")
        elif not is_fault(last := max(pushed, key=lambda link: link.stat().st_mtime)):
            what = f"{name}:{tag} led nowhere: it leads to {digest_of(last)}, the last that was pushed whole"
            with room_for(what, mended):
                current.parent.mkdir(exist_ok=True)
                os.chown(current.parent, directory.stat().st_uid, directory.stat().st_gid)
                # The history's link has the content that is needed, and a move needs no room.
                last.replace(current)
                last.parent.rmdir()
    elif (digest := current.read_text()) in mended.gone:
        # Only a push that was acknowledged gets so far. An older image under its tag would be worse than none.
        shutil.rmtree(directory)
        mended.lost.append(f"{name}:{tag} ({digest}) is lost: push it again")


@contextlib.contextmanager
def room_for(what: str, mended: Mended) -> Iterator[None]:
    """Add a sentence to what was done, or to what must wait for room."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        mended.waits.append(what)
    else:
        mended.done.append(what)


def write(link: Path) -> None:
    """Write into an empty link what belongs there."""
    with link.open("a") as file:
        file.write(digest_of(link))


@contextlib.contextmanager
def paused(registry: Registry, before: dict[str, Any]) -> Iterator[None]:
    """Let the registry do nothing for a moment; clients only wait.

    The engine pauses a process only between its calls of the system. So what is empty still is not being written: often
    the registry has it open all the same, because it forgets a file that it could not write. And nothing has to start
    again, which a full disk could prevent.
    """

    def status() -> str:
        return docker("inspect", "--format", "{{.State.Status}}", registry.container)

    if status() != "running":
        yield
        return
    remember(before | {"again": True, "paused": True})
    try:
        docker("pause", registry.container)
        yield
    finally:
        docker("unpause", registry.container, check=False)
        if status() == "paused":
            docker("unpause", registry.container)  # which tells why


# The program --------------------------------------------------------------------------------------


def work(registry: Registry, found: list[Path], before: dict[str, Any], now: dict[str, Any]) -> str:
    """Mend what was found; return the line for the result.

    Raises:
        WharfError: an image was lost, or there is no room for something that must be written.

    """
    if before.get("paused") and registry.made["State"]["Paused"]:
        docker("unpause", registry.container)  # a run was killed at the worst moment
    gone = set(before.get("gone", []))
    mended = Mended()
    if found or gone:
        mended = mend(registry.storage, found, gone, lambda: paused(registry, before))
        if registry.caches and mended.gone - gone:
            docker("restart", registry.container)  # it would still know what is gone
    for line in mended.done:
        print(line)
    lost = [found[0] for found in LOST.finditer(told(before)) if not is_whole(registry.storage, found[1], found[2])]
    problems = [*lost, *(line for line in mended.lost if line not in lost)]
    if mended.waits:
        problems.append(f"{pluralize(len(mended.waits), 'link')} can only be written when there is room: make room")
    # What was mended is looked at once more: a push that was under way may have made more of it.
    state = now | {"again": bool(found), "gone": sorted(mended.gone - gone)}
    if problems:
        try:
            write_result(NAME, False, "; ".join(problems))
        except OSError:  # no room for it: the next run must know all the same
            state["told"] = "; ".join(problems)
    remember(state)
    if problems:
        raise WharfError("; ".join(problems))
    if not mended.done:
        print("nothing to mend")
    return f"{pluralize(len(mended.done), 'fault')} mended" if mended.done else "nothing to mend"


def main(arguments: list[str]) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--if-due", action="store_true", help="only where a write can have been cut off since")
    parser.add_argument("--look", action="store_true", help="only name the files that are due")
    options = parser.parse_args(arguments)
    try:
        # An engine that does not run must not be asked: its socket would start it.
        if options.if_due and not engine_runs():
            return 0
        registry = Registry()
    except WharfError as failure:
        if options.if_due:
            return 0  # there is none now; its start makes it due
        print(f"wharf-{NAME}: {failure}", file=sys.stderr)
        return 1
    if options.look:
        for path in faults(registry.storage):
            print(path)
        return 0
    before, now = remembered(), look(registry)
    if options.if_due and not is_due(registry, before, now):
        remember(before | now)
        return 0
    found = faults(registry.storage)  # which takes as long as it takes, and keeps nobody waiting
    left = before.get("paused") or before.get("gone") or told(before).startswith("failed")
    if options.if_due and not (found or left):
        remember(now | {"again": False})
        return 0
    return run(
        NAME,
        lambda registry: work(registry, found, before, now),
        wait=0 if options.if_due else 60,
        record=True,
        another_time=options.if_due,
    )

"""Repair what writes that were cut off have left in the storage: by a full disk, a lost power, a killed process.

The registry (version 2) creates its small files first and fills them afterwards. What is cut off in between stays as an
empty file, with which the registry does the wrong thing: it lists a tag that nobody can pull, fails every later push of
a layer, or takes a manifest for stored that is not, and acknowledges it. This looks for empty files. It pauses the
registry, for less than a second, and writes into each what belongs there, or removes it, so that the next push brings
it anew. To remove needs no room: a storage is repaired while its disk is full. No image that is whole loses anything.

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
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DamageError, WharfError
from ..files import write_atomic
from ..lock import RESULTS, write_result
from ..manifests import blobs
from ..storage import Storage
from ..text import pluralize
from .docker import docker
from .locked import run_locked
from .options import Output, add_json
from .registry import SPARE, Registry, free_bytes

NAME = "repair-storage"
STATE = Path("/run/wharf-repair-storage.json")  # how it was at the last run; gone after a reboot, as it should be
ENGINE = Path("/run/docker.pid")
SETTLED = 3  # seconds after which an empty file is none that is just being written
EMPTY = {f"{name}:{hashlib.new(name).hexdigest()}" for name in ("sha256", "sha512")}  # blobs may well be empty
# What the registry logs, in each of its formats, when the system refuses to write.
REFUSED = re.compile(rb"no space left on device|disk quota exceeded|input/output error")
LOST = re.compile(r"([^\s;]+):([^\s:]+) \(\S+\) is lost: push it again")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--if-needed", action="store_true", help="only if a write can have been cut off since")
    parser.add_argument("--list", action="store_true", help="only list the damaged files")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Repair; return the exit code."""
    output = Output(options.json)
    try:
        # An engine that does not run must not be asked: its socket would start it.
        if options.if_needed and not engine_runs():
            return 0
        registry = Registry()
    except WharfError:
        if options.if_needed:
            return 0  # there is none now; after its start this run is needed
        raise
    if options.list:
        output.result["paths"] = [str(path) for path in find_faults(registry.storage)]
        for path in output.result["paths"]:
            output.line(path)
        output.close()
        return 0
    before, now = read_state(), current_state(registry)
    if options.if_needed and not is_needed(registry, before, now):
        write_state(before | now)
        return 0
    faults = find_faults(registry.storage)  # takes as long as it takes, and keeps nobody waiting
    unfinished = before.get("paused") or before.get("removed") or last_result(before).startswith("failed")
    if options.if_needed and not (faults or unfinished):
        write_state(now | {"again": False})
        return 0
    code = run_locked(
        NAME,
        lambda: repair_registry(registry, faults, before, now, output),
        wait=0 if options.if_needed else 60,
        skip_if_busy=options.if_needed,
    )
    output.close()
    return code


# Whether it is needed -----------------------------------------------------------------------------


def current_state(registry: Registry) -> dict[str, Any]:
    """Return what tells of writes without a look at the storage."""
    log = registry.inspected["LogPath"]
    return {
        "started": registry.inspected["State"]["StartedAt"],
        "log": [os.stat(log).st_ino, os.stat(log).st_size] if log and os.path.exists(log) else [],
        "full": free_bytes(registry.root) < SPARE,
    }


def is_needed(registry: Registry, before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Tell whether a write can have been cut off since the last run, or something was left to do."""
    if before.get("again", True) or before["started"] != now["started"]:
        return True
    # The log tells of a disk that was full for a moment; but where the log's own disk is full, it tells nothing.
    if before["full"] or now["full"] or writes_failed(registry.inspected["LogPath"], before["log"], now["log"]):
        return True
    return any(is_whole(registry.storage, name, tag) for name, tag in LOST.findall(last_result(before)))


def engine_runs() -> bool:
    """Tell whether the engine runs."""
    return ENGINE.exists() or subprocess.run(["systemctl", "--quiet", "is-active", "docker"]).returncode == 0


def writes_failed(log: str, before: list[int], now: list[int]) -> bool:
    """Tell whether the log has grown by a write that failed, or was rotated, so that nobody knows."""
    if before == now:
        return False
    if before[:1] != now[:1] or before[1] > now[1]:
        return True
    with open(log, "rb") as file:
        file.seek(before[1])
        return REFUSED.search(file.read(now[1] - before[1])) is not None


def read_state() -> dict[str, Any]:
    """Return the state of the last run; nothing when there was none."""
    try:
        return json.loads(STATE.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def write_state(state: dict[str, Any]) -> None:
    """Keep the state for the next run."""
    write_atomic(str(STATE), json.dumps(state).encode())


def last_result(before: dict[str, Any]) -> str:
    """Return how the last run ended, also where there was no room to write its result."""
    try:
        result = (RESULTS / NAME).read_text()
    except FileNotFoundError:
        result = ""
    return before.get("result") or result


# Faults -------------------------------------------------------------------------------------------


def find_faults(storage: Storage) -> list[Path]:
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


def location(storage: Storage, path: Path) -> tuple[str, str, str]:
    """Return a fault's repository, the part of it, such as _layers, and the tag; each empty where there is none."""
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


def needed_blobs(storage: Storage, name: str) -> set[str]:
    """Return the blobs that the manifests of a repository need."""
    links = storage.repository(name).glob("_manifests/revisions/*/*/link")
    manifests = [storage.manifest(digest) for digest in map(digest_of, links) if is_manifest(storage, digest)]
    return {blob["digest"] for manifest in manifests for blob in blobs(manifest)}


# Repairs ------------------------------------------------------------------------------------------


@dataclass
class Repairs:
    """What was repaired, was lost, and must wait for room, as sentences; and the manifests that were removed."""

    done: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)

    @contextlib.contextmanager
    def writing(self, sentence: str) -> Iterator[None]:
        """Add a sentence to what was done, or to what must wait for room."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.waiting.append(sentence)
        else:
            self.done.append(sentence)


def repair(
    storage: Storage,
    faults: list[Path],
    removed: set[str],
    without_writers: Callable[[], contextlib.AbstractContextManager[None]],
) -> Repairs:
    """Repair faults.

    Args:
        storage: the registry's storage.
        faults: as they were a moment ago.
        removed: manifests that the run before has removed: a push that took them for stored may have ended since.
        without_writers: a context in which nobody writes.
    """
    repairs = Repairs(removed={digest for digest in removed if not storage.blob_path(digest).exists()})
    # Before anybody has to wait. As long as a layer's link is empty, no manifest that needs it is taken.
    locations = {path: location(storage, path) for path in faults}
    needed = {name: needed_blobs(storage, name) for name, part, _ in set(locations.values()) if part == "_layers"}
    with without_writers():
        faults = [path for path in faults if is_fault(path)]
        for path in faults:
            name, part, tag = locations[path]
            if path.name not in ("data", "link") and not tag:
                path.unlink()  # what version 3 writes before it gives it its name
                repairs.done.append(f"{path.relative_to(storage.top)} was empty: removed")
            elif not name:
                shutil.rmtree(path.parent)
                repairs.removed.add(digest_of(path))
                repairs.done.append(f"the blob {digest_of(path)} was empty: removed")
        # What is removed makes a little room for what is written.
        for path in faults:
            name, part, tag = locations[path]
            if path.name == "link" and not tag and digest_of(path) not in repairs.removed:
                digest = digest_of(path)
                is_good = digest in needed[name] if part == "_layers" else is_manifest(storage, digest)
                repair_link(path, name, is_good, repairs)
        affected = remove_links(storage, repairs)
        tags = {(name, tag) for name, _, tag in map(locations.get, faults) if tag}
        tags |= {(name, tag) for name in affected for tag in storage.tag_names(name)}
        for name, tag in sorted(tags):
            repair_tag(storage, name, tag, repairs)
    # An index of which a part is gone stays: its other parts are good.
    for name in sorted(affected):
        for tag, digest in storage.tags(name).items():
            if not is_whole(storage, name, tag):
                repairs.lost.append(f"{name}:{tag} ({digest}) is lost: push it again")
    return repairs


def remove_links(storage: Storage, repairs: Repairs) -> set[str]:
    """Remove the links to manifests that were removed; return the repositories that had any."""
    affected = set()
    for name in storage.repositories() if repairs.removed else ():
        for digest in repairs.removed:
            for part in ("_layers", "_manifests/revisions"):
                directory = storage.repository(name) / part / digest.replace(":", "/")
                if directory.exists():
                    shutil.rmtree(directory)
                    affected.add(name)
                    repairs.done.append(f"{name}: the link to {digest} led nowhere: removed")
    return affected


def repair_link(link: Path, name: str, is_good: bool, repairs: Repairs) -> None:
    """Repair a repository's link to a layer or a manifest: write it if what it leads to is good."""
    if is_good:
        with repairs.writing(f"{name}: the link to {digest_of(link)} was empty: written"):
            write_link(link)
    else:
        shutil.rmtree(link.parent)
        repairs.done.append(f"{name}: the link to {digest_of(link)} led nowhere: removed")


def repair_tag(storage: Storage, name: str, tag: str, repairs: Repairs) -> None:
    """Repair one tag of a repository whose other links are repaired."""
    current = storage.tag_link(name, tag)
    directory = current.parent.parent
    pushed = []
    for link in directory.glob("index/*/*/link"):
        # Also where the revision's own link has to wait for room.
        revision = storage.repository(name) / "_manifests/revisions" / digest_of(link).replace(":", "/") / "link"
        if revision.exists() and is_manifest(storage, digest_of(link)):
            pushed.append(link)
            if is_fault(link):
                with repairs.writing(f"{name}:{tag}: the link to {digest_of(link)} was empty: written"):
                    write_link(link)
        elif is_fault(link) or digest_of(link) in repairs.removed:
            shutil.rmtree(link.parent)
    if not current.is_file() or is_fault(current):
        if not pushed:
            shutil.rmtree(directory)
            repairs.done.append(f"{name}:{tag} had never been pushed whole: removed")
        elif not is_fault(last := max(pushed, key=lambda link: link.stat().st_mtime)):
            with repairs.writing(f"{name}:{tag} led nowhere: it leads to {digest_of(last)}, the last whole push"):
                current.parent.mkdir(exist_ok=True)
                os.chown(current.parent, directory.stat().st_uid, directory.stat().st_gid)
                # The history's link has the content that is needed, and a move needs no room.
                last.replace(current)
                last.parent.rmdir()
    elif (digest := current.read_text()) in repairs.removed:
        # Only a push that was acknowledged gets so far. An older image under its tag would be worse than none.
        shutil.rmtree(directory)
        repairs.lost.append(f"{name}:{tag} ({digest}) is lost: push it again")


def write_link(link: Path) -> None:
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
    write_state(before | {"again": True, "paused": True})
    try:
        docker("pause", registry.container)
        yield
    finally:
        docker("unpause", registry.container, check=False)
        if status() == "paused":
            docker("unpause", registry.container)  # which tells why


def repair_registry(
    registry: Registry, faults: list[Path], before: dict[str, Any], now: dict[str, Any], output: Output
) -> str:
    """Repair the registry's faults; return the line for the result.

    Raises:
        WharfError: an image was lost, or there is no room for something that must be written.
    """
    if before.get("paused") and registry.inspected["State"]["Paused"]:
        docker("unpause", registry.container)  # a run was killed at the worst moment
    removed = set(before.get("removed", []))
    repairs = Repairs()
    if faults or removed:
        repairs = repair(registry.storage, faults, removed, lambda: paused(registry, before))
        if registry.caches and repairs.removed - removed:
            docker("restart", registry.container)  # it would still know what is gone
    for sentence in repairs.done:
        output.line(sentence)
    output.result["changed"] = bool(repairs.done)
    reported = LOST.finditer(last_result(before))
    still_lost = [match for match in reported if not is_whole(registry.storage, *match.groups())]
    problems = list(dict.fromkeys([*(match[0] for match in still_lost), *repairs.lost]))
    if repairs.waiting:
        problems.append(f"{pluralize(len(repairs.waiting), 'link')} can only be written when there is room: make room")
    # What was repaired is looked at once more: a push that was under way may have made more of it.
    state = now | {"again": bool(faults), "removed": sorted(repairs.removed - removed)}
    if problems:
        try:
            write_result(NAME, False, "; ".join(problems))
        except OSError:  # no room for it: the next run must know all the same
            state["result"] = f"failed {'; '.join(problems)}"
    write_state(state)
    if problems:
        raise WharfError("; ".join(problems))
    message = f"{pluralize(len(repairs.done), 'fault')} repaired" if repairs.done else "nothing to repair"
    if not repairs.done:
        output.line(message)
    return message

"""Repair what writes that were cut off have left in the storage: by a full disk, a lost power, a killed process.

With --if-needed this first rolls back a deployment that was killed, unless all of it was done. It starts the registry
where the engine could not: at boot, say, when its disk or an address was still to come. And pushes that a collection
has held back, and that was killed, go on.

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
from pathlib import Path
from typing import Any

from .. import containers, data, gateway, server_rollback
from ..bucket import ASIDE
from ..containers import cli
from ..engine import engine_runs
from ..errors import BusyError, DamageError, WharfError
from ..files import free_bytes, no_link, read_text, write_atomic
from ..lock import HOLD, lock_holder, read_result
from ..manifests import blobs
from ..parts import container_names
from ..server_data import DATA_ID
from ..server_versions import writes_in_place
from ..storage import Storage
from ..text import pluralize
from .cli import Task
from .read_only import ASIDE_IN_BUCKET, clean_up
from .registry import SPARE, Registry

STATE = Path("/run/wharf-repair-storage.json")  # how it was at the last run; gone after a reboot, as it should be
# Who may hold the lock for hours and leaves the gateway and its network alone.
WITHOUT_GATEWAY = ("back-up", "move-data", "export-images", HOLD)
SETTLED = 3  # seconds after which an empty file is none that is just being written
EMPTY = {f"{name}:{hashlib.new(name).hexdigest()}" for name in ("sha256", "sha512")}  # blobs may well be empty
# What the registry logs, in each of its formats, when the system refuses to write.
REFUSED = re.compile(rb"no space left on device|disk quota exceeded|input/output error")
LOST = re.compile(r"([^\s;]+):([^\s:]+) \(\S+\) is lost: push it again")
# Where in a repository a fault is: its name, the part of it, and the tag.
PLACE = re.compile(r"repositories/(.+?)/(_layers|_manifests/revisions|_manifests/tags/([^/]+))(?:/|$)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--if-needed", action="store_true", help="only if a write can have been cut off since")
    parser.add_argument("--list", action="store_true", help="only list the damaged files")


def run(task: Task) -> str:
    """Repair, or list what is damaged."""
    options = task.options
    # An engine that does not run must not be asked: its socket would start it.
    if options.if_needed and not engine_runs():
        return ""
    if options.if_needed and server_rollback.has_begun():
        return recover(task)
    try:
        if options.if_needed and could_not_start(registry := Registry()):
            return start(task)
        if options.if_needed and (
            gateway.is_held(registry.gateway_directory)
            or (ASIDE_IN_BUCKET.exists() if registry.s3 else (registry.path / ASIDE).is_dir())
        ):
            with task.lock():  # nobody is at work: a collection was killed, and pushes wait or lack something
                clean_up(registry, task, "a collection was cut off: the registry is as it was before it")
        registry = Registry.readable()
    except BusyError:
        return ""
    except WharfError:
        if options.if_needed:
            return ""  # there is none now; after its start this run is needed
        raise
    if registry.s3:  # what is cut off in a bucket is not there at all
        return "" if options.if_needed else task.line("nothing to repair: what was cut off is not in the bucket")
    if registry.standby_of:  # its server repairs them, and what that has done is copied
        return ""
    if options.list:
        task.result["paths"] = [task.line(str(path)) for path in find_faults(registry.storage)]
        return ""
    before, now = json.loads(read_text(STATE) or "{}"), current_state(registry)
    needed = not options.if_needed or is_needed(registry, before, now)
    faults = find_faults(registry.storage) if needed else []  # takes as long as it takes, and keeps nobody waiting
    unfinished = needed and (before.get("paused") or before.get("removed") or last_failure(before))
    if options.if_needed and not (faults or unfinished):
        write_state(before | now | {"again": False})
        return ""
    task.record, options.wait = True, 0 if options.if_needed else 60
    try:
        with task.lock():
            return repair_registry(task, registry, faults, before, now)
    except BusyError:
        if not options.if_needed:
            raise
        task.record = False  # it will run again soon
        return ""


def repair_registry(
    task: Task, registry: Registry, faults: list[Path], before: dict[str, Any], now: dict[str, Any]
) -> str:
    """Repair the registry's faults; return the message. Raises WharfError while something is lost, or must wait."""
    if before.get("paused") and registry.inspected["State"]["Paused"]:
        cli("unpause", registry.container)  # a run was killed at the worst moment
    removed = set(before.get("removed", []))
    repairs = Repairs(registry.storage, removed)
    if faults or removed:
        repairs.repair(faults, lambda: paused(registry, before))
        if registry.descriptor_cache and repairs.removed - removed:
            cli("restart", registry.container)  # it would still know what is gone
    for sentence in repairs.done:
        task.line(sentence)
    task.result["changed"] = bool(repairs.done)
    reported = LOST.finditer(last_failure(before))
    lost = [match[0] for match in reported if not is_whole(registry.storage, *match.groups())]
    problems = list(dict.fromkeys(lost + repairs.lost))
    if repairs.waiting:
        problems.append(f"{pluralize(len(repairs.waiting), 'link')} can only be written when there is room: make room")
    # What was repaired is looked at once more: a push that was under way may have made more of it.
    state = {"again": bool(faults), "removed": sorted(repairs.removed - removed), "failure": "; ".join(problems)}
    write_state(now | state)
    if problems:
        raise WharfError("; ".join(problems))
    return f"{pluralize(len(repairs.done), 'fault')} repaired" if repairs.done else task.line("nothing to repair")


@contextlib.contextmanager
def paused(registry: Registry, before: dict[str, Any]) -> Iterator[None]:
    """Let the registry do nothing for a moment; clients only wait.

    The engine pauses a process only between its calls of the system. So what is empty still is not being written: often
    the registry has it open all the same, because it forgets a file that it could not write. And nothing has to start
    again, which a full disk could prevent.
    """
    if registry.status() != "running":
        yield
        return
    write_state(before | {"again": True, "paused": True})
    try:
        cli("pause", registry.container)
        yield
    finally:
        cli("unpause", registry.container, check=False)
        if registry.status() == "paused":
            cli("unpause", registry.container)  # which tells why


def could_not_start(registry: Registry) -> dict[str, str]:
    """Return the containers that the engine could not start, with the reasons, in the order in which they start.

    The engine tries once, at boot, when the data's disk, an address or a port may be still to come; and it does not
    know that the gateway needs the network's container (moby#50326). Whoever has stopped one by hand has left no such
    error.
    """
    found = {part: data.container(name) for part, name in container_names(registry.container).items()}
    pending = {}
    for part, inspected in found.items():
        state = (inspected or {"State": {"Running": False, "Error": ""}})["State"]
        if not state["Running"] and (error := state["Error"]):
            pending[container_names(registry.container)[part]] = error
    place = data.directory(registry.place) if registry.container in pending and registry.place else None
    if place is None or read_text(place / DATA_ID, no_link).partition(" ")[0] != registry.data_id:
        pending.pop(registry.container, None)
    network, own = found["network"], found["gateway"]
    if network and own and own["State"]["Running"] and gateway.is_cut_off(network, own):
        pending[own["Name"].lstrip("/")] = "its network was started anew"
    return pending


def recover(task: Task) -> str:
    """Clean up after a deployment that was killed. One that is at work holds the lock as long as it can be undone."""
    with contextlib.suppress(BusyError), task.lock():
        # A certificate alone, by now, is that of a run whose next step is yet to come.
        message = server_rollback.recover() if server_rollback.has_begun() else ""
        return message and task.line(f"a deployment was cut off: {message}")
    return ""


def start(task: Task) -> str:
    """Start containers; nothing is said until that succeeds, because this will run again soon."""
    try:
        with task.lock():
            registry = Registry()  # whoever had the lock may have replaced containers
            server_rollback.recover(registry.container)  # what was set aside may have a port that one of them needs
            started = restart(registry)
    except BusyError:
        holder = lock_holder()
        if holder is None or holder.name not in WITHOUT_GATEWAY:
            return ""
        registry = Registry()
        started = restart(registry, registry.container)
    if not started:
        return ""
    return task.line(f"started {', '.join(started)}; before: {next(iter(started.values()))}")


def restart(registry: Registry, other: str = "") -> dict[str, str]:
    """Restart what could not start, but for a container that is another's business; return what runs now, and why."""
    started = {}
    for name, reason in could_not_start(registry).items():
        if name == other:
            continue
        cli("restart", name, check=False)
        if (containers.container(name) or {"State": {"Running": False}})["State"]["Running"]:
            started[name] = reason
    if registry.container in started:  # the gateway has the data's directory as it was without its disk
        cli("restart", container_names(registry.container)["gateway"], check=False)
    return started


# Whether it is needed -----------------------------------------------------------------------------


def current_state(registry: Registry) -> dict[str, Any]:
    """Return what tells of writes without a look at the storage."""
    log = registry.inspected["LogPath"]
    return {
        "started": registry.inspected["State"]["StartedAt"],
        "log": [os.stat(log).st_ino, os.stat(log).st_size] if log and os.path.exists(log) else [],
        "full": free_bytes(registry.path) < SPARE,
    }


def is_needed(registry: Registry, before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Tell whether a write can have been cut off since the last run, or something was left to do."""
    if not writes_in_place(registry.version()):  # only what was left of a time with another version can be to do
        return any(is_whole(registry.storage, name, tag) for name, tag in LOST.findall(last_failure(before)))
    if before.get("again", True) or before["started"] != now["started"]:
        return True
    # The log tells of a disk that was full for a moment; but where the log's own disk is full, it tells nothing.
    if before["full"] or now["full"] or writes_failed(registry.inspected["LogPath"], before["log"], now["log"]):
        return True
    return any(is_whole(registry.storage, name, tag) for name, tag in LOST.findall(last_failure(before)))


def writes_failed(log: str, before: list[int], now: list[int]) -> bool:
    """Tell whether the log has grown by a write that failed, or was rotated, so that nobody knows."""
    if before == now:
        return False
    if before[:1] != now[:1] or before[1] > now[1]:
        return True
    with open(log, "rb") as file:
        file.seek(before[1])
        return REFUSED.search(file.read(now[1] - before[1])) is not None


def write_state(state: dict[str, Any]) -> None:
    """Keep the state for the next run."""
    write_atomic(str(STATE), json.dumps(state).encode())


def last_failure(before: dict[str, Any]) -> str:
    """Return what the last run has reported, also where there was no room to write its result."""
    result = read_result("repair-storage")
    return before.get("failure") or (result.message if result and not result.good else "")


# Faults -------------------------------------------------------------------------------------------


def find_faults(storage: Storage) -> list[Path]:
    """Return the files that must not be empty, and are, and the tags without the file that says where they lead."""
    find = ["find", str(storage.top), "-name", "_uploads", "-prune"]  # uploads: the registry itself removes them
    done = subprocess.run([*find, "-o", "-type", "f", "-size", "0", "-print0"], capture_output=True)
    paths = [Path(os.fsdecode(path)) for path in done.stdout.split(b"\0") if path]
    paths += [
        storage.tag_link(name, tag).parents[1] for name in storage.repositories() for tag in storage.tag_names(name)
    ]
    paths = [path for path in paths if is_fault(path)]
    if paths:
        time.sleep(SETTLED)
    return [path for path in paths if is_fault(path)]


def is_fault(path: Path) -> bool:
    """Tell whether a file is empty that must not be, or a tag's directory lacks the file that says where it leads."""
    try:
        if path.is_dir():
            return not (path / "current/link").exists()
        return path.stat().st_size == 0 and not (path.name == "data" and digest_of(path) in EMPTY)
    except FileNotFoundError:
        return False


def digest_of(path: Path) -> str:
    """Return the digest for which a file stands: that of a blob's content, or the one that a link holds."""
    return f"{path.parents[1 if path.name == 'link' else 2].name}:{path.parent.name}"


def is_readable(read: Callable[[str], Any], digest: str) -> bool:
    """Tell whether a storage's `manifest` or `closure` can read what a digest leads to."""
    try:
        return bool(read(digest))
    except DamageError:
        return False


def is_whole(storage: Storage, name: str, tag: str) -> bool:
    """Tell whether all manifests are there that a tag needs."""
    return is_readable(storage.closure, storage.tags(name).get(tag, ""))


# Repairs ------------------------------------------------------------------------------------------


class Repairs:
    """The repair of a storage.

    Attributes:
        done: what was repaired, as sentences.
        lost: the images that were lost, as sentences.
        waiting: what can only be written when there is room.
        removed: the manifests that were removed, here or by the run before.
    """

    def __init__(self, storage: Storage, removed: set[str]) -> None:
        """Take the manifests that the run before has removed: a push that took them for stored may have ended since."""
        self.storage = storage
        self.done: list[str] = []
        self.lost: list[str] = []
        self.waiting: list[str] = []
        self.removed = {digest for digest in removed if not storage.blob_path(digest).exists()}

    def repair(
        self, faults: list[Path], without_writers: Callable[[], contextlib.AbstractContextManager[None]]
    ) -> None:
        """Repair faults, as they were a moment ago, in a context in which nobody writes."""
        storage, places = self.storage, [self.place(path) for path in faults]
        # Before anybody has to wait. As long as a layer's link is empty, no manifest that needs it is taken.
        self.layers = {name: self.needed_blobs(name) for name, part, _ in places if part == "_layers"}
        with without_writers(), storage.as_owner():
            faults = [path for path in faults if is_fault(path)]
            for path in faults:
                if path.is_file() and path.name not in ("data", "link"):  # version 3 writes it before it has its name
                    self.remove(path, f"{path.relative_to(storage.top)} was empty: removed")
                elif path.is_relative_to(storage.top / "blobs"):
                    self.remove(path.parent, f"the blob {digest_of(path)} was empty: removed")
                    self.removed.add(digest_of(path))
            affected = self.remove_links()
            # What is removed makes a little room for what is written. The tags' links come after those of manifests.
            for link in sorted(faults, key=lambda path: "/_manifests/tags/" in str(path)):
                if link.name == "link" and link.parent.name != "current" and link.exists():
                    self.repair_link(link)
            tags = {(name, tag) for name, _, tag in map(self.place, faults) if tag}
            tags |= {(name, tag) for name in affected for tag in storage.tag_names(name)}
            for name, tag in sorted(tags):
                self.repair_tag(name, tag)
        # An index of which a part is gone stays: its other parts are good.
        for name in sorted(affected):
            for tag, digest in storage.tags(name).items():
                if not is_whole(storage, name, tag):
                    self.lost.append(f"{name}:{tag} ({digest}) is lost: push it again")

    def place(self, path: Path) -> tuple[str, str, str]:
        """Return the repository of a path, the part of it, such as _layers, and the tag; empty where there is none."""
        found = PLACE.match(path.relative_to(self.storage.top).as_posix())
        return found.group(1, 2, 3) if found else ("", "", "")

    def needed_blobs(self, name: str) -> set[str]:
        """Return the blobs that the manifests of a repository need."""
        links = self.storage.repository(name).glob("_manifests/revisions/*/*/link")
        digests = [digest for digest in map(digest_of, links) if is_readable(self.storage.manifest, digest)]
        return {blob["digest"] for digest in digests for blob in blobs(self.storage.manifest(digest))}

    def remove(self, path: Path, sentence: str) -> None:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.done.append(sentence)

    def remove_links(self) -> set[str]:
        """Remove the links to manifests that were removed; return the repositories that had any."""
        affected = set()
        for digest in self.removed:
            for name in self.storage.repositories():
                for part in ("_layers", "_manifests/revisions", "_manifests/tags/*/index"):
                    for directory in self.storage.repository(name).glob(f"{part}/{digest.replace(':', '/')}"):
                        self.remove(directory, f"{name}: the link to {digest} led nowhere: removed")
                        affected.add(name)
        return affected

    def is_good(self, link: Path) -> bool:
        """Tell whether what a link of a repository leads to is there, and belongs to the repository."""
        (name, part, tag), digest = self.place(link), digest_of(link)
        if part == "_layers":
            return digest in self.layers[name]
        # Also where the revision's own link has to wait for room.
        revision = self.storage.repository(name) / "_manifests/revisions" / digest.replace(":", "/") / "link"
        return is_readable(self.storage.manifest, digest) and (not tag or revision.exists())

    @contextlib.contextmanager
    def writing(self, sentence: str) -> Iterator[None]:
        """Add a sentence to what was done, or to what must wait for room."""
        try:
            yield
            self.done.append(sentence)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.waiting.append(sentence)

    def repair_link(self, link: Path) -> None:
        """Repair a link that is empty: write it if what it leads to is good."""
        name, digest = self.place(link)[0], digest_of(link)
        if self.is_good(link):
            with self.writing(f"{name}: the link to {digest} was empty: written"):
                link.write_text(digest)
        else:
            self.remove(link.parent, f"{name}: the link to {digest} led nowhere: removed")

    def repair_tag(self, name: str, tag: str) -> None:
        """Repair a tag of a repository whose links are repaired."""
        current = self.storage.tag_link(name, tag)
        directory = current.parents[1]
        if is_fault(directory) or is_fault(current):
            pushed = [link for link in directory.glob("index/*/*/link") if self.is_good(link)]
            if not pushed:
                self.remove(directory, f"{name}:{tag} had never been pushed whole: removed")
            elif not is_fault(last := max(pushed, key=lambda link: link.stat().st_mtime)):
                with self.writing(f"{name}:{tag} led nowhere: it leads to {digest_of(last)}, the last whole push"):
                    current.parent.mkdir(exist_ok=True)
                    # The history's link has the content that is needed, and a move needs no room.
                    last.replace(current)
                    last.parent.rmdir()
        elif (digest := read_text(current, no_link)) in self.removed:
            # Only a push that was acknowledged gets so far. An older image under its tag would be worse than none.
            shutil.rmtree(directory)
            self.lost.append(f"{name}:{tag} ({digest}) is lost: push it again")

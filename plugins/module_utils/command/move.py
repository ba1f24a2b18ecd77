"""Copies a registry's data to another place, so that the registry can go on from there. Runs on the server.

    python3 - tell|copy|finish CONTAINER RECORD DATA OWNER

`tell` changes nothing, needs nothing that a deployment brings, and says what would be moved. `copy` does the long part
while the registry runs. `finish` stops it, copies what has changed since, verifies the copy, and hands the mark
(.wharf) over; from then on nothing starts from the old place, and deploying goes on with the new one. The old data
stays as it is. All may be cut off at any point and run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ..errors import BusyError
from ..lock import lock
from ..storage import Storage

OURS = (".wharf", ".wharf-copy", ".wharf-moved", "lost+found")
MARGIN = 64 * 1024**2  # what is to stay free, in bytes


def fail(reason: str) -> None:
    """Say why it does not go on, and end."""
    sys.exit(reason)


def place(data: str, make: bool = False) -> Path:
    """Return where a directory or a volume lies on the host."""
    if data.startswith("/"):
        return Path(data)
    if make:
        subprocess.run(["docker", "volume", "create", data], check=True, stdout=subprocess.DEVNULL)
    elif subprocess.run(["docker", "volume", "inspect", data], capture_output=True).returncode:
        return Path("/var/lib/docker/volumes", data, "_data")
    command = ["docker", "volume", "inspect", "--format", "{{.Mountpoint}}", data]
    done = subprocess.run(command, capture_output=True, text=True)
    return Path(done.stdout.strip())


def mark(path: Path) -> str:
    """Return the id in a mark; empty where there is none."""
    try:
        return path.read_text("utf-8").split(" ")[0]
    except OSError:
        return ""


def below(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what lies below a directory, directories before what is in them: its relative path, and lstat."""
    waiting = [""]
    while waiting:
        here = waiting.pop()
        try:
            entries = list(os.scandir(root / here))
        except FileNotFoundError:
            continue  # it has gone since: the registry may be running
        for entry in entries:
            path = os.path.join(here, entry.name)
            if path in OURS:
                continue
            try:
                seen = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield path, seen
            if stat.S_ISDIR(seen.st_mode):
                waiting.append(path)


def size(root: Path) -> int:
    """Return how many bytes the files below a directory have."""
    return sum(seen.st_size for _, seen in below(root) if stat.S_ISREG(seen.st_mode))


def same(one: os.stat_result, other: os.stat_result | None) -> bool:
    """Whether two files have the same type, size and time."""
    return other is not None and (stat.S_IFMT(one.st_mode), one.st_size, one.st_mtime_ns) == (
        stat.S_IFMT(other.st_mode),
        other.st_size,
        other.st_mtime_ns,
    )


def compare(original: Path, copy: Path) -> None:
    """Read a blob that was copied, and compare it with its digest, which is its directory's name."""
    if copy.name != "data" or copy.parent.parent.parent.name != "sha256":
        return

    def digest(path: Path) -> str:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    # One that was damaged before is no fault of the copy.
    if digest(copy) != copy.parent.name and digest(original) == copy.parent.name:
        fail(f"{copy} was not written as it was read: look at that disk")


def synchronise(old: Path, new: Path) -> int:
    """Make what lies below `new` equal to what lies below `old`. Returns how many bytes were copied."""
    wanted, found, copied = dict(below(old)), dict(below(new)), 0
    for path, seen in sorted(found.items(), reverse=True):
        if path not in wanted or stat.S_IFMT(wanted[path].st_mode) != stat.S_IFMT(seen.st_mode):
            (os.rmdir if stat.S_ISDIR(seen.st_mode) else os.unlink)(new / path)
    for path, seen in wanted.items():
        target = new / path
        try:
            if stat.S_ISDIR(seen.st_mode):
                target.mkdir(exist_ok=True)
            elif same(seen, found.get(path)):
                continue
            else:
                # Its time comes last, so that a file that was cut off is copied again.
                shutil.copyfile(old / path, target, follow_symlinks=False)
                copied += seen.st_size
                compare(old / path, target)
            os.chown(target, seen.st_uid, seen.st_gid, follow_symlinks=False)
            shutil.copystat(old / path, target, follow_symlinks=False)
        except FileNotFoundError:
            if (old / path).exists():
                raise
    for path, seen in wanted.items():
        if stat.S_ISDIR(seen.st_mode) and (new / path).exists():
            os.utime(new / path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    os.sync()
    return copied


def main(arguments: list[str]) -> int:
    """Run the program; return its exit code."""
    verb, container, record, data, owner = arguments
    if verb == "tell":
        print(json.dumps(move(verb, container, record, data, int(owner))))
        return 0
    try:
        with lock("move-registry-data"):
            print(json.dumps(move(verb, container, record, data, int(owner))))
    except BusyError as busy:
        fail(str(busy))
    return 0


def move(verb: str, container: str, record: str, data: str, owner: int) -> dict[str, object]:
    """Do what the verb says. Returns what was done."""
    known, _, said = (
        Path(record).read_text("utf-8").rstrip("\n").partition(" ") if os.path.exists(record) else ("",) * 3
    )
    if not known:
        fail("nothing is known of this registry's data: run playbooks/deploy-registry.yml with the old place first")
    if said == data or mark(place(data) / ".wharf") == known:
        return {"old": said, "new": data, "done": True, "bytes": 0}
    old, new = place(said), place(data, make=verb != "tell")
    if known not in (mark(old / ".wharf"), mark(old / ".wharf-moved")):
        fail(f"{said} does not hold the images of this registry ({known}): is its disk mounted?")
    if old in new.resolve().parents or new in old.resolve().parents:
        fail(f"{data} and {said} lie in one another: choose a place of its own")
    if any(True for _ in below(new)) and mark(new / ".wharf-copy") != known:
        fail(f"{data} is not empty, and what lies there is no copy that was begun here: choose an empty place")
    needed = size(old) - size(new)
    space = os.statvfs(next(path for path in (new, *new.parents) if path.exists()))
    if needed + MARGIN > space.f_bavail * space.f_frsize:
        fail(f"{data} has {space.f_bavail * space.f_frsize >> 20} MiB free, and {needed + MARGIN >> 20} MiB are needed")
    if verb == "tell":
        return {"old": said, "new": data, "done": False, "bytes": needed}
    new.mkdir(parents=True, exist_ok=True)
    (new / ".wharf-copy").write_text(f"{known} from {said}\n", "utf-8")
    os.chown(new, owner, owner)
    os.chmod(new, 0o750)
    if verb == "copy":
        return {"old": said, "new": data, "done": False, "bytes": synchronise(old, new)}

    subprocess.run(["docker", "stop", container], check=True, stdout=subprocess.DEVNULL)
    try:
        copied = synchronise(old, new)
        before, after = Storage(old).summary(), Storage(new).summary()
        worse = [problem for problem in after["problems"] if problem not in before["problems"]]
        if worse or {**before, "problems": 0} != {**after, "problems": 0}:
            fail(f"the copy differs from {said}, where the registry goes on: {'; '.join(worse) or (before, after)}")
    except BaseException:
        subprocess.run(["docker", "start", container], check=False, stdout=subprocess.DEVNULL)
        raise
    # First one mark goes, then the other comes: never are there two places to start from.
    if (old / ".wharf").exists():
        (old / ".wharf").rename(old / ".wharf-moved")
    shutil.copy2(old / ".wharf-moved", new / ".wharf")
    (new / ".wharf-copy").unlink()
    os.sync()
    return {"old": said, "new": data, "done": True, "bytes": copied}

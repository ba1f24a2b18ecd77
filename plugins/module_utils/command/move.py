"""Move the registry's data to another directory or volume: first --copy, while it runs, then --finish.

--finish stops the registry, copies what has changed since, verifies the copy, and makes it the one that the registry
may start from; deploying starts it there. The old data stays. Each step may be cut off at any point and run again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import time
from contextlib import nullcontext, suppress
from pathlib import Path

from ..containers import cli
from ..data import location
from ..errors import WharfError
from ..files import free_bytes, no_link, read_text
from ..storage import Storage
from ..text import human_bytes, one_line
from .cli import Task, add_wait, ignore_signals
from .registry import Registry

OWN = {".wharf", ".wharf-copy", ".wharf-moved", "lost+found"}  # at the top of the data: not copied, not removed
RESERVE = 64 << 20  # bytes that must stay free


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("place", metavar="PLACE", help="the directory (an absolute path) or volume to move the data to")
    step = parser.add_mutually_exclusive_group(required=True)
    step.add_argument("--plan", action="store_true", help="only say what it would do")
    step.add_argument("--copy", action="store_true", help="the long part")
    step.add_argument("--finish", action="store_true", help="the rest, and the switch")
    add_wait(parser)


def run(task: Task) -> str:
    """Do one step; the result says what it is about: "from", "to", "done" before it, "bytes"."""
    options = task.options
    with nullcontext() if options.plan else task.lock():
        registry = Registry()
        if registry.driver != "filesystem":
            raise WharfError(
                f"the images are in {registry.driver}, not in files: docs/change-the-registry.md says how they get out"
                " of it, and into it"
            )
        if not registry.data_id:
            raise WharfError(
                "nothing is known of this registry's data: run playbooks/deploy-registry.yml with the old place first"
            )
        move = Move(registry, options.place)
        done, needed = move.preflight()
        task.result.update({"from": registry.place, "to": options.place, "done": done, "bytes": needed})
        if done:
            return task.line(f"{options.place} has the images already")
        if options.copy:
            move.copy()
        if options.finish:
            move.finish()
    verb = "would be" if options.plan else "were"
    return task.line(
        f"{human_bytes(max(needed, 0))} {verb} copied from {registry.place} to {options.place};"
        f" {registry.place} stays as it is"
    )


class Move:
    """The old place and the new one."""

    def __init__(self, registry: Registry, place: str) -> None:
        self.registry, self.place, self.id = registry, place, registry.data_id
        self.old, self.new = location(registry.place), location(place)

    @property
    def marker(self) -> Path:
        """The file whose time says until when what was written is verified."""
        return self.new / ".wharf-copy"

    def preflight(self) -> tuple[bool, int]:
        """Return whether the images are there already, and the bytes to copy. Raises WharfError where it refuses."""
        old_place, new = self.registry.place, self.new
        if old_place == self.place or data_id(new / ".wharf") == self.id:
            return True, 0
        if self.id not in (data_id(self.old / ".wharf"), data_id(self.old / ".wharf-moved")):
            raise WharfError(f"{old_place} does not hold the images of this registry ({self.id}): is its disk mounted?")
        if self.old in new.resolve().parents or new in self.old.resolve().parents:
            raise WharfError(f"{self.place} and {old_place} lie in one another: choose a place of its own")
        if new.is_dir() and set(os.listdir(new)) - OWN and data_id(self.marker) != self.id:
            raise WharfError(
                f"{self.place} is not empty, and what lies there is no copy that was begun here: choose an empty place"
            )
        needed, free = size(self.old) - size(new), free_bytes(new)
        if needed + RESERVE > free:
            raise WharfError(
                f"{self.place} has {human_bytes(free)} free, and {human_bytes(needed + RESERVE)} are needed: choose a"
                " larger place"
            )
        return False, needed

    def copy(self) -> tuple[Storage, Storage]:
        """Make the new place like the old one, and compare each blob that was written with its digest.

        Returns:
            The storages in the old place and in the new one.
        """
        if not self.place.startswith("/"):
            cli("volume", "create", self.place)
            self.new = location(self.place)
        self.new.mkdir(parents=True, exist_ok=True)
        if not self.marker.exists():
            self.marker.write_text(f"{self.id} from {self.registry.place}\n", "utf-8")
            os.utime(self.marker, (0, 0))
        start = time.time()
        rsync(self.old, self.new)
        original, copy = (Storage(self.registry.storage_in(place)) for place in (self.old, self.new))
        for path in copy.top.glob("blobs/*/*/*/data"):
            digest = f"{path.parents[2].name}:{path.parent.name}"
            written = path.stat().st_ctime >= self.marker.stat().st_mtime
            # One that was damaged before is no fault of the copy.
            if written and not copy.is_intact(digest) and original.is_intact(digest):
                raise WharfError(f"{path} was not written as it was read: check that disk")
        os.utime(self.marker, (start, start))
        return original, copy

    def finish(self) -> None:
        """Stop the registry, copy the rest, and let the data ID change its place; the registry stays stopped then.

        If the copy is not like the old data, the registry goes on there.
        """
        cli("stop", self.registry.container)
        try:
            before, after = (storage.summary() for storage in self.copy())
            if before != after:
                worse = [line for kind in ("problems", "warnings") for line in after[kind] if line not in before[kind]]
                raise WharfError(
                    f"the copy differs from {self.registry.place}, where the registry goes on:"
                    f" {'; '.join(worse) or (before, after)}"
                )
        except BaseException:
            cli("start", self.registry.container, check=False)
            raise
        ignore_signals()
        # First it goes here, then it comes there: never are there two places to start from.
        with suppress(FileNotFoundError):
            (self.old / ".wharf").rename(self.old / ".wharf-moved")
        shutil.copy2(self.old / ".wharf-moved", self.new / ".wharf")
        self.marker.unlink()
        os.sync()


def data_id(path: Path) -> str:
    """Return the data ID in a file; empty where there is none."""
    return read_text(path, no_link).split(" ")[0]


def size(root: Path) -> int:
    """Return how many bytes the files below a directory have; what goes meanwhile does not count."""
    total = 0
    for place, _, names in os.walk(root):
        for name in set(names) - OWN:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def rsync(old: Path, new: Path) -> None:
    """Make a directory like another. Raises WharfError when it fails, or is not installed."""
    command = ["rsync", "-aH", "--delete", "--numeric-ids", *(f"--exclude=/{name}" for name in OWN)]
    try:
        done = subprocess.run([*command, f"{old}/", f"{new}/"], capture_output=True, text=True)
    except FileNotFoundError:
        raise WharfError(f"rsync is not installed on {socket.gethostname()}: apt-get install rsync") from None
    if done.returncode not in (0, 24):  # 24: files have gone since, because the registry runs
        raise WharfError(f"rsync failed: {one_line(done.stderr)}")
    os.sync()

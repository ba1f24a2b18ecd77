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
from contextlib import suppress
from pathlib import Path

from ..containers import cli
from ..data import directory
from ..errors import WharfError
from ..files import free_bytes
from ..storage import Storage
from ..text import human_bytes, one_line
from .registry import Registry
from .task import Task, add_wait, ignore_signals

OWN = {".wharf", ".wharf-copy", ".wharf-moved", "lost+found"}  # at the top of the data: not copied, not removed
RESERVE = 64 << 20  # bytes that must stay free


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "place", metavar="PLACE", help="the directory (an absolute path) or the volume (a name) to move the data to"
    )
    step = parser.add_mutually_exclusive_group(required=True)
    for name, purpose in (
        ("plan", "only say what it would do"), ("copy", "the long part"), ("finish", "the rest, and the switch"),
    ):  # fmt: skip
        step.add_argument(f"--{name}", action="store_const", dest="step", const=name, help=purpose)
    add_wait(parser)


def run(task: Task) -> str:
    """Do one step; the result says what it is about: "from", "to", "done" before it, "bytes"."""
    if task.options.step == "plan":
        return Move(task).plan("would be")
    with task.lock():
        move = Move(task)
        message = move.plan("were")
        if not task.result["done"]:
            move.copy() if task.options.step == "copy" else move.finish()
    return message


class Move:
    """The old place and the new one."""

    def __init__(self, task: Task) -> None:
        """Find the places.

        Raises:
            WharfError: this registry was never deployed.
        """
        self.task, self.place, self.registry = task, task.options.place, Registry()
        self.id, self.old_place = self.registry.recorded()
        if not self.id:
            raise WharfError(
                "nothing is known of this registry's data: run playbooks/deploy-registry.yml with the old place first"
            )
        self.old, self.new = (
            directory(place) or Path("/var/lib/docker/volumes", place, "_data")
            for place in (self.old_place, self.place)
        )

    def plan(self, verb: str) -> str:
        """Say what there is to copy, in the words of somebody who "would be" or "were" asked for it.

        Raises:
            WharfError: it is refused.
        """
        result = {"from": self.old_place, "to": self.place, "done": True, "bytes": 0}
        self.task.result.update(result)
        if self.old_place == self.place or data_id(self.new / ".wharf") == self.id:
            return self.task.line(f"{self.place} has the images already")
        if self.id not in (data_id(self.old / ".wharf"), data_id(self.old / ".wharf-moved")):
            raise WharfError(
                f"{self.old_place} does not hold the images of this registry ({self.id}): is its disk mounted?"
            )
        if self.old in self.new.resolve().parents or self.new in self.old.resolve().parents:
            raise WharfError(f"{self.place} and {self.old_place} lie in one another: choose a place of its own")
        if self.new.is_dir() and set(os.listdir(self.new)) - OWN and data_id(self.new / ".wharf-copy") != self.id:
            raise WharfError(
                f"{self.place} is not empty, and what lies there is no copy that was begun here: choose an empty place"
            )
        needed, free = size(self.old) - size(self.new), free_bytes(self.new)
        if needed + RESERVE > free:
            raise WharfError(
                f"{self.place} has {human_bytes(free)} free, and {human_bytes(needed + RESERVE)} are"
                " needed: choose a larger place"
            )
        self.task.result.update(done=False, bytes=needed)
        return self.task.line(
            f"{human_bytes(max(needed, 0))} {verb} copied from {self.old_place} to {self.place};"
            f" {self.old_place} stays as it is"
        )

    def copy(self) -> None:
        """Make the new place like the old one, and compare each blob that was written with its digest.

        Raises:
            WharfError: it cannot be copied, or was not written as it was read.
        """
        if not self.place.startswith("/"):
            cli("volume", "create", self.place)
        self.new.mkdir(parents=True, exist_ok=True)
        marker = self.new / ".wharf-copy"  # its time: what was written before that is verified
        if not marker.exists():
            marker.write_text(f"{self.id} from {self.old_place}\n", "utf-8")
            os.utime(marker, (0, 0))
        start = time.time()
        rsync(self.old, self.new)
        original, copy = self.storages()
        for path in copy.top.glob("blobs/*/*/*/data"):
            digest = f"{path.parents[2].name}:{path.parent.name}"
            written = path.stat().st_ctime >= marker.stat().st_mtime
            # One that was damaged before is no fault of the copy.
            if written and not copy.is_intact(digest) and original.is_intact(digest):
                raise WharfError(f"{path} was not written as it was read: check that disk")
        os.utime(marker, (start, start))

    def storages(self) -> list[Storage]:
        """Return the storage in the old place and the one in the new."""
        return [Storage(self.registry.storage_in(place)) for place in (self.old, self.new)]

    def finish(self) -> None:
        """Stop the registry, copy the rest, and let the data ID change its place; the registry stays stopped then.

        Raises:
            WharfError: the copy is not like the old data; the registry goes on there.
        """
        cli("stop", self.registry.container)
        try:
            self.copy()
            before, after = (storage.summary() for storage in self.storages())
            worse = [problem for problem in after["problems"] if problem not in before["problems"]]
            if worse or {**before, "problems": 0} != {**after, "problems": 0}:
                raise WharfError(
                    f"the copy differs from {self.old_place}, where the registry goes on:"
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
        (self.new / ".wharf-copy").unlink()
        os.sync()


def data_id(path: Path) -> str:
    """Return the data ID in a file; empty where there is none."""
    try:
        return path.read_text("utf-8").split(" ")[0]
    except OSError:
        return ""


def size(root: Path) -> int:
    """Return how many bytes the files below a directory have; what goes meanwhile does not count."""
    total = 0
    for place, _, names in os.walk(root):
        for name in set(names) - OWN:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def rsync(old: Path, new: Path) -> None:
    """Make a directory like another.

    Raises:
        WharfError: it fails, or is not installed.
    """
    command = ["rsync", "-aH", "--delete", "--numeric-ids", *(f"--exclude=/{name}" for name in OWN)]
    try:
        done = subprocess.run([*command, f"{old}/", f"{new}/"], capture_output=True, text=True)
    except FileNotFoundError:
        raise WharfError(f"rsync is not installed on {socket.gethostname()}: apt-get install rsync") from None
    if done.returncode not in (0, 24):  # 24: files have gone since, because the registry runs
        raise WharfError(f"rsync failed: {one_line(done.stderr)}")
    os.sync()

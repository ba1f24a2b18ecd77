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

from ..data import directory
from ..errors import WharfError
from ..files import free_bytes
from ..lock import lock
from ..storage import Storage
from ..text import human_bytes, one_line
from .docker import docker, ignore_signals
from .options import add_json, add_wait
from .outcome import perform
from .server import Server

OWN = {".wharf", ".wharf-copy", ".wharf-moved", "lost+found"}  # at the top of the data: not copied, not removed
RESERVE = 64 << 20  # bytes that must stay free


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "place", metavar="PLACE", help="the directory (an absolute path) or the volume (a name) to move the data to"
    )
    step = parser.add_mutually_exclusive_group(required=True)
    step.add_argument("--plan", action="store_const", dest="step", const="plan", help="only say what it would do")
    step.add_argument("--copy", action="store_const", dest="step", const="copy", help="the long part")
    step.add_argument("--finish", action="store_const", dest="step", const="finish", help="the rest, and the switch")
    add_wait(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Do one step; return the exit code."""
    return perform(options, step, record=False)  # whoever moves it sees how it ends


def step(options: argparse.Namespace) -> dict[str, object]:
    """Do one step, and return what it was about: "from", "to", "done" before it, "bytes" and "message"."""
    if options.step == "plan":
        return Move(options.place).plan("would be")
    with lock("move-data", options.wait):
        move = Move(options.place)
        result = move.plan("were")
        if not result["done"]:
            move.copy() if options.step == "copy" else move.finish()
        return result


class Move:
    """From where the data was deployed to another place."""

    def __init__(self, place: str) -> None:
        """Find both places.

        Raises:
            WharfError: the registry was never deployed.
        """
        self.server, self.place = Server(), place
        self.id, self.old_place = self.server.recorded()
        if not self.id:
            raise WharfError(
                "nothing is known of this registry's data: run playbooks/deploy-registry.yml with the old place first"
            )
        self.old, self.new = locate(self.old_place), locate(place)

    def plan(self, verb: str) -> dict[str, object]:
        """Return what there is to copy, in the words of somebody who "would be" or "were" asked for it.

        Raises:
            WharfError: it is refused.
        """
        result: dict[str, object] = {"from": self.old_place, "to": self.place, "done": True, "bytes": 0}
        if self.old_place == self.place or data_id(self.new / ".wharf") == self.id:
            return result | {"message": f"{self.place} has the images already"}
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
        needed = size(self.old) - size(self.new)
        if needed + RESERVE > free_bytes(self.new):
            raise WharfError(
                f"{self.place} has {human_bytes(free_bytes(self.new))} free, and {human_bytes(needed + RESERVE)} are"
                " needed: choose a larger place"
            )
        message = f"{human_bytes(max(needed, 0))} {verb} copied from {self.old_place} to {self.place}"
        return result | {"done": False, "bytes": needed, "message": f"{message}; {self.old_place} stays as it is"}

    def copy(self) -> None:
        """Make the new place like the old one, and compare each blob that was written with its digest.

        Raises:
            WharfError: it cannot be copied, or was not written as it was read.
        """
        if not self.place.startswith("/"):
            docker("volume", "create", self.place)
            self.new = locate(self.place)
        self.new.mkdir(parents=True, exist_ok=True)
        marker = self.new / ".wharf-copy"  # its time: what was written before that is verified
        if not marker.exists():
            marker.write_text(f"{self.id} from {self.old_place}\n", "utf-8")
            os.utime(marker, (0, 0))
        start = time.time()
        rsync(self.old, self.new)
        original, copy = Storage(self.old / self.server.root), Storage(self.new / self.server.root)
        for path in copy.top.glob("blobs/*/*/*/data"):
            digest = f"{path.parents[2].name}:{path.parent.name}"
            written = path.stat().st_ctime >= marker.stat().st_mtime
            # One that was damaged before is no fault of the copy.
            if written and not copy.is_intact(digest) and original.is_intact(digest):
                raise WharfError(f"{path} was not written as it was read: check that disk")
        os.utime(marker, (start, start))

    def finish(self) -> None:
        """Stop the registry, copy the rest, and let the data ID change its place; the registry stays stopped then.

        Raises:
            WharfError: the copy is not like the old data; the registry goes on there.
        """
        docker("stop", self.server.container)
        try:
            self.copy()
            before, after = (Storage(path / self.server.root).summary() for path in (self.old, self.new))
            worse = [problem for problem in after["problems"] if problem not in before["problems"]]
            if worse or {**before, "problems": 0} != {**after, "problems": 0}:
                raise WharfError(
                    f"the copy differs from {self.old_place}, where the registry goes on:"
                    f" {'; '.join(worse) or (before, after)}"
                )
        except BaseException:
            docker("start", self.server.container, check=False)
            raise
        ignore_signals()
        # First it goes here, then it comes there: never are there two places to start from.
        if (self.old / ".wharf").exists():
            (self.old / ".wharf").rename(self.old / ".wharf-moved")
        shutil.copy2(self.old / ".wharf-moved", self.new / ".wharf")
        (self.new / ".wharf-copy").unlink()
        os.sync()


def locate(place: str) -> Path:
    """Return where a directory or a volume lies, or will."""
    return directory(place) or Path("/var/lib/docker/volumes", place, "_data")


def data_id(path: Path) -> str:
    """Return the data ID in a file; empty where there is none."""
    try:
        return path.read_text("utf-8").split(" ")[0]
    except OSError:
        return ""


def size(root: Path) -> int:
    """Return how many bytes the files below a directory have; what goes meanwhile does not count."""
    total = 0
    for directory_path, _, names in os.walk(root):
        for name in set(names) - OWN:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(directory_path, name)).st_size
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

"""What keeps all that works on a registry apart: the lock; and the line about how each run ended."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .errors import BusyError
from .files import read_json, read_text, write_atomic

HOLD, RELEASE = "hold-pushes", "release-pushes"
HELD = Path("/var/lib/wharf/held.json")  # until when pushes are held on all servers, also after a reboot
HELD_LOCK = Path("/run/wharf-held.lock")  # of who works on the images meanwhile
BOOT_ID = "/proc/sys/kernel/random/boot_id"
# In /run only root writes, unlike in /run/lock; and only root can open it: whoever can open a file can hold its lock.
LOCK = Path("/run/wharf-registry.lock")
RESULTS = Path("/var/lib/wharf/results")
COPY = "feed-standbys"  # holds it each minute, for longer than a moment
COPY_WAIT = 60.0  # seconds: it is no reason to refuse anything at once


class Holder(NamedTuple):
    """Who holds the lock."""

    name: str
    since: float | None  # seconds since 1970

    def __str__(self) -> str:
        """Return it as a person reads it: NAME is at work on HOST since TIME."""
        when = f" since {local_time(self.since)}" if self.since else ""
        return f"{self.name} is at work on {socket.gethostname()}{when}"


class Result(NamedTuple):
    """How the last run of a subcommand ended."""

    good: bool
    time: float  # seconds since 1970
    message: str
    seconds: float | None = None  # how long it took
    bytes: int | None = None  # of what it was about, where it says so
    succeeded: float | None = None  # when one last ended well, in seconds since 1970


@contextlib.contextmanager
def lock(name: str, wait: float = 0, check_mode: bool = False, path: Path | None = None) -> Iterator[None]:
    """Hold the registry's data and container still: nobody else who asks for the lock changes them.

    Args:
        name: who holds it, as others will read it.
        wait: how long to wait for it, in seconds; at least COPY_WAIT for the copy to the standbys.
        check_mode: only find out whether it is free: not even its file is made.
        path: of another lock than the registry's.

    Raises:
        BusyError: it is held; the message says by whom and since when.
    """
    start = time.monotonic()
    if check_mode:
        while holder := lock_holder():
            _wait_for(holder, start, wait)
        yield
        return
    file = os.open(path or LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            is_free = _acquire(file)
            if is_free and (path or name == RELEASE or not held_for()):
                break
            if is_free:
                fcntl.flock(file, fcntl.LOCK_UN)
            _wait_for(Holder(HOLD, None) if is_free else _holder(file), start, wait)
        os.ftruncate(file, 0)
        os.pwrite(file, f"{name} {int(time.time())}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(file, 0)
    finally:
        os.close(file)


def lock_holder() -> Holder | None:
    """Return who holds the lock; None when nobody does."""
    try:
        file = os.open(LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Holder(HOLD, None) if held_for() else None
    try:
        return (Holder(HOLD, None) if held_for() else None) if _acquire(file, fcntl.LOCK_SH) else _holder(file)
    finally:
        os.close(file)


def held_for() -> float:
    """Return for how many more seconds pushes are to be held, whoever holds them, because others change the images.

    By a clock that nobody sets; after a reboot by the time of day.
    """
    held = read_json(HELD)
    if held.get("boot") == read_text(BOOT_ID):
        left = held.get("clock", 0) - time.monotonic()
    else:
        left = held.get("until", 0) - time.time()
    return max(0.0, min(left, held.get("seconds", 0)))


def _wait_for(holder: Holder, start: float, wait: float) -> None:
    """Wait a moment for the one who holds the lock. Raises BusyError after so many seconds."""
    if time.monotonic() - start >= (max(wait, COPY_WAIT) if holder.name == COPY else wait):
        raise BusyError(f"{holder}: wait until it has finished")
    time.sleep(0.2)


def _acquire(file: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Try to get the lock; tell whether it was free."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _holder(file: int) -> Holder:
    """Return the holder, from what it has written into the lock's file."""
    name, _, since = os.pread(file, 200, 0).decode(errors="replace").strip().partition(" ")
    return Holder(name or "something", float(since) if since.isdigit() else None)


def write_result(name: str, good: bool, message: str, seconds: float = 0, size: int | None = None) -> None:
    """Keep how the last run of a subcommand ended: a line for people, and one for `wharf metrics`.

    Args:
        name: of the subcommand.
        good: whether it ended well.
        message: how it ended.
        seconds: how long it took.
        size: the bytes of what it was about.
    """
    RESULTS.mkdir(mode=0o755, parents=True, exist_ok=True)
    now, before = int(time.time()), read_result(name)
    facts = {"seconds": round(seconds, 3), "bytes": size, "succeeded": now if good else before and before.succeeded}
    line = f"{'ok' if good else 'failed'} {now} {' '.join(message.split())}\n{json.dumps(facts)}\n"
    write_atomic(str(RESULTS / name), line.encode(), uid=os.geteuid(), gid=os.getegid())
    if good and Path("/run/systemd/system").is_dir():
        # The service of an earlier failure, when a person has put it right.
        subprocess.run(["systemctl", "reset-failed", f"wharf-{name}.service"], stderr=subprocess.DEVNULL)


def read_result(name: str) -> Result | None:
    """Return how the last run of a subcommand ended; None when there was none, or its line is damaged."""
    try:
        line, _, facts = (RESULTS / name).read_text("utf-8").partition("\n")
        word, seconds, message = line.split(" ", 2)
        known = (
            json.loads(facts) if facts else {"succeeded": float(seconds) if word == "ok" else None}
        )  # none before 1.0
        return Result(word == "ok", float(seconds), message, **known)
    except (OSError, ValueError, TypeError):
        return None


def local_time(seconds: float) -> str:
    """Return a time as a person reads it."""
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")

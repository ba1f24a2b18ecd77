"""What all programs of Wharf on a registry's server share: the lock, and the note of how a run ended.

A role that installs a program installs this beside it, as /usr/local/lib/wharf/registry_lock.py. Needs nothing but
Python's standard library.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import BusyError

LOCK = Path("/run/lock/wharf-registry.lock")
RESULTS = Path("/var/lib/wharf/results")


@contextlib.contextmanager
def lock(name: str, wait: float = 0) -> Iterator[None]:
    """Hold the registry's data and container still: nobody else who asks for the lock changes them.

    Args:
        name: who holds it, as others will read it.
        wait: how long to wait for it, in seconds.

    Raises:
        BusyError: it is held; the message says by whom and since when.

    """
    LOCK.parent.mkdir(exist_ok=True)
    file = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= deadline:
                    raise BusyError(_told(os.pread(file, 200, 0).decode(errors="replace"))) from None
                time.sleep(0.2)
        os.ftruncate(file, 0)
        os.pwrite(file, f"{name} {int(time.time())}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(file, 0)
    finally:
        os.close(file)


def _told(note: str) -> str:
    """Return what to say to somebody who finds the lock held, from what its holder has written into it."""
    holder, _, since = note.strip().partition(" ")
    when = f" since {local_time(float(since))}" if since.isdigit() else ""
    return f"{holder or 'something'} is at work on {socket.gethostname()}{when}: wait until it has finished"


def write_result(name: str, good: bool, message: str) -> None:
    """Leave a line for playbooks/diagnose-registry.yml: how the last run of a program ended."""
    RESULTS.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = RESULTS / f".{name}"
    new.write_text(f"{'ok' if good else 'failed'} {int(time.time())} {' '.join(message.split())}\n")
    new.chmod(0o644)
    new.replace(RESULTS / name)
    if good and Path("/run/systemd/system").is_dir():
        # The service of an earlier failure, when a person has put it right.
        subprocess.run(["systemctl", "reset-failed", f"wharf-{name}.service"], stderr=subprocess.DEVNULL)


def local_time(seconds: float) -> str:
    """Return a time as a person reads it."""
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")

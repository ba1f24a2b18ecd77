"""Running other programs, which may hang, or not be there."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from .errors import WharfError
from .text import one_line

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT = 60  # seconds
LISTS = Path("/var/lib/apt/lists")  # of apt
CLONE_NEWNET = 0x40000000  # of setns(2)


def search_path() -> str:
    """Return where programs are found: first as in the environment, then where else they may be.

    The PATH of su or sudo can lack a directory: that of docker-proxy, which dockerd looks for, or /usr/local/bin.
    """
    return ":".join(dict.fromkeys([*os.environ.get("PATH", "").split(":"), *PATH.split(":")])).lstrip(":")


def has(program: str) -> bool:
    """Return whether a program is installed."""
    return shutil.which(program, path=PATH) is not None


def has_package_lists() -> bool:
    """Tell whether apt knows any package."""
    return any(path.stat().st_size for path in LISTS.glob("*Packages*"))


def processes_of(program: str) -> Iterator[Path]:
    """Return where /proc shows a program's processes on this host, without those in containers and rootless ones.

    A user's own engine is one of the latter: it has users of its own.
    """
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "comm").read_text("utf-8", "replace").rstrip("\n") != program:
                continue
            if all(os.path.samefile(process / one, f"/proc/self/{one}") for one in ("ns/pid", "ns/user")):
                yield process


@contextlib.contextmanager
def network_of(pid: int) -> Iterator[None]:
    """Let sockets that are made meanwhile be in the network of another process. For processes of one thread.

    Raises:
        OSError: it has ended.
    """
    libc = ctypes.CDLL(None, use_errno=True)  # Python has setns() from 3.12 on

    def enter(file: IO[str]) -> None:
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    with open("/proc/self/ns/net") as own, open(f"/proc/{pid}/ns/net") as other:
        enter(other)
        try:
            yield
        finally:
            enter(own)


def run(
    command: list[str], given: str = "", environment: dict[str, str] | None = None, timeout: float | None = TIMEOUT
) -> tuple[int, str]:
    """Run a command, and return its status and its output: the end of its errors on one line where it failed.

    Args:
        command: the program and its arguments.
        given: what it gets on its standard input.
        environment: what it gets besides this process's environment.
        timeout: seconds after which it is ended; None for never.
    """
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8", **(environment or {})}
    try:
        done = subprocess.run(command, input=given.encode(), capture_output=True, timeout=timeout, env=environment)
    except subprocess.TimeoutExpired:
        return 1, f"{command[0]} did not end within {timeout} seconds"
    except OSError as error:
        return 1, f"{command[0]}: {error.strerror}"
    if done.returncode:
        return done.returncode, one_line(done.stderr.decode("utf-8", "replace")[-400:], 400)
    return 0, done.stdout.decode("utf-8", "replace")


def must_run(command: list[str], otherwise: str, **options: Any) -> str:
    """Return the output of a command; the other options are those of run().

    Raises:
        WharfError: it failed; the message begins with `otherwise` and ends with the command's own errors.
    """
    status, output = run(command, **options)
    if status:
        raise WharfError(f"{otherwise}: {output}")
    return output

"""Docker's own client, as the subcommands call it, and how a signal stops them: never in the middle of a call.

What the engine was asked for comes all the same; a container that it makes after the subcommand has cleaned up would
be left for ever.
"""

from __future__ import annotations

import signal
import subprocess
from typing import Any

from ..errors import WharfError
from ..text import one_line

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Stop:
    """Turns signals into a WharfError, once no call of docker is under way."""

    calling = False
    pending: int | None = None

    def __call__(self, number: int, _frame: Any) -> None:
        """Take a signal."""
        self.pending = number
        self.check()

    def check(self) -> None:
        """Stop the subcommand if a signal has come.

        Raises:
            WharfError: one has.
        """
        if self.pending is not None and not self.calling:
            raise WharfError(f"stopped by {signal.Signals(self.pending).name}")


_stop = _Stop()


def stop_on_signals() -> None:
    """Raise WharfError when a signal asks the subcommand to end."""
    for number in SIGNALS:
        signal.signal(number, _stop)


def ignore_signals() -> None:
    """Go on whatever signal comes, from now on: for the steps that must not be cut off."""
    _stop.pending = None
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def docker(*arguments: str, check: bool = True) -> str:
    """Run docker and return what it printed.

    Args:
        arguments: its arguments.
        check: whether a failure counts; otherwise the result is empty then.

    Raises:
        WharfError: docker failed; the message ends with its last line.
    """
    _stop.calling = True
    try:
        done = call(*arguments)
    finally:
        _stop.calling = False
    _stop.check()
    if done.returncode == 0:
        return done.stdout.strip()
    if not check:
        return ""
    lines = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
    raise WharfError(f"docker {arguments[0]}: {one_line(lines[-1])}")


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run docker; a signal ends it."""
    # A group of its own: Ctrl-C on a terminal is this program's business alone.
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, start_new_session=True, stdin=subprocess.DEVNULL
    )

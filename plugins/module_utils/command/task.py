"""What all subcommands have in common: lines or JSON, signals, the lock, and a line about how they ended."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

from ..containers import STOPPING
from ..errors import BusyError, WharfError, message_of
from ..lock import lock, write_result

EXPECTED = (WharfError, OSError, KeyboardInterrupt)


class Task:
    """One run of a subcommand.

    Attributes:
        options: the command line.
        result: what --json prints. "problems" that are not empty are those of the registry: the exit code is 3.
        record: whether how it ends is kept for `wharf status` and the diagnosis.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        """Take the command line."""
        self.options = options
        self.result: dict[str, Any] = {"changed": False, "lines": []}
        self.record = False

    def line(self, text: str) -> str:
        """Print a line, or keep it for the result; return it."""
        self.result["lines"].append(text)
        if not self.options.json:
            print(text, flush=True)
        return text

    def lock(self) -> AbstractContextManager[None]:
        """Return the lock, for which the subcommand waits as long as the command line says."""
        return lock(self.options.subcommand, self.options.wait)

    def perform(self, work: Callable[[Task], str]) -> int:
        """Do the work, which returns a message about how it ended; return the exit code."""
        for number in STOPPING:
            signal.signal(number, _stop)
        os.umask(0o022)
        try:
            message = work(self)
            code = 3 if self.result.get("problems") else 0
            self._keep(code == 0, message)
        except (Exception, KeyboardInterrupt) as error:
            message, code = _text(error), 1
            if isinstance(error, EXPECTED):
                print(f"wharf {self.options.subcommand}: {message}", file=sys.stderr)
            else:
                traceback.print_exc()
            # A person who finds it busy sees that; a timer has waited in vain.
            if self.options.wait or not isinstance(error, BusyError):
                with suppress(OSError):  # the disk may be full; the exit code tells as well
                    self._keep(False, message)
        if self.options.json:
            print(json.dumps(self.result | {"message": message}))
        return code

    def _keep(self, good: bool, message: str) -> None:
        if self.record:
            write_result(self.options.subcommand, good, message)


def add_wait(parser: argparse.ArgumentParser) -> None:
    """Add --wait SECONDS."""
    parser.add_argument(
        "--wait", type=float, metavar="SECONDS", help="wait so long for others at work on the registry (0)"
    )


def ignore_signals() -> None:
    """Go on whatever signal comes, from now on: for the steps that must not be cut off."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def _stop(number: int, _frame: Any) -> None:
    """End the subcommand as Ctrl-C does: no handler of errors on the way takes it for one."""
    raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")


def _text(error: BaseException) -> str:
    """Return an error's text, and what went wrong before it: recovering the registry may fail as well."""
    text, before = message_of(error), error.__context__
    return f"{text} (after: {_text(before)})" if isinstance(before, (WharfError, KeyboardInterrupt)) else text

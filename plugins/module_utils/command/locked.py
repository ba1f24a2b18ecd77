"""How a subcommand works on the registry: alone, stoppable, and with a line about how it ended."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

from ..errors import BusyError, WharfError, message_of
from ..lock import lock, write_result
from .docker import stop_on_signals


def run_locked(
    name: str, work: Callable[[], str], wait: float = 0, record: bool = True, skip_if_busy: bool = False
) -> int:
    """Do a subcommand's work under the lock, tell how it ended, and return the exit code.

    Args:
        name: the subcommand.
        work: does it, and returns the line that is kept as the result.
        wait: how long to wait for the lock, in seconds.
        record: whether to keep the result for `wharf status` and the diagnosis.
        skip_if_busy: it is no failure that something else holds the lock: it will run again soon.
    """
    stop_on_signals()
    try:
        with lock(name, wait):
            message = work()
        if record:
            write_result(name, True, message)
        return 0
    except (WharfError, OSError) as error:
        busy = isinstance(error, BusyError)
        if busy and skip_if_busy:
            return 0
        text = _message(error)
        print(f"wharf {name}: {text}", file=sys.stderr)
        # A person who finds it busy sees that; a timer has waited in vain.
        if record and not (busy and wait == 0):
            with contextlib.suppress(OSError):  # the disk may be full; the exit code tells as well
                write_result(name, False, text)
        return 1


def _message(error: BaseException) -> str:
    """Return an error's text, and what went wrong before it: recovering the registry may fail as well."""
    text, before = message_of(error), error.__context__
    return f"{text} (after: {_message(before)})" if isinstance(before, WharfError) else text

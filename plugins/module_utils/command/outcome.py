"""What a subcommand with one result prints, and the line about how it ended."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from ..errors import BusyError, WharfError
from ..lock import write_result
from .docker import stop_on_signals


def perform(options: argparse.Namespace, work: Callable[[argparse.Namespace], dict[str, Any]], record: bool) -> int:
    """Do the work of a subcommand, print its result, and return the exit code.

    Args:
        options: the command line.
        work: returns the result: "message", and "problems" where the registry itself is damaged.
        record: whether to keep a line about how it ended.

    Raises:
        WharfError: it failed, or was refused.
    """
    stop_on_signals()
    try:
        result = work(options)
    except Exception as error:
        # A person who finds it busy sees that; a timer has waited in vain.
        if record and not (isinstance(error, BusyError) and options.wait == 0):
            write_result(options.subcommand, False, str(error) or repr(error))
        if isinstance(error, OSError):
            raise WharfError(str(error)) from error
        raise
    damaged = bool(result.get("problems"))
    if record:
        write_result(options.subcommand, not damaged, result["message"])
    print(json.dumps(result) if options.json else result["message"])
    return 3 if damaged else 0

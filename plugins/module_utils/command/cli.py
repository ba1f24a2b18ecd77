"""The command wharf: one parser for all subcommands, one file for each.

A subcommand is a file of this package that has

- a docstring for people, which `wharf SUBCOMMAND --help` prints;
- `add_arguments(parser)`, where it has options of its own besides --json;
- `run(task) -> str`, which works, and returns a message about how it ended. A WharfError that it raises is printed as
  "wharf SUBCOMMAND: message", and the exit code is 1. It can be stopped by a signal, as by Ctrl-C;

and a line in SUBCOMMANDS. Only the file of the chosen subcommand is imported: one of them runs every minute.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

from ..containers import STOPPING
from ..errors import BusyError, WharfError, message_of
from ..lock import HELD_LOCK, lock, write_result
from .registry import Registry

# What it is called: the file, and what it does.
SUBCOMMANDS = {
    "status": ("status", "say how the registry is, in about ten lines"),
    "log": ("log", "show refused logins, pushes and deletions: who, from where, what"),
    "access": ("access", "say who may do what in a repository, and why"),
    "index": ("index", "bring the index of the registry's page up to date"),
    "metrics": ("metrics", "write the figures that Prometheus reads"),
    "collect-garbage": ("garbage", "delete what no image needs any more"),
    "apply-retention": ("retention", "delete old tags by rules, after a plan"),
    "trim-caches": ("trim_caches", "bring caches under their sizes, and fetch what they keep"),
    "feed-standbys": ("feed_standbys", "bring the standbys up to date"),
    "back-up": ("backup", "make a snapshot of the registry"),
    "check-backup": ("check_backup", "read the whole backup and name what is damaged"),
    "restore": ("restore", "restore a snapshot"),
    "renew-certificate": ("renew", "renew the certificate from the CA on this server"),
    "repair-storage": ("repair", "repair what interrupted writes have left"),
    "hold-pushes": ("hold", "let pushes wait, while the images that several servers have are changed"),
    "release-pushes": ("release", "let the pushes go on that hold-pushes holds"),
    "verify-storage": ("verify", "name what keeps an image from being served whole"),
    "move-data": ("move", "copy the registry's data to another place"),
}
# What changes the images or copies them elsewhere. A standby has its server's, and follows.
SERVER_ONLY = ("collect-garbage", "apply-retention", "back-up", "restore", "move-data")
SERVER_ONLY += ("repair-storage", "feed-standbys")
# But with these, which bring back what was cut off on this host, or copy what it had as the server.
EVERYWHERE = ("recover", "if_needed", "last", "pending")
EXIT_CODES = """\
exit codes:
  0  done, or nothing to do
  1  failed or refused; the reason is on standard error
  2  the command line is wrong
  3  done, but the registry itself is damaged or not well

All of them need root. Only one at a time works on the registry; the others say who does, or wait (--wait SECONDS).
"""
EXPECTED = (WharfError, OSError, KeyboardInterrupt)


def main() -> int:
    """Run the subcommand; return its exit code."""
    os.umask(0o022)  # where root's is stricter, the registry's user could not read what is restored or moved
    chosen = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    module = importlib.import_module(f".{SUBCOMMANDS[chosen][0]}", __package__) if chosen in SUBCOMMANDS else None
    lines = [f"  {name:17}  {purpose}" for name, (_, purpose) in SUBCOMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="wharf",
        description="Looks after the registry on this server. Timers and playbooks run the same subcommands.",
        epilog="\n".join(["subcommands:", *lines, "", EXIT_CODES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(
        dest="subcommand", metavar="SUBCOMMAND", required=True, help="has its own --help"
    )
    for name in SUBCOMMANDS:
        subparser = subparsers.add_parser(name, formatter_class=argparse.RawDescriptionHelpFormatter)
        if module and name == chosen:  # the options of the others are not needed
            subparser.description = module.__doc__
            subparser.set_defaults(wait=0)
            subparser.add_argument("--json", action="store_true", help="print the result as one JSON object")
            if add_arguments := getattr(module, "add_arguments", None):
                add_arguments(subparser)
    if len(sys.argv) == 1:
        parser.print_help()
        return 0
    options = parser.parse_args()
    assert module is not None  # the parser has refused everything else
    return Task(options).perform(module.run)


class Task:
    """One run of a subcommand.

    Attributes:
        options: the command line.
        result: what --json prints. "problems" that are not empty are those of the registry: the exit code is 3.
        record: whether how it ends is kept for `wharf status` and the diagnosis.
        bytes: of what it was about, kept as well.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        """Take the command line."""
        self.options = options
        self.result: dict[str, Any] = {"changed": False, "lines": []}
        self.record = False
        self.bytes: int | None = None
        self.start = time.monotonic()

    def line(self, text: str) -> str:
        """Print a line, or keep it for the result; return it."""
        self.result["lines"].append(text)
        if not self.options.json:
            print(text, flush=True)
        return text

    def lock(self) -> AbstractContextManager[None]:
        """Return the lock, for which the subcommand waits as long as the command line says.

        While pushes are held on all servers, that holds everybody off but who has done it.
        """
        other = {"path": HELD_LOCK} if getattr(self.options, "held", False) else {}
        return lock(self.options.subcommand, self.options.wait, **other)

    def perform(self, work: Callable[[Task], str]) -> int:
        """Do the work, which returns a message about how it ended; return the exit code."""
        for number in STOPPING:
            signal.signal(number, _stop)
        try:
            self._require_server()
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

    def _require_server(self) -> None:
        """Refuse on a standby what is for its server alone."""
        name = self.options.subcommand
        if name in SERVER_ONLY and not any(getattr(self.options, option, False) for option in EVERYWHERE):
            Registry(must_exist=False, ask=False).require_server(name)

    def _keep(self, good: bool, message: str) -> None:
        if self.record:
            took = time.monotonic() - self.start
            write_result(self.options.subcommand, good, message, took, self.bytes if good else None)


def add_wait(parser: argparse.ArgumentParser) -> None:
    """Add --wait SECONDS."""
    parser.add_argument(
        "--wait", type=float, metavar="SECONDS", help="wait so long for others at work on the registry (0)"
    )


def add_held(parser: argparse.ArgumentParser) -> None:
    """Add --held, of what changes images that several servers have."""
    parser.add_argument("--held", action="store_true", help="pushes are held on all servers, by `wharf hold-pushes`")


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
    while before and not isinstance(before, (WharfError, KeyboardInterrupt)):
        before = before.__context__
    return f"{text} (after: {_text(before)})" if before and message_of(before) not in text else text

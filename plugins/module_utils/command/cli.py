"""The command wharf: one parser for all subcommands, one file for each.

A subcommand is a file of this package that has

- a docstring for people, which `wharf SUBCOMMAND --help` prints;
- `add_arguments(parser)`, where it has options of its own besides --json;
- `run(task) -> str`, which works, and returns a message about how it ended. task.py says what it can do with the task.
  A WharfError that it raises is printed as "wharf SUBCOMMAND: message", and the exit code is 1;

and a line in SUBCOMMANDS. Only the file of the chosen subcommand is imported: one of them runs every minute.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from .task import Task

# What it is called: the file, and what it does.
SUBCOMMANDS = {
    "status": ("status", "say how the registry is, in about ten lines"),
    "collect-garbage": ("garbage", "delete what no image needs any more"),
    "apply-retention": ("retention", "delete old tags by rules, after a plan"),
    "back-up": ("backup", "make a snapshot of the registry"),
    "check-backup": ("check_backup", "read the whole backup and name what is damaged"),
    "restore": ("restore", "restore a snapshot"),
    "renew-certificate": ("renew", "renew the certificate from the CA on this server"),
    "repair-storage": ("repair", "repair what interrupted writes have left"),
    "verify-storage": ("verify", "name what keeps an image from being served whole"),
    "move-data": ("move", "copy the registry's data to another place"),
}
EXIT_CODES = """\
exit codes:
  0  done, or nothing to do
  1  failed or refused; the reason is on standard error
  2  the command line is wrong
  3  done, but the registry itself is damaged or not well

All of them need root. Only one at a time works on the registry; the others say who does, or wait (--wait SECONDS).
"""


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

"""The command wharf: finds the subcommand, and hands it its arguments."""

from __future__ import annotations

import importlib
import sys

# Each is imported only when it is asked for: one of them runs every minute.
SUBCOMMANDS = {
    "apply-retention": ("retention", "delete old tags by rules, after a plan"),
    "back-up": ("backup", "make a snapshot of the registry"),
    "check-backup": ("backup", "read the whole backup and name what is damaged"),
    "collect-garbage": ("garbage", "delete what no image needs any more"),
    "move-data": ("move", "copy the registry's data to another place"),
    "renew-certificate": ("renew", "renew the certificate from the CA on this server"),
    "repair-storage": ("repair", "repair what writes that were cut off have left"),
    "restore": ("backup", "restore a snapshot"),
}


def main() -> int:
    """Run the subcommand; return its exit code."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] not in SUBCOMMANDS:
        print("usage: wharf SUBCOMMAND [--help]\n")
        for name, (_, what) in SUBCOMMANDS.items():
            print(f"  {name:18} {what}")
        return 0 if arguments in ([], ["--help"], ["-h"]) else 2
    sys.argv[0] = f"wharf {arguments[0]}"
    module = importlib.import_module(f".{SUBCOMMANDS[arguments[0]][0]}", __package__)
    return module.main(arguments if module.__name__.endswith("backup") else arguments[1:])

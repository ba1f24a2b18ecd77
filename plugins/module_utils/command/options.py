"""Options and output that several subcommands have in common."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_wait(parser: argparse.ArgumentParser) -> None:
    """Add --wait SECONDS."""
    parser.add_argument(
        "--wait", type=float, default=0, metavar="SECONDS", help="wait so long for others at work on the registry (0)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


class Output:
    """What a subcommand prints: lines as it goes on, or at its end one JSON object that holds them."""

    def __init__(self, as_json: bool) -> None:
        """Take whether it is to be JSON."""
        self.as_json = as_json
        self.result: dict[str, Any] = {"changed": False, "lines": []}

    def line(self, text: str) -> None:
        """Print a line, or keep it for the result."""
        self.result["lines"].append(text)
        if not self.as_json:
            print(text, flush=True)

    def close(self) -> None:
        """Print the result, if it is to be JSON."""
        if self.as_json:
            print(json.dumps(self.result))

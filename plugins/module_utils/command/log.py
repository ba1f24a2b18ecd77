"""Show what the gateway has noted: refused logins, what users may not do, pushes and deletions, one line each.

Pulls are among them where the inventory says so (wharf_log_pulls). The lines are those of the container's log, of which
the engine keeps the last 30 MB.
"""

from __future__ import annotations

import argparse
import re
import subprocess

from ..containers import docker
from ..errors import WharfError
from ..parts import container_names
from .cli import Task
from .registry import Registry

# Not which manifest of a cache was pulled when: that is noted for trimming.
_EVENT = re.compile(r"^\d{4}-\d\d-\d\dT\S+ (?!cached:)[a-z ]+: user ")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--since", default="", metavar="WHEN", help="only what came later, such as 2h or 2026-11-28")


def run(task: Task) -> str:
    """Print the lines."""
    name = container_names(Registry().container)["gateway"]
    since = ["--since", task.options.since] if task.options.since else []
    done = docker("logs", *since, name, stderr=subprocess.PIPE)
    if done.returncode:
        raise WharfError(f"docker logs {name}: {done.stderr.strip()}")
    for line in done.stdout.splitlines():
        if _EVENT.match(line):
            task.line(line)
    return ""

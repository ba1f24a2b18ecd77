"""Let the pushes go on that `wharf hold-pushes` holds on this server, whether that still runs or was killed."""

from __future__ import annotations

import argparse

from ..lock import HELD, HELD_LOCK, RELEASE, lock
from .cli import Task, add_wait
from .read_only import clean_up
from .registry import Registry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_wait(parser)
    parser.set_defaults(wait=300)  # what serves pulls meanwhile ends what it has begun


def run(task: Task) -> str:
    """Release them."""
    with lock(RELEASE, task.options.wait, path=HELD_LOCK):  # whoever works on the images ends first
        task.result["changed"] = HELD.exists()
        HELD.unlink(missing_ok=True)
        with task.lock():
            clean_up(Registry(), task, "what had held pushes was killed: the registry is as it was before it")
    return ""

"""Let the pushes go on that `wharf hold-pushes` holds on this server, whether that still runs or was killed."""

from __future__ import annotations

import argparse

from ..errors import WharfError
from ..lock import HELD, HELD_LOCK, RELEASE, held_for, lock
from .cli import Task, add_wait
from .read_only import clean_up
from .registry import Registry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--done", action="store_true", help="the server that changes the images has released its own")
    add_wait(parser)
    parser.set_defaults(wait=1500)  # what serves pulls meanwhile ends what it has begun


def run(task: Task) -> str:
    """Release them."""
    known = Registry(ask=False)
    if held_for() and not (task.options.done or known.is_first):
        raise WharfError(
            f"it is {known.servers[0]} that changes the images: run `wharf release-pushes` there first, then here"
            " with --done"
        )
    with lock(RELEASE, task.options.wait, path=HELD_LOCK):  # whoever works on the images ends first
        task.result["changed"] = HELD.exists()
        HELD.unlink(missing_ok=True)
        with task.lock():
            clean_up(Registry(), task, "what had held pushes was killed: the registry is as it was before it")
    return ""

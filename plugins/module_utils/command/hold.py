"""Let pushes to this server wait, while the images that several servers have are changed on one of them.

Pulls go on. It ends by `wharf release-pushes`, or by itself after so many seconds, whoever has been killed meanwhile;
not before that by a reboot, after which pushes are refused until then. playbooks/collect-garbage.yml and
apply-retention.yml do it on all servers, first on the one that changes the images.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..containers import STOPPING
from ..errors import WharfError
from ..files import read_text, write_atomic
from ..lock import BOOT_ID, HELD
from ..text import one_line
from .cli import Task, add_wait
from .read_only import clean_up, pushes_held, put_back
from .registry import HELD_LEAST, Registry

PROGRAM = "/usr/local/sbin/wharf"
LONGEST = 3600  # seconds: the gateway gives up on a push that waits for longer
# What stays must not end with the session of whoever has started it.
SCOPE = ["systemd-run", "--scope", "--quiet", "--collect"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--seconds", type=int, default=LONGEST, metavar="N", help=f"for so long at most ({LONGEST})")
    parser.add_argument("--servers", metavar="NAMES", help="refuse where others than these have the same images")
    parser.add_argument("--stay", action="store_true", help="do not return before it has ended")
    add_wait(parser)


def run(task: Task) -> str:
    """Hold pushes; unless it is to stay, return once they wait."""
    options = task.options
    if not HELD_LEAST <= options.seconds <= LONGEST:
        raise WharfError(f"--seconds {options.seconds}: use a number from {HELD_LEAST} to {LONGEST}")
    if options.stay:
        return stay(task)
    if options.servers is not None and {*options.servers.split(",")} != {*(known := Registry(ask=False).servers)}:
        raise WharfError(
            f"registry_servers has {options.servers.replace(',', ', ')}, and this server knows"
            f" {', '.join(known) or 'no other'}: run playbooks/deploy-registry.yml first"
        )
    command = [*(SCOPE if Path("/run/systemd/system").is_dir() else ()), PROGRAM, "hold-pushes", "--stay"]
    command += ["--seconds", str(options.seconds), "--wait", str(options.wait)]
    pipe = subprocess.PIPE
    holder = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )
    assert holder.stdout and holder.stderr
    if holder.stdout.readline() != "held\n":
        holder.wait()
        said = one_line((holder.stderr.read().strip() or "it gave no reason").splitlines()[-1], 1000)
        raise WharfError(said.removeprefix("wharf hold-pushes: "))
    task.result["changed"] = True
    return task.line(f"pushes wait, for {options.seconds} s at most")


def stay(task: Task) -> str:
    """Hold pushes, say so, and stay until they go on."""
    seconds, clock, now = task.options.seconds, time.monotonic(), time.time()
    until = {"seconds": seconds, "boot": read_text(BOOT_ID), "clock": clock + seconds, "until": now + seconds}
    with task.lock():
        registry = Registry()
        clean_up(registry, task, "an earlier run was cut off: the registry is as it was before it")
        registry.preflight()
        with pushes_held(registry):
            for number in STOPPING:  # as at a shutdown, while others go on to rely on it: nothing is given back
                signal.signal(number, _end)
            HELD.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_atomic(str(HELD), json.dumps(until).encode(), uid=os.geteuid(), gid=os.getegid())
            print("held", flush=True)
            silence()
            while HELD.exists() and time.monotonic() < clock + seconds:
                time.sleep(0.2)
            HELD.unlink(missing_ok=True)
            with suppress(WharfError):  # what lacks something meanwhile is pushed again
                put_back(registry)
    return ""


def silence() -> None:
    """Say nothing more: nobody listens."""
    with open(os.devnull, "w") as nothing:
        for number in (1, 2):
            os.dup2(nothing.fileno(), number)


def _end(*_: Any) -> None:
    os._exit(1)

"""The scenario's hosts, and what tests do to them: write files, run programs, break something and put it back, wait."""

from __future__ import annotations

import base64
import os
import secrets
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

PROJECT = Path(__file__).resolve().parents[1]
# Where a scenario's prepare.yml leaves files for its tests.
PREPARED = Path(os.environ.get("MOLECULE_EPHEMERAL_DIRECTORY", ""))
SCENARIO = os.environ.get("MOLECULE_SCENARIO_NAME", "")
LAB = f"wharf-{SCENARIO}"  # the hosts' network, and what their containers' names begin with
# Programs for the hosts: those of the scenario, and those of all.
FILES = (PROJECT / "molecule" / SCENARIO / "tests/files", PROJECT / "molecule/files")


def some(kept: Iterable[str], all_of_them: Iterable[str]) -> list:
    """Return parameters of a test, of which `make test` takes some, and `make test-thorough` all."""
    kept = list(kept)
    return [one if one in kept else pytest.param(one, marks=pytest.mark.thorough) for one in all_of_them]


class Hosts(dict):
    """The scenario's hosts by their inventory names, each connected when it is first asked for."""

    def __missing__(self, name: str) -> Host:
        """Connect to a host."""
        self[name] = testinfra.get_host(f"docker://{container(name)}")
        return self[name]


def container(name: str) -> str:
    """Return the container that is a host."""
    return f"{LAB}-{name}"


def from_outside(*arguments: str) -> None:
    """Run docker on this machine, to do to a host what its power button does."""
    subprocess.run(["docker", *arguments], check=True, stdout=subprocess.DEVNULL)


# Files and programs -------------------------------------------------------------------------------


def write(host: Host, path: str, content: str, mode: str = "") -> None:
    """Write a file, whatever its content; without a mode, it keeps the one that it has."""
    text = base64.b64encode(content.encode()).decode()
    host.check_output(f"echo {text} | base64 --decode >{path}" + (f" && chmod {mode} {path}" if mode else ""))


def source(name: str) -> str:
    """Return a program from files/."""
    return next(directory / name for directory in FILES if (directory / name).exists()).read_text("utf-8")


def put(host: Host, name: str, path: str = "", mode: str = "") -> str:
    """Copy a program from files/ to a host; return its path there, which is /tmp/NAME unless another is given."""
    path = path or f"/tmp/{name}"
    write(host, path, source(name), mode)
    return path


def program(host: Host, name: str, *arguments: object) -> str:
    """Copy a program from files/ to a host; return the command that runs it with these arguments."""
    interpreter = "python3" if name.endswith(".py") else "sh"
    return shlex.join([interpreter, put(host, name), *map(str, arguments)])


def in_background(command: str) -> str:
    """Return the command that starts another one and does not wait for it."""
    return f"setsid {command} >/dev/null 2>&1 </dev/null &"


def wait_until(host: Host, command: str, seconds: float = 20, every: float = 0.05) -> None:
    """Wait until a command succeeds on a host."""
    loop = shlex.quote(f"until {command}; do sleep {every}; done >/dev/null 2>&1")
    assert host.run(f"timeout {seconds} sh -c {loop}").rc == 0, f"not within {seconds} s: {command}"


# What is put back ---------------------------------------------------------------------------------


@contextmanager
def broken(host: Host, how: str, repair: str) -> Iterator[None]:
    """Break something on a host, and repair it whatever happens."""
    try:
        host.check_output(how)
        yield
    finally:
        host.check_output(repair)


def without_repair(server: Host) -> AbstractContextManager[None]:
    """Keep the server from repairing, each minute, what the block breaks. A repair that is at work ends first."""
    name = "wharf-repair-storage"
    return broken(server, f"systemctl stop {name}.timer && systemctl start {name}", f"systemctl start {name}.timer")


@contextmanager
def put_back(host: Host, *paths: str, then: str = ":") -> Iterator[None]:
    """Put files and directories back afterwards, as they were or were not, and run a command."""
    place = f"/var/tmp/kept.{secrets.token_hex(6)}"
    host.check_output(program(host, "keep.sh", place, *paths))
    try:
        yield
    finally:
        host.check_output(program(host, "put-back.sh", place, *paths))
        host.check_output(then)


def flip_bit(host: Host, path: str) -> None:
    """Damage a file in place: another bit in its middle, whatever it holds."""
    code = "import sys; f = open(sys.argv[1], 'r+b'); n = f.seek(0, 2) // 2; f.seek(n); b = f.read(1)[0] ^ 1; "
    host.check_output(f'python3 -c "{code}f.seek(n); f.write(bytes([b]))" {path}')


@contextmanager
def replaced(host: Host, path: str, content: str, then: str = ":") -> Iterator[None]:
    """Give a file another content while the block runs; a command is run after both changes."""
    with put_back(host, path, then=then):
        write(host, path, content)
        host.check_output(then)
        yield


def without_systemd(host: Host) -> AbstractContextManager[None]:
    """Hide from whoever asks that systemd runs a host: this directory is what everyone knows it by."""
    return broken(host, "mv /run/systemd/system /run/systemd/hidden", "mv /run/systemd/hidden /run/systemd/system")


@contextmanager
def lock_held(host: Host, seconds: float = 60, name: str = "collect-garbage") -> Iterator[None]:
    """Hold the registry's lock as a subcommand does, while the block runs and not for longer than this."""
    host.check_output(in_background(program(host, "hold-lock.sh", name, seconds)))
    wait_until(host, "[ -e /run/wharf-test-holder ]")
    try:
        yield
    finally:
        host.check_output("kill $(cat /run/wharf-test-holder) 2>/dev/null; rm /run/wharf-test-holder")


@contextmanager
def docker_that(host: Host, case: str) -> Iterator[None]:
    """Let docker do its work, and something more at one call, whoever calls it while the block runs.

    It cuts a program off at a step, holds it there, or lets the step fail: the case, of a shell's `case "$*" in`, may
    call docker by `real "$@"`. `kill -9 $PPID` kills who called, `broken` fails, and `once` is true only once.
    """
    path = "/usr/local/sbin/docker"  # the first place in root's PATH
    write(host, path, source("docker-that.sh").replace("# CASE", case), mode="0755")
    try:
        yield
    finally:
        host.check_output(f"rm -f {path} {path}.once")


@contextmanager
def engine_that(host: Host, how: str, pattern: str) -> Iterator[None]:
    """Let a call of the engine's API, such as "POST .*/rename", fail once while the block runs, or hold it for ever.

    /run/wharf-test-hit is there when it has come; it holds the number of the process that called.
    """
    host.check_output("rm -f /run/wharf-test-hit")
    host.check_output(in_background(program(host, "engine-proxy.py", how, pattern)))
    wait_until(host, "[ -S /run/docker-real.sock ] && docker version")
    try:
        yield
    finally:
        host.check_output("pkill -f '[e]ngine-proxy.py'; mv /run/docker-real.sock /run/docker.sock")


@contextmanager
def read_only(host: Host, directory: str) -> Iterator[None]:
    """Let nobody write in a directory while the block runs: each write fails, as on a disk that has gone bad."""
    mount = f"mount --bind {directory} {directory} && mount -o remount,ro,bind {directory}"
    with broken(host, mount, f"umount {directory}"):
        yield


# What the role docker_engine writes.
ENGINE_FILES = (
    "/etc/docker/daemon.json",
    "/etc/default/docker",
    "/etc/default/wharf-docker",
    "/etc/systemd/system/docker.service.d",
    "/var/lib/wharf/daemon.json.record",
    "/var/lib/wharf/docker_engine.holds",
)


@contextmanager
def engine_put_back(*hosts: Host) -> Iterator[None]:
    """Let the engines of hosts run with their configuration of before again, afterwards."""
    with ExitStack() as stack:
        for host in hosts:
            stack.enter_context(put_back(host, *ENGINE_FILES, then=program(host, "restart-engine.sh")))
        yield


# What is there ------------------------------------------------------------------------------------

# The registry's own containers, in an order in which the engine can start them.
PARTS = "registry-network registry-gateway registry"


def containers(host: Host) -> str:
    """Return the names of all containers of a host's engine, in a line, in the order of PARTS."""
    return " ".join(sorted(host.check_output("docker ps --all --format '{{.Names}}'").split(), reverse=True))


def snapshot(host: Host) -> str:
    """Return what a run may change on a host, as text: files and their modes, containers, processes of the engine.

    What timers write every minute is left out, and what caches do.
    """
    timers = r"\(index\|metrics\|caches/docker\)/.*\|results/index\|caches/roots/[^/]*/scheduler-state.json"
    find = rf"find etc var/lib/wharf -xdev -type f ! -regex 'var/lib/wharf/\({timers}\)'"
    return host.check_output(
        f"cd / && {find} -printf '/%p %m %U:%G\\n' | sort;"
        f" {find} -exec sha256sum {{}} + | sed -E 's,^(\\w+)  (.*),/\\2 \\1,' | sort;"
        " docker ps --all --format '{{.ID}} {{.Names}}' 2>/dev/null; cat /run/docker.pid 2>/dev/null;"
        " dpkg-query -W 2>/dev/null || rpm --query --all 2>/dev/null | sort"
    )

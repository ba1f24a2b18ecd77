"""Fixtures that all scenarios share: the hosts, and ansible-playbook with the scenario's inventory."""

from __future__ import annotations

import base64
import os
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import hosts_snapshot
import pytest
import testinfra
from testinfra.host import Host

PROJECT = Path(__file__).resolve().parents[1]
SCENARIO = os.environ["MOLECULE_SCENARIO_NAME"]
REGISTRY = "registry.wharf.test:5000"
NUMBERS: list[tuple[str, float, str]] = []


class Hosts(dict):
    """The scenario's hosts by their inventory names, each connected when it is first asked for."""

    def __missing__(self, name: str) -> Host:
        """Connect to a host."""
        self[name] = testinfra.get_host(f"docker://wharf-{SCENARIO}-{name}")
        return self[name]


@pytest.fixture(scope="session")
def hosts() -> Hosts:
    """Return the hosts; hosts["client1"].run("...") runs a command on one, as root."""
    return Hosts()


@pytest.fixture(scope="session")
def ansible():
    """Return a function that runs ansible-playbook with this scenario's inventory.

    It returns the finished process, with all that was said in stdout, line breaks and runs of spaces folded.
    """

    def run(playbook: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], playbook, *arguments],
            cwd=PROJECT,
            env=os.environ | {"ANSIBLE_FORCE_COLOR": "0"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        result.stdout = " ".join(result.stdout.split())
        return result

    return run


def changes(result: subprocess.CompletedProcess[str]) -> int:
    """Return how many tasks of a run that was good have changed something, on all hosts together.

    Not by `"changed=0" in result.stdout`: the controller has a line of its own, and that always says so.
    """
    assert result.returncode == 0, result.stdout
    lines = re.findall(r"\s: ok=\d+\s+changed=(\d+)\s", result.stdout)
    assert lines, result.stdout
    return sum(map(int, lines))


@pytest.fixture
def image(hosts: Hosts) -> Iterator[str]:
    """Return the reference of an image with fresh random content on client1, named for the registry, not pushed."""
    reference = f"{REGISTRY}/test/{secrets.token_hex(6)}:1"
    hosts["client1"].check_output(
        f"head -c 200000 /dev/urandom >/tmp/content && tar -C /tmp -c content | docker import - {reference}"
    )
    yield reference
    hosts["client1"].run(f"docker image rm {reference}")


@pytest.fixture(scope="session")
def password() -> str:
    """Return the password that was generated for the registry's user "ci"."""
    return (Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent / ".credentials" / "users" / "ci").read_text().strip()


@pytest.fixture
def compare_with_snapshot() -> Callable[..., None]:
    """Return a function that fails if the hosts are not as a snapshot of the scenario says, by its name."""
    credentials = Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent / ".credentials"
    passwords = {file.name: file.read_text().strip() for file in credentials.rglob("*") if file.is_file()}

    def compare(name: str = "snapshot") -> None:
        file = PROJECT / "molecule" / SCENARIO / "tests" / f"{name}.yml"
        hosts_snapshot.compare(file, hosts_snapshot.take(SCENARIO, passwords))

    return compare


@pytest.fixture(scope="session")
def number() -> Callable[[str, float, str], None]:
    """Return a function that notes a figure for the scenario's last lines: number("renewal, no service", 0.8, "s")."""
    return lambda name, value, unit: NUMBERS.append((name, value, unit))


def pytest_terminal_summary(terminalreporter) -> None:
    """Print the figures that the tests have noted."""
    if NUMBERS:
        terminalreporter.section("figures")
        width = max(len(name) for name, _, _ in NUMBERS)
        for name, value, unit in NUMBERS:
            terminalreporter.write_line(f"{name:{width}}  {value:10.2f} {unit}")


class Watch:
    """What a client saw that pulled all the time. Filled when `watch` ends."""

    pulls = 0
    failures = 0
    # The longest time from the end of one good pull to the end of the next. Not only from a pull that failed: Docker
    # also waits for a registry that is away, and gets through.
    seconds = 0.0
    pace = 0.0  # the same where no pull failed in between: what the machine lets the client do meanwhile
    errors = ""  # what Docker said of the pulls that failed

    def shows_no_more_than(self, restart: float) -> bool:
        """Tell whether no interruption was longer than that of a plain restart, and none for want of trust.

        Twice as long is as long, with what else the machine does meanwhile.
        """
        return self.seconds <= 2 * restart + self.pace and "x509" not in self.errors


@contextmanager
def watch(host: Host, reference: str) -> Iterator[Watch]:
    """Pull an image and remove it again, every 200 ms, while the block runs. The host must be logged in, if need be.

    It begins and ends with a good pull, the last one within 90 seconds.
    """
    seen = Watch()
    write(
        host,
        "/tmp/watch",
        f"""while :; do
              [ ! -e /tmp/watch.stop ] || last=yes
              docker pull --quiet {reference} >/dev/null 2>>/tmp/watch.errors; code=$?
              echo "$(date +%s.%N) $code" >>/tmp/watch.log
              docker image rm {reference} >/dev/null 2>&1
              [ "$last $code" != "yes 0" ] || break
              sleep 0.2
            done; touch /tmp/watch.done""",
    )
    host.check_output("rm -f /tmp/watch.*; setsid timeout 900 sh /tmp/watch >/dev/null 2>&1 </dev/null &")
    host.check_output("timeout 30 sh -c 'until grep -q \" 0$\" /tmp/watch.log; do sleep 0.05; done' 2>/dev/null")
    try:
        yield seen
    finally:
        host.check_output("touch /tmp/watch.stop")
        ended = host.run("timeout 90 sh -c 'until [ -e /tmp/watch.done ]; do sleep 0.1; done'").rc == 0
        seen.errors = host.run("cat /tmp/watch.errors").stdout
    assert ended, seen.errors
    lines = [line.split() for line in host.check_output("cat /tmp/watch.log").splitlines()]
    ends = [(float(end), code == "0") for end, code in lines]
    good = [end for end, succeeded in ends if succeeded]
    seen.pulls, seen.failures = len(ends), len(ends) - len(good)
    seen.seconds = max(end - before for before, end in pairwise(good))
    seen.pace = max((b - a for (a, first), (b, then) in pairwise(ends) if first and then), default=0)


def plain_restart(server: Host, client: Host, reference: str) -> float:
    """Return for how long a restart of the registry keeps a client from pulling, in seconds: the longer of two."""
    with watch(client, reference) as seen:
        server.check_output("docker restart registry && sleep 1 && docker restart registry")
    return seen.seconds


def write(host: Host, path: str, content: str) -> None:
    """Write a file, whatever its content."""
    host.check_output(f"echo {base64.b64encode(content.encode()).decode()} | base64 --decode >{path}")


def log_in(host: Host, password: str, user: str = "ci") -> None:
    """Log root in to the registry, with the password on standard input."""
    command = f"echo '{password}' | docker login --username {user} --password-stdin {REGISTRY}"
    assert host.run(command).rc == 0


def push(host: Host, reference: str) -> str:
    """Push an image and return its digest, sha256:..."""
    return host.check_output(f"docker push {reference}").rpartition("digest: ")[2].split()[0]


def pull(host: Host, reference: str, digest: str) -> None:
    """Pull an image by its digest; the client itself compares the content with it."""
    by_digest = f"{reference.rpartition(':')[0]}@{digest}"
    host.check_output(f"docker pull {by_digest} && docker image rm {by_digest}")


def replace_container(hosts: Hosts, ansible, password: str, image: str) -> None:
    """Push an image, remove the registry's container, deploy again, and pull the image on another host."""
    log_in(hosts["client1"], password)
    digest = push(hosts["client1"], image)
    hosts["server"].check_output("docker rm --force --volumes registry")
    result = ansible("playbooks/deploy-registry.yml")
    assert result.returncode == 0, result.stdout
    log_in(hosts["client2"], password)
    pull(hosts["client2"], image, digest)


def snapshot(host: Host) -> str:
    """Return what a run may change on a host, as text: files and their modes, containers, processes of the engine."""
    return host.check_output(
        "find /etc /var/lib/wharf -xdev -type f -printf '%p %m %U:%G ' -exec sha256sum {} \\; 2>/dev/null | sort;"
        " docker ps --all --format '{{.ID}} {{.Names}}' 2>/dev/null; cat /run/docker.pid 2>/dev/null; dpkg-query -W"
    )

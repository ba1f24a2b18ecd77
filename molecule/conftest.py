"""Fixtures that all scenarios share: the hosts, and ansible-playbook with the scenario's inventory."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
    return (Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent / ".credentials" / "ci").read_text().strip()


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
    seconds = 0.0  # the longest time without service: from the first pull that failed to the end of the next good one


@contextmanager
def watch(host: Host, reference: str) -> Iterator[Watch]:
    """Pull an image and remove it again, every 200 ms, while the block runs. The host must be logged in, if need be."""
    seen = Watch()
    write(
        host,
        "/tmp/watch",
        f"""while [ ! -e /tmp/watch.stop ]; do
              start=$(date +%s.%N)
              docker pull --quiet {reference} >/dev/null 2>>/tmp/watch.errors; code=$?
              echo "$start $(date +%s.%N) $code"
              docker image rm {reference} >/dev/null 2>&1
              sleep 0.2
            done >/tmp/watch.log; touch /tmp/watch.done""",
    )
    host.check_output("rm -f /tmp/watch.*; setsid sh /tmp/watch >/dev/null 2>&1 </dev/null &")
    try:
        yield seen
    finally:
        # One more good pull, if service is back.
        host.check_output("sleep 0.5; touch /tmp/watch.stop")
        host.check_output("timeout 30 sh -c 'until [ -e /tmp/watch.done ]; do sleep 0.1; done'")
    lost = None
    for line in host.check_output("cat /tmp/watch.log").splitlines():
        start, end, code = line.split()
        seen.pulls += 1
        if code != "0":
            seen.failures += 1
            lost = float(start) if lost is None else lost
            seen.seconds = max(seen.seconds, float(end) - lost)
        elif lost is not None:
            seen.seconds = max(seen.seconds, float(end) - lost)
            lost = None
    assert seen.pulls > 0, host.run("cat /tmp/watch.errors").stdout


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

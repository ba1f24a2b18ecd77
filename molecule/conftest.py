"""Fixtures that all scenarios share. What tests import lies beside it: machines.py, clients.py and plays.py."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import hosts_snapshot
import pytest
from clients import REGISTRY, make_image
from machines import PROJECT, SCENARIO, Hosts
from plays import INVENTORY, Ansible

CREDENTIALS = Path(INVENTORY).parent / ".credentials"
NUMBERS: list[tuple[str, float, str]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer to run the tests of each file from the last to the first: none may need what another one left."""
    parser.addoption("--backwards", action="store_true", help="run the tests of each file from the last to the first")


def pytest_configure(config: pytest.Config) -> None:
    """Tell what the marks mean."""
    what = "repeats what unit tests hold, or is long and rare: only on demand, of some parameters where IDs are given"
    config.addinivalue_line("markers", f"thorough(*ids): {what}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is only for `make test-thorough`, and put the tests of each file in the order that is wanted."""
    if not os.environ.get("THOROUGH"):
        left_out = [test for test in items if is_thorough(test)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [test for test in items if test not in left_out]
    if config.getoption("backwards"):
        files = [list(tests) for _, tests in groupby(items, lambda item: item.path)]
        items[:] = [test for tests in files for test in reversed(tests)]


def is_thorough(test: pytest.Item) -> bool:
    """Tell whether a test, with its parameters, is only for `make test-thorough`."""
    marks = test.iter_markers("thorough")
    return any(not mark.args or test.callspec.id in mark.args for mark in marks)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def hosts() -> Hosts:
    """Return the hosts; hosts["client1"].run("...") runs a command on one, as root."""
    return Hosts()


@pytest.fixture(scope="session")
def ansible() -> Ansible:
    """Return what runs ansible-playbook with this scenario's inventory."""
    return Ansible()


@pytest.fixture
def image(hosts: Hosts) -> Iterator[str]:
    """Return the reference of an image with fresh random content on client1, named for the registry, not pushed."""
    reference = f"{REGISTRY}/test/{secrets.token_hex(6)}:1"
    make_image(hosts["client1"], reference)
    yield reference
    hosts["client1"].run(f"docker image rm {reference}")


@pytest.fixture(scope="session")
def password() -> str:
    """Return the password that was generated for the registry's user "ci"."""
    return (CREDENTIALS / "users/ci").read_text().strip()


@pytest.fixture(scope="session")
def passwords() -> dict[str, str]:
    """Return the passwords that were generated for the registry's users, by their names."""
    return {file.name: file.read_text().strip() for file in (CREDENTIALS / "users").glob("[!.]*")}


@pytest.fixture(scope="session")
def take_snapshot() -> Callable[[], str]:
    """Return a function that takes the snapshot of the hosts."""

    def take() -> str:
        passwords = {file.name: file.read_text().strip() for file in CREDENTIALS.rglob("[!.]*") if file.is_file()}
        return hosts_snapshot.take(SCENARIO, passwords)

    return take


@pytest.fixture(scope="session")
def compare_with_snapshot(take_snapshot: Callable[[], str]) -> Callable[..., None]:
    """Return a function that fails if the hosts are, or were, not as a snapshot of the scenario says, by its name."""

    def compare(name: str = "snapshot", seen: str = "") -> None:
        hosts_snapshot.compare(PROJECT / "molecule" / SCENARIO / "tests" / f"{name}.yml", seen or take_snapshot())

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

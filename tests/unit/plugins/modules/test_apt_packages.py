"""The module apt_packages: a source that cannot be used is told of, and fails only what needs it."""

from __future__ import annotations

import subprocess

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.modules import apt_packages as module

STALE = "E: The repository 'http://old.test stale Release' does not have a Release file.\n"
UNKNOWN = "E: Unable to locate package restic\n"


@pytest.mark.parametrize(
    ("update", "install", "told", "raised"),
    [
        ("", "", "", ""),
        (STALE, "", "apt-get update fails on this host: The repository 'http://old.test stale Release'", ""),
        (STALE, UNKNOWN, "", "apt-get update fails on this host: The repository 'http://old.test stale Release'"),
        ("", UNKNOWN, "", "restic and rsync cannot be installed: Unable to locate package restic"),
    ],
)
def test_packages_come_from_the_sources_that_can_be_used(monkeypatch, update, install, told, raised) -> None:
    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        said = install if "install" in argv else update
        return subprocess.CompletedProcess(argv, 100 if said else 0, said)

    monkeypatch.setattr(module, "run", run)
    try:
        assert module.install(["restic", "rsync"]).startswith(told)
        assert not raised
    except WharfError as error:
        assert raised
        assert str(error).startswith(raised)

# SPDX-License-Identifier: MIT
"""The module docker_engine_packages: the order of its steps, what it remembers, and check mode."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.modules import docker_engine_packages as packages


@pytest.fixture
def steps(tmp_path, monkeypatch) -> list[tuple]:
    """Return what the module does to the packages, in its order, with what it remembers at that moment."""
    done: list[tuple] = []
    holds = tmp_path / "wharf" / "holds"
    monkeypatch.setattr(packages, "HOLDS", str(holds))
    monkeypatch.setattr(packages, "KEY_FILE", str(tmp_path / "b" / "k"))
    monkeypatch.setattr(packages, "SOURCE_FILE", str(tmp_path / "a" / "s"))

    def note(name: str):
        return lambda *arguments: done.append((name, *arguments, holds.read_text() if holds.exists() else None))

    monkeypatch.setattr(packages, "install", note("install"))
    monkeypatch.setattr(packages, "select", note("select"))
    monkeypatch.setattr(packages, "write_atomic", lambda path, content: Path(path).write_bytes(content))
    monkeypatch.setattr(
        packages, "remove_entries", lambda *arguments: done.append(("entries", arguments[-1])) or ["gone"]
    )
    return done


def run(check: bool = False, **params) -> dict:
    """Run the module's work."""
    params = {"arguments": [], "options": [], "hold": [], "release": [], "repository": None} | params
    return packages.run(SimpleNamespace(params=params, check_mode=check))


def test_what_is_held_is_remembered_before_it_is_held(steps):
    assert run(arguments=["docker-ce=1"], hold=["docker-ce"])["changed"]
    assert steps == [
        ("install", ["docker-ce=1"], [], "docker-ce\n"),
        ("select", ["docker-ce"], "hold", "docker-ce\n"),
    ]


def test_a_hold_is_forgotten_after_it_was_released_and_its_file_goes_with_the_last(steps, tmp_path):
    run(hold=["docker-ce", "docker-ce-cli"])
    run(release=["docker-ce"])
    assert (tmp_path / "wharf/holds").read_text() == "docker-ce-cli\n"
    run(release=["docker-ce-cli"], arguments=["docker.io", "docker-ce-cli-"])
    # dpkg does not hold what is gone.
    assert [step[:3] for step in steps[1:]] == [
        ("select", ["docker-ce"], "install"),
        ("install", ["docker.io", "docker-ce-cli-"], []),
    ]
    assert not (tmp_path / "wharf/holds").exists()


def test_check_mode_changes_nothing(steps, tmp_path):
    repository = {"url": "x", "source": "text", "key": "KEY"}
    result = run(check=True, arguments=["docker.io"], hold=["docker.io"], repository=repository)
    assert (result, steps) == ({"changed": True, "removed": ["gone"]}, [("entries", False)])
    assert list(tmp_path.iterdir()) == []
    assert not run(check=True)["changed"]


def test_the_repository_is_written_after_old_entries_and_taken_away_again(steps, tmp_path):
    run(repository={"url": "x", "source": "text", "key": "KEY"})
    assert steps == [("entries", True)]
    assert ((tmp_path / "a/s").read_text(), (tmp_path / "b/k").read_text()) == ("text", "KEY")
    run(repository={"url": "", "source": "", "key": ""})
    assert steps == [("entries", True)]
    assert not (tmp_path / "a/s").exists()
    assert not (tmp_path / "b/k").exists()


def test_what_could_not_be_installed_is_not_held(steps, monkeypatch):
    def fail(*_):
        raise WharfError("apt cannot install docker-ce")

    monkeypatch.setattr(packages, "install", fail)
    with pytest.raises(WharfError):
        run(arguments=["docker-ce"], hold=["docker-ce"])
    assert steps == []

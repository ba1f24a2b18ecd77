# SPDX-License-Identifier: MIT
"""The module docker_engine_packages: the order of its steps, what it remembers, check mode, and no service starts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

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
    return packages.change(params, not check)


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
    run(repository={"key": ""})
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


# Services -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def policy(tmp_path, monkeypatch) -> Path:
    """Return where the host's policy for services is."""
    path = tmp_path / "policy-rc.d"
    monkeypatch.setattr(packages, "POLICY", path)
    monkeypatch.setattr(
        packages,
        "write_atomic",
        lambda name, content, mode: (Path(name).write_bytes(content), os.chmod(name, mode)),
    )
    return path


@pytest.mark.parametrize("theirs", [None, "#!/bin/sh\nexit 0\n"])
def test_no_service_starts_while_packages_change_and_the_hosts_own_policy_comes_back(policy, theirs):
    if theirs:
        policy.write_text(theirs)
    with packages.no_service_starts():
        assert policy.read_text() == packages.POLICY_TEXT
        assert os.access(policy, os.X_OK)
    assert (policy.read_text() if policy.exists() else None) == theirs


def test_the_policy_of_a_run_that_was_killed_goes_and_the_hosts_own_comes_back(policy):
    policy.write_text(packages.POLICY_TEXT)
    policy.with_name("policy-rc.d.wharf").write_text("theirs")
    with packages.no_service_starts():
        assert policy.read_text() == packages.POLICY_TEXT
    assert policy.read_text() == "theirs"


def test_a_run_that_is_terminated_puts_the_policy_back(policy):
    with pytest.raises(SystemExit), packages.no_service_starts():
        os.kill(os.getpid(), signal.SIGTERM)
    assert not policy.exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


# apt ------------------------------------------------------------------------------------------------------------------


class Apt:
    """Stands for the programs that are run: answers in turn."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, *argv: str, text: str | None = None):
        self.calls.append(argv)
        code, output = self.answers.pop(0)
        return type("Done", (), {"returncode": code, "stdout": output})


def test_lists_that_somebody_else_is_fetching_are_waited_for(monkeypatch):
    lock = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)\n"
    apt = Apt((100, lock), (0, "fine"))
    monkeypatch.setattr(packages, "run", apt)
    monkeypatch.setattr(packages.time, "sleep", lambda seconds: None)
    assert packages.update_lists() == "fine"
    monkeypatch.setattr(packages, "LOCK_WAIT", -1)
    monkeypatch.setattr(packages, "run", Apt((100, lock)))
    with pytest.raises(WharfError, match="held by process 7"):
        packages.update_lists()


def test_what_apt_says_is_passed_on_with_what_it_said_of_its_lists(monkeypatch, policy):
    apt = Apt(
        (
            0,
            "W: Failed to fetch http://mirror.example/ Could not resolve it\nW: Some index files failed\n",
        ),
        (100, "Reading package lists...\nE: Unable to locate package docker.io\n"),
    )
    monkeypatch.setattr(packages, "run", apt)
    with pytest.raises(WharfError) as error:
        packages.install(["docker.io"], ["--no-install-recommends"])
    assert "apt cannot install docker.io" in str(error.value)
    assert "Unable to locate package docker.io. Failed to fetch http://mirror.example/" in str(error.value)
    assert apt.calls[1][-3:] == ("--no-install-recommends", "install", "docker.io")
    assert not policy.exists()


# With dnf -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def rpms(tmp_path, monkeypatch):
    """Return the files of the repository, which others have written before, and let dnf note what it sees of them."""
    source, key = tmp_path / "wharf-docker.repo", tmp_path / "wharf-docker.asc"
    source.write_text("old\n")
    key.write_text("OLD\n")
    monkeypatch.setattr(packages.engine_rpms, "SOURCE_FILE", str(source))
    monkeypatch.setattr(packages.engine_rpms, "KEY_FILE", str(key))
    monkeypatch.setattr(packages.engine_rpms, "remove_entries", lambda _url, is_real: ["gone"])
    monkeypatch.setattr(packages, "write_atomic", lambda path, content: Path(path).write_bytes(content))
    return source, key


REPOSITORY = {"url": "http://mirror.example", "source": "new\nexcludepkgs=docker-ce\n", "key": "NEW\n"}
RPMS = {"arguments": ["docker-ce-3:1-1"], "repository": REPOSITORY}


def test_dnf_installs_what_its_repository_s_file_holds_back_later(rpms, monkeypatch):
    seen = []
    monkeypatch.setattr(packages.engine_rpms, "install", lambda names: seen.append((names, rpms[0].read_text())))
    assert packages.change_rpms(RPMS, False) == {"changed": True, "removed": ["gone"]}
    assert (rpms[0].read_text(), seen) == ("old\n", [])
    assert packages.change_rpms(RPMS, True)["changed"]
    assert seen == [(["docker-ce-3:1-1"], "new\nexcludepkgs=\n")]
    assert [file.read_text() for file in rpms] == ["new\nexcludepkgs=docker-ce\n", "NEW\n"]


def test_what_dnf_could_not_install_leaves_the_files_as_they_were(rpms, monkeypatch):
    def fail(_names):
        raise WharfError("no")

    monkeypatch.setattr(packages.engine_rpms, "install", fail)
    with pytest.raises(WharfError):
        packages.change_rpms(RPMS, True)
    assert [file.read_text() for file in rpms] == ["old\n", "OLD\n"]


def test_without_a_source_the_repository_goes(rpms):
    assert packages.change_rpms({"arguments": [], "repository": {"source": "", "key": ""}}, True)["changed"]
    assert not any(file.exists() for file in rpms)

# SPDX-License-Identifier: MIT
"""The engine's packages: versions, the sources of others, and services that must not start."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import engine_packages
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError


@pytest.mark.parametrize(
    ("version", "pin", "is_right"),
    [
        ("5:28.5.2-1~debian.13~trixie", "28.5.2", True),
        ("5:28.5.2-1~debian.13~trixie", "28.5", True),
        ("26.1.5+dfsg1-9+b9", "26", True),
        ("5:28.5.20-1~debian.13~trixie", "28.5.2", False),
        ("5:29.0.0~rc.1-1~debian.13~trixie", "29.0.0", False),
        ("5:29.0.0~rc.1-1~debian.13~trixie", "29.0.0~rc.1", True),
        ("", "26", False),
    ],
)
def test_a_pin_is_a_version_or_its_beginning(version, pin, is_right):
    assert engine_packages.matches(version, pin) == is_right


# Sources of others ----------------------------------------------------------------------------------------------------

UNWANTED = {"download.docker.com/linux/debian", "mirror.example/docker"}


def test_only_docker_s_lines_leave_a_list():
    text = (
        "# deb https://download.docker.com/linux/debian bookworm stable\n"
        "deb http://mirror.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k/docker.gpg] https://download.docker.com/linux/debian/ bookworm stable\n"
        "deb-src http://mirror.example/docker bookworm stable\n"
        "deb [signed-by=/k/other.gpg] https://mirror.example/docker-other bookworm stable\n"
    )
    left, gone, other = engine_packages.split_list(text, UNWANTED)
    assert left.splitlines() == [text.splitlines()[number] for number in (0, 1, 4)]
    assert (gone, other) == ({"/k/docker.gpg"}, {"/k/other.gpg"})


def test_only_docker_s_stanzas_and_addresses_leave_a_file():
    text = (
        "# Ours.\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nSigned-By: /k/debian.gpg\n\n"
        "Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: trixie\nSigned-By: /k/docker.asc\n\n"
        "Types: deb\nURIs: https://a.example\n https://mirror.example/docker/\nSuites: trixie\n"
    )
    left, gone, other = engine_packages.split_deb822(text, UNWANTED)
    assert left.split("\n\n") == [
        text.split("\n\n")[0],
        "Types: deb\nURIs: https://a.example\nSuites: trixie\n",
    ]
    assert (gone, other) == ({"/k/docker.asc"}, {"/k/debian.gpg"})


@pytest.mark.parametrize("split", [engine_packages.split_list, engine_packages.split_deb822])
def test_what_holds_nothing_of_docker_s_stays_as_it_is(split):
    for text in ("", "# nothing\n", "\n\nTypes: deb\nURIs: http://x\n\n\n# end\n", "deb http://x trixie main"):
        assert split(text, UNWANTED)[0] == text


def test_what_would_go_is_named_before_it_goes_with_the_key_that_nobody_else_names(tmp_path, monkeypatch):
    keyrings = tmp_path / "keyrings"
    keyrings.mkdir()
    monkeypatch.setattr(engine_packages, "KEYRINGS", (f"{keyrings}/",))
    monkeypatch.setattr(engine_packages, "SOURCE_FILE", "/etc/apt/sources.list.d/own.sources")
    for name in ("docker.gpg", "other.gpg"):
        (keyrings / name).write_text("key")
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    entry = f"deb [signed-by={keyrings}/docker.gpg] https://download.docker.com/linux/debian trixie stable\n"
    (tmp_path / "sources.list").write_text(f"deb http://mirror.example/debian trixie main\n{entry}")
    (parts / "docker.list").write_text(entry)
    (parts / "own.sources").write_text("Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: trixie\n")
    (parts / "mixed.list").write_text(f"{entry}deb [signed-by={keyrings}/other.gpg] http://o.example x y\n")
    gone = [
        "Docker's packages in /etc/apt/sources.list",
        "/etc/apt/sources.list.d/docker.list",
        "Docker's packages in /etc/apt/sources.list.d/mixed.list",
        f"{keyrings}/docker.gpg",
    ]

    def entries(is_real: bool) -> list[str]:
        found = engine_packages.remove_entries("http://mirror.example/docker/", is_real, tmp_path)
        return sorted(found)

    assert entries(is_real=False) == sorted(gone)
    assert (parts / "docker.list").exists()
    assert entries(is_real=True) == sorted(gone)
    assert not (parts / "docker.list").exists()
    assert (parts / "own.sources").exists()
    assert (tmp_path / "sources.list").read_text() == "deb http://mirror.example/debian trixie main\n"
    assert entries(is_real=False) == []


# Services -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def policy(tmp_path, monkeypatch) -> Path:
    """Return where the host's policy for services is."""
    path = tmp_path / "policy-rc.d"
    monkeypatch.setattr(engine_packages, "POLICY", path)
    monkeypatch.setattr(
        engine_packages,
        "write_atomic",
        lambda name, content, mode: (Path(name).write_bytes(content), os.chmod(name, mode)),
    )
    return path


@pytest.mark.parametrize("theirs", [None, "#!/bin/sh\nexit 0\n"])
def test_no_service_starts_while_packages_change_and_the_hosts_own_policy_comes_back(policy, theirs):
    if theirs:
        policy.write_text(theirs)
    with engine_packages.no_service_starts():
        assert policy.read_text() == engine_packages.POLICY_TEXT
        assert os.access(policy, os.X_OK)
    assert (policy.read_text() if policy.exists() else None) == theirs


def test_the_policy_of_a_run_that_was_killed_goes_and_the_hosts_own_comes_back(policy):
    policy.write_text(engine_packages.POLICY_TEXT)
    policy.with_name("policy-rc.d.wharf").write_text("theirs")
    with engine_packages.no_service_starts():
        assert policy.read_text() == engine_packages.POLICY_TEXT
    assert policy.read_text() == "theirs"


def test_a_run_that_is_terminated_puts_the_policy_back(policy):
    with pytest.raises(SystemExit), engine_packages.no_service_starts():
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
    monkeypatch.setattr(engine_packages, "run", apt)
    monkeypatch.setattr(engine_packages.time, "sleep", lambda seconds: None)
    assert engine_packages.update_lists() == "fine"
    monkeypatch.setattr(engine_packages, "LOCK_WAIT", -1)
    monkeypatch.setattr(engine_packages, "run", Apt((100, lock)))
    with pytest.raises(WharfError, match="held by process 7"):
        engine_packages.update_lists()


def test_what_apt_says_is_passed_on_with_what_it_said_of_its_lists(monkeypatch, policy):
    apt = Apt(
        (
            0,
            "W: Failed to fetch http://mirror.example/ Could not resolve it\nW: Some index files failed\n",
        ),
        (100, "Reading package lists...\nE: Unable to locate package docker.io\n"),
    )
    monkeypatch.setattr(engine_packages, "run", apt)
    with pytest.raises(WharfError) as error:
        engine_packages.install(["docker.io"], ["--no-install-recommends"])
    assert "apt cannot install docker.io" in str(error.value)
    assert "Unable to locate package docker.io. Failed to fetch http://mirror.example/" in str(error.value)
    assert apt.calls[1][-3:] == ("--no-install-recommends", "install", "docker.io")
    assert not policy.exists()

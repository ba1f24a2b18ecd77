"""Docker's command: what it says, and signals, which wait until it has ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import containers, data
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError


@pytest.fixture(autouse=True)
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a docker that says its arguments, signals its caller for "signal", and fails for "fail"."""
    program = tmp_path / "docker"
    program.write_text(
        '#!/bin/sh\n[ "$1" != signal ] || { kill -TERM $PPID; sleep 0.1; touch "$2"; }\n'
        '[ "$1" != fail ] || { echo first >&2; echo "the reason" >&2; exit 1; }\necho "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_a_failure_is_told_with_dockers_last_line() -> None:
    assert containers.cli("stop", "x") == "stop x"
    with pytest.raises(WharfError, match="^docker fail: the reason$"):
        containers.cli("fail")
    assert containers.cli("fail", check=False) == ""


def test_this_hosts_engine_is_asked_whatever_the_environment_says(tmp_path: Path, monkeypatch) -> None:
    """A context of root's counts for nothing where there is a DOCKER_HOST."""
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$DOCKER_HOST|$DOCKER_TLS_VERIFY|$DOCKER_CONTENT_TRUST"\n')
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2376")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CONTENT_TRUST", "1")
    assert containers.cli("version") == "unix:///run/docker.sock||"


def test_output_and_errors_come_in_one_for_people() -> None:
    done = containers.docker("fail")
    assert (done.returncode, done.stdout) == (1, "first\nthe reason\n")


def test_a_signal_during_a_call_comes_after_it(tmp_path: Path) -> None:
    def stop(number: int, _frame: object) -> None:
        raise KeyboardInterrupt((tmp_path / "ended").exists())

    signal.signal(signal.SIGTERM, stop)
    with pytest.raises(KeyboardInterrupt, match="True"):
        containers.cli("signal", str(tmp_path / "ended"))
    assert signal.getsignal(signal.SIGTERM) is stop


def test_without_an_engine_nothing_is_known_of_containers_and_volumes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(containers, "DEFAULT_SOCKET", str(tmp_path / "docker.sock"))
    with pytest.raises(WharfError, match="the Docker engine does not answer"):
        containers.container("registry")
    assert data.container("registry") is None
    assert data.directory("registry-data") is None
    assert data.directory("/srv/images") == Path("/srv/images")
    assert data.location("registry-data") == Path("/var/lib/docker/volumes/registry-data/_data")

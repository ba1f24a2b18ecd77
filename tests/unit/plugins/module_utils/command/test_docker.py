"""Calls of docker, and signals: a subcommand is stopped between two calls, and never in the middle of one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import docker
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError


@pytest.fixture(autouse=True)
def signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a docker that says its arguments, signals its caller for "signal", and fails for "fail"; restore signals."""
    program = tmp_path / "docker"
    program.write_text(
        '#!/bin/sh\n[ "$1" != signal ] || { kill -TERM $PPID; sleep 0.1; }\n'
        '[ "$1" != fail ] || { echo first >&2; echo "the reason" >&2; exit 1; }\necho "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    before = {number: signal.getsignal(number) for number in docker.SIGNALS}
    yield
    docker.ignore_signals()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_failure_is_told_with_dockers_last_line() -> None:
    assert docker.docker("stop", "x") == "stop x"
    with pytest.raises(WharfError, match="^docker fail: the reason$"):
        docker.docker("fail")
    assert docker.docker("fail", check=False) == ""


def test_a_signal_during_a_call_stops_the_subcommand_after_it() -> None:
    docker.stop_on_signals()
    with pytest.raises(WharfError, match="^stopped by SIGTERM$"):
        docker.docker("signal")


def test_a_signal_between_calls_stops_the_subcommand_at_once() -> None:
    docker.stop_on_signals()
    with pytest.raises(WharfError, match="^stopped by SIGINT$"):
        os.kill(os.getpid(), signal.SIGINT)


def test_recovery_goes_on_whatever_signal_comes() -> None:
    docker.stop_on_signals()
    with pytest.raises(WharfError):
        docker.docker("signal")
    docker.ignore_signals()
    os.kill(os.getpid(), signal.SIGTERM)
    assert docker.docker("start", "x") == "start x"

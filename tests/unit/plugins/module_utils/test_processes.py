"""Running other programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import processes
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError


def test_errors_of_a_program_are_one_line() -> None:
    assert processes.run(["sh", "-c", "echo out; printf 'no such\nhost' >&2; exit 3"]) == (3, "no such host")
    assert processes.run(["sh", "-c", "cat; echo err >&2"], "in") == (0, "in")
    assert processes.run(["no-such-program"]) == (1, "no-such-program: No such file or directory")


def test_program_that_hangs_is_ended() -> None:
    assert processes.run(["sleep", "9"], timeout=0.1) == (1, "sleep did not end within 0.1 seconds")


def test_programs_are_found_beyond_the_path_but_first_in_it(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/run/mine:/usr/bin")
    assert processes.search_path().startswith("/run/mine:/usr/bin:/usr/local/sbin:")
    assert processes.search_path().split(":").count("/usr/bin") == 1
    monkeypatch.delenv("PATH")
    assert processes.search_path() == processes.PATH


def test_process_of_the_host_is_found_and_one_with_namespaces_of_its_own_is_not(monkeypatch) -> None:
    with subprocess.Popen(["sleep", "9"]) as process:
        place = Path(f"/proc/{process.pid}")
        while (place / "comm").read_text() != "sleep\n":
            pass
        assert place in processes.processes_of("sleep")
        for own in ("pid", "user"):
            same = os.path.samefile
            monkeypatch.setattr(os.path, "samefile", lambda one, other, own=own: not str(one).endswith(f"ns/{own}"))
            assert place not in processes.processes_of("sleep")
            monkeypatch.setattr(os.path, "samefile", same)
        process.kill()


def test_program_that_must_not_fail() -> None:
    assert processes.must_run(["cat"], "x", given="in") == "in"
    with pytest.raises(WharfError, match="^/etc/x: it is refused: no such host$"):
        processes.must_run(["sh", "-c", "echo no such host >&2; exit 3"], "/etc/x: it is refused")


def test_the_network_of_a_process_that_has_ended_cannot_be_entered() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    with pytest.raises(OSError, match="No such file"), processes.network_of(ended.pid):
        pytest.fail("entered")

"""restic's command line, environment and output."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import restic
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

SETTINGS = {
    "name": "reg.test",
    "repository": "s3:https://id:hunter2@store/b",
    "host": "",
    "keep": {},
    "directories": {},
    "environment": {"AWS_SECRET_ACCESS_KEY": "hunter2"},
}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Return a function that takes what restic is to answer, (exit code, stderr), and returns the calls to come."""

    def prepare(*given: tuple[int, str]) -> list[Any]:
        waiting, calls = list(given), []

        def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
            calls.append((command, options["env"]))
            code, error = waiting.pop(0)
            return subprocess.CompletedProcess(command, code, "", error)

        monkeypatch.setattr(restic.subprocess, "run", run)
        return calls

    return prepare


def test_nothing_secret_is_on_the_command_line_or_in_messages(answers):
    calls = answers((1, "Fatal: server says no"))
    backup = restic.Restic(SETTINGS, "the-password")
    with pytest.raises(WharfError, match="restic init failed on s3:https://store/b: Fatal: server says no") as raised:
        backup.output("init")
    command, environment = calls[0]
    assert "hunter2" not in " ".join(command) + str(raised.value)
    assert environment["RESTIC_PASSWORD"] == "the-password"
    assert environment["AWS_SECRET_ACCESS_KEY"] == "hunter2"


def test_password_comes_from_its_file_unless_it_is_one_to_try(answers):
    calls = answers((0, ""))
    restic.Restic(SETTINGS).run("snapshots")
    assert calls[0][1]["RESTIC_PASSWORD_FILE"] == "/etc/wharf/backup/password"
    assert "RESTIC_PASSWORD" not in calls[0][1]


def test_restic_ends_with_the_program_and_goes_over_the_pinned_connection(answers):
    calls = answers((0, ""))
    restic.Restic(SETTINGS | {"host": "store", "repository": "/srv/b"}).run("snapshots")
    assert " ".join(calls[0][0]) == (
        "setpriv --pdeathsig TERM restic -o sftp.command=ssh -F /etc/wharf/backup/ssh_config backup -s sftp snapshots"
    )


def test_wrong_password_is_named_with_where_the_right_one_is(answers):
    answers((1, "Fatal: wrong password or no key found"))
    with pytest.raises(
        WharfError, match="wharf_backup_password: is not the password of the backup in s3:https://store"
    ):
        restic.Restic(SETTINGS).run("cat", "config")


def test_stale_lock_of_a_killed_run_is_removed(answers):
    calls = answers((1, "repository is already locked by PID 7"), (0, ""), (0, ""))
    restic.Restic(SETTINGS).output("backup")
    assert [command[-1] for command, _ in calls] == ["backup", "unlock", "backup"]


@pytest.mark.parametrize(
    "message",
    [
        "Fatal: repository does not exist: unable to open config file",
        "Is there a repository at the following location?",  # 0.14
    ],
)
def test_backup_that_is_not_there_yet_is_no_failure(answers, message):
    answers((10, message), (10, message))
    assert restic.Restic(SETTINGS).snapshots(required=False) is None
    with pytest.raises(WharfError, match="there is no backup in s3"):
        restic.Restic(SETTINGS).snapshots()


def test_backup_that_cannot_be_reached_is_a_failure(answers):
    answers((1, "dial tcp: connection refused"))
    with pytest.raises(WharfError, match="cannot be opened: dial tcp: connection refused"):
        restic.Restic(SETTINGS).snapshots(required=False)


def test_output_without_a_reason_says_so():
    result = subprocess.CompletedProcess([], 7, "", "using temporary cache in /x\n")
    assert restic.last_lines(result) == "it gave no reason (exit code 7)"


@pytest.mark.parametrize("other", ["2026-11-24T17:00:00.123456Z", "2026-11-24T12:00:00.123456789-05:00"])
def test_time_of_restic_with_nanoseconds_and_any_zone(other):
    assert restic.seconds("2026-11-24T18:00:00.123456789+01:00") == restic.seconds(other)

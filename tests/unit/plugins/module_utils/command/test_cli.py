"""How a subcommand's result is printed, kept, and turned into an exit code; and how signals end it."""

from __future__ import annotations

import json
import os
import signal
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import cli, registry
from ansible_collections.wharf.registry.plugins.module_utils.errors import BusyError, WharfError


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool, str]]:
    """Return the results that are kept for `wharf status`."""
    results: list[tuple[str, bool, str]] = []
    monkeypatch.setattr(cli, "write_result", lambda *result: results.append(result[:3]))
    return results


def perform(work: Callable[[], str], wait: float = 0, record: bool = True, as_json: bool = False, **result) -> int:
    """Perform work that has a result, or fails."""
    own = cli.Task(Namespace(subcommand="back-up", wait=wait, json=as_json))
    own.record = record
    own.result.update(result)
    return own.perform(lambda own: own.line(work()))


def fail_with(error: BaseException) -> Callable[[], str]:
    """Return work that fails."""

    def work() -> str:
        raise error

    return work


def test_good_result_is_printed_and_kept(kept, capsys):
    assert perform(lambda: "done") == 0
    assert capsys.readouterr().out == "done\n"
    assert kept == [("back-up", True, "done")]


def test_json_holds_the_whole_result(kept, capsys):
    assert perform(lambda: "done", tags=2, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {"changed": False, "lines": ["done"], "message": "done", "tags": 2}


def test_damaged_registry_is_kept_as_a_failure_with_an_exit_code_of_its_own(kept):
    assert perform(lambda: "done; but", problems=["app:1 is damaged"]) == 3
    assert kept == [("back-up", False, "done; but")]


@pytest.mark.parametrize("error", [WharfError("no room"), OSError("no room"), ValueError("no room")])
def test_failure_is_told_and_kept(kept, capsys, error):
    assert perform(fail_with(error), as_json=True) == 1
    shown = capsys.readouterr()
    expected = "Traceback" if isinstance(error, ValueError) else "wharf back-up: no room\n"
    assert shown.err.startswith(expected)
    assert json.loads(shown.out)["message"] == "no room"
    assert kept == [("back-up", False, "no room")]


def test_failure_that_cannot_be_kept_is_told_all_the_same(monkeypatch, capsys):
    monkeypatch.setattr(cli, "write_result", lambda *_: fail_with(OSError(28, "No space left on device"))())
    assert perform(fail_with(WharfError("no room"))) == 1
    assert capsys.readouterr().err == "wharf back-up: no room\n"
    assert perform(lambda: "done") == 1


def test_what_went_wrong_before_the_recovery_is_told(kept):
    def work() -> str:
        try:
            try:
                raise WharfError("docker said no")
            except WharfError as error:
                raise WharfError(f"the collection failed: {error}") from None
        finally:
            try:
                raise OSError("connection refused")
            except OSError as error:
                raise WharfError("the registry does not answer") from error

    assert perform(work) == 1
    assert kept[0][2] == "the registry does not answer (after: the collection failed: docker said no)"


@pytest.mark.parametrize(("wait", "expected"), [(0, []), (60, [("back-up", False, "busy")])])
def test_timer_that_waited_in_vain_is_kept_and_a_person_who_finds_it_busy_is_not(kept, wait, expected):
    assert perform(fail_with(BusyError("busy")), wait=wait) == 1
    assert kept == expected


def test_plan_is_not_kept(kept):
    perform(lambda: "would", record=False)
    assert kept == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_signal_ends_the_subcommand_with_a_line_about_it(kept, name):
    def work() -> str:
        try:
            os.kill(os.getpid(), getattr(signal, name))
        except Exception:  # what takes errors for granted on the way does not take this one
            return "went on"
        return "not stopped"

    assert perform(work) == 1
    assert kept == [("back-up", False, f"stopped by {name}")]


def test_recovery_goes_on_whatever_signal_comes(kept):
    def work() -> str:
        cli.ignore_signals()
        os.kill(os.getpid(), signal.SIGTERM)
        return "recovered"

    assert perform(work) == 0


@pytest.fixture
def standby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: list[tuple[str, bool, str]]) -> None:
    """Let this server be a standby."""
    (tmp_path / "registry.json").write_text('{"standby_of": "server1"}')
    monkeypatch.setattr(registry, "SETTINGS", tmp_path / "registry.json")


def perform_on_standby(subcommand: str, **options: bool) -> int:
    """Perform a subcommand that does nothing."""
    return cli.Task(Namespace(subcommand=subcommand, wait=60, json=False, **options)).perform(lambda _: "done")


@pytest.mark.parametrize("name", cli.SERVER_ONLY)
def test_what_changes_images_is_refused_on_a_standby_and_not_kept_as_a_failure(standby, kept, capsys, name):
    assert perform_on_standby(name) == 1
    assert capsys.readouterr().err.startswith(f"wharf {name}: this is a standby of server1, ")
    assert kept == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in ("index", "metrics", "status", "renew-certificate", "verify-storage", "trim-caches")),
        ("collect-garbage", {"recover": True}),
        ("repair-storage", {"if_needed": True}),
    ],
)
def test_what_a_standby_needs_itself_works_there(standby, name, options):
    assert perform_on_standby(name, **options) == 0

"""How a subcommand's result is printed, kept, and turned into an exit code."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import outcome
from ansible_collections.wharf.registry.plugins.module_utils.errors import BusyError, WharfError


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool, str]]:
    """Return the results that are kept for `wharf status`."""
    results: list[tuple[str, bool, str]] = []
    monkeypatch.setattr(outcome, "write_result", lambda *result: results.append(result))
    monkeypatch.setattr(outcome, "stop_on_signals", lambda: None)
    return results


def perform(result: dict[str, Any] | Exception, wait: float = 0, record: bool = True, as_json: bool = False) -> int:
    """Perform work that has a result, or fails."""

    def work(options: Namespace) -> dict[str, Any]:
        if isinstance(result, Exception):
            raise result
        return result

    return outcome.perform(Namespace(subcommand="back-up", wait=wait, json=as_json), work, record)


def test_good_result_is_printed_and_kept(kept, capsys):
    assert perform({"message": "done"}) == 0
    assert capsys.readouterr().out == "done\n"
    assert kept == [("back-up", True, "done")]


def test_json_holds_the_whole_result(kept, capsys):
    assert perform({"message": "done", "tags": 2}, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {"message": "done", "tags": 2}


def test_damaged_registry_is_kept_as_a_failure_with_an_exit_code_of_its_own(kept):
    assert perform({"message": "done; but", "problems": ["app:1 is damaged"]}) == 3
    assert kept == [("back-up", False, "done; but")]


@pytest.mark.parametrize("error", [WharfError("no room"), OSError("no room"), KeyError("no room")])
def test_failure_is_kept_and_goes_on(kept, error):
    with pytest.raises(KeyError if isinstance(error, KeyError) else WharfError, match="no room"):
        perform(error)
    assert kept == [("back-up", False, str(error))]


@pytest.mark.parametrize(("wait", "expected"), [(0, []), (60, [("back-up", False, "busy")])])
def test_timer_that_waited_in_vain_is_kept_and_a_person_who_finds_it_busy_is_not(kept, wait, expected):
    with pytest.raises(BusyError):
        perform(BusyError("busy"), wait=wait)
    assert kept == expected


def test_plan_is_not_kept(kept):
    perform({"message": "would"}, record=False)
    assert kept == []

"""The lock that keeps all that works on a registry apart, and the results of what has run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import lock
from ansible_collections.wharf.registry.plugins.module_utils.errors import BusyError


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep lock and results in a directory of the test's own."""
    monkeypatch.setattr(lock, "LOCK", tmp_path / "registry.lock")
    monkeypatch.setattr(lock, "RESULTS", tmp_path / "results")


def test_the_second_is_told_who_is_at_work_and_since_when() -> None:
    message = r"^collect-garbage is at work on \S+ since 20\S+ \S+: wait until it has finished$"
    assert lock.lock_holder() is None
    with lock.lock("collect-garbage"):
        assert lock.lock_holder().name == "collect-garbage"
        with pytest.raises(BusyError, match=message), lock.lock("back-up", wait=0.3):
            pass
    assert lock.lock_holder() is None
    with lock.lock("back-up"):
        assert lock.lock_holder().name == "back-up"


def test_check_mode_tells_who_is_at_work_and_makes_nothing() -> None:
    with lock.lock("deploy-registry", check_mode=True):
        assert not lock.LOCK.exists()
    with lock.lock("back-up"):
        with pytest.raises(BusyError, match="^back-up is at work "), lock.lock("x", wait=0.3, check_mode=True):
            pass
        assert lock.lock_holder().name == "back-up"


@pytest.mark.parametrize("check_mode", [False, True])
def test_the_copy_to_standbys_is_waited_for_whatever_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    passed = [0.0]
    monkeypatch.setattr(lock.time, "monotonic", lambda: passed[0])
    monkeypatch.setattr(lock.time, "sleep", lambda _: passed.append(passed.pop() + 20))
    busy = pytest.raises(BusyError, match="^feed-standbys is at work")
    with lock.lock("feed-standbys"), busy, lock.lock("collect-garbage", check_mode=check_mode):
        pass
    assert passed == [60]


def test_only_its_owner_can_open_it_and_so_hold_it() -> None:
    with lock.lock("x"):
        assert lock.LOCK.stat().st_mode & 0o7777 == 0o600


def test_a_holder_that_has_written_nothing_is_something() -> None:
    with lock.lock("x"):
        lock.LOCK.write_text("")
        assert str(lock.lock_holder()).startswith("something is at work on ")


def test_a_result_is_a_line_for_people_and_one_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock.subprocess, "run", lambda *_, **__: None)
    monkeypatch.setattr(lock.time, "time", lambda: 1000.9)
    assert lock.read_result("back-up") is None
    lock.write_result("back-up", False, "no\nroom", 1.5)
    assert lock.read_result("back-up") == (False, 1000, "no room", 1.5, None, None)
    assert (lock.RESULTS / "back-up").stat().st_mode & 0o7777 == 0o644
    lock.write_result("back-up", True, "", 2.25, 77)
    assert lock.read_result("back-up") == (True, 1000, "", 2.25, 77, 1000)
    monkeypatch.setattr(lock.time, "time", lambda: 2000)
    lock.write_result("back-up", False, "no room", 0.5)  # when one ended well stays known
    assert lock.read_result("back-up") == (False, 2000, "no room", 0.5, None, 1000)
    assert (lock.RESULTS / "back-up").read_text().splitlines()[0] == "failed 2000 no room"


@pytest.mark.parametrize("text", ["damaged", "ok one done\n", "ok 1 done\n{", 'ok 1 done\n{"other": 1}\n'])
def test_a_result_that_is_damaged_is_none(text: str) -> None:
    lock.RESULTS.mkdir()
    (lock.RESULTS / "back-up").write_text(text)
    assert lock.read_result("back-up") is None


def test_another_lock_keeps_nobody_from_the_registry(tmp_path: Path) -> None:
    with lock.lock("metrics", path=tmp_path / "other"):
        assert lock.lock_holder() is None
        with lock.lock("back-up"), pytest.raises(BusyError), lock.lock("metrics", path=tmp_path / "other"):
            pass

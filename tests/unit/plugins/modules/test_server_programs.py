"""The module server_programs: the command, and what starts its subcommands, with a systemctl that only takes notes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import lock
from ansible_collections.wharf.registry.plugins.module_utils.files import Changes, Entry
from ansible_collections.wharf.registry.plugins.modules import server_programs as module


class Host:
    """A host below a directory of its own."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.units, self.cron, self.results = root / "units", root / "cron.d", root / "wharf/results"
        self.command = root / "sbin/wharf"
        self.systemd, self.running, self.called = True, set(), []
        monkeypatch.setattr(module, "KNOWN", root / "version")
        for path in (self.units, self.cron, self.results):
            path.mkdir(parents=True)
        for name, value in {"COMMAND": self.command, "UNITS": self.units, "CRON": self.cron}.items():
            monkeypatch.setattr(module, name, str(value))
        for name in ("INDEX", "METRICS"):
            monkeypatch.setattr(module, name, str(root / "wharf" / name.lower()))
        monkeypatch.setattr(module, "RESULTS", self.results)
        monkeypatch.setattr(lock, "RESULTS", self.results)
        monkeypatch.setattr(module.subprocess, "run", self.systemctl)

    def systemctl(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        """Take a note; tell that the timers in `running` run."""
        arguments = [word for word in command[1:] if not word.startswith("-")]
        timers = [word for word in arguments if word.endswith(".timer")]
        if arguments[0] == "show":
            active = {name: ("active", "enabled") if name in self.running else ("inactive", "") for name in timers}
            blocks = [f"Id={name}\nActiveState={a}\nUnitFileState={e}" for name, (a, e) in active.items()]
            return subprocess.CompletedProcess(command, 0, "\n\n".join(blocks), "")
        self.called.append(" ".join(arguments))
        self.running |= set(timers) if arguments[0] == "restart" else set()
        self.running -= set(timers) if arguments[0] == "disable" else set()
        return subprocess.CompletedProcess(command, 0, "", "")

    def programs(self, *enabled: str, check_mode: bool = False, **contents: str) -> module.Programs:
        """Return the two jobs a and b, of which some are enabled."""
        jobs = [
            {"name": name, "enabled": name in enabled, "service": f"{name} service", "timer": "timer", "cron": "cron"}
            | contents
            for name in ("a", "b")
        ]
        programs = module.Programs(jobs, Changes(check_mode))
        programs.systemd = self.systemd
        return programs

    def install(self, *enabled: str, **options: Any) -> list[str]:
        """Install; return the names of what has changed."""
        self.called.clear()
        programs = self.programs(*enabled, **options)
        programs.install("command")
        return [Path(path).name for path in programs.changes.paths]

    def files(self) -> set[str]:
        """Return the names of all files that start something."""
        return {path.name for path in (*self.units.iterdir(), *self.cron.iterdir())}


@pytest.fixture(autouse=True)
def any_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files belong to whoever runs the tests."""
    monkeypatch.setattr("os.fchown", lambda *_: None)
    read = module.Changes.put.__globals__["read_entry"]

    def as_root(path: str) -> Entry | None:
        found = read(path)
        return found and found._replace(uid=0, gid=0)

    monkeypatch.setitem(module.Changes.put.__globals__, "read_entry", as_root)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_enabled_jobs_get_a_timer_that_runs_and_the_others_nothing(host: Host) -> None:
    assert host.install("a") == ["wharf", "wharf-a.service", "wharf-a.timer", "wharf-a.timer"]
    assert host.called == ["daemon-reload", "enable wharf-a.timer", "restart wharf-a.timer"]
    assert host.files() == {"wharf-a.service", "wharf-a.timer"}
    assert host.command.read_text() == "command"
    assert host.command.stat().st_mode & 0o7777 == 0o755
    assert host.install("a") == []
    assert host.called == []


def test_a_changed_service_and_a_timer_that_does_not_run_are_started_anew(host: Host) -> None:
    host.install("a", "b")
    assert host.install("a", "b", timer="other timer") == [*["wharf-a.timer", "wharf-b.timer"] * 2]
    assert host.called == ["daemon-reload", "enable wharf-a.timer wharf-b.timer", "restart wharf-a.timer wharf-b.timer"]
    host.running.discard("wharf-b.timer")
    assert host.install("a", "b", timer="other timer") == ["wharf-b.timer"]
    assert host.called == ["enable wharf-b.timer", "restart wharf-b.timer"]


def test_a_timer_is_stopped_before_its_files_go(host: Host) -> None:
    host.install("a", "b")
    assert host.install("a") == ["wharf-b.service", "wharf-b.timer"]
    assert host.called[:2] == ["disable wharf-b.timer", "disable wharf-b.service"]
    assert host.called[2:] == ["daemon-reload", "reset-failed wharf-b.service wharf-b.timer"]
    assert host.files() == {"wharf-a.service", "wharf-a.timer"}


@pytest.mark.parametrize(("result", "stays"), [("ok 1 done", True), ("failed 1 broken", False)])
def test_a_failure_goes_with_what_could_have_made_good_for_it(host: Host, result: str, stays: bool) -> None:
    host.install("a")
    (host.results / "a").write_text(result)
    host.install()
    assert (host.results / "a").exists() is stays


def test_the_index_goes_with_what_keeps_it_up_to_date(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INDEX", str(tmp_path / "index"))
    (tmp_path / "index/tags").mkdir(parents=True)
    programs = host.programs()
    job = programs.jobs[0] | {"name": "index"}
    programs.jobs = [job | {"enabled": True}]
    programs.install("command")
    assert (tmp_path / "index/tags").exists()
    programs.jobs = [job]
    programs.install("command")
    assert not (tmp_path / "index").exists()


def test_cron_starts_the_jobs_where_systemd_does_not_run(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.install("a")
    host.systemd = False
    assert host.install("a") == ["wharf-a.service", "wharf-a.timer", "wharf-a"]
    assert host.files() == {"wharf-a"}
    assert host.called == []
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    assert host.programs("a").cron_missing()
    assert not host.programs().cron_missing()
    host.systemd = True
    assert not host.programs("a").cron_missing()
    assert host.install("a")[-1] == "wharf-a.timer"
    assert host.files() == {"wharf-a.service", "wharf-a.timer"}


def test_check_mode_names_everything_and_changes_nothing(host: Host) -> None:
    assert host.install("a", check_mode=True) == ["wharf", "wharf-a.service", "wharf-a.timer", "wharf-a.timer"]
    assert host.called == []
    assert host.files() == set()
    assert not host.command.exists()


def test_removal_leaves_nothing_of_its_own(host: Host) -> None:
    host.install("a", "b")
    (host.results / "a").write_text("ok 1 done")
    module.KNOWN.write_text("sha256:1 2.8.3")
    expected = {"wharf-a.service", "wharf-a.timer", "wharf-b.service", "wharf-b.timer", "wharf", "results", "version"}
    for check_mode in (True, False):
        programs = host.programs(check_mode=check_mode)
        programs.remove()
        assert {Path(path).name for path in programs.changes.paths} == expected
        assert host.command.exists() is check_mode
    assert host.files() == host.running == set()
    assert not host.results.parent.exists()


def test_a_diff_names_our_programs_and_shows_what_changes_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path, monkeypatch)
    programs = host.programs("a")
    programs.install("command")
    (names,) = module.shown(programs.changes.diff)
    assert names["prepared"].splitlines()[0].startswith(f"{host.command} (")
    assert "a service" not in names["prepared"]
    programs = host.programs("a", timer="another")
    programs.install("command")
    (changed,) = module.shown(programs.changes.diff)
    assert (changed["before"], changed["after"]) == ("timer", "another")

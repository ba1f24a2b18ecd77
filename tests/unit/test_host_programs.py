"""Unit tests of the role server_programs: files that are due, timers, and the module that writes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from ansible_collections.wharf.registry.plugins.plugin_utils import programs as filters

LOOK = yaml.safe_load((ROOT / "roles/server_programs/vars/main.yml").read_text())["server_programs_look"]
TIMER = "/etc/systemd/system/x.timer"
CRON = "/etc/cron.d/x"
JOB = {
    "name": "x",
    "description": "X",
    "schedule": "weekly",
    "at": "03:05",
    "spread": "1h",
    "arguments": ["--wait", "1"],
}


def line(path: str, content: str, mode: str = "644", owner: str = "0:0") -> str:
    """Return what a look says of a file."""
    return f"file {path} {owner}:{mode} {hashlib.sha256(content.encode()).hexdigest()}"


@pytest.mark.parametrize(
    ("path", "content", "look", "is_due"),
    [
        ("/f", "text", [line("/f", "text")], False),
        ("/f", "text", [], True),
        ("/f", "text", [line("/f", "other")], True),
        ("/f", "text", [line("/f", "text", mode="600")], True),
        ("/f", "text", [line("/f", "text", owner="1:0")], True),
        ("/f", "", [], False),
        ("/f", "", [line("/f", "text")], True),
        ("/f", "", [line("/f.old", "text")], False),
        (TIMER, "text", [line(TIMER, "text"), "timer x.timer"], False),
        (TIMER, "text", [line(TIMER, "text")], True),  # it does not run
        (TIMER, "", ["timer x.timer"], False),
        (CRON, "text", [line(CRON, "text"), "cron"], False),
        (CRON, "text", [line(CRON, "text")], True),  # there is no cron
    ],
)
def test_what_differs_is_due(path: str, content: str, look: list[str], is_due: bool) -> None:
    wanted = [{"path": path, "mode": "0644", "content": content}]
    assert filters.server_programs_due(wanted, look) == (wanted if is_due else [])


def test_the_look_says_what_the_filter_reads(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("text")
    (tmp_path / "f").chmod(0o640)
    script = f"{LOOK}\nlook_at_files {tmp_path}/f {tmp_path}/missing {tmp_path}/no.timer"
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert said.stderr == ""
    assert said.stdout == line(f"{tmp_path}/f", "text", "640", f"{os.getuid()}:{os.getgid()}") + "\n"


@pytest.mark.parametrize(
    ("schedule", "systemd", "cron"),
    [
        ("minutely", "OnCalendar=minutely", "* * * * * root flock --nonblock /run/x.lock"),
        ("daily", "OnCalendar=*-*-* 03:05", "5 3 * * * root"),
        ("weekly", "OnCalendar=Sun *-*-* 03:05", "5 3 * * 0 root"),
        ("monthly", "OnCalendar=*-*-01 03:05", "5 3 1 * * root"),
    ],
)
def test_a_program_is_started_by_what_the_host_has(schedule: str, systemd: str, cron: str) -> None:
    service, timer, entry = filters.server_programs_schedule([{**JOB, "schedule": schedule}], "systemd")
    assert (service["path"], timer["path"]) == ("/etc/systemd/system/x.service", TIMER)
    assert "\nExecStart=/usr/local/sbin/wharf x --wait 1\n" in service["content"]
    assert f"\n{systemd}\n" in timer["content"]
    assert entry == {"path": "/etc/cron.d/x", "mode": "0644", "content": ""}

    service, timer, entry = filters.server_programs_schedule([{**JOB, "schedule": schedule}], "cron")
    assert (service["content"], timer["content"]) == ("", "")
    assert entry["content"].splitlines()[-1] == f"{cron} /usr/local/sbin/wharf x --wait 1 >/dev/null"


def test_without_a_schedule_nothing_starts_it() -> None:
    for init in ("systemd", "cron"):
        files = filters.server_programs_schedule([{**JOB, "schedule": ""}], init)
        assert [file["content"] for file in files] == ["", "", ""]


def test_timers_are_started_anew_with_their_services_and_stopped_before_their_files_go() -> None:
    wanted = filters.server_programs_schedule([JOB], "systemd")
    unwanted = filters.server_programs_schedule([{**JOB, "name": "y", "schedule": ""}], "systemd")
    due = [{"path": "/usr/local/sbin/x", "content": "text"}, *wanted[:1], *unwanted[1:2]]
    assert filters.server_programs_timers(due, wanted=True) == ["x.timer"]
    assert filters.server_programs_timers(due, wanted=False) == ["y.timer"]


@pytest.mark.skipif(os.getuid() != 0, reason="gives files to root")
class TestModule:
    """The module host_files, run as Ansible runs it."""

    def run(self, files: list[dict[str, str]], **options: Any) -> dict[str, Any]:
        """Run the module; return its result."""
        arguments = {"ANSIBLE_MODULE_ARGS": {"files": files, **options}}
        done = subprocess.run(
            [sys.executable, ROOT / "plugins/modules/host_files.py"],
            input=json.dumps(arguments),
            capture_output=True,
            text=True,
        )
        assert done.stderr == ""
        return json.loads(done.stdout)

    def test_writes_what_differs_and_removes_what_has_no_content(self, tmp_path: Path) -> None:
        new, old, right = tmp_path / "a/b/new", tmp_path / "old", tmp_path / "right"
        old.write_text("old")
        right.write_text("right")
        right.chmod(0o644)
        files = [
            {"path": str(new), "mode": "0700", "content": "new\n"},
            {"path": str(old)},
            {"path": str(right), "content": "right"},
        ]
        announced = self.run(files, _ansible_check_mode=True)
        assert (announced["changed"], announced["paths"]) == (True, [str(new), str(old)])
        assert not new.exists()
        assert old.exists()
        result = self.run(files)
        assert (result["changed"], result["paths"]) == (True, [str(new), str(old)])
        assert (new.read_text(), new.stat().st_mode & 0o7777) == ("new\n", 0o700)
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "new", "right"]
        assert self.run(files)["changed"] is False

    def test_replaces_a_link_and_not_what_it_leads_to(self, tmp_path: Path) -> None:
        (tmp_path / "target").write_text("text")
        (tmp_path / "link").symlink_to("target")
        assert self.run([{"path": str(tmp_path / "link"), "content": "other"}])["changed"] is True
        assert not (tmp_path / "link").is_symlink()
        assert (tmp_path / "target").read_text() == "text"

    def test_says_which_file_cannot_be_written_and_leaves_nothing_of_it(self, tmp_path: Path) -> None:
        (tmp_path / "directory").mkdir()
        result = self.run([{"path": str(tmp_path / "directory"), "content": "text"}])
        assert (result["failed"], result["msg"]) == (True, f"{tmp_path}/directory: Is a directory")
        assert [path.name for path in tmp_path.iterdir()] == ["directory"]

    def test_contents_are_in_the_difference_only(self, tmp_path: Path) -> None:
        result = self.run([{"path": str(tmp_path / "f"), "content": "hidden"}])
        assert result.pop("diff")[0]["after"] == "hidden"
        assert "hidden" not in json.dumps(result)

"""What the plays that back up and restore show, and what they fetch."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils import backups


def test_copy_on_the_controller_is_compared_by_name_and_size(tmp_path):
    for name, content in {"config": "x", "data/00/same": "12", "data/00/short": "1", "index/old": "1"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    listed = ["1 config", "2 data/00/same", "2 data/00/short", "3 index/new", "9 locks/somebody"]
    assert backups.backup_differences(listed, str(tmp_path)) == {
        "missing": ["data/00/short", "index/new"],
        "surplus": ["index/old"],
    }
    assert len(backups.backup_differences(listed, str(tmp_path / "none"))["missing"]) == 4


def test_lines_say_what_every_program_said():
    made = '{"snapshot": "a", "tags": 2, "total": 1000000, "new": 0, "seconds": 1.0, "message": "done"}'
    results = [{"rc": 0, "stdout": made}, {"rc": 1, "stdout": "", "stderr": "no docker"}, {"skipped": True}]
    assert backups.backup_lines(results, "server") == [
        "server  snapshot  tags  total      new      seconds",
        "server  a         2     976.6 KiB  0 bytes  1.0",
        "server: done",
        "server: no docker",
    ]
    restored = {"rc": 0, "stdout": '{"seconds": 1.0, "message": "2 tags restored", "kept": ["/old"]}'}
    assert backups.backup_lines([restored], "server") == [
        "server: 2 tags restored",
        "server: kept what was there: /old",
    ]
    for result in ({"stdout": "killed", "stderr": ""}, {"stdout": "", "stderr": "", "msg": "killed"}):
        assert backups.backup_lines([result | {"rc": -9}], "server") == ["server: killed"]
    assert "would install it first" in backups.backup_lines([{"skipped": True}], "server")[0]


def test_given_password_counts_for_more_than_the_file(tmp_path):
    (tmp_path / "password").write_text("generated\n")
    assert backups.backup_password("given", str(tmp_path / "password")) == "given"
    assert backups.backup_password("", str(tmp_path / "password")) == "generated"


def test_password_that_is_not_there_yet_says_so():
    assert backups.backup_password("", "/nowhere/password") == "(still to be generated)"
    assert backups.backup_password("", "") == ""

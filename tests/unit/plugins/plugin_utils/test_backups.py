"""What the plays that back up and restore show, and what they fetch."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils import backups


def test_copy_on_the_controller_is_compared_by_name_and_size(tmp_path):
    same, short, old, new = f"data/00/{'0' * 64}", f"data/00/{'1' * 64}", f"index/{'2' * 64}", f"index/{'3' * 64}"
    for name, content in {
        "config": "x",
        same: "12",
        short: "1",
        old: "1",
        "notes.txt": "mine",
        "data/00/x": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    listed = ["1 config", f"2 {same}", f"2 {short}", f"3 {new}", "9 locks/somebody"]
    assert backups.backup_differences(listed, str(tmp_path)) == {"missing": [short, new], "surplus": [old]}
    assert len(backups.backup_differences(listed, str(tmp_path / "none"))["missing"]) == 4


def test_list_from_another_host_leads_nowhere_else(tmp_path):
    """A file there may be called anything, a line break in its name included."""
    listed = ["1 ../../etc/passwd", "1 /etc/passwd", "1 data/../../x", "1 data", "1 .ssh/authorized_keys"]
    assert backups.backup_differences(listed, str(tmp_path)) == {"missing": [], "surplus": []}


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

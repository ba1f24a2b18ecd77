"""The password of a backup, as the controller knows it."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.backup_settings import backup_password


def test_given_password_counts_for_more_than_the_file(tmp_path):
    (tmp_path / "password").write_text("generated\n")
    assert backup_password("given", str(tmp_path / "password")) == "given"
    assert backup_password("", str(tmp_path / "password")) == "generated"


def test_password_that_is_not_there_yet_says_so():
    assert backup_password("", "/nowhere/password") == "(still to be generated)"
    assert backup_password("", "") == ""

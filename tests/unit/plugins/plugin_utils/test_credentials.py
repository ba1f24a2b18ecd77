"""Users and logins with their passwords."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import credentials


def test_given_and_generated_passwords(tmp_path: Path) -> None:
    (tmp_path / "ci").write_text("generated\n")
    users = credentials.users([{"name": "ci"}, {"name": "dev", "password": "given"}], str(tmp_path))
    assert users == [{"name": "ci", "password": "generated"}, {"name": "dev", "password": "given"}]


def test_password_that_was_generated_elsewhere_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"wharf_registry_users: ci has no password.*deploy-registry\.yml"):
        credentials.users([{"name": "ci"}], str(tmp_path))


def test_check_mode_has_a_placeholder(tmp_path: Path) -> None:
    assert credentials.users([{"name": "ci"}], str(tmp_path), "later")[0]["password"] == "later"


def test_logins_get_the_password_of_their_name() -> None:
    logins = credentials.logins([{"user": "root", "name": "ci"}], [{"name": "ci", "password": "p"}])
    assert logins == [{"user": "root", "name": "ci", "password": "p"}]

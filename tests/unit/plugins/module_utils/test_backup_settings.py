"""The judgement of a backup's settings."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import backup_settings

GOOD = {
    "repository": "/srv/backup",
    "host": "",
    "password": None,
    "environment": {},
    "keep": {"daily": 7},
    "data": "/var/lib/wharf/registry",
}


def judged(**facts: object) -> list[str]:
    return backup_settings.backup_problems("x_", **(GOOD | facts))


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {
            "repository": "s3:https://store.example/bucket",
            "environment": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"},
        },
        {"host": "store", "repository": "/srv/backup/registry"},
        {"password": "twelve-chars", "keep": {"daily": "7"}},
    ],
)
def test_good_settings_pass(facts):
    assert judged(**facts) == []


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"repository": "", "host": "store"}, "x_repository: is missing"),
        ({"repository": "backup"}, "x_repository: 'backup' is no place for a backup"),
        ({"repository": "ftp://host/x"}, "x_repository: 'ftp://host/x' is no place"),
        ({"repository": "/var/lib/wharf/registry/backup"}, "lies in what is backed up"),
        ({"repository": "/etc/wharf/backup"}, "lies in what is backed up"),
        (
            {"host": "store", "repository": "sftp:a:/b"},
            "is not an absolute path without spaces: use one, the directory on x_host",
        ),
        ({"host": "store", "repository": "/"}, "is not an absolute path"),
        ({"password": ""}, "x_password: is missing: set it, or x_password_file"),
        ({"password": "short"}, "x_password: has 5 characters"),
        ({"password": "two\nlines of a password"}, "x_password: is not one line"),
        ({"environment": {"RESTIC_PASSWORD": "x"}}, "RESTIC_PASSWORD is set by wharf itself"),
        ({"environment": {"KEY": 1}}, "the value of KEY must be a text"),
        ({"keep": {"daily": 0}}, "x_keep: daily: 0 cannot be kept"),
        ({"keep": {"dayly": 1}}, "x_keep: dayly: 1 cannot be kept"),
        ({"keep": {"daily": True}}, "x_keep: daily: True cannot be kept"),
    ],
)
def test_bad_settings_are_named(facts, said):
    assert len(found := judged(**facts)) == 1
    assert said in found[0]


def test_no_message_shows_a_password():
    assert "hunter2" not in "".join(judged(password="hunter2", environment={"KEY": ["hunter2"]}))

"""What the module tells of a server, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import processes
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.modules import registry_backup_info as module

SETTINGS = {
    "name": "reg.test",
    "repository": "/srv/backup",
    "host": "",
    "environment": {},
    "keep": {},
    "directories": {},
}
PASSWORD = "twelve-chars"
FILES = {"backup.json": "{}\n", "password": f"{PASSWORD}\n", "ssh_config": ""}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of the settings of a server that has all packages, and no backup yet."""
    settings, lists = tmp_path / "backup", tmp_path / "lists"
    settings.mkdir()
    lists.mkdir()
    (lists / "deb_Packages").write_text("Package: restic")
    monkeypatch.setattr(module, "SETTINGS", settings)
    monkeypatch.setattr(processes, "LISTS", lists)
    monkeypatch.setattr(module, "has", lambda program: True)
    monkeypatch.setattr(module, "OWNER", (os.getuid(), os.getgid()))
    monkeypatch.setattr(module.Restic, "run", lambda self, *words, timeout: None)
    return settings


def write(settings: Path, mode: int = 0o600) -> None:
    """Write the settings as they should be."""
    for name, content in FILES.items():
        if content:
            (settings / name).write_text(content)
            (settings / name).chmod(mode)


def wrong_password(self: module.Restic, *words: str, timeout: float) -> None:
    """Refuse any password."""
    raise WharfError("is not the password")


def test_finished_server_has_nothing_pending(server):
    write(server)
    assert module.gather(SETTINGS, FILES, PASSWORD) == {
        "missing_packages": [],
        "package_lists": True,
        "connection": "none",
        "pending": [],
    }


def test_bare_server_lacks_everything(server, monkeypatch):
    monkeypatch.setattr(module, "has", lambda program: program == "apt-get")
    (processes.LISTS / "deb_Packages").write_text("")
    found = module.gather(SETTINGS | {"host": "store"}, FILES | {"ssh_config": "Host backup\n"}, PASSWORD)
    files = [str(server / name) for name in ("backup.json", "password", "ssh_config")]
    assert found == {
        "missing_packages": ["restic", "openssh-client"],
        "package_lists": False,
        "connection": "closed",
        "pending": ["restic", "openssh-client", *files, "connection"],
    }


@pytest.mark.parametrize("damage", ["mode", "content", "link", "surplus"])
def test_file_that_is_not_as_it_should_be_is_pending(server, damage):
    write(server, mode=0o644 if damage == "mode" else 0o600)
    if damage == "content":
        (server / "password").write_text("another-password\n")
    elif damage == "link":
        (server / "password").rename(server / "kept")
        (server / "password").symlink_to(server / "kept")
    elif damage == "surplus":
        (server / "ssh_config").write_text("of a host that keeps it no more")
    pending = module.gather(SETTINGS, FILES, PASSWORD)["pending"]
    assert str(server / ("ssh_config" if damage == "surplus" else "password")) in pending


def test_settings_that_cannot_work_are_all_named(server):
    with pytest.raises(WharfError) as raised:
        module.gather(SETTINGS | {"repository": "", "keep": {"daily": 0}}, FILES, "short")
    assert [line.partition(": ")[0] for line in str(raised.value).splitlines()] == [
        "registry_backup_repository",
        "registry_backup_password",
        "registry_backup_keep",
    ]


def test_wrong_password_is_refused_before_it_is_written(server, monkeypatch):
    monkeypatch.setattr(module.Restic, "run", wrong_password)
    with pytest.raises(WharfError, match="is not the password"):
        module.gather(SETTINGS, FILES, PASSWORD)


def test_password_that_is_in_place_is_not_tried_again(server, monkeypatch):
    write(server)
    monkeypatch.setattr(module.Restic, "run", wrong_password)
    assert module.gather(SETTINGS, FILES, PASSWORD)["pending"] == []


def test_password_that_only_another_controller_knows_is_not_replaced(server, monkeypatch):
    monkeypatch.setattr(module.Restic, "run", wrong_password)
    # To be generated: a bare server takes whichever it will be, and it is tried then.
    assert str(server / "password") in module.gather(SETTINGS, FILES, PASSWORD, "/kept/password")["pending"]
    write(server)
    with pytest.raises(
        WharfError, match="/kept/password is missing on this controller, but the server has the backup's"
    ):
        module.gather(SETTINGS, FILES, PASSWORD, "/kept/password")


@pytest.mark.parametrize("connection", ["closed", "unreachable"])
def test_password_is_not_tried_where_there_is_no_way_to_the_backup(server, monkeypatch, connection):
    monkeypatch.setattr(module.Restic, "run", wrong_password)
    monkeypatch.setattr(module, "probe", lambda directory: connection)
    found = module.gather(SETTINGS | {"host": "store"}, FILES, PASSWORD)
    assert found["connection"] == connection
    # A host that is down is no reason to set it up anew.
    assert ("connection" in found["pending"]) == (connection == "closed")


@pytest.mark.parametrize(
    ("code", "error", "connection"),
    [
        (0, "", "open"),
        (255, "wharf-backup@store: Permission denied (publickey).", "closed"),
        (255, "Host key verification failed.", "closed"),
        (1, "stat remote: No such file or directory", "closed"),
        (255, "ssh: connect to host store port 22: Connection refused", "unreachable"),
        (255, "ssh: connect to host store port 22: Connection timed out", "unreachable"),
        (255, "ssh: Could not resolve hostname store: Name or service not known", "unreachable"),
    ],
)
def test_connection_is_told_apart_by_what_ssh_says(server, monkeypatch, code, error, connection):
    done = module.subprocess.CompletedProcess([], code, "", error)
    monkeypatch.setattr(module.subprocess, "run", lambda *words, **options: done)
    assert module.probe("/srv/backup") == connection

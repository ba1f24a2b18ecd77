"""The module registry_standby_info: what it tells of the server and of a standby, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.wharf.registry.plugins.module_utils import processes
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.modules import registry_standby_info as module
from tests.unit.stored_registry import StoredRegistry

UID = 59500
real_closed_above = module.closed_above
TEXTS = {"ssh_config": "Host standby\n", "known_hosts": "standby ssh-ed25519 AAAA\n", "standbys.json": "[]\n"}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the root of a host on which all is as it should be, as a server and as a standby."""
    settings, home = tmp_path / "standby", tmp_path / "home"
    for directory in (settings, home / ".ssh", tmp_path / "data", tmp_path / "lists"):
        directory.mkdir(parents=True)
        directory.chmod(0o755)
    for name, text in TEXTS.items():
        (settings / name).write_text(text)
    (settings / "id_ed25519").write_text("a key")
    (settings / "id_ed25519.pub").write_text("ssh-ed25519 BBBB server\n")
    (settings / "id_ed25519").chmod(0o400)
    (home / ".ssh/authorized_keys").write_text("restrict\n")
    (tmp_path / "host.pub").write_text("ssh-ed25519 CCCC root@standby\n")
    settings.chmod(0o750)
    owners = {settings: (0, UID), settings / "id_ed25519": (UID, 0)}
    real = module.read_entry

    def read_entry(path: str) -> module.Entry | None:
        found = real(path)
        uid, gid = owners.get(Path(path), (0, 0))
        return found and found._replace(uid=uid, gid=gid)

    user = SimpleNamespace(pw_uid=UID, pw_gid=UID, pw_dir=str(home), pw_shell="/bin/sh")
    monkeypatch.setattr(module, "read_entry", read_entry)
    monkeypatch.setattr(module, "closed_above", lambda *_: "")  # where pytest works is its user's alone
    monkeypatch.setattr(module.pwd, "getpwnam", {"wharf-registry": user}.__getitem__)
    monkeypatch.setattr(module, "has", lambda program: True)
    monkeypatch.setattr(processes, "LISTS", tmp_path)
    for name, path in {
        "SETTINGS": settings,
        "HOME": home,
        "HOST_KEY": tmp_path / "host.pub",
        "STATE": tmp_path / "none",
        "REGISTRY": tmp_path / "registry.json",
    }.items():
        monkeypatch.setattr(module, name, path)
    return tmp_path


def gather(host: Path, server: bool, images: bool = False) -> dict:
    """Return what the module tells of a host."""
    return module.gather(server, str(host / "data"), UID, images, "here")


def test_nothing_is_pending_on_a_finished_host(host):
    server = gather(host, True)
    assert server["pending"] == [] and server["public_key"] == "ssh-ed25519 BBBB"
    assert server["files"] == {str(host / "standby" / name): text for name, text in TEXTS.items()}
    standby = gather(host, False)
    assert standby["pending"] == [] and standby["host_key"] == "ssh-ed25519 CCCC"
    assert standby["files"] == {str(host / "home/.ssh/authorized_keys"): "restrict\n"}


def test_what_is_missing_is_pending(host, monkeypatch):
    monkeypatch.setattr(module, "has", lambda program: program == "apt-get")
    monkeypatch.setattr(module.pwd, "getpwnam", {}.__getitem__)
    (host / "standby/id_ed25519").unlink()
    (host / "home").chmod(0o700)
    assert gather(host, True)["pending"] == ["rsync", "openssh-client", "user", str(host / "home"), "key"]
    assert gather(host, False)["pending"] == ["rsync", "user", str(host / "home")]
    monkeypatch.setattr(module, "has", lambda program: False)
    with pytest.raises(
        WharfError, match="^rsync and rrsync: must be installed on this host first, which has no apt-get$"
    ):
        gather(host, False)


def test_a_user_of_another_number_is_pending(host, monkeypatch):
    user = SimpleNamespace(pw_uid=999, pw_gid=999, pw_dir=str(host / "home"), pw_shell="/bin/sh")
    monkeypatch.setattr(module.pwd, "getpwnam", lambda _name: user)
    assert gather(host, False)["pending"] == ["user"]


def test_what_is_left_of_a_server_is_pending_on_a_standby(host):
    (host / "none").mkdir()
    assert (gather(host, True)["pending"], gather(host, False)["pending"]) == ([], [str(host / "none")])


@pytest.mark.parametrize(
    "written",
    [
        "[]",
        "{",
        '{"source": "../5f", "server": "a", "at": 1, "tags": 1}',
        '{"source": "5f", "server": "a\\u001b", "at": 1}',
        '{"source": "5f", "server": "a", "at": "x", "tags": 1}',
        '{"source": "5f", "server": "a", "address": "a b", "at": 1, "tags": 1}',
    ],
)
def test_what_the_registry_s_user_writes_is_judged(host, written):
    (host / "data/.wharf-copied.json").write_text(written)
    assert gather(host, False)["mark"] == {}


def test_a_standby_tells_of_which_data_it_is_a_copy(host):
    mark = {"source": "5f", "server": "alpha", "address": "192.0.2.1", "at": 1000, "tags": 3}
    (host / "data/.wharf-copied.json").write_text(json.dumps({**mark, "at": 1000.5}))
    (host / "registry.json").write_text('{"standby_of": "alpha"}')
    found = gather(host, False)
    assert (found["mark"], found["source"], found["copied"]) == (mark, "5f", True)
    assert (found["standby_of"], found["deployed"]) == ("alpha", True)


def test_a_file_that_others_may_write_counts_as_missing(host):
    (host / "home/.ssh/authorized_keys").chmod(0o666)
    assert gather(host, False)["files"] == {str(host / "home/.ssh/authorized_keys"): ""}


def test_a_standby_without_an_ssh_server_is_refused(host):
    (host / "host.pub").unlink()
    assert gather(host, True)["host_key"] == ""
    with pytest.raises(WharfError, match="^registry_standby_hosts: here has no SSH server .*: install openssh-server$"):
        gather(host, False)


def test_data_that_the_registrys_user_cannot_get_to_is_refused(host, monkeypatch):
    monkeypatch.setattr(module, "closed_above", real_closed_above)
    (host / "closed").mkdir(mode=0o700)
    with pytest.raises(WharfError, match="^registry_standby_data: .* lies below .*/closed, where the registry's user"):
        module.gather(True, str(host / "closed/data"), UID, False, "here")


@pytest.mark.parametrize(
    ("mark", "source", "copied"),
    [
        (None, "", False),
        ("{", "", False),
        ("[]", "", False),
        ('{"source": "5f", "server": "server", "at": 0, "tags": 0}', "5f", False),
        ('{"source": "5f", "server": "server", "at": 1700000000, "tags": 3}', "5f", True),
    ],
)
def test_it_is_told_of_which_data_a_standby_has_a_copy(host, mark, source, copied):
    if mark is not None:
        (host / "data/.wharf-copied.json").write_text(mark)
    found = gather(host, False)
    assert (found["source"], found["copied"], found["used"]) == (source, copied, False)


def test_a_mark_that_leads_elsewhere_is_none(host):
    (host / "mark").write_text('{"source": "5f"}')
    (host / "data/.wharf-copied.json").symlink_to(host / "mark")
    assert gather(host, False)["source"] == ""


def test_names_and_numbers_of_others_are_refused(host, monkeypatch):
    monkeypatch.setattr(module.grp, "getgrgid", lambda _: SimpleNamespace(gr_name="staff"))
    with pytest.raises(WharfError, match="belongs to the group staff on "):
        gather(host, False)
    monkeypatch.setattr(module.grp, "getgrgid", lambda _: SimpleNamespace(gr_name="wharf-registry"))
    monkeypatch.setattr(module.pwd, "getpwnam", lambda _: SimpleNamespace(pw_dir="/home/admin"))
    with pytest.raises(WharfError, match="wharf-registry, a user with the home /home/admin on "):
        gather(host, False)


def test_images_are_told_on_request(host):
    digest = StoredRegistry(host / "data").image("team/app", "1")
    (host / "data/.wharf").write_text("5f registry.test\n")
    found = gather(host, True)
    assert (found["data_id"], found["used"], found["images"]) == ("5f", True, {})
    assert gather(host, True, images=True)["images"] == {"team/app:1": digest, f"team/app@{digest}": digest}


def test_data_that_is_still_to_come_is_empty(host):
    (host / "data").rmdir()
    found = gather(host, False, images=True)
    assert (found["data_id"], found["source"], found["used"], found["images"]) == ("", "", False, {})


def test_the_module_says_what_is_wrong(host, capsys):
    (host / "host.pub").unlink()
    arguments = {"server": False, "data": str(host / "data"), "uid": UID, "host": "here"}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        module.main()
    assert "has no SSH server" in json.loads(capsys.readouterr().out)["msg"]

"""What connects a server with its standbys, and which images a copy would take away."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils.standbys import (
    overwritten_problem,
    standby_files,
    standby_hosts,
)

UID = 59500
SERVER: dict[str, Any] = {"public_key": "ssh-ed25519 BBBB", "data_id": "5f", "source": "", "data": "/d", "files": {}}
STANDBY = {"public_key": "", "host_key": "ssh-ed25519 CCCC", "data_id": "77", "source": "", "data": "/s", "files": {}}
MARK = '{"source": "5f", "server": "server", "at": 0, "tags": 0}'
CONFIG = "/etc/wharf/standby"
KEYS = "/var/lib/wharf-standby/.ssh/authorized_keys"
WAY_IN = 'restrict,command="/usr/bin/rrsync -no-lock /s" ssh-ed25519 BBBB server\n'


def pending(host: str, **found: Any) -> dict[str, dict[str, Any]]:
    """Return the files that are pending on a host, by their paths."""
    hostvars = {
        name: {"__registry_standby_info": info}
        for name, info in {"server": SERVER, "one": STANDBY, "two": {**STANDBY, "data": "/t"}, **found}.items()
    }
    members = standby_hosts(hostvars, ["server", "one", "two"])
    files = standby_files(members, host, "server", UID, "Host one\n")
    return {file["path"]: file for file in files}


def test_the_server_gets_to_know_its_standbys():
    files = {path: file["content"] for path, file in pending("server").items()}
    assert files[f"{CONFIG}/ssh_config"] == "Host one\n"
    assert files[f"{CONFIG}/known_hosts"] == "one ssh-ed25519 CCCC\ntwo ssh-ed25519 CCCC\n"
    standbys = [{"name": "one", "data": "/s"}, {"name": "two", "data": "/t"}]
    assert json.loads(files[f"{CONFIG}/standbys.json"]) == standbys
    assert pending("server", server={**SERVER, "files": files}) == {}
    changed = {**files, f"{CONFIG}/known_hosts": ""}
    assert list(pending("server", server={**SERVER, "files": changed})) == [f"{CONFIG}/known_hosts"]


def test_a_standby_lets_the_server_in_after_its_data_is_known_to_be_a_copy():
    files = pending("one")
    assert list(files) == ["/s/.wharf-copied.json", KEYS]
    assert files["/s/.wharf-copied.json"] == {
        "path": "/s/.wharf-copied.json", "content": MARK, "uid": UID, "gid": UID,
    }  # fmt: skip
    assert files[KEYS] == {"path": KEYS, "content": WAY_IN}
    done = {**STANDBY, "source": "5f", "files": {KEYS: WAY_IN}}
    assert pending("one", one=done) == {}
    assert list(pending("one", one={**done, "source": "99"})) == ["/s/.wharf-copied.json"]


@pytest.mark.parametrize(
    "found",
    [
        {"two": None},
        {"server": None},
        {"server": {**SERVER, "public_key": ""}},
        {"server": {**SERVER, "data_id": ""}},
    ],
)
@pytest.mark.parametrize("host", ["server", "one"])
def test_nothing_is_connected_while_something_is_not_known(host, found):
    assert pending(host, **found) == {}


def test_hosts_are_reached_as_ansible_does():
    hostvars = {"one": {"ansible_host": "192.0.2.2", "ansible_port": "2222"}, "two": {}}
    assert standby_hosts(hostvars, ["one", "two"]) == [
        {"name": "one", "address": "192.0.2.2", "port": 2222, "found": {}},
        {"name": "two", "address": "two", "port": 22, "found": {}},
    ]


def test_images_that_the_server_lacks_are_named():
    assert overwritten_problem({}, {"a:1": "x"}, "one", "server") == ""
    line = overwritten_problem({"a:1": "x", "b:1": "y", "c:1": "z"}, {"a:1": "x", "b:1": "w"}, "one", "server")
    assert line.startswith("wharf_standby_confirm: one has 3 images of its own")
    assert "server lacks, or has with another digest, b:1, c:1. " in line
    assert line.endswith("-e wharf_standby_confirm=one")
    assert "server has all of them. " in overwritten_problem({"a:1": "x"}, {"a:1": "x"}, "one", "server")
    many = {f"app:{number:02}": "x" for number in range(12)}
    assert "app:09 and 2 more. " in overwritten_problem(many, {}, "one", "server")

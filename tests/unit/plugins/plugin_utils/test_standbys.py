"""What connects a server with its standbys, and which images a copy would take away."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils.standbys import (
    overwritten_problem,
    promotion,
    standby_files,
    standby_hosts,
)

UID = 59500
SERVER: dict[str, Any] = {"public_key": "ssh-ed25519 BBBB", "data_id": "5f", "source": "", "data": "/d", "files": {}}
STANDBY = {"public_key": "", "host_key": "ssh-ed25519 CCCC", "data_id": "77", "source": "", "data": "/s", "files": {}}
FIRST_MARK = '{"source": "5f", "server": "server", "at": 0, "tags": 0}'
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
    standbys = [{"name": "one", "address": "one"}, {"name": "two", "address": "two"}]
    assert json.loads(files[f"{CONFIG}/standbys.json"]) == standbys
    assert pending("server", server={**SERVER, "files": files}) == {}
    changed = {**files, f"{CONFIG}/known_hosts": ""}
    assert list(pending("server", server={**SERVER, "files": changed})) == [f"{CONFIG}/known_hosts"]


def test_a_standby_lets_the_server_in_after_its_data_is_known_to_be_a_copy():
    files = pending("one")
    assert list(files) == ["/s/.wharf-copied.json", KEYS]
    assert files["/s/.wharf-copied.json"] == {
        "path": "/s/.wharf-copied.json", "content": FIRST_MARK, "uid": UID, "gid": UID,
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
    own = {"ansible_host": "192.0.2.2", "ansible_port": "2222"}
    old = {"ansible_ssh_host": "192.0.2.3", "ansible_ssh_port": 2223}
    assert standby_hosts({"one": own, "old": old, "two": {}}, ["one", "old", "two"]) == [
        {"name": "one", "address": "192.0.2.2", "port": 2222, "found": {}},
        {"name": "old", "address": "192.0.2.3", "port": 2223, "found": {}},
        {"name": "two", "address": "two", "port": 22, "found": {}},
    ]


def test_images_that_the_server_lacks_are_named():
    assert overwritten_problem({}, {"a:1": "x"}, "one", "server") == ""
    assert overwritten_problem({"a:1": "x"}, {"a:1": "x", "b:1": "y"}, "one", "server") == ""
    line = overwritten_problem({"a:1": "x", "b:1": "y", "c:1": "z"}, {"a:1": "x", "b:1": "w"}, "one", "server")
    assert line.startswith("wharf_standby_confirm: one has images that server lacks")
    assert ": b:1, c:1. " in line
    assert line.endswith("-e wharf_standby_confirm=one")
    mine = {"a:1": "x", "a@x": "x", "a@y": "y", "b@z": "z"}
    assert ": a:1, a@y. " in overwritten_problem(mine, {"b@z": "z"}, "one", "server")
    many = {f"app:{number:03}": "x" for number in range(102)}
    assert "app:099 and 2 more. " in overwritten_problem(many, {}, "one", "server")


MARK = {"source": "5f", "server": "alpha", "address": "192.0.2.1", "at": 1795957200, "tags": 7}
BETA = {"data_id": "77", "mark": MARK, "deployed": True, "standby_of": "alpha"}
GAMMA = {**BETA, "data_id": "99"}
ALPHA = {"data_id": "5f", "mark": {}, "deployed": True, "standby_of": ""}
FOLLOWS = {**MARK, "source": "77", "server": "beta", "address": ""}


@pytest.mark.parametrize("standby_of", ["", "beta"])  # a run that was cut off had fenced it already
def test_a_server_that_answers_is_a_standby_first_and_copies_a_last_time(standby_of):
    found = promotion({"beta": BETA, "alpha": {**ALPHA, "standby_of": standby_of}}, "beta", answers=True)
    assert (found["problem"], found["old"], found["marks"]) == ("", "alpha", {"alpha": FOLLOWS})
    assert found["line"].startswith("beta has 7 tags of alpha, as of 2026-11-29")
    assert "alpha takes no more pushes" in found["line"]


def test_of_a_server_that_is_lost_it_is_told_what_cannot_be_there():
    found = promotion({"beta": BETA, "gamma": GAMMA}, "beta")
    assert (found["problem"], found["old"], found["marks"]) == ("", "", {})  # gamma's images are compared first
    assert found["line"].endswith("what was pushed to alpha after that is not there")


def test_two_servers_are_refused_unless_that_is_forced():
    refused = promotion({"beta": BETA}, "beta", answers=True)["problem"]
    assert refused.startswith("registry_standbys: the registry on alpha (192.0.2.1) still answers")
    assert refused.endswith("-e wharf_promote_force=true")
    assert promotion({"beta": BETA}, "beta", answers=True, force=True)["problem"] == ""


def test_a_server_of_which_nobody_knows_the_address_is_not_taken_for_lost():
    hosts = {"beta": {**BETA, "mark": {**MARK, "address": ""}}}
    assert promotion(hosts, "beta")["problem"].startswith("registry_standbys: nobody knows where the registry on alpha")
    assert promotion(hosts, "beta", force=True)["problem"] == ""
    assert promotion({**hosts, "alpha": ALPHA}, "beta")["problem"] == ""


def test_the_newest_copy_is_the_one_to_be_promoted():
    hosts = {"beta": BETA, "gamma": {**GAMMA, "mark": {**MARK, "at": MARK["at"] + 60}}}
    assert promotion(hosts, "beta")["problem"].startswith("registry_servers: gamma has a newer copy")
    forced = promotion(hosts, "beta", force=True)
    assert (forced["problem"], forced["marks"]) == ("", {})  # what gamma has stays until somebody confirms
    assert promotion({**hosts, "alpha": ALPHA}, "beta")["marks"] == {"alpha": FOLLOWS, "gamma": FOLLOWS}


@pytest.mark.parametrize("own", [{"mark": {**MARK, "at": 0}}, {"mark": {}, "deployed": False}])
def test_what_was_never_copied_to_is_no_standby(own):
    assert "nothing was ever copied to beta" in promotion({"beta": {**BETA, **own}}, "beta")["problem"]


@pytest.mark.parametrize(("standby_of", "words"), [("", "is the server already"), ("alpha", "the promotion goes on")])
def test_who_is_the_server_already_or_nearly_becomes_it(standby_of, words):
    found = promotion({"beta": {**BETA, "mark": {}, "standby_of": standby_of}}, "beta")
    assert found["problem"] == "" and words in found["line"]

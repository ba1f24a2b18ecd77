# SPDX-License-Identifier: MIT
"""The module docker_engine_info: what is wanted on a system, what is handed on, and how it is told."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.engine_packages import Preflight
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.modules import docker_engine_info as info

TRIXIE = {"distribution": "Debian", "version": "13", "release": "trixie"}
SYSTEMS = {
    "Debian": {
        "bookworm": {"distro": {"engine": ["docker.io"]}},
        "trixie": {"distro": {"engine": ["docker.io", "docker-cli"], "helpers": ["pigz"]}},
    }
}
PARAMS = {
    "source": "distro",
    "version": "",
    "allow_downgrade": False,
    "systems": SYSTEMS,
    "extra_packages": ["openssl"],
    "options": {},
    "repository_url": "http://mirror.example/docker",
    "repository_source": "Suites: $(RELEASE)\n",
}
FOUND = {"installed": {}, "holds": [], "entries": []}
STATE = {
    "missing": ["docker.io"],
    "remove": [],
    "preflight": False,
    "source": False,
    "hold": [],
    "release": [],
    "changes_engine": True,
    "outsiders": ["alice"],
    "is_running": False,
}
NO_CHANGE = {"action": "none", "reload_keys": [], "restart_keys": []}


def test_the_packages_are_those_of_the_system_and_the_source():
    request = info.request_for(PARAMS, TRIXIE)
    assert request["packages"] == ["docker.io", "docker-cli", "pigz", "openssl"]
    assert (request["conflicts"], request["repository_source"]) == ([], "Suites: trixie\n")
    none = info.request_for(PARAMS | {"source": "none"}, TRIXIE)
    assert (none["packages"], none["engine"]) == (["openssl"], [])


@pytest.mark.parametrize("here", [{"release": "buster", "version": "10"}, {"distribution": "Ubuntu"}])
def test_a_system_that_is_not_supported_is_refused(here):
    with pytest.raises(WharfError) as error:
        info.request_for(PARAMS, TRIXIE | here)
    assert str(error.value).endswith("The role knows Debian bookworm, trixie only.")
    assert (TRIXIE | here)["distribution"] in str(error.value)


def test_what_need_not_be_tried_is_installed_as_it_is(monkeypatch):
    monkeypatch.setattr(Preflight, "main", lambda self: pytest.fail("tried"))
    plan = info.plan_of(info.request_for(PARAMS, TRIXIE), FOUND, STATE)
    assert (plan["arguments"], plan["hold"]) == (["docker.io"], [])
    assert plan["repository"] is None


def test_what_was_tried_is_installed_and_held_again(monkeypatch):
    tried = {"arguments": ["docker.io=2", "runc-"], "options": ["--allow-downgrades"], "key": "KEY"}
    monkeypatch.setattr(Preflight, "main", lambda self: tried)
    found = FOUND | {"holds": ["docker.io", "docker-cli"]}
    state = STATE | {"preflight": True, "source": True, "release": ["docker-cli"]}
    plan = info.plan_of(info.request_for(PARAMS, TRIXIE), found, state)
    assert (plan["arguments"], plan["options"]) == (tried["arguments"], tried["options"])
    repository = {"url": "http://mirror.example/docker", "source": "Suites: trixie\n", "key": "KEY"}
    assert plan["repository"] == repository
    assert (plan["hold"], plan["release"]) == (["docker.io"], ["docker-cli"])


@pytest.mark.parametrize(
    ("pending", "state", "arguments", "change", "reasons", "expected"),
    [
        (["packages"], {}, ["docker.io"], {}, [], ["docker.io would be installed, and the engine started"]),
        (
            ["packages"],
            {"is_running": True, "remove": ["runc"]},
            ["docker.io=2", "runc-"],
            {"action": "restart", "reload_keys": ["labels"]},
            ["log-driver", "packages"],
            [
                "docker.io=2 would be installed in place of runc",
                "The engine would be reloaded for labels, and restarted for log-driver, packages",
            ],
        ),
        (["start"], {}, [], {}, [], ["The engine would be started, now and at boot"]),
        (
            ["options"],
            {"is_running": True},
            [],
            {"action": "reload", "reload_keys": ["labels"]},
            [],
            ["The engine would be reloaded for labels"],
        ),
        (["users"], {"is_running": True}, [], {}, [], ["alice would become members of the group docker"]),
    ],
)
def test_what_would_happen_is_told(pending, state, arguments, change, reasons, expected):
    plan = {"arguments": arguments}
    assert info.sentences(pending, FOUND, STATE | state, plan, NO_CHANGE | change, reasons) == expected

"""Which settings of clients are refused."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.client_trust import TOOLS
from ansible_collections.wharf.registry.plugins.plugin_utils import client
from tests.unit.issued import Issued

CA = Issued("CA", ca=True).pem
LOGIN = {"user": "root", "name": "ci", "password": "secret"}
SETTINGS = {
    "state": "present",
    "name": "reg.test",
    "port": 5000,
    "aliases": [],
    "trust": "ca",
    "tools": "auto",
    "system_store": False,
    "previous_names": [],
    "caches": [],
    "caches_mirror_port": 0,
    "caches_reader": "",
}
HUB = {"upstream": "docker.io", "path": "docker.io", "server": "https://registry-1.docker.io"}


@pytest.mark.parametrize("tools", [None, "auto", ["auto"], ["docker"], list(TOOLS)])
def test_good_tools_pass(tools: Any) -> None:
    assert client.tools_problems(tools, "v") == []


@pytest.mark.parametrize(
    ("tools", "line"),
    [
        ("docker", "v: 'docker' is not a list: use auto, or a list out of docker, podman, buildah, skopeo, containerd"),
        (5, "v: 5 is not a list"),
        ({"docker": True}, "v: a mapping is not a list"),
        ([], "v: is an empty list"),
        (["docker", "nerdctl"], "v: 'nerdctl' is unknown: use auto, or a list out of docker"),
        (["auto", "docker"], "v: has auto beside others"),
    ],
)
def test_bad_tools_are_named(tools: Any, line: str) -> None:
    problems = client.tools_problems(tools, "v")
    assert len(problems) == 1
    assert problems[0].startswith(line)


@pytest.mark.parametrize(
    ("value", "trust", "line"),
    [
        (None, "insecure", ""),
        (False, "insecure", ""),
        (True, "ca", ""),
        (True, "insecure", "v: is true, but t is insecure"),
    ],
)
def test_system_store_needs_a_ca(value: Any, trust: str, line: str) -> None:
    problems = client.store_problems(value, trust, "v", "t")
    assert "".join(problems).startswith(line)
    assert bool(problems) == bool(line)


@pytest.mark.parametrize(
    ("settings", "ca", "logins", "check", "line"),
    [
        ({}, CA, [], False, ""),
        ({}, CA, [LOGIN], False, ""),
        ({}, "", [], False, "registry_client_ca: holds no PEM certificate"),
        ({}, "no PEM", [], True, "registry_client_ca: holds no PEM certificate"),
        ({}, CA.replace("\n", "\r\n"), [], False, ""),
        ({}, CA.replace("\n", "\\n"), [], False, "registry_client_ca: is PEM whose lines were lost or indented"),
        ({}, CA.replace("\n", "\n  "), [], False, "registry_client_ca: is PEM whose lines were lost or indented"),
        ({}, f"-----BEGIN CERTIFICATE-----\nMIIB\n{CA}", [], False, "registry_client_ca: is damaged"),
        ({}, "", [], True, ""),  # may still be to be issued
        ({"state": "absent"}, "", [], False, ""),
        ({"trust": "insecure"}, "", [], False, ""),
        ({"aliases": ["registry", "192.0.2.1", "2001:db8::1"]}, CA, [], False, ""),
        ({"aliases": ["reg.test:443"]}, CA, [], False, "registry_client_aliases: item 1, 'reg.test:443' has a port"),
        ({"trust": "insecure"}, "", [LOGIN], False, "registry_client_logins: a registry that is trusted as insecure"),
        (
            {"trust": "insecure", "system_store": "true"},
            "",
            [],
            False,
            "registry_client_system_store: is true, but reg",
        ),
        ({"tools": []}, CA, [], False, "registry_client_tools: is an empty list"),
        ({"previous_names": ["old.test:5000", "old"]}, CA, [], False, "registry_client_previous_names: 'old' is not"),
        ({"name": "https://reg.test"}, CA, [], False, "registry_client_name: 'https://reg.test' has a scheme"),
        ({"port": 0}, CA, [], False, "registry_client_port: 0 is not a TCP port"),
        ({"caches": [HUB], "caches_mirror_port": "5001", "caches_reader": "kiosk"}, CA, [], False, ""),
        (
            {"caches": [HUB, {**HUB, "upstream": "../x"}]},
            CA,
            [],
            False,
            "registry_client_caches: item 2, upstream: ",
        ),
        ({"caches": [{**HUB, "path": "a:b"}]}, CA, [], False, "registry_client_caches: item 1, path: 'a:b' is not"),
        ({"caches": [{**HUB, "server": 'https://x"'}]}, CA, [], False, "registry_client_caches: item 1, server: "),
        ({"caches_mirror_port": 70000}, CA, [], False, "registry_client_caches_mirror_port: 70000 is not a TCP port"),
        ({"trust": "insecure", "caches_reader": "kiosk"}, "", [], False, "registry_client_caches_login: a registry"),
        ({}, CA, [{"user": "root"}], True, "registry_client_logins: login 1 ('root') has no name"),
        ({}, CA, [{"user": "root", "name": "ci"}], False, "registry_client_logins: root has no password for ci: give"),
        ({}, CA, [{"user": "root", "name": "ci"}], True, ""),  # may still be to be generated
        ({"state": "absent"}, "", [{"user": "root", "name": "ci"}], False, ""),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict, ca: str, logins: list, check: bool, line: str) -> None:
    problems = client.client_problems({**SETTINGS, **settings}, ca, logins, check)
    assert len(problems) == bool(line)
    assert "".join(problems).startswith(line)
    assert "secret" not in "".join(problems)


def test_clients_are_told_of_caches_without_the_servers_logins() -> None:
    caches = [
        {"upstream": "docker.io", "user": "hub", "password": "secret"},
        {"upstream": "r.test:5000", "proxy": "http://u:secret@proxy.test:3128"},
        {"upstream": "quay.io", "remote": "http://mirror.test/"},
    ]
    assert client.client_caches(caches) == [
        HUB,
        {"upstream": "r.test:5000", "path": "r.test_5000", "server": "https://r.test:5000"},
        {"upstream": "quay.io", "path": "quay.io", "server": "https://quay.io"},
    ]

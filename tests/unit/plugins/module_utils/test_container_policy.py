"""How podman and its kin refuse a registry: whose file counts, and which of its entries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import container_policy

REGISTRY = "reg.wharf.test:5000"
ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]
BLOCKED = 'unqualified-search-registries = ["a"]\n\n[[registry]]\n{}\nblocked = true\n\n[[registry]]\nprefix = "b"\n'
ALLOWED = '\n[[registry]]\nlocation = "reg.wharf.test:5000"\n'


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Return a function that writes a file below the system's settings, or with home/ below a user's."""
    monkeypatch.setattr(container_policy, "SETTINGS", str(tmp_path / "etc"))

    def put(name: str, text: str) -> str:
        path = tmp_path / (name.replace("home/", "home/.config/containers/") if "home/" in name else f"etc/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    put.home = str(tmp_path / "home")
    return put


def refusal(host) -> tuple[str, str]:
    how, path = container_policy.refusal(REGISTRY, host.home)
    return how, Path(path).name


@pytest.mark.parametrize(
    ("policy", "how"),
    [
        ({}, ""),
        ({"default": ACCEPT}, ""),
        ({"default": REJECT}, "rejects"),
        ({"default": [*ACCEPT, *REJECT]}, "rejects"),
        ({"default": REJECT, "transports": {"docker": {REGISTRY: ACCEPT}}}, ""),
        ({"default": REJECT, "transports": {"docker": {"*.wharf.test": ACCEPT}}}, ""),
        ({"default": REJECT, "transports": {"docker": {"*.test": ACCEPT, "*.wharf.test": REJECT}}}, "rejects"),
        # Neither is the scope of a port that is named.
        ({"default": REJECT, "transports": {"docker": {"*.wharf.test:5000": ACCEPT}}}, "rejects"),
        ({"default": REJECT, "transports": {"docker": {"reg.wharf.test": ACCEPT}}}, "rejects"),
        ({"default": REJECT, "transports": {"docker": {"": ACCEPT}}}, ""),
        ({"default": ACCEPT, "transports": {"docker": {"": REJECT}}}, "rejects"),
        ({"default": ACCEPT, "transports": {"docker": {REGISTRY: REJECT}}}, "rejects"),
        ({"default": ACCEPT, "transports": {"docker": {"other.test:5000": REJECT}}}, ""),
        # Somebody's rules for its repositories, which only they know.
        ({"default": REJECT, "transports": {"docker": {f"{REGISTRY}/team": ACCEPT}}}, ""),
        ({"default": [{"type": "sigstoreSigned"}]}, "signed"),
        ({"default": [{"type": "signedBy"}], "transports": {"docker": {REGISTRY: ACCEPT}}}, ""),
    ],
)
def test_policies_are_read_as_the_tools_do(host, policy, how):
    host("policy.json", json.dumps(policy))
    assert refusal(host) == (how, "policy.json" if how else "")


@pytest.mark.parametrize(
    ("settings", "is_blocked"),
    [
        (BLOCKED.format('location = "reg.wharf.test:5000"'), True),
        (BLOCKED.format("prefix = 'reg.wharf.test:5000' # no"), True),
        (BLOCKED.format('prefix = "*.wharf.test:5000"'), True),
        (BLOCKED.format('prefix = "*.test"'), True),
        (BLOCKED.format('location = "reg.wharf.test"'), True),
        (BLOCKED.format('prefix = "docker.io"'), False),
        (BLOCKED.format('prefix = "reg.wharf.test:5001"'), False),
        (BLOCKED.format('prefix = "reg.wharf.test:5000/team"'), False),
        (BLOCKED.format('prefix = "*.wharf.test"') + ALLOWED, False),
        (BLOCKED.format('location = "reg.wharf.test:5000"') + ALLOWED, True),
    ],
)
def test_the_longest_prefix_tells_whether_a_registry_is_blocked(host, settings, is_blocked):
    host("registries.conf", settings)
    assert refusal(host) == (("blocks", "registries.conf") if is_blocked else ("", ""))


def test_a_users_own_policy_stands_in_for_the_systems(host):
    host("policy.json", json.dumps({"default": REJECT}))
    own = host("home/policy.json", json.dumps({"default": ACCEPT}))
    assert refusal(host) == ("", "")
    host("policy.json", json.dumps({"default": ACCEPT}))
    host("home/policy.json", json.dumps({"default": REJECT}))
    assert container_policy.refusal(REGISTRY, host.home) == ("rejects", own)


def test_the_last_file_counts_and_none_of_the_systems_beside_a_users_own(host):
    blocked = BLOCKED.format('location = "reg.wharf.test:5000"')
    host("registries.conf", ALLOWED)
    host("registries.conf.d/corp.conf", blocked)
    assert refusal(host) == ("blocks", "corp.conf")
    host("home/registries.conf.d/own.conf", ALLOWED)
    assert refusal(host) == ("", "")
    host("home/registries.conf.d/own.conf", "")
    assert refusal(host) == ("blocks", "corp.conf")
    host("home/registries.conf", "")
    assert refusal(host) == ("", "")
    host("home/registries.conf.d/own.conf", blocked)
    assert refusal(host) == ("blocks", "own.conf")

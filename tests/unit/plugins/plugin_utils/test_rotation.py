"""What the playbooks for certificates refuse, and the table that they show."""

from __future__ import annotations

import json

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import rotation

CLIENTS = ["client1", "client2"]
HOSTS = ["server", *CLIENTS]


@pytest.mark.parametrize(
    ("trust", "hosts", "skipped", "words"),
    [
        ("provided", HOSTS, None, "wharf_registry_trust: is provided"),
        ("insecure", HOSTS, None, "wharf_registry_trust: is insecure"),
        ("private_ca", CLIENTS, None, "--limit: leaves server out"),
        ("private_ca", HOSTS, "client3", "wharf_skip_clients: 'client3' is not in registry_clients"),
        ("private_ca", HOSTS, "client1, client3", "wharf_skip_clients: 'client3' is not"),
    ],
)
def test_what_cannot_work_is_refused_by_name(trust, hosts, skipped, words):
    problems = rotation.renewal_problems(trust, "rotate-ca.yml", hosts, ["server"], CLIENTS, skipped)
    assert len(problems) == 1
    assert problems[0].startswith(words)


def test_what_can_work_is_not():
    assert rotation.renewal_problems("private_ca", "x.yml", HOSTS, ["server"], CLIENTS, "client1,client2") == []
    assert rotation.renewal_problems("private_ca", "renew-certificates.yml") == []


@pytest.mark.parametrize(
    ("seen", "skipped", "missing"),
    [
        ({"client1": True, "client2": True}, None, []),
        ({"client1": True}, None, ["client2"]),
        ({"client1": True, "client2": False}, None, ["client2"]),
        ({"client1": True}, "client2", []),
        ({}, None, CLIENTS),
    ],
)
def test_only_a_client_that_was_seen_to_trust_it_counts(seen, skipped, missing):
    hostvars = {name: {"__wharf_trusts_next": seen[name]} if name in seen else {} for name in CLIENTS}
    assert rotation.without_next_ca(hostvars, CLIENTS, skipped) == missing


def test_the_table_shows_what_there_is_to_show():
    report = {"new_end": "2027-12-01", "ca_end": "2036-12-01", "message": "done: well", "served_after": "0.8 s"}
    hostvars = {
        "server": {"result": {"stdout": json.dumps(report)}},
        "other": {"result": {"stdout": '{"new_end": "2027-12-02"}'}},
    }
    assert rotation.certificates_table(hostvars, ["server", "other"], "result").splitlines() == [
        "host    holds until  its CA until  served after",
        "server  2027-12-01   2036-12-01    0.8 s",
        "other   2027-12-02   -             -",
    ]


@pytest.mark.parametrize(
    ("skipped", "pattern"),
    [
        ("", "registry_clients"),
        (",", "registry_clients"),
        ("a", "registry_clients,!a"),
        ("a, b,", "registry_clients,!a,!b"),
    ],
)
def test_pattern_without_the_clients_to_skip(skipped, pattern):
    assert rotation.clients_without(skipped) == pattern

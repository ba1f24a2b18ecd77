"""What the playbooks for certificates refuse, and the table that they show."""

from __future__ import annotations

import json

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import certificates

CLIENTS = ["client1", "client2"]
HOSTS = ["server", *CLIENTS]


@pytest.mark.parametrize(
    ("trust", "hosts", "behind", "until", "words"),
    [
        ("provided", HOSTS, None, "finish", "wharf_registry_trust: is provided"),
        ("insecure", HOSTS, None, "finish", "wharf_registry_trust: is insecure"),
        ("private_ca", CLIENTS, None, "finish", "--limit: leaves server out"),
        ("private_ca", HOSTS, "client3", "finish", "wharf_skip_clients: 'client3' is not in registry_clients"),
        ("private_ca", HOSTS, "client1, client3", "finish", "wharf_skip_clients: 'client3' is not"),
        ("private_ca", HOSTS, None, "end", "wharf_rotate_until: 'end' is unknown"),
    ],
)
def test_what_cannot_work_is_refused_by_name(trust, hosts, behind, until, words):
    problems = certificates.wharf_rollover_problems(trust, hosts, ["server"], CLIENTS, behind, until)
    assert len(problems) == 1
    assert problems[0].startswith(words)


@pytest.mark.parametrize("until", certificates.STEPS)
def test_what_can_work_is_not(until):
    assert (
        certificates.wharf_rollover_problems("private_ca", HOSTS, ["server"], CLIENTS, "client1,client2", until) == []
    )


@pytest.mark.parametrize(
    ("seen", "behind", "missing"),
    [
        ({"client1": True, "client2": True}, None, []),
        ({"client1": True}, None, ["client2"]),
        ({"client1": True, "client2": False}, None, ["client2"]),
        ({"client1": True}, "client2", []),
        ("private_ca", None, CLIENTS),
    ],
)
def test_only_a_client_that_was_seen_to_trust_it_counts(seen, behind, missing):
    hostvars = {name: {"__wharf_trusts_next": seen[name]} if name in seen else {} for name in CLIENTS}
    assert certificates.wharf_without_next_ca(hostvars, CLIENTS, behind) == missing


def test_the_table_shows_what_there_is_to_show():
    said = {"new_end": "2027-12-01", "ca_end": "2036-12-01", "message": "done: well", "without_service": "0.8 s"}
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in said.items())
    hostvars = {"server": {"result": {"stdout": lines}}, "other": {"result": {"stdout": 'new_end: "2027-12-02"'}}}
    assert certificates.wharf_certificates_table(hostvars, ["server", "other"], "result").splitlines() == [
        "host    holds until  its CA until  without service",
        "server  2027-12-01   2036-12-01    0.8 s",
        "other   2027-12-02   -             -",
    ]


@pytest.mark.parametrize(
    ("said", "pattern"),
    [
        ("", "registry_clients"),
        (",", "registry_clients"),
        ("a", "registry_clients,!a"),
        ("a, b,", "registry_clients,!a,!b"),
    ],
)
def test_pattern_without_the_clients_that_are_left_behind(said, pattern):
    assert certificates.wharf_clients_without(said) == pattern

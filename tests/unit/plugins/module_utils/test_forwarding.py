"""Whether a server lets clients through: what its files and rules tell."""

from __future__ import annotations

import json

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import firewall, forwarding

NAT = "*nat\n:DOCKER - [0:0]\n-A DOCKER ! -i docker0 -p tcp -m tcp --dport 5000 -j DNAT --to-destination 172.17.0.2\n"
FILTER = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -j DOCKER-USER\n"
CHAIN = {"family": "inet", "table": "filter", "name": "forward", "hook": "forward", "policy": "drop"}


@pytest.fixture
def host(monkeypatch):
    """Return what a made-up host has: the switch, rules by table, and chains of nftables."""
    has = {"switch": "1", "nat": NAT, "filter": FILTER, "chains": [], "rules": [], "files": {}}

    def run(command, timeout=0):
        if command[0] == "iptables-save":
            return (0, has[command[2]]) if has[command[2]] else (1, "iptables-save: No such file or directory")
        if command[2] != "list chains":
            return 0, json.dumps({"nftables": [{"rule": rule} for rule in has["rules"]]})
        return 0, json.dumps({"nftables": [{"metainfo": {}}, *({"chain": chain} for chain in has["chains"])]})

    monkeypatch.setattr(forwarding, "run", run)
    monkeypatch.setattr(firewall, "run", run)
    monkeypatch.setattr(firewall, "has", lambda program: program == "nft")
    for name in ("NFTABLES", "FIREWALLD", "UFW", "UFW_RULES"):
        monkeypatch.setattr(firewall, name, [] if name == "NFTABLES" else "/nothing")
    monkeypatch.setattr(forwarding, "read_text", lambda path: has["files"].get(path, f"{has['switch']}\n"))
    monkeypatch.setattr(
        forwarding.glob, "glob", lambda pattern: [one for one in has["files"] if one[:9] == pattern[:9]]
    )
    return has


@pytest.mark.parametrize(
    ("changes", "info", "code"),
    [
        ({}, {}, None),
        ({"switch": "0"}, {}, "forwarding_off"),
        # Without rules of the engine's its proxy carries the packets, and needs no forwarding.
        ({"switch": "0", "nat": ""}, {}, None),
        ({"chains": [CHAIN]}, {}, "forward_dropped"),
        ({"chains": [CHAIN], "rules": [{"comment": "wharf registry 5000"}]}, {}, None),
        # The engine's own, seen by nft.
        ({"chains": [{**CHAIN, "family": "ip", "name": "FORWARD"}]}, {}, None),
        ({"chains": [{**CHAIN, "policy": "accept"}, {**CHAIN, "hook": "input"}]}, {}, None),
        ({"nat": "*nat\n"}, {}, "rules_missing"),
        ({"nat": "*nat\n", "chains": [CHAIN]}, {}, "rules_missing"),
        ({"nat": "*nat\n", "chains": [CHAIN]}, {"FirewallBackend": {"Driver": "nftables"}}, "forward_dropped"),
        ({"nat": "*nat\n", "sets_rules": False}, {}, "rules_off"),
        ({"nat": "*nat\n"}, {"FirewallBackend": {"Driver": "nftables"}}, None),
        ({"filter": "*filter\n:FORWARD DROP [0:0]\n"}, {}, "rules_missing"),
        ({"filter": "*filter\n:FORWARD ACCEPT [0:0]\n"}, {}, None),
        ({"filter": "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -j DOCKER-FORWARD\n"}, {}, None),
    ],
)
def test_what_may_keep_clients_away(host, changes, info, code):
    host.update(changes)
    found = forwarding.fault("registry", 5000, info, changes.get("sets_rules", True))
    assert (found and found[0]) == code


@pytest.mark.parametrize(("port", "is_closed"), [("5000", False), ("5002", True), ("", False)])
def test_a_mirror_s_port_that_is_closed(host, port, is_closed):
    host.update(chains=[CHAIN], rules=[{"comment": "wharf registry 5000"}])
    bindings = {"5000/tcp": [{"HostPort": "5000"}], "5001/tcp": [{"HostPort": port}] if port else None}
    found = forwarding.mirror_fault("registry", {"HostConfig": {"PortBindings": bindings}})
    assert (found and found[0]) == ("mirror_closed" if is_closed else None)
    assert not found or "drops what goes to port 5002: give it" in found[1]["blocked"]


@pytest.mark.parametrize(
    ("files", "file"),
    [
        ({}, ""),
        ({"/etc/sysctl.d/9.conf": "net.ipv4.ip_forward = 0\n"}, "/etc/sysctl.d/9.conf"),
        ({"/etc/sysctl.d/9.conf": "# net.ipv4.ip_forward=0\n"}, ""),
        ({"/etc/sysctl.d/1.conf": "net/ipv4/ip_forward=0\n", "/etc/sysctl.d/9.conf": "net.ipv4.ip_forward=1\n"}, ""),
    ],
)
def test_the_file_that_switches_it_off(host, files, file):
    host.update(switch="0", files=files)
    assert forwarding.fault("registry", 5000, {}, True) == ("forwarding_off", {"file": file})
    assert (f"set in {file}" in forwarding.problem("h1")) is bool(file)
    assert "sysctl -w net.ipv4.ip_forward=1" in forwarding.problem("h1")


def test_there_is_no_problem_where_it_is_on(host):
    assert forwarding.problem("h1") == ""

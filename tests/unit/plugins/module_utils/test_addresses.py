"""Which names, addresses and interfaces count."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.addresses import (
    is_name,
    neighbour_of,
    own_addresses,
    san,
)


def test_only_lasting_addresses_of_the_host_itself_are_taken():
    def interface(name: str, address: str, scope: str = "global", **flags: bool) -> dict[str, Any]:
        return {"ifname": name, "addr_info": [{"local": address, "scope": scope, **flags}]}

    interfaces = [
        interface("lo", "127.0.0.1", "host"),
        interface("docker0", "172.17.0.1"),
        interface("br-0123456789ab", "172.18.0.1"),
        interface("docker_gwbridge", "172.19.0.1"),
        interface("virbr0", "192.168.122.1"),
        interface("br0", "10.0.0.5"),
        interface("eth0", "fe80::1", "link"),
        interface("eth0", "2001:db8::5"),
        interface("eth0", "2001:db8::bad", temporary=True),
        interface("eth0", "2001:db8::dead", deprecated=True),
        {"ifname": "eth1"},
    ]
    assert own_addresses(interfaces) == ["10.0.0.5", "2001:db8::5"]


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ("10.0.0.9", ("br0", "10.0.0.5/24")),
        ("10.0.0.6", ("br0", "10.0.0.5/24")),  # has it already
        ("10.0.0.5", ("br0", "10.0.0.6/24")),
        ("2001:db8::9", ("eth0", "2001:db8::5/64")),
        ("172.17.0.9", ("", "")),  # a container's network
        ("10.0.1.9", ("", "")),
    ],
)
def test_an_address_belongs_where_it_is_reached_without_a_router(wanted, place):
    def entry(address: str, bits: int) -> dict[str, Any]:
        return {"local": address, "prefixlen": bits, "scope": "global"}

    interfaces = [
        {"ifname": "docker0", "addr_info": [entry("172.17.0.1", 16)]},
        {"ifname": "br0", "addr_info": [entry("10.0.0.5", 24), entry("10.0.0.6", 24)]},
        {"ifname": "eth0", "addr_info": [entry("2001:db8::5", 64)]},
        {"ifname": "eth1"},
    ]
    assert neighbour_of(interfaces, wanted) == place


@pytest.mark.parametrize(
    "name", ["reg", "192.0.2.1", "2001:db8::1", "[2001:db8::1]", "1and1.example.org", "a-b.example.org"]
)
def test_right_names_are_accepted(name):
    assert is_name(name)
    assert is_name("*.example.org", wildcard=True)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "https://reg.example.org",
        "reg.example.org/path",
        "reg.example.org:5000",
        "Reg.example.org",
        "reg.example.org.",
        "reg.example.org\n",
        "*.example.org",
        "-reg.example.org",
        "10.0.0.300",
        "fe80::1%eth0",
        "a" * 64,
        ".".join(["abcdefgh"] * 29),
    ],
)
def test_wrong_names_are_not(name):
    assert not is_name(name)


@pytest.mark.parametrize(
    ("value", "entry"),
    [("Reg", "DNS:reg"), ("192.0.2.1", "IP:192.0.2.1"), ("[2001:DB8::1]", "IP:2001:db8::1"), ("0:0::1", "IP:::1")],
)
def test_names_and_addresses_are_of_their_kind(value, entry):
    assert san(value) == entry

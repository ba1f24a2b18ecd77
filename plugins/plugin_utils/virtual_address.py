"""Which of a registry's hosts holds its virtual address, and whom each of them tells so."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

MOST, SERVER, STANDBY = 254, 200, 100  # the priorities of VRRP


def virtual_address_plan(hosts: Mapping[str, Mapping[str, Any]], host: str, server: str) -> dict[str, Any]:
    """Return what keepalived is told on a host.

    Args:
        hosts: the server and its standbys, each with what the module virtual_address_info has found there.
        host: the one that this is about.
        server: the registry's server.

    Returns:
        The "interface", this host's own address there ("source"), its "priority", the server's ("server_priority"), and
        the addresses of the others ("peers"). A server goes on to tell hosts that were among these once: the one that
        it has followed may come back and take itself for the server, and then leaves it the address.
    """
    own, main = hosts[host], hosts[server]
    known = [one["source"] for one in hosts.values()]
    previous = [peer for peer in main["peers"] if peer not in known and _are_alike(peer, main["source"])]
    top = SERVER
    if previous:
        # One that was a standby until now comes before the server that it knew.
        top = main["priority"] if main["priority"] >= SERVER else min(MOST, (main["server_priority"] or SERVER) + 1)
    standbys = [name for name in hosts if name != server]
    return {
        "interface": own["interface"],
        "source": own["source"],
        "priority": top if host == server else max(1, STANDBY - standbys.index(host)),
        "server_priority": top,
        "peers": [
            *(one["source"] for name, one in hosts.items() if name != host),
            *(previous if host == server else ()),
        ],
    }


def _are_alike(one: str, other: str) -> bool:
    return ipaddress.ip_address(one).version == ipaddress.ip_address(other).version

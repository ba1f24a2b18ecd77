"""Which of a registry's hosts holds its virtual address, and whom each of them tells so."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

# As others wrote it before, a server that a promotion knew nothing of still has SERVER: it must not take the address.
PROMOTED, SERVER, STANDBY = 254, 200, 100


def virtual_address_plan(hosts: Mapping[str, Mapping[str, Any]], host: str, server: str) -> dict[str, Any]:
    """Return what keepalived is told on a host.

    Args:
        hosts: the server and its standbys, each with what the module virtual_address_info has found there.
        host: the one that this is about.
        server: the registry's server.

    Returns:
        The "interface", this host's own address there ("source"), its "priority", and the addresses of the others
        ("peers"). A server goes on to tell hosts that were among these once: one that comes back, and takes itself for
        the server, then leaves it the address.
    """
    own, known = hosts[host], [one["source"] for one in hosts.values()]
    peers = [one["source"] for name, one in hosts.items() if name != host]
    former = [peer for peer in own["peers"] if host == server and peer not in known and _are_alike(peer, own["source"])]
    standbys = [name for name in hosts if name != server]
    priority = (PROMOTED if former else SERVER) if host == server else max(1, STANDBY - standbys.index(host))
    return {"interface": own["interface"], "source": own["source"], "priority": priority, "peers": [*peers, *former]}


def _are_alike(one: str, other: str) -> bool:
    return ipaddress.ip_address(one).version == ipaddress.ip_address(other).version

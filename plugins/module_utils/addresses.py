"""The names and addresses under which clients reach a host."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any

# Interfaces that belong to containers or virtual machines on the host: no client reaches the registry there.
_INNER_INTERFACE = re.compile(
    r"^(?:lo|docker\d+|docker_gwbridge|br-[0-9a-f]{12}|veth.*|cni.*|podman\d+|virbr\d+.*|vnet\d+|lxcbr\d+|lxdbr\d+"
    r"|flannel.*|cali.*|tunl\d+|cilium.*|kube-.*|nerdctl\d+)$"
)
_PASSING = ("temporary", "deprecated", "tentative", "dadfailed")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*{_LABEL}")


def own_addresses(interfaces: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the host's lasting addresses, of what ``ip -json address show`` prints, parsed; in its order.

    Loopback, link-local, temporary (IPv6 privacy) and outdated addresses and those of container bridges are left out.
    """
    entries = [
        entry
        for interface in interfaces
        if not is_inner(interface.get("ifname", ""))
        for entry in interface.get("addr_info", [])
        if entry.get("scope") == "global" and "local" in entry and not any(map(entry.get, _PASSING))
    ]
    return list(dict.fromkeys(str(ipaddress.ip_address(entry["local"])) for entry in entries))


def source_of(address: str, port: int) -> str:
    """Return the address of this host from which it reaches another; empty where it knows no way. Sends nothing."""
    with contextlib.suppress(OSError):
        family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.connect(place)
            return sock.getsockname()[0]
    return ""


def neighbour_of(interfaces: Sequence[Mapping[str, Any]], wanted: str) -> tuple[str, str]:
    """Return on which interface another address is reached without a router, and this host's own, with its prefix.

    Both are empty where there is none; the interfaces are as for own_addresses().
    """
    there = ipaddress.ip_address(wanted)
    for interface in interfaces:
        for own in own_addresses([interface]):
            prefix = next(entry["prefixlen"] for entry in interface["addr_info"] if entry.get("local") == own)
            place = ipaddress.ip_interface(f"{own}/{prefix}")
            if place.ip != there and there in place.network:
                return interface["ifname"], str(place)
    return "", ""


def is_inner(interface: str) -> bool:
    """Tell whether an interface leads to containers or virtual machines on the host, or nowhere."""
    return bool(_INNER_INTERFACE.match(interface))


def canonical_address(value: str) -> str | None:
    """Return an IP address in its canonical form ("[::1]" gives "::1"); None for anything else."""
    if value.startswith("[") and value.endswith("]"):
        value = value[1:-1]
    try:
        return None if "%" in value else str(ipaddress.ip_address(value))
    except ValueError:
        return None


def san(value: str) -> str:
    """Return a name or address as an entry of subjectAltName: "DNS:registry.example.org", "IP:192.0.2.1"."""
    address = canonical_address(value)
    return f"IP:{address}" if address else f"DNS:{value.lower()}"


def is_name(value: str, wildcard: bool = False) -> bool:
    """Tell whether a text is an IP address or a DNS name in lower case (with `wildcard`, one that may begin with "*.").

    Four numbers that are no address are no name.
    """
    if canonical_address(value):
        return True
    if wildcard and value.startswith("*."):
        value = value[2:]
    return bool(_DNS_NAME.fullmatch(value)) and not value.rpartition(".")[2].isdigit()

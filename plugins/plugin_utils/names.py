"""The registry's name, its further names, and its port; addresses of networks and proxies."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from ansible_collections.wharf.registry.plugins.module_utils.references import DOMAIN
from ansible_collections.wharf.registry.plugins.plugin_utils.values import absent, listed, shown, whole_number

NAME_EXAMPLE = "registry.example.com"
PROXY = re.compile(r"(https?|socks5)://([^\s'\"\\/?#@]+@)?(\[[0-9a-f:]+\]|[^\s'\"\\/?#@:]+)(:[0-9]{1,5})?/?", re.ASCII)
_NAME = re.compile(DOMAIN)
_TAKEN = {22: "SSH", 2375: "Docker's own API", 2376: "Docker's own API", 2377: "Docker's swarm mode"}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PORT = re.compile(r"(\[.*\]|[^:]*)(:[^:]*)")


def is_loopback(name: str) -> bool:
    """Tell whether a name or an address means the host itself."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.startswith("localhost.") or name == "localhost" or name.endswith(".localhost")


def name_problems(value: object, variable: str) -> list[str]:
    """Judge the name or IPv4 address that stands in image references.

    Returns:
        A line for what does not belong there (scheme, path, port, upper case), and for what is left.
    """
    use = f"the name or IPv4 address that stands in image references, such as {NAME_EXAMPLE}"
    if absent(value):
        return [f"{variable}: is missing: set it to {use}"]
    if not isinstance(value, str):
        return [f"{variable}: {shown(value)} is not a name: use {use}"]
    return _host_problems(value, variable, "")


def alias_problems(aliases: Sequence[object] | None, variable: str, name: object = "") -> list[str]:
    """Judge the further names and addresses that the certificate must match, beside the registry's name."""
    problems = []
    for position, alias in enumerate(aliases or [], start=1):
        where = f"item {position}, "
        if not isinstance(alias, str) or alias == "":
            use = f"use a name or an address, such as {NAME_EXAMPLE}"
            problems.append(f"{variable}: {where}{shown(alias)} is not a name: {use}")
        elif alias.startswith("[") and _is_ipv6(alias.strip("[]")):
            problems.append(f"{variable}: {where}{shown(alias)} has brackets: use {shown(alias.strip('[]'))}")
        elif alias in aliases[: position - 1]:
            problems.append(f"{variable}: {where}{shown(alias)} stands in the list twice: use each once")
        elif alias == name:
            problems.append(f"{variable}: {where}{shown(alias)} is the registry's name already: take it out")
        elif not _is_ipv6(alias):
            problems += _host_problems(alias, variable, where)
    return problems


def previous_name_problems(
    names: Sequence[str], variable: str, name: str, port: int, aliases: Sequence[str]
) -> list[str]:
    """Judge what the registry was called before: NAME:PORT each, and not what it is called now."""
    problems = []
    for position, item in enumerate(names, start=1):
        host, colon, its_port = item.rpartition(":")
        where = f"{variable}: item {position}, {shown(item)}"
        if not colon:
            problems.append(f"{where} is not NAME:PORT: use NAME:PORT, such as {NAME_EXAMPLE}:5000")
        elif item in names[: position - 1]:
            problems.append(f"{where} stands in the list twice: use each once")
        elif item in [f"{present}:{port}" for present in (name, *aliases)]:
            problems.append(f"{where} is what the registry is called now, which the clients are to trust: take it out")
        else:
            problems += name_problems(host, variable) + port_problems(its_port, variable)
    return problems


def port_problems(value: object, variable: str) -> list[str]:
    """Judge a TCP port: a number, or its digits as text. Null means the default and is good."""
    if value is not None and whole_number(value) in _TAKEN:
        return [f"{variable}: {value} is the port of {_TAKEN[whole_number(value)]}: use another, such as 5000"]
    if value is None or 1 <= whole_number(value) <= 65535:
        return []
    return [f"{variable}: {shown(value)} is not a TCP port: use a number from 1 to 65535"]


def listen_problems(addresses: Sequence[object], variable: str) -> list[str]:
    """Judge the addresses that the registry listens on. None of them stands for all."""
    problems, known = [], list(addresses or [])
    for number, address in enumerate(known, 1):
        try:
            plain = "%" not in str(address) and str(ipaddress.ip_address(str(address)))
        except ValueError:
            plain = ""
        if not plain:
            problems.append(
                f"{variable}: item {number}, {shown(address)}, is not an IP address: use one of the server's own,"
                " such as 192.0.2.10 or 2001:db8::10, without brackets, port or zone"
            )
        elif fault := address_fault(address):
            problems.append(f"{variable}: item {number}, {shown(address)}, {fault}: use one of the server's own")
        elif plain != str(address):
            problems.append(f"{variable}: item {number}, {shown(address)}, has another usual form: use {shown(plain)}")
    if problems:
        return problems
    for every, version in (("0.0.0.0", 4), ("::", 6)):
        others = [str(one) for one in known if one != every and ipaddress.ip_address(str(one)).version == version]
        if every in known and others:
            problems.append(f"{variable}: {every} stands for {listed(others)} too: use one or the other")
    if twice := sorted({str(one) for one in known if known.count(one) > 1}):
        problems.append(f"{variable}: {listed(twice)} stands there twice: once is enough")
    return problems


def network_problems(networks: Sequence[object], variable: str) -> list[str]:
    """Judge addresses and networks, such as those from which something may be read."""
    problems = []
    for number, network in enumerate(networks or [], 1):
        who = f"{variable}: item {number}, {shown(network)},"
        try:
            found = ipaddress.ip_network(str(network), strict=False)
        except ValueError:
            problems.append(
                f"{who} is neither an IP address nor a network: use one such as 192.0.2.10, 192.0.2.0/24 or"
                " 2001:db8::/32"
            )
            continue
        plain = str(found) if "/" in str(network) else str(found.network_address)
        if "%" in str(network):
            problems.append(f"{who} has a zone, which only its own host knows: use an address without")
        elif plain != str(network):
            problems.append(f"{who} has another usual form: use {shown(plain)}")
    return problems


def address_fault(address: object) -> str:
    """Return why nothing is reached at an address, for which :: and 0.0.0.0 stand for all; empty where it may be."""
    found = ipaddress.ip_address(str(address))
    wrong = found.is_multicast or found.is_link_local or str(found) == "255.255.255.255"
    return "is not an address that a client can reach" if wrong else ""


def _host_problems(name: str, variable: str, where: str) -> list[str]:
    """Return the problems of a name that is text; ``where`` stands before it in the messages, e.g. ``item 2, ``."""
    rest, faults = _stripped(name)
    fault = _fault(rest)
    problems = []
    if faults:
        use = f"use {shown(rest)}" if fault is None and "@" not in name else "use the host's name alone"
        if variable.endswith("_name") and any(text.startswith("a port") for text in faults):
            use += f" (the port has a variable of its own, {variable.removesuffix('name')}port)"
        elif "upper case letters" in faults:
            use += " (clients look for the certificate under the name exactly as it stands in image references)"
        # What stands before an @ may be a password.
        whole = shown("..." + name[name.rindex("@") :] if "@" in name else name)
        rest_too = f", and {shown(rest)} {fault}" if fault and rest else f": {use}"
        problems.append(f"{variable}: {where}{whole} has {listed(faults)}{rest_too}")
    elif fault:
        problems.append(f"{variable}: {where}{shown(rest)} {fault}")
    return problems


def _stripped(name: str) -> tuple[str, list[str]]:
    """Return a name without what does not belong there, in lower case, and a list of what that was."""
    faults = []
    rest = name.strip()
    if rest != name:
        faults.append("white space around it")
    if scheme := _SCHEME.match(rest):
        faults.append(f"a scheme ({scheme[0].lower()})")
        rest = rest[scheme.end() :]
    if "@" in rest:
        faults.append("a user in front of an @")
        rest = rest.rpartition("@")[2]
    rest, slash, path = rest.partition("/")
    if slash:
        faults.append(f"a path ({shown('/' + path)})" if path else "a slash at its end")
    if (match := _PORT.fullmatch(rest)) and not _is_ipv6(rest):
        faults.append(f"a port ({shown(match[2])})" if match[2] != ":" else "a colon at its end")
        rest = match[1]
    if rest.lower() != rest:
        faults.append("upper case letters")
        rest = rest.lower()
    if rest.endswith(".") and _NAME.fullmatch(rest[:-1]):
        faults.append("a dot at its end")
        rest = rest[:-1]
    return rest, faults


def _fault(name: str) -> str | None:
    """Return what is wrong with a bare name or address in lower case, and the remedy; None when nothing is."""
    if name == "":
        return f"is empty: use a name such as {NAME_EXAMPLE}"
    if _is_ipv6(name.strip("[]")):
        return "is an IPv6 address, which older Docker clients refuse in image references: use a DNS name for it"
    if name.rpartition(".")[2].isdecimal():
        try:
            address = ipaddress.IPv4Address(name)
        except ValueError:
            return "is not an IPv4 address: use four numbers from 0 to 255, such as 192.0.2.10, or a name"
        if fault := "is not an address that a client can reach" if address.is_unspecified else address_fault(address):
            return f"{fault}: use the server's own address or name"
        return None
    if name in ("null", "none", "undefined"):
        return f"stands for no name: use one such as {NAME_EXAMPLE}"
    if strange := sorted(set(re.sub(r"[a-z0-9.-]", "", name))):
        also = "" if name.isascii() else "; names in other scripts are written in their xn-- form"
        return f"holds {listed([shown(c) for c in strange])}: use letters a to z, digits, dots and hyphens only{also}"
    if not _NAME.fullmatch(name):
        return f"has an empty part, or a part with a hyphen at its start or end: use a name such as {NAME_EXAMPLE}"
    if len(name) > 253:
        return f"has {len(name)} characters: use a name of at most 253"
    if re.fullmatch(r"(.+\.)?docker\.(io|com)", name):
        return "is a name of Docker Hub, whose images no host could pull any more: use a name of your own"
    if re.fullmatch(
        r"(.+\.)?(ghcr|quay|gcr|k8s|nvcr)\.io|(mcr\.microsoft|registry\.gitlab)\.com|public\.ecr\.aws", name
    ):
        return "is a public registry, whose images no host could pull any more: use a name of your own"
    longest = max(map(len, name.split(".")))
    return f"has a part of {longest} characters: use at most 63 between two dots" if longest > 63 else None


def _is_ipv6(text: str) -> bool:
    """Tell whether text is an IPv6 address without a zone (a certificate cannot hold a zone)."""
    try:
        return "%" not in text and bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False

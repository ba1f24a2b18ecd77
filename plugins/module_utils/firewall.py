"""The server's firewall, as far as it keeps clients from the ports that Docker publishes for the registry.

Such connections are forwarded to the container. So firewalld and ufw as they come let them pass, whatever they say of
incoming ones, and are left alone (tried: firewalld 1.3 and 2.3, ufw 0.36, with every default policy). These do not:

- a chain of nftables that drops what is forwarded, whatever Docker's own chains accept,
- ufw's rules for forwarding, where somebody has hung them into Docker's chain DOCKER-USER,
- firewalld's StrictForwardPorts, which has no exception for one port.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from .client_trust import with_block
from .errors import WharfError
from .files import read_text, write_atomic
from .parts import MIRROR_PORT, PORT
from .processes import has, must_run, run

# What nftables.service loads, on Debian and on RHEL.
NFTABLES = ("/etc/nftables.conf", "/etc/sysconfig/nftables.conf")
FIREWALLD = "/etc/firewalld/firewalld.conf"
UFW, UFW_RULES = "/etc/ufw/ufw.conf", "/etc/ufw/user.rules"
UFW_IS_ON = re.compile(r"^\s*ENABLED\s*=\s*\"?yes", re.MULTILINE | re.IGNORECASE)
# Docker's own and firewalld's, and those that iptables keeps for all.
OTHERS = {("ip", "filter", "FORWARD"), ("ip6", "filter", "FORWARD")}
OTHER_TABLES = ("firewalld", "docker-bridges")


class Firewall:
    """What blocks a registry's ports on this host, and what was opened for it."""

    def __init__(self, container: str, port: int, mirror_port: int = 0) -> None:
        """Look; nothing changes. What was opened is known by a comment that names the registry's container.

        Args:
            container: the registry's.
            port: the registry's own.
            mirror_port: the one at which its cache of Docker Hub is a mirror; 0 for none.
        """
        self.mark = f"wharf {container}"
        self.ports = {one: inner for one, inner in ((port, PORT), (mirror_port, MIRROR_PORT)) if one}
        # Not one rule with a set of ports: nft 1.0 lists such a set in a form that it does not read.
        self.rules = {
            f"{self.mark} {one}": f"meta l4proto tcp ct original proto-dst {one} ct status dnat accept"
            for one in self.ports
        }
        self.file = next((path for path in NFTABLES if os.path.isfile(path)), "")
        self.text = read_text(self.file) if self.file else ""
        self.chains = self._dropping_chains()
        self.ours = {
            chain: {one["comment"] for one in rules if self._is_ours(one)} for chain, rules in self.chains.items()
        }
        self.open_anyway = {
            chain: [one for one in self.ports if any(self._is_others_way(rule, one) for rule in rules)]
            for chain, rules in self.chains.items()
        }
        here = [one for one in self.chains if re.search(rf"\btable\s+({one[0]}\s+)?{re.escape(one[1])}\b", self.text)]
        self.block = "\n".join(command for chain in here for command in self._commands(chain))
        self.unknown = [chain for chain in self.chains if chain not in here]
        # Where it is off, its chains are empty.
        self.has_ufw = (
            UFW_IS_ON.search(read_text(UFW)) is not None
            and "-j ufw-user-forward" in run(["iptables", "-S", "DOCKER-USER"])[1]
        )
        # Its rules come after the address was translated.
        rules = run(["iptables", "-S", "ufw-user-forward"])[1] if self.has_ufw else ""
        self.ufw_closed = [one for one, inner in self.ports.items() if self.has_ufw and not _opens(rules, inner)]
        tuples = rf"(?m)^### tuple ### route:allow tcp (\d+) .* comment={self.mark.encode().hex()}\s*$"
        self.ufw_ours = re.findall(tuples, read_text(UFW_RULES))
        self.ufw_others = [one for one in self.ufw_ours if int(one) not in self.ports.values()]

    def _dropping_chains(self) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
        """Return the chains of nftables that drop what is forwarded, with their rules."""
        found = {}
        for chain in _listed("chains", "chain"):
            key = (chain["family"], chain["table"], chain["name"])
            if chain.get("hook") != "forward" or key in OTHERS or chain["table"] in OTHER_TABLES:
                continue
            rules = _listed(f"chain {' '.join(key)}", "rule")
            last = rules[-1].get("expr", []) if rules else []
            if chain.get("policy") == "drop" or (len(last) == 1 and last[0].keys() & {"drop", "reject"}):
                found[key] = rules
        return found

    def _is_ours(self, rule: dict[str, Any]) -> bool:
        return str(rule.get("comment", "")).startswith(f"{self.mark} ")

    def _commands(self, chain: tuple[str, str, str]) -> list[str]:
        return [f'insert rule {" ".join(chain)} {rule} comment "{name}"' for name, rule in self.rules.items()]

    def _is_others_way(self, rule: dict[str, Any], port: int) -> bool:
        """Tell whether a rule of somebody else's lets through what goes to a port of the registry's."""
        expressions = rule.get("expr", [])
        if self._is_ours(rule) or not expressions or "accept" not in expressions[-1]:
            return False
        matches = [one["match"] for one in expressions if "match" in one]
        found = [self._names(match, port) for match in matches]
        return not matches or (True in found and False not in found)

    def _names(self, match: dict[str, Any], port: int) -> bool | None:
        """Tell whether a part of a rule is about a port, or about all containers; None where it is about neither."""
        left, right = next(iter(match["left"].values())), match["right"]
        key = (left.get("key") or left.get("field")) if isinstance(left, dict) else ""
        if key in ("proto-dst", "dport"):
            is_there = _is_among(port if key == "proto-dst" else self.ports[port], right)
            return is_there != (match.get("op") == "!=")
        is_to_all = (key == "status" and "dnat" in str(right)) or (
            key == "oifname" and str(right).startswith(("docker", "br-"))
        )
        return is_to_all or None

    def is_pending(self, is_managed: bool) -> bool:
        """Return whether open() is to be called, or without management close()."""
        return not self.is_right_open if is_managed else self.is_ours

    @property
    def is_right_open(self) -> bool:
        """Return whether all that can be opened is open, now and after a boot."""
        in_kernel = all(self.ours[chain] == {*self.rules} for chain in self.chains if chain not in self.unknown)
        is_kept = with_block(self.text, self.mark, self.block) == self.text
        return in_kernel and is_kept and not self.ufw_closed and not self.ufw_others

    @property
    def is_ours(self) -> bool:
        """Return whether something was opened by open()."""
        return any(self.ours.values()) or bool(self.ufw_ours) or with_block(self.text, self.mark, "") != self.text

    def blocked(self, is_managed: bool) -> list[str]:
        """Return a line for each thing that keeps clients out and that open() does not change, or is not to change."""
        chains = self.unknown if is_managed else self.chains
        return self._blocking({chain: [*self.ports] for chain in chains}, not is_managed)

    def closed(self) -> list[str]:
        """Return a line for each thing that keeps clients out as it is now."""
        lacking = {
            chain: [one for one in self.ports if f"{self.mark} {one}" not in ours] for chain, ours in self.ours.items()
        }
        return self._blocking(lacking, True)

    def _blocking(self, chains: dict[tuple[str, str, str], list[int]], with_ufw: bool) -> list[str]:
        lines = []
        for chain, ports in chains.items():
            for port in [one for one in ports if one not in self.open_anyway[chain]]:
                name, rule = " ".join(chain), self.rules[f"{self.mark} {port}"]
                lines.append(f"the chain {name} of nftables drops what goes to port {port}: give it the rule {rule}")
        for port in self.ufw_closed if with_ufw else ():
            rule = f"ufw route allow proto tcp to any port {self.ports[port]}"
            lines.append(f"ufw drops what goes to port {port}: give it the rule {rule}")
        is_strict = re.search(r"(?im)^StrictForwardPorts\s*=\s*(yes|true)", read_text(FIREWALLD))
        if is_strict and has("firewall-cmd") and run(["firewall-cmd", "--state"])[0] == 0:
            lines.append(
                f"firewalld rejects the ports that Docker publishes: set StrictForwardPorts=no in {FIREWALLD}, and "
                "restart firewalld and then Docker"
            )
        return lines

    def open(self) -> None:
        """Let the registry's ports pass, now and after a boot. Raises WharfError with a program's own message."""
        for chain in [one for one in self.chains if one not in self.unknown]:
            self._delete(chain)
            for command in self._commands(chain):
                must_run(["nft", command], "nftables does not take a rule")
        self._write(self.block)
        self._close_ufw(self.ufw_others)
        for port in self.ufw_closed:
            command = ["ufw", "route", "allow", "proto", "tcp", "to", "any", "port", str(self.ports[port])]
            must_run([*command, "comment", self.mark], "ufw does not take a rule")

    def close(self) -> None:
        """Take back what open() did. Raises WharfError with a program's own message."""
        for chain in self.ours:
            self._delete(chain)
        self._write("")
        self._close_ufw(self.ufw_ours)

    def _close_ufw(self, ports: list[str]) -> None:
        for port in ports:
            command = ["ufw", "route", "delete", "allow", "proto", "tcp", "to", "any", "port", port]
            must_run(command, "ufw does not give up a rule")

    def _delete(self, chain: tuple[str, str, str]) -> None:
        for rule in self.chains[chain]:
            if self._is_ours(rule):
                must_run(["nft", f"delete rule {' '.join(chain)} handle {rule['handle']}"], "nftables keeps a rule")

    def _write(self, block: str) -> None:
        """Write the file that nftables.service loads, with the mode and the owner that it has."""
        new = with_block(self.text, self.mark, block)
        if new == self.text:
            return
        path, there = os.path.realpath(self.file), os.stat(self.file)
        owner = (there.st_mode & 0o7777, there.st_uid, there.st_gid)
        write_atomic(path, new.encode(), *owner)
        status, message = run(["nft", "--check", "--file", path])
        if status:
            write_atomic(path, self.text.encode(), *owner)
            raise WharfError(f"{self.file}: nftables would not load it with a rule for the registry: {message}")


def _listed(what: str, kind: str) -> list[dict[str, Any]]:
    """Return what nftables lists; nothing where it is not there."""
    if not has("nft"):
        return []
    status, output = run(["nft", "--json", f"list {what}"])
    return [entry[kind] for entry in json.loads(output)["nftables"] if kind in entry] if status == 0 else []


def _is_among(port: int, ports: Any) -> bool:
    """Tell whether a port is among those of a rule as nft lists them; a set that has a name may have it."""
    if isinstance(ports, dict):
        low, high = ports.get("range", (1, 0))
        return low <= port <= high or any(_is_among(port, one) for one in ports.get("set", ()))
    return isinstance(ports, str) or ports == port


def _opens(rules: str, port: int) -> bool:
    return re.search(rf"^-A ufw-user-forward -p tcp .*--dport {port} -j ACCEPT$", rules, re.MULTILINE) is not None

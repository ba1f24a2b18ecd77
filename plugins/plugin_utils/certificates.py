"""Filters of the playbooks that renew certificates and roll the CA over: what is refused, and what is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

# What stands behind -e wharf_rotate_until=..., in the order in which it happens.
STEPS = ("begin", "trust", "switch", "withdraw", "finish")

# What wharf renew-certificate says, and how the table calls it.
COLUMNS = {
    "old_end": "held until",
    "new_end": "holds until",
    "ca_end": "its CA until",
    "without_service": "without service",
}


def wharf_renewal_problems(trust: str, playbook: str) -> list[str]:
    """Say why there is no certificate of Wharf's own to renew.

    :param trust: ``wharf_registry_trust``.
    :param playbook: what was asked for, for the message.
    :returns: at most one line.
    """
    if trust == "provided":
        return [
            f"wharf_registry_trust: is provided, and {playbook} knows only certificates that Wharf itself signed: put "
            "the new files where wharf_registry_certificate, wharf_registry_key and wharf_registry_ca say (for another "
            "CA first both in one file), and run site.yml"
        ]
    if trust == "insecure":
        return [
            "wharf_registry_trust: is insecure, so that there is no certificate: set it to private_ca or provided, and "
            "run site.yml"
        ]
    return []


def left_behind(names: str | None) -> list[str]:
    """Return the hosts in ``wharf_skip_clients``, names with commas between them; null and empty text name none."""
    return [name.strip() for name in str(names or "").split(",") if name.strip()]


def wharf_clients_without(names: str) -> str:
    """Return Ansible's pattern for the group registry_clients without the hosts in ``wharf_skip_clients``.

    Ansible itself breaks off with a trace at a pattern that has an empty part.
    """
    return ",!".join(["registry_clients", *left_behind(names)])


def wharf_rollover_problems(
    trust: str, hosts: Sequence[str], servers: Sequence[str], clients: Sequence[str], behind: str | None, until: str
) -> list[str]:
    """Say why the CA cannot be rolled over with what was given.

    :param trust: ``wharf_registry_trust``.
    :param hosts: the hosts that this run reaches for, after --limit.
    :param servers: the group registry_servers.
    :param clients: the group registry_clients.
    :param behind: ``wharf_skip_clients``, null when not said.
    :param until: ``wharf_rotate_until``.
    :returns: one line for each problem.
    """
    problems = wharf_renewal_problems(trust, "rotate-ca.yml")
    if missing := [server for server in servers if server not in hosts]:
        problems.append(f"--limit: leaves {', '.join(missing)} out, whose CA this is about: run it without --limit")
    problems += [
        f"wharf_skip_clients: {name!r} is not in registry_clients: name clients, with commas between them"
        for name in left_behind(behind)
        if name not in clients
    ]
    if until not in STEPS:
        problems.append(f"wharf_rotate_until: {until!r} is unknown: use {', '.join(STEPS[:-1])} or {STEPS[-1]}")
    return problems


def wharf_without_next_ca(hostvars: Mapping[str, Any], clients: Sequence[str], behind: str | None) -> list[str]:
    """Return the clients of which this run has not seen that they trust the next CA.

    :param hostvars: all hosts' variables; ``__wharf_trusts_next`` is what the look at a client left.
    :param clients: the group registry_clients.
    :param behind: ``wharf_skip_clients``, null when not said.
    """
    waiting = [name for name in clients if name not in left_behind(behind)]
    return [name for name in waiting if hostvars[name].get("__wharf_trusts_next") is not True]


def wharf_certificates_table(hostvars: Mapping[str, Any], hosts: Sequence[str], result: str) -> str:
    """Return the lines of a table: what became of each server's certificate.

    :param hostvars: all hosts' variables.
    :param hosts: the servers.
    :param result: the name of the registered result of wharf renew-certificate there.
    """
    said = {host: yaml.safe_load(hostvars[host][result].get("stdout") or "{}") for host in hosts}
    columns = [key for key in COLUMNS if any(key in one for one in said.values())]
    lines = [["host", *(COLUMNS[key] for key in columns)]]
    lines += [[host, *(one.get(key) or "-" for key in columns)] for host, one in said.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )

"""What the playbooks that renew certificates and rotate the CA refuse, and what they show."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.wharf.registry.plugins.module_utils.text import table

# What wharf renew-certificate --json returns, and how the table calls it.
COLUMNS = {
    "old_end": "held until",
    "new_end": "holds until",
    "ca_end": "its CA until",
    "served_after": "served after",
}
NO_OWN_CA = {
    "provided": (
        "wharf_registry_trust: is provided, and {} knows only certificates that Wharf itself signed: put the new files"
        " where wharf_registry_certificate, wharf_registry_key and wharf_registry_ca say (for another CA first both in"
        " one file), and run site.yml"
    ),
    "insecure": (
        "wharf_registry_trust: is insecure, so that there is no certificate: set it to private_ca or provided, and run"
        " site.yml"
    ),
}


def renewal_problems(
    trust: str,
    playbook: str,
    hosts: Sequence[str] = (),
    servers: Sequence[str] = (),
    clients: Sequence[str] = (),
    skipped: str | None = None,
) -> list[str]:
    """Return why no certificate can be renewed, or the CA not rotated: one line for each problem.

    Args:
        trust: ``wharf_registry_trust``.
        playbook: what was asked for, for the message.
        hosts: for a rotation, the hosts that this run is for, after --limit.
        servers: for a rotation, the group registry_servers.
        clients: for a rotation, the group registry_clients.
        skipped: for a rotation, ``wharf_skip_clients``.
    """
    problems = [NO_OWN_CA[trust].format(playbook)] if trust in NO_OWN_CA else []
    if missing := [server for server in servers if server not in hosts]:
        problems.append(f"--limit: leaves {', '.join(missing)} out, whose CA this is about: run it without --limit")
    return problems + [
        f"wharf_skip_clients: {name!r} is not in registry_clients: name clients, with commas between them"
        for name in skipped_clients(skipped)
        if name not in clients
    ]


def skipped_clients(names: str | None) -> list[str]:
    """Return the hosts in ``wharf_skip_clients``, names with commas between them; null and empty text name none."""
    return [name.strip() for name in str(names or "").split(",") if name.strip()]


def clients_without(names: str | None) -> str:
    """Return Ansible's pattern for the group registry_clients without the hosts in ``wharf_skip_clients``.

    Ansible itself breaks off with a trace at a pattern that has an empty part.
    """
    return ",!".join(["registry_clients", *skipped_clients(names)])


def without_next_ca(hostvars: Mapping[str, Any], clients: Sequence[str], skipped: str | None) -> list[str]:
    """Return the clients, but for the skipped ones, of which the playbook has not noted that they trust the next CA."""
    waiting = [name for name in clients if name not in skipped_clients(skipped)]
    return [name for name in waiting if hostvars[name].get("__wharf_trusts_next") is not True]


def certificates_table(hostvars: Mapping[str, Any], hosts: Sequence[str], result: str) -> str:
    """Return a table of what became of each server's certificate, by the registered result of that name."""
    reports = {host: json.loads(hostvars[host][result].get("stdout") or "{}") for host in hosts}
    columns = [key for key in COLUMNS if any(key in report for report in reports.values())]
    rows = [["host", *(COLUMNS[key] for key in columns)]]
    rows += [[host, *(report.get(key) or "-" for key in columns)] for host, report in reports.items()]
    return "\n".join(table(rows))

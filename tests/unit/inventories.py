"""Inventories as Ansible reads them, with hosts that do not exist."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

STRONG = "kD8-xQ2_vLm4Rt7Zp1Wc"
GOOD = {"wharf_registry_name": "registry.corp.test", "wharf_registry_users": [{"name": "ci", "password": STRONG}]}
UNREACHABLE = {"server": "192.0.2.1", "client1": "192.0.2.2", "client2": "192.0.2.3"}


def inventory(case: Mapping[str, Any]) -> dict[str, Any]:
    """Return a good inventory with the changes of a case.

    Args:
        case: variables of ``all``, ``server``, ``client1`` and ``client2`` (null takes one away), and ``groups``, the
            hosts of further groups or other ones.
    """
    hosts = {name: {"ansible_host": host, **(case.get(name) or {})} for name, host in UNREACHABLE.items()}
    groups = {"registry_servers": ["server"], "registry_clients": ["client1", "client2"], **(case.get("groups") or {})}
    known = {host for members in groups.values() for host in members or []}
    values = {name: value for name, value in {**GOOD, **(case.get("all") or {})}.items() if value is not None}
    return {
        "all": {
            "hosts": {host: own for host, own in hosts.items() if host in known},
            "vars": values,
            "children": {name: {"hosts": dict.fromkeys(members or [])} for name, members in groups.items()},
        }
    }


def written(directory: Path, case: Mapping[str, Any]) -> str:
    """Write the inventory and the files of a case, and return the inventory's path."""
    for name, content in {"hosts.yml": inventory(case), **(case.get("files") or {})}.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return str(directory / "hosts.yml")


def read(source: str, extra: Mapping[str, Any] | None = None) -> tuple[HostVars, dict[str, list[str]]]:
    """Return what Ansible makes of an inventory: its variables hostvars and groups."""
    loader = DataLoader()
    hosts = InventoryManager(loader=loader, sources=[source])
    variables = VariableManager(loader=loader, inventory=hosts)
    variables._extra_vars = dict(extra or {})
    hostvars = HostVars(hosts, variables, loader)
    variables._hostvars = hostvars
    return hostvars, hosts.get_groups_dict()

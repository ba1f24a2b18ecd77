"""The filter settings_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars

from ansible_collections.wharf.registry.plugins.plugin_utils import deployment

DOCUMENTATION = r"""
name: settings_problems
author: Wharf maintainers
short_description: What is wrong with a deployment, as far as the controller can know
description:
  - Judges the variables of this collection on all hosts, by the specifications of their roles and by what a
    specification cannot say; then the groups, what differs between hosts, and what is set where nothing reads it.
  - Warns of files beside the inventory that are named like a vault and are not encrypted, and of a deployment without
    clients whose inventory has other hosts.
positional: hosts, groups, limit, needs, of_this_run
options:
  _input: {description: The variable C(hostvars)., type: dict, required: true}
  hosts: {description: The hosts of the run., type: list, elements: str, required: true}
  groups: {description: The variable C(groups)., type: dict, required: true}
  limit: {description: The variable C(ansible_limit)., type: str, default: ""}
  needs:
    description:
      - What the playbook cannot do without. The names of variables that must not be empty, C(registry_servers)
        where C(--limit) must not leave out the server, and C(registry_standbys) where that group must not be empty.
    type: list
    elements: str
    default: []
  of_this_run:
    description: The names of the variables that are given with C(-e). Those of this run, when they are not said.
    type: list
    elements: str
"""

EXAMPLES = r"""
# {{ hostvars | wharf.registry.settings_problems(ansible_play_hosts_all, groups) }}
"""

RETURN = r"""
_value:
  description:
    - A line for each mistake, once for all hosts, with the variable, what is wrong and what would be right. One that
      only some hosts make names them. Never a secret.
  type: list
  elements: str
"""


def settings_problems(
    hostvars: Mapping[str, Mapping[str, Any]],
    hosts: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    limit: str = "",
    needs: Sequence[str] = (),
    of_this_run: Collection[str] | None = None,
) -> list[str]:
    """Return what is wrong with a deployment, and warn of what is hardly meant."""
    for warning in deployment.warnings(hostvars, hosts, groups):
        Display().warning(warning)
    of_this_run = load_extra_vars(DataLoader()) if of_this_run is None else of_this_run
    return deployment.settings_problems(hostvars, hosts, groups, limit, needs, of_this_run)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"settings_problems": settings_problems}

"""The filter standby_hosts: see DOCUMENTATION."""

from ansible_collections.wharf.registry.plugins.plugin_utils.standbys import standby_hosts

DOCUMENTATION = r"""
name: standby_hosts
author: Wharf maintainers
short_description: How a registry's server and its standbys are reached, and what was found on them
description:
  - What the role registry_standby takes as C(registry_standby_hosts), by the variables of the hosts.
positional: names
options:
  _input: {description: The variable C(hostvars)., type: dict, required: true}
  names: {description: The hosts., type: list, elements: str, required: true}
"""

EXAMPLES = r"""
# {{ hostvars | wharf.registry.standby_hosts(groups['registry_servers'] + groups['registry_standbys']) }}
"""

RETURN = r"""
_value: {description: "C(name), C(address), C(port) and C(found) of each host.", type: list, elements: dict}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"standby_hosts": standby_hosts}

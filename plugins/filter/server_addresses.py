"""The filter server_addresses: see DOCUMENTATION."""

from ansible_collections.wharf.registry.plugins.plugin_utils.stores import server_addresses

DOCUMENTATION = r"""
name: server_addresses
author: Wharf maintainers
short_description: Tell how servers on one store reach each other
description:
  - Returns each of them with its name and its address, which is the one under which Ansible reaches it.
positional: names
options:
  _input: {description: The variable C(hostvars)., type: dict, required: true}
  names: {description: The servers., type: list, elements: str, required: true}
"""

EXAMPLES = r"""
# {{ hostvars | wharf.registry.server_addresses(groups['registry_servers']) }}
"""

RETURN = r"""
_value:
  description: Mappings of C(name) and C(address); none where there is one server alone.
  type: list
  elements: dict
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"server_addresses": server_addresses}

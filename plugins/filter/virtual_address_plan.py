"""The filter virtual_address_plan: see DOCUMENTATION."""

from ansible_collections.wharf.registry.plugins.plugin_utils.virtual_address import virtual_address_plan

DOCUMENTATION = r"""
name: virtual_address_plan
author: Wharf maintainers
short_description: What keepalived is told on a host that may hold a registry's virtual address
description:
  - Made from what was found on the registry's server and all its standbys.
  - The server comes first. Where it has told others of the address that are none of these hosts any more, it goes on to
    do so, and comes before the server that it has followed.
positional: host, server
options:
  _input:
    description: The hosts, each with what M(wharf.registry.virtual_address_info) has returned there.
    type: dict
    required: true
  host: {description: The host that this is about., type: str, required: true}
  server: {description: The registry's server., type: str, required: true}
"""

EXAMPLES = r"""
# {{ virtual_address_hosts | wharf.registry.virtual_address_plan('beta', 'alpha') }}
"""

RETURN = r"""
_value: {description: "C(interface), C(source), C(priority), C(server_priority) and C(peers).", type: dict}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"virtual_address_plan": virtual_address_plan}

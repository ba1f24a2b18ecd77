"""The filter renewal_problems: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.rotation import renewal_problems

DOCUMENTATION = r"""
name: renewal_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: Why no certificate can be renewed, or the CA not rotated
description:
  - Says of a way of trust that has no private CA what to do instead, and judges what C(rotate-ca.yml) was given.
positional: playbook, hosts, servers, clients, skipped
options:
  _input: {description: The value of C(wharf_registry_trust)., type: str, required: true}
  playbook: {description: "The playbook that was run, for the message.", type: str, required: true}
  hosts: {description: "For a rotation, the hosts of this run, after C(--limit).", type: list, elements: str}
  servers: {description: "For a rotation, the group C(registry_servers).", type: list, elements: str}
  clients: {description: "For a rotation, the group C(registry_clients).", type: list, elements: str}
  skipped: {description: "For a rotation, the value of C(wharf_skip_clients).", type: str}
"""

EXAMPLES = r"""
problems: "{{ wharf_registry_trust | wharf.registry.renewal_problems('renew-certificates.yml') }}"
"""

RETURN = r"""
_value:
  description: One message for each problem.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"renewal_problems": renewal_problems}

"""The filter clients_without: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.rotation import clients_without

DOCUMENTATION = r"""
name: clients_without
author: Wharf maintainers
version_added: 1.0.0
short_description: The clients of the registry without those to skip
description:
  - Makes a host pattern of the group C(registry_clients) and the value of C(wharf_skip_clients).
options:
  _input: {description: Host names with commas between them. May be empty., type: str, required: true}
"""

EXAMPLES = r"""
hosts: "{{ 'laptop' | wharf.registry.clients_without }}"
# => "registry_clients,!laptop"
"""

RETURN = r"""
_value: {description: The pattern., type: str}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"clients_without": clients_without}

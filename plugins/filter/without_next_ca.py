"""The filter without_next_ca: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.rotation import without_next_ca

DOCUMENTATION = r"""
name: without_next_ca
author: Wharf maintainers
version_added: 1.0.0
short_description: The clients that are not known to trust the next CA
description:
  - Names the clients that a run of C(rotate-ca.yml) has not found to trust the CA that it is about to switch to.
positional: clients, skipped
options:
  _input:
    description: The variable C(hostvars).
    type: dict
    required: true
  clients:
    description: The group C(registry_clients).
    type: list
    elements: str
    required: true
  skipped:
    description: The value of C(wharf_skip_clients), host names with commas between them.
    type: str
"""

EXAMPLES = r"""
- name: Refuse to go on without a client
  ansible.builtin.assert:
    that: hostvars | wharf.registry.without_next_ca(groups['registry_clients'], wharf_skip_clients) | length == 0
"""

RETURN = r"""
_value:
  description: The names of these hosts.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"without_next_ca": without_next_ca}

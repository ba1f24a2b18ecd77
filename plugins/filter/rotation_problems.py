"""The filter rotation_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.rotation import rotation_problems

DOCUMENTATION = r"""
name: rotation_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: Why the CA cannot be rotated
description:
  - Judges what C(rotate-ca.yml) was given.
positional: hosts, servers, clients, skipped
options:
  _input:
    description: The value of C(wharf_registry_trust).
    type: str
    required: true
  hosts:
    description: The hosts that the run is for, after C(--limit).
    type: list
    elements: str
    required: true
  servers:
    description: The group C(registry_servers).
    type: list
    elements: str
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
- name: Refuse what cannot work
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: >-
      {{ wharf_registry_trust | wharf.registry.rotation_problems(
           ansible_play_hosts_all, groups['registry_servers'], groups['registry_clients'], wharf_skip_clients) }}
"""

RETURN = r"""
_value:
  description: One message for each problem.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"rotation_problems": rotation_problems}

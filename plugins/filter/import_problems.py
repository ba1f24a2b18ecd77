"""The filter import_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import import_problems

DOCUMENTATION = r"""
name: import_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: Judge what playbooks/import-images.yml is given
description:
  - Judges what the specification of the role settings cannot say.
positional: fingerprint, server, hosts
options:
  _input:
    description: The variable C(wharf_bundle), the path on the controller.
    type: str
    required: true
  fingerprint:
    description: The variable C(wharf_bundle_fingerprint).
    type: str
    required: true
  server:
    description: The host that runs the registry.
    type: str
    required: true
  hosts:
    description: The hosts of the play; the server must be one of them.
    type: list
    elements: str
    required: true
  parallel:
    description: The variable C(wharf_copies_parallel).
    type: int
    default: 4
"""

EXAMPLES = r"""
- name: Refuse what cannot be imported
  ansible.builtin.assert:
    that: >-
      '/media/usb/team.tar' | wharf.registry.import_problems('', 'server', ansible_play_hosts_all) | length == 0
"""

RETURN = r"""
_value:
  description: A line for each mistake; it names the variable, what is wrong and what would be right.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"import_problems": import_problems}

"""The filter name_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.names import name_problems

DOCUMENTATION = r"""
name: name_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: Judge a registry's name
description:
  - Good are a DNS name in lower case, an IPv4 address, and V(localhost), without scheme, port and path.
positional: variable
options:
  _input:
    description: The name or IPv4 address that stands in image references.
    type: raw
    required: true
  variable:
    description: The name of the variable that holds it, for the messages.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse a name that clients cannot use
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ my_registry_name | wharf.registry.name_problems('my_registry_name') }}"
"""

RETURN = r"""
_value:
  description: "A line for each problem: the variable, what is wrong, and what would be right."
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"name_problems": name_problems}

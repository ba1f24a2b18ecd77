"""The filter port_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.names import port_problems

DOCUMENTATION = r"""
name: port_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: Judge a TCP port
description:
  - Good is a number from 1 to 65535, or its digits as text.
positional: variable
options:
  _input:
    description: The port.
    type: raw
    required: true
  variable:
    description: The name of the variable that holds it, for the messages.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse what is no port
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ my_registry_port | wharf.registry.port_problems('my_registry_port') }}"
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
        return {"port_problems": port_problems}

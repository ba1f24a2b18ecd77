"""The filter login_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.users import login_problems

DOCUMENTATION = r"""
name: login_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: Judge who logs in on clients
description:
  - Judges a list of system users, each with the name of a registry's user. No line holds a password.
positional: variable, users
options:
  _input:
    description: Mappings of C(user), C(name) and C(password); C(password) may be left out.
    type: list
    required: true
  variable:
    description: The name of the variable that holds it, for the messages.
    type: str
    required: true
  users:
    description: The registry's users, each with its C(name); without them no name is refused as unknown.
    type: list
    elements: dict
"""

EXAMPLES = r"""
- name: Refuse logins that cannot work
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ my_logins | wharf.registry.login_problems('my_logins', [{'name': 'ci'}]) }}"
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
        return {"login_problems": login_problems}

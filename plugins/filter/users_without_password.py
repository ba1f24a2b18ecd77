"""The filter users_without_password: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.users import users_without_password

DOCUMENTATION = r"""
name: users_without_password
author: Wharf maintainers
version_added: 1.0.0
short_description: Name the users whose password is still to be generated
description:
  - Returns the names of the users that have no password, neither given nor generated, in the list's order.
positional: directory
options:
  _input:
    description: The users, mappings of C(name) and C(password). C(password) may be left out.
    type: list
    elements: dict
    required: true
  directory:
    description: Where generated passwords are on the controller, each in a file of the user's name.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Name who has no password yet
  ansible.builtin.debug:
    msg: "{{ registry_server_users | wharf.registry.users_without_password(inventory_dir ~ '/.credentials/users') }}"
"""

RETURN = r"""
_value:
  description: The names.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"users_without_password": users_without_password}

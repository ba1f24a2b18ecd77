"""The filter users: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.users import users_with_passwords

DOCUMENTATION = r"""
name: users
author: Wharf maintainers
version_added: 1.0.0
short_description: Give each of the registry's users a password
description:
  - Adds the password that was generated for a user who has none in the inventory.
positional: directory, placeholder
options:
  _input:
    description: The users as in O(wharf_registry_users).
    type: list
    elements: dict
    required: true
  directory:
    description: Where the generated passwords lie on the controller, a file for each user.
    type: path
    required: true
  placeholder:
    description: Stands for a password that is still to be generated. Without it, such a password is an error.
    type: str
"""

EXAMPLES = r"""
# with s3cret in the file .credentials/users/ci
users: "{{ [{'name': 'ci'}] | wharf.registry.users('.credentials/users') }}"
# => [{"name": "ci", "password": "s3cret"}]
"""

RETURN = r"""
_value:
  description: The users, each with C(name) and C(password).
  type: list
  elements: dict
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"users": users_with_passwords}

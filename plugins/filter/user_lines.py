"""The filter user_lines: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.users import user_lines

DOCUMENTATION = r"""
name: user_lines
author: Wharf maintainers
version_added: 1.0.0
short_description: Turn users into lines NAME:PASSWORD
description:
  - Returns a line for each user, with the password that is given, or the one that was generated; nothing follows the
    colon where one is still to be generated.
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
- name: Count the users
  ansible.builtin.debug:
    msg: "{{ users | wharf.registry.user_lines(inventory_dir ~ '/.credentials/users') | split | length }}"
"""

RETURN = r"""
_value:
  description: The lines, one text.
  type: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"user_lines": user_lines}

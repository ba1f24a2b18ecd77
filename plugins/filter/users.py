"""The filter users: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.credentials import wharf_users

DOCUMENTATION = r"""
name: users
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the registry's users, each with a password"
description:
  - "Return the registry's users, each with a password."
positional: directory, placeholder
options:
  _input:
    description: What is judged or turned into something else.
    type: list
    required: true
  directory:
    description: See C(plugin_utils/credentials.py).
    type: str
    required: true
  placeholder:
    description: See C(plugin_utils/credentials.py).
    type: str
"""

EXAMPLES = r"""
# {{ value | wharf.registry.users(...) }}
"""

RETURN = r"""
_value:
  description: "Return the registry's users, each with a password."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"users": wharf_users}

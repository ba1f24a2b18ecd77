"""The filter with_passwords: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.users import with_passwords

DOCUMENTATION = r"""
name: with_passwords
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the users"
description:
  - >-
    Return the users, each with a password: its own, or else the one that ``passwords`` has for
    its name.
positional: passwords
options:
  _input:
    description: What is judged or turned into something else.
    type: list
    required: true
  passwords:
    description: See C(plugin_utils/users.py).
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.with_passwords(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Return the users, each with a password: its own, or else the one that ``passwords`` has for
      its name.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"with_passwords": with_passwords}

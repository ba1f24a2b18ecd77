"""The filter passwords_needed: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.users import passwords_needed

DOCUMENTATION = r"""
name: passwords_needed
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the names of the users that have no password yet, in the list's order"
description:
  - "Return the names of the users that have no password yet, in the list's order."
options:
  _input:
    description: What is judged or turned into something else.
    type: list
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.passwords_needed }}
"""

RETURN = r"""
_value:
  description: "Return the names of the users that have no password yet, in the list's order."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"passwords_needed": passwords_needed}

"""The filter logins: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.credentials import wharf_logins

DOCUMENTATION = r"""
name: logins
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return wharf_registry_logins"
description:
  - >-
    Return wharf_registry_logins, a list of {user, name}, as the role registry_client wants it:
    with passwords.
positional: users
options:
  _input:
    description: What is judged or turned into something else.
    type: list
    required: true
  users:
    description: See C(plugin_utils/credentials.py).
    type: list
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.logins(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Return wharf_registry_logins, a list of {user, name}, as the role registry_client wants it:
      with passwords.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"logins": wharf_logins}

"""The filter htpasswd: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.users import htpasswd

DOCUMENTATION = r"""
name: htpasswd
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the text of the htpasswd file for these users"
description:
  - "Return the text of the htpasswd file for these users, and touch no line that is right already."
positional: users, cost
options:
  _input:
    description: What is judged or turned into something else.
    type: str
    required: true
  users:
    description: See C(plugin_utils/users.py).
    type: list
    required: true
  cost:
    description: See C(plugin_utils/users.py).
    type: int
"""

EXAMPLES = r"""
# {{ value | wharf.registry.htpasswd(...) }}
"""

RETURN = r"""
_value:
  description: "Return the text of the htpasswd file for these users, and touch no line that is right already."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"htpasswd": htpasswd}

"""The filter login_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.users import login_problems

DOCUMENTATION = r"""
name: login_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge who logs in on the clients: system users, each with the name of a registry's user"
description:
  - "Judge who logs in on the clients: system users, each with the name of a registry's user."
positional: variable, names
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/users.py).
    type: str
    required: true
  names:
    description: See C(plugin_utils/users.py).
    type: raw
"""

EXAMPLES = r"""
# {{ value | wharf.registry.login_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Judge who logs in on the clients: system users, each with the name of a registry's user."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"login_problems": login_problems}

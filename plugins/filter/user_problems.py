"""The filter user_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.users import user_problems

DOCUMENTATION = r"""
name: user_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge the list of users, each alone and all together with who else may come in"
description:
  - "Judge the list of users, each alone and all together with who else may come in."
positional: variable, anonymous, tls, cost
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/users.py).
    type: str
    required: true
  anonymous:
    description: See C(plugin_utils/users.py).
    type: raw
  tls:
    description: See C(plugin_utils/users.py).
    type: raw
  cost:
    description: See C(plugin_utils/users.py).
    type: raw
"""

EXAMPLES = r"""
# {{ value | wharf.registry.user_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Judge the list of users, each alone and all together with who else may come in."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"user_problems": user_problems}

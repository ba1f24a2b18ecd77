"""The filter cost_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.users import cost_problems

DOCUMENTATION = r"""
name: cost_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge bcrypt's cost"
description:
  - >-
    Judge bcrypt's cost, the base-2 logarithm of its rounds: 4 to 14. Null means the default and
    is good.
positional: variable
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/users.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.cost_problems(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Judge bcrypt's cost, the base-2 logarithm of its rounds: 4 to 14. Null means the default and
      is good.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"cost_problems": cost_problems}

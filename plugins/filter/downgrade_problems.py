"""The filter downgrade_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.server_change import registry_downgrade_problems

DOCUMENTATION = r"""
name: downgrade_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge whether the registry would go back to an older version"
description:
  - "Judge whether the registry would go back to an older version."
positional: allowed, variable
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  allowed:
    description: See C(plugin_utils/server_change.py).
    type: bool
    required: true
  variable:
    description: See C(plugin_utils/server_change.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.downgrade_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Judge whether the registry would go back to an older version."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"downgrade_problems": registry_downgrade_problems}

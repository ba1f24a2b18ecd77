"""The filter name_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.names import name_problems

DOCUMENTATION = r"""
name: name_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge the name or IPv4 address that stands in image references"
description:
  - "Judge the name or IPv4 address that stands in image references."
positional: variable
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/names.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.name_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Judge the name or IPv4 address that stands in image references."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"name_problems": name_problems}

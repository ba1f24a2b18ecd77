"""The filter retention_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.retention import wharf_retention_problems

DOCUMENTATION = r"""
name: retention_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge the rules that say which tags go"
description:
  - "Judge the rules that say which tags go."
positional: variable
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/retention.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.retention_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Judge the rules that say which tags go."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"retention_problems": wharf_retention_problems}

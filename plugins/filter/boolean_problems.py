"""The filter boolean_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.checks import registry_boolean_problems

DOCUMENTATION = r"""
name: boolean_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge a boolean. Null means the default and is good; text such as ``yes`` is not"
description:
  - "Judge a boolean. Null means the default and is good; text such as ``yes`` is not."
positional: variable
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/checks.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.boolean_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Judge a boolean. Null means the default and is good; text such as ``yes`` is not."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"boolean_problems": registry_boolean_problems}

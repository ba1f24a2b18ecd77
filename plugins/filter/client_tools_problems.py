"""The filter client_tools_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.client_plan import registry_client_tools_problems

DOCUMENTATION = r"""
name: client_tools_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge which tools are to trust the registry: ``auto``"
description:
  - >-
    Judge which tools are to trust the registry: ``auto``, or a list out of ``TOOLS``. Null means
    the default.
positional: variable
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/client_plan.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.client_tools_problems(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Judge which tools are to trust the registry: ``auto``, or a list out of ``TOOLS``. Null means
      the default.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"client_tools_problems": registry_client_tools_problems}

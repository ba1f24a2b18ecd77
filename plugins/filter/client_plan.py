"""The filter client_plan: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.client_plan import registry_client_plan

DOCUMENTATION = r"""
name: client_plan
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return what is due on a host"
description:
  - "Return what is due on a host."
positional: wanted
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  wanted:
    description: See C(plugin_utils/client_plan.py).
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.client_plan(...) }}
"""

RETURN = r"""
_value:
  description: "Return what is due on a host."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"client_plan": registry_client_plan}

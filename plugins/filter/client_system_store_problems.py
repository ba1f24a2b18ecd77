"""The filter client_system_store_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.client_plan import registry_client_system_store_problems

DOCUMENTATION = r"""
name: client_system_store_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge whether the system's store is to trust the registry's CA. Null means the default"
description:
  - "Judge whether the system's store is to trust the registry's CA. Null means the default."
positional: variable, other, trust
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/client_plan.py).
    type: str
    required: true
  other:
    description: See C(plugin_utils/client_plan.py).
    type: str
    required: true
  trust:
    description: See C(plugin_utils/client_plan.py).
    type: raw
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.client_system_store_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Judge whether the system's store is to trust the registry's CA. Null means the default."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"client_system_store_problems": registry_client_system_store_problems}

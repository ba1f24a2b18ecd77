"""The filter without_next_ca: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.rotation import wharf_without_next_ca

DOCUMENTATION = r"""
name: without_next_ca
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the clients of which this run has not seen that they trust the next CA"
description:
  - "Return the clients of which this run has not seen that they trust the next CA."
positional: clients, behind
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  clients:
    description: See C(plugin_utils/rotation.py).
    type: list
    required: true
  behind:
    description: See C(plugin_utils/rotation.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.without_next_ca(...) }}
"""

RETURN = r"""
_value:
  description: "Return the clients of which this run has not seen that they trust the next CA."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"without_next_ca": wharf_without_next_ca}

"""The filter rollover_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.rotation import wharf_rollover_problems

DOCUMENTATION = r"""
name: rollover_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Say why the CA cannot be rolled over with what was given"
description:
  - "Say why the CA cannot be rolled over with what was given."
positional: hosts, clients, behind, until
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  hosts:
    description: See C(plugin_utils/rotation.py).
    type: list
    required: true
  clients:
    description: See C(plugin_utils/rotation.py).
    type: list
    required: true
  behind:
    description: See C(plugin_utils/rotation.py).
    type: str
    required: true
  until:
    description: See C(plugin_utils/rotation.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.rollover_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Say why the CA cannot be rolled over with what was given."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"rollover_problems": wharf_rollover_problems}

"""The filter other_registries: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.removal import wharf_other_registries

DOCUMENTATION = r"""
name: other_registries
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return what a host has of other registries than the one that goes"
description:
  - "Return what a host has of other registries than the one that goes."
positional: own, container
options:
  _input:
    description: What is judged or turned into something else.
    type: list
    required: true
  own:
    description: See C(plugin_utils/removal.py).
    type: list
    required: true
  container:
    description: See C(plugin_utils/removal.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.other_registries(...) }}
"""

RETURN = r"""
_value:
  description: "Return what a host has of other registries than the one that goes."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"other_registries": wharf_other_registries}

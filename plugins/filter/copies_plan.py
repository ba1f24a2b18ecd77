"""The filter copies_plan: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import wharf_copies_plan

DOCUMENTATION = r"""
name: copies_plan
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return what there is to do, in the order of the list"
description:
  - "Return what there is to do, in the order of the list."
positional: registry, clients
options:
  _input:
    description: What is judged or turned into something else.
    type: list
    required: true
  registry:
    description: See C(plugin_utils/copies.py).
    type: str
    required: true
  clients:
    description: See C(plugin_utils/copies.py).
    type: list
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.copies_plan(...) }}
"""

RETURN = r"""
_value:
  description: "Return what there is to do, in the order of the list."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"copies_plan": wharf_copies_plan}

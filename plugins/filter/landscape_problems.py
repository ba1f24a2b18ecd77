"""The filter landscape_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.settings import wharf_landscape_problems

DOCUMENTATION = r"""
name: landscape_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge the whole landscape on the controller, before any host changes"
description:
  - "Judge the whole landscape on the controller, before any host changes."
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.landscape_problems }}
"""

RETURN = r"""
_value:
  description: "Judge the whole landscape on the controller, before any host changes."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"landscape_problems": wharf_landscape_problems}

"""The filter copies_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import wharf_copies_problems

DOCUMENTATION = r"""
name: copies_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge what copy-images.yml is given, before anything changes"
description:
  - "Judge what copy-images.yml is given, before anything changes."
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.copies_problems }}
"""

RETURN = r"""
_value:
  description: "Judge what copy-images.yml is given, before anything changes."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"copies_problems": wharf_copies_problems}

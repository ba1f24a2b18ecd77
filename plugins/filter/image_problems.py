"""The filter image_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.references import image_problems

DOCUMENTATION = r"""
name: image_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge the reference of the registry's image: pinned by a tag or a digest"
description:
  - "Judge the reference of the registry's image: pinned by a tag or a digest, and not ``latest``."
positional: variable
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/references.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.image_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Judge the reference of the registry's image: pinned by a tag or a digest, and not ``latest``."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"image_problems": image_problems}

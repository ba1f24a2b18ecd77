"""The filter data_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.paths import data_problems

DOCUMENTATION = r"""
name: data_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge where the registry keeps its data: an absolute directory of its own"
description:
  - >-
    Judge where the registry keeps its data: an absolute directory of its own, or the name of a
    volume.
positional: variable
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/paths.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.data_problems(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Judge where the registry keeps its data: an absolute directory of its own, or the name of a
      volume.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"data_problems": data_problems}

"""The filter archive_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.archives import archive_problems

DOCUMENTATION = r"""
name: archive_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge a saved image on the controller: what ``docker save`` writes"
description:
  - "Judge a saved image on the controller: what ``docker save`` writes, plain or packed with gzip."
positional: variable
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/archives.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.archive_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Judge a saved image on the controller: what ``docker save`` writes, plain or packed with gzip."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"archive_problems": archive_problems}

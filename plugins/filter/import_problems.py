"""The filter import_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import wharf_import_problems

DOCUMENTATION = r"""
name: import_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge what import-images.yml is given"
description:
  - "Judge what import-images.yml is given."
positional: fingerprint, parallel, limit
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  fingerprint:
    description: See C(plugin_utils/copies.py).
    type: raw
    required: true
  parallel:
    description: See C(plugin_utils/copies.py).
    type: raw
    required: true
  limit:
    description: See C(plugin_utils/copies.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.import_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Judge what import-images.yml is given."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"import_problems": wharf_import_problems}

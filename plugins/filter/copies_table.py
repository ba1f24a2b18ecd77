"""The filter copies_table: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import wharf_copies_table

DOCUMENTATION = r"""
name: copies_table
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the table of what was copied: image"
description:
  - "Return the table of what was copied: image, digest, size or what else there is to say, seconds."
positional: hosts, check
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  hosts:
    description: See C(plugin_utils/copies.py).
    type: list
    required: true
  check:
    description: See C(plugin_utils/copies.py).
    type: bool
"""

EXAMPLES = r"""
# {{ value | wharf.registry.copies_table(...) }}
"""

RETURN = r"""
_value:
  description: "Return the table of what was copied: image, digest, size or what else there is to say, seconds."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"copies_table": wharf_copies_table}

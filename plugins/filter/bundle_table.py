"""The filter bundle_table: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import wharf_bundle_table

DOCUMENTATION = r"""
name: bundle_table
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the table of what a bundle holds: image, digest, size"
description:
  - "Return the table of what a bundle holds: image, digest, size."
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.bundle_table }}
"""

RETURN = r"""
_value:
  description: "Return the table of what a bundle holds: image, digest, size."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"bundle_table": wharf_bundle_table}

"""The filter free: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import wharf_free

DOCUMENTATION = r"""
name: free
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the bytes that are free on the controller where a file would lie"
description:
  - "Return the bytes that are free on the controller where a file would lie."
options:
  _input:
    description: What is judged or turned into something else.
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.free }}
"""

RETURN = r"""
_value:
  description: "Return the bytes that are free on the controller where a file would lie."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"free": wharf_free}

"""The filter size: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import wharf_size

DOCUMENTATION = r"""
name: size
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the bytes of a file on the controller"
description:
  - "Return the bytes of a file on the controller."
options:
  _input:
    description: What is judged or turned into something else.
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.size }}
"""

RETURN = r"""
_value:
  description: "Return the bytes of a file on the controller."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"size": wharf_size}

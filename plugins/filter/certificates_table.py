"""The filter certificates_table: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.rotation import wharf_certificates_table

DOCUMENTATION = r"""
name: certificates_table
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the lines of a table: what became of each server's certificate"
description:
  - "Return the lines of a table: what became of each server's certificate."
positional: hosts, result
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  hosts:
    description: See C(plugin_utils/rotation.py).
    type: list
    required: true
  result:
    description: See C(plugin_utils/rotation.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.certificates_table(...) }}
"""

RETURN = r"""
_value:
  description: "Return the lines of a table: what became of each server's certificate."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"certificates_table": wharf_certificates_table}

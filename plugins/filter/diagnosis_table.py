"""The filter diagnosis_table: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.diagnosis import wharf_diagnosis_table

DOCUMENTATION = r"""
name: diagnosis_table
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the lines of the table: host"
description:
  - "Return the lines of the table: host, verdict, what to do; a line of its own for each warning."
options:
  _input:
    description: What is judged or turned into something else.
    type: list
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.diagnosis_table }}
"""

RETURN = r"""
_value:
  description: "Return the lines of the table: host, verdict, what to do; a line of its own for each warning."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"diagnosis_table": wharf_diagnosis_table}

"""The filter diagnosis_line: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.diagnosis import wharf_diagnosis_line

DOCUMENTATION = r"""
name: diagnosis_line
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return what there is to say about one host, in one line"
description:
  - "Return what there is to say about one host, in one line."
positional: host
options:
  _input:
    description: What is judged or turned into something else.
    type: list
    required: true
  host:
    description: See C(plugin_utils/diagnosis.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.diagnosis_line(...) }}
"""

RETURN = r"""
_value:
  description: "Return what there is to say about one host, in one line."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"diagnosis_line": wharf_diagnosis_line}

"""The filter diagnosis: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.diagnosis import wharf_diagnosis

DOCUMENTATION = r"""
name: diagnosis
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge what was seen, host by host"
description:
  - "Judge what was seen, host by host."
positional: clients, facts
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  clients:
    description: See C(plugin_utils/diagnosis.py).
    type: dict
    required: true
  facts:
    description: See C(plugin_utils/diagnosis.py).
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.diagnosis(...) }}
"""

RETURN = r"""
_value:
  description: "Judge what was seen, host by host."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"diagnosis": wharf_diagnosis}

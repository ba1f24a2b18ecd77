"""The filter proof_table: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.credentials import wharf_proof_table

DOCUMENTATION = r"""
name: proof_table
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the lines of the proof's table: host"
description:
  - >-
    Return the lines of the proof's table: host, pushed or pulled, digest (its first 12 digits),
    seconds.
positional: cast
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  cast:
    description: See C(plugin_utils/credentials.py).
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.proof_table(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Return the lines of the proof's table: host, pushed or pulled, digest (its first 12 digits),
      seconds.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"proof_table": wharf_proof_table}

"""The filter proof_cast: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.credentials import wharf_proof_cast

DOCUMENTATION = r"""
name: proof_cast
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return who does what in the proof: docker where a host has it"
description:
  - >-
    Return who does what in the proof: docker where a host has it, otherwise podman, otherwise
    nothing.
positional: hosts, there, servers
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  hosts:
    description: See C(plugin_utils/credentials.py).
    type: list
    required: true
  there:
    description: See C(plugin_utils/credentials.py).
    type: list
    required: true
  servers:
    description: See C(plugin_utils/credentials.py).
    type: list
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.proof_cast(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Return who does what in the proof: docker where a host has it, otherwise podman, otherwise
      nothing.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"proof_cast": wharf_proof_cast}

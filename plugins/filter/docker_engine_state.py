"""The filter docker_engine_state: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.engine_state import docker_engine_state

DOCUMENTATION = r"""
name: docker_engine_state
author: Wharf maintainers
version_added: 1.0.0
short_description: "What is to be done on a host"
description:
  - "What is to be done on a host, from the lines of files/look.sh; see DOCUMENTATION and RETURN."
positional: wanted
options:
  _input:
    description: What is judged or turned into something else.
    type: list
    required: true
  wanted:
    description: See C(plugin_utils/engine_state.py).
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.docker_engine_state(...) }}
"""

RETURN = r"""
_value:
  description: "What is to be done on a host, from the lines of files/look.sh; see DOCUMENTATION and RETURN."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"docker_engine_state": docker_engine_state}

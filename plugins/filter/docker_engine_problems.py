"""The filter docker_engine_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.engine_problems import docker_engine_problems

DOCUMENTATION = r"""
name: docker_engine_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Messages about the role's variables; see DOCUMENTATION"
description:
  - "Messages about the role's variables; see DOCUMENTATION."
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.docker_engine_problems }}
"""

RETURN = r"""
_value:
  description: "Messages about the role's variables; see DOCUMENTATION."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"docker_engine_problems": docker_engine_problems}

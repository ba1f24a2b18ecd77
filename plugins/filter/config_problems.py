"""The filter config_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.server_change import registry_config_problems

DOCUMENTATION = r"""
name: config_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge whether a version of the registry understands the user's part of its configuration"
description:
  - "Judge whether a version of the registry understands the user's part of its configuration."
positional: version, variable
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  version:
    description: See C(plugin_utils/server_change.py).
    type: str
    required: true
  variable:
    description: See C(plugin_utils/server_change.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.config_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Judge whether a version of the registry understands the user's part of its configuration."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"config_problems": registry_config_problems}

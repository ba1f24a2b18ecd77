"""The filter config: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.server_config import registry_config

DOCUMENTATION = r"""
name: config
author: Wharf maintainers
version_added: 1.0.0
short_description: "Merge configurations of the registry, later ones over earlier ones"
description:
  - "Merge configurations of the registry, later ones over earlier ones."
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.config }}
"""

RETURN = r"""
_value:
  description: "Merge configurations of the registry, later ones over earlier ones."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"config": registry_config}

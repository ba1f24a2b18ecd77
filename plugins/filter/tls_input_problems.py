"""The filter tls_input_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.tls import registry_tls_input_problems

DOCUMENTATION = r"""
name: tls_input_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return what is wrong with the role's variables beyond their types; [] when all is well"
description:
  - "Return what is wrong with the role's variables beyond their types; [] when all is well."
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.tls_input_problems }}
"""

RETURN = r"""
_value:
  description: "Return what is wrong with the role's variables beyond their types; [] when all is well."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"tls_input_problems": registry_tls_input_problems}

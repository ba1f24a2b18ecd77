"""The filter server_programs_due: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.programs import server_programs_due

DOCUMENTATION = r"""
name: server_programs_due
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return those of the files that are not as they should be on a host"
description:
  - "Return those of the files that are not as they should be on a host."
positional: look
options:
  _input:
    description: What is judged or turned into something else.
    type: list
    required: true
  look:
    description: See C(plugin_utils/programs.py).
    type: list
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.server_programs_due(...) }}
"""

RETURN = r"""
_value:
  description: "Return those of the files that are not as they should be on a host."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"server_programs_due": server_programs_due}

"""The filter server_programs_timers: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.programs import server_programs_timers

DOCUMENTATION = r"""
name: server_programs_timers
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the timers to start anew (wanted) because something of theirs is due"
description:
  - >-
    Return the timers to start anew (wanted) because something of theirs is due, or those to stop
    (not wanted).
positional: wanted
options:
  _input:
    description: What is judged or turned into something else.
    type: list
    required: true
  wanted:
    description: See C(plugin_utils/programs.py).
    type: bool
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.server_programs_timers(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Return the timers to start anew (wanted) because something of theirs is due, or those to stop
      (not wanted).
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"server_programs_timers": server_programs_timers}

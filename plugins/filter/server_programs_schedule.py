"""The filter server_programs_schedule: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.programs import server_programs_schedule

DOCUMENTATION = r"""
name: server_programs_schedule
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the files that start programs from time to time: systemd services and their timers"
description:
  - >-
    Return the files that start programs from time to time: systemd services and their timers, or
    entries for cron.
positional: init
options:
  _input:
    description: What is judged or turned into something else.
    type: list
    required: true
  init:
    description: See C(plugin_utils/programs.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.server_programs_schedule(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Return the files that start programs from time to time: systemd services and their timers, or
      entries for cron.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"server_programs_schedule": server_programs_schedule}

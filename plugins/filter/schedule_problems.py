"""The filter schedule_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.checks import registry_schedule_problems

DOCUMENTATION = r"""
name: schedule_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge how often something happens by itself: daily"
description:
  - >-
    Judge how often something happens by itself: daily, weekly, monthly, or never, which is empty
    text or null.
positional: variable
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/checks.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.schedule_problems(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Judge how often something happens by itself: daily, weekly, monthly, or never, which is empty
      text or null.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"schedule_problems": registry_schedule_problems}

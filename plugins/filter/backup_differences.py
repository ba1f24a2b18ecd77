"""The filter backup_differences: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.backup_report import backup_differences

DOCUMENTATION = r"""
name: backup_differences
author: Wharf maintainers
version_added: 1.0.0
short_description: "Compare a backup with its copy on the controller"
description:
  - "Compare a backup with its copy on the controller."
positional: directory
options:
  _input:
    description: What is judged or turned into something else.
    type: list
    required: true
  directory:
    description: See C(plugin_utils/backup_report.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.backup_differences(...) }}
"""

RETURN = r"""
_value:
  description: "Compare a backup with its copy on the controller."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"backup_differences": backup_differences}

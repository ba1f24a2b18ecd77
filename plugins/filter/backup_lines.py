"""The filter backup_lines: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.backup_report import backup_lines

DOCUMENTATION = r"""
name: backup_lines
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return what the programs on a server said, for people"
description:
  - "Return what the programs on a server said, for people."
positional: host
options:
  _input:
    description: What is judged or turned into something else.
    type: list
    required: true
  host:
    description: See C(plugin_utils/backup_report.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.backup_lines(...) }}
"""

RETURN = r"""
_value:
  description: "Return what the programs on a server said, for people."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"backup_lines": backup_lines}

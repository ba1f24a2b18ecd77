"""The filter backup_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.backup_settings import registry_backup_problems

DOCUMENTATION = r"""
name: backup_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge the settings of a backup"
description:
  - "Judge the settings of a backup."
positional: prefix, required
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  prefix:
    description: See C(plugin_utils/backup_settings.py).
    type: str
    required: true
  required:
    description: See C(plugin_utils/backup_settings.py).
    type: bool
"""

EXAMPLES = r"""
# {{ value | wharf.registry.backup_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Judge the settings of a backup."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"backup_problems": registry_backup_problems}

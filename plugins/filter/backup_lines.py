"""The filter backup_lines: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.backups import backup_lines

DOCUMENTATION = r"""
name: backup_lines
author: Wharf maintainers
version_added: 1.0.0
short_description: The lines that people read after a backup, a check or a restore
description: Makes lines of text of what C(wharf back-up), C(wharf check-backup) and C(wharf restore) printed as JSON.
positional: host
options:
  _input:
    description: The registered results. A task that was skipped has no line, unless all were.
    type: list
    elements: dict
    required: true
  host: {description: "The server's name, which each line begins with.", type: str, required: true}
"""

EXAMPLES = r"""
lines: "{{ [checked] | wharf.registry.backup_lines(inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: The lines; a backup has a table.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"backup_lines": backup_lines}

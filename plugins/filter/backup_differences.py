"""The filter backup_differences: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.backups import backup_differences

DOCUMENTATION = r"""
name: backup_differences
author: Wharf maintainers
version_added: 1.0.0
short_description: What a copy of a backup on the controller lacks, and what it has too much
description:
  - Compares a backup with its copy by the names and sizes of their files. restic never changes a file of a backup.
  - Locks, which last only as long as somebody works, are left out.
positional: directory
options:
  _input:
    description: A line for each file of the backup, its size in bytes, a space, and its path below the backup.
    type: list
    elements: str
    required: true
  directory: {description: The directory of the copy. It need not be there yet., type: path, required: true}
"""

EXAMPLES = r"""
differences: "{{ ['155 config', '4096 data/5f/5f9a'] | wharf.registry.backup_differences('/backup/registry') }}"
"""

RETURN = r"""
_value:
  description: C(missing), the paths to fetch, and C(surplus), the paths that the backup has no more.
  type: dict
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"backup_differences": backup_differences}

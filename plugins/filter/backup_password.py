"""The filter backup_password: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.backups import backup_password

DOCUMENTATION = r"""
name: backup_password
author: Wharf maintainers
version_added: 1.0.0
short_description: The password of a backup, or the one that was generated for it
description:
  - Returns the password that is given, and without one the content of a file on the controller. Where that is missing,
    as in check mode before the first run, the result says that the password is still to be generated.
positional: path
options:
  _input: {description: "The password, or an empty text.", type: str, required: true}
  path: {description: The file on the controller with a generated password., type: path, required: true}
"""

EXAMPLES = r"""
password: "{{ '' | wharf.registry.backup_password(inventory_dir ~ '/.credentials/backup/password') }}"
"""

RETURN = r"""
_value:
  description: The password.
  type: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"backup_password": backup_password}

"""The filter command_archive: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.programs import command_archive

DOCUMENTATION = r"""
name: command_archive
author: Wharf maintainers
version_added: 1.0.0
short_description: The command wharf as one file that Python runs
options:
  _input:
    description: The directory of any role of this collection, from which the collection's own files are found.
    type: path
    required: true
"""

EXAMPLES = r"""
# content: "{{ role_path | wharf.registry.command_archive }}"
"""

RETURN = r"""
_value:
  description: C(base64:), and in base64 a zip archive behind a first line for the kernel.
  type: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"command_archive": command_archive}

"""The filter storage_driver: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.programs import storage_driver

DOCUMENTATION = r"""
name: storage_driver
author: Wharf maintainers
version_added: 1.0.0
short_description: The storage driver of a registry's configuration
description: Only what lies in a file system can be repaired and collected on the server itself.
options:
  _input:
    description: The configuration that the inventory sets, C(registry_server_config).
    type: dict
    required: true
"""

EXAMPLES = r"""
server_programs_repair: "{{ registry_server_config | wharf.registry.storage_driver == 'filesystem' }}"
"""

RETURN = r"""
_value:
  description: The section of C(storage) that is a driver, such as C(s3); V(filesystem) where nothing else is said.
  type: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"storage_driver": storage_driver}

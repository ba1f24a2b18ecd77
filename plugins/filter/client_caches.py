"""The filter client_caches: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.client import client_caches

DOCUMENTATION = r"""
name: client_caches
author: Wharf maintainers
version_added: 1.0.0
short_description: Say what clients are told of the registry's caches
description:
  - Turns O(wharf_caches) into what the role registry_client takes. Nothing of it is secret.
options:
  _input: {description: "The caches as in O(wharf_caches).", type: list, elements: dict, required: true}
"""

EXAMPLES = r"""
caches: "{{ [{'upstream': 'docker.io'}] | wharf.registry.client_caches }}"
# => [{"upstream": "docker.io", "path": "docker.io", "server": "https://registry-1.docker.io"}]
"""

RETURN = r"""
_value: {description: "The caches, each with C(upstream), C(path) and C(server).", type: list, elements: dict}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"client_caches": client_caches}

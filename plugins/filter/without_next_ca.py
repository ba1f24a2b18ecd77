"""The filter without_next_ca: see DOCUMENTATION."""

from ansible_collections.wharf.registry.plugins.plugin_utils.rotation import without_next_ca

DOCUMENTATION = r"""
name: without_next_ca
author: Wharf maintainers
short_description: The clients that a run of C(rotate-ca.yml) has not found to trust the next CA
description: These would lose the registry when it switches.
positional: clients, skipped
options:
  _input: {description: The variable C(hostvars)., type: dict, required: true}
  clients: {description: The group C(registry_clients)., type: list, elements: str, required: true}
  skipped: {description: "The value of C(wharf_skip_clients), host names with commas between them.", type: str}
"""

EXAMPLES = r"""
# {{ hostvars | wharf.registry.without_next_ca(groups['registry_clients'], wharf_skip_clients) }}
"""

RETURN = r"""
_value: {description: The names of these hosts., type: list, elements: str}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"without_next_ca": without_next_ca}

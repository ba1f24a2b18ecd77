"""The filter certificates_table: see DOCUMENTATION."""

from ansible_collections.wharf.registry.plugins.plugin_utils.rotation import certificates_table

DOCUMENTATION = r"""
name: certificates_table
author: Wharf maintainers
short_description: A table of renewed certificates
description: Shows what became of each server's certificate.
positional: hosts, result
options:
  _input: {description: The variable C(hostvars)., type: dict, required: true}
  hosts: {description: The servers., type: list, elements: str, required: true}
  result: {description: The name of wharf renew-certificate's registered result., type: str, required: true}
"""

EXAMPLES = r"""
# {{ hostvars | wharf.registry.certificates_table(ansible_play_hosts, 'renewed') }}
"""

RETURN = r"""
_value: {description: The lines of the table., type: str}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"certificates_table": certificates_table}

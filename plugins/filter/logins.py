"""The filter logins: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.users import logins_with_passwords

DOCUMENTATION = r"""
name: logins
author: Wharf maintainers
version_added: 1.0.0
short_description: Give each login the password of its user
description:
  - Turns O(wharf_registry_logins) into what the role registry_client takes.
positional: known
options:
  _input:
    description: Logins, each with C(user), a system user, and C(name), one of the registry's users.
    type: list
    elements: dict
    required: true
  known: {description: What P(wharf.registry.users#filter) returns., type: list, elements: dict, required: true}
"""

EXAMPLES = r"""
logins: "{{ [{'user': 'root', 'name': 'ci'}] | wharf.registry.logins([{'name': 'ci', 'password': 's3cret'}]) }}"
# => [{"user": "root", "name": "ci", "password": "s3cret"}]
"""

RETURN = r"""
_value: {description: "The logins, each with C(user), C(name) and C(password).", type: list, elements: dict}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"logins": logins_with_passwords}

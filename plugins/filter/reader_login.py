"""The filter reader_login: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.users import reader_login

DOCUMENTATION = r"""
name: reader_login
author: Wharf maintainers
version_added: 1.0.0
short_description: Say as whom tools without a login of their own read the caches
description:
  - Turns O(wharf_caches_reader) into what the role registry_client takes. Without a reader no password is looked for.
positional: users, directory, placeholder
options:
  _input: {description: "The user's name as in O(wharf_caches_reader), or nothing.", type: str, required: true}
  users: {description: "The users as in O(wharf_registry_users).", type: list, elements: dict, required: true}
  directory: {description: "Where the generated passwords lie, a file for each user.", type: path, required: true}
  placeholder:
    description: Stands for a password that is still to be generated. Without it, such a password is an error.
    type: str
"""

EXAMPLES = r"""
login: "{{ 'kiosk' | wharf.registry.reader_login([{'name': 'kiosk', 'password': 's3cret'}], '.credentials/users') }}"
# => {"name": "kiosk", "password": "s3cret"}
"""

RETURN = r"""
_value: {description: "C(name) and C(password), or an empty dictionary.", type: dict}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"reader_login": reader_login}

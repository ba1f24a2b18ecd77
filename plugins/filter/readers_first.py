"""The filter readers_first: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.access import readers_first

DOCUMENTATION = r"""
name: readers_first
author: Wharf maintainers
version_added: 1.0.0
short_description: Sort the registry's users by whether they may pull an image
description:
  - Those who may pull it come first, in the order in which they were given. Without an image those come first who may
    list all repositories.
positional: rules, image, name
options:
  _input: {description: "The users as in O(wharf_registry_users).", type: list, elements: dict, required: true}
  rules: {description: "The rules as in O(wharf_registry_rules).", type: list, elements: dict, required: true}
  image: {description: "A repository with a tag or digest; empty for all.", type: str, required: true}
  name: {description: "The registry's name, which may stand in front of the image.", type: str, required: true}
"""

EXAMPLES = r"""
users: "{{ [{'name': 'ci'}, {'name': 'boss', 'role': 'admin'}] | wharf.registry.readers_first(rules, '', 'reg.test') }}"
# => [{"name": "boss", "role": "admin"}, {"name": "ci"}]
"""

RETURN = r"""
_value: {description: "All users, as they were given.", type: list, elements: dict}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"readers_first": readers_first}

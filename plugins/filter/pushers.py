"""The filter pushers: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.access import pushers

DOCUMENTATION = r"""
name: pushers
author: Wharf maintainers
version_added: 1.0.0
short_description: Choose the user who pushes images
description:
  - Takes the first user who may push to the repositories of all images. That there is none is an error.
positional: rules, images
options:
  _input: {description: "The users as in O(wharf_registry_users).", type: list, elements: dict, required: true}
  rules: {description: "The rules as in O(wharf_registry_rules).", type: list, elements: dict, required: true}
  images: {description: "Repositories, with or without a tag.", type: list, elements: str, required: true}
"""

EXAMPLES = r"""
user: "{{ [{'name': 'kiosk', 'role': 'reader'}, {'name': 'ci'}] | wharf.registry.pushers([], ['team/app:1.0']) }}"
# => [{"name": "ci"}]
"""

RETURN = r"""
_value: {description: That user as it was given; none where the registry has no users., type: list, elements: dict}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"pushers": pushers}

"""The filter copies_plan: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import copies_plan

DOCUMENTATION = r"""
name: copies_plan
author: Wharf maintainers
version_added: 1.0.0
short_description: Say what is wrong with the images to copy, and which host has to copy which of them
description: Reads the archives among them on the controller.
positional: registry, server, clients
options:
  _input: {description: The variable C(wharf_copies)., type: list, elements: dict, required: true}
  registry: {description: "The registry, C(NAME:PORT).", type: str, required: true}
  server: {description: The host that runs the registry and copies what no engine pushes., type: str, required: true}
  clients: {description: The hosts whose engines may push., type: list, elements: str, required: true}
  ca: {description: "The variable C(wharf_copies_ca), PEM text or the path of a file.", type: str, default: ""}
  users: {description: "The users as in O(wharf_registry_users).", type: list, elements: dict, default: []}
  rules: {description: "The rules as in O(wharf_registry_rules).", type: list, elements: dict, default: []}
"""

EXAMPLES = r"""
- name: Plan the copies
  ansible.builtin.set_fact:
    plan: >-
      {{ [{'from': 'quay.example.com/team/app:1.4'}]
         | wharf.registry.copies_plan('registry.example.com:5000', 'server', ['client1']) }}
"""

RETURN = r"""
_value:
  description: C(problems), a line for each mistake. C(hosts), for each host that has to copy something C(host),
    C(engine) (whether its engine pushes), and C(images) as the module M(wharf.registry.registry_images) takes them.
    C(ca), the CA certificates in PEM; empty where none are given.
  type: dict
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"copies_plan": copies_plan}

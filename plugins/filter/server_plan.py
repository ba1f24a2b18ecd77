"""The filter server_plan: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.server_plan import server_plan

DOCUMENTATION = r"""
name: server_plan
author: Wharf maintainers
version_added: 1.0.0
short_description: Plan a registry from the variables of the role registry_server
description:
  - Judges the variables, and works out what the role deploys. It needs no host.
positional: base
options:
  _input: {description: "The role's variables, without their prefix.", type: dict, required: true}
  base: {description: "The role's own configuration of the registry.", type: dict, required: true}
"""

EXAMPLES = r"""
- ansible.builtin.set_fact:
    plan: "{{ settings | wharf.registry.server_plan({'version': 0.1, 'storage': {'filesystem': {}}}) }}"
"""

RETURN = r"""
_value:
  description:
    - C(problems), a line for each setting that cannot work; where there is one, nothing else is returned.
    - C(image) and C(gateway_image), each with its C(name), C(id), C(digest) and C(layers); the latter three are known
      of an archive only.
    - C(config), the registry's configuration, and C(config_keys), the paths of the keys that the user gives it.
    - C(registry), what the modules registry_info and registry_container are told, but for C(config).
    - C(access), a line for each rule about who may do what, and one for the repositories without a rule.
    - C(gateway), what the template of its configuration is filled with.
    - C(lacks_secrets), whether what all servers have alike is still to be generated.
    - C(generate), the users whose password is still to be generated.
    - C(generated), the users whose password is generated, and must be the one that the server has, if it has one.
  type: dict
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"server_plan": server_plan}

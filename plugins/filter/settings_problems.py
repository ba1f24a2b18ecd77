"""The filter settings_problems: see DOCUMENTATION."""

from ansible_collections.wharf.registry.plugins.plugin_utils.settings import settings_problems

DOCUMENTATION = r"""
name: settings_problems
author: Wharf maintainers
short_description: What is wrong with the settings of a deployment
description:
  - Judges every variable that begins with C(wharf_), on all hosts, by the specification of the role C(settings)
    and by what a specification cannot say.
positional: hosts, servers
options:
  _input: {description: The variable C(hostvars)., type: dict, required: true}
  hosts: {description: The hosts whose settings are judged., type: list, elements: str, required: true}
  servers: {description: The hosts that run the registry., type: list, elements: str, required: true}
"""

EXAMPLES = r"""
# {{ hostvars | wharf.registry.settings_problems(ansible_play_hosts_all, groups['registry_servers']) }}
"""

RETURN = r"""
_value:
  description: A line for each mistake, with the variable, what is wrong and what would be right. Never a secret.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"settings_problems": settings_problems}

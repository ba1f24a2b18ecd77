"""The filter docker_engine_problems: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.engine_variables import docker_engine_problems

DOCUMENTATION = r"""
name: docker_engine_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: Find variables of the role docker_engine that cannot be right
description: Judges types and choices by the role's argument specification, and what a specification cannot say.
positional: hosts
options:
  _input:
    description: Variables by host and name, such as C(hostvars). Those that are not given have their defaults.
    type: dict
    required: true
  hosts:
    description: The hosts whose variables are judged.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
problems: "{{ hostvars | wharf.registry.docker_engine_problems(ansible_play_hosts_all) }}"
# => ["docker_engine_log_max_size: 'big' is no size: use a whole number followed by k, m or g, such as 10m (on a)"]
"""

RETURN = r"""
_value:
  description:
    - A line for each mistake, with the variable, what is wrong, what would be right, and the hosts where only some
      make it. None holds a proxy's address, which may hold a password.
  type: list
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"docker_engine_problems": docker_engine_problems}

"""The filter docker_engine_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.engine_variables import docker_engine_problems

DOCUMENTATION = r"""
name: docker_engine_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: Find variables of the role docker_engine that cannot be right
description:
  - Finds what the types and choices of the argument specification cannot, one message for each mistake.
  - Messages never hold a proxy's address, which may hold a password.
options:
  _input:
    description: The role's variables by name. Those that are not given are not judged.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ {'docker_engine_log_max_size': 'big'} | wharf.registry.docker_engine_problems }}"
# => ["docker_engine_log_max_size is 'big'. It must be a whole number followed by k, m or g, such as 10m."]
"""

RETURN = r"""
_value:
  description: Messages that name the variable, what is wrong with it and what would be right.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"docker_engine_problems": docker_engine_problems}

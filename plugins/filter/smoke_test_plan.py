"""The filter smoke_test_plan: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.smoke_test import smoke_test_plan

DOCUMENTATION = r"""
name: smoke_test_plan
author: Wharf maintainers
version_added: 1.0.0
short_description: Choose who pushes and who pulls in the smoke test
description:
  - Takes docker where a host has it, otherwise podman.
positional: hosts, reachable, servers
options:
  _input: {description: Ansible's variable hostvars., type: dict, required: true}
  hosts: {description: The clients that the smoke test is to cover., type: list, elements: str, required: true}
  reachable: {description: Those of them that can be reached and take part., type: list, elements: str, required: true}
  servers:
    description: The registry's servers, which have docker whatever they trust.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
plan: "{{ hostvars | wharf.registry.smoke_test_plan(['one', 'two', 'off'], ['one', 'two'], []) }}"
# => {"source": "one", "targets": ["two"], "tools": {"one": "docker", "two": "docker", "off": ""},
#     "unreachable": ["off"]}
"""

RETURN = r"""
_value:
  description: C(source), the host that pushes, C(targets), the hosts that pull, C(tools), what each host uses, and
    C(unreachable).
  type: dict
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"smoke_test_plan": smoke_test_plan}

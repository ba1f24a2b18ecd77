"""The filter client_problems: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.client import client_problems

DOCUMENTATION = r"""
name: client_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: Judge the settings of the role registry_client
description:
  - Judges all that can be told without the host. No line holds a password.
positional: ca, logins, check
options:
  _input: {description: "The role's other variables, without their prefix.", type: dict, required: true}
  ca: {description: The CA certificates in PEM., type: str, required: true}
  logins: {description: "Mappings of C(user), C(name) and C(password).", type: list, required: true}
  check:
    description: Whether nothing will be changed, so that certificate and passwords may be still to be made.
    type: bool
    required: true
"""

EXAMPLES = r"""
problems: "{{ settings | wharf.registry.client_problems(ca, [], false) }}"
# => ["registry_client_port: 0 is not a TCP port: use a number from 1 to 65535"]
"""

RETURN = r"""
_value:
  description: "A line for each problem: the variable, what is wrong, and what would be right."
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"client_problems": client_problems}

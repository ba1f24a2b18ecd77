"""The filter pem_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.paths import pem_problems

DOCUMENTATION = r"""
name: pem_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: Judge a certificate or a key as far as its form goes
description:
  - Good are PEM text, and the absolute path of a PEM file on the controller. What the certificate says is not judged.
positional: variable, block
options:
  _input:
    description: PEM text or a path.
    type: raw
    required: true
  variable:
    description: The name of the variable that holds it, for the messages.
    type: str
    required: true
  block:
    description: Which PEM block must be there.
    type: str
    choices: [certificate, key]
    default: certificate
"""

EXAMPLES = r"""
- name: Refuse what is no certificate
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ my_certificate | wharf.registry.pem_problems('my_certificate') }}"
"""

RETURN = r"""
_value:
  description: "A line for each problem: the variable, what is wrong, and what would be right."
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"pem_problems": pem_problems}

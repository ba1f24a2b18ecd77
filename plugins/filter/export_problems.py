"""The filter export_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import export_problems

DOCUMENTATION = r"""
name: export_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: Judge what playbooks/export-images.yml is given
description:
  - Judges what the specification of the role settings cannot say.
positional: images
options:
  _input:
    description: The variable C(wharf_bundle), the path on the controller.
    type: str
    required: true
  images:
    description: The variable C(wharf_export_images), the patterns.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse what cannot be exported
  ansible.builtin.assert:
    that: "'/srv/images/team.tar' | wharf.registry.export_problems(['team/*']) | length == 0"
"""

RETURN = r"""
_value:
  description: A line for each mistake; it names the variable, what is wrong and what would be right.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"export_problems": export_problems}

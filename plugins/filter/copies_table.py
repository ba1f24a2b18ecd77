"""The filter copies_table: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import copies_table

DOCUMENTATION = r"""
name: copies_table
author: Wharf maintainers
version_added: 1.0.0
short_description: Make the table of what was copied
description:
  - One row for each image, with its digest, its size and how long it took, or what else is to be said of it.
positional: check
options:
  _input:
    description: What became of each image, from P(wharf.registry.copies_results#filter).
    type: list
    elements: dict
    required: true
  check:
    description: Whether nothing was really copied.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show all images in a table
  ansible.builtin.debug:
    msg: "{{ copied.results | wharf.registry.copies_results(plan.hosts) | wharf.registry.copies_table }}"
"""

RETURN = r"""
_value:
  description: The table, a line for each row.
  type: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"copies_table": copies_table}

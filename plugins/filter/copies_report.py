"""The filter copies_report: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import copies_report

DOCUMENTATION = r"""
name: copies_report
author: Wharf maintainers
version_added: 1.0.0
short_description: Say what became of the images that were to be copied
description:
  - Takes together what the hosts of a plan returned, also those that could not be reached.
positional: plan, check
options:
  _input:
    description: What M(wharf.registry.registry_images) returned for each host of the plan, in its order.
    type: list
    elements: dict
    required: true
  plan:
    description: The hosts with their C(images), from P(wharf.registry.copies_plan#filter).
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
    msg: "{{ (copied.results | wharf.registry.copies_report(plan.hosts)).table }}"
"""

RETURN = r"""
_value:
  description: What became of them.
  type: dict
  contains:
    table:
      description: A row for each image, with its digest, its size and how long it took, or what else there is to say.
      type: str
    failed:
      description: The images that were not copied.
      type: list
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"copies_report": copies_report}

"""The filter copies_results: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import copies_results

DOCUMENTATION = r"""
name: copies_results
author: Wharf maintainers
version_added: 1.0.0
short_description: Say what became of each image
description:
  - Takes together what the hosts of a plan returned, also those that could not be reached.
positional: plan
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
"""

EXAMPLES = r"""
- name: Fail where an image was not copied
  ansible.builtin.assert:
    that: copied.results | wharf.registry.copies_results(plan.hosts) | rejectattr('failed') | length == 0
"""

RETURN = r"""
_value:
  description: For each image C(image), C(failed) and C(msg), or what the module returned of it.
  type: list
  elements: dict
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"copies_results": copies_results}

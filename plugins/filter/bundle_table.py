"""The filter bundle_table: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import bundle_table

DOCUMENTATION = r"""
name: bundle_table
author: Wharf maintainers
version_added: 1.0.0
short_description: Make the table of what a bundle holds
description:
  - One row for each image with its digest and size; then the size of all blobs, and the fingerprint.
options:
  _input:
    description: What M(wharf.registry.registry_bundle) returned.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show all images in a table
  ansible.builtin.debug:
    msg: "{{ found | wharf.registry.bundle_table }}"
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
        return {"bundle_table": bundle_table}

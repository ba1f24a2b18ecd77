"""The filter smoke_test_table: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.smoke_test import smoke_test_table

DOCUMENTATION = r"""
name: smoke_test_table
author: Wharf maintainers
version_added: 1.0.0
short_description: Show what the smoke test has moved
description:
  - Has a line for each host.
positional: plan
options:
  _input:
    description: Ansible's variable hostvars, with the module's results in C(__wharf_pushed) and C(__wharf_pulled).
    type: dict
    required: true
  plan: {description: What P(wharf.registry.smoke_test_plan#filter) returned., type: dict, required: true}
"""

EXAMPLES = r"""
lines: "{{ hostvars | wharf.registry.smoke_test_table(plan) }}"
# => ["one  pushed  sha256:f2ca1bb6c7e9    0.42 s", "two  pulled  sha256:f2ca1bb6c7e9    0.31 s"]
"""

RETURN = r"""
_value: {description: The lines., type: list, elements: str}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"smoke_test_table": smoke_test_table}

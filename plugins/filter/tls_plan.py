"""The filter tls_plan: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.tls import registry_tls_plan

DOCUMENTATION = r"""
name: tls_plan
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge what the look found on the host. Returns what is due and all that the tasks need in order"
description:
  - >-
    Judge what the look found on the host. Returns what is due and all that the tasks need in
    order to do it.
positional: wanted, now, renewal_due
options:
  _input:
    description: What is judged or turned into something else.
    type: str
    required: true
  wanted:
    description: See C(plugin_utils/tls.py).
    type: dict
    required: true
  now:
    description: See C(plugin_utils/tls.py).
    type: float
  renewal_due:
    description: See C(plugin_utils/tls.py).
    type: bool
"""

EXAMPLES = r"""
# {{ value | wharf.registry.tls_plan(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Judge what the look found on the host. Returns what is due and all that the tasks need in
      order to do it.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"tls_plan": registry_tls_plan}

"""The filter renewal_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.rotation import wharf_renewal_problems

DOCUMENTATION = r"""
name: renewal_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Say why there is no certificate of Wharf's own to renew"
description:
  - "Say why there is no certificate of Wharf's own to renew."
positional: playbook
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  playbook:
    description: See C(plugin_utils/rotation.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.renewal_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Say why there is no certificate of Wharf's own to renew."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"renewal_problems": wharf_renewal_problems}

"""The filter port_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.names import port_problems

DOCUMENTATION = r"""
name: port_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge a TCP port: a number from 1 to 65535"
description:
  - >-
    Judge a TCP port: a number from 1 to 65535, or its digits as text. Null means the default and
    is good.
positional: variable
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/names.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.port_problems(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Judge a TCP port: a number from 1 to 65535, or its digits as text. Null means the default and
      is good.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"port_problems": port_problems}

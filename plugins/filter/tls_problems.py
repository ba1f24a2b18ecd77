"""The filter tls_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.tls import registry_tls_problems

DOCUMENTATION = r"""
name: tls_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return what is wrong with a provided certificate"
description:
  - "Return what is wrong with a provided certificate, key and CA; [] when clients will accept them."
positional: name, aliases, variables, now
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  name:
    description: See C(plugin_utils/tls.py).
    type: str
    required: true
  aliases:
    description: See C(plugin_utils/tls.py).
    type: list
  variables:
    description: See C(plugin_utils/tls.py).
    type: dict
  now:
    description: See C(plugin_utils/tls.py).
    type: raw
"""

EXAMPLES = r"""
# {{ value | wharf.registry.tls_problems(...) }}
"""

RETURN = r"""
_value:
  description: "Return what is wrong with a provided certificate, key and CA; [] when clients will accept them."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"tls_problems": registry_tls_problems}

"""The filter tls_warnings: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.tls import registry_tls_warnings

DOCUMENTATION = r"""
name: tls_warnings
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return what will soon be wrong with a provided certificate; [] when all is well"
description:
  - >-
    Return what will soon be wrong with a provided certificate; [] when all is well, or when it
    cannot be read.
positional: variable, now
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/tls.py).
    type: str
  now:
    description: See C(plugin_utils/tls.py).
    type: float
"""

EXAMPLES = r"""
# {{ value | wharf.registry.tls_warnings(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Return what will soon be wrong with a provided certificate; [] when all is well, or when it
      cannot be read.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"tls_warnings": registry_tls_warnings}

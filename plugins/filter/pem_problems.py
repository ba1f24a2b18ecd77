"""The filter pem_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.paths import pem_problems

DOCUMENTATION = r"""
name: pem_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge a certificate or key: PEM text"
description:
  - >-
    Judge a certificate or key: PEM text, or the path of a PEM file on the controller. Its content
    is not judged.
positional: variable, kind
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  variable:
    description: See C(plugin_utils/paths.py).
    type: str
    required: true
  kind:
    description: See C(plugin_utils/paths.py).
    type: str
"""

EXAMPLES = r"""
# {{ value | wharf.registry.pem_problems(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Judge a certificate or key: PEM text, or the path of a PEM file on the controller. Its content
      is not judged.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"pem_problems": pem_problems}

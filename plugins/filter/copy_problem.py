"""The filter copy_problem: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import wharf_copy_problem

DOCUMENTATION = r"""
name: copy_problem
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return why an image was not copied; empty when it was, or when nothing was due"
description:
  - "Return why an image was not copied; empty when it was, or when nothing was due."
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.copy_problem }}
"""

RETURN = r"""
_value:
  description: "Return why an image was not copied; empty when it was, or when nothing was due."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"copy_problem": wharf_copy_problem}

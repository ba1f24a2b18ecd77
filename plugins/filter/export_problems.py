"""The filter export_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.copies import wharf_export_problems

DOCUMENTATION = r"""
name: export_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge what export-images.yml is given: the bundle's path on the controller"
description:
  - >-
    Judge what export-images.yml is given: the bundle's path on the controller, the patterns, and
    true or false.
positional: images, registry_image
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  images:
    description: See C(plugin_utils/copies.py).
    type: raw
    required: true
  registry_image:
    description: See C(plugin_utils/copies.py).
    type: raw
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.export_problems(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Judge what export-images.yml is given: the bundle's path on the controller, the patterns, and
      true or false.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"export_problems": wharf_export_problems}

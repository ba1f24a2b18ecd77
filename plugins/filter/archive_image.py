"""The filter archive_image: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.archives import archive_image

DOCUMENTATION = r"""
name: archive_image
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return which image a saved image file holds"
description:
  - "Return which image a saved image file holds."
options:
  _input:
    description: What is judged or turned into something else.
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.archive_image }}
"""

RETURN = r"""
_value:
  description: "Return which image a saved image file holds."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"archive_image": archive_image}

"""The filter data_mark: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.server_change import registry_data_mark

DOCUMENTATION = r"""
name: data_mark
author: Wharf maintainers
version_added: 1.0.0
short_description: "Judge whether the data that was found is this registry's own"
description:
  - "Judge whether the data that was found is this registry's own."
positional: data, name, confirmed, host
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  data:
    description: See C(plugin_utils/server_change.py).
    type: str
    required: true
  name:
    description: See C(plugin_utils/server_change.py).
    type: str
    required: true
  confirmed:
    description: See C(plugin_utils/server_change.py).
    type: str
    required: true
  host:
    description: See C(plugin_utils/server_change.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.data_mark(...) }}
"""

RETURN = r"""
_value:
  description: "Judge whether the data that was found is this registry's own."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"data_mark": registry_data_mark}

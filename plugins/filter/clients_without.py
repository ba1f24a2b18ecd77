"""The filter clients_without: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.rotation import wharf_clients_without

DOCUMENTATION = r"""
name: clients_without
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return Ansible's pattern for the group registry_clients without the hosts in ``wharf_leave_behi"
description:
  - >-
    Return Ansible's pattern for the group registry_clients without the hosts in
    ``wharf_skip_clients``.
options:
  _input:
    description: What is judged or turned into something else.
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.clients_without }}
"""

RETURN = r"""
_value:
  description: >-
      Return Ansible's pattern for the group registry_clients without the hosts in
      ``wharf_skip_clients``.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"clients_without": wharf_clients_without}

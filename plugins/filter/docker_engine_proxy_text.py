"""The filter docker_engine_proxy_text: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.engine_proxies import docker_engine_proxy_text

DOCUMENTATION = r"""
name: docker_engine_proxy_text
author: Wharf maintainers
version_added: 1.0.0
short_description: "The file's text; see DOCUMENTATION"
description:
  - "The file's text; see DOCUMENTATION."
positional: direct
options:
  _input:
    description: What is judged or turned into something else.
    type: dict
    required: true
  direct:
    description: See C(plugin_utils/engine_proxies.py).
    type: list
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.docker_engine_proxy_text(...) }}
"""

RETURN = r"""
_value:
  description: "The file's text; see DOCUMENTATION."
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"docker_engine_proxy_text": docker_engine_proxy_text}

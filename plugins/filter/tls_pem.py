"""The filter tls_pem: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.tls import registry_tls_pem

DOCUMENTATION = r"""
name: tls_pem
author: Wharf maintainers
version_added: 1.0.0
short_description: "Return the certificates or the key in `value` (PEM text or a controller file) as the text of th"
description:
  - >-
    Return the certificates or the key in `value` (PEM text or a controller file) as the text of
    the host's file.
positional: kind
options:
  _input:
    description: What is judged or turned into something else.
    type: raw
    required: true
  kind:
    description: See C(plugin_utils/tls.py).
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ value | wharf.registry.tls_pem(...) }}
"""

RETURN = r"""
_value:
  description: >-
      Return the certificates or the key in `value` (PEM text or a controller file) as the text of
      the host's file.
  type: raw
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"tls_pem": registry_tls_pem}

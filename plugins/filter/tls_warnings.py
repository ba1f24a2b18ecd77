"""The filter tls_warnings: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.certificates import tls_warnings

DOCUMENTATION = r"""
name: tls_warnings
author: Wharf maintainers
version_added: 1.0.0
short_description: What will soon be wrong with a certificate that others provide
description:
  - Warns of a certificate that ends within 30 days. One that cannot be read is the business of
    P(wharf.registry.tls_problems#filter).
positional: variable, now
options:
  _input:
    description: PEM text, or the path of a file on the controller.
    type: str
    required: true
  variable:
    description: How the message calls it.
    type: str
    default: ""
  now:
    description: The time for which to judge, in seconds since the epoch. The present without it.
    type: float
"""

EXAMPLES = r"""
- name: Warn of a certificate that ends soon
  ansible.builtin.debug:
    msg: "{{ 'files/registry.pem' | wharf.registry.tls_warnings('wharf_registry_certificate') }}"
"""

RETURN = r"""
_value:
  description: At most one message.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"tls_warnings": tls_warnings}

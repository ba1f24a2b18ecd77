"""The filter provided_certificate: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.certificates import provided_certificate

DOCUMENTATION = r"""
name: provided_certificate
author: Wharf maintainers
version_added: 1.0.0
short_description: Read and judge a certificate that others provide
description:
  - Reads certificate, key and CA, judges whether clients will accept them, and returns what the module
    M(wharf.registry.registry_certificate) installs.
positional: name, aliases
options:
  _input:
    description:
      - The keys V(certificate), V(key) and V(ca), each PEM text or the path of a file on the controller. The
        certificate is the server's own, followed by its intermediates.
    type: dict
    required: true
  name:
    description: The name or address under which clients reach the registry.
    type: str
    required: true
  aliases:
    description: Further names and addresses.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Install a certificate
  wharf.registry.registry_certificate:
    name: registry.example.org
    mode: provided
    key: "{{ judged.key }}"
    provided: "{{ judged.provided }}"
  vars:
    judged: "{{ files | wharf.registry.provided_certificate('registry.example.org') }}"
    files:
      certificate: files/registry.pem
      key: "{{ vault_registry_key }}"
      ca: files/company-ca.pem
"""

RETURN = r"""
_value:
  description:
    - The arguments V(key) and V(provided) of the module. What cannot be read is empty.
  type: dict
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"provided_certificate": provided_certificate}

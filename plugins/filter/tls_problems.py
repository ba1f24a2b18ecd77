"""The filter tls_problems: see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.certificates import tls_problems

DOCUMENTATION = r"""
name: tls_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: What is wrong with a certificate that others provide
description:
  - Judges certificate, key and CA as clients do, and says of each fault what it is and what would be right.
positional: name, aliases, variables, now
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
  variables:
    description:
      - How the messages call what is judged, by the keys V(certificate), V(key), V(ca), V(name) and V(aliases). The
        variables of the role C(registry_tls) without it.
    type: dict
  now:
    description: The time for which to judge, a C(datetime) with its time zone. The present without it.
    type: raw
"""

EXAMPLES = r"""
- name: Refuse a certificate that clients would refuse
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    files: {certificate: files/registry.pem, key: "{{ vault_registry_key }}", ca: files/company-ca.pem}
    problems: "{{ files | wharf.registry.tls_problems('registry.example.org', ['registry']) }}"
"""

RETURN = r"""
_value:
  description: One message for each fault; empty when clients will accept the certificate.
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"tls_problems": tls_problems}

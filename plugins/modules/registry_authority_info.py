#!/usr/bin/python
"""Ansible module: the private CA on a registry's server, with its keys, for a host that shares it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_authority_info
short_description: Read the private CA on a registry's server, with its keys
description:
  - What M(wharf.registry.registry_certificate) takes as O(wharf.registry.registry_certificate#module:authority) on
    another host, whose certificate is to come from the same CA. While one CA follows another, that is both.
  - The result holds private keys. Let the task have C(no_log), so that they are only in the controller's memory.
options:
  directory: {description: "The directory of ca.crt, registry.crt, registry.key.", type: path, default: /etc/wharf/tls}
  ca_directory: {description: The directory of the private CA., type: path, default: /etc/wharf/ca}
attributes:
  check_mode: {support: full}
author: Wharf maintainers
"""

EXAMPLES = r"""
- name: Read the CA of the server
  wharf.registry.registry_authority_info:
  delegate_to: server
  no_log: true
  register: authority
"""

RETURN = r"""
authority: {description: "The files of the CA, as JSON.", returned: success, type: str}
"""

import json

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.private_ca import read_authority


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "default": "/etc/wharf/tls"},
            "ca_directory": {"type": "path", "default": "/etc/wharf/ca"},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, authority=json.dumps(read_authority(**module.params)))


if __name__ == "__main__":
    main()

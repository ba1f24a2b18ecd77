#!/usr/bin/python
"""Ansible module: the files and directories of a registry on its server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_files
short_description: Write the configuration, the users and the data's directory of a registry
description:
  - One visit for all files and directories of a registry, each with its owner and mode.
  - The data gets an ID of its own, which the registry's container needs to start.
  - A new configuration is tried first; one that the registry refuses changes nothing.
  - The configuration that the container runs with is kept as C(config.yml.before), for
    M(wharf.registry.registry_container).
options:
  validate:
    description: Whether to start the image on a new configuration before it replaces the old one.
    type: bool
    default: true
extends_documentation_fragment: [wharf.registry.registry]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: partial
    details: What may be secret is not shown.
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- name: Write the registry's configuration, its users, and its data's ID
  wharf.registry.registry_files:
    registry: "{{ registry }}"
"""

RETURN = r"""
written:
  description: What was written, or would be, of data, data_id, directory, users, config and settings.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.lock import lock
from ansible_collections.wharf.registry.plugins.module_utils.server_container import REGISTRY_SPEC
from ansible_collections.wharf.registry.plugins.module_utils.server_data import read
from ansible_collections.wharf.registry.plugins.module_utils.server_files import FILES_SPEC, Files, data_path


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "dict", "required": True, "options": {**REGISTRY_SPEC, **FILES_SPEC}},
            "validate": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    registry = module.params["registry"]
    try:
        path = data_path(registry["data"])
        files = Files(registry, path, read(path, registry["directory"]))
        pending, diff = list(files.pending), files.diff()
        if pending and not module.check_mode:
            with lock("deploy-registry", wait=60):
                files.write(module.params["validate"])
    except (WharfError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(pending), written=pending, diff=diff)


if __name__ == "__main__":
    main()

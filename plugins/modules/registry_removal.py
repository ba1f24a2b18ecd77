#!/usr/bin/python
"""Ansible module: remove what a registry has on its server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_removal
short_description: Remove a registry from its server
description:
  - Removes the container, its image where nothing else uses it, and the configuration, in one visit.
  - Refuses while something holds the registry's lock.
options:
  container:
    description: The container's name.
    type: str
    required: true
  directory:
    description: The directory of config.yml and htpasswd.
    type: path
    required: true
  data:
    description: The data, an absolute directory or the name of a volume, to remove it as well; empty to keep it.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- name: Remove the registry, and keep its images
  wharf.registry.registry_removal:
    container: registry
    directory: /etc/wharf/registry
"""

RETURN = r"""
removed:
  description: What was removed, or would be.
  returned: success
  type: list
  elements: str
  sample: [container registry, image wharf-registry:distro, /etc/wharf/registry]
"""

import contextlib

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.lock import lock, lock_holder
from ansible_collections.wharf.registry.plugins.module_utils.server_removal import Removal


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "container": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "data": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    p = module.params
    removal = Removal(module.check_mode)
    try:
        if holder := lock_holder():
            raise WharfError(f"{holder}: wait until it has finished")
        # In check mode not even the lock's file is made.
        with contextlib.nullcontext() if module.check_mode else lock("remove-registry"):
            removal.remove(p["container"], p["directory"], p["data"])
    except (WharfError, OSError) as error:
        module.fail_json(msg=str(error), removed=removal.removed)
    module.exit_json(changed=bool(removal.removed), removed=removal.removed)


if __name__ == "__main__":
    main()

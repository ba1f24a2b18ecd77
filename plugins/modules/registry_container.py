#!/usr/bin/python
"""Ansible module: the registry's container, replaced so that the one that ran comes back when its successor fails."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_container
short_description: Run a registry's container, and roll back when it does not answer
description:
  - Creates the container, or replaces one that differs from what it should be, starts it, and waits until the registry
    answers under its name, its certificate verified against its CA.
  - A container that is as it should be is restarted where it serves another certificate than the one in its file.
  - The container that runs is kept aside until its successor has answered. Otherwise it comes back, with the
    configuration that it had, and the module fails with the last lines of the successor's log.
  - At any moment one of the two is there whole. What a run that was cut off has left is rolled back by
    O(state=rolled_back).
  - M(community.docker.docker_container) replaces a container without a way back.
options:
  state:
    description:
      - V(started) runs the container. V(rolled_back) takes the container back that a run has set aside, if there is
        one.
    type: str
    choices: [started, rolled_back]
    default: started
  timeout:
    description: How long the registry has to answer, in seconds.
    type: int
    default: 60
extends_documentation_fragment: [wharf.registry.registry]
attributes:
  check_mode:
    support: full
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- name: Run the registry
  wharf.registry.registry_container:
    registry: "{{ registry }}"
    timeout: 60
"""

RETURN = r"""
actions:
  description: What was done, or would be, of created, replaced, started, restarted and rolled_back.
  returned: success
  type: list
  elements: str
differences:
  description: In what the container differed from what it should be, by the engine's names.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.server_container import REGISTRY_SPEC
from ansible_collections.wharf.registry.plugins.module_utils.server_files import FILES_SPEC
from ansible_collections.wharf.registry.plugins.module_utils.server_run import Run


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "dict", "required": True, "options": {**REGISTRY_SPEC, **FILES_SPEC}},
            "state": {"type": "str", "choices": ["started", "rolled_back"], "default": "started"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    p = module.params
    run = Run(p["registry"], p["timeout"], module.check_mode)
    try:
        if p["state"] == "started":
            run.start()
        else:
            run.recover()
    except (WharfError, OSError) as error:
        module.fail_json(msg=str(error), actions=run.actions)
    module.exit_json(changed=bool(run.actions), actions=run.actions, differences=run.differences)


if __name__ == "__main__":
    main()

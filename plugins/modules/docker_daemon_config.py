# SPDX-License-Identifier: MIT
"""Own single keys of Docker's daemon.json and let the engine take the change over."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: docker_daemon_config
short_description: Own single keys of Docker's daemon.json
description:
  - Writes the keys that one owner wants into C(/etc/docker/daemon.json) and leaves everybody else's alone. What an
    owner no longer wants goes away again, and the value that stood there before, which
    C(/var/lib/wharf/daemon.json.record) remembers, comes back. A value that somebody else has changed since stays.
  - Objects are merged key by key, at every depth. The lists C(insecure-registries), C(registry-mirrors),
    C(allow-nondistributable-artifacts) and C(labels) are owned item by item. Every other list is one value.
  - Nothing is changed when the file cannot be read (broken JSON, no object, not UTF-8, a key twice), of which the error
    names line and column, when the engine would refuse a setting, or when it would no longer see containers that run
    (another image store or data directory).
  - When the engine runs and can take the change over while it runs, the module reloads it (SIGHUP) and waits for the
    engine's own answer. What needs a restart is only reported, on every run until the engine has been restarted.
options:
  owner:
    description: Who asks. Each owner's keys are kept apart from everybody else's.
    type: str
    required: true
  options:
    description: Keys that must stand in the file. They win over whatever stands there.
    type: dict
    default: {}
  defaults:
    description:
      - Groups of keys that yield. A group is written only when none of its keys is in O(options), on the engine's
        command line, or in the file by somebody else's hand. Keys that only make sense together belong in one group.
    type: list
    elements: dict
    default: []
  state:
    description: With V(absent), all that this owner wrote is withdrawn; O(options) and O(defaults) are not looked at.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
- name: Rotate logs unless somebody else has chosen a log driver
  wharf.registry.docker_daemon_config:
    owner: docker_engine
    options: {live-restore: true}
    defaults:
      - log-driver: json-file
        log-opts: {max-size: 10m}
"""

RETURN = r"""
action:
  description:
    - What the engine needs for the change, or what it got. V(none) when nothing is pending or it does not run;
      V(reloaded) or, in check mode, V(reload); V(restart) when it must restart, for which whatever could be reloaded
      has been.
  type: str
  returned: success
reload_keys:
  description: Top-level keys whose change the engine takes over by a reload.
  type: list
  elements: str
  returned: success
restart_keys:
  description: Top-level keys whose change waits for a restart of the engine.
  type: list
  elements: str
  returned: success
yielded:
  description: Keys of O(defaults) that were not written because O(options) or somebody else decides about them.
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.daemon_json import Change
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "owner": {"type": "str", "required": True},
            "options": {"type": "dict", "default": {}},
            "defaults": {"type": "list", "elements": "dict", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    params = module.params
    wanted = (params["options"], params["defaults"]) if params["state"] == "present" else ({}, [])
    try:
        change = Change(module, params["owner"], *wanted)
        if not module.check_mode:
            change.apply()
    except WharfError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**change.result())


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""Own single keys of Docker's daemon.json and let the engine take the change over."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: docker_daemon_config
short_description: Own single keys of Docker's daemon.json
description:
  - Writes the keys that one owner wants into C(daemon.json) and leaves everybody else's alone.
  - Remembers in O(record) what each owner wrote and what stood there before. What an owner no longer wants goes away
    again, and the value that stood there before comes back. A value that somebody else has changed since is theirs and
    stays.
  - Objects are merged key by key, at every depth. The lists C(insecure-registries), C(registry-mirrors),
    C(allow-nondistributable-artifacts) and C(labels) are owned item by item. Every other list is one value.
  - A file that cannot be read (broken JSON, no object, not UTF-8, a key twice) is an error that names line and column.
    A setting that the engine would refuse is an error, too. So is another image store or data directory while
    containers run, which the engine would no longer see. In all these cases nothing is changed.
  - When the engine runs and can take the change over while it runs, the module reloads it (SIGHUP) and waits for the
    engine's own word. What needs a restart is only reported, on every run until the engine has been restarted.
options:
  path:
    description: The engine's configuration file. Its mode and owner are kept; a new file gets mode 0644.
    type: path
    default: /etc/docker/daemon.json
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
        command line, or in the file by somebody else's hand.
      - Keys that only make sense together belong in one group, such as C(log-driver) and C(log-opts).
    type: list
    elements: dict
    default: []
  state:
    description: With V(absent), all that this owner wrote is withdrawn; O(options) and O(defaults) are not looked at.
    type: str
    choices: [present, absent]
    default: present
  record:
    description: Where the module remembers who wrote what (JSON, mode 0600).
    type: path
    default: /var/lib/wharf/daemon.json.record
  pid_file:
    description: The file in which the engine writes its process id.
    type: path
    default: /run/docker.pid
  reload_timeout:
    description: How long to wait for the engine's word that it has reloaded, in seconds.
    type: int
    default: 15
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
- name: Trust a registry over plain HTTP
  docker_daemon_config:
    owner: registry_client
    options:
      insecure-registries:
        - registry.example:5000

- name: Rotate logs unless somebody else has chosen a log driver
  docker_daemon_config:
    owner: docker_engine
    defaults:
      - live-restore: true
      - log-driver: json-file
        log-opts:
          max-size: 10m
          max-file: "3"

- name: Take everything away again
  docker_daemon_config:
    owner: registry_client
    state: absent
"""

RETURN = r"""
action:
  description:
    - What the engine needs for the change, or what it got.
    - V(none) when it needs nothing because nothing is due, or because it does not run and reads the file at its start.
    - V(reloaded) when the module has reloaded it, V(reload) when it would have (check mode).
    - V(restart) when a restart is due. Whatever could be reloaded has been reloaded even then.
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
diff:
  description: The file's text before and after.
  type: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.daemon_json import Problem, Run


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/etc/docker/daemon.json"},
            "owner": {"type": "str", "required": True},
            "options": {"type": "dict", "default": {}},
            "defaults": {"type": "list", "elements": "dict", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "record": {"type": "path", "default": "/var/lib/wharf/daemon.json.record"},
            "pid_file": {"type": "path", "default": "/run/docker.pid"},
            "reload_timeout": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**Run(module).main())
    except Problem as problem:
        module.fail_json(msg=str(problem))


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Ansible module: the registry's files and its container, which comes back when its successor fails."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_container
short_description: Write a registry's files and run its container, and roll back when it does not answer
description:
  - Writes the configuration, the users and the data's directory. The data gets an ID of its own, which the container
    needs to start. A new configuration is tried first; one that the registry refuses changes nothing.
  - Creates the container, or replaces one that differs from what it should be, and waits until the registry answers
    under its name, its certificate verified. Where it serves another certificate than its file holds, it is restarted.
  - What is replaced is kept until the registry has answered, and that its own container has, without having been
    restarted - the container aside, files and owners in C(/etc/wharf/before.json), with what the module
    M(wharf.registry.registry_certificate) has replaced before. Otherwise all of it comes back, and the module fails
    with the last lines of the container's log.
  - M(community.docker.docker_container) replaces a container without a way back.
options:
  state:
    description:
      - V(rolled_back) puts back what a run that failed or was cut off has replaced. Where the registry answers with all
        of it, that stays.
    type: str
    choices: [started, rolled_back]
    default: started
  validate:
    description: Whether to start the image on a new configuration before it replaces the old one.
    type: bool
    default: true
  manage_firewall:
    description:
      - Whether the server's firewall is to let the registry's port pass, where it does not; C(False) takes that back.
    type: bool
    default: false
  timeout: {description: "How long the registry has to answer, in seconds.", type: int, default: 60}
extends_documentation_fragment: [wharf.registry.registry]
attributes:
  check_mode: {support: full}
  diff_mode: {support: partial, details: What may be secret is not shown.}
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- wharf.registry.registry_container:
    registry: "{{ registry }}"
"""

RETURN = r"""
actions:
  description: >-
    What was written and done, or would be, of data, data_id, directory, users, config, settings, create, replace,
    start, restart, firewall and rollback.
  type: list
  elements: str
  returned: always
differences:
  description: In what the container differed from what it should be, by the engine's names.
  type: list
  elements: str
  returned: success
message:
  description: With O(state=rolled_back), what was put back, in a sentence; empty where nothing was pending.
  type: str
  returned: success
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import (
    containers,
    server_container,
    server_data,
    server_rollback,
)
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError, message_of
from ansible_collections.wharf.registry.plugins.module_utils.firewall import Firewall
from ansible_collections.wharf.registry.plugins.module_utils.lock import lock
from ansible_collections.wharf.registry.plugins.module_utils.server_container import REGISTRY_SPEC, settings
from ansible_collections.wharf.registry.plugins.module_utils.server_files import (
    diff_of,
    paths_of,
    pending_files,
    validate_config,
    write_files,
)
from ansible_collections.wharf.registry.plugins.module_utils.server_info import answer, container_action

LOCK_WAIT = 60  # seconds: collection, backup and the like need the container to hold still


class Run:
    """One run of the container, under the lock. Whatever it changes can be rolled back until the registry answers."""

    def __init__(self, registry: dict[str, Any], check_mode: bool) -> None:
        """Take values for REGISTRY_SPEC, and whether nothing changes."""
        self.registry, self.check_mode = registry, check_mode
        self.name = registry["container"]
        self.before = f"{self.name}-before"
        self.has_acted = False  # on the container
        self.actions: list[str] = []
        self.differences: list[str] = []
        self.diff: list[dict[str, str]] = []

    def start(self, validate: bool, timeout: float, manage_firewall: bool) -> None:
        """Have files, container and firewall as they should be, and the registry answer in `timeout` seconds.

        Raises:
            WharfError: it does not answer, or something is refused; what ran before runs again.
        """
        registry, found, image = self.registry, None, None
        if containers.engine() or not self.check_mode:
            found, image = containers.container(self.name), containers.image(registry["image"])
        path = server_data.path_of(registry["data"])
        if not path and not self.check_mode:
            path = containers.create_volume(registry["data"])
        files = pending_files(registry, path, server_data.read(path, registry["directory"]))
        action, self.differences = container_action(registry, found, (image or {}).get("Id", ""))
        firewall = Firewall(self.name, registry["port"])
        is_firewall_wrong = firewall.is_pending(manage_firewall)
        self.actions, self.diff = [*files, *filter(None, [action, is_firewall_wrong and "firewall"])], diff_of(files)
        if self.check_mode:
            return
        try:
            if validate and "config" in files:
                validate_config(registry, files)
            server_rollback.keep(*paths_of(registry, path), name=self.name)
            write_files(files)
            self.has_acted = True
            if action in ("create", "replace"):
                self._replace(bool(found))
            elif action:
                containers.act(self.name, action)
            self._wait(timeout)
            server_data.write_state(registry["directory"], registry["data"], path)
        except (WharfError, OSError) as error:
            raise WharfError(self._failure(message_of(error))) from None
        server_rollback.forget()
        containers.remove(self.before)
        if is_firewall_wrong:
            (firewall.open if manage_firewall else firewall.close)()

    def _replace(self, has_predecessor: bool) -> None:
        """Create the container; one that is there runs on under another name until its successor is made."""
        if has_predecessor:
            containers.remove(self.before)
            containers.rename(self.name, self.before)
        containers.create(self.name, settings(self.registry))
        if has_predecessor:
            containers.act(self.before, "stop")
        containers.act(self.name, "start")

    def _wait(self, seconds: float) -> None:
        """Wait until the registry answers, and this container of it does, in its first life.

        Raises:
            WharfError: it does not.
        """
        before = containers.container(self.name)
        deadline, problem = time.monotonic() + seconds, "it did not start"
        while problem:
            problem = answer(self.registry, 0)
            after = containers.container(self.name)
            lives = [one and (one["Id"], one["State"]["StartedAt"], one["RestartCount"]) for one in (before, after)]
            if not after or not after["State"]["Running"] or lives[0] != lives[1]:
                raise WharfError(f"the container {self.name} does not stay up{problem and f': {problem}'}")
            if problem and time.monotonic() > deadline:
                raise WharfError(problem)
            time.sleep(0.1 if problem else 0)

    def _failure(self, problem: str) -> str:
        """Roll back, and return the whole message: what went wrong, the log's last lines, and what runs now."""
        lines = [problem]
        found = containers.container(self.name) if containers.engine() else None
        if self.has_acted and found and server_container.is_ours(found):
            log = containers.docker("logs", "--tail", "20", self.name).stdout.rstrip()
            lines += [f"The last lines of `docker logs {self.name}`:", log or "(none)"]
        return "\n".join([*lines, rolled_back()])


def rolled_back() -> str:
    """Roll back, and return a sentence about it, also where that fails."""
    try:
        return server_rollback.roll_back() or "Nothing was changed."
    except (WharfError, OSError) as problem:
        return f"It could not be rolled back: {message_of(problem)}"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "dict", "options": REGISTRY_SPEC},
            "state": {"type": "str", "choices": ["started", "rolled_back"], "default": "started"},
            "validate": {"type": "bool", "default": True},
            "manage_firewall": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 60},
        },
        required_if=[("state", "started", ["registry"])],
        supports_check_mode=True,
    )
    os.umask(0o022)
    p = module.params
    try:
        with lock("deploy-registry", LOCK_WAIT, module.check_mode):
            if p["state"] == "rolled_back":
                name = p["registry"]["container"] if p["registry"] else ""
                message = server_rollback.recover(name) if not module.check_mode else ""
                module.exit_json(changed=bool(message), actions=["rollback"], differences=[], message=message)
            run = Run(p["registry"], module.check_mode)
            run.start(p["validate"], p["timeout"], p["manage_firewall"])
    except (WharfError, OSError) as error:
        module.fail_json(msg=message_of(error))
    module.exit_json(changed=bool(run.actions), actions=run.actions, differences=run.differences, diff=run.diff)


if __name__ == "__main__":
    main()

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
  - The container that runs is kept aside, and its configuration as C(config.yml.before), until its successor has
    answered. Otherwise both come back, and the module fails with the last lines of the successor's log. At any moment
    one of the two is there whole.
  - M(community.docker.docker_container) replaces a container without a way back.
options:
  state:
    description: V(rolled_back) takes the container back, if there is one, that a run which was cut off has set aside.
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
"""

import contextlib
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import containers, server_data
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.files import read_text
from ansible_collections.wharf.registry.plugins.module_utils.firewall import Firewall
from ansible_collections.wharf.registry.plugins.module_utils.lock import lock
from ansible_collections.wharf.registry.plugins.module_utils.server_container import (
    REGISTRY_SPEC,
    config_hash,
    settings,
)
from ansible_collections.wharf.registry.plugins.module_utils.server_files import diff_of, pending_files, write_files
from ansible_collections.wharf.registry.plugins.module_utils.server_info import answer, container_action

LOCK_WAIT = 60  # seconds: collection, backup and the like need the container to hold still


class Run:
    """One run of the container, under the lock.

    At any moment the container that ran or its successor is there whole, and config.yml.before is the configuration of
    the one that ran: what a run that was cut off has left can be rolled back by the next.
    """

    def __init__(self, registry: dict[str, Any], check_mode: bool) -> None:
        """Take values for REGISTRY_SPEC, and whether nothing changes."""
        self.registry, self.check_mode = registry, check_mode
        self.name = registry["container"]
        self.before = f"{self.name}-before"
        self.kept_config = f"{registry['directory']}/config.yml.before"
        self.actions: list[str] = []
        self.differences: list[str] = []
        self.diff: list[dict[str, str]] = []

    # Forward ------------------------------------------------------------------------------------------------------

    def start(self, validate: bool, timeout: float, manage_firewall: bool) -> None:
        """Have files, container and firewall as they should be, and the registry answer in `timeout` seconds.

        Raises:
            WharfError: it does not answer, or the engine refuses; what ran before runs again.
            OSError: a file cannot be written.
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
        write_files(registry, files, validate)
        try:
            if action in ("create", "replace"):
                self._replace(bool(found))
            elif action:
                containers.act(self.name, action)
            if problem := answer(registry, timeout):
                raise WharfError(problem)
        except WharfError as error:
            raise WharfError(self._failure(error)) from None
        # Nothing needs the way back any more.
        containers.remove(self.before)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.kept_config)
        server_data.write_state(registry["directory"], registry["data"], path)
        if is_firewall_wrong:
            (firewall.open if manage_firewall else firewall.close)()

    def _replace(self, has_predecessor: bool) -> None:
        """Create the container; one that is there runs on under another name until its successor is made."""
        if has_predecessor:
            containers.rename(self.name, self.before)
        containers.create(self.name, settings(self.registry))
        if has_predecessor:
            containers.act(self.before, "stop")
        containers.act(self.name, "start")

    # Back ---------------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Roll back what a run that was cut off has left, to what it was before, healthy or not."""
        if containers.container(self.before) is not None:
            self.actions.append("rollback")
            if not self.check_mode:
                with contextlib.suppress(WharfError):
                    self._roll_back()

    def _failure(self, error: WharfError) -> str:
        """Roll back, and return the whole message: what went wrong, the log's last lines, and what runs now."""
        log = containers.docker("logs", "--tail", "20", self.name).stdout.rstrip()
        lines = [str(error), f"The last lines of `docker logs {self.name}`:", log or "(none)"]
        try:
            if self._roll_back():
                lines.append("The container that ran before is back, with its configuration.")
        except WharfError as problem:
            lines.append(f"The container that ran before could not be rolled back: {problem}")
        return "\n".join(lines)

    def _roll_back(self) -> bool:
        """Start the container again that was set aside, with its configuration. Return whether there was one.

        Raises:
            WharfError: it does not start, or is not healthy.
        """
        before = containers.container(self.before)
        if before is None:
            return False
        if config_hash(read_text(self.kept_config)) == (before["Config"].get("Labels") or {}).get("wharf.config"):
            os.replace(self.kept_config, f"{self.registry['directory']}/config.yml")
        containers.remove(self.name)
        containers.rename(self.before, self.name)
        containers.act(self.name, "start")
        # As its health check asks: the port and the certificate may be those that it had before.
        health = ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:5001/debug/health"]
        for _ in range(20):
            if containers.docker("exec", self.name, *health).returncode == 0:
                return True
            time.sleep(0.5)
        raise WharfError(f"it was started, but is not healthy: see docker logs {self.name}")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "dict", "required": True, "options": REGISTRY_SPEC},
            "state": {"type": "str", "choices": ["started", "rolled_back"], "default": "started"},
            "validate": {"type": "bool", "default": True},
            "manage_firewall": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)
    p = module.params
    run = Run(p["registry"], module.check_mode)
    try:
        with lock("deploy-registry", LOCK_WAIT, module.check_mode):
            if p["state"] == "started":
                run.start(p["validate"], p["timeout"], p["manage_firewall"])
            else:
                run.recover()
    except (WharfError, OSError) as error:
        module.fail_json(msg=str(error), actions=run.actions)
    module.exit_json(changed=bool(run.actions), actions=run.actions, differences=run.differences, diff=run.diff)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Start or restart the engine, and wait until it answers."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: docker_engine_service
short_description: Start or restart the engine, and wait until it answers
description:
  - In one step, so that a task's C(throttle) lets the next host begin only when this one's engine is ready again. An
    init script returns as soon as it has forked the engine. What was noted as waiting for a restart is forgotten.
options:
  state:
    description:
      - V(started) starts the engine if it does not run, and makes the host start it at boot.
      - V(restarted) restarts it. With systemd, so does containerd where its program has been replaced, and the socket
        where the engine's has.
    type: str
    choices: [started, restarted]
    required: true
attributes:
  check_mode:
    support: full
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
- name: Restart the engine, one host after the other
  wharf.registry.docker_engine_service:
    state: restarted
  throttle: 1
"""

RETURN = r"""
changed:
  description: Always true.
  type: bool
  returned: always
"""

import os
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.daemon_json import PATH, end_restart, read
from ansible_collections.wharf.registry.plugins.module_utils.engine import Engine, api_get, is_systemd, last_error
from ansible_collections.wharf.registry.plugins.module_utils.engine_packages import RESTART, run
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

TIMEOUT = 30  # seconds, for the engine to answer


def is_replaced(unit: str) -> bool:
    """Return whether a service runs a program whose file has been replaced since."""
    pid = run("systemctl", "show", unit, "--property=MainPID", "--value").stdout.strip()
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith(" (deleted)")
    except OSError:
        return False


def commands(state: str) -> list[str]:
    """Return the commands for the service manager."""
    if not is_systemd():
        start = ["update-rc.d docker defaults", "update-rc.d docker enable", "service docker start"]
        return start if state == "started" else ["service docker restart"]
    if state == "started":
        return ["systemctl daemon-reload", "systemctl enable --now docker.service"]
    units = ["docker.service"]
    if is_replaced("docker.service"):
        # A socket whose unit was away for a moment hands nothing over any more.
        units = run("systemctl", "list-unit-files", "--no-legend", "docker.socket").stdout.split()[:1] + units
    # The containers' shims go on without it.
    if is_replaced("containerd.service"):
        units = ["containerd.service", *units]
    return ["systemctl daemon-reload", f"systemctl restart {' '.join(units)}"]


def wait_for_answer(module: AnsibleModule, began: float) -> None:
    """Wait until the engine answers. Raises WharfError where it does not."""
    message = "it has ended"
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        engine = Engine.find()
        path = engine.socket_path(read(PATH)) if engine else None
        try:
            if engine and (path is None or api_get(path, "/version")):
                return
        except (OSError, ValueError) as error:
            message = str(error)
        time.sleep(0.2)
    raise WharfError(f"the engine does not answer: {last_error(module, began) or message}")


def start(module: AnsibleModule) -> None:
    """Start or restart the engine. Raises WharfError with the service manager's message and the engine's."""
    began = time.time()
    if is_systemd():
        # Debian's unit allows three starts in a minute; one more would leave the engine stopped.
        run("systemctl", "reset-failed", "docker.service", "docker.socket")
    for command in commands(module.params["state"]):
        done = run(*command.split())
        if done.returncode != 0:
            message = last_error(module, began)
            reason = f" The engine's last error: {message}" if message else ""
            raise WharfError(f"{command} fails: {' '.join(done.stdout.split())}{reason}")
    wait_for_answer(module, began)
    if module.params["state"] == "restarted":
        Path(RESTART).unlink(missing_ok=True)
        end_restart()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"state": {"type": "str", "choices": ["started", "restarted"], "required": True}},
        supports_check_mode=True,
    )
    try:
        if not module.check_mode:
            start(module)
    except WharfError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()

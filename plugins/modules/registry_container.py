#!/usr/bin/python
"""Ansible module: the registry's files and its container, which comes back when its successor fails."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_container
short_description: Write a registry's files and run its container, and roll back when it does not answer
description:
  - Writes the configuration, the users and the data's directory. The data gets an ID of its own, which the registry's
    container needs to start.
  - Creates the containers, or replaces those that differ from what they should be. A new registry, and a new gateway,
    starts beside the old one, takes over when it answers, and the old one ends what it has begun, so that no request
    fails. Only another port, or other addresses that it listens on, interrupt.
  - Then waits until the registry answers under its name, its certificate verified. Where the gateway serves another
    certificate than its file holds, or has another configuration, it reads them again.
  - What is replaced is kept until the registry has answered, and that its own containers have, without having been
    restarted - the containers aside, files and owners in C(/etc/wharf/before.json), with what the module
    M(wharf.registry.registry_certificate) has replaced before. Otherwise all of it comes back, and the module fails
    with the last lines of the containers' logs.
  - M(community.docker.docker_container) replaces a container without a way back.
options:
  state:
    description:
      - V(rolled_back) puts back what a run that failed or was cut off has replaced. Where the registry answers with all
        of it, that stays.
    type: str
    choices: [started, rolled_back]
    default: started
  manage_firewall:
    description:
      - Whether the server's firewall is to let the registry's ports pass, where it does not; C(False) takes that back.
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
    What was written and done, or would be, of data, data_id, sockets, metrics, index, directory, secret, config,
    gateway_directory, network, listen, mirror, users, gateway_config and settings; create, replace or start, and of the
    network and the gateway the same with their names behind it, as create_gateway, restart_gateway or reload_gateway;
    switch, firewall and rollback.
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

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import (
    caches,
    containers,
    gateway,
    peers,
    server_data,
    server_rollback,
)
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError, message_of
from ansible_collections.wharf.registry.plugins.module_utils.firewall import Firewall
from ansible_collections.wharf.registry.plugins.module_utils.lock import lock
from ansible_collections.wharf.registry.plugins.module_utils.parts import (
    DRAIN_SECONDS,
    PARTS,
    SLOTS,
    container_names,
    has_port,
    is_ours,
    slot_of,
)
from ansible_collections.wharf.registry.plugins.module_utils.server_container import REGISTRY_SPEC, settings
from ansible_collections.wharf.registry.plugins.module_utils.server_files import (
    diff_of,
    paths_of,
    pending_files,
    write_files,
)
from ansible_collections.wharf.registry.plugins.module_utils.server_info import action_names, answer, pending_actions

NEW_GATEWAY_SECONDS = 5  # the registry behind it answers already
LOCK_WAIT = 60  # seconds: collection, backup and the like need the containers to hold still


class Run:
    """One run of the containers, under the lock. Whatever it changes can be rolled back until the registry answers."""

    def __init__(self, registry: dict[str, Any], check_mode: bool) -> None:
        """Take values for REGISTRY_SPEC, and whether nothing changes."""
        self.registry, self.check_mode = registry, check_mode
        self.names = container_names(registry["container"])
        self.found: dict[str, Any] = dict.fromkeys(PARTS)
        self.has_acted = False  # on a container
        self.actions: list[str] = []
        self.differences: list[str] = []
        self.diff: list[dict[str, str]] = []
        self.warnings: list[str] = []

    def start(self, timeout: float, manage_firewall: bool) -> None:
        """Have files, containers and firewall as they should be, and the registry answer in `timeout` seconds.

        Raises:
            WharfError: it does not answer, or something is refused; what ran before runs again.
        """
        registry, images = self.registry, ["", ""]
        if containers.engine() or not self.check_mode:
            self.found = {part: containers.container(name) for part, name in self.names.items()}
            images = [(containers.image(registry[key]) or {}).get("Id", "") for key in ("image", "gateway_image")]
        path = server_data.path_of(registry["data"])
        if not path and not self.check_mode:
            path = containers.create_volume(registry["data"])
        files = pending_files(registry, path, server_data.read(path, registry["directory"]))
        pending = pending_actions(registry, self.found, *images, files)
        firewall = Firewall(registry["container"], registry["port"], registry["mirror_port"])
        is_firewall_wrong = firewall.is_pending(manage_firewall)
        self.differences = [word for _, different in pending.values() for word in different]
        cache_files = caches.pending_files(registry)
        pending_caches = caches.pending_containers(registry, images[0]) if containers.engine() else {}
        self.actions = [
            *files,
            *action_names(pending),
            *(["caches"] if cache_files or pending_caches or caches.leftovers(registry) else []),
            *(["firewall"] if is_firewall_wrong else []),
        ]
        self.diff = diff_of(files)
        if self.check_mode:
            return
        actions = {part: action for part, (action, _) in pending.items()}
        try:
            server_rollback.keep(*paths_of(registry, path), *cache_files, name=registry["container"])
            self._stop_those_of_another_user()
            write_files(files)
            caches.write(cache_files)
            self.has_acted = True
            self.warnings = caches.run(registry, pending_caches)  # what the gateway is about to pass requests to
            self._run_registry(actions["registry"], actions["switch"], timeout)
            self._run_network(actions["network"])
            self._run_gateway(actions["gateway"], actions["network"])
            self._wait(timeout)
            self._compare()
            server_data.write_state(registry["directory"], registry["data"], path)
        except (WharfError, OSError) as error:
            raise WharfError(self._failure(message_of(error))) from None
        server_rollback.forget()
        for name in self.names.values():
            containers.remove(f"{name}-before")
        caches.forget(registry)
        with contextlib.suppress(FileNotFoundError):  # of the time before the gateway, which now has the users
            os.unlink(f"{registry['directory']}/htpasswd")
        if is_firewall_wrong:
            (firewall.open if manage_firewall else firewall.close)()

    def _stop_those_of_another_user(self) -> None:
        """Stop containers that could not read what is written for another user: nothing can take over from them."""
        user = f"{self.registry['uid']}:{self.registry['uid']}"
        for part in ("gateway", "registry"):
            found = self.found[part]
            if found and found["State"]["Running"] and found["Config"]["User"] != user:
                self.has_acted = True
                containers.act(self.names[part], "stop")
                self.found[part] = containers.container(self.names[part])
        if containers.engine():
            caches.stop_those_of_another_user(self.registry["container"], user)

    def _run_registry(self, action: str, switch: str, timeout: float) -> None:
        """Have the registry run, a new one beside the old one, and the gateway pass requests to it."""
        old, name = self.found["registry"], self.names["registry"]
        slot = slot_of(old)
        if action in ("create", "replace"):
            # One that has the port itself, as before there was a gateway, must go first.
            is_beside = bool(old) and old["State"]["Running"] and not has_port(old)
            old_slot, slot = slot, next(one for one in SLOTS if one != slot)
            aside = server_rollback.set_aside(name) if old else ""
            if old and not is_beside:
                containers.act(aside, "stop")
            self._create("registry", slot)
            self._wait_direct(slot, timeout)
            self._switch(slot)
            if is_beside:
                gateway.drain(aside, old_slot, DRAIN_SECONDS)
                containers.act(aside, "stop")
            return
        if action:
            containers.act(name, action)
        if action or switch:
            self._wait_direct(slot, timeout)
        if switch:
            self._switch(slot)

    def _run_network(self, action: str) -> None:
        """Have the port published. Nothing can take it over: whoever has it goes first."""
        name = self.names["network"]
        if action in ("create", "replace"):
            if self.found["gateway"]:
                containers.act(self.names["gateway"], f"stop?t={DRAIN_SECONDS}")
            if self.found["network"]:
                containers.act(server_rollback.set_aside(name), "stop")
            self._create("network")
        elif action:
            containers.act(name, action)

    def _run_gateway(self, action: str, network_action: str) -> None:
        """Have the gateway run, a new one beside the old one."""
        name = self.names["gateway"]
        if action in ("create", "replace"):
            aside = server_rollback.set_aside(name) if self.found["gateway"] else ""
            self._create("gateway", network=containers.container(self.names["network"])["Id"])
            gateway.wait_for_workers(name)
            if aside:
                # From its start it has the port as well, and the kernel gives some of the new connections to it. One
                # that answers them wrongly is soon found, and stopped first: it listens no longer than this.
                self._until(lambda: gateway.own_problem(name), NEW_GATEWAY_SECONDS, "gateway")
                containers.act(aside, f"stop?t={DRAIN_SECONDS}")
        elif action == "reload":
            gateway.reload(name)
        elif action:
            containers.act(name, action)
            gateway.wait_for_workers(name)

    def _create(self, part: str, slot: str = SLOTS[0], network: str = "") -> None:
        """Create and start a container."""
        containers.create(self.names[part], settings(self.registry, part, slot, network))
        containers.act(self.names[part], "start")

    def _switch(self, slot: str) -> None:
        registry = self.registry
        gateway.switch(registry["container"], registry["gateway_directory"], registry["uid"], slot)

    def _wait_direct(self, slot: str, seconds: float) -> None:
        """Wait until the registry itself answers, in the first life of its container. Raises WharfError."""
        self._until(lambda: gateway.problem_of(slot), seconds, "registry")

    def _wait(self, seconds: float) -> None:
        """Wait until the registry answers as clients see it, and these containers do, in their first lives."""
        self._until(lambda: answer(self.registry, 0), seconds, *PARTS)

    def _compare(self) -> None:
        """Demand that the store takes uploads, and that other servers that answer have it, and the same secret.

        The registry itself starts without its bucket, too, and with a key that is none.
        """
        registry = self.registry
        if not registry["store"] or json.loads(registry["settings"])["read_only"]:
            return
        slot = slot_of(containers.container(self.names["registry"]))
        servers = [(address, registry["port"]) for address in registry["peers"]]
        for address, difference, _ in peers.compare(servers, registry["gateway_directory"], slot):
            if difference:
                raise WharfError(f"registry_servers: {address} {peers.PROBLEMS[difference]}")

    def _until(self, problem_now: Callable[[], str], seconds: float, *parts: str) -> None:
        """Wait until there is no problem, and these containers stay up.

        Raises:
            WharfError: it does not end in time.
        """
        before = self._lives(parts)
        deadline, problem = time.monotonic() + seconds, "it did not start"
        while problem:
            problem = problem_now()
            after = self._lives(parts)
            for part in parts:
                if not after[part] or after[part] != before[part]:
                    told = problem and f": {problem}"
                    raise WharfError(f"the container {self.names[part]} does not stay up{told}")
            if problem and time.monotonic() > deadline:
                raise WharfError(problem)
            time.sleep(0.1 if problem else 0)

    def _lives(self, parts: Iterable[str]) -> dict[str, Any]:
        """Return what tells whether the containers that run are still the same, by part."""
        found = {part: containers.container(self.names[part]) for part in parts}
        return {
            part: (one["Id"], one["State"]["StartedAt"], one["RestartCount"])
            for part, one in found.items()
            if one and one["State"]["Running"]
        } | {part: None for part, one in found.items() if not one or not one["State"]["Running"]}

    def _failure(self, problem: str) -> str:
        """Roll back, and return the whole message: what went wrong, the logs' last lines, and what runs now."""
        lines = [problem]
        for name in self.names.values() if self.has_acted and containers.engine() else ():
            found = containers.container(name)
            if found and is_ours(found) and not found["State"]["Running"] or name == self.names["registry"]:
                log = containers.docker("logs", "--tail", "20", name).stdout.rstrip()
                lines += [f"The last lines of `docker logs {name}`:", log or "(none)"]
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
            run.start(p["timeout"], p["manage_firewall"])
    except (WharfError, OSError) as error:
        module.fail_json(msg=message_of(error))
    for line in run.warnings:
        module.warn(line)
    module.exit_json(changed=bool(run.actions), actions=run.actions, differences=run.differences, diff=run.diff)


if __name__ == "__main__":
    main()

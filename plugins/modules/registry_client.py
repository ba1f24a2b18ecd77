#!/usr/bin/python
"""Make this host's container tools trust a registry, and log system users in to it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_client
short_description: Make this host's container tools trust a registry, and log system users in to it
description:
  - Reads what the host has, refuses what cannot work before anything changes, and writes and removes only what
    differs. One visit does all of it, so that a host on which nothing is pending costs one task.
  - Each user logs in with their own C(docker login), and with C(login) of skopeo, podman or buildah, which share a
    file. So credential stores and helpers that the user has set are used, and other registries' entries stay.
  - The registry confirms each login on every run, so that a password that no longer holds is noticed.
  - A user who may not use the engine is logged in with the other tools only, where there are others.
  - An older login for this registry in the file that podman keeps until the next boot would win, and is removed.
  - With O(trust=insecure), the registry is an item of C(insecure-registries) in Docker's C(daemon.json), written as
    M(wharf.registry.docker_daemon_config) does it. The engine reads it again, which stops nothing.
options:
  state:
    description: V(absent) removes trust and logins, and the line in C(/etc/hosts).
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The DNS name or IPv4 address in image references.
    type: str
    required: true
  port:
    description: The TCP port in image references.
    type: int
    default: 5000
  trust:
    description: V(ca) trusts what O(ca) signed. V(insecure) lets the tools use plain HTTP.
    type: str
    choices: [ca, insecure]
    default: ca
  ca:
    description:
      - The CA certificate in PEM, or several. In check mode it may be empty, which stands for the one that the tools of
        this host have already, and otherwise for one that is still to be issued.
    type: str
    default: ""
  tools:
    description:
      - V(auto) takes the tools that are installed, containerd only where there is no Docker engine, and Docker where
        none is. Any others take these, installed or not yet.
    type: list
    elements: str
    choices: [auto, docker, podman, buildah, skopeo, containerd]
    default: [auto]
  system_store:
    description: Whether the system's own store trusts the CA as well.
    type: bool
    default: false
  address:
    description: The registry's IP address. With it the name has a line in C(/etc/hosts).
    type: str
    default: ""
  resolve:
    description: Whether a name that has no address on this host is refused.
    type: bool
    default: true
  previous_names:
    description:
      - What the registry was called before, NAME:PORT each. Trust and logins under these are removed.
    type: list
    elements: str
    default: []
  logins:
    description: Who is logged in.
    type: list
    elements: dict
    default: []
    suboptions:
      user:
        description: The system user.
        type: str
        required: true
      name:
        description: The registry's user.
        type: str
        required: true
      password:
        description: Its password. The tools get it on their standard input. Needed unless O(state) is V(absent).
        type: str
  problems:
    description: What has been found wrong with the settings already. With any, nothing is done.
    type: list
    elements: str
    default: []
  request:
    description: Is returned as it is, so that a play knows which settings the result is about.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
- name: Trust the registry, and log the user deploy in
  wharf.registry.registry_client:
    name: registry.example.com
    ca: "{{ lookup('ansible.builtin.file', 'files/registry-ca.crt') }}"
    logins:
      - {user: deploy, name: robot, password: "{{ vault_robot }}"}
"""

RETURN = r"""
ca:
  description: The CA certificate that was meant.
  type: str
  returned: success
reload_keys:
  description: The keys of C(daemon.json) for which the engine was reloaded, or would be.
  type: list
  elements: str
  returned: success
paths:
  description: The files that were written or removed, or would be.
  type: list
  elements: str
  returned: success
request:
  description: As it was given.
  type: str
  returned: success
trusted:
  description: Whether every tool trusted the registry as it should before anything was changed.
  type: bool
  returned: success
up_to_date:
  description:
    - Whether the module would find the same if it ran again in this run, with the same settings. Not where
      anything is pending, not where a login is not confirmed, and not where its judgement depends on the engine.
  type: bool
  returned: success
"""

import os
import pwd
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import auth_files, client_host, client_plan
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

UNRESOLVED = (
    "{name} resolves to nothing on this host: add it to the DNS that this host uses, or let Wharf write it into"
    " /etc/hosts (registry_client_address; wharf_manage_hosts_file: true in the inventory)"
)


def login_all(params: dict[str, Any], tools: list[str], check: bool) -> auth_files.Outcome:
    """Log all users in, or out, and out under the registry's previous names."""
    outcome = auth_files.Outcome()
    current = (params["name"], params["port"], params["state"])
    previous = [(*split(registry), "absent") for registry in params["previous_names"]]
    for login in params["logins"] if tools else []:
        try:
            user = pwd.getpwnam(login["user"])
        except KeyError:
            continue  # was refused already where that matters
        for name, port, state in (*previous, current):
            if state == "present" and not login["password"] and not check:
                text = f"registry_client_logins: {login['user']} has no password for {login['name']}: give it one"
                outcome.add(auth_files.Outcome(problems=[text]))
                continue
            registry = auth_files.Registry(name, port, params["ca"])
            arguments = (login, user.pw_dir, registry, tools, state, check)
            outcome.add(auth_files.as_user(user, lambda arguments=arguments: auth_files.one_user(*arguments)))
    return outcome


def split(registry: str) -> tuple[str, int]:
    """Return name and port of NAME:PORT."""
    name, _, port = registry.rpartition(":")
    return name, int(port)


def refuse(problems: list[str]) -> None:
    """Stop when there are problems.

    Raises:
        WharfError: there are.
    """
    if problems:
        raise WharfError("\n".join(problems))


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do it.

    Raises:
        WharfError: it cannot be done.
    """
    params, check = module.params, module.check_mode
    wanted = client_plan.Wanted(
        previous=params["previous_names"],
        users=[login["user"] for login in params["logins"]],
        **{key: params[key] for key in ("name", "port", "state", "trust", "ca", "tools", "system_store", "address")},
    )
    refuse(params["problems"] + client_plan.setting_problems(wanted, check))
    host = client_host.read_host(wanted)
    wanted.ca = params["ca"] = wanted.ca or client_host.known_ca(host, wanted.registry)
    plan = client_plan.plan(host, wanted)
    refuse(plan.problems + ([] if check else plan.gaps))
    changes = client_host.engine_changes(module, plan)
    if plan.hosts is not None and not check:
        client_host.write_hosts(plan.hosts)
    resolves = not wanted.present or bool(wanted.address) or client_host.resolves(wanted.name)
    if params["resolve"] and not resolves:
        refuse([UNRESOLVED.format(name=wanted.name)])
    if not check:
        client_host.apply(plan)
        client_host.apply_engine(module, plan, changes)
    logins = login_all(params, plan.login_tools, check)
    refuse(logins.problems)
    engine_changes = any(change.changed for change in changes)
    changed = plan.changes or logins.changed or engine_changes
    return {
        "changed": changed,
        "ca": wanted.ca,
        "reload_keys": sorted({key for change in changes for key in change.reload_keys}),
        "paths": [*plan.write, *plan.remove],
        "request": params["request"],
        "trusted": not (plan.distrusts or engine_changes),
        "up_to_date": resolves and logins.confirmed and not (changed or host.foreign),
        "diff": client_host.diff(host, plan) + [change.result()["diff"] for change in changes if change.changed],
    }


def main() -> None:
    """Entry point."""
    login = {
        "user": {"type": "str", "required": True},
        "name": {"type": "str", "required": True},
        "password": {"type": "str", "no_log": True},
    }
    texts = {"type": "list", "elements": "str"}
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "name": {"type": "str", "required": True},
            "port": {"type": "int", "default": 5000},
            "trust": {"type": "str", "choices": ["ca", "insecure"], "default": "ca"},
            "ca": {"type": "str", "default": ""},
            "tools": {**texts, "choices": ["auto", *client_plan.TOOLS], "default": ["auto"]},
            "system_store": {"type": "bool", "default": False},
            "address": {"type": "str", "default": ""},
            "resolve": {"type": "bool", "default": True},
            "previous_names": {**texts, "default": []},
            "logins": {"type": "list", "elements": "dict", "options": login, "default": []},
            "problems": {**texts, "default": []},
            "request": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)
    try:
        module.exit_json(**run(module))
    except WharfError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or ''}: {error.strerror or error}")


if __name__ == "__main__":
    main()

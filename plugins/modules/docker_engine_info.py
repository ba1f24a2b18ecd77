#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Find out what a host's Docker engine is, what is pending there, and why it could not work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: docker_engine_info
short_description: What is pending on a host for the role docker_engine
description:
  - Reads the system, the packages, the engine that runs, its users and the role's files, in one visit that needs no
    gathered facts. Changes nothing.
  - Fails with all that makes the host unfit, before anything is changed anywhere.
  - Where the engine's packages would change in a way that could fail (another source, another version), apt tries it,
    with lists, sources and the repository's key in a directory that is removed again.
  - What O(options) and O(defaults) would change in C(daemon.json) is worked out as by
    M(wharf.registry.docker_daemon_config), and judged by the installed engine unless another one is to replace it.
options:
  problems:
    description: What was found wrong on the controller already; the module fails with it.
    type: list
    elements: str
    default: []
  source:
    description: Where the engine comes from.
    type: str
    choices: [distro, docker_ce, none]
    required: true
  version:
    description: The engine's version, or its beginning. Empty for what is there, or else the newest.
    type: str
    default: ""
  allow_downgrade:
    description: Allow an engine that is older than the one that is there.
    type: bool
    default: false
  replace:
    description: Allow to remove the packages of another source that are in the way.
    type: bool
    default: false
  systems:
    description:
      - The packages for each system that is supported, by distribution, release and source. Each has the lists
        C(engine) (all of one version), C(components), C(helpers), C(conflicts) (what cannot be there beside it) and
        C(obsolete) (what serves the engine of another source only); those that are left out are empty.
    type: dict
    required: true
  extra_packages:
    description: Further packages that must be installed.
    type: list
    elements: str
    default: []
  users:
    description: Users who must be members of the group docker.
    type: list
    elements: str
    default: []
  options:
    description: Keys that must stand in C(daemon.json).
    type: dict
    default: {}
  defaults:
    description: Groups of keys that yield to others.
    type: list
    elements: dict
    default: []
  files:
    description: The role's files, all of root. Their contents are never shown.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The absolute path.
        type: path
        required: true
      mode:
        description: Its permissions, an octal number in quotes.
        type: str
        default: "0644"
      content:
        description: The whole text. Without any, the file must not be there.
        type: str
        default: ""
  repository_url:
    description: For C(docker_ce), the address of Docker's repository, without a password.
    type: str
    default: ""
  repository_fingerprint:
    description: The fingerprint of its key.
    type: str
    default: ""
  repository_source:
    description: The text of its apt source, in which C($(RELEASE)) stands for the name of the host's release.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
- name: See what the engine lacks
  wharf.registry.docker_engine_info:
    source: distro
    systems:
      Debian:
        trixie:
          distro: {engine: [docker.io, docker-cli], conflicts: [docker-ce]}
    options:
      live-restore: true
  register: engine

- name: Show it
  ansible.builtin.debug:
    msg: "{{ engine.changes }}"
"""

RETURN = r"""
pending:
  description:
    - What is pending. V(packages), packages come, go or change, or apt's sources or holds do; V(files), files with the
      proxies; V(block), the same in the init script's settings; V(options), C(daemon.json); V(users), the group docker;
      V(start), the engine is to be started, now or at boot; V(restart), it must restart.
  type: list
  elements: str
  returned: success
changes:
  description: The same for people, in sentences of what would happen.
  type: list
  elements: str
  returned: success
system:
  description:
    - C(distribution), C(version), C(release), C(service_mgr) (V(systemd) or V(sysvinit)), C(address) (the IPv4 address
      that the host uses by default) and C(python) (its version).
  type: dict
  returned: success
engine:
  description:
    - C(is_running), C(is_managed) (the service manager runs it), C(changes) (its own packages come, go or change) and
      C(installed), the versions of the packages that were asked for.
  type: dict
  returned: success
packages:
  description:
    - For M(wharf.registry.docker_engine_packages), C(arguments), C(options), C(repository), C(hold) and C(release).
  type: dict
  returned: success
outsiders:
  description: The users who are to become members of the group docker.
  type: list
  elements: str
  returned: success
restart:
  description:
    - C(reasons), what the running engine takes over only when it is restarted, keys of C(daemon.json), C(packages) and
      C(proxies); C(file), path and content of the file that remembers the last two until then.
  type: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.daemon_json import Change
from ansible_collections.wharf.registry.plugins.module_utils.engine_packages import Preflight
from ansible_collections.wharf.registry.plugins.module_utils.engine_state import (
    RESTART,
    gather,
    judge,
    problems,
    system,
)
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError


def request_for(params: dict, here: dict) -> dict:
    """Return what is wanted on this system.

    Raises:
        WharfError: the system is not supported.
    """
    systems = params["systems"]
    releases = systems.get(here["distribution"], {})
    if here["release"] not in releases:
        known = "; ".join(f"{name} {', '.join(names)}" for name, names in systems.items())
        raise WharfError(
            f"This host runs {here['distribution']} {here['version']} ({here['release']}). The role knows {known} only."
        )
    nothing = {kind: [] for kind in ("engine", "components", "helpers", "conflicts", "obsolete")}
    packages = {**nothing, **releases[here["release"]].get(params["source"], {})}
    wanted = packages["engine"] + packages["components"] + packages["helpers"] + params["extra_packages"]
    source = params["repository_source"].replace("$(RELEASE)", here["release"])
    return {**params, **packages, "packages": wanted, "release": here["release"], "repository_source": source}


def plan_of(request: dict, found: dict, state: dict) -> dict:
    """Return the parameters of docker_engine_packages, the change tried where it could fail."""
    plan = {"arguments": state["missing"], "options": ["--no-install-recommends"], "key": ""}
    if state["preflight"]:
        plan = Preflight(request, found, state).main()
    # apt forgets the hold of a package that it replaces.
    again = [one for one in found["holds"] if one not in state["release"]] if state["changes_engine"] else []
    repository = {"url": request["repository_url"], "source": request["repository_source"], "key": plan["key"]}
    return {
        "arguments": plan["arguments"],
        "options": plan["options"],
        "repository": repository if state["source"] else None,
        "hold": list(dict.fromkeys(state["hold"] + again)),
        "release": state["release"],
    }


def sentences(pending: list[str], found: dict, state: dict, plan: dict, change: dict, reasons: list[str]) -> list:
    """Return what would happen, for people."""
    result = []
    if found["entries"]:
        result.append(f"Would be removed: {', '.join(found['entries'])}")
    packages = [package for package in plan["arguments"] if not package.endswith("-")]
    if packages:
        text = f"{', '.join(packages)} would be installed"
        text += f" in place of {', '.join(state['remove'])}" if state["remove"] else ""
        result.append(text + (", and the engine started" if not state["is_running"] else ""))
    elif "start" in pending:
        result.append("The engine would be started, now and at boot")
    engine = [f"reloaded for {', '.join(change['reload_keys'])}"] if change["action"] in ("reload", "reloaded") else []
    if change["action"] == "restart" and change["reload_keys"]:
        engine = [f"reloaded for {', '.join(change['reload_keys'])}"]
    engine += [f"restarted for {', '.join(reasons)}"] if reasons else []
    if engine:
        result.append(f"The engine would be {', and '.join(engine)}")
    if "users" in pending:
        result.append(f"{', '.join(state['outsiders'])} would become members of the group docker")
    return result


def run(module: AnsibleModule) -> dict:
    """Return the module's result.

    Raises:
        WharfError: the host is unfit, or the change would fail.
    """
    params = module.params
    if params["problems"]:
        raise WharfError("\n".join(params["problems"]))
    here = system()
    request = request_for(params, here)
    found = gather(module, request)
    state = judge(found, request)
    unfit = problems(found, request)
    if unfit:
        raise WharfError("\n".join(unfit))
    change = Change(
        module, "docker_engine", params["options"], params["defaults"], not state["changes_engine"]
    ).result()
    plan = plan_of(request, found, state)

    noted = ["packages"] if state["is_running"] and state["preflight"] and plan["arguments"] else []
    noted += ["proxies"] if state["is_running"] and (state["proxies"] or state["block"]) else []
    noted = list(dict.fromkeys(noted + found["restart"]))
    reasons = (change["restart_keys"] if change["action"] == "restart" else []) + noted
    pending = {
        "packages": bool(plan["arguments"] or state["source"] or plan["hold"] or plan["release"]),
        "files": state["proxies"],
        "block": state["block"],
        "options": change["changed"],
        "users": bool(state["outsiders"]),
        # The units of another source's packages are other ones, and not enabled by it.
        "start": state["start"] or bool(state["remove"] and plan["arguments"] and state["is_managed"]),
        "restart": bool(reasons),
    }
    names = [name for name, is_pending in pending.items() if is_pending]
    return {
        "changed": False,
        "pending": names,
        "changes": sentences(names, found, state, plan, change, reasons),
        "system": here,
        "engine": {
            "is_running": state["is_running"],
            "is_managed": state["is_managed"],
            "changes": state["changes_engine"],
            "installed": found["installed"],
        },
        "packages": plan,
        "outsiders": state["outsiders"],
        "restart": {
            "reasons": reasons,
            "file": {"path": RESTART, "content": "\n".join([found["identity"], *noted, ""]) if noted else ""},
        },
    }


def main() -> None:
    """Run the module."""
    files = {
        "path": {"type": "path", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "content": {"type": "str", "default": "", "no_log": True},
    }
    module = AnsibleModule(
        argument_spec={
            "problems": {"type": "list", "elements": "str", "default": []},
            "source": {"type": "str", "choices": ["distro", "docker_ce", "none"], "required": True},
            "version": {"type": "str", "default": ""},
            "allow_downgrade": {"type": "bool", "default": False},
            "replace": {"type": "bool", "default": False},
            "systems": {"type": "dict", "required": True},
            "extra_packages": {"type": "list", "elements": "str", "default": []},
            "users": {"type": "list", "elements": "str", "default": []},
            "options": {"type": "dict", "default": {}},
            "defaults": {"type": "list", "elements": "dict", "default": []},
            "files": {"type": "list", "elements": "dict", "default": [], "options": files},
            "repository_url": {"type": "str", "default": ""},
            "repository_fingerprint": {"type": "str", "default": ""},
            "repository_source": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except WharfError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

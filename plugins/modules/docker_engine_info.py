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
    gathered facts. Changes nothing. Fails with all that makes the host unfit, before anything is changed anywhere.
  - Where the engine's packages would change in a way that could fail (another source, another version), apt tries it,
    in a directory that is removed again. What O(options) and O(defaults) would change is worked out as by
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
      - The packages for each system that is supported, by distribution, release, source and kind. C(engine) are all of
        one version, C(conflicts) cannot be there beside it, and C(obsolete) serve the engine of another source only.
        C(components) and C(helpers) come along. A kind that is left out is empty.
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
    description:
      - The role's files, all of root, each with C(path), C(mode) (an octal number in quotes) and C(content). Without
        content the file must not be there. Contents are never shown.
    type: list
    elements: dict
    default: []
  repository:
    description:
      - For C(docker_ce), Docker's repository, as C(url), without a password, C(fingerprint) of its key, and C(source),
        the text of its apt source, in which C($(RELEASE)) stands for the name of the host's release.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
- name: See what the engine lacks
  wharf.registry.docker_engine_info:
    source: distro
    systems: {Debian: {trixie: {distro: {engine: [docker.io, docker-cli], conflicts: [docker-ce]}}}}
"""

RETURN = r"""
pending:
  description:
    - What is pending. V(packages), packages come, go or change, or apt's sources or holds do; V(files), files with the
      proxies; V(block), the same in the init script's settings; V(options), C(daemon.json); V(users), the group docker;
      V(start), the engine is to be started, now or at boot; V(restart), it must restart.
  type: list
  returned: success
changes:
  description: The same for people, in sentences of what would happen.
  type: list
  returned: success
engine:
  description: C(is_managed) (the service manager runs it) and C(changes) (its own packages come, go or change).
  type: dict
  returned: success
packages:
  description: The options of M(wharf.registry.docker_engine_packages).
  type: dict
  returned: success
outsiders:
  description: The users who are to become members of the group docker.
  type: list
  returned: success
restart:
  description:
    - C(reasons), what the running engine takes over only when it is restarted, keys of C(daemon.json), C(packages) and
      C(proxies); C(file), path and content of the file that remembers the last two until then.
  type: dict
  returned: success
"""

import glob
import grp
import os
import pwd
from typing import Any

from ansible.module_utils import distro
from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.daemon_json import PATH as DAEMON_JSON
from ansible_collections.wharf.registry.plugins.module_utils.daemon_json import Change, read, read_bytes
from ansible_collections.wharf.registry.plugins.module_utils.engine import Engine, is_systemd
from ansible_collections.wharf.registry.plugins.module_utils.engine_packages import (
    HOLDS,
    KEY_FILE,
    RESTART,
    SOURCE_FILE,
    Preflight,
    matches,
    remove_entries,
    run,
)
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.files import Entry, read_entry

PROXIES = "/etc/default/wharf-docker"
INIT_SCRIPT_SETTINGS = "/etc/default/docker"
INIT_SCRIPT_BLOCK = "# BEGIN wharf proxies"
ENABLED = {f"UnitFileState={state}" for state in ("enabled", "enabled-runtime", "static", "generated", "alias")}

# What is there ----------------------------------------------------------------------------------------------------


def request_for(params: dict, release: dict[str, str]) -> dict:
    """Return what is wanted on a system, described by its os-release. Raises WharfError where it is not supported."""
    distribution, name = release.get("id", "").capitalize(), release.get("version_codename", "")
    systems = params["systems"]
    if name not in systems.get(distribution, {}):
        known = "; ".join(f"{system} {', '.join(names)}" for system, names in systems.items())
        version = release.get("version_id", "")
        raise WharfError(f"This host runs {distribution} {version} ({name}). The role knows {known} only.")
    packages = {kind: [] for kind in ("engine", "components", "helpers", "conflicts", "obsolete")}
    packages.update(systems[distribution][name].get(params["source"], {}))
    wanted = packages["engine"] + packages["components"] + packages["helpers"] + params["extra_packages"]
    return {
        **params,
        **packages,
        "packages": wanted,
        "release": name,
        "repository": {part: text.replace("$(RELEASE)", name) for part, text in params["repository"].items()},
        "has_proxies": any(file["content"] for file in params["files"] if file["path"] == PROXIES),
    }


def is_right(path: str, mode: str, content: str) -> bool:
    """Return whether a file of the role is as it must be: absent where nothing must be in it."""
    return read_entry(path) == (Entry(0, 0, int(mode, 8), content.encode()) if content else None)


def group_id(name: str) -> int | None:
    """Return a group's number; None where there is no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def is_member(user: str, gid: int | None) -> bool | None:
    """Return whether a user is in a group; None where there is no such user."""
    try:
        return gid in os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
    except KeyError:
        return None


def _lines(path: str) -> list[str]:
    """Return the lines of a file; none where there is none."""
    return (read_bytes(path) or b"").decode("utf-8", "replace").splitlines()


def _packages(names: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the versions of those packages that are installed, and which of them are held."""
    form = "${Package} ${db:Status-Status} ${Version} ${db:Status-Want}\n"
    shown = run("dpkg-query", "--show", f"--showformat={form}", *names).stdout if names else ""
    rows = [line.split() for line in shown.splitlines() if not line.startswith("dpkg-query:")]
    rows = [row for row in rows if len(row) == 4 and row[1] == "installed"]
    return {row[0]: row[2] for row in rows}, [row[0] for row in rows if row[3] == "hold"]


def _service() -> tuple[bool, bool]:
    """Return whether the service manager runs the engine, and whether it starts it at boot."""
    if is_systemd():
        properties = "--property=ActiveState,UnitFileState"
        shown = set(run("systemctl", "show", "docker.service", properties).stdout.split())
        return "ActiveState=active" in shown, bool(ENABLED & shown)
    is_active = run("service", "docker", "status").returncode == 0
    return is_active, any(map(os.path.exists, glob.glob("/etc/rc[2345].d/S[0-9][0-9]docker")))


def is_started_otherwise(units: str = "/etc/systemd/system") -> bool:
    """Return whether somebody has given the engine's service another command line than its package does."""
    files = (f"{units}/docker.service", *glob.glob(f"{units}/docker.service.d/*.conf"))
    return any(line.startswith("ExecStart=") for file in files for line in _lines(file))


def gather(module: Any, request: dict) -> dict[str, Any]:
    """Return what is on the host. Raises WharfError where daemon.json cannot be read."""
    installed, held = _packages(list(dict.fromkeys(request["packages"] + request["conflicts"] + request["obsolete"])))
    dockerd = module.get_bin_path("dockerd") or ""
    owner = run("dpkg-query", "--search", os.path.realpath(dockerd)) if dockerd else None
    engine = Engine.find()
    identity = engine.identity if engine else ""
    restart = _lines(RESTART)
    is_active, is_enabled = _service()
    source = request["repository"].get("source", "")
    gid = group_id("docker")
    return {
        "installed": installed,
        "held": held,
        "dockerd": dockerd,
        "dockerd_package": owner.stdout.partition(":")[0] if owner and owner.returncode == 0 else "",
        "members": {user: is_member(user, gid) for user in request["users"]},
        "has_group": gid is not None,
        "wrong_files": [one["path"] for one in request["files"] if not is_right(**one)],
        "is_source_right": is_right(SOURCE_FILE, "644", source) and os.path.exists(KEY_FILE) == bool(source),
        "entries": remove_entries(request["repository"]["url"], is_real=False) if source else [],
        "holds": _lines(HOLDS),
        "has_block": INIT_SCRIPT_BLOCK in _lines(INIT_SCRIPT_SETTINGS),
        "has_daemon_proxies": "proxies" in read(DAEMON_JSON),
        "has_hosts": is_systemd() and "hosts" in read(DAEMON_JSON) and not is_started_otherwise(),
        "is_systemd": is_systemd(),
        "identity": identity,
        # Only of the engine that still runs: another one has been started since.
        "restart": restart[1:] if identity and restart[:1] == [identity] else [],
        "is_active": is_active,
        "is_enabled": is_enabled,
    }


# What is pending -------------------------------------------------------------------------------------------------


def judge(found: dict[str, Any], request: dict) -> dict[str, Any]:
    """Return what is to be done on a host.

    Returns:
        missing and remove (packages), changes_engine (its own packages change), preflight (the change is tried first),
        source (files for apt are to be written or removed), hold and release (packages), proxies (files with them are
        to be written or removed), block (that in the init script's settings is), outsiders (users to put into the
        group), is_running, is_managed (by the service manager), start (it is to be started or enabled).
    """
    installed, pin, engine = found["installed"], request["version"], request["engine"]
    missing = [package for package in request["packages"] if package not in installed]
    in_the_way = [package for package in request["conflicts"] if package in installed]
    core = engine + request["components"]
    is_replaced = bool(in_the_way and core)
    is_pin_wrong = bool(pin) and any(not matches(installed.get(package, ""), pin) for package in engine)
    changes_engine = is_pin_wrong or is_replaced or any(package in missing for package in core)
    is_source_wrong = not found["is_source_right"] or bool(found["entries"])
    # What Debian offers is known to be there; everything else is tried before anything changes.
    is_uncertain = request["source"] == "docker_ce" and (changes_engine or is_source_wrong)
    is_running = bool(found["identity"]) or found["is_active"]
    return {
        "missing": missing,
        "remove": in_the_way and in_the_way + [package for package in request["obsolete"] if package in installed],
        "changes_engine": changes_engine,
        "preflight": is_uncertain or is_pin_wrong or is_replaced,
        "source": is_source_wrong,
        "hold": [package for package in engine if pin and package not in found["held"]],
        "release": [package for package in found["holds"] if not pin or package not in engine],
        "proxies": bool(found["wrong_files"]),
        "block": not found["is_systemd"] and found["has_block"] != request["has_proxies"],
        "outsiders": [user for user, is_in in found["members"].items() if not is_in],
        "is_running": is_running,
        "is_managed": found["is_active"],
        # One that runs without the service manager would be in its way.
        "start": not found["is_enabled"] if found["is_active"] else not is_running,
    }


def problems(found: dict[str, Any], request: dict) -> list[str]:
    """Return what makes a host unfit, for people."""
    source, installed, dockerd = request["source"], found["installed"], found["dockerd"]
    in_the_way = [package for package in request["conflicts"] if package in installed]
    result = []
    if source == "none" and not dockerd:
        result.append(
            "docker_engine_source: is none, but no engine (dockerd) is on this host: install one, or use distro or "
            "docker_ce, and the role does it"
        )
    elif source == "none" and request["users"] and not found["has_group"]:
        result.append(
            "docker_engine_users: is set, but the group docker does not exist on this host: create it, or leave "
            "the users out"
        )
    elif source != "none" and in_the_way and not request["replace"]:
        other = "distro" if source == "docker_ce" else "docker_ce"
        are, them = ("is", "it") if len(in_the_way) == 1 else ("are", "them")
        result.append(
            f"docker_engine_source: is {source}, but {', '.join(in_the_way)} {are} installed here, and "
            f"{request['engine'][0]} would replace {them}: set docker_engine_source: {other} to keep what is there, "
            "remove it first, or set docker_engine_replace: true; images, containers and volumes stay"
        )
    elif source != "none" and dockerd and not in_the_way and request["engine"][0] not in installed:
        result.append(
            f"docker_engine_source: is {source}, but {dockerd} is here already, from "
            f"{found['dockerd_package'] or 'no package'}: remove it first, or set docker_engine_source: none, "
            "which configures it and leaves it where it is"
        )
    if found["has_daemon_proxies"] and request["has_proxies"]:
        result.append(
            "docker_engine_http_proxy or docker_engine_https_proxy: is set, but /etc/docker/daemon.json holds proxies, "
            "and the engine would take those instead: take them out of the file, or leave the variables out"
        )
    if found["has_hosts"] and not dockerd:
        result.append(
            "/etc/docker/daemon.json: holds hosts, from before, and the service that would be installed sets them as "
            "well (-H), with which the engine does not start: take hosts out of the file, or give the service another "
            "command line in /etc/systemd/system/docker.service.d (ExecStart=, then ExecStart=/usr/bin/dockerd)"
        )
    return result + [
        f"docker_engine_users: {user} does not exist on this host: create the user first, or take the name out"
        for user, is_in in found["members"].items()
        if is_in is None
    ]


def plan_of(request: dict, found: dict, state: dict) -> dict:
    """Return the parameters of docker_engine_packages, the change tried where it could fail."""
    plan, key = {"arguments": state["missing"], "options": ["--no-install-recommends"]}, ""
    if state["preflight"]:
        plan, key = Preflight(request, found, state).main()
    elif state["missing"]:
        Preflight(request, found, state).try_sources()
    # apt forgets the hold of a package that it replaces.
    again = [one for one in found["holds"] if one not in state["release"]] if state["changes_engine"] else []
    return {
        **plan,
        "repository": {**request["repository"], "key": key} if state["source"] else None,
        "hold": list(dict.fromkeys(state["hold"] + again)),
        "release": state["release"],
    }


def sentences(pending: dict, found: dict, state: dict, arguments: list[str], reloaded: list[str]) -> list[str]:
    """Return what would happen, for people."""
    result = []
    if found["entries"]:
        result.append(f"Would be removed: {', '.join(found['entries'])}")
    packages = [package for package in arguments if not package.endswith("-")]
    if packages:
        instead = f" in place of {', '.join(state['remove'])}" if state["remove"] else ""
        started = "" if state["is_running"] else ", and the engine started"
        result.append(f"{', '.join(packages)} would be installed{instead}{started}")
    elif pending["start"]:
        result.append("The engine would be started, now and at boot")
    verbs = (("reloaded", reloaded), ("restarted", pending["restart"]))
    engine = [f"{verb} for {', '.join(keys)}" for verb, keys in verbs if keys]
    if engine:
        result.append(f"The engine would be {', and '.join(engine)}")
    if pending["users"]:
        result.append(f"{', '.join(pending['users'])} would become members of the group docker")
    return result


def find_out(module: AnsibleModule) -> dict:
    """Return the module's result. Raises WharfError where the host is unfit, or the change would fail."""
    params = module.params
    if params["problems"]:
        raise WharfError("\n".join(params["problems"]))
    request = request_for(params, distro.os_release_info())
    found = gather(module, request)
    unfit = problems(found, request)
    if unfit:
        raise WharfError("\n".join(unfit))
    state = judge(found, request)
    is_judged = not state["changes_engine"]
    change = Change(module, "docker_engine", params["options"], params["defaults"], is_judged)
    plan = plan_of(request, found, state)

    news = {"packages": state["preflight"] and plan["arguments"], "proxies": state["proxies"] or state["block"]}
    noted = [name for name, is_new in news.items() if is_new and state["is_running"]]
    noted = list(dict.fromkeys(noted + found["restart"]))
    pending = {
        "packages": plan["arguments"] or state["source"] or plan["hold"] or plan["release"],
        "files": state["proxies"],
        "block": state["block"],
        "options": change.changed,
        "users": state["outsiders"],
        # The units of another source's packages are other ones, and not enabled by it.
        "start": state["start"] or (state["remove"] and plan["arguments"] and state["is_managed"]),
        "restart": change.restart_keys + noted,
    }
    return {
        "changed": False,
        "pending": [name for name, is_pending in pending.items() if is_pending],
        "changes": sentences(pending, found, state, plan["arguments"], change.reload_keys),
        "engine": {"is_managed": state["is_managed"], "changes": state["changes_engine"]},
        "packages": plan,
        "outsiders": state["outsiders"],
        "restart": {
            "reasons": pending["restart"],
            "file": {"path": RESTART, "content": "\n".join([found["identity"], *noted, ""]) if noted else ""},
        },
    }


def main() -> None:
    """Run the module."""
    text, names = {"type": "str", "default": ""}, {"type": "list", "elements": "str", "default": []}
    files = {
        "path": {"type": "path", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "content": {**text, "no_log": True},
    }
    module = AnsibleModule(
        argument_spec={
            "problems": names,
            "source": {"type": "str", "choices": ["distro", "docker_ce", "none"], "required": True},
            "version": text,
            "allow_downgrade": {"type": "bool", "default": False},
            "replace": {"type": "bool", "default": False},
            "systems": {"type": "dict", "required": True},
            "extra_packages": names,
            "users": names,
            "options": {"type": "dict", "default": {}},
            "defaults": {"type": "list", "elements": "dict", "default": []},
            "files": {"type": "list", "elements": "dict", "default": [], "options": files},
            "repository": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**find_out(module))
    except WharfError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

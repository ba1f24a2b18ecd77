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
  - Where the engine's packages would change in a way that could fail (another source, another version), apt or dnf
    tries it, in a directory that is removed again. What O(options) and O(defaults) would change is worked out as by
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
      - What is known of each system, by C(ID) in C(/etc/os-release), and by C(VERSION_CODENAME), C(VERSION_ID), what
        that begins with, or V(*). C(manager) (V(apt) or V(dnf)) installs its packages, C(note) is told, C(repository)
        is Docker's own for it (C(url) and C(fingerprint)).
      - The packages of each source by kind. C(engine) are all of one version, C(conflicts) cannot be there beside it,
        and C(obsolete) serve the engine of another source only. C(components) and C(helpers) come along. A kind that is
        left out is empty. A source that is left out is refused, as on another system is every one but V(none).
    type: dict
    required: true
  extra_packages:
    description: Further packages that must be installed. On a system that is not known, programs that must be there.
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
      - For C(docker_ce), Docker's repository, as C(url), without a password, and C(fingerprint) of its key, both empty
        for Docker's own; and C(apt) and C(dnf), the texts of its file for them, in which C($(URL)), C($(FINGERPRINT)),
        C($(RELEASE)) and C($(HELD)) (the packages that the version holds) are filled in.
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
    systems: {debian: {trixie: {manager: apt, distro: {engine: [docker.io, docker-cli], conflicts: [docker-ce]}}}}
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

from ansible_collections.wharf.registry.plugins.module_utils import engine_packages, engine_rpms
from ansible_collections.wharf.registry.plugins.module_utils.daemon_json import PATH as DAEMON_JSON
from ansible_collections.wharf.registry.plugins.module_utils.daemon_json import Change, read, read_bytes
from ansible_collections.wharf.registry.plugins.module_utils.engine import Engine, is_systemd, running_engine
from ansible_collections.wharf.registry.plugins.module_utils.engine_packages import (
    HOLDS,
    RESTART,
    Preflight,
    matches,
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
    version, source = release.get("version_id", ""), params["source"]
    releases = params["systems"].get(release.get("id", ""), {})
    names = (release.get("version_codename", ""), version, version.split(".")[0], "*")
    known = next((name for name in names if name in releases), "")
    system = releases.get(known, {})
    here = f"{release.get('name', 'unknown')} {version or release.get('version_codename', '')}".strip()
    if source != "none" and source not in system:
        others = [name for name in ("distro", "docker_ce") if name in system]
        raise WharfError(
            f"docker_engine_source: is {source}, which the role does not know for this host's system, {here}: use "
            f"{' or '.join(others) if others else 'none'}"
            f"{', or none' if others else ''}; none takes any engine that you have installed"
        )
    packages = {kind: [] for kind in ("engine", "components", "helpers", "conflicts", "obsolete")}
    packages.update(system.get(source, {}))
    manager, repository, own = system.get("manager", ""), params["repository"], system.get("repository", {})
    if repository:
        held = packages["engine"] if params["version"] else []
        repository = {
            "url": (repository["url"] or own["url"]).rstrip("/"),
            "fingerprint": repository["fingerprint"] or own["fingerprint"],
            "source": repository[manager],
        }
        # The beginning of a version is what dnf's repositories are named by.
        filled_in = {"RELEASE": version if known == "*" else known, "HELD": " ".join(held)}
        for name, text in {"URL": repository["url"], "FINGERPRINT": repository["fingerprint"], **filled_in}.items():
            repository["source"] = repository["source"].replace(f"$({name})", text)
    return {
        **params,
        **packages,
        "system": here,
        "manager": manager,
        "note": system.get("note", ""),
        "packages": packages["engine"] + packages["components"] + packages["helpers"] + params["extra_packages"],
        "release": version if known == "*" else known,
        "repository": repository,
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


def packages_of(module: Any, request: dict, dockerd: str) -> dict[str, Any]:
    """Return what of gather()'s result the system's package manager knows."""
    names = list(dict.fromkeys(request["packages"] + request["conflicts"] + request["obsolete"]))
    repository = request["repository"]
    source = repository.get("source", "")
    if not request["manager"]:
        there = {name: "there" for name in names if module.get_bin_path(name)}
        return {"installed": there, "held": [], "dockerd_package": "", "is_source_right": True, "entries": []}
    backend = engine_packages if request["manager"] == "apt" else engine_rpms
    installed, held = backend.installed_packages(names)
    # The search takes a while: only where a message is to name it.
    is_foreign = dockerd and request["engine"] and request["engine"][0] not in installed
    package = backend.owner_of(dockerd) if is_foreign else ""
    return {
        "installed": installed,
        "held": held,
        "dockerd_package": package,
        "is_source_right": is_right(backend.SOURCE_FILE, "644", source)
        and os.path.exists(backend.KEY_FILE) == bool(source),
        "entries": backend.remove_entries(repository["url"], is_real=False) if source else [],
    }


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


def running_program() -> str:
    """Return the program of an engine that runs on this host, wherever it lies; empty where none runs."""
    engine = running_engine()
    return os.readlink(f"/proc/{engine.pid}/exe") if engine else ""


def gather(module: Any, request: dict) -> dict[str, Any]:
    """Return what is on the host. Raises WharfError where daemon.json cannot be read."""
    dockerd = module.get_bin_path("dockerd") or ""
    engine = Engine.find()
    identity = engine.identity if engine else ""
    restart = _lines(RESTART)
    is_active, is_enabled = _service()
    gid = group_id("docker")
    return {
        **packages_of(module, request, os.path.realpath(dockerd) if dockerd else ""),
        "dockerd": dockerd,
        "elsewhere": "" if dockerd else running_program(),
        "members": {user: is_member(user, gid) for user in request["users"]},
        "has_group": gid is not None,
        "wrong_files": [one["path"] for one in request["files"] if not is_right(**one)],
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
    elif source != "none" and in_the_way and request["manager"] == "dnf":
        result.append(
            f"docker_engine_source: is {source}, but {', '.join(in_the_way)} {'is' if len(in_the_way) == 1 else 'are'} "
            f"installed here, which cannot be there beside {request['engine'][0]}: remove what you do not need first "
            f"(dnf remove {' '.join(in_the_way)}), or use docker_engine_source: none with an engine of your own"
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
    if source != "none" and found["elsewhere"]:
        result.append(
            f"docker_engine_source: is {source}, but an engine runs here already, {found['elsewhere']}, from outside "
            "of the usual directories: two would fight over their socket and networks. Remove that one first (snap "
            "remove docker, say), with what it runs, or leave this host out"
        )
    if not request["manager"]:
        result += [
            f"{name}: is not on this host, and the role knows no packages of its system, {request['system']}: "
            "install it"
            for name in request["packages"]
            if name not in installed
        ]
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
        plan, key = (Preflight if request["manager"] == "apt" else engine_rpms.Trial)(request, found, state).main()
    elif state["missing"] and request["manager"] == "apt":
        Preflight(request, found, state).try_sources()
    # apt forgets the hold of a package that it replaces.
    again = [one for one in found["holds"] if one not in state["release"]] if state["changes_engine"] else []
    return {
        **plan,
        "manager": request["manager"],
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
    if request["note"]:
        module.warn(f"docker_engine: {request['note']}")
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

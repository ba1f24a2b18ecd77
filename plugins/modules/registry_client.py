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
    file. So credential stores and helpers that the user has set are used, and other registries' entries stay. A user
    who may not use the engine is logged in with the other tools only, where there are others.
  - The registry confirms each login on every run, so that a password that no longer holds is noticed.
options:
  state: {description: V(absent) undoes V(present)., type: str, choices: [present, absent], default: present}
  name: {description: The DNS name or IPv4 address in image references., type: str, required: true}
  port: {description: The TCP port in image references., type: int, default: 5000}
  aliases:
    description: Further names and addresses of the registry, which are trusted and logged in to as well.
    type: list
    elements: str
    default: []
  trust:
    description: V(ca) trusts what O(ca) signed. V(insecure) lets the tools use plain HTTP; for the Docker engine it is
      an item of C(insecure-registries) in C(daemon.json), which the engine reads again without a restart.
    type: str
    choices: [ca, insecure]
    default: ca
  ca:
    description: The CA certificate in PEM, or several. Empty stands, in check mode, for the one that the tools of this
      host have already, or that is still to be issued.
    type: str
    default: ""
  tools:
    description: V(auto) takes the tools that are installed, containerd only where there is no Docker engine, and Docker
      where none is. Any others take these, installed or not yet.
    type: list
    elements: str
    choices: [auto, docker, podman, buildah, skopeo, containerd]
    default: [auto]
  system_store: {description: Whether the system's own store trusts the CA as well., type: bool, default: false}
  address: {description: "An IP address, which C(/etc/hosts) gives the name.", type: str, default: ""}
  other_addresses: {description: Further ones beside it., type: list, elements: str, default: []}
  resolve:
    description:
      - Whether a name that has no address on this host is refused, or one that means this host, where nothing answers.
    type: bool
    default: true
  previous_names:
    description: What the registry was called before, C(NAME:PORT) each. Trust and logins under these are removed.
    type: list
    elements: str
    default: []
  logins:
    description: Who is logged in, C(user), a system user, as C(name), the registry's user, with its C(password).
    type: list
    elements: dict
    default: []
    suboptions:
      user: {description: The system user., type: str, required: true}
      name: {description: The registry's user., type: str, required: true}
      password: {description: Needed unless O(state) is V(absent)., type: str}
  caches:
    description:
      - Other registries of which the registry has a cache, and that the tools pull from through it. What others have
        written for one of these stays, and is warned of. Before anything is written, each cache must answer.
    type: list
    elements: dict
    default: []
    suboptions:
      upstream: {description: The other registry as it stands in image references., type: str, required: true}
      path: {description: Its part of the names of repositories here., type: str, required: true}
      server: {description: The URL of the other registry itself., type: str, required: true}
  caches_mirror_port:
    description: The registry's port on which it is a mirror of Docker Hub without a path and a password; 0 for none.
    type: int
    default: 0
  caches_login:
    description: Who reads the caches with tools that cannot log in, by C(name) and C(password); empty for nobody.
    type: dict
    default: {}
    suboptions:
      name: {description: The registry's user., type: str}
      password: {description: The user's password., type: str}
  problems:
    description: What P(wharf.registry.client_problems#filter) has found wrong with the settings. With any, nothing is
      done.
    type: list
    elements: str
    default: []
  request: {description: "Is returned, to tell which settings the result is about.", type: str, default: ""}
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
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
ca: {description: The CA certificate that was meant., type: str, returned: success}
reload_keys: {description: For which keys of C(daemon.json) the engine is reloaded., type: list, returned: success}
request: {description: As it was given., type: str, returned: success}
trusted: {description: Whether every tool trusted the registry before any change., type: bool, returned: success}
up_to_date:
  description: Whether it would find the same if it ran again in this run, with the same settings. Not where anything is
    pending, a login is not confirmed, or the judgement depends on the engine.
  type: bool
  returned: success
"""

import os
import re
import socket
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.client_caches import Caches
from ansible_collections.wharf.registry.plugins.module_utils.client_trust import TOOLS, Trust
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError


def engine_changes(module: AnsibleModule, options: dict[str, dict], apply: bool) -> list[Any]:
    """Work out what is to change in daemon.json for each owner, and change it if asked to.

    Raises:
        WharfError: daemon.json cannot be read, or the engine would not start with it, or does not take it over.
    """
    if not options:
        return []
    # Not at the top: it is long to load, and only plain HTTP needs it.
    from ansible_collections.wharf.registry.plugins.module_utils.daemon_json import Change

    changes = []
    for owner, keys in options.items():
        changes.append(Change(module, owner, keys, []))
        if apply:
            changes[-1].apply()
    return changes


def addresses(name: str) -> list[str]:
    """Return the addresses that a name has on this host."""
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except OSError:
        return []


def leads_nowhere(name: str, port: int) -> str:
    """Return the address by which a name means this host itself, where nothing answers; empty where all is well.

    So it is on a host whose own name is the registry's: Debian's installer writes 127.0.1.1 into /etc/hosts.
    """
    found = addresses(name)
    if not found or not all(one.startswith("127.") or one == "::1" for one in found):
        return ""
    try:
        socket.create_connection((found[0], port), timeout=5).close()
    except OSError:
        return found[0]
    return ""


def host_of(registry: str) -> str:
    """Return the host of a registry's name in image references."""
    return re.sub(r":[0-9]+$", "", registry).strip("[]")


def refuse(problems: list[str]) -> None:
    """Raise WharfError when there are problems."""
    if problems:
        raise WharfError("\n".join(problems))


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do it.

    Raises:
        WharfError: it cannot be done.
    """
    params, check = module.params, module.check_mode
    refuse(params["problems"])
    trust = Trust(params, check)
    caches = Caches(trust, params, check)
    problems = trust.problems()
    for text in (*trust.warnings, *caches.warnings):
        module.warn(text)
    if params["logins"]:
        # Not at the top, as daemon_json is not: it is long to load.
        from ansible_collections.wharf.registry.plugins.module_utils import auth_files

        if trust.present:
            problems += auth_files.login_problems([login["user"] for login in params["logins"]], trust.tools, check)
    refuse(problems)
    engine_options = trust.engine_options()
    engine = engine_changes(module, engine_options, apply=False)
    mirrors = engine_changes(module, caches.engine_options(), apply=False)
    trust.write_hosts()
    is_found = not trust.present or bool(params["address"]) or bool(addresses(params["name"]))
    if params["resolve"] and not is_found:
        raise WharfError(
            f"{params['name']} resolves to nothing on this host: add it to the DNS that this host uses, or let Wharf"
            " write it into /etc/hosts (registry_client_address; wharf_manage_hosts_file: true in the inventory)"
        )
    if params["resolve"] and trust.present and not check and (itself := leads_nowhere(params["name"], params["port"])):
        raise WharfError(
            f"{params['name']} resolves to {itself} on this host, which is the host itself, and no registry answers"
            " there: give it the server's address, in the DNS or /etc/hosts, or the registry another name"
        )
    caches.remove()
    is_trusted = not trust.write() and not any(change.changed for change in engine)
    if not check:
        engine_changes(module, engine_options, apply=True)
        if params["resolve"]:
            trust.check_proxy()
    changed, is_confirmed = bool(trust.hosts_changes.paths) or not is_trusted, True
    if params["logins"]:
        # Who cannot reach an alias from here needs no login there.
        usable = [name for name in trust.wanted if name == trust.registry or addresses(host_of(name))]
        registries = {**dict.fromkeys(trust.others, False), **dict.fromkeys(usable, True)}
        logins = auth_files.log_all(params["logins"], registries, trust.families, trust.ca, check)
        refuse(logins.problems)
        changed, is_confirmed = changed or logins.changed, logins.confirmed
    caches.write(any(change.changed for change in mirrors))
    if not check:
        engine_changes(module, caches.engine_options(), apply=True)
    engine += mirrors
    changed = changed or bool(caches.changes.paths) or any(change.changed for change in mirrors)
    return {
        "changed": changed,
        "ca": trust.ca,
        "reload_keys": sorted({key for change in engine for key in change.reload_keys}),
        "request": params["request"],
        "trusted": is_trusted,
        "up_to_date": is_found and is_confirmed and caches.is_sure and not (changed or trust.foreign),
        "diff": [
            *trust.changes.diff,
            *trust.hosts_changes.diff,
            *caches.diff,
            *(change.result()["diff"] for change in engine if change.changed),
        ],
    }


def main() -> None:
    """Entry point."""
    login = {
        "user": {"type": "str", "required": True},
        "name": {"type": "str", "required": True},
        "password": {"type": "str", "no_log": True},
    }
    cache = {name: {"type": "str", "required": True} for name in ("upstream", "path", "server")}
    reader = {"name": {"type": "str"}, "password": {"type": "str", "no_log": True}}
    texts = {"type": "list", "elements": "str"}
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "name": {"type": "str", "required": True},
            "port": {"type": "int", "default": 5000},
            "aliases": {**texts, "default": []},
            "trust": {"type": "str", "choices": ["ca", "insecure"], "default": "ca"},
            "ca": {"type": "str", "default": ""},
            "tools": {**texts, "choices": ["auto", *TOOLS], "default": ["auto"]},
            "system_store": {"type": "bool", "default": False},
            "address": {"type": "str", "default": ""},
            "other_addresses": {"type": "list", "elements": "str", "default": []},
            "resolve": {"type": "bool", "default": True},
            "previous_names": {**texts, "default": []},
            "logins": {"type": "list", "elements": "dict", "options": login, "default": []},
            "caches": {"type": "list", "elements": "dict", "options": cache, "default": []},
            "caches_mirror_port": {"type": "int", "default": 0},
            "caches_login": {
                "type": "dict",
                "options": reader,
                "required_together": [("name", "password")],
                "default": {},
            },
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

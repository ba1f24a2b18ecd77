"""The filter that judges a landscape: what the inventory says once, for the registry and for all its clients."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.wharf.registry.plugins.plugin_utils import backup_settings as _backup
from ansible_collections.wharf.registry.plugins.plugin_utils import checks as _checks
from ansible_collections.wharf.registry.plugins.plugin_utils import client_plan as _client
from ansible_collections.wharf.registry.plugins.plugin_utils import retention as _retention

TRUST_MODES = ("private_ca", "provided", "insecure")
IMAGE_SOURCES = ("pull", "archive", "distro")
# Beside the users' generated passwords, each in a file of the user's name, lies the backup's (vars/backup.yml).
BACKUP_FILE = "backup-password"

# The key in the filter's input, and the variable that its messages name.
VARIABLES = {
    "name": "wharf_registry_name",
    "port": "wharf_registry_port",
    "trust": "wharf_registry_trust",
    "certificate": "wharf_registry_certificate",
    "key": "wharf_registry_key",
    "ca": "wharf_registry_ca",
    "aliases": "wharf_registry_aliases",
    "former": "wharf_registry_previous_names",
    "users": "wharf_registry_users",
    "logins": "wharf_registry_logins",
    "tools": "registry_client_tools",
    "system_store": "registry_client_system_store",
    "anonymous": "wharf_registry_anonymous",
    "cost": "registry_server_bcrypt_cost",
    "image_source": "wharf_registry_image_source",
    "image": "wharf_registry_image",
    "image_archive": "wharf_registry_image_archive",
    "data": "wharf_registry_data",
    "address": "wharf_registry_address",
    "manage_hosts_file": "wharf_manage_hosts_file",
    "garbage_schedule": "wharf_garbage_schedule",
    "delete_untagged": "wharf_delete_untagged",
    "retention": "wharf_retention",
    "backup_repository": "wharf_backup_repository",
    "backup_host": "wharf_backup_host",
    "backup_fetch_to": "wharf_backup_fetch_to",
    "backup_password": "wharf_backup_password",
    "backup_environment": "wharf_backup_environment",
    "backup_keep": "wharf_backup_keep",
    "backup_schedule": "wharf_backup_schedule",
    "servers": "registry_servers",
    "said": "wharf_",
}
# What plays read of wharf_*, with what one run is told with -e. tests/unit compares it with what the plays really read.
SPECS = Path(__file__).parents[2] / "playbooks/meta/argument_specs.yml"


def wharf_landscape_problems(facts: Mapping[str, Any]) -> list[str]:
    """Judge the whole landscape on the controller, before any host changes.

    :param facts: mapping with the keys of ``VARIABLES``. A key that is missing or null means the variable's default;
        ``name`` and ``servers`` (the hosts in the group registry_servers, a list of names) have none. ``said`` are the
        names of all variables that begin with wharf_.
    :returns: one line for each problem, in the order of ``VARIABLES``; empty when the landscape is good. No line holds
        a password or a key.
    :raises TypeError: ``facts`` is not a mapping.
    :raises ValueError: ``facts`` has a key that is not judged here: a mistake in the playbook, which would otherwise
        switch a check off in silence.
    """
    if not isinstance(facts, Mapping):
        raise TypeError("wharf_landscape_problems takes a mapping")
    if unknown := sorted(str(key) for key in facts if key not in VARIABLES):
        raise ValueError(f"wharf_landscape_problems does not know {', '.join(unknown)}")

    given = {key: facts.get(key) for key in VARIABLES}
    trust = "private_ca" if given["trust"] is None else given["trust"]
    source = "pull" if given["image_source"] is None else given["image_source"]
    return [
        *_checks.registry_name_problems(given["name"], VARIABLES["name"]),
        *_checks.registry_port_problems(given["port"], VARIABLES["port"]),
        *_choice_problems(trust, TRUST_MODES, VARIABLES["trust"]),
        *_pem_problems(given, trust),
        *_checks.registry_aliases_problems(given["aliases"], VARIABLES["aliases"]),
        *_former_problems(given),
        *_user_problems(given, trust),
        *_login_problems(given),
        *_client.registry_client_tools_problems(given["tools"], VARIABLES["tools"]),
        *_client.registry_client_system_store_problems(
            given["system_store"], VARIABLES["system_store"], VARIABLES["trust"], trust
        ),
        *_checks.registry_boolean_problems(given["anonymous"], VARIABLES["anonymous"]),
        *_checks.registry_cost_problems(given["cost"], VARIABLES["cost"]),
        *_choice_problems(source, IMAGE_SOURCES, VARIABLES["image_source"]),
        *_checks.registry_image_problems(given["image"], VARIABLES["image"]),
        *_archive_problems(given["image_archive"], source),
        *_checks.registry_data_problems(given["data"], VARIABLES["data"]),
        *_address_problems(given["address"]),
        *_checks.registry_boolean_problems(given["manage_hosts_file"], VARIABLES["manage_hosts_file"]),
        *_checks.registry_schedule_problems(given["garbage_schedule"], VARIABLES["garbage_schedule"]),
        *_checks.registry_boolean_problems(given["delete_untagged"], VARIABLES["delete_untagged"]),
        *_retention.wharf_retention_problems(given["retention"], VARIABLES["retention"]),
        *_backup.registry_backup_problems(
            {key: given["data" if key == "data" else f"backup_{key}"] for key in _backup.KEYS},
            "wharf_backup_",
            required=False,
        ),
        *_fetch_problems(given["backup_fetch_to"], given["backup_repository"], given["backup_host"]),
        *_server_problems(given["servers"]),
        *_name_problems(given["said"] or []),
    ]


def _choice_problems(value: object, choices: tuple[str, ...], variable: str) -> list[str]:
    """Judge a value that must be one of a few words."""
    if value in choices:
        return []
    return [f"{variable}: {_checks.shown(value)} is unknown: use {', '.join(choices[:-1])} or {choices[-1]}"]


def _pem_problems(given: Mapping[str, Any], trust: object) -> list[str]:
    """Judge the certificate, the key and the CA: needed with ``provided``, in vain with any other mode."""
    problems = []
    for key in ("certificate", "key", "ca"):
        value, variable = given[key], VARIABLES[key]
        if trust == "provided":
            if _checks.absent(value):
                problems.append(
                    f"{variable}: is missing, and {VARIABLES['trust']} is provided:"
                    " set it to PEM text or the absolute path of a PEM file on the controller"
                )
            else:
                problems += _checks.registry_pem_problems(value, variable, "key" if key == "key" else "certificate")
        elif trust in TRUST_MODES and not _checks.absent(value):
            problems.append(
                f"{variable}: is set, but {VARIABLES['trust']} is {trust} and would ignore it:"
                f" remove it, or set {VARIABLES['trust']} to provided"
            )
    return problems


def _former_problems(given: Mapping[str, Any]) -> list[str]:
    """Judge what the registry was called before: NAME:PORT each, and not what it is called now."""
    former, variable = given["former"], VARIABLES["former"]
    if former is None:
        return []
    use = "use a list of NAME:PORT, such as registry.example.com:5000"
    if not isinstance(former, (list, tuple)):
        return [f"{variable}: {_checks.shown(former)} is not a list: {use}"]
    problems = []
    present = f"{given['name']}:{5000 if given['port'] is None else given['port']}"
    for position, item in enumerate(former, start=1):
        name, colon, port = item.rpartition(":") if isinstance(item, str) else ("", "", "")
        if not colon:
            problems.append(f"{variable}: item {position}, {_checks.shown(item)} is not NAME:PORT: {use}")
        elif wrong := _checks.registry_name_problems(name, variable) + _checks.registry_port_problems(port, variable):
            problems += wrong
        elif item == present:
            problems.append(
                f"{variable}: item {position}, {_checks.shown(item)} is what the registry is called now, which the"
                f" clients are to trust: take it out"
            )
    return problems


def _user_problems(given: Mapping[str, Any], trust: object) -> list[str]:
    """Judge the users: that none takes the backup's file, and that they do not meet a registry without TLS."""
    users, variable = given["users"], VARIABLES["users"]
    anonymous = False if given["anonymous"] is None else given["anonymous"]
    problems = list(_checks.registry_user_problems(users, variable, anonymous, True, given["cost"]))
    for position, user in enumerate(users if isinstance(users, (list, tuple)) else [], start=1):
        if isinstance(user, Mapping) and user.get("name") == BACKUP_FILE and _checks.absent(user.get("password")):
            problems.append(
                f"{variable}: user {position} ({BACKUP_FILE!r}) has no password, and one that is generated would lie in"
                f" the file .credentials/{BACKUP_FILE}, which is the backup's: use another name, or give it a password"
            )
    if users and trust == "insecure":
        problems.append(
            f"{variable}: users do not go with {VARIABLES['trust']}: insecure, because clients send no password over"
            f" plain HTTP, where anyone could read it: use another mode, or remove the users and set"
            f" {VARIABLES['anonymous']} to true"
        )
    return problems


def _login_problems(given: Mapping[str, Any]) -> list[str]:
    """Judge who logs in on the clients, and that the registry has a user of that name."""
    users = given["users"] if isinstance(given["users"], (list, tuple)) else []
    names = [user.get("name") for user in users if isinstance(user, Mapping)]
    problems = list(_checks.registry_login_problems(given["logins"], VARIABLES["logins"], names))
    logins = given["logins"] if isinstance(given["logins"], (list, tuple)) else []
    for position, login in enumerate(logins, start=1):
        if isinstance(login, Mapping) and "password" in login:
            problems.append(
                f"{VARIABLES['logins']}: login {position} has a password, which would be ignored:"
                f" remove it, the user of that name in {VARIABLES['users']} has one"
            )
    return problems


def _archive_problems(path: object, source: object) -> list[str]:
    """Judge the saved image: needed with the source ``archive``, in vain with any other."""
    variable = VARIABLES["image_archive"]
    if source == "archive":
        return list(_checks.registry_archive_problems(path, variable))
    if source in IMAGE_SOURCES and not _checks.absent(path):
        use = f"remove it, or set {VARIABLES['image_source']} to archive"
        return [f"{variable}: is set, but {VARIABLES['image_source']} is {source} and would ignore it: {use}"]
    return []


def _address_problems(address: object) -> list[str]:
    """Judge the address that goes into /etc/hosts."""
    if _checks.absent(address):
        return []
    try:
        ipaddress.ip_address(address if isinstance(address, str) else "")
    except ValueError:
        shown = _checks.shown(address)
        return [f"{VARIABLES['address']}: {shown} is not an IP address: use one such as 192.0.2.10"]
    return []


def _fetch_problems(value: object, repository: object, host: object) -> list[str]:
    """Judge where on the controller a copy of the backup goes."""
    variable = VARIABLES["backup_fetch_to"]
    if _checks.absent(value):
        return []
    if not isinstance(value, str) or not value.startswith("/") or ".." in value.split("/") or not value.strip("/"):
        return [f"{variable}: {_checks.shown(value)} is not a directory: use an absolute path on the controller"]
    if not host and not str(repository or "/").startswith("/"):
        return [
            f"{variable}: is set, but {VARIABLES['backup_repository']} is not a directory of a host of the inventory:"
            " fetch it by the means of that store, or leave this out"
        ]
    return []


def _server_problems(servers: object) -> list[str]:
    """Judge that some host shall run the registry."""
    if isinstance(servers, (list, tuple)) and servers:
        return []
    group = VARIABLES["servers"]
    return [f"{group}: no host is in this group: put the host that shall run the registry into the group {group}"]


def _name_problems(said: Sequence[str]) -> list[str]:
    """Judge the names that begin with wharf_: a misspelt one would be ignored in silence."""
    if set(said) <= set(VARIABLES.values()):
        return []
    entries = yaml.safe_load(SPECS.read_text("utf-8"))["argument_specs"].values()
    known = {name for entry in entries for name in entry["options"]}
    problems = []
    for name in sorted(set(said) - known):
        near = "".join(f"{other}, or " for other in difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8))
        problems.append(
            f"{name}: is unknown: use {near}what docs/variables.md lists, or a name of your own without wharf_"
        )
    return problems

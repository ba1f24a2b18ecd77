"""The settings of a deployment: every variable that begins with wharf_, judged once for all hosts."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.wharf.registry.plugins.module_utils import client_plan
from ansible_collections.wharf.registry.plugins.module_utils.backup_settings import backup_problems
from ansible_collections.wharf.registry.plugins.plugin_utils import certificates, copies, retention
from ansible_collections.wharf.registry.plugins.plugin_utils.images import archive_problems, image_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.names import alias_problems, name_problems, port_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.paths import data_problems, pem_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.users import cost_problems, login_problems, user_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.values import problems_on_hosts, shown

ROLE = Path(__file__).parents[2] / "roles/settings"
PLACEHOLDER = "/"  # stands for a default that only Ansible can template
_OTHER_TYPE = re.compile(r"is of type (?:<class ')?(\w+)'?>?.*unable to convert to (\w+)", re.DOTALL)


def settings_problems(
    hostvars: Mapping[str, Mapping[str, Any]], hosts: Sequence[str], servers: Sequence[str]
) -> list[str]:
    """Judge the settings of all hosts on the controller, before anything changes on any of them.

    Args:
        hostvars: Ansible's variable of that name.
        hosts: the hosts of the play.
        servers: the hosts of the group registry_servers.

    Returns:
        A line for each mistake, once for however many hosts: the variable, what is wrong, what would be right. None
        holds a password or a key. A mistake that only some hosts make names them.
    """
    if not servers:
        return ["registry_servers: the group is empty: put the host that shall run the registry into it"]
    return problems_on_hosts(
        hostvars,
        hosts,
        "wharf_",
        lambda given: [
            *problems_of(given),
            *_backup_host_problems(given.get("wharf_backup_host") or "", hostvars, servers),
        ],
    )


def problems_of(given: Mapping[str, Any]) -> list[str]:
    """Return a line for each mistake in one host's settings.

    Args:
        given: the variables that begin with wharf_, as the inventory says them; a missing one has its default.
    """
    specs, defaults = specification()
    known = {name: value for name, value in given.items() if name in specs and value is not None}
    result = ArgumentSpecValidator(specs).validate(known)
    wrong = [_plain(str(error), specs) for error in result.errors.errors]
    values = {**defaults, **_without_none(result.validated_parameters)}
    return [
        *_unknown_names(given.keys() - specs.keys(), specs),
        *dict.fromkeys(f"{name}: {text}" for name, text in wrong if name),
        *(
            problem
            for reads, judge in CHECKS
            if not {name for name, _ in wrong}.intersection(reads)
            for problem in judge(*(values[name] for name in reads))
        ),
    ]


@lru_cache(maxsize=1)
def specification() -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the role's argument specification, of all its entry points, and its defaults.

    Nothing is required here: the check of the registry's name says it better, and the playbooks judge what they need.
    """
    entries = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text("utf-8"))["argument_specs"].values()
    specs = {name: _for_validator(spec) for entry in entries for name, spec in entry["options"].items()}
    for spec in specs.values():
        spec.pop("required", None)
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text("utf-8"))
    return specs, {name: PLACEHOLDER if "{{" in str(value) else value for name, value in defaults.items()}


def _for_validator(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return an option as a validator takes it: without descriptions, and its default left to the role."""
    plain = {key: value for key, value in spec.items() if key not in ("description", "default")}
    if "options" in plain:
        plain["options"] = {name: _for_validator(option) for name, option in plain["options"].items()}
    return plain


def _without_none(value: Any) -> Any:
    """Return a value without the keys that a validator has added for what was not given."""
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def _plain(message: str, specs: Mapping[str, Any]) -> tuple[str, str]:
    """Return the variable that a validator's message is about, and the message without it.

    What the message shows of a value of another type is left out: it could be a secret. A message without a variable
    only repeats another one.
    """
    name = next((word for word in re.findall(r"\bwharf_\w+", message) if word in specs), "")
    if other := _OTHER_TYPE.search(message):
        key = re.search(r"(?:argument|option) '(\w+)'", message)
        subject = "" if key is None or key[1] == name else f"{key[1]} "
        return name, f"{subject}is of type {other[1]}: use the type {other[2]}"
    if unknown := re.match(rf"{name}\.(\S+)\. Supported parameters include: (.*)\.$", message):
        return name, f"{unknown[1]} is unknown: use {unknown[2]}"
    if choices := re.match(r"value of (\S+) must be one of: (.*), got: (.*?)(?: found in .*)?$", message):
        key = "" if choices[1] == name else f"{choices[1]} "
        words, _, last = choices[2].lstrip(", ").rpartition(", ")
        return name, f"{key}{shown(choices[3])} is unknown: use {words} or {last}"
    return name, message.replace(f" found in {name}", "")


def _unknown_names(names: Iterable[str], specs: Mapping[str, Any]) -> list[str]:
    """Judge names that begin with wharf_: a misspelt one would be ignored in silence."""
    problems = []
    for name in sorted(names):
        near = "".join(f"{other}, or " for other in difflib.get_close_matches(name, sorted(specs), n=1, cutoff=0.8))
        problems.append(
            f"{name}: is unknown: use {near}what docs/variables.md lists, or a name of your own without wharf_"
        )
    return problems


# What the specification cannot say ----------------------------------------------------------------


def _certificate_problems(
    trust: str, certificate: str, key: str, ca: str, name: str, aliases: Sequence[str]
) -> list[str]:
    """Judge the certificate, the key and the CA: needed with ``provided``, in vain with any other mode."""
    given = {"certificate": certificate, "key": key, "ca": ca}
    problems = []
    for kind, value in given.items():
        variable = f"wharf_registry_{kind}"
        if trust != "provided":
            if value:
                problems.append(
                    f"{variable}: is set, but wharf_registry_trust is {trust} and would ignore it:"
                    " remove it, or set wharf_registry_trust to provided"
                )
        elif value:
            problems += pem_problems(value, variable, "key" if kind == "key" else "certificate")
        else:
            problems.append(
                f"{variable}: is missing, and wharf_registry_trust is provided:"
                " set it to PEM text or the absolute path of a PEM file on the controller"
            )
    if problems or trust != "provided":
        return problems
    variables = {kind: f"wharf_registry_{kind}" for kind in (*given, "name", "aliases")}
    return certificates.tls_problems(given, name, aliases, variables)


def _previous_names_problems(names: Sequence[str], name: str, port: int) -> list[str]:
    """Judge what the registry was called before: NAME:PORT each, and not what it is called now."""
    variable = "wharf_registry_previous_names"
    problems = []
    for position, item in enumerate(names, start=1):
        host, colon, its_port = item.rpartition(":")
        if not colon:
            use = "use NAME:PORT, such as registry.example.com:5000"
            problems.append(f"{variable}: item {position}, {shown(item)} is not NAME:PORT: {use}")
        elif wrong := name_problems(host, variable) + port_problems(its_port, variable):
            problems += wrong
        elif item == f"{name}:{port}":
            problems.append(
                f"{variable}: item {position}, {shown(item)} is what the registry is called now, which the"
                " clients are to trust: take it out"
            )
    return problems


def _users_problems(users: Sequence[Mapping[str, Any]], anonymous: bool, cost: int, trust: str) -> list[str]:
    """Judge the users, and that they do not meet a registry without TLS."""
    problems = list(user_problems(users, "wharf_registry_users", anonymous, True, cost))
    if users and trust == "insecure":
        problems.append(
            "wharf_registry_users: users do not go with wharf_registry_trust: insecure, because clients send no"
            " password over plain HTTP, where anyone could read it: use another mode, or remove the users and set"
            " wharf_registry_anonymous to true"
        )
    return problems


def _logins_problems(logins: Sequence[Mapping[str, Any]], users: Sequence[Mapping[str, Any]]) -> list[str]:
    """Judge who logs in on the clients, and that the registry has a user of that name."""
    names = [user.get("name") for user in users]
    return list(login_problems(logins, "wharf_registry_logins", names))


def _saved_image_problems(path: str, source: str) -> list[str]:
    """Judge the saved image: needed with the source ``archive``, in vain with any other."""
    variable = "wharf_registry_image_archive"
    if source == "archive":
        return list(archive_problems(path, variable))
    if path:
        use = "remove it, or set wharf_registry_image_source to archive"
        return [f"{variable}: is set, but wharf_registry_image_source is {source} and would ignore it: {use}"]
    return []


def _address_problems(address: str) -> list[str]:
    """Judge the address that goes into /etc/hosts."""
    try:
        ipaddress.ip_address(address or "192.0.2.10")
    except ValueError:
        return [f"wharf_registry_address: {shown(address)} is not an IP address: use one such as 192.0.2.10"]
    return []


def _backup_problems(repository: str, host: str, password: str, environment: Any, keep: Any, data: str) -> list[str]:
    """Judge the backup's place and rules."""
    return backup_problems("wharf_backup_", repository, host, password or None, environment, keep, data)


def _backup_host_problems(host: str, hosts: Container[str], servers: Sequence[str]) -> list[str]:
    """Judge which host of the inventory keeps the backup."""
    variable = "wharf_backup_host"
    if host in servers:
        return [
            f"{variable}: {host} is the registry's server itself: leave it out to keep the backup there, or name"
            " another host"
        ]
    return [f"{variable}: {host} is not a host of the inventory"] if host and host not in hosts else []


def _fetch_problems(directory: str, repository: str, host: str) -> list[str]:
    """Judge where on the controller a copy of the backup goes."""
    variable = "wharf_backup_fetch_to"
    if not directory:
        return []
    if not directory.startswith("/") or ".." in directory.split("/") or not directory.strip("/"):
        return [f"{variable}: {shown(directory)} is not a directory: use an absolute path on the controller"]
    if not host and not (repository or "/").startswith("/"):
        return [
            f"{variable}: is set, but wharf_backup_repository is not a directory of a host of the inventory:"
            " fetch it by the means of that store, or leave this out"
        ]
    return []


def _named(judge: Callable[..., Iterable[str]], variable: str) -> tuple[tuple[str, ...], Callable[..., Iterable[str]]]:
    """Return a check of a single variable, whose function wants to know its name."""
    return (variable,), lambda value: judge(value, variable)


# Each check with the variables that it reads; it is left out where one of them has a wrong type already.
CHECKS: tuple[tuple[tuple[str, ...], Callable[..., Iterable[str]]], ...] = (
    _named(name_problems, "wharf_registry_name"),
    _named(port_problems, "wharf_registry_port"),
    (
        (
            "wharf_registry_trust",
            "wharf_registry_certificate",
            "wharf_registry_key",
            "wharf_registry_ca",
            "wharf_registry_name",
            "wharf_registry_aliases",
        ),
        _certificate_problems,
    ),
    _named(alias_problems, "wharf_registry_aliases"),
    (("wharf_registry_previous_names", "wharf_registry_name", "wharf_registry_port"), _previous_names_problems),
    (
        (
            "wharf_registry_users",
            "wharf_registry_anonymous",
            "wharf_registry_bcrypt_cost",
            "wharf_registry_trust",
        ),
        _users_problems,
    ),
    (("wharf_registry_logins", "wharf_registry_users"), _logins_problems),
    _named(client_plan.tools_problems, "wharf_client_tools"),
    (
        ("wharf_client_system_store", "wharf_registry_trust"),
        lambda store, trust: client_plan.system_store_problems(
            store, "wharf_client_system_store", "wharf_registry_trust", trust
        ),
    ),
    _named(cost_problems, "wharf_registry_bcrypt_cost"),
    _named(image_problems, "wharf_registry_image"),
    (("wharf_registry_image_archive", "wharf_registry_image_source"), _saved_image_problems),
    _named(data_problems, "wharf_registry_data"),
    (("wharf_registry_address",), _address_problems),
    _named(retention.retention_problems, "wharf_retention"),
    (
        (
            "wharf_backup_repository",
            "wharf_backup_host",
            "wharf_backup_password",
            "wharf_backup_environment",
            "wharf_backup_keep",
            "wharf_registry_data",
        ),
        _backup_problems,
    ),
    (("wharf_backup_fetch_to", "wharf_backup_repository", "wharf_backup_host"), _fetch_problems),
    _named(copies.parallel_problems, "wharf_copies_parallel"),
    _named(copies.login_problems, "wharf_copies_logins"),
    (("wharf_copies_ca",), lambda ca: pem_problems(ca, "wharf_copies_ca") if ca else []),
    _named(copies.pattern_problems, "wharf_export_images"),
    _named(copies.fingerprint_problems, "wharf_bundle_fingerprint"),
)

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

from ansible_collections.wharf.registry.plugins.module_utils.backup_settings import backup_problems
from ansible_collections.wharf.registry.plugins.plugin_utils import certificates, copies, names, retention
from ansible_collections.wharf.registry.plugins.plugin_utils.client import store_problems, tools_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.images import archive_problems, image_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.paths import data_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.users import cost_problems, login_problems, user_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.values import problems_on_hosts, shown

ROLE = Path(__file__).parents[2] / "roles/settings"
_OTHER_TYPE = re.compile(r"is of type (?:<class ')?(\w+)'?>?.*unable to convert to (\w+)", re.DOTALL)


def settings_problems(
    hostvars: Mapping[str, Mapping[str, Any]], hosts: Sequence[str], servers: Sequence[str]
) -> list[str]:
    """Return the mistakes in the settings of all hosts, before anything changes on any of them.

    Each is a line, once for however many hosts: the variable, what is wrong, what would be right. None holds a password
    or a key. A mistake that only some hosts make names them.
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
    """Return a line for each mistake in one host's variables that begin with wharf_; a missing one has its default."""
    specs, defaults = specification()
    known = {name: value for name, value in given.items() if name in specs and value is not None}
    result = ArgumentSpecValidator(specs).validate(known)
    wrong = [_plain(str(error), specs) for error in result.errors.errors]
    values = {**defaults, **_without_none(result.validated_parameters)}
    problems = _unknown_names(given.keys() - specs.keys(), specs)
    problems += dict.fromkeys(f"{name}: {text}" for name, text in wrong if name)
    for judge, reads in CHECKS:
        first, *others = (f"wharf_{name}" for name in reads.split())
        if not {first, *others}.intersection(name for name, _ in wrong):
            problems += judge(values[first], first, *(values[name] for name in others))
    return problems + [
        f"{name}: is set, but {other} is {values[other]} and would ignore it: remove it, or set {other} to {wanted}"
        for name, (other, wanted) in IGNORED_UNLESS.items()
        if values[name] and values[other] != wanted and other not in dict(wrong)
    ]


@lru_cache(maxsize=1)
def specification() -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the role's argument specification, of all its entry points, and its defaults.

    Nothing is required here: the check of the registry's name says it better, and the playbooks judge what they need.
    """
    entries = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text("utf-8"))["argument_specs"].values()
    options = _without_defaults({name: spec for entry in entries for name, spec in entry["options"].items()})
    specs = {name: {**spec, "required": False} for name, spec in options.items()}
    return specs, yaml.safe_load((ROLE / "defaults/main.yml").read_text("utf-8"))


def _without_defaults(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return options for a validator that leaves their defaults to the role."""
    return {
        name: {**spec, "default": None, "options": _without_defaults(spec.get("options", {})) or None}
        for name, spec in options.items()
    }


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
    certificate: str, variable: str, key: str, ca: str, trust: str, name: str, aliases: Sequence[str]
) -> list[str]:
    """Judge the certificate, the key and the CA that others provide."""
    given = {"certificate": certificate, "key": key, "ca": ca}
    prefix = variable.removesuffix("certificate")
    return certificates.Provided(given, name, aliases, prefix).problems() if trust == "provided" else []


def _user_problems(
    users: Sequence[Mapping[str, Any]], variable: str, anonymous: bool, trust: str, cost: int
) -> list[str]:
    """Judge the users, and that they do not meet a registry without TLS."""
    return user_problems(users, variable, anonymous, trust != "insecure", cost)


def _saved_image_problems(path: str, variable: str, source: str) -> list[str]:
    """Judge the saved image."""
    return archive_problems(path, variable) if source == "archive" else []


def _address_problems(address: str, variable: str) -> list[str]:
    """Judge the address that goes into /etc/hosts."""
    try:
        ipaddress.ip_address(address or "192.0.2.10")
    except ValueError:
        return [f"{variable}: {shown(address)} is not an IP address: use one such as 192.0.2.10"]
    return []


def _system_store_problems(store: bool, variable: str, trust: str) -> list[str]:
    """Judge whether the system's store can trust the registry's CA."""
    return store_problems(store, trust, variable, "wharf_registry_trust")


def _backup_problems(
    repository: str, variable: str, host: str, password: str, environment: Any, keep: Any, data: str
) -> list[str]:
    """Judge the backup's place and rules."""
    prefix = variable.removesuffix("repository")
    return backup_problems(prefix, repository, host, password or None, environment, keep, data)


def _backup_host_problems(host: str, hosts: Container[str], servers: Sequence[str]) -> list[str]:
    """Judge which host of the inventory keeps the backup."""
    variable = "wharf_backup_host"
    if host in servers:
        return [
            f"{variable}: {host} is the registry's server itself: leave it out to keep the backup there, or name"
            " another host"
        ]
    return [f"{variable}: {host} is not a host of the inventory"] if host and host not in hosts else []


def _fetch_problems(directory: str, variable: str, repository: str, host: str) -> list[str]:
    """Judge where on the controller a copy of the backup goes."""
    if not directory:
        return []
    if not directory.startswith("/") or ".." in directory.split("/") or not directory.strip("/"):
        return [f"{variable}: {shown(directory)} is not a directory: use an absolute path on the controller"]
    if host or (repository or "/").startswith("/"):
        return []
    return [
        f"{variable}: is set, but wharf_backup_repository is not a directory of a host of the inventory: fetch it by"
        " the means of that store, or leave this out"
    ]


# What is set in vain unless another setting has this value.
IGNORED_UNLESS = {
    "wharf_registry_certificate": ("wharf_registry_trust", "provided"),
    "wharf_registry_key": ("wharf_registry_trust", "provided"),
    "wharf_registry_ca": ("wharf_registry_trust", "provided"),
    "wharf_registry_image_archive": ("wharf_registry_image_source", "archive"),
}
# Each check with the variables that it reads: it is given the value and the name of the first, and the values of the
# others. It is left out where one of them has a wrong type already.
CHECKS: tuple[tuple[Callable[..., Iterable[str]], str], ...] = (
    (names.name_problems, "registry_name"),
    (names.port_problems, "registry_port"),
    (
        _certificate_problems,
        "registry_certificate registry_key registry_ca registry_trust registry_name registry_aliases",
    ),
    (names.alias_problems, "registry_aliases"),
    (names.previous_name_problems, "registry_previous_names registry_name registry_port"),
    (_user_problems, "registry_users registry_anonymous registry_trust registry_bcrypt_cost"),
    (login_problems, "registry_logins registry_users"),
    (tools_problems, "client_tools"),
    (_system_store_problems, "client_system_store registry_trust"),
    (cost_problems, "registry_bcrypt_cost"),
    (image_problems, "registry_image"),
    (_saved_image_problems, "registry_image_archive registry_image_source"),
    (data_problems, "registry_data"),
    (_address_problems, "registry_address"),
    (retention.retention_problems, "retention"),
    (
        _backup_problems,
        "backup_repository backup_host backup_password backup_environment backup_keep registry_data",
    ),
    (_fetch_problems, "backup_fetch_to backup_repository backup_host"),
    (copies.parallel_problems, "copies_parallel"),
    (copies.login_problems, "copies_logins"),
    (certificates.certificates_problems, "copies_ca"),
    (copies.pattern_problems, "export_images"),
    (copies.fingerprint_problems, "bundle_fingerprint"),
)

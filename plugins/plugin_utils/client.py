"""Which settings of a registry's clients cannot work."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.wharf.registry.plugins.module_utils.caches import slug
from ansible_collections.wharf.registry.plugins.module_utils.client_trust import TOOLS
from ansible_collections.wharf.registry.plugins.module_utils.references import HOST, PART
from ansible_collections.wharf.registry.plugins.plugin_utils.caches_plan import usual_address
from ansible_collections.wharf.registry.plugins.plugin_utils.certificates import certificates_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.names import alias_problems, name_problems, port_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.users import login_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.values import shown


def client_problems(
    settings: Mapping[str, Any], ca: str, logins: Sequence[Mapping[str, Any]], check: bool
) -> list[str]:
    """Return a line for each setting of the role registry_client that cannot work. No line holds a password.

    Args:
        settings: the role's other variables, without their prefix.
        ca: registry_client_ca.
        logins: registry_client_logins.
        check: whether nothing will be changed, so that certificate and passwords may be still to be made.
    """
    is_present, is_insecure = settings["state"] == "present", settings["trust"] == "insecure"
    problems = [
        *name_problems(settings["name"], "registry_client_name"),
        *port_problems(settings["port"], "registry_client_port"),
        *alias_problems(settings["aliases"], "registry_client_aliases"),
        *login_problems(logins, "registry_client_logins"),
        *(
            f"registry_client_previous_names: {item!r} is not NAME:PORT: use a list of these"
            for item in settings["previous_names"]
            if not re.fullmatch(r"[^:/]+:[0-9]+", item)
        ),
    ]
    if is_present and not is_insecure and not (check and not ca):
        problems += ca_problems(ca, "registry_client_ca")
    problems += tools_problems(settings["tools"], "registry_client_tools")
    problems += caches_problems(settings["caches"], "registry_client_caches")
    if int(settings["caches_mirror_port"]):
        problems += port_problems(settings["caches_mirror_port"], "registry_client_caches_mirror_port")
    problems += store_problems(
        boolean(settings["system_store"]), settings["trust"], "registry_client_system_store", "registry_client_trust"
    )
    if is_present and is_insecure and settings["caches_reader"]:
        problems.append(
            "registry_client_caches_login: a registry that is trusted as insecure takes no users: leave it empty"
        )
    if is_present and is_insecure and logins:
        problems.append(
            "registry_client_logins: a registry that is trusted as insecure takes no users: leave the list empty"
        )
    elif is_present and not check:
        problems += [
            f"registry_client_logins: {login['user']} has no password for {login['name']}: give it one"
            for login in logins
            if "password" not in login
        ]
    return problems


def client_caches(caches: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return what clients are told of the caches in wharf_caches: not who the server is there, nor by which proxy."""
    return [
        {"upstream": upstream, "path": slug(upstream), "server": usual_address(upstream)}
        for upstream in (cache["upstream"] for cache in caches)
    ]


def caches_problems(caches: Sequence[Mapping[str, str]], variable: str) -> list[str]:
    """Judge what the tools are to be told of caches, which they read in files and as the names of files."""
    forms = {
        "upstream": (HOST, "a registry's name as it stands in image references: use one such as docker.io"),
        "path": (PART, "the first part of a repository's name: use one such as docker.io"),
        "server": (rf"https?://{HOST}/?", "the address of a registry: use one such as https://registry-1.docker.io"),
    }
    return [
        f"{variable}: item {number}, {key}: {shown(cache[key])} is not {use}"
        for number, cache in enumerate(caches, 1)
        for key, (form, use) in forms.items()
        if not re.fullmatch(form, cache[key])
    ]


def ca_problems(ca: str, variable: str) -> list[str]:
    """Judge the text of CA certificates, which the tools are to read as it is."""
    if "-----BEGIN CERTIFICATE-----" not in ca:
        return [f"{variable}: holds no PEM certificate: give the text of the CA certificate that signed the registry"]
    mark = r"-----(?:BEGIN|END) CERTIFICATE-----"
    if len(re.findall(rf"^{mark}\s*$", ca, re.MULTILINE)) < len(re.findall(mark, ca)):
        return [f"{variable}: is PEM whose lines were lost or indented: give it with each line as it was"]
    return certificates_problems(ca, variable)


def tools_problems(value: object, variable: str) -> list[str]:
    """Judge which tools are to trust the registry: ``auto``, or a list that holds it or tools. Null means the default.

    Args:
        value: what the variable holds.
        variable: its name, for the messages.
    """
    use = f"use auto, or a list out of {', '.join(TOOLS)}"
    if value is None or value == "auto" or value == ["auto"]:
        return []
    if not isinstance(value, (list, tuple)):
        return [f"{variable}: {shown(value)} is not a list: {use}"]
    if not value:
        return [f"{variable}: is an empty list, so that no tool would trust the registry: {use}"]
    if "auto" in value:
        return [f"{variable}: has auto beside others: use auto alone, or a list out of {', '.join(TOOLS)}"]
    return [f"{variable}: {shown(tool)} is unknown: {use}" for tool in value if tool not in TOOLS]


def store_problems(value: bool | None, trust: str, variable: str, trust_variable: str) -> list[str]:
    """Judge whether the system's store can trust the registry's CA; null means the default.

    Args:
        value: whether it is to.
        trust: where trust comes from; with ``insecure`` there is no CA.
        variable: the name of the first variable, for the messages.
        trust_variable: the name of the second.
    """
    if not value or trust != "insecure":
        return []
    return [
        f"{variable}: is true, but {trust_variable} is insecure, and plain HTTP has no CA that the system's store could"
        f" take: set it to false, or use another mode"
    ]

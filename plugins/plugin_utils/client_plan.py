"""Filters that judge which tools a client has, and decide what is due on it, from one look at the host.

The look (files/look.sh) only reads. ``registry_client_plan`` compares it with what is wanted, so that the tasks need no
conditions of their own, and a host on which nothing is due runs none of them.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

TOOLS = ("docker", "podman", "buildah", "skopeo", "containerd")
# They share a library, and with it all files.
CONTAINERS = ("podman", "buildah", "skopeo")

CERTIFICATES = {"docker": "/etc/docker/certs.d", "containers": "/etc/containers/certs.d"}
REGISTRIES = "/etc/containers/registries.conf.d"
STORE = "/usr/local/share/ca-certificates"
CONTAINERD = "/etc/containerd/certs.d"
CONTAINERD_FILE = "/etc/containerd/config.toml"
# By the version of its file. Source: containerd, docs/cri/registry.md.
CONTAINERD_TABLES = {"2": "io.containerd.grpc.v1.cri", "3": "io.containerd.cri.v1.images"}

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?(?:-----END CERTIFICATE-----|\Z)", re.DOTALL)


# Settings -----------------------------------------------------------------------------------------


def registry_client_tools_problems(value: object, variable: str) -> list[str]:
    """Judge which tools are to trust the registry: ``auto``, or a list out of ``TOOLS``. Null means the default.

    :param value: what the variable holds.
    :param variable: the variable's name, for the messages.
    :returns: one line for each problem.
    """
    use = f"use auto, or a list out of {', '.join(TOOLS)}"
    if value is None or value == "auto":
        return []
    if not isinstance(value, (list, tuple)):
        shown = repr(str(value)[:80]) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
        return [f"{variable}: {shown} is not a list: {use}"]
    if not value:
        return [f"{variable}: is an empty list, so that no tool would trust the registry: {use}"]
    return [f"{variable}: {str(tool)[:80]!r} is unknown: {use}" for tool in value if tool not in TOOLS]


def registry_client_system_store_problems(value: object, variable: str, other: str, trust: object) -> list[str]:
    """Judge whether the system's store is to trust the registry's CA. Null means the default.

    :param value: what the variable holds.
    :param variable: the variable's name, for the messages.
    :param other: the name of the variable that says where trust comes from.
    :param trust: its value; with ``insecure`` there is no CA.
    :returns: at most one line.
    """
    if value is None or value is False:
        return []
    if value is not True:
        return [f"{variable}: {str(value)[:80]!r} is not a boolean: use true or false, without quotes"]
    if trust == "insecure":
        return [
            f"{variable}: is true, but {other} is insecure, and plain HTTP has no CA that the system's store could"
            f" take: set it to false, or use another mode"
        ]
    return []


# The plan -----------------------------------------------------------------------------------------


def registry_client_plan(look: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is due on a host.

    :param look: what files/look.sh said.
    :param wanted: ``registry`` (name:port), ``state``, ``trust``, ``ca`` (PEM text), ``tools``, ``system_store``, and
        ``users`` (the system users that are to be logged in).
    :returns: a mapping. ``due`` tells whether any of these is: ``directories`` to make, ``write`` (``{path,
        content}``), ``remove``, ``empty`` (directories that may be empty afterwards), ``system_store``, ``engine`` (ask
        for its configuration; ``engine_options`` is what is to be in it), ``containerd`` (``{due, state, block}``).
        ``logins`` names the families of tools to log in with. ``problems`` are refused at once, ``gaps`` only where
        nothing can fill them any more.
    """
    present = wanted["state"] == "present"
    tools = _tools(look, wanted["tools"])
    plain = present and wanted["trust"] == "insecure" and "docker" in tools
    families = [family for family in ("docker", "containers", "containerd") if _members(family) & set(tools)]
    files = _files(look, wanted, families) if present else {}
    there = look.get("files") or {}
    foreign = _words(look, "foreign")

    directories = {posixpath.dirname(path) for path in files}
    write = [
        {"path": path, "content": content}
        for path, content in files.items()
        if there.get(path) != "0:0:644 " + hashlib.sha256(content.encode()).hexdigest()
    ]
    remove = [path for path in there if path not in files and path not in foreign]
    store = any(path.startswith(STORE) for path in remove + [item["path"] for item in write])
    logins = [family for family in families if family != "containerd"]
    plan = {
        "directories": sorted(directories - set(_words(look, "directories"))),
        "write": write,
        "remove": remove,
        "empty": _empty(remove, directories),
        "system_store": store or bool(set(_words(look, "unlinked")) & set(files)),
        "engine": plain or _count(look, "daemon_keys") > 0,
        "engine_options": {"insecure-registries": [wanted["registry"]]} if plain else {},
        "containerd": _containerd(look, wanted, present and "containerd" in tools),
        "logins": logins,
    }
    plan["due"] = (
        any(plan[key] for key in ("directories", "write", "remove", "system_store", "engine"))
        or (plan["containerd"]["due"])
    )
    plan["problems"] = _problems(look, wanted, tools) if present else []
    plan["gaps"] = _gaps(look, tools) if present and wanted["users"] else []
    return plan


def _words(look: Mapping[str, Any], key: str) -> list[str]:
    """Return a line of words as a list."""
    return str(look.get(key) or "").split()


def _count(look: Mapping[str, Any], key: str) -> int:
    """Return a number of lines that grep counted; nothing was counted in a file that is not there."""
    return int(look.get(key) or 0)


def _members(family: str) -> set[str]:
    """Return the tools of a family."""
    return set(CONTAINERS) if family == "containers" else {family}


def _tools(look: Mapping[str, Any], tools: Any) -> list[str]:
    """Return the tools that are to trust the registry.

    A host on which nothing was found is one that Docker is yet to come to. Docker brings containerd along, which then
    is its business.
    """
    if tools != "auto" and tools is not None:
        return list(tools)
    found = _words(look, "found") or ["docker"]
    return [tool for tool in found if tool != "containerd" or "docker" not in found]


def _files(look: Mapping[str, Any], wanted: Mapping[str, Any], families: Sequence[str]) -> dict[str, str]:
    """Return the files that are to be there: path to content."""
    registry, ca = wanted["registry"], wanted["ca"]
    mark = registry.replace(":", "_")
    roots = CERTIFICATES | {"containerd": look.get("containerd_path") or CONTAINERD}
    if wanted["trust"] == "ca":
        # Docker's rule holds for all three: every *.crt in a directory that is spelled as the registry in references.
        files = {f"{roots[family]}/{registry}/wharf-ca.crt": ca for family in families}
        if wanted["system_store"]:
            # One certificate a file: of a file with several the store makes no link.
            for number, certificate in enumerate(_CERTIFICATE.findall(ca), start=1):
                files[f"{STORE}/wharf-{mark}_{number}.crt"] = certificate + "\n"
        return files
    files = {}
    if "containers" in families:
        files[f"{REGISTRIES}/wharf-{mark}.conf"] = (
            f'# Wharf: this registry speaks plain HTTP.\n[[registry]]\nlocation = "{registry}"\ninsecure = true\n'
        )
    if "containerd" in families:
        # Since version 2 the first line would do; 1.7 asks the server by HTTPS all the same.
        files[f"{roots['containerd']}/{registry}/hosts.toml"] = (
            f'# Wharf: this registry speaks plain HTTP.\nserver = "http://{registry}"\n\n'
            f'[host."http://{registry}"]\n  capabilities = ["pull", "resolve", "push"]\n'
        )
    return files


def _empty(remove: Sequence[str], kept: set[str]) -> list[str]:
    """Return the directories that may be empty once these files are gone, each before the one that holds it."""
    below = {posixpath.dirname(path) for path in remove} - {REGISTRIES, STORE} - kept
    above = {posixpath.dirname(path) for path in below} & {*CERTIFICATES.values(), CONTAINERD}
    return [*sorted(below), *sorted(above)]


def _containerd(look: Mapping[str, Any], wanted: Mapping[str, Any], is_wanted: bool) -> dict[str, Any]:
    """Return what is due in containerd's own configuration.

    Where it names a directory already, by somebody's choice or ours, nothing is. Our block stays as long as another
    registry has files in the directory that it names. Without the package nothing is written:
    when it comes, dpkg would ask whose file it is to keep.
    """
    block = _count(look, "containerd_block") > 0
    version = look.get("containerd_version") or ("" if look.get("containerd_file") else "2")
    table = CONTAINERD_TABLES.get(version, "")
    lines = [] if look.get("containerd_file") else ["version = 2"]
    lines += [f'[plugins."{table}".registry]', f'  config_path = "{CONTAINERD}"']
    due = not look.get("containerd_path") if is_wanted else block and _count(look, "containerd_others") == 0
    due = due and "containerd" in _words(look, "found")
    return {"due": due, "state": "present" if is_wanted else "absent", "block": "\n".join(lines)}


def _problems(look: Mapping[str, Any], wanted: Mapping[str, Any], tools: Sequence[str]) -> list[str]:
    """Return why it cannot work on this host."""
    problems = []
    registry = wanted["registry"]
    for path in _words(look, "foreign"):
        if path.startswith(CERTIFICATES["docker"]):
            heeded = "docker" in tools and look.get("docker_store")
            reader, tool = "an engine with the containerd image store", "docker"
        else:
            heeded = "containerd" in tools
            reader, tool = "containerd", "containerd"
        if heeded:
            problems.append(
                f"registry_client_tools: {path} is not Wharf's, and {reader} reads it instead of what Wharf would"
                f" write for {registry}: remove it, or leave {tool} out of registry_client_tools"
            )
    if "containerd" in tools and "containerd" in _words(look, "found"):
        problems += _containerd_problems(look)
    if wanted["system_store"] and "update-ca-certificates" not in _words(look, "programs"):
        problems.append(
            "registry_client_system_store: there is no update-ca-certificates on this host: install the package"
            " ca-certificates, or set it to false"
        )
    # Where no tool has a login, nobody is logged in.
    if set(tools) - {"containerd"}:
        users = look.get("users") or {}
        problems += [
            f"registry_client_logins: there is no system user {user!r} on this host: make it first, or take it out"
            for user in wanted["users"]
            if users.get(user) is False
        ]
    return problems


def _containerd_problems(look: Mapping[str, Any]) -> list[str]:
    """Return why containerd cannot be told where to look."""
    if look.get("containerd_broken"):
        return [f"{CONTAINERD_FILE}: containerd cannot read it: see containerd config dump, and mend it first"]
    if look.get("containerd_path"):
        return []
    setting = f'config_path = "{CONTAINERD}"'
    if _count(look, "containerd_mirrors") > 0:
        return [
            f"{CONTAINERD_FILE}: has registry.mirrors or registry.configs, which do not go with config_path, where"
            f" Wharf's files are found: move them to hosts.toml files, or leave containerd out of registry_client_tools"
        ]
    if _count(look, "containerd_table") > 0:
        return [f"{CONTAINERD_FILE}: has the CRI plugin's table registry without config_path: set {setting} in it"]
    version = look.get("containerd_version") or ("" if look.get("containerd_file") else "2")
    if version not in CONTAINERD_TABLES:
        return [
            f"{CONTAINERD_FILE}: is of version {version or 1}, and versions {' and '.join(CONTAINERD_TABLES)} are known"
            f" here: see containerd config migrate"
        ]
    return []


def _gaps(look: Mapping[str, Any], tools: Sequence[str]) -> list[str]:
    """Return which program a login lacks."""
    gaps = []
    if "docker" in tools and "docker" not in _words(look, "programs"):
        gaps.append(
            "registry_client_logins: a login with docker needs the command docker, and it is not installed: install it"
            " (Debian's packages docker.io and docker-cli), or leave docker out of registry_client_tools"
        )
    named = [tool for tool in CONTAINERS if tool in tools]
    if named and not set(CONTAINERS) & set(_words(look, "found")):
        gaps.append(
            f"registry_client_logins: a login with {named[0]} needs podman, buildah or skopeo, and none of them is"
            f" installed: install it, or leave {' and '.join(named)} out of registry_client_tools"
        )
    return gaps

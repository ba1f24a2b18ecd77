"""What podman, buildah and skopeo refuse of a registry whatever its certificate, by the files that they share.

Sources: containers-policy.json(5), containers-registries.conf(5), and how their library reads both. What is said of
single images and repositories is not judged: only their owner knows what that is for.
"""

from __future__ import annotations

import glob
import os
import re

from .files import read_json, read_text

SETTINGS = "/etc/containers"
OWN_SETTINGS = ".config/containers"  # in a home directory: what is there stands in for the system's
_REGISTRY = re.compile(r"^[ \t]*\[\[registry\]\].*\n((?:(?![ \t]*\[).*\n)*)", re.MULTILINE)
_VALUE = re.compile(r"^[ \t]*(prefix|location|blocked)[ \t]*=[ \t]*[\"']?([^\"'\s#]*)", re.MULTILINE)


def registries_files(home: str) -> list[str]:
    """Return the registries.conf files of who has this home directory, as far as they may be there, the last one wins.

    Beside a file of the user's own none of the system's is read.
    """
    own = f"{home}/{OWN_SETTINGS}"
    bases = [own] if os.path.exists(f"{own}/registries.conf") else [SETTINGS, own]
    files = [path for base in bases for path in sorted(glob.glob(f"{glob.escape(base)}/registries.conf.d/*.conf"))]
    return [f"{bases[0]}/registries.conf", *files]


def registries(path: str) -> dict[str, dict[str, str]]:
    """Return what a registries.conf says of registries, by the prefix of the images that it is about."""
    known: dict[str, dict[str, str]] = {}
    for table in _REGISTRY.findall(f"{read_text(path)}\n"):
        values = dict(_VALUE.findall(table))
        known.setdefault(values.get("prefix") or values.get("location", ""), values)  # the first one in a file counts
    return known


def refusal(registry: str, home: str) -> tuple[str, str]:
    """Return how the tools refuse images of a registry, for who has this home directory, and the file that says so.

    It must be called as the owner of the home directory.

    Returns:
        rejects (each image), blocks (the registry), asks for signatures, or nothing.
    """
    path = f"{home}/{OWN_SETTINGS}/policy.json"
    path = path if os.path.exists(path) else f"{SETTINGS}/policy.json"
    kinds = _requirements(read_json(path), registry)
    if "reject" in kinds:
        return "rejects", path
    if blocking := _blocking(registry, home):
        return "blocks", blocking
    return ("signed", path) if kinds - {"insecureAcceptAnything"} else ("", "")


def _requirements(policy: dict, registry: str) -> set[str]:
    """Return the types of what a policy requires of each image of a registry; none where it tells them apart."""
    scopes = (policy.get("transports") or {}).get("docker") or {}
    if any(scope.startswith(f"{registry}/") for scope in scopes):
        return set()
    # What begins with "*." has no port.
    _name, *above = registry.partition(":")[0].split(".")
    names = [registry, *("*." + ".".join(above[number:]) for number in range(len(above))), ""]
    wanted = next((scopes[scope] for scope in names if scope in scopes), policy.get("default") or [])
    return {str(one.get("type")) for one in wanted if isinstance(one, dict)}


def _blocking(registry: str, home: str) -> str:
    """Return the file that blocks a registry; empty where none does."""
    blocking: dict[str, str] = {}
    for path in registries_files(home):
        known = registries(path).items()
        blocking.update({prefix: path if values.get("blocked") == "true" else "" for prefix, values in known})
    longest = max((prefix for prefix in blocking if _covers(prefix, registry)), key=len, default="")
    return blocking.get(longest, "")


def _covers(prefix: str, registry: str) -> bool:
    """Tell whether a prefix in registries.conf is meant for a registry; a port may be missing in it."""
    pattern = rf"[^/]*{re.escape(prefix[1:])}" if prefix.startswith("*.") else re.escape(prefix)
    return bool(prefix) and re.fullmatch(rf"{pattern}(:\d+)?", registry) is not None

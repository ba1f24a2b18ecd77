"""Versions of the registry: which one runs, which may follow which, and what they do not understand."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from . import containers
from .files import read_text, write_atomic

# The image that was asked last, and its version: to start its program takes longer than all else that a look costs.
KNOWN = Path("/run/wharf-registry-version")
KNOWN_GATEWAY = Path("/run/wharf-gateway-version")

# What a major version does not understand: the path of the key, and what would be right. Sources: distribution's
# release notes of 3.0.0, configuration/configuration.go of v2.8.3 and v3.0.0.
NOT_UNDERSTOOD = {
    2: {
        "redis.addrs": "use redis.addr, one address",
        "redis.maxidleconns": "use redis.pool.maxidle",
        "redis.poolsize": "use redis.pool.maxactive",
        "redis.connmaxidletime": "use redis.pool.idletimeout",
    },
    3: {
        "storage.swift": "version 3 has no driver for it: keep to version 2, or copy the images to a registry with"
        " another driver first",
        "storage.oss": "version 3 has no driver for it: keep to version 2, or use s3, as which the same storage can be"
        " reached",
        "redis.addr": "use redis.addrs, a list",
        "redis.pool.maxidle": "use redis.maxidleconns",
        "redis.pool.maxactive": "use redis.poolsize",
        "redis.pool.idletimeout": "use redis.connmaxidletime",
    },
}


def config_problems(keys: Collection[str], version: str) -> list[str]:
    """Return a line for each key of the user's configuration that a version of the registry does not understand.

    Args:
        keys: the paths of the keys, such as ``redis.addrs``, also of those that hold other keys.
        version: the version that is to run, such as ``3.0.0``; empty where it is not known yet.
    """
    return [
        f"registry_server_config: {path} is not understood by version {version} of the registry: {use}"
        for major in _numbers(version)[:1]
        for path, use in NOT_UNDERSTOOD.get(major, {}).items()
        if path in keys
    ]


def store_problems(version: str, variable: str) -> list[str]:
    """Return a line if a version of the registry does not tell all that lies in an object store.

    Args:
        version: the version that is to run; empty where it is not known yet.
        variable: the setting of the store.
    """
    if not (3, 0, 0) <= _numbers(version) <= (3, 1, 1):
        return []
    return [
        f"{variable}: version {version} of the registry leaves names out of what it lists from s3, such as v10 beside"
        " v1 (distribution#4891): use 2.8.3, as the packages of Debian 13 are (image_source distro), or one newer than"
        " 3.1.1"
    ]


def downgrade_problems(running: str, wanted: str) -> list[str]:
    """Return a line if the registry would go back to an older version; a version may be empty where it is not known."""
    if not _numbers(running) or not _numbers(wanted) or _numbers(wanted) >= _numbers(running):
        return []
    return [
        f"registry_server_allow_downgrade: the registry runs version {running}, and this would be a downgrade to"
        f" {wanted}, which nobody tries with data that a newer one wrote: keep the newer image, or set"
        " registry_server_allow_downgrade to true (-e wharf_allow_downgrade=true)"
    ]


def running_version(inspected: dict[str, Any] | None, check_mode: bool = False) -> str:
    """Return the version of the registry that a container runs, such as 2.8.3; empty where it does not run or tell."""
    return _version(inspected, KNOWN, "--version", check_mode)


def gateway_version(inspected: dict[str, Any] | None) -> str:
    """Return the version of nginx that a gateway runs, such as 1.28.0; empty where it does not run or tell."""
    return _version(inspected, KNOWN_GATEWAY, "-v")


def _version(inspected: dict[str, Any] | None, known: Path, option: str, check_mode: bool = False) -> str:
    """Return the version that the program of a container prints, or has printed when it was asked last."""
    if not inspected or inspected["State"]["Status"] not in ("running", "paused"):
        return ""
    image, _, version = read_text(known).partition(" ")
    if image != inspected["Image"]:
        # Not its label: that may be the version of an image that was made from the registry's.
        program = inspected["Config"].get("Entrypoint") or [inspected["Path"]]
        done = containers.docker("exec", inspected["Id"], *program, option, timeout=None)
        printed = "" if done.returncode else done.stdout  # nginx prints it as an error
        version = (re.findall(r"\bv?([0-9]+\.[0-9]+\.[0-9]+\S*)", printed) or [""])[-1]
        if version and not check_mode:
            write_atomic(str(known), f"{inspected['Image']} {version}".encode())
    return version


def writes_in_place(version: str) -> bool:
    """Tell whether a version of the registry may leave empty files when it is cut off. Version 3 writes beside them."""
    return _numbers(version) < (3,)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the three numbers of a version, or what there is of them."""
    match = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?", version)
    return tuple(int(number) for number in match.groups() if number is not None) if match else ()

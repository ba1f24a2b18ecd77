"""Versions of the registry: which may follow which, and what they do not understand."""

from __future__ import annotations

import re
from collections.abc import Collection

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


def config_problems(keys: Collection[str], version: str | None, variable: str) -> list[str]:
    """Judge whether a version of the registry understands the user's part of its configuration.

    Args:
        keys: the paths of its keys, such as ``redis.addrs``, also of those that hold other keys.
        version: the version that is to run, such as ``3.0.0``; null or empty where it is not known yet.
        variable: the name of the variable that holds it, for the messages.

    Returns:
        A line for each key that this version would not understand.
    """
    number = _numbers(version)
    if not number:
        return []
    return [
        f"{variable}: {path} is not understood by version {version} of the registry: {use}"
        for path, use in NOT_UNDERSTOOD.get(number[0], {}).items()
        if path in keys
    ]


def downgrade_problems(running: str, wanted: str, allowed: bool, variable: str) -> list[str]:
    """Judge whether the registry would go back to an older version.

    Args:
        running: the version that runs, such as ``2.8.3+ds1``; empty where its image does not tell.
        wanted: the version that is to run, alike.
        allowed: whether that is wanted.
        variable: the name of the variable that says so, for the message.

    Returns:
        At most one line.
    """
    if allowed or not _numbers(running) or not _numbers(wanted) or _numbers(wanted) >= _numbers(running):
        return []
    return [
        f"{variable}: the registry runs version {running}, and this would be a downgrade to {wanted}, which nobody"
        f" tries with data that a newer one wrote: keep the newer image, or set {variable} to true"
        " (-e wharf_allow_downgrade=true)"
    ]


def version_in(output: str) -> str:
    """Return the version in what ``registry --version`` prints; empty where it prints none."""
    found = re.findall(r"[0-9]+\.[0-9]+\.[0-9]+\S*", output)
    return found[-1] if found else ""


def _numbers(version: str | None) -> tuple[int, ...]:
    """Return the three numbers of a version, or what there is of them."""
    match = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?", version or "")
    return tuple(int(number) for number in match.groups() if number is not None) if match else ()

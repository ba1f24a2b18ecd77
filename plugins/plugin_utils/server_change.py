"""Filters that judge a change of a registry that is there: another version, another configuration, other data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

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


def registry_config_problems(config: Mapping[str, Any] | None, version: str | None, variable: str) -> list[str]:
    """Judge whether a version of the registry understands the user's part of its configuration.

    :param config: what is merged over the role's own configuration, a mapping as in the registry's reference.
    :param version: the version that is to run, such as ``3.0.0``; null or empty where it is not known yet.
    :param variable: the name of the variable that holds ``config``, for the messages.
    :returns: a line for each key that this version would not understand.
    """
    number = _numbers(version)
    if not number or not isinstance(config, Mapping):
        return []
    return [
        f"{variable}: {path} is not understood by version {version} of the registry: {use}"
        for path, use in NOT_UNDERSTOOD.get(number[0], {}).items()
        if _has(config, path.split("."))
    ]


def registry_downgrade_problems(versions: Mapping[str, str], allowed: bool, variable: str) -> list[str]:
    """Judge whether the registry would go back to an older version.

    :param versions: ``running`` and ``wanted``, such as ``2.8.3+ds1``; empty where an image does not tell.
    :param allowed: whether that is wanted.
    :param variable: the name of the variable that says so, for the message.
    :returns: at most one line.
    """
    running, wanted = _numbers(versions["running"]), _numbers(versions["wanted"])
    if allowed or not running or not wanted or wanted >= running:
        return []
    return [
        f"{variable}: the registry runs version {versions['running']}, and this would be a downgrade to"
        f" {versions['wanted']}, which nobody tries with data that a newer one wrote: keep the newer image, or set"
        f" {variable} to true (wharf_allow_downgrade: true in the landscape)"
    ]


def registry_data_mark(look: Mapping[str, Any], data: str, name: str, confirmed: str, host: str) -> dict[str, Any]:
    """Judge whether the data that was found is this registry's own.

    The mark lies in the data, ``ID NAME``; the record lies beside the configuration, ``ID DATA``.

    :param look: what files/look.sh said: ``mark``, ``record``, ``used`` (how many other files there are).
    :param data: the directory or the volume that is to be the registry's data.
    :param name: the registry's name.
    :param confirmed: ``data`` once more where what is there is to become this registry's, whatever it is.
    :param host: the host's name, for the messages.
    :returns: ``id``, which stays when it has one, else empty; and ``problems``, at most one line.
    """
    mark, _, owner = str(look["mark"]).partition(" ")
    known, _, place = str(look["record"]).partition(" ")
    used = str(look["used"]) not in ("", "0")
    problem = _data_problem(mark, owner, known, place, used, data, name)
    if problem is None or confirmed == data:
        return {"id": mark, "problems": []}
    return {
        "id": mark or known,
        "problems": [
            f"registry_server_data: {data} on {host} {problem} To go on with what is there nevertheless:"
            f" registry_server_data_confirm: {data} (-e wharf_registry_data_confirm={data})"
        ],
    }


def _data_problem(mark: str, owner: str, known: str, place: str, used: bool, data: str, name: str) -> str | None:
    """Return the rest of the sentence that begins with the place of the data; None when all is well."""
    if not known:
        if mark and owner != name:
            return f"holds the data of another registry, {owner}: name the data of {name}, or that registry."
        return None
    if mark == known:
        return None
    if mark:
        return f"holds the data of another registry ({owner}, {mark}), and not this one's ({known}): name its own."
    if place != data:
        holds = "holds something else" if used else "is empty"
        return (
            f"{holds}, and the images of {name} are in {place}: playbooks/move-registry-data.yml moves them, or keep"
            f" {place}."
        )
    if used:
        return (
            f"has lost its mark (the file .wharf, which begins with {known}), so that nobody can tell whose data it is:"
            " see what is mounted there."
        )
    return f"is empty, but should hold the images of {name}: is its disk mounted?"


def _numbers(version: str | None) -> tuple[int, ...]:
    """Return the three numbers of a version, or what there is of them."""
    match = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?", version or "")
    return tuple(int(number) for number in match.groups() if number is not None) if match else ()


def _has(config: Any, path: list[str]) -> bool:
    """Tell whether a configuration has a key; one whose value is null is taken away."""
    for key in path:
        if not isinstance(config, Mapping) or config.get(key) is None:
            return False
        config = config[key]
    return True

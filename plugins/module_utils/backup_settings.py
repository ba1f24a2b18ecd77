"""Filters that judge where a registry's backup goes and how long it is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SCHEDULES = ("", "daily", "weekly", "monthly")
PERIODS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
BACKENDS = ("local", "sftp", "rest", "s3", "b2", "azure", "gs", "swift", "rclone")
SHORTEST = 12  # characters of a password
KEYS = ("repository", "host", "password", "environment", "keep", "schedule", "data")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def registry_backup_problems(facts: Mapping[str, Any], prefix: str, required: bool = True) -> list[str]:
    """Judge the settings of a backup.

    Args:
        facts: repository, host, password, environment, keep, schedule and data (the registry's own directory or
            volume). What is missing, null or empty is as if it had not been said.
        prefix: what the variables' names begin with, in messages.
        required: whether there must be a repository.

    Returns:
        One line for each problem; none holds a password.

    Raises:
        ValueError: facts has a key that is not judged here.
    """
    if unknown := sorted(set(facts) - set(KEYS)):
        raise ValueError(f"backup_problems does not know {', '.join(unknown)}")
    given = {key: facts.get(key) for key in KEYS}
    return [
        *_repository_problems(given, prefix, required),
        *_password_problems(given["password"], f"{prefix}password"),
        *_environment_problems(given["environment"], f"{prefix}environment"),
        *_keep_problems(given["keep"], f"{prefix}keep"),
        *(
            []
            if given["schedule"] is None or given["schedule"] in SCHEDULES
            else [f"{prefix}schedule: {given['schedule']!r} is unknown: use daily, weekly, monthly, or nothing"]
        ),
    ]


def _repository_problems(given: Mapping[str, Any], prefix: str, required: bool) -> list[str]:
    """Judge where the backup goes."""
    value, host, variable = given["repository"], given["host"], f"{prefix}repository"
    use = (
        "use an absolute path of its own, or what restic takes, such as sftp:user@host:/path or s3:https://host/bucket"
    )
    if value is None or value == "":
        if required or host:
            return [f"{variable}: is missing, so that nobody knows where the backup goes: {use}"]
        return []
    if not isinstance(value, str) or _CONTROL.search(value) or value != value.strip():
        return [f"{variable}: {value!r} is no place for a backup: {use}"]
    if host:
        if value.startswith("/") and ".." not in value.split("/") and " " not in value and value.strip("/"):
            return []
        return [
            f"{variable}: {value!r} must be an absolute path without spaces, because {prefix}host is set:"
            " the directory on that host"
        ]
    if value.startswith("/"):
        data = given["data"]
        inside = isinstance(data, str) and data.startswith("/") and f"{value}/".startswith(f"{data.rstrip('/')}/")
        if inside or f"{value}/".startswith("/etc/wharf/"):
            return [f"{variable}: {value!r} lies in what is backed up: {use}"]
        return []
    if value.partition(":")[0] in BACKENDS and value.partition(":")[2]:
        return []
    return [f"{variable}: {value!r} is no place for a backup: {use}"]


def _password_problems(value: object, variable: str) -> list[str]:
    """Judge the password; without one it is generated."""
    if value is None:
        return []
    if value == "":
        return [f"{variable}: is missing: set it, or {variable}_file, where one is kept on the controller"]
    if not isinstance(value, str) or _CONTROL.search(value) or value != value.strip():
        return [f"{variable}: must be a text of one line, without spaces at its ends"]
    if len(value) < SHORTEST:
        return [
            f"{variable}: has {len(value)} characters: use at least {SHORTEST}, because the keys of the CA are in the"
            " backup, or leave it out, and one is generated"
        ]
    return []


def _environment_problems(value: object, variable: str) -> list[str]:
    """Judge the environment variables for restic."""
    if value is None:
        return []
    if not isinstance(value, Mapping):
        return [f"{variable}: must be a mapping of environment variables, such as {{AWS_ACCESS_KEY_ID: ...}}"]
    problems = []
    for name, content in value.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            problems.append(f"{variable}: {name!r} is not the name of an environment variable")
        elif name.startswith(("RESTIC_REPOSITORY", "RESTIC_PASSWORD")):
            problems.append(f"{variable}: {name} is set by the program itself: remove it")
        elif not isinstance(content, str):
            problems.append(f"{variable}: the value of {name} must be a text: put it in quotes")
    return problems


def _keep_problems(value: object, variable: str) -> list[str]:
    """Judge how many snapshots are kept."""
    use = f"use numbers above 0 for {', '.join(PERIODS[:-1])} or {PERIODS[-1]}, such as {{daily: 7, weekly: 4}}"
    if value is None:
        return []
    if not isinstance(value, Mapping):
        return [f"{variable}: must be a mapping: {use}"]
    return [
        f"{variable}: {period}: {count!r} cannot be kept: {use}"
        for period, count in value.items()
        if period not in PERIODS or not isinstance(count, int) or isinstance(count, bool) or count < 1
    ]

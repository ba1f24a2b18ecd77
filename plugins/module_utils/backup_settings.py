"""What an argument specification cannot say about where a registry's backup goes and how long it is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PERIODS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
BACKENDS = ("local", "sftp", "rest", "s3", "b2", "azure", "gs", "swift", "rclone")
SHORTEST = 12  # characters of a password
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def backup_problems(
    prefix: str,
    repository: str,
    host: str,
    password: str | None,
    environment: Mapping[str, Any],
    keep: Mapping[str, Any],
    data: str = "",
) -> list[str]:
    """Judge the settings of a backup.

    Args:
        prefix: what the variables' names begin with, in messages.
        repository: where the backup is kept; empty where there is none.
        host: the host of the inventory that keeps it; empty where the repository is all there is to know.
        password: what it is encrypted with; None where one is generated.
        environment: variables for restic.
        keep: how many snapshots to keep, by period.
        data: the registry's own directory or volume, where it is known.

    Returns:
        A line for each problem; none holds a password.
    """
    return [
        *_repository_problems(repository, host, data, prefix),
        *_password_problems(password, f"{prefix}password"),
        *_environment_problems(environment, f"{prefix}environment"),
        *_keep_problems(keep, f"{prefix}keep"),
    ]


def _repository_problems(value: str, host: str, data: str, prefix: str) -> list[str]:
    """Judge where the backup goes."""
    variable = f"{prefix}repository"
    use = (
        "use an absolute path of its own, or what restic takes, such as sftp:user@host:/path or s3:https://host/bucket"
    )
    if not value:
        return [f"{variable}: is missing, so that nobody knows where the backup goes: {use}"] if host else []
    if _CONTROL.search(value) or value != value.strip():
        return [f"{variable}: {value!r} is no place for a backup: {use}"]
    if host:
        if value.startswith("/") and ".." not in value.split("/") and " " not in value and value.strip("/"):
            return []
        return [
            f"{variable}: {value!r} must be an absolute path without spaces, because {prefix}host is set:"
            " the directory on that host"
        ]
    if value.startswith("/"):
        inside = data.startswith("/") and f"{value}/".startswith(f"{data.rstrip('/')}/")
        if inside or f"{value}/".startswith("/etc/wharf/"):
            return [f"{variable}: {value!r} lies in what is backed up: {use}"]
        return []
    backend, _, place = value.partition(":")
    return [] if backend in BACKENDS and place else [f"{variable}: {value!r} is no place for a backup: {use}"]


def _password_problems(value: str | None, variable: str) -> list[str]:
    """Judge the password."""
    if value is None:
        return []
    if not value:
        return [f"{variable}: is missing: set it, or {variable}_file, where one is kept on the controller"]
    if _CONTROL.search(value) or value != value.strip():
        return [f"{variable}: must be a text of one line, without spaces at its ends"]
    if len(value) < SHORTEST:
        return [
            f"{variable}: has {len(value)} characters: use at least {SHORTEST}, because the keys of the CA are in the"
            " backup, or leave it out, and one is generated"
        ]
    return []


def _environment_problems(value: Mapping[str, Any], variable: str) -> list[str]:
    """Judge the environment variables for restic."""
    problems = []
    for name, content in value.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            problems.append(f"{variable}: {name!r} is not the name of an environment variable: use letters and _")
        elif name.startswith(("RESTIC_REPOSITORY", "RESTIC_PASSWORD")):
            problems.append(f"{variable}: {name} is set by wharf itself: remove it")
        elif not isinstance(content, str):
            problems.append(f"{variable}: the value of {name} must be a text: put it in quotes")
    return problems


def _keep_problems(value: Mapping[str, Any], variable: str) -> list[str]:
    """Judge how many snapshots are kept."""
    use = f"use numbers above 0 for {', '.join(PERIODS[:-1])} or {PERIODS[-1]}, such as {{daily: 7, weekly: 4}}"
    return [
        f"{variable}: {period}: {count!r} cannot be kept: {use}"
        for period, count in value.items()
        if period not in PERIODS or not str(count).isdigit() or int(count) < 1
    ]

"""What an argument specification cannot say about where a registry's backup goes and how long it is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
        *(f"{prefix}repository: {problem}" for problem in _repository_problems(repository, host, data, prefix)),
        *(f"{prefix}password: {problem}" for problem in _password_problems(password, f"{prefix}password_file")),
        *(f"{prefix}environment: {problem}" for problem in _environment_problems(environment)),
        *(
            f"{prefix}keep: {period}: {count!r} cannot be kept: use numbers above 0 for {', '.join(PERIODS[:-1])} or"
            f" {PERIODS[-1]}, such as {{daily: 7, weekly: 4}}"
            for period, count in keep.items()
            if period not in PERIODS or not str(count).isdigit() or int(count) < 1
        ),
    ]


def _repository_problems(value: str, host: str, data: str, prefix: str) -> Iterator[str]:
    """Yield what is wrong with where the backup goes."""
    use = (
        "use an absolute path of its own, or what restic takes, such as sftp:user@host:/path or s3:https://host/bucket"
    )
    backend, _, place = value.partition(":")
    if not value:
        if host:
            yield f"is missing, so that nobody knows where the backup goes: {use}"
    elif _CONTROL.search(value) or value != value.strip():
        yield f"{value!r} is no place for a backup: {use}"
    elif host:
        if not value.startswith("/") or ".." in value.split("/") or " " in value or not value.strip("/"):
            yield (
                f"{value!r} must be an absolute path without spaces, because {prefix}host is set: the directory on"
                " that host"
            )
    elif value.startswith("/"):
        backed_up = ("/etc/wharf/", f"{data.rstrip('/')}/" if data.startswith("/") else "/etc/wharf/")
        if f"{value}/".startswith(backed_up):
            yield f"{value!r} lies in what is backed up: {use}"
    elif backend not in BACKENDS or not place:
        yield f"{value!r} is no place for a backup: {use}"


def _password_problems(value: str | None, file: str) -> Iterator[str]:
    """Yield what is wrong with the password."""
    if value == "":
        yield f"is missing: set it, or {file}, where one is kept on the controller"
    elif value and (_CONTROL.search(value) or value != value.strip()):
        yield "must be a text of one line, without spaces at its ends"
    elif value and len(value) < SHORTEST:
        yield (
            f"has {len(value)} characters: use at least {SHORTEST}, because the keys of the CA are in the backup, or"
            " leave it out, and one is generated"
        )


def _environment_problems(value: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the environment variables for restic."""
    for name, content in value.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield f"{name!r} is not the name of an environment variable: use letters and _"
        elif name.startswith(("RESTIC_REPOSITORY", "RESTIC_PASSWORD")):
            yield f"{name} is set by wharf itself: remove it"
        elif not isinstance(content, str):
            yield f"the value of {name} must be a text: put it in quotes"

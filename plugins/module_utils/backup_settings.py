"""What an argument specification cannot say about where a registry's backup goes and how long it is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

PERIODS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
# What restic takes behind the name of a backend, and an example. Source: restic's documentation, "Preparing a new
# repository"; s3://bucket is what other tools take.
BACKENDS = {
    "local": (r"/.+", "local:/path"),
    "sftp": (r"//[^/]+/.+|(?!//)[^/:]+:.+", "sftp:user@host:/path"),
    "rest": (r"https?://[^/]+.*|http\+unix://.+", "rest:https://host:8000/"),
    "s3": (r"(https?://)?(\[[0-9a-f:]+\]|[^/:]+)(:[0-9]+)?/[^/].*", "s3:https://host/bucket"),
    "b2": (r"[^:/]+(:.*)?", "b2:bucket:path"),
    "azure": (r"[^:/]+:/.*", "azure:container:/path"),
    "gs": (r"[^:/]+:/.*", "gs:bucket:/path"),
    "swift": (r"[^:/]+:/.*", "swift:container:/path"),
    "rclone": (r"[^:]+:.*", "rclone:remote:path"),
}
# Environment variables of an object store that go together. Source: the same page.
PAIRS = {
    "AWS_ACCESS_KEY_ID": "AWS_SECRET_ACCESS_KEY",
    "B2_ACCOUNT_ID": "B2_ACCOUNT_KEY",
    "AZURE_ACCOUNT_NAME": "AZURE_ACCOUNT_KEY",
}
_AZURE_OTHERS = ("AZURE_ACCOUNT_SAS", "AZURE_FORCE_CLI_CREDENTIAL")
SHORTEST = 12  # characters of a password
_SYSTEM = re.compile(
    r"/*(bin|boot|dev|etc|home|lib|lib64|media|mnt|opt|root|sbin|srv|usr|var)?/*"
    r"|/(bin|boot|etc(?!/wharf/)|lib|lib64|sbin|usr/(s?bin|lib|share)|var/lib/(docker|containerd))(/.*)?"
)
_LOST = ("/tmp/", "/var/tmp/", "/run/", "/dev/", "/proc/", "/sys/")
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
    form, example = BACKENDS.get(backend, ("$.", ""))
    shown = repr("..." + value[value.rindex("@") :] if re.search(":.*@", value) and "sftp" not in backend else value)
    if not value:
        if host:
            yield f"is missing, so that nobody knows where the backup goes: {use}"
    elif _CONTROL.search(value) or value != value.strip():
        yield f"{shown} is no place for a backup: {use}"
    elif host and (not value.startswith("/") or ".." in value.split("/") or " " in value or not value.strip("/")):
        yield f"{shown} is not an absolute path without spaces: use one, the directory on {prefix}host"
    elif value.startswith("/") and ".." in value.split("/"):
        yield f"{shown} has '..' in it: {use}"
    elif value.startswith("//"):
        yield f"{shown} is how a share of another machine is named: mount it, and use a directory in it"
    elif _SYSTEM.fullmatch(value):
        yield f"{shown} is a directory of the system: {use}"
    elif value.startswith(_LOST):
        yield f"{shown} is lost at the next reboot, or cleaned up by the system: {use}"
    elif value.startswith("/") and not host:
        for inside in ("/etc/wharf/", *([f"{data.rstrip('/')}/"] if data.startswith("/") else [])):
            place = f"{value.rstrip('/')}/"
            if place.startswith(inside):
                yield f"{shown} lies in what is backed up: {use}"
            elif inside.startswith(place):
                yield f"{shown} holds what is backed up: {use}"
    elif not value.startswith("/") and not re.fullmatch(form, place):
        yield f"{shown} is no place for a backup: {f'use {example}' if example else use}"


def _password_problems(value: str | None, file: str) -> Iterator[str]:
    """Yield what is wrong with the password."""
    if value == "":
        yield f"is missing: set it, or {file}, where one is kept on the controller"
    elif value and (_CONTROL.search(value) or value != value.strip()):
        yield "is not one line without spaces at its ends: use one that is"
    elif value and re.search("replace[-_ ]?(this|me)|change[-_ ]?(this|me)", value, re.IGNORECASE):
        yield "is one that an example shows to everybody: use another, or leave it out, and one is generated"
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
        elif name.upper() in (*PAIRS, *PAIRS.values()) and name != name.upper():
            yield f"{name} is read by nobody: use {name.upper()}"
    for one, other in PAIRS.items():
        for given, missing in ((one, other), (other, one)):
            if value.get(given) and not value.get(missing) and not any(map(value.get, _AZURE_OTHERS)):
                yield f"holds {given} without {missing}: give both"

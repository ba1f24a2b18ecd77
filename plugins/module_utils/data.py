"""Where a registry's data lies on this host: the one place that knows of containers, volumes and directories."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from .containers import call
from .errors import WharfError

MOUNT = "/var/lib/registry"  # where the registry's container has its data


def container(name: str) -> dict[str, Any] | None:
    """Return what the engine knows of a container; None where there is none, or no engine."""
    return _ask(f"/containers/{name}/json")


def mounted_at(inspected: dict[str, Any] | None, place: str = MOUNT) -> Path | None:
    """Return the directory of this host that a container has mounted somewhere; None where it has none."""
    mounts = inspected["Mounts"] if inspected else []
    return next((Path(mount["Source"]) for mount in mounts if mount["Destination"] == place), None)


def directory(data: str) -> Path | None:
    """Return where a directory (an absolute path) or a volume (a name) lies; None for a volume that is not there."""
    if data.startswith("/"):
        return Path(data)
    volume = _ask(f"/volumes/{data}")
    return Path(volume["Mountpoint"]) if volume else None


def location(data: str) -> Path:
    """Return where a directory or a volume lies, or will."""
    return directory(data) or Path("/var/lib/docker/volumes", data, "_data")


def _ask(path: str) -> dict[str, Any] | None:
    """Return what the engine answers; None where it knows no such thing, or does not answer."""
    with suppress(WharfError):
        return call("GET", path)
    return None

"""Where a registry's data lies on this host: the one place that knows of containers, volumes and directories."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

MOUNT = "/var/lib/registry"  # where the registry's container has its data


def container(name: str) -> dict[str, Any] | None:
    """Return what the engine tells of a container (docker inspect); None where there is none."""
    return _inspect("container", name)


def mounted_at(inspected: dict[str, Any] | None, place: str = MOUNT) -> Path | None:
    """Return the directory of this host that a container has mounted somewhere; None where it has none."""
    mounts = inspected["Mounts"] if inspected else []
    return next((Path(mount["Source"]) for mount in mounts if mount["Destination"] == place), None)


def directory(data: str) -> Path | None:
    """Return where a directory (an absolute path) or a volume (a name) lies; None for a volume that is not there."""
    if data.startswith("/"):
        return Path(data)
    volume = _inspect("volume", data)
    return Path(volume["Mountpoint"]) if volume else None


def _inspect(kind: str, name: str) -> dict[str, Any] | None:
    """Return what docker inspect tells of a container or a volume; None where there is none, or no engine."""
    try:
        done = subprocess.run(["docker", kind, "inspect", name], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return json.loads(done.stdout)[0] if done.returncode == 0 else None

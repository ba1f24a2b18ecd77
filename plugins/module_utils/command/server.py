"""This server's registry: its container, and where its data and its files are."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from ..data import MOUNT, container, directory, mounted_at
from ..errors import WharfError

SETTINGS = Path("/etc/wharf/registry.json")
CONFIGURATION = Path("/etc/wharf/registry")  # unless the container has another directory mounted


class Server:
    """What is deployed on this server; where nothing is yet, the defaults."""

    def __init__(self) -> None:
        """Read the settings, and ask the engine for the container."""
        try:
            known: dict[str, Any] = json.loads(SETTINGS.read_text("utf-8"))
        except FileNotFoundError:
            known = {}
        self.container: str = known.get("container", "registry")
        self.port: int = known.get("port", 5000)
        self.driver: str = known.get("driver", "filesystem")
        self.inspected = container(self.container)
        self.directory = mounted_at(self.inspected, "/wharf/config") or CONFIGURATION
        # The root directory of the storage, in the data.
        root = PurePosixPath(known.get("root", MOUNT))
        self.root = root.relative_to(MOUNT) if self.driver == "filesystem" else PurePosixPath()

    def recorded(self) -> tuple[str, str]:
        """Return the ID of the data that was deployed last, and its directory or volume; empty before that."""
        try:
            text = (self.directory / "data").read_text("utf-8")
        except FileNotFoundError:
            return "", ""
        data_id, _, place = text.rstrip("\n").partition(" ")
        return data_id, place

    def data(self) -> Path:
        """Return the root directory of the registry's storage, which holds docker/registry/v2.

        Raises:
            WharfError: it is not there.
        """
        place = self.recorded()[1]
        path = mounted_at(self.inspected) or (directory(place) if place else None)
        if not path or not path.is_dir():
            raise WharfError(f"there is no registry here: neither the container {self.container} nor its data")
        return path / self.root

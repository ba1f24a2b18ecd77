"""The registry on this server: its settings, its container and its data."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from .. import containers, data
from ..errors import WharfError
from ..files import free_bytes
from ..storage import Storage
from ..text import human_bytes

SETTINGS = Path("/etc/wharf/registry.json")
CONFIGURATION = Path("/etc/wharf/registry")  # unless the container has another directory mounted
SPARE = 16 * 1024**2  # bytes that the smoke test, the users' file and the registry's own traces must find


class Registry:
    """The registry on this server, deployed or not."""

    # What the role registry_server writes into SETTINGS, and what holds where nothing is deployed yet.
    container: str = "registry"
    name: str = ""
    port: int = 5000
    ca: str = ""
    htpasswd: str = ""
    driver: str = "filesystem"
    root: str = data.MOUNT  # of the storage, as the container sees it
    delete_untagged: bool = False
    caches: bool = False

    def __init__(self) -> None:
        """Read the settings, and ask the engine for the container."""
        self.is_deployed = SETTINGS.exists()
        if self.is_deployed:
            vars(self).update(json.loads(SETTINGS.read_text("utf-8")))
        self.stand_in = f"{self.container}-read-only"
        self.collector = f"{self.container}-collect-garbage"
        self.dry_run_collector = f"{self.collector}-dry-run"
        self.inspected = data.container(self.container)
        self.mounted = data.mounted_at(self.inspected)
        self.directory = data.mounted_at(self.inspected, "/wharf/config") or CONFIGURATION

    @classmethod
    def deployed(cls) -> Registry:
        """Return the registry.

        Raises:
            WharfError: none was deployed here.
        """
        registry = cls()
        if not registry.is_deployed:
            raise WharfError(f"{SETTINGS} is missing: run playbooks/deploy-registry.yml")
        return registry

    @classmethod
    def in_files(cls) -> Registry:
        """Return the registry, whose images can be read here.

        Raises:
            WharfError: its images do not lie in a file system, there is no container, or no storage.
        """
        registry = cls.deployed()
        if registry.driver != "filesystem":
            raise WharfError(
                f"the images are in {registry.driver}: only what lies in a file system can be read and compared"
                " here, and without that nothing is deleted. Use the lifecycle of the object store"
            )
        if registry.inspected is None:
            raise WharfError(f"there is no container {registry.container}: run playbooks/deploy-registry.yml")
        if registry.mounted is None or not PurePosixPath(registry.root).is_relative_to(data.MOUNT):
            raise WharfError(f"the container {registry.container} has no data of its own at {registry.root}")
        return registry

    def recorded(self) -> tuple[str, str]:
        """Return the ID of the data that was deployed last, and its directory or volume; empty before that."""
        try:
            text = (self.directory / "data").read_text("utf-8")
        except FileNotFoundError:
            return "", ""
        data_id, _, place = text.rstrip("\n").partition(" ")
        return data_id, place

    def storage_in(self, place: Path) -> Path:
        """Return the root directory of the storage, which holds docker/registry/v2, for data that lies there."""
        return place / PurePosixPath(self.root).relative_to(data.MOUNT) if self.driver == "filesystem" else place

    @property
    def path(self) -> Path:
        """Return the root directory of the storage.

        Raises:
            WharfError: it is not there.
        """
        place = self.recorded()[1]
        path = self.mounted or (data.directory(place) if place else None)
        if not path or not path.is_dir():
            raise WharfError(f"there is no registry here: neither the container {self.container} nor its data")
        return self.storage_in(path)

    @property
    def storage(self) -> Storage:
        """Return the storage as it is now: a reader remembers what it has read."""
        return Storage(self.path)

    def status(self) -> str:
        """Return what the container does now: running, paused, exited, or absent.

        Raises:
            WharfError: the engine does not answer.
        """
        inspected = containers.container(self.container)
        return inspected["State"]["Status"] if inspected else "absent"

    def version(self) -> str:
        """Return the version of the registry that runs, such as 2.8.3; empty where it cannot be had."""
        program = self.inspected["Path"] if self.inspected else ""
        output = containers.cli("exec", self.container, program, "--version", check=False)
        return output.split()[-1].lstrip("v") if output else ""

    def preflight(self) -> None:
        """Refuse to begin where no good end can be expected.

        Raises:
            WharfError: the registry does not run, or its disk is full.
        """
        if self.status() != "running":
            raise WharfError(f"the container {self.container} does not run: `docker start {self.container}` first")
        if (free := free_bytes(self.path)) < SPARE:
            raise WharfError(
                f"only {human_bytes(free)} free in {self.path}, and {human_bytes(SPARE)} are needed: make room first"
            )

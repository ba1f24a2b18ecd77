"""The registry on this host: its settings, its container, its storage."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from .. import data
from ..errors import WharfError
from ..files import free_bytes
from ..storage import Storage
from ..text import human_bytes
from .docker import docker

SETTINGS = Path("/etc/wharf/registry.json")
SPARE = 16 * 1024**2  # bytes that the smoke test, the users' file and the registry's own traces must find


def read_settings() -> dict[str, Any]:
    """Return what the role registry_server has written about the registry.

    Raises:
        WharfError: nothing.
    """
    try:
        return json.loads(SETTINGS.read_text("utf-8"))
    except FileNotFoundError:
        raise WharfError(f"{SETTINGS} is missing: run playbooks/deploy-registry.yml") from None


class Registry:
    """The registry on this host: its container and its storage."""

    def __init__(self) -> None:
        """Read what is known of it.

        Raises:
            WharfError: its images do not lie in a file system, there is no container, or no storage.
        """
        settings = read_settings()
        self.container: str = settings["container"]
        self.name: str = settings["name"]
        self.port: int = settings["port"]
        self.ca: str = settings["ca"]
        self.htpasswd: str = settings["htpasswd"]
        self.delete_untagged: bool = settings["delete_untagged"]
        self.caches: bool = settings["caches"]
        self.read_only_container = f"{self.container}-read-only"
        self.collector = f"{self.container}-collect-garbage"
        self.dry_run_collector = f"{self.collector}-dry-run"
        if settings["driver"] != "filesystem":
            raise WharfError(
                f"the images are in {settings['driver']}: only what lies in a file system can be read and compared"
                " here, and without that nothing is deleted. Use the lifecycle of the object store"
            )
        inspected = data.container(self.container)
        if inspected is None:
            raise WharfError(f"there is no container {self.container}: run playbooks/deploy-registry.yml")
        self.inspected = inspected
        mounted = data.mounted_at(inspected)
        root = PurePosixPath(settings["root"])
        if mounted is None or not root.is_relative_to(data.MOUNT):
            raise WharfError(f"the container {self.container} has no data of its own at {root}")
        self.root = mounted / root.relative_to(data.MOUNT)

    @property
    def storage(self) -> Storage:
        """Return the storage as it is now: a reader remembers what it has read."""
        return Storage(self.root)

    @property
    def image(self) -> str:
        """Return the image that the registry runs, by its ID: the name may lead to another one by now."""
        return self.inspected["Image"]

    def is_running(self) -> bool:
        """Tell whether the registry's own container runs."""
        return docker("inspect", "--format", "{{.State.Running}}", self.container, check=False) == "true"

    def preflight(self) -> None:
        """Refuse to begin where no good end can be expected.

        Raises:
            WharfError: the registry does not run, or its disk is full.
        """
        if not self.is_running():
            raise WharfError(f"the container {self.container} does not run: `docker start {self.container}` first")
        if (free := free_bytes(self.root)) < SPARE:
            raise WharfError(
                f"only {human_bytes(free)} free in {self.root}, and {human_bytes(SPARE)} are needed: make room first"
            )

    def container_options(self, access: str = "") -> list[str]:
        """Return how another container of the registry's image is started, as hardened as the registry's own.

        Args:
            access: ":ro" for one that cannot change the data.
        """
        options = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--no-healthcheck"]
        options += ["--user", self.inspected["Config"]["User"], "--volumes-from", f"{self.container}{access}"]
        options += ["--restart", "no", "--memory", str(self.inspected["HostConfig"]["Memory"])]
        for variable in self.inspected["Config"]["Env"]:
            options += ["--env", variable]
        return options

    def version(self) -> str:
        """Return the version of the registry, such as 2.8.3."""
        output = docker("run", "--rm", "--network", "none", *self.container_options(":ro"), self.image, "--version")
        return output.split()[-1].lstrip("v")

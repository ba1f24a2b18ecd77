"""The registry on this host: its settings, its container, its storage; and how it is made read-only for a while."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from .. import data
from ..api import Client, trust
from ..errors import WharfError
from ..storage import Storage
from ..text import human_bytes
from .checks import remove_leftovers, replace_temporary_users, temporary_user
from .docker import docker, ignore_signals

SETTINGS = Path("/etc/wharf/registry.json")
SPARE = 16 * 1024**2  # bytes that the smoke test, the users' file and the registry's own traces must find
TRASH = ".wharf-removed"  # in the driver's root directory: what is deleted moves there first, so that it goes at once


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
    """The registry on this host: its container, its storage, its clients' view."""

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

    # Its clients' view ------------------------------------------------------------------------

    @contextlib.contextmanager
    def temporary_client(self) -> Iterator[Client]:
        """Return a client that may push and pull: its user exists as long as this lasts."""
        with temporary_user(Path(self.htpasswd)) if self.htpasswd else contextlib.nullcontext(("", "")) as login:
            yield self.client(*login)

    def client(self, user: str = "", password: str = "") -> Client:
        """Return a client of the registry, under its name, on this host's own address."""
        context = trust(self.ca) if self.ca else None
        return Client(self.name, self.port, context, address="127.0.0.1", user=user, password=password)

    def wait_until_ready(self) -> None:
        """Wait until the registry answers as a client sees it.

        Raises:
            WharfError: it does not.
        """
        with self.client() as client:
            client.wait(60, pause=0.05)

    # Read-only for a while --------------------------------------------------------------------

    @contextlib.contextmanager
    def read_only(self) -> Iterator[dict[str, float]]:
        """Let the registry serve pulls and refuse pushes; whatever happens, it is as it was afterwards.

        The container itself is only stopped: another one, which refuses pushes, has its port and data meanwhile. So
        whoever starts the registry's own container recovers everything, the engine at boot as well.

        Returns:
            A mapping that fills with seconds: "read_only", and "gaps", how long no registry answered at all.
        """
        times = {"gaps": 0.0, "read_only": 0.0}
        create = ["create", "--name", self.read_only_container, *self.container_options()]
        for port, bindings in self.inspected["HostConfig"]["PortBindings"].items():
            for binding in bindings:
                create += ["--publish", f"{binding['HostIp']}:{binding['HostPort']}:{port}"]
        create += ["--env", 'REGISTRY_STORAGE_MAINTENANCE_READONLY={"enabled":true}']
        try:
            docker(*create, self.image, *self.inspected["Config"]["Cmd"])
            stopped = time.monotonic()
            docker("stop", self.container)
            docker("start", self.read_only_container)
            self.wait_until_ready()
            began = time.monotonic()
            times["gaps"] += began - stopped
            yield times
            times["read_only"] = time.monotonic() - began
        finally:
            stopped = time.monotonic()
            self.recover()
            times["gaps"] += time.monotonic() - stopped

    def recover(self) -> None:
        """Start the registry's own container again, and remove what stood in for it.

        Raises:
            WharfError: it does not answer.
        """
        ignore_signals()  # the worst moment to be interrupted
        deadline = time.monotonic() + 60
        while True:  # the engine may be about to start again
            docker("rm", "--force", self.collector, check=False)
            docker("stop", self.read_only_container, check=False)
            docker("start", self.container, check=False)
            if self.is_running():
                break
            if time.monotonic() > deadline:
                docker("start", self.container)  # which tells why
            time.sleep(0.5)
        self.wait_until_ready()
        docker("rm", "--force", self.read_only_container)

    def clean_up(self) -> bool:
        """Clean up after a run that was cut off. Return whether one had left containers."""
        names = docker("ps", "--all", "--format", "{{.Names}}").splitlines()
        was_cut_off = self.collector in names or self.read_only_container in names
        if was_cut_off:
            self.recover()
        docker("rm", "--force", self.dry_run_collector, check=False)
        if self.htpasswd:
            replace_temporary_users(Path(self.htpasswd), [])
        remove_leftovers(self.storage)
        shutil.rmtree(self.root / TRASH, ignore_errors=True)
        return was_cut_off


def free_bytes(path: Path) -> int:
    """Return how much room others than root have where a path lies."""
    facts = os.statvfs(path)
    return facts.f_bavail * facts.f_frsize


def interruption(times: dict[str, float]) -> str:
    """Return what the mapping of Registry.read_only says, for people."""
    return f"refused pushes for {times['read_only']:.1f} s; did not answer for {times['gaps']:.1f} s, in two parts"

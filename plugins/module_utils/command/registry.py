"""The registry on this server: its settings, its container and its data."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from .. import containers, data, gateway, server_rollback
from ..api import Client
from ..bucket import Bucket
from ..errors import WharfError
from ..files import free_bytes, no_link, read_json, read_text
from ..lock import held_for
from ..parts import DRAIN_SECONDS, slot_of
from ..server_data import COPIED, DATA_ID
from ..server_versions import running_version
from ..storage import Storage
from ..text import age, human_bytes

SETTINGS = Path("/etc/wharf/registry.json")
CONFIGURATION = Path("/etc/wharf/registry")  # unless the container has another directory mounted
LATE = 900  # seconds after the next copy to a standby was due
HELD_LEAST = 120  # seconds for which pushes must still be held when something begins
SPARE = 16 * 1024**2  # bytes that the smoke test, the users' file and the registry's own traces must find


class Registry:
    """The registry on this server.

    Attributes:
        inspected: what the engine knows of its container, or None.
        mounted: the directory that the container has for its data, or None.
        data_id: the ID of the data that was deployed last; empty before that.
        place: the directory or volume of that data.
        directory: of its configuration.
    """

    # What the role registry_server writes into SETTINGS, and what holds where nothing is deployed yet.
    container: str = "registry"
    name: str = ""
    port: int = 5000
    ca: str = ""
    gateway_directory: str = "/etc/wharf/gateway"
    uid: int = 59500
    driver: str = "filesystem"
    root: str = data.MOUNT  # of the storage, as the container sees it
    delete_untagged: bool = False
    descriptor_cache: bool = False  # it remembers which blobs it has
    caches: Mapping[str, Any] = {}  # the pull-through caches: "data", "upstreams"
    read_only: bool = False  # by its configuration
    standby_of: str = ""  # the server whose images are copied here
    s3: Mapping[str, str] = {}  # the store that the images lie in: "region", "endpoint", "bucket", "root", "ca"
    servers: Sequence[str] = ()  # all servers on that store, by their names in the inventory; none for one alone
    server: str = ""  # this one's name, where there are several
    users: Sequence[dict[str, str]] = ()
    rules: Sequence[dict[str, Any]] = ()
    retention: Sequence[dict[str, Any]] = ()

    def __init__(self, must_exist: bool = True, ask: bool = True) -> None:
        """Read the settings, and ask the engine for the container. Raises WharfError where nothing was deployed."""
        text = read_text(SETTINGS)
        if must_exist and not text:
            raise WharfError(f"{SETTINGS} is missing: run playbooks/deploy-registry.yml")
        vars(self).update(json.loads(text or "{}"))
        if isinstance(self.caches, bool):  # before there were pull-through caches
            self.descriptor_cache, self.caches = self.caches, {}
        self.stand_ins = {slot: f"{self.container}-{slot}" for slot in ("reads", "writes")}
        self.collector = f"{self.container}-collect-garbage"
        self.dry_run_collector = f"{self.collector}-dry-run"
        self.asks = ask
        self.inspected = data.container(self.container) if ask else None
        self.mounted = data.mounted_at(self.inspected)
        self.slot = slot_of(self.inspected)
        self.directory = data.mounted_at(self.inspected, "/wharf/config") or CONFIGURATION
        self.data_id, _, self.place = read_text(self.directory / "data").rstrip("\n").partition(" ")

    @classmethod
    def readable(cls) -> Registry:
        """Return the registry, if its images can be read here, in files or in a bucket. Raises WharfError."""
        registry = cls()
        if registry.driver != "filesystem" and not registry.s3:
            raise WharfError(
                f"the images are in {registry.driver}: only what lies in a file system, or in a bucket by"
                " wharf_registry_storage, can be read and compared here, and without that nothing is deleted"
            )
        if registry.inspected is None:
            raise WharfError(f"there is no container {registry.container}: run playbooks/deploy-registry.yml")
        is_mounted = registry.mounted is not None and PurePosixPath(registry.root).is_relative_to(data.MOUNT)
        if not is_mounted and not registry.s3:
            raise WharfError(f"the container {registry.container} has no data of its own at {registry.root}")
        return registry

    @classmethod
    def in_files(cls) -> Registry:
        """Return the registry, if its images are files here. Raises WharfError."""
        registry = cls.readable()
        if registry.s3:
            raise WharfError(f"the images are in the bucket {registry.s3['bucket']}, and no files here")
        return registry

    def storage_in(self, place: Path) -> Path:
        """Return the root directory of the storage, which holds docker/registry/v2, for data that lies there."""
        return place / PurePosixPath(self.root).relative_to(data.MOUNT) if self.driver == "filesystem" else place

    @property
    def path(self) -> Path:
        """Return the root directory of the storage. Raises WharfError where it is not."""
        path = self.mounted or (data.directory(self.place) if self.place and self.may_ask() else None)
        if not path or not path.is_dir():
            raise WharfError(f"there is no registry here: neither the container {self.container} nor its data")
        return self.storage_in(path)

    def may_ask(self) -> bool:
        """Tell whether the engine, where it must not be asked, need not be: it alone knows where a volume lies."""
        return self.asks or self.place.startswith("/")

    def require_server(self, subcommand: str) -> None:
        """Raise a WharfError on a standby: what its images are is its server's business."""
        if self.standby_of:
            raise WharfError(
                f"this is a standby of {self.standby_of}, whose images are copied here: run `wharf {subcommand}` there,"
                " or promote this one first"
            )

    @property
    def is_first(self) -> bool:
        """Tell whether this is the one of several servers that changes the images; one alone is."""
        return self.server in self.servers[:1] or not self.servers

    @property
    def drain_seconds(self) -> int:
        """Return how long what is replaced may take to end what it has begun.

        What lies in an object store passes through the registry: a download is a request that lasts.
        """
        return DRAIN_SECONDS if self.driver == "filesystem" else 600

    def require_held(self, is_held: bool, playbook: str) -> None:
        """Raise a WharfError where others have the same images, and pushes to them are not held."""
        if len(self.servers) > 1 and not is_held:
            raise WharfError(
                f"{len(self.servers)} servers have these images: run playbooks/{playbook}.yml, which holds pushes on"
                " all of them"
            )
        if is_held and held_for() < HELD_LEAST:
            raise WharfError(
                f"--held: pushes are not held here, or not for another {HELD_LEAST} s: run playbooks/{playbook}.yml"
            )

    def copied(self) -> tuple[float, float]:
        """Return as of when a standby has its server's images, in seconds since 1970, and the interval of the copies.

        Both are 0 where nobody knows: nothing was copied yet.
        """
        mark = read_json(self.path / COPIED, no_link)
        known = (mark.get("at"), mark.get("interval"))
        at, interval = (one if isinstance(one, (int, float)) and 0 < one < 1e11 else 0 for one in known)
        return at, interval

    def copy_state(self) -> tuple[float, str, bool]:
        """Return as of when a standby has its server's images, that in words, and whether the next copy is late."""
        now, copied, interval = time.time(), 0.0, 0.0
        with suppress(WharfError):  # what is missing is said elsewhere
            copied, interval = self.copied()
        text = f"copied from {self.standby_of} {age(now - copied)} ago"
        text = text if copied else f"nothing was copied from {self.standby_of} yet"
        return copied, text, now - copied > interval + LATE

    def require_data(self) -> None:
        """Raise a WharfError where a disk is not mounted: what lies in its place would be taken for all there is."""
        if self.place.startswith("/") and read_text(f"{self.place}/{DATA_ID}", no_link).split(" ")[0] != self.data_id:
            raise WharfError(f"the registry's data is not in {self.place}: is its disk mounted?")

    @property
    def storage(self) -> Storage:
        """Return the storage as it is now: a reader remembers what it has read."""
        return Bucket(self.s3, self.directory / "credentials") if self.s3 else Storage(self.path)

    def status(self) -> str:
        """Return what the container does now: running, paused, exited. Raises WharfError without an answer."""
        return (containers.container(self.container) or {"State": {"Status": "absent"}})["State"]["Status"]

    def version(self) -> str:
        """Return the version of the registry that runs, such as 2.8.3; empty where it cannot be had."""
        return running_version(self.inspected)

    def client(self, slot: str = "") -> Client:
        """Return a client of the registry itself, past the gateway, which needs no user; of a stand-in's slot."""
        return gateway.direct(slot or self.slot)

    def pass_requests_to(self, reads: str, writes: str = "") -> None:
        """Let the gateway pass requests to other slots. Raises WharfError."""
        gateway.switch(self.container, self.gateway_directory, self.uid, reads, writes)

    def preflight(self, is_held: bool = False) -> None:
        """Refuse to begin where no good end can be expected; while pushes are held, the registry is frozen."""
        if server_rollback.has_begun():
            raise WharfError(
                "a deployment was cut off: within a minute `wharf repair-storage --if-needed` rolls it back; try again"
                " then, or run playbooks/deploy-registry.yml"
            )
        if self.status() != ("paused" if is_held else "running"):
            raise WharfError(f"the container {self.container} does not run: `docker start {self.container}` first")
        if not self.s3 and (free := free_bytes(self.path)) < SPARE:
            raise WharfError(
                f"only {human_bytes(free)} free in {self.path}, and {human_bytes(SPARE)} are needed: make room first"
            )

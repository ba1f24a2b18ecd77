"""The caches of a registry: a container for each upstream, which fetches, and one that serves what they have.

All of them share one storage, in the registry's own layout: the repositories of an upstream lie below its name. Each
container that fetches sees that as a storage of its own, by links, because one that fetches from docker.io knows
library/debian and not docker.io/library/debian. The one that serves what is there needs no upstream.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

from . import containers
from .api import Client
from .errors import WharfError
from .files import Changes, Entry, give_away, put_back, read_entry
from .parts import CACHE_PREFIX, CACHE_SOCKETS, CACHES_CONFIG, is_ours
from .server_container import cache_container, differences
from .text import one_line

LOCK = Path("/run/wharf-trim-caches.lock")  # of whoever removes what caches have, or needs it to hold still
NEW = "import"  # of the caches' directory, where only root writes: images that are being imported
HUB = "docker.io"
SHELF = "shelf"  # what the container is called that serves what is there; no upstream is called so
V2 = "docker/registry/v2"
START_SECONDS = 30
UPSTREAM_SECONDS = 5  # for a warning: where an upstream is away, its container starts again and again

Caches = dict[str, dict[str, Any]]  # by their names: values for CACHE_SPEC
Pending = dict[str, str]  # by the names of containers: create, replace, start or remove


def slug(upstream: str) -> str:
    """Return an upstream's name as the first part of a repository's name, where no colon can be."""
    return upstream.replace(":", "_")


def container_name(container: str, name: str) -> str:
    """Return the name of a cache's container, by the registry's."""
    return f"{container}-caches" if name == SHELF else f"{container}-cache-{name}"


def socket_of(name: str) -> str:
    """Return the socket on which a cache's container listens."""
    return f"{CACHE_SOCKETS}/{name}/registry.sock"


def direct(name: str, timeout: float = 30) -> Client:
    """Return a client of a cache's container itself, past the gateway."""
    return Client("registry", 80, address=socket_of(name), timeout=timeout, prefix=CACHE_PREFIX)


def pending_files(registry: dict[str, Any]) -> dict[str, Entry | None]:
    """Return the files, directories and links that are not as they should be; None for one that is to go.

    Args:
        registry: values for REGISTRY_SPEC.
    """
    uid, data, caches = registry["uid"], os.path.realpath(registry["caches_data"]), with_container(registry)
    root = Entry(0, 0, 0o755, None)
    own = Entry(uid, uid, 0o750, None)
    wanted: dict[str, Entry | None] = {}
    if caches:
        # Where the registry itself may write, root writes nothing.
        wanted |= dict.fromkeys(
            [data, f"{data}/roots", *_ways(f"{data}/{V2}", data), f"{data}/{V2}/repositories"], root
        )
        wanted |= {f"{data}/{V2}/blobs": own, CACHES_CONFIG: root, CACHE_SOCKETS: Entry(0, uid, 0o750, None)}
        # Also of upstreams that are not listed any more: as whom the blobs belong to, their images are deleted.
        wanted |= dict.fromkeys(_directories(f"{data}/{V2}/repositories"), own)
        listed = {cache["name"] for cache in registry["caches"]} - {SHELF}
        wanted |= dict.fromkeys([f"{data}/{V2}/repositories/{name}" for name in sorted(listed)], own)
    for name, cache in caches.items():
        if name != SHELF:
            place = f"{data}/roots/{name}"
            wanted |= dict.fromkeys([place, *_ways(f"{place}/{V2}", place)], root)
            # Version 2 writes there every five seconds what it would delete, and complains where it cannot.
            if not os.path.lexists(schedule := f"{place}/scheduler-state.json"):
                wanted[schedule] = Entry(uid, uid, 0o640, b"{}")
            for one in ("blobs", f"repositories/{name}"):
                link = os.path.relpath(f"{data}/{V2}/{one}", f"{place}/{V2}")
                wanted[f"{place}/{V2}/{one.partition('/')[0]}"] = Entry(0, 0, -1, link.encode())
        directory = f"{CACHES_CONFIG}/{name}"
        wanted |= {directory: Entry(0, uid, 0o750, None), f"{CACHE_SOCKETS}/{name}": Entry(uid, uid, 0o700, None)}
        wanted[f"{directory}/config.yml"] = Entry(0, uid, 0o640, cache["config"].encode())
        if cache["ca"]:
            wanted |= {f"{directory}/ca": Entry(0, uid, 0o750, None)}
        wanted[f"{directory}/ca/ca.crt"] = Entry(0, uid, 0o640, cache["ca"].encode()) if cache["ca"] else None
    return {path: entry for path, entry in wanted.items() if read_entry(path) != entry}


def pending_containers(registry: dict[str, Any], image_id: str) -> Pending:
    """Return what is to be done about the containers of the caches, by their names.

    Args:
        registry: values for REGISTRY_SPEC.
        image_id: the ID of the registry's wanted image.
    """
    found = present(registry["container"])
    wanted = {container_name(registry["container"], name): name for name in with_container(registry)}
    pending = {container: "remove" for container in found if container not in wanted}
    for container, name in wanted.items():
        one = found.get(container)
        if not one:
            pending[container] = "create"
        elif differences(settings(registry, name), one, image_id):
            pending[container] = "replace"
        elif not one["State"]["Running"] and not one["State"]["Restarting"]:
            pending[container] = "start"
    return pending


def present(container: str) -> dict[str, dict[str, Any]]:
    """Return what the engine knows of the containers of a registry's caches, by name, also of those set aside."""
    known = [name for found in containers.containers() for name in found["names"]]
    own = f"{container}-caches"
    mine = [one for one in known if one in (own, f"{own}-before") or one.startswith(container_name(container, ""))]
    return {name: found for name in sorted(mine) if (found := containers.container(name)) and is_ours(found)}


def settings(registry: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what the engine is to create for a cache, in the words of its API."""
    return cache_container(
        registry, with_container(registry)[name], f"{CACHES_CONFIG}/{name}", f"{CACHE_SOCKETS}/{name}", name == SHELF
    )


def leftovers(registry: dict[str, Any]) -> list[str]:
    """Return the directories of caches that are no longer wanted, but for what they have fetched."""
    caches = with_container(registry)
    found = []
    for directory in (CACHES_CONFIG, CACHE_SOCKETS):
        names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
        found += [f"{directory}/{name}" for name in names if name not in caches]
        found += [directory] if not caches and os.path.isdir(directory) else []
    return found


def write(files: dict[str, Entry | None]) -> None:
    """Write what pending_files() returns."""
    for path, entry in files.items():
        before = read_entry(path)
        put_back(path, entry)
        if before and entry and entry.content is None and entry.uid and before.uid != entry.uid:
            give_away(path, entry.uid, entry.gid)  # the registry runs as another user now


def run(registry: dict[str, Any], pending: Pending) -> list[str]:
    """Have the containers as they should be; return a line for each upstream that does not let its cache start.

    Those that are replaced stay aside, stopped, until forget() or put_back_containers().

    Raises:
        WharfError: the engine refuses, or what is there is not served.
    """
    names = {container_name(registry["container"], name): name for name in with_container(registry)}
    for container, action in pending.items():
        if action == "remove":
            if not container.endswith("-before"):
                set_aside(container)
            continue
        if action == "replace":
            set_aside(container)
        if action in ("create", "replace"):
            containers.create(container, settings(registry, names[container]))
        containers.act(container, "start")
    if not set(pending).intersection(names):
        return []
    with direct(SHELF, 5) as client:
        client.wait(START_SECONDS)
    lines = []
    deadline = time.monotonic() + UPSTREAM_SECONDS
    for container, name in names.items():
        if container not in pending or name == SHELF:
            continue
        try:
            with direct(name, 5) as client:
                client.wait(max(0.0, deadline - time.monotonic()))
        except WharfError:
            lines.append(
                f"the cache of {name} does not start without its upstream, and is tried again and again; what it has is"
                f" served meanwhile: {last_words(container)}"
            )
    return lines


def last_words(container: str) -> str:
    """Return why a cache has ended: it panics where its upstream does not answer."""
    log = containers.docker("logs", "--tail", "50", container).stdout
    return one_line((re.findall(r"^panic: (.*)$", log, re.MULTILINE) or [log])[-1], 300)


def set_aside(container: str) -> None:
    """Stop a container, and give it another name."""
    containers.act(container, "stop")
    containers.remove(f"{container}-before")
    containers.rename(container, f"{container}-before")


def forget(registry: dict[str, Any]) -> None:
    """Remove what was set aside, and what is left of other caches."""
    for name in present(registry["container"]):
        if name.endswith("-before"):
            containers.remove(name)
    changes = Changes(check_mode=False)
    for path in leftovers(registry):
        changes.remove(path)


def kept(container: str) -> dict[str, list[Any]]:
    """Return what must be known of the containers to get back to them: ID and whether each runs, by name."""
    return {
        name: [one["Id"], one["State"]["Running"] or one["State"]["Restarting"]]
        for name, one in present(container).items()
    }


def remove_others(container: str, before: dict[str, list[Any]]) -> None:
    """Remove containers that were not there before; what kept() has returned."""
    ids = {one for one, _ in before.values()}
    for name, found in present(container).items():
        if found["Id"] not in ids:
            containers.remove(name)


def stop_those_of_another_user(container: str, user: str) -> None:
    """Stop containers that could not read what is written for another user, UID:GID."""
    for name, found in present(container).items():
        if found["State"]["Running"] and found["Config"]["User"] != user:
            containers.act(name, "stop")


def put_back_containers(before: dict[str, list[Any]]) -> None:
    """Have the containers of before run, when remove_others() has made room; what kept() has returned."""
    for name, (one, was_running) in before.items():
        found = containers.container(one)
        if found and found["Name"] != f"/{name}":
            containers.rename(one, name)
        if found and was_running:
            containers.act(one, "start")


def with_container(registry: dict[str, Any]) -> Caches:
    """Return the caches but for those that are offline, and what serves what all of them have.

    Args:
        registry: values for REGISTRY_SPEC.
    """
    return {cache["name"]: cache for cache in registry["caches"] if not cache["offline"]}


def _directories(path: str) -> list[str]:
    """Return the directories in a directory, if there is one; a link is none."""
    try:
        with os.scandir(path) as entries:
            return sorted(one.path for one in entries if one.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _ways(path: str, root: str) -> list[str]:
    """Return the directories below a root that lead to a path, with that."""
    parts = os.path.relpath(path, root).split("/")
    return ["/".join([root, *parts[: count + 1]]) for count in range(len(parts))]

"""The registry as it is while a subcommand changes its storage: it serves pulls, and pushes wait.

What is checked around the change: an image goes in and out, and every tag keeps its digest.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from .. import containers, gateway
from ..api import Client, StatusError, trust
from ..bucket import ASIDE, Bucket
from ..containers import SECURITY, cli
from ..errors import WharfError
from ..lock import held_for
from ..manifests import OCI_MANIFEST, digest_of
from ..parts import STAND_INS, address
from ..storage import Storage
from ..text import pluralize
from .cli import Task, ignore_signals
from .registry import Registry

TRASH = ".wharf-removed"  # in the driver's root directory: what is deleted moves there first, so that it goes at once
ASIDE_IN_BUCKET = Path("/var/lib/wharf/aside-in-bucket")  # is there while something of this server's may be aside
REPOSITORY = "wharf-verify/collect-"  # how the repositories of the smoke test begin

Tags = dict[tuple[str, str], str]  # (repository, tag) to a digest


@contextmanager
def changing(
    registry: Registry,
    task: Task,
    damage: Collection[str],
    deleted: Collection[tuple[str, str]] = (),
    is_held: bool = False,
) -> Iterator[None]:
    """Hold pushes back while the storage is changed, and verify afterwards that no image was lost.

    Args:
        registry: the registry.
        task: where the lines go.
        damage: what the storage has already.
        deleted: the tags that go, as pairs of repository and tag.
        is_held: whether pushes are held already, on all servers.
    """
    slot = STAND_INS[0] if is_held else ""
    with registry.client(slot) as client:
        # Before, so that a registry that cannot do it is left alone, and what fails afterwards is this run's doing.
        smoke_test(client, registry.storage)
    with nullcontext([]) if is_held else pushes_held(registry) as moments, registry.client(STAND_INS[0]) as reader:
        kept = {key: digest for key, digest in registry.storage.all_tags().items() if key not in deleted}
        answers = tags_served(reader, kept)
        yield
        # Before the pushes that wait change what is compared.
        require_same("in the storage", kept, registry.storage.all_tags())
        if new := [sentence for sentence, _ in registry.storage.damage() if sentence not in damage]:
            raise WharfError(f"the storage was damaged: {new[0]}: restore it from a backup")
        require_same("for a client", answers, tags_served(reader, kept))
        if still := [key for key, answer in tags_served(reader, deleted).items() if "404" not in answer]:
            raise WharfError(f"{still[0][0]}:{still[0][1]} is still served")
    with registry.client(slot) as client:
        smoke_test(client, registry.storage)
    repositories = pluralize(len({name for name, _ in kept}), "repository")
    task.line(f"kept: {pluralize(len(kept), 'tag')} in {repositories}, each with its digest")
    if moments:
        task.line(f"pushes waited for up to {moments[1] - moments[0]:.1f} s; pulls went on")
    task.line("verified: an image was pushed and pulled")


@contextmanager
def pushes_held(registry: Registry) -> Iterator[list[float]]:
    """Let pushes wait while pulls go on; whatever happens, the gateway asks the registry itself again afterwards.

    Two more containers of the registry serve meanwhile: one what reads, and one, which is frozen, what writes: its
    clients wait until it goes on. The registry itself is frozen as well, because the gateway may still pass on to it
    what it had accepted before. What is returned fills with two moments.

    Raises:
        WharfError: a push that has begun before does not end.
    """
    moments: list[float] = []
    try:
        for slot, name in registry.stand_ins.items():
            create_stand_in(registry, slot, name)
            cli("start", name)
            with registry.client(slot) as client:
                client.wait(60, pause=0.05)
        cli("pause", registry.stand_ins["writes"])
        moments.append(time.monotonic())
        registry.pass_requests_to(*registry.stand_ins)
        freeze(registry)
        yield moments
    finally:
        release_pushes(registry)
        moments.append(time.monotonic())
        remove_stand_ins(registry)


def create_stand_in(registry: Registry, slot: str, name: str) -> None:
    """Create a container like the registry's own, with another socket. Its variables are not for a command line."""
    config, host = registry.inspected["Config"], registry.inspected["HostConfig"]
    variables = [word for word in config["Env"] if word != address(registry.slot)]
    settings = {**config, "Image": registry.inspected["Image"], "Env": [*variables, address(slot)]}
    with containers.uninterrupted():
        containers.create(name, {**settings, "HostConfig": {**host, "RestartPolicy": {"Name": "no"}}})


def freeze(registry: Registry) -> None:
    """Let the registry end what it has begun, and then do nothing. Raises WharfError where that does not end."""
    while True:
        if not gateway.drain(registry.container, registry.slot, registry.drain_seconds):
            raise WharfError(
                f"a push or a pull that had begun did not end within {registry.drain_seconds} s: nothing was changed;"
                " try again"
            )
        cli("pause", registry.container)
        found = containers.container(registry.container)
        if found and not gateway.connections(found, registry.slot):
            return
        cli("unpause", registry.container)  # something came in between


def container_options(registry: Registry, access: str = "") -> list[str]:
    """Return how the collector is started: hardened, and as the registry's own; ":ro" cannot change the data."""
    config, host = registry.inspected["Config"], registry.inspected["HostConfig"]
    return [
        # What lies elsewhere is reached as the registry itself reaches it.
        *("--network", "none" if registry.driver == "filesystem" else host["NetworkMode"]),
        *(word for one in host.get("ExtraHosts") or () for word in ("--add-host", one)),
        *("--read-only", "--cap-drop", "ALL", "--no-healthcheck"),
        *(word for option in SECURITY for word in ("--security-opt", option)),
        *("--user", config["User"], "--volumes-from", f"{registry.container}{access}"),
        *("--restart", "no", "--userns", "host", "--memory", str(host["Memory"])),
        *(word for one in config["Env"] if not one.startswith("REGISTRY_HTTP_") for word in ("--env", one)),
    ]


def release_pushes(registry: Registry) -> None:
    """Let the registry, and the pushes that wait, go on."""
    ignore_signals()  # the worst moment to be interrupted
    deadline, writes = time.monotonic() + 60, registry.stand_ins["writes"]
    while True:  # the engine may be about to start again
        cli("rm", "--force", registry.collector, check=False)
        cli("unpause", registry.container, check=False)
        cli("unpause", writes, check=False)
        verb = "restart" if registry.descriptor_cache else "start"  # what it remembers may be gone
        cli(verb, registry.container, check=False)
        with suppress(WharfError):
            held = containers.container(writes)
            if registry.status() == "running" and not (held and held["State"]["Paused"]):
                break
        if time.monotonic() > deadline:
            cli("start", registry.container)  # which tells why
        time.sleep(0.5)
    with registry.client() as client:
        client.wait(60, pause=0.05)


def remove_stand_ins(registry: Registry) -> None:
    """Let the gateway ask the registry itself again, and remove what stood in for it when its clients are done."""
    # What has waited goes on, and ends where it has begun: when the gateway is reloaded, it closes connections on which
    # nothing is asked just then, and between two requests of a push some clients do not bear that.
    time.sleep(gateway.SETTLE)
    registry.pass_requests_to(registry.slot)
    for slot, name in registry.stand_ins.items():
        gateway.drain(name, slot, registry.drain_seconds)
        cli("rm", "--force", name, check=False)


@contextmanager
def set_aside(registry: Registry, files: Iterable[Path]) -> Iterator[None]:
    """Let the registry's own collection not find some files of the storage; afterwards they are in their places."""
    storage = registry.storage
    try:
        if isinstance(storage, Bucket):
            ASIDE_IN_BUCKET.touch()
            storage.set_aside(files)
            files = ()
        with storage.as_owner():
            for file in files:
                place = registry.path / ASIDE / file.relative_to(storage.top)
                place.parent.mkdir(parents=True, exist_ok=True)
                file.rename(place)
        yield
    finally:
        put_back(registry)


def put_back(registry: Registry) -> None:
    """Put back what was set aside, also by a run that was killed. What has been pushed again since stays."""
    storage = registry.storage
    if isinstance(storage, Bucket):
        if registry.is_first and storage.has_aside():  # of the others nobody knows whether the collector still runs
            ignore_signals()
            cli("rm", "--force", registry.collector, check=False)
            storage.put_back()
        ASIDE_IN_BUCKET.unlink(missing_ok=True)
        return
    aside = registry.path / ASIDE
    if not aside.is_dir():
        return
    ignore_signals()
    cli("rm", "--force", registry.collector, check=False)  # it may go on without the program that has started it
    with storage.as_owner():
        for file in [path for path in aside.rglob("*") if path.name in ("data", "link")]:
            place = storage.top / file.relative_to(aside)
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                file.rename(place)
        shutil.rmtree(aside, ignore_errors=True)


def clean_up(registry: Registry, task: Task, message: str) -> None:
    """Clean up after a run that was cut off, and say so where one had left containers."""
    put_back(registry)
    names = cli("ps", "--all", "--format", "{{.Names}}").splitlines()
    # Pushes that are held on all servers go on by `wharf release-pushes`, or when their time is over.
    if not held_for() and {registry.collector, *registry.stand_ins.values()}.intersection(names):
        release_pushes(registry)
        remove_stand_ins(registry)
        task.line(message)
    cli("rm", "--force", registry.dry_run_collector, check=False)
    storage = registry.storage
    for name in storage.repositories_in(REPOSITORY.partition("/")[0]):
        if name.startswith(REPOSITORY):
            remove_repository(storage, name)
    if isinstance(storage, Bucket):
        return
    with storage.as_owner():
        shutil.rmtree(registry.path / TRASH, ignore_errors=True)


# What is checked ----------------------------------------------------------------------------------


def tags_served(client: Client, tags: Iterable[tuple[str, str]]) -> Tags:
    """Return what a client gets for tags: their digests, or what was answered instead."""
    served = {}
    for name, tag in tags:
        try:
            served[name, tag] = client.digest(name, tag)
        except StatusError as error:
            served[name, tag] = f"HTTP status {error.status}"
    client.close()
    return served


def require_same(where: str, before: Tags, after: Tags) -> None:
    """Demand that every tag leads to the digest that it led to before."""
    lost = [key for key in before if after.get(key) != before[key]]
    if lost:
        name, tag = lost[0]
        raise WharfError(
            f"{name}:{tag} was {before[lost[0]]} before, and is {after.get(lost[0], 'gone')} now, {where}"
            f"{f', and {len(lost) - 1} more' if len(lost) > 1 else ''}: restore it from a backup"
        )


def smoke_test(client: Client, storage: Storage) -> None:
    """Push random content, pull it, compare it, and remove every trace of it. Raises WharfError."""
    name, content = REPOSITORY + secrets.token_hex(8), os.urandom(65536)
    blob = {"mediaType": "application/octet-stream", "digest": digest_of(content), "size": len(content)}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": blob, "layers": [blob]}).encode()
    try:
        client.push_blob(name, content)
        client.push_manifest(name, "1", manifest)
        # The client compares what it gets with the digests that are asked for.
        client.manifest(name, digest_of(manifest))
        for _ in client.blob(name, digest_of(content)):
            pass
    finally:
        remove_repository(storage, name)


def remove_repository(storage: Storage, name: str) -> None:
    """Remove a repository of the smoke test with its blobs, which nobody else has: their content is random."""
    if isinstance(storage, Bucket):
        storage.remove_repository(name)
        return
    directory = storage.repository(name)
    with storage.as_owner():
        for digest in storage.revisions(name) | storage.layers(name):
            shutil.rmtree(storage.blob_path(digest).parent, ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)
        with suppress(OSError):
            directory.parent.rmdir()


# Its clients --------------------------------------------------------------------------------------


def client_of(registry: Registry) -> Client:
    """Return a client of the registry's gateway, under its name, on this host's own address, without a user."""
    context = trust(registry.ca) if registry.ca else None
    return Client(registry.name, registry.port, context, address="127.0.0.1")


def wait_until_ready(registry: Registry) -> None:
    """Wait until the registry answers as a client sees it. Raises WharfError when it does not."""
    with client_of(registry) as client:
        client.wait(60, pause=0.05, probe=client.health)

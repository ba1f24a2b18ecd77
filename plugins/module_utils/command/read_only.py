"""The registry as it is while a subcommand changes its storage: it serves pulls and refuses pushes.

What is checked around the change: an image goes in and out, and every tag keeps its digest.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..api import Client, StatusError, trust
from ..containers import SECURITY, cli
from ..errors import WharfError
from ..files import write_atomic
from ..htpasswd import TEMPORARY_USER, hash_password
from ..manifests import OCI_MANIFEST, digest_of
from ..storage import Storage
from ..text import pluralize
from .cli import Task, ignore_signals
from .registry import Registry

TRASH = ".wharf-removed"  # in the driver's root directory: what is deleted moves there first, so that it goes at once
REPOSITORY = "wharf-verify/collect-"  # how the repositories of the smoke test begin

Tags = dict[tuple[str, str], str]  # (repository, tag) to a digest


@contextmanager
def changing(
    registry: Registry, task: Task, damage: Collection[str], deleted: Collection[tuple[str, str]] = ()
) -> Iterator[None]:
    """Refuse pushes while the storage is changed, and verify afterwards that no image was lost.

    Args:
        registry: the registry.
        task: where the lines go.
        damage: what the storage has already.
        deleted: the tags that go, as pairs of repository and tag.
    """
    with temporary_client(registry) as client:
        # Before, so that a registry that cannot do it is left alone, and what fails afterwards is this run's doing.
        smoke_test(client, registry.storage)
        with read_only(registry) as moments:
            kept = {key: digest for key, digest in registry.storage.all_tags().items() if key not in deleted}
            answers = tags_served(client, kept)
            yield
        require_same("in the storage", kept, registry.storage.all_tags())
        if new := [sentence for sentence, _ in registry.storage.damage() if sentence not in damage]:
            raise WharfError(f"the storage was damaged: {new[0]}: restore it from a backup")
        require_same("for a client", answers, tags_served(client, kept))
        if still := [key for key, answer in tags_served(client, deleted).items() if "404" not in answer]:
            raise WharfError(f"{still[0][0]}:{still[0][1]} is still served")
        smoke_test(client, registry.storage)
    repositories = pluralize(len({name for name, _ in kept}), "repository")
    task.line(f"kept: {pluralize(len(kept), 'tag')} in {repositories}, each with its digest")
    stopped, began, ended, recovered = moments
    gaps = began - stopped + recovered - ended
    task.line(f"refused pushes for {ended - began:.1f} s; did not answer for {gaps:.1f} s, in two parts")
    task.line("verified: an image was pushed and pulled")


@contextmanager
def read_only(registry: Registry) -> Iterator[list[float]]:
    """Let the registry serve pulls and refuse pushes; whatever happens, it is as it was afterwards.

    The container itself is only stopped: another one, which refuses pushes, has its port and data meanwhile. So
    whoever starts the registry's own container recovers everything, the engine at boot as well. What is returned fills
    with four moments: between the first two and the last two no registry answers at all.
    """
    moments: list[float] = []
    create = ["create", "--name", registry.stand_in, *container_options(registry)]
    for port, bindings in registry.inspected["HostConfig"]["PortBindings"].items():
        for binding in bindings:
            address = f"[{binding['HostIp']}]" if ":" in binding["HostIp"] else binding["HostIp"]
            create += ["--publish", f"{address}:{binding['HostPort']}:{port}"]
    create += ["--env", 'REGISTRY_STORAGE_MAINTENANCE_READONLY={"enabled":true}']
    try:
        cli(*create, registry.inspected["Image"], *registry.inspected["Config"]["Cmd"])
        moments.append(time.monotonic())
        cli("stop", registry.container)
        cli("start", registry.stand_in)
        wait_until_ready(registry)
        moments.append(time.monotonic())
        yield moments
    finally:
        moments.append(time.monotonic())
        recover(registry)
        moments.append(time.monotonic())


def container_options(registry: Registry, access: str = "") -> list[str]:
    """Return how another container of the registry's image is started, as hardened; ":ro" cannot change the data."""
    config, host = registry.inspected["Config"], registry.inspected["HostConfig"]
    return [
        *("--read-only", "--cap-drop", "ALL", "--no-healthcheck"),
        *(word for option in SECURITY for word in ("--security-opt", option)),
        *("--user", config["User"], "--volumes-from", f"{registry.container}{access}"),
        *("--restart", "no", "--userns", "host", "--memory", str(host["Memory"])),
        *(word for variable in config["Env"] for word in ("--env", variable)),
    ]


def recover(registry: Registry) -> None:
    """Start the registry's own container again, and remove what stood in for it."""
    ignore_signals()  # the worst moment to be interrupted
    deadline = time.monotonic() + 60
    while True:  # the engine may be about to start again
        cli("rm", "--force", registry.collector, check=False)
        cli("stop", registry.stand_in, check=False)
        cli("start", registry.container, check=False)
        with suppress(WharfError):
            if registry.status() == "running":
                break
        if time.monotonic() > deadline:
            cli("start", registry.container)  # which tells why
        time.sleep(0.5)
    wait_until_ready(registry)
    cli("rm", "--force", registry.stand_in)


def clean_up(registry: Registry, task: Task, message: str) -> None:
    """Clean up after a run that was cut off, and say so where one had left containers."""
    names = cli("ps", "--all", "--format", "{{.Names}}").splitlines()
    if registry.collector in names or registry.stand_in in names:
        recover(registry)
        task.line(message)
    cli("rm", "--force", registry.dry_run_collector, check=False)
    replace_temporary_users(registry)
    storage = registry.storage
    for directory in (storage.top / "repositories").glob(f"{REPOSITORY}*"):
        remove_repository(storage, directory.relative_to(storage.top / "repositories").as_posix())
    with storage.as_owner():
        shutil.rmtree(registry.path / TRASH, ignore_errors=True)


# What is checked ----------------------------------------------------------------------------------


def tags_served(client: Client, tags: Iterable[tuple[str, str]]) -> Tags:
    """Return what a client gets for tags: their digests, or what was answered instead."""
    client.close()  # another container may have the port now
    served = {}
    for name, tag in tags:
        try:
            served[name, tag] = client.digest(name, tag)
        except StatusError as error:
            served[name, tag] = f"HTTP status {error.status}"
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
    directory = storage.repository(name)
    with storage.as_owner():
        for digest in storage.revisions(name) | storage.layers(name):
            shutil.rmtree(storage.blob_path(digest).parent, ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)
        with suppress(OSError):
            directory.parent.rmdir()


# Its clients --------------------------------------------------------------------------------------


def client_of(registry: Registry, user: str = "", password: str = "") -> Client:
    """Return a client of the registry, under its name, on this host's own address."""
    context = trust(registry.ca) if registry.ca else None
    return Client(registry.name, registry.port, context, address="127.0.0.1", user=user, password=password)


def wait_until_ready(registry: Registry) -> None:
    """Wait until the registry answers as a client sees it. Raises WharfError when it does not."""
    with client_of(registry) as client:
        client.wait(60, pause=0.05)


@contextmanager
def temporary_client(registry: Registry) -> Iterator[Client]:
    """Return a client that may push and pull: its user exists as long as this lasts."""
    if not registry.htpasswd:
        yield client_of(registry)
        return
    user, password = TEMPORARY_USER + secrets.token_hex(4), secrets.token_urlsafe(32)
    try:
        replace_temporary_users(registry, f"{user}:{hash_password(password)}")
        yield client_of(registry, user, password)
    finally:
        replace_temporary_users(registry)


def replace_temporary_users(registry: Registry, *lines: str) -> None:
    """Write the registry's users, if it has any, with these lines and without those of earlier smoke tests."""
    if not registry.htpasswd:
        return
    path = Path(registry.htpasswd)
    before = path.read_text()
    kept = [line for line in before.splitlines() if not line.startswith(TEMPORARY_USER)]
    after = "".join(f"{line}\n" for line in [*kept, *lines])
    if after != before:
        facts = path.stat()
        write_atomic(str(path), after.encode(), facts.st_mode & 0o777, facts.st_uid, facts.st_gid)

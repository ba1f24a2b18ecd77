"""What is checked around each change of the registry: an image goes in and out, and every tag keeps its digest."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..api import Client, StatusError
from ..errors import WharfError
from ..files import write_atomic
from ..htpasswd import hash_password
from ..manifests import DOCKER_MANIFEST, digest_of
from ..storage import Storage

REPOSITORY = "wharf-verify/collect-"  # how the repositories of the smoke test begin
USER = "wharf-verify-"  # and its users

Tags = dict[tuple[str, str], str]  # (repository, tag) to a digest


# Tags ---------------------------------------------------------------------------------------------


def tags_served(client: Client, tags: Tags) -> Tags:
    """Return what a client gets for tags: their digests, or what was answered instead."""
    client.close()  # another container may have the port now
    return {(name, tag): _served(client, name, tag) for name, tag in tags}


def _served(client: Client, name: str, tag: str) -> str:
    """Return the digest that the registry serves for a tag, or what it answered instead."""
    try:
        return client.digest(name, tag)
    except StatusError as error:
        return f"HTTP status {error.status}"


def require_same(where: str, before: Tags, after: Tags) -> None:
    """Demand that every tag leads to the digest that it led to before.

    Raises:
        WharfError: one does not.
    """
    lost = [key for key in before if after.get(key) != before[key]]
    if lost:
        name, tag = lost[0]
        raise WharfError(
            f"{name}:{tag} was {before[lost[0]]} before, and is {after.get(lost[0], 'gone')} now, {where}"
            f"{f', and {len(lost) - 1} more' if len(lost) > 1 else ''}: restore it from a backup"
        )


# The smoke test -----------------------------------------------------------------------------------


def smoke_test(client: Client, storage: Storage) -> None:
    """Push random content, pull it, compare it, and remove every trace of it.

    Raises:
        WharfError: a step fails.
    """
    name = REPOSITORY + secrets.token_hex(8)
    layer = os.urandom(65536)
    configuration = json.dumps({"smoke test": secrets.token_hex(16)}).encode()
    descriptors = [
        {"mediaType": kind, "digest": digest_of(content), "size": len(content)}
        for kind, content in (
            ("application/vnd.docker.container.image.v1+json", configuration),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", layer),
        )
    ]
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": descriptors[0], "layers": descriptors[1:]}
    ).encode()
    try:
        for content in (configuration, layer):
            client.push_blob(name, content)
        client.push_manifest(name, "1", manifest)
        pulled = client.manifest(name, digest_of(manifest)).content
        if pulled != manifest or b"".join(client.blob(name, digest_of(layer))) != layer:
            raise WharfError("the registry returned other content than was pushed")
    finally:
        remove_repository(storage, name)


def remove_leftovers(storage: Storage) -> None:
    """Remove the repositories of smoke tests that were cut off."""
    top = storage.top / "repositories"
    for directory in top.glob(f"{REPOSITORY}*"):
        remove_repository(storage, directory.relative_to(top).as_posix())


def remove_repository(storage: Storage, name: str) -> None:
    """Remove a repository of the smoke test with its blobs, which nobody else has: their content is random."""
    for digest in storage.revisions(name) | storage.layers(name):
        shutil.rmtree(storage.blob_path(digest).parent, ignore_errors=True)
    directory = storage.repository(name)
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        directory.parent.rmdir()


# Its user -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def temporary_user(htpasswd: Path) -> Iterator[tuple[str, str]]:
    """Return name and password of a user of the registry who exists as long as this lasts."""
    user, password = USER + secrets.token_hex(4), secrets.token_urlsafe(32)
    try:
        replace_temporary_users(htpasswd, [f"{user}:{hash_password(password)}"])
        yield user, password
    finally:
        replace_temporary_users(htpasswd, [])


def replace_temporary_users(htpasswd: Path, lines: list[str]) -> None:
    """Write the registry's users with these lines, and without those of earlier smoke tests."""
    before = htpasswd.read_text()
    kept = [line for line in before.splitlines() if not line.startswith(USER)]
    after = "".join(f"{line}\n" for line in kept + lines)
    if after != before:
        facts = htpasswd.stat()
        write_atomic(str(htpasswd), after.encode(), facts.st_mode & 0o777, facts.st_uid, facts.st_gid)

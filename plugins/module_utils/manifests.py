"""What a manifest names, and the one walk from a manifest to everything that it needs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from .errors import DamageError

DIGEST = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OLD_FORMAT = (
    "has the old format of manifests, schema 1, which the registry does not take: make an image of today of it, with"
    " skopeo copy --format v2s2"
)
MEDIA_TYPES = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)


# Tags of what belongs to another manifest: cosign's, such as sha256-DIGEST.sig, and the one of an index that stands for
# the API "referrers" where a registry has none.
ATTACHED = re.compile(r"(?:sha256-[0-9a-f]{64}|sha512-[0-9a-f]{128})(\.[\w.-]+)?")


def digest_of(parts: bytes | Iterable[bytes], algorithm: str = "sha256") -> str:
    """Return the digest of a content, which may come in parts."""
    state = hashlib.new(algorithm)
    for part in [parts] if isinstance(parts, bytes) else parts:
        state.update(part)
    return f"{algorithm}:{state.hexdigest()}"


def media_type(manifest: dict[str, Any]) -> str:
    """Return the media type of a manifest or index; those of OCI need not name it."""
    return manifest.get("mediaType") or (OCI_INDEX if "manifests" in manifest else OCI_MANIFEST)


def is_old_format(manifest: dict[str, Any]) -> bool:
    """Tell whether a manifest is one of schema 1, of Docker before 1.10."""
    return manifest.get("schemaVersion") == 1


def children(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the descriptors of the manifests that an index names; none for a manifest."""
    return _descriptors(manifest.get("manifests"))


def blobs(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the descriptors of a manifest's configuration and layers; none for an index."""
    old = [{"digest": layer.get("blobSum")} for layer in _mappings(manifest.get("fsLayers"))]  # schema 1
    return _descriptors([manifest.get("config")]) + _descriptors(manifest.get("layers")) + _descriptors(old)


def subject(manifest: dict[str, Any], tag: str = "") -> str:
    """Return the digest of the manifest that one belongs to, as signatures, attestations and SBOMs do; empty for none.

    Either it says so itself, or its tag does.
    """
    if said := _descriptors([manifest.get("subject")]):
        return said[0]["digest"]
    match = ATTACHED.fullmatch(tag)
    if not match or not (match[1] or "manifests" in manifest):
        return ""
    return tag.removesuffix(match[1] or "").replace("-", ":")


def needed_blobs(manifest: dict[str, Any], exists: Callable[[str], bool]) -> list[dict[str, Any]]:
    """Return the blobs that a manifest needs: layers that clients fetch from URLs of their own need not exist here."""
    return [blob for blob in blobs(manifest) if not blob.get("urls") or exists(blob["digest"])]


def parse(content: bytes, digest: str) -> dict[str, Any]:
    """Return a manifest or index, compared with its digest. Raises DamageError where it is another, or not JSON."""
    if digest_of(content, digest.partition(":")[0]) != digest:
        raise DamageError(f"the manifest {digest} is damaged: its content has another digest")
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict):
        raise DamageError(f"the manifest {digest} is no JSON object")
    return manifest


def walk(digest: str, read: Callable[[str], dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a manifest or index and all manifests that it leads to, each once and after its own, with their digests.

    Args:
        digest: the manifest that comes last.
        read: returns the manifest with a digest.
    """
    seen: set[str] = set()
    pending: list[tuple[str, dict[str, Any] | None]] = [(digest, None)]
    while pending:
        digest, manifest = pending.pop()
        if manifest is not None:
            yield digest, manifest
        elif digest not in seen:
            seen.add(digest)
            manifest = read(digest)
            pending.append((digest, manifest))
            pending += [(child["digest"], None) for child in reversed(children(manifest))]


def closure(
    digest: str, read: Callable[[str], dict[str, Any]], exists: Callable[[str], bool], missing: Collection[str] = ()
) -> dict[str, bool]:
    """Return all that a manifest or index needs, itself last of all manifests: digests, and whether each is one.

    Args:
        digest: the manifest's.
        read: returns the manifest with a digest.
        exists: tells whether a blob is there.
        missing: manifests that an index names and that are left out.
    """
    found: dict[str, bool] = {}
    for needed, manifest in walk(digest, lambda one: {} if one in missing else read(one)):
        if needed in missing:
            continue
        found[needed] = True
        for blob in needed_blobs(manifest, exists):
            found.setdefault(blob["digest"], False)
    return found


def _descriptors(values: Any) -> list[dict[str, Any]]:
    """Return those of the values that are descriptors: mappings with a digest."""
    return [value for value in _mappings(values) if DIGEST.fullmatch(str(value.get("digest")))]


def _mappings(values: Any) -> list[dict[str, Any]]:
    """Return those of the values that are mappings; none where it is no list."""
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []

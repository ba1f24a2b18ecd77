"""Saved images on the controller."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import tarfile
import zlib
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.paths import file_problems, is_absolute_path
from ansible_collections.wharf.registry.plugins.plugin_utils.values import absent, shown

_JSON_BYTES = 16 * 1024 * 1024
_REMEDY = "make it with docker save IMAGE -o FILE"


def archive_problems(path: object, variable: str) -> list[str]:
    """Judge a saved image on the controller: what ``docker save`` writes, plain or packed with gzip.

    Args:
        path: absolute path of the file; ``~`` is the home directory of who runs Ansible.
        variable: the variable's name, for the messages.

    Returns:
        At most one line. An archive with several images is good: its first is taken.
    """
    use = 'use the absolute path of what docker save wrote, such as "{{ inventory_dir }}/files/registry.tar"'
    if absent(path):
        return [f"{variable}: is missing: {use}"]
    if not isinstance(path, str) or not is_absolute_path(path):
        return [f"{variable}: {shown(path)} is not the absolute path of a file: {use}"]
    return file_problems(path, variable, _read_archive)


def archive_image(path: str) -> dict[str, Any]:
    """Return which image a saved image file holds.

    The id is the digest of the image's configuration, which is what an engine with the classic image store shows as
    the image's id. It is computed from the configuration itself, so it holds for every layout: ``<hex>.json`` (docker
    save up to 24) and ``blobs/sha256/<hex>`` (25 and newer). Source: moby, image/tarexport/load.go.

    Args:
        path: absolute path on the controller of a tar archive, plain or packed with gzip.

    Returns:
        ``{'id': 'sha256:<64 hex>', 'tags': [text, ...], 'layers': ['sha256:<64 hex>', ...], 'version': text}`` of the
        first image; the layers are the digests of their unpacked content, the lowest first; the version is empty where
        no label tells it.

    Raises:
        ValueError: the file cannot be read or holds no image.
    """
    if problems := archive_problems(path, "image archive"):
        raise ValueError(problems[0])
    with open(os.path.expanduser(path), "rb") as file:
        return _read_archive(file)


def _read_archive(file: Any) -> dict[str, Any]:
    """Return the first image of an open archive, as ``archive_image`` does.

    Raises:
        ValueError: it is no archive of an image; the message ends a line that begins with the path.
    """
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    opened = False
    try:
        with tarfile.open(fileobj=file, mode="r:gz" if packed else "r:") as archive:
            opened = True
            members = {posixpath.normpath(member.name): member for member in archive.getmembers()}
            manifest = _content(archive, members.get("manifest.json"))
            image = _first_image(manifest)
            configuration = _content(archive, members.get(posixpath.normpath(image["Config"])))
    except (tarfile.TarError, EOFError, zlib.error, OSError):
        wrong = "is damaged or cut short" if opened else "is not a tar archive, plain or packed with gzip"
        raise ValueError(f"{wrong}: {_REMEDY}") from None
    if configuration is None:
        raise ValueError(f"holds no image, the configuration that its manifest.json names is missing: {_REMEDY}")
    tags = [tag for tag in image.get("RepoTags") or [] if isinstance(tag, str)]
    return {"id": f"sha256:{hashlib.sha256(configuration).hexdigest()}", "tags": tags, **_described(configuration)}


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo | None) -> bytes | None:
    """Return the content of a file in an archive; None when there is no such file, or one of absurd size."""
    file = archive.extractfile(member) if member and member.isfile() and member.size <= _JSON_BYTES else None
    return file.read() if file else None


def _first_image(manifest: bytes | None) -> dict[str, Any]:
    """Return the first entry of a manifest.json.

    Raises:
        ValueError: there is none that names a configuration.
    """
    if manifest is None:
        raise ValueError(f"holds no image, it has no manifest.json: {_REMEDY}")
    try:
        first = json.loads(manifest)[0]
        if first["Config"] and isinstance(first["Config"], str):
            return dict(first)
    except (ValueError, LookupError, TypeError):
        pass
    raise ValueError(f"holds no image, its manifest.json names none: {_REMEDY}")


def _described(configuration: bytes) -> dict[str, Any]:
    """Return the layers and the version that an image's configuration tells, as far as it does."""
    try:
        content = json.loads(configuration)
    except ValueError:
        return {"layers": [], "version": ""}
    layers = _at(content, "rootfs", "diff_ids")
    version = _at(content, "config", "Labels", "org.opencontainers.image.version")
    return {"layers": [str(layer) for layer in layers or []], "version": str(version or "")}


def _at(content: Any, *keys: str) -> Any:
    """Return what lies under these keys, one in the other; None where there is nothing."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content

"""Images as the controller sees them: their references, and the archives that hold them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
import tarfile
import zlib
from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.module_utils.manifests import blobs, children
from ansible_collections.wharf.registry.plugins.module_utils.references import REFERENCE
from ansible_collections.wharf.registry.plugins.plugin_utils.paths import is_absolute_path, read_file
from ansible_collections.wharf.registry.plugins.plugin_utils.values import absent, shown

_LARGEST_JSON = 16 * 1024 * 1024
_REMEDY = "make it with docker save IMAGE -o FILE"


def image_problems(value: object, variable: str) -> list[str]:
    """Judge the reference of an image: pinned by a tag or a digest, and not ``latest``. Null means the default."""
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if value is None or match and match["digest"]:
        return []
    if not match:
        wrong = "is not an image reference"
    elif match["tag"] is None:
        wrong = "is not pinned, it has neither tag nor digest"
    elif match["tag"] == "latest":
        wrong = "is not pinned, latest is another image tomorrow"
    else:
        return []
    return [f"{variable}: {shown(value)} {wrong}: use one such as registry:3.1.1 or registry@sha256:..."]


def archive_problems(path: object, variable: str) -> list[str]:
    """Judge a saved image on the controller: what ``docker save`` writes, plain or packed with gzip.

    Of an archive with several images the first is taken. A path may begin with ``~``, the home directory of who runs
    Ansible.
    """
    try:
        archive_image(path)
    except ValueError as error:
        return [f"{variable}: {error}"]
    return []


def archive_image(path: object) -> dict[str, Any]:
    """Return the ``id``, ``digest``, ``tags``, ``layers`` and ``version`` of the image that a saved image file holds.

    The id is the digest of the image's configuration, which is what an engine with the classic image store shows as
    the image's id. It is computed from the configuration itself, so it holds for every layout: ``<hex>.json`` (docker
    save up to 24) and ``blobs/sha256/<hex>`` (25 and newer). Source: moby, image/tarexport/load.go. The digest is that
    of its manifest or index, which the containerd image store shows as the id; empty in the old layout. The layers are
    the digests of their unpacked content, the lowest first; the version is empty where no label tells it.

    Raises:
        ValueError: the file cannot be read or holds no image.
    """
    use = 'use the absolute path of what docker save wrote, such as "{{ inventory_dir }}/files/registry.tar"'
    if absent(path):
        raise ValueError(f"is missing: {use}")
    if not isinstance(path, str) or not is_absolute_path(path):
        raise ValueError(f"{shown(path)} is not the absolute path of a file: {use}")
    return read_file(path, _first_image)


def _first_image(file: Any) -> dict[str, Any]:
    """Return the first image of an open archive, as ``archive_image`` does.

    Raises:
        ValueError: it is no archive of an image; the message ends a line that begins with the path.
    """
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    wrong = "is not a tar archive, plain or packed with gzip"
    try:
        with tarfile.open(fileobj=file, mode="r:gz" if packed else "r:") as archive:
            wrong, lacks = "is damaged or cut short", "it has no manifest.json"
            content = _reader(archive)
            manifest = content("manifest.json")
            lacks = "its manifest.json names none"
            image = json.loads(manifest)[0]
            name = posixpath.normpath(image["Config"])
            lacks = "the configuration that its manifest.json names is missing"
            configuration = content(name)
            digest = _manifest_digest(content, _sha256(configuration))
    except (tarfile.TarError, EOFError, zlib.error, OSError):
        raise ValueError(f"{wrong}: {_REMEDY}") from None
    except (ValueError, LookupError, TypeError):
        raise ValueError(f"holds no image, {lacks}: {_REMEDY}") from None
    layers, version = [], ""
    with contextlib.suppress(ValueError, LookupError, TypeError):
        layers = [str(layer) for layer in json.loads(configuration)["rootfs"]["diff_ids"]]
    with contextlib.suppress(ValueError, LookupError, TypeError):
        version = str(json.loads(configuration)["config"]["Labels"]["org.opencontainers.image.version"] or "")
    tags = [tag for tag in image.get("RepoTags") or [] if isinstance(tag, str)]
    return {"id": _sha256(configuration), "digest": digest, "tags": tags, "layers": layers, "version": version}


def _manifest_digest(content: Callable[[str], bytes], configuration: str) -> str:
    """Return the digest of the image in an archive that has a configuration; empty where the archive tells none."""
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
        for entry in json.loads(content("index.json"))["manifests"]:
            if configuration in _configurations(content, entry):
                return str(entry["digest"])
    return ""


def _configurations(content: Callable[[str], bytes], entry: dict[str, Any]) -> set[str]:
    """Return the digests of the configurations of an image, or of those of an index that are there."""
    with contextlib.suppress(KeyError):
        manifest = json.loads(content("blobs/" + entry["digest"].replace(":", "/")))
        parts = (_configurations(content, child) for child in children(manifest))
        return {blob["digest"] for blob in blobs({"config": manifest.get("config")})}.union(*parts)
    return set()


def images_in(path: str) -> list[tuple[list[str], dict[str, str]]]:
    """Return the images of an archive, each with its names, and source and digest for the module registry_images.

    Raises:
        ValueError: docker save did not write it, it is no OCI archive either, or it is damaged.
    """
    try:
        with tarfile.open(path, "r:*") as archive:
            content = _reader(archive)
            # What docker save writes is both since version 25, and only as its own kind is it what docker load takes.
            try:
                entries = json.loads(content("manifest.json"))
            except KeyError:
                return _oci_images(content)
            found = []
            for position, entry in enumerate(entries):
                source = "docker-archive:FILE" + (f":@{position}" if len(entries) > 1 else "")
                plan = {"source": source, "digest": _sha256(content(entry["Config"]))}
                found.append((entry.get("RepoTags") or [], plan))
            return found
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(
            f"{shown(path)} is no archive of images, or damaged: make it with docker save, or with skopeo copy ..."
            " oci-archive:FILE"
        ) from None


def _oci_images(content: Callable[[str], bytes]) -> list[tuple[list[str], dict[str, str]]]:
    """Return the images of an OCI archive, as ``images_in`` does."""
    found = []
    for entry in json.loads(content("index.json"))["manifests"]:
        name = (entry.get("annotations") or {}).get("org.opencontainers.image.ref.name", "")
        content("blobs/" + entry["digest"].replace(":", "/"))
        found.append(([name] if name else [], {"source": "oci-archive", "digest": entry["digest"]}))
    return found


def _reader(archive: tarfile.TarFile) -> Callable[[str], bytes]:
    """Return what reads a small file of an archive by its name. It raises KeyError where there is none."""
    members = {posixpath.normpath(member.name): member for member in archive.getmembers()}

    def content(name: str) -> bytes:
        member = members[posixpath.normpath(name)]
        file = archive.extractfile(member) if member.size <= _LARGEST_JSON else None
        if file is None:
            raise KeyError(name)
        return file.read()

    return content


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"

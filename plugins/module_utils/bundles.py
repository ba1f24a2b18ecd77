"""A bundle: images of a registry in one file, which can be carried into another network.

It is a tar archive of an OCI image layout in which each blob lies once, however many images have it, and every manifest
lies byte for byte as the registry had it, also Docker's. The name of an image, REPOSITORY:TAG, is its annotation
org.opencontainers.image.ref.name. The SHA-256 of index.json, which names all images by digest, is the fingerprint of
everything in the bundle. Nothing of a bundle is extracted under a name that the bundle chooses.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import io
import json
import os
import re
import shutil
import socket
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DamageError, WharfError
from .manifests import OCI_INDEX, blobs, digest_of, media_type, walk
from .references import REPOSITORY_TAG
from .storage import Storage
from .text import human_bytes, table

NAME = "org.opencontainers.image.ref.name"
REGISTRY_IMAGE = "wharf.registry-image"
OWN_FILE = "registry-image.tar"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
LARGEST_JSON = 64 * 1024 * 1024
CHUNK = 1024 * 1024
HEADER = 1024  # bytes that each file takes in the archive besides its content, at most


def room_at(path: Path | str) -> dict[str, Any]:
    """Return the free bytes where a path lies, and on which host and file system that is."""
    return {
        "path": str(path),
        "host": socket.gethostname(),
        "device": os.stat(path).st_dev,
        "free": shutil.disk_usage(path).free,
    }


def check_room(*needs: tuple[dict[str, Any], int]) -> None:
    """Refuse files that do not fit.

    Args:
        needs: rooms with the bytes that each must take; several may lie on one file system.

    Raises:
        WharfError: they do not fit.
    """
    for room, _ in needs:
        size = sum(bytes_ for other, bytes_ in needs if other["device"] == room["device"])
        if size > room["free"]:
            raise WharfError(
                f"{room['path']} on {room['host']} has {human_bytes(room['free'])} free, and {human_bytes(size)} are"
                " needed: make room there"
            )


# Writing ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What a bundle will hold."""

    images: list[dict[str, Any]]  # image (its name), digest and size of each
    sizes: dict[str, int]  # bytes of each blob
    index: bytes  # index.json
    registry_image: str  # the id of the registry's own image; empty when it stays out

    @property
    def room(self) -> int:
        """Return the bytes that the file takes at most, without the registry's own image."""
        return sum(self.sizes.values()) + HEADER * len(self.sizes) + CHUNK

    def summary(self) -> dict[str, Any]:
        """Return what the module registry_bundle returns."""
        fingerprint = hashlib.sha256(self.index).hexdigest()
        return _summary(self.images, self.sizes, fingerprint, self.registry_image)


def _summary(images: list[dict[str, Any]], sizes: dict[str, int], fingerprint: str, own: str) -> dict[str, Any]:
    """Return what a bundle holds, also as a table for people."""
    size, short = sum(sizes.values()), len("sha256:") + 12
    rows = [("image", "digest", "size")]
    rows += [(image["image"], image["digest"][:short], human_bytes(image["size"])) for image in images]
    rows += [("the registry's own image", own[:short], "")] if own else []
    rows.append(("all, each blob once", "", human_bytes(size)))
    text = "\n".join([*table(rows), f"fingerprint: {fingerprint}"])
    return {"images": images, "size": size, "fingerprint": fingerprint, "registry_image": own, "table": text}


def plan(storage: Storage, patterns: list[str], registry_image: str = "") -> Plan:
    """Return what a bundle of these images will hold.

    Args:
        storage: the registry's storage.
        patterns: REPOSITORY:TAG, or REPOSITORY for all its tags; * and ? stand for anything.
        registry_image: the id of the registry's own image, where it comes along.

    Raises:
        WharfError: a pattern matches nothing, or an image is damaged.
    """
    images, entries = [], []
    sizes: dict[str, int] = {}
    for name, digest in _matching(storage, patterns).items():
        try:
            needed = {blob: storage.blob_path(blob).stat().st_size for blob in storage.closure(digest)}
            kind = media_type(storage.manifest(digest))
        except (DamageError, OSError) as error:
            raise WharfError(f"{name} is damaged, see playbooks/diagnose-registry.yml: {error}") from None
        if other := next((blob for blob in needed if not blob.startswith("sha256:")), None):
            raise WharfError(f"{name} needs {other}: only sha256 is supported")
        sizes.update(needed)
        images.append({"image": name, "digest": digest, "size": sum(needed.values())})
        entries.append({"mediaType": kind, "digest": digest, "size": needed[digest], "annotations": {NAME: name}})
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": entries,
        "annotations": {REGISTRY_IMAGE: registry_image},
    }
    return Plan(images, sizes, json.dumps(index, indent=1).encode(), registry_image)


def _matching(storage: Storage, patterns: list[str]) -> dict[str, str]:
    """Return the digests of the images that patterns match, by REPOSITORY:TAG in order."""
    if not patterns:
        raise WharfError("there is no image to export: give a list such as ['team/*', 'app:1.4']")
    tags = {f"{name}:{tag}": digest for (name, tag), digest in storage.all_tags().items()}
    found: dict[str, str] = {}
    for pattern in patterns:
        matching = fnmatch.filter(tags, pattern if ":" in pattern else f"{pattern}:*")
        if not matching:
            raise WharfError(f"the registry has no image {pattern}")
        found.update({name: tags[name] for name in matching})
    return dict(sorted(found.items()))


class _Hashing(io.RawIOBase):
    """A file that is hashed while it is read."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read from the file."""
        part = self.file.read(size)
        self.hash.update(part)
        return part


def write(planned: Plan, storage: Storage, path: str, own_file: Path | None = None) -> None:
    """Write a bundle: always the same bytes for the same images. A file that is not whole is removed again.

    Args:
        planned: what it holds.
        storage: the registry's storage.
        path: the bundle's, which must not be there yet.
        own_file: what docker save wrote of the registry's own image.

    Raises:
        WharfError: a blob is damaged.
    """
    files = {"oci-layout": LAYOUT, "index.json": planned.index}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    if own_file:
        with own_file.open("rb") as file:
            sums[OWN_FILE] = digest_of(iter(lambda: file.read(CHUNK), b"")).partition(":")[2]
    files["SHA256SUMS"] = "".join(f"{value}  {name}\n" for name, value in sums.items()).encode()
    try:
        with tarfile.open(path, "x:", format=tarfile.PAX_FORMAT) as tar:
            for name, content in files.items():
                _add(tar, name, len(content), io.BytesIO(content))
            if own_file:
                with own_file.open("rb") as file:
                    _add(tar, OWN_FILE, own_file.stat().st_size, file)
            for blob, size in sorted(planned.sizes.items()):
                with storage.blob_path(blob).open("rb") as file:
                    hashing = _Hashing(file)
                    _add(tar, _member(blob), size, hashing)
                if f"sha256:{hashing.hash.hexdigest()}" != blob:
                    raise WharfError(f"the registry's blob {blob} is damaged: its content has another digest")
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _add(tar: tarfile.TarFile, name: str, size: int, file: Any) -> None:
    """Add a file to an archive, without anything that would differ next time."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    tar.addfile(info, file)


def _member(digest: str) -> str:
    """Return the name of a blob in the archive."""
    return "blobs/" + digest.replace(":", "/")


# Reading ------------------------------------------------------------------------------------------


class Bundle:
    """A bundle that is read. Nothing in it is believed."""

    def __init__(self, path: str) -> None:
        """Read its table of contents, its index and its manifests.

        Raises:
            WharfError: it is no bundle, or not as it was written.
        """
        self.path = path
        try:
            if os.path.getsize(path) % tarfile.RECORDSIZE:
                raise WharfError(f"{path} is cut short, or no bundle: its length is none that a bundle can have")
            self.tar = tarfile.open(path, "r:")  # noqa: SIM115 (open as long as the bundle is read)
            self.members: dict[str, tarfile.TarInfo] = {}
            for member in self.tar:
                if not member.isfile() or member.name in self.members:
                    raise WharfError(f"{path} holds {member.name!r}, which does not belong into a bundle")
                self.members[member.name] = member
        except tarfile.TarError as error:
            raise WharfError(f"{path} is cut short or damaged, or no bundle: {error}") from None
        except OSError as error:
            raise WharfError(f"{path} cannot be read: {error.strerror}") from None
        lines = self._small("SHA256SUMS").decode("ascii", "replace").splitlines()
        self.sums = {name: value for value, _, name in (line.partition("  ") for line in lines)}
        for name in ("oci-layout", "index.json"):
            if hashlib.sha256(self._small(name)).hexdigest() != self.sums.get(name):
                raise WharfError(f"{path} was altered: {name} is not what SHA256SUMS says")
        try:
            self._read_index()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise WharfError(f"{path} is no bundle: {error!r} in its index.json or a manifest") from None

    def _read_index(self) -> None:
        """Read which images there are, and find what they need."""
        path = self.path
        index = json.loads(self._small("index.json"))
        self.images = {item["annotations"][NAME]: item["digest"] for item in index["manifests"]}
        if strange := next((name for name in self.images if not REPOSITORY_TAG.fullmatch(name)), None):
            raise WharfError(f"{path} is no bundle: {strange!r} is not an image's name")
        self.registry_image = index["annotations"][REGISTRY_IMAGE]
        self.manifests: set[str] = set()
        self.needs = {name: self._closure(name, digest) for name, digest in self.images.items()}
        known = {"SHA256SUMS", "oci-layout", "index.json"} | ({OWN_FILE} if self.registry_image else set())
        known |= {_member(blob) for needs in self.needs.values() for blob in needs}
        if other := next((name for name in self.members if name not in known), None):
            raise WharfError(f"{path} was altered: it holds {other!r}, which none of its images needs")
        if self.registry_image and OWN_FILE not in self.members:
            raise WharfError(f"{path} is damaged: {OWN_FILE} is missing")

    def _small(self, name: str) -> bytes:
        """Return the content of one of the small files."""
        member = self.members.get(name)
        file = self.tar.extractfile(member) if member and member.size <= LARGEST_JSON else None
        if file is None:
            raise WharfError(f"{self.path} is no bundle, or damaged: {name} is missing")
        return file.read()

    def _closure(self, image: str, digest: str) -> dict[str, int]:
        """Return the sizes of everything that an image needs; its manifests are compared with their digests."""
        sizes: dict[str, int] = {}

        def size(needed: str) -> int:
            if _member(needed) not in self.members:
                raise WharfError(f"{self.path} is damaged: {image} needs {needed}, which is missing")
            return self.members[_member(needed)].size

        def read(needed: str) -> dict[str, Any]:
            sizes[needed] = size(needed)
            content = self._small(_member(needed))
            if digest_of(content) != needed:
                raise WharfError(f"{self.path} is damaged: {needed}, which {image} needs, has another digest")
            self.manifests.add(needed)
            manifest: dict[str, Any] = json.loads(content)
            return manifest

        for _digest, manifest in walk(digest, read):
            for blob in blobs(manifest):
                if blob.get("urls") and _member(blob["digest"]) not in self.members:
                    continue  # a layer that clients fetch from elsewhere
                found = sizes[blob["digest"]] = size(blob["digest"])
                if found != blob.get("size", found):
                    raise WharfError(f"{self.path} is damaged: {blob['digest']} has {found} bytes, not {blob['size']}")
        return sizes

    def _read(self, name: str, expected: str, target: Any = None) -> None:
        """Compare a file of the archive with its SHA-256, and write it on the way.

        Raises:
            WharfError: its content is another.
        """
        file = self.tar.extractfile(self.members[name])
        state = hashlib.sha256()
        try:
            while part := file.read(CHUNK):
                state.update(part)
                if target:
                    target.write(part)
        except tarfile.TarError:
            raise WharfError(f"{self.path} is cut short, in {name}") from None
        if state.hexdigest() != expected:
            raise WharfError(f"{self.path} is damaged: the content of {name} is not what it was")

    def check(self) -> None:
        """Read all of it. Raises WharfError where something is not as it was written."""
        for name in self.members:
            blob = BLOB.fullmatch(name)
            if blob or name == OWN_FILE:
                self._read(name, blob[1] if blob else self.sums.get(name, ""))

    def summary(self) -> dict[str, Any]:
        """Return what the module registry_bundle returns."""
        images = [{"image": n, "digest": d, "size": sum(self.needs[n].values())} for n, d in self.images.items()]
        sizes = {blob: size for needs in self.needs.values() for blob, size in needs.items()}
        return _summary(images, sizes, self.sums["index.json"], self.registry_image)

    def unpack(self, images: list[str], place: Path) -> dict[str, str]:
        """Lay out images as skopeo's dir: reads them, blobs as hard links.

        Args:
            images: their names.
            place: an empty directory.

        Returns:
            The directory of each image.

        Raises:
            WharfError: a blob is not what it was.
        """
        (place / "blobs").mkdir(mode=0o700)
        for digest in sorted({blob for name in images for blob in self.needs[name]}):
            number = digest.partition(":")[2]
            with (place / "blobs" / number).open("xb") as file:
                self._read(_member(digest), number, file)
        found = {}
        for name in images:
            top = self.images[name]
            directory = place / top.partition(":")[2]
            found[name] = str(directory)
            if directory.exists():
                continue
            directory.mkdir(mode=0o700)
            (directory / "version").write_text("Directory Transport Version: 1.1\n", encoding="ascii")
            for digest in self.needs[name]:
                number = digest.partition(":")[2]
                ending = ".manifest.json" if digest in self.manifests else ""
                os.link(place / "blobs" / number, directory / ("manifest.json" if digest == top else number + ending))
        return found

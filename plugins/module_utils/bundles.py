"""A bundle: images of a registry in one file, which can be carried into another network (docs/export-images.md).

It is a tar archive of an OCI image layout in which each blob lies once, and every manifest byte for byte as the
registry had it. Its fingerprint is the SHA-256 of index.json, which names all images by digest. Nothing of a bundle is
extracted under a name that the bundle chooses.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import io
import json
import os
import posixpath
import re
import shutil
import socket
import tarfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from .errors import DamageError, WharfError
from .manifests import DIGEST, OCI_INDEX, OLD_FORMAT, children, closure, is_old_format, media_type, parse, subject, walk
from .references import REPOSITORY_TAG
from .storage import Storage
from .text import human_bytes, one_line, table

NAME = "org.opencontainers.image.ref.name"
MISSING = "wharf.missing"  # the manifests that an index of a cache names and that are not in the bundle
OWN_IMAGES = "wharf.registry-images"
OWN_FILE = "registry-images.tar"
PARTS = "left out: the cache has only parts of it"
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
    """Raise WharfError where bytes do not fit into their rooms, several of which may lie on one file system."""
    for room, _ in needs:
        size = sum(bytes_ for other, bytes_ in needs if other["device"] == room["device"])
        if size > room["free"]:
            raise WharfError(
                f"{room['path']} on {room['host']} has {human_bytes(room['free'])} free, and {human_bytes(size)} are"
                " needed: make room there"
            )


@dataclass
class Contents:
    """What a bundle holds, or will hold."""

    index: bytes  # index.json
    own_images: list[str]  # the ids of the images of the registry itself and its gateway; none when they stay out
    images: list[dict[str, Any]] = field(default_factory=list)  # image (its name), digest, size and missing of each
    sizes: dict[str, int] = field(default_factory=dict)  # bytes of each blob
    # For a bundle that is written, where each blob lies, and an image that needs it.
    places: dict[str, tuple[Storage, str]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # what people are told of images of caches, by their names

    def add(self, name: str, digest: str, sizes: dict[str, int], missing: Collection[str] = ()) -> None:
        """Add an image with the sizes of the blobs that it needs, and the manifests that it lacks."""
        self.images.append({"image": name, "digest": digest, "size": sum(sizes.values()), "missing": [*missing]})
        self.sizes.update(sizes)

    def room(self) -> int:
        """Return the bytes that the file takes at most, without the registry's own images."""
        return sum(self.sizes.values()) + HEADER * len(self.sizes) + CHUNK

    def summary(self) -> dict[str, Any]:
        """Return what the module registry_bundle returns, also as a table for people."""
        size, short = sum(self.sizes.values()), len("sha256:") + 12
        fingerprint = hashlib.sha256(self.index).hexdigest()
        cells = {image["image"]: (image["digest"][:short], human_bytes(image["size"])) for image in self.images}
        rows = [("image", "digest", "size")]
        for name in sorted({*cells, *self.notes}):
            digest, text = cells.get(name, ("", ""))
            rows.append((name, digest, ", ".join(filter(None, (text, self.notes.get(name))))))
        names = ("the registry's own image", "the gateway's image")
        rows += [(name, image[:short], "") for name, image in zip(names, self.own_images)]
        rows.append(("all, each blob once", "", human_bytes(size)))
        return {
            "images": self.images,
            "size": size,
            "fingerprint": fingerprint,
            "own_images": self.own_images,
            "table": "\n".join([*table(rows), f"fingerprint: {fingerprint}"]),
        }


# Writing ------------------------------------------------------------------------------------------


def plan(
    storage: Storage,
    patterns: list[str],
    own_images: list[str] | None = None,
    caches: Storage | None = None,
    cached: Collection[str] = (),
) -> Contents:
    """Return what a bundle of these images will hold.

    A pattern is REPOSITORY:TAG, or REPOSITORY for all its tags; * and ? stand for anything. What belongs to an image,
    such as its signatures, comes along. Of an index in a cache, the bundle holds what is there whole.

    Args:
        storage: the registry's.
        patterns: of images.
        own_images: the ids of the images of the registry itself and its gateway, where they come along.
        caches: the storage of the caches.
        cached: those of the patterns that are about the caches.

    Raises:
        WharfError: a pattern matches nothing, or nothing that is whole, or an image of the registry is damaged.
    """
    if not patterns:
        raise WharfError("there is no image to export: give a list such as ['team/*', 'app:1.4']")
    entries: list[dict[str, Any]] = []
    contents = Contents(b"", own_images or [])
    found = _matching(storage, [one for one in patterns if one not in cached], "the registry has")
    of_caches = _matching(caches, cached, "the caches have") if caches else {}
    for name, digest in sorted({**found, **of_caches}.items()):
        place = caches if caches and name in of_caches else storage
        try:
            needed, missing = place.whole_parts(digest) if place is caches else (_needed(place, digest), [])
            fault = _fault(place, digest, needed)
            if place is caches and (fault or not needed):
                contents.notes[name] = f"left out: it {fault}" if fault else PARTS
                continue
            if fault:
                raise WharfError(f"{name} {fault}")
            kind = media_type(place.manifest(digest))
        except (DamageError, OSError) as error:
            raise WharfError(f"{name} is damaged, see playbooks/diagnose-registry.yml: {error}") from None
        lacks = [part["digest"] for part in missing]
        contents.add(name, digest, needed, lacks)
        contents.places.update(dict.fromkeys(needed, (place, name)))
        notes = {NAME: name, **({MISSING: " ".join(lacks)} if lacks else {})}
        if lacks:
            contents.notes[name] = f"without {', '.join(dict.fromkeys(map(_platform, missing)))}"
        entries.append({"mediaType": kind, "digest": digest, "size": needed[digest], "annotations": notes})
    for pattern in cached:
        if not _filter([image["image"] for image in contents.images], pattern):
            for name in _filter(contents.notes, pattern):
                if contents.notes[name] != PARTS:
                    raise WharfError(f"the caches have nothing to export of {pattern}: {name} {contents.notes[name]}")
            raise WharfError(
                f"the caches have only parts of {pattern}: let a client pull it, or list it under keep in wharf_caches"
            )
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": entries,
        "annotations": {OWN_IMAGES: " ".join(contents.own_images)},
    }
    contents.index = json.dumps(index, indent=1).encode()
    return contents


def _needed(storage: Storage, digest: str) -> dict[str, int]:
    """Return what an image needs, digest to bytes. Raises DamageError or OSError where it is not there."""
    return {blob: storage.blob_path(blob).stat().st_size for blob in storage.closure(digest)}


def _fault(storage: Storage, digest: str, needed: dict[str, int]) -> str:
    """Return why an image cannot be in a bundle; empty where it can."""
    manifests = list(walk(digest, storage.readable))
    if any(is_old_format(manifest) for _, manifest in manifests):
        return OLD_FORMAT
    if other := next((blob for blob in needed if not blob.startswith("sha256:")), None):
        return f"needs {other}: only sha256 is supported"
    if not needed and (bad := next((one for one, found in manifests if not found and storage.exists(one)), None)):
        return f"is damaged: the manifest {bad} cannot be read"
    return ""


def _platform(descriptor: dict[str, Any]) -> str:
    """Return what an index says that a manifest is for; its digest where it says nothing."""
    platform = descriptor.get("platform")
    parts = [platform.get(key) for key in ("os", "architecture", "variant")] if isinstance(platform, dict) else []
    words = "/".join(part for part in parts if part and isinstance(part, str))
    if words and parts[0] != "unknown":
        return one_line(words, 60)
    notes = descriptor.get("annotations")
    is_attestation = isinstance(notes, dict) and notes.get("vnd.docker.reference.type") == "attestation-manifest"
    return "attestations" if is_attestation else descriptor["digest"][: len("sha256:") + 12]


def _filter(names: Iterable[str], pattern: str) -> list[str]:
    """Return those of the names, REPOSITORY:TAG, that a pattern matches."""
    return fnmatch.filter(names, pattern if ":" in pattern else f"{pattern}:*")


def _matching(storage: Storage, patterns: Collection[str], who_has: str) -> dict[str, str]:
    """Return the digests of the images that patterns match, and of what belongs to them, by REPOSITORY:TAG.

    Raises WharfError, which begins with who has not what is looked for, where a pattern matches nothing.
    """
    if not patterns:
        return {}
    tags = {f"{name}:{tag}": digest for (name, tag), digest in storage.all_tags().items()}
    found: set[str] = set()
    for pattern in patterns:
        matching = _filter(tags, pattern)
        if not matching:
            raise WharfError(f"{who_has} no image {pattern}")
        found.update(matching)
    for repository in {name.rpartition(":")[0] for name in found}:
        own = {name: digest for name, digest in tags.items() if name.rpartition(":")[0] == repository}
        subjects = {name: subject(storage.readable(digest), name.rpartition(":")[2]) for name, digest in own.items()}
        more = {name for name in own if name in found}
        while more:
            found |= more
            whole = {part for name in own if name in found for part in storage.closure(own[name], damaged=True)}
            more = {name for name, of in subjects.items() if of in whole} - found
    return {name: tags[name] for name in found}


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, file: Any) -> None:
        self.file, self.hash = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        part = self.file.read(size)
        self.hash.update(part)
        return part


def write(contents: Contents, path: str, own_file: Path | None = None) -> None:
    """Write a bundle: always the same bytes for the same images. A file that is not whole is removed again.

    It belongs to whom its directory belongs to, who can do what they like there: a link leads nowhere.

    Args:
        contents: what it holds.
        path: the bundle's, which must not be there yet.
        own_file: what docker save wrote of the registry's own images.
    """
    directory, name = os.path.split(path)
    here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=here)
    except OSError:
        os.close(here)
        raise
    try:
        files = {"oci-layout": LAYOUT, "index.json": contents.index}
        with open(file, "wb") as whole, tarfile.open(fileobj=whole, mode="w:", format=tarfile.PAX_FORMAT) as tar:
            sums = {name: _add(tar, name, io.BytesIO(content)) for name, content in files.items()}
            if own_file:
                sums[OWN_FILE] = _add(tar, OWN_FILE, open(own_file, "rb"))  # noqa: SIM115 (closed there)
            lines = "".join(f"{value}  {name}\n" for name, value in sums.items())
            _add(tar, "SHA256SUMS", io.BytesIO(lines.encode()))
            for blob in sorted(contents.sizes):
                place, image = contents.places[blob]
                if f"sha256:{_add(tar, _member(blob), place.open(blob))}" != blob:
                    raise WharfError(
                        f"{place.blob_path(blob)}, a blob of {image}, is damaged: its content has another digest"
                    )
            os.fchown(file, os.fstat(here).st_uid, os.fstat(here).st_gid)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=here)
        raise
    finally:
        os.close(here)


def _add(tar: tarfile.TarFile, name: str, content: BinaryIO) -> str:
    """Add a file to an archive, without anything that would differ next time, and close it. Returns its SHA-256."""
    with content as file:
        info = tarfile.TarInfo(name)
        info.size, info.mode = file.seek(0, os.SEEK_END), 0o644
        file.seek(0)
        hashing = _Hashing(file)
        tar.addfile(info, hashing)
    return hashing.hash.hexdigest()


def _member(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


# Reading ------------------------------------------------------------------------------------------


class Part:
    """What comes next in a file, as a file of its own."""

    def __init__(self, file: Any, size: int) -> None:
        self.file, self.size, self.left = file, size, size

    def read(self, size: int = -1) -> bytes:
        part = self.file.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(part)
        return part


class Layout:
    """An OCI image layout in a tar archive."""

    tar: tarfile.TarFile

    def __init__(self, path: str) -> None:
        self.path = path
        self.members: dict[str, tarfile.TarInfo] = {}
        self.needs: dict[str, dict[str, bool]] = {}  # what each image needs, and whether it is a manifest, itself last

    def closure(self, digest: str, missing: Collection[str] = ()) -> dict[str, bool]:
        """Return what an image needs, and whether it is a manifest.

        Raises DamageError where a manifest is missing, but for those that are known to be.
        """
        return closure(digest, self._manifest, lambda blob: _member(blob) in self.members, missing)

    def _info(self, name: str) -> tarfile.TarInfo:
        if name not in self.members:
            raise DamageError(f"it needs {name}, which is missing")
        return self.members[name]

    def _small(self, name: str) -> bytes:
        info = self._info(name)
        if info.size > LARGEST_JSON:
            raise DamageError(f"{name} is larger than {LARGEST_JSON} bytes")
        return self.tar.extractfile(info).read()

    def _manifest(self, digest: str) -> dict[str, Any]:
        return parse(self._small(_member(digest)), digest)

    def manifest(self, digest: str) -> bytes:
        """Return a manifest as it is."""
        with self.blob(digest) as file:
            return file.read()

    @contextlib.contextmanager
    def blob(self, digest: str) -> Iterator[Any]:
        """Return a file that is read from its beginning to its end; `size` is the blob's."""
        member = self._info(_member(digest))
        yield Part(self.tar.extractfile(member), member.size)


class Archive(Layout):
    """An OCI archive of any program, packed or not, of which one image is read by one thread."""

    def __init__(self, path: str, name: str, digest: str) -> None:
        """Read its table of contents, and what the image needs, blobs as they come in the archive."""
        super().__init__(path)
        self.tar = tarfile.open(path, "r:*")  # noqa: SIM115 (open as long as the image is read)
        self.members = {posixpath.normpath(member.name): member for member in self.tar.getmembers()}
        needs = self.closure(digest).items()
        self.needs[name] = dict(sorted(needs, key=lambda one: 0 if one[1] else self._info(_member(one[0])).offset))


class Bundle(Layout):
    """A bundle that is read. Nothing in it is believed."""

    def __init__(self, path: str) -> None:
        """Read its table of contents, its index and its manifests. Raises WharfError where it is no whole bundle."""
        super().__init__(path)
        try:
            if os.path.getsize(path) % tarfile.RECORDSIZE:
                raise WharfError(f"{path} is cut short, or no bundle: its length is none that a bundle can have")
            self.tar = tarfile.open(path, "r:")  # noqa: SIM115 (open as long as the bundle is read)
            for member in self.tar:
                if not member.isfile() or member.name in self.members:
                    raise WharfError(f"{path} holds {member.name!r}, which does not belong into a bundle")
                self.members[member.name] = member
            lines = self._small("SHA256SUMS").decode("ascii", "replace").splitlines()
            self.sums = {name: value for value, _, name in (line.partition("  ") for line in lines)}
            for name in ("oci-layout", "index.json"):
                if hashlib.sha256(self._small(name)).hexdigest() != self.sums.get(name):
                    raise WharfError(f"{path} was altered: {name} is not what SHA256SUMS says")
            self.contents = self._read_index(self._small("index.json"))
        except DamageError as error:
            raise WharfError(f"{path} is damaged, or no bundle: {error}") from None
        except tarfile.TarError as error:
            raise WharfError(f"{path} is cut short or damaged, or no bundle: {error}") from None
        except OSError as error:
            raise WharfError(f"{path} cannot be read: {error.strerror}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise WharfError(f"{path} is no bundle: {error!r} in its index.json or a manifest") from None

    def _read_index(self, content: bytes) -> Contents:
        """Return which images there are, having found what they need, and nothing else."""
        index = json.loads(content)
        contents = Contents(content, index["annotations"][OWN_IMAGES].split())
        for item in index["manifests"]:
            name, digest = item["annotations"][NAME], item["digest"]
            missing = item["annotations"].get(MISSING, "").split()
            if not REPOSITORY_TAG.fullmatch(name):
                raise WharfError(f"{self.path} is no bundle: {name!r} is not an image's name")
            if not all(map(DIGEST.fullmatch, missing)):
                raise WharfError(f"{self.path} is no bundle: what {name} lacks is not named by digests")
            if digest in missing:
                raise WharfError(f"{self.path} is no bundle: it names {name}, and does not hold it")
            try:
                self.needs[name] = self.closure(digest, missing)
                self._require_parts(name, missing)
                sizes = {blob: self._info(_member(blob)).size for blob in self.needs[name]}
                contents.add(name, digest, sizes, missing)
            except DamageError as error:
                raise DamageError(f"{name}: {error}") from None
        known = {"SHA256SUMS", "oci-layout", "index.json", *map(_member, contents.sizes)}
        if contents.own_images:
            known.add(self._info(OWN_FILE).name)
        if other := next((name for name in self.members if name not in known), None):
            raise WharfError(f"{self.path} was altered: it holds {other!r}, which none of its images needs")
        return contents

    def _require_parts(self, name: str, missing: Collection[str]) -> None:
        """Raise WharfError where an index of an image lacks all that it names."""
        for one in [digest for digest, is_manifest in self.needs[name].items() if is_manifest and missing]:
            parts = children(self._manifest(one))
            if parts and all(part["digest"] in missing for part in parts):
                raise WharfError(f"{self.path} is no bundle: of {name} it holds the index {one}, and no part of that")

    def _read(self, name: str) -> None:
        """Compare a file of the archive with its SHA-256."""
        blob = BLOB.fullmatch(name)
        file = _Hashing(self.tar.extractfile(self.members[name]))
        try:
            while file.read(CHUNK):
                pass
        except tarfile.TarError:
            raise WharfError(f"{self.path} is cut short, in {name}") from None
        if file.hash.hexdigest() != (blob[1] if blob else self.sums.get(name)):
            raise WharfError(f"{self.path} is damaged: the content of {name} is not what it was")

    def check(self) -> None:
        """Read all of it. Raises WharfError where something is not as it was written."""
        for name in self.members:
            if name != "SHA256SUMS":
                self._read(name)

    @contextlib.contextmanager
    def blob(self, digest: str) -> Iterator[Any]:
        """Return a file that is read from its beginning to its end, as every thread may; `size` is the blob's."""
        member = self._info(_member(digest))
        with open(self.path, "rb") as file:
            file.seek(member.offset_data)
            yield Part(file, member.size)

"""Reads what a registry has stored with the driver "filesystem", without asking the registry. Changes nothing.

The layout is that of CNCF Distribution 2 and 3:
https://distribution.github.io/distribution/ (storage/paths.go in its source).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from .errors import DamageError
from .files import acting_as_owner, in_place, no_link
from .manifests import DIGEST, children, closure, digest_of, needed_blobs, parse, walk

LARGEST_MANIFEST = 4 * 1024 * 1024  # bytes; the registry takes none that is larger


class Storage:
    """A registry's storage. Everything is read when it is asked for; nothing is ever written."""

    def __init__(self, root: Path | str) -> None:
        """Take the driver's rootdirectory, which must be there. One that is empty is a registry without images."""
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"{root} is not a directory")
        self.top = root.resolve() / "docker/registry/v2"
        # A manifest that several repositories or indexes share is read once.
        self.manifest = lru_cache(maxsize=4096)(self.read)

    def as_owner(self) -> AbstractContextManager[None]:
        """Return what lets root act as the registry's user, where something is changed after all."""
        return acting_as_owner(self.top.parents[1])

    def repositories(self) -> list[str]:
        """Return the names of the repositories that hold a manifest or a layer, in order."""
        top = self.top / "repositories"
        names = []
        for directory, below, _files in os.walk(top):
            if "_manifests" in below or "_layers" in below:
                names.append(Path(directory).relative_to(top).as_posix())
            below[:] = [name for name in below if not name.startswith("_")]
        return sorted(names)

    def repository(self, name: str) -> Path:
        """Return the directory of a repository."""
        return self.top / "repositories" / name

    def has_repository(self, name: str) -> bool:
        """Tell whether there is a repository."""
        return self.repository(name).is_dir()

    def tag_link(self, name: str, tag: str) -> Path:
        """Return the file that says which manifest a tag leads to."""
        return self.repository(name) / "_manifests/tags" / tag / "current/link"

    def tags(self, name: str) -> dict[str, str]:
        """Return the digest that each tag of a repository leads to. Tags whose link is damaged are left out."""
        found = {}
        for tag in self.tag_names(name):
            with suppress(DamageError):  # the registry does not serve it either; problems() names it
                found[tag] = self.tag(name, tag)
        return found

    def tag(self, name: str, tag: str) -> str:
        """Return the digest that a tag leads to. Raises DamageError where its link holds none."""
        return self.link(self.tag_link(name, tag))

    def tag_names(self, name: str) -> list[str]:
        """Return the tags of a repository, in order, whether they lead somewhere or not."""
        return self.names(self.repository(name) / "_manifests/tags")

    def all_tags(self) -> dict[tuple[str, str], str]:
        """Return all that is tagged: (repository, tag) to its digest."""
        return {(name, tag): digest for name in self.repositories() for tag, digest in self.tags(name).items()}

    def pushed(self, name: str, tag: str) -> float:
        """Return when a tag was last pushed, in seconds since 1970."""
        return self.stat(self.tag_link(name, tag)).st_mtime

    def revision(self, name: str, digest: str) -> Path:
        """Return the directory that says that a repository has a manifest, whether it does or not."""
        return self.repository(name).joinpath("_manifests/revisions", *digest.split(":"))

    def has_revision(self, name: str, digest: str) -> bool:
        """Tell whether a repository has a manifest. Of one that was deleted the directory may stay."""
        return self.is_there(self.revision(name, digest) / "link")

    def revisions(self, name: str, known: Collection[str] = ()) -> set[str]:
        """Return the digests of a repository's manifests, with and without a tag; of known ones no link is read."""
        return self._linked(self.repository(name) / "_manifests/revisions", known)

    def layer_link(self, name: str, digest: str) -> Path:
        """Return the file that says that a repository has a blob, whether it does or not."""
        return self.repository(name).joinpath("_layers", *digest.split(":"), "link")

    def layers(self, name: str) -> set[str]:
        """Return the digests of all blobs that a repository may serve: layers and configurations."""
        return self._linked(self.repository(name) / "_layers")

    def linked_since(self, name: str, moment: float) -> dict[str, float]:
        """Return the digests of the blobs that a repository got after a moment, and when, in seconds since 1970."""
        top = str(self.repository(name) / "_layers")
        paths = [
            (a, number, f"{top}/{a}/{number}/link") for a in self.names(top) for number in self.names(f"{top}/{a}")
        ]
        found = {}
        for algorithm, number, path in paths:
            with suppress(OSError):
                if (when := self.stat(path).st_mtime) > moment:
                    found[f"{algorithm}:{number}"] = when
        return found

    def states(self, settled: int) -> dict[str, str]:
        """Return of each repository what is another text once anything was linked there or removed.

        It is empty where that was so lately that the next change may have the same time.

        Args:
            settled: what was written before, in nanoseconds since 1970, has a time of its own.
        """
        return {name: _state(self._places(str(self.repository(name))), settled) for name in self.repositories()}

    def _places(self, top: str) -> Iterator[str]:
        """Yield the files and directories of a repository by whose times it is seen that its links are others."""
        yield (tags := f"{top}/_manifests/tags")
        yield from (f"{tags}/{tag}/current/link" for tag in self.names(tags))
        for part in ("_manifests/revisions", "_layers"):
            for algorithm in self.names(f"{top}/{part}"):
                yield (directory := f"{top}/{part}/{algorithm}")
                if part != "_layers":  # a layer comes before the manifest that has it
                    for number in self.names(directory):
                        yield from (f"{directory}/{number}", f"{directory}/{number}/link")

    def blob_states(self, settled: int) -> dict[str, str]:
        """Return of each directory of blobs, such as sha256/0a, what is another text once one was added or removed."""
        blobs = f"{self.top}/blobs"
        parts = [
            f"{algorithm}/{part}" for algorithm in self.names(blobs) for part in self.names(f"{blobs}/{algorithm}")
        ]
        return {part: _state([f"{blobs}/{part}"], settled) for part in parts}

    def blob_path(self, digest: str) -> Path:
        """Return the file of a blob or manifest, whether it is there or not."""
        algorithm, _, number = digest.partition(":")
        return self.top / "blobs" / algorithm / number[:2] / number / "data"

    def open(self, digest: str) -> BinaryIO:
        """Open a blob or manifest. Raises OSError where it is a link."""
        return open(self.blob_path(digest), "rb", opener=no_link)

    def read(self, digest: str) -> dict[str, Any]:
        """Return a manifest, index or configuration, and do not keep it.

        Raises DamageError where it is not there, or not what its digest says.
        """
        try:
            with self.open(digest) as file:
                content = file.read(LARGEST_MANIFEST + 1)
        except OSError as error:
            raise DamageError(f"the manifest {digest} is not there ({error.strerror})") from None
        if len(content) > LARGEST_MANIFEST:
            raise DamageError(f"the manifest {digest} is larger than any can be")
        return parse(content, digest)

    def exists(self, digest: str) -> bool:
        return self.blob_path(digest).exists()

    def readable(self, digest: str) -> dict[str, Any]:
        """Return a manifest or index; an empty one where it cannot be read."""
        try:
            return self.manifest(digest)
        except DamageError:
            return {}

    def closure(self, digest: str, damaged: bool = False, missing: Collection[str] = ()) -> set[str]:
        """Return all that a manifest or index needs, itself included, but for manifests that are known to be missing.

        Raises DamageError where one cannot be read, unless it may be damaged: such a one needs nothing else.
        """
        return set(closure(digest, self.readable if damaged else self.manifest, self.exists, missing))

    def is_whole(self, name: str, tag: str, missing: Collection[str] = ()) -> bool:
        """Tell whether a repository has all that a tag needs, of the size that the manifests say.

        Manifests that are known to be missing do not count, nor layers that clients fetch from URLs of their own where
        the repository does not have them: that another one does is of no use to it.
        """

        def has_layer(digest: str) -> bool:
            return self._leads_to(self.layer_link(name, digest), digest)

        try:
            for one, manifest in walk(self.tag(name, tag), lambda one: {} if one in missing else self.manifest(one)):
                if one not in missing and not self._leads_to(self.revision(name, one) / "link", one):
                    return False
                for blob in needed_blobs(manifest, has_layer):
                    size = self.size(blob["digest"])
                    if size is None or size != blob.get("size", size) or not has_layer(blob["digest"]):
                        return False
        except DamageError:
            return False
        return True

    def whole_parts(self, digest: str) -> tuple[dict[str, int], list[dict[str, Any]]]:
        """Return what is there of an image of which parts may be missing, as in a cache.

        Of an index those manifests count that are there with all their blobs.

        Returns:
            What it needs, itself included, digest to bytes, nothing where no part of it is whole; and the descriptors
            of the manifests that are missing.
        """
        whole: dict[str, dict[str, int]] = {}
        for one, manifest in walk(digest, self.readable):
            there = [whole[child["digest"]] for child in children(manifest) if child["digest"] in whole]
            sizes = {one: self.size(one)}
            for blob in needed_blobs(manifest, self.exists):
                size = self.size(blob["digest"])
                sizes[blob["digest"]] = size if size == blob.get("size", size) else None
            if manifest and None not in sizes.values() and (there or not children(manifest)):
                whole[one] = {needed: size for part in (*there, sizes) for needed, size in part.items()}
        found = whole.get(digest, {})
        lists = (children(self.readable(one)) for one in found if one in whole)
        missing = {child["digest"]: child for parts in lists for child in parts if child["digest"] not in whole}
        return found, list(missing.values())

    def problems(self, names: Iterable[str] | None = None, contents: bool = False) -> list[str]:
        """Return one sentence for each thing that keeps an image with a tag from being served whole; as damage()."""
        return [sentence for sentence, is_tagged in self.damage(names, contents) if is_tagged]

    def damage(self, names: Iterable[str] | None = None, contents: bool = False) -> Iterator[tuple[str, bool]]:
        """Yield one sentence for each thing that keeps a manifest from being served whole, and whether a tag has it.

        What no tag leads to, itself or through an index, can only be pulled by its digest: an image that was
        overwritten, or whose tag was deleted.

        Args:
            names: the repositories to look at; all when it is None.
            contents: also hash each blob that a manifest needs.
        """
        names = self.repositories() if names is None else list(names)
        is_intact = self.hashed(names) if contents else lambda _: True
        for name in names:
            if not self.has_repository(name):
                yield f"{name}: there is no such repository", True
                continue
            revisions, layers, tagged = self.revisions(name), self.layers(name), self.tagged(name)
            for tag in self.tag_names(name):
                try:
                    digest = self.tag(name, tag)
                except DamageError as error:
                    yield f"{name}:{tag}: {error}", True
                    continue
                # It may have been pushed since.
                if digest not in revisions and digest not in self.revisions(name):
                    yield f"{name}:{tag}: leads to {digest}, which the repository does not have", True
            for digest in sorted(revisions):
                try:
                    manifest = self.manifest(digest)
                except DamageError as error:
                    yield f"{name}: {error}", digest in tagged
                    continue
                for child in children(manifest):
                    if child["digest"] not in revisions:
                        problem = f"needs the manifest {child['digest']}, which is not there"
                        yield f"{name}: the index {digest} {problem}", digest in tagged
                for blob in needed_blobs(manifest, self.exists):
                    size = self.size(blob["digest"])
                    if blob["digest"] not in layers:
                        problem = "which the repository does not have"
                    elif size is None:
                        problem = "which is not there"
                    elif size != blob.get("size", size):
                        problem = f"which has {size} bytes instead of {blob['size']}"
                    elif not is_intact(blob["digest"]):
                        problem = "which is damaged: its content has another digest"
                    else:
                        continue
                    sentence = f"{name}: the manifest {digest} needs the blob {blob['digest']}, {problem}"
                    yield sentence, digest in tagged

    def tagged(self, name: str) -> set[str]:
        """Return the manifests of a repository to which a tag leads, itself or through an index."""
        return {found for digest in set(self.tags(name).values()) for found, _ in walk(digest, self.readable)}

    def summary(self, names: Iterable[str] | None = None, contents: bool = False) -> dict[str, Any]:
        """Return how much there is ("blobs" and "bytes" of what manifests need, each once), and its damage().

        That of images with a tag as "problems", all else as "warnings".
        """
        names = self.repositories() if names is None else sorted(set(names))
        damage = list(self.damage(names, contents))
        revisions = {digest for name in names for digest in self.revisions(name)}
        needed = set(revisions)
        for digest in revisions:
            needed |= {blob["digest"] for blob in needed_blobs(self.readable(digest), self.exists)}
        return {
            "repositories": len(names),
            "tags": sum(len(self.tag_names(name)) for name in names),
            "manifests": len(revisions),
            "blobs": len(needed - revisions),
            "bytes": sum(self.size(digest) or 0 for digest in needed),
            "problems": [sentence for sentence, is_tagged in damage if is_tagged],
            "warnings": [f"{sentence} (no tag leads there)" for sentence, is_tagged in damage if not is_tagged],
        }

    def size(self, digest: str) -> int | None:
        """Return the bytes of a blob or manifest; None where it is not there."""
        try:
            return self.stat(self.blob_path(digest)).st_size
        except OSError:
            return None

    def is_intact(self, digest: str) -> bool:
        """Read a blob, and tell whether it is there and its content has its digest."""
        try:
            with self.open(digest) as file:
                return digest_of(iter(lambda: file.read(1 << 20), b""), digest.partition(":")[0]) == digest
        except OSError:
            return False

    # How it is read -------------------------------------------------------------------------------------------------

    def names(self, directory: Path | str) -> list[str]:
        """Return the names in a directory, in order; none where it is not there."""
        try:
            descriptor = in_place(str(directory), os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return []
        try:
            return sorted(os.listdir(descriptor))
        finally:
            os.close(descriptor)

    def link(self, path: Path | str) -> str:
        """Return the digest that a link file holds. Raises DamageError where there is none."""
        return _link(path)

    def stat(self, path: Path | str) -> os.stat_result:
        """Return size and time of a file or directory. Raises OSError where it is not there."""
        return os.stat(path)

    def lstat(self, path: Path | str) -> os.stat_result:
        """Do as stat(), and do not follow a link."""
        return os.lstat(path)

    def is_there(self, path: Path | str) -> bool:
        """Tell whether there is a file, a directory or a link."""
        return os.path.lexists(path)

    def modified(self, path: Path | str) -> float:
        """Return when a file was written last, in seconds since 1970; 0 where there is none."""
        try:
            return self.stat(path).st_mtime
        except OSError:
            return 0

    def repositories_in(self, directory: str) -> list[str]:
        """Return the names of what is directly in a directory of repositories, also of what holds nothing."""
        return [f"{directory}/{path.name}" for path in (self.top / "repositories" / directory).glob("*")]

    def blob_sizes(self) -> dict[str, int]:
        """Return the bytes of all that is stored, needed or not, but for what is deleted meanwhile."""
        sizes = {}
        for path in self.top.glob("blobs/*/*/*/data"):
            with suppress(OSError):
                sizes[f"{path.parents[2].name}:{path.parent.name}"] = path.lstat().st_size
        return sizes

    def fetch(self, digests: Iterable[str]) -> None:
        """Have manifests at hand that are to be read soon: here they are files."""

    def likely_manifests(self, sizes: Mapping[str, int]) -> Collection[str]:
        """Return what may be a manifest among blobs, of which the sizes are known."""
        return [digest for digest, size in sizes.items() if size <= LARGEST_MANIFEST]

    def hashed(self, _names: Iterable[str]) -> Callable[[str], bool]:
        """Return what tells of each blob that repositories need whether its content has its digest."""
        return lru_cache(maxsize=None)(self.is_intact)

    def _leads_to(self, path: Path, digest: str) -> bool:
        """Tell whether a link file holds a digest."""
        with suppress(DamageError):
            return self.link(path) == digest
        return False

    def _linked(self, directory: Path, known: Collection[str] = ()) -> set[str]:
        """Return the digests below a directory of links: ALGORITHM/NUMBER/link. Links that are deleted do not count."""
        found = set()
        for algorithm in self.names(directory):
            for number in self.names(directory / algorithm):
                digest, path = f"{algorithm}:{number}", f"{directory}/{algorithm}/{number}/link"
                with suppress(DamageError):  # no link: the registry does not serve it either
                    found.add(digest if digest in known and self.is_there(path) else self.link(path))
        return found


class SharedStorage(Storage):
    """A storage to which others write, such as containers of caches, which may lay links to images of the registry.

    No link in it is followed, also not one on the way to a blob.
    """

    def open(self, digest: str) -> BinaryIO:
        """Open a blob or manifest. Raises OSError where a link is on the way."""
        return open(self.blob_path(digest), "rb", opener=in_place)

    def exists(self, digest: str) -> bool:
        return self.size(digest) is not None

    def size(self, digest: str) -> int | None:
        """Return the bytes of a blob or manifest; None where it is not there, or a link is on the way."""
        try:
            with self.open(digest) as file:
                return os.fstat(file.fileno()).st_size
        except OSError:
            return None


def _link(path: Path | str) -> str:
    """Return the digest that a link file holds. Raises DamageError where there is none."""
    try:
        with open(path, encoding="ascii", opener=in_place) as file:
            content = file.read().strip()
    except (OSError, UnicodeDecodeError):
        content = ""
    if not DIGEST.fullmatch(content):
        raise DamageError("its link holds no digest")
    return content


def _state(places: Iterable[str], settled: int) -> str:
    """Return a text of the times of files and directories; empty where one of them is not settled."""
    times = []
    for place in places:
        try:
            times.append(os.lstat(place).st_mtime_ns)
        except OSError:
            times.append(0)
    return "" if max(times, default=0) >= settled else hashlib.sha256(repr(times).encode()).hexdigest()[:16]

#!/usr/bin/env python3
"""Reads what a registry has stored with the driver "filesystem", without asking the registry.

    registry_storage.py tags ROOT
    registry_storage.py verify ROOT [--contents] [--repository NAME]...

ROOT is the driver's rootdirectory, which holds docker/registry/v2. Both commands change nothing and print one JSON
object:

- tags: {"repository:tag": "sha256:..."} for everything that has a tag.
- verify: {"repositories": n, "tags": n, "manifests": n, "blobs": n, "bytes": n, "problems": ["...", ...]}. A registry
  whose problems are empty can serve every manifest that it lists, whole. "blobs" and "bytes" count what these manifests
  need, each once. With --contents each of these blobs is also hashed. The exit code is 1 when there are problems.

The exit code is 2 when ROOT is not there. The layout is that of CNCF Distribution 2 and 3:
https://distribution.github.io/distribution/ (storage/paths.go in its source).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import DamageError

DIGEST = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")


class Storage:
    """A registry's storage. Everything is read when it is asked for; nothing is ever written."""

    def __init__(self, root: Path | str) -> None:
        """Take the driver's rootdirectory.

        Raises:
            FileNotFoundError: it is not there. A directory that is empty is a registry without images.

        """
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"{root} is not a directory")
        self.top = root / "docker/registry/v2"
        # A manifest that several repositories or indexes share is read once.
        self.manifest = lru_cache(maxsize=4096)(self._manifest)

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

    def tag_link(self, name: str, tag: str) -> Path:
        """Return the file that says which manifest a tag leads to."""
        return self.repository(name) / "_manifests/tags" / tag / "current/link"

    def tags(self, name: str) -> dict[str, str]:
        """Return the digest that each tag of a repository leads to. Tags whose link is damaged are left out."""
        found = {}
        for tag in self.tag_names(name):
            with suppress(DamageError):  # the registry does not serve it either; problems() names it
                found[tag] = _link(self.tag_link(name, tag))
        return found

    def tag_names(self, name: str) -> list[str]:
        """Return the tags of a repository, in order, whether they lead somewhere or not."""
        return _names(self.repository(name) / "_manifests/tags")

    def pushed(self, name: str, tag: str) -> float:
        """Return when a tag was last pushed, in seconds since 1970."""
        return self.tag_link(name, tag).stat().st_mtime

    def revisions(self, name: str) -> set[str]:
        """Return the digests of all manifests of a repository, with and without a tag."""
        return _linked(self.repository(name) / "_manifests/revisions")

    def layers(self, name: str) -> set[str]:
        """Return the digests of all blobs that a repository may serve: layers and configurations."""
        return _linked(self.repository(name) / "_layers")

    def blob_path(self, digest: str) -> Path:
        """Return the file of a blob or manifest, whether it is there or not."""
        algorithm, _, number = digest.partition(":")
        return self.top / "blobs" / algorithm / number[:2] / number / "data"

    def _manifest(self, digest: str) -> dict[str, Any]:
        """Return a manifest or index, compared with its digest.

        Raises:
            DamageError: it is not there, not what its digest says, or not JSON.

        """
        try:
            content = self.blob_path(digest).read_bytes()
        except OSError as error:
            raise DamageError(f"the manifest {digest} is not there ({error.strerror})") from None
        if _hash(digest, [content]) != digest:
            raise DamageError(f"the manifest {digest} is damaged: its content has another digest")
        try:
            manifest = json.loads(content)
        except ValueError:
            manifest = None
        if not isinstance(manifest, dict):
            raise DamageError(f"the manifest {digest} is no JSON object")
        return manifest

    def closure(self, digest: str) -> set[str]:
        """Return the digests of all that a manifest or index needs, itself included.

        Raises:
            DamageError: a manifest on the way cannot be read.

        """
        found: set[str] = set()
        due = [digest]
        while due:
            digest = due.pop()
            if digest in found:
                continue
            found.add(digest)
            manifest = self.manifest(digest)
            due += [child["digest"] for child in children(manifest)]
            found |= {blob["digest"] for blob in blobs(manifest) if not self._lies_elsewhere(blob)}
        return found

    def problems(self, names: Iterable[str] | None = None, contents: bool = False) -> Iterator[str]:
        """Yield one sentence for each thing that keeps a listed manifest from being served whole.

        Args:
            names: the repositories to look at; all when it is None.
            contents: also hash each blob that a manifest needs.

        """
        hashed: dict[str, str | None] = {}
        for name in self.repositories() if names is None else names:
            if not self.repository(name).is_dir():
                yield f"{name}: there is no such repository"
                continue
            revisions, layers = self.revisions(name), self.layers(name)
            for tag in self.tag_names(name):
                try:
                    digest = _link(self.tag_link(name, tag))
                except DamageError as error:
                    yield f"{name}:{tag}: {error}"
                    continue
                if digest not in revisions:
                    yield f"{name}:{tag}: leads to {digest}, which the repository does not have"
            for digest in sorted(revisions):
                try:
                    manifest = self.manifest(digest)
                except DamageError as error:
                    yield f"{name}: {error}"
                    continue
                for child in children(manifest):
                    if child["digest"] not in revisions:
                        yield f"{name}: the index {digest} needs the manifest {child['digest']}, which is not there"
                for blob in blobs(manifest):
                    if self._lies_elsewhere(blob):
                        continue
                    problem = "which the repository does not have" if blob["digest"] not in layers else None
                    problem = problem or self._damage(blob, contents, hashed)
                    if problem:
                        yield f"{name}: the manifest {digest} needs the blob {blob['digest']}, {problem}"

    def summary(self, names: Iterable[str] | None = None, contents: bool = False) -> dict[str, Any]:
        """Return what `verify` prints, see the module's text."""
        names = self.repositories() if names is None else sorted(set(names))
        problems = list(self.problems(names, contents))
        revisions = {digest for name in names for digest in self.revisions(name)}
        needed = set(revisions)
        for digest in revisions:
            with suppress(DamageError):  # one of the problems
                needed |= {blob["digest"] for blob in blobs(self.manifest(digest)) if not self._lies_elsewhere(blob)}
        sizes = [path.stat().st_size for path in map(self.blob_path, needed) if path.is_file()]
        return {
            "repositories": len(names),
            "tags": sum(len(self.tag_names(name)) for name in names),
            "manifests": len(revisions),
            "blobs": len(needed - revisions),
            "bytes": sum(sizes),
            "problems": problems,
        }

    def _lies_elsewhere(self, blob: dict[str, Any]) -> bool:
        """Tell whether a blob is a layer that clients fetch from its own URLs, and that is not here."""
        return bool(blob.get("urls")) and not self.blob_path(blob["digest"]).exists()

    def _damage(self, blob: dict[str, Any], contents: bool, hashed: dict[str, str | None]) -> str | None:
        """Return what is wrong with a blob that a manifest names, or None. `hashed` remembers what was read."""
        path = self.blob_path(blob["digest"])
        try:
            size = path.stat().st_size
        except OSError:
            return "which is not there"
        if size != blob.get("size", size):
            return f"which has {size} bytes instead of {blob['size']}"
        if not contents:
            return None
        digest = blob["digest"]
        if digest not in hashed:
            hashed[digest] = None if self.is_intact(digest) else "which is damaged: its content has another digest"
        return hashed[digest]

    def is_intact(self, digest: str) -> bool:
        """Read a blob, and tell whether it is there and its content has its digest."""
        try:
            with self.blob_path(digest).open("rb") as file:
                return _hash(digest, iter(lambda: file.read(1 << 20), b"")) == digest
        except OSError:
            return False


def children(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the descriptors of the manifests that an index names; none for a manifest."""
    return _descriptors(manifest.get("manifests"))


def blobs(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the descriptors of a manifest's configuration and layers; none for an index."""
    old = [{"digest": layer.get("blobSum")} for layer in manifest.get("fsLayers") or []]  # schema 1
    return _descriptors([manifest.get("config")]) + _descriptors(manifest.get("layers")) + _descriptors(old)


def _descriptors(values: Any) -> list[dict[str, Any]]:
    """Return those of the values that are descriptors, so dicts with a digest."""
    return [
        value
        for value in values or []
        if isinstance(value, dict) and DIGEST.fullmatch(str(value.get("digest"))) is not None
    ]


def _hash(digest: str, parts: Iterable[bytes]) -> str:
    """Return the digest of some content, with the algorithm of another digest."""
    algorithm = digest.partition(":")[0]
    state = hashlib.new(algorithm)
    for part in parts:
        state.update(part)
    return f"{algorithm}:{state.hexdigest()}"


def _link(path: Path) -> str:
    """Return the digest that a link file holds.

    Raises:
        DamageError: there is none.

    """
    try:
        content = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        content = ""
    if not DIGEST.fullmatch(content):
        raise DamageError("its link holds no digest")
    return content


def _linked(directory: Path) -> set[str]:
    """Return the digests below a directory of links: ALGORITHM/NUMBER/link. Links that are deleted do not count."""
    found = set()
    for algorithm in _names(directory):
        for number in _names(directory / algorithm):
            with suppress(DamageError):  # no link: the registry does not serve it either
                found.add(_link(directory / algorithm / number / "link"))
    return found


def _names(directory: Path) -> list[str]:
    """Return the names in a directory, in order; none where it is not there."""
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def main(arguments: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", choices=["tags", "verify"])
    parser.add_argument("root", help="the directory that holds docker/registry/v2")
    parser.add_argument("--contents", action="store_true", help="hash every blob that a manifest needs")
    parser.add_argument(
        "--repository", action="append", metavar="NAME", help="only this one; may be given several times"
    )
    options = parser.parse_args(arguments)
    try:
        storage = Storage(options.root)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    names = options.repository or storage.repositories()
    if options.command == "verify":
        result = storage.summary(names, options.contents)
    else:
        result = {f"{name}:{tag}": digest for name in names for tag, digest in storage.tags(name).items()}
    json.dump(result, sys.stdout, indent=2)
    print()
    return 1 if result.get("problems") else 0


if __name__ == "__main__":
    sys.exit(main())

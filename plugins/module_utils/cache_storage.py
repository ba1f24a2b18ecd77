"""Writes images into the storage of the caches, from where they are served without any upstream.

Whoever has broken into a cache's container may write there as well, and lay links: root follows none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from .bundles import CHUNK, Layout
from .caches import LOCK, NEW, V2
from .errors import WharfError
from .files import in_place
from .lock import lock
from .manifests import digest_of
from .storage import SharedStorage

PATIENCE = 60  # seconds that a trimming is waited for


def untrimmed(who: str) -> contextlib.AbstractContextManager[None]:
    """Keep the caches from being trimmed. Raises BusyError where they are for longer than a minute."""
    return lock(who, PATIENCE, path=LOCK)


@contextlib.contextmanager
def filling(data: str) -> Iterator[None]:
    """Keep the caches from being trimmed, and have a directory for what is not whole yet.

    Raises BusyError where they are being trimmed for longer than a minute.
    """
    with untrimmed("import-images"):
        new = os.path.join(os.path.realpath(data), NEW)
        shutil.rmtree(new, ignore_errors=True)  # of a run that was killed
        os.mkdir(new, 0o700)
        try:
            yield
        finally:
            shutil.rmtree(new)


def directories_of(data: str | None, name: str) -> list[Path]:
    """Return the directories in which all belongs to the registry's user. Raises WharfError where the cache has none.

    Args:
        data: where the caches keep what they have.
        name: the cache's.
    """
    if not data:
        raise WharfError("caches_data is missing: it is where the caches keep what they have")
    top = Path(os.path.realpath(data), V2)
    own = [top / "blobs", top / "repositories" / name]
    if not all(map(Path.is_dir, own)):
        raise WharfError(f"the cache {name} of wharf_caches is not there yet: run playbooks/deploy-registry.yml")
    return own


class CacheStorage(SharedStorage):
    """The storage of the caches, as one that images are written into."""

    def __init__(self, data: str, name: str) -> None:
        """Take where it is, and which cache's it is about. Raises WharfError where that has none."""
        self.new = os.path.join(os.path.realpath(data), NEW)
        self.own = directories_of(data, name)
        super().__init__(data)
        facts = self.own[0].lstat()
        self.owner = facts.st_uid, facts.st_gid

    def store(self, image: str, layout: Layout, refuse_stopped: Callable[[], None] = lambda: None) -> None:
        """Write an image: first what it needs, then what says that the repository has that, at last its tag.

        Args:
            image: REPOSITORY:TAG.
            layout: what it comes from; between its files and this storage every digest is compared.
            refuse_stopped: is called before each blob, and raises where nobody waits for the image any more.
        """
        name, _, tag = image.rpartition(":")
        needs = layout.needs[image]
        for digest in sorted(needs, key=lambda one: needs[one]):  # manifests last
            refuse_stopped()
            with layout.blob(digest) as file:
                if needs[digest] or self.size(digest) != file.size:
                    self._put(self.blob_path(digest), file, digest)
        manifests = [digest for digest, is_manifest in needs.items() if is_manifest]
        links = [(self.layer_link(name, digest), digest) for digest in needs if digest not in manifests]
        links += [(self.revision(name, digest) / "link", digest) for digest in manifests]  # after those that they name
        for path, digest in [*links, (self.tag_link(name, tag), manifests[-1])]:
            self._put(path, BytesIO(digest.encode()))

    def _put(self, path: Path, content: Any, digest: str = "") -> None:
        """Write a file as a whole, for the registry's user; its content must have the digest, where one is given."""
        descriptor, new = tempfile.mkstemp(dir=self.new)
        try:
            with open(descriptor, "wb") as file:
                found = digest_of(_copied(content, file))
                if digest and found != digest:
                    raise WharfError(f"the content of {digest} is another one: copy the bundle again")
                os.fchown(descriptor, *self.owner)
                os.fchmod(descriptor, 0o644)
                file.flush()
                os.fsync(descriptor)
            directory = self._directory(path.parent)
            try:
                os.utime(new)  # the index takes a link that is older than its last run for read
                os.replace(new, path.name, dst_dir_fd=directory)
            finally:
                os.close(directory)
        except BaseException:
            os.unlink(new)
            raise

    def _directory(self, path: Path) -> int:
        """Open a directory, and make it first where it is not there. Raises OSError where a link is on the way."""
        try:
            found = in_place(str(path), os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            above = self._directory(path.parent)
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path.name, 0o700, dir_fd=above)
                found = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
            finally:
                os.close(above)
        # Made just now, or by a run that was killed: the owner comes last, so that the next one sees that.
        if os.fstat(found).st_uid == 0 and any(top in path.parents for top in self.own):
            os.fchmod(found, 0o755)
            os.fchown(found, *self.owner)
        return found


def _copied(source: Any, target: Any) -> Iterator[bytes]:
    """Write what is read into another file; yield it."""
    while part := source.read(CHUNK):
        target.write(part)
        yield part

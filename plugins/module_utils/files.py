"""Writing a file from one whole content to the other, and the room for it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomic(path: str, content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
    """Replace a file as a whole: whoever reads it sees the old content or the new one, also after a power loss.

    Args:
        path: the file; its directory must exist.
        content: all of it.
        mode: its permissions.
        uid: its owner.
        gid: its group.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    directory = os.path.dirname(path)
    descriptor, new = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=directory)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


def free_bytes(path: Path) -> int:
    """Return the bytes that are free where a path is, or will be."""
    space = os.statvfs(next(place for place in (path, *path.parents) if place.exists()))
    return space.f_bavail * space.f_frsize

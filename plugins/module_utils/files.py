"""Small files and directories: written as a whole, compared with what is there, removed."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """A file, a directory or a link, as it is or as it should be."""

    uid: int
    gid: int
    mode: int  # -1 for a link, and for what is neither
    content: bytes | None  # of a file; where a link leads; None for a directory


def write_atomic(
    path: str, content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0, is_lasting: bool = True
) -> None:
    """Replace a file as a whole: whoever reads it sees the old content or the new one.

    If `is_lasting`, that holds after a power loss, too.

    Raises:
        OSError: it cannot be written, or its directory is missing; the old file is as it was.
    """
    directory = os.path.dirname(path)
    descriptor, new = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=directory)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
            if is_lasting:
                file.flush()
                os.fsync(descriptor)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


@contextlib.contextmanager
def acting_as_owner(path: Path) -> Iterator[None]:
    """Let root act as whom a file or directory belongs to, where that user can put links in the way.

    Everything can still be read, because a directory above may be root's alone, as that of Docker's volumes is. For
    processes of one thread: other threads act as that user, too. Nothing happens where the path is missing.
    """
    if os.geteuid() != 0 or not os.path.lexists(path):
        yield
        return
    facts, groups = os.lstat(path), os.getgroups()
    os.setgroups([])
    os.setegid(facts.st_gid)
    os.seteuid(facts.st_uid)
    try:
        if facts.st_uid != 0:
            _allow_reading()
        yield
    finally:
        os.seteuid(0)
        os.setegid(os.getgid())
        os.setgroups(groups)


def _allow_reading() -> None:
    """Take back CAP_DAC_READ_SEARCH, the capability of root's that reads all; see capabilities(7) and capset(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        sets[0] = sets[1] & 1 << 2  # of those that are permitted
        libc.capset(header, sets)


@contextlib.contextmanager
def place(path: str, flags: int = 0, dir_fd: int | None = None) -> Iterator[int]:
    """Give a descriptor of what is at a path, without opening it: it leads nowhere else, also where it is a link."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | flags, dir_fd=dir_fd)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def no_pipe(path: str, flags: int) -> int:
    """Open a file, for open(..., opener=no_pipe), that others may have put there: a pipe keeps its reader waiting.

    Raises:
        OSError: it is no regular file.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file", path)
    return descriptor


def no_link(path: str, flags: int) -> int:
    """Do as no_pipe(), and do not follow a link either: to what lies in the registry's data, which it may write."""
    return no_pipe(path, flags | os.O_NOFOLLOW)


def in_place(path: str, flags: int) -> int:
    """Do as no_link(), for a path that no link is to be part of: others may write to the directories above, too.

    With os.O_DIRECTORY it opens a directory.
    """
    opener = os.open if flags & os.O_DIRECTORY else no_pipe
    descriptor = opener(path, flags | os.O_NOFOLLOW)
    if os.readlink(f"/proc/self/fd/{descriptor}") != path:
        os.close(descriptor)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return descriptor


def read_text(path: str | Path, opener: Callable[[str, int], int] = no_pipe) -> str:
    """Return a file's text; empty where there is none or it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace", opener=opener) as file:
            return file.read()
    except OSError:
        return ""


def read_json(path: str | Path, opener: Callable[[str, int], int] = no_pipe) -> dict:
    """Return the mapping in a JSON file; an empty one where there is none to read."""
    try:
        with open(path, encoding="utf-8", opener=opener) as file:
            document = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def free_bytes(path: Path) -> int:
    """Return the bytes that are free where a path is, or will be."""
    return shutil.disk_usage(next(place for place in (path, *path.parents) if place.exists())).free


def read_entry(path: str) -> Entry | None:
    """Return what is at a path; None where nothing is.

    Raises:
        OSError: it cannot be read.
    """
    try:
        facts = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(facts.st_mode):
        return Entry(facts.st_uid, facts.st_gid, -1, os.fsencode(os.readlink(path)))  # is replaced, never followed
    if stat.S_ISDIR(facts.st_mode):
        return Entry(facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode), None)
    if not stat.S_ISREG(facts.st_mode):
        return Entry(facts.st_uid, facts.st_gid, -1, b"")  # as a link
    with open(path, "rb", opener=no_link) as file:
        return Entry(facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode), file.read())


def put_back(path: str, before: Entry | None) -> None:
    """Make what is at a path what it was; a directory that was not there stays if something else lies in it.

    Raises:
        OSError: it cannot be written, or removed.
    """
    now = read_entry(path)
    if before == now:
        return
    if before is None:
        if now and now.content is not None:
            os.unlink(path)
        elif now:
            with contextlib.suppress(OSError):
                os.rmdir(path)
    elif before.content is None:
        if now and now.content is not None:
            os.unlink(path)  # a link would be followed
        os.makedirs(path, exist_ok=True)
        os.chown(path, before.uid, before.gid)
        os.chmod(path, before.mode)
    elif before.mode == -1:  # a link
        if now:
            os.unlink(path)
        os.symlink(before.content, os.fsencode(path))
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomic(path, before.content, before.mode, before.uid, before.gid)


def give_away(path: str, uid: int, gid: int, *but: str) -> None:
    """Give all below a directory to a user; no link is followed, also where one takes a directory's place meanwhile.

    Args:
        path: the directory, whose own owner stays.
        uid: the user.
        gid: the group.
        but: names of files that keep their owner.
    """
    for _parent, directories, files, descriptor in os.fwalk(path):
        for name in {*directories, *files}.difference(but):
            os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)


@contextlib.contextmanager
def all_or_nothing(*paths: str) -> Iterator[None]:
    """Put files and directories back as they were, and remove the new directories above them, if the block fails."""
    above = (str(place) for path in paths for place in reversed(Path(path).parents) if not os.path.lexists(place))
    before = {**dict.fromkeys(above), **{path: read_entry(path) for path in paths}}
    try:
        yield
    except BaseException:
        for path in reversed(list(before)):
            put_back(path, before[path])
        raise


class Changes:
    """Brings files and directories to how they should be, and remembers what it has changed, or would have."""

    def __init__(self, check_mode: bool) -> None:
        """Take whether only to tell."""
        self.check_mode = check_mode
        self.paths: list[str] = []
        self.diff: list[dict[str, str]] = []

    def put(self, path: str, wanted: Entry | None) -> bool:
        """Write a file or make a directory, with owner and mode, or remove a file (None). Return whether that changes.

        Directories above a file are made.

        Raises:
            OSError: it cannot be written, or there is a directory instead of a file, or the other way round.
        """
        before = read_entry(path)
        if before == wanted:
            return False
        is_directory = wanted is not None and wanted.content is None
        if before and is_directory != (before.content is None):
            code = errno.ENOTDIR if is_directory else errno.EISDIR
            raise OSError(code, os.strerror(code), path)
        self.paths.append(path)
        shown = {}
        for when, entry in (("before", before), ("after", wanted)):
            owner = f"{entry.uid}:{entry.gid} {entry.mode:04o}" if entry else "absent"
            shown |= {f"{when}_header": f"{path} ({owner})", when: _text(entry)}
        self.diff.append(shown)
        if self.check_mode:
            return True
        if wanted is None:
            os.unlink(path)
        elif wanted.content is None:
            os.makedirs(path, exist_ok=True)
            os.chown(path, wanted.uid, wanted.gid)
            os.chmod(path, wanted.mode)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_atomic(path, wanted.content, wanted.mode, wanted.uid, wanted.gid)
        return True

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it.

        Raises:
            OSError: it cannot be removed.
        """
        if not os.path.isabs(path) or os.path.dirname(os.path.normpath(path)) == os.path.normpath(path):
            raise OSError(errno.EPERM, "only what has an absolute path below / is removed", path)
        if not os.path.lexists(path):
            return
        self.paths.append(path)
        if self.check_mode:
            return
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def remove_empty(self, path: str) -> None:
        """Remove a directory if nothing is left in it."""
        if not os.path.isdir(path):
            return
        left = {os.path.join(path, name) for name in os.listdir(path)}
        if self.check_mode:
            left -= set(self.paths)
        if not left:
            self.paths.append(path)
            if not self.check_mode:
                os.rmdir(path)


def decode(content: str) -> bytes:
    """Return the bytes of a content that is given as text, or as base64 behind "base64:"."""
    return base64.b64decode(content[7:]) if content.startswith("base64:") else content.encode()


def _text(entry: Entry | None) -> str:
    """Return the content for people."""
    if entry is None or entry.content is None:
        return ""
    return entry.content.decode(errors="replace") if b"\0" not in entry.content else "(not text)\n"

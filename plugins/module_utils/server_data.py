"""Whose the data is: the data ID in the data itself, and the state file beside the registry's configuration."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable
from typing import NamedTuple

from .data import directory as directory_of
from .files import no_link, read_text, write_atomic

DATA_ID = ".wharf"  # in the data: "ID NAME"
COPIED = ".wharf-copied.json"  # in the data of a standby: of which data it is a copy, and as of when
RECORD = "/etc/wharf/before.json"  # what a run has replaced until the registry answers: see server_rollback.py
STATE_FILE = "data"  # beside the configuration: "ID DATA", DATA as the setting says it


class Data(NamedTuple):
    """What was found of the data that the registry is to have."""

    id: str  # empty where the data has none
    name: str  # of the registry that it belongs to
    used: bool  # whether anything else lies there
    state_id: str  # of the data that this registry has had; empty for a first run
    state_place: str


def path_of(place: str) -> str:
    """Return where the data lies on the host, whether it is there or not; empty for a volume that is not there."""
    path = directory_of(place)
    return os.path.realpath(path) if path else ""


def read(path: str, directory: str = "") -> Data:
    """Return what there is to know of the data at a path, and by the registry's configuration, where that is named."""
    id_, _, name = _line(os.path.join(path, DATA_ID) if path else "").partition(" ")
    state_id, _, place = _line(os.path.join(directory, STATE_FILE) if directory else "").partition(" ")
    try:
        names = os.listdir(path) if os.path.isdir(path) else []
    except PermissionError:  # place_problems() tells
        names = []
    used = any(not name.startswith(DATA_ID) and name != "lost+found" for name in names)
    return Data(id_, name, used, state_id, place)


def place_problems(place: str, path: str, data: Data, uid: int, confirmed: str, host: str) -> list[str]:
    """Judge whether a directory can be a registry's data at all; return at most one line. Leaves nothing there.

    Args:
        place: the directory as the setting says it.
        path: where that lies on the host.
        data: what was found there.
        uid: the registry's user.
        confirmed: ``place`` once more where what is there is to become this registry's, whatever it is.
        host: the host's name, for the message.
    """
    start = f"registry_server_data: {place} on {host}"
    if path != os.path.normpath(place):
        start += f" leads to {path}, which"
    existing = path
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    own = "a directory of its own, such as /var/lib/wharf/registry"
    if not os.path.isdir(existing):
        return [f"{start} is or lies below {existing}, which is no directory: use {own}"]
    if path.count("/") < 2 and path != os.path.normpath(place):
        return [f"{start} is a directory of the system, whose owner would change: use {own}"]
    confirm = f" To go on nevertheless: registry_server_data_confirm: {place} (-e wharf_registry_data_confirm={place})"
    if (not data.id or data.id != data.state_id) and confirmed != place and (exposed := exposed_above(path)):
        return [
            f"{start} lies below {exposed}, where others than root may write, and so put another directory in its"
            f" place: use {own}, or one below directories of root's alone.{confirm}"
        ]
    try:
        names = set(os.listdir(path)) if existing == path else set()
        problem = _write_problem(existing, uid) if existing != path or os.stat(path).st_uid != uid else ""
    except OSError as error:
        names, problem = set(), f"cannot be read by root ({error.strerror})"
    if problem:
        return [
            f"{start} {problem}: is it a share with root_squash, a file system without owners, or read-only? The"
            f" directory must belong to the user and the group {uid} (chown {uid}:{uid}, mode 750), and root must be"
            " able to write there and give files away (no_root_squash)"
        ]
    strange = sorted(name for name in names - {"docker", "lost+found"} if not name.startswith(DATA_ID))
    if strange and not data.id and not data.state_id and confirmed != place:
        listed = ", ".join(strange[:3]) + (", ..." if len(strange) > 3 else "")
        return [
            f"{start} holds what is no registry's data ({listed}), and all of it would get another owner: use {own}."
            + confirm
        ]
    return []


def exposed_above(path: str) -> str:
    """Return a directory above a path in which others than root may rename what is root's; empty where none is."""
    while (path := os.path.dirname(path)) != "/":
        try:
            facts = os.stat(path)
        except FileNotFoundError:
            continue  # root makes it
        is_open = facts.st_mode & stat.S_IWOTH or (facts.st_mode & stat.S_IWGRP and facts.st_gid != 0)
        if facts.st_uid not in (0, os.geteuid()) or (is_open and not facts.st_mode & stat.S_ISVTX):
            return path
    return ""


def _write_problem(directory: str, uid: int) -> str:
    """Return why root cannot give a file in a directory to a user, or nothing: it tries."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f"{DATA_ID}-", dir=directory)
    except OSError as error:
        return f"cannot be written by root ({error.strerror})"
    try:
        os.fchown(descriptor, uid, uid)
    except OSError as error:
        return f"takes no file for the user {uid} from root ({error.strerror})"
    finally:
        os.close(descriptor)
        os.unlink(name)
    return ""


def _line(path: str) -> str:
    return read_text(path, no_link).rstrip("\n")


def data_problems(data: Data, place: str, name: str, confirmed: str, host: str, standby_of: str = "") -> list[str]:
    """Judge whether the data that was found is this registry's own; return at most one line.

    Args:
        data: what was found.
        place: the directory or the volume that is to be the registry's data.
        name: the registry's name.
        confirmed: ``place`` once more where what is there is to become this registry's, whatever it is.
        host: the host's name, for the message.
        standby_of: the server whose images are copied to this host; empty for none.
    """
    if confirmed == place or data.id == data.state_id or (data.name == name and not data.state_id):
        return []
    if not data.state_id:
        problem = f"holds the data of another registry, {data.name}: name the data of {name}, or that registry."
    elif data.id:
        owner = f"{data.name}, {data.id}"
        problem = f"holds the data of another registry ({owner}), and not this one's ({data.state_id}): name its own."
    elif data.state_place != place:
        moves = f"{standby_of} copies them there anew" if standby_of else "playbooks/move-registry-data.yml moves them"
        problem = (
            f"{'holds something else' if data.used else 'is empty'}, and the images of {name} are in"
            f" {data.state_place}: {moves}, or keep {data.state_place}."
        )
    elif data.used:
        problem = (
            f"has lost its data ID (the file .wharf, which begins with {data.state_id}), so that nobody can tell whose"
            " data it is: see what is mounted there."
        )
    else:
        problem = f"is empty, but should hold the images of {name}: is its disk mounted?"
    return [
        f"registry_server_data: {place} on {host} {problem} To go on with what is there nevertheless:"
        f" registry_server_data_confirm: {place} (-e wharf_registry_data_confirm={place})"
    ]


def write_state(directory: str, place: str, path: str) -> None:
    """Remember beside the registry's configuration whose the data is and where it lies.

    An older place of the same data loses its ID, so that what was left there is never taken for the registry's own
    again.

    Args:
        directory: the registry's configuration.
        place: the data as the setting says it.
        path: where that lies on the host.
    """
    data = read(path, directory)
    if (data.state_id, data.state_place) == (data.id, place):
        return
    old_path = path_of(data.state_place) if data.state_place else ""
    if old_path not in ("", os.path.realpath(path)):
        old_id_file = os.path.join(old_path, DATA_ID)
        if _line(old_id_file).partition(" ")[0] == data.id:
            os.replace(old_id_file, f"{old_id_file}-moved")
    write_atomic(os.path.join(directory, STATE_FILE), f"{data.id} {place}\n".encode())


def undo_move(directory: str, places: Iterable[str]) -> bool:
    """Let the data that was moved away be the registry's own again, and tell whether it had been.

    `wharf move-data` lets the data ID change its place before the registry starts there. What was copied stays as a
    copy, with which another move goes on.

    Args:
        directory: the registry's configuration, with the state file of before.
        places: where the data may have gone.
    """
    state_id, _, place = _line(os.path.join(directory, STATE_FILE)).partition(" ")
    old = os.path.join(path_of(place), DATA_ID) if place and path_of(place) else ""
    if not old or os.path.exists(old) or _line(f"{old}-moved").partition(" ")[0] != state_id:
        return False
    for new in (os.path.join(path, DATA_ID) for path in places):
        if _line(new).partition(" ")[0] == state_id:
            os.replace(new, f"{new}-copy")
    os.replace(f"{old}-moved", old)
    return True

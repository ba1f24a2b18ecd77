"""Whose the data is: the data ID in the data itself, and the state file beside the registry's configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .data import directory as directory_of
from .files import write_atomic

DATA_ID = ".wharf"  # in the data: "ID NAME"
STATE_FILE = "data"  # beside the configuration: "ID DATA", DATA as the setting says it


@dataclass(frozen=True)
class Data:
    """What was found of the data that the registry is to have."""

    id: str  # empty where the data has none
    name: str  # of the registry that it belongs to
    used: bool  # whether anything else lies there
    state_id: str  # of the data that this registry has had; empty for a first run
    state_place: str


def read(path: str, directory: str) -> Data:
    """Return what there is to know of the data.

    Args:
        path: where it lies on the host, or is to lie; empty for a volume that is not there.
        directory: the registry's configuration.
    """
    id_, _, name = first_line(os.path.join(path, DATA_ID) if path else "").partition(" ")
    state_id, _, place = first_line(os.path.join(directory, STATE_FILE)).partition(" ")
    try:
        names = os.listdir(path) if path else []
    except OSError:
        names = []
    used = any(not name.startswith(DATA_ID) and name != "lost+found" for name in names)
    return Data(id_, name, used, state_id, place)


def first_line(path: str) -> str:
    """Return the first line of a file; empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().rstrip("\n")
    except OSError:
        return ""


def data_problems(data: Data, place: str, name: str, confirmed: str, host: str) -> list[str]:
    """Judge whether the data that was found is this registry's own.

    Args:
        data: what was found.
        place: the directory or the volume that is to be the registry's data.
        name: the registry's name.
        confirmed: ``place`` once more where what is there is to become this registry's, whatever it is.
        host: the host's name, for the message.

    Returns:
        At most one line.
    """
    problem = _problem(data, place, name)
    if problem is None or confirmed == place:
        return []
    return [
        f"registry_server_data: {place} on {host} {problem} To go on with what is there nevertheless:"
        f" registry_server_data_confirm: {place} (-e wharf_registry_data_confirm={place})"
    ]


def write_state(directory: str, data_id: str, place: str, path: str) -> None:
    """Remember whose the data is and where it lies.

    An older place of the same data loses its ID, so that what was left there is never taken for the registry's own
    again.

    Args:
        directory: the registry's configuration.
        data_id: the data's ID.
        place: the data as the setting says it.
        path: where that lies on the host.
    """
    old = first_line(os.path.join(directory, STATE_FILE)).partition(" ")[2]
    old_path = directory_of(old) if old else None
    if old_path is not None and os.path.realpath(old_path) != os.path.realpath(path):
        old_id_file = os.path.join(old_path, DATA_ID)
        if first_line(old_id_file).partition(" ")[0] == data_id:
            os.replace(old_id_file, f"{old_id_file}-moved")
    write_atomic(os.path.join(directory, STATE_FILE), f"{data_id} {place}\n".encode())


def _problem(data: Data, place: str, name: str) -> str | None:
    """Return the rest of the sentence that begins with the place of the data; None when all is well."""
    if not data.state_id:
        if data.id and data.name != name:
            return f"holds the data of another registry, {data.name}: name the data of {name}, or that registry."
        return None
    if data.id == data.state_id:
        return None
    if data.id:
        owner = f"{data.name}, {data.id}"
        return f"holds the data of another registry ({owner}), and not this one's ({data.state_id}): name its own."
    if data.state_place != place:
        holds = "holds something else" if data.used else "is empty"
        return (
            f"{holds}, and the images of {name} are in {data.state_place}: playbooks/move-registry-data.yml moves them,"
            f" or keep {data.state_place}."
        )
    if data.used:
        return (
            f"has lost its data ID (the file .wharf, which begins with {data.state_id}), so that nobody can tell whose"
            " data it is: see what is mounted there."
        )
    return f"is empty, but should hold the images of {name}: is its disk mounted?"

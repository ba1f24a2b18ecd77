"""The way back: what a run is about to replace, kept until the registry has answered with what came instead.

The record is written before the first change. Whatever fails or is killed after that is rolled back whole, by the same
run or by the next one: the certificate, the users, the configuration, the container, and which image its name means.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from typing import Any

from . import containers
from .errors import WharfError
from .files import Entry, put_back, read_entry, read_text, write_atomic
from .server_container import config_hash, is_ours
from .server_data import DATA_ID, RECORD, undo_move
from .server_info import answer_of, certificates_in, served_certificates

SETTINGS = "/etc/wharf/registry.json"  # what the command wharf knows: name, port and the like


def exists() -> bool:
    """Tell whether there is something to roll back."""
    return os.path.exists(RECORD)


def has_begun() -> bool:
    """Tell whether that is more than a certificate, which may be this run's: the container was about to change."""
    return bool(_read().get("name"))


def keep(*paths: str, name: str = "") -> None:
    """Remember how files and directories are, and which container runs, unless that is remembered already.

    Args:
        paths: what is about to change, in the order of its writing.
        name: the registry's container, where it is about to change as well.

    Raises:
        OSError: one of them cannot be read, or the record not be written.
    """
    record = _read() or {"name": "", "container": None, "files": {}}
    if name and not record["name"]:
        record |= {"name": name, "container": _facts(name)}
    for path in paths:
        if path not in record["files"]:
            entry = read_entry(path)
            content = None if entry is None or entry.content is None else base64.b64encode(entry.content).decode()
            record["files"][path] = entry and [entry.uid, entry.gid, entry.mode, content]
    os.makedirs(os.path.dirname(RECORD), exist_ok=True)
    write_atomic(RECORD, json.dumps(record).encode(), 0o600)  # it holds the key and the users


def forget() -> None:
    """Give up the way back: the registry has answered."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(RECORD)


def recover(name: str = "") -> str:
    """Clean up after a run that failed or was cut off; return a sentence about it, or nothing.

    What it had done already stays, if the registry answers with all of it.

    Args:
        name: the registry's container, which a run may have set aside even where there is no record; given by who
            goes on with the certificate that this run has just replaced.

    Raises:
        WharfError: it cannot be rolled back.
        OSError: the same.
    """
    record = _read()
    if name and not record.get("name"):
        record = {}  # a certificate alone is this run's own: the next step is the registry's
    elif record:
        if not _is_done(record):
            return roll_back()
        forget()
    name = record.get("name") or name
    aside = containers.container(f"{name}-before") if name else None
    if not aside or not is_ours(aside):
        return "All is as it should be." if record else ""
    if containers.container(name) is None:
        containers.rename(f"{name}-before", name)
        containers.act(name, "start")
        return "The container that ran before is back."
    containers.remove(f"{name}-before")
    return "The container that ran before is gone."


def roll_back() -> str:
    """Put everything back as the record says, and return a sentence about what runs now.

    Each step can be repeated, and the record goes last.

    Raises:
        WharfError: the engine refuses, or the registry does not answer although it did before.
        OSError: a file cannot be written.
    """
    record = _read()
    if not record:
        return ""
    name, before = record["name"], record["container"]
    for path in reversed(record["files"]):
        _put_back(path, record["files"][path])
    if not name:
        forget()
        _serve_again()
        return "All is as it was before: the certificate, its key and its CA."
    id_files = [path for path in record["files"] if path.endswith(f"/{DATA_ID}")]
    configurations = [path for path in record["files"] if path.endswith("/config.yml")]
    moved = any(undo_move(os.path.dirname(path), map(os.path.dirname, id_files)) for path in configurations)
    made = containers.container(name)
    if before:
        before["running"] |= moved  # it was stopped for the move
        old = containers.container(before["id"])
        if old is None:
            raise WharfError(f"the container that ran before is not there any more ({before['id'][:12]})")
        if made and made["Id"] != old["Id"]:
            containers.remove(name)
        if old["Name"] != f"/{name}":
            containers.rename(before["id"], name)
        if (containers.image(before["reference"]) or {}).get("Id", before["image"]) != before["image"]:
            containers.tag(before["image"], before["reference"])
        if before["running"] and not old["State"]["Running"]:
            containers.act(name, "start")
        elif before["running"] and old["State"]["StartedAt"] != before["started"]:
            containers.act(name, "restart")  # it may have loaded what is no longer there
    elif made and is_ours(made):
        containers.remove(name)
    forget()
    if not before:
        return "Nothing ran before, and what this run had made is gone again."
    if before["running"] and (problem := _answer(30)):
        raise WharfError(f"all is as it was before, but {problem}: see docker logs {name}")
    state = "" if before["running"] else " It does not run, as before."
    return f"All is as it was before: the container that ran, its configuration, users and certificate.{state}"


def _read() -> dict[str, Any]:
    """Return the record; an empty one where there is none."""
    return json.loads(read_text(RECORD) or "{}")


def _facts(name: str) -> dict[str, Any] | None:
    """Return what must be known of a container to get back to it; None where there is none."""
    found = containers.container(name) if containers.engine() else None
    return found and {
        "id": found["Id"],
        "running": found["State"]["Running"],
        "started": found["State"]["StartedAt"],
        "image": found["Image"],
        "reference": found["Config"]["Image"],
    }


def _put_back(path: str, kept: list[Any] | None) -> None:
    """Put a file or a directory back, or remove it; a directory in which something else lies stays."""
    before = None
    if kept is not None:
        uid, gid, mode, text = kept
        before = Entry(uid, gid, mode, None if text is None else base64.b64decode(text))
        now = read_entry(path)
        if text is None and now and now.uid != uid:  # the data, which was given to another user
            give_away(path, uid, gid)
    put_back(path, before)


def give_away(path: str, uid: int, gid: int) -> None:
    """Give all below a directory to a user; no link is followed, also where one takes a directory's place meanwhile."""
    for _parent, directories, files, descriptor in os.fwalk(path):
        for name in {*directories, *files} - {DATA_ID}:
            os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)


def _is_done(record: dict[str, Any]) -> bool:
    """Tell whether the registry runs with what lies in its files, and answers."""
    try:
        found = containers.container(record["name"])
        settings = json.loads(read_text(SETTINGS))
        config = next(path for path in record["files"] if path.endswith("/config.yml"))
    except (WharfError, ValueError, StopIteration):
        return False
    if not found or found["Config"]["Labels"].get("wharf.config") != config_hash(read_text(config)):
        return False
    return not _answer(5) and not _is_stale(settings)


def _is_stale(settings: dict[str, Any]) -> bool:
    """Tell whether another certificate is served than lies in the file."""
    served = served_certificates(settings["port"]) if settings["ca"] else []
    return bool(served) and served != certificates_in(f"{os.path.dirname(settings['ca'])}/registry.crt")


def _serve_again() -> None:
    """Restart the registry where it has loaded what is no longer there, as after a reboot."""
    settings = json.loads(read_text(SETTINGS) or "{}")
    if settings and _is_stale(settings):
        containers.act(settings["container"], "restart")


def _answer(seconds: float) -> str:
    """Return why the registry does not answer as its settings say, or nothing."""
    settings = json.loads(read_text(SETTINGS) or "{}")
    if not settings:
        return ""
    return answer_of(settings["name"], settings["port"], settings["ca"], seconds)

"""The way back: what a run is about to replace, kept until the registry has answered with what came instead.

The record is written before the first change. Whatever fails or is killed after that is rolled back whole, by the same
run or by the next one: the certificate, the users, the configuration, the containers, and which image a name means.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from typing import Any

from . import caches, containers, gateway
from .errors import WharfError
from .files import Changes, Entry, give_away, put_back, read_entry, read_text, write_atomic
from .parts import CACHE_SOCKETS, DRAIN_SECONDS, container_names, is_ours, slot_of
from .server_container import config_hash
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
    """Remember how files and directories are, and which containers run, unless that is remembered already.

    Args:
        paths: what is about to change, in the order of its writing.
        name: the registry's container, where the containers are about to change as well.

    Raises:
        OSError: one of them cannot be read, or the record not be written.
    """
    record = _read() or {"name": "", "containers": {}, "files": {}}
    if name and not record["name"]:
        record |= {"name": name, "containers": {part: _facts(one) for part, one in container_names(name).items()}}
        record["caches"] = caches.kept(name) if containers.engine() else {}
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


def set_aside(name: str) -> str:
    """Give a container that is about to be replaced another name, and return it; it runs on."""
    containers.remove(f"{name}-before")
    containers.rename(name, f"{name}-before")
    return f"{name}-before"


def recover(name: str = "") -> str:
    """Clean up after a run that failed or was cut off; return a sentence about it, or nothing.

    What it had done already stays, if the registry answers with all of it.

    Args:
        name: the registry's container, whose predecessor a run may have left even where there is no record; given by
            who goes on with the certificate that this run has just replaced.

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
    name, message = record.get("name") or name, "All is as it should be." if record else ""
    for one in container_names(name).values() if name else ():
        aside = containers.container(f"{one}-before")
        if not aside or not is_ours(aside):
            continue
        if containers.container(one) is None:
            containers.rename(f"{one}-before", one)
            containers.act(one, "start")
            message = "What ran before is back."
        else:
            _retire(f"{one}-before")
            message = message or "What ran before is gone."
    for one in container_names(name).values() if message else ():
        if containers.container(one):
            containers.act(one, "start")  # after a reboot what was set aside may have had its port
    return message


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
    name = record["name"]
    id_files = [path for path in record["files"] if path.endswith(f"/{DATA_ID}")]
    for path in id_files:
        # Its ID must not come to a place without images, from which the registry would start.
        if record["files"][path] and not any(os.path.lexists(path + end) for end in ("", "-moved", "-copy")):
            raise WharfError(f"the registry's images are not in {os.path.dirname(path)}: is its disk mounted?")
    before_caches = record.get("caches", {})
    if name and containers.engine():
        caches.remove_others(name, before_caches)
    changes = Changes(check_mode=False)
    for path, kept in record["files"].items():
        if kept is None and path.startswith(f"{CACHE_SOCKETS}/"):  # a socket may lie in it
            changes.remove(path)
    for path in reversed(record["files"]):
        _put_back(path, record["files"][path])
    if not name:
        forget()
        _serve_again()
        return "All is as it was before: the certificate, its key and its CA."
    configurations = [path for path in record["files"] if path.endswith("/config.yml")]
    moved = any(undo_move(os.path.dirname(path), map(os.path.dirname, id_files)) for path in configurations)
    before = record["containers"]
    if before["registry"] and moved:
        before["registry"]["running"] = True  # it was stopped for the move
    caches.put_back_containers(before_caches)
    _put_containers_back(container_names(name), before)
    forget()
    if not before["registry"]:
        return "Nothing ran before, and what this run had made is gone again."
    is_running = before["registry"]["running"]
    if is_running and (problem := _answer(30)):
        raise WharfError(f"all is as it was before, but {problem}: see docker logs {name}")
    state = "" if is_running else " It does not run, as before."
    return f"All is as it was before: the containers that ran, their configuration, users and certificate.{state}"


def _put_containers_back(names: dict[str, str], before: dict[str, Any]) -> None:
    """Let the containers of before run and serve again, and remove others when they have ended what they have begun."""
    old, new = {}, {}
    for part, kept in before.items():
        old[part] = containers.container(kept["id"]) if kept else None
        if kept and old[part] is None:
            raise WharfError(f"the container that ran before is not there any more ({kept['id'][:12]})")
        found = containers.container(names[part])
        if found and is_ours(found) and (not kept or found["Id"] != kept["id"]):
            new[part] = found
    if "network" in new:  # with the gateway, whose port the registry had before there were gateways
        for part in ("gateway", "network"):
            if new.pop(part, None):
                containers.remove(names[part])
    for part in ("registry", "network", "gateway"):  # the gateway needs the network to start
        _run_again(part, before, old)
    for part in ("gateway", "registry"):  # the new gateway may still pass requests to the new registry
        if part in new:
            _retire(names[part])
    for part, kept in before.items():
        if not kept:
            continue
        if old[part]["Name"] != f"/{names[part]}":
            containers.rename(kept["id"], names[part])
        if (containers.image(kept["reference"]) or {}).get("Id", kept["image"]) != kept["image"]:
            containers.tag(kept["image"], kept["reference"])


def _retire(name: str) -> None:
    """Remove one of our containers when it has ended what it has begun, or after a minute; at once if it serves not."""
    found = containers.container(name)
    slot = _slot(found) if found else ""
    if slot and not gateway.problem_of(slot):
        time.sleep(gateway.SETTLE)  # the gateway was reloaded just now
        gateway.drain(name, slot, DRAIN_SECONDS)
        containers.act(name, "stop")
    elif not slot and gateway.workers(name):
        containers.act(name, f"stop?t={DRAIN_SECONDS}")
    containers.remove(name)


def _run_again(part: str, before: dict[str, Any], old: dict[str, Any]) -> None:
    """Let a container of before run, with the files of before, if it did; stop it if it did not."""
    kept = before[part]
    if not kept:
        return
    state = containers.container(kept["id"])["State"]
    if not kept["running"]:
        if state["Running"]:
            containers.act(kept["id"], "stop")
        return
    if not state["Running"]:
        containers.act(kept["id"], "start")
    elif state["StartedAt"] != kept["started"] and state["StartedAt"] == old[part]["State"]["StartedAt"]:
        containers.act(kept["id"], "restart")  # it may have loaded what is no longer there
    elif part == "gateway":
        gateway.reload(kept["id"])
    if part == "registry" and kept["slot"]:
        with gateway.direct(kept["slot"]) as client:
            client.wait(30)


def _read() -> dict[str, Any]:
    """Return the record; an empty one where there is none."""
    record = json.loads(read_text(RECORD) or "{}")
    if "container" in record:  # of the time before the gateway
        kept = record.pop("container")
        record["containers"] = {"registry": kept and kept | {"slot": ""}, "network": None, "gateway": None}
    return record


def _facts(name: str) -> dict[str, Any] | None:
    """Return what must be known of a container to get back to it; None where there is none."""
    found = containers.container(name) if containers.engine() else None
    return found and {
        "id": found["Id"],
        "running": found["State"]["Running"],
        "started": found["State"]["StartedAt"],
        "image": found["Image"],
        "reference": found["Config"]["Image"],
        "slot": _slot(found),
    }


def _slot(found: dict[str, Any]) -> str:
    """Return the slot in which a container listens; empty for one that is no registry behind a gateway."""
    has_slot = any("REGISTRY_HTTP_ADDR=" in word for word in found["Config"]["Env"] or [])
    return slot_of(found) if has_slot else ""


def _put_back(path: str, kept: list[Any] | None) -> None:
    """Put a file or a directory back, or remove it; a directory in which something else lies stays."""
    before = None
    if kept is not None:
        uid, gid, mode, text = kept
        before = Entry(uid, gid, mode, None if text is None else base64.b64decode(text))
        now = read_entry(path)
        if text is None and now and now.uid != uid:  # the data, which was given to another user
            give_away(path, uid, gid, DATA_ID)
    put_back(path, before)


def _is_done(record: dict[str, Any]) -> bool:
    """Tell whether the registry runs with what lies in its files, and answers."""
    try:
        found = {part: containers.container(one) for part, one in container_names(record["name"]).items()}
        settings = json.loads(read_text(SETTINGS))
        config = next(path for path in record["files"] if path.endswith("/config.yml"))
    except (WharfError, ValueError, StopIteration):
        return False
    if not all(found.values()) or found["registry"]["Config"]["Labels"].get("wharf.config") != config_hash(
        read_text(config)
    ):
        return False
    network, own = found["network"], found["gateway"]
    # After a reboot the old network may have got the port, and the old gateway answers in it.
    if not network["State"]["Running"] or own["HostConfig"].get("NetworkMode") != f"container:{network['Id']}":
        return False
    upstreams = next((path for path in record["files"] if path.endswith("/upstreams.conf")), "")
    kept, slot = record["containers"]["gateway"], slot_of(found["registry"])
    # Each for itself: what was set aside may still answer in the place of its successor.
    wanted = gateway.upstreams_now(os.path.dirname(upstreams), slot)
    if read_text(upstreams) != wanted or gateway.problem_of(slot):
        return False
    if kept and kept["id"] == found["gateway"]["Id"]:
        # It may not have read its file yet: what it has read nobody can tell.
        try:
            gateway.reload(kept["id"])
        except WharfError:
            return False
    return bool(gateway.workers(found["gateway"]["Id"])) and not _answer(5) and not _is_stale(settings)


def _is_stale(settings: dict[str, Any]) -> bool:
    """Tell whether another certificate is served than lies in the file."""
    served = served_certificates(settings["port"]) if settings["ca"] else []
    return bool(served) and served != certificates_in(f"{os.path.dirname(settings['ca'])}/registry.crt")


def _serve_again() -> None:
    """Let the gateway read the certificate again where it has loaded what is no longer there, as after a reboot."""
    settings = json.loads(read_text(SETTINGS) or "{}")
    if settings and _is_stale(settings):
        gateway.reload(container_names(settings["container"])["gateway"])


def _answer(seconds: float) -> str:
    """Return why the registry does not answer as its settings say, or nothing."""
    settings = json.loads(read_text(SETTINGS) or "{}")
    if not settings:
        return ""
    has_gateway = "gateway_directory" in settings  # the registry that ran before may have none
    return answer_of(settings["name"], settings["port"], settings["ca"], seconds, has_gateway)

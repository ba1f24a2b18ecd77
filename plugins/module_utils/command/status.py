"""Say how the registry is, in about ten lines: container, version, certificate, storage, and how the last runs ended.

The exit code is 3 when something is not well: the container does not run, the certificate has ended, a run has failed.
"""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

from ..errors import WharfError
from ..files import free_bytes
from ..lock import local_time, lock_holder, read_result
from ..openssl import openssl
from ..storage import Storage
from ..text import age, human_bytes, pluralize, table
from .registry import Registry
from .repair import STATE as REPAIR_STATE
from .task import Task

DAY = 86400
RUNS = {
    "collect-garbage": "garbage collection",
    "apply-retention": "retention",
    "back-up": "backup",
    "check-backup": "backup check",
    "repair-storage": "storage repair",
    "renew-certificate": "certificate renewal",
}


def run(task: Task) -> str:
    """Print the status."""
    registry, now = Registry(), time.time()
    holder = lock_holder()
    results = {name: result._asdict() if (result := read_result(name)) else None for name in RUNS}
    status = {
        "registry": f"{registry.name}:{registry.port}",
        "container": container_status(registry),
        "certificate": certificate_status(registry.ca, now),
        "storage": storage_status(registry),
        "results": results,
        "lock": holder._asdict() if holder else None,
    }
    status["problems"] = problems(status)
    task.result.update(status)
    for line in table(rows(status, now)):
        task.line(line)
    return "; ".join(status["problems"])


def container_status(registry: Registry) -> dict[str, Any]:
    """Return name, state, image and version of the registry's container."""
    inspected = registry.inspected or {"State": {"Status": "absent"}, "Config": {}}
    state = inspected["State"]
    return {
        "name": registry.container,
        "state": state["Status"],
        "health": state.get("Health", {}).get("Status", ""),
        "image": inspected["Config"].get("Image", ""),
        "version": registry.version() if state["Status"] == "running" else "",
        "since": state.get("StartedAt", ""),
    }


def certificate_status(ca: str, now: float) -> dict[str, Any] | None:
    """Return when the certificate beside the CA's file ends; None where there is none, or it cannot be read."""
    if not ca:
        return None
    path = Path(ca).with_name("registry.crt")
    try:
        text = openssl("x509", "-noout", "-enddate", "-in", path)
    except WharfError:
        return None
    end = ssl.cert_time_to_seconds(text.strip().partition("=")[2])
    return {"path": str(path), "end": end, "days": int((end - now) // DAY)}


def storage_status(registry: Registry) -> dict[str, Any]:
    """Return the storage's driver, and for a file system where it lies, what the images take, and what is free."""
    path = registry.mounted
    if registry.driver != "filesystem" or path is None or not path.is_dir():
        return {"driver": registry.driver, "path": str(path or "")}
    root = registry.storage_in(path)
    used = sum(file.stat().st_size for file in Storage(root).top.glob("blobs/*/*/*/data")) if root.is_dir() else 0
    return {"driver": "filesystem", "path": str(path), "used": used, "free": free_bytes(path)}


def problems(status: dict[str, Any]) -> list[str]:
    """Return what is not well."""
    container, certificate = status["container"], status["certificate"]
    found = []
    if container["state"] != "running":
        found.append(f"the container {container['name']} is {container['state']}")
    elif container["health"] == "unhealthy":
        found.append(f"the container {container['name']} is unhealthy")
    if certificate and certificate["days"] < 0:
        found.append("the certificate has expired")
    return found + [f"{name} failed" for name, result in status["results"].items() if result and not result["good"]]


def rows(status: dict[str, Any], now: float) -> list[tuple[str, str]]:
    """Return the status as lines for people: what, and how it is."""
    container, certificate, storage = status["container"], status["certificate"], status["storage"]
    state = container["state"] + (f", {container['health']}" if container["health"] else "")
    if container["state"] == "running":
        state += f" since {container['since'][:16].replace('T', ' ')} UTC"
    ends, runs = "none", dict(RUNS)
    if certificate:
        days = certificate["days"]
        ends = f"ends in {pluralize(days, 'day')}" if days >= 0 else "has expired"
        ends += f", {local_time(certificate['end'])}"
    else:
        del runs["renew-certificate"]
    room = f"driver {storage['driver']} {storage['path']}".strip()
    if "used" in storage:
        room = f"{human_bytes(storage['used'])} used, {human_bytes(storage['free'])} free in {storage['path']}"
    lock = status["lock"]
    since = f" since {local_time(lock['since'])}" if lock and lock["since"] else ""
    return [
        ("registry", status["registry"]),
        ("container", f"{container['name']}: {state}"),
        ("image", f"{container['image'] or 'unknown'}, version {container['version'] or 'unknown'}"),
        ("certificate", ends),
        ("storage", room),
        *((purpose, _run_line(name, status["results"][name], now)) for name, purpose in runs.items()),
        ("at work", f"{lock['name']}{since}" if lock else "nothing"),
    ]


def _run_line(name: str, result: dict[str, Any] | None, now: float) -> str:
    """Return how the last run of a subcommand ended."""
    if result:
        return f"{'ok' if result['good'] else 'FAILED'} {age(now - result['time'])} ago: {result['message']}"
    if name == "repair-storage" and REPAIR_STATE.exists():  # it notes only what it has repaired
        return f"nothing to repair, looked {age(now - REPAIR_STATE.stat().st_mtime)} ago"
    return "no run yet"

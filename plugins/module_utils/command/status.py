"""Say how the registry is, in about ten lines: container, version, certificate, storage, and how the last runs ended.

The exit code is 3 when something is not well: the container does not run, the certificate has ended, a run has failed.
"""

from __future__ import annotations

import argparse
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

from .. import data
from ..lock import local_time, lock_holder, read_result
from ..storage import Storage
from ..text import age, human_bytes, pluralize, table
from .docker import docker
from .options import Output, add_json
from .registry import free_bytes, read_settings
from .repair import STATE as REPAIR_STATE

DAY = 86400
RUNS = {
    "collect-garbage": "garbage collection",
    "apply-retention": "retention",
    "back-up": "backup",
    "check-backup": "backup check",
    "repair-storage": "storage repair",
    "renew-certificate": "certificate renewal",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print the status; return the exit code."""
    now = time.time()
    status = collect(read_settings(), now)
    output = Output(options.json)
    output.result = status | {"lines": []}
    for line in table(rows(status, now)):
        output.line(line)
    output.close()
    return 3 if status["problems"] else 0


def collect(settings: dict[str, Any], now: float) -> dict[str, Any]:
    """Return the status: what --json prints.

    Args:
        settings: the registry's, as read_settings returns them.
        now: seconds since 1970.
    """
    inspected = data.container(settings["container"])
    holder = lock_holder()
    results = {name: result._asdict() if (result := read_result(name)) else None for name in RUNS}
    status = {
        "registry": f"{settings['name']}:{settings['port']}",
        "container": container_status(settings["container"], inspected),
        "certificate": certificate_status(settings["ca"], now),
        "storage": storage_status(settings, inspected),
        "results": results,
        "lock": holder._asdict() if holder else None,
    }
    return status | {"problems": problems(status)}


def container_status(name: str, inspected: dict[str, Any] | None) -> dict[str, Any]:
    """Return name, state, image and version of the registry's container."""
    if inspected is None:
        return {"name": name, "state": "absent", "health": "", "image": "", "version": "", "since": ""}
    state = inspected["State"]
    version = ""
    if state["Status"] == "running":
        output = docker("exec", name, inspected["Path"], "--version", check=False)
        version = output.split()[-1].lstrip("v") if output else ""
    return {
        "name": name,
        "state": state["Status"],
        "health": state.get("Health", {}).get("Status", ""),
        "image": inspected["Config"]["Image"],
        "version": version,
        "since": state["StartedAt"],
    }


def certificate_status(ca: str, now: float) -> dict[str, Any] | None:
    """Return when the certificate beside the CA's file ends; None where there is none, or it cannot be read."""
    if not ca or not (path := Path(ca).with_name("registry.crt")).exists():
        return None
    command = ["openssl", "x509", "-noout", "-enddate", "-in", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return None
    end = ssl.cert_time_to_seconds(done.stdout.strip().partition("=")[2])
    return {"path": str(path), "end": end, "days": int((end - now) // DAY)}


def storage_status(settings: dict[str, Any], inspected: dict[str, Any] | None) -> dict[str, Any]:
    """Return the storage's driver, and for a file system where it lies, what the images take, and what is free."""
    path = data.mounted_at(inspected)
    if settings["driver"] != "filesystem" or path is None or not path.is_dir():
        return {"driver": settings["driver"], "path": str(path or "")}
    root = path / Path(settings["root"]).relative_to(data.MOUNT)
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
    found += [f"{name} failed" for name, result in status["results"].items() if result and not result["good"]]
    return found


def rows(status: dict[str, Any], now: float) -> list[tuple[str, str]]:
    """Return the status as lines for people: what, and how it is."""
    container, certificate, storage = status["container"], status["certificate"], status["storage"]
    state = container["state"] + (f", {container['health']}" if container["health"] else "")
    since = f" since {container['since'][:16].replace('T', ' ')} UTC" if container["state"] == "running" else ""
    lines = [
        ("registry", status["registry"]),
        ("container", f"{container['name']}: {state}{since}"),
        ("image", f"{container['image'] or 'unknown'}, version {container['version'] or 'unknown'}"),
    ]
    if certificate:
        days, when = certificate["days"], local_time(certificate["end"])
        lines.append(
            ("certificate", f"ends in {pluralize(days, 'day')}, {when}" if days >= 0 else f"has expired, {when}")
        )
    else:
        lines.append(("certificate", "none"))
    if "used" in storage:
        room = f"{human_bytes(storage['used'])} used, {human_bytes(storage['free'])} free in {storage['path']}"
        lines.append(("storage", room))
    else:
        lines.append(("storage", f"driver {storage['driver']} {storage['path']}".strip()))
    runs = {name: purpose for name, purpose in RUNS.items() if certificate or name != "renew-certificate"}
    lines += [(purpose, _run_line(name, status["results"][name], now)) for name, purpose in runs.items()]
    lock = status["lock"]
    since = f" since {local_time(lock['since'])}" if lock and lock["since"] else ""
    lines.append(("at work", f"{lock['name']}{since}" if lock else "nothing"))
    return lines


def _run_line(name: str, result: dict[str, Any] | None, now: float) -> str:
    """Return how the last run of a subcommand ended."""
    if result:
        return f"{'ok' if result['good'] else 'FAILED'} {age(now - result['time'])} ago: {result['message']}"
    if name == "repair-storage" and REPAIR_STATE.exists():  # it notes only what it has repaired
        return f"nothing to repair, looked {age(now - REPAIR_STATE.stat().st_mtime)} ago"
    return "no run yet"

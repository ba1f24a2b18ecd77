"""Say how the registry is, in about ten lines: container, version, certificate, storage, and how the last runs ended.

The exit code is 3 when something is not well: no answer, a certificate that has ended, a run that has failed.
"""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

from ..errors import WharfError
from ..files import free_bytes
from ..gateway import is_held
from ..lock import Result, local_time, lock_holder, read_result
from ..openssl import openssl
from ..storage import Storage
from ..text import age, human_bytes, pluralize, table
from .cli import Task
from .read_only import client_of
from .registry import Registry
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


def run(task: Task) -> str:
    """Print the status."""
    registry, now, result = Registry(), time.time(), task.result
    result["registry"], result["problems"] = f"{registry.name}:{registry.port}", []
    rows = [
        ("registry", result["registry"]),
        *container_rows(registry, result),
        ("certificate", certificate_line(registry.ca, now, result)),
        ("storage", storage_line(registry, result)),
    ]
    result["results"] = {}
    for name, purpose in RUNS.items():
        last = read_result(name)
        result["results"][name] = last._asdict() if last else None
        if last and not last.good:
            result["problems"].append(f"{name} failed")
        if result["certificate"] or name != "renew-certificate":
            rows.append((purpose, run_line(name, last, now)))
    holder = lock_holder()
    result["lock"] = holder._asdict() if holder else None
    since = f" since {local_time(holder.since)}" if holder and holder.since else ""
    rows.append(("at work", f"{holder.name}{since}" if holder else "nothing"))
    for line in table(rows):
        task.line(line)
    return "; ".join(result["problems"])


def container_rows(registry: Registry, result: dict[str, Any]) -> list[tuple[str, str]]:
    """Find out how the container is; return lines about it and its image."""
    inspected = registry.inspected or {"State": {"Status": "absent"}, "Config": {"Image": ""}}
    name, state, image = registry.container, inspected["State"], inspected["Config"]["Image"]
    status, since = state["Status"], state.get("StartedAt", "")
    is_running = status == "running" or (status == "paused" and is_held(registry.gateway_directory))  # others serve
    version = registry.version() if is_running else ""
    problem = problem_of(registry) if is_running else f"the container {name} is {status}"
    result["container"] = {
        "name": name, "state": status, "answers": not problem, "image": image, "version": version, "since": since,
    }  # fmt: skip
    result["problems"] += [problem] if problem else []
    line = f"{name}: {status}"
    if is_running:
        line += f" since {since[:16].replace('T', ' ')} UTC, {'does not answer' if problem else 'answers'}"
    return [("container", line), ("image", f"{image or 'unknown'}, version {version or 'unknown'}")]


def problem_of(registry: Registry) -> str:
    """Return why the registry does not answer as it should; nothing where it does."""
    try:
        with client_of(registry) as client:
            client.health()
    except WharfError as error:
        return str(error)
    return ""


def certificate_line(ca: str, now: float, result: dict[str, Any]) -> str:
    """Find out when the certificate beside the CA's file ends, where there is one that can be read."""
    path = Path(ca).parent / "registry.crt"
    result["certificate"] = None
    try:
        text = openssl("x509", "-noout", "-enddate", "-in", path) if ca else ""
    except WharfError:
        text = ""
    if not text:
        return "none"
    end = ssl.cert_time_to_seconds(text.strip().partition("=")[2])
    days, when = int((end - now) // DAY), local_time(end)
    result["certificate"] = {"path": str(path), "end": end, "days": days}
    if days >= 0:
        return f"ends in {pluralize(days, 'day')}, {when}"
    result["problems"].append("the certificate has expired")
    return f"has expired, {when}"


def storage_line(registry: Registry, result: dict[str, Any]) -> str:
    """Find out where the storage lies; in a file system also what the images take, and what is free."""
    path, driver = registry.mounted, registry.driver
    result["storage"] = {"driver": driver, "path": str(path or "")}
    if driver != "filesystem" or path is None or not path.is_dir():
        return f"driver {driver} {path or ''}".strip()
    root, free = registry.storage_in(path), free_bytes(path)
    used = sum(file.stat().st_size for file in Storage(root).top.glob("blobs/*/*/*/data")) if root.is_dir() else 0
    result["storage"].update(used=used, free=free)
    return f"{human_bytes(used)} used, {human_bytes(free)} free in {path}"


def run_line(name: str, last: Result | None, now: float) -> str:
    """Return how the last run of a subcommand ended."""
    if last:
        return f"{'ok' if last.good else 'FAILED'} {age(now - last.time)} ago: {last.message}"
    if name == "repair-storage" and REPAIR_STATE.exists():  # it notes only what it has repaired
        return f"nothing to repair, looked {age(now - REPAIR_STATE.stat().st_mtime)} ago"
    return "no run yet"

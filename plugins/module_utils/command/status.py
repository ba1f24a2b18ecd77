"""Say how the registry is, in about ten lines: registry, gateway, certificate, storage, and how the last runs ended.

The exit code is 3 when something is not well: no answer, pushes that wait for nobody, a certificate that has ended, a
run that has failed.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import gateway
from ..api import StatusError
from ..data import container
from ..errors import WharfError
from ..files import free_bytes, read_json, read_text
from ..lock import Result, held_for, local_time, lock_holder, read_result
from ..openssl import end_of
from ..parts import INDEX, STAND_INS, container_names
from ..server_versions import gateway_version
from ..storage import Storage
from ..text import age, human_bytes, pluralize, table
from .cli import SERVER_ONLY, Task
from .read_only import client_of
from .registry import Registry
from .repair import STATE as REPAIR_STATE
from .trim_caches import STATE as CACHES_STATE
from .trim_caches import in_words

DAY = 86400
STATE = "state/state.db"  # of the index
INDEX_LATE = 600  # seconds: it is brought up to date every minute
RUNS = {
    "collect-garbage": "garbage collection",
    "apply-retention": "retention",
    "back-up": "backup",
    "check-backup": "backup check",
    "repair-storage": "storage repair",
    "renew-certificate": "certificate renewal",
    "trim-caches": "cache trimming",
    "feed-standbys": "copy to standbys",
}


def run(task: Task) -> str:
    """Print the status."""
    for line in table(look(Registry(), task.result)):
        task.line(line)
    return "; ".join(task.result["problems"])


def look(registry: Registry, result: dict[str, Any], used: int | None = None) -> list[tuple[str, str]]:
    """Find out how the registry is; return lines about it.

    Args:
        registry: the registry.
        result: gets what --json prints.
        used: what its images take in bytes, where that was counted shortly before: it is what takes the time.
    """
    now = time.time()
    result["registry"], result["problems"] = f"{registry.name}:{registry.port}", []
    rows = [
        *container_rows(registry, result),
        ("certificate", certificate_line(registry.ca, now, result)),
        ("storage", storage_line(registry, result, used)),
        *standby_rows(registry, result),
    ]
    result["results"] = {}
    for name, purpose in RUNS.items():
        if registry.standby_of and name in SERVER_ONLY:  # what there is dates from when it was the server
            continue
        last = read_result(name)
        result["results"][name] = last._asdict() if last else None
        if last and not last.good:
            result["problems"].append(f"{name} failed")
        needed = {"renew-certificate": result["certificate"], "trim-caches": registry.caches, "feed-standbys": last}
        if needed.get(name, True):
            rows.append((purpose, run_line(name, last, now)))
    rows += cache_rows(registry, result)
    rows += index_rows(now, result)
    rows.append(("at work", work_line(registry, result)))
    return rows


def standby_rows(registry: Registry, result: dict[str, Any]) -> list[tuple[str, str]]:
    """Find out how far a standby is behind its server; return a line about it."""
    result["standby"] = None
    if not registry.standby_of:
        return []
    copied, text, is_late = registry.copy_state()
    result["standby"] = {"of": registry.standby_of, "copied": copied, "late": is_late}
    if is_late:
        result["problems"].append(f"{text}: see `wharf feed-standbys` there")
    return [("standby", text)]


def index_rows(now: float, result: dict[str, Any]) -> list[tuple[str, str]]:
    """Find out whether what the page shows is up to date; return a line about it where there is a page."""
    result["index"] = None
    if not Path(INDEX).is_dir():
        return []
    try:
        last = Path(INDEX, STATE).stat().st_mtime  # each run that ends well writes it
    except OSError:
        return [("page", "no index yet")]
    result["index"] = {"time": last}
    if now - last > INDEX_LATE and float(read_text("/proc/uptime").split()[0]) > INDEX_LATE:  # not just after a boot
        result["problems"].append(f"what the page shows is {age(now - last)} old: see `wharf index`")
    return [("page", f"its index was brought up to date {age(now - last)} ago")]


def cache_rows(registry: Registry, result: dict[str, Any]) -> list[tuple[str, str]]:
    """Find out how the caches were at their last trimming; return a line about each."""
    found = read_json(CACHES_STATE).get("caches", {})
    slugs = [one["slug"] for one in registry.caches.get("upstreams", ())]
    result["caches"] = {slug: found[slug] for slug in slugs if slug in found}
    return [(f"cache {one['upstream']}", in_words(one)) for one in result["caches"].values()]


def container_rows(registry: Registry, result: dict[str, Any]) -> list[tuple[str, str]]:
    """Find out how the containers are; return lines about them and their images."""
    names = container_names(registry.container)
    found = {part: registry.inspected if part == "registry" else container(name) for part, name in names.items()}
    problems = {part: state_problem(names[part], found[part]) for part in found}
    is_held = gateway.is_held(registry.gateway_directory)
    if is_held and problems["registry"].endswith(" paused"):
        problems["registry"] = ""  # a collection freezes it
    problems["registry"] = problems["registry"] or gateway.problem_of(STAND_INS[0] if is_held else registry.slot)
    problems["gateway"] = problems["gateway"] or problems["network"] or gateway_problem(registry, found, problems)
    versions = {"registry": registry.version(), "gateway": gateway_version(found["gateway"])}
    result["containers"], lines = {}, {}
    for part, inspected in found.items():
        state = inspected["State"] if inspected else {"Status": "absent"}
        since, image = state.get("StartedAt", ""), inspected["Config"]["Image"] if inspected else ""
        result["containers"][part] = {"name": names[part], "state": state["Status"], "since": since, "image": image}
        lines[part] = state["Status"]
        if lines[part] == "running":
            lines[part] += f" since {since[:16].replace('T', ' ')} UTC"
        if part in versions:
            result["containers"][part].update(answers=not problems[part], version=versions[part])
            lines[part] += f", {'does not answer' if problems[part] else 'answers'}"
    result["problems"] += list(dict.fromkeys(filter(None, problems.values())))
    images = [f"{result['containers'][part]['image'] or 'unknown'}, {name} {versions[part] or '(version unknown)'}"
              for part, name in (("registry", "registry"), ("gateway", "nginx"))]  # fmt: skip
    return [
        ("registry", f"{result['registry']}: {lines['registry']}"),
        ("gateway", lines["gateway"]),
        ("images", "; ".join(images)),
    ]


def state_problem(name: str, inspected: dict[str, Any] | None) -> str:
    """Return that a container does not run; nothing where it does."""
    status = inspected["State"]["Status"] if inspected else "absent"
    return "" if status == "running" else f"the container {name} is {status}"


def gateway_problem(registry: Registry, found: dict[str, Any], problems: dict[str, str]) -> str:
    """Return why the gateway, which runs, does not answer as it should; nothing where it does."""
    if gateway.is_cut_off(found["network"], found["gateway"]):
        return "the gateway is in a network that is gone: it must be restarted"
    try:
        with client_of(registry) as client:
            client.health()
    except StatusError as error:
        # It does answer: that the registry does not is said once.
        return "" if problems["registry"] else str(error)
    except WharfError as error:
        return str(error)
    return ""


def work_line(registry: Registry, result: dict[str, Any]) -> str:
    """Find out who is at work, and whether pushes wait."""
    is_held, holder = gateway.is_held(registry.gateway_directory), lock_holder()
    is_held = is_held and (holder is not None or gateway.is_held(registry.gateway_directory))  # it may just have ended
    left = held_for()
    result["lock"], result["pushes_wait"] = holder._asdict() if holder else None, is_held
    since = f" since {local_time(holder.since)}" if holder and holder.since else ""
    if is_held and not holder:
        result["problems"].append("pushes wait for a collection that was killed: `wharf collect-garbage --recover`")
    wait = f", and pushes wait{f', for {left:.0f} s at most' if left else ''}" if is_held else ""
    return f"{holder.name if holder else 'nothing'}{since}{wait}"


def certificate_line(ca: str, now: float, result: dict[str, Any]) -> str:
    """Find out when the certificate beside the CA's file ends, where there is one that can be read."""
    result["certificate"] = None
    if not ca:
        return "none"
    path = Path(ca).parent / "registry.crt"
    try:
        end = end_of(path)
    except WharfError:
        return "none"
    days, when = int((end - now) // DAY), local_time(end)
    result["certificate"] = {"path": str(path), "end": end, "days": days}
    if days >= 0:
        return f"ends in {pluralize(days, 'day')}, {when}"
    result["problems"].append("the certificate has expired")
    return f"has expired, {when}"


def storage_line(registry: Registry, result: dict[str, Any], used: int | None) -> str:
    """Find out where the storage lies; in a file system also what the images take, and what is free."""
    path, driver = registry.mounted, registry.driver
    result["storage"] = {"driver": driver, "path": str(path or "")}
    if registry.s3:
        try:
            used = sum(registry.storage.blob_sizes().values()) if used is None else used
        except WharfError as error:
            result["problems"].append(str(error))
            return f"the bucket {registry.s3['bucket']} cannot be read"
        result["storage"].update(used=used, bucket=registry.s3["bucket"])
        return f"{human_bytes(used)} used in the bucket {registry.s3['bucket']}"
    if driver != "filesystem" or path is None or not path.is_dir():
        return f"driver {driver} {path or ''}".strip()
    root, free = registry.storage_in(path), free_bytes(path)
    if used is None:
        used = bytes_in(root)
    result["storage"].update(used=used, free=free)
    return f"{human_bytes(used)} used, {human_bytes(free)} free in {path}"


def bytes_in(root: Path) -> int:
    """Return what the blobs of a storage take, each once, but for those that are deleted meanwhile."""
    total = 0
    for directory, _, names in os.walk(Storage(root).top / "blobs") if root.is_dir() else ():
        if "data" in names:
            with suppress(OSError):
                total += os.lstat(f"{directory}/data").st_size
    return total


def run_line(name: str, last: Result | None, now: float) -> str:
    """Return how the last run of a subcommand ended."""
    if last:
        return f"{'ok' if last.good else 'FAILED'} {age(now - last.time)} ago: {last.message}"
    if name == "repair-storage" and REPAIR_STATE.exists():  # it notes only what it has repaired
        return f"nothing to repair, looked {age(now - REPAIR_STATE.stat().st_mtime)} ago"
    return "no run yet"

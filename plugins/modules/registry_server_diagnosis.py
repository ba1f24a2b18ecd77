#!/usr/bin/python
"""Ansible module: what a registry's server tells about why clients may not get through."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_server_diagnosis
short_description: Tell how a registry's server is, for a diagnosis together with its clients
description:
  - Finds the first thing that is wrong with the engine, the containers of registry and gateway, what they have mounted,
    the port, or the way from one to the other, how the scheduled programs ended, how old the copy of a standby is, and
    whether the caches of other registries and their upstreams answer. Changes nothing, and starts no engine.
options:
  container:
    description: Name of the registry's container, with which those of the gateway and its network begin.
    type: str
    required: true
  port: {description: TCP port of the registry., type: int, required: true}
  data:
    description: Where the images should be, an absolute path or the name of a volume.
    type: str
    required: true
  tls_directory: {description: Directory of C(registry.crt) and C(ca.crt)., type: path, required: true}
attributes:
  check_mode: {support: full}
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- wharf.registry.registry_server_diagnosis:
    container: registry
    port: 5000
    data: /var/lib/wharf/registry
    tls_directory: /etc/wharf/tls
"""

RETURN = r"""
code:
  description: What is broken, a key of C(plugin_utils/verdicts.yml); V(ok) when nothing is.
  type: str
  returned: success
details: {description: What the texts of the verdict name., type: dict, returned: success}
warnings_found:
  description: What is wrong but breaks nothing yet, a list of C(code) and C(details).
  type: list
  elements: dict
  returned: success
addresses: {description: The addresses of the host., type: list, elements: str, returned: success}
clock: {description: "The server's clock, in seconds since 1970.", type: float, returned: success}
certificate:
  description: The registry's certificate and the intermediates, in PEM; empty where there are none.
  type: str
  returned: success
ca: {description: "The CA certificates that clients should trust, alike.", type: str, returned: success}
is_served: {description: Whether what is served is the certificate that lies there., type: bool, returned: success}
port_holder: {description: What else has the port; empty for nothing., type: str, returned: success}
"""

import json
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import (
    api,
    cache_faults,
    containers,
    data,
    forwarding,
    gateway,
    lock,
    peers,
)
from ansible_collections.wharf.registry.plugins.module_utils.addresses import is_inner, own_addresses
from ansible_collections.wharf.registry.plugins.module_utils.command.cli import SERVER_ONLY
from ansible_collections.wharf.registry.plugins.module_utils.command.registry import Registry
from ansible_collections.wharf.registry.plugins.module_utils.engine import running_engine
from ansible_collections.wharf.registry.plugins.module_utils.engine_faults import Fault, config_fault, stopped_fault
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.files import read_text
from ansible_collections.wharf.registry.plugins.module_utils.parts import (
    PARTS,
    PEERS_FILES,
    SOCKETS_INSIDE,
    STAND_INS,
    STORE_FILES,
    container_names,
    published,
    slot_of,
)
from ansible_collections.wharf.registry.plugins.module_utils.processes import search_path
from ansible_collections.wharf.registry.plugins.module_utils.server_info import (
    certificates_in,
    output,
    port_holder,
    served_certificates,
)
from ansible_collections.wharf.registry.plugins.module_utils.text import human_bytes, one_line

DATA_ID = "/wharf/data"  # where the container has the file that tells whose its data is
REPOSITORIES = "docker/registry/v2/repositories"
BLOBS = "docker/registry/v2/blobs"
NEEDED = {"config.yml", "users", "registry.crt", "registry.key"}
NEEDED |= {"nginx.conf", "listen.conf", "mirror.conf", "upstreams.conf", "network.conf", *PEERS_FILES, *STORE_FILES}
LOW_SHARE = 0.10  # free space that is worth a warning, of all
LOW_BYTES = 1024**3
FULL_BYTES = 16 * 1024**2  # so little that a push cannot be counted on
FULL_INODES = 16
ENGINE_TIMEOUT = 10  # seconds


def failed_programs(but: Sequence[str] = ()) -> list[Fault]:
    """Return a warning for each program that a timer runs and that failed when it ran last, but for some."""
    warnings: list[Fault] = []
    units = output("systemctl", "list-units", "--failed", "--plain", "--no-legend", "wharf-*.service")
    failed_units = re.findall(r"^wharf-\S+\.service", units, re.MULTILINE)
    # Those with a dot are no results: what is half written, and what wharf trim-caches remembers.
    for path in sorted(one for one in lock.RESULTS.glob("*") if "." not in one.name and one.name not in but):
        result = lock.read_result(path.name)
        if result is None or not result.good:  # none: its line is damaged
            when = f"{datetime.fromtimestamp(result.time, timezone.utc):%Y-%m-%d %H:%M UTC}" if result else ""
            message = result.message if result else "it does not say why"
            details = {"program": path.name, "when": when or "time unknown", "message": message}
            warnings.append(("program_failed", details))
            failed_units = [unit for unit in failed_units if unit != f"wharf-{path.name}.service"]
    # One that was killed leaves no result of its own.
    return warnings + [("unit_failed", {"unit": unit}) for unit in failed_units]


def denied(root: str, uid: int, gid: int, wanted: list[tuple[str, int]]) -> str:
    """Return the first of some places, each with what is wanted of it, that a user may not use so; empty for none.

    A process of that user finds out within the container's files, because the image need not have a shell.
    """
    child = os.fork()
    if child == 0:
        wrong = 0
        try:
            os.chroot(root)
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            is_denied = [not os.access(place, mode) for place, mode in wanted]
            wrong = is_denied.index(True) + 1 if True in is_denied else 0
        finally:
            os._exit(wrong)
    wrong = os.WEXITSTATUS(os.waitpid(child, 0)[1])
    return wanted[wrong - 1][0] if wrong else ""


def files_of(inspected: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """Return what a container needs besides its data: of each its place on this host, and what is wanted of it."""
    found = {}
    for mount in inspected["Mounts"]:
        source, inner = mount["Source"], mount["Destination"]
        if inner == SOCKETS_INSIDE:
            found[inner] = (source, os.X_OK)
        elif inner not in (data.MOUNT, DATA_ID):
            names = NEEDED.intersection(os.listdir(source) if os.path.isdir(source) else [])
            found.update({f"{inner}/{name}": (f"{source}/{name}", os.R_OK) for name in sorted(names)})
    return found


def user_of(pid: int) -> tuple[int, int]:
    """Return the user and the group of a process. Raises OSError: it has ended meanwhile."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
    uid, gid = (int(number) for number in re.findall(r"^[UG]id:\s+\d+\s+(\d+)", status, re.MULTILINE))
    return uid, gid


def file_fault(inspected: dict[str, Any]) -> Fault | None:
    """Return which file a container needs and may not read, as its process sees it."""
    pid, files = inspected["State"]["Pid"], files_of(inspected)
    uid, gid = user_of(pid)
    unreadable = denied(f"/proc/{pid}/root", uid, gid, [(inner, mode) for inner, (_, mode) in files.items()])
    if not unreadable:
        return None
    return "file_unreadable", {"file": files[unreadable][0], "container_user": f"{uid}:{gid}"}


def storage_fault(pid: int, place: str) -> Fault:
    """Return what is wrong with the data, which lies at a place on the host.

    All is seen as the container's process sees it: a mount that came later is not in its view.

    Raises:
        OSError: it has ended meanwhile.
    """
    root, (uid, gid) = f"/proc/{pid}/root", user_of(pid)
    space = os.statvfs(root + data.MOUNT)
    if space.f_flag & os.ST_RDONLY:
        return "mounted_read_only", {}
    places = [data.MOUNT, f"{data.MOUNT}/{REPOSITORIES}", f"{data.MOUNT}/{BLOBS}"]
    there = [(place, os.R_OK | os.W_OK | os.X_OK) for place in places if os.path.exists(root + place)]
    if directory := denied(root, uid, gid, there):
        found = os.stat(root + directory)
        details = {"directory": place + directory[len(data.MOUNT) :], "container_user": f"{uid}:{gid}"}
        if found.st_uid != uid:
            return "wrong_owner", {**details, "owner": f"{found.st_uid}:{found.st_gid}"}
        mode = stat.S_IMODE(found.st_mode)
        return ("not_allowed" if mode & 0o700 == 0o700 else "wrong_mode"), {**details, "mode": f"{mode:04o}"}
    # Some file systems do not count inodes and say 0 of 0.
    if space.f_files and space.f_ffree < FULL_INODES:
        return "disk_full", {"free": f"{space.f_ffree} inodes"}
    free = space.f_bavail * space.f_frsize  # what others than root may use
    if free < FULL_BYTES:
        return "disk_full", {"free": human_bytes(free)}
    is_low = free < LOW_BYTES or free < space.f_blocks * space.f_frsize * LOW_SHARE
    return "disk_low" if is_low else "ok", {"free": human_bytes(free)}


def gateway_fault(port: int, published: list[str]) -> Fault | None:
    """Return why a gateway does not answer on a port of this host, published at these addresses, as it should."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(published[0], published[0]) if published else ""
    reason = ""
    for context in (api.trust_nothing(), None):
        with api.Client("localhost", port, context, address=address or "127.0.0.1", timeout=5) as client:
            try:
                return ("gateway_lost", {}) if client.request("GET", "/health").is_gateway_alone() else None
            except api.RegistryError as error:
                reason = reason or one_line(error.__cause__ or error)
    return "gateway_silent", {"output": reason}


def registry_fault(slot: str) -> Fault | None:
    """Return why the registry behind the gateway, or what stands in for it, does not answer well; its slot."""
    with gateway.direct(slot, 5) as client:
        try:
            client.ping()
            return None
        except api.StatusError as error:
            return "unhealthy", {"output": one_line(error)}
        except WharfError as error:
            return "registry_silent", {"output": one_line(error.__cause__ or error)}


def log_of(name: str, state: dict[str, Any]) -> str:
    """Return why a container does not run; empty where it does not tell."""
    if state["Error"] or not state["ExitCode"]:
        return one_line(state["Error"])
    # A registry that rejects its configuration prints its usage after the reason.
    printed = containers.docker("logs", "--tail", "40", name, timeout=ENGINE_TIMEOUT).stdout
    lines = re.split(r"^Usage:", printed, flags=re.MULTILINE)[0]
    return one_line(([line for line in lines.split("\n") if line.strip()] or [""])[-1])


def stopped(names: dict[str, str], found: dict[str, dict[str, Any]]) -> Fault | None:
    """Return which container does not run, and the command that has all of them run again.

    Args:
        names: of the containers, by part.
        found: what the engine knows of them.
    """
    states = {part: one["State"] for part, one in found.items() if one["State"]["Status"] != "running"}
    if not states:
        return None
    paused = [names[part] for part, state in states.items() if state["Status"] == "paused"]
    ended = [names[part] for part in states if names[part] not in paused]
    commands = [*([f"docker unpause {' '.join(paused)}"] if paused else [])]
    commands += [f"docker start {' '.join(ended)}"] if ended else []
    if names["network"] in ended and "gateway" not in states:
        commands.append(f"docker restart {names['gateway']}")  # it is in the network that was
    part, state = next(iter(states.items()))
    details = {"container": names[part], "status": state["Status"], "log": log_of(names[part], state)}
    return "container_stopped", {**details, "start": "; ".join(commands)}


def containers_fault(
    names: dict[str, str], found: dict[str, dict[str, Any] | None], port: int, place: str, held: Fault | None
) -> Fault:
    """Return the first thing that is wrong with the containers, their files, their network, or the registry's storage.

    Args:
        names: of the containers, by part.
        found: what the engine knows of them.
        port: the port that should be published.
        place: where the registry's data lies on the host.
        held: from held_fault().
    """
    absent = [names[part] for part in PARTS if found[part] is None]
    if absent:
        return "container_absent", {"container": absent[0]}
    registry, network, own = (found[part] or {} for part in PARTS)
    data_id = data.mounted_at(registry, DATA_ID)
    if registry["State"]["Status"] != "running" and data_id and not data_id.exists():
        return "data_missing", {}
    # A collection freezes it.
    frozen = ["registry"] if held and registry["State"]["Status"] == "paused" else []
    if fault := stopped(names, {part: one for part, one in found.items() if one and part not in frozen}):
        return fault
    if held and held[0] == "pushes_held":
        return held
    bindings = published(network)
    ports = [binding["HostPort"] for binding in bindings]
    if str(port) not in ports:
        return "other_port", {"published": ports or ["none"]}
    if fault := next(filter(None, map(file_fault, (registry, network, own))), None):
        return fault
    code, details = storage_fault(registry["State"]["Pid"], place)
    if code not in ("ok", "disk_low"):
        return code, details
    mode = network["HostConfig"]["NetworkMode"]
    if not network["NetworkSettings"]["Networks"]:
        return "no_network", {"network": "bridge" if mode == "default" else mode}
    if gateway.is_cut_off(network, own):
        return "gateway_cut_off", {}
    return (
        registry_fault(STAND_INS[0] if held else slot_of(registry))
        or gateway_fault(port, [binding["HostIp"] for binding in bindings])
        or (code, details)
    )


def held_fault(own: dict[str, Any] | None) -> Fault | None:
    """Return that a gateway holds pushes back, and who is at work."""
    directory = str(data.mounted_at(own, "/wharf/gateway") or "")
    if not directory or not gateway.is_held(directory):
        return None
    if holder := lock.lock_holder():
        since = f" since {lock.local_time(holder.since)}" if holder.since else ""
        return "pushes_wait", {"holder": f"wharf {holder.name}", "since": since}
    # It may have ended between two looks.
    return ("pushes_held", {}) if gateway.is_held(directory) else None


def stop_command(port: int, known: list[dict[str, Any]]) -> str:
    """Return the command that stops what has a port."""
    names = [container["names"][0] for container in known]
    if names:
        return f"docker stop {' '.join(names)}"
    pids = sorted(set(re.findall(r"pid=(\d+)", output("ss", "-Hltnp", f"sport = :{port}"))))
    groups = "".join(read_text(f"/proc/{pid}/cgroup") for pid in pids)
    units = sorted(set(re.findall(r"system\.slice/(\S+\.service)$", groups, re.MULTILINE)))
    return f"systemctl stop {' '.join(units)}" if units else f"kill {' '.join(pids)}"


def peer_faults(settings: Registry, slot: str) -> list[Fault]:
    """Return a warning for each of the other servers on the store that does not share what it should, or is silent."""
    servers, faults = peers.known(settings.gateway_directory), []
    try:
        for address, difference, silent in peers.compare(servers, settings.gateway_directory, slot) if servers else ():
            if difference:
                code = {"secret": "other_secret", "store": "other_store"}[difference]
                faults.append((code, {"peer": address}))
            elif silent:
                faults.append(("peer_silent", {"peer": address, "reason": silent}))
    except WharfError as error:
        faults.append(("takes_no_uploads", {"reason": str(error)}))
    return faults


def bridges() -> dict[str, str]:
    """Return the networks of containers and virtual machines on this host, each with its interface."""
    routes = json.loads(output("ip", "-json", "route", "show", "table", "main") or "[]")
    return {
        route["dst"]: route["dev"] for route in routes if is_inner(route.get("dev", "")) and route["dst"] != "default"
    }


def inspect(module: Any, name: str, port: int, setting: str, tls: Path) -> dict[str, Any]:
    """Return what the server tells; its data should be where `setting` says.

    Raises:
        WharfError: the engine runs, but does not answer.
        OSError: something has changed meanwhile.
    """
    settings = Registry(must_exist=False, ask=False)
    # What they have left on a standby dates from when it was the server.
    warnings = failed_programs(SERVER_ONLY if settings.standby_of else ())
    details, known, forwarded = {}, [], None
    names = container_names(name)
    # An engine that does not run must not be asked: its socket would start it.
    engine = running_engine()
    if engine is None:
        code, details = stopped_fault(module) if shutil.which("dockerd") else ("engine_absent", {})
    elif (info := containers.engine_info(ENGINE_TIMEOUT)) is None:
        code, details = "engine_hangs", {"seconds": ENGINE_TIMEOUT}
    else:
        known = [container for container in containers.containers() if port in container["ports"]]
        found = {part: containers.container(one) for part, one in names.items()}
        place = str(data.mounted_at(found["registry"]) or data.directory(setting) or setting)
        held = held_fault(found["gateway"])
        warnings += [held] if held and held[0] == "pushes_wait" else []
        code, details = containers_fault(names, found, port, place, held)
        if all(found.values()):
            document, later = config_fault(engine.argv)
            warnings += [(f"{later[0]}_later", later[1])] if later else []
            warnings += cache_faults.faults(name, settings.caches.get("upstreams", ()))
            forwarded = forwarding.fault(name, port, info, document.get("iptables") is not False)
            if not forwarded and (mirror := forwarding.mirror_fault(name, found["network"])):
                warnings.append(mirror)
        details["place"] = place
        if code == "ok" and not held:
            warnings += peer_faults(settings, slot_of(found["registry"]))
        if settings.standby_of:
            _, copied, is_late = Registry().copy_state()
            details["standby_note"] = f": a standby of {settings.standby_of}, {copied}"
            warnings += [("standby_behind", {"copied": copied})] if is_late else []
    if settings.standby_of:
        details["standby_of"] = settings.standby_of
    if code == "disk_low":
        warnings.append((code, details))
        code = "ok"
    holder = port_holder(port, known, [*names.values()])
    if holder == "docker-proxy":
        holder = ""  # that is how the engine publishes a port, which it leaves so when it is stopped itself
    certificates, served = certificates_in(str(tls / "registry.crt")), served_certificates(port)
    return {
        "code": code,
        "details": details,
        "warnings_found": [{"code": code, "details": details} for code, details in warnings],
        "addresses": own_addresses(json.loads(output("ip", "-json", "address", "show") or "[]")),
        "clock": time.time(),
        "certificate": read_text(tls / "registry.crt"),
        "ca": read_text(tls / "ca.crt"),
        "is_served": not (served and certificates) or served == certificates,
        "port_holder": holder,
        "port_stop": stop_command(port, known) if holder else "",
        "forwarding": {"code": forwarded[0], "details": forwarded[1]} if forwarded else {},
        "bridges": bridges(),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "container": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "data": {"type": "str", "required": True},
            "tls_directory": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    os.environ["PATH"] = search_path()
    p = module.params
    try:
        found = inspect(module, p["container"], p["port"], p["data"], Path(p["tls_directory"]))
    except (WharfError, OSError, subprocess.TimeoutExpired) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Ansible module: what a registry's server tells about why clients may not get through."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_server_diagnosis
short_description: Tell how a registry's server is, for a diagnosis together with its clients
description:
  - Finds the first thing that is wrong with engine, container, port or storage, and how the scheduled programs ended.
    Changes nothing, and starts no engine.
options:
  container: {description: Name of the registry's container., type: str, required: true}
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
port_holder: {description: What else has the port; empty for nothing., type: str, returned: success}
"""

import json
import os
import re
import shutil
import stat
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import api, containers, data, forwarding, lock
from ansible_collections.wharf.registry.plugins.module_utils.addresses import is_inner, own_addresses
from ansible_collections.wharf.registry.plugins.module_utils.engine import running_engine
from ansible_collections.wharf.registry.plugins.module_utils.engine_faults import Fault, config_fault, stopped_fault
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.files import read_text
from ansible_collections.wharf.registry.plugins.module_utils.processes import search_path
from ansible_collections.wharf.registry.plugins.module_utils.server_info import output, port_holder
from ansible_collections.wharf.registry.plugins.module_utils.text import human_bytes, one_line

DATA_ID = "/wharf/data"  # where the container has the file that tells whose its data is
REPOSITORIES = "docker/registry/v2/repositories"
BLOBS = "docker/registry/v2/blobs"
NEEDED = {"config.yml", "htpasswd", "registry.crt", "registry.key"}
LOW_SHARE = 0.10  # free space that is worth a warning, of all
LOW_BYTES = 1024**3
FULL_BYTES = 16 * 1024**2  # so little that a push cannot be counted on
FULL_INODES = 16
ENGINE_TIMEOUT = 10  # seconds


def failed_programs() -> list[Fault]:
    """Return a warning for each program that a timer runs and that failed when it ran last."""
    warnings: list[Fault] = []
    units = output("systemctl", "list-units", "--failed", "--plain", "--no-legend", "wharf-*.service")
    failed_units = re.findall(r"^wharf-\S+\.service", units, re.MULTILINE)
    for path in sorted(lock.RESULTS.glob("[!.]*")):
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


def files_of(inspected: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the files that the container needs besides its data, each with its place on this host."""
    found = []
    for mount in inspected["Mounts"]:
        if mount["Destination"] not in (data.MOUNT, DATA_ID):
            for name in sorted(os.listdir(mount["Source"]) if os.path.isdir(mount["Source"]) else []):
                found.append((f"{mount['Destination']}/{name}", f"{mount['Source']}/{name}"))
    return [(inner, outer) for inner, outer in found if os.path.basename(outer) in NEEDED]


def storage_fault(pid: int, place: str, files: list[tuple[str, str]]) -> Fault:
    """Return what is wrong with the data, which lies at a place on the host, or with other files.

    All is seen as the container's process sees it: a mount that came later is not in its view.

    Raises:
        OSError: it has ended meanwhile.
    """
    root, status = f"/proc/{pid}/root", Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
    uid, gid = (int(number) for number in re.findall(r"^[UG]id:\s+\d+\s+(\d+)", status, re.MULTILINE))
    space = os.statvfs(root + data.MOUNT)
    if space.f_flag & os.ST_RDONLY:
        return "mounted_read_only", {}
    if unreadable := denied(root, uid, gid, [(inner, os.R_OK) for inner, _ in files]):
        return "file_unreadable", {"file": dict(files)[unreadable], "container_user": f"{uid}:{gid}"}
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


def silence_of(port: int, published: list[str]) -> str:
    """Return why nothing answers on a port of this host, published at these addresses; empty where something does."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(published[0], published[0]) if published else ""
    reason = ""
    for context in (api.trust_nothing(), None):
        with api.Client("localhost", port, context, address=address or "127.0.0.1", timeout=5) as client:
            try:
                client.request("GET", "/v2/")
                return ""
            except api.RegistryError as error:
                reason = reason or one_line(error.__cause__ or error)
    return reason


def container_fault(name: str, inspected: dict[str, Any], port: int, place: str, names: list[str]) -> Fault:
    """Return the first thing that is wrong with the registry's container or its storage.

    Args:
        name: the container.
        inspected: what the engine knows of it.
        port: the port that it should publish.
        place: where its data lies on the host.
        names: the names of the containers that publish the port.
    """
    state = inspected["State"]
    if state["Status"] != "running":
        data_id = data.mounted_at(inspected, DATA_ID)
        if data_id and not data_id.exists():
            return "data_missing", {}
        if f"{name}-read-only" in names:
            return "read_only_container", {}
        log = state["Error"]
        if state["ExitCode"] and not log:
            # A registry that rejects its configuration prints its usage after the reason.
            printed = containers.docker("logs", "--tail", "40", name, timeout=ENGINE_TIMEOUT).stdout
            lines = re.split(r"^Usage:", printed, flags=re.MULTILINE)[0]
            log = ([line for line in lines.split("\n") if line.strip()] or [""])[-1]
        start = "unpause" if state["Status"] == "paused" else "start"
        return "container_stopped", {"status": state["Status"], "log": log and one_line(log), "start": start}
    bindings = inspected["HostConfig"]["PortBindings"] or {}
    published = [binding["HostPort"] for entry in bindings.values() for binding in entry or []]
    if published and str(port) not in published:
        return "other_port", {"published": published}
    code, details = storage_fault(state["Pid"], place, files_of(inspected))
    if code not in ("ok", "disk_low"):
        return code, details
    network = inspected["HostConfig"]["NetworkMode"]
    if network not in ("host", "none") and not inspected["NetworkSettings"]["Networks"]:
        return "no_network", {"network": "bridge" if network == "default" else network}
    if silence := silence_of(port, [binding["HostIp"] for entry in bindings.values() for binding in entry or []]):
        return "container_silent", {"output": silence}
    return code, details


def stop_command(port: int, known: list[dict[str, Any]]) -> str:
    """Return the command that stops what has a port."""
    names = [container["names"][0] for container in known]
    if names:
        return f"docker stop {' '.join(names)}"
    pids = sorted(set(re.findall(r"pid=(\d+)", output("ss", "-Hltnp", f"sport = :{port}"))))
    groups = "".join(read_text(f"/proc/{pid}/cgroup") for pid in pids)
    units = sorted(set(re.findall(r"system\.slice/(\S+\.service)$", groups, re.MULTILINE)))
    return f"systemctl stop {' '.join(units)}" if units else f"kill {' '.join(pids)}"


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
    warnings, details, known, forwarded = failed_programs(), {}, [], None
    # An engine that does not run must not be asked: its socket would start it.
    engine = running_engine()
    if engine is None:
        code, details = stopped_fault(module) if shutil.which("dockerd") else ("engine_absent", {})
    elif (info := containers.engine_info(ENGINE_TIMEOUT)) is None:
        code, details = "engine_hangs", {"seconds": ENGINE_TIMEOUT}
    else:
        known = [container for container in containers.containers() if port in container["ports"]]
        inspected = containers.container(name)
        place = str(data.mounted_at(inspected) or data.directory(setting) or setting)
        code = "container_absent"
        if inspected:
            publishers = [own for container in known for own in container["names"]]
            code, details = container_fault(name, inspected, port, place, publishers)
            document, later = config_fault(engine.argv)
            warnings += [(f"{later[0]}_later", later[1])] if later else []
            forwarded = forwarding.fault(name, port, info, document.get("iptables") is not False)
        details["place"] = place
    if code == "disk_low":
        warnings.append((code, details))
        code = "ok"
    holder = port_holder(port, known, [name])
    if holder == "docker-proxy":
        holder = ""  # that is how the engine publishes a port, which it leaves so when it is stopped itself
    return {
        "code": code,
        "details": details,
        "warnings_found": [{"code": code, "details": details} for code, details in warnings],
        "addresses": own_addresses(json.loads(output("ip", "-json", "address", "show") or "[]")),
        "clock": time.time(),
        "certificate": read_text(tls / "registry.crt"),
        "ca": read_text(tls / "ca.crt"),
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

#!/usr/bin/python
"""Ansible module: what a registry's server tells about why clients may not get through."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_server_diagnosis
short_description: Tell how a registry's server is, for a diagnosis together with its clients
description:
  - Gathers what tells the cause of a failure from its effect - engine, container, port, storage, certificates, and how
    the scheduled programs ended. Changes nothing, and starts no engine.
options:
  container:
    description: Name of the registry's container.
    type: str
    required: true
  port:
    description: TCP port of the registry.
    type: int
    required: true
  data:
    description: Where the images should be, an absolute path or the name of a volume.
    type: str
    required: true
  tls_directory:
    description: Directory of C(registry.crt) and C(ca.crt).
    type: path
    required: true
attributes:
  check_mode:
    support: full
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- name: Inspect the registry's server
  wharf.registry.registry_server_diagnosis:
    container: registry
    port: 5000
    data: /var/lib/wharf/registry
    tls_directory: /etc/wharf/tls
"""

RETURN = r"""
clock:
  description: The server's clock, in seconds since 1970.
  type: float
  returned: success
interfaces:
  description: What C(ip -json address show) prints.
  type: list
  elements: dict
  returned: success
certificate:
  description: The registry's certificate in PEM, and the intermediates; empty where there is none.
  type: str
  returned: success
ca:
  description: The CA certificates that clients should trust, in PEM; empty where there are none.
  type: str
  returned: success
programs:
  description: By name, how each scheduled program ended last, C(good), C(time) and C(message); null for a damaged line.
  type: dict
  returned: success
failed_units:
  description: Wharf's units that systemd counts as failed.
  type: list
  elements: str
  returned: success
listeners:
  description: The programs that listen on the port.
  type: list
  elements: str
  returned: success
engine:
  description: Whether the engine is V(running), V(stopped) or V(absent). Only where it runs, the rest is returned.
  type: str
  returned: success
publishers:
  description: The containers that publish the port.
  type: list
  elements: str
  returned: when the engine runs
container:
  description: The registry's container, C(status), C(exit_code), C(error), C(health), C(published) and C(log), its last
    line where it does not run; null where there is none.
  type: dict
  returned: when the engine runs
data:
  description: The storage as the container sees it, C(place), C(has_id), C(read_only), C(unwritable) (a directory that
    the registry's C(user) may not write), C(owner), C(free) and C(size) in bytes, C(inodes) and C(free_inodes).
  type: dict
  returned: when the engine runs
"""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import data, lock
from ansible_collections.wharf.registry.plugins.module_utils.engine import running_engine

DATA_ID = "/wharf/data"  # where the container has the file that tells whose its data is
REPOSITORIES = "docker/registry/v2/repositories"
BLOBS = "docker/registry/v2/blobs"


def output(*command: str, errors: int = subprocess.DEVNULL) -> str:
    """Return what a program prints; empty where it is not installed."""
    try:
        environment = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, env=environment)
    except FileNotFoundError:
        return ""
    return done.stdout.decode("utf-8", "replace")


def text(path: Path) -> str:
    """Return the text of a file; empty where it cannot be read."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def programs() -> dict[str, dict[str, Any] | None]:
    """Return how each scheduled program ended last; None for a line that is damaged."""
    found = {path.name: lock.read_result(path.name) for path in lock.RESULTS.glob("[!.]*")}
    return {name: result._asdict() if result else None for name, result in sorted(found.items())}


def listeners(port: int) -> list[str]:
    """Return the programs that listen on a port."""
    return sorted(set(re.findall(r'\(\("([^"]*)"', output("ss", "-Hltnp", f"sport = :{port}"))))


def is_read_only(mountinfo: str, place: str) -> bool:
    """Tell whether the last mount at a place is read-only, by /proc/PID/mountinfo."""
    options = ""
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[4] == place:
            options = f"{mount.split()[5]},{source.split()[-1]}"
    return "ro" in options.split(",")


def unwritable(root: str, uid: int, gid: int) -> str:
    """Return a directory of the storage that a user may not write; empty where there is none.

    A process of that user finds out within the container's files, because the image need not have a shell.
    """
    places = [data.MOUNT, f"{data.MOUNT}/{REPOSITORIES}", f"{data.MOUNT}/{BLOBS}"]
    child = os.fork()
    if child == 0:
        wrong = 0
        try:
            os.chroot(root)
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            found = [place for place in places if os.path.exists(place) and not os.access(place, os.W_OK)]
            wrong = places.index(found[0]) + 1 if found else 0
        finally:
            os._exit(wrong)
    wrong = os.WEXITSTATUS(os.waitpid(child, 0)[1])
    return places[wrong - 1] if wrong else ""


def storage(inspected: dict[str, Any] | None, setting: str) -> dict[str, Any]:
    """Return how the storage is, where the container runs as it sees it: a mount that came later is not in it."""
    path = data.mounted_at(inspected) or data.directory(setting)
    data_id = data.mounted_at(inspected, DATA_ID)
    found: dict[str, Any] = {"place": str(path or setting), "has_id": data_id is None or data_id.exists()}
    pid = inspected["State"]["Pid"] if inspected and inspected["State"]["Status"] == "running" else 0
    if pid:
        process = Path(f"/proc/{pid}")
        path = Path(f"{process}/root{data.MOUNT}")
        uid, gid = (int(number) for number in re.findall(r"^[UG]id:\s+\d+\s+(\d+)", text(process / "status"), re.M))
        found["user"] = f"{uid}:{gid}"
        found["unwritable"] = unwritable(f"{process}/root", uid, gid)
        found["read_only"] = is_read_only(text(process / "mountinfo"), data.MOUNT)
    try:
        status, space = path.stat(), os.statvfs(path)
    except (OSError, AttributeError):
        return found
    found["owner"] = f"{status.st_uid}:{status.st_gid}"
    # What others than root may use.
    found.update(size=space.f_blocks * space.f_frsize, free=space.f_bavail * space.f_frsize)
    return {**found, "inodes": space.f_files, "free_inodes": space.f_ffree}


def container(name: str, inspected: dict[str, Any]) -> dict[str, Any]:
    """Return how the registry's container is."""
    state, bindings = inspected["State"], inspected["HostConfig"]["PortBindings"] or {}
    log = ""
    if state["Status"] != "running":
        # A registry that rejects its configuration prints its usage after the reason.
        lines = output("docker", "logs", "--tail", "40", name, errors=subprocess.STDOUT)
        lines = re.split(r"^Usage:", lines, flags=re.MULTILINE)[0].split("\n")
        log = ([line for line in lines if line.strip()] or [""])[-1][:1000]
    return {
        "status": state["Status"],
        "exit_code": state["ExitCode"],
        "error": state["Error"],
        "health": (state.get("Health") or {}).get("Status", ""),
        "published": [binding["HostPort"] for entry in bindings.values() for binding in entry or []],
        "log": log,
    }


def inspect(name: str, port: int, setting: str, tls: Path) -> dict[str, Any]:
    """Return what the server tells.

    Args:
        name: the registry's container.
        port: its port.
        setting: where its data should be.
        tls: the directory of its certificate.
    """
    units = output("systemctl", "list-units", "--failed", "--plain", "--no-legend", "wharf-*.service")
    info: dict[str, Any] = {
        "clock": time.time(),
        "interfaces": json.loads(output("ip", "-json", "address", "show") or "[]"),
        "certificate": text(tls / "registry.crt"),
        "ca": text(tls / "ca.crt"),
        "programs": programs(),
        "failed_units": re.findall(r"^wharf-\S+\.service", units, re.MULTILINE),
        "listeners": listeners(port),
    }
    # An engine that does not run must not be asked: its socket would start it.
    if running_engine() is None:
        return {**info, "engine": "stopped" if shutil.which("dockerd") else "absent"}
    inspected = data.container(name)
    return {
        **info,
        "engine": "running",
        "publishers": output("docker", "ps", "--filter", f"publish={port}", "--format", "{{.Names}}").split(),
        "container": container(name, inspected) if inspected else None,
        "data": storage(inspected, setting),
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
    os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"
    p = module.params
    module.exit_json(changed=False, **inspect(p["container"], p["port"], p["data"], Path(p["tls_directory"])))


if __name__ == "__main__":
    main()

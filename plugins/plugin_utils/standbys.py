"""What connects a registry's server with its standbys, and which images a copy would take away."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.wharf.registry.plugins.module_utils.server_data import COPIED

INFO = "__registry_standby_info"  # what the module registry_standby_info has found on each of them
SETTINGS, HOME = "/etc/wharf/standby", "/var/lib/wharf-standby"
SHOWN = 10


def standby_hosts(hostvars: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return how the server reaches hosts by SSH, as Ansible does, and what was found on them; nothing where none was.

    Args:
        hostvars: what Ansible knows of the hosts.
        names: the hosts.
    """
    return [
        {
            "name": name,
            "address": hostvars[name].get("ansible_host") or name,
            "port": int(hostvars[name].get("ansible_port") or 22),
            "found": hostvars[name].get(INFO) or {},
        }
        for name in names
    ]


def standby_files(
    members: Sequence[Mapping[str, Any]], host: str, server: str, uid: int, ssh_config: str
) -> list[dict[str, Any]]:
    """Return the files that are still to be written on a host, for the module host_files.

    Nothing is pending while what they are made from is not known of the server and of all standbys.

    Args:
        members: the server and its standbys, as standby_hosts() returns them.
        host: the one that this is about.
        server: the registry's server.
        uid: the registry's user.
        ssh_config: the text of the server's configuration of SSH.
    """
    found = {member["name"]: member["found"] for member in members}
    hosts = [name for name in found if name != server]
    key, own, source = found[server].get("public_key"), found[host], found[server].get("data_id")
    if not key or not source or not all(found.values()):
        return []
    if host == server:
        wanted = {
            f"{SETTINGS}/ssh_config": ssh_config,
            f"{SETTINGS}/known_hosts": "".join(f"{name} {found[name]['host_key']}\n" for name in hosts),
            f"{SETTINGS}/standbys.json": json.dumps([{"name": name, "data": found[name]["data"]} for name in hosts])
            + "\n",
        }
    else:
        options = f'restrict,command="/usr/bin/rrsync -no-lock {own["data"]}"'
        wanted = {f"{HOME}/.ssh/authorized_keys": f"{options} {key} {server}\n"}
    files = [{"path": path, "content": text} for path, text in wanted.items() if own["files"].get(path) != text]
    if host != server and own["source"] != source:
        mark = {"source": source, "server": server, "at": 0, "tags": 0}
        files.insert(0, {"path": f"{own['data']}/{COPIED}", "content": json.dumps(mark), "uid": uid, "gid": uid})
    return files


def overwritten_problem(images: Mapping[str, str], kept: Mapping[str, str], host: str, server: str) -> str:
    """Return why a host cannot be made a standby in silence; empty where it has no images.

    Args:
        images: those of the host, digests by REPOSITORY:TAG.
        kept: those of the server.
        host: the host.
        server: the registry's server.
    """
    if not images:
        return ""
    lost = sorted(name for name, digest in images.items() if kept.get(name) != digest)
    more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
    what = f"{server} lacks, or has with another digest, {', '.join(lost[:SHOWN])}{more}" if lost else ""
    return (
        f"wharf_standby_confirm: {host} has {len(images)} images of its own, which are no copy of those of {server},"
        f" and a copy would take their place: {what or f'{server} has all of them'}. Copy first what is still needed"
        f" (playbooks/copy-images.yml), then: -e wharf_standby_confirm={host}"
    )

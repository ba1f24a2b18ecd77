"""What connects a registry's server with its standbys, and which images a copy would take away."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.wharf.registry.plugins.module_utils.lock import local_time
from ansible_collections.wharf.registry.plugins.module_utils.server_data import COPIED

INFO = "__registry_standby_info"  # what the module registry_standby_info has found on each of them
SETTINGS, HOME = "/etc/wharf/standby", "/var/lib/wharf-standby"
SHOWN = 100


def standby_hosts(hostvars: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return how the server reaches hosts by SSH, as Ansible does, and what was found on them; nothing where none was.

    Args:
        hostvars: what Ansible knows of the hosts.
        names: the hosts.
    """
    return [
        {
            "name": name,
            "address": hostvars[name].get("ansible_host") or hostvars[name].get("ansible_ssh_host") or name,
            "port": int(hostvars[name].get("ansible_port") or hostvars[name].get("ansible_ssh_port") or 22),
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
    addresses = {member["name"]: member["address"] for member in members}
    hosts = [name for name in found if name != server]
    key, own, source = found[server].get("public_key"), found[host], found[server].get("data_id")
    if not key or not source or not all(found.values()):
        return []
    if host == server:
        wanted = {
            f"{SETTINGS}/ssh_config": ssh_config,
            f"{SETTINGS}/known_hosts": "".join(f"{name} {found[name]['host_key']}\n" for name in hosts),
            f"{SETTINGS}/standbys.json": json.dumps([{"name": name, "address": addresses[name]} for name in hosts])
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


def promotion(
    found: Mapping[str, Mapping[str, Any]], new: str, answers: bool = False, force: bool = False
) -> dict[str, Any]:
    """Return whether a standby can become the server, and with what.

    Args:
        found: what the module registry_standby_info has found, by host, of the new server and of all standbys.
        new: the host that is to be the server.
        answers: whether the old server, which is none of these, answers all the same.
        force: whether that, and a standby with a newer copy, does not matter.

    Returns:
        "problem", empty where there is none; a "line" for people; "old", the host that is the server until now, empty
        where it is not among these; and "marks", of which data which standbys are copies then.
    """
    own = found[new]
    mark = own.get("mark") or {}
    plan: dict[str, Any] = {"problem": "", "line": "", "old": "", "marks": {}}
    if not mark and own.get("deployed"):
        done = "is about to be the server: the promotion goes on" if own.get("standby_of") else "is the server already"
        return {**plan, "line": f"{new} {done}"}
    if not mark.get("at"):
        problem = f"registry_servers: nothing was ever copied to {new}: name a standby, or run site.yml"
        return {**plan, "problem": problem}
    others = {name: one for name, one in found.items() if name != new and one.get("deployed")}
    source, server = mark["source"], mark["server"] or "the server"
    # One that was fenced by a run that was cut off is a standby of the new one already.
    servers = [name for name, one in others.items() if one["data_id"] == source and one["standby_of"] in ("", new)]
    old = servers[0] if servers else ""
    copies = {name: one["mark"] for name, one in others.items() if one["mark"].get("source") == source}
    newer = [name for name, one in copies.items() if one["at"] > mark["at"]]
    line = f"{new} has {mark['tags']} tags of {server}, as of {local_time(mark['at'])}"
    line += (
        f": before it becomes the server, {old} takes no more pushes and copies a last time"
        if old
        else f": what was pushed to {server} after that is not there"
    )
    problem = ""
    if not (old or force) and not mark["address"]:
        problem = (
            f"registry_standbys: nobody knows where the registry on {server} answers, to ask whether it still takes"
            f" pushes that {new} has not got: see to it that it does not, and go on with -e wharf_promote_force=true"
        )
    elif not (old or force) and newer:
        problem = f"registry_servers: {newer[0]} has a newer copy: promote that one, or -e wharf_promote_force=true"
    elif not (old or force) and answers:
        problem = (
            f"registry_standbys: the registry on {server} ({mark['address']}) still answers, and would take pushes that"
            f" {new} has not got: put it into registry_standbys, so that it takes none and copies a last time, or go on"
            " without it: -e wharf_promote_force=true"
        )
    # Only after a last copy has nobody what the new one lacks; otherwise their images are compared first.
    marks = {name: {**mark, "source": own["data_id"], "server": new, "address": ""} for name in (old, *copies) if old}
    return {"problem": problem, "line": line, "old": old, "marks": marks}


def overwritten_problem(images: Mapping[str, str], kept: Mapping[str, str], host: str, server: str) -> str:
    """Return why a host cannot be made a standby in silence; empty where the server has all its images.

    Args:
        images: those of the host, digests by REPOSITORY:TAG and REPOSITORY@DIGEST.
        kept: those of the server.
        host: the host.
        server: the registry's server.
    """
    lost = sorted(name for name, digest in images.items() if kept.get(name) != digest)
    # What is lost with its tag is named by that.
    tagged = {f"{name.rpartition(':')[0]}@{images[name]}" for name in lost if "@" not in name}
    lost = [name for name in lost if name not in tagged]
    if not lost:
        return ""
    more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
    return (
        f"wharf_standby_confirm: {host} has images that {server} lacks, or has with another digest, and a copy would"
        f" take their place: {', '.join(lost[:SHOWN])}{more}. Push those that are still needed to {server} first, then:"
        f" -e wharf_standby_confirm={host}"
    )

"""Filters of the plays that log in, and the table of the proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


def wharf_users(
    users: Sequence[Mapping[str, str]], directory: str, placeholder: str | None = None
) -> list[dict[str, str]]:
    """Return the registry's users, each with a password.

    Args:
        users: wharf_registry_users, a list of {name, password}; a user without a password got a generated one.
        directory: where the generated passwords lie on the controller, a file for each user.
        placeholder: stands for a password that is still to be generated (in check mode).

    Raises:
        ValueError: a password is not there: it was generated elsewhere, or not yet.
    """
    return [
        {"name": u["name"], "password": u.get("password") or _generated(u["name"], directory, placeholder)}
        for u in users
    ]


def _generated(name: str, directory: str, placeholder: str | None) -> str:
    file = Path(directory, name)
    if file.is_file():
        return file.read_text("utf-8").strip()
    if placeholder is not None:
        return placeholder
    raise ValueError(
        f"wharf_registry_users: {name} has no password, and none was generated into {file}:"
        " run playbooks/deploy-registry.yml from here, or bring the file from where it was run"
    )


def wharf_logins(logins: Sequence[Mapping[str, str]], users: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return wharf_registry_logins, a list of {user, name}, as the role registry_client wants it: with passwords.

    Args:
        logins: system users, each with the name of one of the registry's users.
        users: what wharf_users returns.
    """
    passwords = {user["name"]: user["password"] for user in users}
    return [{"user": item["user"], "name": item["name"], "password": passwords[item["name"]]} for item in logins]


def wharf_proof_cast(
    hostvars: Mapping[str, Any], hosts: Sequence[str], there: Sequence[str], servers: Sequence[str]
) -> dict[str, Any]:
    """Return who does what in the proof: docker where a host has it, otherwise podman, otherwise nothing.

    Args:
        hostvars: holds wharf_client_tools of the hosts that do not take what is found.
        hosts: the hosts of the proof.
        there: those of them that an earlier play has not lost: they alone take part.
        servers: the registry's servers, which have docker whatever they trust.

    Returns:
        pusher (a host, empty when none can), pullers (hosts; the pusher itself when there is no other), tools, a
        mapping of each host to docker, podman, or nothing, and away, the hosts that cannot be reached.
    """
    tools = {}
    for host in hosts:
        said = hostvars[host].get("wharf_client_tools", "auto")
        has = ["docker"] if said == "auto" or host in servers else said
        tools[host] = next((tool for tool in ("docker", "podman") if tool in has and host in there), "")
    able = [host for tool in ("docker", "podman") for host in hosts if tools[host] == tool]
    pusher = able[0] if able else ""
    pullers = [host for host in hosts if host in able[1:]] or able
    return {"pusher": pusher, "pullers": pullers, "tools": tools, "away": [host for host in hosts if host not in there]}


def wharf_proof_table(hostvars: Mapping[str, Any], cast: Mapping[str, Any]) -> list[str]:
    """Return the lines of the proof's table: host, pushed or pulled, digest (its first 12 digits), seconds.

    Args:
        hostvars: holds what push and pull said in __wharf_pushed.stdout and __wharf_pulled.stdout, lines of YAML.
        cast: who did what, from wharf_proof_cast. Hosts that could do neither have a line that says so.
    """
    pushed = yaml.safe_load(hostvars[cast["pusher"]]["__wharf_pushed"]["stdout"])
    rows = [(cast["pusher"], "pushed", pushed["milliseconds"])]
    for host in cast["pullers"]:
        rows.append((host, "pulled", yaml.safe_load(hostvars[host]["__wharf_pulled"]["stdout"])["milliseconds"]))
    width = max(len(host) for host in cast["tools"])
    digest = pushed["digest"][: len("sha256:") + 12]
    why = dict.fromkeys(cast["away"], "it cannot be reached")
    return [f"{host:<{width}}  {verb}  {digest}  {ms / 1000:6.2f} s" for host, verb, ms in rows] + [
        f"{host:<{width}}  not proved: {why.get(host, 'it has neither docker nor podman')}"
        for host, tool in cast["tools"].items()
        if not tool
    ]

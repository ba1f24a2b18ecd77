"""Who moves an image in the smoke test, and the table of its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def smoke_test_plan(
    hostvars: Mapping[str, Any], hosts: Sequence[str], reachable: Sequence[str], servers: Sequence[str]
) -> dict[str, Any]:
    """Return which host pushes and which hosts pull: docker where a host has it, otherwise podman, otherwise nothing.

    Args:
        hostvars: holds wharf_client_tools of the hosts that do not take what is installed.
        hosts: the clients.
        reachable: those of them that an earlier play has not lost: they alone take part.
        servers: the registry's servers, which have docker whatever they trust.

    Returns:
        source (a host, empty when none can push), targets (hosts; the source itself when there is no other), tools, a
        mapping of each host to docker, podman, or nothing, and unreachable, the other hosts.
    """

    def tool(host: str) -> str:
        wanted = "auto" if host in servers else hostvars[host].get("wharf_client_tools", "auto")
        if "auto" in wanted:
            return "docker"
        return next((tool for tool in ("docker", "podman") if tool in wanted), "")

    tools = {host: tool(host) if host in reachable else "" for host in hosts}
    able = [host for tool in ("docker", "podman") for host in hosts if tools[host] == tool]
    return {
        "source": able[0] if able else "",
        "targets": [host for host in hosts if host in able[1:]] or able,
        "tools": tools,
        "unreachable": [host for host in hosts if host not in reachable],
    }


def smoke_test_table(hostvars: Mapping[str, Any], plan: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table: host, pushed or pulled, digest (its first 12 digits), seconds.

    Args:
        hostvars: holds what the module registry_smoke_test returned, in __wharf_pushed and __wharf_pulled.
        plan: what smoke_test_plan returned. Hosts that could neither push nor pull have a line that says so.
    """
    pushed = hostvars[plan["source"]]["__wharf_pushed"]
    moves = [(plan["source"], "pushed", pushed)]
    moves += [(host, "pulled", hostvars[host]["__wharf_pulled"]) for host in plan["targets"]]
    digest = pushed["digest"][: len("sha256:") + 12]
    why = dict.fromkeys(plan["unreachable"], "it cannot be reached")
    width = max(len(host) for host in plan["tools"])
    return [f"{host:<{width}}  {verb}  {digest}  {result['seconds']:6.2f} s" for host, verb, result in moves] + [
        f"{host:<{width}}  not verified: {why.get(host, 'it has neither docker nor podman')}"
        for host, tool in plan["tools"].items()
        if not tool
    ]

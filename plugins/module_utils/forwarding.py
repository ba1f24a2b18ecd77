"""Whether this host lets clients through to the ports that its containers publish.

A connection of the host itself goes another way, and so tells nothing about it.
"""

from __future__ import annotations

import glob
import re
from typing import Any

from .files import read_text
from .firewall import Firewall
from .parts import MIRROR_PORT
from .processes import run

SWITCH = "net.ipv4.ip_forward"
# systemd-sysctl's order, and that of `sysctl --system`: the last one holds.
SYSCTL_FILES = ("/usr/lib/sysctl.d/*.conf", "/run/sysctl.d/*.conf", "/etc/sysctl.d/*.conf", "/etc/sysctl.conf")
ENGINE_CHAIN = "\n:DOCKER "  # without it the engine's proxy takes the packets, which then are not forwarded
TO_ENGINE = re.compile(r"^-A FORWARD .*-j DOCKER(-USER|-FORWARD)?$", re.MULTILINE)

Fault = tuple[str, dict[str, Any]]  # a key of plugin_utils/verdicts.yml, and what its texts name


def rules(table: str) -> str:
    """Return the rules of iptables in a table; empty where there are none, or they cannot be read."""
    status, output = run(["iptables-save", "-t", table], timeout=10)
    return "" if status else output


def is_switched_off() -> bool:
    """Tell whether the kernel forwards nothing."""
    return read_text("/proc/sys/net/ipv4/ip_forward").strip() == "0"


def switch_file() -> str:
    """Return the file that switches forwarding off; empty where there is none."""
    setting = re.compile(r"^\s*-?net[./]ipv4[./]ip_forward\s*=\s*(\d)", re.MULTILINE)
    files = [path for pattern in SYSCTL_FILES for path in sorted(glob.glob(pattern))]
    found = [(path, values[-1]) for path in files if (values := setting.findall(read_text(path)))]
    return found[-1][0] if found and found[-1][1] == "0" else ""


def problem(host: str) -> str:
    """Return why no client would reach a container that publishes a port; empty where nothing is known against it."""
    if not is_switched_off() or ENGINE_CHAIN not in rules("nat"):
        return ""
    where = switch_file()
    return (
        f"{SWITCH} is 0 on {host}{f' (set in {where})' if where else ''}, so that no client gets through to the"
        f" registry's container: set it to 1{' there' if where else ''}, and now: sysctl -w {SWITCH}=1"
    )


def fault(container: str, port: int, info: dict[str, Any], sets_rules: bool) -> Fault | None:
    """Return what on this host may keep clients from a port that a container publishes.

    Args:
        container: the container.
        port: the port.
        info: what the engine says of itself.
        sets_rules: whether it is to set rules.
    """
    nat = rules("nat")
    if is_switched_off() and ENGINE_CHAIN in nat:
        return "forwarding_off", {"file": switch_file()}
    is_known = nat and "nftables" not in str(info.get("FirewallBackend"))
    if is_known and not re.search(rf"^-A DOCKER .*--dport {port} -j DNAT", nat, re.MULTILINE):
        return ("rules_missing" if sets_rules else "rules_off"), {}
    if closed := Firewall(container, port).closed():
        return "forward_dropped", {"blocked": closed[0]}
    filters = rules("filter") if is_known else ""
    is_dropped = re.search(r"^:FORWARD DROP", filters, re.MULTILINE) and not TO_ENGINE.search(filters)
    return ("rules_missing", {}) if is_dropped else None


def mirror_fault(container: str, network: dict[str, Any]) -> Fault | None:
    """Return what the firewall drops of what goes to a mirror's port.

    Args:
        container: the registry's.
        network: the container that publishes its ports, as the engine describes it.
    """
    published = (network["HostConfig"]["PortBindings"] or {}).get(f"{MIRROR_PORT}/tcp") or []
    closed = [line for one in published[:1] for line in Firewall(container, 0, int(one["HostPort"])).closed()]
    return ("mirror_closed", {"blocked": closed[0]}) if closed else None

#!/usr/bin/python
"""Ansible module: what a host has for holding a virtual address, and where the address belongs on it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: virtual_address_info
short_description: Tell what a host has for holding a registry's virtual address
description:
  - One visit that changes nothing tells all that the role virtual_address decides by.
  - Fails where the host could not hold the address.
options:
  address:
    description: The address with its prefix; empty where only what is installed is wanted.
    type: str
    default: ""
  wait:
    description: So many seconds it may last until this host has the address. Otherwise that is an error.
    type: int
    default: 0
  tls: {description: "Whether the gateway speaks TLS, so that who asks it must, too.", type: bool, default: true}
  host: {description: "The host's name, for the messages.", type: str, required: true}
attributes: {check_mode: {support: full}}
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- wharf.registry.virtual_address_info:
    address: 192.0.2.10/24
    host: "{{ inventory_hostname }}"
"""

RETURN = r"""
missing_packages: {description: The packages that are not installed., returned: success, type: list, elements: str}
package_lists: {description: Whether apt knows any package., returned: success, type: bool}
interface: {description: The interface in whose network the address lies., returned: success, type: str}
source: {description: This host's own address there., returned: success, type: str}
peers: {description: Whom the configuration that is there tells of the address., returned: success, type: list}
priority: {description: The priority that it gives this host; 0 where there is none., returned: success, type: int}
server_priority: {description: The one that it knows of the server., returned: success, type: int}
holds: {description: Whether this host has the address now., returned: success, type: bool}
files:
  description: The C(path), C(content) and C(mode) of what is installed, and is root's.
  returned: success
  type: list
  elements: dict
runs: {description: "Whether the service runs, now and after a boot.", returned: success, type: bool}
"""

import ipaddress
import json
import re
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.addresses import neighbour_of
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError, message_of
from ansible_collections.wharf.registry.plugins.module_utils.files import read_entry
from ansible_collections.wharf.registry.plugins.module_utils.processes import has, has_package_lists, must_run, run

CONFIG = Path("/etc/wharf/keepalived/keepalived.conf")
FILES = (CONFIG, CONFIG.with_name("check"), Path("/etc/systemd/system/wharf-keepalived.service"))
SYSTEMD = Path("/run/systemd/system")
ROOT = (0, 0)


def gather(address: str, tls: bool, host: str) -> dict[str, Any]:
    """Return what is there.

    Args:
        address: the virtual address with its prefix; empty where it is not to be held.
        tls: whether the gateway speaks TLS.
        host: the host's name, for the messages.

    Raises:
        WharfError: something only a person can put right.
    """
    files = [found for path in FILES if (found := file_of(path))]
    config = next((one["content"] for one in files if one["path"] == str(CONFIG)), "")
    known = [
        re.search(pattern, config) or ["", ""]
        for pattern in (r"unicast_peer \{([^}]*)\}", r"\n *priority ([0-9]+)\n", r"\n *# The server's: ([0-9]+)\n")
    ]
    interfaces, interface, source = [], "", ""
    if address:
        interfaces = json.loads(must_run(["ip", "-json", "address", "show"], "the addresses cannot be read"))
        interface, source = place_of(address, interfaces, host, bool(config))
    states = [run(["systemctl", verb, "--quiet", FILES[2].name])[0] for verb in ("is-active", "is-enabled")]
    return {
        "missing_packages": missing_packages(tls, host) if address else [],
        "package_lists": has_package_lists(),
        "interface": interface,
        "source": source,
        "peers": known[0][1].split(),
        "priority": int(known[1][1] or 0),
        "server_priority": int(known[2][1] or 0),
        "holds": bool(address) and has_address(interfaces, address),
        "files": files,
        "runs": states == [0, 0],
    }


def file_of(path: Path) -> dict[str, str] | None:
    """Return a file as the role writes it; None where it is missing, or is not root's."""
    entry = read_entry(str(path))
    if not entry or entry[:2] != ROOT or entry.mode < 0 or entry.content is None:
        return None
    return {"path": str(path), "content": entry.content.decode("utf-8", "replace"), "mode": f"{entry.mode:04o}"}


def has_address(interfaces: list[dict[str, Any]], address: str) -> bool:
    """Tell whether one of the interfaces has an address."""
    wanted = str(ipaddress.ip_interface(address).ip)
    return any(wanted == one.get("local") for interface in interfaces for one in interface.get("addr_info", []))


def place_of(address: str, interfaces: list[dict[str, Any]], host: str, is_configured: bool) -> tuple[str, str]:
    """Return the interface that a virtual address belongs on, and the host's own address there. Raises WharfError."""
    if not is_configured and has_address(interfaces, address):
        raise WharfError(
            f"wharf_virtual_address: {address} is an address of {host} already: use one that no host has, or take it"
            " from that one"
        )
    wanted = ipaddress.ip_interface(address)
    interface, place = neighbour_of(interfaces, str(wanted.ip))
    if not place:
        raise WharfError(
            f"wharf_virtual_address: {address} lies in no network that {host} has an address in: use one of a network"
            " that the server and its standbys share"
        )
    source, _, prefix = place.partition("/")
    # With a narrower one what the host itself sends would come from the virtual address.
    if int(prefix) != wanted.network.prefixlen:
        raise WharfError(
            f"wharf_virtual_address: {address} has another prefix than {host} has there, {place}: use"
            f" {wanted.ip}/{prefix}"
        )
    return interface, source


def missing_packages(tls: bool, host: str) -> list[str]:
    """Return the packages that are missing. Raises WharfError where nothing could install or start them."""
    missing = [name for name in ("keepalived", *(["openssl"] if tls else [])) if not has(name)]
    if not SYSTEMD.is_dir():
        raise WharfError(f"wharf_virtual_address: needs systemd, which does not run on {host}: leave it out")
    if missing and not has("apt-get"):
        raise WharfError(f"{' and '.join(missing)}: must be installed on {host} first, which has no apt-get")
    return missing


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "default": ""},
            "wait": {"type": "int", "default": 0},
            "tls": {"type": "bool", "default": True},
            "host": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        seconds, given = module.params["wait"], {name: module.params[name] for name in ("address", "tls", "host")}
        found = gather(**given)
        end = time.monotonic() + seconds
        while seconds and not found["holds"]:
            if time.monotonic() > end:
                raise WharfError(
                    f"wharf_virtual_address: {given['host']} has not got {given['address']}: see there what"
                    f" {FILES[1]} and journalctl --unit {FILES[2].name} tell"
                )
            time.sleep(0.5)
            found = gather(**given)
        module.exit_json(changed=False, **found)
    except (WharfError, OSError, ValueError) as error:
        module.fail_json(msg=message_of(error))


if __name__ == "__main__":
    main()

"""The filter of the play that takes a registry away."""

from __future__ import annotations

from collections.abc import Sequence


def wharf_other_registries(lines: Sequence[str], own: Sequence[str], container: str) -> list[str]:
    """Return what a host has of other registries than the one that goes.

    :param lines: files of clients' trust, ``"registry_client NAME:PORT"`` where daemon.json has an entry, and
        ``container NAME``, as remove-registry.yml looks for them.
    :param own: what the registry is called and was called before, NAME:PORT each.
    :param container: its container here, empty where the host is no server of it.
    :returns: the lines that are about none of these.
    """
    gone = {f"container {container}"}
    for name in own:
        gone |= {f"/etc/{tool}/certs.d/{name}/wharf-ca.crt" for tool in ("docker", "containers", "containerd")}
        gone |= {
            f"/etc/containers/registries.conf.d/wharf-{name.replace(':', '_')}.conf",
            f'"registry_client {name}"',
        }
    return [line for line in lines if line not in gone]

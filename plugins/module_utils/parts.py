"""The containers of a registry on its server: their names, and the sockets between them.

There are three. The registry itself has no port: it listens on a unix socket. The gateway, nginx, knows the users and
passes to it what they may do. The network only holds the published port, so that a new gateway can stand beside the old
one: containers that join its network share the port.
"""

from __future__ import annotations

import os
import pwd
from typing import Any

USER = "wharf-registry"  # what the user of registry and gateway is called where a standby makes it need a name
# What a host has of the copying to standbys: the server's settings, the home of that user, what the server remembers.
COPYING = ("/etc/wharf/standby", "/var/lib/wharf-standby", "/var/lib/wharf/standby")
PARTS = ("registry", "network", "gateway")  # in the order in which they start
SOCKETS = "/var/lib/wharf/sockets"  # of the registry's containers
SOCKETS_INSIDE = "/wharf/sockets"
SLOTS = ("a", "b")  # the sockets that the registry has by turns: a new container of it starts beside the old one
STAND_INS = ("reads", "writes", "collect-garbage")  # containers beside the registry's during a collection
# What the gateway serves besides the registry: its page, which `wharf index` writes, and figures, by `wharf metrics`.
INDEX = "/var/lib/wharf/index"
INDEX_INSIDE = "/wharf/index"
METRICS = "/var/lib/wharf/metrics"
METRICS_INSIDE = "/wharf/metrics"
# Of the caches: what they have, their sockets and their configurations.
CACHES_INSIDE = "/wharf/caches"
CACHE_SOCKETS = "/var/lib/wharf/cache-sockets"
CACHE_SOCKETS_INSIDE = "/wharf/cache-sockets"
# Below which their API lies: what is sent for a cache to the registry itself, which has none, reaches nothing.
CACHE_PREFIX = "/cache"
CACHES_CONFIG = "/etc/wharf/caches"
PORT = 5000  # within the containers
# Of the gateway, where there are other servers on the same store.
PEERS_FILES = ("peers.crt", "peers.key", "peers.conf", "peers-listen.conf")
STORE_FILES = ("credentials", "store-ca.crt")  # of the registry: of the store that its images lie in
MIRROR_PORT = 5001
# What the gateway says by itself, by which it can be told from the registry.
DENIED = "this user may not do that here"
NO_REGISTRY = "the registry behind the gateway does not answer"
PLAIN_HTTP = "Client sent an HTTP request to an HTTPS server"  # in the words of Go's servers, which clients know
DRAIN_SECONDS = 60  # how long what is replaced may take to finish what it has begun


def container_names(container: str) -> dict[str, str]:
    """Return the names of the containers of a registry, by part."""
    return {"registry": container, "network": f"{container}-network", "gateway": f"{container}-gateway"}


def has_copied() -> bool:
    """Tell whether this host has something of the copying between a server and its standbys."""
    try:
        home = pwd.getpwnam(USER).pw_dir  # an administrator's own has another
    except KeyError:
        home = ""
    return any(map(os.path.exists, COPYING)) or home == COPYING[1]


def is_ours(container: dict[str, Any]) -> bool:
    """Tell whether Wharf made a container, whatever its name is."""
    return "wharf.config" in (container["Config"].get("Labels") or {})


def has_port(container: dict[str, Any]) -> bool:
    """Tell whether a container publishes ports, as the registry's own did before it had a gateway."""
    return bool(container["HostConfig"].get("PortBindings"))


def published(container: dict[str, Any]) -> list[dict[str, str]]:
    """Return where a container publishes its ports: of each the HostIp, which may be empty, and the HostPort."""
    return [one for entry in (container["HostConfig"].get("PortBindings") or {}).values() for one in entry or []]


def slot_of(container: dict[str, Any] | None) -> str:
    """Return the slot of a registry's container; the second where it has none, so that the first is the next one."""
    return next((slot for slot in SLOTS if container and address(slot) in (container["Config"]["Env"] or [])), SLOTS[1])


def address(slot: str) -> str:
    """Return the variable that tells a registry where to listen."""
    return f"REGISTRY_HTTP_ADDR={SOCKETS_INSIDE}/{slot}.sock"

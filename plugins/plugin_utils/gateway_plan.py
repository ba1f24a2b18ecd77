"""What the template of the gateway's configuration is filled with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.wharf.registry.plugins.module_utils.access import gateway_tables, reading_class
from ansible_collections.wharf.registry.plugins.module_utils.caches import HUB, SHELF
from ansible_collections.wharf.registry.plugins.module_utils.gateway import (
    OWN_SOCKET,
    PEERS_NAME,
    PEERS_SOCKET,
)
from ansible_collections.wharf.registry.plugins.module_utils.parts import (
    CACHE_PREFIX,
    CACHE_SOCKETS_INSIDE,
    CACHES_INSIDE,
    DENIED,
    INDEX_INSIDE,
    METRICS_INSIDE,
    NO_REGISTRY,
    PLAIN_HTTP,
)
from ansible_collections.wharf.registry.plugins.module_utils.references import PART, PATH

_REFERENCE = "[A-Za-z0-9_.:=+-]+"  # a tag or a digest; the registry itself says which are none
# What the paths of requests look like behind /v2/NAME/. Source: distribution, registry/api/v2/descriptors.go. Each path
# is of one kind at most, because what stands behind the name has no slash but those that are written here.
KINDS = {
    "tags": "tags/list",
    "manifest": f"manifests/{_REFERENCE}",
    "blob": f"blobs/{_REFERENCE}",
    "uploads": "blobs/uploads/",
    "upload": "blobs/uploads/[A-Za-z0-9_.=-]+",
    "referrers": f"referrers/{_REFERENCE}",
}
# Of a path, in characters: /v2/, a name of 255, /blobs/uploads/ and the longest reference have less.
LONGEST_PATH = 600
# What the gateway answers by itself: the name of the location, the status, and OCI's code and a message.
ERRORS = (
    ("plain_http", 400, "UNSUPPORTED", PLAIN_HTTP),
    ("unauthorized", 401, "UNAUTHORIZED", "a user and a password are needed"),
    ("denied", 403, "DENIED", DENIED),
    ("unknown", 404, "NAME_UNKNOWN", "a registry has nothing of this form"),
    ("unsupported", 405, "UNSUPPORTED", "a registry does not do this"),
    ("busy", 429, "TOOMANYREQUESTS", "too many connections from this address"),
    ("unavailable", 503, "UNAVAILABLE", NO_REGISTRY),
)
# And of caches. A registry that fetches for others does not tell why it has not got a tag.
CACHE_ERRORS = (
    ("cache_written", 405, "UNSUPPORTED", "$cache is the cache of another registry: nothing is pushed or deleted here"),
    (
        "not_cached",
        404,
        "MANIFEST_UNKNOWN",
        "the upstream of the cache $cache does not give this, and it is not in the cache: there is no such image, or it"
        " wants a login, or the upstream is not reached",
    ),
    (
        "upstream_away",
        503,
        "UNAVAILABLE",
        "the upstream of the cache $cache does not answer or refuses this, and it is not in the cache",
    ),
)
OFFLINE_ERRORS = (
    ("not_brought", 404, "MANIFEST_UNKNOWN", "this is not in the cache $cache, which has no upstream here"),
)
# What a standby answers to all that writes, instead of what a registry does about methods that it does not know.
STANDBY = (
    "this is a standby of {0} and takes no pushes and no deletions: use {0}, to which the name of the registry should"
    " lead, or have this standby promoted"
)
UPSTREAM_SECONDS = 10  # that an upstream may take for its next byte


def gateway_plan(
    *,
    tls: bool,
    blobs: str,
    users: Sequence[Mapping[str, Any]],
    rules: Sequence[Mapping[str, Any]],
    log_pulls: bool,
    page: bool,
    metrics_addresses: Sequence[str],
    caches: Sequence[str],
    offline: Sequence[str],
    open_caches: bool,
    mirror: bool,
    standby_of: str,
    peers: bool = False,
) -> dict[str, Any]:
    """Return what the template is filled with.

    Args:
        tls: whether the gateway speaks TLS.
        blobs: where the container has docker/registry/v2 of the storage, from which it serves blobs; empty for none.
        users: the registry's users, with their roles; none for a registry that is open to everybody.
        rules: who may do what where; see module_utils/access.py.
        log_pulls: whether pulls are logged, too.
        page: whether the registry's page is served.
        metrics_addresses: addresses and networks from which figures are read without a password.
        caches: the names of the caches of other registries.
        offline: those of them that have no upstream, but only what bundles have brought.
        open_caches: whether these are read without a password.
        mirror: whether that of Docker Hub is a mirror as well, at a port of its own.
        standby_of: the server that this one is a standby of; empty for none.
        peers: whether there are other servers on the same store, which serve where the registry here does not answer.
    """
    tables = gateway_tables(users, rules)
    errors = [*ERRORS, *(CACHE_ERRORS if caches else ()), *(OFFLINE_ERRORS if offline else ())]
    if standby_of:
        errors = [(*error[:3], STANDBY.format(standby_of)) if error[0] == "unsupported" else error for error in errors]
    levels = [[_quoted(key), level] for key, level in tables["levels"]]
    return {
        "tls": tls,
        "blobs": blobs,
        "log_pulls": log_pulls,
        "page": page,
        "index": INDEX_INSIDE,
        "metrics": METRICS_INSIDE,
        "metrics_addresses": sorted(set(metrics_addresses)),
        "users": bool(users),
        "rules": tables["rules"],
        "levels": levels,
        # Behind a colon no name is one of nginx's special words. Who is not among them reads nothing.
        "classes": [[_quoted(f":{user['name']}"), reading_class(users, rules, user["name"])] for user in users],
        # nginx wants some room; a number that fits does not change with each user, which would reload it.
        "hash_size": 2 ** max(11, (4 * len(levels)).bit_length()),
        "longest": LONGEST_PATH,
        "part": PART,
        "name": PATH,
        "kinds": KINDS,
        "caches": [{"name": name, "pattern": re.escape(name), "offline": name in offline} for name in caches],
        "errors": errors,
        "shelf": {"name": SHELF},
        "open_caches": bool(caches) and open_caches and bool(users),
        "mirror": mirror,
        "takes_pushes": not standby_of,
        "mirrored": HUB,
        "own_socket": OWN_SOCKET,
        "peers": peers,
        "peers_name": PEERS_NAME,
        "peers_socket": PEERS_SOCKET,
        "cache_prefix": CACHE_PREFIX,
        "cache_sockets": CACHE_SOCKETS_INSIDE,
        "cache_storage": CACHES_INSIDE,
        "upstream_seconds": UPSTREAM_SECONDS,
    }


def _quoted(text: str) -> str:
    """Return a text as nginx reads it in quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

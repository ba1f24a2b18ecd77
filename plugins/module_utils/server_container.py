"""What the registry's containers are to be, and in what others differ from that."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from .containers import SECURITY
from .files import read_text
from .parts import (
    CACHE_SOCKETS,
    CACHE_SOCKETS_INSIDE,
    CACHES_INSIDE,
    INDEX,
    INDEX_INSIDE,
    METRICS,
    METRICS_INSIDE,
    MIRROR_PORT,
    PORT,
    SLOTS,
    SOCKETS,
    SOCKETS_INSIDE,
    address,
)

# What the modules registry_info and registry_container are told of the registry.
REGISTRY_SPEC: dict[str, Any] = {
    "container": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "listen": {"type": "list", "elements": "str", "default": []},
    "tls": {"type": "bool", "required": True},
    "tls_directory": {"type": "path", "required": True},
    "directory": {"type": "path", "required": True},
    "gateway_directory": {"type": "path", "required": True},
    "data": {"type": "str", "required": True},
    "uid": {"type": "int", "required": True},
    "memory_limit": {"type": "int", "required": True},
    "image": {"type": "str", "required": True},
    "gateway_image": {"type": "str", "required": True},
    "config": {"type": "str", "required": True, "no_log": True},
    "gateway_config": {"type": "str", "required": True},
    "page": {"type": "bool", "required": True},
    "has_network": {"type": "bool", "required": True},
    "users": {"type": "str", "required": True, "no_log": True},
    "bcrypt_cost": {"type": "int", "required": True},
    "settings": {"type": "str", "required": True},
}
# A container of the registry that fetches from another one, or that serves what was fetched; see caches.py.
CACHE_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "config": {"type": "str", "default": "", "no_log": True},
    "ca": {"type": "str", "default": ""},
    "environment": {"type": "list", "elements": "str", "default": [], "no_log": True},
    "size": {"type": "int", "default": 0},
    "offline": {"type": "bool", "default": False},  # without a container: it has only what bundles have brought
}
REGISTRY_SPEC |= {
    "caches": {"type": "list", "elements": "dict", "options": CACHE_SPEC, "default": []},
    "caches_data": {"type": "path", "default": ""},
    "mirror_port": {"type": "int", "default": 0},
}
# Of the store that its images lie in, if that is none of this host's, and of the other servers on it.
REGISTRY_SPEC |= {
    "store": {"type": "str", "default": ""},  # the name of its host
    "credentials": {"type": "str", "default": "", "no_log": True},
    "store_ca": {"type": "str", "default": ""},
    "peers": {"type": "list", "elements": "str", "default": []},
    "peers_certificate": {"type": "str", "default": ""},
    "peers_key": {"type": "str", "default": "", "no_log": True},
    "http_secret": {"type": "str", "default": "", "no_log": True},  # empty for one of this server's own
}
HOSTS = "/etc/hosts"
_MIGRATE = "net/ipv4/tcp_migrate_req"  # connections that nobody has accepted go to the other gateway; since Linux 5.14


def listens_on(listen: list[str]) -> list[str]:
    """Return the addresses to publish the port on: an empty one stands for all, of both families.

    127.0.0.1 is always among them: there the server itself asks the registry.
    """
    if not listen:
        return [""]
    return listen if {"0.0.0.0", "127.0.0.1"}.intersection(listen) else [*listen, "127.0.0.1"]


def config_hash(config: str) -> str:
    """Return the SHA-256 of a configuration, which the container bears as its label wharf.config."""
    return hashlib.sha256(config.encode()).hexdigest()


def settings(registry: dict[str, Any], part: str, slot: str = SLOTS[0], network: str = "") -> dict[str, Any]:
    """Return what the engine is to create, in the words of its API.

    Args:
        registry: values for REGISTRY_SPEC.
        part: which of PARTS.
        slot: of the registry.
        network: the container whose network the gateway joins.
    """
    if part == "registry":
        return _registry(registry, slot)
    return _network(registry) if part == "network" else _gateway(registry, network)


def _container(registry: dict[str, Any], own: dict[str, Any], host: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a container with what all have: no rights, a file system that nobody writes to."""
    return {
        "User": f"{registry['uid']}:{registry['uid']}",
        # It would run a program of the image, which need not hold another one. Whoever wants to know asks the registry
        # itself, as clients do: it answers with an error when its storage fails.
        "Healthcheck": {"Test": ["NONE"]},
        **own,
        "HostConfig": {
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": SECURITY,
            # The files that it has mounted belong to the host's users, also where the engine maps those of containers.
            "UsernsMode": "host",
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
            # Also after a reboot during a collection.
            "RestartPolicy": {"Name": "always"},
            **host,
        },
    }


def _registry(registry: dict[str, Any], slot: str) -> dict[str, Any]:
    memory, data = registry["memory_limit"], registry["data"]
    # Docker would make an empty directory of a bind that is missing, and the registry would start without its images:
    # this mount keeps the container from starting where the data's disk is not mounted.
    data_id = {"Type": "bind", "Source": f"{data}/.wharf", "Target": "/wharf/data", "ReadOnly": True}
    own = {
        "Image": registry["image"],
        "Cmd": ["serve", "/wharf/config/config.yml"],
        "Env": [
            address(slot),
            f"REGISTRY_HTTP_SECRET={registry['http_secret'] or read_text(secret_file(registry))}",
            # The garbage collector runs late, but never so late that the memory limit is met.
            "GOGC=400",
            f"GOMEMLIMIT={int((memory or 500 * 1024**2) * 0.8)}",
            "OTEL_TRACES_EXPORTER=none",  # version 3 looks for a collector of traces otherwise
            # Files, which are in no list of processes and containers.
            *(["AWS_SHARED_CREDENTIALS_FILE=/wharf/config/credentials"] if registry["credentials"] else []),
            *(["SSL_CERT_FILE=/wharf/config/store-ca.crt"] if registry["store_ca"] else []),
        ],
        # A changed file means another label, and that another container: also when an earlier run was cut off between
        # the file and the container.
        "Labels": {"wharf.config": config_hash(registry["config"]), **_store_label(registry)},
    }
    binds = [f"{registry['directory']}:/wharf/config:ro", f"{SOCKETS}:{SOCKETS_INSIDE}", _data_bind(data)]
    host = {
        "Memory": memory,
        "Binds": binds,
        "Mounts": [data_id] if data.startswith("/") else [],
        **({} if registry["has_network"] else {"NetworkMode": "none"}),
        **_store_host(registry["store"]),
    }
    return _container(registry, own, host)


def _store_label(registry: dict[str, Any]) -> dict[str, str]:
    """Return the label by which a registry gets another container when it is to know its store by other secrets."""
    known = f"{registry['credentials']}\n{registry['store_ca']}"
    return {"wharf.store": config_hash(known)} if registry["store"] else {}


def _store_host(store: str) -> dict[str, list[str]]:
    """Return what lets a container know the store's address where only this host's own file has its name."""
    lines = [line.partition("#")[0].split() for line in read_text(HOSTS).splitlines()]
    found = [words[0] for words in lines if store and store in words[1:] and not words[0].startswith("127.")]
    return {"ExtraHosts": [f"{store}:{found[0]}"]} if found else {}


def _network(registry: dict[str, Any]) -> dict[str, Any]:
    ports = {f"{PORT}/tcp": registry["port"]}
    if registry["mirror_port"]:
        ports[f"{MIRROR_PORT}/tcp"] = registry["mirror_port"]
    own = {
        "Image": registry["gateway_image"],
        "Entrypoint": ["/usr/sbin/nginx"],
        "Cmd": ["-c", "/wharf/gateway/network.conf"],
        "Labels": {"wharf.config": "network"},
        "ExposedPorts": {inside: {} for inside in ports},
    }
    published = {
        inside: [{"HostIp": one, "HostPort": str(port)} for one in listens_on(registry["listen"])]
        for inside, port in ports.items()
    }
    host = {
        "PortBindings": published,
        "Binds": [f"{registry['gateway_directory']}:/wharf/gateway:ro"],
        "Tmpfs": _tmpfs(registry),
        "Sysctls": {_MIGRATE.replace("/", "."): "1"} if os.path.exists(f"/proc/sys/{_MIGRATE}") else {},
    }
    return _container(registry, own, host)


def _gateway(registry: dict[str, Any], network: str) -> dict[str, Any]:
    tls = [f"{registry['tls_directory']}:/wharf/tls:ro"] if registry["tls"] else []
    own = {
        "Image": registry["gateway_image"],
        "Entrypoint": ["/usr/sbin/nginx"],
        "Cmd": ["-c", "/wharf/gateway/nginx.conf"],
        "Labels": {"wharf.config": "gateway"},
        "StopSignal": "SIGQUIT",  # it ends what it has begun
    }
    directory = registry["gateway_directory"]
    binds = [
        f"{directory}:/wharf/gateway:ro",
        f"{SOCKETS}:{SOCKETS_INSIDE}:ro",
        *tls,
        f"{METRICS}:{METRICS_INSIDE}:ro",
        *([f"{INDEX}:{INDEX_INSIDE}:ro"] if registry["page"] else []),
        *([f"{CACHE_SOCKETS}:{CACHE_SOCKETS_INSIDE}:ro"] if registry["caches"] else []),
        _data_bind(registry["data"], "ro"),
    ]
    caches = {"Type": "bind", "Source": registry["caches_data"], "Target": CACHES_INSIDE, "ReadOnly": True}
    host = {
        "NetworkMode": f"container:{network}",
        "Binds": binds,
        **({"Mounts": [caches]} if registry["caches"] else {}),
        "Tmpfs": _tmpfs(registry),
    }
    return _container(registry, own, host)


def cache_container(
    registry: dict[str, Any], cache: dict[str, Any], config: str, socket: str, is_shelf: bool
) -> dict[str, Any]:
    """Return what the engine is to create for a cache.

    Args:
        registry: values for REGISTRY_SPEC.
        cache: values for CACHE_SPEC.
        config: the directory of its configuration.
        socket: the directory of its socket.
        is_shelf: whether it only serves what is there, and needs no network.
    """
    own = {
        "Image": registry["image"],
        "Cmd": ["serve", "/wharf/config/config.yml"],
        "Env": [
            "GOGC=400",
            "OTEL_TRACES_EXPORTER=none",
            *(["SSL_CERT_DIR=/wharf/config/ca"] if cache["ca"] else []),
            *cache["environment"],
        ],
        "Labels": {"wharf.config": config_hash("\n".join([cache["config"], cache["ca"], *cache["environment"]]))},
    }
    # Not a bind in Docker's short form, which would make a directory of what is missing.
    data = {"Type": "bind", "Source": registry["caches_data"], "Target": CACHES_INSIDE}
    host = {
        "Memory": registry["memory_limit"],
        "Binds": [f"{config}:/wharf/config:ro", f"{socket}:/wharf/socket"],
        "Mounts": [data | ({"ReadOnly": True} if is_shelf else {})],
        # The host's own: its names, its /etc/hosts and a proxy on its loopback are what people know to work.
        "NetworkMode": "none" if is_shelf else "host",
    }
    return _container(registry, own, host)


def _data_bind(data: str, *options: str) -> str:
    # An engine that mounts an empty volume for the first time would give it the owner that the image's directory has.
    words = [*options, *([] if data.startswith("/") else ["nocopy"])]
    return f"{data}:/var/lib/registry{':' if words else ''}{','.join(words)}"


def _tmpfs(registry: dict[str, Any]) -> dict[str, str]:
    options = f"mode=0700,uid={registry['uid']},gid={registry['uid']},size=16m"
    return {"/tmp": options, "/var/log/nginx": options}  # what nginx is built with, and opens before it reads its file


def secret_file(registry: dict[str, Any]) -> str:
    """Return where the secret lies with which the registry signs the state of uploads: it outlives containers."""
    return f"{os.path.realpath(registry['directory'])}/http-secret"


def differences(wanted: dict[str, Any], found: dict[str, Any], image_id: str) -> list[str]:
    """Return in what a container differs from its settings() and the ID of the wanted image, by the engine's names.

    Args:
        wanted: from settings().
        found: what the engine knows of it.
        image_id: the ID that the image must have; empty where any will do.
    """
    known = {**found["Config"], **found["HostConfig"]}
    flat = {**wanted, **wanted["HostConfig"], "Image": image_id or found["Image"]}
    known["Image"] = found["Image"]
    # The image has variables of its own.
    if "Env" in flat:
        known["Env"] = [word for word in known.get("Env") or [] if word in wanted["Env"]]
    # A port that is not wanted any more is published all the same.
    published = {*(flat.get("PortBindings") or {})} ^ {*(known.get("PortBindings") or {})}
    return sorted(
        key
        for key, value in flat.items()
        if key != "HostConfig" and (_differs(value, known.get(key)) or (key == "PortBindings" and published))
    )


def _differs(wanted: Any, found: Any) -> bool:
    """Tell whether a value is not as wanted; the engine may know more of an object than was asked for."""
    if isinstance(wanted, dict):
        if not wanted and not found:
            return False
        return not isinstance(found, dict) or any(_differs(value, found.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        found = found or []
        return len(wanted) != len(found) or any(_differs(one, other) for one, other in zip(wanted, found))
    return wanted != found

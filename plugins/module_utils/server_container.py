"""What the registry's container is to be, and in what another one differs from that."""

from __future__ import annotations

import hashlib
from typing import Any

from ansible.module_utils.common.text.formatters import human_to_bytes

from .containers import SECURITY

# What the modules registry_info and registry_container are told of the registry.
REGISTRY_SPEC: dict[str, Any] = {
    "container": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "listen": {"type": "list", "elements": "str", "default": []},
    "tls": {"type": "bool", "required": True},
    "tls_directory": {"type": "path", "required": True},
    "directory": {"type": "path", "required": True},
    "data": {"type": "str", "required": True},
    "uid": {"type": "int", "required": True},
    "memory_limit": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "config": {"type": "str", "required": True, "no_log": True},
    "users": {"type": "str", "required": True, "no_log": True},
    "bcrypt_cost": {"type": "int", "required": True},
    "settings": {"type": "str", "required": True},
}


def is_ours(container: dict[str, Any]) -> bool:
    """Tell whether Wharf made a container, whatever its name is."""
    return "wharf.config" in (container["Config"].get("Labels") or {})


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


def settings(registry: dict[str, Any]) -> dict[str, Any]:
    """Return what the engine is to create, in the words of its API, for values of REGISTRY_SPEC."""
    memory, data = human_to_bytes(registry["memory_limit"] or 0), registry["data"]
    is_directory = data.startswith("/")
    # Docker would make an empty directory of a bind that is missing, and the registry would start without its images:
    # this mount keeps the container from starting where the data's disk is not mounted.
    data_id = {"Type": "bind", "Source": f"{data}/.wharf", "Target": "/wharf/data", "ReadOnly": True}
    return {
        "Image": registry["image"],
        "Cmd": ["serve", "/wharf/config/config.yml"],
        "User": f"{registry['uid']}:{registry['uid']}",
        "Env": [
            # The garbage collector runs late, but never so late that the memory limit is met.
            "GOGC=400",
            f"GOMEMLIMIT={int((memory or 500 * 1024**2) * 0.8)}",
            "OTEL_TRACES_EXPORTER=none",  # version 3 looks for a collector of traces otherwise
        ],
        # A changed file means another label, and that another container: also when an earlier run was cut off between
        # the file and the container. The users' file has none: the registry reads it again by itself. Nor has the
        # certificate: whatever renews it may have restarted the container already.
        "Labels": {"wharf.config": config_hash(registry["config"])},
        "ExposedPorts": {"5000/tcp": {}},
        # It would run a program of the image, which need not hold any but the registry. Whoever wants to know asks the
        # registry itself, as clients do: it answers with an error when its storage fails.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": SECURITY,
            "Memory": memory,
            # The files that it has mounted belong to the host's users, also where the engine maps those of containers.
            "UsernsMode": "host",
            "PortBindings": {
                "5000/tcp": [
                    {"HostIp": address, "HostPort": str(registry["port"])} for address in listens_on(registry["listen"])
                ]
            },
            # An engine that mounts an empty volume for the first time would give it the owner that the image's
            # directory has.
            "Binds": [*read_only_binds(registry), f"{data}:/var/lib/registry{'' if is_directory else ':nocopy'}"],
            "Mounts": [data_id] if is_directory else [],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
            # Also after a reboot during a collection, for which the container had been stopped.
            "RestartPolicy": {"Name": "always"},
        },
    }


def read_only_binds(registry: dict[str, Any]) -> list[str]:
    """Return the configuration's directories as the container has them."""
    tls = [f"{registry['tls_directory']}:/wharf/tls:ro"] if registry["tls"] else []
    return [f"{registry['directory']}:/wharf/config:ro", *tls]


def differences(wanted: dict[str, Any], found: dict[str, Any], image_id: str) -> list[str]:
    """Return in what a container differs from its settings() and the ID of the wanted image, by the engine's names."""
    known = {**found["Config"], **found["HostConfig"]}
    flat = {**wanted, **wanted["HostConfig"], "Image": image_id}
    known["Image"] = found["Image"]
    # The image has variables of its own.
    known["Env"] = [word for word in known.get("Env") or [] if word in wanted["Env"]]
    return sorted(key for key, value in flat.items() if key != "HostConfig" and _differs(value, known.get(key)))


def _differs(wanted: Any, found: Any) -> bool:
    """Tell whether a value is not as wanted; the engine may know more of an object than was asked for."""
    if isinstance(wanted, dict):
        return not isinstance(found, dict) or any(_differs(value, found.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        found = found or []
        return len(wanted) != len(found) or any(_differs(one, other) for one, other in zip(wanted, found))
    return wanted != found

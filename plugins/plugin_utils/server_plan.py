"""What the role registry_server is to make of its settings, and what in them cannot work."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.text.formatters import human_to_bytes
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.utils.vars import merge_hash

from ansible_collections.wharf.registry.plugins.module_utils.caches import slug
from ansible_collections.wharf.registry.plugins.module_utils.server_container import REGISTRY_SPEC
from ansible_collections.wharf.registry.plugins.module_utils.server_versions import config_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.access import access_lines, normalized, rule_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.caches_plan import (
    CACHES_DATA,
    cache_problems,
    caches_plan,
    is_offline,
    known_caches,
    mirror_problems,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.credentials import directory_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.gateway_plan import gateway_plan
from ansible_collections.wharf.registry.plugins.plugin_utils.images import (
    EXAMPLES,
    archive_images,
    archive_problems,
    image_problems,
    major_of,
    version_in,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.names import (
    listen_problems,
    name_problems,
    network_problems,
    port_problems,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.paths import data_problems, own_directory_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.programs import NO_DRIVERS, storage_driver
from ansible_collections.wharf.registry.plugins.plugin_utils.server_variables import memory_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.stores import (
    known_store,
    s3_config,
    secrets_problems,
    several_servers,
    storage_problems,
    store_files,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.users import (
    cost_problems,
    generated_problems,
    passwords_of,
    user_problems,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.values import absent, shown

# What stands in messages of the gateway, in its quotes, and is a host's name to SSH.
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]*")
# What the role builds from the distribution's packages.
DISTRO_IMAGES = {"registry": "wharf-registry:distro", "gateway": "wharf-gateway:distro"}
# Sections of the registry's configuration with which it asks others than its own storage.
NEED_NETWORK = ("redis", "notifications", "proxy")
# Of a standby, whose gateway refuses pushes already: for whoever gets around that.
READ_ONLY = {"storage": {"maintenance": {"readonly": {"enabled": True}}}}


def server_plan(settings: Mapping[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Return what to deploy.

    Args:
        settings: the role's variables, without their prefix.
        base: the role's own configuration of the registry.

    Returns:
        What RETURN of the filter says.
    """
    tls = boolean(settings["tls"])
    images, version, image_faults = _images(settings)
    own_config, users = settings["config"] or {}, settings["users"]
    keys = config_keys(own_config)
    problems = [
        *name_problems(settings["name"], "registry_server_name"),
        *port_problems(settings["port"], "registry_server_port"),
        *listen_problems(settings["listen"], "registry_server_listen"),
        *user_problems(
            settings["users"],
            "registry_server_users",
            boolean(settings["anonymous"]),
            boolean(settings["tls"]),
            settings["bcrypt_cost"],
        ),
        *rule_problems(
            settings["rules"], "registry_server_rules", users, boolean(settings["anonymous"]), settings["name"]
        ),
        *cost_problems(settings["bcrypt_cost"], "registry_server_bcrypt_cost"),
        *data_problems(settings["data"], "registry_server_data"),
        *network_problems(settings["metrics_addresses"], "registry_server_metrics_addresses"),
        *memory_problems(settings["memory_limit"]),
        *image_faults,
        *config_problems(keys, version),
        *cache_problems(
            settings["caches"],
            "registry_server_caches",
            settings["name"],
            settings["port"],
            (),
            major_of(version, settings["image_source"]),
        ),
        *mirror_problems(
            settings["mirror_port"],
            "registry_server_caches_mirror_port",
            settings["port"],
            settings["caches"],
            boolean(settings["caches_anonymous"]) or not users,
        ),
        *own_directory_problems(settings["caches_data"], "registry_server_caches_data", CACHES_DATA),
        *(standby_problems(settings["standby_of"], own_config) if settings["standby_of"] else []),
        *storage_problems(settings["storage"], "registry_server_storage", version),
        *(
            directory_problems(settings["secrets_directory"], "registry_server_secrets_directory")
            or secrets_problems(settings["secrets_directory"])
            if settings["servers"]
            else []
        ),
    ]
    replaced = settings["replace_passwords"].replace(",", " ").split()
    unsaid = [user["name"] for user in users or [] if absent(user.get("password"))] if not problems else []
    if not problems:
        problems = [
            *(
                directory_problems(settings["password_directory"], "registry_server_password_directory")
                if unsaid
                else []
            ),
            *generated_problems(
                users, settings["password_directory"], "registry_server_users", settings["bcrypt_cost"]
            ),
            *(
                f"registry_server_replace_passwords: {shown(name)} is not a user whose password is generated: use"
                f" {', '.join(unsaid) or 'none, as each has one in registry_server_users'}"
                for name in replaced
                if name not in unsaid
            ),
        ]
    if problems:
        return {"problems": problems}
    storage = settings["storage"]
    config = merged_config(base, s3_config(storage), own_config, READ_ONLY if settings["standby_of"] else {})
    several = several_servers(settings["servers"], settings["host"], settings["secrets_directory"])
    passwords = passwords_of(users, settings["password_directory"])
    driver = storage_driver(config)
    root = (config["storage"].get(driver) or {}).get("rootdirectory", "/var/lib/registry")
    known_users, rules = normalized(users, settings["rules"])
    known = {  # to the command wharf on the server
        "container": settings["container"],
        "name": settings["name"],
        "port": int(settings["port"]),
        "ca": f"{settings['tls_directory']}/ca.crt" if tls else "",
        "gateway_directory": settings["gateway_directory"],
        "uid": int(settings["uid"]),
        "driver": driver,
        "root": root,
        "delete_untagged": boolean(settings["delete_untagged"]),
        "users": known_users,
        "rules": rules,
        "retention": settings["retention"],
        "read_only": bool(((config["storage"].get("maintenance") or {}).get("readonly") or {}).get("enabled")),
        **known_caches(settings["caches"], settings["caches_data"]),
        **({"standby_of": settings["standby_of"]} if settings["standby_of"] else {}),
        **known_store(storage, settings["directory"]),
        **({"servers": [one["name"] for one in settings["servers"]], "server": settings["host"]} if several else {}),
        "descriptor_cache": bool((config["storage"].get("cache") or {}).get("blobdescriptor")),
    }
    return {
        "problems": [],
        "image": images["registry"],
        "gateway_image": images["gateway"],
        "config": config,
        "config_keys": keys,
        "access": access_lines(known_users, rules) if users else ["everybody may pull and push, in every repository"],
        "gateway": gateway_plan(
            tls=tls,
            blobs=f"{root}/docker/registry/v2" if driver == "filesystem" else "",
            users=known_users,
            rules=rules,
            log_pulls=boolean(settings["log_pulls"]),
            page=boolean(settings["page"]),
            metrics_addresses=settings["metrics_addresses"],
            caches=[slug(cache["upstream"]) for cache in settings["caches"]],
            offline=[slug(cache["upstream"]) for cache in settings["caches"] if is_offline(cache)],
            open_caches=boolean(settings["caches_anonymous"]),
            mirror=bool(settings["mirror_port"]),
            standby_of=settings["standby_of"],
            peers=bool(several),
        ),
        "registry": {
            **{key: settings[key] for key in REGISTRY_SPEC if key in settings and key != "config"},
            "page": boolean(settings["page"]),
            "image": images["registry"]["name"],
            "gateway_image": images["gateway"]["name"],
            "memory_limit": human_to_bytes(settings["memory_limit"] or 0),
            "has_network": driver != "filesystem" or any(config.get(key) for key in NEED_NETWORK),
            "users": "".join(f"{name}:{password}\n" for name, password in passwords.items()),
            "caches": caches_plan(settings["caches"]),
            "settings": json.dumps(known, indent=4, sort_keys=True) + "\n",
            **store_files(storage),
            **several,
        },
        "lacks_secrets": bool(several) and not all(several.values()),
        "generate": [name for name, password in passwords.items() if not password],
        "generated": [name for name in unsaid if name not in replaced],
    }


def standby_problems(server: str, own_config: Mapping[str, Any]) -> list[str]:
    """Judge whether a registry can be the standby of a server, whose files are copied to it while it runs."""
    problems, storage = [], own_config.get("storage") or {}
    if not HOST.fullmatch(server):
        problems.append(
            f"registry_server_standby_of: {shown(server)} is not a name that a message can hold: use the server's name"
            " in the inventory, of letters, digits, dots, colons, hyphens and underscores"
        )
    if (driver := storage_driver(own_config)) != "filesystem":
        problems.append(
            f"registry_server_config: storage.{driver} cannot have a standby, to which files are copied: leave it out,"
            " or registry_server_standby_of empty"
        )
    if (storage.get("cache") or {}).get("blobdescriptor"):
        problems.append(
            "registry_server_config: storage.cache.blobdescriptor would still know what was deleted on"
            f" {server}, and give it to clients: leave it out on a standby"
        )
    return problems


def _images(settings: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], str, list[str]]:
    """Return the images of ``registry`` and ``gateway``, the registry's version, and what is wrong with them.

    Each has its ``name``, and as far as the controller knows them, ``id``, ``digest`` and ``layers``.
    """
    unknown: dict[str, Any] = {"id": "", "digest": "", "layers": []}
    version = ""
    images = {kind: {"name": name, **unknown} for kind, name in DISTRO_IMAGES.items()}
    problems: list[str] = []
    if settings["image_source"] == "pull":
        for kind, key in (("registry", "image"), ("gateway", "gateway_image")):
            reference = settings[key]
            problems += image_problems(reference, f"registry_server_{key}", EXAMPLES[kind])
            # Beside a digest a tag is only for the reader; the engine takes one of the two.
            images[kind]["name"] = re.sub(r":[^:/@]+@", "@", str(reference))
        version = version_in(settings["image"])
    elif settings["image_source"] == "archive":
        problems = archive_problems(settings["image_archive"], "registry_server_image_archive")
        found = archive_images(settings["image_archive"]) if not problems else {}
        # One may have no name: then its ID is its name.
        images |= {
            kind: {"name": [*image["tags"], image["id"]][0], **{key: image[key] for key in unknown}}
            for kind, image in found.items()
        }
        version = found["registry"]["version"] if found else ""
    return images, version, problems


def merged_config(*configs: dict[str, Any]) -> dict[str, Any]:
    """Return configurations of the registry merged, later ones over earlier ones.

    Dicts are merged key by key, all else is replaced; a value of null takes the key away. The registry accepts one
    storage driver only, so a configuration that names another driver takes the earlier one away. The keys are those of
    https://distribution.github.io/distribution/about/configuration/.
    """
    merged: dict[str, Any] = {}
    for config in configs:
        drivers = set(config.get("storage") or {}) - set(NO_DRIVERS)
        if drivers and "storage" in merged:
            merged["storage"] = {k: v for k, v in merged["storage"].items() if k in {*NO_DRIVERS} | drivers}
        merged = merge_hash(merged, config)
    return _without_null(merged)


def _without_null(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_null(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if value is not None
    }


def config_keys(config: Mapping[str, Any]) -> list[str]:
    """Return the paths of all keys of a configuration, such as ``redis.addrs``; one with null is taken away."""
    keys = []
    for key, value in config.items():
        if value is not None:
            keys.append(str(key))
            keys += [f"{key}.{path}" for path in config_keys(value)] if isinstance(value, Mapping) else []
    return keys

"""What the role registry_server is to make of its settings, and what in them cannot work."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.wharf.registry.plugins.module_utils.server_container import REGISTRY_SPEC, bytes_of
from ansible_collections.wharf.registry.plugins.module_utils.server_versions import config_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.archives import archive_image, archive_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.names import name_problems, port_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.paths import data_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.programs import NO_DRIVERS
from ansible_collections.wharf.registry.plugins.plugin_utils.references import image_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.server_config import config_keys, merged_config
from ansible_collections.wharf.registry.plugins.plugin_utils.users import cost_problems, passwords_of, user_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.values import quoted

DISTRO_IMAGE = "wharf-registry:distro"  # what the role builds from the distribution's package
TLS_CONFIG = {"http": {"tls": {"certificate": "/wharf/tls/registry.crt", "key": "/wharf/tls/registry.key"}}}
USERS_CONFIG = {"auth": {"htpasswd": {"realm": "registry", "path": "/wharf/config/htpasswd"}}}


def server_plan(settings: Mapping[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Return what to deploy.

    Args:
        settings: the role's variables, without their prefix.
        base: the role's own configuration of the registry.

    Returns:
        ``problems``, a line for each setting that cannot work, and where there is none: ``image``, with its ``name``,
        ``id`` and ``layers`` as far as they are known; ``config``, the registry's configuration; ``config_keys``, the
        paths of the keys that the user gives it; ``registry``, what the modules are told, but for the text of
        ``config``; and ``generate``, the users whose password is still to be generated.
    """
    archive, problems = _archive(settings)
    version = archive.get("version", "")
    if settings["image_source"] == "pull":
        problems += image_problems(settings["image"], "registry_server_image")
        version = _version_in_tag(str(settings["image"]))
    keys = config_keys(settings["config"] or {})
    problems = [
        *name_problems(settings["name"], "registry_server_name"),
        *port_problems(settings["port"], "registry_server_port"),
        *user_problems(
            settings["users"],
            "registry_server_users",
            boolean(settings["anonymous"]),
            boolean(settings["tls"]),
            settings["bcrypt_cost"],
        ),
        *cost_problems(settings["bcrypt_cost"], "registry_server_bcrypt_cost"),
        *data_problems(settings["data"], "registry_server_data"),
        *_memory_problems(settings["memory_limit"]),
        *problems,
        *config_problems(keys, version, "registry_server_config"),
    ]
    if problems:
        return {"problems": problems}
    overlays = [TLS_CONFIG if boolean(settings["tls"]) else {}, USERS_CONFIG if settings["users"] else {}]
    config = merged_config(base, *overlays, settings["config"] or {})
    image = _image(settings, archive)
    passwords = passwords_of(settings["users"], settings["password_directory"])
    return {
        "problems": [],
        "image": image,
        "config": config,
        "config_keys": keys,
        "registry": {
            **{key: settings[key] for key in (*REGISTRY_SPEC, "bcrypt_cost") if key != "config"},
            "image": image["name"],
            "users": "".join(f"{name}:{password}\n" for name, password in passwords.items()),
            "settings": json.dumps(_command_settings(settings, config), indent=4, sort_keys=True) + "\n",
        },
        "generate": [name for name, password in passwords.items() if not password],
    }


def _archive(settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the image in the archive, where there is to be one, and what is wrong with it."""
    if settings["image_source"] != "archive":
        return {}, []
    path = settings["image_archive"]
    problems = archive_problems(path, "registry_server_image_archive")
    return ({} if problems else archive_image(path)), problems


def _version_in_tag(image: str) -> str:
    """Return the version that an image's tag tells; empty where it tells none."""
    found = re.search(r":(v?[0-9]+\.[0-9][^@]*)", image)
    return found[1] if found else ""


def _memory_problems(value: Any) -> list[str]:
    """Judge a memory limit."""
    try:
        bytes_of(str(value or ""))
    except ValueError:
        use = "use bytes with a suffix of k, m or g, such as 512m, or nothing at all for none"
        return [f"registry_server_memory_limit: {quoted(str(value), 40)} is not a size: {use}"]
    return []


def _image(settings: Mapping[str, Any], archive: Mapping[str, Any]) -> dict[str, Any]:
    """Return the image that the container runs. An archive's image may have no name: then its ID is its name."""
    if archive:
        return {"name": [*archive["tags"], archive["id"]][0], "id": archive["id"], "layers": archive["layers"]}
    # Beside a digest a tag is only for the reader; the engine takes one of the two.
    pulled = re.sub(r":[^:/@]+@", "@", str(settings["image"]))
    return {"name": pulled if settings["image_source"] == "pull" else DISTRO_IMAGE, "id": "", "layers": []}


def _command_settings(settings: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the command wharf reads on the server."""
    storage = config["storage"]
    driver = next((key for key in storage if key not in NO_DRIVERS), "")
    tls = boolean(settings["tls"])
    return {
        "container": settings["container"],
        "name": settings["name"],
        "port": int(settings["port"]),
        "ca": f"{settings['tls_directory']}/ca.crt" if tls else "",
        "htpasswd": f"{settings['directory']}/htpasswd" if settings["users"] else "",
        "driver": driver,
        "root": (storage.get(driver) or {}).get("rootdirectory", "/var/lib/registry"),
        "delete_untagged": boolean(settings["delete_untagged"]),
        "caches": bool((storage.get("cache") or {}).get("blobdescriptor")),
    }

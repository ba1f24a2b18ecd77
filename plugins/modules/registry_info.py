#!/usr/bin/python
"""Ansible module: what there is of a registry on its server, what is pending, and what cannot work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_info
short_description: Tell what there is of a registry on its server, and what is pending
description:
  - One visit that changes nothing tells all that the role registry_server decides by.
  - Fails where the registry cannot be deployed, with a line for each reason - somebody holds the lock, the port or the
    user ID is taken, the data belongs to another registry, or another version cannot follow the one that runs.
options:
  image_id:
    description: The ID that the image must have; without it any image of that name will do.
    type: str
    default: ""
  image_layers:
    description: The digests of the layers that the image must have, where the engine shows another ID than O(image_id).
    type: list
    elements: str
    default: []
  refresh:
    description: Whether the image is fetched again although it is there.
    type: bool
    default: false
  fetched:
    description: Whether the image has just been fetched, so that O(refresh) is done and the versions are told anyway.
    type: bool
    default: false
  config_keys:
    description: The paths of the keys in the user's part of the configuration, which the version must understand.
    type: list
    elements: str
    default: []
  allow_downgrade:
    description: Whether an older version may take the place of the one that runs.
    type: bool
    default: false
  data_confirm:
    description: The value of O(registry.data) once more, to go on with the data that is there, whosever it is.
    type: str
    default: ""
  host:
    description: The host's name, for the messages.
    type: str
    required: true
  wait:
    description: How long to wait until the registry answers, in seconds.
    type: int
    default: 0
extends_documentation_fragment: [wharf.registry.registry]
attributes:
  check_mode:
    support: full
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- name: Inspect the registry
  wharf.registry.registry_info:
    registry: "{{ registry }}"
    host: "{{ inventory_hostname }}"
    wait: 60
  register: info
"""

RETURN = r"""
engine:
  description: The version of the Docker engine, and how it stores images; null where it does not run.
  returned: success
  type: dict
  sample: {version: 26.1.5, containerd_image_store: false}
image:
  description: The ID of the image; empty where the engine does not have it.
  returned: success
  type: str
container:
  description: Its ID, its image, whether it runs, and in what it differs from what it should be; null for none.
  returned: success
  type: dict
previous_container:
  description: Whether a run that was cut off has set a container aside.
  returned: success
  type: bool
interrupted:
  description: The containers of a collection that was cut off; the registry's own one is stopped meanwhile.
  returned: success
  type: list
  elements: str
problem:
  description: Why the registry does not answer under its name, its certificate verified; empty when it does.
  returned: success
  type: str
versions:
  description: The versions that run and are to run, where the images differ or one was just fetched.
  returned: success
  type: dict
pending:
  description: >-
    What is not as it should be, of rollback, image, data, data_id, directory, users, config, settings, container,
    start, restart, answer and state_file.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import containers, server_data, server_info
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.server_container import REGISTRY_SPEC
from ansible_collections.wharf.registry.plugins.module_utils.server_files import FILES_SPEC, Files, data_path
from ansible_collections.wharf.registry.plugins.module_utils.server_versions import config_problems, downgrade_problems


def inspect(p: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what there is, and a line for each reason why the registry cannot be deployed.

    Args:
        p: the module's parameters.

    Raises:
        WharfError: the engine does not do what it should.
    """
    registry, host = p["registry"], p["host"]
    engine = containers.engine()
    known = containers.containers() if engine else []
    image = (containers.image(registry["image"]) if engine else None) or {}
    path = data_path(registry["data"]) if engine or registry["data"].startswith("/") else ""
    data = server_data.read(path, registry["directory"])
    container = server_info.container_info(registry, image.get("Id", "")) if engine else None
    info: dict[str, Any] = {
        "engine": engine,
        "image": image.get("Id", ""),
        "container": container,
        "previous_container": any(f"{registry['container']}-before" in item["names"] for item in known),
        "interrupted": server_info.interrupted(registry, known),
        "problem": server_info.answer(registry, p["wait"]) if container else "there is no container",
        "versions": {},
    }
    pending = ["rollback"] if info["previous_container"] or info["interrupted"] else []
    pending += ["image"] if image_pending(p, image, engine) else []
    pending += Files(registry, path, data).pending + container_pending(info, registry)
    if f"{data.state_id} {data.state_place}" != f"{data.id} {registry['data']}":
        pending.append("state_file")
    info["pending"] = pending

    problems = conflicts(registry, host, known)
    problems += server_data.data_problems(data, registry["data"], registry["name"], p["data_confirm"], host)
    if container and info["image"] and "image" not in pending and (container["image"] != info["image"] or p["fetched"]):
        info["versions"] = versions(container["image"], info["image"])
        problems += version_problems(p, info["versions"])
    return info, problems


def versions(running: str, wanted: str) -> dict[str, Any]:
    """Return the versions of the registry in two images, and in words which follows which."""
    old = new = server_info.image_version(running)
    if running == wanted:
        change = f"version {new or 'unknown'} of the registry runs already"
    else:
        new = server_info.image_version(wanted)
        change = f"version {new or 'unknown'} of the registry takes the place of {old or 'unknown'}"
    return {"running": old, "wanted": new, "same": running == wanted, "change": change}


def version_problems(p: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return a line for each reason why one version cannot follow the other."""
    if found["same"]:
        return []
    return [
        *config_problems(p["config_keys"], found["wanted"], "registry_server_config"),
        *downgrade_problems(found["running"], found["wanted"], p["allow_downgrade"], "registry_server_allow_downgrade"),
    ]


def image_pending(p: dict[str, Any], image: dict[str, Any], engine: dict[str, Any] | None) -> bool:
    """Tell whether the image must be fetched.

    The classic image store knows an image by the digest of its configuration, as an archive tells it. The containerd
    store knows it by that of its manifest, which is not in every archive: there the layers must do.
    """
    if not image or (p["refresh"] and not p["fetched"]):
        return True
    if not p["image_id"] or image["Id"] == p["image_id"]:
        return False
    layers = (image.get("RootFS") or {}).get("Layers") or []
    return not (engine and engine["containerd_image_store"] and layers == p["image_layers"])


def container_pending(info: dict[str, Any], registry: dict[str, Any]) -> list[str]:
    """Return what is to be done about the container."""
    container = info["container"]
    if not container or container["differences"]:
        return ["container"]
    if not container["running"]:
        return ["start"]
    if server_info.is_outdated(server_info.certificates(registry)):
        return ["restart"]
    return ["answer"] if info["problem"] else []


def conflicts(registry: dict[str, Any], host: str, known: list[dict[str, Any]]) -> list[str]:
    """Return a line for each thing on the host that stands in the registry's way."""
    problems = []
    if holder := server_info.busy():
        problems.append(f"{holder}: wait until it has finished")
    if holder := server_info.port_holder(registry["port"], known, server_info.own_containers(registry["container"])):
        problems.append(
            f"registry_server_port: {registry['port']} is taken on {host} by {holder}: stop it or choose another port"
        )
    if user := server_info.user_of(registry["uid"]):
        problems.append(
            f"registry_server_uid: {registry['uid']} belongs to the user {user} on {host}: choose a number that nobody"
            " has"
        )
    return problems


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "dict", "required": True, "options": {**REGISTRY_SPEC, **FILES_SPEC}},
            "image_id": {"type": "str", "default": ""},
            "image_layers": {"type": "list", "elements": "str", "default": []},
            "refresh": {"type": "bool", "default": False},
            "fetched": {"type": "bool", "default": False},
            "config_keys": {"type": "list", "elements": "str", "default": []},
            "allow_downgrade": {"type": "bool", "default": False},
            "data_confirm": {"type": "str", "default": ""},
            "host": {"type": "str", "required": True},
            "wait": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    try:
        info, problems = inspect(module.params)
    except (WharfError, OSError) as error:
        module.fail_json(msg=f"{module.params['host']}: {error}")
    if problems:
        module.fail_json(msg="\n".join(problems))
    module.exit_json(changed=False, **info)


if __name__ == "__main__":
    main()

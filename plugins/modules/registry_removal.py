#!/usr/bin/python
"""Ansible module: remove what a registry has on its server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_removal
short_description: Remove a registry from its server
description:
  - Removes the containers, their images where nothing else uses them, the configuration and what was opened in the
    firewall, in one visit. Docker and all packages stay. Refuses while something holds the registry's lock.
options:
  container: {description: The container's name., type: str, required: true}
  directories:
    description: The directories of the registry's and the gateway's configuration.
    type: list
    elements: path
    required: true
  data:
    description: The data, an absolute directory or the name of a volume, to remove it as well; empty to keep it.
    type: str
    default: ""
  caches_data:
    description: What the caches have fetched, an absolute directory, to remove it as well; empty to keep it.
    type: path
    default: ""
attributes:
  check_mode: {support: full}
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- name: Remove the registry, and keep its images
  wharf.registry.registry_removal:
    container: registry
    directories: [/etc/wharf/registry, /etc/wharf/gateway]
"""

RETURN = r"""
removed:
  description: What was removed, or would be.
  type: list
  elements: str
  sample: [container registry, image wharf-registry:distro, /etc/wharf/registry]
  returned: always
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import caches, containers
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.files import Changes
from ansible_collections.wharf.registry.plugins.module_utils.firewall import Firewall
from ansible_collections.wharf.registry.plugins.module_utils.lock import LOCK, lock
from ansible_collections.wharf.registry.plugins.module_utils.parts import (
    CACHE_SOCKETS,
    CACHES_CONFIG,
    SOCKETS,
    STAND_INS,
    is_ours,
)
from ansible_collections.wharf.registry.plugins.module_utils.server_data import DATA_ID, RECORD
from ansible_collections.wharf.registry.plugins.module_utils.server_rollback import SETTINGS

DISTRO_IMAGES = ("wharf-registry:distro", "wharf-gateway:distro")
# In this order: the gateway is in the network's container, and what has been set aside may be, too.
SUFFIXES = ("-gateway", "-network", "", *(f"-{name}" for name in STAND_INS), "-collect-garbage-dry-run")


def remove(changes: Changes, container: str, directories: list[str], data: str, caches_data: str) -> None:
    """Remove a registry, and note in `changes` what went. Its data stays where `data` is empty, and that of
    its caches where `caches_data` is.

    Raises:
        WharfError: the engine does not do what it should, or nobody can tell whose data it is.
        OSError: a file cannot be removed.
    """
    place = os.path.realpath(data) if data.startswith("/") else ""
    if place != os.path.normpath(data) and os.path.exists(place) and not os.path.exists(f"{place}/{DATA_ID}"):
        raise WharfError(
            f"{data} leads to {place}, which has no data ID (the file {DATA_ID}), so that nobody can tell whose data it"
            " is. Nothing was removed: see what is there, and remove it by hand"
        )
    if containers.engine():
        remove_containers(changes, container)
    firewall = Firewall(container, 0)
    if firewall.is_ours:
        changes.paths.append("the firewall's rule")
        if not changes.check_mode:
            firewall.close()
    for path in (*directories, SETTINGS, RECORD, SOCKETS, CACHES_CONFIG, CACHE_SOCKETS):
        changes.remove(path)
    if caches_data:
        for name in ("docker", "roots", caches.NEW):
            changes.remove(f"{caches_data}/{name}")
        changes.remove_empty(caches_data)
    if not data.startswith("/"):
        if data and containers.call("GET", f"/volumes/{data}"):
            changes.paths.append(f"volume {data}")
            if not changes.check_mode:
                containers.call("DELETE", f"/volumes/{data}")
    else:
        # Of a mount point the directory stays. What a link leads to goes, and then the link itself.
        for path in (
            [os.path.join(place, name) for name in sorted(os.listdir(place))] if os.path.ismount(place) else [place]
        ):
            changes.remove(path)
        if os.path.islink(data):
            changes.remove(data)
    for path in ("/etc/wharf", "/var/lib/wharf"):
        changes.remove_empty(path)
    if not changes.check_mode:
        LOCK.unlink(missing_ok=True)


def remove_containers(changes: Changes, name: str) -> None:
    """Remove the containers and their images, by the names that these had; where others run from one, it stays."""
    images, ids = set(DISTRO_IMAGES), set()
    own = [name + suffix + end for suffix in SUFFIXES for end in ("", "-before", "-failed")]
    for container in [*own, *caches.present(name)]:
        found = containers.container(container)
        if found and (is_ours(found) or container.removeprefix(name).lstrip("-") in STAND_INS):
            images.add(found["Config"]["Image"])
            ids.add(found["Image"])
            changes.paths.append(f"container {container}")
            if not changes.check_mode:
                containers.remove(container)
    for image in sorted(images):
        if containers.image(image) and (changes.check_mode or containers.remove_image(image)):
            changes.paths.append(f"image {image}")
    # What another build has left is without a name.
    for image in ids if not changes.check_mode else ():
        containers.remove_image(image)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "container": {"type": "str", "required": True},
            "directories": {"type": "list", "elements": "path", "required": True},
            "data": {"type": "str", "default": ""},
            "caches_data": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    p = module.params
    changes = Changes(module.check_mode)
    try:
        with lock("remove-registry", check_mode=module.check_mode):
            remove(changes, p["container"], p["directories"], p["data"], p["caches_data"])
    except (WharfError, OSError) as error:
        module.fail_json(msg=str(error), removed=changes.paths)
    module.exit_json(changed=bool(changes.paths), removed=changes.paths)


if __name__ == "__main__":
    main()

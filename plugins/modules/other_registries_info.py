#!/usr/bin/python
"""Ansible module: what a host has of other registries of Wharf than one."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: other_registries_info
short_description: Tell what a host has of other registries than the one that is removed
description:
  - Looks for trust of clients, entries of owners in daemon.json, and containers of registries. Changes nothing.
    Where there are others, they may need what the engine was given.
options:
  own:
    description:
      - What the registry is called and was called before, NAME:PORT each. What is there of these does not count, so
        that check mode, in which all of it is still there, tells the same.
    type: list
    elements: str
    required: true
  container:
    description: Its container on this host; empty where the host is not its server.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
- name: Look for other registries
  wharf.registry.other_registries_info:
    own: [registry.example.com:5000]
    container: registry
"""

RETURN = r"""
others:
  description: Files, owners in daemon.json and containers, each as people read it.
  returned: always
  type: list
  elements: str
  sample: [/etc/docker/certs.d/other.example.com:5000/wharf-ca.crt, container other]
"""

import contextlib
import glob
import subprocess

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.caches import SHELF, container_name
from ansible_collections.wharf.registry.plugins.module_utils.client_caches import OWNER as CACHES_OWNER
from ansible_collections.wharf.registry.plugins.module_utils.client_trust import CACHES, OTHER_NAME
from ansible_collections.wharf.registry.plugins.module_utils.containers import docker
from ansible_collections.wharf.registry.plugins.module_utils.daemon_json import owners
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.files import read_text
from ansible_collections.wharf.registry.plugins.module_utils.parts import STAND_INS, container_names

# Of each registry: its files, with its name or, in the last, with _ instead of the colon, and its owner in daemon.json.
PLACES = (
    "/etc/docker/certs.d/{0}/wharf-ca.crt",
    "/etc/containers/certs.d/{0}/wharf-ca.crt",
    "/etc/containerd/certs.d/{0}/wharf-ca.crt",
    "/etc/containers/registries.conf.d/wharf-{1}.conf",
)
OWNER = "registry_client {0}"


def find() -> list[str]:
    """Return what is on this host of any registry of Wharf. Raises WharfError as `owners`."""
    found = sorted(path for place in PLACES for path in glob.glob(place.format("*", "*")))
    found += [f"{owner} in daemon.json" for owner in owners() if owner.startswith(OWNER.format(""))]
    command = ["ps", "--all", "--filter", "label=wharf.config", "--format", "container {{.Names}}"]
    with contextlib.suppress(FileNotFoundError):  # no engine, no container
        found += docker(*command, stderr=subprocess.DEVNULL).stdout.splitlines()
    return found


def without(found: list[str], own: list[str], container: str) -> list[str]:
    """Return what was found without what belongs to one registry, by its names and its containers on this host."""
    places = (*PLACES, f"{OWNER} in daemon.json", f"{CACHES_OWNER} in daemon.json")
    known = {place.format(name, name.replace(":", "_")) for place in places for name in own}
    lines = tuple(line.format(name) for line in (OTHER_NAME, CACHES) for name in own)
    names = [*container_names(container).values(), *(f"{container}-{role}" for role in STAND_INS)] if container else []
    known |= {f"container {name}{end}" for name in names for end in ("", "-before")}
    caches = (f"container {container_name(container, SHELF)}", f"container {container_name(container, '')}")
    others = [line for line in found if line not in known and not (container and line.startswith(caches))]
    return [line for line in others if not read_text(line).startswith(lines)]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "own": {"type": "list", "elements": "str", "required": True},
            "container": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, others=without(find(), **module.params))
    except WharfError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

#!/usr/bin/python
"""Ansible module: what a host has of other registries of Wharf than one."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: other_registries_info
short_description: Tell what a host has of other registries than the one that is removed
description:
  - Looks for trust of clients, entries of owners in daemon.json, and containers of registries. Changes nothing.
  - Where there are others, they may need what the engine was given.
options:
  own:
    description:
      - What the registry is called and was called before, NAME:PORT each. What is there of these does not count, so
        that check mode, in which all of it is still there, tells the same.
    type: list
    elements: str
    required: true
  container:
    description:
      - Its container on this host; empty where the host is not its server.
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
  register: others
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
import json
import os
import subprocess

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.daemon_json import LEDGER, Ledger
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

PLACES = (
    "/etc/docker/certs.d/*/wharf-ca.crt",
    "/etc/containers/certs.d/*/wharf-ca.crt",
    "/etc/containerd/certs.d/*/wharf-ca.crt",
    "/etc/containers/registries.conf.d/wharf-*.conf",
)


def find() -> list[str]:
    """Return what is on this host of any registry of Wharf.

    Raises:
        WharfError: the record of who owns what in daemon.json cannot be read.
    """
    found = sorted(path for place in PLACES for path in glob.glob(place))
    if os.path.exists(LEDGER):
        with open(LEDGER, encoding="utf-8") as file:
            owners = Ledger.from_json(json.load(file), LEDGER).owners()
        found += [f"{owner} in daemon.json" for owner in owners if owner.startswith("registry_client ")]
    command = ["docker", "ps", "--all", "--filter", "label=wharf.config", "--format", "container {{.Names}}"]
    with contextlib.suppress(FileNotFoundError):  # no engine, no container
        found += subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return found


def without(found: list[str], own: list[str], container: str) -> list[str]:
    """Return what was found without what belongs to one registry.

    Args:
        found: as find() returns it.
        own: what the registry is called, NAME:PORT each.
        container: its container on this host; empty where there is none.
    """
    known = {f"container {container}"}
    for name in own:
        known |= {place.replace("*", name) for place in PLACES[:3]}
        known |= {PLACES[3].replace("*", name.replace(":", "_")), f"registry_client {name} in daemon.json"}
    return [line for line in found if line not in known]


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
        found = find()
    except WharfError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, others=without(found, module.params["own"], module.params["container"]))


if __name__ == "__main__":
    main()

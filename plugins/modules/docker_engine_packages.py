#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Install, replace and hold the engine's packages, with the repository that they come from."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: docker_engine_packages
short_description: Install, replace and hold the engine's packages
description:
  - Carries out what M(wharf.registry.docker_engine_info) has found pending and, where it could fail, has tried.
  - Old entries for Docker's packages go first, because apt refuses to work while two entries for one repository name
    different keys. Then come the repository's key and source, and one run of apt that removes and installs together.
  - No service is started, stopped or restarted meanwhile (C(policy-rc.d)), so that a new engine first starts with its
    configuration, and one that runs goes on until it is its turn. Nothing is purged, for that would delete the images.
  - Waits up to five minutes while somebody else uses apt or dpkg.
  - Remembers in C(/var/lib/wharf/docker_engine.holds) what it holds, and releases nothing else.
  - One run of C(apt-get) with fresh lists takes less time than M(ansible.builtin.apt), and that module cannot remove
    and install in one.
options:
  arguments:
    description: Arguments for C(apt-get install), such as V(docker.io), V(docker-ce=5:28.5.2-1) or V(docker.io-).
    type: list
    elements: str
    default: []
  options:
    description: Options for C(apt-get install).
    type: list
    elements: str
    default: [--no-install-recommends]
  repository:
    description:
      - C(url), C(source) and C(key), the texts of Docker's repository's source and public key, to be written. With an
        empty source they are removed. Left out, nothing changes.
    type: dict
  hold:
    description: Packages to hold at their version.
    type: list
    elements: str
    default: []
  release:
    description: Packages to hold no longer.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
- name: Install Debian's engine, not started
  wharf.registry.docker_engine_packages:
    arguments: [docker.io]
"""

RETURN = r"""
removed:
  description: The entries, files and keys of others that went, or would.
  type: list
  elements: str
  returned: success
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.daemon_json import read_bytes
from ansible_collections.wharf.registry.plugins.module_utils.engine_packages import (
    KEY_FILE,
    SOURCE_FILE,
    install,
    remove_entries,
    select,
)
from ansible_collections.wharf.registry.plugins.module_utils.engine_state import HOLDS
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.files import write_atomic


def change_repository(repository: dict, is_real: bool) -> list[str]:
    """Write or remove the repository's source and key. Returns which entries of others go."""
    removed = remove_entries(repository["url"], is_real) if repository["source"] else []
    for path, text in ((KEY_FILE, repository["key"]), (SOURCE_FILE, repository["source"])) if is_real else ():
        if repository["source"]:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            write_atomic(path, text.encode())
        else:
            Path(path).unlink(missing_ok=True)
    return removed


def write_holds(packages: list[str]) -> None:
    """Remember which packages the role holds."""
    if packages:
        os.makedirs(os.path.dirname(HOLDS), mode=0o755, exist_ok=True)
        write_atomic(HOLDS, "".join(f"{package}\n" for package in packages).encode())
    else:
        Path(HOLDS).unlink(missing_ok=True)


def run(module: AnsibleModule) -> dict:
    """Make the changes.

    Raises:
        WharfError: with apt's own message.
        OSError: a file cannot be written.
    """
    params, is_real = module.params, not module.check_mode
    hold, release, repository = params["hold"], params["release"], params["repository"]
    os.umask(0o022)
    removed = change_repository(repository, is_real) if repository else []
    if is_real:
        holds = list(dict.fromkeys((read_bytes(HOLDS) or b"").decode().split() + hold))
        # Only its own holds are ever released, so they are remembered before they are made.
        if hold:
            write_holds(holds)
        if params["arguments"]:
            install(params["arguments"], params["options"])
        if hold:
            select(hold, "hold")
        released = [package for package in release if f"{package}-" not in params["arguments"]]
        if released:
            select(released, "install")
        if release:
            write_holds([package for package in holds if package not in release])
    changed = bool(params["arguments"] or repository or hold or release)
    return {"changed": changed, "removed": removed}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "arguments": {"type": "list", "elements": "str", "default": []},
            "options": {"type": "list", "elements": "str", "default": ["--no-install-recommends"]},
            "repository": {"type": "dict"},
            "hold": {"type": "list", "elements": "str", "default": []},
            "release": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except (OSError, WharfError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

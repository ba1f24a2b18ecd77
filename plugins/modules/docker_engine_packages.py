#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Install, replace and hold the engine's packages, with the repository that they come from."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: docker_engine_packages
short_description: Install, replace and hold the engine's packages
description:
  - Carries out what M(wharf.registry.docker_engine_info) has found pending and, where it could fail, has tried, in one
    run of apt that removes and installs together, which M(ansible.builtin.apt) cannot. Old entries for Docker's
    packages go first, because apt refuses to work while two entries for one repository name different keys.
  - No service is started, stopped or restarted meanwhile (C(policy-rc.d)), so that a new engine first starts with its
    configuration, and one that runs goes on until it is its turn. Nothing is purged, for that would delete the images.
  - Waits up to five minutes while somebody else uses apt or dpkg. Releases only what it holds itself, as remembered in
    C(/var/lib/wharf/docker_engine.holds).
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
      - C(url), C(source) and C(key), the texts of Docker's repository's source and public key, to be written. Without a
        source they are removed. Left out, nothing changes.
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
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.daemon_json import read_bytes
from ansible_collections.wharf.registry.plugins.module_utils.engine_packages import (
    HOLDS,
    KEY_FILE,
    SOURCE_FILE,
    complaints,
    remove_entries,
    run,
    sources_problem,
)
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.files import write_atomic

POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# wharf\nexit 101\n"
LOCK_WAIT = 300  # seconds: an unattended upgrade may be at work


def write(path: str, text: str) -> None:
    """Write a file, with the directories above it; without text, remove it."""
    if text:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomic(path, text.encode())
    else:
        Path(path).unlink(missing_ok=True)


@contextmanager
def no_service_starts() -> Iterator[None]:
    """Keep packages from starting, stopping and restarting services: the engine first starts with its configuration."""
    kept = POLICY.with_suffix(".d.wharf")

    def put_back() -> None:
        POLICY.unlink(missing_ok=True)
        if kept.exists():
            kept.rename(POLICY)

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    # A run that was killed has left its own behind.
    if POLICY.is_file() and POLICY.read_text("utf-8", "replace") == POLICY_TEXT:
        put_back()
    handlers = {number: signal.signal(number, stop) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    try:
        if POLICY.exists():
            POLICY.rename(kept)
        write_atomic(str(POLICY), POLICY_TEXT.encode(), 0o755)
        yield
    finally:
        put_back()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def update_lists() -> str:
    """Let apt fetch its lists, once nobody else does. Returns its output. Raises WharfError where it cannot."""
    # Long descriptions are half of the lists' size, and nothing here reads them; those that are there stay.
    lean = ("-oAcquire::Languages=none", "-oAPT::Get::List-Cleanup=false")
    end = time.monotonic() + LOCK_WAIT
    while True:
        updated = run("apt-get", "--quiet", *lean, "update")
        if updated.returncode == 0:
            return updated.stdout
        # apt itself waits for dpkg's lock, not for that of its lists.
        if "lists/lock" not in updated.stdout or time.monotonic() > end:
            raise WharfError(sources_problem(updated.stdout))
        time.sleep(2)


def install(arguments: list[str], options: list[str]) -> None:
    """Fetch apt's lists, then install and remove packages in one run; configuration files of people stay.

    Raises WharfError with apt's own message.
    """
    updated = update_lists()
    with no_service_starts():
        keep_files = ("-oDpkg::Options::=--force-confdef", "-oDpkg::Options::=--force-confold")
        waits = f"-oDPkg::Lock::Timeout={LOCK_WAIT}"
        done = run("apt-get", "--quiet", "--yes", waits, *keep_files, *options, "install", *arguments)
    if done.returncode != 0:
        message = complaints(done.stdout + updated, " ".join(done.stdout.split())[-900:])
        raise WharfError(
            f"apt cannot install {' '.join(arguments)}. It says: {message} Does this host reach its package "
            "repositories (/etc/apt/sources.list, sources.list.d)?"
        )


def select(packages: list[str], selection: str) -> None:
    """Hold packages, or release them (`install`)."""
    done = run("dpkg", "--set-selections", text="".join(f"{package} {selection}\n" for package in packages))
    if done.returncode != 0:
        raise WharfError(f"dpkg cannot set {', '.join(packages)} to {selection}: {done.stdout.strip()}")


def change(params: dict, is_real: bool) -> dict:
    """Make the changes, or in check mode only find out what would go. Raises WharfError as `install`."""
    arguments, repository, hold, release = (params[name] for name in ("arguments", "repository", "hold", "release"))
    result = {"changed": bool(arguments or repository or hold or release), "removed": []}
    source = repository.get("source", "") if repository else ""
    if source:
        result["removed"] = remove_entries(repository["url"], is_real)
    if not is_real:
        return result
    os.umask(0o022)
    if repository:
        write(KEY_FILE, repository["key"] if source else "")
        write(SOURCE_FILE, source)
    # Only its own holds are ever released, so they are remembered before they are made.
    holds = list(dict.fromkeys((read_bytes(HOLDS) or b"").decode().split() + hold))
    if hold:
        write(HOLDS, "".join(f"{package}\n" for package in holds))
    if arguments:
        install(arguments, params["options"])
    if hold:
        select(hold, "hold")
    released = [package for package in release if f"{package}-" not in arguments]
    if released:
        select(released, "install")
    if release:
        write(HOLDS, "".join(f"{package}\n" for package in holds if package not in release))
    return result


def main() -> None:
    """Run the module."""
    names = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "arguments": names,
            "options": {**names, "default": ["--no-install-recommends"]},
            "repository": {"type": "dict"},
            "hold": names,
            "release": names,
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**change(module.params, not module.check_mode))
    except (OSError, WharfError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

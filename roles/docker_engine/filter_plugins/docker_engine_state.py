# SPDX-License-Identifier: MIT
"""Judge what files/look.sh says about a host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

DOCUMENTATION = r"""
name: docker_engine_state
short_description: Judge what the look at a host has found
description: Says from the lines of C(files/look.sh) what is missing on a host and why the role could not work on it.
positional: packages, conflicts, users
options:
  _input:
    description: The lines of the look.
    type: list
    elements: str
    required: true
  packages:
    description: Packages that must be installed, the engine's own first.
    type: list
    elements: str
    required: true
  conflicts:
    description: Packages that must not be there.
    type: list
    elements: str
    required: true
  users:
    description: Users that must be in the group docker.
    type: list
    elements: str
    required: true
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
state: "{{ look.stdout_lines | docker_engine_state(['docker.io', 'pigz'], ['docker-ce'], ['alice']) }}"
# => {missing: [pigz], outsiders: [alice], running: true, managed: true, enabled: true, problems: []}
"""

RETURN = r"""
_value:
  description:
    - C(missing), the packages to install; C(outsiders), the users to put into the group; C(running), whether the engine
      runs; C(managed), whether the service manager runs it; C(enabled), whether it starts at boot; C(problems), what
      makes the host unfit, in words.
  type: dict
"""


def docker_engine_state(
    lines: list[str], packages: list[str], conflicts: list[str], users: list[str]
) -> dict[str, Any]:
    """What is to be done on a host, from the lines of files/look.sh; see DOCUMENTATION and RETURN."""
    installed: set[str] = set()
    groups: dict[str, list[str]] = {}
    unit: dict[str, str] = {}
    engine: list[str] = []
    running = False
    for line in lines:
        word, *rest = line.split()
        if word == "package" and rest[1:] == ["installed"]:
            installed.add(rest[0])
        elif word == "user":
            groups[rest[0]] = rest[1:]
        elif word == "unit" and len(rest) == 2:
            unit[rest[0]] = rest[1]
        elif word == "engine":
            engine = rest
        elif word == "running":
            running = True

    problems = []
    found = [package for package in conflicts if package in installed]
    own = packages[0]
    if found:
        problems.append(
            f"docker_engine_source is distro, but {', '.join(found)} is installed here, and {own} would replace it. "
            "Remove it first, or leave this host out: engines from elsewhere (docker_ce, none) are not supported yet."
        )
    elif engine and own not in installed:
        problems.append(
            f"docker_engine_source is distro, but {engine[0]} is here already, from "
            f"{engine[1] if len(engine) > 1 else 'no package'}. Remove it first, or leave this host out: engines from "
            "elsewhere (docker_ce, none) are not supported yet."
        )
    problems.extend(
        f"docker_engine_users names {user}, who does not exist on this host. Make the user first, or take the name out."
        for user in users
        if user not in groups
    )
    managed = unit.get("ActiveState") == "active"
    return {
        "missing": [package for package in packages if package not in installed],
        "outsiders": list(dict.fromkeys(user for user in users if "docker" not in groups.get(user, ["docker"]))),
        "running": running or managed,
        "managed": managed,
        "enabled": unit.get("UnitFileState", "") in ("enabled", "enabled-runtime", "static", "generated", "alias"),
        "problems": problems,
    }


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable]:
        """Filters by name."""
        return {"docker_engine_state": docker_engine_state}

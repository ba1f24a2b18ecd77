# SPDX-License-Identifier: MIT
"""Find variables of the role that cannot be right."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

DOCUMENTATION = r"""
name: docker_engine_problems
short_description: Find variables of the role docker_engine that cannot be right
description: Says what the types of the argument specification cannot say, one message for each mistake.
positional: systems, distribution, version
options:
  _input:
    description: The role's variables by name.
    type: dict
    required: true
  systems:
    description: The systems for which there are packages, a dict of dicts by distribution and major version.
    type: dict
    required: true
  distribution:
    description: The host's distribution.
    type: str
    required: true
  version:
    description: The host's major version.
    type: str
    required: true
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
problems: "{{ {'docker_engine_log_max_size': 'big'} | docker_engine_problems({'Debian': {'12': {}}}, 'Debian', '12') }}"
# => ["docker_engine_log_max_size is 'big'. It must be a whole number followed by k, m or g, such as 10m."]
"""

RETURN = r"""
_value:
  description: Messages that name the variable, what is wrong with it and what would be right.
  type: list
  elements: str
"""

# useradd(8) of Debian.
USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}[a-z0-9_$-]?")
LOG_SIZE = re.compile(r"[1-9][0-9]*[kmg]")


def docker_engine_problems(variables: dict[str, Any], systems: dict, distribution: str, version: str) -> list[str]:
    """Messages about the role's variables and the host's system; see DOCUMENTATION."""
    problems = []
    if version not in systems.get(distribution, {}):
        known = ", ".join(f"{name} {major}" for name, majors in systems.items() for major in majors)
        problems.append(f"This host runs {distribution} {version}. The role knows {known or 'no system'} only.")

    for user in variables.get("docker_engine_users", []):
        if not USER_NAME.fullmatch(str(user)):
            problems.append(f"docker_engine_users holds {user!r}. It must be the name of a user of the host.")

    size = variables.get("docker_engine_log_max_size", "10m")
    if not LOG_SIZE.fullmatch(str(size)):
        problems.append(
            f"docker_engine_log_max_size is {size!r}. It must be a whole number followed by k, m or g, such as 10m."
        )
    files = variables.get("docker_engine_log_max_file", 1)
    if int(files) < 1:
        problems.append(f"docker_engine_log_max_file is {files}. It must be at least 1.")

    options = variables.get("docker_engine_options", {})
    if "hosts" in options:
        problems.append(
            "docker_engine_options holds hosts. The service's command line sets it already (-H), and the engine does "
            "not start with both: set it in a drop-in of the service."
        )
    log_options = options.get("log-opts", {})
    if isinstance(log_options, dict):
        problems.extend(
            f"docker_engine_options.log-opts.{name} is {value!r}. The engine wants text: write it in quotes."
            for name, value in log_options.items()
            if not isinstance(value, str)
        )
    return problems


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable]:
        """Filters by name."""
        return {"docker_engine_problems": docker_engine_problems}

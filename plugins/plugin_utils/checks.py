"""What settings.py judges by hand until argument_specs do: types, choices and unknown keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.archives import (
    archive_problems as registry_archive_problems,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.names import (
    alias_problems,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.names import name_problems as registry_name_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.names import port_problems as registry_port_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.paths import data_problems as registry_data_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.paths import pem_problems as registry_pem_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.references import image_problems as registry_image_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.users import cost_problems as registry_cost_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.users import login_problems, user_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.values import absent, kind, listed, shown

__all__ = [
    "absent",
    "registry_archive_problems",
    "registry_cost_problems",
    "registry_data_problems",
    "registry_image_problems",
    "registry_name_problems",
    "registry_pem_problems",
    "registry_port_problems",
]
SCHEDULES = ("daily", "weekly", "monthly")


def registry_boolean_problems(value: object, variable: str) -> list[str]:
    """Judge a boolean. Null means the default and is good; text such as ``yes`` is not."""
    if value is None or isinstance(value, bool):
        return []
    return [f"{variable}: {shown(value)} is not a boolean: use true or false, without quotes"]


def registry_schedule_problems(value: object, variable: str) -> list[str]:
    """Judge how often something happens by itself: daily, weekly, monthly, or never, which is empty text or null."""
    if absent(value) or value in SCHEDULES:
        return []
    return [f"{variable}: {shown(value)} is unknown: use {', '.join(SCHEDULES)}, or nothing at all for never"]


def registry_aliases_problems(value: Any, variable: str) -> list[str]:
    """Judge that this is a list, and its items."""
    if not isinstance(value, (list, tuple, type(None))):
        return [f"{variable}: {shown(value)} is not a list: use a list of names and addresses"]
    return alias_problems(value, variable)


def registry_user_problems(
    users: Any, variable: str, anonymous: object = False, tls: object = True, cost: object = 4
) -> list[str]:
    """Judge that this is a list of mappings with known keys, and its items."""
    anonymous = anonymous if isinstance(anonymous, bool) else not users
    return _of_mappings(
        users, variable, "user", ["name", "password"], lambda: user_problems(users, variable, anonymous, tls, cost)
    )


def registry_login_problems(logins: Any, variable: str, names: Any = None) -> list[str]:
    """Judge that this is a list of mappings with known keys, and its items."""
    return _of_mappings(
        logins, variable, "login", ["user", "name", "password"], lambda: login_problems(logins, variable, names)
    )


def _of_mappings(value: Any, variable: str, what: str, keys: list[str], judge: Callable[[], list[str]]) -> list[str]:
    """Judge that a value is a list of mappings with these keys, and then what is in them."""
    if not isinstance(value, (list, tuple, type(None))):
        return [f"{variable}: {kind(value)} is not a list: use a list of mappings with {listed(keys)}"]
    problems = []
    for position, item in enumerate(value or [], start=1):
        if not isinstance(item, Mapping):
            problems.append(f"{variable}: {what} {position} is {kind(item)}, not a mapping: use {listed(keys)}")
        elif unknown := [key for key in item if key not in keys]:
            # A key without a value may be a secret.
            plain = all(re.fullmatch("[A-Za-z_]{1,20}", str(key)) and item[key] is not None for key in unknown)
            wrong = f"the unknown key {listed([shown(key) for key in unknown])}" if plain else "an unknown key"
            problems.append(f"{variable}: {what} {position} has {wrong}: use {listed(keys)} only")
    return problems or judge()

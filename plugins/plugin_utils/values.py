"""What all checks share: how a message shows a value, and what a value means.

Each ``..._problems`` function takes a value and the name of the variable that holds it, and returns a line for each
problem: ``variable: what is wrong: what would be right``. Types, choices, required and unknown keys are judged by
argument_specs; these functions judge what those cannot say. A line may be shown and logged: it never holds a password,
a key, or the text around one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from jinja2 import Undefined

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def problems_on_hosts(
    hostvars: Mapping[str, Mapping[str, Any]], hosts: Sequence[str], prefix: str, judge: Callable[[dict], Iterable[str]]
) -> list[str]:
    """Judge the variables of several hosts, those that are alike once.

    Args:
        hostvars: Ansible's variable of that name.
        hosts: the hosts.
        prefix: what the names of the judged variables begin with.
        judge: returns a line for each mistake in one host's variables.

    Returns:
        A line for each mistake; one that only some hosts make names them.
    """
    judged: dict[str, list[str]] = {}
    found: dict[str, list[str]] = {}
    for host in hosts:
        variables = hostvars[host]
        given = {name: plain(variables[name]) for name in variables if name.startswith(prefix)}
        key = repr(sorted(given.items()))
        if key not in judged:
            judged[key] = list(judge(given))
        for problem in judged[key]:
            found.setdefault(problem, []).append(host)
    return [line if len(on) == len(hosts) else f"{line} (on {', '.join(on)})" for line, on in found.items()]


def plain(value: Any) -> Any:
    """Return a value in plain dicts and lists.

    Ansible's containers template their items when they are read, and take its whole templar along when they are copied,
    as its validator does: for a host's settings that took 0.1 s of a processor.

    Raises:
        UndefinedError: something in it refers to what is not defined, or cannot be evaluated.
    """
    if isinstance(value, Undefined):
        str(value)  # raises what it stands for
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def quoted(text: str, limit: int) -> str:
    """Return text in quotes, control characters escaped, cut to ``limit`` characters."""
    return repr(str(text[:limit]) + ("..." if len(text) > limit else ""))


def shown(value: object) -> str:
    """Return a value as a message shows it: YAML's spelling, one line, cut, no content of lists and mappings."""
    if isinstance(value, str):
        return quoted(value, 80)
    if value is None or isinstance(value, (bool, int, float)):
        return json.dumps(value)
    return kind(value)


def kind(value: object) -> str:
    """Return what a value is, without what it says: it could be a secret."""
    kinds: dict[Any, str] = {type(None): "null", str: "text", bool: "a boolean", (int, float): "a number"}
    kinds |= {Mapping: "a mapping", (list, tuple): "a list", date: "a date"}
    return next((name for types, name in kinds.items() if isinstance(value, types)), f"a {type(value).__name__}")


def listed(words: Sequence[str], last: str = "and") -> str:
    """Return words as a person lists them: ``a``, ``a and b``, ``a, b and c``."""
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def mapping_in(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the mapping under a key; an empty one where there is none. What else stands there is told by its type."""
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}


def absent(value: object) -> bool:
    """Tell whether an optional value was not given: null, or empty text."""
    return value is None or value == ""


def whole_number(value: object) -> int:
    """Return an integer, or text that holds one in plain digits (as ``-e`` hands it in); -1 for anything else."""
    if isinstance(value, (int, str)) and re.fullmatch(r"0|[1-9][0-9]{0,8}", str(value)):
        return int(value)
    return -1

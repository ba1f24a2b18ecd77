"""The filter that judges the rules of retention on the controller, before a server sees them."""

from __future__ import annotations

import re
from collections.abc import Mapping

EXPRESSIONS = ("repositories", "keep_tags")
NUMBERS = ("keep_newest", "older_than")
KEYS = ("repositories", "keep_newest", "keep_tags", "older_than")


def wharf_retention_problems(rules: object, variable: str) -> list[str]:
    """Judge the rules that say which tags go.

    :param rules: list of mappings ``{repositories: text, keep_newest: number, keep_tags: text, older_than: days}``, of
        which ``repositories`` and one more must be given. Null means none.
    :param variable: the variable's name, for the messages.
    :returns: one line for each problem, in the order of the list.
    """
    if rules is None:
        return []
    if not isinstance(rules, (list, tuple)):
        return [f"{variable}: is not a list: use a list of rules, each with {', '.join(KEYS)}"]
    return [
        f"{variable}: rule {number} {problem}"
        for number, rule in enumerate(rules, start=1)
        for problem in _problems(rule)
    ]


def _problems(rule: object) -> list[str]:
    """Return the ends of the lines about one rule."""
    if not isinstance(rule, Mapping):
        return [f"is not a mapping: use {', '.join(KEYS)}"]
    problems = []
    if unknown := [str(key) for key in rule if key not in KEYS]:
        problems.append(f"has the unknown key {', '.join(unknown)}: use {', '.join(KEYS)}")
    if "repositories" not in rule:
        problems.append("names no repositories: give a regular expression, such as team/.*")
    for key in EXPRESSIONS:
        if key in rule and (problem := _expression_problem(rule[key])):
            problems.append(f"has {key} that {problem}")
    for key in NUMBERS:
        if key in rule and not _natural(rule[key]):
            problems.append(f"has {key} that is no number from 0 on: use a whole number, such as 10")
    if not any(key in rule for key in KEYS[1:]):
        problems.append(
            "says nothing of what stays, so that all tags but the newest would go: give keep_newest, keep_tags or"
            " older_than"
        )
    return problems


def _expression_problem(value: object) -> str | None:
    """Return what is wrong with a regular expression, None when nothing is."""
    if not isinstance(value, str) or value == "":
        return "is no text: use a regular expression, such as v[0-9.]+"
    try:
        re.compile(value)
    except re.error as error:
        return f"is no regular expression ({error}): mend it, such as v[0-9.]+"
    return None


def _natural(value: object) -> bool:
    """Tell whether a value is a whole number from 0 on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0

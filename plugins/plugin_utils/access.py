"""The rules that say who may do what in which repositories: what their argument specs cannot judge."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.wharf.registry.plugins.module_utils.access import (
    GROUPS,
    LEVELS,
    decision,
    level_of,
    overlap,
    rule_of,
    within,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.specifications import near
from ansible_collections.wharf.registry.plugins.plugin_utils.values import listed, quoted, shown

SHOWN = 8  # users that a line names
EXAMPLE = "such as team-a/**"
SMOKE_TEST = "wharf-verify/1234567890123456"  # such as it pushes to
Users, Rules = Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]


def normalized(users: Users | None, rules: Rules | None) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """Return users, without their passwords, and rules, with all that has a default."""
    return (
        [{"name": user["name"], "role": user.get("role") or "writer"} for user in users or []],
        [
            {"repositories": rule["repositories"], "read": rule.get("read") or [], "write": rule.get("write") or []}
            for rule in rules or []
        ],
    )


def access_lines(users: Users, rules: Rules) -> list[str]:
    """Return a line for each rule, and one for all other repositories: who may do what there.

    Args:
        users: from normalized().
        rules: the same.
    """
    places = [*(f"{rule['repositories']} (rule {number})" for number, rule in enumerate(rules, start=1)), ""]
    lines = []
    for number, place in enumerate(places, start=1):
        levels = {user["name"]: decision(rules, number % len(places), user["name"], user["role"])[0] for user in users}
        named = [
            f"{LEVELS[level]}: {', '.join(names[:SHOWN])}{f' and {len(names) - SHOWN} more' if names[SHOWN:] else ''}"
            for level in (1, 2, 3)
            if (names := [name for name in levels if levels[name] == level])
        ]
        lines.append(
            f"{place or ('every other repository' if rules else 'every repository')}: {'; '.join(named) or 'nobody'}"
        )
    return lines


def rule_problems(
    rules: Rules | None, variable: str, users: Users | None, anonymous: bool, name: str = ""
) -> list[str]:
    """Return a line for each mistake in the rules.

    Args:
        rules: mappings ``{repositories: text, read: list, write: list}``; one of the lists may be left out.
        variable: the variable that holds them; the messages derive the names beside it (``..._users``).
        users: the registry's users; what is wrong with them is judged elsewhere.
        anonymous: whether the registry is open to everyone.
        name: the registry's name.
    """
    others = variable.removesuffix("rules")
    if rules and anonymous:
        return [
            f"{variable}: rules are given but {others}anonymous is true, and a registry that is open to everyone asks"
            f" nobody who they are: remove the rules, or set {others}anonymous to false and give {others}users"
        ]
    if rules and not users:
        return [f"{variable}: rules are given, but {others}users is empty: add the users, or remove the rules"]
    roles = {user.get("name"): user.get("role") for user in users or []}
    problems, good = [], {}
    for number, rule in enumerate(rules or [], start=1):
        pattern = rule.get("repositories")
        who = f"rule {number}{f' ({quoted(pattern, 60)})' if pattern and isinstance(pattern, str) else ''}"
        if fault := _pattern_fault(pattern, name):
            problems.append(f"{variable}: {who} {fault}")
        else:
            problems += [f"{variable}: {who} {fault}" for fault in _beside(pattern, good)]
            good[number] = pattern
        problems += [f"{variable}: {who} {fault}" for fault in _name_faults(rule, roles, f"{others}users")]
    return problems


def push_problems(users: Users | None, rules: Rules | None, prefix: str) -> list[str]:
    """Return a line where nobody could push what the smoke test moves; the users and rules are right by themselves."""
    if not users or _pusher(users, rules, [SMOKE_TEST]):
        return []
    known_rules = normalized(users, rules)[1]
    number = rule_of(known_rules, SMOKE_TEST)
    if not number:
        return [
            f"{prefix}users: none of them is a writer or an admin, so that nobody could push an image, not even the"
            " smoke test: make one a writer or an admin"
        ]
    return [
        f"{prefix}rules: rule {number} ({quoted(known_rules[number - 1]['repositories'], 60)}) lets nobody push to"
        " wharf-verify/..., where the smoke test moves an image: list somebody under its write, make one of the users"
        " an admin, or add a rule for wharf-verify/** that lists somebody under write"
    ]


def pushers(users: Users | None, rules: Rules | None, images: Iterable[str]) -> list[Mapping[str, Any]]:
    """Return the first user who may push to the repositories of all images; none where the registry has no users.

    Raises:
        ValueError: no user may.
    """
    repositories = sorted({image.partition(":")[0] for image in images})
    found = _pusher(users, rules, repositories)
    if users and not found:
        some = [*repositories[:3], *([f"{len(repositories) - 3} more"] if len(repositories) > 3 else [])]
        raise ValueError(
            f"wharf_registry_rules: no user may push to {'all of ' if len(some) > 1 else ''}{listed(some)}: make one of"
            " wharf_registry_users an admin, or list one under write wherever these repositories have a rule"
        )
    return found


def readers_first(users: Users | None, rules: Rules | None, image: str, name: str) -> list[Mapping[str, Any]]:
    """Return the users, first those who may pull an image; without an image those who may list all repositories.

    Args:
        users: the registry's.
        rules: its rules.
        image: a repository with a tag or digest, with or without the registry in front; empty for all.
        name: the registry's name.
    """
    known, known_rules = normalized(users, rules)
    repository = re.split("[:@]", re.sub(rf"^{re.escape(name)}(:\d+)?/", "", image))[0]

    def may_not(user: Mapping[str, Any]) -> bool:
        if not repository:
            return bool(rules) and user.get("role") != "admin"
        return not level_of(known, known_rules, user["name"], repository)[0]

    return sorted(users or [], key=may_not)


def _pusher(users: Users | None, rules: Rules | None, repositories: Sequence[str]) -> list[Mapping[str, Any]]:
    known, known_rules = normalized(users, rules)
    may = (
        user
        for user in users or []
        if all(level_of(known, known_rules, user["name"], repository)[0] > 1 for repository in repositories)
    )
    return list(itertools.islice(may, 1))


def _pattern_fault(pattern: object, name: str) -> str:
    """Return why a pattern is none, or can be for no repository; empty for a good one."""
    if not isinstance(pattern, str):
        return f"has {shown(pattern)} as its repositories: use a pattern in quotes, {EXAMPLE}"
    if not pattern:
        return f"has an empty repositories: use a pattern, {EXAMPLE}, or ** for all"
    if "://" in pattern or ("." in name and pattern.startswith((f"{name}/", f"{name}:"))):
        return f"names the registry, which all of them lie in: use what stands behind it and a slash, {EXAMPLE}"
    if "@" in pattern or ":" in pattern:
        return f"has a host with its port, a tag or a digest in it: use what stands between them, {EXAMPLE}"
    if pattern != pattern.lower():
        return f"has upper case letters, and no repository has: use {shown(pattern.lower())}"
    if pattern != (bare := pattern.strip("/")) and bare:
        where = "in front" if pattern[0] == "/" else "at the end"
        return f"has a slash {where}: use {bare}, or {bare.removesuffix('/**')}/** for all below"
    if strange := re.search(r"[^a-z0-9._/*-]", pattern):
        return (
            f"holds {strange[0]!r}: use a repository's name with * for any characters between two slashes and ** for"
            f" anything below, {EXAMPLE}"
        )
    if any("**" in part and part != "**" for part in pattern.split("/")):
        return f"has ** beside other characters: use * there, or ** alone between two slashes, {EXAMPLE}"
    if not overlap(pattern, "**"):
        return (
            "can be for no repository: use at most 255 letters and digits, with one of . _ __ or hyphens between two of"
            f" them, and * or ** for what may differ, {EXAMPLE}"
        )
    return ""


def _beside(pattern: str, earlier: Mapping[int, str]) -> Iterator[str]:
    """Yield with which earlier rules a rule would leave open which of the two decides."""
    for number, other in earlier.items():
        if (example := overlap(pattern, other)) and (inner := within(pattern, other)) == within(other, pattern):
            if inner:
                yield f"is for the same repositories as rule {number} ({quoted(other, 60)}): make one of the two"
            else:
                yield (
                    f"and rule {number} ({quoted(other, 60)}) are both for {example}, and neither is for a part of the"
                    " other's repositories, so that nothing says which decides: make one of them narrower, until all"
                    " that it is for is the other's, too, or until they have nothing in common"
                )


def _name_faults(rule: Mapping[str, Any], roles: Mapping[object, object], users: str) -> Iterator[str]:
    """Yield what is wrong with those whom a rule lists."""
    if not rule.get("read") and not rule.get("write"):
        yield 'lists nobody under read or write: list some, or say read: ["@admins"] where it is for admins alone'
    for key in ("read", "write"):
        seen = []
        for entry in rule.get(key) or []:
            if entry in seen:
                yield f"lists {shown(entry)} twice under {key}: use each once"
            elif roles.get(entry) == "monitor":
                yield f"lists {shown(entry)} under {key}, a monitor, who reads no repository: give it another role"
            elif entry not in roles and entry not in GROUPS:
                known = {str(one).lower(): one for one in (*roles, *GROUPS)}
                meant = known.get(near(str(entry).lower(), known, 0.7))
                use = f"use {meant}" if meant else f"use its users, or {listed([*GROUPS], 'or')}"
                yield f"lists {shown(entry)} under {key}, whom {users} does not have: {use}"
            seen.append(entry)

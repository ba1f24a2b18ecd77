"""Who may do what: the users' roles, the rules, and the patterns of repositories that rules are for.

A pattern is a repository's name, in which `*` stands for any characters of a component, and `**` as a whole component
for any number of components, at the end for one or more.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

ROLES = {"monitor": 0, "reader": 1, "writer": 2, "admin": 3}  # with the level of each where no rule says otherwise
GROUPS = {
    "@readers": ("reader",),
    "@writers": ("writer",),
    "@admins": ("admin",),
    "@all": ("reader", "writer", "admin"),
}
LEVELS = ("nothing", "pull", "pull and push", "pull, push and delete")
LONGEST = 255  # characters that a repository's name may have

_COMPONENT = "[a-z0-9._-]"
_DEEP = f"(?:{_COMPONENT}+/)"
_SIGNS = "._-/"
_LETTERS = string.ascii_lowercase + string.digits
# The grammar references.PATH: what was read last (x for a letter or digit), and what is read, to what was read then.
_GRAMMAR = {"/x": "x", "xx": "x", "x/": "/", "x.": ".", "x_": "_", "x-": "-"}
_GRAMMAR |= {".x": "x", "_x": "x", "__": "=", "=x": "x", "-x": "x", "--": "-"}

States = frozenset[tuple[int, bool]]


def pattern_regex(pattern: str) -> str:
    """Return the regular expression, of PCRE and of Python 3.11, for the whole of a name that a pattern is for.

    A name costs it about as many steps as it has characters, whatever the pattern is: what stands between two `*`, or
    two `**`, is taken where it comes first, and never looked for again, in an atomic group.
    """
    groups = [group.strip("/").split("/") for group in pattern.split("**")]
    *before, last = ["/".join(map(_component_regex, group)) for group in groups]
    if not before:
        return last
    first, *between = before
    regex = (f"{first}/" if first else "") + "".join(f"(?>{_DEEP}*?{group}/)" for group in between if group)
    return regex + (f"{_DEEP}*{last}" if last else f"{_DEEP}*{_COMPONENT}+")


def _component_regex(part: str) -> str:
    if part == "*":
        return f"{_COMPONENT}+"
    first, *between = part.replace(".", r"\.").split("*")
    last = f"{_COMPONENT}*{between.pop()}" if between else ""
    return first + "".join(f"(?>{_COMPONENT}*?{text})" for text in between if text) + last


def matches(pattern: str, repository: str) -> bool:
    """Tell whether a pattern is for a repository."""
    tokens = _tokens(pattern)
    states = _skipped(tokens, {(0, False)})
    for letter in repository:
        states = _after(tokens, states, letter)
    return (len(tokens), False) in states


def _tokens(pattern: str) -> list[str]:
    return re.findall(r"\*\*/?|.", pattern)


def within(one: str, other: str) -> bool:
    """Tell whether a pattern is only for repositories that another one is for, too."""
    return one == other or (not _begin_otherwise(one, other) and not _shortest(one, other, False))


def overlap(one: str, other: str) -> str:
    """Return a repository, one of the shortest, that two patterns are both for; empty where there is none."""
    return "" if _begin_otherwise(one, other) else _shortest(one, other, True)


def _begin_otherwise(one: str, other: str) -> bool:
    """Tell at once that two patterns have nothing in common, as most have."""
    beginnings = one.partition("*")[0], other.partition("*")[0]
    return not (beginnings[0].startswith(beginnings[1]) or beginnings[1].startswith(beginnings[0]))


def _shortest(one: str, other: str, both: bool) -> str:
    """Return a shortest repository that one pattern is for and another one is for as well, or is not; empty for none.

    It walks through all names at once, by what is left of each pattern after them.
    """
    tokens = [_tokens(pattern) for pattern in (one, other)]
    used = {token for each in tokens for token in each}
    free = next((letter for letter in _LETTERS if letter not in used), "")  # it stands for all that no pattern holds
    alphabet = [letter for letter in _LETTERS + _SIGNS if letter in used or letter in _SIGNS or letter == free]
    start = (_skipped(tokens[0], {(0, False)}), _skipped(tokens[1], {(0, False)}), "/")
    names, seen = {start: ""}, {start}
    for _ in range(LONGEST):
        longer = {}
        for (left, right, last), name in names.items():
            for letter in alphabet:
                grammar = _GRAMMAR.get(last + (letter if letter in _SIGNS else "x"), "")
                mine = _after(tokens[0], left, letter) if grammar else frozenset()
                theirs = _after(tokens[1], right, letter) if mine else frozenset()
                state = (mine, theirs, grammar)
                if not mine or (both and not theirs) or state in seen:
                    continue
                matches = (len(tokens[0]), False) in mine, (len(tokens[1]), False) in theirs
                if grammar == "x" and matches == (True, both):
                    return name + letter
                seen.add(state)
                longer[state] = name + letter
        names = longer
    return ""


def _after(tokens: Sequence[str], states: States, letter: str) -> States:
    """Return where in a pattern a name can be with one letter more."""
    found = set()
    for place, inside in states:
        token = tokens[place] if place < len(tokens) else ""
        if token in ("**", "**/"):
            found.add((place, True))
            if token == "**" or (inside and letter == "/"):
                found.add((place + 1, False))
        elif token == letter:
            found.add((place + 1, False))
        elif token == "*" and letter != "/":
            found.add((place, False))
    return _skipped(tokens, found)


def _skipped(tokens: Sequence[str], states: set[tuple[int, bool]]) -> States:
    """Return places in a pattern, the number of a token and if within it, and those behind them without a letter."""
    found = set(states)
    for place, inside in states:
        while not inside and place < len(tokens) and tokens[place] in ("*", "**/"):
            place += 1
            found.add((place, False))
    return frozenset(found)


def rule_of(rules: Sequence[Mapping[str, Any]], repository: str) -> int:
    """Return the number, from 1, of the rule that decides about a repository: the narrowest; 0 where none does."""
    patterns = {number: rule["repositories"] for number, rule in enumerate(rules, start=1)}
    found = [number for number, pattern in patterns.items() if matches(pattern, repository)]
    return next((one for one in found if all(within(patterns[one], patterns[other]) for other in found)), 0)


def level_of(
    users: Sequence[Mapping[str, str]], rules: Sequence[Mapping[str, Any]], name: str, repository: str
) -> tuple[int, str]:
    """Return what a user may do in a repository, an index of LEVELS, and why.

    Args:
        users: mappings ``{name, role}``.
        rules: mappings ``{repositories, read, write}``.
        name: the user.
        repository: the repository, whether it exists or not.
    """
    role = next((user["role"] for user in users if user["name"] == name), "")
    if not role:
        return 0, f"the registry has no user {name}"
    return decision(rules, rule_of(rules, repository), name, role)


def decision(rules: Sequence[Mapping[str, Any]], number: int, name: str, role: str) -> tuple[int, str]:
    """Return what a user may do where the rule with this number decides, and why."""
    has_role = f"{name} is {'an' if role == 'admin' else 'a'} {role}"
    if role == "admin":
        return ROLES[role], has_role
    if role == "monitor":
        return 0, f"{has_role}, who reads figures and no repository"
    if not number:
        return ROLES[role], f"no rule is for it, and {has_role}"
    rule = rules[number - 1]
    title = f"rule {number} ({rule['repositories']})"
    for key, level in (("write", 2), ("read", 1)):
        if name in rule[key]:
            return level, f"{title} lists {name} under {key}"
        for group in rule[key]:
            if role in GROUPS.get(group, ()):
                return level, f"{title} lists {group} under {key}{'' if group == '@all' else f', and {has_role}'}"
    return 0, f"{title} does not list {name}"


def readable(users: Sequence[Mapping[str, str]], rules: Sequence[Mapping[str, Any]], name: str) -> frozenset[int]:
    """Return the numbers of the rules, 0 for none, of whose repositories a user may read; arguments as level_of().

    Without any users everybody may.
    """
    numbers = range(len(rules) + 1)
    if not users:
        return frozenset(numbers)
    role = next((user["role"] for user in users if user["name"] == name), "")
    return frozenset(number for number in numbers if role and decision(rules, number, name, role)[0])


def reading_class(users: Sequence[Mapping[str, str]], rules: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return an identifier that users have in common who may read the same; "all" where that is everything.

    It holds the patterns, too: what was written for a class under other rules is not for this one.
    """
    numbers = readable(users, rules, name)
    if len(numbers) == len(rules) + 1:
        return "all"
    told = [[rule["repositories"], number in numbers] for number, rule in enumerate(rules, start=1)]
    return hashlib.sha256(json.dumps([0 in numbers, sorted(told)]).encode()).hexdigest()[:16]


def gateway_tables(users: Sequence[Mapping[str, str]], rules: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return what the gateway needs to know; arguments as for ``level_of``.

    Returns:
        rules: lists of a regular expression for a repository's whole name and the number of its rule, in an order in
            which the first that matches decides; a repository that none matches has the rule 0.
        levels: lists of RULE:NAME and what that user may do then, for all who may do anything; of monitors, who may
            read the registry's figures, one with ``monitor``.
    """
    patterns = [rule["repositories"] for rule in rules]
    inner = [sum(within(other, pattern) for other in patterns) for pattern in patterns]
    order = sorted(range(len(rules)), key=inner.__getitem__)
    levels = [
        [f"{number}:{user['name']}", decision(rules, number, user["name"], user["role"])[0]]
        for number in range(len(rules) + 1)
        for user in users
    ]
    levels += [[f"0:{user['name']}", "monitor"] for user in users if user["role"] == "monitor"]
    return {
        "rules": [[pattern_regex(patterns[index]), index + 1] for index in order],
        "levels": [entry for entry in levels if entry[1]],
    }

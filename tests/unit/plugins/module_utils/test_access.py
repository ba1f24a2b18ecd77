"""Patterns and rules: each answer is compared with what comes out when all short names are tried."""

from __future__ import annotations

import itertools
import re
import time
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import access
from ansible_collections.wharf.registry.plugins.module_utils.references import PATH

NAMES = [
    name
    for length in range(1, 8)
    for name in map("".join, itertools.product("ab-/", repeat=length))
    if re.fullmatch(PATH, name)
]
PATTERNS = [
    *("a", "b/a", "*", "a*", "*a", "*a*", "a*b", "*b-*", "**", "**/*", "*/**", "**/**", "a/**", "a/*", "*/a", "**/a"),
    *("a/**/b", "a/**/**", "a*/**", "**/b*/*", "*/*", "a/*/b", "*a/b*", "**/a/**", "**/a/**/b", "b-/**", "-*", "a//b"),
]
USERS = [
    {"name": "kiosk", "role": "reader"},
    {"name": "ann", "role": "writer"},
    {"name": "bob", "role": "writer"},
    {"name": "boss", "role": "admin"},
]


def rule(repositories: str, read: str = "", write: str = "") -> dict[str, Any]:
    return {"repositories": repositories, "read": read.split(), "write": write.split()}


RULES = [
    rule("team-a/**", "kiosk @writers", "ann"),
    rule("**", "@all"),
    rule("team-a/secret", "@admins"),
    rule("team-a/web*", write="@readers bob"),
]


def matched(pattern: str) -> set[str]:
    """Return the short names that a pattern is for, by the definition of its words and not by our expression."""

    def fits(parts: list[str], name: list[str]) -> bool:
        if not parts or not name:
            return parts == name
        if parts[0] != "**":
            each = re.escape(parts[0]).replace(r"\*", "[^/]*")
            return bool(re.fullmatch(each, name[0])) and fits(parts[1:], name[1:])
        return (len(parts) > 1 and fits(parts[1:], name)) or fits(parts, name[1:]) or (len(parts), len(name)) == (1, 1)

    return {name for name in NAMES if fits(pattern.split("/"), name.split("/"))}


MATCHED = {pattern: matched(pattern) for pattern in PATTERNS}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_expression_matches_what_the_pattern_is_for(pattern: str) -> None:
    expression = access.pattern_regex(pattern)
    assert {name for name in NAMES if re.search(f"^{expression}$", name)} == MATCHED[pattern]
    assert {name for name in NAMES if access.matches(pattern, name)} == MATCHED[pattern]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*-*-*-*-prod", "a-" * 125 + "prodx"),
        ("*a*a*a*a*a*x", "a" * 255),
        ("**/a/**/a/**/a/**/a/**/b", "a/" * 127 + "a"),
        ("*/**/*a*b/**/*a*/**/c", "ab/" * 84 + "ab"),
        ("**/*a*a*a*b/**", "a" * 120 + "/" + "a" * 120),
    ],
)
def test_no_name_keeps_the_gateway_busy(pattern: str, name: str) -> None:
    start = time.process_time()
    assert not re.search(f"^{access.pattern_regex(pattern)}$", name)
    assert not access.matches(pattern, name)
    assert time.process_time() - start < 0.1


@pytest.mark.parametrize(("one", "other"), list(itertools.product(PATTERNS, PATTERNS)))
def test_patterns_are_compared_as_if_all_names_were_tried(one: str, other: str) -> None:
    common = MATCHED[one] & MATCHED[other]
    example = access.overlap(one, other)
    assert bool(example) == bool(common)
    assert not example or (example in common and len(example) == min(map(len, common)))
    if MATCHED[one]:
        assert access.within(one, other) == (MATCHED[one] <= MATCHED[other])


@pytest.mark.parametrize(
    ("one", "other", "example"),
    [
        ("team-a/*", "*/app", "team-a/app"),
        ("a.*", "*_b", "a.a_b"),
        ("a.*", "*._b", ""),
        ("x__*", "x_*", "x__a"),
        ("x__*", "x___*", ""),
        ("team-a/**", "team-b/**", ""),
        ("a" * 255, "**", "a" * 255),
        ("a" * 256, "**", ""),
        ("a" * 250 + "/**", "**/abcde", ""),
        ("a" * 249 + "/**", "**/abcde", "a" * 249 + "/abcde"),
    ],
)
def test_example_is_a_repository_that_both_patterns_are_for(one: str, other: str, example: str) -> None:
    assert access.overlap(one, other) == example
    assert not example or re.fullmatch(PATH, example)


def test_all_letters_may_be_in_patterns() -> None:
    """Then none is left that could stand for any other."""
    every = "abcdefghijklmnopqrstuvwxyz0123456789"
    assert access.within(f"*{every}*", "**") and not access.within("*", f"*{every}*")
    assert access.overlap(f"*{every}", "*9") == every


@pytest.mark.parametrize(
    ("repository", "number"),
    [
        ("team-a/app", 1),
        ("team-a/secret", 3),
        ("team-a/secret/deep", 1),
        ("team-a/web-1", 4),
        ("team-a/web/1", 1),
        ("team-a", 2),
        ("team-ab/app", 2),
    ],
)
def test_narrowest_rule_decides_whatever_the_order(repository: str, number: int) -> None:
    for order in itertools.permutations(RULES):
        found = access.rule_of(order, repository)
        assert order[found - 1] is RULES[number - 1]


def test_no_rule_decides_where_none_is_for_it() -> None:
    assert access.rule_of([], "team-a/app") == 0
    assert access.rule_of(RULES[:1], "team-b/app") == 0


@pytest.mark.parametrize(
    ("name", "repository", "level", "reason"),
    [
        ("ann", "team-a/app", 2, "rule 1 (team-a/**) lists ann under write"),
        ("bob", "team-a/app", 1, "rule 1 (team-a/**) lists @writers under read, and bob is a writer"),
        ("kiosk", "team-a/app", 1, "rule 1 (team-a/**) lists kiosk under read"),
        ("ann", "other", 1, "rule 2 (**) lists @all under read"),
        ("ann", "team-a/secret", 0, "rule 3 (team-a/secret) does not list ann"),
        ("boss", "team-a/secret", 3, "boss is an admin"),
        ("kiosk", "team-a/web", 2, "rule 4 (team-a/web*) lists @readers under write, and kiosk is a reader"),
        ("ann", "team-a/web", 0, "rule 4 (team-a/web*) does not list ann"),
        ("stranger", "team-a/app", 0, "the registry has no user stranger"),
    ],
)
def test_level_has_its_reason(name: str, repository: str, level: int, reason: str) -> None:
    assert access.level_of(USERS, RULES, name, repository) == (level, reason)


@pytest.mark.parametrize(
    ("name", "level", "reason"),
    [
        ("kiosk", 1, "no rule is for it, and kiosk is a reader"),
        ("ann", 2, "no rule is for it, and ann is a writer"),
        ("boss", 3, "boss is an admin"),
    ],
)
def test_roles_hold_where_there_is_no_rule(name: str, level: int, reason: str) -> None:
    assert access.level_of(USERS, RULES[:1], name, "team-b/app") == (level, reason)


def test_to_write_includes_to_read_and_more_counts() -> None:
    rules = [rule("a", "ann @all", "@writers")]
    assert access.level_of(USERS, rules, "ann", "a")[0] == 2
    assert access.level_of(USERS, rules, "kiosk", "a")[0] == 1


def test_gateway_is_told_the_narrowest_rule_first() -> None:
    tables = access.gateway_tables(USERS, RULES)
    numbers = [number for _, number in tables["rules"]]
    assert numbers[-2:] == [1, 2] and sorted(numbers) == [1, 2, 3, 4]
    assert ["1:ann", 2] in tables["levels"] and ["0:kiosk", 1] in tables["levels"]
    assert all(0 < level < 4 for _, level in tables["levels"])


@pytest.mark.parametrize("rules", [[], *(list(order) for order in itertools.permutations(RULES, 3))])
def test_gateway_comes_to_the_same_answers(rules: list) -> None:
    """It takes the first expression that matches, and the entry of that rule and the user; nothing else is 0."""
    tables = access.gateway_tables(USERS, rules)
    levels = dict(map(tuple, tables["levels"]))
    for repository in ("team-a/app", "team-a/secret", "team-a/web-1", "team-a/web/1", "team-a", "x", "x/y/z"):
        number = next((number for regex, number in tables["rules"] if re.search(f"^{regex}$", repository)), 0)
        assert number == access.rule_of(rules, repository)
        for name in (*(user["name"] for user in USERS), "stranger", ""):
            assert levels.get(f"{number}:{name}", 0) == access.level_of(USERS, rules, name, repository)[0]


CLASSES = [
    {"repositories": "team-a/**", "read": ["@readers"], "write": ["ann"]},
    {"repositories": "team-a/secret/*", "read": [], "write": ["ann"]},
]
READERS = [
    *({"name": name, "role": "reader"} for name in ("kiosk", "eve")),
    *({"name": name, "role": "writer"} for name in ("ann", "ci")),
    {"name": "root", "role": "admin"},
]


def test_users_who_may_read_the_same_are_of_one_class() -> None:
    classes = {user["name"]: access.reading_class(READERS, CLASSES, user["name"]) for user in READERS}
    assert classes["ann"] == classes["root"] == "all"
    assert classes["kiosk"] == classes["eve"]
    assert len({"all", classes["kiosk"], classes["ci"], access.reading_class(READERS, CLASSES, "nobody")}) == 4
    assert all(re.fullmatch("[a-z0-9]{1,16}", one) for one in classes.values())
    assert [sorted(access.readable(READERS, CLASSES, name)) for name in ("kiosk", "ci", "nobody")] == [[0, 1], [0], []]


def test_a_class_is_stable_until_the_patterns_change() -> None:
    """The rules' numbers may become those of others: what was written for a class must not be read by another one."""
    before = access.reading_class(READERS, CLASSES, "ci")
    assert access.reading_class(READERS[::-1], CLASSES[::-1], "ci") == before
    other = [CLASSES[0] | {"repositories": "team-b/**"}, CLASSES[1]]
    assert access.reading_class(READERS, other, "ci") != before


def test_without_rules_everybody_reads_everything() -> None:
    assert {access.reading_class(READERS, [], user["name"]) for user in READERS} == {"all"}
    assert access.reading_class([], [], "") == "all"

"""The rules that say which tags are kept: what their argument specs cannot judge."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# A * that repeats one letter is hardly meant.
_AS_IN_A_SHELL = re.compile(r"(?<=(?<!\\)[A-Za-z0-9/_-])\*")


def retention_problems(rules: Sequence[Mapping[str, Any]], variable: str, name: str = "") -> list[str]:
    """Return a line for each mistake in the rules.

    Args:
        rules: mappings with the keys repositories, keep_newest, keep_tags and older_than, of the right types.
        variable: the variable that holds them, for the messages.
        name: the registry's name.
    """
    never: list[str] = []
    before: dict[str, int] = {}
    for number, rule in enumerate(rules, start=1):
        text = _bare(str(rule.get("repositories")))
        if other := next((number for earlier, number in before.items() if _covers(earlier, text)), 0):
            every, same = bool({".*", ".+"} & before.keys()), text in before
            names = "the same repositories" if same else "every repository" if every else "them"
            never.append(
                f"{variable}: rule {number} is never used, because rule {other} names {names}: put it before that"
            )
        before.setdefault(text, number)
    return never + [
        f"{variable}: rule {number} {problem}"
        for number, rule in enumerate(rules, start=1)
        for problem in _problems({key: value for key, value in rule.items() if value is not None}, name)
    ]


def _bare(pattern: str) -> str:
    """Return a pattern without what changes nothing when it is matched as a whole."""
    bare = pattern.removeprefix("^").removesuffix("$")
    inner = bare[1:-1]
    return inner if bare == f"({inner})" and not set("()") & set(inner) else bare


def _covers(one: str, other: str) -> bool:
    """Tell whether a pattern surely matches all that another one does: it is its beginning, or matches its one name."""
    if one == other or one in (".*", ".+"):
        return True
    if re.fullmatch("[a-z0-9/_-]+", other):
        try:
            return re.fullmatch(one, other) is not None
        except re.error:
            return False
    beginning = re.fullmatch(r"([a-z0-9/_-]*)\.\*", one)
    return bool(
        beginning
        and "|" not in other
        and other.startswith(beginning[1])
        and other[len(beginning[1]) :][:1] not in "*?{"
    )


def _problems(rule: Mapping[str, Any], name: str) -> Iterator[str]:
    for key in ("repositories", "keep_tags"):
        if rule.get(key) == "":
            yield f"has an empty {key}: use a regular expression, such as v[0-9.]+"
        text = rule.get(key, "")
        if _AS_IN_A_SHELL.search(text) and not re.search(r"\[[^]]*$", text.partition("*")[0]):
            right = _AS_IN_A_SHELL.sub(".*", text)
            yield f"has {key} {text!r}, in which * repeats the character before it: write {right!r} for anything there"
        if key == "repositories" and (
            text.startswith(("/", *([f"{name}/"] if name else [])))
            or text.endswith("/")
            or re.search(r"(?<![(?]):", text)
        ):
            yield f"has {key} {text!r}, which is more than a repository: leave out registry, first slash and tag"
        if key == "repositories" and "(?" not in text and (upper := re.search("[A-Z]", re.sub(r"\\\\.", "", text))):
            yield f"has {key} {text!r}, and no repository has upper case letters such as {upper[0]}: use lower case"
        literal = re.sub(r"\\.|\[[^]]*\]|\{[^}]*\}|\(\?[^)]*", "", text)
        if strange := re.search(r"[,;\s@]", literal):
            whose = "tag" if key == "keep_tags" else "repository"
            yield f"has {key} {text!r}, and no {whose} holds {strange[0]!r}: write A|B for one of two"
        try:
            re.compile(text)
        except re.error as error:
            yield f"has {key} that is no regular expression ({error}): correct it, such as v[0-9.]+"
    for key in ("keep_newest", "older_than"):
        if rule.get(key, 0) < 0:
            yield f"has a negative {key}: use a whole number, such as 10"
    if not rule.keys() & {"keep_newest", "keep_tags", "older_than"}:
        yield (
            "does not say what is kept, so that all tags but the newest would be deleted: give keep_newest, keep_tags"
            " or older_than"
        )

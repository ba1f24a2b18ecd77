"""The rules of retention: which are refused, and which tags go by them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import retention as apply
from ansible_collections.wharf.registry.plugins.plugin_utils import retention

NOW = 1_000_000_000.0
DAY = 86400


def store(root: Path, name: str, tags: dict[str, float]) -> None:
    """Make a repository with tags of these ages in days, each with an image of its own."""
    for number, (tag, age) in enumerate(tags.items()):
        link = root / f"docker/registry/v2/repositories/{name}/_manifests/tags/{tag}/current/link"
        link.parent.mkdir(parents=True)
        link.write_text(f"sha256:{number:064x}")
        os.utime(link, (NOW - age * DAY,) * 2)


def goes(root: Path, *rules: dict[str, Any]) -> list[str]:
    """Return what goes, as repository:tag."""
    return [f"{one.name}:{one.tag}" for one in apply.plan(apply.Storage(root), list(rules), NOW)]


@pytest.mark.parametrize(
    "rules",
    [
        None,
        [],
        [{"repositories": "team/.*", "keep_newest": 10}],
        [{"repositories": ".*", "keep_newest": 0, "older_than": 30, "keep_tags": "v.*"}],
        [{"repositories": "a", "keep_tags": "latest"}, {"repositories": "b", "older_than": 0}],
    ],
)
def test_good_rules_pass(rules: Any) -> None:
    assert retention.wharf_retention_problems(rules, "wharf_retention") == []


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("all", "is not a list"),
        (["all"], "rule 1 is not a mapping"),
        ([{"keep_newest": 3}], "rule 1 names no repositories"),
        ([{"repositories": "", "keep_newest": 3}], "rule 1 has repositories that is no text"),
        ([{"repositories": 5, "keep_newest": 3}], "rule 1 has repositories that is no text"),
        ([{"repositories": "(", "keep_newest": 3}], "rule 1 has repositories that is no regular expression"),
        ([{"repositories": "a", "keep_tags": "*"}], "rule 1 has keep_tags that is no regular expression"),
        ([{"repositories": "a", "keep_newest": 1}, {"repositories": "b"}], "rule 2 says nothing of what stays"),
        ([{"repositories": "a", "keep_newest": -1}], "rule 1 has keep_newest that is no number from 0 on"),
        ([{"repositories": "a", "keep_newest": True}], "rule 1 has keep_newest that is no number from 0 on"),
        ([{"repositories": "a", "older_than": "30d"}], "rule 1 has older_than that is no number from 0 on"),
        ([{"repositories": "a", "keep_newest": 1, "older": 3}], "rule 1 has the unknown key older"),
    ],
)
def test_bad_rules_are_named(rules: Any, words: str) -> None:
    (problem,) = retention.wharf_retention_problems(rules, "wharf_retention")
    assert problem.startswith(f"wharf_retention: {words}")
    assert ": use " in problem or ": give " in problem or ": mend " in problem


def test_the_newest_stay_and_the_last_one_unless_it_is_said(tmp_path: Path) -> None:
    store(tmp_path, "app", {"a": 3, "b": 2, "c": 1})
    assert goes(tmp_path, {"repositories": "app", "keep_newest": 2}) == ["app:a"]
    assert goes(tmp_path, {"repositories": "app", "older_than": 0}) == ["app:b", "app:a"]
    assert goes(tmp_path, {"repositories": "app", "keep_newest": 0}) == ["app:c", "app:b", "app:a"]


def test_tags_that_are_named_stay_and_do_not_count(tmp_path: Path) -> None:
    store(tmp_path, "app", {"v1": 4, "a": 3, "v2": 2, "b": 1, "v3-rc": 5})
    assert goes(tmp_path, {"repositories": "app", "keep_newest": 1, "keep_tags": "v[0-9]"}) == ["app:a", "app:v3-rc"]


def test_young_tags_stay(tmp_path: Path) -> None:
    store(tmp_path, "app", {"old": 10.01, "day": 10, "young": 9, "new": 1})
    assert goes(tmp_path, {"repositories": "app", "older_than": 10}) == ["app:old"]


def test_the_first_rule_that_matches_the_whole_name_decides(tmp_path: Path) -> None:
    for name in ("app/web", "app/web-old", "other"):
        store(tmp_path, name, {"a": 2, "b": 1})
    rules = [{"repositories": "app/web", "keep_newest": 5}, {"repositories": "app/.*", "keep_newest": 1}]
    assert goes(tmp_path, *rules) == ["app/web-old:a"]


def test_the_plans_number_changes_with_a_push_and_with_the_rules(tmp_path: Path) -> None:
    rule = {"repositories": "app", "keep_newest": 1}
    store(tmp_path, "app", {"a": 2, "b": 1})
    storage = apply.Storage(tmp_path)
    first = apply.number_of(apply.plan(storage, [rule], NOW), [rule])
    assert apply.number_of(apply.plan(storage, [rule], NOW + DAY), [rule]) == first
    other = rule | {"older_than": 1}
    assert apply.number_of(apply.plan(storage, [other], NOW), [other]) != first
    os.utime(storage.tag_link("app", "a"), (NOW - 3 * DAY,) * 2)
    assert apply.number_of(apply.plan(storage, [rule], NOW), [rule]) != first

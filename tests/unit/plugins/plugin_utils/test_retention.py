"""The rules of retention: which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import retention


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

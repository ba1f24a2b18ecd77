"""The rules of retention: which are refused, by their argument specs or by what those cannot say."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils.settings import problems_of


def problems(rules: Any) -> list[str]:
    """Return what is wrong with settings in which all but the rules is right."""
    return problems_of(
        {"wharf_registry_name": "reg.test", "wharf_registry_users": [{"name": "ci"}], "wharf_retention": rules}
    )


@pytest.mark.parametrize(
    "rules",
    [
        None,
        [],
        [{"repositories": "team/.*", "keep_newest": 10}],
        [{"repositories": "team/.*", "keep_newest": "10", "keep_tags": None}],
        [{"repositories": ".*", "keep_newest": 0, "older_than": 30, "keep_tags": "v.*"}],
        [{"repositories": "a", "keep_tags": "latest"}, {"repositories": "b", "older_than": 0}],
    ],
)
def test_good_rules_pass(rules: Any) -> None:
    assert problems(rules) == []


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("all", "is text"),
        (["all"], "is text"),
        ([{"keep_newest": 3}], "repositories is missing"),
        ([{"repositories": "", "keep_newest": 3}], "rule 1 has an empty repositories: use a regular expression"),
        ([{"repositories": "(", "keep_newest": 3}], "rule 1 has repositories that is no regular expression"),
        ([{"repositories": "a", "keep_tags": "*"}], "rule 1 has keep_tags that is no regular expression"),
        ([{"repositories": "a", "keep_newest": 1}, {"repositories": "b"}], "rule 2 does not say what is kept"),
        ([{"repositories": "a", "keep_newest": -1}], "rule 1 has a negative keep_newest: use a whole number"),
        ([{"repositories": "a", "older_than": "30d"}], "older_than '30d' is not a whole number"),
        ([{"repositories": "a", "keep_newest": 1, "older": 3}], "older is unknown: use repositories"),
    ],
)
def test_bad_rules_are_named(rules: Any, message: str) -> None:
    (problem,) = problems(rules)
    assert problem.startswith("wharf_retention: ")
    assert message in problem

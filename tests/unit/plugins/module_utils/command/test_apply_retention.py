"""Retention: which tags the rules let go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible_collections.wharf.registry.plugins.module_utils.command import retention

NOW = 1_000_000_000.0
DAY = 86400


def store(root: Path, name: str, tags: dict[str, float]) -> None:
    """Make a repository with tags of these ages in days, each with an image of its own."""
    for number, (tag, age) in enumerate(tags.items()):
        link = root / f"docker/registry/v2/repositories/{name}/_manifests/tags/{tag}/current/link"
        link.parent.mkdir(parents=True)
        link.write_text(f"sha256:{number:064x}")
        os.utime(link, (NOW - age * DAY,) * 2)


def deleted(root: Path, *rules: dict[str, Any]) -> list[str]:
    """Return what the rules let go, as repository:tag."""
    return [f"{one.name}:{one.tag}" for one in retention.find_candidates(retention.Storage(root), list(rules), NOW)]


def test_the_newest_stay_and_the_last_one_unless_it_is_said(tmp_path: Path) -> None:
    store(tmp_path, "app", {"a": 3, "b": 2, "c": 1})
    assert deleted(tmp_path, {"repositories": "app", "keep_newest": 2}) == ["app:a"]
    assert deleted(tmp_path, {"repositories": "app", "older_than": 0}) == ["app:b", "app:a"]
    assert deleted(tmp_path, {"repositories": "app", "keep_newest": 0}) == ["app:c", "app:b", "app:a"]


def test_tags_that_are_named_stay_and_do_not_count(tmp_path: Path) -> None:
    store(tmp_path, "app", {"v1": 4, "a": 3, "v2": 2, "b": 1, "v3-rc": 5})
    assert deleted(tmp_path, {"repositories": "app", "keep_newest": 1, "keep_tags": "v[0-9]"}) == ["app:a", "app:v3-rc"]


def test_young_tags_stay(tmp_path: Path) -> None:
    store(tmp_path, "app", {"old": 10.01, "day": 10, "young": 9, "new": 1})
    assert deleted(tmp_path, {"repositories": "app", "older_than": 10}) == ["app:old"]


def test_the_first_rule_that_matches_the_whole_name_decides(tmp_path: Path) -> None:
    for name in ("app/web", "app/web-old", "other"):
        store(tmp_path, name, {"a": 2, "b": 1})
    rules = [{"repositories": "app/web", "keep_newest": 5}, {"repositories": "app/.*", "keep_newest": 1}]
    assert deleted(tmp_path, *rules) == ["app/web-old:a"]


def test_the_plans_number_changes_with_a_push_and_with_the_rules(tmp_path: Path) -> None:
    rule = {"repositories": "app", "keep_newest": 1}
    store(tmp_path, "app", {"a": 2, "b": 1})
    storage = retention.Storage(tmp_path)
    first = retention.plan_number(retention.find_candidates(storage, [rule], NOW), [rule])
    assert retention.plan_number(retention.find_candidates(storage, [rule], NOW + DAY), [rule]) == first
    other = rule | {"older_than": 1}
    assert retention.plan_number(retention.find_candidates(storage, [other], NOW), [other]) != first
    os.utime(storage.tag_link("app", "a"), (NOW - 3 * DAY,) * 2)
    assert retention.plan_number(retention.find_candidates(storage, [rule], NOW), [rule]) != first


def test_a_rule_is_read_as_the_inventory_means_it() -> None:
    rule = {"repositories": "app", "keep_newest": "3", "keep_tags": None, "older_than": 5}
    assert retention.read_rule(rule) == {"repositories": "app", "keep_newest": 3, "older_than": 5}

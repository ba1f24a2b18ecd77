"""What the registry is told of its caches."""

from __future__ import annotations

from typing import Any

import yaml

from ansible_collections.wharf.registry.plugins.plugin_utils import caches_plan as module


def plan(*caches: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the plan for caches, by their names, with the configurations read."""
    return {one["name"]: {**one, "config": yaml.safe_load(one.get("config", ""))} for one in module.caches_plan(caches)}


def test_without_a_list_there_is_nothing_not_even_what_serves_what_is_there() -> None:
    assert module.caches_plan([]) == []


def test_each_upstream_has_a_storage_of_its_own_within_the_one_that_all_share() -> None:
    made = plan({"upstream": "docker.io"}, {"upstream": "hub.test:5000"})
    assert list(made) == ["docker.io", "hub.test_5000", "shelf"]
    roots = {name: one["config"]["storage"]["filesystem"]["rootdirectory"] for name, one in made.items()}
    assert roots["docker.io"] == "/wharf/caches/roots/docker.io"
    assert roots["hub.test_5000"] == "/wharf/caches/roots/hub.test_5000"
    assert roots["shelf"] == "/wharf/caches"
    remotes = {name: one["config"].get("proxy", {}).get("remoteurl") for name, one in made.items()}
    assert remotes == {
        "docker.io": "https://registry-1.docker.io",
        "hub.test_5000": "https://hub.test:5000",
        "shelf": None,
    }


def test_nothing_expires_or_is_deleted_by_the_registry_and_what_serves_it_writes_nothing() -> None:
    for one in plan({"upstream": "docker.io"}).values():
        assert one["config"]["storage"]["delete"] == {"enabled": False}
        assert one["config"].get("proxy", {"ttl": "0s"})["ttl"] == "0s"
    assert plan({"upstream": "docker.io"})["shelf"]["config"]["storage"]["maintenance"] == {
        "readonly": {"enabled": True}
    }


def test_login_and_proxy_are_where_only_root_and_the_registry_read() -> None:
    made = plan({"upstream": "a.test", "user": "ann", "password": "word", "proxy": "http://b:c@proxy.test:3128"})
    assert made["a.test"]["config"]["proxy"]["username"] == "ann"
    assert made["a.test"]["config"]["proxy"]["password"] == "word"
    assert made["a.test"]["environment"] == [
        "HTTPS_PROXY=http://b:c@proxy.test:3128",
        "HTTP_PROXY=http://b:c@proxy.test:3128",
    ]
    assert "username" not in plan({"upstream": "a.test"})["a.test"]["config"]["proxy"]


def test_a_cache_without_an_upstream_has_a_size_alone_and_is_served() -> None:
    caches = [
        {"upstream": "hub.test:5000", "offline": "yes", "size": "1M"},
        {"upstream": "docker.io", "offline": False},
    ]
    made = plan(*caches)
    assert made["hub.test_5000"] == {"name": "hub.test_5000", "config": None, "size": 1 << 20, "offline": True}
    assert list(made) == ["hub.test_5000", "docker.io", "shelf"]
    known = module.known_caches(caches, "/data")["caches"]["upstreams"]
    assert [one["offline"] for one in known] == [True, False]


def test_a_slash_at_the_end_of_a_remote_is_none_of_its_path() -> None:
    assert module.remote_of({"upstream": "a.test", "remote": "http://a.test:5000/"}) == "http://a.test:5000"

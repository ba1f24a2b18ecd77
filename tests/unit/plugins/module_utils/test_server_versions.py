"""Which version of the registry may follow which, and what a version does not understand."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import server_versions as module
from ansible_collections.wharf.registry.plugins.plugin_utils.server_plan import config_keys


@pytest.mark.parametrize(
    ("version", "config", "line"),
    [
        ("3.0.0", {"storage": {"swift": {"container": "images"}}}, "storage.swift is not understood by version 3"),
        ("3.0.0", {"storage": {"oss": {"bucket": "images"}}}, "storage.oss is not understood by version 3.0.0"),
        ("v3.1.1", {"redis": {"addr": "redis:6379"}}, "redis.addr is not understood by version v3.1.1"),
        ("3", {"redis": {"addrs": ["redis:6379"], "pool": {"maxidle": 16}}}, "redis.pool.maxidle is not understood"),
        ("2.8.3+ds1", {"redis": {"addrs": ["redis:6379"]}}, "redis.addrs is not understood by version 2.8.3+ds1"),
        ("2.8.3", {"redis": {"addr": "redis:6379", "poolsize": 10}}, "redis.poolsize is not understood"),
    ],
)  # fmt: skip
def test_a_key_that_the_version_does_not_understand_is_named(version: str, config: dict[str, Any], line: str) -> None:
    problems = module.config_problems(config_keys(config), version)
    assert len(problems) == 1
    assert problems[0].startswith(f"registry_server_config: {line}")


@pytest.mark.parametrize(
    ("version", "config"),
    [
        ("", {"redis": {"addr": "redis:6379"}}),
        ("2.8.3", {"redis": {"addr": "redis:6379", "pool": {"maxidle": 16}}, "storage": {"swift": {"container": "i"}}}),
        ("3.0.0", {"redis": {"addrs": ["redis:6379"], "poolsize": 10}, "storage": {"s3": {"bucket": "i"}}}),
        ("3.0.0", {"redis": None, "storage": {"swift": None}}),
        ("3.0.0", {}),
        ("4.0.0", {"storage": {"swift": {}}}),
    ],
)
def test_a_configuration_that_is_understood_or_cannot_be_judged_passes(version: str, config: dict[str, Any]) -> None:
    assert module.config_problems(config_keys(config), version) == []


@pytest.mark.parametrize(
    ("running", "wanted", "older"),
    [
        ("2.8.3+ds1", "2.8.2+ds1", True),
        ("3.0.0", "2.8.3", True),
        ("2.10.0", "2.9.9", True),
        ("2.8.3+ds1", "v2.8.3", False),
        ("2.8.2", "2.8.3", False),
        ("2.9.9", "2.10.0", False),
        ("", "2.8.2", False),
        ("2.8.3", "", False),
    ],
)
def test_a_downgrade_is_told(running: str, wanted: str, older: bool) -> None:
    problems = module.downgrade_problems(running, wanted)
    assert bool(problems) is older
    assert all(running in line and wanted in line for line in problems)

"""What is judged when a registry changes: its version, its configuration, its data."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import server_change as change

DATA = "/srv/images"
NAME = "reg.test"


# Versions and configurations ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "config", "line"),
    [
        ("3.0.0", {"storage": {"swift": {"container": "images"}}}, "c: storage.swift is not understood by version 3"),
        ("3.0.0", {"storage": {"oss": {"bucket": "images"}}}, "c: storage.oss is not understood by version 3.0.0"),
        ("v3.1.1", {"redis": {"addr": "redis:6379"}}, "c: redis.addr is not understood by version v3.1.1"),
        ("3", {"redis": {"addrs": ["redis:6379"], "pool": {"maxidle": 16}}}, "c: redis.pool.maxidle is not understood"),
        ("2.8.3+ds1", {"redis": {"addrs": ["redis:6379"]}}, "c: redis.addrs is not understood by version 2.8.3+ds1"),
        ("2.8.3", {"redis": {"addr": "redis:6379", "poolsize": 10}}, "c: redis.poolsize is not understood"),
    ],
)  # fmt: skip
def test_a_key_that_the_version_does_not_understand_is_named(version: str, config: dict[str, Any], line: str) -> None:
    problems = change.registry_config_problems(config, version, "c")
    assert len(problems) == 1
    assert problems[0].startswith(line)


@pytest.mark.parametrize(
    ("version", "config"),
    [
        ("", {"redis": {"addr": "redis:6379"}}),
        (None, {"redis": {"addrs": ["redis:6379"]}}),
        ("2.8.3", {"redis": {"addr": "redis:6379", "pool": {"maxidle": 16}}, "storage": {"swift": {"container": "i"}}}),
        ("3.0.0", {"redis": {"addrs": ["redis:6379"], "poolsize": 10}, "storage": {"s3": {"bucket": "i"}}}),
        ("3.0.0", {"redis": None, "storage": {"swift": None}}),
        ("3.0.0", {}),
        ("4.0.0", {"storage": {"swift": {}}}),
    ],
)
def test_a_configuration_that_is_understood_or_cannot_be_judged_passes(version: str, config: dict[str, Any]) -> None:
    assert change.registry_config_problems(config, version, "c") == []


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
def test_a_downgrade_is_refused_unless_it_is_wanted(running: str, wanted: str, older: bool) -> None:
    versions = {"running": running, "wanted": wanted}
    problems = change.registry_downgrade_problems(versions, False, "v")
    assert bool(problems) is older
    assert all(running in line and wanted in line for line in problems)
    assert change.registry_downgrade_problems(versions, True, "v") == []


# Data ---------------------------------------------------------------------------------------------


def judge(confirmed: str = "", **seen: object) -> dict[str, Any]:
    """Return what is judged of data in DATA for the registry NAME; nothing was seen, where a test says nothing else."""
    look = {"mark": "", "record": "", "used": "0", **seen}
    return change.registry_data_mark(look, DATA, NAME, confirmed, "server")


@pytest.mark.parametrize(
    ("seen", "id_"),
    [
        ({}, ""),  # a first install
        ({"used": "3"}, ""),  # data of a registry from before there were marks
        ({"mark": f"aa {NAME}", "used": "3"}, "aa"),  # restored, or a registry that was removed comes back
        ({"mark": f"aa {NAME}", "record": f"aa {DATA}"}, "aa"),
        ({"mark": "aa old.test", "record": f"aa {DATA}"}, "aa"),  # the registry got another name
        ({"mark": f"aa {NAME}", "record": "aa /old"}, "aa"),  # the data was moved
    ],
)
def test_its_own_data_is_taken(seen: dict[str, str], id_: str) -> None:
    assert judge(**seen) == {"id": id_, "problems": []}


@pytest.mark.parametrize(
    ("seen", "line"),
    [
        ({"record": f"aa {DATA}"}, f"is empty, but should hold the images of {NAME}: is its disk mounted?"),
        ({"record": f"aa {DATA}", "used": "1"}, "has lost its mark"),
        ({"record": f"aa {DATA}", "mark": "bb other.test"}, "holds the data of another registry (other.test, bb)"),
        ({"mark": "bb other.test"}, "holds the data of another registry, other.test"),
        ({"record": "aa /old place"}, f"is empty, and the images of {NAME} are in /old place: "
         "playbooks/move-registry-data.yml moves them"),
        ({"record": "aa /old", "used": "2"}, "holds something else, and the images"),
    ],
)  # fmt: skip
def test_other_data_and_missing_data_is_refused_unless_confirmed(seen: dict[str, str], line: str) -> None:
    problems = judge(**seen)["problems"]
    assert len(problems) == 1
    assert problems[0].startswith(f"registry_server_data: {DATA} on server ")
    assert line in problems[0]
    assert f"registry_server_data_confirm: {DATA}" in problems[0]
    assert judge("/another", **seen)["problems"] == problems
    assert judge(DATA, **seen)["problems"] == []

"""Who moves an image in the smoke test, and the table of its results."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils.smoke_test import smoke_test_plan, smoke_test_table

PLAN = {
    "source": "one",
    "targets": ["second"],
    "tools": {"one": "docker", "second": "podman", "node": "", "off": ""},
    "unreachable": ["off"],
}


def test_table_names_every_host() -> None:
    hostvars = {
        "one": {"__wharf_pushed": {"digest": "sha256:" + "a" * 64, "seconds": 1.234, "layers": []}},
        "second": {"__wharf_pulled": {"seconds": 0.056}},
    }
    assert smoke_test_table(hostvars, PLAN) == [
        "one     pushed  sha256:aaaaaaaaaaaa    1.23 s",
        "second  pulled  sha256:aaaaaaaaaaaa    0.06 s",
        "node    not verified: it has neither docker nor podman",
        "off     not verified: it cannot be reached",
    ]


@pytest.mark.parametrize(
    ("tools", "source", "targets", "used"),
    [
        ({"a": "auto", "b": "auto", "c": "auto"}, "a", ["b", "c"], ["docker", "docker", "docker"]),
        ({"a": "auto"}, "a", ["a"], ["docker"]),
        ({"a": ["podman"], "b": "auto", "c": ["containerd"]}, "b", ["a"], ["podman", "docker", ""]),
        ({"a": ["skopeo", "podman"], "b": ["containerd"]}, "a", ["a"], ["podman", ""]),
        ({"a": ["containerd"]}, "", [], [""]),
        # The registry's server has docker whatever it trusts.
        ({"server": ["podman"], "b": ["auto"]}, "server", ["b"], ["docker", "docker"]),
    ],
)
def test_docker_moves_the_image_before_podman(tools: dict, source: str, targets: list, used: list) -> None:
    hostvars = {host: {} if wanted == "auto" else {"wharf_client_tools": wanted} for host, wanted in tools.items()}
    plan = smoke_test_plan(hostvars, list(tools), list(tools), ["server"])
    assert plan["unreachable"] == []
    assert (plan["source"], plan["targets"], list(plan["tools"].values())) == (source, targets, used)


def test_host_that_cannot_be_reached_does_not_keep_the_others_from_it() -> None:
    plan = smoke_test_plan({name: {} for name in "abc"}, ["a", "b", "c"], ["b", "c"], [])
    assert plan == {
        "source": "b",
        "targets": ["c"],
        "tools": {"a": "", "b": "docker", "c": "docker"},
        "unreachable": ["a"],
    }

"""The registry's container as it should be, and in what another one differs from that."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import server_container as module

REGISTRY: dict[str, Any] = {
    "container": "registry",
    "name": "reg.test",
    "port": 5000,
    "listen": [],
    "tls": True,
    "tls_directory": "/etc/wharf/tls",
    "directory": "/etc/wharf/registry",
    "data": "/srv/images",
    "uid": 59500,
    "memory_limit": "",
    "image": "registry:2.8.3",
    "config": "version: 0.1\n",
}
IMAGE = "sha256:aa"


def inspected(**changes: Any) -> dict[str, Any]:
    """Return what the engine tells of a container that was made from REGISTRY, with changes."""
    wanted = module.settings(REGISTRY | changes)
    host = wanted.pop("HostConfig")
    image_s_own = {"Env": [*wanted.pop("Env"), "PATH=/bin"], "Labels": {**wanted.pop("Labels"), "maintainer": "x"}}
    host["RestartPolicy"]["MaximumRetryCount"] = 0
    host = {key: value or None if isinstance(value, list) else value for key, value in host.items()}
    return {"Image": IMAGE, "Config": {**wanted, **image_s_own}, "HostConfig": {**host, "NetworkMode": "bridge"}}


def test_a_container_that_is_as_it_should_be_has_no_differences() -> None:
    assert module.differences(module.settings(REGISTRY), inspected(), IMAGE) == []
    volume = {"data": "images", "tls": False}
    assert module.differences(module.settings(REGISTRY | volume), inspected(**volume), IMAGE) == []


@pytest.mark.parametrize(
    ("change", "differences"),
    [
        ({"port": 5001}, ["PortBindings"]),
        ({"listen": ["::1"]}, ["PortBindings"]),
        ({"config": "version: 0.2\n"}, ["Labels"]),
        ({"memory_limit": "512m"}, ["Env", "Memory"]),
        ({"uid": 59501}, ["User"]),
        ({"tls": False}, ["Binds"]),
        ({"data": "/srv/other"}, ["Binds", "Mounts"]),
        ({"data": "images"}, ["Binds", "Mounts"]),
        ({"directory": "/srv/registry"}, ["Binds"]),
    ],
)
def test_each_setting_makes_a_difference(change: dict[str, Any], differences: list[str]) -> None:
    assert module.differences(module.settings(REGISTRY | change), inspected(), IMAGE) == differences
    assert module.differences(module.settings(REGISTRY), inspected(**change), IMAGE) == differences


def test_another_image_makes_a_difference() -> None:
    assert module.differences(module.settings(REGISTRY), inspected(), "sha256:bb") == ["Image"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("RestartPolicy", {"Name": "no"}), ("ReadonlyRootfs", False), ("CapDrop", None), ("SecurityOpt", [])],
)
def test_a_container_that_somebody_changed_by_hand_is_noticed(key: str, value: Any) -> None:
    found = copy.deepcopy(inspected())
    found["HostConfig"][key] = value
    assert module.differences(module.settings(REGISTRY), found, IMAGE) == [key]


def test_the_container_does_not_start_without_the_data_s_id() -> None:
    """Docker makes an empty directory of a bind that is missing, but refuses such a mount."""
    assert module.settings(REGISTRY)["HostConfig"]["Mounts"] == [
        {"Type": "bind", "Source": "/srv/images/.wharf", "Target": "/wharf/data", "ReadOnly": True}
    ]


def test_the_registry_s_own_memory_is_kept_below_its_limit() -> None:
    def limit(memory: str) -> str:
        environment = module.settings(REGISTRY | {"memory_limit": memory})["Env"]
        return next(word for word in environment if word.startswith("GOMEMLIMIT"))

    assert limit("") == "GOMEMLIMIT=419430400"
    assert limit("256m") == "GOMEMLIMIT=214748364"

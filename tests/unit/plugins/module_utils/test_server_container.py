"""The registry's containers as they should be, and in what others differ from that."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from conftest import ALONE

from ansible_collections.wharf.registry.plugins.module_utils import server_container as module
from ansible_collections.wharf.registry.plugins.module_utils.parts import PARTS

REGISTRY: dict[str, Any] = {
    "container": "registry",
    "name": "reg.test",
    "port": 5000,
    "listen": [],
    "tls": True,
    "tls_directory": "/etc/wharf/tls",
    "directory": "/etc/wharf/registry",
    "gateway_directory": "/etc/wharf/gateway",
    "data": "/srv/images",
    "uid": 59500,
    "memory_limit": 0,
    "has_network": False,
    "caches": [],
    "caches_data": "/var/lib/wharf/caches",
    "mirror_port": 0,
    **ALONE,
    "image": "registry:2.8.3",
    "gateway_image": "nginx:1.28",
    "page": True,
    "config": "version: 0.1\n",
}
IMAGE = "sha256:aa"
NETWORK = "0123456789ab" * 5  # the ID of a container


def settings(part: str, **changes: Any) -> dict[str, Any]:
    """Return what the engine is to create."""
    return module.settings(REGISTRY | changes, part, "a", NETWORK)


def inspected(part: str, **changes: Any) -> dict[str, Any]:
    """Return what an engine tells of a container that was made so, as 20.10, 26.1 and 28.5 do: empty is often null."""
    wanted = settings(part, **changes)
    host = wanted.pop("HostConfig")
    variables = [*wanted["Env"], "PATH=/bin"] if "Env" in wanted else None  # as of an image without any
    own = {"Env": variables, "Labels": {**wanted.pop("Labels"), "maintainer": "x"}, "Hostname": "0123456789ab"}
    own |= {"ExposedPorts": {"5000/tcp": {}, "80/tcp": {}}} if part != "registry" else {}  # nginx's image has 80
    host = {key: value or None if isinstance(value, (list, dict)) else value for key, value in host.items()}
    host["RestartPolicy"] = {**host["RestartPolicy"], "MaximumRetryCount": 0}
    host = {"NetworkMode": "bridge", "Memory": 0, "PortBindings": {}, **host}
    return {"Image": IMAGE, "Config": {**wanted, **own}, "HostConfig": host}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "changes",
    [{}, {"data": "images", "tls": False}, {"has_network": True, "listen": ["::1"], "memory_limit": 512 << 20}],
)
@pytest.mark.parametrize("migrates", [True, False])
def test_containers_that_are_as_they_should_be_have_no_differences(
    monkeypatch: pytest.MonkeyPatch, part: str, changes: dict[str, Any], migrates: bool
) -> None:
    monkeypatch.setattr(module.os.path, "exists", lambda _path: migrates)
    assert module.differences(settings(part, **changes), inspected(part, **changes), IMAGE) == []


@pytest.mark.parametrize(
    ("change", "registry", "network", "gateway"),
    [
        ({"port": 5001}, [], ["PortBindings"], []),
        ({"listen": ["::1"]}, [], ["PortBindings"], []),
        ({"config": "version: 0.2\n"}, ["Labels"], [], []),
        ({"memory_limit": 512 << 20}, ["Env", "Memory"], [], []),
        ({"uid": 59501}, ["User"], ["Tmpfs", "User"], ["Tmpfs", "User"]),
        ({"tls": False}, [], [], ["Binds"]),
        ({"page": False}, [], [], ["Binds"]),
        ({"tls_directory": "/srv/tls"}, [], [], ["Binds"]),
        ({"data": "/srv/other"}, ["Binds", "Mounts"], [], ["Binds"]),
        ({"data": "images"}, ["Binds", "Mounts"], [], ["Binds"]),
        ({"directory": "/srv/registry"}, ["Binds"], [], []),
        ({"gateway_directory": "/srv/gateway"}, [], ["Binds"], ["Binds"]),
    ],
)
def test_each_setting_makes_a_difference_where_it_counts(
    change: dict[str, Any], registry: list[str], network: list[str], gateway: list[str]
) -> None:
    for part, expected in {"registry": registry, "network": network, "gateway": gateway}.items():
        assert module.differences(settings(part, **change), inspected(part), IMAGE) == expected
        assert module.differences(settings(part), inspected(part, **change), IMAGE) == expected


def test_a_registry_that_asks_others_gets_a_network() -> None:
    """Where it needs one, the engine's usual one will do; where it has one, it must lose it."""
    assert module.differences(settings("registry"), inspected("registry", has_network=True), IMAGE) == ["NetworkMode"]
    with_network = inspected("registry", has_network=True)
    assert "NetworkMode" not in settings("registry", has_network=True)["HostConfig"]
    assert module.differences(settings("registry", has_network=True), with_network, IMAGE) == []


def test_a_gateway_in_another_network_is_noticed() -> None:
    wanted = module.settings(REGISTRY, "gateway", "a", "f" * 60)
    assert module.differences(wanted, inspected("gateway"), IMAGE) == ["NetworkMode"]


def test_the_slot_is_the_one_that_was_asked_for() -> None:
    wanted = module.settings(REGISTRY, "registry", "b")
    assert "REGISTRY_HTTP_ADDR=/wharf/sockets/b.sock" in wanted["Env"]
    assert module.differences(wanted, inspected("registry"), IMAGE) == ["Env"]


def test_the_secret_outlives_the_container(tmp_path: Path) -> None:
    (tmp_path / "http-secret").write_text("abc")
    wanted = module.settings(REGISTRY | {"directory": str(tmp_path)}, "registry")
    assert "REGISTRY_HTTP_SECRET=abc" in wanted["Env"]
    (tmp_path / "http-secret").write_text("another")
    other = module.settings(REGISTRY | {"directory": str(tmp_path)}, "registry")
    found = {"Image": IMAGE, "Config": wanted, "HostConfig": wanted["HostConfig"]}
    assert module.differences(other, found, IMAGE) == ["Env"]


@pytest.mark.parametrize("part", PARTS)
def test_another_image_makes_a_difference_unless_any_will_do(part: str) -> None:
    assert module.differences(settings(part), inspected(part), "sha256:bb") == ["Image"]
    assert module.differences(settings(part), inspected(part), "") == []


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("RestartPolicy", {"Name": "no"}), ("ReadonlyRootfs", False), ("CapDrop", None), ("SecurityOpt", [])),
        *(("UsernsMode", ""), ("LogConfig", {"Type": "none", "Config": {}})),
    ],
)
def test_a_container_that_somebody_changed_by_hand_is_noticed(part: str, key: str, value: Any) -> None:
    found = copy.deepcopy(inspected(part))
    found["HostConfig"][key] = value
    assert module.differences(settings(part), found, IMAGE) == [key]


def test_one_of_the_time_before_the_gateway_is_replaced() -> None:
    found = inspected("registry", has_network=True)
    found["Config"]["Env"] = ["GOGC=400", "OTEL_TRACES_EXPORTER=none", "GOMEMLIMIT=419430400"]
    found["HostConfig"]["PortBindings"] = {"5000/tcp": [{"HostIp": "", "HostPort": "5000"}]}
    assert module.differences(settings("registry"), found, IMAGE) == ["Env", "NetworkMode"]


def test_only_the_network_publishes_a_port_and_only_the_registry_may_write_the_data() -> None:
    hosts = {part: settings(part)["HostConfig"] for part in PARTS}
    assert [part for part in PARTS if "PortBindings" in hosts[part]] == ["network"]
    data = {part: [bind for bind in hosts[part]["Binds"] if bind.startswith("/srv/images")] for part in PARTS}
    assert data == {
        "registry": ["/srv/images:/var/lib/registry"],
        "network": [],
        "gateway": ["/srv/images:/var/lib/registry:ro"],
    }
    volume = settings("gateway", data="images")["HostConfig"]["Binds"]
    assert "images:/var/lib/registry:ro,nocopy" in volume
    assert hosts["registry"]["NetworkMode"] == "none"


def test_the_container_does_not_start_without_the_data_s_id() -> None:
    """Docker makes an empty directory of a bind that is missing, but refuses such a mount."""
    assert settings("registry")["HostConfig"]["Mounts"] == [
        {"Type": "bind", "Source": "/srv/images/.wharf", "Target": "/wharf/data", "ReadOnly": True}
    ]


def test_the_registry_s_own_memory_is_kept_below_its_limit() -> None:
    def limit(memory: int) -> str:
        environment = settings("registry", memory_limit=memory)["Env"]
        return next(word for word in environment if word.startswith("GOMEMLIMIT"))

    assert limit(0) == "GOMEMLIMIT=419430400"
    assert limit(256 << 20) == "GOMEMLIMIT=214748364"


def test_a_port_that_is_not_wanted_any_more_is_noticed() -> None:
    settings = module.settings(REGISTRY | {"mirror_port": 5001}, "network")
    own = {key: value for key, value in settings.items() if key != "HostConfig"}
    found = {"Config": own, "HostConfig": settings["HostConfig"], "Image": "sha256:aa"}
    assert module.differences(settings, found, "") == []
    assert module.differences(module.settings(REGISTRY, "network"), found, "") == ["PortBindings"]


def test_the_keys_of_a_store_are_files_and_others_make_another_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n192.0.2.9 store.test store # ours\n")
    monkeypatch.setattr(module, "HOSTS", str(hosts))
    given = {"store": "store.test", "credentials": "[default]\nkey = hidden\n", "store_ca": "CA", "has_network": True}
    wanted = settings("registry", **given)
    assert {"AWS_SHARED_CREDENTIALS_FILE=/wharf/config/credentials", "SSL_CERT_FILE=/wharf/config/store-ca.crt"} <= {
        *wanted["Env"]
    }
    assert "hidden" not in str(wanted)
    assert wanted["HostConfig"]["ExtraHosts"] == ["store.test:192.0.2.9"]
    found = inspected("registry", **given)
    assert module.differences(wanted, found, IMAGE) == []
    other = settings("registry", **{**given, "credentials": "[default]\nkey = other\n"})
    assert module.differences(other, found, IMAGE) == ["Labels"]
    assert "ExtraHosts" not in settings("registry", store="elsewhere.test")["HostConfig"]


def test_servers_have_the_secret_that_they_are_given(tmp_path: Path) -> None:
    (tmp_path / "http-secret").write_text("own")
    assert "REGISTRY_HTTP_SECRET=own" in settings("registry", directory=str(tmp_path))["Env"]
    shared = settings("registry", directory=str(tmp_path), http_secret="shared")
    assert "REGISTRY_HTTP_SECRET=shared" in shared["Env"]

"""The files and containers of caches, with an engine that is imitated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import caches as module
from ansible_collections.wharf.registry.plugins.module_utils import containers

UID = os.getuid()
CACHE = {"ca": "", "environment": [], "offline": False}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Return a registry with two caches, and let all of it lie in a directory for temporary files."""
    monkeypatch.setattr(module, "CACHES_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(module, "CACHE_SOCKETS", str(tmp_path / "sockets"))
    monkeypatch.setattr(os, "chown", lambda *_args, **_options: None)
    monkeypatch.setattr(os, "fchown", lambda *_args: None)
    caches = [
        CACHE | {"name": "docker.io", "config": "a: 1", "ca": "PEM"},
        CACHE | {"name": "hub.test_5000", "config": "b: 1", "environment": ["HTTPS_PROXY=http://p"]},
        CACHE | {"name": "shelf", "config": "c: 1"},
    ]
    return {
        "container": "registry",
        "uid": UID,
        "image": "registry:3",
        "memory_limit": 0,
        "caches": caches,
        "caches_data": str(tmp_path / "data"),
    }


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the containers of an engine, by name."""
    has: dict[str, Any] = {}

    def create(name: str, settings: dict[str, Any]) -> None:
        config = {key: value for key, value in settings.items() if key != "HostConfig"}
        state = {"Running": False, "Restarting": False}
        has[name] = {
            "Id": f"id-{name}-{len(has)}",
            "Name": f"/{name}",
            "Image": "sha256:aa",
            "Config": config,
            "HostConfig": settings["HostConfig"],
            "State": state,
        }

    def found(name: str) -> dict[str, Any] | None:
        return has.get(name) or next((one for one in has.values() if one["Id"] == name), None)

    def rename(name: str, new: str) -> None:
        one = found(name)
        assert one and new not in has
        has.pop(one["Name"][1:])
        one["Name"] = f"/{new}"
        has[new] = one

    monkeypatch.setattr(containers, "create", create)
    monkeypatch.setattr(containers, "container", found)
    monkeypatch.setattr(containers, "containers", lambda: [{"names": [name]} for name in has])
    monkeypatch.setattr(containers, "remove", lambda name: has.pop(name, None))
    monkeypatch.setattr(containers, "rename", rename)
    monkeypatch.setattr(
        containers, "act", lambda name, verb: found(name)["State"].update(Running=verb in ("start", "restart"))
    )
    monkeypatch.setattr(module, "direct", lambda *_: Answering())
    return has


class Answering:
    """A client whose registry answers."""

    def __enter__(self) -> Answering:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self, _seconds: float) -> None:
        pass


def test_the_storage_of_each_cache_leads_into_the_one_that_all_share(registry: dict[str, Any], tmp_path: Path) -> None:
    module.write(module.pending_files(registry))
    root = tmp_path / "data/roots/hub.test_5000/docker/registry/v2"
    shared = tmp_path / "data/docker/registry/v2"
    assert (root / "blobs").resolve() == shared / "blobs"
    assert (root / "repositories").resolve() == shared / "repositories/hub.test_5000"
    assert (tmp_path / "config/docker.io/ca/ca.crt").read_text() == "PEM"
    assert (tmp_path / "config/docker.io/config.yml").stat().st_mode & 0o777 == 0o640
    assert not (tmp_path / "config/hub.test_5000/ca").exists()
    if UID == 0:  # to another user nothing would belong as it should
        assert module.pending_files(registry) == {}


def test_another_user_gets_also_what_a_cache_has_that_is_not_listed_any_more(
    registry: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.write(module.pending_files(registry))
    repositories = tmp_path / "data/docker/registry/v2/repositories"
    (repositories / "a-link").symlink_to("/etc")
    del registry["caches"][0]
    given: list[str] = []
    monkeypatch.setattr(module, "give_away", lambda path, *_owner: given.append(path))
    pending = module.pending_files(registry | {"uid": UID + 1})
    assert str(repositories / "a-link") not in pending
    module.write(pending)
    assert {f"{repositories}/{name}" for name in ("docker.io", "hub.test_5000")} <= set(given)


def test_only_what_differs_is_replaced_and_what_is_not_wanted_goes(
    registry: dict[str, Any], engine: dict[str, Any], tmp_path: Path
) -> None:
    names = ["registry-cache-docker.io", "registry-cache-hub.test_5000", "registry-caches"]
    module.write(module.pending_files(registry))
    assert module.pending_containers(registry, "sha256:aa") == dict.fromkeys(names, "create")
    assert module.run(registry, module.pending_containers(registry, "sha256:aa")) == []
    assert module.pending_containers(registry, "sha256:aa") == {}
    registry["caches"][0]["environment"] = ["HTTPS_PROXY=http://p"]
    assert module.pending_containers(registry, "sha256:aa") == {names[0]: "replace"}
    del registry["caches"][0]
    engine["registry-cache-mine"] = {**engine[names[1]], "Config": {"Labels": {}}}
    pending = module.pending_containers(registry, "sha256:aa")
    assert pending == {names[0]: "remove"}
    module.run(registry, pending)
    module.forget(registry)
    assert sorted(engine) == sorted([*names[1:], "registry-cache-mine"])
    assert sorted(os.listdir(tmp_path / "config")) == ["hub.test_5000", "shelf"]
    assert (tmp_path / "data/docker/registry/v2/repositories/docker.io").is_dir()
    registry["caches"] = []
    module.run(registry, module.pending_containers(registry, "sha256:aa"))
    module.forget(registry)
    assert list(engine) == ["registry-cache-mine"]
    assert not (tmp_path / "config").exists()


def test_a_cache_without_an_upstream_has_its_directory_and_no_container(
    registry: dict[str, Any], engine: dict[str, Any], tmp_path: Path
) -> None:
    module.write(module.pending_files(registry))
    module.run(registry, module.pending_containers(registry, "sha256:aa"))
    hub = registry["caches"][0]
    registry["caches"][0] = {"name": "docker.io", "offline": True}
    registry["caches"].insert(1, {"name": "new.test", "offline": True})
    pending = module.pending_containers(registry, "sha256:aa")
    assert pending == {"registry-cache-docker.io": "remove"}
    assert module.leftovers(registry) == [f"{tmp_path}/{one}/docker.io" for one in ("config", "sockets")]
    module.write(module.pending_files(registry))
    assert module.run(registry, pending) == []
    module.forget(registry)
    assert sorted(engine) == ["registry-cache-hub.test_5000", "registry-caches"]
    assert sorted(os.listdir(tmp_path / "config")) == ["hub.test_5000", "shelf"]
    repositories = tmp_path / "data/docker/registry/v2/repositories"
    assert sorted(os.listdir(repositories)) == ["docker.io", "hub.test_5000", "new.test"]
    assert (tmp_path / "data/docker/registry/v2/blobs").is_dir()
    assert not (tmp_path / "data/roots/new.test").exists()
    if UID == 0:  # to another user nothing would belong as it should
        assert module.pending_files(registry) == {}
    assert (module.pending_containers(registry, "sha256:aa"), module.leftovers(registry)) == ({}, [])
    registry["caches"][0] = hub
    assert module.pending_containers(registry, "sha256:aa") == {"registry-cache-docker.io": "create"}


def test_where_all_are_without_an_upstream_one_serves_what_is_there(
    registry: dict[str, Any], engine: dict[str, Any]
) -> None:
    registry["caches"] = [{"name": "docker.io", "offline": True}, registry["caches"][-1]]
    module.write(module.pending_files(registry))
    module.run(registry, module.pending_containers(registry, "sha256:aa"))
    assert list(engine) == ["registry-caches"]


def test_those_of_before_come_back(registry: dict[str, Any], engine: dict[str, Any]) -> None:
    module.write(module.pending_files(registry))
    module.run(registry, module.pending_containers(registry, "sha256:aa"))
    before, ids = module.kept("registry"), {name: one["Id"] for name, one in engine.items()}
    registry["caches"][0]["config"] = "a: 2"
    registry["caches"][1] = CACHE | {"name": "new.test", "config": "d: 1"}
    module.write(module.pending_files(registry))
    module.run(registry, module.pending_containers(registry, "sha256:aa"))
    assert "registry-cache-new.test" in engine
    module.remove_others("registry", before)
    module.put_back_containers(before)
    assert {name: one["Id"] for name, one in engine.items()} == ids
    assert all(one["State"]["Running"] for one in engine.values())


def test_only_what_serves_what_is_there_has_no_network_and_nothing_may_be_written_by_it(
    registry: dict[str, Any],
) -> None:
    shelf, cache = (module.settings(registry, name)["HostConfig"] for name in ("shelf", "docker.io"))
    assert (shelf["NetworkMode"], cache["NetworkMode"]) == ("none", "host")
    # The engine tells only of what is true.
    assert shelf["Mounts"][0]["ReadOnly"] and "ReadOnly" not in cache["Mounts"][0]
    assert "SSL_CERT_DIR=/wharf/config/ca" in module.settings(registry, "docker.io")["Env"]

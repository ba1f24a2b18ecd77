"""The names and the sockets of a registry's containers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import parts as module


def test_each_part_has_its_name() -> None:
    names = module.container_names("reg")
    assert (tuple(names), list(names.values())) == (module.PARTS, ["reg", "reg-network", "reg-gateway"])


@pytest.mark.parametrize(
    ("environment", "slot"),
    [
        (["PATH=/bin", "REGISTRY_HTTP_ADDR=/wharf/sockets/a.sock"], "a"),
        (["REGISTRY_HTTP_ADDR=/wharf/sockets/b.sock"], "b"),
        # The next one is the first: of a registry of the time before the gateway, and of none.
        (["GOGC=400"], "b"),
        (["REGISTRY_HTTP_ADDR=/wharf/sockets/reads.sock"], "b"),
        (None, "b"),
    ],
)
def test_the_slot_is_read_from_the_container(environment: list[str] | None, slot: str) -> None:
    assert module.slot_of({"Config": {"Env": environment}}) == slot


def test_without_a_container_the_first_slot_is_the_next_one() -> None:
    assert module.slot_of(None) == "b"


@pytest.mark.parametrize(
    ("labels", "ours"), [({"wharf.config": "gateway"}, True), ({"a": "b"}, False), ({}, False), (None, False)]
)
def test_ours_bear_a_label(labels: Any, ours: bool) -> None:
    assert module.is_ours({"Config": {"Labels": labels}}) is ours


@pytest.mark.parametrize(
    ("bindings", "has"), [({"5000/tcp": [{"HostPort": "5000"}]}, True), ({}, False), (None, False)]
)
def test_one_of_the_time_before_the_gateway_has_a_port(bindings: Any, has: bool) -> None:
    assert module.has_port({"HostConfig": {"PortBindings": bindings}}) is has


def test_what_a_host_has_of_the_copying_is_found_by_its_files_and_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes: dict[str, str] = {}
    monkeypatch.setattr(module.pwd, "getpwnam", lambda name: SimpleNamespace(pw_dir=homes[name]))
    monkeypatch.setattr(module, "COPYING", (f"{tmp_path}/etc", f"{tmp_path}/home"))
    assert not module.has_copied()
    homes["wharf-registry"] = "/home/somebody"
    assert not module.has_copied()
    (tmp_path / "etc").mkdir()
    assert module.has_copied()
    (tmp_path / "etc").rmdir()
    homes["wharf-registry"] = f"{tmp_path}/home"
    assert module.has_copied()

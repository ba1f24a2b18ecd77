# SPDX-License-Identifier: MIT
"""The module docker_engine_service: which commands the service manager gets, and what follows a restart."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.modules import docker_engine_service as service


@pytest.fixture
def host(monkeypatch, tmp_path):
    """Return a host whose commands succeed and whose engine answers; its attributes can be changed."""
    host = SimpleNamespace(systemd=True, replaced=(), failing="", answers=True, calls=[], restart=tmp_path / "restart")
    host.restart.write_text("boot 7 99\npackages\n")

    def run(*argv: str):
        host.calls.append(" ".join(argv))
        output = "docker.socket enabled enabled\n" if "list-unit-files" in argv else "the reason\n"
        return SimpleNamespace(returncode=int(bool(host.failing) and host.failing in argv), stdout=output)

    def api_get(path: str, url: str) -> dict:
        if not host.answers:
            raise OSError("no answer")
        return {"Version": "28.5.2"}

    monkeypatch.setattr(service, "TIMEOUT", 0.5)
    monkeypatch.setattr(service, "run", run)
    monkeypatch.setattr(service, "api_get", api_get)
    monkeypatch.setattr(service, "is_systemd", lambda: host.systemd)
    monkeypatch.setattr(service, "is_replaced", lambda unit: unit in host.replaced)
    monkeypatch.setattr(service, "read", lambda path: {})
    monkeypatch.setattr(service, "last_error", lambda module, began: "")
    monkeypatch.setattr(service, "RESTART", str(host.restart))
    monkeypatch.setattr(service, "end_restart", lambda: host.calls.append("end_restart"))
    monkeypatch.setattr(
        service.Engine, "find", lambda: SimpleNamespace(socket_path=lambda document: "/run/docker.sock")
    )
    return host


def start(state: str) -> None:
    """Run the module's work."""
    service.start(SimpleNamespace(params={"state": state}))


def test_a_restart_forgets_what_waited_for_it(host):
    start("restarted")
    assert host.calls[-2:] == ["systemctl restart docker.service", "end_restart"]
    assert "systemctl reset-failed docker.service docker.socket" in host.calls
    assert not host.restart.exists()


def test_a_start_forgets_nothing(host):
    start("started")
    assert host.calls[-1] == "systemctl enable --now docker.service"
    assert host.restart.exists()


@pytest.mark.parametrize(
    ("replaced", "units"),
    [
        (("docker.service",), "docker.socket docker.service"),
        (("containerd.service",), "containerd.service docker.service"),
        (("containerd.service", "docker.service"), "containerd.service docker.socket docker.service"),
    ],
)
def test_what_runs_from_a_replaced_program_is_restarted_with_it(host, replaced, units):
    host.replaced = replaced
    start("restarted")
    assert f"systemctl restart {units}" in host.calls


@pytest.mark.parametrize(("state", "command"), [("started", "start"), ("restarted", "restart")])
def test_without_systemd_the_init_script_does_it(host, state, command):
    host.systemd = False
    start(state)
    assert f"service docker {command}" in host.calls
    assert not any("systemctl" in call for call in host.calls)


def test_a_restart_that_fails_is_told_and_stays_pending(host):
    host.failing = "restart"
    with pytest.raises(WharfError, match="systemctl restart docker.service fails: the reason"):
        start("restarted")
    assert host.restart.exists()
    assert "end_restart" not in host.calls


def test_an_engine_that_does_not_answer_in_time_is_told(host):
    host.answers = False
    with pytest.raises(WharfError, match="the engine does not answer: no answer"):
        start("restarted")
    assert host.restart.exists()

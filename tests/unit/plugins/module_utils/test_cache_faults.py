"""What is wrong with caches: an engine that is imitated, and upstreams that really listen."""

from __future__ import annotations

import functools
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import cache_faults as module
from ansible_collections.wharf.registry.plugins.module_utils.api import Client
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

pytest_plugins = ["tests.unit.served_registry"]

NAME = "registry.wharf.test"  # in the certificate
HUB = {"upstream": "docker.io", "slug": "docker.io"}
OTHER = {"upstream": "hub.test:5000", "slug": "hub.test_5000"}
REMOTE = "https://registry-1.docker.io"
AWAY = 'Get "https://registry-1.docker.io/v2/": dial tcp: connection refused'


class Asked:
    """A cache's container that answers, or says why not."""

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def ping(self) -> None:
        if self.problem:
            raise WharfError(self.problem)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Return what is known of two caches that are well: states of containers, and why who is asked does not answer."""
    states = {name: {"Status": "running", "ExitCode": 0, "Error": ""} for name in
              ("registry-cache-docker.io", "registry-cache-hub.test_5000", "registry-caches")}  # fmt: skip
    known: dict[str, dict[str, Any]] = {"states": states, "silent": {}, "away": {}, "words": {}}
    (tmp_path / "docker.io").mkdir()
    (tmp_path / "docker.io/config.yml").write_text(f"proxy:\n  remoteurl: {REMOTE}\n  ttl: 0s\n")

    def container(name: str) -> dict[str, Any] | None:
        return {"State": states[name], "Config": {"Env": []}} if name in states else None

    def ask(remote: str, _slug: str, _inspected: object) -> None:
        if remote in known["away"]:
            raise WharfError(known["away"][remote])

    monkeypatch.setattr(module, "CACHES_CONFIG", str(tmp_path))
    monkeypatch.setattr(module.containers, "container", container)
    monkeypatch.setattr(module, "last_words", lambda name: known["words"].get(name, "it has ended"))
    monkeypatch.setattr(module, "direct", lambda slug, _timeout: Asked(known["silent"].get(slug, "")))
    monkeypatch.setattr(module, "ask", ask)
    return known


def faults() -> list[Any]:
    return module.faults("registry", [HUB, OTHER])


def test_nothing_is_wrong_with_caches_that_answer_and_with_none(server):
    assert faults() == []
    server["states"].clear()
    assert module.faults("registry", []) == []


def test_of_a_cache_without_an_upstream_only_what_serves_what_is_there_is_asked(server):
    alone = [HUB | {"offline": True}]
    del server["states"]["registry-cache-docker.io"]
    server["away"], server["silent"] = {REMOTE: "timed out"}, {"docker.io": "no socket"}
    assert module.faults("registry", alone) == []
    server["silent"]["shelf"] = "it hangs"
    assert module.faults("registry", [*alone, OTHER]) == module.faults("registry", alone)
    assert module.faults("registry", alone) == [
        ("cache_silent", {"container": "registry-caches", "output": "it hangs"})
    ]


def test_an_upstream_that_does_not_answer_is_told_and_not_its_cache(server):
    server["away"] = {REMOTE: "timed out", "https://hub.test:5000": "no such name"}
    server["silent"] = {"docker.io": "no socket", "shelf": "it hangs"}
    cache = {"upstream": "docker.io", "remote": REMOTE, "container": "registry-cache-docker.io"}
    assert faults() == [
        ("upstream_away", {**cache, "output": "timed out"}),
        (
            "upstream_away",
            {
                "upstream": "hub.test:5000",
                "remote": "https://hub.test:5000",
                "container": "registry-cache-hub.test_5000",
                "output": "no such name",
            },
        ),
        ("cache_silent", {"container": "registry-caches", "output": "it hangs"}),
    ]
    server["states"]["registry-cache-docker.io"].update(Status="restarting", ExitCode=2)
    server["words"] = {"registry-cache-docker.io": AWAY}
    assert faults()[0] == ("upstream_away", {**cache, "output": AWAY})


@pytest.mark.parametrize(
    ("state", "log", "command"),
    [
        ({"Status": "restarting", "ExitCode": 2}, "it has ended", "docker restart"),
        ({"Status": "exited"}, "", "docker start"),
        ({"Status": "exited", "ExitCode": 137}, "it has ended", "docker start"),
        ({"Status": "created", "Error": "no such\ndevice"}, "no such device", "docker start"),
        ({"Status": "paused"}, "", "docker unpause"),
    ],
)
@pytest.mark.parametrize("name", ["registry-cache-hub.test_5000", "registry-caches"])
def test_a_container_that_does_not_run_is_told_with_its_reason_and_a_command(server, name, state, log, command):
    server["states"][name] |= state
    details = {"container": name, "status": state["Status"], "log": log, "start": f"{command} {name}"}
    assert faults() == [("container_stopped", details)]


def test_a_container_that_is_not_there_and_one_that_does_not_answer_are_told(server):
    del server["states"]["registry-caches"]
    server["silent"] = {"hub.test_5000": "no socket"}
    assert faults() == [
        ("cache_silent", {"container": "registry-cache-hub.test_5000", "output": "no socket"}),
        ("container_absent", {"container": "registry-caches"}),
    ]


def asked(remote: str, *environment: str) -> str:
    """Return why an upstream is said not to answer its cache."""
    return module.failures({("hub", ""): functools.partial(module.ask, remote, "hub", inspected(*environment))})[
        "hub", ""
    ]


def inspected(*environment: str) -> dict[str, Any]:
    return {"Config": {"Env": list(environment)}}


@pytest.mark.parametrize(("status", "problem"), [(200, ""), (307, ""), (401, ""), (404, "status 404"), (502, "502")])
def test_what_an_upstream_answers_is_judged(registry, status, problem):
    registry.instead = lambda handler: handler.answer(status)
    found = asked(f"http://127.0.0.1:{registry.port}")
    assert problem in found if problem else found == ""
    assert [path for _, path, _ in registry.requests] == ["/v2/"]


def test_an_upstream_is_asked_with_the_ca_that_its_cache_has(secure, certificates, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "CACHES_CONFIG", str(tmp_path))
    monkeypatch.setattr(module, "Client", functools.partial(Client, address="127.0.0.1"))
    (tmp_path / "hub/ca").mkdir(parents=True)
    remote, place = f"https://{NAME}:{secure.port}", "SSL_CERT_DIR=/wharf/config/ca"
    assert "does not verify" in asked(remote)
    assert "ca.crt cannot be read" in asked(remote, place)
    shutil.copy(certificates / "ca.crt", tmp_path / "hub/ca/ca.crt")
    assert asked(remote, place) == ""


def test_an_upstream_is_asked_through_the_proxy_that_its_cache_has():
    found = asked("https://hub.test", "HTTPS_PROXY=http://user:secret@127.0.0.1:1")
    assert "the proxy 127.0.0.1:1 does not lead to hub.test:443" in found
    assert "secret" not in found
    assert "refused" in asked("https://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:2")  # its own host


def test_what_hangs_keeps_nobody_waiting(monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.1)
    start = time.monotonic()
    jobs = {("a", str(number)): lambda: time.sleep(3) for number in range(5)} | {("b", ""): lambda: None}
    found = module.failures(jobs)
    assert time.monotonic() - start < 2
    assert found == {key: "" if key[0] == "b" else "no response within 0.1 s" for key in jobs}

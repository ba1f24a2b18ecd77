"""Whether an image could be pulled, as the engine says, or its registry where there is no engine yet."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import image_pull as module
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError


def engine_says(monkeypatch: pytest.MonkeyPatch, answer: object) -> list[str]:
    """Let the engine answer so, or refuse; return what it was asked."""
    asked: list[str] = []

    def call(method: str, path: str, timeout: float) -> object:
        asked.append(f"{method} {path}")
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "call", call)
    return asked


@pytest.fixture
def plain_http() -> Iterator[str]:
    """Yield the address of something that answers, without TLS."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def closed() -> str:
    """Return an address where nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_the_engine_is_asked_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = engine_says(monkeypatch, {"Descriptor": {}})
    assert module.pull_problem("mirror.test:5000/registry:2.8.3", engine=True) == ""
    assert asked == ["GET /distribution/mirror.test:5000/registry:2.8.3/json"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (WharfError("the Docker engine refuses: dial tcp: lookup registry-1.docker.io: no such host"), "no such host"),
        (None, "its registry does not have it"),
        (WharfError("the Docker engine refuses: unauthorized: authentication required"), ""),
        (WharfError("the Docker engine refuses: toomanyrequests: You have reached your pull rate limit"), ""),
    ],
)
def test_what_the_engine_says_counts_but_for_who_may_pull(
    monkeypatch: pytest.MonkeyPatch, answer: object, problem: str
) -> None:
    """Whoever pulls may be logged in, which the question is not."""
    engine_says(monkeypatch, answer)
    told = module.pull_problem("registry:2.8.3", engine=True)
    assert told.endswith(problem) if problem else told == ""


def test_without_an_engine_whatever_answers_is_good(plain_http: str, closed: str) -> None:
    assert module.pull_problem(f"{plain_http}/registry:2.8.3", engine=False) == ""
    assert module.pull_problem(f"{closed}/registry:2.8.3", engine=False) == f"{closed}: Connection refused"


def test_the_proxy_to_come_is_tried_and_so_is_the_way_around_it(
    monkeypatch: pytest.MonkeyPatch, plain_http: str, closed: str
) -> None:
    """What an engine says that is still to get another proxy does not count alone."""
    monkeypatch.setenv("https_proxy", f"http://{closed}")  # the engine has not the environment of who logs in
    assert module.pull_problem(f"{plain_http}/registry:2.8.3", engine=False, proxy=f"http://{closed}") == ""
    engine_says(monkeypatch, WharfError("no such host"))
    assert module.pull_problem(f"{plain_http}/registry:2.8.3", engine=True, proxy=f"http://{closed}") == ""
    assert module.pull_problem(f"{closed}/registry:2.8.3", engine=True, proxy=f"http://{closed}") == "no such host"


def test_a_name_without_a_registry_is_docker_hub_s(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, *_: object, **__: object) -> None:
        raise socket.gaierror(-2, f"no {host} here")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for reference in ("registry:2.8.3", "docker.io/library/registry:2.8.3"):
        assert module.pull_problem(reference, engine=False) == ("registry-1.docker.io: no registry-1.docker.io here")

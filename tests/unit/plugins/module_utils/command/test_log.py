"""wharf log: the gateway's lines for people, out of its container's log."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import log as module
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

LINES = [
    '2026-11-28T19:35:22+00:00 upstream error: user "ann" from 192.0.2.7: GET /v2/docker.io/library/debian/manifests/1',
    '2026-11-28T19:35:22+00:00 pulled: user "cached: user " from 192.0.2.7: GET /v2/docker.io/cached/manifests/13',
    '2026-11-28T19:35:23+00:00 login refused: user "ann" from 192.0.2.7: GET /v2/',
    '2026-11-28T19:35:24+01:00 pushed: user "ci" from 2001:db8::7: PUT /v2/team/app/manifests/1',
    '2026-11-28T19:35:25+00:00 the registry does not answer: user "-" from 192.0.2.7: GET /health',
    r'2026-11-28T19:35:26+00:00 denied: user "a\x22b" from 192.0.2.7: GET /v2/x/tags/list',
]
OTHERS = [
    '2026-11-28T19:35:22+00:00 cached: user "ann" from 192.0.2.7: GET /v2/docker.io/library/debian/manifests/1',
    "cache hit: docker.io 31456789",
    "2026/11/28 19:35:23 [emerg] 1#1: unknown directive",
    "",
    'pushed: user "ci" from nowhere',
    '2026-11-28T19:35:23+00:00 : user "a',
]


@pytest.mark.parametrize("since", ["", "2h"])
def test_only_events_are_shown_in_their_order(monkeypatch: pytest.MonkeyPatch, since: str) -> None:
    called: list[tuple[str, ...]] = []

    def docker(*words: str, stderr: int) -> subprocess.CompletedProcess[str]:
        called.append(words)
        assert stderr == subprocess.PIPE  # nginx's own errors are none of them
        text = "\n".join(line for pair in zip(LINES, OTHERS, strict=True) for line in pair)
        return subprocess.CompletedProcess(words, 0, text + "\n", "")

    monkeypatch.setattr(module, "docker", docker)
    monkeypatch.setattr(module, "Registry", lambda: SimpleNamespace(container="reg"))
    shown: list[str] = []
    task: Any = SimpleNamespace(options=SimpleNamespace(since=since), line=shown.append)
    assert module.run(task) == ""
    assert shown == LINES
    assert called == [("logs", *(["--since", "2h"] if since else []), "reg-gateway")]


def test_what_the_engine_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 1, "", 'invalid value for "since": yesterday\n')
    monkeypatch.setattr(module, "docker", lambda *_, **__: done)
    monkeypatch.setattr(module, "Registry", lambda: SimpleNamespace(container="reg"))
    task: Any = SimpleNamespace(options=SimpleNamespace(since="yesterday"), line=print)
    with pytest.raises(WharfError, match='^docker logs reg-gateway: invalid value for "since": yesterday$'):
        module.run(task)

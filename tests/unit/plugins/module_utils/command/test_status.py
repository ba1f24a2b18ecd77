"""wharf status: how the registry is, also where parts of it are missing."""

from __future__ import annotations

import json
import os
import subprocess
import time
from argparse import Namespace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import gateway, lock, server_versions
from ansible_collections.wharf.registry.plugins.module_utils.command import cli, registry, status
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from tests.unit.stored_registry import StoredRegistry

SETTINGS = {
    "container": "registry",
    "name": "reg.test",
    "port": 5000,
    "ca": "",
    "driver": "filesystem",
    "root": "/var/lib/registry",
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return a server's settings and its container, for tests to change; results and the lock lie in tmp_path."""
    stored = StoredRegistry(tmp_path / "data")
    stored.image("app", "1")
    container = {
        "Id": "0123",
        "Image": "sha256:4567",
        "Path": "registry",
        "State": {"Status": "running", "StartedAt": "2026-11-01T10:20:30.123Z"},
        "Config": {"Image": "wharf-registry:distro", "Env": ["REGISTRY_HTTP_ADDR=/wharf/sockets/a.sock"]},
        "Mounts": [{"Destination": "/var/lib/registry", "Source": str(stored.root)}],
    }
    settings = SETTINGS | {"gateway_directory": str(tmp_path)}
    facts = {"settings": settings, "container": container, "results": tmp_path / "results"}
    facts["ping"] = lambda: None
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(lock, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(status, "REPAIR_STATE", tmp_path / "repair.json")
    monkeypatch.setattr(server_versions, "KNOWN", tmp_path / "version")
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    monkeypatch.setattr(registry, "SETTINGS", tmp_path / "registry.json")
    monkeypatch.setattr(registry.data, "container", lambda _: facts["container"])
    version = "registry github.com/distribution/distribution 2.8.3+ds1"
    monkeypatch.setattr(registry.containers, "cli", lambda *_, **__: version)
    client = MagicMock()
    client.__enter__().health = lambda: facts["ping"]()
    monkeypatch.setattr(status, "client_of", lambda _: client)
    return facts


def show(server: dict[str, Any], capsys: pytest.CaptureFixture[str], as_json: bool = False) -> tuple[int, str]:
    """Return the exit code and the output."""
    registry.SETTINGS.write_text(json.dumps(server["settings"]))
    code = cli.Task(Namespace(subcommand="status", json=as_json, wait=0)).perform(status.run)
    return code, capsys.readouterr().out


def test_a_registry_that_is_well_has_about_ten_lines(server, capsys) -> None:
    now = int(time.time())
    (server["results"] / "collect-garbage").write_text(f"ok {now - 3 * 86400} deleted 3 blobs, 294.7 KiB\n")
    code, output = show(server, capsys)
    assert code == 0
    lines = dict(line.split("  ", 1) for line in output.splitlines())
    lines = {name: text.strip() for name, text in lines.items()}
    assert lines["registry"] == "reg.test:5000"
    assert lines["container"] == "registry: running since 2026-11-01 10:20 UTC, answers"
    assert lines["image"] == "wharf-registry:distro, version 2.8.3+ds1"
    assert lines["certificate"] == "none"
    assert lines["storage"].startswith("239 bytes used, ")
    assert lines["garbage collection"] == "ok 3 days ago: deleted 3 blobs, 294.7 KiB"
    assert lines["backup"] == lines["storage repair"] == "no run yet"
    assert lines["at work"] == "nothing"
    assert len(output.splitlines()) == 11


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"container": None}, "the container registry is absent"),
        ({"state": {"Status": "exited"}}, "the container registry is exited"),
        ({"answer": "HTTP status 503"}, "HTTP status 503"),
        ({"result": "failed 1 no room"}, "back-up failed"),
    ],
)
def test_what_is_not_well_is_named_and_is_exit_code_3(server, capsys, change, problem) -> None:
    if "container" in change:
        server["container"] = None
    if "state" in change:
        server["container"]["State"].update(change["state"])
    if "answer" in change:

        def ping() -> None:
            raise WharfError(change["answer"])

        server["ping"] = ping
    if "result" in change:
        (server["results"] / "back-up").write_text(change["result"])
    code, output = show(server, capsys, as_json=True)
    assert code == 3
    assert json.loads(output)["problems"] == [problem]


def test_one_that_is_frozen_is_well_while_its_garbage_is_collected(server, capsys, tmp_path: Path) -> None:
    server["container"]["State"]["Status"] = "paused"
    assert "the container registry is paused" in json.loads(show(server, capsys, as_json=True)[1])["problems"]
    (tmp_path / "upstreams.conf").write_text(gateway.upstreams("reads", "writes"))
    code, output = show(server, capsys)
    assert code == 0
    assert "registry: paused since 2026-11-01 10:20 UTC, answers" in output


def test_a_registry_on_an_object_store_has_no_figures(server, capsys) -> None:
    server["settings"]["driver"] = "s3"
    code, output = show(server, capsys)
    assert code == 0
    assert "driver s3" in output


def test_the_certificates_days_are_counted(server, capsys, tmp_path: Path) -> None:
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "9",
    ]
    command += ["-subj", "/CN=x", "-keyout", tmp_path / "key", "-out", tmp_path / "registry.crt"]
    subprocess.run(command, check=True, capture_output=True)
    server["settings"]["ca"] = str(tmp_path / "ca.crt")
    code, output = show(server, capsys, as_json=True)
    assert (code, json.loads(output)["certificate"]["days"]) == (0, 8)
    assert "ends in 8 days" in show(server, capsys)[1]


def test_whoever_is_at_work_is_named(server, capsys) -> None:
    with lock.lock("back-up"):
        assert "at work             back-up since 20" in show(server, capsys)[1]
    assert json.loads(show(server, capsys, as_json=True)[1])["lock"] is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 seconds"), (119, "119 seconds"), (120, "2 minutes"), (172800, "2 days"), (-5, "0 seconds")],
)
def test_age(seconds: float, text: str) -> None:
    assert status.age(seconds) == text

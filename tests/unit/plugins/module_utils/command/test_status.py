"""wharf status: how the registry is, also where parts of it are missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import gateway, lock, server_versions
from ansible_collections.wharf.registry.plugins.module_utils.api import StatusError
from ansible_collections.wharf.registry.plugins.module_utils.command import cli, registry, status
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from tests.unit.stored_bucket import S3, StoredBucket, stored_bucket  # noqa: F401
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
    """Return a server's settings and its containers, for tests to change; results and the lock lie in tmp_path."""
    stored = StoredRegistry(tmp_path / "data")
    stored.image("app", "1")

    def running(image: str, program: str) -> dict[str, Any]:
        return {
            "Id": image,
            "Image": f"sha256:{image}",
            "Path": program,
            "State": {"Status": "running", "StartedAt": "2026-11-01T10:20:30.123Z"},
            "Config": {"Image": f"{image}:distro", "Env": []},
            "Mounts": [{"Destination": "/var/lib/registry", "Source": str(stored.root)}],
        }

    containers = {"registry": running("wharf-registry", "registry")}
    containers |= {f"registry-{part}": running("wharf-gateway", "nginx") for part in ("network", "gateway")}
    facts = {"settings": dict(SETTINGS), "containers": containers, "results": tmp_path / "results", "direct": ""}
    facts["settings"]["gateway_directory"] = str(tmp_path / "gateway")
    facts["health"] = lambda: None
    (tmp_path / "results").mkdir()
    (tmp_path / "gateway").mkdir()
    monkeypatch.setattr(lock, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(status, "REPAIR_STATE", tmp_path / "repair.json")
    monkeypatch.setattr(status, "CACHES_STATE", tmp_path / "results/trim-caches.json")
    monkeypatch.setattr(server_versions, "KNOWN", tmp_path / "version")
    monkeypatch.setattr(server_versions, "KNOWN_GATEWAY", tmp_path / "gateway-version")
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    monkeypatch.setattr(registry, "SETTINGS", tmp_path / "registry.json")
    monkeypatch.setattr(registry.data, "container", containers.get)
    monkeypatch.setattr(status, "container", containers.get)
    monkeypatch.setattr(status, "INDEX", str(tmp_path / "index"))
    monkeypatch.setattr(status.gateway, "problem_of", lambda _slot: facts["direct"])
    versions = {
        "registry": "registry github.com/distribution/distribution 2.8.3+ds1",
        "nginx": "nginx version: nginx/1.26.3",
    }
    monkeypatch.setattr(
        server_versions.containers,
        "docker",
        lambda *command, **_: subprocess.CompletedProcess([], 0, versions[command[2]] + "\n"),
    )
    client = MagicMock()
    client.__enter__().health = lambda: facts["health"]()
    monkeypatch.setattr(status, "client_of", lambda _: client)
    return facts


def fails(error: WharfError) -> Callable[[], None]:
    """Return what raises an error."""

    def fail() -> None:
        raise error

    return fail


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
    assert lines["registry"] == "reg.test:5000: running since 2026-11-01 10:20 UTC, answers"
    assert lines["gateway"] == "running since 2026-11-01 10:20 UTC, answers"
    assert lines["images"] == "wharf-registry:distro, registry 2.8.3+ds1; wharf-gateway:distro, nginx 1.26.3"
    assert lines["certificate"] == "none"
    assert lines["storage"].startswith("239 bytes used, ")
    assert lines["garbage collection"] == "ok 3 days ago: deleted 3 blobs, 294.7 KiB"
    assert lines["backup"] == lines["storage repair"] == "no run yet"
    assert lines["at work"] == "nothing"
    assert len(output.splitlines()) == 11


def test_each_cache_has_a_line_about_its_last_trimming(server, capsys) -> None:
    upstreams = [
        {"upstream": name, "slug": name, "size": 0, "keep": []} for name in ("docker.io", "ghcr.io", "quay.io")
    ]
    server["settings"]["caches"] = {"data": "/nowhere", "upstreams": upstreams}
    now = int(time.time())
    facts = {"upstream": "docker.io", "bytes": 3 << 30, "size": 10 << 30, "images": 1, "kept": 2, "fetched": now - 7200}
    other = {"upstream": "ghcr.io", "bytes": 5, "size": 0, "images": 2, "kept": 0, "fetched": None}
    known = {"docker.io": facts, "ghcr.io": other, "gone.io": facts | {"upstream": "gone.io"}}
    (server["results"] / "trim-caches.json").write_text(json.dumps({"caches": known}))
    (server["results"] / "trim-caches").write_text(f"ok {now - 7200} deleted 0 images, 0 bytes\n")
    code, output = show(server, capsys)
    lines = [line.split("  ", 1) for line in output.splitlines() if line.startswith("cache")]
    assert [(name, text.strip()) for name, text in lines] == [
        ("cache trimming", "ok 2 hours ago: deleted 0 images, 0 bytes"),
        ("cache docker.io", "3.0 GiB of 10.0 GiB, 1 image; 2 kept images fetched 2 hours ago"),
        ("cache ghcr.io", "5 bytes, 2 images"),
    ]
    assert code == 0
    assert json.loads(show(server, capsys, as_json=True)[1])["caches"] == {"docker.io": facts, "ghcr.io": other}


@pytest.mark.parametrize("part", ["registry", "registry-network", "registry-gateway"])
@pytest.mark.parametrize("state", ["absent", "exited", "paused"])
def test_each_container_that_does_not_run_is_named_and_is_exit_code_3(server, capsys, part, state) -> None:
    if state == "absent":
        del server["containers"][part]
    else:
        server["containers"][part]["State"]["Status"] = state
    if part == "registry":
        server["direct"] = "refused"  # said once
        server["health"] = fails(StatusError("the registry behind it does not", 503))
    code, output = show(server, capsys, as_json=True)
    assert code == 3
    result = json.loads(output)
    assert result["problems"] == [f"the container {part} is {state}"]
    found = result["containers"][part.partition("-")[2] or part]
    assert (found["state"], found.get("answers", False)) == (state, False)
    # That the registry does not run, the gateway itself can tell.
    assert result["containers"]["gateway"]["answers"] is (part == "registry")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"direct": "no response in time"}, "no response in time"),
        ({"health": fails(StatusError("the registry behind it does not", 503))}, "the registry behind it does not"),
        ({"health": fails(WharfError("it refuses"))}, "it refuses"),
        ({"network": "2026-11-01T10:20:30.124Z"}, "the gateway is in a network that is gone: it must be restarted"),
        ({"result": "failed 1 no room"}, "back-up failed"),
        ({"held": True}, "pushes wait for a collection that was killed: `wharf collect-garbage --recover`"),
    ],
)
def test_what_is_not_well_is_named_and_is_exit_code_3(server, capsys, change, problem) -> None:
    server |= {key: change[key] for key in ("direct", "health") if key in change}
    if "network" in change:
        server["containers"]["registry-network"]["State"]["StartedAt"] = change["network"]
    if "result" in change:
        (server["results"] / "back-up").write_text(change["result"])
    if "held" in change:
        Path(server["settings"]["gateway_directory"], "upstreams.conf").write_text(gateway.upstreams("reads", "writes"))
    code, output = show(server, capsys, as_json=True)
    assert code == 3
    assert json.loads(output)["problems"] == [problem]


def test_a_registry_on_an_object_store_has_no_figures(server, capsys) -> None:
    server["settings"]["driver"] = "s3"
    code, output = show(server, capsys)
    assert code == 0
    assert "driver s3" in output


def test_of_a_bucket_the_images_are_counted(server, capsys, stored_bucket: StoredBucket) -> None:  # noqa: F811
    stored_bucket.image("app", "1")
    server["settings"] |= {"driver": "s3", "s3": S3}
    code, output = show(server, capsys, as_json=True)
    found = json.loads(output)["storage"]
    assert (code, found["bucket"], found["used"]) == (0, "wharf", sum(stored_bucket.storage().blob_sizes().values()))
    (stored_bucket.store / "away").touch()
    code, output = show(server, capsys)
    assert code == 3 and "the bucket wharf cannot be read" in output


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
        Path(server["settings"]["gateway_directory"], "upstreams.conf").write_text(gateway.upstreams("reads", "writes"))
        server["containers"]["registry"]["State"]["Status"] = "paused"
        code, output = show(server, capsys)
        assert (code, output.endswith(", and pushes wait\n")) == (0, True)
        assert "reg.test:5000: paused, answers\n" in output
        server["containers"]["registry"]["State"]["Status"] = "running"
        Path(server["settings"]["gateway_directory"], "upstreams.conf").unlink()
    assert json.loads(show(server, capsys, as_json=True)[1])["lock"] is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 seconds"), (119, "119 seconds"), (120, "2 minutes"), (172800, "2 days"), (-5, "0 seconds")],
)
def test_age(seconds: float, text: str) -> None:
    assert status.age(seconds) == text


def test_a_page_whose_index_is_stuck_is_a_problem(server, capsys, tmp_path: Path) -> None:
    code, output = show(server, capsys)
    assert (code, "page  " in output) == (0, False)
    index = tmp_path / "index"
    index.mkdir()
    assert re.search("^page +no index yet$", show(server, capsys)[1], re.MULTILINE)
    (index / "state").mkdir()
    (index / "state/state.db").touch()
    code, output = show(server, capsys)
    assert (code, "its index was brought up to date 0 seconds ago" in output) == (0, True)
    os.utime(index / "state/state.db", (time.time() - 7200,) * 2)
    code, output = show(server, capsys, as_json=True)
    assert code == 3
    assert json.loads(output)["problems"] == ["what the page shows is 2 hours old: see `wharf index`"]


def test_a_standby_says_how_old_its_copy_is_and_nothing_of_what_its_server_does(server, capsys, tmp_path: Path) -> None:
    assert json.loads(show(server, capsys, as_json=True)[1])["standby"] is None
    server["settings"]["standby_of"] = "server1"
    (server["results"] / "back-up").write_text("failed 1 no room")  # when it was the server
    code, output = show(server, capsys, as_json=True)
    assert (code, json.loads(output)["problems"]) == (
        3,
        ["nothing was copied from server1 yet: see `wharf feed-standbys` there"],
    )
    copied = tmp_path / "data/.wharf-copied.json"
    copied.write_text(json.dumps({"at": time.time() - 40}))
    code, output = show(server, capsys)
    lines = dict(line.split("  ", 1) for line in output.splitlines())
    assert (code, lines["standby"].strip()) == (0, "copied from server1 40 seconds ago")
    assert not {"backup", "garbage collection", "storage repair"} & lines.keys()
    copied.write_text(json.dumps({"at": time.time() - 7210, "interval": 7200}))
    assert show(server, capsys)[0] == 0
    copied.write_text(json.dumps({"at": time.time() - 7210, "interval": 60}))
    code, output = show(server, capsys, as_json=True)
    assert (code, json.loads(output)["problems"]) == (
        3,
        ["copied from server1 2 hours ago: see `wharf feed-standbys` there"],
    )


def test_a_standby_without_its_data_says_so_all_the_same(server, capsys) -> None:
    server["settings"]["standby_of"] = "server1"
    del server["containers"]["registry"]
    server["direct"] = "refused"
    assert "the container registry is absent" in json.loads(show(server, capsys, as_json=True)[1])["problems"]

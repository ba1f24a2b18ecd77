"""wharf metrics: what it writes, also where a source fails, and how it counts what the gateway has logged."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ansible_collections.wharf.registry.plugins.module_utils import lock, version
from ansible_collections.wharf.registry.plugins.module_utils.api import NoResponseError, Response
from ansible_collections.wharf.registry.plugins.module_utils.command import cli, metrics, registry
from tests.unit.plugins.module_utils.test_exposition import TOLD
from tests.unit.stored_bucket import S3, StoredBucket, stored_bucket  # noqa: F401
from tests.unit.stored_registry import StoredRegistry

ROOT = Path(__file__).parents[5]
STUB_STATUS = "Active connections: 2 \nserver accepts handled requests\n 30 29 50 \nReading: 0 Writing: 1 Waiting: 1 \n"
DEVICES = """\
Inter-| Receive | Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 7000 7 0 0 0 0 0 0 7000 7 0 0 0 0 0 0
  eth0: 1917834 1452 0 0 0 0 0 0 3604882 1217 0 0 0 0 0 0
  eth1:166 2 0 0 0 0 0 0 118 1 0 0 0 0 0 0
"""
LINE = '2026-11-29T03:00:00+00:00 {event}: user "x" from 192.0.2.1: GET /v2/denied: user /manifests/1\\n'


class Log:
    """The file in which the engine keeps what a container logs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def add(self, *events: str, end: str = "\n") -> None:
        """Add lines of the gateway's."""
        with self.path.open("a") as file:
            for event in events:
                entry = {"log": LINE.format(event=event), "stream": "stdout", "time": "2026-11-29T03:00:00Z"}
                file.write(json.dumps(entry, separators=(",", ":")) + end)

    def add_layers(self, *lines: str) -> None:
        """Add lines about layers of caches."""
        with self.path.open("a") as file:
            for line in lines:
                entry = {"log": f"cache {line}\n", "stream": "stdout", "time": "2026-11-29T03:00:07.123456789Z"}
                file.write(json.dumps(entry, separators=(",", ":")) + "\n")

    def rotate(self) -> None:
        """Do as the engine does when a file is full."""
        first, second = Path(f"{self.path}.1"), Path(f"{self.path}.2")
        if first.exists():
            first.rename(second)
        self.path.rename(first)
        self.path.touch()


class Server:
    """A server whose sources are what a test says."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stored, self.place = StoredRegistry(place / "data"), place
        self.stored.image("app", "1")
        self.stored.image("team/app", "2")
        self.settings = {"gateway_directory": str(place / "gateway"), "uid": 4711, "name": "reg.test"}
        self.log = Log(place / "a.log")
        data = [{"Destination": "/var/lib/registry", "Source": str(self.stored.root)}]
        self.containers: dict[str, dict[str, Any]] = {
            "registry": self.container("registry", Mounts=data),
            "registry-gateway": self.container("a", LogPath=str(self.log.path)),
        }
        self.problem, self.nginx, self.told = "", STUB_STATUS, TOLD
        self.ping = lambda: Response(401, {"Docker-Distribution-Api-Version": "registry/2.0"}, b"")
        self.engine, self.owners = True, []
        (place / "1.dev").write_text(DEVICES)
        monkeypatch.setattr(metrics, "NETWORK", f"{place}/{{}}.dev")
        (place / "metrics").mkdir(mode=0o750)
        monkeypatch.setattr(registry, "CONFIGURATION", place / "registry")
        for name in ("METRICS", "LOCK", "REPAIR_STATE", "CACHES_STATE"):
            monkeypatch.setattr(metrics, name, place / name.lower())
        monkeypatch.setattr(metrics.parts, "INDEX", str(place / "index"))
        monkeypatch.setattr(metrics, "SCHEDULES", (f"{place}/{{}}.timer", f"{place}/{{}}.cron"))
        monkeypatch.setattr(lock, "RESULTS", place / "results")
        monkeypatch.setattr(registry, "SETTINGS", place / "registry.json")
        monkeypatch.setattr(os, "fchown", lambda _file, *owner: self.owners.append(owner))
        monkeypatch.setattr(metrics, "engine_runs", lambda: self.engine)
        monkeypatch.setattr(registry.data, "container", self.containers.get)
        monkeypatch.setattr(metrics, "container", self.containers.get)
        monkeypatch.setattr(metrics.gateway, "problem_of", lambda _slot: self.problem)
        monkeypatch.setattr(metrics.gateway, "figures", lambda _pid: self.nginx)
        monkeypatch.setattr(metrics.Registry, "version", lambda _: "2.8.3")
        monkeypatch.setattr(metrics, "gateway_version", lambda found: "1.26.3" if found else "")
        monkeypatch.setattr(metrics, "client_of", lambda _: metrics.Client("reg.test", 5000))
        monkeypatch.setattr(metrics.Client, "request", lambda *_: self.ping())
        monkeypatch.setattr(metrics.Inside, "request", lambda *_: Response(200, {}, self.told.encode()))

    @staticmethod
    def container(name: str, **more: Any) -> dict[str, Any]:
        """Return what the engine knows of a container that runs."""
        state = {"Status": "running", "Pid": 1, "Paused": False}
        return {"Id": name, "State": state, "Config": {"Env": []}, "Mounts": [], **more}

    def write(self) -> dict[str, float]:
        """Write the figures; return each, by its name and labels as they stand in the file."""
        (self.place / "registry.json").write_text(json.dumps(self.settings))
        self.task = cli.Task(Namespace(subcommand="metrics", wait=0, json=False))
        assert self.task.perform(metrics.run) == 0
        lines = (self.place / "metrics/metrics").read_text().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def events(self) -> dict[str, int]:
        """Write the figures; return what was counted of the gateway's log."""
        start, end = 'wharf_gateway_events_total{event="', '"}'
        counts = {name: int(number) for name, number in self.write().items() if name.startswith(start) and number}
        return {name[len(start) : -len(end)]: number for name, number in counts.items()}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(tmp_path, monkeypatch)


def test_all_figures_are_written_for_the_gateway(server: Server) -> None:
    found = server.write()
    assert server.task.result["lines"] == []
    assert found['wharf_up{component="registry"}'] == found['wharf_up{component="gateway"}'] == 1
    assert found["nginx_up"] == found["registry_up"] == 1
    versions = f'gateway_version="1.26.3",registry_version="2.8.3",version="{version.VERSION}"'
    assert found[f"wharf_build_info{{{versions}}}"] == 1
    assert (found["wharf_repositories"], found["wharf_tags"], found["wharf_read_only"]) == (2, 2, 0)
    assert found["nginx_connections_handled"] == 29
    assert found["nginx_http_requests_total"] == 50
    assert found["wharf_network_receive_bytes_total"] == 1918000
    assert found["wharf_network_transmit_bytes_total"] == 3605000
    assert found['registry_http_requests_total{code="404",handler="tags",method="get"}'] == 1e6
    assert 0 < found["wharf_storage_free_bytes"] <= found["wharf_storage_size_bytes"]
    assert time.time() - 10 < found["wharf_metrics_written_timestamp_seconds"] <= time.time()
    assert not any("certificate" in name for name in found)
    assert not any("go_" in name for name in found)
    file = server.place / "metrics/metrics"
    assert (file.stat().st_mode & 0o7777, server.owners[-1]) == (0o640, (0, 4711))
    assert (file.parent / "state.json").stat().st_mode & 0o7777 == 0o600
    for kind in ("HELP", "TYPE"):
        names = re.findall(rf"^# {kind} (\S+) ", file.read_text(), re.MULTILINE)
        assert len(names) == len(set(names)) > 20


def test_a_source_that_fails_leaves_the_others(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    whole = server.write().keys()

    def fail() -> None:
        raise NoResponseError("the registry does not answer as reg.test:5000: Connection refused")

    server.problem, server.ping, server.nginx, server.told = "no registry", fail, "<html>", "registry_x one"
    server.settings["ca"] = "/nowhere/ca.crt"
    found = server.write()
    ups = ('wharf_up{component="registry"}', 'wharf_up{component="gateway"}', "nginx_up", "registry_up")
    assert [found[name] for name in ups] == [0, 0, 0, 0]
    assert found.keys() == {name for name in whole if not name.startswith(("nginx_c", "nginx_h", "registry_"))} | {*ups}
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "registry", "gateway", "certificates", "nginx", "the registry's own",
    ]  # fmt: skip


def test_a_source_that_hangs_leaves_the_others(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SECONDS", 0.2)
    server.ping = lambda: time.sleep(30)
    found = server.write()
    assert (found['wharf_up{component="gateway"}'], found["nginx_up"]) == (0, 1)
    assert server.task.result["lines"] == ["gateway: nothing was told within 0.2 s"]


@pytest.mark.parametrize(("headers", "up"), [({"Docker-Distribution-Api-Version": "registry/2.0"}, 1), ({}, 0)])
def test_what_answers_without_a_registrys_header_is_no_gateway(
    server: Server, headers: dict[str, str], up: int
) -> None:
    server.ping = lambda: Response(404, headers, b"")
    assert server.write()['wharf_up{component="gateway"}'] == up


def test_an_engine_that_does_not_run_is_not_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.write()
    server.log.add("pushed")
    server.events()
    server.engine, server.problem = False, "no registry"
    for module in (metrics, registry.data):
        monkeypatch.setattr(module, "container", lambda _: pytest.fail("its socket would start it"))
    found = server.write()
    assert (found["nginx_up"], found["registry_up"]) == (0, 0)
    assert found['wharf_gateway_events_total{event="pushed"}'] == 1


def test_a_registry_that_goes_on_without_the_engine_is_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.engine = False
    for slot in metrics.parts.SLOTS:
        monkeypatch.setattr(
            metrics.gateway, "problem_of", lambda asked, slot=slot: "" if asked == slot else "no answer"
        )
        assert server.write()['wharf_up{component="registry"}'] == 1


def test_figures_of_a_frozen_registry_are_left_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics.gateway, "is_held", lambda _: True)
    server.containers["registry"]["State"] |= {"Status": "paused", "Paused": True}
    found = server.write()
    assert found["wharf_read_only"] == found['wharf_up{component="registry"}'] == 1
    assert not any(name.startswith("registry_") for name in found)


def test_a_registry_that_is_read_only_by_its_configuration(server: Server) -> None:
    server.settings["read_only"] = True
    assert server.write()["wharf_read_only"] == 1


def test_a_standby_tells_as_of_when_it_has_the_server_s_images_and_no_tasks_of_the_server(server: Server) -> None:
    lock.RESULTS.mkdir()
    for name in ("back-up", "index"):
        (lock.RESULTS / name).write_text("failed 2000 no room\n")
    assert server.write()["wharf_standby"] == 0
    server.settings |= {"standby_of": "server1", "read_only": True}
    found, name = server.write(), "wharf_standby_last_copy_timestamp_seconds"
    assert (found["wharf_standby"], found["wharf_read_only"], name in found) == (1, 1, False)
    assert [one for one in found if one.startswith("wharf_task_last_run_success")] == [
        'wharf_task_last_run_success{task="index"}'
    ]
    mark = {"server": "server1", "at": 1795967000, "tags": 2, "interval": 3600}
    (server.stored.root / ".wharf-copied.json").write_text(json.dumps(mark))
    found = server.write()
    assert (found[name], found["wharf_standby_interval_seconds"]) == (1795967000, 3600)


def test_other_servers_on_the_same_store_are_up_or_not(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = {"192.0.2.2": 200, "192.0.2.3": 503}

    def client_of(address: str, port: int, directory: str) -> Any:
        answer = SimpleNamespace(status=statuses[address])
        return nullcontext(SimpleNamespace(request=lambda *_: answer))

    monkeypatch.setattr(metrics.peers, "known", lambda _: [(address, 5000) for address in statuses])
    monkeypatch.setattr(metrics.peers, "client_of", client_of)
    found = server.write()
    assert found['wharf_peer_up{peer="192.0.2.2"}'] == 1
    assert found['wharf_peer_up{peer="192.0.2.3"}'] == 0


# Tasks ------------------------------------------------------------------------------------------------------------


def test_tasks_tell_their_last_run_and_their_schedule(server: Server) -> None:
    results = {
        "back-up": 'failed 2000 no room\n{"seconds": 0.5, "bytes": null, "succeeded": 1000}\n',
        "collect-garbage": 'ok 1000 done\n{"seconds": 3, "bytes": 77, "succeeded": 1000}\n',
    }
    lock.RESULTS.mkdir()
    for name, text in results.items():
        (lock.RESULTS / name).write_text(text)
    for name in ("back-up.timer", "index.cron"):
        (server.place / name).write_text("# Ansible managed\n# Do it (weekly)\n")
        os.utime(server.place / name, (500, 500))
    assert {name: value for name, value in server.write().items() if name.startswith("wharf_task_")} == {
        'wharf_task_last_run_timestamp_seconds{task="backup"}': 2000,
        'wharf_task_last_run_success{task="backup"}': 0,
        'wharf_task_last_run_duration_seconds{task="backup"}': 0.5,
        'wharf_task_last_success_timestamp_seconds{task="backup"}': 1000,
        'wharf_task_interval_seconds{task="backup"}': 7 * 86400,
        'wharf_task_schedule_created_timestamp_seconds{task="backup"}': 500,
        'wharf_task_last_run_timestamp_seconds{task="collection"}': 1000,
        'wharf_task_last_run_success{task="collection"}': 1,
        'wharf_task_last_run_duration_seconds{task="collection"}': 3,
        'wharf_task_last_run_bytes{task="collection"}': 77,
        'wharf_task_last_success_timestamp_seconds{task="collection"}': 1000,
        'wharf_task_interval_seconds{task="index"}': 7 * 86400,
        'wharf_task_schedule_created_timestamp_seconds{task="index"}': 500,
    }


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("", {"run_timestamp": 5000, "run_success": 1, "success_timestamp": 5000}),
        ("ok 1000 done", {"run_timestamp": 5000, "run_success": 1, "success_timestamp": 5000}),
        ("ok 6000 done", {"run_timestamp": 6000, "run_success": 1, "success_timestamp": 6000}),
        ("failed 1000 app:1 is lost", {"run_timestamp": 5000, "run_success": 0}),
    ],
)
def test_a_repair_that_found_nothing_was_a_run(server: Server, result: str, expected: dict[str, int]) -> None:
    lock.RESULTS.mkdir()
    if result:
        (lock.RESULTS / "repair-storage").write_text(f"{result}\n")
    metrics.REPAIR_STATE.touch()
    os.utime(metrics.REPAIR_STATE, (5000, 5000))
    found = {name: value for name, value in server.write().items() if name.endswith('{task="repair"}')}
    names = {name: name if name.endswith("success") else f"{name}_seconds" for name in expected}
    assert found == {f'wharf_task_last_{names[name]}{{task="repair"}}': value for name, value in expected.items()}


@pytest.mark.parametrize("kind", ["systemd/system/wharf-*.timer.j2", "cron.d/wharf-*.j2"])
def test_each_job_says_how_often_it_runs(kind: str) -> None:
    files = sorted((ROOT / "roles/server_programs/templates/etc").glob(kind))
    assert len(files) == 8
    for file in [file for file in files if "feed-standbys" not in file.name]:  # a standby itself tells its copy's age
        text = re.sub(r"{{ server_programs_\w+_schedule }}", "monthly", file.read_text())
        assert metrics._SCHEDULE.findall(text), file


# What the gateway has logged --------------------------------------------------------------------------------------


def test_events_are_counted_once_from_the_first_run_on(server: Server) -> None:
    server.log.add("denied", "denied")
    assert server.events() == {}
    server.log.add("login refused", "pushed", "pulled", "broken off", "the registry does not answer")
    server.log.add("too many connections", end="")  # is just being written
    expected = {"login_refused": 1, "pushed": 1, "unavailable": 1}
    assert server.events() == server.events() == expected
    with server.log.path.open("a") as file:
        file.write("\n")
    server.log.add("deleted")
    assert server.events() == expected | {"too_many_connections": 1, "deleted": 1}


def test_all_events_are_there_from_the_beginning(server: Server) -> None:
    names = [name for name in server.write() if name.startswith("wharf_gateway_events_total")]
    assert len(names) == len(metrics.EVENTS) == 6


def test_a_log_that_is_rotated_loses_nothing(server: Server) -> None:
    server.events()
    server.log.add("pushed")
    server.events()
    server.log.add("pushed", "denied")
    server.log.rotate()
    assert server.events() == {"pushed": 2, "denied": 1}
    server.log.add("pushed")
    server.log.rotate()
    server.log.add("pushed")
    server.log.rotate()
    server.log.add("denied")
    assert server.events() == server.events() == {"pushed": 4, "denied": 2}


def test_a_log_that_is_renamed_while_it_is_read_is_counted_once(server: Server) -> None:
    server.events()
    server.log.add("pushed")
    os.link(server.log.path, f"{server.log.path}.1")
    assert server.events() == server.events() == {"pushed": 1}


def test_a_log_that_was_emptied_counts_from_its_beginning(server: Server) -> None:
    server.log.add("pushed", "pushed")
    server.events()
    server.log.path.write_text("")
    server.log.add("denied")
    assert server.events() == {"denied": 1}


def test_the_log_of_a_new_gateway_counts_from_its_beginning(server: Server, tmp_path: Path) -> None:
    server.log.add("pushed")
    server.events()
    server.log.add("denied")
    server.containers["registry-gateway-before"] = server.containers["registry-gateway"]
    new = Log(tmp_path / "b.log")
    new.add("pushed", "login refused")
    server.containers["registry-gateway"] = Server.container("b", LogPath=str(new.path))
    assert server.events() == server.events() == {"pushed": 1, "denied": 1, "login_refused": 1}
    del server.containers["registry-gateway-before"]
    new.add("pushed")
    assert server.events() == {"pushed": 2, "denied": 1, "login_refused": 1}
    assert list(json.loads((tmp_path / "metrics/state.json").read_text())["logs"]) == ["b"]


def test_a_gateway_whose_log_is_gone_keeps_the_count(server: Server) -> None:
    server.events()
    server.log.add("pushed")
    server.events()
    server.log.path.unlink()
    assert server.events() == {"pushed": 1}


# Caches of other registries ---------------------------------------------------------------------------------------

HUB = {"upstream": "docker.io", "slug": "docker.io", "size": 1000, "keep": []}
OTHER = {"upstream": "hub.test:5000", "slug": "hub.test_5000", "size": 0, "keep": []}


@pytest.fixture
def caching(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Return a server with two caches, which answer."""

    class Answering(metrics.Client):
        def __init__(self, name: str, timeout: float) -> None:
            assert timeout < metrics.SECONDS
            super().__init__(name, 80, timeout=timeout)

        def ping(self) -> Any:
            if self.name in server.away:
                raise NoResponseError("the registry itself does not answer: Connection refused")

    server.away = set()
    server.settings["caches"] = {"data": "/nowhere", "upstreams": [HUB, OTHER]}
    monkeypatch.setattr(metrics.caches, "direct", Answering)
    return server


def of_caches(found: dict[str, float]) -> dict[str, float]:
    """Return the figures of caches by their names, the upstream and the result."""
    return {
        " ".join([name[len("wharf_cache_") :].partition("{")[0], *re.findall('"(.+?)"', name)]): value
        for name, value in found.items()
        if name.startswith("wharf_cache_")
    }


def test_caches_tell_all_from_the_beginning_but_what_nobody_knows_yet(caching: Server) -> None:
    caching.log.add_layers("hit: docker.io 5", "error: docker.io 7")
    assert of_caches(caching.write()) == {
        "up docker.io": 1,
        "limit_bytes docker.io": 1000,
        "up hub.test:5000": 1,
        **{
            f"{figure} {one}": 0
            for one in ("docker.io", "hub.test:5000")
            for figure in ("saved_bytes_total", "errors_total")
        },
        **{f"requests_total {result} {one}": 0 for result in ("hit", "miss") for one in ("docker.io", "hub.test:5000")},
    }
    metrics.CACHES_STATE.write_text(json.dumps({"caches": {"hub.test_5000": {"bytes": 70, "images": 3}}}))
    found = of_caches(caching.write())
    assert (found["size_bytes hub.test:5000"], found["images hub.test:5000"]) == (70, 3)
    assert not any(name.startswith(("size_", "images")) for name in found if name.endswith("docker.io"))


def test_layers_of_caches_are_counted_once(caching: Server) -> None:
    caching.write()
    caching.log.add_layers("hit: docker.io 5", "miss: docker.io 100", "hit: docker.io 6", "hit: gone.test 1")
    caching.log.add("pushed")
    caching.log.add_layers("error: hub.test_5000 130", "miss: hub.test_5000 9")
    caching.write()
    caching.log.rotate()
    caching.log.add_layers("hit: docker.io 30")
    found = caching.write()
    counted = of_caches(found)
    assert (counted["requests_total hit docker.io"], counted["requests_total miss docker.io"]) == (3, 1)
    assert (counted["saved_bytes_total docker.io"], counted["errors_total docker.io"]) == (41, 0)
    assert "last_error_timestamp_seconds docker.io" not in counted
    assert (counted["requests_total miss hub.test:5000"], counted["saved_bytes_total hub.test:5000"]) == (1, 0)
    assert counted["errors_total hub.test:5000"] == 1
    assert counted["last_error_timestamp_seconds hub.test:5000"] == 1795921207
    assert found['wharf_gateway_events_total{event="pushed"}'] == 1


@pytest.mark.parametrize("away", ["docker.io", "shelf"])
def test_of_a_cache_without_an_upstream_that_is_asked_which_serves_its_images(caching: Server, away: str) -> None:
    caching.settings["caches"]["upstreams"] = [HUB | {"offline": True}, OTHER]
    caching.away = {away}
    caching.write()
    caching.log.add_layers("hit: docker.io 5")
    found = of_caches(caching.write())
    assert found["up docker.io"] == (away != "shelf")
    names = ["limit_bytes docker.io", "requests_total hit docker.io", "up hub.test:5000"]
    assert [found[name] for name in names] == [1000, 1, 1]


def test_a_cache_that_does_not_answer_leaves_the_others(caching: Server) -> None:
    caching.away = {"docker.io"}
    found = of_caches(caching.write())
    assert (found["up docker.io"], found["up hub.test:5000"], found["limit_bytes docker.io"]) == (0, 1, 1000)
    assert caching.task.result["lines"] == ["cache docker.io: the registry itself does not answer: Connection refused"]


# An object store --------------------------------------------------------------------------------------------------


def test_of_an_object_store_the_index_of_the_page_is_counted(server: Server) -> None:
    server.settings |= {"driver": "s3", "caches": {"data": "/nowhere", "upstreams": [HUB]}}
    found = server.write()
    assert not any(name.startswith(("wharf_storage", "wharf_repositories", "wharf_tags")) for name in found)
    (server.place / "index/state").mkdir(parents=True)
    state = sqlite3.connect(server.place / "index/state/state.db")
    state.execute("CREATE TABLE repositories (name TEXT, links TEXT)")
    rows = [("a", {"1": [0, ""], "2": [0, ""]}), ("b", {"1": [0, ""]}), ("docker.io/library/debian", {"13": [0, ""]})]
    state.executemany("INSERT INTO repositories VALUES (?, ?)", [(n, json.dumps({"tags": tags})) for n, tags in rows])
    state.commit()
    found = server.write()
    assert (found["wharf_repositories"], found["wharf_tags"]) == (2, 3)


def test_a_bucket_is_counted_once_an_hour(server: Server, stored_bucket: StoredBucket) -> None:  # noqa: F811
    server.settings |= {"driver": "s3", "s3": S3}
    stored_bucket.image("app", "1")
    found = server.write()
    assert (found["wharf_repositories"], found["wharf_tags"]) == (1, 1)
    assert found["wharf_storage_used_bytes"] == sum(stored_bucket.storage().blob_sizes().values())
    stored_bucket.image("app", "2")
    assert server.write()["wharf_tags"] == 1
    path = server.place / "metrics/bucket.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "counted": 1}))
    assert server.write()["wharf_tags"] == 2


# Documentation ----------------------------------------------------------------------------------------------------


def test_the_page_names_every_figure_and_its_type() -> None:
    rows = re.findall(r"^\| (`.+?`) \| (\w+) \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    listed = {name: kind for names, kind in rows for name in re.findall(r"`(\w+)`", names)}
    own = {name: kind for name, kind in listed.items() if not name.startswith("registry_") or name == "registry_up"}
    assert own == {name: kind for name, (kind, _) in metrics.FIGURES.items()}


def test_the_version_is_that_of_the_collection() -> None:
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"] == version.VERSION

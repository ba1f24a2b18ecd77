"""The figures that `wharf metrics` writes, compared with what clients just did, and with what is broken."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator

import pytest
from attacks import WRONG
from machines import broken, wait_until

FILE = "/var/lib/wharf/metrics/metrics"
PUTS = 'registry_http_requests_total{code="201",handler="manifest",method="put"}'
EVENT = 'wharf_gateway_events_total{{event="{}"}}'
UPS = ('wharf_up{component="registry"}', 'wharf_up{component="gateway"}', "registry_up", "nginx_up")
Figures = Callable[[], dict[str, float]]


@pytest.fixture(scope="module")
def figures(server) -> Iterator[Figures]:
    """Return what brings the figures up to date and reads them; the timer, which does so as well, rests meanwhile."""

    def read() -> dict[str, float]:
        lines = server.check_output(f"wharf metrics >/tmp/metrics.out; cat {FILE}").splitlines()
        return {name: float(value) for name, _, value in (one.rpartition(" ") for one in lines if one[0] != "#")}

    with broken(
        server, "systemctl stop wharf-metrics.timer wharf-metrics.service", "systemctl start wharf-metrics.timer"
    ):
        yield read


def test_a_push_is_counted_by_the_registry_by_nginx_and_from_the_log(client, figures):
    before = figures()
    assert [before[name] for name in UPS] == [1, 1, 1, 1]
    client.push("ann", f"team-a/figures-{secrets.token_hex(4)}", "counted", "1", "2")
    after = figures()
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown[PUTS] == grown[EVENT.format("pushed")] == grown["wharf_tags"] == 2
    assert grown["wharf_repositories"] == 1
    assert 4 <= grown["nginx_http_requests_total"] <= 10  # four of the push's, and those of the look itself
    assert min(grown[f"wharf_network_{way}_bytes_total"] for way in ("receive", "transmit")) > 1000
    assert grown["wharf_storage_size_bytes"] == 0 < after["wharf_storage_free_bytes"]


def test_a_failed_login_is_counted_once(client, figures):
    refused, denied = EVENT.format("login_refused"), EVENT.format("denied")
    before = figures()
    assert client.ask(WRONG, "GET /v2/").status == 401
    assert client.ask("", "GET /v2/").status == 401  # how each client begins
    assert client.ask("kiosk", "GET /v2/team-a/secret/tags/list").status == 403
    after = figures()
    assert (after[refused] - before[refused], after[denied] - before[denied]) == (1, 1)
    assert figures()[refused] == after[refused]


def test_a_registry_that_is_stopped_takes_only_its_own_figures_along(server, figures):
    before = figures()
    with broken(server, "docker stop registry", "docker start registry"):
        figures()
        after = figures()
    wait_until(server, f"wharf metrics && grep -qxF '{UPS[0]} 1' {FILE}", every=0.5)
    assert [after[name] for name in UPS] == [0, 1, 0, 1]
    told = {name for name in before if name.startswith("registry_") and name != "registry_up"}
    versions = {name for name in before if name.startswith("wharf_build_info")}  # one is empty now
    assert told
    assert before.keys() - after.keys() == told | versions
    assert after[EVENT.format("unavailable")] == before[EVENT.format("unavailable")]  # the look itself is none
    assert [figures()[name] for name in UPS] == [1, 1, 1, 1]


def test_only_root_reads_the_registrys_own_figures_and_only_the_gateway_the_file(server, client, figures):
    figures()
    file = server.file(FILE)
    assert (file.user, file.gid, file.mode) == ("root", 59500, 0o640)
    assert server.file("/var/lib/wharf/metrics/state.json").mode == 0o600
    ask = "python3 -c \"import socket; socket.create_connection(('{}', 5001), 2)\""
    for host, address in ((server, "127.0.0.1"), (server, "registry.wharf.test"), (client.host, "registry.wharf.test")):
        assert host.run(ask.format(address)).rc == 1, address
    assert client.ask("boss", "GET /stub_status").status == 404


def test_tasks_tell_how_often_they_run(server, figures):
    server.check_output("wharf renew-certificate")
    found = figures()
    tasks = {re.search('task="(.+)"', name)[1]: value for name, value in found.items() if "interval" in name}
    assert {"renewal": 86400, "repair": 60}.items() <= tasks.items()
    now = float(server.check_output("date +%s"))
    for task, limit in (("renewal", 60), ("repair", 180)):
        assert found[f'wharf_task_last_run_success{{task="{task}"}}'] == 1
        assert 0 <= now - found[f'wharf_task_last_success_timestamp_seconds{{task="{task}"}}'] < limit
    assert 300 * 86400 < found["wharf_certificate_expiry_timestamp_seconds"] - now < 398 * 86400
    assert found["wharf_ca_expiry_timestamp_seconds"] > found["wharf_certificate_expiry_timestamp_seconds"]

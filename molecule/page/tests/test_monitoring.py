"""Figures, alerts and the dashboard: a Prometheus and an Alertmanager on another host get them as an operator's do.

They run with monitoring/prometheus.yml and monitoring/rules.yml. What differs here: they look each second, an alert
fires after one second instead of minutes, and `wharf metrics` is called instead of waiting for its timer.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import yaml
from clients import REGISTRY, log_in, make_image, pull, push
from machines import PROJECT, Hosts, broken, in_background, program, put_back, wait_until, write
from testinfra.host import Host

MONITORING = PROJECT / "monitoring"
USER, BACKUP = "watcher", "/srv/backup"  # as in molecule.yml
PLACES = ("/etc/prometheus", "/etc/default/prometheus-alertmanager")
JOB = "wharf-metrics"
BACK_UP = "wharf back-up --wait 60"
SERVICES = "prometheus prometheus-alertmanager"
RECEIVED = "/run/alerts"
IMAGE = f"{REGISTRY}/test/figures:1"


class Watched(NamedTuple):
    """A registry and who watches it."""

    desk: Host
    server: Host
    # Alerts that were pending or fired before anything was broken, by their names.
    at_first: set[str]

    def read_figures(self) -> None:
        """Write the figures anew, and wait until Prometheus has them."""
        begin = self.server.check_output("date +%s; wharf metrics").split()[0]
        written = f"wharf_metrics_written_timestamp_seconds >= {begin}"
        deadline = time.monotonic() + 60
        while not self.ask(written)[0]:
            assert time.monotonic() < deadline, "Prometheus does not get the figures"
            time.sleep(0.2)

    def ask(self, *queries: str) -> list[Any]:
        """Return what Prometheus answers, for each query; text where it is an error."""
        write(self.desk, "/run/queries", json.dumps(queries))
        return json.loads(self.desk.check_output(f"{program(self.desk, 'ask-prometheus.py')} </run/queries"))

    def arrives(self, name: str, status: str) -> dict[str, Any]:
        """Wait until an alert has arrived at the receiver with a status, as its last one; return it."""
        deadline = time.monotonic() + 60
        while True:
            alerts = map(json.loads, self.desk.check_output(f"cat {RECEIVED}").splitlines())
            last = {alert["labels"]["alertname"]: alert for alert in alerts}
            if last.get(name, {}).get("status") == status:
                return last[name]
            assert time.monotonic() < deadline, last
            time.sleep(0.2)


def configuration() -> str:
    """Return monitoring/prometheus.yml as an operator fills it, but for the times."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = config["scrape_configs"]
    job["basic_auth"]["username"] = USER
    job["static_configs"] = [{"targets": [REGISTRY]}]
    return yaml.safe_dump(config)


def rules() -> str:
    """Return monitoring/rules.yml, but alerts fire after a second."""
    text, count = re.subn(r"^( +)for: \w+$", r"\1for: 1s", (MONITORING / "rules.yml").read_text("utf-8"), flags=re.M)
    assert count > 20
    return text


@pytest.fixture(scope="module")
def watched(hosts: Hosts, password: str, passwords: dict[str, str]) -> Iterator[Watched]:
    """Let a Prometheus and an Alertmanager watch a registry that is used and backed up."""
    desk, server = hosts["desk"], hosts["server"]
    log_in(desk, password)
    make_image(desk, IMAGE)
    pull(desk, IMAGE, push(desk, IMAGE))
    server.check_output(BACK_UP)
    by_hand = broken(server, f"systemctl stop {JOB}.timer {JOB}.service", f"systemctl start {JOB}.timer")
    end = f"systemctl stop {SERVICES}; docker logout {REGISTRY}; pkill -f '[r]eceive-alerts'"
    with by_hand, put_back(desk, *PLACES, then=end):
        write(desk, "/etc/prometheus/wharf-password", passwords[USER], "0640")
        desk.check_output("chown root:prometheus /etc/prometheus/wharf-password")
        write(desk, "/etc/prometheus/wharf-ca.crt", server.check_output("cat /etc/wharf/tls/ca.crt"))
        write(desk, "/etc/prometheus/wharf-rules.yml", rules())
        write(desk, "/etc/prometheus/prometheus.yml", configuration())
        receiver = {"name": "test", "webhook_configs": [{"url": "http://127.0.0.1:9099"}]}
        route = {"receiver": "test", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
        write(desk, "/etc/prometheus/alertmanager.yml", json.dumps({"route": route, "receivers": [receiver]}))
        # Alone, it need not wait for others.
        write(desk, "/etc/default/prometheus-alertmanager", "ARGS=--cluster.listen-address=\n")
        desk.check_output(in_background(program(desk, "receive-alerts.py", 9099, RECEIVED)))
        desk.check_output(f"systemctl restart {SERVICES}")
        wait_until(desk, f"[ -e {RECEIVED} ]")
        wait_until(desk, "python3 -c 'import urllib.request as r; r.urlopen(\"http://127.0.0.1:9090/-/ready\")'")
        seen = Watched(desk, server, set())
        seen.read_figures()
        pull(desk, IMAGE, push(desk, IMAGE))
        seen.read_figures()
        time.sleep(2)  # whatever is pending fires
        yield seen._replace(at_first={one["metric"]["alertname"] for one in seen.ask("ALERTS")[0]})


def test_configuration_and_rules_are_right(watched: Watched) -> None:
    watched.desk.check_output("promtool check config /etc/prometheus/prometheus.yml")
    for name in ("rules.yml", "rules_test.yml"):
        write(watched.desk, f"/run/{name}", (MONITORING / name).read_text("utf-8"))
    result = watched.desk.run("promtool test rules /run/rules_test.yml")
    assert result.rc == 0, result.stdout + result.stderr
    page = (PROJECT / "docs/monitoring.md").read_text("utf-8")
    (alertmanager,) = [text for text in re.findall(r"```yaml\n(.*?)```", page, re.S) if "receivers:" in text]
    write(watched.desk, "/run/alertmanager.yml", alertmanager)
    watched.desk.check_output("amtool check-config /run/alertmanager.yml")


def test_the_figures_are_as_prometheus_wants_them(watched: Watched) -> None:
    get = program(watched.desk, "get-figures.py", f"https://{REGISTRY}/metrics", USER)
    result = watched.desk.run(f"{get} | promtool check metrics")
    assert result.rc == 0 and result.stdout + result.stderr == ""


def test_a_healthy_registry_alerts_nobody(watched: Watched) -> None:
    """But for the storage, which is this machine's."""
    storage = yaml.safe_load((MONITORING / "rules.yml").read_text("utf-8"))["groups"][2]
    assert storage["name"] == "wharf-storage"
    assert watched.at_first - {rule["alert"] for rule in storage["rules"]} == set()


def assert_readable(alert: dict[str, Any]) -> None:
    """Assert that an alert says which registry it is about, and that its text has no gap."""
    assert alert["labels"]["instance"] == REGISTRY and alert["labels"]["job"] == "wharf"
    assert alert["annotations"]["summary"].startswith(f"{REGISTRY}: ")
    assert not re.search(
        r"<no value>|<error|[{}]", alert["annotations"]["summary"] + alert["annotations"]["description"]
    )


def test_a_stopped_registry_alerts_and_its_return_as_well(watched: Watched) -> None:
    with broken(watched.server, "docker stop registry", "docker start registry"):
        watched.read_figures()
        alert = watched.arrives("WharfRegistryDown", "firing")
    assert_readable(alert)
    assert alert["labels"]["severity"] == "critical"
    up = "grep -q '^wharf_up{component=\"registry\"} 1$' /var/lib/wharf/metrics/metrics"
    wait_until(watched.server, f"wharf metrics && {up}", 60, every=0.5)
    watched.arrives("WharfRegistryDown", "resolved")


def test_a_gateway_that_is_gone_alerts(watched: Watched) -> None:
    with broken(watched.server, "docker stop registry-gateway", "docker start registry-gateway"):
        assert_readable(watched.arrives("WharfNotReachable", "firing"))
    watched.arrives("WharfNotReachable", "resolved")


def test_a_backup_that_fails_alerts_and_the_next_good_one_as_well(watched: Watched) -> None:
    with broken(watched.server, f"mv {BACKUP} {BACKUP}.away", f"rm -rf {BACKUP}; mv {BACKUP}.away {BACKUP}"):
        assert watched.server.run(BACK_UP).rc == 1
        watched.read_figures()
        assert_readable(watched.arrives("WharfBackupFailed", "firing"))
    watched.server.check_output(BACK_UP)
    watched.read_figures()
    watched.arrives("WharfBackupFailed", "resolved")


def test_every_query_of_the_dashboard_has_an_answer(watched: Watched) -> None:
    board = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    asked = {
        target["expr"].replace("$instance", REGISTRY): panel["title"]
        for panel in board["panels"]
        for target in panel.get("targets", [])
        if not re.search("wharf_(cache|standby)_", target["expr"])  # there are none here
    }
    (chosen,) = re.findall(r"label_values\((\w+), instance\)", board["templating"]["list"][1]["query"]["query"])
    answers = watched.ask(chosen, *asked)
    assert {one["metric"]["instance"] for one in answers.pop(0)} == {REGISTRY}
    empty = [
        (title, answer)
        for title, answer in zip(asked.values(), answers, strict=True)
        if isinstance(answer, str) or not any(math.isfinite(float(one["value"][1])) for one in answer)
    ]
    assert empty == []

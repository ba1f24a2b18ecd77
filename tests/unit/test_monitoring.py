"""Rules, their tests, dashboard and documentation fit together. What the rules do is for promtool to test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from conftest import ROOT

MONITORING = ROOT / "monitoring"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((MONITORING / "rules.yml").read_text("utf-8"))["groups"] for rule in group["rules"]
]
ALERTS = [rule["alert"] for rule in RULES]
TESTS: list[dict[str, Any]] = yaml.safe_load((MONITORING / "rules_test.yml").read_text("utf-8"))["tests"]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES: list[str] = [target["expr"] for panel in PANELS for target in panel.get("targets", [])]
PAGE = (ROOT / "docs/monitoring.md").read_text("utf-8")
METRIC = re.compile(r"\b(?:wharf|registry|nginx)_\w+")
# What Prometheus makes of a histogram.
PARTS = re.compile(r"_(?:bucket|count|sum)$")


def documented() -> set[str]:
    """Return the names of the figures in the first column of the tables of docs/metrics.md."""
    rows = re.findall(r"^\| (`[^|]+`) \|", (ROOT / "docs/metrics.md").read_text("utf-8"), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def metrics(expression: str) -> Iterator[str]:
    """Yield the names of the figures that an expression asks for, those of a pattern one by one."""
    for before, choice, after in re.findall(r'__name__=~"(\w+)\(([\w|]+)\)(\w+)"', expression):
        yield from (f"{before}{part}{after}" for part in choice.split("|"))
    for name in METRIC.findall(re.sub(r'"[^"]*"', '""', expression)):
        yield PARTS.sub("", name)


def test_what_an_expression_asks_for_is_found() -> None:
    """The tests below could not fail otherwise."""
    expression = 'max({__name__=~"wharf_(a|b)_seconds"}) > rate(registry_c_bucket{job="wharf_x"}[5m]) + nginx_d'
    assert sorted(metrics(expression)) == ["nginx_d", "registry_c", "wharf_a_seconds", "wharf_b_seconds"]
    assert len(documented()) > 30


@pytest.mark.parametrize("rule", RULES, ids=ALERTS)
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"].keys() == {"severity"} and rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description"}
    assert re.search(r"docs/[\w-]+\.md|`(wharf|df|docker|iostat|journalctl) ", rule["annotations"]["description"])
    named = re.findall(r"(?:docs|playbooks|monitoring)/[\w-]+\.(?:md|yml)", rule["annotations"]["description"])
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(alert: str) -> None:
    asked = [
        question["exp_samples"]
        for test in TESTS
        for question in test["promql_expr_test"]
        if f'alertname="{alert}"' in question["expr"]
    ]
    assert any(asked), "nowhere it fires"
    assert not all(asked), "it fires everywhere"


def test_each_test_is_of_an_alert_that_there_is() -> None:
    asked = {
        name
        for test in TESTS
        for question in test["promql_expr_test"]
        for name in re.findall(r'alertname="(\w+)"', question["expr"])
    }
    assert asked == set(ALERTS)
    assert len(set(ALERTS)) == len(ALERTS)


@pytest.mark.parametrize("expression", [rule["expr"] for rule in RULES] + QUERIES)
def test_what_is_asked_for_is_documented(expression: str) -> None:
    assert set(metrics(expression)) - documented() == set()


def test_the_documentation_lists_the_alerts_as_they_are() -> None:
    listed = re.findall(r"^\| `(Wharf\w+)` \| (\w+) \|", PAGE, re.MULTILINE)
    assert listed == [(rule["alert"], rule["labels"]["severity"]) for rule in RULES]
    assert set(re.findall(r"Wharf[A-Z]\w+", PAGE)) <= set(ALERTS)


def test_a_panel_asks_the_chosen_registry_of_the_chosen_source() -> None:
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS:
        assert panel["targets"] and panel["datasource"] == source, panel["title"]
        for target in panel["targets"]:
            selectors = re.findall(r"\{([^{}]*)\}", target["expr"])
            assert selectors and all('instance="$instance"' in one for one in selectors), panel["title"]
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) == {"datasource", "instance"}
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]


def test_panels_do_not_overlap() -> None:
    """Grafana would move them."""
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_example_scrapes_the_job_that_the_rules_ask_for() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))
    (job,) = config["scrape_configs"]
    asked = {name for rule in RULES for name in re.findall(r'job="(\w+)"', rule["expr"])}
    assert {job["job_name"]} == asked
    assert job["scheme"] == "https" and "password_file" in job["basic_auth"] and "ca_file" in job["tls_config"]
    files = [*config["rule_files"], job["basic_auth"]["password_file"], job["tls_config"]["ca_file"]]
    assert [name for name in files if f"`{name}`" not in PAGE] == []

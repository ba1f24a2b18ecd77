"""Prometheus' text format: what promtool refuses never gets out, and nothing of a program that is not trusted."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.exposition import Exposition

# As a registry tells them (2.8.3 and 3.1.1), with figures that are not its own between them.
TOLD = """\
# HELP go_goroutines Number of goroutines that currently exist.
# TYPE go_goroutines gauge
go_goroutines 21
# HELP registry_http_requests_total Total number of HTTP requests made.
# TYPE registry_http_requests_total counter
registry_http_requests_total{code="200",handler="base",method="get"} 1
registry_http_requests_total{code="404",handler="tags",method="get"} 1e+06
# HELP registry_storage_action_seconds The number of seconds that the storage action takes
# TYPE registry_storage_action_seconds histogram
registry_storage_action_seconds_bucket{action="Stat",driver="filesystem",le="0.005"} 9
registry_storage_action_seconds_bucket{action="Stat",driver="filesystem",le="+Inf"} 9
registry_storage_action_seconds_sum{action="Stat",driver="filesystem"} 0.0006479969999999999
registry_storage_action_seconds_count{action="Stat",driver="filesystem"} 9
# HELP registry_notifications_pending_total The gauge of pending events in queue
# TYPE registry_notifications_pending_total gauge
registry_notifications_pending_total{endpoint="a \\"quoted\\" one\\\\"} 0
"""


@pytest.fixture
def figures() -> Exposition:
    """Return an exposition with two families of its own."""
    exposition = Exposition()
    exposition.types = {"wharf_up": "gauge", "registry_up": "gauge"}
    exposition.help = {"wharf_up": "Whether it answers.", "registry_up": "Whether it tells."}
    return exposition


def test_families_come_with_help_and_type_once_and_labels_are_escaped(figures: Exposition) -> None:
    figures.add("wharf_up", 1, component='a"b\\c\nd')
    figures.add("registry_up", 0.5)
    figures.add("wharf_up", 0, component="gateway")
    assert figures.text() == (
        "# HELP registry_up Whether it tells.\n# TYPE registry_up gauge\nregistry_up 0.5\n"
        "# HELP wharf_up Whether it answers.\n# TYPE wharf_up gauge\n"
        'wharf_up{component="a\\"b\\\\c\\nd"} 1\nwharf_up{component="gateway"} 0\n'
    )
    with pytest.raises(WharfError, match="^wharf_up is there twice$"):
        figures.add("wharf_up", 1, component="gateway")


def test_what_a_program_tells_is_taken_as_it_is_and_no_more_than_its_own(figures: Exposition) -> None:
    figures.read(TOLD, "registry_")
    told = [line for line in TOLD.splitlines() if "go_" not in line]
    # By its name it is a counter, by its type it is none: promtool takes neither.
    told = [line.replace("pending_total gauge", "pending_total untyped") for line in told]
    assert sorted(figures.text().splitlines()) == sorted(told)


@pytest.mark.parametrize(
    "line",
    [
        'registry_http_requests_total{code="200",handler="base",method="get"} 2',  # twice
        'registry_http_requests_total{__name__="wharf_up"} 1',
        'registry_http_requests_total{code="1",code="2"} 1',
        'registry_http_requests_total{code="a"b"} 1',
        'registry_http_requests_total{code="a\\x"} 1',
        "registry_http_requests_total{} one",
        "registry_http_requests_total 1 2 3",
        "registry_http_requests_total",
        "registry_http_requests_total 1\rwharf_up 1",
        "registry_http_requests_total_bucket 1",
        "registry_storage_action_seconds 1",
        "registry_unknown 1",
        "# TYPE registry_unknown counter\nregistry_unknown 1",
        "# TYPE registry_http_requests_total gauge",
        "# HELP registry_http_requests_total Another.",
        "# HELP registry_x \n# TYPE registry_x gauge",
        "# HELP registry_x X.\n# TYPE registry_x info",
        "# HELP registry_up X.\n# TYPE registry_up gauge\nregistry_up 1",  # ours
        "# HELP registry_storage_action_seconds_count X.\n# TYPE registry_storage_action_seconds_count gauge\n"
        "registry_storage_action_seconds_count 1",  # the same name as the histogram's
    ],
)
def test_of_a_program_that_does_not_keep_to_the_format_nothing_is_taken(figures: Exposition, line: str) -> None:
    with pytest.raises(WharfError):
        figures.read(f"{TOLD}{line}\n", "registry_")
    assert figures.text() == ""


def test_a_program_cannot_tell_figures_of_other_names(figures: Exposition) -> None:
    figures.read("wharf_up 1\n# HELP wharf_x X.\n# TYPE wharf_x gauge\nwharf_x 1\n registry_x 1\n", "registry_")
    assert figures.text() == ""


def test_long_lines_are_judged_at_once(figures: Exposition) -> None:
    labels = ",".join(f'l{number}="{"x" * 50}"' for number in range(20000))
    line = f"registry_http_requests_total{{{labels}}} 1"
    figures.read(f"{TOLD}{line}\n", "registry_")
    assert ',l19999="x' in figures.text()
    with pytest.raises(WharfError, match="is no figure"):
        figures.read(f"{TOLD}{line} x\n".replace("registry_", "registry_other_"), "registry_")

"""Where the data lies: one row for each bad input, with the line that it gets."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import paths


def only_line(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    assert "\n" not in problems[0]
    return problems[0]


@pytest.mark.parametrize(
    "data",
    [None, "/var/lib/wharf/registry", "/srv/registry/", "/data/a..b", "/mnt/x y", "registry-data", "r0", "a_b.c-d"],
)
def test_good_places_for_data_pass(data: object) -> None:
    assert paths.data_problems(data, "wharf_registry_data") == []


OWN = "use a directory of its own, such as /var/lib/wharf/registry, or the name of a volume"
SYSTEM = f"is a directory of the system, whose owner would change: {OWN}"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("", "'' is not the name of a volume (two or more of letters, digits and _.-, but none of these first)"),
        ("r", "'r' is not the name of a volume"),
        ("-data", "'-data' is not the name of a volume"),
        ("re gistry", "'re gistry' is not the name of a volume"),
        ("..", "'..' is not the name of a volume"),
        ("registry\n", "'registry\\n' is not the name of a volume"),
        ("srv/registry", f"'srv/registry' is not an absolute path: {OWN}"),
        ("./data", f"'./data' is not an absolute path: {OWN}"),
        ("~/data", f"'~/data' is not an absolute path: {OWN}"),
        ("/srv/../etc", f"'/srv/../etc' has '..' in it: {OWN}"),
        ("/srv/..", f"'/srv/..' has '..' in it: {OWN}"),
        ("/srv/a:b", f"'/srv/a:b' has a colon or a control character in it, which Docker's mounts cannot have: {OWN}"),
        ("/srv/a\nb", "'/srv/a\\nb' has a colon or a control character in it"),
        ("/", f"'/' {SYSTEM}"),
        ("//", f"'//' {SYSTEM}"),
        ("/./", f"'/./' {SYSTEM}"),
        ("/etc", f"'/etc' {SYSTEM}"),
        ("//var//lib/", f"'//var//lib/' {SYSTEM}"),
        ("/run/registry", f"'/run/registry' is lost at the next reboot, or cleaned up by the system: {OWN}"),
        (5, f"5 is neither a directory nor a volume: {OWN}"),
        (True, f"true is neither a directory nor a volume: {OWN}"),
        (["/srv/registry"], f"a list is neither a directory nor a volume: {OWN}"),
    ],
)
def test_a_bad_place_for_data_gets_one_clear_line(data: object, line: str) -> None:
    assert only_line(paths.data_problems(data, "wharf_registry_data")).startswith("wharf_registry_data: " + line)

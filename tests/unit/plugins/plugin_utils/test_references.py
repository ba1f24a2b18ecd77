"""The reference of the registry's image: one row for each bad input, with the line that it gets."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import references


class Tagged(str):
    """Text as Ansible hands it to a filter: a subclass of str."""


def only_line(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    assert "\n" not in problems[0]
    return problems[0]


DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    "image",
    [
        None,
        "registry:2.8.3",
        "library/registry:2",
        f"registry@{DIGEST}",
        f"registry:latest@{DIGEST}",
        "mirror.example:5000/library/registry:3.0.0",
        "Mirror.example/a__b/c-d.e:v1_0",
        Tagged("registry:2.8.3"),
    ],
)
def test_pinned_images_pass(image: object) -> None:
    assert references.image_problems(image, "wharf_registry_image") == []


PIN = "use one such as registry:2.8.3 or registry@sha256:..."


@pytest.mark.parametrize(
    ("image", "line"),
    [
        ("registry", f"'registry' is not pinned, it has neither tag nor digest: {PIN}"),
        (
            "mirror.example:5000/registry",
            f"'mirror.example:5000/registry' is not pinned, it has neither tag nor digest: {PIN}",
        ),
        ("registry:latest", f"'registry:latest' is not pinned, latest is another image tomorrow: {PIN}"),
        ("", f"'' is not an image reference: {PIN}"),
        ("registry:", f"'registry:' is not an image reference: {PIN}"),
        ("registry:2.8.3 ", f"'registry:2.8.3 ' is not an image reference: {PIN}"),
        ("Registry:2", f"'Registry:2' is not an image reference: {PIN}"),
        ("https://mirror.example/registry:2", f"'https://mirror.example/registry:2' is not an image reference: {PIN}"),
        ("registry@sha256:abc", f"'registry@sha256:abc' is not an image reference: {PIN}"),
        ("registry:" + "a" * 129, "is not an image reference"),
        (2, f"2 is not an image reference: {PIN}"),
        (["registry:2"], f"a list is not an image reference: {PIN}"),
    ],
)
def test_a_bad_image_gets_one_clear_line(image: object, line: str) -> None:
    problem = only_line(references.image_problems(image, "wharf_registry_image"))
    assert problem.startswith("wharf_registry_image: ")
    assert line in problem

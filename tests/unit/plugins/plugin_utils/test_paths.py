"""Where the data lies, and PEM files: one row for each bad input, with the line that it gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import paths

SECRET = "s3cr3t-Wort"


class Tagged(str):
    """Text as Ansible hands it to a filter: a subclass of str."""


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
        ("/run/registry", f"'/run/registry' is lost at the next reboot: {OWN}"),
        (5, f"5 is neither a directory nor a volume: {OWN}"),
        (True, f"true is neither a directory nor a volume: {OWN}"),
        (["/srv/registry"], f"a list is neither a directory nor a volume: {OWN}"),
    ],
)
def test_a_bad_place_for_data_gets_one_clear_line(data: object, line: str) -> None:
    assert only_line(paths.data_problems(data, "wharf_registry_data")).startswith("wharf_registry_data: " + line)


def pem(kind: str) -> str:
    return f"-----BEGIN {kind}-----\nMIIB\n-----END {kind}-----\n"


CERTIFICATE = pem("CERTIFICATE")
KEY = pem("PRIVATE KEY")
USE_PEM = "use PEM text or the absolute path of a PEM file on the controller"
NO_CERTIFICATE = "use one that has a line -----BEGIN CERTIFICATE-----"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (CERTIFICATE, "certificate"),
        ("leaf\n" + CERTIFICATE + CERTIFICATE, "certificate"),
        (KEY, "key"),
        (pem("EC PARAMETERS") + pem("EC PRIVATE KEY"), "key"),
        (pem("RSA PRIVATE KEY"), "key"),
        (CERTIFICATE + KEY, "key"),
        (Tagged(KEY), "key"),
    ],
)
def test_pem_passes_as_text_and_as_a_file(tmp_path: Path, text: str, kind: str) -> None:
    path = tmp_path / "a.pem"
    path.write_text(text)
    assert paths.pem_problems(text, "x", kind) == []
    assert paths.pem_problems(str(path), "x", kind) == []


@pytest.mark.parametrize(
    ("value", "kind", "line"),
    [
        (None, "key", f"x: is missing: {USE_PEM}"),
        ("", "key", f"x: is missing: {USE_PEM}"),
        (5, "key", f"x: a number is neither PEM text nor a path: {USE_PEM}"),
        ([SECRET], "key", f"x: a list is neither PEM text nor a path: {USE_PEM}"),
        (SECRET, "key", f"x: holds neither PEM text nor an absolute path: {USE_PEM}"),
        ("certs/reg.key", "key", f"x: holds neither PEM text nor an absolute path: {USE_PEM}"),
        (f"/{SECRET}\nabc", "key", f"x: holds neither PEM text nor an absolute path: {USE_PEM}"),
        (
            KEY,
            "certificate",
            (
                "x: the text holds no certificate but a PEM block of another kind (PRIVATE KEY):"
                " use one that has a certificate"
            ),
        ),
        (
            CERTIFICATE,
            "key",
            (
                "x: the text holds no private key but a PEM block of another kind (CERTIFICATE):"
                " use one that has a private key"
            ),
        ),
        (f"-----BEGIN {SECRET}", "certificate", f"x: the text is not PEM: {NO_CERTIFICATE}"),
    ],
)
def test_what_is_not_pem_gets_one_clear_line(value: object, kind: str, line: str) -> None:
    assert paths.pem_problems(value, "x", kind) == [line]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", f"is not PEM: {NO_CERTIFICATE}"),
        (b"\x30\x82\x01\x0a" + bytes(range(256)), f"is not PEM: {NO_CERTIFICATE}"),
        (KEY.encode(), "holds no certificate but a PEM block of another kind (PRIVATE KEY)"),
        (
            b"$ANSIBLE_VAULT;1.1;AES256\n6162\n",
            "is encrypted with Ansible Vault: set the variable to its text, with lookup('ansible.builtin.file', ...)",
        ),
    ],
)
def test_a_file_that_is_not_pem_gets_one_clear_line(tmp_path: Path, content: bytes, line: str) -> None:
    path = tmp_path / "a.pem"
    path.write_bytes(content)
    assert only_line(paths.pem_problems(str(path), "x")).startswith(f"x: '{path}' {line}")


def test_a_pem_file_that_is_not_there_gets_one_clear_line(tmp_path: Path) -> None:
    line = "does not exist: use the path of a file on the controller that can be read there"
    assert paths.pem_problems(f"{tmp_path}/no.pem", "x") == [f"x: '{tmp_path}/no.pem' {line}"]


def test_another_kind_of_pem_is_a_mistake_in_the_role() -> None:
    with pytest.raises(ValueError, match="^'chain' is not a kind of PEM"):
        paths.pem_problems(CERTIFICATE, "x", "chain")

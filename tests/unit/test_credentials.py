"""Users and logins with their passwords, and the table of the proof."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import credentials as module


def test_given_and_generated_passwords(tmp_path: Path):
    (tmp_path / "ci").write_text("generated\n")
    users = module.wharf_users([{"name": "ci"}, {"name": "dev", "password": "given"}], str(tmp_path))
    assert users == [{"name": "ci", "password": "generated"}, {"name": "dev", "password": "given"}]


def test_password_that_was_generated_elsewhere_is_named_with_the_remedy(tmp_path: Path):
    with pytest.raises(ValueError, match=r"wharf_registry_users: ci has no password.*deploy-registry\.yml"):
        module.wharf_users([{"name": "ci"}], str(tmp_path))


def test_check_mode_has_a_placeholder(tmp_path: Path):
    assert module.wharf_users([{"name": "ci"}], str(tmp_path), "later")[0]["password"] == "later"


def test_logins_get_the_password_of_their_name():
    logins = module.wharf_logins([{"user": "root", "name": "ci"}], [{"name": "ci", "password": "p"}])
    assert logins == [{"user": "root", "name": "ci", "password": "p"}]


CAST = {
    "pusher": "one",
    "pullers": ["second"],
    "tools": {"one": "docker", "second": "podman", "node": "", "off": ""},
    "away": ["off"],
}


def test_table_of_the_proof_names_every_host():
    digest = "sha256:" + "a" * 64
    hostvars = {
        "one": {"__wharf_pushed": {"stdout": f"digest: {digest}\nmilliseconds: 1234\nlayers: '[]'"}},
        "second": {"__wharf_pulled": {"stdout": "milliseconds: 56"}},
    }
    assert module.wharf_proof_table(hostvars, CAST) == [
        "one     pushed  sha256:aaaaaaaaaaaa    1.23 s",
        "second  pulled  sha256:aaaaaaaaaaaa    0.06 s",
        "node    not proved: it has neither docker nor podman",
        "off     not proved: it cannot be reached",
    ]


@pytest.mark.parametrize(
    ("tools", "pusher", "pullers", "used"),
    [
        ({"a": "auto", "b": "auto", "c": "auto"}, "a", ["b", "c"], ["docker", "docker", "docker"]),
        ({"a": "auto"}, "a", ["a"], ["docker"]),
        ({"a": ["podman"], "b": "auto", "c": ["containerd"]}, "b", ["a"], ["podman", "docker", ""]),
        ({"a": ["skopeo", "podman"], "b": ["containerd"]}, "a", ["a"], ["podman", ""]),
        ({"a": ["containerd"]}, "", [], [""]),
        # The registry's server has docker whatever it trusts.
        ({"server": ["podman"], "b": "auto"}, "server", ["b"], ["docker", "docker"]),
    ],
)
def test_cast_of_the_proof(tools: dict, pusher: str, pullers: list, used: list):
    hostvars = {host: {} if said == "auto" else {"wharf_client_tools": said} for host, said in tools.items()}
    cast = module.wharf_proof_cast(hostvars, list(tools), list(tools), ["server"])
    assert cast["away"] == []
    assert (cast["pusher"], cast["pullers"], list(cast["tools"].values())) == (pusher, pullers, used)


def test_host_that_cannot_be_reached_does_not_keep_the_others_from_the_proof():
    cast = module.wharf_proof_cast({name: {} for name in "abc"}, ["a", "b", "c"], ["b", "c"], [])
    assert cast == {"pusher": "b", "pullers": ["c"], "tools": {"a": "", "b": "docker", "c": "docker"}, "away": ["a"]}

"""The module registry_certificate: what it refuses, what it installs and removes, and that it shows no key."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.wharf.registry.plugins.module_utils import files, openssl, private_ca, server_rollback
from ansible_collections.wharf.registry.plugins.modules import registry_certificate
from tests.unit.issued import Issued

NAME = "registry.example.org"
ROOT = Issued("Root", ca=True)
MIDDLE = Issued("Middle", ROOT, ca=True)
LEAF = Issued("leaf", MIDDLE, sans=(f"DNS:{NAME}",))
real_read_entry = files.read_entry
PROVIDED = {"certificate": LEAF.pem + MIDDLE.pem, "ca": ROOT.pem, "problems": [], "warnings": []}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Return a function that runs the module with these arguments and returns its result, for a host in tmp_path."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for function in ("chown", "fchown"):
        monkeypatch.setattr(os, function, lambda *_: None)
    monkeypatch.setattr(openssl, "WORK", str(tmp_path))
    settings = tmp_path / "etc" / "certificate.json"
    settings.parent.mkdir()
    monkeypatch.setattr(private_ca, "SETTINGS", settings)
    monkeypatch.setattr(registry_certificate, "addresses", lambda _module: ["10.0.0.5"])
    for module in (files, private_ca):
        monkeypatch.setattr(module, "read_entry", read_entry)

    def call(**arguments: Any) -> dict[str, Any]:
        paths = {"directory": str(tmp_path / "etc/tls"), "ca_directory": str(tmp_path / "etc/ca")}
        with patch_module_args({"name": NAME, **paths, **arguments}), pytest.raises(SystemExit):
            registry_certificate.main()
        return json.loads(capsys.readouterr().out)

    return call


def read_entry(path: str) -> files.Entry | None:
    """Return what is there as if it belonged to whom it should."""
    found = real_read_entry(path)
    owner = 59500 if path.endswith("registry.key") else 0
    return found and found._replace(uid=owner, gid=owner)


def contents(root: Path) -> dict[str, bytes]:
    """Return all files below a directory."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


# ---------------------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"name": "192.0.2.1"},
        {"aliases": ["*.example.org", "10.0.0.1", "a-b.example.org"]},
        {"days": 1, "ca_days": 2},
        {"directory": "/etc/wharf/tls", "ca_directory": "/etc/wharf/tls-ca"},
        {"endpoint": "[::1]:5000", "restart_command": "docker restart registry"},
    ],
)
def test_right_arguments_are_accepted(run, arguments):
    assert run(_ansible_check_mode=True, **arguments)["changed"]


@pytest.mark.parametrize(
    ("variable", "argument", "value"),
    [
        ("name", "name", ""),
        ("name", "name", "https://reg.example.org"),
        ("name", "name", "*.example.org"),
        ("aliases", "aliases", ["a.*.example.org"]),
        ("aliases", "aliases", ["a b"]),
        ("certificate_days", "days", 0),
        ("certificate_days", "days", 398),
        ("ca_days", "ca_days", 397),
        ("directory", "directory", "tls"),
        ("directory", "directory", "/"),
        ("owner", "owner", -1),
        ("endpoint", "endpoint", "127.0.0.1:5000"),
    ],
)
def test_wrong_arguments_are_refused_by_the_roles_names(run, tmp_path, variable, argument, value):
    result = run(**{argument: value})
    assert result["failed"]
    assert "\n" not in result["msg"]
    assert result["msg"].startswith(f"registry_tls_{variable}: ")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("ca_directory", ["/etc/wharf/tls", "/etc/wharf/tls/ca/"])
def test_a_ca_that_the_registry_could_see_is_refused(run, ca_directory):
    message = run(directory="/etc/wharf/tls", ca_directory=ca_directory)["msg"]
    assert message.startswith("registry_tls_ca_directory: ")
    assert "\n" not in message


def test_an_endpoint_that_is_none_is_refused(run):
    message = run(endpoint="registry", restart_command="true")["msg"]
    assert message.startswith("registry_tls_endpoint: 'registry' is not ADDRESS:PORT")


def test_a_provided_ca_is_not_rotated(run):
    message = run(mode="provided", rotation="stage", provided=PROVIDED)["msg"]
    assert message.startswith("registry_tls_rotation: ")
    assert "\n" not in message


def test_all_mistakes_are_told_at_once(run):
    problems = {**PROVIDED, "problems": ["registry_tls_key: is wrong"]}
    message = run(mode="provided", days=0, owner=-1, provided=problems)["msg"]
    assert [line.split(":")[0] for line in message.splitlines()] == [
        "registry_tls_certificate_days", "registry_tls_owner", "registry_tls_key",
    ]  # fmt: skip


def test_an_ordinary_user_is_told_to_become_root(run, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run()["msg"] == "the role needs root on the host; set become: true"


# --------------------------------------------------------------------------------------------------------- private CA


def test_a_private_ca_is_made_once(run, tmp_path):
    announced = run(_ansible_check_mode=True)
    assert announced["changed"]
    assert (announced["fingerprint"], announced["ca_pem"]) == ("", "")
    assert contents(tmp_path) == {}
    made = run()
    assert made["changed"]
    assert made["pending"] == announced["pending"]
    before = contents(tmp_path)
    assert made["fingerprint"] == hashlib.sha256(before["etc/tls/registry.crt"]).hexdigest()
    assert made["ca_pem"].encode() == before["etc/tls/ca.crt"] == before["etc/ca/ca.crt"]
    again = run()
    assert (again["changed"], again["pending"]) == (False, [])
    assert (again["fingerprint"], again["ca_pem"]) == (made["fingerprint"], made["ca_pem"])
    assert contents(tmp_path) == before


def test_no_result_holds_a_private_key(run, tmp_path):
    results = [run(), run(aliases=["new"]), run(rotation="stage")]
    keys = [path.read_text().splitlines()[1] for path in tmp_path.rglob("*.key")]
    assert len(keys) == 3
    assert not any(key in json.dumps(results) for key in keys)


def test_what_only_a_person_can_put_right_stops_the_run_before_it_changes_anything(run, tmp_path):
    run()
    (tmp_path / "etc/ca/ca.key").unlink()
    (tmp_path / "etc/tls/registry.crt").unlink()
    before = contents(tmp_path)
    assert "the CA has lost its key" in run()["msg"]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("check_mode", [False, True])
def test_without_openssl_nothing_is_judged_or_changed(run, tmp_path, monkeypatch, check_mode):
    made = run()
    before = contents(tmp_path)
    monkeypatch.setattr(
        registry_certificate.AnsibleModule,
        "get_bin_path",
        lambda _self, name, *_: "/usr/bin/apt-get" if name == "apt-get" else None,
    )
    result = run(_ansible_check_mode=check_mode)
    assert (result["packages"], result["changed"]) == (["openssl"], check_mode)
    assert (result["fingerprint"], result["ca_pem"]) == (made["fingerprint"], made["ca_pem"])
    assert contents(tmp_path) == before
    monkeypatch.setattr(registry_certificate.AnsibleModule, "get_bin_path", lambda *_: None)
    assert run()["msg"] == "openssl must be installed on this host first, which has no apt-get and no dnf"


# ----------------------------------------------------------------------------------------------------- another's CA


@pytest.fixture
def standby(run, tmp_path):
    """Return a function that runs the module for a second host, which shares the CA of the first."""

    def call(**arguments: Any) -> dict[str, Any]:
        authority = json.dumps(private_ca.read_authority(str(tmp_path / "etc/tls"), str(tmp_path / "etc/ca")))
        own = {"directory": str(tmp_path / "standby/tls"), "ca_directory": str(tmp_path / "standby/ca")}
        return run(**own, authority=authority, authority_of="server", **arguments)

    return call


def cas(root: Path) -> dict[str, bytes]:
    """Return a host's CAs: those that sign, and what clients trust."""
    return {name: content for name, content in contents(root).items() if name.startswith(("ca/", "tls/ca.crt"))}


def test_a_standby_has_the_ca_of_the_server_and_a_certificate_of_its_own(run, standby, tmp_path):
    server = run()
    announced = standby(_ansible_check_mode=True)
    assert announced["changed"] and not (tmp_path / "standby").exists()
    made = standby()
    assert made["changed"] and made["ca_pem"] == server["ca_pem"]
    assert cas(tmp_path / "standby") == cas(tmp_path / "etc")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "standby/ca").iterdir()}
    assert modes == {"ca.key": 0o600, "ca.crt": 0o644} and (tmp_path / "standby/ca").stat().st_mode & 0o777 == 0o700
    keys = [(tmp_path / host / "tls/registry.key").read_text() for host in ("etc", "standby")]
    assert keys[0] != keys[1]
    assert not standby()["changed"]


def test_the_servers_ca_takes_the_place_of_a_standbys_own(run, standby, tmp_path):
    paths = {"directory": str(tmp_path / "standby/tls"), "ca_directory": str(tmp_path / "standby/ca")}
    run(**paths)
    (tmp_path / "standby/ca/ca.key").unlink()  # as broken as it may be
    server = run()
    before = contents(tmp_path / "standby")
    assert "ca.crt is not that of the CA of server" in json.dumps(standby(_ansible_check_mode=True)["pending"])
    assert contents(tmp_path / "standby") == before
    assert standby()["ca_pem"] == server["ca_pem"]
    assert cas(tmp_path / "standby") == cas(tmp_path / "etc")


def test_a_standby_follows_each_step_of_a_rotation(run, standby, tmp_path):
    run()
    standby()
    for step in ("stage", "switch", "retire", "finish"):
        server = run(rotation=step)
        assert standby(rotation=step)["ca_pem"] == server["ca_pem"], step
        assert cas(tmp_path / "standby") == cas(tmp_path / "etc"), step
        assert not standby()["changed"], step


@pytest.mark.parametrize("step", ["stage", "switch", "retire", "finish"])
def test_a_standby_that_comes_in_a_rotation_has_what_clients_trust_then(run, standby, tmp_path, step):
    for one in ("keep", "stage", "switch", "retire", "finish"):
        server = run(rotation=one)
        if one == step:
            break
    assert standby()["ca_pem"] == server["ca_pem"]
    (tmp_path / "trusted.crt").write_text(server["ca_pem"])
    openssl.openssl("verify", "-CAfile", tmp_path / "trusted.crt", tmp_path / "standby/tls/registry.crt")
    assert cas(tmp_path / "standby") == cas(tmp_path / "etc")
    assert not standby()["changed"]


def test_a_standby_waits_for_the_servers_ca(run, standby, tmp_path):
    assert "the CA of server is still to be made" in standby(_ansible_check_mode=True)["pending"]
    assert standby()["msg"].startswith("registry_tls_authority_of: the CA of server is not there: run")
    assert not (tmp_path / "standby").exists()


def test_neither_a_result_nor_the_journal_holds_the_key_of_the_shared_ca(run, standby, tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(registry_certificate.AnsibleModule, "log", lambda _self, text, **_: logged.append(text))
    results = [run(), standby(), standby(days=0)]
    keys = [line for path in tmp_path.rglob("*.key") for line in path.read_text().splitlines()[1:-1]]
    assert keys and len(logged) == 3
    assert not any(line in json.dumps([results, logged]) for line in keys)


# ----------------------------------------------------------------------------------------------------------- provided


def test_what_is_provided_is_installed_as_it_is(run, tmp_path):
    result = run(mode="provided", key=LEAF.key_pem, provided=PROVIDED)
    assert result["changed"]
    files = contents(tmp_path / "etc")
    assert files == {
        "tls/ca.crt": ROOT.pem.encode(),
        "tls/registry.crt": PROVIDED["certificate"].encode(),
        "tls/registry.key": LEAF.key_pem.encode(),
    }
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "etc/tls").iterdir()}
    assert modes == {"ca.crt": 0o644, "registry.crt": 0o644, "registry.key": 0o600}
    assert result["ca_pem"] == ROOT.pem
    assert result["fingerprint"] == hashlib.sha256(files["tls/registry.crt"]).hexdigest()
    again = run(mode="provided", key=LEAF.key_pem, provided=PROVIDED)
    assert (again["changed"], again["pending"]) == (False, [])


@pytest.mark.parametrize("arguments", [{"mode": "provided", "key": LEAF.key_pem, "provided": PROVIDED}, {}])
def test_a_directory_may_be_a_link(run, tmp_path, arguments):
    (tmp_path / "disk").mkdir()
    (tmp_path / "etc/tls").symlink_to(tmp_path / "disk")
    assert run(**arguments)["changed"]
    assert not run(**arguments)["changed"]
    assert sorted(contents(tmp_path / "disk")) == ["ca.crt", "registry.crt", "registry.key"]
    assert run(state="absent")["changed"]
    assert contents(tmp_path / "disk") == {}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("registry.key", MIDDLE.key_pem, "registry.key differs"),
        ("registry.key", None, "registry.key differs"),
        ("registry.crt", LEAF.pem, "registry.crt differs"),
        ("ca.crt", MIDDLE.pem, "ca.crt differs"),
        ("ca.crt", None, "ca.crt differs"),
    ],
)
def test_what_differs_from_the_provided_is_pending(run, tmp_path, name, content, reason):
    run(mode="provided", key=LEAF.key_pem, provided=PROVIDED)
    path = tmp_path / "etc/tls" / name
    path.unlink() if content is None else path.write_text(content)
    before = contents(tmp_path)
    announced = run(mode="provided", key=LEAF.key_pem, provided=PROVIDED, _ansible_check_mode=True)
    assert announced["changed"]
    assert len(announced["pending"]) == 1
    assert reason in announced["pending"][0]
    assert announced["fingerprint"] == hashlib.sha256(PROVIDED["certificate"].encode()).hexdigest()
    assert contents(tmp_path) == before
    assert run(mode="provided", key=LEAF.key_pem, provided=PROVIDED)["changed"]
    assert contents(tmp_path)[f"etc/tls/{name}"].decode() in [*PROVIDED.values(), LEAF.key_pem]


def test_the_renewals_settings_go_when_others_provide_the_certificate(run, tmp_path):
    run()
    assert (tmp_path / "etc/certificate.json").exists()
    result = run(mode="provided", key=LEAF.key_pem, provided=PROVIDED)
    assert "the settings of the certificate's own renewal are still there" in result["pending"]
    assert not (tmp_path / "etc/certificate.json").exists()


def test_neither_a_result_nor_the_journal_holds_the_provided_key(run, monkeypatch):
    logged = []
    monkeypatch.setattr(registry_certificate.AnsibleModule, "log", lambda _self, text, **_: logged.append(text))
    result = run(mode="provided", key=LEAF.key_pem, provided={**PROVIDED, "problems": ["registry_tls_key: is wrong"]})
    assert result["failed"]
    results = [result, run(mode="provided", key=LEAF.key_pem, provided=PROVIDED)]
    assert len(logged) == 2
    assert not any(line in json.dumps([results, logged]) for line in LEAF.key_pem.splitlines()[1:-1])


def test_a_provided_certificate_that_ends_soon_is_worth_a_warning(run, monkeypatch):
    warnings = []
    monkeypatch.setattr(registry_certificate.AnsibleModule, "warn", lambda _self, text: warnings.append(text))
    run(mode="provided", key=LEAF.key_pem, provided={**PROVIDED, "warnings": ["the provided certificate ends on"]})
    assert warnings == ["the provided certificate ends on"]


# ------------------------------------------------------------------------------------------------------------ removal


@pytest.mark.parametrize("remove_ca", [False, True])
def test_what_was_made_is_removed_and_the_ca_only_on_request(run, tmp_path, remove_ca):
    run()
    before = contents(tmp_path)
    assert run(state="absent", remove_ca=remove_ca, _ansible_check_mode=True)["changed"]
    assert contents(tmp_path) == before
    assert run(state="absent", remove_ca=remove_ca)["changed"]
    assert set(contents(tmp_path)) == (set() if remove_ca else {"etc/ca/ca.crt", "etc/ca/ca.key"})
    assert (tmp_path / "etc").exists() != remove_ca
    assert not (tmp_path / "etc/tls").exists()
    assert not run(state="absent", remove_ca=remove_ca)["changed"]


def test_what_others_keep_in_the_directories_stays(run, tmp_path):
    run()
    (tmp_path / "etc/tls/other.crt").write_text("other")
    run(state="absent", remove_ca=True)
    assert contents(tmp_path) == {"etc/tls/other.crt": b"other"}


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_provided_certificate_is_tried_as_a_client_would_before_it_is_written(run, tmp_path, check_mode):
    """Whatever the controller has judged: another library, another clock."""
    pem = {"_ansible_check_mode": check_mode, "mode": "provided", "key": LEAF.key_pem}
    for wrong in ({"certificate": LEAF.pem}, {"ca": Issued("Other", ca=True).pem}):
        refused = run(**pem, provided=PROVIDED | wrong)
        assert f"registry_tls_certificate: clients would refuse it as {NAME}: unable to get" in refused["msg"]
    refused = run(**pem | {"key": MIDDLE.key_pem}, provided=PROVIDED)
    assert "the server could not load it with its key (KEY_VALUES_MISMATCH)" in refused["msg"]
    assert "Hostname mismatch" in run(**pem, name="other.example.org", provided=PROVIDED)["msg"]
    assert not (tmp_path / "etc/tls").exists()


def test_what_is_replaced_is_kept_where_that_is_wanted(run, tmp_path, monkeypatch):
    monkeypatch.setattr(server_rollback, "RECORD", str(tmp_path / "before.json"))
    monkeypatch.setattr(registry_certificate, "lock", lambda *_: contextlib.nullcontext())
    run(mode="provided", key=LEAF.key_pem, provided=PROVIDED)
    assert not server_rollback.exists()
    later = Issued("later", MIDDLE, sans=(f"DNS:{NAME}",))
    provided = PROVIDED | {"certificate": later.pem + MIDDLE.pem}
    before = contents(tmp_path / "etc")
    run(mode="provided", key=later.key_pem, provided=provided, reversible=True)
    assert contents(tmp_path / "etc") != before
    assert server_rollback.roll_back() == "All is as it was before: the certificate, its key and its CA."
    assert contents(tmp_path / "etc") == before


@pytest.mark.parametrize("rotation", ["stage", "switch", "retire", "finish"])
def test_a_step_of_a_rotation_that_fails_is_undone(run, tmp_path, monkeypatch, rotation):
    arguments = {"mode": "private_ca", "name": NAME}
    run(**arguments)
    for step in ("stage", "switch", "retire", "finish"):
        if step == rotation:
            break
        run(**arguments, rotation=step)
    before = contents(tmp_path / "etc")
    with monkeypatch.context() as patch:
        # The last word after all the work.
        patch.setattr(private_ca.PrivateCA, "pending", property(lambda files: [*files.steps, "broken by the test"]))
        assert "broken by the test" in run(**arguments, rotation=rotation)["msg"]
    assert contents(tmp_path / "etc") == before
    run(**arguments, rotation=rotation)
    assert contents(tmp_path / "etc") != before


@pytest.mark.parametrize(
    ("listen", "promised"),
    [
        ([], ["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
        (["0.0.0.0"], ["192.0.2.1", "192.0.2.2"]),
        (["::", "192.0.2.2"], ["192.0.2.2", "2001:db8::1"]),
        (["127.0.0.1", "2001:db8::1"], ["2001:db8::1"]),
    ],
)
def test_the_addresses_that_are_promised_are_those_that_the_registry_listens_on(listen, promised):
    own = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    assert registry_certificate.listened_on(listen, own) == promised

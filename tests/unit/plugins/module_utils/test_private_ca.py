"""What a private CA and its certificate need, and that it is made: with real files and the command openssl."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ansible_collections.wharf.registry.plugins.module_utils import files, openssl, private_ca
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.private_ca import PrivateCA
from tests.unit.issued import NOW, Issued, days

NAME = "registry.example.org"
ADDRESS = "10.0.0.5"
SANS = (f"DNS:{NAME}", f"IP:{ADDRESS}", "DNS:localhost", "IP:127.0.0.1", "IP:::1")
CA = Issued("CA", ca=True, pathlen=0, start=-10, end=3640)
NEXT = Issued("Next CA", ca=True, pathlen=0, start=-1, end=3650)
OTHER = Issued("Other CA", ca=True)
STRANGER = Issued("stranger", OTHER, sans=(f"DNS:{NAME}",))
PATHS = {
    "ca": "tls/ca.crt",
    "key": "tls/registry.key",
    "certificate": "tls/registry.crt",
    "ca_key": "ca/ca.key",
    "ca_certificate": "ca/ca.crt",
    "next_key": "ca/next.key",
    "next_certificate": "ca/next.crt",
    "settings": "certificate.json",
}


class Host:
    """A host's files: their contents by label, None for those that are missing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.owners: dict[int, int] = {}  # by inode, because only root could give files away
        self.addresses = [ADDRESS]
        self.wanted: dict[str, Any] = {
            "name": NAME, "aliases": [], "directory": str(root / "tls"), "owner": 59500,
            "ca_directory": str(root / "ca"), "ca_days": 3650, "days": 397, "rotation": "keep",
            "endpoint": "", "restart_command": "", "controller_time": NOW.timestamp(),
        }  # fmt: skip

    def path(self, label: str) -> Path:
        """Return a file's path."""
        return self.root / PATHS[label]

    def write(self, **contents: str | None) -> Host:
        """Write or remove files."""
        for directory, mode in (("tls", 0o755), ("ca", 0o700)):
            (self.root / directory).mkdir(mode=mode, exist_ok=True)
        for label, content in contents.items():
            path = self.path(label)
            if content is None:
                path.unlink(missing_ok=True)
                continue
            path.write_text(content)
            path.chmod(0o600 if label.endswith("key") else 0o644)
            self.owners[path.stat().st_ino] = 59500 if label == "key" else 0
        return self

    def judge(self, **wanted: Any) -> PrivateCA:
        """Return the judgement."""
        return PrivateCA({**self.wanted, **wanted}, self.addresses)

    def apply(self, **wanted: Any) -> PrivateCA:
        """Do what is pending, and return the judgement afterwards."""
        files = self.judge(**wanted)
        assert files.errors == []
        files.apply()
        return files

    def load(self, label: str = "certificate") -> x509.Certificate:
        """Return a certificate."""
        return x509.load_pem_x509_certificate(self.path(label).read_bytes())

    def verify(self) -> None:
        """Let openssl verify the server's certificate as a client would, and that it belongs to the key."""
        command = ["openssl", "verify", "-purpose", "sslserver", "-CAfile", self.path("ca"), self.path("certificate")]
        subprocess.run(command, check=True, capture_output=True)
        assert openssl.public_key(self.path("key")) == openssl.Certificate(self.path("certificate")).public_key


@pytest.fixture
def bare(tmp_path, monkeypatch) -> Host:
    """A host with nothing on it."""
    host = Host(tmp_path)

    def read_entry(path: str) -> files.Entry | None:
        found = files.read_entry(path)
        owner = host.owners.get(os.stat(path).st_ino, 0) if found else 0
        return found and found._replace(uid=owner, gid=owner)

    monkeypatch.setattr(private_ca, "read_entry", read_entry)
    monkeypatch.setattr(os, "fchown", lambda file, uid, _gid: host.owners.update({os.fstat(file).st_ino: uid}))
    monkeypatch.setattr(os, "chown", lambda path, uid, _gid: host.owners.update({os.stat(path).st_ino: uid}))
    monkeypatch.setattr(openssl, "WORK", str(tmp_path))
    monkeypatch.setattr(private_ca, "SETTINGS", tmp_path / PATHS["settings"])
    os.umask(0o022)
    return host


@pytest.fixture
def host(bare) -> Host:
    """A finished host."""
    leaf = Issued("leaf", CA, sans=SANS, start=-10, end=387)
    bare.write(
        ca=CA.pem, key=leaf.key_pem, certificate=leaf.pem, ca_key=CA.key_pem, ca_certificate=CA.pem,
    )  # fmt: skip
    settings = bare.judge().settings_text()
    return bare.write(settings=settings)


def steps(files: PrivateCA) -> set[str]:
    """Return what is pending."""
    return set(files.steps)


# ------------------------------------------------------------------------------------------------------ issuing


def test_nothing_is_pending_on_a_finished_host(host):
    files = host.judge()
    assert (files.pending, files.errors, files.warnings) == ([], [], [])
    assert files.ca_pem() == CA.pem
    assert len(files.fingerprint()) == 64


def test_everything_is_made_on_a_bare_host(bare):
    files = bare.judge()
    assert steps(files) == {"write_settings", "repair_files", "make_ca", "make_key", "issue", "publish_ca"}
    assert (files.fingerprint(), files.ca_pem()) == ("", "")

    files = bare.apply()
    assert (files.pending, files.errors) == ([], [])
    bare.verify()
    assert files.ca_pem() == bare.path("ca").read_text() == bare.path("ca_certificate").read_text()
    found = {label: (bare.path(label).stat().st_mode & 0o777) for label in PATHS if bare.path(label).exists()}
    assert found == {
        "ca": 0o644, "key": 0o600, "certificate": 0o644, "ca_key": 0o600, "ca_certificate": 0o644, "settings": 0o644,
    }  # fmt: skip
    assert bare.owners[bare.path("key").stat().st_ino] == 59500
    assert [(bare.root / name).stat().st_mode & 0o777 for name in ("tls", "ca")] == [0o755, 0o700]
    assert sorted(path.name for path in (bare.root).iterdir()) == ["ca", "certificate.json", "tls"]


def test_what_is_issued_is_for_servers_and_its_ca_for_nothing_but_them(bare):
    bare.apply()
    leaf, ca = bare.load(), bare.load("ca_certificate")
    assert leaf.subject.rfc4514_string() == f"CN={NAME},O=Wharf"
    assert ca.subject.rfc4514_string() == f"CN=Wharf CA {NAME},O=Wharf"
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == days(397)
    assert ca.not_valid_after_utc - ca.not_valid_before_utc == days(3650)

    def extension(certificate: x509.Certificate, kind: type) -> Any:
        return certificate.extensions.get_extension_for_class(kind)

    constraints = extension(ca, x509.BasicConstraints)
    assert (constraints.critical, constraints.value) == (True, x509.BasicConstraints(True, 0))
    usage = extension(ca, x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    constraints = extension(leaf, x509.BasicConstraints)
    assert (constraints.critical, constraints.value) == (True, x509.BasicConstraints(False, None))
    assert extension(leaf, x509.KeyUsage).value.digital_signature
    assert [*extension(leaf, x509.ExtendedKeyUsage).value] == [x509.ExtendedKeyUsageOID.SERVER_AUTH]
    assert openssl.Certificate(bare.path("certificate")).sans == list(SANS)


@pytest.mark.parametrize(("lives", "backdated"), [(397, days(2)), (10, days(1)), (1, days(0.1))])
def test_certificates_hold_for_clocks_that_are_set_back_a_day(bare, lives, backdated):
    bare.apply(days=lives)
    start = bare.load().not_valid_before_utc
    assert abs(datetime.datetime.now(datetime.UTC) - backdated - start) < datetime.timedelta(seconds=60)


def test_a_name_that_is_too_long_for_a_common_name_is_issued_all_the_same(bare):
    name = f"{'a' * 63}.example.org"
    bare.apply(name=name)
    bare.verify()
    assert bare.load().subject.rfc4514_string() == "O=Wharf"
    assert bare.apply(name=name, rotation="stage").errors == []


def test_names_and_addresses_are_sorted_into_their_kinds(host):
    host.addresses = ["10.9.9.9"]
    files = host.apply(name="192.0.2.1", aliases=["reg", "[2001:db8::1]", "localhost", "*.apps.example.org"])
    expected = [
        "IP:192.0.2.1", "DNS:reg", "IP:2001:db8::1", "DNS:localhost", "DNS:*.apps.example.org", "IP:10.9.9.9",
        "IP:127.0.0.1", "IP:::1",
    ]  # fmt: skip
    assert files.sans == openssl.Certificate(host.path("certificate")).sans == expected


def test_a_host_whose_addresses_cannot_be_read_is_warned(host):
    host.addresses = []
    files = host.judge()
    assert files.pending == []
    assert "registry_tls_aliases" in files.warnings[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"aliases": ["new.example.org"]}, "does not hold DNS:new.example.org"),
        ({"aliases": ["10.0.0.6"]}, "does not hold IP:10.0.0.6"),
        ({"days": 90}, "lives longer than 90 days"),
    ],
)
def test_other_wishes_need_another_certificate_for_the_same_key(host, change, reason):
    key = host.path("key").read_text()
    files = host.judge(**change)
    assert steps(files) - {"write_settings"} == {"issue"}
    assert [one for one in files.pending if "settings" not in one][0].endswith(reason)
    assert (files.fingerprint(), files.ca_pem()) == ("", CA.pem)
    assert host.apply(**change).pending == []
    host.verify()
    assert host.path("key").read_text() == key


def test_a_key_on_another_curve_is_replaced(host):
    command = ["openssl", "ecparam", "-name", "secp384r1", "-genkey", "-noout"]
    host.write(key=subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    files = host.judge()
    assert steps(files) == {"make_key", "issue"}
    assert "is not a key on the curve P-256" in files.pending[0]
    files.apply()
    host.verify()


def test_a_name_that_is_no_longer_wanted_costs_no_new_certificate(host):
    leaf = Issued("leaf", CA, sans=(*SANS, "DNS:old.example.org"))
    assert host.write(certificate=leaf.pem, key=leaf.key_pem).judge().pending == []


@pytest.mark.parametrize(
    ("start", "end", "is_pending"),
    [(-60, 31, False), (-60, 29, True), (-60, -1, True), (1, 90, True)],
)
def test_renewal_comes_with_the_last_third(host, start, end, is_pending):
    leaf = Issued("leaf", CA, sans=SANS, start=start, end=end)
    host.write(certificate=leaf.pem, key=leaf.key_pem)
    assert steps(host.judge()) == ({"issue"} if is_pending else set())


@pytest.mark.parametrize(
    ("contents", "pending"),
    [
        ({"key": None}, {"make_key", "issue"}),
        ({"key": ""}, {"make_key", "issue"}),
        ({"key": STRANGER.key_pem}, {"issue"}),
        ({"certificate": None}, {"issue"}),
        ({"certificate": ""}, {"issue"}),
        ({"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, {"issue"}),
        ({"ca": None}, {"publish_ca"}),
        ({"ca": OTHER.pem}, {"publish_ca"}),
        ({"ca_certificate": None}, {"make_ca", "issue", "publish_ca"}),
        ({"ca_certificate": None, "ca_key": None}, {"make_ca", "issue", "publish_ca"}),
        ({"ca_certificate": OTHER.pem, "ca_key": OTHER.key_pem}, {"issue", "publish_ca"}),
        ({"settings": None}, {"write_settings"}),
        ({"settings": "{}"}, {"write_settings"}),
    ],
)
def test_what_is_missing_or_broken_is_made_and_nothing_else(host, contents, pending):
    host.write(**contents)
    before = {label: host.path(label).read_text() for label in ("ca_key", "key") if label not in contents}
    files = host.judge()
    assert files.errors == []
    assert steps(files) == pending
    assert files.pending
    assert host.apply().pending == []
    host.verify()
    for label, content in before.items():
        assert host.path(label).read_text() == content


def test_a_server_certificate_with_intermediates_from_before_is_replaced(host):
    host.write(certificate=host.path("certificate").read_text() + CA.pem)
    files = host.judge()
    assert steps(files) == {"issue"}
    assert "holds 2 certificates instead of one" in files.pending[0]


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"ca_key": None}, "the CA has lost its key"),
        ({"ca_key": ""}, "is not a readable private key"),
        ({"ca_key": OTHER.key_pem}, "ca/ca.crt does not belong to "),
        ({"ca_certificate": ""}, "holds no readable certificate"),
        ({"ca_certificate": STRANGER.pem, "ca_key": STRANGER.key_pem}, "is not the certificate of a CA"),
    ],
)
def test_a_damaged_ca_is_never_replaced_in_silence(host, contents, words):
    errors = host.write(**contents).judge().errors
    assert len(errors) == 1
    assert words in errors[0]


def test_an_expired_ca_is_an_error_that_names_the_way_out(host):
    old = Issued("CA", ca=True, start=-10, end=-1)
    (error,) = host.write(ca=old.pem, ca_certificate=old.pem, ca_key=old.key_pem).judge().errors
    assert "expired on" in error
    assert "every client must then be given" in error


def test_a_ca_of_the_future_means_a_wrong_clock(host):
    ca = Issued("CA", ca=True, start=1)
    (error,) = host.write(ca=ca.pem, ca_certificate=ca.pem, ca_key=ca.key_pem).judge().errors
    assert "not valid yet by this host's clock" in error


def test_a_certificate_never_outlives_its_ca(host):
    ca = Issued("CA", ca=True, start=-10, end=50)
    leaf = Issued("leaf", ca, sans=SANS, start=-200, end=50)
    host.write(ca=ca.pem, ca_certificate=ca.pem, ca_key=ca.key_pem, certificate=leaf.pem, key=leaf.key_pem)
    files = host.judge()
    assert files.pending == []
    assert f"ends on {(NOW + days(50)):%Y-%m-%d}" in files.warnings[0]
    host.apply(aliases=["new"])
    assert host.load().not_valid_after_utc == ca.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    ("path", "mode", "owner"),
    [
        ("tls", 0o777, 0),
        ("ca", 0o755, 0),
        ("ca/ca.key", 0o644, 0),
        ("tls/registry.key", 0o600, 0),
        ("tls/registry.crt", 0o600, 0),
        ("tls/ca.crt", 0o644, 59500),
    ],
)
def test_modes_and_owners_are_repaired_without_a_new_certificate(host, path, mode, owner):
    (host.root / path).chmod(mode)
    host.owners[(host.root / path).stat().st_ino] = owner
    certificate = host.path("certificate").read_text()
    files = host.judge()
    assert steps(files) == {"repair_files"}
    right = "59500:59500" if path.endswith("registry.key") else "0:0"
    assert f"{path} is {mode:o} {owner}:{owner} instead of " in files.pending[0]
    assert files.pending[0].endswith(right)
    assert files.fingerprint() != ""
    assert host.apply().pending == []
    assert host.path("certificate").read_text() == certificate


def test_a_wrong_clock_stops_the_making_of_certificates_only(host, bare):
    now = NOW.timestamp()
    assert host.judge(controller_time=now - 2 * 86400).errors == []
    host.write(certificate=None)
    (error,) = host.judge(controller_time=now + 400 * 86400).errors
    assert "clock says" in error


@pytest.mark.parametrize(
    ("path", "words"), [("certificate", "registry.crt is a directory"), ("ca_key", "is a directory")]
)
def test_a_directory_in_the_place_of_a_file_is_an_error(host, path, words):
    host.path(path).unlink()
    host.path(path).mkdir()
    assert any(words in error for error in host.judge().errors)


def test_a_file_in_the_place_of_a_directory_is_an_error(bare):
    (bare.root / "tls").write_text("")
    assert "tls is a file, where a directory belongs" in bare.judge().errors[0]


@pytest.mark.parametrize("step", private_ca.STEPS)
def test_a_run_that_is_cut_off_before_a_step_is_taken_up_by_the_next(bare, monkeypatch, step):
    if step in ("make_next_ca", "replace_ca"):
        bare.apply()
        rotation = "stage"
        if step == "replace_ca":
            for rotation in ("stage", "switch", "retire"):
                bare.apply(rotation=rotation)
            rotation = "finish"
    else:
        rotation = "keep"
    with monkeypatch.context() as patch:
        patch.setattr(PrivateCA, step, lambda _self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            bare.judge(rotation=rotation).apply()
    assert bare.apply(rotation=rotation).pending == []
    bare.verify()
    assert not [path for path in bare.root.rglob("*") if path.name.startswith(".")]


def test_a_certificate_that_is_not_right_replaces_none(host, monkeypatch):
    before = host.path("certificate").read_text()
    monkeypatch.setattr(openssl.Certificate, "was_signed_by", lambda *_: False)
    with pytest.raises(WharfError, match="does not verify: the one before stays"):
        private_ca.issue(host.wanted, SANS, openssl.Certificate(host.path("ca_certificate")), host.path("ca_key"))
    assert host.path("certificate").read_text() == before


def test_the_renewal_finds_in_its_settings_what_it_needs(host):
    host.apply(endpoint="127.0.0.1:5000", restart_command="docker restart registry")
    assert json.loads(host.path("settings").read_text()) == {
        "name": NAME,
        "directory": str(host.root / "tls"),
        "ca_directory": str(host.root / "ca"),
        "days": 397,
        "endpoint": "127.0.0.1:5000",
        "restart_command": "docker restart registry",
    }


# ---------------------------------------------------------------------------------------------- one CA after the other


def staged(host: Host, *, switched: bool = False, retired: bool = False) -> Host:
    """Return a host on which the next CA lies beside the first."""
    host.write(next_key=NEXT.key_pem, next_certificate=NEXT.pem, ca=CA.pem + NEXT.pem)
    if switched:
        leaf = Issued("leaf", NEXT, sans=SANS, start=-1, end=396)
        host.write(certificate=leaf.pem, key=leaf.key_pem)
    if retired:
        host.write(ca=NEXT.pem)
    return host


def finished(host: Host) -> Host:
    """Return a host on which the next CA has taken the first one's place."""
    staged(host, switched=True, retired=True)
    return host.write(ca_key=NEXT.key_pem, ca_certificate=NEXT.pem, next_key=None, next_certificate=None)


@pytest.mark.parametrize("state", [{}, {"switched": True}, {"switched": True, "retired": True}])
def test_a_run_between_two_steps_changes_nothing_and_says_so(host, state):
    files = staged(host, **state).judge()
    assert (files.pending, files.errors) == ([], [])
    assert "another CA is about to follow" in files.warnings[0]
    assert files.ca_pem() == (NEXT.pem if state.get("retired") else CA.pem + NEXT.pem)


def test_the_whole_way_from_one_ca_to_the_next(host):
    old = host.path("ca_key").read_text()
    assert steps(host.judge(rotation="stage")) == {"make_next_ca", "publish_ca"}
    host.apply(rotation="stage")
    host.verify()
    both = host.path("ca").read_text()
    assert both == CA.pem + host.path("next_certificate").read_text()
    assert host.load("next_certificate").subject.rfc4514_string().startswith(f"CN=Wharf CA {NAME} {NOW:%Y-}")

    assert steps(host.judge(rotation="switch")) == {"issue"}
    host.apply(rotation="switch")
    host.verify()
    assert (host.load().issuer, host.path("ca").read_text()) == (host.load("next_certificate").subject, both)

    assert steps(host.judge(rotation="retire")) == {"publish_ca"}
    files = host.apply(rotation="retire")
    host.verify()
    assert files.ca_pem() == host.path("ca").read_text() == host.path("next_certificate").read_text()

    assert steps(host.judge(rotation="finish")) == {"replace_ca"}
    host.apply(rotation="finish")
    host.verify()
    assert sorted(path.name for path in (host.root / "ca").iterdir()) == ["ca.crt", "ca.key"]
    assert host.path("ca_key").read_text() != old
    for step in ("keep", "switch", "retire", "finish"):
        files = host.judge(rotation=step)
        assert (files.pending, files.errors, files.warnings) == ([], [], [])


def test_a_first_step_that_was_cut_off_after_the_key_goes_on_with_it(host):
    host.write(next_key=NEXT.key_pem)
    assert host.judge().pending == []
    host.apply(rotation="stage")
    assert host.path("next_key").read_text() == NEXT.key_pem


def test_a_first_step_is_undone_by_removing_what_it_made(host):
    staged(host).write(next_key=None, next_certificate=None)
    files = host.judge()
    assert steps(files) == {"publish_ca"}
    assert (files.ca_pem(), files.errors) == (CA.pem, [])


def test_there_must_be_a_ca_before_another_can_follow(bare):
    assert "which another could follow, is not there yet" in bare.judge(rotation="stage").errors[0]


def test_a_switch_that_was_made_is_not_made_again(host):
    assert staged(host, switched=True).judge(rotation="switch").pending == []


@pytest.mark.parametrize(("switched", "signer"), [(False, CA), (True, NEXT)])
def test_a_new_certificate_between_two_steps_comes_from_the_ca_that_signed_the_last(host, switched, signer):
    staged(host, switched=switched).apply(aliases=["new.example.org"])
    assert host.load().issuer == signer.certificate.subject


def test_when_the_old_ca_was_retired_only_the_next_one_signs(host):
    staged(host, switched=True, retired=True).write(certificate=None).apply()
    assert host.load().issuer == NEXT.certificate.subject


@pytest.mark.parametrize("step", ["retire", "finish"])
def test_the_old_ca_is_not_taken_from_clients_while_it_still_signs(host, step):
    errors = staged(host).judge(rotation=step).errors
    assert len(errors) == 1
    assert "switch first" in errors[0]


def test_a_last_step_that_was_cut_off_is_finished_by_any_run(host):
    finished(host).write(ca_key=CA.key_pem, next_key=NEXT.key_pem)
    files = host.judge()
    assert (files.errors, steps(files)) == ([], {"replace_ca"})
    files.apply()
    assert host.path("ca_key").read_text() == NEXT.key_pem
    assert not host.path("next_key").exists()
    host.verify()


def test_a_next_rotation_can_begin_where_the_last_step_of_one_was_cut_off(host):
    finished(host).write(ca_key=CA.key_pem, next_key=NEXT.key_pem)
    host.apply(rotation="stage")
    assert host.path("ca_key").read_text() == NEXT.key_pem
    assert host.path("next_key").read_text() != NEXT.key_pem


def test_an_old_ca_that_expires_on_the_way_does_not_stop_the_next(host):
    old = Issued("CA", ca=True, start=-10, end=-1)
    staged(host, switched=True).write(ca=old.pem + NEXT.pem, ca_certificate=old.pem, ca_key=old.key_pem)
    assert host.judge(rotation="retire").errors == []


def test_a_next_ca_without_its_key_is_an_error(host):
    staged(host).write(next_key=None)
    assert "ca/next.key is missing" in host.judge().errors[0]


def test_it_is_judged_in_little_time(host):
    begin = time.monotonic()
    host.judge()
    assert time.monotonic() - begin < 2

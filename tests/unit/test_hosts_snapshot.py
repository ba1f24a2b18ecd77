"""The snapshots of hosts: what is masked in them, what is not, and when they may be written."""

from __future__ import annotations

import base64
import hashlib
import uuid
from pathlib import Path

import bcrypt
import hosts_snapshot as snapshot
import pytest
from conftest import ROOT
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

PASSWORDS = {"ci": "not-so-secret-password"}
LOGIN = base64.b64encode(b"ci:not-so-secret-password").decode()
PEM, OPENSSH = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.OpenSSH


def key(private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, form: serialization.PrivateFormat) -> str:
    return private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f'"auth": "{LOGIN}", {PASSWORDS["ci"]}', '"auth": "LOGIN-OF-ci", PASSWORD-OF-ci'),
        (f"ci:{bcrypt.hashpw(b'x', bcrypt.gensalt(4)).decode()}", "ci:$2b$04$HASH"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5/AAAA+x== name", "ssh-ed25519 KEY name"),
        (f"x\n{key(ec.generate_private_key(ec.SECP256R1()), PEM)}y", "x\n(EC PRIVATE KEY: ECPrivateKey)\ny"),
        (key(ed25519.Ed25519PrivateKey.generate(), OPENSSH), "(OPENSSH PRIVATE KEY: Ed25519PrivateKey)\n"),
        ("172.20.0.2 name, 10.0.0.1:5000", "ADDRESS name, ADDRESS:5000"),
        ("ok 1795845600 snapshot 8ee17794: 99 tags\n", "ok TIME ...\n"),
        ("2026-11-28T05:59:06.219869524Z", "TIME"),
        (f"{uuid.uuid4()} 67 26517", "UUID"),
        ("e74fc601fb92cd11323c /var/lib/wharf/registry", "ID /var/lib/wharf/registry"),
        (f"sha256:{'a' * 63}1", "sha256:DIGEST"),
        ("a" * 63 + "1", "SECRET"),  # a file of its own
        (f'"REGISTRY_HTTP_SECRET={"a" * 63}1"', '"REGISTRY_HTTP_SECRET=SECRET"'),
        ('{\n  "made": [],\n  "pending": {\n    "has": {\n    }\n  }\n}\n', '{\n  "made": []\n}\n'),
    ],
)
def test_what_is_random_is_masked(text: str, masked: str) -> None:
    assert snapshot.mask(text, PASSWORDS) == masked


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0 127.0.0.1:5001", "GOMEMLIMIT=419430400", f'"wharf.config": "{"a" * 63}1"', "2.8.3", "User 59500"],
)
def test_what_is_said_by_the_roles_is_not_masked(text: str) -> None:
    assert snapshot.mask(text, PASSWORDS) == text


def test_a_file_of_the_project_is_told_as_one_wherever_it_lies_there() -> None:
    program = (ROOT / "molecule/hosts_snapshot.py").read_bytes()
    assert snapshot.content(program, True, {}) == "a file of the project"
    assert snapshot.content(program + b"#", True, {}) == f"sha256:{hashlib.sha256(program + b'#').hexdigest()}"
    assert snapshot.content(b"", False, {}) == ""


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a snapshot that says "before", of a person who has said nothing."""
    monkeypatch.setattr(snapshot, "PROJECT", tmp_path)
    monkeypatch.delenv(snapshot.UPDATE, raising=False)
    monkeypatch.delenv("CI", raising=False)
    (tmp_path / "scenario" / "tests").mkdir(parents=True)
    path = tmp_path / "scenario" / "tests" / "snapshot.yml"
    path.write_text("before\n")
    return path


def test_a_difference_is_shown_with_the_way_to_accept_it(file: Path) -> None:
    snapshot.compare(file, "before\n")
    with pytest.raises(pytest.fail.Exception, match="(?s)-before.*[+]now.*WHARF_UPDATE_SNAPSHOT=1 .* -s scenario"):
        snapshot.compare(file, "now\n")
    assert file.read_text() == "before\n"


def test_a_person_writes_a_snapshot_and_ci_does_not(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(snapshot.UPDATE, "1")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(AssertionError, match="unset it"):
        snapshot.compare(file, "now\n")
    assert file.read_text() == "before\n"
    monkeypatch.setenv("CI", "false")
    with pytest.raises(pytest.skip.Exception, match="was written"):
        snapshot.compare(file, "now\n")
    assert file.read_text() == "now\n"

"""Which certificates that others provide are right, and what is said of those that are not."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ansible_collections.wharf.registry.plugins.plugin_utils.certificates import (
    Provided,
    certificates_problems,
    provided_certificate,
)
from tests.unit.issued import NOW, Issued, days, key_pem

NAME = "registry.example.org"

ROOT = Issued("Root", ca=True)
OTHER_ROOT = Issued("Other root", ca=True)
MIDDLE = Issued("Middle", ROOT, ca=True)
LEAF = Issued("leaf", MIDDLE, sans=(f"DNS:{NAME}", "DNS:*.apps.example.org", "IP:192.0.2.7"))
SELF = Issued("self", sans=(f"DNS:{NAME}",))
DIRECT = Issued("direct", ROOT, sans=(f"DNS:{NAME}",))


def problems(
    leaf: Issued = LEAF,
    *chain: Issued,
    ca: str | None = None,
    key: Any = None,
    name: str = NAME,
    aliases: tuple[str, ...] = (),
    prefix: str = "registry_tls_",
) -> list[str]:
    """Return the problems of a chain; its own key and ROOT unless others are given."""
    provided = {
        "certificate": "".join(link.pem for link in (leaf, *chain)),
        "key": leaf.key_pem if key is None else key,
        "ca": ROOT.pem if ca is None else ca,
    }
    return Provided(provided, name, aliases, prefix).problems()


# --------------------------------------------------------------------------------------------- provided certificates


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(lambda: problems(LEAF, MIDDLE), id="with an intermediate"),
        pytest.param(lambda: problems(DIRECT), id="signed by the CA itself"),
        pytest.param(lambda: problems(DIRECT, ROOT), id="the root sent along"),
        pytest.param(lambda: problems(LEAF, ROOT, MIDDLE), id="intermediates out of order"),
        pytest.param(lambda: problems(LEAF, MIDDLE, ca=OTHER_ROOT.pem + ROOT.pem), id="several CAs"),
        pytest.param(lambda: problems(LEAF, ca=MIDDLE.pem), id="the intermediate is the CA"),
        pytest.param(lambda: problems(SELF, ca=SELF.pem), id="signed by itself"),
        pytest.param(lambda: problems(LEAF, MIDDLE, aliases=["a.apps.example.org", "192.0.2.7"]), id="aliases"),
        pytest.param(lambda: problems(DIRECT, key=key_pem(DIRECT.key, "TraditionalOpenSSL")), id="SEC1 key"),
        pytest.param(
            lambda: problems(
                DIRECT, key="-----BEGIN EC PARAMETERS-----\nBgg=\n-----END EC PARAMETERS-----\n" + DIRECT.key_pem
            ),
            id="key with EC parameters",
        ),
        pytest.param(
            lambda: problems(Issued("rsa", ROOT, sans=(f"DNS:{NAME}",), key=rsa.generate_private_key(65537, 2048))),
            id="RSA",
        ),
        pytest.param(
            lambda: problems(Issued("s", ROOT, sans=(f"DNS:{NAME}",), usage=[ExtendedKeyUsageOID.SERVER_AUTH])),
            id="serverAuth",
        ),
    ],
)
def test_right_certificates_are_accepted(found):
    assert found() == []


@pytest.mark.parametrize(
    ("found", "variable", "words"),
    [
        (lambda: problems(DIRECT, key=LEAF.key_pem), "key", "does not belong to 'CN=direct'"),
        (lambda: problems(MIDDLE, LEAF, key=LEAF.key_pem), "certificate", "must come first"),
        (lambda: problems(LEAF), "certificate", "'CN=leaf' was issued by 'CN=Middle'"),
        (lambda: problems(LEAF, MIDDLE, ca=OTHER_ROOT.pem), "certificate", "'CN=Middle' was issued by 'CN=Root'"),
        (
            lambda: problems(DIRECT, ca=Issued("Root", ca=True).pem),
            "certificate",
            "'CN=direct' names 'CN=Root' as its issuer, but was not signed by the one of that name",
        ),
        (lambda: problems(DIRECT, name="other.example.org"), "certificate", "does not match 'other.example.org'"),
        (lambda: problems(DIRECT, aliases=["10.1.2.3"]), "certificate", "holds IP:10.1.2.3"),
        (lambda: problems(LEAF, MIDDLE, name="a.b.apps.example.org"), "certificate", "does not match"),
        (lambda: problems(LEAF, MIDDLE, name="apps.example.org"), "certificate", "does not match"),
        (lambda: problems(Issued(NAME, ROOT)), "certificate", "its subjectAltName holds nothing"),
        (
            lambda: problems(Issued("old", ROOT, sans=(f"DNS:{NAME}",), start=-10, end=-2)),
            "certificate",
            f"'CN=old' expired on {(NOW - days(2)):%Y-%m-%d}",
        ),
        (
            lambda: problems(Issued("early", ROOT, sans=(f"DNS:{NAME}",), start=2)),
            "certificate",
            "'CN=early' is not valid before",
        ),
        (
            lambda: problems(Issued("client", ROOT, sans=(f"DNS:{NAME}",), usage=[ExtendedKeyUsageOID.CLIENT_AUTH])),
            "certificate",
            "lacks serverAuth",
        ),
        (lambda: problems(DIRECT, key=""), "key", "is missing: use PEM text or the absolute path of a PEM file"),
        (lambda: problems(DIRECT, key=17), "key", "holds neither PEM text nor an absolute path"),
        (lambda: problems(DIRECT, key=DIRECT.pem), "key", "may have been swapped"),
        (lambda: problems(DIRECT, key=DIRECT.key_pem + LEAF.key_pem), "key", "holds 2 private keys"),
        (lambda: problems(DIRECT, key=DIRECT.public_pem), "key", "holds no private key in PEM"),
        (lambda: problems(DIRECT, key=key_pem(DIRECT.key, passphrase=b"secret")), "key", "by a passphrase"),
        (
            lambda: problems(DIRECT, key=key_pem(DIRECT.key, "TraditionalOpenSSL", passphrase=b"secret")),
            "key",
            "by a passphrase",
        ),
        (lambda: problems(DIRECT, key=DIRECT.key_pem.replace("\nM", "\nMM")), "key", "cannot be read"),
        (lambda: problems(DIRECT, ca="two\nlines"), "ca", "holds neither PEM text nor an absolute path"),
        (lambda: problems(DIRECT, ca=ROOT.key_pem), "ca", "holds a private key"),
        (lambda: problems(DIRECT, ca=ROOT.pem.replace("\nMII", "\nAAA")), "ca", "certificate number 1 in it"),
        (lambda: problems(DIRECT, ca="/nowhere/ca.crt"), "ca", "'/nowhere/ca.crt' does not exist: use the path of a"),
        (lambda: problems(DIRECT, ca="/"), "ca", "'/' is not a file"),
        (lambda: problems(DIRECT, ca="files/ca.crt"), "ca", "holds neither PEM text nor an absolute path"),
        (lambda: problems(DIRECT, ca="/ca\n.crt"), "ca", "holds neither PEM text nor an absolute path"),
    ],
)
def test_each_fault_has_one_message_of_its_own(found, variable, words):
    messages = found()
    assert len(messages) == 1, messages
    assert messages[0].startswith(f"registry_tls_{variable}: ")
    assert words in messages[0]
    assert "\n" not in messages[0]


@pytest.mark.parametrize(
    ("issuer", "words"),
    [
        ({"ca": False}, "is no CA"),
        ({"ca": None}, "is no CA"),
        ({"ca": True, "cert_sign": False}, "lacks keyCertSign"),
        ({"ca": True, "end": -0.5}, "expired on"),
        ({"ca": True, "start": 1}, "is not valid before"),
    ],
)
def test_a_wrong_issuer_is_named(issuer, words):
    root = Issued("Bad root", **issuer)
    messages = problems(Issued("leaf", root, sans=(f"DNS:{NAME}",)), ca=root.pem)
    assert len(messages) == 1
    assert messages[0].startswith("registry_tls_ca: 'CN=Bad root' ")
    assert words in messages[0]


def test_a_chain_longer_than_its_ca_allows_is_refused():
    root = Issued("Short root", ca=True, pathlen=0)
    middle = Issued("Below", root, ca=True)
    leaf = Issued("leaf", middle, sans=(f"DNS:{NAME}",))
    assert "allows 0 intermediate certificates below it, and there are 1" in problems(leaf, middle, ca=root.pem)[0]


def test_messages_use_the_names_of_the_caller():
    messages = Provided({}, NAME, [], "wharf_registry_").problems()
    assert [message.split(":")[0] for message in messages] == [
        "wharf_registry_certificate", "wharf_registry_key", "wharf_registry_ca",
    ]  # fmt: skip
    foreign = problems(DIRECT, name="no.example.org", prefix="wharf_registry_")
    assert foreign[0].startswith("wharf_registry_certificate: does not match 'no.example.org' (wharf_registry_name)")


def test_several_faults_are_all_told():
    old = Issued("old", ROOT, sans=("DNS:old.example.org",), end=-0.5)
    assert len(problems(old, key=LEAF.key_pem)) == 3


@pytest.mark.parametrize("damage", ["passphrase", "cut", "no lines", "file", "wrong"])
def test_no_message_holds_the_key(damage, tmp_path):
    body = "".join(LEAF.key_pem.splitlines()[1:-1])
    key = {
        "passphrase": key_pem(LEAF.key, passphrase=b"secret"),
        "cut": LEAF.key_pem[:90] + LEAF.key_pem[110:],
        "no lines": body,
        "file": str(tmp_path / "key"),
        "wrong": LEAF.key_pem,
    }[damage]
    (tmp_path / "key").write_text(body)
    told = " ".join(problems(DIRECT, key=key))
    assert told.startswith("registry_tls_key: ")
    secret = "".join(key.splitlines()[1:-1]) if "BEGIN" in key else body
    assert not any(secret[start : start + 12] in told for start in range(len(secret) - 12))


def test_files_of_the_controller_serve_as_well(tmp_path, monkeypatch):
    for name, text in {"crt": LEAF.pem + MIDDLE.pem, "key": LEAF.key_pem, "ca": f"Root\n{ROOT.pem}"}.items():
        (tmp_path / name).write_text(text.replace("\n", "\r\n"))
    monkeypatch.setenv("HOME", str(tmp_path))
    provided = {"certificate": str(tmp_path / "crt"), "key": "~/key", "ca": str(tmp_path / "ca")}
    assert Provided(provided, NAME, [], "").problems() == []
    assert provided_certificate(provided, NAME) == {
        "key": LEAF.key_pem,
        "provided": {"certificate": LEAF.pem + MIDDLE.pem, "ca": ROOT.pem, "problems": [], "warnings": []},
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x30\x82\x01\x00", "openssl x509 -inform der"),
        (b"", "holds no certificate in PEM"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n6162", "is encrypted with Ansible Vault"),
    ],
)
def test_files_that_are_not_pem_are_refused(content, words, tmp_path):
    path = tmp_path / "ca"
    path.write_bytes(content)
    (message,) = problems(DIRECT, ca=str(path))
    assert message.startswith(f"registry_tls_ca: '{path}' ")
    assert words in message


def test_an_unreadable_file_is_refused(tmp_path, monkeypatch):
    def refuse(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    (path := tmp_path / "ca.crt").touch()
    monkeypatch.setattr("builtins.open", refuse)
    (message,) = problems(DIRECT, ca=str(path))
    assert message.startswith(f"registry_tls_ca: '{path}' cannot be read (Permission denied): use the path of a file")


def test_certificates_alone_are_judged_as_well():
    assert certificates_problems("", "wharf_copies_ca") == certificates_problems(ROOT.pem, "wharf_copies_ca") == []
    (message,) = certificates_problems(ROOT.key_pem, "wharf_copies_ca")
    assert message.startswith("wharf_copies_ca: holds a private key")


def test_the_text_of_an_indented_variable_is_put_right():
    indented = "".join(f"   {line}\n" for line in ROOT.pem.splitlines())
    assert (
        provided_certificate({"certificate": DIRECT.pem, "key": DIRECT.key_pem, "ca": indented}, NAME)["provided"]["ca"]
        == ROOT.pem
    )


def test_what_holds_no_key_is_refused_without_showing_it():
    key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg" * 3
    found = provided_certificate({"certificate": DIRECT.pem, "key": key, "ca": ROOT.pem}, NAME)
    assert (found["key"], len(found["provided"]["problems"])) == ("", 1)
    assert "MIGHAg" not in str(found)


def test_a_name_that_its_ca_excludes_is_refused():
    root = Issued("Other names", ca=True, excludes="example.org")
    (message,) = problems(Issued("leaf", root, sans=(f"DNS:{NAME}",)), ca=root.pem)
    assert message.startswith(f"registry_tls_certificate: clients that ask for '{NAME}' will refuse 'CN=leaf': ")
    assert "name constraint" in message


def test_keys_that_only_go_accepts_are_accepted():
    root = Issued("Edwards", ca=True, key=ed25519.Ed25519PrivateKey.generate())
    assert problems(Issued("leaf", root, sans=(f"DNS:{NAME}",)), ca=root.pem) == []


@pytest.mark.parametrize(("end", "warnings"), [(31, 0), (20, 1)])
def test_a_certificate_that_ends_soon_is_worth_a_warning(end, warnings):
    leaf = Issued("leaf", ROOT, sans=(f"DNS:{NAME}",), end=end)
    found = provided_certificate({"certificate": leaf.pem, "key": leaf.key_pem, "ca": ROOT.pem}, NAME)["provided"]
    assert found["problems"] == []
    assert (
        found["warnings"]
        == [f"the provided certificate ends on {NOW + days(end):%Y-%m-%d}; have it renewed and hand over the new one"]
        * warnings
    )


def test_no_warning_is_given_of_what_cannot_be_read():
    found = provided_certificate({"certificate": "/nowhere", "key": "/nowhere", "ca": ""}, NAME)["provided"]
    assert (found["warnings"], found["certificate"], len(found["problems"])) == ([], "", 3)

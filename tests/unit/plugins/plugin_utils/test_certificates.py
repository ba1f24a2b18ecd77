"""Which certificates that others provide are right, and what is said of those that are not."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12
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
        pytest.param(lambda: problems(MIDDLE, LEAF, key=LEAF.key_pem), id="the server's own not first"),
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
        (b"\x30\x82\x01\x00", "it may have been cut off or changed"),
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


def wrapped(content: bytes) -> bytes:
    """Return base64, as Kubernetes and secret stores have it."""
    return base64.b64encode(content)


def der(pem: bytes) -> bytes:
    """Return the content of one PEM block."""
    return base64.b64decode("".join(pem.decode().strip().splitlines()[1:-1]))


FORMS = {
    "CRLF": lambda pem: pem.replace(b"\n", b"\r\n"),
    "old Macintosh": lambda pem: pem.replace(b"\n", b"\r"),
    "escaped newlines": lambda pem: pem.replace(b"\n", b"\\n"),
    "newlines escaped twice": lambda pem: b'"' + pem.replace(b"\n", b"\\\\r\\\\n") + b'"',
    "folded": lambda pem: pem.replace(b"\n", b" "),
    "one long line": lambda pem: b"\n".join(
        b"".join(line.split(b"\n")) if number % 2 else line
        for number, line in enumerate(re.split(rb"(?<=-----)\n|\n(?=-----)", pem))
    ),
    "indented": lambda pem: pem.replace(b"\n", b"\n\t  "),
    "BOM": lambda pem: b"\xef\xbb\xbf" + pem,
    "UTF-16, little end first": lambda pem: b"\xff\xfe" + pem.decode().encode("utf-16-le"),
    "UTF-16, big end first": lambda pem: b"\xfe\xff" + pem.decode().encode("utf-16-be"),
    "base64": wrapped,
    "base64 in lines": lambda pem: base64.encodebytes(pem),
    "text around it": lambda pem: b"subject=CN = any\n---\n" + pem + b"-----END of it\n",
    "DER": der,
    "base64 of DER": lambda pem: wrapped(der(pem)),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_secret_stores_make_of_pem_is_taken(form, tmp_path):
    ca, certificate, key = tmp_path / "ca", tmp_path / "crt", tmp_path / "key"
    ca.write_bytes(FORMS[form](ROOT.pem.encode()))
    certificate.write_bytes(FORMS[form](DIRECT.pem.encode()))
    key.write_bytes(FORMS[form](DIRECT.key_pem.encode()))
    right = {
        "key": DIRECT.key_pem,
        "provided": {"certificate": DIRECT.pem, "ca": ROOT.pem, "problems": [], "warnings": []},
    }
    files = {"certificate": str(certificate), "key": str(key), "ca": str(ca)}
    assert provided_certificate(files, NAME) == right
    if not form.startswith(("DER", "UTF-16")):  # in a variable there are no bytes
        texts = {kind: Path(file).read_text() for kind, file in files.items()}
        assert provided_certificate(texts, NAME) == right


@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
def test_certificates_of_pkcs7_are_taken(encoding, tmp_path):
    chain, ca = tmp_path / "chain.p7b", tmp_path / "ca.p7b"
    chain.write_bytes(pkcs7.serialize_certificates([MIDDLE.certificate, LEAF.certificate], encoding))
    ca.write_bytes(pkcs7.serialize_certificates([OTHER_ROOT.certificate, ROOT.certificate], encoding))
    found = provided_certificate({"certificate": str(chain), "key": LEAF.key_pem, "ca": str(ca)}, NAME)["provided"]
    assert found["problems"] == []
    assert found["certificate"] == LEAF.pem + MIDDLE.pem


REQUEST = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(DIRECT.key, hashes.SHA256())
PFX = pkcs12.serialize_key_and_certificates(
    b"any", DIRECT.key, DIRECT.certificate, None, serialization.BestAvailableEncryption(b"secret")
)


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("certificate", PFX, "is PKCS#12 (.p12, .pfx), which holds certificates and key together"),
        ("key", PFX, "is PKCS#12"),
        ("ca", base64.b64encode(PFX), "is PKCS#12"),
        ("certificate", REQUEST.public_bytes(serialization.Encoding.PEM), "a CERTIFICATE REQUEST"),
        ("key", LEAF.public_pem.encode(), "holds no private key in PEM, but a PUBLIC KEY"),
        ("key", der(DIRECT.pem.encode()), "may have been swapped"),
        ("certificate", der(DIRECT.key_pem.encode()), "holds a private key"),
        ("key", der(key_pem(DIRECT.key, passphrase=b"secret").encode()), "by a passphrase"),
        ("certificate", DIRECT.pem[:-60].encode(), "holds no certificate in PEM"),
        ("certificate", der(DIRECT.pem.encode())[:-20], "it may have been cut off or changed"),
    ],
)
def test_hint_says_what_it_is(kind, content, words, tmp_path):
    (path := tmp_path / "file").write_bytes(content)
    given = {"certificate": DIRECT.pem, "key": DIRECT.key_pem, "ca": ROOT.pem, kind: str(path)}
    (message, *_) = Provided(given, NAME, [], "").problems()
    assert message.startswith(f"{kind}: '{path}' ")
    assert words in message


@pytest.mark.parametrize("roots", [(0, 1), (1, 0)])
@pytest.mark.parametrize("signer", [0, 1])
def test_old_and_new_ca_are_right_in_each_order(roots, signer):
    both = [Issued("Root", ca=True, end=5), Issued("Root", ca=True)]
    leaf = Issued("leaf", both[signer], sans=(f"DNS:{NAME}",))
    assert problems(leaf, ca="".join(both[one].pem for one in roots)) == []


def test_way_that_is_good_is_taken_instead_of_one_that_has_expired():
    """As when a CA was signed by an older one, which clients still have."""
    old = Issued("Old", ca=True, end=-0.5)
    new = Issued("New", ca=True)
    cross = Issued("New", old, ca=True, key=new.key)
    leaf = Issued("leaf", new, sans=(f"DNS:{NAME}",))
    assert problems(leaf, cross, ca=old.pem + new.pem) == []
    assert "'CN=Old' expired on" in problems(leaf, cross, ca=old.pem)[0]


def test_what_holds_no_key_is_refused_without_showing_it():
    key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg" * 3
    found = provided_certificate({"certificate": DIRECT.pem, "key": key, "ca": ROOT.pem}, NAME)
    assert (found["key"], len(found["provided"]["problems"])) == ("", 1)
    assert "MIGHAg" not in str(found)


def test_a_name_that_its_ca_excludes_is_refused():
    root = Issued("Other names", ca=True, excludes="example.org")
    (message,) = problems(Issued("leaf", root, sans=(f"DNS:{NAME}",)), ca=root.pem)
    assert message.startswith(f"registry_tls_ca: 'CN=Other names' may not sign for '{NAME}'")


def test_keys_that_only_go_accepts_are_accepted():
    root = Issued("Edwards", ca=True, key=ed25519.Ed25519PrivateKey.generate())
    assert problems(Issued("leaf", root, sans=(f"DNS:{NAME}",)), ca=root.pem) == []


def test_a_certificate_with_a_broken_extension_is_refused():
    name = x509.Name([x509.NameAttribute(x509.OID_COMMON_NAME, "broken")])
    broken = x509.UnrecognizedExtension(x509.OID_SUBJECT_ALTERNATIVE_NAME, b"\0")
    builder = x509.CertificateBuilder(name, name, DIRECT.key.public_key(), 1, NOW - days(1), NOW + days(9))
    pem = (
        builder.add_extension(broken, False).sign(DIRECT.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    given = {"certificate": pem.decode(), "key": DIRECT.key_pem, "ca": pem.decode()}
    assert "has an extension that cannot be read" in Provided(given, NAME, [], "").problems()[0]


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

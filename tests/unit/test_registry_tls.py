"""The filters of the role registry_tls, with certificates that the tests make themselves."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
import os
import shutil
import subprocess
import sys
from typing import Any

import jinja2
import pytest
import yaml
from ansible.errors import AnsibleFilterError
from conftest import ROOT
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ansible_collections.wharf.registry.plugins.plugin_utils import tls

ROLE = ROOT / "roles/registry_tls"

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
NAME = "registry.example.org"


def days(number: float) -> datetime.timedelta:
    """Return `number` days."""
    return datetime.timedelta(days=number)


class Issued:
    """A certificate with its key; `issuer` None makes it sign itself. Offsets are days from now."""

    def __init__(
        self,
        subject: str,
        issuer: Issued | None = None,
        *,
        sans: tuple[str, ...] = (),
        start: float = -1,
        end: float = 100,
        ca: bool | None = False,
        pathlen: int | None = None,
        cert_sign: bool = True,
        usage: list[x509.ObjectIdentifier] | None = None,
        key: Any = None,
    ) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer.certificate.subject if issuer else name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + days(start))
            .not_valid_after(NOW + days(end))
        )
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca, pathlen if ca else None), critical=True)
        if ca:
            flags = dict.fromkeys(
                (
                    "digital_signature",
                    "content_commitment",
                    "key_encipherment",
                    "data_encipherment",
                    "key_agreement",
                    "encipher_only",
                    "decipher_only",
                ),
                False,
            )
            builder = builder.add_extension(
                x509.KeyUsage(key_cert_sign=cert_sign, crl_sign=True, **flags), critical=True
            )
        if sans:
            names = [
                x509.IPAddress(ipaddress.ip_address(san[3:])) if san.startswith("IP:") else x509.DNSName(san[4:])
                for san in sans
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        self.certificate = builder.sign(issuer.key if issuer else self.key, hashes.SHA256())

    @property
    def pem(self) -> str:
        """Return the certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """Return the private key."""
        return _key_pem(self.key)

    @property
    def public_pem(self) -> str:
        """Return the public key, as the look prints it."""
        encoding, kind = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(encoding, kind).decode()


def _key_pem(key: Any, kind: str = "PKCS8", passphrase: bytes | None = None) -> str:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(
        serialization.Encoding.PEM, getattr(serialization.PrivateFormat, kind), encryption
    ).decode()


ROOT = Issued("Root", ca=True)
OTHER_ROOT = Issued("Other root", ca=True)
MIDDLE = Issued("Middle", ROOT, ca=True)
LEAF = Issued("leaf", MIDDLE, sans=(f"DNS:{NAME}", "DNS:*.apps.example.org", "IP:192.0.2.7"))
SELF = Issued("self", sans=(f"DNS:{NAME}",))
DIRECT = Issued("direct", ROOT, sans=(f"DNS:{NAME}",))


def problems(
    leaf: Issued = LEAF, *chain: Issued, ca: str | None = None, key: str | None = None, **more: Any
) -> list[str]:
    """Return the problems of a chain; its own key and ROOT unless others are given."""
    provided = {
        "certificate": "".join(link.pem for link in (leaf, *chain)),
        "key": leaf.key_pem if key is None else key,
        "ca": ROOT.pem if ca is None else ca,
    }
    return tls.registry_tls_problems(provided, more.pop("name", NAME), more.pop("aliases", []), **more)


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
        pytest.param(lambda: problems(DIRECT, key=_key_pem(DIRECT.key, "TraditionalOpenSSL")), id="SEC1 key"),
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
        (lambda: problems(Issued(NAME, ROOT)), "certificate", "it has no subjectAltName"),
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
        (lambda: problems(DIRECT, key=""), "key", "is not set"),
        (lambda: problems(DIRECT, key=17), "key", "is not text"),
        (lambda: problems(DIRECT, key=DIRECT.pem), "key", "may have been swapped"),
        (lambda: problems(DIRECT, key=DIRECT.key_pem + LEAF.key_pem), "key", "holds 2 private keys"),
        (lambda: problems(DIRECT, key=DIRECT.public_pem), "key", "holds no private key in PEM"),
        (lambda: problems(DIRECT, key=_key_pem(DIRECT.key, passphrase=b"secret")), "key", "by a passphrase"),
        (
            lambda: problems(DIRECT, key=_key_pem(DIRECT.key, "TraditionalOpenSSL", passphrase=b"secret")),
            "key",
            "by a passphrase",
        ),
        (lambda: problems(DIRECT, key=DIRECT.key_pem.replace("\nM", "\nMM")), "key", "cannot be read"),
        (lambda: problems(DIRECT, ca="two\nlines"), "ca", "is neither PEM text"),
        (lambda: problems(DIRECT, ca=ROOT.key_pem), "ca", "holds a private key"),
        (lambda: problems(DIRECT, ca=ROOT.pem.replace("\nMII", "\nAAA")), "ca", "certificate number 1 in it"),
        (lambda: problems(DIRECT, ca="/nowhere/ca.crt"), "ca", "names the file /nowhere/ca.crt, which does not exist"),
        (lambda: problems(DIRECT, ca="/"), "ca", "which is a directory"),
        (lambda: problems(DIRECT, ca="~nobody-of-that-name/ca"), "ca", "whom the controller does not know"),
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
    names = {"certificate": "wharf_registry_certificate", "key": "wharf_registry_key", "ca": "wharf_registry_ca"}
    messages = tls.registry_tls_problems({}, NAME, variables=names)
    assert [message.split(":")[0] for message in messages] == list(names.values())
    foreign = problems(DIRECT, name="no.example.org", variables={**names, "name": "wharf_registry_name"})
    assert foreign[0].startswith("wharf_registry_certificate: does not match 'no.example.org' (wharf_registry_name)")


def test_several_faults_are_all_told():
    old = Issued("old", ROOT, sans=("DNS:old.example.org",), end=-0.5)
    assert len(problems(old, key=LEAF.key_pem)) == 3


@pytest.mark.parametrize("damage", ["passphrase", "cut", "no lines", "file", "wrong"])
def test_no_message_holds_the_key(damage, tmp_path):
    body = "".join(LEAF.key_pem.splitlines()[1:-1])
    key = {
        "passphrase": _key_pem(LEAF.key, passphrase=b"secret"),
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
    assert tls.registry_tls_problems(provided, NAME) == []
    assert tls.registry_tls_pem(provided["certificate"], "certificate") == LEAF.pem + MIDDLE.pem
    assert tls.registry_tls_pem("~/key", "key") == LEAF.key_pem


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
    messages = problems(DIRECT, ca=str(path))
    assert len(messages) == 1
    assert words in messages[0]


def test_an_unreadable_file_is_refused(monkeypatch):
    def refuse(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tls.Path, "read_bytes", refuse)
    assert (
        "/x/ca.crt, which cannot be read on the controller (permission denied)" in problems(DIRECT, ca="/x/ca.crt")[0]
    )


def test_the_text_of_an_indented_variable_is_put_right():
    assert tls.registry_tls_pem("".join(f"   {line}\n" for line in ROOT.pem.splitlines()), "certificate") == ROOT.pem


def test_pem_refuses_what_holds_none_without_telling_it():
    with pytest.raises(AnsibleFilterError) as refusal:
        tls.registry_tls_pem("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg" * 3, "key")
    assert "MIGHAg" not in str(refusal.value)


# ------------------------------------------------------------------------------------------------------- the inputs

WANTED = {
    "mode": "private_ca",
    "name": NAME,
    "aliases": [],
    "addresses": [],
    "directory": "/etc/wharf/tls",
    "owner": 59500,
    "ca_directory": "/etc/wharf/ca",
    "ca_days": 3650,
    "certificate_days": 397,
    "curve": "secp256r1",
    "certificate": "",
    "key": "",
    "ca": "",
    "rollover": "keep",
    "endpoint": "",
    "restart_command": "",
}


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"name": "reg"},
        {"name": "192.0.2.1"},
        {"name": "2001:db8::1"},
        {"name": "[2001:db8::1]"},
        {"name": "1and1.example.org"},
        {"aliases": ["*.example.org", "10.0.0.1", "a-b.example.org"]},
        {"addresses": ["10.0.0.1", "fd00::1"]},
        {"certificate_days": 1, "ca_days": 2},
        {"ca_directory": "/etc/wharf/tls-ca"},
    ],
)
def test_right_inputs_are_accepted(inputs):
    assert tls.registry_tls_input_problems({**WANTED, **inputs}) == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("name", ""),
        ("name", "https://reg.example.org"),
        ("name", "reg.example.org/path"),
        ("name", "reg.example.org:5000"),
        ("name", "Reg.example.org"),
        ("name", "reg.example.org."),
        ("name", "reg.example.org\n"),
        ("name", "*.example.org"),
        ("name", "-reg.example.org"),
        ("name", "10.0.0.300"),
        ("name", "fe80::1%eth0"),
        ("name", "a" * 64),
        ("name", ".".join(["abcdefgh"] * 29)),
        ("aliases", ["a.*.example.org"]),
        ("aliases", ["a b"]),
        ("addresses", ["reg.example.org"]),
        ("certificate_days", 0),
        ("certificate_days", 398),
        ("ca_days", 397),
        ("directory", "tls"),
        ("directory", "/"),
        ("ca_directory", "/etc/wharf/tls"),
        ("ca_directory", "/etc/wharf/tls/ca/"),
        ("owner", -1),
        ("endpoint", "127.0.0.1:5000"),
    ],
)
def test_wrong_inputs_are_refused_by_name(variable, value):
    messages = tls.registry_tls_input_problems({**WANTED, variable: value})
    assert len(messages) == 1, messages
    assert messages[0].startswith(f"registry_tls_{variable}: ")


# --------------------------------------------------------------------------------------------------------- the plan

TOOLS = ("openssl", "apt", "cryptography", "lists", "systemd")
HOST_ADDRESS = {"ifname": "eth0", "addr_info": [{"local": "10.0.0.5", "scope": "global"}]}
SANS = (f"DNS:{NAME}", "IP:10.0.0.5", "DNS:localhost", "IP:127.0.0.1", "IP:::1")
RIGHT = {
    "directory": "directory,755,0,0",
    "ca": "regular file,644,0,0",
    "key": "regular file,600,59500,59500",
    "certificate": "regular file,644,0,0",
    "ca_directory": "directory,700,0,0",
    "ca_key": "regular file,600,0,0",
    "ca_certificate": "regular file,644,0,0",
    "ca_next_key": "regular file,600,0,0",
    "ca_next_certificate": "regular file,644,0,0",
}


class Host:
    """What the look would print for a host with these contents; None takes a file away."""

    def __init__(self, ca: Issued, leaf: Issued) -> None:
        self.content: dict[str, str | None] = {
            "ca": ca.pem,
            "key": leaf.public_pem,
            "certificate": leaf.pem,
            "ca_key": ca.public_pem,
            "ca_certificate": ca.pem,
            "ca_next_key": None,
            "ca_next_certificate": None,
        }
        self.stat = dict(RIGHT)
        self.tools = TOOLS
        self.interfaces: list[dict[str, Any]] = [HOST_ADDRESS]
        self.clock = NOW
        self.user = 0

    def look(self) -> str:
        """Return the look's output."""
        lines = [f"@clock {int(self.clock.timestamp())}", f"@user {self.user}"]
        lines += [f"@has {tool}" for tool in self.tools]
        lines.append(f"@addresses {json.dumps(self.interfaces)}")
        for label, stat in self.stat.items():
            content = self.content.get(label, "")
            if content is None:
                lines.append(f"@path {label},missing,,,,")
                continue
            printed = "" if label.endswith(("key", "directory")) else hashlib.sha256(content.encode()).hexdigest()
            lines += [f"@path {label},{stat},{printed}", content.rstrip("\n")]
        return "\n".join(lines)

    def plan(self, **wanted: Any) -> dict[str, Any]:
        """Return the plan for this host, with the role's defaults but for `wanted`."""
        return tls.registry_tls_plan(self.look(), {**WANTED, **wanted}, NOW.timestamp())


CA = Issued("CA", ca=True, pathlen=0, start=-10, end=3640)


@pytest.fixture
def host() -> Host:
    """A finished host."""
    return Host(CA, Issued("leaf", CA, sans=SANS, start=-10, end=387))


@pytest.fixture
def bare() -> Host:
    """A host with nothing on it, Python's cryptography and apt's lists included."""
    host = Host(CA, CA)
    host.content = dict.fromkeys(RIGHT)
    host.tools = ("openssl", "apt", "cron")
    return host


def made(plan: dict[str, Any]) -> set[str]:
    """Return what the plan wants made."""
    return {word for word in ("make_ca_key", "make_ca", "make_key", "make_leaf", "hand_out") if plan[word]}


def test_nothing_is_due_on_a_finished_host(host):
    plan = host.plan()
    assert plan["due"] == plan["errors"] == plan["warnings"] == plan["directories"] == plan["repair"] == []
    assert made(plan) == set()
    assert plan["packages"] == []
    assert plan["ca_pem"] == CA.pem
    assert plan["fingerprint"] == hashlib.sha256(host.content["certificate"].encode()).hexdigest()
    assert "387 days" in plan["summary"]


def test_everything_is_made_on_a_bare_host(bare):
    plan = bare.plan()
    assert plan["errors"] == []
    assert made(plan) == {"make_ca_key", "make_ca", "make_key", "make_leaf", "hand_out"}
    assert plan["packages"] == ["python3-cryptography"]
    assert plan["lists_valid"] == 0
    assert [directory["mode"] for directory in plan["directories"]] == ["0755", "0700"]
    assert plan["sans"] == list(SANS)
    assert (plan["fingerprint"], plan["ca_pem"]) == ("", "")
    start, end = (datetime.datetime.strptime(plan[key], "%Y%m%d%H%M%SZ") for key in ("not_before", "not_after"))
    assert end - start == days(397)
    assert datetime.datetime.strptime(plan["ca_not_after"], "%Y%m%d%H%M%SZ") - start == days(3650)


@pytest.mark.parametrize(("lives", "backdated"), [(397, days(2)), (10, days(1)), (1, days(0.1))])
def test_certificates_hold_for_clocks_that_are_set_back_a_day(bare, lives, backdated):
    plan = bare.plan(certificate_days=lives)
    start = datetime.datetime.strptime(plan["not_before"], "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC)
    assert NOW - start == backdated


def test_names_and_addresses_are_sorted_into_their_kinds(host):
    host.interfaces = []
    plan = host.plan(name="192.0.2.1", aliases=["Reg", "[2001:DB8::1]", "localhost"], addresses=["10.9.9.9"])
    assert plan["sans"] == [
        "IP:192.0.2.1", "DNS:reg", "IP:2001:db8::1", "DNS:localhost", "IP:10.9.9.9", "IP:127.0.0.1", "IP:::1",
    ]  # fmt: skip


def test_only_lasting_addresses_of_the_host_itself_are_taken(host):
    def interface(name: str, address: str, scope: str = "global", **flags: bool) -> dict[str, Any]:
        return {"ifname": name, "addr_info": [{"local": address, "scope": scope, **flags}]}

    host.interfaces = [
        interface("lo", "127.0.0.1", "host"),
        interface("docker0", "172.17.0.1"),
        interface("br-0123456789ab", "172.18.0.1"),
        interface("docker_gwbridge", "172.19.0.1"),
        interface("virbr0", "192.168.122.1"),
        interface("br0", "10.0.0.5"),
        interface("eth0", "fe80::1", "link"),
        interface("eth0", "2001:db8::5"),
        interface("eth0", "2001:db8::bad", temporary=True),
        interface("eth0", "2001:db8::dead", deprecated=True),
        {"ifname": "eth1"},
    ]
    assert host.plan()["sans"][1:-3] == ["IP:10.0.0.5", "IP:2001:db8::5"]


def test_a_host_whose_addresses_cannot_be_read_is_warned(host):
    host.interfaces = []
    plan = host.plan()
    assert plan["due"] == []
    assert "registry_tls_addresses" in plan["summary"]


@pytest.mark.parametrize(
    ("change", "due", "reason"),
    [
        ({"aliases": ["new.example.org"]}, {"make_leaf"}, "does not hold DNS:new.example.org"),
        ({"addresses": ["10.0.0.6"]}, {"make_leaf"}, "does not hold IP:10.0.0.6"),
        ({"certificate_days": 90}, {"make_leaf"}, "lives longer than 90 days"),
        ({"curve": "secp384r1"}, {"make_key", "make_leaf"}, "is not a key on the curve secp384r1"),
    ],
)
def test_other_wishes_need_another_certificate(host, change, due, reason):
    plan = host.plan(**change)
    assert made(plan) == due
    assert len(plan["due"]) == 1
    assert reason in plan["due"][0]
    assert plan["fingerprint"] == ""
    assert plan["ca_pem"] == CA.pem


def test_a_name_that_is_no_longer_wanted_costs_no_new_certificate(host):
    host.content["certificate"] = (leaf := Issued("leaf", CA, sans=(*SANS, "DNS:old.example.org"))).pem
    host.content["key"] = leaf.public_pem
    assert host.plan()["due"] == []


@pytest.mark.parametrize(
    ("start", "end", "is_due"),
    [(-60, 31, False), (-60, 29, True), (-60, -1, True), (1, 90, True)],
)
def test_renewal_comes_with_the_last_third(host, start, end, is_due):
    leaf = Issued("leaf", CA, sans=SANS, start=start, end=end)
    host.content.update(certificate=leaf.pem, key=leaf.public_pem)
    assert made(host.plan()) == ({"make_leaf"} if is_due else set())


@pytest.mark.parametrize(
    ("content", "due"),
    [
        ({"key": None}, {"make_key", "make_leaf"}),
        ({"key": ""}, {"make_key", "make_leaf"}),
        ({"key": LEAF.public_pem}, {"make_leaf"}),
        ({"certificate": None}, {"make_leaf"}),
        ({"certificate": ""}, {"make_leaf"}),
        ({"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, {"make_leaf"}),
        ({"ca": None}, {"hand_out"}),
        ({"ca": ROOT.pem}, {"hand_out"}),
        ({"ca_certificate": None}, {"make_ca", "make_leaf", "hand_out"}),
        ({"ca_certificate": None, "ca_key": None}, {"make_ca_key", "make_ca", "make_leaf", "hand_out"}),
        ({"ca_certificate": ROOT.pem, "ca_key": ROOT.public_pem}, {"make_leaf", "hand_out"}),
    ],
)
def test_what_is_missing_or_broken_is_made_and_nothing_else(host, content, due):
    host.content.update(content)
    plan = host.plan()
    assert plan["errors"] == []
    assert made(plan) == due
    assert plan["due"]


def test_a_server_certificate_with_intermediates_from_before_is_replaced(host):
    host.content["certificate"] += CA.pem
    assert made(host.plan()) == {"make_leaf"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"ca_key": None}, "the CA has lost its key"),
        ({"ca_key": ""}, "is not a readable private key"),
        ({"ca_key": ROOT.public_pem}, "does not belong to /etc/wharf/ca/ca.key"),
        ({"ca_certificate": ""}, "holds no readable certificate"),
        ({"ca_certificate": DIRECT.pem, "ca_key": DIRECT.public_pem}, "is not the certificate of a CA"),
    ],
)
def test_a_damaged_ca_is_never_replaced_in_silence(host, content, words):
    host.content.update(content)
    errors = host.plan()["errors"]
    assert len(errors) == 1
    assert words in errors[0]


def test_an_expired_ca_is_an_error_that_names_the_way_out(host):
    old = Issued("CA", ca=True, start=-10, end=-1)
    host.content.update(ca=old.pem, ca_certificate=old.pem, ca_key=old.public_pem)
    errors = host.plan()["errors"]
    assert len(errors) == 1
    assert "expired on" in errors[0]
    assert "every client must then be given" in errors[0]


def test_a_certificate_never_outlives_its_ca(host):
    ca = Issued("CA", ca=True, start=-10, end=50)
    leaf = Issued("leaf", ca, sans=SANS, start=-200, end=50)
    host.content.update(
        ca=ca.pem, ca_certificate=ca.pem, ca_key=ca.public_pem, certificate=leaf.pem, key=leaf.public_pem
    )
    plan = host.plan()
    assert plan["due"] == []
    assert f"ends on {(NOW + days(50)):%Y-%m-%d}" in plan["warnings"][0]
    assert host.plan(aliases=["new"])["not_after"] == (NOW + days(50)).strftime("%Y%m%d%H%M%SZ")


@pytest.mark.parametrize(
    ("label", "stat", "place"),
    [
        ("directory", "directory,777,0,0", "directories"),
        ("ca_directory", "directory,755,0,0", "directories"),
        ("ca_key", "regular file,644,0,0", "repair"),
        ("key", "regular file,600,0,0", "repair"),
        ("certificate", "regular file,600,0,0", "repair"),
        ("ca", "regular file,644,59500,0", "repair"),
    ],
)
def test_modes_and_owners_are_repaired_without_a_new_certificate(host, label, stat, place):
    host.stat[label] = stat
    plan = host.plan()
    assert made(plan) == set()
    assert len(plan["due"]) == 1
    assert [set(item) for item in plan[place]] == [{"path", "mode", "owner", "group"}]
    assert plan[place][0]["owner"] == ("59500" if label == "key" else "0")
    assert plan["fingerprint"] != ""


@pytest.mark.parametrize(
    ("tools", "packages", "errors"),
    [
        (("apt",), ["openssl", "python3-cryptography"], 0),
        (("apt", "openssl"), ["python3-cryptography"], 0),
        (("openssl", "cryptography"), [], 0),
        (("openssl",), ["python3-cryptography"], 1),
    ],
)
def test_tools_are_installed_only_where_they_are_missing(bare, tools, packages, errors):
    bare.tools = (*tools, "cron")
    plan = bare.plan()
    assert plan["packages"] == packages
    assert len(plan["errors"]) == errors


def test_a_finished_host_needs_no_python_package(host):
    host.tools = ("openssl", "systemd", "timer")
    assert host.plan()["packages"] == []
    assert host.plan()["errors"] == []


def test_a_host_without_openssl_gets_it_and_keeps_its_keys(host):
    host.tools = ("apt", "systemd", "timer")
    host.content.update(key="", ca_key="")
    plan = host.plan()
    assert plan["errors"] == []
    assert made(plan) == set()
    assert plan["packages"] == ["openssl"]


def test_a_wrong_clock_stops_the_making_of_certificates_only(host, bare):
    bare.clock = NOW - days(400)
    assert "clock says" in bare.plan()["errors"][0]
    host.clock = NOW + days(2)
    assert host.plan()["errors"] == []


def test_an_ordinary_user_is_told_to_become_root(bare):
    bare.user = 1000
    assert bare.plan()["errors"] == ["the role needs root on the host; set become: true"]


def test_a_directory_in_the_place_of_a_file_is_an_error(host):
    host.stat["certificate"] = "directory,755,0,0"
    assert "registry.crt is a directory" in host.plan()["errors"][0]


@pytest.mark.parametrize("look", ["", "@clock x\n@user 0", "@clock 1\n@user 0\n@addresses {"])
def test_an_unintelligible_look_is_refused(look):
    with pytest.raises(AnsibleFilterError):
        tls.registry_tls_plan(look, WANTED, 0)


def test_a_renewal_that_is_not_as_it_should_be_is_due_and_no_certificate_is(host):
    plan = tls.registry_tls_plan(host.look(), WANTED, NOW.timestamp(), renewal_due=True)
    assert plan["due"] == ["the certificate's own renewal is not set up"]
    assert made(plan) == set()


# ----------------------------------------------------------------------------------------------- one CA after the other

NEXT = Issued("Next CA", ca=True, pathlen=0, start=-1, end=3650)


def begun(host: Host, *, switched: bool = False, withdrawn: bool = False) -> Host:
    """Return a host on which the next CA lies beside the first."""
    host.content.update(ca_next_key=NEXT.public_pem, ca_next_certificate=NEXT.pem, ca=CA.pem + NEXT.pem)
    if switched:
        leaf = Issued("leaf", NEXT, sans=SANS, start=-1, end=396)
        host.content.update(certificate=leaf.pem, key=leaf.public_pem)
    if withdrawn:
        host.content["ca"] = NEXT.pem
    return host


def finished(host: Host) -> Host:
    """Return a host on which the next CA has taken the first one's place."""
    begun(host, switched=True, withdrawn=True)
    host.content.update(ca_key=NEXT.public_pem, ca_certificate=NEXT.pem, ca_next_key=None, ca_next_certificate=None)
    return host


@pytest.mark.parametrize("state", [{}, {"switched": True}, {"switched": True, "withdrawn": True}])
def test_a_run_between_two_steps_changes_nothing_and_says_so(host, state):
    plan = begun(host, **state).plan()
    assert (plan["due"], plan["errors"]) == ([], [])
    assert "another CA is about to follow" in plan["summary"]
    assert plan["ca_pem"] == (NEXT.pem if state.get("withdrawn") else CA.pem + NEXT.pem)


def test_the_first_step_makes_the_next_ca_and_hands_both_out(host):
    plan = host.plan(rollover="begin")
    assert made(plan) == {"make_ca_key", "make_ca", "hand_out"}
    assert (plan["ca_name"], plan["handed_out"]) == ("next", "ca|next")
    assert plan["ca_common_name"].endswith(f"{NOW:%Y-%m-%d}")
    assert len(plan["ca_common_name"]) <= 64
    assert len(host.plan(rollover="begin", name="a" * 63)["ca_common_name"]) <= 64


def test_a_first_step_that_was_cut_off_after_the_key_goes_on_with_it(host):
    host.content["ca_next_key"] = NEXT.public_pem
    assert host.plan()["due"] == []
    assert made(host.plan(rollover="begin")) == {"make_ca", "hand_out"}


def test_a_first_step_is_undone_by_removing_what_it_made(host):
    begun(host).content.update(ca_next_key=None, ca_next_certificate=None)
    plan = host.plan()
    assert made(plan) == {"hand_out"}
    assert (plan["ca_pem"], plan["errors"]) == (CA.pem, [])


def test_there_must_be_a_ca_before_another_can_follow(bare):
    assert "that another could follow" in bare.plan(rollover="begin")["errors"][0]


def test_the_second_step_lets_the_next_ca_sign(host):
    plan = begun(host).plan(rollover="switch")
    assert made(plan) == {"make_leaf"}
    assert plan["signer"] == "next"
    assert begun(host, switched=True).plan(rollover="switch")["due"] == []


@pytest.mark.parametrize(("switched", "signer"), [(False, "ca"), (True, "next")])
def test_a_new_certificate_between_two_steps_comes_from_the_ca_that_signed_the_last(host, switched, signer):
    plan = begun(host, switched=switched).plan(aliases=["new.example.org"])
    assert made(plan) == {"make_leaf"}
    assert plan["signer"] == signer


def test_when_the_old_ca_was_withdrawn_only_the_next_one_signs(host):
    begun(host, switched=True, withdrawn=True).content["certificate"] = None
    assert host.plan()["signer"] == "next"


@pytest.mark.parametrize("step", ["withdraw", "finish"])
def test_the_old_ca_is_not_taken_from_clients_while_it_still_signs(host, step):
    plan = begun(host).plan(rollover=step)
    assert len(plan["errors"]) == 1
    assert "switch first" in plan["errors"][0]


def test_the_third_step_withdraws_the_old_ca(host):
    plan = begun(host, switched=True).plan(rollover="withdraw")
    assert made(plan) == {"hand_out"}
    assert (plan["handed_out"], plan["ca_pem"], plan["moves"]) == ("next", NEXT.pem, [])


def test_the_last_step_puts_the_next_ca_in_the_old_ones_place(host):
    plan = begun(host, switched=True, withdrawn=True).plan(rollover="finish")
    assert made(plan) == set()
    assert plan["moves"] == [["next.crt", "ca.crt"], ["next.key", "ca.key"]]


def test_a_last_step_that_was_cut_off_is_finished_by_any_run(host):
    finished(host).content.update(ca_key=CA.public_pem, ca_next_key=NEXT.public_pem)
    plan = host.plan()
    assert (plan["errors"], made(plan)) == ([], set())
    assert plan["moves"] == [["next.key", "ca.key"]]


@pytest.mark.parametrize("step", ["keep", "switch", "withdraw", "finish"])
def test_nothing_is_due_when_it_is_over(host, step):
    plan = finished(host).plan(rollover=step)
    assert (plan["due"], plan["errors"], plan["warnings"]) == ([], [], [])


def test_an_old_ca_that_expires_on_the_way_does_not_stop_the_next(host):
    old = Issued("CA", ca=True, start=-10, end=-1)
    begun(host, switched=True).content.update(ca=old.pem + NEXT.pem, ca_certificate=old.pem, ca_key=old.public_pem)
    assert host.plan(rollover="withdraw")["errors"] == []


def test_a_next_ca_without_its_key_is_an_error(host):
    begun(host).content["ca_next_key"] = None
    assert "/etc/wharf/ca/next.key is missing" in host.plan()["errors"][0]


def test_a_provided_ca_is_not_rolled_over():
    messages = tls.registry_tls_input_problems({**WANTED, "mode": "provided", "rollover": "begin"})
    assert [message.split(":")[0] for message in messages] == ["registry_tls_rotation"]


# ------------------------------------------------------------------------------------------- the plan, mode provided


@pytest.fixture
def provided() -> tuple[Host, dict[str, Any]]:
    """A host with the provided files, and the inputs that they came from."""
    host = Host(ROOT, LEAF)
    host.content["certificate"] = LEAF.pem + MIDDLE.pem
    for label in tls.FILES:
        if label.startswith("ca_"):
            del host.stat[label]
    return host, {
        "mode": "provided", "certificate": LEAF.pem + MIDDLE.pem, "key": LEAF.key_pem, "ca": ROOT.pem,
    }  # fmt: skip


def test_nothing_is_due_where_everything_is_as_provided(provided):
    host, wanted = provided
    plan = host.plan(**wanted)
    assert (plan["due"], plan["errors"], plan["packages"]) == ([], [], [])
    assert plan["ca_pem"] == ROOT.pem


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"key": DIRECT.public_pem}, "registry.key differs"),
        ({"key": None}, "registry.key is missing"),
        ({"certificate": LEAF.pem}, "registry.crt differs"),
        ({"ca": OTHER_ROOT.pem}, "ca.crt differs"),
        ({"ca": None}, "ca.crt is missing"),
    ],
)
def test_what_differs_from_the_provided_is_due(provided, content, reason):
    host, wanted = provided
    host.content.update(content)
    plan = host.plan(**wanted)
    assert len(plan["due"]) == 1
    assert reason in plan["due"][0]
    assert plan["fingerprint"] == hashlib.sha256(wanted["certificate"].encode()).hexdigest()


def test_a_renewal_goes_when_others_provide_the_certificate(provided):
    host, wanted = provided
    plan = tls.registry_tls_plan(host.look(), {**WANTED, **wanted}, NOW.timestamp(), renewal_due=True)
    assert plan["due"] == ["the certificate's own renewal is still there"]


def test_the_plan_never_holds_the_key(provided):
    host, wanted = provided
    host.content["key"] = None
    body = LEAF.key_pem.splitlines()[1]
    assert body not in json.dumps(host.plan(**wanted))


def test_a_provided_certificate_that_ends_soon_is_worth_a_warning(provided):
    host, wanted = provided
    leaf = Issued("leaf", MIDDLE, sans=(f"DNS:{NAME}",), end=20)
    plan = host.plan(**{**wanted, "certificate": leaf.pem + MIDDLE.pem, "key": leaf.key_pem})
    assert "have it renewed" in plan["summary"]


# --------------------------------------------------------------------------------------------------------- the look


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_the_look_shows_the_plan_what_is_there_and_no_private_key(tmp_path):
    directory, ca_directory = tmp_path / "it's tls", tmp_path / "ca"
    directory.mkdir(mode=0o755)
    ca_directory.mkdir(mode=0o700)
    leaf = Issued("leaf", CA, sans=SANS)
    for path, text, mode in (
        (directory / "ca.crt", CA.pem, 0o644),
        (directory / "registry.key", leaf.key_pem, 0o600),
        (directory / "registry.crt", leaf.pem, 0o644),
        (ca_directory / "ca.key", CA.key_pem, 0o600),
        (ca_directory / "ca.crt", CA.pem + LEAF.key_pem, 0o644),
    ):
        path.write_text(text)
        path.chmod(mode)
    task = yaml.safe_load((ROLE / "tasks" / "look.yml").read_text())[0]
    environment = jinja2.Environment()
    environment.filters["quote"] = lambda value: "'" + str(value).replace("'", "'\"'\"'") + "'"
    script = environment.from_string(task["ansible.builtin.shell"]["cmd"]).render(
        registry_tls_directory=directory,
        registry_tls_ca_directory=ca_directory,
        __registry_tls_python=sys.executable,
    )
    # The host's /bin/sh is dash: nothing of bash.
    run = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert "PRIVATE KEY" not in run.stdout
    secrets = [line for key in (leaf, CA, LEAF) for line in key.key_pem.splitlines()[1:-1]]
    assert not any(line in run.stdout for line in secrets)

    seen = tls._parse_look(run.stdout)
    me = (os.getuid(), os.getgid())
    there = {label: path for label, path in seen.paths.items() if path.exists}
    assert seen.paths.keys() == RIGHT.keys()
    assert {label: (path.kind, path.mode, path.uid, path.gid) for label, path in there.items()} == {
        label: (stat.split(",")[0], stat.split(",")[1], *me)
        for label, stat in RIGHT.items()
        if not label.startswith("ca_next")
    }
    assert {"openssl", "cryptography"} <= seen.has
    assert tls._joined(seen.paths["ca_certificate"].pem) == CA.pem
    assert tls._joined(seen.paths["ca_key"].pem) == CA.public_pem
    assert seen.paths["certificate"].sha256 == hashlib.sha256(leaf.pem.encode()).hexdigest()
    assert abs(seen.clock - NOW.timestamp()) < 3600

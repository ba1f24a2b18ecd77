"""What we say of a certificate is what a container engine does with it: no stricter, no laxer.

The certificates and the registries that serve them are made for this; the engine that judges them is a real one.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import pytest
from machines import PROJECT, container, in_background, program, put, wait_until

from ansible_collections.wharf.registry.plugins.plugin_utils.certificates import Provided

NAME = "registry.corp.test"
PLACE = "/run/wharf-judgement"
FIRST_PORT = 6000
P256 = ("ec", "ec_paramgen_curve:P-256")
CA = "basicConstraints=critical,CA:TRUE"
SIGNS = f"{CA}\nkeyUsage=critical,keyCertSign,cRLSign"
SAN = f"subjectAltName=DNS:{NAME}"
HELP = "".join(
    subprocess.run(["openssl", command, "-help"], capture_output=True, text=True).stderr for command in ("x509", "req")
)


class PKI:
    """Makes certificates, as people do, with openssl."""

    def __init__(self, directory: Path) -> None:
        """Take where they are kept."""
        self.directory = directory
        self.made = 0

    def openssl(self, *arguments: str | Path) -> None:
        """Run openssl, at the security level of people who have never heard of it."""
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=self.directory)

    def one_liner(self, subject: str = "Corp CA", *options: str) -> Path:
        """Make a CA as all the tutorials do."""
        path = self.new_path()
        self.openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", path.with_suffix(".key"), "-out", path,
            "-days", "3650", "-subj", f"/CN={subject}", *options,
        )  # fmt: skip
        return path

    def issue(
        self,
        extensions: str = SAN,
        issuer: Path | None = None,
        *options: str,
        subject: str = "issued",
        key: tuple[str, ...] = P256,
        days: int = 30,
        of: Path | None = None,
    ) -> Path:
        """Issue a certificate, signed by itself without an issuer; of version 1 without extensions.

        Args:
            extensions: lines of openssl's configuration.
            issuer: who signs.
            options: further ones of openssl x509, such as the hash.
            subject: its common name.
            key: algorithm and options of the new key.
            days: how long it is valid; -1 for one that has expired.
            of: a certificate whose key is taken instead of a new one.
        """
        path = self.new_path()
        private, request = path.with_suffix(".key"), path.with_suffix(".csr")
        new = ["-newkey", key[0], *(word for value in key[1:] for word in ("-pkeyopt", value)), "-keyout", private]
        if of:
            private.write_bytes(of.with_suffix(".key").read_bytes())
            new = ["-key", private]
        self.openssl("req", "-new", "-nodes", *new, "-subj", f"/CN={subject}", "-out", request)
        path.with_suffix(".ext").write_text(extensions)
        by = ["-CA", issuer, "-CAkey", issuer.with_suffix(".key")] if issuer else ["-signkey", private]
        serial = [] if "-set_serial" in options else ["-set_serial", str(1000 + self.made)]
        given = ["-extfile", path.with_suffix(".ext")] if extensions else []
        valid = ["-days", str(days)]
        if days < 0 and "-not_after" in HELP:  # newer versions take no such number
            valid = ["-not_before", "20200101000000Z", "-not_after", "20200102000000Z"]
        if not extensions and "-x509v1" in HELP:  # newer versions make no other of version 1
            path.with_suffix(".ext").write_text("[req]\ndistinguished_name=name\n[name]\n")
            old = ["-x509v1", "-config", path.with_suffix(".ext"), "-key", private, "-subj", f"/CN={subject}"]
            self.openssl("req", "-x509", *old, *valid, "-out", path)
            return path
        self.openssl("x509", "-req", "-in", request, *valid, "-out", path, *given, *by, *serial, *options)
        return path

    @cached_property
    def usual_ca(self) -> Path:
        """The CA that most have."""
        return self.one_liner()

    def new_path(self) -> Path:
        """Return where the next certificate goes."""
        self.made += 1
        return self.directory / f"made{self.made}.crt"

    def root(self, extensions: str = SIGNS, *options: str, **more) -> Path:
        """Make a CA that can be anything."""
        return self.issue(extensions, None, *options, **{"subject": "Root", **more})

    def middle(self, issuer: Path, extensions: str = SIGNS, *options: str, **more) -> Path:
        """Make an intermediate CA."""
        return self.issue(extensions, issuer, *options, **{"subject": "Middle", **more})


class Material:
    """What somebody provides: the server's certificate and those that are sent along, the CAs, and the name."""

    def __init__(self, *chain: Path, ca: tuple[Path, ...], name: str = NAME) -> None:
        """Take files."""
        self.chain, self.ca, self.name = chain, ca, name

    def problems(self) -> list[str]:
        """Return what the controller says of it."""
        given = {
            "certificate": "".join(path.read_text() for path in self.chain),
            "key": self.chain[0].with_suffix(".key").read_text(),
            "ca": "".join(path.read_text() for path in self.ca),
        }
        return Provided(given, self.name, [], "").problems()


def under(root: Callable[[PKI], Path], extensions: str = SAN, *options: str, name: str = NAME, **more):
    """Return what makes a server's certificate that a CA has signed."""

    def make(pki: PKI) -> Material:
        ca = root(pki)
        return Material(pki.issue(extensions, ca, *options, **more), ca=(ca,), name=name)

    return make


def server(extensions: str = SAN, *options: str, **more):
    """Return what makes a server's certificate that the usual CA has signed."""
    return under(lambda pki: pki.usual_ca, extensions, *options, **more)


def ca(extensions: str, *options: str, **more):
    """Return what makes a usual server's certificate that a special CA has signed."""
    return under(lambda pki: pki.root(extensions, *options, **more))


def chain(extensions: str = SIGNS, *options: str, root: dict | None = None, sent: bool = True, anchor="root", **more):
    """Return what makes a certificate below an intermediate CA, with extensions and options of the intermediate."""

    def make(pki: PKI) -> Material:
        above = pki.root(**(root or {}))
        between = pki.middle(above, extensions, *options, **more)
        leaf = pki.issue(SAN, between)
        return Material(leaf, *([between] if sent else []), ca=(above if anchor == "root" else between,))

    return make


def itself(extensions: str, **more):
    """Return what makes a certificate that is its own CA."""

    def make(pki: PKI) -> Material:
        leaf = pki.issue(extensions, **more)
        return Material(leaf, ca=(leaf,))

    return make


def two_roots(subjects: tuple[str, str], signer: int):
    """Return what makes a bundle of two CAs, of which one has signed. Without key identifiers, as openssl x509 does."""

    def make(pki: PKI) -> Material:
        roots = tuple(pki.root(subject=subject) for subject in subjects)
        return Material(pki.issue(SAN, roots[signer]), ca=roots)

    return make


def cross_signed(given: str, **old):
    """Return what makes a new CA that an old one has signed, too; the clients have the old, the new or both."""

    def make(pki: PKI) -> Material:
        new, before = pki.root(subject="New root"), pki.root(subject="Old root", **old)
        cross = pki.issue(SIGNS, before, subject="New root", of=new)
        cas = {"old": (before,), "new": (new,), "both": (before, new)}[given]
        return Material(pki.issue(SAN, new), cross, ca=cas)

    return make


def as_ip_address(kind: str):
    """Return what makes a certificate for the server's address, in a subjectAltName of this kind."""
    return lambda pki: server(f"subjectAltName={kind}:{pki.address}", name=pki.address)(pki)


TAKEN = {
    "one-liner": server(),
    "one-liner with SHA-512": under(lambda pki: pki.one_liner("CA", "-sha512")),
    "CA of easy-rsa and XCA": ca(
        f"{SIGNS}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid,issuer\nnsComment=XCA\n"
        "nsCertType=sslCA,emailCA,objCA"
    ),
    "CA of version 1": ca(""),
    "CA for all purposes": ca(f"{SIGNS}\nextendedKeyUsage=anyExtendedKeyUsage,serverAuth"),
    "CA signed with SHA-1": ca(SIGNS, "-sha1"),
    "CA of RSA 1024": ca(SIGNS, key=("rsa", "rsa_keygen_bits:1024")),
    "CA with Ed25519": ca(SIGNS, key=("ed25519",)),
    "CA for this domain": ca(f"{SIGNS}\nnameConstraints=critical,permitted;DNS:corp.test"),
    "CA for this domain with a dot": ca(f"{SIGNS}\nnameConstraints=permitted;DNS:.corp.test"),
    "CA with serial number 0": ca(SIGNS, "-set_serial", "0"),
    "chain": chain(),
    "intermediate as CA": chain(sent=False, anchor="middle"),
    "intermediate as CA, and sent along": chain(anchor="middle"),
    "intermediate as CA below one that has expired": chain(root={"days": -1}, anchor="middle"),
    "intermediate without keyUsage": chain(CA),
    "intermediate that may not have another": chain(f"{CA},pathlen:0"),
    "RSA": server(key=("rsa", "rsa_keygen_bits:2048")),
    "RSA 1024": server(key=("rsa", "rsa_keygen_bits:1024")),
    "P-521": server(key=("ec", "ec_paramgen_curve:P-521")),
    "Ed25519": server(key=("ed25519",)),
    "wildcard": server("subjectAltName=DNS:*.corp.test"),
    "upper case": server("subjectAltName=DNS:Registry.CORP.test"),
    "underscore and IDN beside it": server(f"{SAN},DNS:my_host.corp.test,DNS:xn--bcher-kva.corp.test"),
    "IP address": as_ip_address("IP"),
    "serial number 0": server(SAN, "-set_serial", "0"),
    "long serial number": server(SAN, "-set_serial", "0x" + "7f" * 20),
    "for all purposes": server(f"{SAN}\nextendedKeyUsage=anyExtendedKeyUsage,serverAuth"),
    "CA as server": server(f"{SAN}\n{CA}"),
    "its own CA": itself(SAN),
    "its own CA, CA:TRUE": itself(f"{SAN}\n{CA}"),
    "its own CA, CA:FALSE": itself(f"{SAN}\nbasicConstraints=CA:FALSE"),
    "its own CA with SHA-1": lambda pki: (lambda leaf: Material(leaf, ca=(leaf,)))(pki.issue(SAN, None, "-sha1")),
    "two CAs, the first signed": two_roots(("Old", "New"), 0),
    "two CAs, the second signed": two_roots(("Old", "New"), 1),
    "two CAs of one name, the first signed": two_roots(("Root", "Root"), 0),
    "two CAs of one name, the second signed": two_roots(("Root", "Root"), 1),
    "cross-signed, the old CA": cross_signed("old"),
    "cross-signed, the new CA": cross_signed("new"),
    "cross-signed, both CAs": cross_signed("both"),
    "cross-signed by one that has expired": cross_signed("both", days=-1),
    "cross-signed by one that has expired, the new CA": cross_signed("new", days=-1),
}
REFUSED = {
    "common name alone": server("basicConstraints=CA:FALSE", subject=NAME),
    "another name": server("subjectAltName=DNS:other.corp.test"),
    "half a wildcard": server("subjectAltName=DNS:reg*.corp.test"),
    "wildcard above": server("subjectAltName=DNS:*.test"),
    "IP address as a name": as_ip_address("DNS"),
    "expired": server(days=-1),
    "for clients": server(f"{SAN}\nextendedKeyUsage=clientAuth"),
    "SHA-1": server(SAN, "-sha1"),
    "RSA 512": server(key=("rsa", "rsa_keygen_bits:512")),
    "critical extension": server(f"{SAN}\n1.2.3.4=critical,DER:0500"),
    "another CA": lambda pki: Material(pki.issue(SAN, pki.root()), ca=(pki.root(),)),
    "CA without basicConstraints": ca("subjectKeyIdentifier=hash"),
    "CA that is none": ca("basicConstraints=CA:FALSE"),
    "CA that may not sign": ca(f"{CA}\nkeyUsage=digitalSignature"),
    "CA for clients": ca(f"{SIGNS}\nextendedKeyUsage=clientAuth"),
    "CA for another domain": ca(f"{SIGNS}\nnameConstraints=permitted;DNS:other.test"),
    "CA not for this domain": ca(f"{SIGNS}\nnameConstraints=excluded;DNS:corp.test"),
    "CA for a part of the tree": ca(f"{SIGNS}\nnameConstraints=critical,permitted;dirName:part\n[part]\nO=Corp"),
    "expired CA": ca(SIGNS, days=-1),
    "chain without its intermediate": chain(sent=False),
    "chain that is too long": chain(root={"extensions": f"{CA},pathlen:0"}),
    "expired intermediate": chain(days=-1),
    "intermediate signed with SHA-1": chain(SIGNS, "-sha1"),
    "intermediate that is no CA": chain("basicConstraints=CA:FALSE"),
    "cross-signed by one that has expired, the old CA": cross_signed("old", days=-1),
}
# An engine takes it, and OpenSSL does not: curl, git and our own programs in Python.
REFUSED_BY_OPENSSL = {
    "for all purposes, not named": server(f"{SAN}\nextendedKeyUsage=anyExtendedKeyUsage"),
    "CA for all purposes, not named": ca(f"{SIGNS}\nextendedKeyUsage=anyExtendedKeyUsage"),
    "for signing certificates": server(f"{SAN}\nkeyUsage=critical,keyCertSign"),
    "its own CA, for signing certificates": itself(f"{SAN}\n{SIGNS}"),
}
# The other way round. None of these ever gets to a server.
REFUSED_BY_GO = {
    "brainpool": server(key=("ec", "ec_paramgen_curve:brainpoolP256r1")),
    "negative serial number": server(SAN, "-set_serial", "-5"),
}
CASES = {**TAKEN, **REFUSED, **REFUSED_BY_OPENSSL, **REFUSED_BY_GO}


@pytest.fixture(scope="module")
def materials(hosts, tmp_path_factory) -> dict[str, Material]:
    """Have all certificates made and served, each on its port, and their CAs where client2's engine reads them."""
    pki = PKI(tmp_path_factory.mktemp("pki"))
    pki.address = hosts["server"].check_output("hostname --ip-address")
    made = {title: make(pki) for title, make in CASES.items()}
    served, clients = {}, {}
    for port, material in enumerate(made.values(), start=FIRST_PORT):
        served[f"{port}.crt"] = "".join(path.read_text() for path in material.chain)
        served[f"{port}.key"] = material.chain[0].with_suffix(".key").read_text()
        clients[f"{port}.ca"] = "".join(path.read_text() for path in material.ca)
        clients[f"{port}.name"] = material.name
        material.registry = f"{material.name}:{port}"
    hosts["server"].check_output(f"rm -rf {PLACE}; mkdir {PLACE}")
    unpack(hosts["server"], served)
    hosts["server"].check_output(in_background(program(hosts["server"], "serve-certificates.py", PLACE)))
    pack = ["tar", "-C", PROJECT / "plugins", "--exclude=__pycache__", "-c", "module_utils"]
    ours = subprocess.run(pack, check=True, capture_output=True).stdout
    for name in ("client1", "client2"):
        hosts[name].check_output(f"rm -rf {PLACE}; mkdir {PLACE}")
        unpack(hosts[name], clients)
        subprocess.run(["docker", "exec", "-i", container(name), "tar", "-C", PLACE, "-x"], input=ours, check=True)
    hosts["client2"].check_output(
        f"cd {PLACE}; for ca in *.ca; do port=${{ca%.ca}}; directory=/etc/docker/certs.d/$(cat $port.name):$port;"
        " mkdir -p $directory; cp $ca $directory/ca.crt; done"
    )
    wait_until(hosts["server"], f"[ -e {PLACE}/pid ]")
    yield made
    hosts["server"].check_output(f"kill $(cat {PLACE}/pid); rm -r {PLACE}")
    hosts["client1"].check_output(f"rm -r {PLACE}")
    hosts["client2"].check_output(f"rm -r {PLACE} /etc/docker/certs.d/*:6???")


def unpack(host, files: dict[str, str]) -> None:
    """Write many small files at once."""
    host.check_output("; ".join(f"echo '{content}' >{PLACE}/{name}" for name, content in files.items()))


@pytest.fixture(scope="module")
def ours(hosts, materials) -> dict[str, list[str]]:
    """Return what our own programs find, on the Python and OpenSSL of Debian 12 and 13."""
    command = f"python3 -B {PLACE}/judge-certificates.py {PLACE}"
    found: dict[str, list[str]] = {title: [] for title in materials}
    for name in ("client1", "client2"):
        put(hosts[name], "judge-certificates.py", f"{PLACE}/judge-certificates.py")
        lines = hosts[name].check_output(command).splitlines()
        for title, line in zip(materials, lines, strict=True):
            found[title].append(line.partition(" ")[2])
    return found


def engine_says(host, registry: str, title: str) -> str:
    """Return what a container engine says of an image that is not there, or of the certificate."""
    if title != "negative serial number":
        return host.run(f"docker pull {registry}/any:1").stderr
    # Programs made for Go 1.23 or newer refuse it, of which Debian 13 has none. The others do when they are told to.
    return host.run(
        f"GODEBUG=x509negativeserial=0 ctr images pull --hosts-dir /etc/docker/certs.d {registry}/any:1 2>&1"
    ).stdout


@pytest.mark.parametrize("title", CASES)
def test_certificates_are_judged_as_an_engine_judges_them(hosts, materials, ours, title):
    material = materials[title]
    engine, problems = engine_says(hosts["client2"], material.registry, title), material.problems()
    if title in TAKEN or title in REFUSED_BY_OPENSSL:
        assert "manifest unknown" in engine
    else:
        assert "x509" in engine or "tls: " in engine
    assert len(problems) == (title not in TAKEN), problems
    if title not in REFUSED_BY_GO:
        assert [found == "taken" for found in ours[title]] == [title in TAKEN] * 2, ours[title]

"""Certificates and keys that others provide, in PEM: whether clients will accept them, and what is wrong if not.

The judgement is that of Go's crypto/x509, by which container engines decide
(https://pkg.go.dev/crypto/x509#Certificate.Verify), rule by rule: cryptography's verifier is stricter in some and laxer
in others. What OpenSSL refuses as no server's, as curl and our own programs do, is refused as well. The scenario
provided compares all of it with a real engine and with OpenSSL. No message ever holds a key's content.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

from ansible.errors import AnsibleFilterError

from ansible_collections.wharf.registry.plugins.module_utils.addresses import san
from ansible_collections.wharf.registry.plugins.plugin_utils.paths import is_absolute_path, read_file
from ansible_collections.wharf.registry.plugins.plugin_utils.values import absent, listed

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import pkcs7
    from cryptography.x509.oid import ExtendedKeyUsageOID
except ImportError:  # pragma: no cover
    x509 = None  # type: ignore[assignment]
else:
    _PEM = serialization.Encoding.PEM
    _CONSTRAINED = (x509.DNSName, x509.IPAddress, x509.RFC822Name, x509.UniformResourceIdentifier)

Read = TypeVar("Read")

SOON = timedelta(days=30)  # a provided certificate that ends sooner is worth a warning
_PEM_BYTES = 1024 * 1024
_BLOCK = re.compile(r"-----BEGIN (?P<label>[A-Z0-9 ]+)-----(?P<body>.*?)-----END (?P=label)-----", re.DOTALL)
_ESCAPED_NEWLINE = re.compile(r"(?:\\+r)?\\+n")
_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_PKCS12 = re.compile(rb"\x30(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)\x02\x01\x03", re.DOTALL)
_USE = "use PEM text or the absolute path of a PEM file on the controller"
_PASSPHRASE = (
    "is protected by a passphrase, which nobody could type when the registry starts: "
    "remove it (openssl pkey -in OLD -out NEW) and keep the new file in Ansible Vault"
)
# The extensions that Go handles, and so may be critical (crypto/x509, processExtensions).
_HANDLED = {f"2.5.29.{number}" for number in (14, 15, 17, 19, 30, 31, 32, 33, 35, 36, 37, 54)} | {"1.3.6.1.5.5.7.1.1"}


# Reading ------------------------------------------------------------------------------------------


def certificates_problems(value: object, variable: str) -> list[str]:
    """Judge certificates in PEM text or in a file on the controller; none at all are good."""
    try:
        if not absent(value):
            _read(value, _certificates)
    except ValueError as error:
        return [f"{variable}: {error}"]
    return []


def certificates_pem(value: object) -> str:
    """Return certificates that have been judged, given as text or file, in PEM; "" for none."""
    return "" if absent(value) else _pem(_read(value, _certificates))


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    return "".join(one.public_bytes(_PEM).decode() for one in certificates)


def _read(value: object, parse: Callable[[bytes], Read]) -> Read:
    """Return what is in PEM text or in a file on the controller.

    Raises:
        ValueError: what is wrong with it, as the end of a line.
    """
    if x509 is None:  # pragma: no cover
        raise AnsibleFilterError("the Python package cryptography is missing on the controller")
    if absent(value):
        raise ValueError(f"is missing: {_USE}")
    if isinstance(value, str) and is_absolute_path(value):
        return read_file(value, lambda file: parse(file.read(_PEM_BYTES)))
    if not isinstance(value, str) or not ("-----BEGIN" in value or _unwrapped(value)):
        raise ValueError(f"holds neither PEM text nor an absolute path: {_USE}")  # not shown: it may be a key
    return parse(value.encode("utf-8", "replace"))


def _unwrapped(text: str) -> bytes:
    """Return what a text holds in base64, where it is PEM or DER; secret stores and Kubernetes wrap it so."""
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""
    return content if b"-----BEGIN" in content or content[:1] == b"\x30" else b""


def _text(content: bytes) -> str:
    """Return the text of a file, whoever wrote it: UTF-16 and marks of the byte order are Windows' own."""
    for mark, encoding in _BOMS.items():
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    return content.decode("ascii", "replace")


def _blocks(content: bytes) -> list[tuple[str, bytes]]:
    """Return the PEM blocks in a text or file, label and content, each in PEM's own form.

    Indentation, CRLF, newlines that a secret store has turned into \\n or spaces, and what is around them are dropped.
    DER and what is wrapped in base64 are taken for what they are.
    """
    if content[:1] == b"\x30":
        return _der_blocks(content)
    text = _text(content)
    if text.startswith("$ANSIBLE_VAULT"):
        lookup = "{{ lookup('ansible.builtin.unvault', PATH) }}"
        raise ValueError(f"is encrypted with Ansible Vault: set the variable to its text, {lookup}")
    if "-----BEGIN" not in text and (inner := _unwrapped(text)):
        return _blocks(inner)
    blocks = []
    for match in _BLOCK.finditer(_ESCAPED_NEWLINE.sub("\n", text)):
        label, lines = match["label"], [line.strip() for line in match["body"].strip().splitlines()]
        if not any(":" in line for line in lines):  # the headers of an encrypted key need their lines
            whole = "".join("".join(lines).split())
            lines = [whole[start : start + 64] for start in range(0, len(whole), 64)]
        if label == "X509 CERTIFICATE":
            label = "CERTIFICATE"
        pem = "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()
        blocks += _pkcs7_blocks(pkcs7.load_pem_pkcs7_certificates, pem) if label == "PKCS7" else [(label, pem)]
    return blocks


def _der_blocks(content: bytes) -> list[tuple[str, bytes]]:
    """Return what a file without PEM's lines holds."""
    if _PKCS12.match(content):
        raise ValueError(
            "is PKCS#12 (.p12, .pfx), which holds certificates and key together: take them out with openssl pkcs12 -in "
            "OLD -nodes -nokeys -out CERTIFICATES, and with -nocerts instead of -nokeys the key"
        )
    try:
        return [("CERTIFICATE", x509.load_der_x509_certificate(content).public_bytes(_PEM))]
    except ValueError:
        pass
    try:
        key = serialization.load_der_private_key(content, password=None)
    except TypeError:
        raise ValueError(_PASSPHRASE) from None
    except (ValueError, UnsupportedAlgorithm):
        return _pkcs7_blocks(pkcs7.load_der_pkcs7_certificates, content)
    return [("PRIVATE KEY", _key_pem(key))]


def _key_pem(key: Any) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _pkcs7_blocks(read: Callable[[bytes], list[x509.Certificate]], content: bytes) -> list[tuple[str, bytes]]:
    """Return the certificates of a PKCS#7 file (.p7b, .p7c)."""
    try:
        found = read(content)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(
            "is neither PEM nor a certificate, a private key or PKCS#7 in DER that can be read: "
            "it may have been cut off or changed"
        ) from None
    return [("CERTIFICATE", one.public_bytes(_PEM)) for one in found]


def _others(blocks: Sequence[tuple[str, bytes]]) -> str:
    """Say what PEM blocks are there instead of the wanted."""
    labels = list(dict.fromkeys(f"a {label}" for label, _ in blocks))
    return f", but {listed(labels)}" if labels else ""


def _key(content: bytes) -> Any:
    blocks = _blocks(content)
    keys = [block for label, block in blocks if label.endswith("PRIVATE KEY")]
    if not keys and "CERTIFICATE" in dict(blocks):
        raise ValueError("holds a certificate, not a private key: certificate and key may have been swapped")
    if not keys:
        raise ValueError(
            f"holds no private key in PEM{_others(blocks)}: "
            "it must have a line -----BEGIN PRIVATE KEY----- (or EC, RSA)"
        )
    if len(keys) > 1:
        raise ValueError(f"holds {len(keys)} private keys: leave only the one that belongs to the certificate")
    try:
        return serialization.load_pem_private_key(keys[0], password=None)
    except TypeError:
        raise ValueError(_PASSPHRASE) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds a private key that cannot be read: it may have been cut off or changed") from None


def _certificates(content: bytes) -> list[x509.Certificate]:
    blocks = _blocks(content)
    if any(label.endswith("PRIVATE KEY") for label, _ in blocks):
        raise ValueError("holds a private key: only certificates belong there, because everybody may read that file")
    certificates = []
    for number, block in enumerate((block for label, block in blocks if label == "CERTIFICATE"), start=1):
        try:
            certificates.append(x509.load_pem_x509_certificate(block))
            certificates[-1].public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm):
            place = f"certificate number {number} in it"
            raise ValueError(f"is damaged, {place} cannot be read: copy it again from where it was issued") from None
    if not certificates:
        hint = "give the certificate that the CA has issued"
        raise ValueError(f"holds no certificate in PEM{_others(blocks)} (no line -----BEGIN CERTIFICATE-----): {hint}")
    return certificates


# Judging ------------------------------------------------------------------------------------------


def provided_certificate(
    provided: Mapping[str, Any], name: str, aliases: Sequence[str] | None = None
) -> dict[str, Any]:
    """Read what is provided, and judge it, for the module registry_certificate.

    Args:
        provided: certificate, key and ca, as ``Provided`` takes them.
        name: the name under which clients reach the registry.
        aliases: further ones.

    Returns:
        The arguments of that module: the key as the text of the host's file, and as "provided" the other two, problems
        and warnings. What cannot be read is "".
    """
    given = Provided(provided, name, aliases or [], "registry_tls_")
    return {
        "key": _key_pem(given.key).decode() if given.key else "",
        "provided": {
            "certificate": _pem(given.chain),
            "ca": _pem(given.anchors),
            "problems": given.problems(),
            "warnings": [
                f"the provided certificate ends on {_day(end)}; have it renewed and hand over the new one"
                for end in (leaf.not_valid_after_utc for leaf in given.chain[:1])
                if end - datetime.now(UTC) < SOON
            ],
        },
    }


class Provided:
    """A server's certificate with its intermediates, its key, and the CAs that its clients are to trust."""

    def __init__(self, given: Mapping[str, Any], name: str, aliases: Sequence[str], prefix: str) -> None:
        """Read it.

        Args:
            given: {"certificate": ..., "key": ..., "ca": ...}, each PEM text or the absolute path of a file on the
                controller; the certificate is the server's own with its intermediates. The key tells which is its own.
            name: the name under which clients reach the registry.
            aliases: further ones.
            prefix: what the names of the variables begin with, for the messages.
        """
        self.prefix = prefix
        self.names = [("name", name), *(("aliases", alias) for alias in aliases)]
        self.unreadable: list[str] = []
        found: dict[str, Any] = {}
        for kind, parse in {"certificate": _certificates, "key": _key, "ca": _certificates}.items():
            try:
                found[kind] = _read(given.get(kind), parse)
            except ValueError as error:
                self.unreadable.append(f"{prefix}{kind}: {error}")
        self.chain: list[x509.Certificate] = found.get("certificate", [])
        self.anchors: list[x509.Certificate] = found.get("ca", [])
        self.key = found.get("key")
        if self.key:
            self.chain.sort(key=lambda one: _spki(one) != _spki(self.key))  # the server's own first

    def problems(self) -> list[str]:
        """Return what is wrong with it, one line each; [] when clients will accept it."""
        if not self.chain:
            return self.unreadable
        certificate, leaf = f"{self.prefix}certificate", self.chain[0]
        problems = [*self.unreadable]
        if self.key and _spki(self.key) != _spki(leaf):
            problems.append(
                f"{self.prefix}key: does not belong to {_title(leaf)} in {certificate} (their public keys differ); "
                "give the key that the certificate was requested with"
            )
        faults = [f"{self.prefix}{holder}: {fault}" for holder, fault in self._path_faults(self.path or [leaf])]
        if self.anchors and not self.path:
            faults.append(f"{certificate}: {self._broken_chain()}")
        return problems + faults + [f"{certificate}: {fault}" for fault in self._name_faults()]

    def _ways(self, way: list[x509.Certificate]) -> Iterator[list[x509.Certificate]]:
        """Yield each way up by signatures, to a CA that clients trust or to where it breaks off."""
        if way[-1] in self.anchors:
            yield way
        # Of a CA with two certificates, such as an old and a new one, the second need not be above the first.
        keys = [(one.subject, _spki(one)) for one in way]
        issuers = [
            other
            for other in dict.fromkeys([*self.anchors, *self.chain[1:]])
            if (other.subject, _spki(other)) not in keys and _issued(way[-1], other)
        ]
        if not issuers and way[-1] not in self.anchors:
            yield way
        for issuer in issuers:
            yield from self._ways([*way, issuer])

    @cached_property
    def path(self) -> list[x509.Certificate]:
        """The server's certificate, intermediates and a CA that clients trust, by the way with the fewest faults.

        [] when there is no such way.
        """
        ways = [way for way in self._ways(self.chain[:1]) if way[-1] in self.anchors]
        return min(ways, key=lambda way: len(list(self._path_faults(way))), default=[])

    def _broken_chain(self) -> str:
        """Say where the chain from the server's certificate breaks off."""
        link = next(self._ways(self.chain[:1]))[-1]
        certificate, ca, issuer = f"{self.prefix}certificate", f"{self.prefix}ca", link.issuer.rfc4514_string()
        if any(other.subject == link.issuer for other in [*self.anchors, *self.chain[1:]]):
            return (
                f"{_title(link)} names '{issuer}' as its issuer, but was not signed by the one of that name in {ca} or "
                f"{certificate}; give the CA whose key signed it"
            )
        return (
            f"the chain does not end in {ca}: {_title(link)} was issued by '{issuer}', and {ca} holds "
            f"{', '.join(map(_title, self.anchors))}; append the missing intermediate certificates to {certificate}, "
            "or give the CA that the chain ends in"
        )

    def _path_faults(self, path: list[x509.Certificate]) -> Iterator[tuple[str, str]]:
        """Yield why clients refuse the certificates of a path: "certificate" or "ca", and what is wrong with it."""
        for place, one in enumerate(path):
            holder = "certificate" if one in self.chain else "ca"
            is_last = place == len(path) - 1  # nobody judges the signature of what is trusted
            for fault in (
                *_own_faults(one, not place, is_last),
                *(_ca_faults(one, path[:place], is_last) if place else ()),
            ):
                yield holder, f"{_title(one)} {fault}"

    def _name_faults(self) -> Iterator[str]:
        """Yield the names and addresses that clients will use and the certificate does not hold."""
        held = _extension(self.chain[0], x509.SubjectAlternativeName) or []
        kinds = {x509.DNSName: "DNS", x509.IPAddress: "IP"}  # an address as a DNS name serves nobody
        sans = [f"{kinds[type(one)]}:{str(one.value).lower()}" for one in held if type(one) in kinds]
        for variable, name in self.names:
            # A wildcard stands for exactly one leftmost label.
            if not {san(name), san(f"*.{name.partition('.')[2]}")} & {*sans}:
                yield (
                    f"does not match '{name}' ({self.prefix}{variable}): its subjectAltName holds "
                    f"{', '.join(sans) or 'nothing'}; give a certificate whose subjectAltName holds {san(name)}"
                )


def _own_faults(one: x509.Certificate, is_server: bool, is_trusted: bool) -> Iterator[str]:
    """Yield why clients refuse a certificate, wherever it stands in a path."""
    purposes, usage = _extension(one, x509.ExtendedKeyUsage), _extension(one, x509.KeyUsage)
    if purposes and ExtendedKeyUsageOID.SERVER_AUTH not in purposes:
        yield "was not issued for servers (extendedKeyUsage lacks serverAuth); give a server certificate"
    elif is_server and usage and not (usage.digital_signature or usage.key_encipherment or usage.key_agreement):
        yield "was not issued for servers (keyUsage lacks digitalSignature); give a server certificate"
    now, start = datetime.now(UTC), one.not_valid_before_utc
    if one.not_valid_after_utc <= now:
        yield f"expired on {_day(one.not_valid_after_utc)}; give a renewed one"
    elif start > now:
        yield (
            f"is not valid before {start:%Y-%m-%d %H:%M} UTC; give one that is valid now, or set the controller's "
            "clock right"
        )
    if not is_trusted and (weak := _weak_hash(one)):
        yield f"is signed with {weak}, which clients refuse; have it issued again with SHA-256"
    if not _is_known_key(one.public_key()):
        yield (
            "has a key that clients refuse; have it issued again for one on the curve P-256, or RSA of 2048 to 8192 "
            "bits"
        )
    if one.serial_number < 0:
        yield "has a negative serial number, which clients refuse; have it issued again with a positive one"
    if (extensions := _extensions(one)) is None:
        yield "has an extension that cannot be read; have it issued again"
    for extension in extensions or ():
        if extension.critical and not _is_handled(extension):
            number = extension.oid.dotted_string
            yield f"has a critical extension that clients do not know ({number}); have it issued again without it"


def _is_handled(extension: x509.Extension) -> bool:
    """Tell whether clients know what a critical extension means."""
    if isinstance(extension.value, x509.NameConstraints):
        limits = [*(extension.value.permitted_subtrees or ()), *(extension.value.excluded_subtrees or ())]
        return all(isinstance(limit, _CONSTRAINED) for limit in limits)
    return extension.oid.dotted_string in _HANDLED


def _ca_faults(ca: x509.Certificate, below: Sequence[x509.Certificate], is_trusted: bool) -> Iterator[str]:
    """Yield why clients do not let a CA sign what is below it in a path."""
    constraints, usage = _extension(ca, x509.BasicConstraints), _extension(ca, x509.KeyUsage)
    if not constraints.ca if constraints else not is_trusted or ca.version is x509.Version.v3:
        yield "is no CA (basicConstraints lacks CA:TRUE); give the certificate of a CA"
    elif usage and not usage.key_cert_sign:
        yield "may not sign certificates (keyUsage lacks keyCertSign); give a CA that may"
    elif constraints and constraints.path_length is not None and len(below) - 1 > constraints.path_length:
        yield (
            f"allows {constraints.path_length} intermediate certificates below it, and there are {len(below) - 1}; "
            "leave them out, or give a CA that allows them"
        )
    limits = _extension(ca, x509.NameConstraints)
    for one in below if limits else ():
        for name in _extension(one, x509.SubjectAlternativeName) or ():
            excluded = any(_is_within(name, limit) for limit in limits.excluded_subtrees or ())
            permitted = [limit for limit in limits.permitted_subtrees or () if isinstance(limit, type(name))]
            if excluded or (permitted and not any(_is_within(name, limit) for limit in permitted)):
                yield (
                    f"may not sign for '{name.value}', which is in the certificate {_title(one)} (nameConstraints); "
                    "have that issued again without it, or by another CA"
                )


def _is_within(name: x509.GeneralName, limit: x509.GeneralName) -> bool:
    """Tell whether a name or address is one that a nameConstraint means; other kinds of names never are."""
    if isinstance(name, x509.DNSName) and isinstance(limit, x509.DNSName):
        domain, host = limit.value.lower().lstrip("."), name.value.lower()
        is_itself = host == domain and not limit.value.startswith(".")
        return not domain or is_itself or host.endswith(f".{domain}")
    if isinstance(name, x509.IPAddress) and isinstance(limit, x509.IPAddress):
        return name.value in limit.value
    return False


def _day(when: datetime) -> str:
    return when.strftime("%Y-%m-%d")


def _title(certificate: x509.Certificate) -> str:
    return f"'{certificate.subject.rfc4514_string() or 'a certificate without a subject'}'"


def _extensions(certificate: x509.Certificate) -> x509.Extensions | None:
    """Return the extensions; None where one cannot be read, or is there twice."""
    try:
        return certificate.extensions
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return None


def _extension(certificate: x509.Certificate, kind: type) -> Any:
    """Return the value of the extension of a class, or None when it is missing or cannot be read."""
    return next((one.value for one in _extensions(certificate) or () if isinstance(one.value, kind)), None)


def _spki(owner: Any) -> bytes:
    """Return the public key of a key or certificate in the one form in which keys can be compared."""
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return owner.public_key().public_bytes(*form)


def _weak_hash(certificate: x509.Certificate) -> str:
    """Return the hash of a certificate's signature where clients refuse it; empty where they take it."""
    try:
        found = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "a hash that is unknown here"
    taken = found is None or isinstance(found, (hashes.SHA256, hashes.SHA384, hashes.SHA512))
    return "" if taken else found.name.upper()


def _is_known_key(key: Any) -> bool:
    """Tell whether clients in Go take a key."""
    if isinstance(key, rsa.RSAPublicKey):
        return 1024 <= key.key_size <= 8192
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1))
    return isinstance(key, ed25519.Ed25519PublicKey)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether a certificate names this issuer, and its key made the signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True

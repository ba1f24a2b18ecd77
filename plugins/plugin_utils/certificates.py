"""Certificates and keys that others provide, in PEM: whether clients will accept them, and what is wrong if not.

The judgement is that of Go's crypto/x509, by which container engines decide
(https://pkg.go.dev/crypto/x509#Certificate.Verify). cryptography's verifier has the last word; before it, the usual
faults are looked for one by one, so that each has a message that says what to do. None ever holds a key's content.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

from ansible.errors import AnsibleFilterError

from ansible_collections.wharf.registry.plugins.module_utils.addresses import canonical_address, san
from ansible_collections.wharf.registry.plugins.plugin_utils.paths import is_absolute_path, read_file
from ansible_collections.wharf.registry.plugins.plugin_utils.values import absent

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.x509 import verification
    from cryptography.x509.oid import ExtendedKeyUsageOID
except ImportError:  # pragma: no cover
    x509 = None  # type: ignore[assignment]

Read = TypeVar("Read")

SOON = timedelta(days=30)  # a provided certificate that ends sooner is worth a warning
_PEM_BYTES = 1024 * 1024
_BLOCK = re.compile(r"-----BEGIN (?P<label>[A-Z0-9 ]+)-----.*?-----END (?P=label)-----", re.DOTALL)
_USE = "use PEM text or the absolute path of a PEM file on the controller"
_PASSPHRASE = (
    "is protected by a passphrase, which nobody could type when the registry starts: "
    "remove it (openssl pkey -in OLD -out NEW) and keep the new file in Ansible Vault"
)


# Reading ------------------------------------------------------------------------------------------


def certificates_problems(value: object, variable: str) -> list[str]:
    """Judge certificates in PEM text or in a file on the controller; none at all are good."""
    try:
        if not absent(value):
            _read(value, _certificates)
    except ValueError as error:
        return [f"{variable}: {error}"]
    return []


def _read(value: object, parse: Callable[[str], Read]) -> Read:
    """Return what is in PEM text or in a file on the controller.

    Raises:
        ValueError: what is wrong with it, as the end of a line.
    """
    if x509 is None:  # pragma: no cover
        raise AnsibleFilterError("the Python package cryptography is missing on the controller")
    if absent(value):
        raise ValueError(f"is missing: {_USE}")
    if isinstance(value, str) and "-----BEGIN" in value:
        return parse(value)
    if not isinstance(value, str) or not is_absolute_path(value):
        raise ValueError(f"holds neither PEM text nor an absolute path: {_USE}")  # not shown: it may be a key
    return read_file(value, lambda file: parse(file.read(_PEM_BYTES).decode("ascii", "replace")))


def _blocks(text: str) -> list[tuple[str, bytes]]:
    """Return the PEM blocks in a text, label and content. Indentation, CRLF and what is around them are dropped."""
    if text.startswith("$ANSIBLE_VAULT"):
        lookup = "{{ lookup('ansible.builtin.unvault', PATH) }}"
        raise ValueError(f"is encrypted with Ansible Vault: set the variable to its text, {lookup}")
    text = "\n".join(line.strip() for line in text.splitlines())
    return [(match["label"], match[0].encode()) for match in _BLOCK.finditer(text)]


def _key(text: str) -> Any:
    blocks = _blocks(text)
    keys = [block for label, block in blocks if label.endswith("PRIVATE KEY")]
    if not keys and "CERTIFICATE" in dict(blocks):
        raise ValueError("holds a certificate, not a private key: certificate and key may have been swapped")
    if not keys:
        raise ValueError("holds no private key in PEM: it must have a line -----BEGIN PRIVATE KEY----- (or EC, RSA)")
    if len(keys) > 1:
        raise ValueError(f"holds {len(keys)} private keys: leave only the one that belongs to the certificate")
    try:
        return serialization.load_pem_private_key(keys[0], password=None)
    except TypeError:
        raise ValueError(_PASSPHRASE) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds a private key that cannot be read: it may have been cut off or changed") from None


def _certificates(text: str) -> list[x509.Certificate]:
    blocks = _blocks(text)
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
        hint = "convert a DER file with: openssl x509 -inform der -in OLD -out NEW"
        raise ValueError(f"holds no certificate in PEM (no line -----BEGIN CERTIFICATE-----): {hint}")
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
    pem = serialization.Encoding.PEM
    form = (pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "key": given.key.private_bytes(*form).decode() if given.key else "",
        "provided": {
            "certificate": "".join(one.public_bytes(pem).decode() for one in given.chain),
            "ca": "".join(one.public_bytes(pem).decode() for one in given.anchors),
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
                controller; the certificate is the server's own followed by its intermediates.
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

    def problems(self) -> list[str]:
        """Return what is wrong with it, one line each; [] when clients will accept it."""
        if not self.chain:
            return self.unreadable
        certificate, (leaf, *intermediates) = f"{self.prefix}certificate", self.chain
        problems, faults = [*self.unreadable], []
        if self.key and _spki(self.key) != _spki(leaf):
            if _spki(self.key) in map(_spki, intermediates):
                # All else would be a judgement of the wrong certificate.
                return problems + [
                    f"{certificate}: begins with {_title(leaf)}, which is not the certificate of the key in "
                    f"{self.prefix}key; the server's own certificate must come first, its intermediates after it"
                ]
            problems.append(
                f"{self.prefix}key: does not belong to {_title(leaf)} in {certificate} (their public keys differ); "
                "give the key that the certificate was requested with"
            )
        for one in self.path or [leaf]:
            holder = "certificate" if one in self.chain else "ca"
            faults += [f"{self.prefix}{holder}: {_title(one)} {fault}" for fault in self._faults(one)]
        if self.anchors and not self.path:
            faults.append(f"{certificate}: {self._broken_chain()}")
        faults += [f"{certificate}: {fault}" for fault in self._name_faults()]
        if self.path and not faults:
            faults = [f"{certificate}: {fault}" for fault in self._verifier_faults()]
        return problems + faults

    def _ways(self, way: list[x509.Certificate]) -> Iterator[list[x509.Certificate]]:
        """Yield each way up by signatures, to a CA that clients trust or to where it breaks off."""
        known = [] if way[-1] in self.anchors else [*self.anchors, *self.chain[1:]]
        issuers = [other for other in known if other not in way and _issued(way[-1], other)]
        if not issuers:
            yield way
        for issuer in issuers:
            yield from self._ways([*way, issuer])

    @cached_property
    def path(self) -> list[x509.Certificate]:
        """The server's certificate, intermediates and a CA that clients trust; [] when there is no such way."""
        return next((way for way in self._ways(self.chain[:1]) if way[-1] in self.anchors), [])

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

    def _faults(self, one: x509.Certificate) -> Iterator[str]:
        """Yield why clients refuse a certificate of the path in its place."""
        if one is self.chain[0]:
            usage = _extension(one, x509.ExtendedKeyUsage)
            if usage and not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {*usage}:
                yield "was not issued for servers (extendedKeyUsage lacks serverAuth); give a server certificate"
        else:
            constraints, usage = _extension(one, x509.BasicConstraints), _extension(one, x509.KeyUsage)
            below = self.path.index(one) - 1
            if not constraints.ca if constraints else one.version is x509.Version.v3:
                yield "is no CA (basicConstraints lacks CA:TRUE); give the certificate of a CA"
            elif usage and not usage.key_cert_sign:
                yield "may not sign certificates (keyUsage lacks keyCertSign); give a CA that may"
            elif constraints and constraints.path_length is not None and below > constraints.path_length:
                yield f"allows {constraints.path_length} intermediate certificates below it, and there are {below}"
        now, start = datetime.now(UTC), one.not_valid_before_utc
        if one.not_valid_after_utc <= now:
            yield f"expired on {_day(one.not_valid_after_utc)}; give a renewed one"
        elif start > now:
            yield (
                f"is not valid before {start:%Y-%m-%d %H:%M} UTC; give one that is valid now, or set the controller's "
                "clock right"
            )
        if one not in self.path[1:][-1:] and _is_weak(one):  # nobody judges the signature of a CA that is trusted
            yield "is signed with SHA-1 or MD5, which clients refuse; have it issued again with SHA-256"

    def _name_faults(self) -> Iterator[str]:
        """Yield the names and addresses that clients will use and the certificate does not hold."""
        held = _extension(self.chain[0], x509.SubjectAlternativeName) or []
        sans = [san(str(one.value)) for one in held if isinstance(one, (x509.DNSName, x509.IPAddress))]
        for variable, name in self.names:
            # A wildcard stands for exactly one leftmost label.
            if not {san(name), san(f"*.{name.partition('.')[2]}")} & {*sans}:
                yield (
                    f"does not match '{name}' ({self.prefix}{variable}): its subjectAltName holds "
                    f"{', '.join(sans) or 'nothing'}; give a certificate whose subjectAltName holds {san(name)}"
                )

    def _verifier_faults(self) -> Iterator[str]:
        """Yield what the verifier refuses beyond all that has a message of its own, such as a name that a CA excludes.

        It knows neither Ed25519 nor CAs of version 1, which Go accepts, and takes no wildcard for a name.
        """
        if any(isinstance(one.public_key(), Ed25519PublicKey) or one.version is x509.Version.v1 for one in self.path):
            return
        anything = verification.ExtensionPolicy.permit_all()
        agnostic = verification.Criticality.AGNOSTIC
        builder = (
            verification.PolicyBuilder()
            .store(verification.Store(self.anchors))
            .extension_policies(
                ca_policy=anything.require_present(x509.BasicConstraints, agnostic, None),
                ee_policy=anything.require_present(x509.SubjectAlternativeName, agnostic, None),
            )
        )
        for name in (name for _, name in self.names if not name.startswith("*.")):
            address = canonical_address(name)
            subject = x509.IPAddress(ipaddress.ip_address(address)) if address else x509.DNSName(name.lower())
            try:
                builder.build_server_verifier(subject).verify(self.chain[0], self.chain[1:])
            except verification.VerificationError as error:
                reason = str(error).removeprefix("validation failed: ").removeprefix("candidates exhausted: ")
                title = _title(self.chain[0])
                yield f"clients that ask for '{name}' will refuse {title}: {reason}; have it issued again"


def _day(when: datetime) -> str:
    return when.strftime("%Y-%m-%d")


def _title(certificate: x509.Certificate) -> str:
    return f"'{certificate.subject.rfc4514_string() or 'a certificate without a subject'}'"


def _extension(certificate: x509.Certificate, kind: type) -> Any:
    """Return the value of the extension of a class, or None when it is missing or cannot be read."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def _spki(owner: Any) -> bytes:
    """Return the public key of a key or certificate in the one form in which keys can be compared."""
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return owner.public_key().public_bytes(*form)


def _is_weak(certificate: x509.Certificate) -> bool:
    try:
        return isinstance(certificate.signature_hash_algorithm, (hashes.MD5, hashes.SHA1))
    except UnsupportedAlgorithm:
        return False


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether a certificate names this issuer, and its key made the signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True

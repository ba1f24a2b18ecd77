"""Certificates that the unit tests make themselves."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)


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
        excludes: str = "",
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
        if excludes:
            names = x509.NameConstraints(None, [x509.DNSName(excludes)])
            builder = builder.add_extension(names, critical=True)
        signer = issuer.key if issuer else self.key
        self.certificate = builder.sign(signer, None if isinstance(signer, Ed25519PrivateKey) else hashes.SHA256())

    @property
    def pem(self) -> str:
        """Return the certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """Return the private key."""
        return key_pem(self.key)

    @property
    def public_pem(self) -> str:
        """Return the public key."""
        encoding, kind = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(encoding, kind).decode()


def key_pem(key: Any, kind: str = "PKCS8", passphrase: bytes | None = None) -> str:
    """Return a private key in PEM."""
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(
        serialization.Encoding.PEM, getattr(serialization.PrivateFormat, kind), encryption
    ).decode()

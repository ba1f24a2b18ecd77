"""Whether clients will accept a certificate that others provide, and what is wrong with it if not.

The judgement is that of Go's crypto/x509, by which container engines decide
(https://pkg.go.dev/crypto/x509#Certificate.Verify). cryptography's verifier has the last word; before it, the usual
faults are looked for one by one, so that each has a message that says what to do.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.wharf.registry.plugins.module_utils.addresses import canonical_address, san
from ansible_collections.wharf.registry.plugins.plugin_utils.pem import (
    joined,
    read_certificates,
    read_key,
    require_cryptography,
)

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.x509 import verification
    from cryptography.x509.oid import ExtendedKeyUsageOID
except ImportError:  # pragma: no cover
    x509 = None  # type: ignore[assignment]

SOON_DAYS = 30  # a provided certificate that ends sooner is worth a warning
OWN_VARIABLES = {
    "name": "registry_tls_name",
    "aliases": "registry_tls_aliases",
    "certificate": "registry_tls_certificate",
    "key": "registry_tls_key",
    "ca": "registry_tls_ca",
}


def provided_certificate(
    provided: Mapping[str, Any], name: str, aliases: Sequence[str] | None = None
) -> dict[str, Any]:
    """Read what is provided, and judge it, for the module registry_certificate.

    Args:
        provided: certificate, key and ca, as ``tls_problems`` takes them.
        name: the name under which clients reach the registry.
        aliases: further ones.

    Returns:
        The arguments of that module: the key as the text of the host's file, and as "provided" the other two, problems
        and warnings. What cannot be read is "".
    """
    chain, blocks, _ = read_certificates(provided.get("certificate"))
    ends = chain[0].not_valid_after_utc if chain else datetime.max.replace(tzinfo=UTC)
    soon = ends - datetime.now(UTC) < timedelta(days=SOON_DAYS)
    warning = f"the provided certificate ends on {_day(ends)}; have it renewed and hand over the new one"
    return {
        "key": joined(read_key(provided.get("key"))[1]),
        "provided": {
            "certificate": joined(blocks),
            "ca": joined(read_certificates(provided.get("ca"))[1]),
            "problems": tls_problems(provided, name, aliases),
            "warnings": [warning] if soon else [],
        },
    }


def tls_problems(
    provided: Mapping[str, Any],
    name: str,
    aliases: Sequence[str] | None = None,
    variables: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> list[str]:
    """Return what is wrong with a provided certificate, key and CA, one line each; [] when clients will accept them.

    Args:
        provided: {"certificate": ..., "key": ..., "ca": ...}, each PEM text or the path of a file on the controller;
            the certificate is the server's own followed by its intermediates, the ca holds one or more certificates.
        name: the name under which clients reach the registry.
        aliases: further ones.
        variables: how the messages call them, by the same keys and "name" and "aliases"; the role's own by default.
        now: the time for which to judge.
    """
    require_cryptography()
    called = {**OWN_VARIABLES, **dict(variables or {})}
    now = now or datetime.now(UTC)
    key, _, key_problem = read_key(provided.get("key"))
    chain, _, chain_problem = read_certificates(provided.get("certificate"))
    anchors, _, anchor_problem = read_certificates(provided.get("ca"))
    found = {"certificate": chain_problem, "key": key_problem, "ca": anchor_problem}
    problems = [f"{called[kind]}: {problem}" for kind, problem in found.items() if problem]
    if not chain:
        return problems
    leaf, intermediates = chain[0], chain[1:]
    if key is not None and _spki(key.public_key()) != _spki(leaf.public_key()):
        if any(_spki(key.public_key()) == _spki(other.public_key()) for other in intermediates):
            # All else would be a judgement of the wrong certificate.
            return [
                *problems,
                f"{called['certificate']}: begins with {_title(leaf)}, which is not the certificate of the key in "
                f"{called['key']}; the server's own certificate must come first, its intermediates after it",
            ]
        problems.append(
            f"{called['key']}: does not belong to {_title(leaf)} in {called['certificate']} (their public keys "
            "differ); give the key that the certificate was requested with"
        )

    def owner(certificate: x509.Certificate) -> str:
        return called["certificate"] if certificate in chain else called["ca"]

    path = _find_path(leaf, intermediates, anchors)
    faults = [] if path or not anchors else [_broken_chain(leaf, intermediates, anchors, called)]
    faults += _issuer_problems(path, owner)
    faults += _date_problems(path or [leaf], owner, now)
    faults += _signature_problems(path[:-1] or [leaf], called)
    faults += _usage_problems(leaf, called)
    faults += _name_problems(leaf, name, aliases or [], called)
    if path and not faults:
        faults = _verifier_problems(path, intermediates, anchors, [name, *(aliases or [])], called, now)
    return problems + faults


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


def _spki(public_key: Any) -> bytes:
    """Return a public key in the one form in which keys can be compared (SubjectPublicKeyInfo, DER)."""
    return public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether a certificate names this issuer, and its key made the signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _find_path(
    certificate: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    seen: Sequence[x509.Certificate] = (),
) -> list[x509.Certificate]:
    """Return a path [leaf, intermediates..., anchor] by which signatures verify, or [] when there is none."""
    if certificate in anchors:
        return [certificate]
    for anchor in anchors:
        if _issued(certificate, anchor):
            return [certificate, anchor]
    for intermediate in intermediates:
        if intermediate not in seen and intermediate != certificate and _issued(certificate, intermediate):
            path = _find_path(intermediate, intermediates, anchors, [*seen, certificate])
            if path:
                return [certificate, *path]
    return []


def _broken_chain(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    called: Mapping[str, str],
) -> str:
    """Say where the chain from the server's certificate stops, when _find_path found none."""
    seen = [leaf]
    while further := [other for other in intermediates if other not in seen and _issued(seen[-1], other)]:
        seen.append(further[0])
    link, issuer = seen[-1], seen[-1].issuer.rfc4514_string()
    if any(other.subject == link.issuer for other in [*anchors, *intermediates]):
        return (
            f"{called['certificate']}: {_title(link)} names '{issuer}' as its issuer, but was not signed by the one "
            f"of that name in {called['ca']} or {called['certificate']}; give the CA whose key signed it"
        )
    return (
        f"{called['certificate']}: the chain does not end in {called['ca']}: {_title(link)} was issued by '{issuer}', "
        f"and {called['ca']} holds {', '.join(map(_title, anchors))}; append the missing intermediate certificates to "
        f"{called['certificate']}, or give the CA that the chain ends in"
    )


def _issuer_problems(path: Sequence[x509.Certificate], owner: Callable[[x509.Certificate], str]) -> list[str]:
    """Return what keeps clients from accepting the issuers in a path."""
    problems = []
    for below, issuer in enumerate(path[1:]):
        constraints = _extension(issuer, x509.BasicConstraints)
        usage = _extension(issuer, x509.KeyUsage)
        prefix = f"{owner(issuer)}: {_title(issuer)}"
        if (constraints is None and issuer.version is x509.Version.v3) or (constraints and not constraints.ca):
            problems.append(f"{prefix} is no CA (basicConstraints lacks CA:TRUE); give the certificate of a CA")
        elif usage is not None and not usage.key_cert_sign:
            problems.append(f"{prefix} may not sign certificates (keyUsage lacks keyCertSign); give a CA that may")
        elif constraints and constraints.path_length is not None and below > constraints.path_length:
            problems.append(
                f"{prefix} allows {constraints.path_length} intermediate certificates below it, and there are {below}"
            )
    return problems


def _date_problems(
    path: Sequence[x509.Certificate], owner: Callable[[x509.Certificate], str], now: datetime
) -> list[str]:
    """Return which certificates in a path are not valid now."""
    problems = []
    for certificate in path:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        prefix = f"{owner(certificate)}: {_title(certificate)}"
        if end <= now:
            problems.append(f"{prefix} expired on {_day(end)}; give a renewed one")
        elif start > now:
            problems.append(
                f"{prefix} is not valid before {start:%Y-%m-%d %H:%M} UTC; give one that is valid now, or set the "
                "controller's clock right"
            )
    return problems


def _signature_problems(path: Sequence[x509.Certificate], called: Mapping[str, str]) -> list[str]:
    """Return which certificates below the CA are signed in a way that clients refuse."""

    def is_weak(certificate: x509.Certificate) -> bool:
        try:
            return isinstance(certificate.signature_hash_algorithm, (hashes.MD5, hashes.SHA1))
        except UnsupportedAlgorithm:
            return False

    return [
        f"{called['certificate']}: {_title(certificate)} is signed with SHA-1 or MD5, which clients refuse; have it "
        "issued again with SHA-256"
        for certificate in path
        if is_weak(certificate)
    ]


def _usage_problems(leaf: x509.Certificate, called: Mapping[str, str]) -> list[str]:
    """Return why the certificate is not for servers."""
    usage = _extension(leaf, x509.ExtendedKeyUsage)
    good = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if usage is None or good & {*usage}:
        return []
    return [
        f"{called['certificate']}: {_title(leaf)} was not issued for servers (extendedKeyUsage lacks serverAuth); give "
        "a server certificate"
    ]


def _name_problems(leaf: x509.Certificate, name: str, aliases: Sequence[str], called: Mapping[str, str]) -> list[str]:
    """Return the names and addresses that clients will use and the certificate does not hold."""
    names = _extension(leaf, x509.SubjectAlternativeName) or []
    sans = [san(str(one.value)) for one in names if isinstance(one, (x509.DNSName, x509.IPAddress))]
    held = f"its subjectAltName holds {', '.join(sans)}" if sans else "it has no subjectAltName with names or addresses"
    return [
        f"{called['certificate']}: does not match '{value}' ({called[variable]}): {held}; give a certificate whose "
        f"subjectAltName holds {san(value)}"
        for variable, value in [("name", name), *(("aliases", alias) for alias in aliases)]
        if not _matches(san(value), sans)
    ]


def _matches(wanted: str, sans: Sequence[str]) -> bool:
    """Tell whether a name or address is held; a wildcard stands for exactly one leftmost label."""
    kind, _, name = wanted.partition(":")
    _, dot, rest = name.partition(".")
    return wanted in sans or (kind == "DNS" and bool(dot) and f"DNS:*.{rest}" in sans)


def _verifier_problems(
    path: Sequence[x509.Certificate],
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    names: Sequence[str],
    called: Mapping[str, str],
    now: datetime,
) -> list[str]:
    """Return what the verifier refuses beyond all that has a message of its own, such as a name that a CA excludes.

    It knows neither Ed25519 nor CAs of version 1, which Go accepts, and takes no wildcard for a name.
    """
    if any(isinstance(one.public_key(), Ed25519PublicKey) or one.version is x509.Version.v1 for one in path):
        return []
    anything = verification.ExtensionPolicy.permit_all()
    agnostic = verification.Criticality.AGNOSTIC
    builder = (
        verification.PolicyBuilder()
        .store(verification.Store(list(anchors)))
        .time(now)
        .extension_policies(
            ca_policy=anything.require_present(x509.BasicConstraints, agnostic, None),
            ee_policy=anything.require_present(x509.SubjectAlternativeName, agnostic, None),
        )
    )
    problems = []
    for name in names:
        if name.startswith("*."):
            continue
        address = canonical_address(name)
        subject = x509.IPAddress(ipaddress.ip_address(address)) if address else x509.DNSName(name.lower())
        try:
            builder.build_server_verifier(subject).verify(path[0], list(intermediates))
        except verification.VerificationError as error:
            reason = str(error).removeprefix("validation failed: ").removeprefix("candidates exhausted: ")
            problems.append(
                f"{called['certificate']}: clients that ask for '{name}' will refuse {_title(path[0])}: {reason}; have "
                "it issued again"
            )
    return problems

"""Filters of the role registry_tls: which certificates are right, what is wrong with them, and what is due.

Everything here runs on the controller and changes nothing. Certificates are judged as the clients judge them
(Go's crypto/x509: https://pkg.go.dev/crypto/x509#Certificate.Verify), step by step, so that each fault has a message
of its own. No message ever holds a key's content.

Times are seconds since the epoch or aware datetimes in UTC; validity is in days. Wrong certificates, names and files
are returned as messages; AnsibleFilterError is raised where a filter cannot do its work at all.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ansible.errors import AnsibleFilterError

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID
except ImportError:  # pragma: no cover
    x509 = None  # type: ignore[assignment]

DAY = 86400
BACKDATED = 2 * DAY  # seconds: clocks that are set back by a day, and clients with slow ones, accept a new certificate
CLOCK_TOLERANCE = DAY  # seconds that host and controller may differ when certificates are made
LISTS_VALID = 3600  # seconds for which package lists need not be fetched again
SOON_DAYS = 30  # a provided certificate that ends sooner is worth a warning
LONGEST_LEAF_DAYS = 397
LOCALHOST = ["DNS:localhost", "IP:127.0.0.1", "IP:::1"]
OWN_VARIABLES = {
    "name": "registry_tls_name",
    "aliases": "registry_tls_aliases",
    "certificate": "registry_tls_certificate",
    "key": "registry_tls_key",
    "ca": "registry_tls_ca",
}
FILES = {
    "directory": "",
    "ca": "ca.crt",
    "key": "registry.key",
    "certificate": "registry.crt",
    "ca_directory": "",
    "ca_key": "ca.key",
    "ca_certificate": "ca.crt",
    "ca_next_key": "next.key",
    "ca_next_certificate": "next.crt",
}

# Interfaces that belong to containers or virtual machines on the host: no client reaches the registry there.
_INNER_INTERFACE = re.compile(
    r"^(?:lo|docker\d+|docker_gwbridge|br-[0-9a-f]{12}|veth.*|cni.*|podman\d+|virbr\d+.*|vnet\d+|lxcbr\d+|lxdbr\d+"
    r"|flannel.*|cali.*|tunl\d+|cilium.*|kube-.*|nerdctl\d+)$"
)
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*{_LABEL}")
_PEM_BLOCK = re.compile(r"-----BEGIN (?P<label>[A-Z0-9 ]+)-----(?P<body>.*?)-----END (?P=label)-----", re.DOTALL)


class Pem(NamedTuple):
    """One PEM block: its label ("CERTIFICATE") and its text without a final newline."""

    label: str
    text: str


class Seen(NamedTuple):
    """What the look saw of one path. kind is stat's %F, or "missing"; mode is octal without a leading zero."""

    kind: str
    mode: str
    uid: int
    gid: int
    sha256: str
    pem: list[Pem]

    @property
    def exists(self) -> bool:
        """Tell whether anything is there."""
        return self.kind != "missing"


class Look(NamedTuple):
    """The parsed output of the look; clock in seconds since the epoch."""

    clock: int
    user: int
    has: set[str]
    addresses: list[str]
    paths: dict[str, Seen]


MISSING = Seen("missing", "", -1, -1, "", [])


def _pem_blocks(text: str) -> list[Pem]:
    """Return the PEM blocks in `text`, each line stripped: indentation, CRLF and text around the blocks are dropped."""
    blocks = []
    for match in _PEM_BLOCK.finditer(text):
        label = match["label"]
        lines = [line.strip() for line in match["body"].split("\n")]
        body = "\n".join(line for line in lines if line)
        blocks.append(Pem(label, f"-----BEGIN {label}-----\n{body}\n-----END {label}-----"))
    return blocks


def _joined(blocks: Iterable[Pem]) -> str:
    """Return `blocks` as the text of a file, with a final newline; "" when there are none."""
    return "".join(f"{block.text}\n" for block in blocks)


def _is_key(block: Pem) -> bool:
    return block.label.endswith("PRIVATE KEY")


def _address(value: str) -> str | None:
    """Return `value` as an IP address in its canonical form ("[::1]" gives "::1"), or None when it is a name."""
    if value.startswith("[") and value.endswith("]"):
        value = value[1:-1]
    try:
        return None if "%" in value else str(ipaddress.ip_address(value))
    except ValueError:
        return None


def _san(value: str) -> str:
    """Return a name or address as community.crypto writes it: "DNS:registry.example.org", "IP:192.0.2.1"."""
    address = _address(value)
    return f"IP:{address}" if address else f"DNS:{value.lower()}"


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _day(when: datetime) -> str:
    return when.strftime("%Y-%m-%d")


def _extension(certificate: x509.Certificate, kind: type) -> Any:
    """Return the value of the extension of class `kind`, or None when it is missing or cannot be read."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def _sans(certificate: x509.Certificate) -> list[str]:
    """Return the certificate's subjectAltName as ["DNS:name", "IP:address"], other kinds left out."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    if names is None:
        return []
    found = [f"DNS:{name.lower()}" for name in names.get_values_for_type(x509.DNSName)]
    return found + [f"IP:{address}" for address in names.get_values_for_type(x509.IPAddress)]


def _matches(wanted: str, sans: Sequence[str]) -> bool:
    """Tell whether the name or address `wanted` is among `sans`; a wildcard stands for exactly one leftmost label."""
    san = _san(wanted)
    if san in sans:
        return True
    if san.startswith("IP:"):
        return False
    _, dot, rest = san.removeprefix("DNS:").partition(".")
    return bool(dot) and f"DNS:*.{rest}" in sans


def _spki(public_key: Any) -> bytes:
    """Return a public key in the one form in which keys can be compared (SubjectPublicKeyInfo, DER)."""
    return public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether `issuer` is named in `certificate` and its key made the signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _title(certificate: x509.Certificate) -> str:
    return f"'{certificate.subject.rfc4514_string() or 'a certificate without a subject'}'"


def _certificates(blocks: Iterable[Pem]) -> list[x509.Certificate]:
    """Load the CERTIFICATE blocks. Raises ValueError with a short text for the first that cannot be read."""
    loaded = []
    for number, block in enumerate((block for block in blocks if block.label == "CERTIFICATE"), start=1):
        try:
            certificate = x509.load_pem_x509_certificate(block.text.encode())
            certificate.public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError(f"certificate number {number} in it cannot be read") from None
        loaded.append(certificate)
    return loaded


# ---------------------------------------------------------------------------------------------- provided certificates


def _shown(value: str, secret: bool) -> str:
    """Return how a message may call the file `value`. A secret that is no plain path might be the key itself."""
    if secret and not (value.startswith(("/", "~", ".")) or len(value) <= 40):
        return "a file (not shown here, because it may be the key itself without its BEGIN and END lines)"
    return f"the file {value}"


def _text(value: Any, secret: bool = False) -> tuple[str, str]:
    """Resolve PEM text or a controller file.

    Returns (text, "") or ("", what is wrong with it and what would be right).
    """
    if value is None or not str(value).strip():
        return "", "is not set; it must hold PEM text, or the path of a PEM file on the controller"
    if not isinstance(value, str):
        return "", "is not text; it must hold PEM text, or the path of a PEM file on the controller"
    value = str(value)
    if "-----BEGIN" in value:
        return value, ""
    value = value.strip()
    if "\n" in value or "\0" in value or len(value) > 4096:
        return "", "is neither PEM text (with its BEGIN and END lines) nor the path of a file on the controller"
    shown = _shown(value, secret)
    try:
        content = Path(value).expanduser().read_bytes()
    except FileNotFoundError:
        return "", f"names {shown}, which does not exist on the controller; give the path of a PEM file, or PEM text"
    except IsADirectoryError:
        return "", f"names {shown}, which is a directory; give the path of a PEM file"
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        return "", f"names {shown}, which cannot be read on the controller ({reason}); make it readable for your user"
    except RuntimeError:
        return "", f"names {shown}, in the home of a user whom the controller does not know; give an absolute path"
    if content.startswith(b"$ANSIBLE_VAULT"):
        lookup = "{{ lookup('ansible.builtin.unvault', PATH) }}"
        return "", f"names {shown}, which is encrypted with Ansible Vault; hand over its text instead: {lookup}"
    return content.decode("ascii", errors="replace"), ""


def _read_key(value: Any) -> tuple[Any, list[Pem], str]:
    """Load the provided private key. Returns (key, its block, "") or (None, [], what is wrong)."""
    text, problem = _text(value, secret=True)
    if problem:
        return None, [], problem
    blocks = _pem_blocks(text)
    keys = [block for block in blocks if _is_key(block)]
    if not keys:
        if any(block.label == "CERTIFICATE" for block in blocks):
            return None, [], "holds a certificate, not a private key; certificate and key may have been swapped"
        return None, [], "holds no private key in PEM; it must have a line -----BEGIN PRIVATE KEY----- (or EC, RSA)"
    if len(keys) > 1:
        return None, [], f"holds {len(keys)} private keys; leave only the one that belongs to the certificate"
    if "ENCRYPTED" in keys[0].text:
        return None, [], _PASSPHRASE
    try:
        key = serialization.load_pem_private_key(keys[0].text.encode(), password=None)
    except TypeError:
        return None, [], _PASSPHRASE
    except (ValueError, UnsupportedAlgorithm):
        return None, [], "holds a private key that cannot be read; it may have been cut off or changed"
    return key, keys, ""


_PASSPHRASE = (
    "is protected by a passphrase, which nobody could type when the registry starts; "
    "remove it (openssl pkey -in OLD -out NEW) and keep the new file in Ansible Vault"
)


def _read_certificates(value: Any) -> tuple[list[x509.Certificate], list[Pem], str]:
    """Load provided certificates. Returns (certificates, their blocks, "") or ([], [], what is wrong)."""
    text, problem = _text(value)
    if problem:
        return [], [], problem
    blocks = _pem_blocks(text)
    if any(_is_key(block) for block in blocks):
        return [], [], "holds a private key; only certificates belong there, because everybody may read that file"
    blocks = [block for block in blocks if block.label == "CERTIFICATE"]
    if not blocks:
        hint = "convert a DER file with: openssl x509 -inform der -in OLD -out NEW"
        return [], [], f"holds no certificate in PEM (no line -----BEGIN CERTIFICATE-----); {hint}"
    try:
        return _certificates(blocks), blocks, ""
    except ValueError as error:
        return [], [], f"is damaged: {error}; copy it again from where it was issued"


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
    variables: Mapping[str, str],
) -> str:
    """Say where the chain from `leaf` stops, when _find_path found none."""
    link, seen = leaf, [leaf]
    while True:
        further = [other for other in intermediates if other not in seen and _issued(link, other)]
        if not further:
            break
        link = further[0]
        seen.append(link)
    given = ", ".join(_title(anchor) for anchor in anchors)
    issuer = link.issuer.rfc4514_string()
    if any(other.subject == link.issuer for other in [*anchors, *intermediates]):
        return (
            f"{variables['certificate']}: {_title(link)} names '{issuer}' as its issuer, but was not signed by the one "
            f"of that name in {variables['ca']} or {variables['certificate']}; give the CA whose key signed it"
        )
    return (
        f"{variables['certificate']}: the chain does not end in {variables['ca']}: {_title(link)} was issued by "
        f"'{issuer}', and {variables['ca']} holds {given}; append the missing intermediate certificates to "
        f"{variables['certificate']}, or give the CA that the chain ends in"
    )


def _issuer_problems(path: Sequence[x509.Certificate], owner: Callable[[x509.Certificate], str]) -> list[str]:
    """Return what keeps clients from accepting the issuers in `path` ([leaf, issuer, ...])."""
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
    """Return which certificates in `path` are not valid at `now`."""
    problems = []
    for certificate in path:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if end <= now:
            problems.append(f"{owner(certificate)}: {_title(certificate)} expired on {_day(end)}; give a renewed one")
        elif start > now:
            problems.append(
                f"{owner(certificate)}: {_title(certificate)} is not valid before {start:%Y-%m-%d %H:%M} UTC; "
                "give one that is valid now, or set the controller's clock right"
            )
    return problems


def _name_problems(
    leaf: x509.Certificate, name: str, aliases: Sequence[str], variables: Mapping[str, str]
) -> list[str]:
    """Return the names and addresses that clients will use and the certificate does not hold."""
    sans = _sans(leaf)
    held = f"its subjectAltName holds {', '.join(sans)}" if sans else "it has no subjectAltName with names or addresses"
    wanted = [("name", name), *(("aliases", alias) for alias in aliases)]
    return [
        f"{variables['certificate']}: does not match '{value}' ({variables[variable]}): {held}; "
        f"give a certificate whose subjectAltName holds {_san(value)}"
        for variable, value in wanted
        if not _matches(value, sans)
    ]


def registry_tls_problems(
    provided: Mapping[str, Any],
    name: str,
    aliases: Sequence[str] | None = None,
    variables: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> list[str]:
    """Return what is wrong with a provided certificate, key and CA; [] when clients will accept them.

    provided: {"certificate": ..., "key": ..., "ca": ...}, each PEM text or the path of a file on the controller; the
    certificate is the server's own followed by its intermediates, the ca holds one or more certificates.
    variables: how the messages call them, by the same keys and "name" and "aliases"; the role's own names by default.
    Each message is one line: the variable, what is wrong, what would be right.
    """
    _require_cryptography()
    called = {**OWN_VARIABLES, **dict(variables or {})}
    now = now or datetime.now(UTC)
    key, _key_block, key_problem = _read_key(provided.get("key"))
    chain, _chain_blocks, chain_problem = _read_certificates(provided.get("certificate"))
    anchors, _anchor_blocks, anchor_problem = _read_certificates(provided.get("ca"))
    found = {"certificate": chain_problem, "key": key_problem, "ca": anchor_problem}
    problems = [f"{called[kind]}: {problem}" for kind, problem in found.items() if problem]
    if not chain:
        return problems

    leaf, intermediates = chain[0], chain[1:]
    if key is not None and _spki(key.public_key()) != _spki(leaf.public_key()):
        if any(_spki(key.public_key()) == _spki(other.public_key()) for other in intermediates):
            # All else would be said of the wrong certificate.
            problems.append(
                f"{called['certificate']}: begins with {_title(leaf)}, which is not the certificate of the key in "
                f"{called['key']}; the server's own certificate must come first, its intermediates after it"
            )
            return problems
        problems.append(
            f"{called['key']}: does not belong to {_title(leaf)} in {called['certificate']} (their public keys "
            "differ); give the key that the certificate was requested with"
        )

    def owner(certificate: x509.Certificate) -> str:
        return called["certificate"] if certificate in chain else called["ca"]

    path = _find_path(leaf, intermediates, anchors)
    if anchors and not path:
        problems.append(_broken_chain(leaf, intermediates, anchors, called))
    problems += _issuer_problems(path, owner)
    problems += _date_problems(path or [leaf], owner, now)
    for certificate in path[:-1] or [leaf]:
        try:
            weak = isinstance(certificate.signature_hash_algorithm, (hashes.MD5, hashes.SHA1))
        except UnsupportedAlgorithm:
            weak = False
        if weak:
            problems.append(
                f"{called['certificate']}: {_title(certificate)} is signed with SHA-1 or MD5, which clients refuse; "
                "have it issued again with SHA-256"
            )
    usage = _extension(leaf, x509.ExtendedKeyUsage)
    if usage is not None and not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {
        *usage
    }:
        problems.append(
            f"{called['certificate']}: {_title(leaf)} was not issued for servers (extendedKeyUsage lacks serverAuth); "
            "give a server certificate"
        )
    return problems + _name_problems(leaf, name, aliases or [], called)


def registry_tls_warnings(certificate: Any, variable: str = "", now: float | None = None) -> list[str]:
    """Return what will soon be wrong with a provided certificate; [] when all is well, or when it cannot be read.

    certificate: PEM text or the path of a file on the controller. variable: how the message calls it.
    now: seconds since the epoch.
    """
    _require_cryptography()
    chain = _read_certificates(certificate)[0]
    now = time.time() if now is None else now
    if not chain or chain[0].not_valid_after_utc.timestamp() - now >= SOON_DAYS * DAY:
        return []
    prefix = f"{variable}: " if variable else ""
    ends = _day(chain[0].not_valid_after_utc)
    return [f"{prefix}the provided certificate ends on {ends}; have it renewed and hand over the new one"]


def registry_tls_pem(value: Any, kind: str) -> str:
    """Return the certificates or the key in `value` (PEM text or a controller file) as the text of the host's file.

    kind: "certificate" or "key". Raises AnsibleFilterError when `value` holds none.
    """
    _require_cryptography()
    blocks, problem = _read_key(value)[1:] if kind == "key" else _read_certificates(value)[1:]
    if problem:
        raise AnsibleFilterError(f"registry_tls_pem: the {kind} {problem}")
    return _joined(blocks)


# ------------------------------------------------------------------------------------------------------- the inputs


def _is_name(value: str, wildcard: bool = False) -> bool:
    """Tell whether `value` is an IP address or a DNS name in lower case; four numbers that are no address are not."""
    if _address(value):
        return True
    if wildcard:
        value = value.removeprefix("*.")
    return bool(_DNS_NAME.fullmatch(value)) and not value.rpartition(".")[2].isdigit()


def registry_tls_input_problems(inputs: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the role's variables beyond their types; [] when all is well.

    inputs: the dict __registry_tls_wanted of vars/main.yml.
    """
    problems = []
    name = str(inputs["name"])
    if not _is_name(name):
        problems.append(
            f"registry_tls_name: '{name}' is not a DNS name or an IP address; give the bare name in lower case, "
            "without scheme, port or path"
        )
    problems += [
        f"registry_tls_aliases: '{alias}' is not a DNS name or an IP address; give bare names in lower case"
        for alias in inputs["aliases"]
        if not _is_name(str(alias), wildcard=True)
    ]
    problems += [
        f"registry_tls_addresses: '{address}' is not an IP address; names belong in registry_tls_aliases"
        for address in inputs["addresses"]
        if not _address(str(address))
    ]
    days, ca_days = int(inputs["certificate_days"]), int(inputs["ca_days"])
    if not 1 <= days <= LONGEST_LEAF_DAYS:
        problems.append(
            f"registry_tls_certificate_days: {days} is not from 1 to {LONGEST_LEAF_DAYS} days; "
            "clients refuse certificates that live longer"
        )
    if ca_days <= days:
        problems.append(
            f"registry_tls_ca_days: {ca_days} days are not more than the {days} of registry_tls_certificate_days; "
            "the CA must outlive the certificates that it signs"
        )
    directories = {f"registry_tls_{kind}": str(inputs[kind]) for kind in ("directory", "ca_directory")}
    for variable, directory in directories.items():
        if not PurePosixPath(directory).is_absolute() or os.path.normpath(directory) == "/":
            problems.append(f"{variable}: '{directory}' is not the absolute path of a directory")
    outer, inner = (os.path.normpath(directory) for directory in directories.values())
    if inner == outer or inner.startswith(f"{outer}/"):
        problems.append(
            f"registry_tls_ca_directory: {inner} lies in registry_tls_directory, which the registry's container sees; "
            "keep the CA's key outside it"
        )
    if bool(inputs["endpoint"]) != bool(inputs["restart_command"]):
        problems.append(
            "registry_tls_endpoint: goes together with registry_tls_restart_command: set both, or neither; without the "
            "first nobody knows whether a restart is due"
        )
    elif inputs["endpoint"] and not re.fullmatch(r"[^\s/]+:\d{1,5}", str(inputs["endpoint"])):
        problems.append(f"registry_tls_endpoint: '{inputs['endpoint']}' is not ADDRESS:PORT, such as 127.0.0.1:5000")
    if inputs["mode"] != "private_ca" and inputs["rollover"] != "keep":
        problems.append(
            "registry_tls_rotation: is for mode private_ca; a provided CA is replaced by handing over another one, at "
            "first together with the old one"
        )
    if int(inputs["owner"]) < 0:
        problems.append(f"registry_tls_owner: {inputs['owner']} is not a user's number; it must be 0 or more")
    return problems


# --------------------------------------------------------------------------------------------------------- the plan


def own_addresses(interfaces: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the host's lasting addresses, in the order of its interfaces, from `ip -json address show`.

    Loopback, link-local, temporary (IPv6 privacy) and outdated addresses and those of container bridges are left out.
    """
    passing = {"temporary", "deprecated", "tentative", "dadfailed"}
    return _unique(
        str(ipaddress.ip_address(entry["local"]))
        for interface in interfaces
        if not _INNER_INTERFACE.match(interface.get("ifname", ""))
        for entry in interface.get("addr_info", [])
        if entry.get("scope") == "global" and "local" in entry and not any(entry.get(flag) for flag in passing)
    )


def _parse_look(text: str) -> Look:
    """Parse the look's output: lines that begin with @, and PEM blocks that belong to the @path line before them.

    Raises AnsibleFilterError when it is not what tasks/look.yml prints.
    """
    values: dict[str, str] = {}
    has: set[str] = set()
    paths: dict[str, Seen] = {}
    for part in re.split(r"^@", text, flags=re.MULTILINE)[1:]:
        line, _, rest = part.partition("\n")
        word, _, argument = line.partition(" ")
        if word == "has":
            has.add(argument)
        elif word == "path":
            label, kind, mode, uid, gid, sha256 = argument.split(",")
            if kind == "missing":
                paths[label] = MISSING
            else:
                paths[label] = Seen(kind, mode, int(uid), int(gid), sha256, _pem_blocks(rest))
        else:
            values[word] = argument
    try:
        interfaces = json.loads(values.get("addresses") or "[]")
        look = Look(int(values["clock"]), int(values["user"]), has, own_addresses(interfaces), paths)
    except (KeyError, ValueError) as error:
        raise AnsibleFilterError(f"registry_tls_plan: the look's output cannot be read: {error!r}") from error
    return look


def _public_key(path: Seen) -> Any:
    """Return the public key that the look printed for a private key's file, or None."""
    for block in path.pem:
        if block.label == "PUBLIC KEY":
            try:
                return serialization.load_pem_public_key(block.text.encode())
            except (ValueError, UnsupportedAlgorithm):
                return None
    return None


def _fault(label: str, path: Seen, where: str, wanted: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Compare mode and owner with what they should be. Returns (reason, arguments for the file module); "" when right.

    A missing path has no fault here: whoever makes it also sets its mode.
    """
    owner = int(wanted["owner"]) if label == "key" else 0
    mode = {"directory": "755", "ca_directory": "700"}.get(label, "600" if label.endswith("key") else "644")
    if not path.exists or (path.mode, path.uid, path.gid) == (mode, owner, owner):
        return "", {}
    reason = f"{where} is {path.mode} {path.uid}:{path.gid} instead of {mode} {owner}:{owner}"
    return reason, {"path": where, "mode": f"0{mode}", "owner": str(owner), "group": str(owner)}


def _where(label: str, wanted: Mapping[str, Any]) -> str:
    directory = wanted["ca_directory"] if label.startswith("ca_") else wanted["directory"]
    return str(PurePosixPath(str(directory)) / FILES[label])


def _judge_ca(
    look: Look, wanted: Mapping[str, Any], key_label: str, certificate_label: str
) -> tuple[x509.Certificate | None, str]:
    """Return a private CA's certificate (None when there is none yet) and what only a person can put right, or ""."""
    key, certificate = look.paths[key_label], look.paths[certificate_label]
    key_at, certificate_at = _where(key_label, wanted), _where(certificate_label, wanted)
    handed_out = "which every client must then be given"
    if not certificate.exists and not key.exists:
        return None, ""
    if not key.exists:
        return None, (
            f"{key_at} is missing, but {certificate_at} is there: the CA has lost its key. Put the key back from a "
            f"backup; or remove {certificate_at}, so that the next run makes a new CA, {handed_out}"
        )
    public_key = _public_key(key)
    if "openssl" in look.has and public_key is None:
        return None, f"{key_at} is not a readable private key without a passphrase; put it back from a backup"
    if not certificate.exists:
        return None, ""
    try:
        ca = _certificates(certificate.pem)[0]
    except (ValueError, IndexError):
        return None, (
            f"{certificate_at} holds no readable certificate. Put it back from a backup; or remove it, so that the "
            f"next run makes a new one with the CA's key, {handed_out}"
        )
    if public_key is not None and _spki(public_key) != _spki(ca.public_key()):
        return ca, (
            f"{certificate_at} does not belong to {key_at}. Put back the two that belong together; or remove "
            f"{certificate_at}, so that the next run makes a certificate for that key, {handed_out}"
        )
    constraints = _extension(ca, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        return ca, f"{certificate_at} is not the certificate of a CA (basicConstraints lacks CA:TRUE)"
    return ca, ""


def _judge_dates(look: Look, wanted: Mapping[str, Any], ca: x509.Certificate) -> str:
    """Return why the CA that is to sign cannot do so now, or ""."""
    clock = datetime.fromtimestamp(look.clock, UTC)
    if ca.not_valid_after_utc <= clock:
        return (
            f"the CA in {wanted['ca_directory']} expired on {_day(ca.not_valid_after_utc)}. Remove all keys and "
            "certificates there, so that the next run makes a new CA, which every client must then be given"
        )
    if ca.not_valid_before_utc > clock:
        return f"the CA in {wanted['ca_directory']} is not valid yet by this host's clock; set the clock right"
    return ""


def _is_half_finished(look: Look) -> bool:
    """Tell whether the next CA's certificate has taken the old one's place, and its key has not yet."""
    next_key = _public_key(look.paths["ca_next_key"])
    if look.paths["ca_next_certificate"].exists or next_key is None:
        return False
    try:
        ca = _certificates(look.paths["ca_certificate"].pem)[0]
    except (ValueError, IndexError):
        return False
    return _spki(next_key) == _spki(ca.public_key())


def _leaf_reasons(
    look: Look, wanted: Mapping[str, Any], cas: Sequence[x509.Certificate], sans: Sequence[str]
) -> tuple[x509.Certificate | None, x509.Certificate | None, list[str]]:
    """Return the certificate in registry.crt, which of `cas` signed it, and why it must be replaced by another."""
    at = _where("certificate", wanted)
    path = look.paths["certificate"]
    if not path.exists:
        return None, None, [f"{at} is missing"]
    try:
        chain = _certificates(path.pem)
    except ValueError as error:
        return None, None, [f"{at}: {error}"]
    if len(chain) != 1:
        return None, None, [f"{at} holds {len(chain)} certificates instead of one"]
    leaf = chain[0]
    ca = next((one for one in cas if _issued(leaf, one)), None)
    reasons = []
    key = _public_key(look.paths["key"])
    if key is not None and _spki(key) != _spki(leaf.public_key()):
        reasons.append(f"{at} does not belong to {_where('key', wanted)}")
    if ca is None:
        reasons.append(f"{at} was not signed by the CA in {wanted['ca_directory']}")
    missing = [san for san in sans if san not in _sans(leaf)]
    if missing:
        reasons.append(f"{at} does not hold {', '.join(missing)}")
    clock = datetime.fromtimestamp(look.clock, UTC)
    start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if start > clock:
        reasons.append(f"{at} is not valid before {start:%Y-%m-%d %H:%M} UTC")
    # A certificate that ends with its CA cannot be had with a later end: renewing it would help nobody.
    elif end <= clock or ((end - clock) * 3 < end - start and (ca is None or end < ca.not_valid_after_utc)):
        reasons.append(f"{at} ends on {_day(end)}, and less than a third of its life is left")
    if end - start > timedelta(days=int(wanted["certificate_days"]), minutes=1):
        reasons.append(f"{at} lives longer than {wanted['certificate_days']} days")
    return leaf, ca, reasons


def _key_reasons(look: Look, wanted: Mapping[str, Any]) -> list[str]:
    """Return why the server needs a new key of its own."""
    at, path = _where("key", wanted), look.paths["key"]
    if not path.exists:
        return [f"{at} is missing"]
    if "openssl" not in look.has:
        return []
    key = _public_key(path)
    if key is None:
        return [f"{at} is not a readable private key"]
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != wanted["curve"]:
        return [f"{at} is not a key on the curve {wanted['curve']}"]
    return []


def _asn1(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%SZ")


def _rollover_errors(
    look: Look, wanted: Mapping[str, Any], ca: x509.Certificate | None, following: x509.Certificate | None, issuer: Any
) -> list[str]:
    """Return why a step from one CA to the next cannot be taken."""
    step = wanted["rollover"]
    if step == "begin" and ca is None:
        return [f"registry_tls_rotation: there is no CA in {wanted['ca_directory']} yet that another could follow"]
    if step in ("withdraw", "finish") and following and issuer != following:
        return [
            f"registry_tls_rotation: {_where('certificate', wanted)} was not signed by the next CA yet; clients would "
            "lose the CA that did sign it; switch first"
        ]
    return []


def _plan_private_ca(look: Look, wanted: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the plan of mode private_ca, without what both modes share.

    While one CA follows another, both lie there. Which step was taken last is told by the files alone: next.crt is
    there (begun), it signed registry.crt (switched), ca.crt for the clients holds nothing else (withdrawn).
    """
    warnings = []
    step = wanted["rollover"]
    half = _is_half_finished(look)
    ca, ca_problem = _judge_ca(look, wanted, "ca_next_key" if half else "ca_key", "ca_certificate")
    following, next_problem = None, ""
    if look.paths["ca_next_certificate"].exists:
        following, next_problem = _judge_ca(look, wanted, "ca_next_key", "ca_next_certificate")
    errors = [problem for problem in (ca_problem, next_problem) if problem]
    addresses = [str(address) for address in wanted["addresses"]] or look.addresses
    if not addresses:
        warnings.append(
            "no address of this host could be read, so the certificate holds none; set them yourself "
            "(registry_tls_addresses)"
        )
    sans = _unique([*map(_san, [str(wanted["name"]), *map(str, wanted["aliases"]), *addresses]), *LOCALHOST])
    first = not look.paths["ca_certificate"].exists
    succeed = step == "begin" and not first and following is None
    make_ca_key = (
        not look.paths["ca_key"].exists if first else succeed and (half or not look.paths["ca_next_key"].exists)
    )
    key_reasons = _key_reasons(look, wanted)
    leaf, issuer, leaf_reasons = _leaf_reasons(look, wanted, [one for one in (ca, following) if one], sans)
    errors += _rollover_errors(look, wanted, ca, following, issuer)
    there = look.paths["ca"].pem
    old, new = look.paths["ca_certificate"].pem, look.paths["ca_next_certificate"].pem
    withdrawn = bool(new) and there == new
    signer = ca
    if following and (step == "switch" or withdrawn or issuer == following):
        signer = following
        if leaf and issuer != following:
            leaf_reasons.append(f"{_where('certificate', wanted)} was not signed by the next CA yet")
    if signer and not errors and (problem := _judge_dates(look, wanted, signer)):
        errors.append(problem)
    make_leaf = bool(first or key_reasons or leaf_reasons)

    reasons = []
    if first:
        reasons.append(
            f"there is no CA in {wanted['ca_directory']}"
            if make_ca_key
            else f"{_where('ca_certificate', wanted)} is missing beside the CA's key"
        )
    if succeed:
        reasons.append(f"there is no next CA in {wanted['ca_directory']}")
    moves = []
    if half or (step == "finish" and following):
        moves = [["next.key", "ca.key"]] if half else [["next.crt", "ca.crt"], ["next.key", "ca.key"]]
        reasons.append(f"the next CA in {wanted['ca_directory']} has not taken the old one's place")
    reasons += key_reasons + leaf_reasons

    # What clients are to trust: both CAs, until the old one has been withdrawn.
    alone = withdrawn or (bool(new) and step in ("withdraw", "finish") and issuer == following)
    handed_out = new if alone else old + new
    hand_out = first or succeed or there != handed_out
    if hand_out and not first and not succeed:
        reasons.append(f"{_where('ca', wanted)} is not the CA's certificate")

    tools = {"openssl": "openssl", "python3-cryptography": "cryptography"}
    making = make_leaf or first or succeed
    packages = [package for package, tool in tools.items() if tool not in look.has and (making or tool == "openssl")]
    if packages and "openssl" not in look.has and not making:
        reasons.append("openssl is missing, so the keys could not be judged")

    start = look.clock - min(BACKDATED, int(wanted["certificate_days"]) * DAY // 10)
    signer_end = int(signer.not_valid_after_utc.timestamp()) if signer else start + int(wanted["ca_days"]) * DAY
    end = min(start + int(wanted["certificate_days"]) * DAY, signer_end)
    if making and abs(look.clock - now) > CLOCK_TOLERANCE:
        errors.append(
            f"this host's clock says {datetime.fromtimestamp(look.clock, UTC):%Y-%m-%d %H:%M} UTC, the "
            f"controller's {datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC: certificates made now "
            "would not be valid for everybody; set the wrong one right"
        )
    if following and step == "keep":
        warnings.append(
            f"another CA is about to follow the one in {wanted['ca_directory']}; finish that "
            "(playbooks/rotate-ca.yml, registry_tls_rotation)"
        )
    elif ca and step == "keep" and not errors and signer_end - look.clock < int(wanted["certificate_days"]) * DAY:
        warnings.append(
            f"the CA in {wanted['ca_directory']} ends on {_day(ca.not_valid_after_utc)}, and no certificate can "
            "outlive it; let a new one follow in time (playbooks/rotate-ca.yml, registry_tls_rotation)"
        )
    return {
        "errors": errors,
        "warnings": warnings,
        "due": reasons,
        "packages": packages,
        "moves": moves,
        "ca_name": "next" if succeed else "ca",
        # A common name has 64 characters at most. The part of the name tells several CAs apart, the day one of them
        # from the next.
        "ca_common_name": f"Wharf CA {wanted['name'][:44]} {_day(datetime.fromtimestamp(look.clock, UTC))}"
        if succeed
        else f"Wharf CA {wanted['name'][:55]}",
        "make_ca_key": make_ca_key,
        "make_ca": first or succeed,
        "make_key": bool(key_reasons),
        "make_leaf": make_leaf,
        "signer": "next" if signer and signer == following else "ca",
        "hand_out": hand_out,
        "handed_out": "next" if alone and not moves else "ca|next",
        "sans": sans,
        "not_before": _asn1(start),
        "not_after": _asn1(end),
        "ca_not_after": _asn1(start + int(wanted["ca_days"]) * DAY),
        "ends": leaf.not_valid_after_utc if leaf and not make_leaf else datetime.fromtimestamp(end, UTC),
        "fingerprint": "" if make_leaf else look.paths["certificate"].sha256,
        "ca_pem": "" if first or succeed else _joined(handed_out),
    }


def _plan_provided(look: Look, wanted: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the plan of mode provided, without what both modes share. The inputs have passed their checks."""
    chain, chain_blocks, chain_problem = _read_certificates(wanted["certificate"])
    _anchors, ca_blocks, ca_problem = _read_certificates(wanted["ca"])
    key, _key_blocks, key_problem = _read_key(wanted["key"])
    if chain_problem or ca_problem or key_problem:
        raise AnsibleFilterError("registry_tls_plan: certificate, key or CA cannot be read; validate them first")
    reasons = []
    contents = {"certificate": _joined(chain_blocks), "ca": _joined(ca_blocks)}
    sums = {label: hashlib.sha256(content.encode()).hexdigest() for label, content in contents.items()}
    for label, wanted_sum in sums.items():
        if not look.paths[label].exists:
            reasons.append(f"{_where(label, wanted)} is missing")
        elif look.paths[label].sha256 != wanted_sum:
            reasons.append(f"{_where(label, wanted)} differs from what was provided")
    there = _public_key(look.paths["key"])
    if not look.paths["key"].exists:
        reasons.append(f"{_where('key', wanted)} is missing")
    elif "openssl" not in look.has:
        reasons.append(f"openssl is missing, so {_where('key', wanted)} could not be judged")
    elif there is None or _spki(there) != _spki(key.public_key()):
        reasons.append(f"{_where('key', wanted)} differs from what was provided")
    ends = chain[0].not_valid_after_utc
    warnings = registry_tls_warnings(wanted["certificate"], now=now)
    return {
        "errors": [],
        "warnings": warnings,
        "due": reasons,
        "packages": [] if "openssl" in look.has else ["openssl"],
        "ends": ends,
        "fingerprint": sums["certificate"],
        "ca_pem": contents["ca"],
    }


def registry_tls_plan(
    look: str, wanted: Mapping[str, Any], now: float | None = None, renewal_due: bool = False
) -> dict[str, Any]:
    """Judge what the look found on the host. Returns what is due and all that the tasks need in order to do it.

    look: the output of tasks/look.yml. wanted: the dict __registry_tls_wanted of vars/main.yml.
    now: the controller's clock in seconds since the epoch. Validity is judged by the host's own clock.
    renewal_due: whether something of the certificate's own renewal is missing, or too much.

    errors: what only a person can put right; warnings; due: one reason a line, [] when all is well; summary: one line.
    directories, repair: arguments for the file module; packages: names for apt; lists_valid: its cache_valid_time.
    fingerprint (sha256, hex, of registry.crt) and ca_pem (ca.crt): as they will be, "" where they are still to be made.
    Mode private_ca only: make_ca_key, make_ca, make_key, make_leaf, hand_out: what is due; ca_name: of which CA, "ca"
    or "next"; ca_common_name; signer: which of them signs; handed_out: whose certificates clients are given, as a
    regular expression; moves: [from, to] in the CA's directory; sans: the whole subjectAltName; not_before, not_after,
    ca_not_after: ASN.1 times (YYYYMMDDHHMMSSZ).
    """
    _require_cryptography()
    seen = _parse_look(look)
    now = time.time() if now is None else now
    private = wanted["mode"] == "private_ca"
    labels = [label for label in FILES if private or not label.startswith("ca_")]
    absent = [label for label in labels if label not in seen.paths]
    if absent:
        raise AnsibleFilterError(f"registry_tls_plan: the look says nothing of {', '.join(absent)}")
    plan = (_plan_private_ca if private else _plan_provided)(seen, wanted, now)
    if renewal_due:
        plan["due"].append(f"the certificate's own renewal is {'not set up' if private else 'still there'}")
    faults: dict[str, list[dict[str, Any]]] = {"directories": [], "repair": []}
    for label in labels:
        where, path = _where(label, wanted), seen.paths[label]
        is_directory = FILES[label] == ""
        if path.exists and (path.kind == "directory") != is_directory:
            plan["errors"].append(
                f"{where} is a {path.kind}, where a {'directory' if is_directory else 'file'} belongs; move it away"
            )
        reason, arguments = _fault(label, path, where, wanted)
        if not path.exists and is_directory:
            # Missing directories are never the only reason: their files are missing too.
            arguments = {
                "path": where,
                "mode": "0700" if label == "ca_directory" else "0755",
                "owner": "0",
                "group": "0",
            }
        if reason:
            plan["due"].append(reason)
        if arguments:
            faults["directories" if is_directory else "repair"].append(arguments)
    plan.update(faults)
    if not plan["due"]:
        plan["packages"] = []
    # apt's module takes emptied package lists for fresh ones (it looks at their directory's time only).
    plan["lists_valid"] = LISTS_VALID if "lists" in seen.has else 0
    if plan["packages"] and "apt" not in seen.has:
        plan["errors"].append(f"{', '.join(plan['packages'])} must be installed first: this host has no apt-get")
    if seen.user != 0:
        # Whatever an ordinary user sees is not what is there.
        plan["errors"] = ["the role needs root on the host; set become: true"]
    plan["summary"] = _summary(plan, seen, wanted)
    del plan["ends"]
    return plan


def _summary(plan: Mapping[str, Any], look: Look, wanted: Mapping[str, Any]) -> str:
    days = int((plan["ends"].timestamp() - look.clock) // DAY)
    state = f"The certificate for {wanted['name']} holds until {_day(plan['ends'])}, {days} days."
    if plan["due"]:
        state = f"Due: {'; '.join(plan['due'])}."
    return " ".join([state, *(f"Warning: {warning}." for warning in plan["warnings"])])


def _require_cryptography() -> None:
    if x509 is None:  # pragma: no cover
        raise AnsibleFilterError("registry_tls: the Python package cryptography is missing on the controller")

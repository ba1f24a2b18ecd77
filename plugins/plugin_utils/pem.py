"""Certificates and keys in PEM, as text or as files on the controller. No message ever holds a key's content."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ansible.errors import AnsibleFilterError

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
except ImportError:  # pragma: no cover
    x509 = None  # type: ignore[assignment]

_PEM_BLOCK = re.compile(r"-----BEGIN (?P<label>[A-Z0-9 ]+)-----(?P<body>.*?)-----END (?P=label)-----", re.DOTALL)
_PASSPHRASE = (
    "is protected by a passphrase, which nobody could type when the registry starts; "
    "remove it (openssl pkey -in OLD -out NEW) and keep the new file in Ansible Vault"
)


class Pem(NamedTuple):
    """One PEM block: its label ("CERTIFICATE") and its text without a final newline."""

    label: str
    text: str


def pem_blocks(text: str) -> list[Pem]:
    """Return the PEM blocks in a text, each line stripped: indentation, CRLF and text around the blocks are dropped."""
    blocks = []
    for match in _PEM_BLOCK.finditer(text):
        label = match["label"]
        body = "\n".join(line.strip() for line in match["body"].split("\n") if line.strip())
        blocks.append(Pem(label, f"-----BEGIN {label}-----\n{body}\n-----END {label}-----"))
    return blocks


def joined(blocks: Iterable[Pem]) -> str:
    """Return blocks as the text of a file, with a final newline; "" when there are none."""
    return "".join(f"{block.text}\n" for block in blocks)


def read_key(value: Any) -> tuple[Any, list[Pem], str]:
    """Load a private key, PEM text or the path of a file. Returns (key, its block, "") or (None, [], what is wrong)."""
    text, problem = _text(value, secret=True)
    if problem:
        return None, [], problem
    blocks = pem_blocks(text)
    keys = [block for block in blocks if block.label.endswith("PRIVATE KEY")]
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


def read_certificates(value: Any) -> tuple[list[x509.Certificate], list[Pem], str]:
    """Load certificates like ``read_key``. Returns (certificates, their blocks, "") or ([], [], what is wrong)."""
    text, problem = _text(value)
    if problem:
        return [], [], problem
    blocks = pem_blocks(text)
    if any(block.label.endswith("PRIVATE KEY") for block in blocks):
        return [], [], "holds a private key; only certificates belong there, because everybody may read that file"
    blocks = [block for block in blocks if block.label == "CERTIFICATE"]
    if not blocks:
        hint = "convert a DER file with: openssl x509 -inform der -in OLD -out NEW"
        return [], [], f"holds no certificate in PEM (no line -----BEGIN CERTIFICATE-----); {hint}"
    certificates = []
    for number, block in enumerate(blocks, start=1):
        try:
            certificate = x509.load_pem_x509_certificate(block.text.encode())
            certificate.public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm):
            problem = f"is damaged: certificate number {number} in it cannot be read; copy it again from where it was"
            return [], [], f"{problem} issued"
        certificates.append(certificate)
    return certificates, blocks, ""


def require_cryptography() -> None:
    """Refuse to work without the package that reads certificates."""
    if x509 is None:  # pragma: no cover
        raise AnsibleFilterError("the Python package cryptography is missing on the controller")


def _text(value: Any, secret: bool = False) -> tuple[str, str]:
    """Return (text, "") of PEM text or a controller's file, or ("", what is wrong with it and what would be right)."""
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
    shown = f"the file {value}"
    if secret and not value.startswith(("/", "~", ".")) and len(value) > 40:
        # It might be the key itself.
        shown = "a file (not shown here, because it may be the key itself without its BEGIN and END lines)"
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

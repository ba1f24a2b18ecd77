"""Keys and certificates by the command openssl, because Python's standard library reads and makes neither."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from .addresses import san
from .errors import WharfError

WORK = "/run"  # a file system in memory, and root's
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_PUBLIC_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----\n", re.DOTALL)
_SAN = re.compile(r"\b(DNS|IP Address):([^,\s]+)")
_CONFIG = """
[req]
distinguished_name = subject
prompt = no
[subject]
{subject}
[ca]
default_ca = own
[own]
database = {work}/index.txt
new_certs_dir = {work}
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = extensions
[any]
organizationName = optional
commonName = optional
[extensions]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid,issuer
{extensions}
"""


def openssl(*arguments: str | Path) -> str:
    """Return what openssl prints. Raises WharfError, with the last line of its output, where it fails."""
    command = ["openssl", *map(str, arguments)]
    environment = {**os.environ, "SSL_CERT_FILE": "/dev/null"}  # otherwise it reads all of the system's CAs first
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
    if result.returncode != 0:
        lines = ["without a message", *(result.stderr.strip() or result.stdout.strip()).splitlines()]
        raise WharfError(f"openssl {arguments[0]} fails: {lines[-1]}")
    return result.stdout


def end_of(path: Path) -> float:
    """Return until when the first certificate in a file holds, in seconds since 1970. Raises WharfError."""
    return ssl.cert_time_to_seconds(openssl("x509", "-noout", "-enddate", "-in", path).strip().partition("=")[2])


def utc(seconds: float, form: str = "%Y-%m-%d %H:%M UTC") -> str:
    """Return a time for people, in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime(form)


class Certificate:
    """The one certificate in a file.

    Attributes:
        pem: its text, without anything around it.
        der: the same as bytes.
        start, end: from when and until when it holds, in seconds since the epoch.
        public_key: its public key, as ``public_key`` returns one.
        sans: its subjectAltName, such as ["DNS:registry.example.org", "IP:192.0.2.1"].
        is_ca: whether it is a CA's.
    """

    def __init__(self, path: Path) -> None:
        """Read it. Raises WharfError where the file holds none that can be read, or several."""
        self.path = path
        try:
            blocks = _BLOCK.findall(path.read_text("ascii", "replace"))
        except FileNotFoundError:
            raise WharfError(f"{path} is missing") from None
        except OSError as error:
            raise WharfError(f"{path} cannot be read ({error.strerror})") from error
        if len(blocks) != 1:
            raise WharfError(f"{path} holds {len(blocks)} certificates instead of one")
        self.pem = "".join(f"{line.strip()}\n" for line in blocks[0].splitlines() if line.strip())
        try:
            self.der = ssl.PEM_cert_to_DER_cert(self.pem)
            text = openssl(
                "x509", "-noout", "-in", path, "-startdate", "-enddate", "-pubkey",
                "-ext", "subjectAltName,basicConstraints",
            )  # fmt: skip
            dates = dict(re.findall(r"^(notBefore|notAfter)=(.+)$", text, re.MULTILINE))
            self.start: float = ssl.cert_time_to_seconds(dates["notBefore"])
            self.end: float = ssl.cert_time_to_seconds(dates["notAfter"])
            self.public_key: str = _PUBLIC_KEY.findall(text)[0]
            self.sans = [san(value) for _, value in _SAN.findall(text)]
        except (ValueError, LookupError, WharfError) as error:
            raise WharfError(f"{path} is damaged") from error
        self.is_ca = "CA:TRUE" in text

    def was_signed_by(self, issuer: Certificate, *options: str) -> bool:
        """Tell whether this issuer signed it, and both hold now unless an option says otherwise."""
        try:
            openssl("verify", "-partial_chain", *options, "-trusted", issuer.path, self.path)
        except WharfError:
            return False
        return True


def public_key(path: Path) -> str | None:
    """Return the public half of a private key's file in PEM; None where there is no readable key without passphrase."""
    try:
        return openssl("pkey", "-in", path, "-passin", "pass:", "-pubout") if path.exists() else None
    except WharfError:
        return None


def new_key() -> bytes:
    """Return a new private key on the curve P-256, in PEM."""
    return openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256").encode()


@contextmanager
def signed(
    key: Path, common_name: str, extensions: Sequence[str], dates: tuple[float, float], *issuer: str | Path
) -> Iterator[Certificate]:
    """Make a certificate for a key. Its file goes with the block that uses it.

    Args:
        key: the private key that the certificate is for.
        common_name: of its subject; a longer one than the standard's 64 characters is left out.
        extensions: lines of openssl's configuration.
        dates: from when to when it holds, in seconds since the epoch.
        issuer: the options of ``openssl ca`` that name who signs.
    """
    subject = "O = Wharf" + (f"\nCN = {common_name}" if len(common_name) <= 64 else "")
    start, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(seconds)) for seconds in dates)
    with tempfile.TemporaryDirectory(prefix="wharf-", dir=WORK) as directory:
        config, request, made = (Path(directory, name) for name in ("config", "request", "certificate"))
        config.write_text(_CONFIG.format(work=directory, subject=subject, extensions="\n".join(extensions)))
        Path(directory, "index.txt").touch()
        openssl("req", "-new", "-config", config, "-key", key, "-out", request)
        openssl(
            "ca", "-batch", "-notext", "-preserveDN", "-config", config, "-in", request, *issuer,
            "-startdate", start, "-enddate", end, "-out", made,
        )  # fmt: skip
        yield Certificate(made)

"""Renew the registry's certificate from the CA that lies on this server, and let the registry load it.

Does nothing while more than a third of the certificate's life is left, unless told to with --now. Subject, names, key
and key usage stay as they are; the days come from /etc/wharf/renew-certificate.json. The registry is restarted only
when it serves another certificate than the file's, so also when an earlier run was cut off between the two.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import BusyError, WharfError
from ..lock import lock, write_result

CONFIG = "/etc/wharf/renew-certificate.json"
NAME = "renew-certificate"
DAY = 86400
BACKDATED = 2 * DAY  # seconds: clocks that are set back by a day, and clients with slow ones, accept a new certificate
START_TIMEOUT = 5  # seconds for a registry that is just starting
RESTART_TIMEOUT = 120  # seconds for the command, and again until the registry answers
# What a certificate is for: all of it must be in the next one too.
EXTENSIONS = "subjectAltName,keyUsage,extendedKeyUsage,basicConstraints"
ISSUING = """
[ca]
default_ca = own
[own]
database = {directory}/index.txt
new_certs_dir = {directory}
rand_serial = yes
default_md = sha256
unique_subject = no
policy = any
copy_extensions = copyall
x509_extensions = identifiers
[any]
commonName = optional
[identifiers]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def openssl(*arguments: str | Path) -> str:
    """Return what openssl prints. Raises WharfError with its last words."""
    command = ["openssl", *map(str, arguments)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode != 0:
        words = (result.stderr.strip() or result.stdout.strip()).splitlines()
        raise WharfError(f"openssl {arguments[0]} fails: {words[-1] if words else 'it says nothing'}")
    return result.stdout


def day(seconds: float) -> str:
    """Return a time for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


class Certificate:
    """A certificate's file."""

    def __init__(self, path: Path) -> None:
        """Read it. Raises WharfError where it holds none, or several."""
        self.path = path
        try:
            blocks = re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", path.read_text(), re.DOTALL)
        except OSError as error:
            raise WharfError(
                f"{path} cannot be read ({error.strerror}): run site.yml, which makes what is missing"
            ) from error
        if len(blocks) != 1:
            raise WharfError(f"{path} holds {len(blocks)} certificates instead of one: run site.yml, which replaces it")
        try:
            self.der = ssl.PEM_cert_to_DER_cert(blocks[0])
        except ValueError as error:
            raise WharfError(f"{path} is damaged: run site.yml, which replaces it") from error
        dates = dict(line.split("=", 1) for line in self.ask("-startdate", "-enddate").splitlines())
        self.start = ssl.cert_time_to_seconds(dates["notBefore"])
        self.end = ssl.cert_time_to_seconds(dates["notAfter"])

    def ask(self, *options: str) -> str:
        """Return what openssl x509 says of it."""
        return openssl("x509", "-noout", "-in", self.path, *options)

    def belongs_to(self, key: Path) -> bool:
        """Tell whether this private key is its own."""
        try:
            return openssl("pkey", "-in", key, "-passin", "pass:", "-pubout") == self.ask("-pubkey")
        except WharfError:
            return False

    def was_signed_by(self, issuer: Certificate, *options: str) -> bool:
        """Tell whether this issuer signed it."""
        try:
            openssl("verify", "-partial_chain", *options, "-trusted", issuer.path, self.path)
        except WharfError:
            return False
        return True


class Renewal:
    """The files of one server, as its configuration names them."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.directory = Path(config["directory"])
        self.ca_directory = Path(config["ca_directory"])
        self.days: int = config["days"]
        self.endpoint: str = config["endpoint"]
        self.restart_command: str = config["restart_command"]
        self.file = self.directory / "registry.crt"
        self.key = self.directory / "registry.key"

    def signer(self, leaf: Certificate) -> tuple[Certificate, Path]:
        """Return the CA that signed the certificate, and its key: while one CA follows the other there are two.

        Raises:
            WharfError: there is none.
        """
        authorities = [
            Certificate(path) for name in ("ca.crt", "next.crt") if (path := self.ca_directory / name).exists()
        ]
        for authority in authorities:
            if leaf.was_signed_by(authority, "-no_check_time"):
                for key in (self.ca_directory / "ca.key", self.ca_directory / "next.key"):
                    if authority.belongs_to(key):
                        return authority, key
                raise WharfError(f"the key of {authority.path} is missing or damaged: put it back from a backup")
        raise WharfError(
            f"{leaf.path} was not signed by the CA in {self.ca_directory}: run site.yml, which replaces it"
        )

    def is_due(self, leaf: Certificate) -> bool:
        """Tell whether it does not hold now, or less than a third of its life is left and a later end can be had."""
        now = time.time()
        if not leaf.start <= now < leaf.end:
            return True
        return (leaf.end - now) * 3 < leaf.end - leaf.start and leaf.end < self.signer(leaf)[0].end

    def renew(self, leaf: Certificate) -> Certificate:
        """Replace the certificate, at once and only by one that is right. Returns the new one. Raises WharfError."""
        signer, signer_key = self.signer(leaf)
        if not leaf.belongs_to(self.key):
            raise WharfError(f"{self.file} does not belong to {self.key}: run site.yml, which repairs the two")
        if signer.end <= time.time():
            raise WharfError(f"the CA in {signer.path} has expired on {day(signer.end)}: see the message of site.yml")
        if signer.start > time.time():
            raise WharfError(
                f"the CA in {signer.path} holds from {day(signer.start)} only: set this server's clock right"
            )
        start = time.time() - min(BACKDATED, self.days * DAY // 10)
        end = min(start + self.days * DAY, signer.end)
        with tempfile.TemporaryDirectory(dir="/run") as work:
            Path(work, "config").write_text(ISSUING.format(directory=work))
            Path(work, "index.txt").touch()
            openssl(
                "x509", "-x509toreq", "-in", self.file, "-signkey", self.key, "-copy_extensions", "copyall",
                "-out", f"{work}/request",
            )  # fmt: skip
            openssl(
                "ca", "-batch", "-notext", "-preserveDN", "-config", f"{work}/config", "-in", f"{work}/request",
                "-cert", signer.path, "-keyfile", signer_key, "-out", f"{work}/certificate",
                "-startdate", time.strftime("%Y%m%d%H%M%SZ", time.gmtime(start)),
                "-enddate", time.strftime("%Y%m%d%H%M%SZ", time.gmtime(end)),
            )  # fmt: skip
            content = Path(work, "certificate").read_text()
        # In the same directory, so that the name goes from one whole file to the other.
        descriptor, name = tempfile.mkstemp(prefix=".registry.crt.", dir=self.directory)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(content)
                file.flush()
                os.fchmod(descriptor, 0o644)
                os.fsync(descriptor)
            self.judge(Certificate(Path(name)), leaf, signer)
            os.replace(name, self.file)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise
        directory = os.open(self.directory, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        return Certificate(self.file)

    def judge(self, new: Certificate, old: Certificate, signer: Certificate) -> None:
        """Refuse a certificate that clients would refuse, or that is not like the old one. Raises WharfError."""
        like = ("-subject", "-ext", EXTENSIONS)
        if not new.was_signed_by(signer, "-purpose", "sslserver"):
            raise WharfError("the new certificate does not verify: the old one stays")
        # Their order does not count.
        if not new.belongs_to(self.key) or sorted(new.ask(*like).splitlines()) != sorted(old.ask(*like).splitlines()):
            raise WharfError("the new certificate has another key or other names than the old one, which stays")

    def served(self) -> bytes:
        """Return the certificate that is served, DER; b"" where none is."""
        host, _, port = self.endpoint.rpartition(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # compared byte by byte instead
        try:
            with (
                socket.create_connection((host.strip("[]"), int(port)), timeout=5) as raw,
                context.wrap_socket(raw) as connection,
            ):
                return connection.getpeercert(binary_form=True) or b""
        except OSError:
            return b""

    def is_stale(self, leaf: Certificate) -> bool:
        """Tell whether the registry serves another certificate. One that does not run reads it when it starts."""
        deadline = time.monotonic() + START_TIMEOUT
        while self.endpoint:
            if served := self.served():
                return served != leaf.der
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
        return False

    def restart(self, leaf: Certificate) -> float:
        """Restart the registry. Returns the seconds until it served the certificate. Raises WharfError."""
        begin = time.monotonic()
        command = shlex.split(self.restart_command)
        try:
            result = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RESTART_TIMEOUT
            )
            words = " ".join(result.stderr.split())[-300:] if result.returncode != 0 else ""
            failed = result.returncode != 0
        except (OSError, subprocess.TimeoutExpired) as error:
            words, failed = str(error), True
        if failed:
            raise WharfError(f"the certificate is renewed, but not served: `{self.restart_command}` fails: {words}")
        while (served := self.served()) != leaf.der:
            if time.monotonic() - begin > RESTART_TIMEOUT:
                what = "another certificate" if served else "no certificate"
                raise WharfError(f"restarted with `{self.restart_command}`, but {self.endpoint} serves {what}")
            time.sleep(0.05)
        return time.monotonic() - begin


def run(renewal: Renewal, now: bool, wait: float) -> dict[str, str]:
    """Do what is due. Returns what there is to say, by name. Raises WharfError."""
    old = leaf = Certificate(renewal.file)
    said, done = {}, []
    if now or renewal.is_due(old) or renewal.is_stale(old):
        with lock(NAME, wait):
            old = leaf = Certificate(renewal.file)  # whoever had the lock may have renewed it
            if now or renewal.is_due(old):
                leaf = renewal.renew(old)
                said = {"old_end": day(old.end), "new_end": day(leaf.end)}
                done.append(f"renewed until {day(leaf.end)}")
            if renewal.is_stale(leaf):
                said["without_service"] = f"{renewal.restart(leaf):.1f} s"
                done.append(f"the registry was restarted and serves it, after {said['without_service']}")
            elif done and renewal.endpoint:
                done.append("the registry does not answer; it serves it when it starts")
    said["new_end"] = day(leaf.end)
    said["ca_end"] = day(renewal.signer(leaf)[0].end)
    said["message"] = "; ".join(done) or f"nothing is due: it holds until {day(leaf.end)}"
    return said


def main(arguments: list[str]) -> int:
    """Run the program. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--now", action="store_true", help="renew it, however long it still holds")
    parser.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="for what else is at work (0)")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        parser.error("only root may do this")
    os.umask(0o022)
    try:
        said = run(Renewal(json.loads(Path(CONFIG).read_text())), options.now, options.wait)
    except Exception as error:
        message = str(error) if isinstance(error, WharfError) else f"{type(error).__name__}: {error}"
        print(f"{NAME}: {message}", file=sys.stderr)
        # A person who was told to wait is no failed renewal; a timer that waited in vain is.
        if not isinstance(error, BusyError) or options.wait:
            write_result(NAME, False, message)
        return 1
    write_result(NAME, True, said["message"])
    for key, value in said.items():
        print(f"{key}: {json.dumps(value)}")
    return 0

"""Renew the registry's certificate from the CA on this server, and let the registry load it.

Does nothing while more than a third of the certificate's life is left, unless --now is given. Names, key and key usage
stay as they are; the days come from /etc/wharf/certificate.json. The registry is restarted only when it serves another
certificate than the file's, so also when an earlier run was cut off between the two.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

from ..errors import BusyError, WharfError
from ..lock import lock, write_result
from ..openssl import Certificate, public_key, utc
from ..private_ca import SETTINGS, ends_soon, issue
from ..text import one_line
from .options import Output, add_json, add_wait

NAME = "renew-certificate"
START_TIMEOUT = 5  # seconds for a registry that is just starting
RESTART_TIMEOUT = 120  # seconds for the command, and again until the registry answers


def read_settings() -> dict[str, Any]:
    """Return what the role registry_tls has written for the renewal. Raises WharfError with the remedy."""
    try:
        return json.loads(SETTINGS.read_text())
    except (OSError, ValueError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise WharfError(f"{SETTINGS} {reason}: run site.yml, which writes it where there is a private CA") from error


def read(path: Path) -> Certificate:
    """Return the certificate in a file. Raises WharfError with the remedy."""
    try:
        return Certificate(path)
    except WharfError as error:
        raise WharfError(f"{error}: run site.yml, which repairs it") from error


class Renewal:
    """The certificate of one server, as its settings name it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.ca_directory = Path(settings["ca_directory"])
        self.endpoint: str = settings["endpoint"]
        self.restart_command: str = settings["restart_command"]
        self.file = Path(settings["directory"], "registry.crt")
        self.key = Path(settings["directory"], "registry.key")

    def signer(self, leaf: Certificate) -> tuple[Certificate, Path]:
        """Return the CA that signed the certificate, and its key: during a rotation there are two.

        Raises:
            WharfError: there is none.
        """
        for path in (self.ca_directory / "ca.crt", self.ca_directory / "next.crt"):
            if path.exists() and leaf.was_signed_by(ca := read(path), "-no_check_time"):
                for key in (self.ca_directory / "ca.key", self.ca_directory / "next.key"):
                    if public_key(key) == ca.public_key:
                        return ca, key
                raise WharfError(f"the key of {path} is missing or damaged: put it back from a backup")
        raise WharfError(
            f"{leaf.path} was not signed by the CA in {self.ca_directory}: run site.yml, which replaces it"
        )

    def is_pending(self, leaf: Certificate) -> bool:
        """Tell whether it does not hold now, or less than a third of its life is left and a later end can be had."""
        return leaf.start > time.time() or (ends_soon(leaf, None) and ends_soon(leaf, self.signer(leaf)[0]))

    def renew(self, leaf: Certificate) -> Certificate:
        """Replace the certificate, at once and only by one that is right. Returns the new one. Raises WharfError."""
        signer, signer_key = self.signer(leaf)
        if public_key(self.key) != leaf.public_key:
            raise WharfError(f"{self.file} does not belong to {self.key}: run site.yml, which repairs the two")
        if signer.end <= time.time():
            raise WharfError(f"the CA in {signer.path} has expired on {utc(signer.end)}: see the message of site.yml")
        if signer.start > time.time():
            raise WharfError(
                f"the CA in {signer.path} holds from {utc(signer.start)} only: set this server's clock right"
            )
        issue(self.settings, leaf.sans, signer, signer_key)
        return read(self.file)

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
        try:
            result = subprocess.run(
                shlex.split(self.restart_command),
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RESTART_TIMEOUT,
            )  # fmt: skip
            failure = one_line(result.stderr) or "without a message" if result.returncode != 0 else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            failure = str(error)
        if failure:
            raise WharfError(f"the certificate is renewed, but not served: `{self.restart_command}` fails: {failure}")
        while (served := self.served()) != leaf.der:
            if time.monotonic() - begin > RESTART_TIMEOUT:
                what = "another certificate" if served else "no certificate"
                raise WharfError(f"restarted with `{self.restart_command}`, but {self.endpoint} serves {what}")
            time.sleep(0.05)
        return time.monotonic() - begin


def renew(renewal: Renewal, now: bool, wait: float) -> dict[str, Any]:
    """Do what is pending. Returns what there is to report, by name. Raises WharfError."""
    leaf = read(renewal.file)
    report: dict[str, Any] = {}
    done = []
    if now or renewal.is_pending(leaf) or renewal.is_stale(leaf):
        with lock(NAME, wait):
            leaf = read(renewal.file)  # whoever had the lock may have renewed it
            if now or renewal.is_pending(leaf):
                report["old_end"] = utc(leaf.end)
                leaf = renewal.renew(leaf)
                done.append(f"renewed until {utc(leaf.end)}")
            if renewal.is_stale(leaf):
                report["without_service"] = f"{renewal.restart(leaf):.1f} s"
                done.append(f"the registry was restarted and serves it, after {report['without_service']}")
            elif done and renewal.endpoint:
                done.append("the registry does not answer; it serves it when it starts")
    report["changed"] = bool(done)
    report["new_end"] = utc(leaf.end)
    report["ca_end"] = utc(renewal.signer(leaf)[0].end)
    report["message"] = "; ".join(done) or f"nothing is pending: it holds until {utc(leaf.end)}"
    return report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--now", action="store_true", help="renew it, however long it still holds")
    add_wait(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Renew the certificate; return the exit code. Raises WharfError."""
    if os.geteuid() != 0:
        raise WharfError("only root may do this")
    os.umask(0o022)
    try:
        report = renew(Renewal(read_settings()), options.now, options.wait)
    except (WharfError, OSError) as error:
        # For a person who does not wait, a busy registry is no failed renewal; for the timer that waited it is.
        if not isinstance(error, BusyError) or options.wait:
            write_result(NAME, False, str(error))
        raise WharfError(str(error)) from error
    write_result(NAME, True, report["message"])
    output = Output(options.json)
    output.result |= report
    output.line(f"{report['message']}; its CA holds until {report['ca_end']}")
    output.close()
    return 0

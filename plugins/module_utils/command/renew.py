"""Renew the registry's certificate from the CA on this server, and let the registry load it.

Does nothing while more than a third of the certificate's life is left, unless --now is given. Names, key and key usage
stay as they are; the days come from /etc/wharf/certificate.json. The gateway is told to load it only when it serves
another certificate than the file's, so also when an earlier run was cut off between the two; no connection is lost.
Where it does not serve the new one, the one before is put back.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

from ..api import Client, RegistryError, trust_nothing
from ..engine import THIS_ENGINE
from ..errors import WharfError, message_of
from ..files import all_or_nothing, write_atomic
from ..openssl import Certificate, public_key, utc
from ..private_ca import SETTINGS, ends_soon, issue
from ..text import one_line
from .cli import Task, add_wait

START_TIMEOUT = 5  # seconds for a registry that is just starting
RESTART_TIMEOUT = 120  # seconds for the command, and again until the registry answers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--now", action="store_true", help="renew it, however long it still holds")
    add_wait(parser)


def run(task: Task) -> str:
    """Do what is pending."""
    if os.geteuid() != 0:
        raise WharfError("only root may do this")
    task.record = True
    renewal, now, done = Renewal(), task.options.now, []
    leaf = renewal.leaf()
    if now or renewal.is_pending(leaf) or renewal.served_instead(leaf):
        with task.lock():
            leaf = renewal.leaf()  # whoever had the lock may have renewed it
            before = b""
            if now or renewal.is_pending(leaf):
                task.result["old_end"] = utc(leaf.end)
                before, leaf = leaf.der, renewal.renew(leaf)
                done.append(f"renewed until {utc(leaf.end)}")
            if served := renewal.served_instead(leaf):
                # Just after a reload, a worker of before may still serve an older one than was in the file.
                task.result["served_after"] = took = f"{renewal.serve(leaf, before or served):.1f} s"
                done.append(f"the registry serves it, after {took}")
            elif done and renewal.endpoint:
                done.append("the registry does not answer; it serves it when it starts")
    ca_end = utc(renewal.signer(leaf)[0].end)
    message = "; ".join(done) or f"nothing is pending: it holds until {utc(leaf.end)}"
    task.result.update(changed=bool(done), new_end=utc(leaf.end), ca_end=ca_end)
    task.line(f"{message}; its CA holds until {ca_end}")
    return message


class Renewal:
    """The certificate of one server, as its settings name it."""

    def __init__(self) -> None:
        """Read what the role registry_tls has written for the renewal. Raises WharfError with the remedy."""
        try:
            self.settings: dict[str, Any] = json.loads(SETTINGS.read_text())
        except (OSError, ValueError) as error:
            reason = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
            remedy = "run site.yml, which writes it where there is a private CA"
            raise WharfError(f"{SETTINGS} {reason}: {remedy}") from None
        self.ca_directory, self.directory = Path(self.settings["ca_directory"]), Path(self.settings["directory"])
        self.endpoint: str = self.settings["endpoint"]

    def leaf(self) -> Certificate:
        return _read(self.directory / "registry.crt")

    def signer(self, leaf: Certificate) -> tuple[Certificate, Path]:
        """Return the CA that signed the certificate, and its key: during a rotation there are two."""
        for path in (self.ca_directory / "ca.crt", self.ca_directory / "next.crt"):
            if path.exists() and leaf.was_signed_by(ca := _read(path), "-no_check_time"):
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
        key = self.directory / "registry.key"
        if public_key(key) != leaf.public_key:
            raise WharfError(f"{leaf.path} does not belong to {key}: run site.yml, which repairs the two")
        if signer.end <= time.time():
            raise WharfError(f"the CA in {signer.path} has expired on {utc(signer.end)}: see the message of site.yml")
        if signer.start > time.time():
            raise WharfError(
                f"the CA in {signer.path} holds from {utc(signer.start)} only: set this server's clock right"
            )
        issue(self.settings, leaf.sans, signer, signer_key)
        return self.leaf()

    def served(self, patience: float) -> bytes:
        """Return the certificate that is served, DER; b"" where none is within some seconds."""
        host, _, port = self.endpoint.rpartition(":")
        try:
            # Whatever it is: it is compared byte by byte.
            with Client(host, int(port), trust_nothing(), timeout=5) as client:
                client.wait(patience)
                return client.certificate()
        except RegistryError:
            return b""

    def served_instead(self, leaf: Certificate) -> bytes:
        """Return what else the registry serves, DER. One that does not run reads the certificate when it starts."""
        served = self.served(START_TIMEOUT) if self.endpoint else b""
        return b"" if served == leaf.der else served

    def serve(self, leaf: Certificate, before: bytes) -> float:
        """Let the registry serve the certificate. Returns the seconds until it did.

        Raises:
            WharfError: it does not; the one before, DER, is back, unless the message says otherwise.
        """
        try:
            return self.restart(leaf)
        except WharfError as error:
            reason = str(error).rstrip(".")
            raise WharfError(f"the new certificate is not served: {reason}. {self.go_back(before)}") from None

    def go_back(self, before: bytes) -> str:
        """Put the certificate of before back, DER, and let the registry serve it. Returns how all is then."""
        path = str(self.directory / "registry.crt")
        try:
            with all_or_nothing(path):
                write_atomic(path, ssl.DER_cert_to_PEM_cert(before).encode())
                leaf = self.leaf()
                if leaf.public_key != public_key(self.directory / "registry.key"):
                    raise WharfError("it belongs to another key")
            try:
                self.restart(leaf)  # although it may serve that: what failed may have told it of the new one
            except WharfError:
                if self.served(0) != before:
                    raise
        except (WharfError, OSError) as error:
            return f"The one before could not be put back either: {message_of(error)}"
        return f"All is as it was before: the registry serves the one that holds until {utc(leaf.end)}"

    def restart(self, leaf: Certificate) -> float:
        """Restart the registry. Returns the seconds until it served the certificate. Raises WharfError."""
        begin, command = time.monotonic(), self.settings["restart_command"]
        try:
            subprocess.run(
                shlex.split(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
                timeout=RESTART_TIMEOUT, env={**os.environ, **THIS_ENGINE},
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            reason = one_line(getattr(error, "stderr", None) or error)
            raise WharfError(f"`{command}` fails: {reason}") from None
        while (served := self.served(0)) != leaf.der:
            if time.monotonic() - begin > RESTART_TIMEOUT:
                what = "another certificate" if served else "no certificate"
                raise WharfError(f"after `{command}` {self.endpoint} serves {what}")
            time.sleep(0.05)
        return time.monotonic() - begin


def _read(path: Path) -> Certificate:
    try:
        return Certificate(path)
    except WharfError as error:
        raise WharfError(f"{error}: run site.yml, which repairs it") from error

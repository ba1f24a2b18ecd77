"""The private CA on a registry's server and the certificate that it signs: what is pending, and doing it.

The role registry_tls and the command ``wharf renew-certificate`` issue by the code in this file.

While one CA is rotated for the next, both lie in the CA's directory. The files alone tell which step was taken last:
next.crt is there (stage), it signed registry.crt (switch), ca.crt for the clients holds nothing else (retire).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .addresses import san
from .errors import WharfError
from .files import write_atomic
from .modes import mode_problems, repair_modes
from .openssl import Certificate, new_key, public_key, sign, utc, work_directory

DAY = 86400
BACKDATED = 2 * DAY  # clocks that are set back by a day, and clients with slow ones, accept a new certificate
SETTINGS = Path("/etc/wharf/certificate.json")  # what the renewal on the server must know
LOCALHOST = ("DNS:localhost", "IP:127.0.0.1", "IP:::1")
# What the public key of a key on the curve P-256 begins with: the names of algorithm and curve in DER.
P256 = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"
# In the order in which they are taken.
STEPS = (
    "write_settings", "repair_files", "replace_ca", "make_ca", "make_next_ca", "make_key", "issue", "publish_ca",
)  # fmt: skip
CA_EXTENSIONS = ("keyUsage = critical,keyCertSign,cRLSign", "basicConstraints = critical,CA:TRUE,pathlen:0")
SERVER_EXTENSIONS = (
    "keyUsage = critical,digitalSignature",
    "extendedKeyUsage = serverAuth",
    "basicConstraints = critical,CA:FALSE",
)


def starts(days: float) -> float:
    """Return from when a certificate holds that is made now and lives so many days."""
    return time.time() - min(BACKDATED, days * DAY // 10)


def ends_soon(certificate: Certificate, ca: Certificate | None) -> bool:
    """Tell whether less than a third of its life is left.

    A certificate that ends with its CA cannot be had with a later end: renewing it would help nobody.
    """
    left = certificate.end - time.time()
    return left <= 0 or (left * 3 < certificate.end - certificate.start and (ca is None or certificate.end < ca.end))


def issue(wanted: Mapping[str, Any], sans: Sequence[str], signer: Certificate, signer_key: Path) -> None:
    """Issue the server's certificate for the key that is there, and put it in place, at once and only when it is right.

    Args:
        wanted: name, days and directory.
        sans: the whole subjectAltName.
        signer: the CA.
        signer_key: its private key.

    Raises:
        WharfError: it cannot be issued; the one before stays.
    """
    directory, start = Path(wanted["directory"]), starts(wanted["days"])
    key = directory / "registry.key"
    extensions = [f"subjectAltName = {','.join(sans)}", *SERVER_EXTENSIONS]
    dates = (start, min(start + wanted["days"] * DAY, signer.end))
    with work_directory() as work:
        new = Certificate(
            sign(Path(work), key, wanted["name"], extensions, dates, "-cert", signer.path, "-keyfile", signer_key)
        )
        if not new.was_signed_by(signer, "-purpose", "sslserver"):
            raise WharfError("the new certificate does not verify: the one before stays")
        if new.public_key != public_key(key) or set(new.sans) != set(sans):
            raise WharfError("the new certificate has another key or other names than it should: the one before stays")
        write_atomic(str(directory / "registry.crt"), new.pem.encode())


class PrivateCA:
    """What the private CA's files are and what is pending.

    Attributes:
        errors: what only a person can put right.
        warnings: what a person should know.
        steps: the names of the methods that do what is pending, in order, each with its reasons.
        sans: the whole subjectAltName that the certificate should have.
        current: the CA's certificate.
        following: that of the next CA, during a rotation.
        issuer: which of the two signed the server's certificate.
    """

    def __init__(self, wanted: Mapping[str, Any], addresses: Sequence[str]) -> None:
        """Judge what is there.

        Args:
            wanted: the parameters of the module registry_certificate.
            addresses: those of this host.
        """
        self.wanted = wanted
        self.directory, self.ca_directory = Path(wanted["directory"]), Path(wanted["ca_directory"])
        self.bundle, self.key, self.certificate = (
            self.directory / name for name in ("ca.crt", "registry.key", "registry.crt")
        )
        self.addresses = addresses
        names = map(san, [wanted["name"], *wanted["aliases"], *addresses])
        self.sans = list(dict.fromkeys([*names, *LOCALHOST]))
        self.judge()

    # ------------------------------------------------------------------------------------------------------- judging

    def judge(self) -> None:
        """Find out what is pending."""
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.steps: dict[str, list[str]] = {}
        self.ca_paths = self._authority_paths()
        self.current = self._authority(*self.ca_paths)
        self.following = None
        if self._in_ca("next.crt").exists():
            self.following = self._authority(self._in_ca("next.key"), self._in_ca("next.crt"))
        self._judge_files()
        self._judge_rotation_start()
        self._judge_key_and_certificate()
        self._judge_rotation_end()
        self._judge_bundle()
        self._judge_dates()
        self._judge_clock()
        if not SETTINGS.exists() or SETTINGS.read_text() != self.settings_text():
            self._add("write_settings", "the settings of the certificate's own renewal are not there")

    def _in_ca(self, name: str) -> Path:
        return self.ca_directory / name

    def _add(self, step: str, *reasons: str) -> None:
        if reasons:
            self.steps.setdefault(step, []).extend(reasons)

    def _expected(self) -> dict[Path, tuple[int, int]]:
        """Return the mode and owner of each path."""
        secret = ("ca.key", "next.key")
        return {
            self.directory: (0o755, 0),
            self.ca_directory: (0o700, 0),
            self.bundle: (0o644, 0),
            self.key: (0o600, self.wanted["owner"]),
            self.certificate: (0o644, 0),
            **{self._in_ca(name): (0o600 if name in secret else 0o644, 0) for name in (*secret, "ca.crt", "next.crt")},
        }

    def _judge_files(self) -> None:
        errors, reasons = mode_problems(self._expected(), [self.directory, self.ca_directory])
        self.errors += errors
        self._add("repair_files", *reasons.values())

    def _authority_paths(self) -> tuple[Path, Path]:
        """Return where the CA's key and certificate are.

        A rotation that was cut off in its last step has moved the next CA's certificate, and its key not yet.
        """
        key, certificate = self._in_ca("ca.key"), self._in_ca("ca.crt")
        following = public_key(self._in_ca("next.key"))
        if following is None or self._in_ca("next.crt").exists():
            return key, certificate
        try:
            moved = Certificate(certificate).public_key == following
        except WharfError:
            moved = False
        return (self._in_ca("next.key") if moved else key), certificate

    def _authority(self, key: Path, path: Path) -> Certificate | None:
        """Return a CA's certificate; None when there is none yet, or it cannot be used."""
        handed_out = "which every client must then be given"
        if not path.exists() and not key.exists():
            return None
        if not key.exists():
            self.errors.append(
                f"{key} is missing, but {path} is there: the CA has lost its key. Put the key back from a backup; or "
                f"remove {path}, so that the next run makes a new CA, {handed_out}"
            )
            return None
        public = public_key(key)
        if public is None:
            self.errors.append(f"{key} is not a readable private key without a passphrase; put it back from a backup")
            return None
        if not path.exists():
            return None
        try:
            ca = Certificate(path)
        except WharfError:
            self.errors.append(
                f"{path} holds no readable certificate. Put it back from a backup; or remove it, so that the next run "
                f"makes a new one with the CA's key, {handed_out}"
            )
            return None
        if public != ca.public_key:
            self.errors.append(
                f"{path} does not belong to {key}. Put back the two that belong together; or remove {path}, so that "
                f"the next run makes a certificate for that key, {handed_out}"
            )
        elif not ca.is_ca:
            self.errors.append(f"{path} is not the certificate of a CA (basicConstraints lacks CA:TRUE)")
        return ca

    def _judge_rotation_start(self) -> None:
        """Judge the moves that a cut-off last step left to do, and the making of a CA or of the next one."""
        if self.ca_paths[0].name == "next.key":
            self._add("replace_ca", f"the next CA in {self.ca_directory} has not taken the old one's place")
        if not self._in_ca("ca.crt").exists():
            has_key = self._in_ca("ca.key").exists()
            reason = f"{self._in_ca('ca.crt')} is missing beside the CA's key"
            self._add("make_ca", reason if has_key else f"there is no CA in {self.ca_directory}")
            if self.wanted["rotation"] == "stage":
                self.errors.append(
                    f"registry_tls_rotation: there is no CA in {self.ca_directory} yet that another could follow"
                )
        elif self.wanted["rotation"] == "stage" and self.following is None:
            self._add("make_next_ca", f"there is no next CA in {self.ca_directory}")

    def _judge_key_and_certificate(self) -> None:
        """Judge the server's key and certificate, and which CA signed it."""
        public, self.issuer = public_key(self.key), None
        if not self.key.exists():
            self._add("make_key", f"{self.key} is missing")
        elif public is None:
            self._add("make_key", f"{self.key} is not a readable private key")
        elif not public.startswith(P256):
            self._add("make_key", f"{self.key} is not a key on the curve P-256")
        try:
            leaf = Certificate(self.certificate)
        except WharfError as error:
            self._add("issue", str(error))
        else:
            authorities = [ca for ca in (self.current, self.following) if ca]
            signed = (ca for ca in authorities if leaf.was_signed_by(ca, "-no_check_time"))
            self.issuer = next(signed, None)
            self._add("issue", *self._certificate_reasons(leaf, public))
        if "make_ca" in self.steps or "make_key" in self.steps:
            self.steps.setdefault("issue", [])

    def _certificate_reasons(self, leaf: Certificate, public: str | None) -> list[str]:
        """Return why the certificate must be replaced by another."""
        at, days, reasons = self.certificate, self.wanted["days"], []
        if public and leaf.public_key != public:
            reasons.append(f"{at} does not belong to {self.key}")
        if self.issuer is None:
            reasons.append(f"{at} was not signed by the CA in {self.ca_directory}")
        elif self.issuer is not self.signer:
            reasons.append(f"{at} was not signed by the next CA yet")
        if missing := [name for name in self.sans if name not in leaf.sans]:
            reasons.append(f"{at} does not hold {', '.join(missing)}")
        if leaf.start > time.time():
            reasons.append(f"{at} is not valid before {utc(leaf.start)}")
        elif ends_soon(leaf, self.issuer):
            reasons.append(f"{at} ends on {utc(leaf.end, '%Y-%m-%d')}, and less than a third of its life is left")
        if leaf.end - leaf.start > days * DAY + 60:
            reasons.append(f"{at} lives longer than {days} days")
        return reasons

    def _published(self) -> str:
        """Return the file with the CAs that clients are given."""
        try:
            return self.bundle.read_text("ascii", "replace")
        except OSError:
            return ""

    @property
    def signer(self) -> Certificate | None:
        """The CA that signs; None where it is still to be made."""
        if self.following is None:
            return self.current
        switched = self.wanted["rotation"] == "switch" or self.issuer is self.following
        return self.following if switched or self._published() == self.following.pem else self.current

    def _judge_rotation_end(self) -> None:
        """Judge the last two steps of a rotation."""
        step = self.wanted["rotation"]
        if step not in ("retire", "finish") or not self.following:
            return
        if self.issuer is not self.following:
            self.errors.append(
                f"registry_tls_rotation: {self.certificate} was not signed by the next CA yet; clients would lose the "
                "CA that did sign it; switch first"
            )
        if step == "finish":
            self._add("replace_ca", f"the next CA in {self.ca_directory} has not taken the old one's place")

    def bundle_text(self) -> str:
        """Return the CAs that clients are to trust: both, until the old one has been retired."""
        new = self.following.pem if self.following else ""
        retires = self.wanted["rotation"] in ("retire", "finish") and self.issuer is self.following
        if new and (retires or self._published() == new):
            return new
        return (self.current.pem if self.current else "") + new

    def _judge_bundle(self) -> None:
        if {"make_ca", "make_next_ca"} & self.steps.keys():
            self.steps["publish_ca"] = []
        elif self._published() != self.bundle_text():
            self._add("publish_ca", f"{self.bundle} is not the CA's certificate")

    def _judge_dates(self) -> None:
        """Judge the dates of the CA that signs, and say what is to come."""
        signer, now = None if self.errors else self.signer, time.time()
        if signer and signer.end <= now:
            self.errors.append(
                f"the CA in {self.ca_directory} expired on {utc(signer.end, '%Y-%m-%d')}. Remove all keys and "
                "certificates there, so that the next run makes a new CA, which every client must then be given"
            )
        elif signer and signer.start > now:
            self.errors.append(
                f"the CA in {self.ca_directory} is not valid yet by this host's clock; set the clock right"
            )
        if not self.addresses:
            self.warnings.append(
                "no address of this host could be read, so the certificate holds none; put them into "
                "registry_tls_aliases"
            )
        if self.wanted["rotation"] != "keep":
            return
        if self.following:
            self.warnings.append(
                f"another CA is about to follow the one in {self.ca_directory}; finish that (playbooks/rotate-ca.yml, "
                "registry_tls_rotation)"
            )
        elif signer and not self.errors and signer.end - now < self.wanted["days"] * DAY:
            self.warnings.append(
                f"the CA in {self.ca_directory} ends on {utc(signer.end, '%Y-%m-%d')}, and no certificate can outlive "
                "it; let a new one follow in time (playbooks/rotate-ca.yml, registry_tls_rotation)"
            )

    def _judge_clock(self) -> None:
        """Judge the host's clock where certificates are to be made."""
        now, controller = time.time(), self.wanted["controller_time"]
        if controller and {"issue", "make_ca", "make_next_ca"} & self.steps.keys() and abs(now - controller) > DAY:
            self.errors.append(
                f"this host's clock says {utc(now)}, the controller's {utc(controller)}: certificates made now would "
                "not be valid for everybody; set the wrong one right"
            )

    @property
    def pending(self) -> list[str]:
        """What is pending, one reason a line."""
        return [reason for reasons in self.steps.values() for reason in reasons]

    # --------------------------------------------------------------------------------------------------------- doing

    def apply(self) -> None:
        """Do what is pending. A run that is cut off is taken up by the next.

        Raises:
            WharfError: it fails, or something is pending still.
        """
        for step in STEPS:
            if step in self.steps:
                getattr(self, step)()
                if step == "replace_ca":
                    self.judge()
        self.judge()
        if problems := [*self.errors, *self.pending]:
            raise WharfError(f"this is still pending after the work was done: {'; '.join(problems)}")

    def repair_files(self) -> None:
        """Make the directories, and repair owners and modes."""
        repair_modes(self._expected(), [self.directory, self.ca_directory])

    def replace_ca(self) -> None:
        """Let the next CA take the old one's place. Each is a rename, so that no moment is without a CA."""
        for name in ("crt", "key"):
            if self._in_ca(f"next.{name}").exists():
                os.replace(self._in_ca(f"next.{name}"), self._in_ca(f"ca.{name}"))

    def make_ca(self) -> None:
        """Make the CA, with the key that is there."""
        self.current = self._make_authority("ca", self.wanted["name"][:55])

    def make_next_ca(self) -> None:
        """Make the next CA. The name of the first tells several CAs apart, the day the next from the first."""
        self.following = self._make_authority("next", f"{self.wanted['name'][:44]} {utc(time.time(), '%Y-%m-%d')}")

    def _make_authority(self, name: str, title: str) -> Certificate:
        key, path = self._in_ca(f"{name}.key"), self._in_ca(f"{name}.crt")
        if not key.exists():
            write_atomic(str(key), new_key(), 0o600)
        start = starts(self.wanted["days"])
        dates = (start, start + self.wanted["ca_days"] * DAY)
        with work_directory() as work:
            made = sign(Path(work), key, f"Wharf CA {title}", CA_EXTENSIONS, dates, "-selfsign", "-keyfile", key)
            write_atomic(str(path), Certificate(made).pem.encode())
        return Certificate(path)

    def make_key(self) -> None:
        """Make the server's key."""
        write_atomic(str(self.key), new_key(), 0o600, self.wanted["owner"], self.wanted["owner"])

    def issue(self) -> None:
        """Issue the server's certificate. The key stays, so that the two belong together at any moment."""
        signer = self.signer
        if signer is None:
            raise WharfError(f"there is no CA in {self.ca_directory} that could sign")
        key = self.ca_paths[0] if signer is self.current else self._in_ca("next.key")
        issue(self.wanted, self.sans, signer, key)

    def publish_ca(self) -> None:
        """Write the CAs for the clients."""
        write_atomic(str(self.bundle), self.bundle_text().encode())

    def settings_text(self) -> str:
        """Return the file that the renewal on this server reads."""
        keys = ("name", "directory", "ca_directory", "days", "endpoint", "restart_command")
        return json.dumps({key: self.wanted[key] for key in keys}, indent=4) + "\n"

    def write_settings(self) -> None:
        """Write what the renewal on this server reads."""
        SETTINGS.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(str(SETTINGS), self.settings_text().encode())

    def fingerprint(self) -> str:
        """Return the SHA-256 of the certificate's file; "" where it is still to be issued."""
        return "" if "issue" in self.steps else hashlib.sha256(self.certificate.read_bytes()).hexdigest()

    def ca_pem(self) -> str:
        """Return what clients are to trust; "" where a CA is still to be made."""
        return "" if {"make_ca", "make_next_ca"} & self.steps.keys() else self.bundle_text()

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
from .files import Changes, Entry, read_entry, read_text, write_atomic
from .openssl import Certificate, new_key, public_key, signed, utc

DAY = 86400
BACKDATED = 2 * DAY  # clocks that are set back by a day, and clients with slow ones, accept a new certificate
SETTINGS = Path("/etc/wharf/certificate.json")  # what the renewal on the server must know
LOCALHOST = ("DNS:localhost", "IP:127.0.0.1", "IP:::1")
# What the public key of a key on the curve P-256 begins with: the names of algorithm and curve in DER.
P256 = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"
AUTHORITY = ("ca.key", "ca.crt", "next.key", "next.crt")  # all that makes a CA, in its directory
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


def read_authority(directory: str, ca_directory: str) -> dict[str, str]:
    """Return the files of this host's CA, text by name, for another host; and ca.crt for clients as "published"."""
    files = {name: read_text(Path(ca_directory, name)) for name in AUTHORITY}
    return {**files, "published": read_text(Path(directory, "ca.crt"))}


def take_authority(authority: Mapping[str, str], directory: str, ca_directory: str, changes: Changes) -> None:
    """Let another host's CA be this host's, whatever was there; that it has retired its old CA as well.

    Raises:
        OSError: something cannot be written.
    """
    changes.put(ca_directory, Entry(0, 0, 0o700, None))
    for name in AUTHORITY:
        entry = Entry(0, 0, 0o600 if name.endswith(".key") else 0o644, authority[name].encode())
        changes.put(f"{ca_directory}/{name}", entry if authority[name] else None)
    if authority["published"] == authority["next.crt"] != "":
        changes.put(directory, Entry(0, 0, 0o755, None))
        changes.put(f"{directory}/ca.crt", Entry(0, 0, 0o644, authority["published"].encode()))


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
    with signed(key, wanted["name"], extensions, dates, "-cert", signer.path, "-keyfile", signer_key) as new:
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
        steps: the names of the methods that do what is pending, each with its reasons.
        sans: the whole subjectAltName that the certificate should have.
        current: the CA's certificate; None where it is still to be made, or cannot be used.
        following: that of the next CA, during a rotation.
        issuer: which of the two signed the server's certificate.
        published: the file with the CAs that clients are given.
    """

    def __init__(self, wanted: Mapping[str, Any], addresses: Sequence[str]) -> None:
        """Judge what is there, by the parameters of the module registry_certificate and this host's addresses."""
        self.wanted, self.addresses = wanted, addresses
        self.directory, self.ca_directory = (Path(wanted[key]) for key in ("directory", "ca_directory"))
        files = [self.directory / name for name in ("ca.crt", "registry.key", "registry.crt")]
        self.bundle, self.key, self.certificate = files
        files = [self.ca_directory / name for name in ("ca.key", "ca.crt", "next.key", "next.crt")]
        self.ca_key, self.ca, self.next_key, self.next_ca = files
        self.title = f"the CA in {self.ca_directory}"
        self.sans = list(dict.fromkeys([*map(san, [wanted["name"], *wanted["aliases"], *addresses]), *LOCALHOST]))
        self.modes = {
            self.directory: (0o755, 0),
            self.ca_directory: (0o700, 0),
            self.key: (0o600, wanted["owner"]),
            **dict.fromkeys((self.ca_key, self.next_key), (0o600, 0)),
            **dict.fromkeys((self.bundle, self.certificate, self.ca, self.next_ca), (0o644, 0)),
        }
        self.judge()

    # ------------------------------------------------------------------------------------------------------- judging

    def judge(self) -> None:
        """Find out what is pending."""
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.steps: dict[str, list[str]] = {}
        self.published = self.bundle.read_text("ascii", "replace") if self.bundle.is_file() else ""
        self._judge_modes()
        self._judge_authorities()
        self._judge_key_and_certificate()
        self._judge_rotation()
        self._judge_dates()
        if not SETTINGS.exists() or SETTINGS.read_text() != self.settings_text():
            self._add("write_settings", "the settings of the certificate's own renewal are not there")

    def _add(self, step: str, *reasons: str) -> None:
        self.steps.setdefault(step, []).extend(reasons)

    def _judge_modes(self) -> None:
        for path, (mode, owner) in self.modes.items():
            found, is_directory = read_entry(os.path.realpath(path)), path in (self.directory, self.ca_directory)
            if found is None:
                if is_directory:
                    self._add("repair_files", f"{path} is missing")
            elif is_directory != (found.content is None):
                here, belongs = ("a file", "directory") if is_directory else ("a directory", "file")
                self.errors.append(f"{path} is {here}, where a {belongs} belongs; move it away")
            elif (found.mode, found.uid, found.gid) != (mode, owner, owner):
                there, wanted = f"{found.mode:o} {found.uid}:{found.gid}", f"{mode:o} {owner}:{owner}"
                self._add("repair_files", f"{path} is {there} instead of {wanted}")

    def _judge_authorities(self) -> None:
        """Judge the CA and the next one: whether they can be used, and whether one must be made."""
        self.current_key, stages = self.ca_key, self.wanted["rotation"] == "stage"
        if self.next_key.exists() and not self.next_ca.exists():
            # A rotation that was cut off in its last step has moved the next CA's certificate, and its key not yet.
            moved = _readable(self.ca)
            if moved and moved.public_key == public_key(self.next_key):
                self.current_key = self.next_key
        self.current = self._authority(self.current_key, self.ca)
        self.following = self._authority(self.next_key, self.next_ca) if self.next_ca.exists() else None
        if self.ca.exists():
            if stages and self.following is None:
                self._add("make_next_ca", f"there is no next CA in {self.ca_directory}")
            return
        missing = f"{self.ca} is missing beside the CA's key"
        self._add("make_ca", missing if self.ca_key.exists() else f"there is no CA in {self.ca_directory}")
        if stages:
            self.errors.append(f"registry_tls_rotation: {self.title}, which another could follow, is not there yet")

    def _authority(self, key: Path, path: Path) -> Certificate | None:
        """Return a CA's certificate; None when there is none yet, or it cannot be used."""
        if not path.exists() and not key.exists():
            return None
        ca, public = _readable(path), public_key(key)
        anew = f"or remove {path}, so that the next run makes a new one, which every client must then be given"
        if not key.exists():
            error = f"{key} is missing, but {path} is there: the CA has lost its key. Put it back from a backup; {anew}"
        elif public is None:
            error = f"{key} is not a readable private key without a passphrase; put it back from a backup"
        elif not path.exists():
            return None
        elif ca is None:
            error = f"{path} holds no readable certificate. Put it back from a backup; {anew}"
        elif public != ca.public_key:
            error = f"{path} does not belong to {key}. Put back the two that belong together; {anew}"
        elif not ca.is_ca:
            error = f"{path} is not the certificate of a CA (basicConstraints lacks CA:TRUE)"
        else:
            return ca
        self.errors.append(error)
        return None

    def _judge_key_and_certificate(self) -> None:
        """Judge the server's key and certificate, and which CA signed it."""
        public, self.issuer = public_key(self.key), None
        if not self.key.exists():
            self._add("make_key", f"{self.key} is missing")
        elif public is None:
            self._add("make_key", f"{self.key} is not a readable private key")
        elif not public.startswith(P256):
            self._add("make_key", f"{self.key} is not a key on the curve P-256")
        if {"make_ca", "make_key"} & self.steps.keys():
            self._add("issue")
        try:
            leaf = Certificate(self.certificate)
        except WharfError as error:
            self._add("issue", str(error))
            return
        authorities = [ca for ca in (self.current, self.following) if ca]
        self.issuer = next((ca for ca in authorities if leaf.was_signed_by(ca, "-no_check_time")), None)
        days, missing = self.wanted["days"], [name for name in self.sans if name not in leaf.sans]
        is_early = leaf.start > time.time()
        faults = {
            f"does not belong to {self.key}": public and leaf.public_key != public,
            f"was not signed by {self.title}": self.issuer is None,
            "was not signed by the next CA yet": self.issuer and self.issuer is not self.signer,
            f"does not hold {', '.join(missing)}": missing,
            f"is not valid before {utc(leaf.start)}": is_early,
            f"ends on {utc(leaf.end, '%Y-%m-%d')}, and less than a third of its life is left": (
                not is_early and ends_soon(leaf, self.issuer)
            ),
            f"lives longer than {days} days": leaf.end - leaf.start > days * DAY + 60,
        }
        for fault in (fault for fault, is_there in faults.items() if is_there):
            self._add("issue", f"{self.certificate} {fault}")

    @property
    def signer(self) -> Certificate | None:
        """The CA that signs; None where it is still to be made."""
        new = self.following
        follows = new and (self.wanted["rotation"] == "switch" or self.issuer is new or self.published == new.pem)
        return new if follows else self.current

    def bundle_text(self) -> str:
        """Return the CAs that clients are to trust: both, until the old one has been retired."""
        new, retires = self.following, self.wanted["rotation"] in ("retire", "finish")
        if new and (self.published == new.pem or (retires and self.issuer is new)):
            return new.pem
        return "".join(ca.pem for ca in (self.current, new) if ca)

    def _judge_rotation(self) -> None:
        """Judge the last two steps of a rotation, and what clients are given."""
        rotation = self.wanted["rotation"]
        if self.following and self.issuer is not self.following and rotation in ("retire", "finish"):
            self.errors.append(
                f"registry_tls_rotation: {self.certificate} was not signed by the next CA yet; clients would lose the "
                "CA that did sign it; switch first"
            )
        if self.current_key is self.next_key or (self.following and rotation == "finish"):
            self._add("replace_ca", f"the next CA in {self.ca_directory} has not taken the old one's place")
        if {"make_ca", "make_next_ca"} & self.steps.keys():
            self._add("publish_ca")
        elif self.published != self.bundle_text():
            self._add("publish_ca", f"{self.bundle} is not the CA's certificate")

    def _judge_dates(self) -> None:
        """Judge the host's clock and the dates of the CA that signs, and say what is to come."""
        signer, now, controller = self.signer, time.time(), self.wanted["controller_time"]
        keeps = self.wanted["rotation"] == "keep"
        if not self.addresses:
            self.warnings.append(
                "no address of this host could be read, so the certificate holds none; put them into "
                "registry_tls_aliases"
            )
        how = "(playbooks/rotate-ca.yml, registry_tls_rotation)"
        if self.following and keeps:
            self.warnings.append(f"another CA is about to follow the one in {self.ca_directory}; finish that {how}")
        if controller and {"issue", "make_ca", "make_next_ca"} & self.steps.keys() and abs(now - controller) > DAY:
            self.errors.append(
                f"this host's clock says {utc(now)}, the controller's {utc(controller)}: certificates made now would "
                "not be valid for everybody; set the wrong one right"
            )
        if self.errors or not signer:
            return
        end = utc(signer.end, "%Y-%m-%d")
        if signer.end <= now:
            self.errors.append(
                f"{self.title} expired on {end}. Remove all keys and certificates there, so that the next run makes a "
                "new CA, which every client must then be given"
            )
        elif signer.start > now:
            self.errors.append(f"{self.title} is not valid yet by this host's clock; set the clock right")
        elif keeps and not self.following and signer.end - now < self.wanted["days"] * DAY:
            self.warnings.append(
                f"{self.title} ends on {end}, and no certificate can outlive it; let a new one follow in time {how}"
            )

    @property
    def pending(self) -> list[str]:
        """What is pending, one reason a line."""
        return [reason for reasons in self.steps.values() for reason in reasons]

    # --------------------------------------------------------------------------------------------------------- doing

    def apply(self) -> None:
        """Do what is pending, or raise WharfError. A run that is cut off is taken up by the next."""
        for step in STEPS:
            if step in self.steps:
                getattr(self, step)()
                if step == "replace_ca":
                    self.judge()
        self.judge()
        if problems := [*self.errors, *self.pending]:
            raise WharfError(f"this is still pending after the work was done: {'; '.join(problems)}")

    def write_settings(self) -> None:
        """Write what the renewal on this server reads."""
        SETTINGS.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(str(SETTINGS), self.settings_text().encode())

    def repair_files(self) -> None:
        """Make the directories, and repair owners and modes."""
        for directory in (self.directory, self.ca_directory):
            directory.mkdir(parents=True, exist_ok=True)
        for path, (mode, owner) in self.modes.items():
            if path.exists():
                os.chmod(path, mode)
                os.chown(path, owner, owner)

    def replace_ca(self) -> None:
        """Let the next CA take the old one's place. Each is a rename, so that no moment is without a CA."""
        for old, new in ((self.ca, self.next_ca), (self.ca_key, self.next_key)):
            if new.exists():
                os.replace(new, old)

    def make_ca(self) -> None:
        """Make the CA, with the key that is there."""
        self.current = self._make_authority(self.ca_key, self.ca, self.wanted["name"][:55])

    def make_next_ca(self) -> None:
        """Make the next CA. The name of the first tells several CAs apart, the day the next from the first."""
        title = f"{self.wanted['name'][:44]} {utc(time.time(), '%Y-%m-%d')}"
        self.following = self._make_authority(self.next_key, self.next_ca, title)

    def _make_authority(self, key: Path, path: Path, title: str) -> Certificate:
        if not key.exists():
            write_atomic(str(key), new_key(), 0o600)
        start = starts(self.wanted["days"])
        dates = (start, start + self.wanted["ca_days"] * DAY)
        with signed(key, f"Wharf CA {title}", CA_EXTENSIONS, dates, "-selfsign", "-keyfile", key) as made:
            write_atomic(str(path), made.pem.encode())
        return Certificate(path)

    def make_key(self) -> None:
        """Make the server's key."""
        write_atomic(str(self.key), new_key(), 0o600, self.wanted["owner"], self.wanted["owner"])

    def issue(self) -> None:
        """Issue the server's certificate. The key stays, so that the two belong together at any moment."""
        signer = self.signer
        if signer is None:
            raise WharfError(f"{self.title} is not there and cannot sign")
        issue(self.wanted, self.sans, signer, self.next_key if signer is self.following else self.current_key)

    def publish_ca(self) -> None:
        """Write the CAs for the clients."""
        write_atomic(str(self.bundle), self.bundle_text().encode())

    # -------------------------------------------------------------------------------------------------------- telling

    def settings_text(self) -> str:
        """Return the file that the renewal on this server reads."""
        keys = ("name", "directory", "ca_directory", "days", "endpoint", "restart_command")
        return json.dumps({key: self.wanted[key] for key in keys}, indent=4) + "\n"

    def fingerprint(self) -> str:
        """Return the SHA-256 of the certificate's file; "" where it is still to be issued."""
        return "" if "issue" in self.steps else hashlib.sha256(self.certificate.read_bytes()).hexdigest()

    def ca_pem(self) -> str:
        """Return what clients are to trust; "" where a CA is still to be made."""
        return "" if {"make_ca", "make_next_ca"} & self.steps.keys() else self.bundle_text()


def _readable(path: Path) -> Certificate | None:
    try:
        return Certificate(path)
    except WharfError:
        return None

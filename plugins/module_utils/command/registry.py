"""What the programs that work on a registry's storage share: the read-only registry, a client, the proof.

They run as root, by a timer or by a person, with nothing but Python's standard library. What they must know of the
registry is in /etc/wharf/registry.json, which the role registry_server writes, and in the container itself.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import BusyError, DamageError, WharfError
from ..lock import lock, write_result
from ..storage import Storage
from ..text import human_bytes

CONFIGURATION = Path("/etc/wharf/registry.json")
ROOM = 16 * 1024**2  # bytes that the proof, the users' file and the registry's own traces must find
MOUNT = PurePosixPath("/var/lib/registry")  # where the container has its data
PROOF = "wharf-verify/collect-"  # how the repositories of the proof begin
PROOF_USER = "wharf-verify-"
TRASH = ".wharf-removed"  # in the driver's root directory: what goes moves there first, so that it goes at once

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_pending: list[int] = []  # what asked the program to stop
_deferred = False

MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)


# A program's run -----------------------------------------------------------------------------------


def run(name: str, work: Any, wait: float, record: bool, another_time: bool = False) -> int:
    """Do a program's work under the lock, tell how it ended, and return the exit code.

    Args:
        name: the program's name after "wharf-".
        work: is called with the registry; returns the line that is kept as the result.
        wait: how long to wait for the lock, in seconds.
        record: whether to write the result for the diagnosis.
        another_time: it is no failure that something else holds the lock.

    """

    for number in STOPS:
        signal.signal(number, _stop)
    try:
        with lock(name, wait):
            message = work(Registry())
        if record:
            write_result(name, True, message)
        return 0
    except (WharfError, DamageError, OSError, http.client.HTTPException) as error:
        if another_time and isinstance(error, BusyError):
            return 0
        text = _told(error)
        print(f"wharf-{name}: {text}", file=sys.stderr)
        # A person who finds it busy sees that; a timer has waited in vain.
        if record and not (isinstance(error, BusyError) and wait == 0):
            with contextlib.suppress(OSError):  # the disk may be full; the exit code tells as well
                write_result(name, False, text)
        return 1


def _stop(number: int, _frame: Any) -> None:
    """Stop where nothing is half done: a container that the engine is about to make must not come later."""
    _pending.append(number)
    if not _deferred:
        raise WharfError(f"stopped by {signal.Signals(number).name}")


def _told(error: BaseException) -> str:
    """Return what an error says, and what went wrong before it: bringing the registry back may fail as well."""
    text = str(error) or type(error).__name__
    before = error.__context__
    return f"{text} (after: {_told(before)})" if isinstance(before, (WharfError, DamageError)) else text


# The registry -------------------------------------------------------------------------------------


class Registry:
    """The registry on this host: its container, its storage, its clients' view."""

    def __init__(self) -> None:
        """Read what is known of it.

        Raises:
            WharfError: its images do not lie in a file system, there is no container, or no storage.

        """
        try:
            known = json.loads(CONFIGURATION.read_text())
        except FileNotFoundError:
            raise WharfError(f"{CONFIGURATION} is missing: run playbooks/deploy-registry.yml") from None
        self.container: str = known["container"]
        self.name: str = known["name"]
        self.port: int = known["port"]
        self.ca: str = known["ca"]
        self.htpasswd: str = known["htpasswd"]
        self.delete_untagged: bool = known["delete_untagged"]
        self.caches: bool = known["caches"]
        self.read_only_container = f"{self.container}-read-only"
        self.collector = f"{self.container}-collect-garbage"
        self.asked = f"{self.collector}-dry-run"
        if known["driver"] != "filesystem":
            raise WharfError(
                f"the images are in {known['driver']}: only what lies in a file system can be read and compared here,"
                " and without that nothing is deleted. Use the lifecycle of the object store"
            )
        found = docker("inspect", "--type", "container", self.container, check=False)
        if not found:
            raise WharfError(f"there is no container {self.container}: run playbooks/deploy-registry.yml")
        self.made: dict[str, Any] = json.loads(found)[0]
        sources = [mount["Source"] for mount in self.made["Mounts"] if mount["Destination"] == str(MOUNT)]
        root = PurePosixPath(known["root"])
        if not sources or not root.is_relative_to(MOUNT):
            raise WharfError(f"the container {self.container} has no data of its own at {root}")
        self.root = Path(sources[0], root.relative_to(MOUNT))

    @property
    def storage(self) -> Storage:
        """Return the storage as it is now: a reader remembers what it has read."""
        return Storage(self.root)

    def running(self) -> bool:
        """Tell whether the registry's own container runs."""
        return docker("inspect", "--format", "{{.State.Running}}", self.container) == "true"

    def demand(self) -> None:
        """Refuse to begin where no good end can be expected.

        Raises:
            WharfError: the registry does not run, or its disk is full.

        """
        if not self.running():
            raise WharfError(f"the container {self.container} does not run: `docker start {self.container}` first")
        space = os.statvfs(self.root)
        if (free := space.f_bavail * space.f_frsize) < ROOM:
            raise WharfError(
                f"only {human_bytes(free)} free in {self.root}, and {human_bytes(ROOM)} are needed: make room first"
            )

    def options(self, data: str = "") -> list[str]:
        """Return how another container of the registry's image is started, as hardened as the registry's own.

        Args:
            data: ":ro" for one that cannot change the data.

        """
        options = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--no-healthcheck"]
        options += ["--user", self.made["Config"]["User"], "--volumes-from", f"{self.container}{data}"]
        options += ["--restart", "no", "--memory", str(self.made["HostConfig"]["Memory"])]
        for variable in self.made["Config"]["Env"]:
            options += ["--env", variable]
        return options

    @property
    def image(self) -> str:
        """Return the image that the registry runs, by its id: the name may lead to another one by now."""
        return self.made["Image"]

    def version(self) -> str:
        """Return the version of the registry, such as 2.8.3."""
        words = docker("run", "--rm", "--network", "none", *self.options(":ro"), self.image, "--version")
        return words.split()[-1].lstrip("v")

    def client(self, user: str = "", password: str = "") -> Client:
        """Return a client of the registry."""
        return Client(self.name, self.port, self.ca, user, password)

    def wait_until_it_answers(self, seconds: float = 60) -> None:
        """Wait until the registry answers as a client sees it.

        Raises:
            WharfError: it does not.

        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                status, _, _ = self.client().ask("GET", "/v2/")
                if status in (200, 401):
                    return
                problem = f"HTTP status {status}"
            except (OSError, http.client.HTTPException) as error:
                problem = str(error)
            if time.monotonic() > deadline:
                raise WharfError(f"the registry does not answer as {self.name}:{self.port}: {problem}")
            time.sleep(0.05)

    @contextlib.contextmanager
    def read_only(self) -> Iterator[dict[str, float]]:
        """Let the registry serve pulls and refuse pushes; whatever happens, it is back as it was afterwards.

        The container itself stays as it is and only rests: another one, which refuses pushes, has its port and data
        meanwhile. So whoever starts the registry's own container brings everything back, the engine at boot as well.

        Returns:
            A mapping that fills with seconds: "read_only", and "gaps", how long no registry answered at all.

        """
        times = {"gaps": 0.0, "read_only": 0.0}
        publish = [
            f"{bound['HostIp']}:{bound['HostPort']}:{port}"
            for port, bounds in self.made["HostConfig"]["PortBindings"].items()
            for bound in bounds
        ]
        create = ["create", "--name", self.read_only_container, *self.options()]
        create += [word for port in publish for word in ("--publish", port)]
        create += ["--env", 'REGISTRY_STORAGE_MAINTENANCE_READONLY={"enabled":true}']
        try:
            docker(*create, self.image, *self.made["Config"]["Cmd"])
            start = time.monotonic()
            docker("stop", self.container)
            docker("start", self.read_only_container)
            self.wait_until_it_answers()
            began = time.monotonic()
            times["gaps"] += began - start
            yield times
            times["read_only"] = time.monotonic() - began
        finally:
            start = time.monotonic()
            self.bring_back()
            times["gaps"] += time.monotonic() - start

    def left_behind(self) -> list[str]:
        """Return the containers of a run that was cut off."""
        names = docker("ps", "--all", "--format", "{{.Names}}").splitlines()
        return [name for name in (self.collector, self.read_only_container) if name in names]

    def bring_back(self) -> None:
        """Start the registry's own container again, and remove what stood in for it.

        Raises:
            WharfError: it does not answer.

        """
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)  # the worst moment to be interrupted
        deadline = time.monotonic() + 60
        while True:  # the engine may be about to start again
            docker("rm", "--force", self.collector, check=False)
            docker("stop", self.read_only_container, check=False)
            docker("start", self.container, check=False)
            if docker("inspect", "--format", "{{.State.Running}}", self.container, check=False) == "true":
                break
            if time.monotonic() > deadline:
                docker("start", self.container)  # which tells why
            time.sleep(0.5)
        self.wait_until_it_answers()
        docker("rm", "--force", self.read_only_container)

    def mend(self) -> bool:
        """Clean up after a run that was cut off. Return whether there was one."""
        cut_off = bool(self.left_behind())
        if cut_off:
            self.bring_back()
        docker("rm", "--force", self.asked, check=False)
        self._write_users([])
        for directory in self.storage.top.glob(f"repositories/{PROOF}*"):
            self._remove_proof(directory.relative_to(self.storage.top / "repositories").as_posix())
        shutil.rmtree(self.root / TRASH, ignore_errors=True)
        return cut_off

    # The proof --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def client_for_a_while(self) -> Iterator[Client]:
        """Return a client that may push and pull: a user who exists as long as this lasts."""
        if not self.htpasswd:
            yield self.client()
            return
        user, password = PROOF_USER + secrets.token_hex(4), secrets.token_urlsafe(32)
        try:
            self._write_users([f"{user}:{_bcrypt(password)}"])
            yield self.client(user, password)
        finally:
            self._write_users([])

    def _write_users(self, more: list[str]) -> None:
        """Write the registry's users with some more, and without those of earlier proofs."""
        if not self.htpasswd:
            return
        path = Path(self.htpasswd)
        new = path.with_name(".htpasswd.new")
        new.unlink(missing_ok=True)
        before = path.read_text()
        lines = [line for line in before.splitlines() if not line.startswith(PROOF_USER)] + more
        text = "".join(f"{line}\n" for line in lines)
        if text == before:
            return
        known = path.stat()
        new.touch(mode=0o600)
        os.chown(new, known.st_uid, known.st_gid)
        new.write_text(text)
        new.chmod(known.st_mode & 0o777)
        new.replace(path)

    def prove(self, client: Client) -> None:
        """Push random content, pull it, compare it, and remove every trace of it.

        Raises:
            WharfError: something of it does not work.

        """
        name = PROOF + secrets.token_hex(8)
        layer = os.urandom(65536)
        configuration = json.dumps({"proof": secrets.token_hex(16)}).encode()
        descriptors = [
            {"mediaType": kind, "digest": _digest(content), "size": len(content)}
            for kind, content in (
                ("application/vnd.docker.container.image.v1+json", configuration),
                ("application/vnd.docker.image.rootfs.diff.tar.gzip", layer),
            )
        ]
        manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": MANIFESTS[0], "config": descriptors[0], "layers": descriptors[1:]}
        ).encode()
        try:
            for content in (configuration, layer):
                client.push_blob(name, content)
            client.push_manifest(name, "proof", manifest)
            pulled = client.pull(f"/v2/{name}/manifests/{_digest(manifest)}")
            if pulled != manifest or client.pull(f"/v2/{name}/blobs/{_digest(layer)}") != layer:
                raise WharfError("the registry gave back something else than was pushed")
        finally:
            self._remove_proof(name)

    def _remove_proof(self, name: str) -> None:
        """Remove a repository of the proof with its blobs, which nobody else has: their content is random."""
        for digest in self.storage.revisions(name) | self.storage.layers(name):
            shutil.rmtree(self.storage.blob_path(digest).parent, ignore_errors=True)
        directory = self.storage.repository(name)
        shutil.rmtree(directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            directory.parent.rmdir()


class Client:
    """A client of the registry's API, under the registry's name, on this host's own address."""

    def __init__(self, name: str, port: int, ca: str, user: str, password: str) -> None:
        """Take name and port as clients use them, the file of CA certificates (empty for plain HTTP), and a login."""
        self.name, self.port = name, port
        self.context = ssl.create_default_context(cafile=ca) if ca else None
        self.login = {}
        if user:
            self.login = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
        self.connection: http.client.HTTPConnection | None = None

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Return status, headers and body of an answer."""
        if self.connection is None:
            raw = socket.create_connection(("127.0.0.1", self.port), timeout=30)
            if self.context:
                raw = self.context.wrap_socket(raw, server_hostname=self.name)
            self.connection = http.client.HTTPConnection(self.name, self.port, timeout=30)
            self.connection.sock = raw
        try:
            self.connection.request(method, path, body, self.login | (headers or {}))
            response = self.connection.getresponse()
            return response.status, response.headers, response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def close(self) -> None:
        """Connect anew for the next question: needed once another container has the port."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def expect(self, wanted: int, method: str, path: str, *arguments: Any) -> tuple[http.client.HTTPMessage, bytes]:
        """Return headers and body of an answer.

        Raises:
            WharfError: it has another status; the message holds the registry's own words.

        """
        status, headers, body = self.ask(method, path, *arguments)
        if status != wanted:
            words = body.decode(errors="replace").strip()[:300]
            raise WharfError(f"the registry answered {status} to {method} {path.partition('?')[0]}: {words}")
        return headers, body

    def push_blob(self, name: str, content: bytes) -> None:
        """Push a blob."""
        headers, _ = self.expect(202, "POST", f"/v2/{name}/blobs/uploads/")
        _, _, rest = headers["Location"].partition("/v2/")  # with the scheme and name that clients use
        path = f"/v2/{rest}{'&' if '?' in rest else '?'}digest={_digest(content)}"
        self.expect(201, "PUT", path, content, {"Content-Type": "application/octet-stream"})

    def push_manifest(self, name: str, tag: str, content: bytes) -> None:
        """Push a manifest."""
        self.expect(201, "PUT", f"/v2/{name}/manifests/{tag}", content, {"Content-Type": MANIFESTS[0]})

    def pull(self, path: str) -> bytes:
        """Pull a blob or a manifest."""
        return self.expect(200, "GET", path, b"", {"Accept": ", ".join(MANIFESTS)})[1]

    def digest(self, name: str, tag: str) -> str:
        """Return the digest that the registry serves for a tag, or what it answered instead."""
        status, headers, _ = self.ask("HEAD", f"/v2/{name}/manifests/{tag}", b"", {"Accept": ", ".join(MANIFESTS)})
        return headers.get("Docker-Content-Digest", "no digest") if status == 200 else f"HTTP status {status}"


def served(client: Client, tags: dict[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """Return what a client gets for tags: (repository, tag) to a digest, or to what was answered instead."""
    client.close()
    return {(name, tag): client.digest(name, tag) for name, tag in tags}


def all_tags(storage: Storage) -> dict[tuple[str, str], str]:
    """Return all that is tagged: (repository, tag) to its digest."""
    return {(name, tag): digest for name in storage.repositories() for tag, digest in storage.tags(name).items()}


def compare(what: str, before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]) -> None:
    """Demand that every tag leads to the digest that it led to before.

    Raises:
        WharfError: one does not.

    """
    lost = [key for key in before if after.get(key) != before[key]]
    if lost:
        name, tag = lost[0]
        raise WharfError(
            f"{name}:{tag} was {before[lost[0]]} before, and is {after.get(lost[0], 'gone')} now, {what}"
            f"{f', and {len(lost) - 1} more' if len(lost) > 1 else ''}: restore it from a backup"
        )


# Small things -------------------------------------------------------------------------------------


def docker(*arguments: str, check: bool = True) -> str:
    """Run docker and return what it printed.

    Args:
        arguments: its arguments.
        check: whether a failure counts; otherwise the answer is empty then.

    Raises:
        WharfError: docker failed; the message holds its last words.

    """
    global _deferred
    _deferred = True
    try:
        done = call(*arguments)
    finally:
        _deferred = False
    if _pending and signal.getsignal(_pending[0]) is _stop:
        _stop(_pending[0], None)
    if done.returncode == 0:
        return done.stdout.strip()
    if not check:
        return ""
    words = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
    raise WharfError(f"docker {arguments[0]}: {words[-1]}")


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run docker; a signal ends it."""
    # A group of its own: Ctrl-C on a terminal is this program's business alone.
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, start_new_session=True, stdin=subprocess.DEVNULL
    )


def _digest(content: bytes) -> str:
    """Return the digest of a content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _bcrypt(password: str) -> str:
    """Return the bcrypt hash of a password, at the lowest cost: Python has no bcrypt, the system's library has."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    # The salt's last character holds two bits only.
    salt = "$2b$04$" + "".join(secrets.choice(alphabet) for _ in range(21)) + secrets.choice(".Oeu")
    hashed = library.crypt(password.encode(), salt.encode())
    if not hashed or not hashed.startswith(b"$2b$04$"):
        raise WharfError("the system's libcrypt knows no bcrypt")
    return hashed.decode()

"""A client of a registry's API, with nothing but Python's standard library.

It can connect to one address and verify another name: a registry's own server need not resolve the registry's name.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from .errors import WharfError
from .files import place
from .manifests import DIGEST, MEDIA_TYPES, blobs, digest_of, media_type, walk
from .parts import NO_REGISTRY
from .text import one_line

LARGEST_BODY = 16 * 1024 * 1024  # bytes of a manifest, a list or an error
CHUNK = 1024 * 1024
ACCEPT = {"Accept": ", ".join(MEDIA_TYPES)}
# Version 2 writes a tag in two steps: while its repository is pushed to, it may answer with an error for a moment.
RETRIES = 3
RETRY_PAUSE = 0.3  # seconds
PARTIAL_CHAIN = 0x80000  # ssl.VERIFY_X509_PARTIAL_CHAIN, which Python has since 3.10
WRONG_SIGNATURE = 7  # OpenSSL's X509_V_ERR_CERT_SIGNATURE_FAILURE


class TrustError(WharfError):
    """The CA certificates that a registry is verified against cannot be had."""


class RegistryError(WharfError):
    """The registry, or what answers in its place, does not do what was asked."""


class NoResponseError(RegistryError):
    """Nothing answers, or the connection breaks off. The OSError is its __cause__, an ssl.SSLError too."""


class CertificateError(NoResponseError):
    """The registry's certificate does not verify; `code` is OpenSSL's. Waiting does not help."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class StatusError(RegistryError):
    """The registry answers with an error."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(StatusError):
    """The registry does not have it."""


class DigestError(RegistryError):
    """The content has another digest than the one that was asked for."""

    def __init__(self, what: str, expected: str, found: str) -> None:
        super().__init__(f"{what} is damaged: its content has the digest {found} instead of {expected}")
        self.expected, self.found = expected, found


@dataclass(frozen=True)
class Response:
    """A response that was read whole."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def is_registry(self) -> bool:
        """Tell whether a registry answers; a sick one does so before it comes to its header."""
        if self.headers.get("Docker-Distribution-Api-Version", "").startswith("registry/2"):
            return True
        return self.status == 503 and b'"code":"UNAVAILABLE"' in self.body

    def is_gateway_alone(self) -> bool:
        """Tell whether a gateway answers because the registry behind it does not."""
        return self.status == 503 and NO_REGISTRY.encode() in self.body

    def document(self) -> dict[str, Any]:
        """Return the JSON object that it holds; an empty one where it holds none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            found = {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Manifest:
    """A manifest or index, byte for byte, with the digest of these bytes."""

    digest: str
    content: bytes
    document: dict[str, Any]


def trust(*files: str, pem: str = "", system: bool = False) -> ssl.SSLContext:
    """Return what judges a certificate as Go's programs do: by its names, and any certificate may be an anchor.

    It trusts CA certificates in PEM, as files and as text, and those that this host trusts if `system` says so. Raises
    TrustError where one of them cannot be read or holds no certificate.
    """
    context = _go_context()
    if system:
        context.load_default_certs()
    given = [(file, {"cafile": file}) for file in files] + ([("what was given", {"cadata": pem})] if pem else [])
    for name, certificates in given:
        try:
            context.load_verify_locations(**certificates)
        except (ssl.SSLError, ValueError):
            raise TrustError(f"{name} holds no CA certificate in PEM") from None
        except OSError as error:
            raise TrustError(f"{name} cannot be read: {error.strerror}") from None
    return context


def _go_context() -> ssl.SSLContext:
    """Return what is as strict as Go, and trusts nobody yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    context.verify_flags = (context.verify_flags | PARTIAL_CHAIN) & ~ssl.VERIFY_X509_STRICT
    context.set_ciphers("DEFAULT:@SECLEVEL=1")  # RSA with 1024 bits is good, SHA-1 is not; Debian's level is 2
    return context


def _each_alone(context: ssl.SSLContext) -> Iterator[ssl.SSLContext]:
    """Yield a context for each CA that one trusts."""
    for certificate in context.get_ca_certs(binary_form=True):
        alone = _go_context()
        alone.load_verify_locations(cadata=certificate)
        yield alone


def trust_nothing() -> ssl.SSLContext:
    """Return what takes every certificate, to see which one it is. Such a client sends no password."""
    context = _go_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client(http.client.HTTPConnection):
    """A client of one registry, over one connection: one thread's own. Usable as a context manager.

    Nothing is connected before the first request. After close() the next one connects again, which is needed when
    another server has got the port.
    """

    def __init__(
        self,
        name: str,
        port: int,
        context: ssl.SSLContext | None = None,
        *,
        address: str = "",
        user: str = "",
        password: str = "",
        timeout: float = 30,
        prefix: str = "",
    ) -> None:
        """Describe the registry.

        Args:
            name: as clients name it; its certificate must hold it.
            port: its port.
            context: from trust() or trust_nothing(); None for plain HTTP.
            address: where to connect to; the name itself when it is empty. A path is that of a unix socket.
            user: for basic authentication; empty for none.
            password: the user's password.
            timeout: seconds without a byte.
            prefix: the path below which its API lies.
        """
        super().__init__(name.strip("[]"), port, timeout=timeout)
        self.name, self.context, self.address, self.user, self.password = name, context, address, user, password
        self.prefix = prefix

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __str__(self) -> str:
        return f"the {self.name} itself" if self.address.startswith("/") else f"{self.name}:{self.port}"

    def connect(self) -> None:
        """Connect to an address of its own choice, and verify the registry's name."""
        try:
            self._connect(self.context)
        except ssl.SSLCertVerificationError as error:
            # Of several CAs with one name, such as an old and a new one, OpenSSL tries only the first. Go tries each.
            if error.verify_code != WRONG_SIGNATURE or not self._connect_by_one_of(_each_alone(self.context)):
                raise

    def _connect(self, context: ssl.SSLContext | None) -> None:
        self.sock = self.open_socket()
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            self.sock = context.wrap_socket(self.sock, server_hostname=self.host)

    def _connect_by_one_of(self, contexts: Iterator[ssl.SSLContext]) -> bool:
        for context in contexts:
            with contextlib.suppress(ssl.SSLCertVerificationError):
                self._connect(context)
                return True
        return False

    def open_socket(self) -> socket.socket:
        """Return a socket that is connected."""
        if self.address.startswith("/"):
            unix = socket.socket(socket.AF_UNIX)
            unix.settimeout(self.timeout)
            # Whoever has broken into a container may lay a link there, or in its directory's place, to another socket.
            directory, name = os.path.split(self.address)
            with place(directory, os.O_DIRECTORY) as above, place(name, dir_fd=above) as found:
                unix.connect(f"/proc/self/fd/{found}")
            return unix
        return socket.create_connection((self.address or self.host, self.port), timeout=self.timeout)

    # Requests -----------------------------------------------------------------------------------------------------

    def request(
        self, method: str, path: str, body: bytes | BinaryIO = b"", headers: dict[str, str] | None = None
    ) -> Response:
        """Return the whole response, whatever its status. Raises RegistryError where there is none."""
        with self._errors():
            return self._read(self._send(method, path, body, headers))

    def _expect(self, wanted: int, method: str, path: str, *arguments: Any) -> Response:
        """Return the response if it has this status; arguments as for request(). Raises StatusError."""
        response = self.request(method, path, *arguments)
        if response.status != wanted:
            raise self._status_error(method, path, response)
        return response

    def _send(
        self, method: str, path: str, body: bytes | BinaryIO = b"", headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        headers = dict(headers or {})
        if self.user:
            if self.context and self.context.verify_mode == ssl.CERT_NONE:
                raise RuntimeError("no password goes to a server whose certificate is not verified")
            login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        while True:
            is_fresh = self.sock is None
            try:
                super().request(method, self.prefix + path, body or None, headers)
                return self.getresponse()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # A server may close a connection that rests, at any time.
                self.close()
                if is_fresh or method not in ("GET", "HEAD"):
                    raise

    def _read(self, response: http.client.HTTPResponse) -> Response:
        content = response.read(LARGEST_BODY + 1)
        if len(content) > LARGEST_BODY:
            raise RegistryError(f"a response of {self} is larger than {LARGEST_BODY} bytes")
        _check_whole(response)
        return Response(response.status, response.headers, content)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what the standard library raises into messages. The connection is closed unless all was read."""
        whole = False
        try:
            yield
            whole = True
        except ssl.SSLCertVerificationError as error:
            message = f"the certificate of {self} does not verify: {error.verify_message.rstrip('.')}"
            raise CertificateError(message, error.verify_code) from error
        except (OSError, UnicodeError) as error:  # http.client.RemoteDisconnected is an OSError
            reason = "no response in time" if isinstance(error, socket.timeout) else getattr(error, "strerror", "")
            who = (
                f"{self} does not answer" if self.address.startswith("/") else f"the registry does not answer as {self}"
            )
            raise NoResponseError(f"{who}: {reason or one_line(error)}") from error
        except http.client.HTTPException as error:
            raise RegistryError(f"what answers as {self} does not speak HTTP ({type(error).__name__})") from error
        finally:
            if not whole:
                self.close()

    def _status_error(self, method: str, path: str, response: Response) -> StatusError:
        if response.status == 401:
            refused = f"refuses the user {self.user!r}, or its password" if self.user else "asks for a user"
            return StatusError(f"{self} {refused}", 401)
        try:
            words = response.document()["errors"][0]["message"]
        except (LookupError, TypeError):
            words = response.body.decode("utf-8", "replace")
        path = path.partition("?")[0]  # the query may hold an upload's state
        message = f"{self} answered {method} {path} with HTTP status {response.status}: {one_line(words)}"
        kind = NotFoundError if response.status == 404 else StatusError
        return kind(message.rstrip(": "), response.status)

    # The registry itself ------------------------------------------------------------------------------------------

    def ping(self) -> Response:
        """Return status 200, or 401 where the registry asks for a user. Raises RegistryError where no sound one is."""
        response = self.request("GET", "/v2/")
        if not response.is_registry():
            raise RegistryError(f"what answers as {self} is no registry: HTTP status {response.status}")
        if response.status not in (200, 401):
            raise self._status_error("GET", "/v2/", response)
        return response

    def health(self) -> Response:
        """Ask the gateway of a registry whether that answers, without a user. Raises RegistryError where not."""
        response = self.request("GET", "/health")
        if response.is_gateway_alone():
            raise StatusError(f"the gateway answers as {self}, the registry behind it does not", 503)
        if not response.is_registry() or response.status in (401, 404):
            raise RegistryError(f"what answers as {self} is no gateway of Wharf's: HTTP status {response.status}")
        if response.status != 200:
            raise self._status_error("GET", "/health", response)
        return response

    def cache(self, name: str = "") -> Response:
        """Ask for a cache by its name, as whoever pulls from it; without one, for what is served as a cache here.

        Raises RegistryError where it is not served to the user.
        """
        path = f"/v2/{name}/" if name else "/v2/"
        response = self.request("GET", path)
        if not response.is_registry():
            raise RegistryError(f"what answers as {self} is no registry: HTTP status {response.status}")
        if response.status != 200:
            raise self._status_error("GET", path, response)
        return response

    def wait(self, seconds: float, pause: float = 0.1, probe: Callable[[], Response] | None = None) -> Response:
        """Ping until a registry answers. Raises the last RegistryError; at once where the certificate is wrong.

        Args:
            seconds: for how long at most.
            pause: between two attempts, in seconds.
            probe: what is done instead of a ping, such as health().
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                return (probe or self.ping)()
            except RegistryError as error:
                if isinstance(error, CertificateError) or time.monotonic() > deadline:
                    raise
            self.close()
            time.sleep(pause)

    def certificate(self) -> bytes:
        """Return the certificate that is served over TLS, DER. Raises NoResponseError where there is none."""
        with self._errors():
            if self.sock is None:
                self.connect()
            return self.sock.getpeercert(binary_form=True)

    # Manifests ----------------------------------------------------------------------------------------------------

    def manifest(self, repository: str, reference: str) -> Manifest:
        """Return the manifest or index that a tag or digest leads to, compared with its digest.

        Raises:
            NotFoundError: the registry does not have it.
            DigestError: its content is not what the reference or the registry says.
        """
        path = f"/v2/{repository}/manifests/{reference}"
        response = self.request("GET", path, b"", ACCEPT)
        for _ in range(RETRIES):
            if response.status == 500:
                time.sleep(RETRY_PAUSE)
                response = self.request("GET", path, b"", ACCEPT)
        if response.status != 200:
            raise self._status_error("GET", path, response)
        expected = reference if DIGEST.fullmatch(reference) else response.headers.get("Docker-Content-Digest", "")
        digest = digest_of(response.body, "sha512" if expected.startswith("sha512:") else "sha256")
        if expected and digest != expected:
            raise DigestError(f"the manifest {reference} of {repository}", expected, digest)
        return Manifest(digest, response.body, response.document())

    def digest(self, repository: str, reference: str) -> str:
        """Return the digest of a manifest or index as the registry names it. Raises NotFoundError."""
        response = self._expect(200, "HEAD", f"/v2/{repository}/manifests/{reference}", b"", ACCEPT)
        return response.headers.get("Docker-Content-Digest", "")

    def size(self, repository: str, manifest: Manifest) -> int:
        """Return the bytes of everything that an image needs, each once: manifests as they are, blobs as they say."""
        sizes: dict[str, int] = {}

        def read(digest: str) -> dict[str, Any]:
            found = manifest if digest == manifest.digest else self.manifest(repository, digest)
            sizes[digest] = len(found.content)
            return found.document

        for _digest, document in walk(manifest.digest, read):
            sizes.update({blob["digest"]: blob.get("size", 0) for blob in blobs(document)})
        return sum(sizes.values())

    def push_manifest(self, repository: str, reference: str, content: bytes) -> None:
        headers = {"Content-Type": media_type(json.loads(content))}
        self._expect(201, "PUT", f"/v2/{repository}/manifests/{reference}", content, headers)

    # Blobs --------------------------------------------------------------------------------------------------------

    def blob(self, repository: str, digest: str) -> Iterator[bytes]:
        """Yield a blob in parts, compared with its digest at the end.

        Raises:
            StatusError: the registry does not serve it: 404, or a redirect to where it lies (3xx).
            DigestError: its content is not what its digest says.
        """
        path = f"/v2/{repository}/blobs/{digest}"
        state = hashlib.new(digest.partition(":")[0])
        with self._errors():
            response = self._send("GET", path)
            if response.status != 200:
                raise self._status_error("GET", path, self._read(response))
            while part := response.read(CHUNK):
                state.update(part)
                yield part
            _check_whole(response)
        if (found := f"{state.name}:{state.hexdigest()}") != digest:
            raise DigestError(f"the blob {digest} of {repository}", digest, found)

    def has_blob(self, repository: str, digest: str) -> bool:
        return self.request("HEAD", f"/v2/{repository}/blobs/{digest}").status == 200

    def push_blob(self, repository: str, content: bytes) -> None:
        self.push_file(repository, digest_of(content), content, len(content))

    def push_file(self, repository: str, digest: str, content: bytes | BinaryIO, size: int) -> None:
        """Push a blob from a file that is open, as far as its size. The registry compares it with its digest."""
        headers = self._expect(202, "POST", f"/v2/{repository}/blobs/uploads/").headers
        # The location may have the scheme and the name that clients use.
        location = "/v2/" + headers.get("Location", "").partition("/v2/")[2]
        path = f"{location}{'&' if '?' in location else '?'}digest={digest}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        self._expect(201, "PUT", path, content, headers)


def _check_whole(response: http.client.HTTPResponse) -> None:
    if response.length:  # read() with a size does not mind
        raise ConnectionError(f"the connection broke off, {response.length} bytes before the end")

"""A client of a registry's API, with nothing but Python's standard library.

It can connect to one address and verify another name: a registry's own server need not resolve the registry's name.
"""

from __future__ import annotations

import base64
import contextlib
import glob
import hashlib
import http.client
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .errors import WharfError
from .manifests import DIGEST, MEDIA_TYPES, blobs, digest_of, media_type, walk
from .text import one_line

LARGEST_BODY = 16 * 1024 * 1024  # bytes of a manifest, a list or an error
CHUNK = 1024 * 1024
# Version 2 writes a tag in two steps: while its repository is pushed to, it may answer with an error for a moment.
RETRIES = 3
RETRY_PAUSE = 0.3  # seconds
PARTIAL_CHAIN = 0x80000  # ssl.VERIFY_X509_PARTIAL_CHAIN, which Python has since 3.10


class TrustError(WharfError):
    """The CA certificates that a registry is verified against cannot be had."""


class RegistryError(WharfError):
    """The registry, or what answers in its place, does not do what was asked."""


class NoResponseError(RegistryError):
    """Nothing answers, or the connection breaks off. The OSError is its __cause__, an ssl.SSLError too."""


class CertificateError(NoResponseError):
    """The registry's certificate does not verify; `code` is OpenSSL's. Waiting does not help."""

    def __init__(self, message: str, code: int) -> None:
        """Take the message, and ssl.SSLCertVerificationError.verify_code."""
        super().__init__(message)
        self.code = code


class ProtocolError(RegistryError):
    """What answers is no registry."""


class StatusError(RegistryError):
    """The registry answers with an error."""

    def __init__(self, message: str, response: Response) -> None:
        """Take the message and the whole response."""
        super().__init__(message)
        self.response = response
        self.status = response.status


class NotFoundError(StatusError):
    """The registry does not have it."""


class UnauthorizedError(StatusError):
    """The registry does not accept the user, or its password, or asks for one."""


class DigestError(RegistryError):
    """The content has another digest than the one that was asked for."""

    def __init__(self, what: str, expected: str, found: str) -> None:
        """Take what it is, and both digests."""
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
    media_type: str
    content: bytes
    document: dict[str, Any]


def trust(*paths: str, pem: str = "", system: bool = False) -> ssl.SSLContext:
    """Return what judges a certificate as Go's programs do: by its names, and any certificate may be an anchor.

    Args:
        paths: files of CA certificates in PEM, or directories of *.crt files.
        pem: CA certificates themselves.
        system: whether the CAs that this host trusts count, too.

    Raises:
        TrustError: one of them cannot be read or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    context.verify_flags |= PARTIAL_CHAIN
    if system:
        context.load_default_certs()
    for path in paths:
        files = sorted(glob.glob(os.path.join(glob.escape(path), "*.crt"))) if os.path.isdir(path) else [path]
        for file in files:
            try:
                context.load_verify_locations(cafile=file)
            except ssl.SSLError:
                raise TrustError(f"{file} holds no CA certificate in PEM") from None
            except OSError as error:
                raise TrustError(f"{file} cannot be read: {error.strerror}") from None
    if pem:
        try:
            context.load_verify_locations(cadata=pem)
        except (ssl.SSLError, ValueError):
            raise TrustError("the CA certificates are not in PEM") from None
    return context


def trust_nothing() -> ssl.SSLContext:
    """Return what takes every certificate, to see which one it is. Such a client sends no password."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Connection(http.client.HTTPConnection):
    """A connection to an address of its own choice, for http.client also when it connects again by itself."""

    def __init__(self, client: Client) -> None:
        super().__init__(client.name, client.port, timeout=client.timeout)
        self.client = client
        self.used = False

    def connect(self) -> None:
        """Connect, and verify the registry's name where TLS is spoken."""
        client = self.client
        self.sock = socket.create_connection((client.address, client.port), timeout=client.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if client.context:
            self.sock = client.context.wrap_socket(self.sock, server_hostname=client.name.strip("[]"))


class Client:
    """A client of one registry, over one connection: one thread's own. Usable as a context manager."""

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
    ) -> None:
        """Describe the registry. Nothing is connected yet.

        Args:
            name: as clients name it; its certificate must hold it.
            port: its port.
            context: from trust() or trust_nothing(); None for plain HTTP.
            address: where to connect to; the name itself when it is empty.
            user: for basic authentication; empty for none.
            password: the user's password.
            timeout: seconds without a byte.
        """
        self.name, self.port, self.context, self.timeout = name, port, context, timeout
        self.address = address or name.strip("[]")
        self.user = user
        self._login = base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
        self._connection: _Connection | None = None

    def __enter__(self) -> Client:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def __str__(self) -> str:
        """Return NAME:PORT."""
        return f"{self.name}:{self.port}"

    def close(self) -> None:
        """Close the connection; the next request connects again: needed when another server has got the port."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # Requests -----------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        limit: int = LARGEST_BODY,
    ) -> Response:
        """Return the whole response, whatever its status.

        Raises:
            NoResponseError: nothing answers, or the connection breaks off.
            CertificateError: the certificate does not verify.
            ProtocolError: what answers does not speak HTTP, or says more than the limit.
        """
        with self._errors():
            response = self._send(method, path, body, headers)
            content = response.read(limit + 1)
            if len(content) <= limit:
                _check_whole(response)
        if len(content) > limit:
            self.close()
            raise ProtocolError(f"the response of {self} to {method} {_plain(path)} is larger than {limit} bytes")
        return Response(response.status, response.headers, content)

    def expect(self, wanted: int, method: str, path: str, *arguments: Any) -> Response:
        """Return the response if it has this status; arguments as for request().

        Raises:
            StatusError: it has another one; NotFoundError and UnauthorizedError are two of its kind.
        """
        response = self.request(method, path, *arguments)
        if response.status != wanted:
            raise self._status_error(method, path, response)
        return response

    def _send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """Send a request and return the response, its body unread."""
        headers = dict(headers or {})
        if self._login:
            if self.context and self.context.verify_mode == ssl.CERT_NONE:
                raise RuntimeError("no password goes to a server whose certificate is not verified")
            headers["Authorization"] = f"Basic {self._login}"
        while True:
            connection = self._connection = self._connection or _Connection(self)
            try:
                connection.request(method, path, body or None, headers)
                response = connection.getresponse()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # A server may close a connection that rests, at any time.
                self.close()
                if not connection.used or method not in ("GET", "HEAD"):
                    raise
            else:
                connection.used = True
                return response

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what the standard library raises into messages; the connection is closed then."""
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            self.close()
            message = f"the certificate of {self} does not verify: {error.verify_message.rstrip('.')}"
            raise CertificateError(message, error.verify_code) from error
        except (OSError, UnicodeError) as error:  # http.client.RemoteDisconnected is an OSError
            self.close()
            reason = "no response in time" if isinstance(error, socket.timeout) else getattr(error, "strerror", "")
            raise NoResponseError(f"the registry does not answer as {self}: {reason or one_line(error)}") from error
        except http.client.HTTPException as error:
            self.close()
            raise ProtocolError(f"what answers as {self} does not speak HTTP ({type(error).__name__})") from error

    def _status_error(self, method: str, path: str, response: Response) -> StatusError:
        """Return the error for a response that is not what it should be."""
        if response.status == 401:
            message = (
                f"{self} refuses the user {self.user!r}, or its password" if self.user else f"{self} asks for a user"
            )
            return UnauthorizedError(message, response)
        errors = response.document().get("errors")
        words = errors[0].get("message") if isinstance(errors, list) and errors and isinstance(errors[0], dict) else ""
        words = words or response.body.decode("utf-8", "replace")
        message = f"{self} answered {method} {_plain(path)} with HTTP status {response.status}"
        kind = NotFoundError if response.status == 404 else StatusError
        return kind(f"{message}: {one_line(words)}" if words.strip() else message, response)

    # The registry itself ------------------------------------------------------------------------------------------

    def ping(self) -> Response:
        """Ask whether a registry is there: status 200, or 401 where it asks for a user.

        Raises:
            RegistryError: none is, or it is not healthy.
        """
        response = self.request("GET", "/v2/")
        if not response.is_registry():
            raise ProtocolError(f"what answers as {self} is no registry: HTTP status {response.status}")
        if response.status not in (200, 401):
            raise self._status_error("GET", "/v2/", response)
        return response

    def wait(self, seconds: float, pause: float = 0.1) -> Response:
        """Ping until a registry answers.

        Raises:
            RegistryError: none did in this time, or its certificate does not verify: waiting does not change that.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.ping()
            except CertificateError:
                raise
            except RegistryError:
                if time.monotonic() > deadline:
                    raise
            self.close()
            time.sleep(pause)

    def certificate(self) -> bytes:
        """Return the certificate that is served, DER; empty over plain HTTP.

        Raises:
            NoResponseError: there is none.
        """
        with self._errors():
            if self._connection is None or self._connection.sock is None:
                self._connection = _Connection(self)
                self._connection.connect()
            sock = self._connection.sock
            return (sock.getpeercert(binary_form=True) or b"") if isinstance(sock, ssl.SSLSocket) else b""

    def catalog(self) -> Iterator[str]:
        """Yield the names of all repositories."""
        return self._pages("/v2/_catalog", "repositories")

    def tags(self, repository: str) -> Iterator[str]:
        """Yield the tags of a repository. Raises NotFoundError where there is no such repository."""
        return self._pages(f"/v2/{repository}/tags/list", "tags")

    def _pages(self, path: str, key: str) -> Iterator[str]:
        """Yield the entries of a list that comes in pages."""
        url, seen = f"{path}?n=1000", set()
        while url and url not in seen:  # a registry that repeats itself has no end
            seen.add(url)
            response = self.expect(200, "GET", url)
            yield from response.document().get(key) or []
            following = re.match(r"<(?:https?://[^/>]*)?(/v2/[^>]*)>;\s*rel=\"?next", response.headers.get("Link", ""))
            url = following[1] if following else ""

    # Manifests ----------------------------------------------------------------------------------------------------

    def manifest(self, repository: str, reference: str) -> Manifest:
        """Return a manifest or index, compared with its digest.

        Args:
            repository: its repository.
            reference: a tag or a digest.

        Raises:
            NotFoundError: the registry does not have it.
            DigestError: its content is not what the reference or the registry says.
        """
        path = f"/v2/{repository}/manifests/{reference}"
        accept = {"Accept": ", ".join(MEDIA_TYPES)}
        response = self.request("GET", path, b"", accept)
        for _ in range(RETRIES):
            if response.status != 500:
                break
            time.sleep(RETRY_PAUSE)
            response = self.request("GET", path, b"", accept)
        if response.status != 200:
            raise self._status_error("GET", path, response)
        named = response.headers.get("Docker-Content-Digest", "")
        expected = reference if DIGEST.fullmatch(reference) else named
        digest = digest_of(response.body, expected.partition(":")[0] if DIGEST.fullmatch(expected) else "sha256")
        if expected and digest != expected:
            raise DigestError(f"the manifest {reference} of {repository}", expected, digest)
        document = response.document()
        return Manifest(digest, media_type(document), response.body, document)

    def digest(self, repository: str, reference: str) -> str:
        """Return the digest of a manifest or index as the registry names it. Raises NotFoundError."""
        path = f"/v2/{repository}/manifests/{reference}"
        response = self.expect(200, "HEAD", path, b"", {"Accept": ", ".join(MEDIA_TYPES)})
        return response.headers.get("Docker-Content-Digest", "")

    def sizes(self, repository: str, manifest: Manifest) -> dict[str, int]:
        """Return the bytes of everything that an image needs, by digest: manifests as they are, blobs as they say."""
        known = {manifest.digest: manifest}
        sizes: dict[str, int] = {}

        def read(digest: str) -> dict[str, Any]:
            found = known.get(digest) or self.manifest(repository, digest)
            sizes[digest] = len(found.content)
            return found.document

        for _digest, document in walk(manifest.digest, read):
            sizes.update({blob["digest"]: blob.get("size", 0) for blob in blobs(document)})
        return sizes

    def push_manifest(self, repository: str, reference: str, content: bytes, kind: str = "") -> str:
        """Push a manifest or index, and return its digest.

        Args:
            repository: where to.
            reference: its tag, or its digest.
            content: its bytes.
            kind: its media type; from the content when it is empty.
        """
        path = f"/v2/{repository}/manifests/{reference}"
        self.expect(201, "PUT", path, content, {"Content-Type": kind or media_type(json.loads(content))})
        return digest_of(content)

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Delete a manifest with all its tags."""
        self.expect(202, "DELETE", f"/v2/{repository}/manifests/{digest}")

    # Blobs --------------------------------------------------------------------------------------------------------

    def blob(self, repository: str, digest: str) -> Iterator[bytes]:
        """Yield a blob in parts, compared with its digest at the end.

        Raises:
            StatusError: the registry does not serve it: 404, or a redirect to where it lies (3xx).
            DigestError: its content is not what its digest says.
        """
        path = f"/v2/{repository}/blobs/{digest}"
        state = hashlib.new(digest.partition(":")[0])
        whole = False
        try:
            with self._errors():
                response = self._send("GET", path)
                if response.status != 200:
                    found = Response(response.status, response.headers, response.read(LARGEST_BODY))
                    raise self._status_error("GET", path, found)
                while part := response.read(CHUNK):
                    state.update(part)
                    yield part
                _check_whole(response)
            whole = True
        finally:
            if not whole:
                self.close()
        if (found := f"{state.name}:{state.hexdigest()}") != digest:
            raise DigestError(f"the blob {digest} of {repository}", digest, found)

    def push_blob(self, repository: str, content: bytes) -> str:
        """Push a blob, and return its digest."""
        headers = self.expect(202, "POST", f"/v2/{repository}/blobs/uploads/").headers
        # The location may have the scheme and the name that clients use.
        location = "/v2/" + headers.get("Location", "").partition("/v2/")[2]
        digest = digest_of(content)
        path = f"{location}{'&' if '?' in location else '?'}digest={digest}"
        self.expect(201, "PUT", path, content, {"Content-Type": "application/octet-stream"})
        return digest


def _plain(path: str) -> str:
    """Return a path without its query, which may hold an upload's state."""
    return path.partition("?")[0]


def _check_whole(response: http.client.HTTPResponse) -> None:
    """Refuse a body that is shorter than announced: read() with a size does not."""
    if response.length:
        raise ConnectionError(f"the connection broke off, {response.length} bytes before the end")

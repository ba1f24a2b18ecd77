"""A client of the registry's API, under the registry's name, on this host's own address."""

from __future__ import annotations

import base64
import hashlib
import http.client
import socket
import ssl
from typing import Any

from ..errors import WharfError

MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)


def digest_of(content: bytes) -> str:
    """Return the digest of a content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


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
        path = f"/v2/{rest}{'&' if '?' in rest else '?'}digest={digest_of(content)}"
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

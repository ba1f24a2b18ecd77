"""A small registry that really listens, over plain HTTP and with TLS."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import http.server
import json
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAME = "registry.wharf.test"


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry(http.server.ThreadingHTTPServer):
    """A registry in memory. Its behaviour is that of Distribution 2.8, as far as the client uses it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.login = ""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.instead: Callable[[Handler], None] | None = None  # answers everything

    def finish_request(self, request: socket.socket, client_address: Any) -> None:
        with contextlib.suppress(OSError):  # a client that refuses the certificate
            super().finish_request(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    server: Registry

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status: int, code: str, message: str) -> None:
        self.answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode())

    def serve(self) -> None:
        registry = self.server
        registry.requests.append((self.command, self.path, dict(self.headers)))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if registry.instead:
            return registry.instead(self)
        if registry.login and self.headers.get("Authorization") != f"Basic {registry.login}":
            return self.error(401, "UNAUTHORIZED", "authentication required")
        path, _, query = self.path.removeprefix("/v2/").partition("?")
        if path == "_catalog":
            return self.listed("repositories", {name for name, _ in registry.manifests}, query)
        if path.endswith("/tags/list"):
            name = path.removesuffix("/tags/list")
            return self.listed("tags", {tag for of, tag in registry.manifests if of == name and ":" not in tag}, query)
        for word in ("/manifests/", "/blobs/"):
            repository, found, rest = path.partition(word)
            if found:
                break
        if not path:
            return self.answer(200, b"{}")
        if word == "/manifests/":
            return self.manifest(repository, rest, body)
        if rest == "uploads/":
            return self.answer(202, Location=f"http://{NAME}:5000/v2/{repository}/blobs/uploads/1?_state=secret")
        if rest == "uploads/1":
            registry.blobs[query.partition("digest=")[2]] = body
            return self.answer(201)
        if rest not in registry.blobs:
            return self.error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        return self.answer(200, registry.blobs[rest])

    def listed(self, key: str, names: set[str], query: str) -> None:
        """Answer with a page of a list, of three names at most."""
        if not names and key == "tags":
            return self.error(404, "NAME_UNKNOWN", "repository name not known to registry")
        last = urllib.parse.unquote(query.partition("last=")[2])
        left = sorted(name for name in names if name > last)
        more = {"Link": '<...>; rel="next"'} if len(left) > 3 else {}
        return self.answer(200, json.dumps({key: left[:3]}).encode(), **more)

    def manifest(self, repository: str, reference: str, body: bytes) -> None:
        if self.command == "PUT":
            self.server.manifests[repository, reference] = self.server.manifests[repository, digest(body)] = body
            return self.answer(201)
        content = self.server.manifests.get((repository, reference))
        if content is None:
            return self.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        return self.answer(200, content, Docker_Content_Digest=digest(content))

    do_GET = do_HEAD = do_PUT = do_POST = serve


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with ca.crt, another CA's other.crt, and the registry's certificate and key in server.pem."""
    directory = tmp_path_factory.mktemp("certificates")
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)

    def certificate(name: str, key: Any, issuer: str, signer: Any, *extensions: x509.ExtensionType) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(x509.OID_COMMON_NAME, name)]))
        builder = builder.issuer_name(x509.Name([x509.NameAttribute(x509.OID_COMMON_NAME, issuer)]))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(start).not_valid_after(start + datetime.timedelta(days=9))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(signer, hashes.SHA256())

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    for file, key in (("ca", keys[0]), ("other", keys[1])):
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        own = certificate("CA", key, "CA", key, x509.BasicConstraints(ca=True, path_length=None), identifier)
        (directory / f"{file}.crt").write_bytes(own.public_bytes(serialization.Encoding.PEM))
    names = x509.SubjectAlternativeName([x509.DNSName(NAME)])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key())
    leaf = certificate("localhost", keys[2], "CA", keys[0], names, issuer)
    (directory / "server.pem").write_bytes(
        leaf.public_bytes(serialization.Encoding.PEM)
        + keys[2].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return directory


@pytest.fixture
def registry() -> Iterator[Registry]:
    """Return a registry over plain HTTP."""
    with Registry() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def secure(registry: Registry, certificates: Path) -> Registry:
    """Return a registry with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    context.sni_callback = lambda _socket, name, _context: registry.requests.append(("SNI", name, {}))
    registry.socket = context.wrap_socket(registry.socket, server_side=True, do_handshake_on_connect=False)
    return registry

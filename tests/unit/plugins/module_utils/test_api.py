"""The client of a registry's API, against a small registry that really listens, with TLS and without."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ansible_collections.wharf.registry.plugins.module_utils import api
from ansible_collections.wharf.registry.plugins.module_utils.parts import NO_REGISTRY
from tests.unit.issued import Issued

pytest_plugins = ["tests.unit.served_registry"]
NAME = "registry.wharf.test"
USER, PASSWORD = "ci", "a-password-of-the-tests"


def has_ipv6() -> bool:
    """Return whether this machine has a loopback with IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def client(registry: Any) -> Iterator[api.Client]:
    """Return a client of the registry over plain HTTP."""
    with api.Client(NAME, registry.port, address="127.0.0.1", timeout=5) as found:
        yield found


def verifying(registry: Any, *paths: Path, name: str = NAME, **options: Any) -> api.Client:
    """Return a client that verifies the certificate."""
    return api.Client(name, registry.port, api.trust(*map(str, paths)), address="127.0.0.1", timeout=5, **options)


def answering(status: int, body: bytes = b"", **headers: str) -> Callable[[Any], None]:
    """Return what answers every request so."""
    return lambda handler: handler.answer(status, body, **headers)


# The way to the registry


def test_connects_to_an_address_and_verifies_the_name(secure, certificates):
    with verifying(secure, certificates / "ca.crt") as client:
        assert client.ping().status == 200
        assert x509.load_der_x509_certificate(client.certificate()).subject.rfc4514_string() == "CN=localhost"
    assert secure.requests[0] == ("SNI", NAME, {})
    assert secure.requests[1][2]["Host"] == f"{NAME}:{secure.port}"


@pytest.mark.parametrize(("path", "reached"), [("there/a.sock", True), ("there/b.sock", False), ("link/a.sock", False)])
def test_no_link_leads_to_another_socket(tmp_path, path, reached):
    """Whoever is in a container may write where its socket lies."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "there/b.sock").symlink_to("a.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "there/a.sock"))
        server.listen()
        server.settimeout(0)
        before = os.listdir("/proc/self/fd")
        with api.Client(NAME, 80, address=f"{tmp_path}/{path}") as client, contextlib.suppress(OSError):
            client.connect()
        assert os.listdir("/proc/self/fd") == before
        with contextlib.nullcontext() if reached else pytest.raises(BlockingIOError):
            server.accept()[0].close()


def test_several_files_and_text_serve(secure, certificates):
    with verifying(secure, certificates / "other.crt", certificates / "ca.crt") as client:
        assert client.ping().status == 200
    context = api.trust(pem=(certificates / "ca.crt").read_text())
    assert api.Client(NAME, secure.port, context, address="127.0.0.1").ping().status == 200


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_cas_of_one_name_the_right_one_is_found_in_each_order(registry, tmp_path, order):
    """Without key identifiers OpenSSL knows them by their names, as certificates of openssl x509 -req are."""
    roots = [Issued("CA", ca=True) for _ in range(3)]
    leaf = Issued("leaf", roots[1], sans=(f"DNS:{NAME}",))
    (tmp_path / "server.pem").write_text(leaf.pem + leaf.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    registry.socket = context.wrap_socket(registry.socket, server_side=True, do_handshake_on_connect=False)
    for trusted, is_good in ((roots, True), (roots[:1] + roots[2:], False)):
        client = api.Client(NAME, registry.port, api.trust(pem="".join(one.pem for one in trusted[::order])))
        client.address = "127.0.0.1"
        if is_good:
            assert client.ping().status == 200
        else:
            with pytest.raises(api.CertificateError, match="signature"):
                client.ping()


@pytest.mark.parametrize(("ca", "name", "words"), [("other", NAME, "verify"), ("ca", "localhost", "localhost")])
def test_certificate_of_another_ca_or_for_another_name_is_refused(secure, certificates, ca, name, words):
    """The common name does not count, as clients do not read it either."""
    with pytest.raises(api.CertificateError, match=words) as caught:
        verifying(secure, certificates / f"{ca}.crt", name=name).ping()
    assert caught.value.code > 0
    assert [method for method, _, _ in secure.requests if method != "SNI"] == []


def test_certificate_is_seen_without_trust_and_no_password_sent(secure, certificates):
    client = api.Client(NAME, secure.port, api.trust_nothing(), address="127.0.0.1", user=USER, password=PASSWORD)
    assert client.certificate()
    with pytest.raises(RuntimeError, match="no password"):
        client.ping()


def test_connection_is_kept_and_made_again_the_same_way(secure, certificates):
    with verifying(secure, certificates / "ca.crt", user=USER, password=PASSWORD) as client:
        for _ in range(3):
            client.ping()
        assert [method for method, _, _ in secure.requests].count("SNI") == 1
        client.sock.shutdown(socket.SHUT_RDWR)  # as a server does that closes what rests
        client.ping()
        secure.instead = answering(200, Connection="close")
        client.ping()
        client.ping()
        assert [method for method, _, _ in secure.requests].count("SNI") == 3


@pytest.mark.parametrize(
    ("content", "words"), [(b"no certificate", "holds no CA certificate"), (None, "cannot be read")]
)
def test_file_that_holds_no_ca_is_named(tmp_path, content, words):
    if content:
        (tmp_path / "ca.crt").write_bytes(content)
    with pytest.raises(api.TrustError, match=rf"ca\.crt {words}"):
        api.trust(str(tmp_path / "ca.crt"))
    with pytest.raises(api.TrustError, match="holds no CA certificate in PEM"):
        api.trust(pem="no certificate")


def test_tls_where_plain_http_is_spoken_gets_no_response(registry, certificates):
    with pytest.raises(api.NoResponseError, match=f"does not answer as {NAME}:{registry.port}: "):
        verifying(registry, certificates / "ca.crt").ping()


def speaks(greeting: bytes, seconds: float = 0) -> int:
    """Start a server that says this to everyone, and return its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            connection.recv(1000)
            connection.sendall(greeting)
            time.sleep(seconds)
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    return listening.getsockname()[1]


@pytest.mark.parametrize(
    ("greeting", "seconds", "kind", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", 0, api.RegistryError, "does not speak HTTP"),
        (b"", 0, api.NoResponseError, "does not answer as"),
        (b"", 2, api.NoResponseError, "no response in time"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut", 0, api.NoResponseError, "broke off"),
    ],
)
def test_what_is_no_registry_is_named(greeting, seconds, kind, words):
    client = api.Client(NAME, speaks(greeting, seconds), address="127.0.0.1", timeout=0.5)
    with pytest.raises(kind, match=words):
        client.ping()


def test_port_that_is_closed_and_name_that_does_not_resolve():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(api.NoResponseError, match="refused") as caught:
        api.Client(NAME, port, address="127.0.0.1").ping()
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    with pytest.raises(api.NoResponseError):
        api.Client("nowhere.invalid", 5000).ping()


def test_another_web_server_and_a_sick_registry_are_told_apart(registry, client):
    def other(handler: Any) -> None:
        handler.send_response(404)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    registry.instead = other
    with pytest.raises(api.RegistryError, match="is no registry: HTTP status 404"):
        client.ping()
    registry.instead = answering(503, b'{"errors":[{"code":"UNAVAILABLE","message":"health check failed"}]}')
    with pytest.raises(api.StatusError, match="HTTP status 503: health check failed"):
        client.ping()


def test_a_gateway_and_what_is_behind_it_are_told_apart(registry, client):
    registry.instead = answering(200)
    assert client.health().status == 200
    assert registry.requests[-1][1] == "/health"
    alone = f'{{"errors":[{{"code":"UNAVAILABLE","message":"{NO_REGISTRY}"}}]}}'
    for status, body, message in (
        (503, alone.encode(), "the gateway answers as registry.wharf.test.*, the registry behind it does not"),
        (503, b'{"errors":[{"code":"UNAVAILABLE","message":"health check failed"}]}', "HTTP status 503: health check"),
        (429, b"", "HTTP status 429"),
    ):
        registry.instead = answering(status, body)
        with pytest.raises(api.StatusError, match=message):
            client.health()
    for status in (401, 404):  # a registry without a gateway
        registry.instead = answering(status)
        with pytest.raises(api.RegistryError, match="is no gateway of Wharf's"):
            client.health()


def test_a_cache_is_asked_by_its_name(registry, client):
    registry.instead = answering(200, b"{}")
    assert client.cache("docker.io").status == client.cache().status == 200
    assert [path for _method, path, _headers in registry.requests[-2:]] == ["/v2/docker.io/", "/v2/"]
    for status, message in ((401, "asks for a user"), (403, "GET /v2/docker.io/ with HTTP status 403"), (404, "404")):
        registry.instead = answering(status)
        with pytest.raises(api.StatusError, match=message):
            client.cache("docker.io")


def test_waits_until_the_registry_answers(registry, client):
    registry.instead = answering(503)
    threading.Timer(0.3, lambda: setattr(registry, "instead", None)).start()
    assert client.wait(10, 0.01).status == 200
    registry.instead = answering(503)
    with pytest.raises(api.StatusError, match="503"):
        client.wait(0.1, 0.01)


def test_does_not_wait_for_a_certificate_to_become_right(secure, certificates):
    start = time.monotonic()
    with pytest.raises(api.CertificateError):
        verifying(secure, certificates / "other.crt").wait(30)
    assert time.monotonic() - start < 5


# Users


def test_user_is_accepted_or_named_without_the_password(registry):
    registry.login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    for password, user, words in (("wrong-one", USER, "refuses the user 'ci'"), ("", "", "asks for a user")):
        client = api.Client(NAME, registry.port, address="127.0.0.1", user=user, password=password)
        assert client.ping().status == 401
        with pytest.raises(api.StatusError, match=words) as caught:
            client.manifest("app", "1")
        assert caught.value.status == 401
        assert "wrong-one" not in str(caught.value)
    client = api.Client(NAME, registry.port, address="127.0.0.1", user=USER, password=PASSWORD)
    assert client.ping().status == 200


# Manifests and blobs


def test_pushed_and_pulled_byte_for_byte(registry, client):
    layer, configuration = b"layer" * 1000, b'{"os": "linux"}'
    descriptors = [{"digest": digest(content), "size": len(content)} for content in (configuration, layer)]
    for content in (configuration, layer):
        client.push_blob("team/app", content)
    content = json.dumps({"schemaVersion": 2, "config": descriptors[0], "layers": [descriptors[1]]}, indent=7).encode()
    client.push_manifest("team/app", "1", content)
    assert registry.requests[-1][2]["Content-Type"] == "application/vnd.oci.image.manifest.v1+json"
    for reference in ("1", digest(content)):
        found = client.manifest("team/app", reference)
        assert (found.content, found.digest) == (content, digest(content))
        assert client.digest("team/app", reference) == digest(content)
    assert set(api.MEDIA_TYPES) == set(registry.requests[-1][2]["Accept"].split(", "))
    assert b"".join(client.blob("team/app", digest(layer))) == layer
    with pytest.raises(api.NotFoundError, match="404: manifest unknown"):
        client.manifest("team/app", "2")


def test_sizes_count_manifests_as_they_are_and_each_blob_once(registry, client):
    """A manifest may be indented, as Docker writes it: its bytes count, not those that Python would write."""

    def stored(document: dict[str, Any]) -> dict[str, Any]:
        content = json.dumps(document, indent=3).encode()
        registry.manifests["app", digest(content)] = content
        return {"digest": digest(content), "size": len(content)}

    shared = {"digest": digest(b"shared"), "size": 1000}
    configurations = [{"digest": digest(bytes([n])), "size": 10} for n in range(2)]
    images = [stored({"config": one, "layers": [shared, shared]}) for one in configurations]
    index = json.dumps({"manifests": images}, indent=3).encode()
    registry.manifests["app", "1"] = index
    size = client.size("app", client.manifest("app", "1"))
    assert size == 1000 + 2 * 10 + sum(image["size"] for image in images) + len(index)


@pytest.mark.parametrize(("errors", "succeeds"), [(1, True), (3, True), (4, False)])
def test_manifest_is_asked_for_again_while_the_registry_is_writing(registry, client, monkeypatch, errors, succeeds):
    monkeypatch.setattr(api, "RETRY_PAUSE", 0)
    registry.manifests["app", "1"] = b"{}"
    left = [errors]

    def writing(handler):
        left[0] -= 1
        if left[0] == 0:
            registry.instead = None
        handler.answer(500)

    registry.instead = writing
    if succeeds:
        assert client.manifest("app", "1").content == b"{}"
    else:
        with pytest.raises(api.StatusError, match="HTTP status 500"):
            client.manifest("app", "1")


def test_manifest_with_another_digest_is_refused(registry, client):
    registry.manifests["app", "1"] = b"{}"
    registry.instead = answering(200, b'{"altered": 1}', Docker_Content_Digest=digest(b"{}"))
    for reference in ("1", digest(b"{}")):
        with pytest.raises(api.DigestError, match="is damaged") as caught:
            client.manifest("app", reference)
        assert (caught.value.expected, caught.value.found) == (digest(b"{}"), digest(b'{"altered": 1}'))


def test_blob_that_is_damaged_missing_or_elsewhere(registry, client):
    registry.blobs[digest(b"good")] = b"evil"
    with pytest.raises(api.DigestError, match="is damaged"):
        list(client.blob("app", digest(b"good")))
    with pytest.raises(api.NotFoundError, match="blob unknown"):
        list(client.blob("app", digest(b"none")))
    registry.instead = answering(307, Location="https://store.test/blob")
    with pytest.raises(api.StatusError, match="307"):
        list(client.blob("app", digest(b"good")))


def test_blob_that_is_not_read_to_its_end_disturbs_no_later_request(registry, client):
    registry.blobs[digest(b"long")] = b"x" * 10_000_000
    parts = client.blob("app", digest(b"long"))
    assert next(parts)
    parts.close()
    assert client.ping().status == 200


def test_upload_that_is_refused_says_why_and_shows_no_state(registry, client):
    def refuse(handler: Any) -> None:
        if handler.command == "PUT":
            return handler.error(400, "DIGEST_INVALID", "provided digest did not match")
        return handler.answer(202, Location="/v2/app/blobs/uploads/1?_state=secret")

    registry.instead = refuse
    with pytest.raises(api.StatusError, match="400: provided digest did not match") as caught:
        client.push_blob("app", b"content")
    assert "secret" not in str(caught.value)


def test_response_that_is_too_large_is_refused(registry, client, monkeypatch):
    registry.instead = answering(200, b"x" * 2000)
    monkeypatch.setattr(api, "LARGEST_BODY", 1000)
    with pytest.raises(api.RegistryError, match="larger than 1000 bytes"):
        client.request("GET", "/v2/")
    registry.instead = None
    assert client.ping().status == 200


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_name_may_be_an_ipv6_address():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        port = listening.getsockname()[1]
        threading.Thread(target=lambda: listening.accept()[0].sendall(b"no HTTP\r\n"), daemon=True).start()
        with pytest.raises(api.RegistryError, match="does not speak HTTP"):
            api.Client("[::1]", port, timeout=5).ping()

"""What is found on a registry's server: the port's holder, the certificates, the versions."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.wharf.registry.plugins.module_utils import server_info as module

OWN = ["registry", "registry-before", "registry-read-only"]


@pytest.mark.parametrize(
    ("known", "processes", "holder"),
    [
        ([], "", ""),
        ([{"names": ["other"], "ports": {5000}}], "", "the container other"),
        ([{"names": ["other"], "ports": {5001}}], "", ""),
        ([{"names": ["registry"], "ports": {5000}}], 'users:(("docker-proxy",pid=7,fd=4))', ""),
        ([{"names": ["registry-read-only"], "ports": {5000}}], 'users:(("docker-proxy",pid=7,fd=4))', ""),
        ([], 'LISTEN 0 128 *:22 *:* users:(("sshd",pid=1,fd=3))\nLISTEN [::]:22 users:(("sshd",pid=1,fd=4))', "sshd"),
        ([], "LISTEN 0 128 *:5000 *:*", "an unknown process"),
    ],
)
def test_the_port_s_holder_is_named_unless_it_is_the_registry(
    monkeypatch: pytest.MonkeyPatch, known: list, processes: str, holder: str
) -> None:
    monkeypatch.setattr(module, "run", lambda *_, **__: (0, processes))
    assert module.port_holder(5000, known, OWN) == holder


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with server.key, and server.crt and longer.crt: the latter has one certificate more."""
    directory = tmp_path_factory.mktemp("chain")
    now = datetime.datetime.now(datetime.UTC)
    certificates = []
    for name in ("registry.test", "intermediate"):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        certificates.append(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        if name == "registry.test":
            none = serialization.NoEncryption()
            pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none)
            (directory / "server.key").write_bytes(pem)
    (directory / "server.crt").write_bytes(certificates[0])
    (directory / "longer.crt").write_bytes(b"a comment\n" + b"".join(certificates))
    return directory


@pytest.mark.parametrize("served", ["server", "longer"])
def test_the_whole_chain_that_is_served_is_compared(chain: Path, served: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain / f"{served}.crt", chain / "server.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection = listener.accept()[0]
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    found = module.served_certificates(listener.getsockname()[1])
    thread.join()
    listener.close()
    assert [found == module.certificates_in(str(chain / f"{name}.crt")) for name in ("server", "longer")] == [
        served == "server",
        served == "longer",
    ]


def test_without_certificates_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty.crt").write_text("nothing\n")
    assert module.certificates_in(str(tmp_path / "empty.crt")) == []
    assert module.certificates_in(str(tmp_path / "missing.crt")) == []
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    assert module.served_certificates(port) == []

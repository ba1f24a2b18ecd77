"""The other servers on the same store: whether they really share it, and the secret that signs what is uploaded."""

from __future__ import annotations

import os
import secrets
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from .api import Client, trust
from .errors import WharfError
from .gateway import PEERS_NAME, direct

REPOSITORY = "wharf-verify/peers-"  # how the repositories of the uploads begin by which servers are compared
TIMEOUT = 10  # seconds


def client_of(address: str, port: int, gateway_directory: str) -> Client:
    """Return a client of the registry itself on another server. Raises WharfError, and OSError."""
    pair = [f"{os.path.realpath(gateway_directory)}/peers.{end}" for end in ("crt", "key")]
    context = trust(pair[0])
    try:
        context.load_cert_chain(*pair)
    except ssl.SSLError as error:
        raise WharfError(f"{pair[1]} is not the key of {pair[0]}: run playbooks/deploy-registry.yml") from error
    return Client(PEERS_NAME, port, context, address=address, timeout=TIMEOUT)


def difference(addresses: Sequence[str], port: int, gateway_directory: str, slot: str) -> str:
    """Return what other servers do not share with this one; empty where they do, or do not answer.

    An upload that is begun here is asked of each: it knows it if it has the same store, and takes its state for true if
    it has the same secret.

    Args:
        addresses: of the other servers.
        port: of the registry, there as here.
        gateway_directory: that of the gateway's configuration here, which has the servers' key.
        slot: of the registry here.
    """
    with suppress(WharfError), _upload(slot) as upload:
        for address in addresses:
            problem = ""
            with suppress(WharfError, OSError), client_of(address, port, gateway_directory) as client:
                problem = _answer(client.request("GET", upload).body)
            if problem:
                return f"{address} {problem}"
    return ""


def _answer(body: bytes) -> str:
    """Return what an answer about the upload says of who has given it."""
    if b"BLOB_UPLOAD_INVALID" in body:
        return (
            "has another http.secret than this server, and pushes that change from one to the other would fail: run"
            " playbooks/deploy-registry.yml without --limit, from the controller that has deployed the servers"
        )
    if b"BLOB_UPLOAD_UNKNOWN" in body:
        return (
            "has another store than this server, or another bucket, and would lack the images that are here:"
            " wharf_registry_storage must lead all of registry_servers to the same. Where it is to be another one,"
            " deploy one server alone first, and then the others with it"
        )
    return ""


@contextmanager
def _upload(slot: str) -> Iterator[str]:
    """Begin an upload, and yield its path; it is taken back. Raises WharfError."""
    with direct(slot, TIMEOUT) as client:
        begun = client.request("POST", f"/v2/{REPOSITORY}{secrets.token_hex(8)}/blobs/uploads/")
        path = begun.headers.get("Location", "")
        if begun.status != 202 or not path.startswith("/"):
            raise WharfError(f"the registry begins no upload: HTTP status {begun.status}")
        try:
            yield path
        finally:
            client.request("DELETE", path)

"""The other servers on the same store: whether they really share it, and the secret that signs what is uploaded."""

from __future__ import annotations

import os
import re
import secrets
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from .api import Client, trust
from .errors import WharfError, message_of
from .files import read_text
from .gateway import PEERS_NAME, direct, peers_file

REPOSITORY = "wharf-verify/peers-"  # how the repositories of the uploads begin by which servers are compared
TIMEOUT = 10  # seconds
# What an answer about the upload holds, and what it tells of who has given it.
DIFFERENCES = {"BLOB_UPLOAD_INVALID": "secret", "BLOB_UPLOAD_UNKNOWN": "store"}
PROBLEMS = {
    "secret": (
        "has another http.secret than this server, and pushes that change from one to the other would fail: run"
        " playbooks/deploy-registry.yml without --limit, from the controller that has deployed the servers"
    ),
    "store": (
        "has another store than this server, or another bucket, and would lack the images that are here:"
        " wharf_registry_storage must lead all of registry_servers to the same. Where it is to be another one, remove"
        " all servers but one first: see docs/replicas.md"
    ),
}


def known(gateway_directory: str) -> list[tuple[str, int]]:
    """Return the addresses and ports of the other servers, as the gateway of this one has them."""
    found = re.findall(r"^ +server \[?([^\]\s]+)\]?:(\d+) ", read_text(peers_file(gateway_directory)), re.MULTILINE)
    return [(address, int(port)) for address, port in found]


def client_of(address: str, port: int, gateway_directory: str) -> Client:
    """Return a client of the registry itself on another server. Raises WharfError, and OSError."""
    pair = [f"{os.path.realpath(gateway_directory)}/peers.{end}" for end in ("crt", "key")]
    context = trust(pair[0])
    try:
        context.load_cert_chain(*pair)
    except ssl.SSLError as error:
        raise WharfError(f"{pair[1]} is not the key of {pair[0]}: run playbooks/deploy-registry.yml") from error
    return Client(PEERS_NAME, port, context, address=address, timeout=TIMEOUT)


def compare(servers: Iterable[tuple[str, int]], gateway_directory: str, slot: str) -> Iterator[tuple[str, str, str]]:
    """Yield for each of other servers its address, in what it differs ("secret", "store" or "") and why it is silent.

    An upload that is begun here is asked of each: it knows it if it has the same store, and takes its state for true if
    it has the same secret.

    Args:
        servers: the addresses and ports of the others.
        gateway_directory: that of the gateway's configuration here, which has the servers' key.
        slot: of the registry here.

    Raises:
        WharfError: the registry here begins no upload.
    """
    with _upload(slot) as upload:
        for address, port in servers:
            try:
                with client_of(address, port, gateway_directory) as client:
                    response = client.request("GET", upload)
            except (WharfError, OSError) as error:
                yield address, "", message_of(error)
                continue
            body = response.body.decode("utf-8", "replace")
            silent = "" if response.status in (204, 404) else f"HTTP status {response.status}"
            yield address, next((DIFFERENCES[code] for code in DIFFERENCES if code in body), ""), silent


@contextmanager
def _upload(slot: str) -> Iterator[str]:
    """Begin an upload, and yield its path; it is taken back. Raises WharfError."""
    with direct(slot, TIMEOUT) as client:
        begun = client.request("POST", f"/v2/{REPOSITORY}{secrets.token_hex(8)}/blobs/uploads/")
        path = begun.headers.get("Location", "")
        if begun.status != 202 or not path.startswith("/"):
            raise WharfError(
                f"the registry begins no upload (HTTP status {begun.status}): the store of wharf_registry_storage must"
                " be reached from here, the bucket be there, and the key be one that may write"
            )
        try:
            yield path
        finally:
            client.request("DELETE", path)

"""The gateway as it runs: which registry it passes requests to, and its change to another without a lost request."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from . import containers
from .api import Client
from .errors import WharfError
from .files import Entry, read_entry, read_text, write_atomic
from .parts import PORT, SLOTS, SOCKETS, SOCKETS_INSIDE, STAND_INS, container_names
from .text import one_line

RELOAD_SECONDS = 20
SETTLE = 1.5  # seconds: whom the gateway had let in before a reload, and who has not asked yet, asks as it was before
PEERS_NAME = "wharf-peers"  # what the servers on one store are to each other, whatever the registry's name
PEERS_SOCKET = "/tmp/peers.sock"  # within its container; what leads to them
OWN_SOCKET = "/tmp/own.sock"  # within its container; the port it may share with another gateway
_FIGURES = "/tmp/figures.sock"  # beside it: what nginx counts
_CONNECTED = re.compile(r"^\S+:(?: +\S+){4} +03 +\S+ (\S+)$", re.MULTILINE)  # of /proc/net/unix: SS_CONNECTED


def upstreams_file(directory: str) -> str:
    """Return where the gateway's configuration, in a directory, says which registry it passes requests to."""
    return f"{os.path.realpath(directory)}/upstreams.conf"


def peers_file(directory: str) -> str:
    """Return where the gateway's configuration, in a directory, says where the other servers on one store are."""
    return f"{os.path.realpath(directory)}/peers.conf"


def peers(addresses: Iterable[str], port: int) -> str:
    """Return the text of that file. Raises WharfError where one of them cannot be found by its name."""
    servers = "".join(f"    server {_resolved(one)}:{port} max_fails=1 fail_timeout=5s;\n" for one in addresses)
    return f"upstream peers {{\n    zone peers 64k;\n    least_conn;\n{servers}    keepalive 64;\n}}\n"


def _resolved(address: str) -> str:
    """Return the IP address of a server: in the gateway's container a name may lead nowhere, and nginx not start."""
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise WharfError(
            f"registry_servers: {address} has no address here: use an ansible_host by which the servers reach each"
            " other, or give the name one in the DNS or /etc/hosts"
        ) from None
    _, ip = min((family == socket.AF_INET6, entry[0]) for family, _, _, _, entry in found)
    return f"[{ip}]" if ":" in ip else ip


def upstreams(reads: str, writes: str = "", has_peers: bool = False) -> str:
    """Return the text of that file.

    Args:
        reads: the slot to which requests go that change nothing.
        writes: where the others go; the same one where it is empty.
        has_peers: whether other servers on the same store serve while the registry here does not answer.

    A registry that runs in one of the usual slots comes next: what has stood in for it is gone after a reboot. Not so
    for what is held back: it would reach a registry in the middle of a collection, here or on another server.
    """
    text = "# Written by Wharf, anew when another container of the registry takes over.\n"
    for name, slot in (("reads", reads), ("writes", writes or reads)):
        next_ones = () if slot == STAND_INS[1] else [other for other in SLOTS if other != slot]
        others = [f"    server unix:{SOCKETS_INSIDE}/{other}.sock max_fails=0 backup;\n" for other in next_ones]
        own = f"    server unix:{SOCKETS_INSIDE}/{slot}.sock max_fails=0;\n{''.join(others)}    keepalive 64;\n}}\n"
        if not has_peers:
            text += f"upstream {name} {{\n{own}"
            continue
        if slot not in STAND_INS:
            others.append(f"    server unix:{PEERS_SOCKET} max_fails=0 backup;\n")
        # What all of the gateway's processes know: who has just failed is left alone for a moment.
        text += f"upstream own_{name} {{\n{own}upstream {name} {{\n    zone {name} 64k;\n"
        text += f"    server unix:{SOCKETS_INSIDE}/{slot}.sock max_fails=1 fail_timeout=2s;\n{''.join(others)}"
        text += "    keepalive 64;\n}\n"
    return text


def upstreams_now(directory: str, reads: str, writes: str = "") -> str:
    """Return the same for a gateway's configuration in a directory, which says whether there are other servers."""
    return upstreams(reads, writes, os.path.exists(peers_file(directory)))


def is_held(directory: str) -> bool:
    """Tell whether the gateway holds pushes back, by its configuration in a directory."""
    return f"/{STAND_INS[0]}.sock" in read_text(upstreams_file(directory))


def listen(tls: bool, port: int = PORT) -> str:
    """Return the text of a file that says where the gateway listens on a port, within its network."""
    options = f"{' ssl' if tls else ''} reuseport backlog=4096"
    ports = "".join(f"listen {one}{options};\n" for one in _addresses(port))
    return ports + (f"listen unix:{OWN_SOCKET};\n" if port == PORT else "")


def peers_listen() -> str:
    """Return the text for the server that the others reach at the same port, under PEERS_NAME."""
    return "".join(f"listen {one} ssl;\n" for one in _addresses(PORT))


def _addresses(port: int) -> list[str]:
    return [str(port), *([f"[::]:{port}"] if os.path.exists("/proc/net/if_inet6") else [])]


def is_cut_off(network: dict[str, Any], own: dict[str, Any]) -> bool:
    """Tell whether a gateway is still in the network that was there before its container was started anew."""
    return _moment(network["State"]["StartedAt"]) > _moment(own["State"]["StartedAt"])


def _moment(text: str) -> tuple[str, float]:
    """Return a moment of the engine's, such as 2026-11-28T19:35:23.123456789Z, as something that can be compared."""
    seconds, _, fraction = text.rstrip("Z").partition(".")
    return seconds, float(f"0.{fraction or 0}")


def workers(name: str) -> set[str]:
    """Return the process IDs of a gateway's workers; none where it does not run, or has not read its configuration."""
    found = containers.container(name)
    pid = found["State"]["Pid"] if found else 0
    return set(read_text(f"/proc/{pid}/task/{pid}/children").split()) if pid else set()


def wait_for_workers(name: str, before: frozenset[str] | set[str] = frozenset()) -> None:
    """Wait until a gateway has workers that are not among those of before. Raises WharfError with its last words."""
    deadline, restarts = time.monotonic() + RELOAD_SECONDS, (containers.container(name) or {}).get("RestartCount")
    while not workers(name) - before:
        found = containers.container(name)
        has_ended = not found or not found["State"]["Running"] or found["RestartCount"] != restarts
        if has_ended or time.monotonic() > deadline:
            log = containers.docker("logs", "--tail", "5", name).stdout
            raise WharfError(f"the gateway does not take its configuration: {one_line(log, 400)}")
        time.sleep(0.05)


def own_problem(name: str) -> str:
    """Return why a gateway does not pass requests on, whoever else has its port; nothing where it does."""
    found = containers.container(name)
    pid = found["State"]["Pid"] if found else 0
    if not pid:
        return "the gateway does not run"
    client = Client("gateway", 80, address=f"/proc/{pid}/root{OWN_SOCKET}", timeout=5)
    return _problem(client, client.health)


def figures(pid: int) -> str:
    """Return what nginx counts, as its stub_status tells it, of the gateway with a process ID. Raises WharfError."""
    with Client("gateway", 80, address=f"/proc/{pid}/root{_FIGURES}", timeout=5) as client:
        response = client.request("GET", "/")
    if response.status != 200:
        raise WharfError(f"the gateway tells no figures: HTTP status {response.status}")
    return response.body.decode("ascii", "replace")


def reload(name: str) -> None:
    """Let a gateway read its configuration and certificate anew. What it has begun it ends as it was.

    Raises:
        WharfError: it refuses them, and goes on with those of before.
    """
    before = workers(name)
    containers.act(name, "kill?signal=HUP")
    wait_for_workers(name, before)


def switch(container: str, directory: str, uid: int, reads: str, writes: str = "") -> None:
    """Let the gateway of a registry, if it runs, pass requests to other slots; arguments as for upstreams().

    Whom it had let in before has had time to ask when this is done.

    Raises:
        WharfError: it does not.
    """
    path = upstreams_file(directory)
    entry = Entry(0, uid, 0o640, upstreams_now(directory, reads, writes).encode())
    if read_entry(path) != entry:  # on the way back it may be right still, because it could not be written
        write_atomic(path, entry.content or b"", entry.mode, entry.uid, entry.gid)
    gateway = container_names(container)["gateway"]
    found = containers.container(gateway)
    if found and found["State"]["Running"]:
        reload(gateway)
        time.sleep(SETTLE)


def connections(found: dict[str, Any], slot: str) -> int:
    """Return how many connections a registry's container has; what the engine knows of it, and its slot."""
    pid = found["State"]["Pid"]
    paths = _CONNECTED.findall(read_text(f"/proc/{pid}/net/unix")) if pid else []
    return paths.count(f"{SOCKETS_INSIDE}/{slot}.sock")


def drain(name: str, slot: str, seconds: float) -> bool:
    """Wait until a registry, from which the gateway was switched away, has no connection any more; tell whether so."""
    deadline = time.monotonic() + seconds
    while (found := containers.container(name)) and found["State"]["Running"] and connections(found, slot):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def direct(slot: str, timeout: float = 30) -> Client:
    """Return a client of the registry in a slot itself, past the gateway: without a user it may do everything."""
    return Client("registry", 80, address=f"{SOCKETS}/{slot}.sock", timeout=timeout)


def problem_of(slot: str) -> str:
    """Return why the registry in a slot does not answer itself; nothing where it does."""
    client = direct(slot, 5)
    return _problem(client, client.ping)


def _problem(client: Client, ask: Callable[[], object]) -> str:
    """Return why a client gets no answer to what it asks; nothing where it does. Closes it."""
    try:
        with client:
            ask()
    except WharfError as error:
        return str(error)
    return ""

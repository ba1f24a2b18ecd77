"""What there is of a registry on its server: its port, its certificates, whether it answers, what is to be done."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Collection
from typing import Any

from . import api, gateway
from .errors import WharfError
from .files import read_text
from .parts import PARTS, PEERS_FILES, slot_of
from .processes import run
from .server_container import differences, settings

TIMEOUT = 20  # seconds
Found = dict[str, Any]  # what the engine knows of the container of each part, or None
Actions = dict[str, tuple[str, list[str]]]


def output(*command: str) -> str:
    """Return what a program prints, in English; empty where it is not installed, fails, or hangs."""
    status, text = run(list(command), timeout=TIMEOUT)
    return "" if status else text


def port_holder(port: int, known: list[dict[str, Any]], own: list[str]) -> str:
    """Return what has a port, unless it is a container of one of the names in `own`; empty when nothing does.

    Args:
        port: the port.
        known: from containers.containers().
        own: the names of the registry's own containers.
    """
    publishers = [container["names"] for container in known if port in container["ports"]]
    if publishers:
        others = [names[0] for names in publishers if not set(names) & set(own)]
        return f"the container {' '.join(others)}" if others else ""
    found = output("ss", "-Hltnp", f"sport = :{port}")
    processes = sorted(set(re.findall(r'\(\("([^"]*)"', found)))
    return " ".join(processes) or ("an unknown process" if found.strip() else "")


def certificates_in(path: str) -> list[bytes]:
    """Return the certificates in a PEM file, in DER."""
    pems = re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", read_text(path), re.DOTALL)
    return [ssl.PEM_cert_to_DER_cert(pem) for pem in pems]


def served_certificates(port: int) -> list[bytes]:
    """Return the certificates that are served on a port, in DER; none where none are."""
    try:
        raw = socket.create_connection(("127.0.0.1", port), timeout=5)
        with api.trust_nothing().wrap_socket(raw) as served:
            # The whole chain: an intermediate that was added to the file must be served as well.
            chain = served._sslobj.get_unverified_chain()  # Python 3.13 has a public name for it
            return [certificate.public_bytes(2) for certificate in chain]  # 2: DER
    except (OSError, ValueError):
        return []


def pending_actions(
    registry: dict[str, Any], found: Found, image_id: str, gateway_image_id: str, files: Collection[str]
) -> Actions:
    """Return what is to be done about each container, of PARTS, and about the way from the gateway to the registry.

    ``create``, ``replace``, ``start``, ``restart``, ``reload`` or nothing; for "switch" ``switch`` or nothing. Also in
    what each differs from what it should be, by the engine's names.

    Args:
        registry: values for REGISTRY_SPEC.
        found: what the engine knows of the containers.
        image_id: the ID of the registry's wanted image.
        gateway_image_id: that of the gateway.
        files: from server_files.pending_files(): what the gateway has read may be about to change.
    """
    images = {"registry": image_id, "gateway": gateway_image_id, "network": ""}
    network, slot = found["network"], slot_of(found["registry"])
    result: Actions = {}
    for part in PARTS:
        container = found[part]
        wanted = settings(registry, part, slot, network["Id"] if network else "")
        different = differences(wanted, container, images[part]) if container else []
        action = "create" if container is None else "replace" if different else ""
        if part == "gateway" and container and result["network"][0] in ("create", "replace"):
            action = "replace"
        if part == "gateway" and not action and {"index", "metrics"}.intersection(files):
            action = "replace"  # it would go on with the directories that were there before
        if not action and not container["State"]["Running"]:
            action = "start"
        if part == "gateway" and not action and result["network"][0] == "start":
            action = "restart"  # it is in the network that was there before
        result[part] = (action, different)
    if not result["gateway"][0]:
        reads = {"listen", "mirror", "gateway_config", *PEERS_FILES}.intersection(files)
        result["gateway"] = (_gateway_action(registry, found) or ("reload" if reads else ""), [])
    path = gateway.upstreams_file(registry["gateway_directory"])
    wanted_text = gateway.upstreams(slot, has_peers=bool(registry["peers"]))
    is_new = result["registry"][0] in ("create", "replace")
    result["switch"] = ("" if is_new or read_text(path) == wanted_text else "switch", [])
    return result


def action_names(pending: Actions) -> list[str]:
    """Return the names of what is to be done; those of the registry's own container have no part's name behind it."""
    plain = ("registry", "switch")
    return [action + ("" if part in plain else f"_{part}") for part, (action, _) in pending.items() if action]


def _gateway_action(registry: dict[str, Any], found: Found) -> str:
    """Return what is to be done about a gateway that runs as it should: its network or certificate may be another."""
    if gateway.is_cut_off(found["network"], found["gateway"]):
        return "restart"
    served = served_certificates(registry["port"]) if registry["tls"] else []
    # Where nothing is served over TLS, it would not help.
    return "reload" if served and served != certificates_in(f"{registry['tls_directory']}/registry.crt") else ""


def answer(registry: dict[str, Any], seconds: float) -> str:
    """Wait until the registry answers under its name, as clients see it; return why it does not, or nothing."""
    ca = f"{registry['tls_directory']}/ca.crt" if registry["tls"] else ""
    return answer_of(registry["name"], registry["port"], ca, seconds)


def answer_of(name: str, port: int, ca: str, seconds: float, has_gateway: bool = True) -> str:
    """Do the same for a registry of this host; without a CA's file it speaks plain HTTP."""
    try:
        context = api.trust(ca) if ca else None
        with api.Client(name, port, context, address="127.0.0.1", timeout=5) as client:
            client.wait(seconds, probe=client.health if has_gateway else None)
        return ""
    except WharfError as error:
        return str(error)

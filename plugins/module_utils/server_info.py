"""What there is of a registry on its server: its port, its certificates, whether it answers, what is to be done."""

from __future__ import annotations

import re
import socket
import ssl
from typing import Any

from . import api
from .errors import WharfError
from .files import read_text
from .processes import run
from .server_container import differences, settings

TIMEOUT = 20  # seconds


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


def container_action(registry: dict[str, Any], found: dict[str, Any] | None, image_id: str) -> tuple[str, list[str]]:
    """Return what is to be done about the container: ``create``, ``replace``, ``start``, ``restart`` or nothing.

    Also in what it differs from what it should be, by the engine's names.

    Args:
        registry: values for REGISTRY_SPEC.
        found: what the engine knows of the container.
        image_id: the ID of the wanted image.
    """
    if found is None:
        return "create", []
    if different := differences(settings(registry), found, image_id):
        return "replace", different
    if not found["State"]["Running"]:
        return "start", []
    # A restart loads the file's certificates. Where nothing is served over TLS, it would not help.
    served = served_certificates(registry["port"]) if registry["tls"] else []
    return "restart" if served and served != certificates_in(f"{registry['tls_directory']}/registry.crt") else "", []


def answer(registry: dict[str, Any], seconds: float) -> str:
    """Wait until the registry answers under its name, as clients see it; return why it does not, or nothing."""
    ca = f"{registry['tls_directory']}/ca.crt" if registry["tls"] else ""
    return answer_of(registry["name"], registry["port"], ca, seconds)


def answer_of(name: str, port: int, ca: str, seconds: float) -> str:
    """Do the same for a registry of this host; without a CA's file it speaks plain HTTP."""
    try:
        context = api.trust(ca) if ca else None
        with api.Client(name, port, context, address="127.0.0.1", timeout=5) as client:
            client.wait(seconds)
        return ""
    except WharfError as error:
        return str(error)

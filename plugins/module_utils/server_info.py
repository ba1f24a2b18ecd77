"""What there is of a registry on its server: engine, image, container, files, data, port, certificate."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import socket
import ssl
import subprocess
import time
from typing import Any

from . import api, containers
from .errors import WharfError
from .lock import lock_holder
from .server_container import differences, settings
from .server_versions import version_in

LOCK_WAIT = 2  # seconds: what runs every minute holds it for a moment


def busy() -> str:
    """Return who holds the lock, and since when; empty when nobody does.

    What runs every minute holds it for a moment, which is no reason to refuse anything.
    """
    deadline = time.monotonic() + LOCK_WAIT
    while (holder := lock_holder()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return str(holder or "")


def port_holder(port: int, known: list[dict[str, Any]], own: list[str]) -> str:
    """Return what has a port, unless it is the registry itself; empty when nothing does.

    Args:
        port: the port.
        known: all containers, from containers.containers().
        own: the names of the registry's own containers.
    """
    publishers = [container["names"] for container in known if port in container["ports"]]
    if publishers:
        others = [names[0] for names in publishers if not set(names) & set(own)]
        return f"the container {' '.join(others)}" if others else ""
    found = subprocess.run(["ss", "-Hltnp", f"sport = :{port}"], capture_output=True, text=True).stdout
    processes = sorted(set(re.findall(r'\(\("([^"]*)"', found)))
    return " ".join(processes) or ("an unknown process" if found.strip() else "")


def user_of(uid: int) -> str:
    """Return the user that a number belongs to; empty for none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def certificate_hash(path: str) -> str:
    """Return the SHA-256 of the certificates in a PEM file; empty where there are none."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            found = re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", file.read(), re.DOTALL)
        return _hash([ssl.PEM_cert_to_DER_cert(pem) for pem in found])
    except (OSError, ValueError):
        return ""


def served_hash(port: int) -> str:
    """Return the SHA-256 of the certificates that are served on a port; empty where none are."""
    try:
        raw = socket.create_connection(("127.0.0.1", port), timeout=5)
        with api.trust_nothing().wrap_socket(raw) as served:
            # The whole chain: an intermediate that was added to the file must be served as well.
            chain = served._sslobj.get_unverified_chain()  # Python 3.13 has a public name for it
            return _hash([certificate.public_bytes(2) for certificate in chain])  # 2: DER
    except (OSError, ValueError):
        return ""


def certificates(registry: dict[str, Any]) -> dict[str, str]:
    """Return the hashes of the certificates in the file and of those that are served."""
    if not registry["tls"]:
        return {"file": "", "served": ""}
    file = certificate_hash(f"{registry['tls_directory']}/registry.crt")
    return {"file": file, "served": served_hash(registry["port"])}


def is_outdated(found: dict[str, str]) -> bool:
    """Tell whether others are served than those in the file: these are loaded by a restart only.

    Where nothing is served over TLS, nothing but the container's own start would help.
    """
    return found["served"] not in ("", found["file"])


def _hash(certificates: list[bytes]) -> str:
    """Return the SHA-256 of certificates in DER; empty for none."""
    return hashlib.sha256(b"".join(certificates)).hexdigest() if certificates else ""


def answer(registry: dict[str, Any], seconds: float) -> str:
    """Wait until the registry answers under its name, as a client sees it.

    Returns:
        Why it does not; empty when it does.
    """
    try:
        context = api.trust(f"{registry['tls_directory']}/ca.crt") if registry["tls"] else None
        with api.Client(registry["name"], registry["port"], context, address="127.0.0.1", timeout=5) as client:
            client.wait(seconds)
        return ""
    except WharfError as error:
        return str(error)


def image_version(image: str) -> str:
    """Return the version of the registry in an image; empty where it does not tell.

    The program itself is asked, because not every image says it in a label.
    """
    name = f"wharf-version-{os.getpid()}"
    try:
        options = ["--rm", "--name", name, "--network", "none", "--read-only", "--cap-drop", "ALL"]
        return version_in(containers.docker("run", *options, image, "--version", timeout=20).stdout)
    except subprocess.TimeoutExpired:
        containers.remove(name)
        return ""


def container_info(registry: dict[str, Any], image_id: str) -> dict[str, Any] | None:
    """Return the registry's container, and in what it differs from what it should be; None where there is none."""
    found = containers.container(registry["container"])
    if found is None:
        return None
    return {
        "id": found["Id"],
        "image": found["Image"],
        "running": found["State"]["Running"],
        "differences": differences(settings(registry), found, image_id),
    }


def interrupted(registry: dict[str, Any], known: list[dict[str, Any]]) -> list[str]:
    """Return the containers of a collection that was cut off; the registry's own one is stopped meanwhile."""
    names = {name for container in known for name in container["names"]}
    return sorted(names & {f"{registry['container']}-read-only", f"{registry['container']}-collect-garbage"})


def own_containers(container: str) -> list[str]:
    """Return the names that the registry's container has, and what stands in for it."""
    return [container, f"{container}-before", f"{container}-read-only"]

"""The object store that a registry's images lie in, and what all servers on it share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.wharf.registry.plugins.module_utils.gateway import PEERS_NAME
from ansible_collections.wharf.registry.plugins.module_utils.references import HOST
from ansible_collections.wharf.registry.plugins.module_utils.server_versions import store_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.certificates import certificates_pem, certificates_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.credentials import (
    generate_passwords,
    read_password,
    write_new,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.names import is_loopback
from ansible_collections.wharf.registry.plugins.plugin_utils.values import CONTROL, listed, shown, whole_number

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID
except ImportError:  # pragma: no cover
    x509 = None  # type: ignore[assignment]

# In the directory of the servers' secrets, which each has under the name that the module knows it by.
SECRETS = {"http_secret": "http-secret", "peers_certificate": "peers.crt", "peers_key": "peers.key"}
_ENDPOINT = re.compile(rf"https?://{HOST}")
_KEYS = ("accesskey", "secretkey")


def storage_problems(storage: Mapping[str, Any], variable: str, version: str = "") -> list[str]:
    """Judge where the images lie. No line holds a key.

    Args:
        storage: what the variable holds.
        variable: its name, for the messages.
        version: of the registry; empty where it is not known yet.
    """
    s3 = storage.get("s3")
    if not s3:
        return []
    where = f"{variable}: s3"
    problems = [f"{where} has no {key}: give it" for key in ("region", "bucket") if not s3.get(key)]
    endpoint, root = s3.get("regionendpoint") or "", s3.get("rootdirectory") or ""
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        problems.append(
            f"{where}, regionendpoint: {shown(_without_user(endpoint))} is not the address of a store: use its scheme,"
            " name and port alone, such as https://store.example.com:7443"
        )
    elif (port := re.search(":([0-9]+)$", endpoint)) and not 1 <= whole_number(port[1]) <= 65535:
        problems.append(f"{where}, regionendpoint: {shown(endpoint)} has no TCP port: use one from 1 to 65535")
    elif is_loopback(urlsplit(endpoint).hostname or ""):
        problems.append(
            f"{where}, regionendpoint: {shown(endpoint)} leads the registry's container to itself: use a name or an"
            " address under which others reach the store"
        )
    for key in ("region", "bucket"):
        if re.search(rf"\s|{CONTROL.pattern}", s3.get(key) or ""):
            problems.append(
                f"{where}, {key}: {shown(s3[key])} has white space or control characters in it: give it as one word"
            )
    if "/" in (s3.get("bucket") or ""):
        problems.append(
            f"{where}, bucket: {shown(s3['bucket'])} has a slash in it: use the bucket's name alone, and rootdirectory"
            " for a place in it"
        )
    if fault := re.search(r"(?<![^/])\.\.(?![^/])|//", root):
        problems.append(
            f"{where}, rootdirectory: {shown(root)} has '{fault[0]}' in it: use a place in the bucket, such as images"
        )
    if bool(s3.get(_KEYS[0])) != bool(s3.get(_KEYS[1])):
        problems.append(
            f"{where} has one of accesskey and secretkey without the other: give both, or neither where the store knows"
            " the server itself"
        )
    for key in _KEYS:
        if re.search(r"\s", s3.get(key) or ""):
            problems.append(f"{where}, {key}: has white space in it, which no key has: give it as one word")
    problems += certificates_problems(s3.get("ca"), f"{where}, ca")
    if s3.get("ca") and not endpoint.startswith("https://"):
        problems.append(f"{where}, ca: is set, but regionendpoint is no https address: leave it out, or correct that")
    return problems or store_problems(version, variable)


def _without_user(url: str) -> str:
    return re.sub(r"//.*@", "//...@", url)


def s3_config(storage: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the registry's configuration says of its store, without a secret; empty where there is none.

    Clients get all from the registry itself, because not everybody reaches the store. Nothing is remembered of what
    another server may have deleted. And whether the store is reached is what the registry answers with.
    """
    s3 = storage.get("s3")
    if not s3:
        return {}
    given = {key: s3[key] for key in ("region", "regionendpoint", "bucket", "rootdirectory") if s3.get(key)}
    path_style = {"forcepathstyle": True} if s3.get("regionendpoint") else {}  # version 3 asks for it
    return {
        "storage": {"s3": {**given, **path_style}, "redirect": {"disable": True}},
        "health": {"storagedriver": {"enabled": True, "interval": "5s", "threshold": 2}},
    }


def store_files(storage: Mapping[str, Any]) -> dict[str, str]:
    """Return what the module is told of the store: the name of its host, the file of its keys, and its CA."""
    s3 = storage.get("s3")
    if not s3:
        return {}
    lines = (
        [f"aws_access_key_id = {s3['accesskey']}", f"aws_secret_access_key = {s3['secretkey']}"]
        if s3.get("accesskey")
        else []
    )
    return {
        "store": urlsplit(s3.get("regionendpoint") or "").hostname or "s3.amazonaws.com",
        "credentials": "".join(f"{line}\n" for line in ("[default]", *lines)) if lines else "",
        "store_ca": certificates_pem(s3.get("ca")),
    }


def known_store(storage: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """Return what the command on the server is told of the store, without a secret; empty where there is none.

    Args:
        storage: the setting.
        directory: of the registry's configuration on the server, where the store's CA is.
    """
    s3 = storage.get("s3")
    if not s3:
        return {}
    named = {"region": "region", "endpoint": "regionendpoint", "bucket": "bucket", "root": "rootdirectory"}
    ca = f"{directory}/store-ca.crt" if s3.get("ca") else ""
    return {"s3": {**{name: s3.get(key) or "" for name, key in named.items()}, "ca": ca}}


def shared_secrets(directory: str) -> dict[str, str]:
    """Return what all servers have alike, by SECRETS; empty ones are still to be generated. Raises ValueError."""
    return {name: _text(read_password(directory, file), name) for name, file in SECRETS.items()}


def _text(secret: str, name: str) -> str:
    return f"{secret}\n" if secret and name != "http_secret" else secret


def secrets_problems(directory: str) -> list[str]:
    """Judge what all servers have alike, of which some may be lost; at most one line. Raises ValueError."""
    found = shared_secrets(directory)
    there, missing = ([file for name, file in SECRETS.items() if bool(found[name]) is has] for has in (True, False))
    if not there or not missing:
        return []
    return [
        f"registry_server_secrets_directory: {directory} has {listed(there)}, but not {listed(missing)}, and new ones"
        " would not fit what the servers have: copy them from where they are kept, or let all be generated anew:"
        " remove the rest, and peers.crt on each server (docs/replicas.md)"
    ]


def generate_shared_secrets(directory: str, only_tell: bool = False) -> list[str]:
    """Generate what all servers have alike, unless it is there, and return the files that are new.

    The secret signs the state of uploads. By the key the servers know each other: its certificate is signed by nobody
    else, and no other is trusted.

    Args:
        directory: where it is kept.
        only_tell: whether to write nothing.

    Raises:
        ValueError: some of it is there, and some is not.
    """
    if problems := secrets_problems(directory):
        raise ValueError(problems[0])
    place = Path(directory).expanduser()
    missing = [name for name in SECRETS.values() if not (place / name).exists()]
    if missing and not only_tell:
        generate_passwords([SECRETS["http_secret"]], directory, length=64)
        write_new(place / SECRETS["peers_key"], _new_key())
        key = serialization.load_pem_private_key((place / SECRETS["peers_key"]).read_bytes(), None)
        write_new(place / SECRETS["peers_certificate"], _certificate_of(key))
    return [str(place / name) for name in missing]


def _new_key() -> str:
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(*pem).decode()


def _certificate_of(key: Any) -> str:
    """Return a certificate that a key has signed itself, for as long as the servers may be there."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, PEERS_NAME)])
    start = datetime.now(UTC) - timedelta(days=2)  # clocks differ
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=36500))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(PEERS_NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def several_servers(servers: Sequence[Mapping[str, Any]], host: str, secrets_directory: str) -> dict[str, Any]:
    """Return what a server is told of the others; nothing where it is alone.

    Args:
        servers: all of them in their order, this one among them, each with its ``name`` and ``address``.
        host: this one's name.
        secrets_directory: where the controller keeps what they have alike.
    """
    if len(servers) < 2:
        return {}
    return {"peers": [one["address"] for one in servers if one["name"] != host], **shared_secrets(secrets_directory)}


def server_addresses(hostvars: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, str]]:
    """Return how servers reach each other; none where there is one alone.

    Args:
        hostvars: what Ansible knows of the hosts.
        names: the servers.
    """
    alone = len(names) < 2
    return [] if alone else [{"name": one, "address": hostvars[one].get("ansible_host") or one} for one in names]

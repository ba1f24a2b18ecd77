"""The store that images lie in: what it makes of the registry, and the secrets that its servers have alike."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ansible_collections.wharf.registry.plugins.plugin_utils import stores as module

KEY = "SECRET/key+of=the-store"
S3: dict[str, Any] = {"region": "us-east-1", "bucket": "wharf", "regionendpoint": "https://store.test:7443"}
S3 |= {"accesskey": "name", "secretkey": KEY}


def test_a_registry_in_files_is_as_before() -> None:
    assert module.s3_config({}) == module.store_files({}) == module.known_store({}, "/etc/wharf/registry") == {}
    assert module.storage_problems({}, "x", "3.1.1") == []


def test_no_key_is_in_the_configuration_or_in_what_the_command_knows() -> None:
    config = module.s3_config({"s3": S3})
    assert config["storage"]["s3"] == {
        "region": "us-east-1",
        "bucket": "wharf",
        "regionendpoint": "https://store.test:7443",
        "forcepathstyle": True,
    }
    assert config["storage"]["redirect"] == {"disable": True}
    assert config["health"]["storagedriver"]["enabled"]
    assert module.known_store({"s3": S3}, "/etc/wharf/registry") == {
        "s3": {
            "region": "us-east-1",
            "endpoint": "https://store.test:7443",
            "bucket": "wharf",
            "root": "",
            "ca": "",
        }
    }
    assert module.store_files({"s3": S3}) == {
        "store": "store.test",
        "credentials": f"[default]\naws_access_key_id = name\naws_secret_access_key = {KEY}\n",
        "store_ca": "",
    }


def test_a_store_that_knows_the_server_itself_needs_no_file() -> None:
    s3 = {"region": "eu-1", "bucket": "images"}
    assert module.s3_config({"s3": s3})["storage"]["s3"] == s3
    assert module.store_files({"s3": s3}) == {"store": "s3.amazonaws.com", "credentials": "", "store_ca": ""}


@pytest.mark.parametrize(
    ("version", "refused"),
    [("2.8.3", False), ("3.0.0", True), ("3.1.1", True), ("v3.1.0", True), ("3.1.2", False), ("3", False), ("", False)],
)
def test_a_version_that_loses_names_is_refused(version: str, refused: bool) -> None:
    found = module.storage_problems({"s3": S3}, "wharf_registry_storage", version)
    assert bool(found) is refused
    assert all("distribution#4891" in line and version in line for line in found)


@pytest.mark.parametrize(
    "changes",
    [
        {"secretkey": f"{KEY}\n[other]"},
        {"accesskey": ""},
        {"regionendpoint": f"https://name:{KEY}@store.test"},
        {"regionendpoint": "https://store.test/bucket"},
        {"regionendpoint": "http://store.test", "ca": "-----BEGIN CERTIFICATE-----"},
    ],
)
def test_no_line_holds_a_key(changes: dict[str, str]) -> None:
    found = module.storage_problems({"s3": S3 | changes}, "wharf_registry_storage")
    assert found
    assert KEY not in "".join(found)


def test_the_secrets_are_generated_once_and_are_a_pair(tmp_path: Path) -> None:
    place = tmp_path / "registry"
    assert len(module.generate_shared_secrets(str(place), only_tell=True)) == 3
    assert not place.exists()
    assert len(module.generate_shared_secrets(str(place))) == 3
    before = module.shared_secrets(str(place))
    assert module.generate_shared_secrets(str(place)) == []
    assert module.shared_secrets(str(place)) == before
    assert {file.stat().st_mode & 0o777 for file in place.iterdir()} == {0o600}
    assert os.stat(place).st_mode & 0o777 == 0o700
    assert len(before["http_secret"]) == 64
    ssl.create_default_context().load_cert_chain(place / "peers.crt", place / "peers.key")
    certificate = x509.load_pem_x509_certificate(before["peers_certificate"].encode())
    assert certificate.subject == certificate.issuer
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    ) == ["wharf-peers"]


@pytest.mark.parametrize("lost", [["http-secret"], ["peers.crt"], ["http-secret", "peers.key"]])
def test_no_secret_is_generated_beside_others_that_are_left(tmp_path: Path, lost: list[str]) -> None:
    module.generate_shared_secrets(str(tmp_path))
    assert module.secrets_problems(str(tmp_path)) == []
    for name in lost:
        (tmp_path / name).unlink()
    left = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=f", but not {' and '.join(lost)}, and new ones would not fit"):
        module.generate_shared_secrets(str(tmp_path))
    assert sorted(tmp_path.iterdir()) == left


def test_a_server_knows_the_others_by_the_addresses_that_ansible_has(tmp_path: Path) -> None:
    hostvars: dict[str, Any] = {"alpha": {"ansible_host": "192.0.2.1"}, "beta": {}, "gamma": {"ansible_host": "c.test"}}
    servers = module.server_addresses(hostvars, ["alpha", "beta", "gamma"])
    module.generate_shared_secrets(str(tmp_path))
    told = module.several_servers(servers, "beta", str(tmp_path))
    assert told["peers"] == ["192.0.2.1", "c.test"]
    assert all(told.values())
    alone = module.server_addresses(hostvars, ["alpha"])
    assert module.several_servers(alone, "alpha", "/nowhere") == {}

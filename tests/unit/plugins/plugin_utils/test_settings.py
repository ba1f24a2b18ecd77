"""The settings of a deployment: what needs certificates, files or secrets. See tests/unit/test_refusals.py, too."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from conftest import ROOT

from ansible_collections.wharf.registry.plugins.plugin_utils import settings
from ansible_collections.wharf.registry.plugins.plugin_utils.specifications import specification
from tests.unit.issued import Issued

FILE = ROOT / "plugins/plugin_utils/settings.py"

SECRET = "s3cr3t-Wort"
STRONG = "kD8-xQ2_vLm4Rt7Zp1Wc"
USERS = [{"name": "alice", "password": STRONG}]
ISSUED = Issued("registry", sans=("DNS:registry.example.com",))
CERTIFICATE = ISSUED.pem
KEY = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"
PROVIDED = {
    "wharf_registry_trust": "provided",
    "wharf_registry_certificate": CERTIFICATE,
    "wharf_registry_key": ISSUED.key_pem,
    "wharf_registry_ca": CERTIFICATE,
}
OPEN = {"wharf_registry_trust": "insecure", "wharf_registry_users": [], "wharf_registry_anonymous": True}


def problems(changes: dict[str, object]) -> list[str]:
    """Return what is wrong with a small good deployment after these changes."""
    good = {"wharf_registry_name": "registry.example.com", "wharf_registry_users": USERS}
    return settings.problems_of({**good, **changes})


@pytest.fixture
def archive(tmp_path: Path) -> str:
    """Return the path of the saved images of a registry and its gateway."""
    path = tmp_path / "images.tar"
    manifest = [{"Config": f"{name}.json", "RepoTags": [f"{name}:1"], "Layers": []} for name in ("registry", "nginx")]
    files = {"manifest.json": json.dumps(manifest).encode(), "registry.json": b"{}", "nginx.json": b"{ }"}
    with tarfile.open(path, "w") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return str(path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict.fromkeys(specification("settings").keys() - {"wharf_registry_name", "wharf_registry_users"}),
        {
            "wharf_registry_trust": "private_ca",
            "wharf_registry_port": "443",
            "wharf_registry_aliases": ["reg", "192.0.2.10"],
            "wharf_registry_data": "registry-data",
        },
        {
            "wharf_registry_certificate": "",
            "wharf_registry_key": "",
            "wharf_registry_ca": "",
            "wharf_registry_image_archive": "",
        },
        OPEN,
        {"wharf_registry_users": [], "wharf_registry_anonymous": True},
        {"wharf_registry_users": [{"name": "alice"}]},
        {"wharf_registry_users": [{"name": "alice", "password": "abcdefgh"}], "wharf_registry_bcrypt_cost": 12},
        {"wharf_registry_image_source": "pull", "wharf_registry_image": "mirror.example/registry:3.0.0"},
        {"wharf_registry_image_source": "distro"},
        {"wharf_manage_hosts_file": True},
        {"wharf_registry_previous_names": ["old.example.com:5000", "registry.example.com:5001", "192.0.2.1:443"]},
        {"wharf_registry_logins": [{"user": "root", "name": "alice"}]},
        {"wharf_client_tools": ["podman", "containerd"], "wharf_client_system_store": True},
        {"wharf_registry_address": "192.0.2.10", "wharf_manage_hosts_file": True},
        {"wharf_backup_fetch_to": "/backup", "wharf_backup_repository": "/srv/backup"},
        {"wharf_backup_fetch_to": ""},
        {"wharf_retention_plan": "112362cbf329"},
        {"wharf_registry_port": "443", "wharf_registry_anonymous": "false", "wharf_delete_untagged": "yes"},
    ],
)
def test_good_settings_pass(changes: dict) -> None:
    assert problems(changes) == []


def test_saved_images_pass(archive: str) -> None:
    assert problems({"wharf_registry_image_source": "archive", "wharf_registry_image_archive": archive}) == []


PEM = "PEM text or the absolute path of a PEM file on the controller"
IGNORED = "and would ignore it: remove it, or set wharf_registry_trust to provided"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {**PROVIDED, "wharf_registry_aliases": ["reg"]},
            "wharf_registry_certificate: does not match 'reg' (wharf_registry_aliases)",
        ),
        (
            {"wharf_registry_trust": "none", "wharf_registry_key": KEY},
            "wharf_registry_trust: 'none' is unknown: use private_ca, provided or",
        ),
        (
            {"wharf_registry_users": [{"name": f"a:{SECRET}"}]},
            "wharf_registry_users: user 1 ('a', then a colon) has a colon in the name",
        ),
        (
            {"wharf_registry_users": [{"name": "a", "password": SECRET * 7}], "wharf_registry_bcrypt_cost": 4},
            "wharf_registry_users: user 1 ('a') has a password of more than 72 bytes",
        ),
        (
            {"wharf_registry_users": [{"name": "a", "password": SECRET}]},
            "wharf_registry_users: user 1 ('a') has a password that is too weak for bcrypt cost 0: use at least 20",
        ),
        (
            {"wharf_registry_users": SECRET},
            "wharf_registry_users: is text: use a list of mappings",
        ),
        (
            {"wharf_registry_logins": [{"user": "root", "name": "alice", "password": SECRET}]},
            "wharf_registry_logins: item 1: password is unknown: use user or name",
        ),
        (
            {**PROVIDED, "wharf_registry_key": None},
            f"wharf_registry_key: is missing: use {PEM}",
        ),
        (
            {**PROVIDED, "wharf_registry_ca": ""},
            f"wharf_registry_ca: is missing: use {PEM}",
        ),
        (
            {**PROVIDED, "wharf_registry_certificate": KEY},
            "wharf_registry_certificate: holds a private key: only certificates belong there",
        ),
        (
            {**PROVIDED, "wharf_registry_key": CERTIFICATE},
            "wharf_registry_key: holds a certificate, not a private key: certificate and key may have been swapped",
        ),
        (
            {**PROVIDED, "wharf_registry_ca": "/no/such/ca.crt"},
            "wharf_registry_ca: '/no/such/ca.crt' does not exist: use the path",
        ),
        (
            {**PROVIDED, "wharf_registry_ca": "/"},
            "wharf_registry_ca: '/' is not a file: use the path of a file on the controller",
        ),
        (
            {**PROVIDED, "wharf_registry_key": str(FILE)},
            f"wharf_registry_key: '{FILE}' holds no private key in PEM: it must have a line -----BEGIN",
        ),
        (
            {**PROVIDED, "wharf_registry_key": SECRET},
            f"wharf_registry_key: holds neither PEM text nor an absolute path: use {PEM}",
        ),
        (
            {"wharf_registry_certificate": CERTIFICATE},
            f"wharf_registry_certificate: is set, but wharf_registry_trust is private_ca {IGNORED}",
        ),
        (
            {"wharf_registry_key": KEY},
            f"wharf_registry_key: is set, but wharf_registry_trust is private_ca {IGNORED}",
        ),
    ],
)
def test_a_bad_setting_gets_one_clear_line(changes: dict, line: str) -> None:
    found = problems(changes)
    assert len(found) == 1, found
    assert found[0].startswith(line)
    assert SECRET not in found[0]


def test_an_archive_without_an_image_gets_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "empty.tar"
    tarfile.open(path, "w").close()
    line = f"'{path}' holds no image, it has no manifest.json: make it with docker save registry:3.1.1"
    line += " nginx:1.30.5 -o FILE"
    assert problems({"wharf_registry_image_source": "archive", "wharf_registry_image_archive": str(path)}) == [
        f"wharf_registry_image_archive: {line}"
    ]


def test_all_problems_are_told_at_once() -> None:
    found = settings.problems_of(
        {
            "wharf_registry_port": 0,
            "wharf_registry_trust": "provided",
            "wharf_registry_aliases": [],
            "wharf_registry_users": [],
            "wharf_registry_anonymous": "perhaps",
            "wharf_registry_bcrypt_cost": 99,
            "wharf_registry_image": "x",
            "wharf_gateway_image": "nginx",
            "wharf_registry_data": "/",
            "wharf_manage_hosts_file": 5,
        }
    )
    assert sorted({line.partition(":")[0] for line in found}) == [
        "wharf_gateway_image",
        "wharf_manage_hosts_file",
        "wharf_registry_anonymous",
        "wharf_registry_bcrypt_cost",
        "wharf_registry_ca",
        "wharf_registry_certificate",
        "wharf_registry_data",
        "wharf_registry_image",
        "wharf_registry_key",
        "wharf_registry_name",
        "wharf_registry_port",
    ]


@pytest.mark.parametrize("value", [{"a": SECRET}, [SECRET], 7])
@pytest.mark.parametrize("name", ["wharf_registry_key", "wharf_backup_password", "wharf_registry_users"])
def test_no_message_shows_a_secret(name: str, value: object) -> None:
    assert SECRET not in str(problems({name: value}))
    assert SECRET not in str(problems({"wharf_registry_users": [{"name": "a", "password": value, SECRET: 1}]})).replace(
        f"{SECRET} is unknown", ""
    )

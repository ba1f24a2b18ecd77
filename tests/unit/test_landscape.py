"""The filter that judges a landscape: one row for each bad input, with the line that it gets."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from conftest import ROOT

from ansible_collections.wharf.registry.plugins.plugin_utils import settings as landscape

FILE = ROOT / "plugins/plugin_utils/settings.py"

SECRET = "s3cr3t-Wort"
STRONG = "kD8-xQ2_vLm4Rt7Zp1Wc"
USERS = [{"name": "alice", "password": STRONG}]
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"
PROVIDED = {"trust": "provided", "certificate": CERTIFICATE, "key": KEY, "ca": CERTIFICATE}
OPEN = {"trust": "insecure", "users": [], "anonymous": True}


def problems(**changes: object) -> list[str]:
    """Return what is wrong with a small good landscape after these changes."""
    return landscape.wharf_landscape_problems(
        {"name": "registry.example.com", "users": USERS, "servers": ["server"], **changes}
    )


@pytest.fixture
def archive(tmp_path: Path) -> str:
    """Return the path of a saved image."""
    path = tmp_path / "registry.tar"
    manifest = [{"Config": "c.json", "RepoTags": ["registry:2.8.3"], "Layers": []}]
    with tarfile.open(path, "w") as file:
        for name, content in (("manifest.json", json.dumps(manifest).encode()), ("c.json", b"{}")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return str(path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict.fromkeys(set(landscape.VARIABLES) - {"name", "users", "servers"}),
        {"trust": "private_ca", "port": "443", "aliases": ["reg", "192.0.2.10"], "data": "registry-data"},
        {"certificate": "", "key": "", "ca": "", "image_archive": ""},
        PROVIDED,
        OPEN,
        {"users": [], "anonymous": True},
        {"users": [{"name": "alice"}]},
        {"users": [{"name": "alice", "password": "abcdefgh"}], "cost": 12},
        {"image_source": "pull", "image": "mirror.example/registry:3.0.0"},
        {"image_source": "distro"},
        {"manage_hosts_file": True},
        {"former": ["old.example.com:5000", "registry.example.com:5001", "192.0.2.1:443"]},
        {"logins": [{"user": "root", "name": "alice"}]},
        {"tools": ["podman", "containerd"], "system_store": True},
        {"servers": ["one", "two"]},
        {"address": "192.0.2.10", "manage_hosts_file": True},
        {"backup_fetch_to": "/backup", "backup_repository": "/srv/backup"},
        {"backup_fetch_to": ""},
        {"said": ["wharf_registry_name", "wharf_retention_plan"]},
    ],
)
def test_good_landscapes_pass(changes: dict) -> None:
    assert problems(**changes) == []


def test_a_saved_image_passes(archive: str) -> None:
    assert problems(image_source="archive", image_archive=archive) == []


PEM = "PEM text or the absolute path of a PEM file on the controller"
IGNORED = "and would ignore it: remove it, or set wharf_registry_trust to provided"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"name": None}, "wharf_registry_name: is missing: set it to the name or IPv4 address that stands in image"),
        ({"name": "https://reg.example"}, "wharf_registry_name: 'https://reg.example' has a scheme (https://)"),
        ({"name": "reg.example/v2"}, "wharf_registry_name: 'reg.example/v2' has a path ('/v2')"),
        (
            {"name": "reg.example:5000"},
            (
                "wharf_registry_name: 'reg.example:5000' has a port (':5000'): use 'reg.example'"
                " (the port has a variable of its own, wharf_registry_port)"
            ),
        ),
        ({"name": "Reg.example"}, "wharf_registry_name: 'Reg.example' has upper case letters: use 'reg.example'"),
        ({"port": 0}, "wharf_registry_port: 0 is not a TCP port: use a number from 1 to 65535"),
        ({"port": 70000}, "wharf_registry_port: 70000 is not a TCP port: use a number from 1 to 65535"),
        ({"port": "http"}, "wharf_registry_port: 'http' is not a TCP port: use a number from 1 to 65535"),
        ({"said": ["wharf_retension"]}, "wharf_retension: is unknown: use wharf_retention, or what docs/variables.md"),
        ({"said": ["wharf_zzz"]}, "wharf_zzz: is unknown: use what docs/variables.md lists, or a name of"),
        ({"trust": "none"}, "wharf_registry_trust: 'none' is unknown: use private_ca, provided or insecure"),
        ({"trust": True}, "wharf_registry_trust: true is unknown: use private_ca, provided or insecure"),
        ({"trust": ["provided"]}, "wharf_registry_trust: a list is unknown: use private_ca, provided or insecure"),
        ({"trust": ""}, "wharf_registry_trust: '' is unknown: use private_ca, provided or insecure"),
        (
            {**OPEN, "users": USERS, "anonymous": False},
            (
                "wharf_registry_users: users do not go with wharf_registry_trust: insecure, because clients send no"
                " password over plain HTTP, where anyone could read it: use another mode, or remove the users and set"
                " wharf_registry_anonymous to true"
            ),
        ),
        (
            {"trust": "insecure", "users": []},
            (
                "wharf_registry_users: is empty: give at least one user (a password is made where none is given),"
                " or set wharf_registry_anonymous to true to open the registry to everyone"
            ),
        ),
        ({"former": "old:5000"}, "wharf_registry_previous_names: 'old:5000' is not a list: use a list of NAME:PORT"),
        ({"former": ["old"]}, "wharf_registry_previous_names: item 1, 'old' is not NAME:PORT: use a list of NAME:PORT"),
        ({"former": [5]}, "wharf_registry_previous_names: item 1, 5 is not NAME:PORT: use"),
        ({"former": ["Old:5000"]}, "wharf_registry_previous_names: 'Old' has upper case letters: use 'old'"),
        ({"former": ["old:0"]}, "wharf_registry_previous_names: '0' is not a TCP port: use a number from 1 to 65535"),
        (
            {"former": ["registry.example.com:5000"]},
            "wharf_registry_previous_names: item 1, 'registry.example.com:5000' is what the registry is called now",
        ),
        (
            {"port": 5001, "former": ["registry.example.com:5001"]},
            "wharf_registry_previous_names: item 1, 'registry.example.com:5001' is what the registry is called now",
        ),
        ({"trust": "none", "key": KEY}, "wharf_registry_trust: 'none' is unknown: use private_ca, provided or"),
        ({"image_source": "hub", "image_archive": "/x.tar"}, "wharf_registry_image_source: 'hub' is unknown: use"),
        ({"logins": ["my password"]}, "wharf_registry_logins: login 1 is text, not a mapping: use user, name and"),
        ({"servers": "one"}, "registry_servers: no host is in this group"),
        ({"users": []}, "wharf_registry_users: is empty: give at least one user"),
        ({"users": None}, "wharf_registry_users: is empty: give at least one user"),
        ({"anonymous": True}, "wharf_registry_users: users are given but wharf_registry_anonymous is true"),
        (
            {"users": [{"name": f"a:{SECRET}"}]},
            "wharf_registry_users: user 1 ('a', then a colon) has a colon in the name",
        ),
        ({"users": [{"name": ""}]}, "wharf_registry_users: user 1 has no name: give one"),
        ({"users": USERS * 2}, "wharf_registry_users: user 2 ('alice') stands in the list twice, first as user 1"),
        ({"users": [{"name": "a", "password": ""}]}, "wharf_registry_users: user 1 ('a') has an empty password"),
        (
            {"users": [{"name": "a", "password": SECRET * 7}]},
            "wharf_registry_users: user 1 ('a') has a password of more than 72 bytes",
        ),
        (
            {"users": [{"name": "a", "password": SECRET}]},
            "wharf_registry_users: user 1 ('a') has a password that is too weak for bcrypt cost 4: use at least 20",
        ),
        ({"users": SECRET}, "wharf_registry_users: text is not a list: use a list of mappings with name and password"),
        (
            {"logins": [{"user": "root", "name": "bob"}]},
            "wharf_registry_logins: login 1 ('root') logs in as 'bob', whom the registry does not know: use one",
        ),
        (
            {"logins": [{"user": "root", "name": "alice", "password": SECRET}]},
            "wharf_registry_logins: login 1 has a password, which would be ignored: remove it",
        ),
        (
            {**OPEN, "logins": [{"user": "root", "name": "alice"}]},
            "wharf_registry_logins: login 1 ('root') logs in as 'alice', whom the registry does not know: use one",
        ),
        ({"anonymous": "no"}, "wharf_registry_anonymous: 'no' is not a boolean: use true or false, without quotes"),
        ({"cost": 15}, "registry_server_bcrypt_cost: 15 is not a bcrypt cost: use a number from 4 to 14"),
        ({"aliases": "reg"}, "wharf_registry_aliases: 'reg' is not a list: use a list of names and addresses"),
        ({"aliases": ["reg:1"]}, "wharf_registry_aliases: item 1, 'reg:1' has a port (':1'): use 'reg'"),
        (
            {**PROVIDED, "key": None},
            f"wharf_registry_key: is missing, and wharf_registry_trust is provided: set it to {PEM}",
        ),
        (
            {**PROVIDED, "ca": ""},
            f"wharf_registry_ca: is missing, and wharf_registry_trust is provided: set it to {PEM}",
        ),
        (
            {**PROVIDED, "certificate": KEY},
            "wharf_registry_certificate: the text holds no certificate but a PEM block of",
        ),
        (
            {**PROVIDED, "key": CERTIFICATE},
            "wharf_registry_key: the text holds no private key but a PEM block of another",
        ),
        ({**PROVIDED, "ca": "/no/such/ca.crt"}, "wharf_registry_ca: '/no/such/ca.crt' does not exist: use the path"),
        ({**PROVIDED, "ca": "/"}, "wharf_registry_ca: '/' is not a file: use the path of a file on the controller"),
        (
            {**PROVIDED, "key": str(FILE)},
            f"wharf_registry_key: '{FILE}' is not PEM: use one that has a line -----BEGIN",
        ),
        ({**PROVIDED, "key": SECRET}, f"wharf_registry_key: holds neither PEM text nor an absolute path: use {PEM}"),
        (
            {"certificate": CERTIFICATE},
            f"wharf_registry_certificate: is set, but wharf_registry_trust is private_ca {IGNORED}",
        ),
        (
            {"key": KEY},
            f"wharf_registry_key: is set, but wharf_registry_trust is private_ca {IGNORED}",
        ),
        (
            {**OPEN, "ca": "/etc/ca.crt"},
            f"wharf_registry_ca: is set, but wharf_registry_trust is insecure {IGNORED}",
        ),
        ({"image_source": "hub"}, "wharf_registry_image_source: 'hub' is unknown: use pull, archive or distro"),
        ({"image_source": 3}, "wharf_registry_image_source: 3 is unknown: use pull, archive or distro"),
        ({"image": "registry"}, "wharf_registry_image: 'registry' is not pinned, it has neither tag nor digest"),
        (
            {"image": "registry:latest"},
            "wharf_registry_image: 'registry:latest' is not pinned, latest is another image",
        ),
        (
            {"image_source": "archive"},
            "wharf_registry_image_archive: is missing: use the absolute path of what docker save",
        ),
        (
            {"image_source": "archive", "image_archive": "/no/such.tar"},
            "wharf_registry_image_archive: '/no/such.tar' does not exist: use the path of a file on the controller",
        ),
        (
            {"image_source": "archive", "image_archive": str(FILE)},
            f"wharf_registry_image_archive: '{FILE}' is not a tar archive, plain or packed with gzip: make it with",
        ),
        (
            {"image_archive": "/registry.tar"},
            (
                "wharf_registry_image_archive: is set, but wharf_registry_image_source is pull and would ignore it:"
                " remove it, or set wharf_registry_image_source to archive"
            ),
        ),
        (
            {"image_source": "distro", "image_archive": "/registry.tar"},
            "wharf_registry_image_archive: is set, but wharf_registry_image_source is distro and would ignore it",
        ),
        (
            {"data": "/"},
            "wharf_registry_data: '/' is a directory of the system, whose owner would change: use a directory",
        ),
        ({"data": "data/registry"}, "wharf_registry_data: 'data/registry' is not an absolute path: use a directory"),
        ({"address": "server"}, "wharf_registry_address: 'server' is not an IP address: use one such as 192.0.2.10"),
        ({"address": 7}, "wharf_registry_address: 7 is not an IP address: use one such as 192.0.2.10"),
        ({"backup_fetch_to": "copy"}, "wharf_backup_fetch_to: 'copy' is not a directory: use an absolute path on the"),
        ({"backup_fetch_to": "//"}, "wharf_backup_fetch_to: '//' is not a directory: use an absolute path on the"),
        ({"backup_fetch_to": "/a/../b"}, "wharf_backup_fetch_to: '/a/../b' is not a directory: use an absolute path"),
        ({"backup_fetch_to": 7}, "wharf_backup_fetch_to: 7 is not a directory: use an absolute path on the controller"),
        (
            {"backup_fetch_to": "/backup", "backup_repository": "s3:https://store.example/bucket"},
            "wharf_backup_fetch_to: is set, but wharf_backup_repository is not a directory of a host of the inventory:",
        ),
        ({"manage_hosts_file": "yes"}, "wharf_manage_hosts_file: 'yes' is not a boolean: use true or false"),
        (
            {"servers": []},
            (
                "registry_servers: no host is in this group: put the host that shall run the registry into the group"
                " registry_servers"
            ),
        ),
        ({"servers": None}, "registry_servers: no host is in this group"),
    ],
)
def test_a_bad_landscape_gets_one_clear_line(changes: dict, line: str) -> None:
    found = problems(**changes)
    assert len(found) == 1, found
    assert found[0].startswith(line)
    assert SECRET not in found[0]


def test_an_archive_without_an_image_gets_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "empty.tar"
    tarfile.open(path, "w").close()
    line = f"'{path}' holds no image, it has no manifest.json: make it with docker save IMAGE -o FILE"
    assert problems(image_source="archive", image_archive=str(path)) == [f"wharf_registry_image_archive: {line}"]


def test_all_problems_are_told_at_once_in_the_order_of_the_table() -> None:
    found = landscape.wharf_landscape_problems(
        {
            "port": 0,
            "trust": "provided",
            "aliases": [1],
            "users": [],
            "anonymous": "no",
            "cost": 99,
            "image_source": "x",
            "image": "x",
            "data": "/",
            "manage_hosts_file": 1,
        }
    )
    assert [line.partition(":")[0] for line in found] == [
        "wharf_registry_name",
        "wharf_registry_port",
        "wharf_registry_certificate",
        "wharf_registry_key",
        "wharf_registry_ca",
        "wharf_registry_aliases",
        "wharf_registry_anonymous",
        "registry_server_bcrypt_cost",
        "wharf_registry_image_source",
        "wharf_registry_image",
        "wharf_registry_data",
        "wharf_manage_hosts_file",
        "registry_servers",
    ]


def test_a_mistake_in_the_playbook_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^wharf_landscape_problems does not know prot$"):
        problems(prot=5000)
    with pytest.raises(TypeError, match="takes a mapping"):
        landscape.wharf_landscape_problems(["name"])

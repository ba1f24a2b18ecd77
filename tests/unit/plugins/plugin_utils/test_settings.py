"""The settings of a deployment: one row for each bad input, with the line that it gets."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from conftest import ROOT

from ansible_collections.wharf.registry.plugins.plugin_utils import settings
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
        dict.fromkeys(settings.specification()[0].keys() - {"wharf_registry_name", "wharf_registry_users"}),
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
        {"wharf_retention_plan": "12ab"},
        {"wharf_registry_port": "443", "wharf_registry_anonymous": "false", "wharf_delete_untagged": "yes"},
    ],
)
def test_good_settings_pass(changes: dict) -> None:
    assert problems(changes) == []


def test_a_saved_image_passes(archive: str) -> None:
    assert problems({"wharf_registry_image_source": "archive", "wharf_registry_image_archive": archive}) == []


PEM = "PEM text or the absolute path of a PEM file on the controller"
IGNORED = "and would ignore it: remove it, or set wharf_registry_trust to provided"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"wharf_registry_name": None},
            "wharf_registry_name: is missing: set it to the name or IPv4 address that stands in image",
        ),
        (
            {"wharf_registry_name": "https://reg.example"},
            "wharf_registry_name: 'https://reg.example' has a scheme (https://)",
        ),
        ({"wharf_registry_name": "reg.example/v2"}, "wharf_registry_name: 'reg.example/v2' has a path ('/v2')"),
        (
            {"wharf_registry_name": "reg.example:5000"},
            (
                "wharf_registry_name: 'reg.example:5000' has a port (':5000'): use 'reg.example'"
                " (the port has a variable of its own, wharf_registry_port)"
            ),
        ),
        (
            {"wharf_registry_name": "Reg.example"},
            "wharf_registry_name: 'Reg.example' has upper case letters: use 'reg.example'",
        ),
        ({"wharf_registry_port": 0}, "wharf_registry_port: 0 is not a TCP port: use a number from 1 to 65535"),
        ({"wharf_registry_port": 70000}, "wharf_registry_port: 70000 is not a TCP port: use a number from 1 to 65535"),
        ({"wharf_registry_port": "http"}, "wharf_registry_port: is of type str: use the type int"),
        ({"wharf_retension": []}, "wharf_retension: is unknown: use wharf_retention, or what docs/variables.md"),
        ({"wharf_zzz": 1}, "wharf_zzz: is unknown: use what docs/variables.md lists, or a name of"),
        (
            {"wharf_registry_trust": "none"},
            "wharf_registry_trust: 'none' is unknown: use private_ca, provided or insecure",
        ),
        (
            {"wharf_registry_trust": True},
            "wharf_registry_trust: 'True' is unknown: use private_ca, provided or insecure",
        ),
        (
            {"wharf_registry_trust": ["provided"]},
            "wharf_registry_trust: \"['provided']\" is unknown: use private_ca, provided or insecure",
        ),
        (
            {**PROVIDED, "wharf_registry_aliases": ["reg"]},
            "wharf_registry_certificate: does not match 'reg' (wharf_registry_aliases)",
        ),
        ({"wharf_registry_trust": ""}, "wharf_registry_trust: '' is unknown: use private_ca, provided or insecure"),
        (
            {**OPEN, "wharf_registry_users": USERS, "wharf_registry_anonymous": False},
            (
                "wharf_registry_users: users need TLS, because clients send no password over plain HTTP, where anyone"
                " could read it: set wharf_registry_trust to private_ca or provided, or remove the users and set"
                " wharf_registry_anonymous to true"
            ),
        ),
        (
            {"wharf_registry_trust": "insecure", "wharf_registry_users": []},
            (
                "wharf_registry_users: is empty: give at least one user (a password is made where none is given),"
                " or set wharf_registry_anonymous to true to open the registry to everyone"
            ),
        ),
        (
            {"wharf_registry_previous_names": ["old"]},
            "wharf_registry_previous_names: item 1, 'old' is not NAME:PORT: use NAME:PORT",
        ),
        ({"wharf_registry_previous_names": [5]}, "wharf_registry_previous_names: item 1, '5' is not NAME:PORT: use"),
        (
            {"wharf_registry_previous_names": ["Old:5000"]},
            "wharf_registry_previous_names: 'Old' has upper case letters: use 'old'",
        ),
        (
            {"wharf_registry_previous_names": ["old:0"]},
            "wharf_registry_previous_names: '0' is not a TCP port: use a number from 1 to 65535",
        ),
        (
            {"wharf_registry_previous_names": ["registry.example.com:5000"]},
            "wharf_registry_previous_names: item 1, 'registry.example.com:5000' is what the registry is called now",
        ),
        (
            {"wharf_registry_port": 5001, "wharf_registry_previous_names": ["registry.example.com:5001"]},
            "wharf_registry_previous_names: item 1, 'registry.example.com:5001' is what the registry is called now",
        ),
        (
            {"wharf_registry_trust": "none", "wharf_registry_key": KEY},
            "wharf_registry_trust: 'none' is unknown: use private_ca, provided or",
        ),
        (
            {"wharf_registry_image_source": "hub", "wharf_registry_image_archive": "/x.tar"},
            "wharf_registry_image_source: 'hub' is unknown: use",
        ),
        (
            {"wharf_registry_logins": ["my password"]},
            "wharf_registry_logins: is of type str: use the type dict",
        ),
        ({"wharf_registry_users": []}, "wharf_registry_users: is empty: give at least one user"),
        ({"wharf_registry_users": None}, "wharf_registry_users: is empty: give at least one user"),
        (
            {"wharf_registry_anonymous": True},
            "wharf_registry_users: users are given but wharf_registry_anonymous is true",
        ),
        (
            {"wharf_registry_users": [{"name": f"a:{SECRET}"}]},
            "wharf_registry_users: user 1 ('a', then a colon) has a colon in the name",
        ),
        ({"wharf_registry_users": [{"name": ""}]}, "wharf_registry_users: user 1 has no name: give one"),
        (
            {"wharf_registry_users": USERS * 2},
            "wharf_registry_users: user 2 ('alice') stands in the list twice, first as user 1",
        ),
        (
            {"wharf_registry_users": [{"name": "a", "password": ""}]},
            "wharf_registry_users: user 1 ('a') has an empty password",
        ),
        (
            {"wharf_registry_users": [{"name": "a", "password": SECRET * 7}]},
            "wharf_registry_users: user 1 ('a') has a password of more than 72 bytes",
        ),
        (
            {"wharf_registry_users": [{"name": "a", "password": SECRET}]},
            "wharf_registry_users: user 1 ('a') has a password that is too weak for bcrypt cost 4: use at least 20",
        ),
        (
            {"wharf_registry_users": SECRET},
            "wharf_registry_users: is of type str: use the type dict",
        ),
        (
            {"wharf_registry_logins": [{"user": "root", "name": "bob"}]},
            "wharf_registry_logins: login 1 ('root') logs in as 'bob', whom the registry does not know: use one",
        ),
        (
            {"wharf_registry_logins": [{"user": "root", "name": "alice", "password": SECRET}]},
            "wharf_registry_logins: password is unknown: use name, user",
        ),
        (
            {**OPEN, "wharf_registry_logins": [{"user": "root", "name": "alice"}]},
            "wharf_registry_logins: login 1 ('root') logs in as 'alice', whom the registry does not know: use one",
        ),
        ({"wharf_registry_anonymous": "perhaps"}, "wharf_registry_anonymous: is of type str: use the type bool"),
        (
            {"wharf_registry_bcrypt_cost": 15},
            "wharf_registry_bcrypt_cost: 15 is not a bcrypt cost: use a number from 4 to 14",
        ),
        ({"wharf_registry_aliases": ["reg:1"]}, "wharf_registry_aliases: item 1, 'reg:1' has a port (':1'): use 'reg'"),
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
        (
            {**OPEN, "wharf_registry_ca": "/etc/ca.crt"},
            f"wharf_registry_ca: is set, but wharf_registry_trust is insecure {IGNORED}",
        ),
        (
            {"wharf_registry_image_source": "hub"},
            "wharf_registry_image_source: 'hub' is unknown: use pull, archive or distro",
        ),
        (
            {"wharf_registry_image_source": 3},
            "wharf_registry_image_source: '3' is unknown: use pull, archive or distro",
        ),
        (
            {"wharf_registry_image": "registry"},
            "wharf_registry_image: 'registry' is not pinned, it has neither tag nor digest",
        ),
        (
            {"wharf_registry_image": "registry:latest"},
            "wharf_registry_image: 'registry:latest' is not pinned, latest is another image",
        ),
        (
            {"wharf_registry_image_source": "archive"},
            "wharf_registry_image_archive: is missing: use the absolute path of what docker save",
        ),
        (
            {"wharf_registry_image_source": "archive", "wharf_registry_image_archive": "/no/such.tar"},
            "wharf_registry_image_archive: '/no/such.tar' does not exist: use the path of a file on the controller",
        ),
        (
            {"wharf_registry_image_source": "archive", "wharf_registry_image_archive": str(FILE)},
            f"wharf_registry_image_archive: '{FILE}' is not a tar archive, plain or packed with gzip: make it with",
        ),
        (
            {"wharf_registry_image_archive": "/registry.tar"},
            (
                "wharf_registry_image_archive: is set, but wharf_registry_image_source is pull and would ignore it:"
                " remove it, or set wharf_registry_image_source to archive"
            ),
        ),
        (
            {"wharf_registry_image_source": "distro", "wharf_registry_image_archive": "/registry.tar"},
            "wharf_registry_image_archive: is set, but wharf_registry_image_source is distro and would ignore it",
        ),
        (
            {"wharf_registry_data": "/"},
            "wharf_registry_data: '/' is a directory of the system, whose owner would change: use a directory",
        ),
        (
            {"wharf_registry_data": "data/registry"},
            "wharf_registry_data: 'data/registry' is not an absolute path: use a directory",
        ),
        (
            {"wharf_registry_address": "server"},
            "wharf_registry_address: 'server' is not an IP address: use one such as 192.0.2.10",
        ),
        ({"wharf_registry_address": 7}, "wharf_registry_address: '7' is not an IP address: use one such as 192.0.2.10"),
        (
            {"wharf_backup_fetch_to": "copy"},
            "wharf_backup_fetch_to: 'copy' is not a directory: use an absolute path on the",
        ),
        (
            {"wharf_backup_fetch_to": "//"},
            "wharf_backup_fetch_to: '//' is not a directory: use an absolute path on the",
        ),
        (
            {"wharf_backup_fetch_to": "/a/../b"},
            "wharf_backup_fetch_to: '/a/../b' is not a directory: use an absolute path",
        ),
        (
            {"wharf_backup_fetch_to": 7},
            "wharf_backup_fetch_to: '7' is not a directory: use an absolute path on the controller",
        ),
        (
            {"wharf_backup_fetch_to": "/backup", "wharf_backup_repository": "s3:https://store.example/bucket"},
            "wharf_backup_fetch_to: is set, but wharf_backup_repository is not a directory of a host of the inventory:",
        ),
        ({"wharf_manage_hosts_file": "perhaps"}, "wharf_manage_hosts_file: is of type str: use the type bool"),
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
    line = f"'{path}' holds no image, it has no manifest.json: make it with docker save IMAGE -o FILE"
    assert problems({"wharf_registry_image_source": "archive", "wharf_registry_image_archive": str(path)}) == [
        f"wharf_registry_image_archive: {line}"
    ]


def test_all_problems_are_told_at_once() -> None:
    found = settings.problems_of(
        {
            "wharf_registry_port": 0,
            "wharf_registry_trust": "provided",
            "wharf_registry_aliases": [1],
            "wharf_registry_users": [],
            "wharf_registry_anonymous": "perhaps",
            "wharf_registry_bcrypt_cost": 99,
            "wharf_registry_image_source": "x",
            "wharf_registry_image": "x",
            "wharf_registry_data": "/",
            "wharf_manage_hosts_file": 5,
        }
    )
    assert sorted({line.partition(":")[0] for line in found}) == [
        "wharf_manage_hosts_file",
        "wharf_registry_aliases",
        "wharf_registry_anonymous",
        "wharf_registry_bcrypt_cost",
        "wharf_registry_ca",
        "wharf_registry_certificate",
        "wharf_registry_data",
        "wharf_registry_image",
        "wharf_registry_image_source",
        "wharf_registry_key",
        "wharf_registry_name",
        "wharf_registry_port",
    ]


def test_a_mistake_is_told_once_for_all_hosts_and_names_those_that_make_it_alone() -> None:
    good = {"wharf_registry_name": "registry.example.com", "wharf_registry_users": USERS, "wharf_registry_port": 0}
    hosts = {"a": good, "b": {**good, "wharf_registry_address": "x"}}
    assert settings.settings_problems(hosts, ["a", "b"], ["a"]) == [
        "wharf_registry_port: 0 is not a TCP port: use a number from 1 to 65535",
        "wharf_registry_address: 'x' is not an IP address: use one such as 192.0.2.10 (on b)",
    ]


def test_a_deployment_without_a_server_is_refused() -> None:
    assert settings.settings_problems({"a": {}}, ["a"], []) == [
        "registry_servers: the group is empty: put the host that shall run the registry into it"
    ]


@pytest.mark.parametrize("value", [{"a": SECRET}, [SECRET], 7])
@pytest.mark.parametrize("name", ["wharf_registry_key", "wharf_backup_password", "wharf_registry_users"])
def test_no_message_shows_a_secret(name: str, value: object) -> None:
    assert SECRET not in str(problems({name: value}))
    assert SECRET not in str(problems({"wharf_registry_users": [{"name": "a", "password": value, SECRET: 1}]})).replace(
        f"{SECRET} is unknown", ""
    )


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("server", "wharf_backup_host: server is the registry's server itself"),
        ("nobody", "wharf_backup_host: nobody is not a host of the inventory"),
        ("store", None),
    ],
)
def test_host_that_keeps_the_backup_is_another_one_of_the_inventory(host, message):
    given = {"wharf_registry_name": "reg.example.com", "wharf_backup_repository": "/b", "wharf_backup_host": host}
    found = settings.settings_problems({"server": given, "store": {}}, ["server"], ["server"])
    assert [line.startswith(message) for line in found if "wharf_backup" in line] == ([True] if message else [])

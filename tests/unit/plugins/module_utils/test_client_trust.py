"""Which tools are meant, what a host needs to trust a registry, what is refused, and what is written."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import (
    auth_files,
    client_trust,
    containers,
    daemon_json,
)
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from tests.unit.client_host import CA, CONFIG, REGISTRY, Host

DOCKER_FILE = f"/etc/docker/certs.d/{REGISTRY}/wharf-ca.crt"
DOCKER_HOSTS = f"/etc/docker/certs.d/{REGISTRY}/hosts.toml"
PODMAN_FILE = f"/etc/containers/certs.d/{REGISTRY}/wharf-ca.crt"
PODMAN_PLAIN = "/etc/containers/registries.conf.d/wharf-reg.test_5000.conf"
NODE_FILE = f"/etc/containerd/certs.d/{REGISTRY}/wharf-ca.crt"
SPELT = "/etc/containerd/certs.d/reg.test_5000_/ca.crt"
NODE_PLAIN = f"/etc/containerd/certs.d/{REGISTRY}/hosts.toml"
OLD_FILE = "/etc/docker/certs.d/old.test:5000/wharf-ca.crt"
STORE = "/usr/local/share/ca-certificates"
TOML = "version = 2\n"
TABLE = '[plugins."io.containerd.grpc.v1.cri".registry]\n'
BLOCK = f'# BEGIN wharf\n{TABLE}  config_path = "/etc/containerd/certs.d"\n# END wharf\n'
OLD_LINE = "# BEGIN wharf old.test\n192.0.2.1 old.test\n# END wharf old.test\n"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return a host."""
    return Host(tmp_path, monkeypatch)


def directory(path: str) -> str:
    """Return the directory of a file."""
    return path.rpartition("/")[0]


def test_ledger_is_the_one_of_daemon_json() -> None:
    assert client_trust.LEDGER == daemon_json.LEDGER


@pytest.mark.parametrize(
    ("found", "tools", "files", "families"),
    [
        ("docker containerd", ["auto"], [DOCKER_FILE], ["docker"]),
        ("", ["auto"], [DOCKER_FILE], ["docker"]),
        ("podman skopeo", ["auto"], [PODMAN_FILE], ["containers"]),
        ("docker buildah containerd", ["auto"], [DOCKER_FILE, PODMAN_FILE], ["docker", "containers"]),
        ("containerd", ["auto"], [NODE_FILE], ["containerd"]),
        ("docker containerd", ["containerd", "skopeo"], [PODMAN_FILE, NODE_FILE], ["containers", "containerd"]),
    ],
)
def test_tools_are_those_that_are_found_or_named(
    host: Host, found: str, tools: list, files: list, families: list
) -> None:
    host.install(found)
    trust = host.trust(tools=tools)
    assert [path[len(host.root) :] for path in trust.files()] == files
    assert trust.families == families


def test_nothing_is_pending_where_all_is_there(host: Host) -> None:
    assert host.write() == [DOCKER_FILE]
    assert host.text(DOCKER_FILE) == CA
    assert host.write() == []
    assert not host.trust().write()
    host.put(DOCKER_FILE, "other")
    assert host.write() == [DOCKER_FILE]
    host.put(DOCKER_FILE, mode=0o600)
    assert host.write() == [DOCKER_FILE]


def test_check_mode_tells_and_changes_nothing(host: Host) -> None:
    host.install("containerd")
    host.put(CONFIG, TOML)
    host.put(PODMAN_FILE)
    changed = host.write(check=True, address="192.0.2.1", system_store=True)
    above = [directory(PODMAN_FILE), directory(directory(PODMAN_FILE))]
    assert changed == ["/etc/hosts", NODE_FILE, f"{STORE}/wharf-reg.test_5000_1.crt", PODMAN_FILE, *above, CONFIG]
    assert host.text(NODE_FILE) is None
    assert host.text(PODMAN_FILE) == CA
    assert host.text(CONFIG) == TOML
    assert host.text("/etc/hosts") == "127.0.0.1 localhost\n"
    assert host.commands == [["containerd", "config", "dump"]]


def test_files_of_a_tool_that_is_no_longer_named_go_with_their_directories(host: Host) -> None:
    for path in (DOCKER_FILE, PODMAN_FILE):
        host.put(path)
    above = [directory(PODMAN_FILE), directory(directory(PODMAN_FILE))]
    assert host.write(tools=["docker"]) == [PODMAN_FILE, *above]
    assert not Path(host.root + above[-1]).exists()


def test_directories_that_others_use_stay(host: Host) -> None:
    for path in (DOCKER_FILE, f"{directory(DOCKER_FILE)}/client.cert", PODMAN_FILE):
        host.put(path)
    host.write(state="absent")
    assert host.text(f"{directory(DOCKER_FILE)}/client.cert") == CA
    assert host.text(DOCKER_FILE) is host.text(PODMAN_FILE) is None


def test_each_tool_learns_of_plain_http_and_the_ca_goes(host: Host) -> None:
    host.install("docker podman containerd")
    for path in (DOCKER_FILE, PODMAN_FILE, NODE_FILE):
        host.put(path)
    everything = {"trust": "insecure", "tools": ["docker", "podman", "containerd"]}
    assert host.trust(**everything).engine_options() == {
        f"registry_client {REGISTRY}": {"insecure-registries": [REGISTRY]}
    }
    changed = host.write(**everything)
    assert changed[:5] == [NODE_PLAIN, PODMAN_PLAIN, DOCKER_FILE, PODMAN_FILE, NODE_FILE]
    assert host.text(PODMAN_PLAIN).endswith(f'[[registry]]\nlocation = "{REGISTRY}"\ninsecure = true\n')
    assert f'\nserver = "http://{REGISTRY}"\n' in host.text(NODE_PLAIN)


def test_absent_removes_what_is_ours_and_asks_for_nothing(host: Host) -> None:
    host.put(DOCKER_FILE)
    host.put(NODE_PLAIN, 'server = "x"\n')
    host.put("/var/lib/wharf/daemon.json.record", f'{{"registry_client {REGISTRY}": []}}')
    trust = host.trust(state="absent")
    assert trust.foreign == [host.root + NODE_PLAIN]
    assert trust.engine_options() == {f"registry_client {REGISTRY}": {}}
    assert host.write(state="absent") == [DOCKER_FILE, directory(DOCKER_FILE), directory(directory(DOCKER_FILE))]
    assert host.text(NODE_PLAIN) == 'server = "x"\n'
    assert host.write(state="absent") == []
    assert host.trust(state="absent", port=5001).engine_options() == {}


def test_previous_names_lose_all_and_the_present_one_gets_all(host: Host) -> None:
    host.put(OLD_FILE)
    host.put("/etc/hosts", OLD_LINE)
    host.put("/var/lib/wharf/daemon.json.record", '{"registry_client old.test:5000": []}')
    wanted = {"previous_names": ["old.test:5000"], "address": "192.0.2.2"}
    assert host.trust(**wanted).engine_options() == {"registry_client old.test:5000": {}}
    assert host.write(**wanted) == ["/etc/hosts", DOCKER_FILE, OLD_FILE, directory(OLD_FILE)]
    assert host.text("/etc/hosts") == "# BEGIN wharf reg.test\n192.0.2.2 reg.test\n# END wharf reg.test\n"


OTHER = f"# Wharf: another name of {REGISTRY}\n"


def test_every_name_that_is_promised_is_trusted_and_those_that_are_not_any_more_are_not(host: Host) -> None:
    host.install("docker podman containerd")
    tools = {"tools": ["docker", "podman", "containerd"]}
    roots = [directory(directory(path)) for path in (DOCKER_FILE, PODMAN_FILE, NODE_FILE)]
    names = ["alias.test:5000", "192.0.2.7:5000", "[2001:db8::1]:5000"]
    aliases = ["alias.test", "192.0.2.7", "2001:db8::1"]
    for root in roots:
        host.put(f"{root}/theirs.test:5000/wharf-ca.crt")
    host.write(aliases=aliases, address="192.0.2.7", **tools)
    for root in roots:
        assert host.text(f"{root}/{REGISTRY}/wharf-ca.crt") == CA
        assert [host.text(f"{root}/{name}/wharf-ca.crt") for name in names] == [OTHER + CA] * 3
    assert "\n192.0.2.7 reg.test alias.test\n" in host.text("/etc/hosts")
    assert host.write(aliases=aliases, address="192.0.2.7", **tools) == []

    gone = host.write(aliases=aliases[1:], **tools)
    assert f"{roots[0]}/alias.test:5000/wharf-ca.crt" in gone
    assert host.trust(**tools).others == [f"{names[1]}", names[2]]
    host.write(state="absent")
    for root in roots:
        assert os.listdir(host.root + root) == ["theirs.test:5000"]


def test_plain_http_is_spoken_with_every_name(host: Host) -> None:
    host.install("docker podman containerd")
    wanted = {"trust": "insecure", "aliases": ["alias.test"], "tools": ["docker", "podman", "containerd"]}
    names = [REGISTRY, "alias.test:5000"]
    assert host.trust(**wanted).engine_options() == {f"registry_client {REGISTRY}": {"insecure-registries": names}}
    host.write(**wanted)
    for name in names:
        assert f'location = "{name}"\ninsecure = true\n' in host.text(PODMAN_PLAIN)
        assert f'\nserver = "http://{name}"\n' in host.text(NODE_PLAIN.replace(REGISTRY, name))
    assert host.write(**{**wanted, "aliases": []}) == [
        PODMAN_PLAIN,
        NODE_PLAIN.replace(REGISTRY, names[1]),
        directory(NODE_PLAIN.replace(REGISTRY, names[1])),
    ]


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"port": 443}, ["reg.test:443", "reg.test"]),
        ({"port": 80}, ["reg.test:80"]),
        ({"port": 80, "trust": "insecure"}, ["reg.test:80", "reg.test"]),
        ({"port": 443, "trust": "insecure"}, ["reg.test:443"]),
        ({"port": 443, "aliases": ["a.test"]}, ["reg.test:443", "reg.test", "a.test:443", "a.test"]),
        ({"port": 443, "name": "reg"}, ["reg:443"]),  # reg/image is an image of Docker Hub's
        ({"port": 443, "name": "localhost"}, ["localhost:443", "localhost"]),
    ],
)
def test_usual_port_may_be_left_out(host: Host, params: dict, names: list) -> None:
    assert host.trust(**params).wanted == names


@pytest.mark.parametrize("later", [{"state": "absent", "port": 443}, {"previous_names": ["reg.test:443"]}])
def test_name_without_port_goes_with_the_registry(host: Host, later: dict) -> None:
    host.write(port=443, aliases=["a.test"])
    for name in ("reg.test:443", "reg.test", "a.test:443", "a.test"):
        assert CA in host.text(f"/etc/docker/certs.d/{name}/wharf-ca.crt")
    host.write(**later)
    left = {"port": 443, "state": "absent"}.keys() - later.keys() and [REGISTRY]
    assert [*Path(f"{host.root}/etc/docker/certs.d").glob("*")] == [
        Path(f"{host.root}/etc/docker/certs.d/{name}") for name in left or []
    ]


def test_previous_name_that_is_an_alias_now_stays_trusted(host: Host) -> None:
    host.put(OLD_FILE)
    host.put("/etc/hosts", OLD_LINE)
    host.write(aliases=["old.test"], previous_names=["old.test:5000"], address="192.0.2.2")
    assert host.text(OLD_FILE) == OTHER + CA
    assert host.text("/etc/hosts").count("old.test") == 1


@pytest.mark.parametrize(
    ("files", "ca"),
    [
        ({}, ""),
        ({DOCKER_FILE: "CA", PODMAN_FILE: "CA"}, "CA"),
        ({DOCKER_FILE: "CA", PODMAN_FILE: "other"}, ""),
        ({OLD_FILE: "CA"}, ""),
    ],
)
def test_ca_is_known_where_all_tools_have_the_same(host: Host, files: dict, ca: str) -> None:
    for path, text in files.items():
        host.put(path, text)
    assert host.trust(ca="", previous_names=["old.test:5000"]).ca == ca


@pytest.mark.parametrize(
    ("text", "wanted", "new"),
    [
        ("a\n", {}, None),
        ("a\n", {"address": "::1"}, "a\n# BEGIN wharf reg.test\n::1 reg.test\n# END wharf reg.test\n"),
        # Several servers, and then one of them alone.
        (
            "a\n",
            {"address": "::1", "other_addresses": ["::2"]},
            "a\n# BEGIN wharf reg.test\n::1 reg.test\n::2 reg.test\n# END wharf reg.test\n",
        ),
        (
            "# BEGIN wharf reg.test\n::1 reg.test\n::2 reg.test\n# END wharf reg.test\n",
            {"address": "::1"},
            "# BEGIN wharf reg.test\n::1 reg.test\n# END wharf reg.test\n",
        ),
        ("a", {"address": "::1"}, "a\n# BEGIN wharf reg.test\n::1 reg.test\n# END wharf reg.test\n"),
        ("::1 reg.test\n", {"address": "::1"}, None),  # a line of somebody's own
        ("# BEGIN wharf reg.test\n::1 reg.test\n# END wharf reg.test\nb\n", {}, "b\n"),
        ("# BEGIN wharf reg.test\n::1 reg.test\n# END wharf reg.test\nb\n", {"address": "::1"}, None),
        (
            "# BEGIN wharf reg.test\n::1 reg.test\n# END wharf reg.test\nb\n",
            {"address": "::2"},
            "# BEGIN wharf reg.test\n::2 reg.test\n# END wharf reg.test\nb\n",
        ),
        ("# BEGIN wharf reg.test\n::1 reg.test\n# END wharf reg.test", {"address": "::1", "state": "absent"}, ""),
        # The name has been at another port before: its line is the present one's.
        (
            "# BEGIN wharf reg.test\n::1 reg.test\n# END wharf reg.test\n",
            {"address": "::1", "previous_names": ["reg.test:5001"]},
            None,
        ),
    ],
)
def test_line_in_the_hosts_file(host: Host, text: str, wanted: dict, new: str | None) -> None:
    host.put("/etc/hosts", text, 0o664)
    trust = host.trust(**wanted)
    trust.write_hosts()
    assert host.text("/etc/hosts") == (text if new is None else new)
    assert bool(trust.hosts_changes.paths) == (new is not None)
    assert Path(host.root + "/etc/hosts").stat().st_mode & 0o7777 == 0o664


@pytest.mark.parametrize(
    ("line", "wanted", "is_refused"),
    [
        ("192.0.2.9 old.test Reg.Test # the old server", {}, True),
        ("192.0.2.9 alias.test", {"aliases": ["alias.test"]}, True),
        ("192.0.2.9 reg.test\n192.0.2.1 reg.test", {}, True),
        ("192.0.2.1 reg.test\n192.0.2.9 reg.test", {}, False),  # the first one counts
        ("192.0.2.9 other.test # reg.test", {}, False),
        ("127.0.1.1 reg.test", {}, False),  # the server itself, as Debian's installer leaves it
        ("2001:db8::9 reg.test", {}, False),
        ("2001:db8::9 reg.test", {"address": "2001:db8::1"}, True),
        ("2001:DB8:0::1 reg.test", {"address": "2001:db8::1"}, False),
        ("# BEGIN wharf reg.test\n192.0.2.9 reg.test\n# END wharf reg.test", {}, False),
        ("# BEGIN wharf old.test\n192.0.2.9 old.test reg.test\n# END wharf old.test", {}, False),
        ("192.0.2.9 reg.test", {"address": ""}, False),
        ("192.0.2.9 reg.test", {"state": "absent"}, False),
    ],
)
def test_line_of_before_that_leads_elsewhere_is_refused(host: Host, line: str, wanted: dict, is_refused: bool) -> None:
    host.put("/etc/hosts", f"127.0.0.1 localhost\n{line}\n")
    problems = host.trust(**{"address": "192.0.2.1", **wanted}).problems()
    assert len(problems) == is_refused
    assert all("is the address of" in problem and "not Wharf's" in problem for problem in problems)


def test_line_outlasts_cloud_init_which_makes_the_hosts_file_anew_at_each_boot(host: Host) -> None:
    template = "/etc/cloud/templates/hosts.debian.tmpl"
    told = f"# Your system has configured 'manage_etc_hosts' as True.\n# in the master file {host.root}{template}\n"
    host.put(template, f"## template:jinja\n{told}127.0.0.1 {{{{fqdn}}}}\n")
    host.put("/etc/hosts", f"{told}127.0.0.1 here\n")
    host.trust(address="192.0.2.1").write_hosts()
    assert host.text(template).endswith("{{fqdn}}\n# BEGIN wharf reg.test\n192.0.2.1 reg.test\n# END wharf reg.test\n")
    assert host.text("/etc/hosts").endswith("127.0.0.1 here\n" + host.text(template).partition("{{fqdn}}\n")[2])
    trust = host.trust(address="192.0.2.1")
    trust.write_hosts()
    assert trust.hosts_changes.paths == []
    host.trust(state="absent").write_hosts()
    assert "reg.test" not in host.text(template) + host.text("/etc/hosts")


def test_hosts_file_that_is_a_mount_point_is_written_all_the_same(host: Host) -> None:
    def busy(*_: object) -> None:
        raise OSError(16, "Device or resource busy")

    host.monkeypatch.setattr(client_trust.Changes, "put", busy)
    host.trust(address="192.0.2.1").write_hosts()
    assert "\n192.0.2.1 reg.test\n" in host.text("/etc/hosts")


def test_system_store_gets_one_certificate_a_file(host: Host) -> None:
    other = CA.replace("MIIB", "MIIC")
    first, second = (f"{STORE}/wharf-reg.test_5000_{number}.crt" for number in (1, 2))
    assert host.write(system_store=True, ca=f"# one\n{CA}\n# two\n{other}") == [DOCKER_FILE, first, second]
    assert (host.text(first), host.text(second)) == (CA, other)
    assert host.commands == [["update-ca-certificates", "--fresh"]]


def test_system_store_of_red_hat_is_another_directory_and_one_file(host: Host) -> None:
    host.programs = {"dockerd", "update-ca-trust"}
    path = "/etc/pki/ca-trust/source/anchors/wharf-reg.test_5000_1.crt"
    assert host.write(system_store=True) == [DOCKER_FILE, path]
    host.put("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "# others\n")
    assert host.trust(system_store=True).write()  # cut off before it was taken over
    assert host.commands == [["update-ca-trust"]] * 2
    host.put("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", f"# others\n{CA}\n")
    assert not host.trust(system_store=True).write()
    assert host.write() == [path]
    assert host.commands == [["update-ca-trust"]] * 3


def test_system_store_is_updated_after_a_run_that_was_cut_off(host: Host) -> None:
    path = f"{STORE}/wharf-reg.test_5000_1.crt"
    for there in (DOCKER_FILE, path, f"{STORE}/wharf-other.test_5000_1.crt"):
        host.put(there)
    assert host.trust(system_store=True).write()
    assert host.commands == [["update-ca-certificates", "--fresh"]]
    host.put("/etc/ssl/certs/wharf-reg.test_5000_1.pem")
    assert not host.trust(system_store=True).write()
    assert len(host.commands) == 1
    assert host.write() == [path]
    assert len(host.commands) == 2


def test_what_the_system_store_refuses_is_undone_there_and_for_the_tools(host: Host, monkeypatch) -> None:
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    other, path = CA.replace("MIIB", "MIIC"), f"{STORE}/wharf-reg.test_5000_1.crt"
    for there in (DOCKER_FILE, path):
        host.put(there)
    host.answers = lambda command: (1, "no room")
    with pytest.raises(WharfError, match="the system's store does not take it over: no room"):
        host.trust(system_store=True, ca=other + CA).write()
    assert [host.text(there) for there in (DOCKER_FILE, path)] == [CA, CA]
    assert host.text(path.replace("_1.crt", "_2.crt")) is None
    assert host.commands == [["update-ca-certificates", "--fresh"]] * 2  # for what it had taken over already


# containerd ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dump", "path"),
    [
        ("", ""),
        ('[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = ""\n', ""),
        ('[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/srv/registries"\n', "/srv/registries"),
        ("[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = '/a:/b'\n", "/a"),
        ('[plugins."x".registry]\n[plugins."y"]\n  config_path = "/srv"\n', ""),
        ('[plugins."x".registry]\nconfig_path = ""\n[plugins."y".registry]\na = 1\nconfig_path = "/srv"\n', "/srv"),
    ],
)
def test_containerds_directory_is_found_in_its_configuration(host: Host, dump: str, path: str) -> None:
    host.put(CONFIG, dump)
    assert client_trust.Containerd(is_used=False).config_path == path


@pytest.mark.parametrize(
    ("installed", "before", "after"),
    [
        ("containerd", TOML, TOML + BLOCK),
        ("containerd", "version = 3\n", '[plugins."io.containerd.cri.v1.images".registry]'),
        ("containerd", None, "# BEGIN wharf\nversion = 2\n[plugins"),
        # dpkg would ask which file to keep when the package comes.
        ("", None, None),
    ],
)
def test_containerd_is_told_where_to_look_unless_it_knows(
    host: Host, installed: str, before: str | None, after: str | None
) -> None:
    host.install(installed)
    if before is not None:
        host.put(CONFIG, before)
    host.write(tools=["containerd"])
    assert (host.text(CONFIG) is None) == (after is None)
    assert (after or "") in (host.text(CONFIG) or "").replace(host.root, "")
    assert (["service", "containerd", "restart"] in host.commands) == (before != after)


V1, V2 = "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (  # containerd config default, 1.7
            f'version = 2\n  [plugins."{V1}"]\n    a = 1\n    [plugins."{V1}".registry]\n      config_path = ""\n\n'
            f'      [plugins."{V1}".registry.auths]\n\n      [plugins."{V1}".registry.mirrors]\n',
            '    [plugins."io.containerd.grpc.v1.cri".registry]\n'
            '      config_path = "/etc/containerd/certs.d"  # Wharf instead of: ""\n\n',
        ),
        (  # 2.x
            f"version = 3\n[plugins.'{V2}'.registry]\n  config_path = ''  # theirs\n[plugins.'{V2}'.b]\n  a = 1\n",
            "  config_path = \"/etc/containerd/certs.d\"  # Wharf instead of: ''  # theirs\n",
        ),
        (
            f'version = 2\n[plugins."{V1}".registry]\n\t[plugins."{V1}".registry.headers]\n',
            f'[plugins."{V1}".registry]\n  config_path = "/etc/containerd/certs.d"  # Wharf\n\t[plugins',
        ),
        (  # Another plugin's table, and another's line.
            'version = 2\n[plugins."x".registry]\n  config_path = ""\n',
            'config_path = ""\n# BEGIN wharf\n[plugins."io.containerd.grpc.v1.cri".registry]\n',
        ),
    ],
)
def test_line_or_table_that_is_there_gets_the_directory_and_loses_it_again(host: Host, before: str, after: str) -> None:
    host.install("containerd")
    host.put(CONFIG, before)
    assert CONFIG in host.write()
    assert after in host.text(CONFIG).replace(host.root, "")
    assert host.write() == []
    assert host.commands.count(["service", "containerd", "restart"]) == 1
    host.write(state="absent")
    assert host.text(CONFIG) == before
    assert host.commands.count(["service", "containerd", "restart"]) == 2


def test_long_configuration_is_read_at_once(host: Host) -> None:
    """As the whole default configuration is, with its indented lines."""
    lines = "        any_setting = 1\n" * 1000
    text = f'version = 2\n[plugins."{V1}".registry]\n{lines}[[registry]]\n{lines}\n[plugins."{V1}".x]\n{lines}'
    host.install("containerd podman")
    host.put(CONFIG, text)
    host.put("/etc/containers/registries.conf", text)
    started = time.monotonic()
    host.write()
    host.write(state="absent")
    assert host.text(CONFIG) == text
    assert time.monotonic() - started < 10


def test_file_that_is_imported_and_has_the_plugin_is_changed(host: Host) -> None:
    """It replaces all that the first file has for that plugin."""
    host.install("containerd")
    theirs = f'version = 2\n[plugins."{V1}".containerd]\n  a = 1\n'
    main = f'imports = ["conf.d/*.toml"]\nversion = 2\n[plugins."{V1}".registry]\n  config_path = "/srv"\n'
    host.put(CONFIG, main)
    host.put("/etc/containerd/conf.d/1.toml", theirs)
    host.put("/etc/containerd/conf.d/2.toml", "[debug]\n")
    host.answers = lambda command: (0, theirs) if command == ["containerd", "config", "dump"] else (0, "")
    assert "/etc/containerd/conf.d/1.toml" in host.write()
    assert host.text("/etc/containerd/conf.d/1.toml").startswith(theirs + "# BEGIN wharf\n[plugins")
    assert host.text(CONFIG) == main
    host.write(state="absent")
    assert host.text("/etc/containerd/conf.d/1.toml") == theirs


def test_file_from_which_containerd_does_not_take_it_is_named(host: Host) -> None:
    host.install("containerd")
    host.put(CONFIG, TOML)
    host.answers = lambda command: (0, "version = 2") if "--config" in command else (0, "")
    with pytest.raises(WharfError, match=r"config\.toml: containerd does not take config_path from it"):
        host.write()
    assert host.text(CONFIG) == TOML


def test_containerds_own_directory_is_used(host: Host) -> None:
    host.install("containerd")
    text = f'{TABLE}  config_path = "{host.root}/srv"\n'
    host.put(CONFIG, text)
    assert host.write() == [f"/srv/{REGISTRY}/wharf-ca.crt"]
    assert host.write(state="absent") == [f"/srv/{REGISTRY}/wharf-ca.crt", f"/srv/{REGISTRY}"]
    assert host.text(CONFIG) == text
    assert ["service", "containerd", "restart"] not in host.commands


@pytest.mark.parametrize(("registry", "text"), [("old.test:5000", TOML), ("other.test:5000", None)])
def test_containerds_block_stays_while_another_registry_needs_it(host: Host, registry: str, text: str | None) -> None:
    host.put(CONFIG, TOML + BLOCK)
    host.put(f"/etc/containerd/certs.d/{registry}/hosts.toml", 'server = "x"\n')
    host.write(state="absent", previous_names=["old.test:5000"])
    assert host.text(CONFIG) == (text or TOML + BLOCK)


@pytest.mark.parametrize(("rest", "gone"), [("", True), ("\n", True), (TOML, False)])
def test_file_of_containerds_that_held_nothing_but_our_block_goes(host: Host, rest: str, gone: bool) -> None:
    host.put(CONFIG, rest + BLOCK)
    assert host.write(state="absent") == [CONFIG]
    assert (host.text(CONFIG) is None) == gone


@pytest.mark.parametrize("text", ["", "\n", TOML])
def test_file_of_containerds_without_our_block_stays(host: Host, text: str) -> None:
    host.put(CONFIG, text)
    assert host.write(state="absent") == []
    assert host.text(CONFIG) == text


def test_containerd_that_refuses_the_configuration_keeps_the_old_one(host: Host) -> None:
    host.install("containerd")
    host.put(CONFIG, TOML)
    host.answers = lambda command: (1, "cannot parse it") if "--config" in command else (0, "")
    with pytest.raises(WharfError, match=r"config\.toml: containerd refuses it with config_path: cannot parse it"):
        host.write()
    assert host.text(CONFIG) == TOML


def test_containerd_that_does_not_start_gets_the_old_configuration_back(host: Host) -> None:
    host.install("containerd")
    host.put(CONFIG, TOML)
    seen = []

    def answer(command: list[str]) -> tuple[int, str]:
        if command[0] == "service":
            seen.append(host.text(CONFIG) == TOML)
        return (1, "it does not start") if seen == [False] else (0, "")

    host.answers = answer
    with pytest.raises(WharfError, match="containerd does not start with it: it does not start"):
        host.write()
    assert seen == [False, True]


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "files", "wanted", "line"),
    [
        ("containerd", {CONFIG: TOML}, {}, ""),
        ("containerd", {NODE_PLAIN: "x\n"}, {}, f"registry_client_tools: {NODE_PLAIN} is not Wharf's, and containerd"),
        ("containerd", {NODE_PLAIN: ""}, {}, f"registry_client_tools: {NODE_PLAIN} is not Wharf's, and containerd"),
        ("containerd", {CONFIG: "broken"}, {}, f"{CONFIG}: containerd cannot read it"),
        ("containerd", {CONFIG: "x.registry.mirrors.y\n"}, {}, f"{CONFIG}: has registry.mirrors"),
        ("containerd", {CONFIG: TOML + TABLE}, {}, ""),
        ("containerd", {CONFIG: TOML + '[plugins."x"]\n  registry = {}\n'}, {}, f"{CONFIG}: sets the CRI plugin's"),
        ("containerd", {CONFIG: "# old\n"}, {}, f"{CONFIG}: is of version 1"),
        ("docker", {DOCKER_HOSTS: "new\n"}, {}, f"registry_client_tools: {DOCKER_HOSTS} is not Wharf's, and an engine"),
        # The classic image store does not read it.
        ("docker", {DOCKER_HOSTS: "classic\n"}, {}, ""),
        # containerd's own spelling, which it reads first.
        ("containerd", {SPELT: "x"}, {}, f"registry_client_tools: {directory(SPELT)} is"),
        ("docker", {"/etc/docker/certs.d/reg.test_5000_/ca.crt": "x"}, {}, ""),
        # Another's table with a directory in it.
        ("containerd", {CONFIG: f'{TOML}{TABLE}  config_path = "/srv"\n'}, {}, ""),
        # Not there yet, so not asked.
        ("", {CONFIG: "# old\n"}, {"tools": ["containerd"]}, ""),
        # In the way of a previous name only, which loses all anyway.
        ("containerd", {NODE_PLAIN.replace("reg", "old"): "x\n"}, {"previous_names": ["old.test:5000"]}, ""),
        ("containerd", {NODE_PLAIN: "x\n"}, {"state": "absent"}, ""),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_else(
    host: Host, installed: str, files: dict, wanted: dict, line: str
) -> None:
    host.install(installed)
    for path, text in files.items():
        host.put(path, text)
    if files.get(CONFIG) == "broken":
        host.answers = lambda command: (1, "cannot parse it")
    if files.get(DOCKER_HOSTS) == "new\n":
        host.monkeypatch.setattr(containers, "engine", lambda: {"containerd_image_store": True})
    problems = [problem.replace(host.root, "") for problem in host.trust(**wanted).problems()]
    assert len(problems) == bool(line)
    assert "".join(problems).startswith(line)


REJECT = json.dumps({"default": [{"type": "reject"}]})
BLOCKED = '[[registry]]\nlocation = "reg.test:5000"\nblocked = true\n'


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("policy.json", REJECT, "rejects the images of reg.test:5000: add"),
        ("registries.conf", BLOCKED, "blocks reg.test:5000 (blocked = true)"),
        ("policy.json", REJECT.replace("reject", "signedBy"), ""),
    ],
)
def test_what_podman_would_refuse_in_any_case_is_named(host: Host, path: str, text: str, line: str) -> None:
    host.install("podman")
    host.put(f"/etc/containers/{path}", text)
    problems = [problem.replace(host.root, "") for problem in host.trust(tools=["podman"]).problems()]
    assert len(problems) == bool(line)
    assert "".join(problems).startswith(f"/etc/containers/{path}: {line}" if line else "")
    for installed in ("podman", "docker podman"):
        host.install(installed)
        trust = host.trust()
        assert (trust.problems(), len(trust.warnings)) == ([], bool(line))
    assert len(host.trust(tools=["docker", "podman"]).problems()) == bool(line)
    for others in ("docker", ""):
        host.install(others)
        trust = host.trust()
        assert (trust.problems(), trust.warnings) == ([], [])


def test_what_podman_of_who_logs_in_would_refuse_is_read_as_that_user(host: Host, monkeypatch) -> None:
    host.install("podman")
    host.put("/people/dev/.config/containers/policy.json", REJECT)
    user = SimpleNamespace(pw_dir=f"{host.root}/people/dev")
    monkeypatch.setattr(auth_files, "find_user", {"dev": user}.get)
    read_as = []
    monkeypatch.setattr(auth_files, "as_user", lambda user, work: (read_as.append(user), work())[1])
    logins = [{"user": user} for user in ("dev", "dev", "gone", "root")]
    (line,) = host.trust(tools=["podman"], logins=logins).problems()
    path = f"{host.root}/people/dev/.config/containers/policy.json"
    assert line.startswith(f"{path}: rejects the images of reg.test:5000")
    assert read_as == [user]


@pytest.mark.parametrize(
    ("content", "wanted", "is_told"),
    [
        (None, {}, False),
        ("", {}, True),
        (CA.replace("MIIB", "MIIOLD"), {}, True),
        (f"Bag\n{CA.replace('MIIB', 'MI IB')}", {}, False),
        (CA, {"ca": CA + CA.replace("MIIB", "MIINEXT")}, True),  # it would not outlast a rotation
        ("", {"trust": "insecure"}, False),
    ],
)
def test_certificates_of_a_users_own_which_podman_reads_instead_are_told_of(
    host: Host, monkeypatch: pytest.MonkeyPatch, content: str | None, wanted: dict, is_told: bool
) -> None:
    host.install("podman")
    monkeypatch.setattr(auth_files, "find_user", {"dev": SimpleNamespace(pw_dir=f"{host.root}/people/dev")}.get)
    monkeypatch.setattr(auth_files, "as_user", lambda user, work: work())
    if content is not None:
        host.put(f"/people/dev/.config/containers/certs.d/{REGISTRY}/ca.crt", content)
    trust = host.trust(tools=["podman"], logins=[{"user": "dev"}], **wanted)
    problems = trust.problems()
    assert len(problems) == is_told
    path = f"{host.root}/people/dev/.config/containers/certs.d/{REGISTRY}"
    assert all(line.startswith(f"{path}: is read instead of /etc/containers/certs.d/") for line in problems)


def test_system_store_needs_its_program(host: Host) -> None:
    assert host.trust(system_store=True).problems() == []
    host.programs = {"dockerd"}
    (problem,) = host.trust(system_store=True).problems()
    assert problem.startswith(
        "registry_client_system_store: there is neither update-ca-certificates nor update-ca-trust"
    )

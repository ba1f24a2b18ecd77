"""What leads each tool to the caches of a registry, what stays as somebody else has it, and what goes again."""

from __future__ import annotations

import base64
import json
import os
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import api, client_caches, containers
from ansible_collections.wharf.registry.plugins.module_utils.client_caches import Caches
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.files import read_entry
from tests.unit.client_host import CA, CONFIG, REGISTRY, Host
from tests.unit.issued import Issued

HUB = {"upstream": "docker.io", "path": "docker.io", "server": "https://registry-1.docker.io"}
NEAR = {"upstream": "near.test:5000", "path": "near.test_5000", "server": "https://near.test:5000"}
LOGIN = {"name": "kiosk", "password": "only-secret"}
PODMAN = "/etc/containers/registries.conf.d/wharf-reg.test_5000-caches.conf"
NODE_HUB = "/etc/containerd/certs.d/docker.io/hosts.toml"
NODE_NEAR = "/etc/containerd/certs.d/near.test:5000/hosts.toml"
DOCKER_HUB = "/etc/docker/certs.d/docker.io/hosts.toml"
DOCKER_NEAR = "/etc/docker/certs.d/near.test:5000/hosts.toml"
MIRROR_CA = "/etc/docker/certs.d/reg.test:5001/wharf-ca.crt"
MARK = f"# Wharf: the caches of {REGISTRY}\n"
OTHERS = "# Wharf: the caches of other.test:5000\n"
DAEMON = "/etc/docker/daemon.json"
NEW = {"version": "29.1.3", "containerd_image_store": True}
CLASSIC = {"version": "28.5.2", "containerd_image_store": False}
OLD = {"version": "26.1.5+dfsg1", "containerd_image_store": True}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return a host."""
    return Host(tmp_path, monkeypatch)


def caches_of(host: Host, check: bool = False, **params: Any) -> Caches:
    """Return what caches need on a host."""
    given = host.params(**{"caches": [HUB, NEAR], "caches_mirror_port": 0, "caches_login": {}, **params})
    return Caches(host.trust(check, **given), given, check)


def write(host: Host, check: bool = False, **params: Any) -> list[str]:
    """Write what is pending; return the paths that were changed."""
    caches = caches_of(host, check, **params)
    caches.remove()
    caches.write(False)
    return [path.replace(host.root, "") for path in caches.changes.paths]


def engine_is(host: Host, engine: dict[str, Any] | None) -> None:
    """Let the engine say this of itself."""
    host.monkeypatch.setattr(containers, "engine", lambda: engine)


def toml(host: Host, path: str) -> dict[str, Any]:
    """Return what a file says."""
    return tomllib.loads(host.text(path) or "")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Let every cache answer, and note down who was asked, and as whom."""
    seen: list[tuple] = []

    def ask(client: api.Client, name: str = "") -> None:
        seen.append((str(client), client.context is not None, client.user, client.password, name))

    monkeypatch.setattr(api.Client, "cache", ask)
    monkeypatch.setattr(api, "trust", lambda pem: SimpleNamespace(pem=pem))
    return seen


# What is written ----------------------------------------------------------------------------------


@pytest.mark.parametrize("trust", ["ca", "insecure"])
def test_podman_gets_one_file_for_all_upstreams(host: Host, asked: list, trust: str) -> None:
    host.install("podman")
    assert write(host, trust=trust, caches_login=LOGIN if trust == "ca" else {}) == [PODMAN]
    mirror = {"insecure": True} if trust == "insecure" else {}
    assert toml(host, PODMAN) == {
        "registry": [
            {"prefix": name, "location": name, "mirror": [{"location": f"{REGISTRY}/{path}", **mirror}]}
            for name, path in (("docker.io", "docker.io"), ("near.test:5000", "near.test_5000"))
        ]
    }
    # Users read it, and log in themselves.
    assert read_entry(host.root + PODMAN).mode == 0o644
    assert (host.text(PODMAN) or "").startswith(MARK)
    assert write(host, trust=trust) == []


def test_containerd_gets_a_file_for_each_upstream(host: Host, asked: list) -> None:
    host.install("containerd")
    assert write(host, caches_login={"name": None, "password": None}) == [NODE_HUB, NODE_NEAR]
    assert toml(host, NODE_NEAR) == {
        "server": "https://near.test:5000",
        "host": {
            f"https://{REGISTRY}/v2/near.test_5000": {
                "capabilities": ["pull", "resolve"],
                "ca": f"{host.root}/etc/containerd/certs.d/{REGISTRY}/wharf-ca.crt",
                "override_path": True,
                "dial_timeout": "5s",
            }
        },
    }
    assert read_entry(host.root + NODE_NEAR).mode == 0o644
    assert write(host) == []


def test_login_is_for_root_alone_and_in_no_difference(host: Host, asked: list) -> None:
    host.install("containerd")
    write(host)
    caches = caches_of(host, caches_login=LOGIN)
    caches.write(False)
    (config,) = toml(host, NODE_HUB)["host"].values()
    login = "Basic " + base64.b64encode(b"kiosk:only-secret").decode()
    assert config["header"] == {"Authorization": login}
    assert read_entry(host.root + NODE_HUB).mode == 0o600
    again = caches_of(host, caches_login={**LOGIN, "password": "changed"})
    again.write(False)
    told = json.dumps(caches.diff + again.diff)
    assert "Basic ..." in told
    assert login[6:] not in told
    assert len(again.changes.paths) == 2


def test_plain_http_has_no_ca(host: Host, asked: list) -> None:
    host.install("containerd")
    write(host, trust="insecure")
    ((url, config),) = toml(host, NODE_HUB)["host"].items()
    assert url == f"http://{REGISTRY}/v2/docker.io"
    assert "ca" not in config
    assert asked[0][1] is False


def test_directory_of_containerds_own_choice_is_taken(host: Host, asked: list) -> None:
    host.install("containerd")
    host.put(CONFIG, f'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "{host.root}/srv"\n')
    assert write(host) == ["/srv/docker.io/hosts.toml", "/srv/near.test:5000/hosts.toml"]
    assert write(host, state="absent") == [
        "/srv/docker.io/hosts.toml",
        "/srv/near.test:5000/hosts.toml",
        "/srv/docker.io",
        "/srv/near.test:5000",
    ]


def test_what_the_tools_need_to_reach_the_upstream_itself_is_named(host: Host, asked: list) -> None:
    host.install("containerd")
    directory = "/etc/containerd/certs.d/near.test:5000"
    for name in ("ca.crt", "me.cert", "me.key"):
        host.put(f"{directory}/{name}")
    write(host)
    found = toml(host, NODE_NEAR)
    place = host.root + directory
    assert (found["ca"], found["client"]) == ([f"{place}/ca.crt"], [[f"{place}/me.cert", f"{place}/me.key"]])
    assert "ca" not in toml(host, NODE_HUB)


# Docker -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "port", "files", "mirror", "told"),
    [
        (NEW, 5001, [DOCKER_HUB, DOCKER_NEAR], "", ""),
        ({**NEW, "version": "28.0.0-rc.1"}, 0, [DOCKER_HUB, DOCKER_NEAR], "", ""),
        # It builds by the files, and pulls without them.
        (CLASSIC, 0, [DOCKER_HUB, DOCKER_NEAR], "", "docker.io, near.test:5000"),
        (CLASSIC, 5001, [DOCKER_HUB, DOCKER_NEAR, MIRROR_CA], "https://reg.test:5001", "near.test:5000"),
        (OLD, 0, [], "", "docker.io, near.test:5000"),
        (OLD, 5001, [MIRROR_CA], "https://reg.test:5001", "near.test:5000"),
        ({"version": None, "containerd_image_store": False}, 0, [], "", "docker.io, near.test:5000"),
    ],
)
def test_engine_is_told_what_it_can_follow(
    host: Host, asked: list, engine: dict, port: int, files: list, mirror: str, told: str
) -> None:
    host.install("docker")
    engine_is(host, engine)
    caches = caches_of(host, caches_mirror_port=port)
    options = {"registry_client reg.test:5000, caches": {"registry-mirrors": [mirror]}} if mirror else {}
    assert caches.engine_options() == options
    assert caches.is_sure
    assert len(caches.warnings) == bool(told)
    for line in caches.warnings:
        assert line.startswith(
            f"docker pull does not go through the caches of {told} on this host: that takes an engine"
        )
        assert f"{REGISTRY}/{'near.test_5000' if port else 'docker.io'}/..." in line
        assert ("wharf_caches_mirror_port" in line) == (not port)
    assert write(host, caches_mirror_port=port) == files
    if MIRROR_CA in files:
        assert host.text(MIRROR_CA) == MARK + CA


def test_mirror_over_plain_http_has_no_ca(host: Host, asked: list) -> None:
    host.install("docker")
    engine_is(host, OLD)
    caches = caches_of(host, trust="insecure", caches_mirror_port=5001, caches=[HUB])
    assert (caches.mirror, caches.files, caches.warnings) == ("http://reg.test:5001", {}, [])


def test_engine_that_does_not_answer_keeps_what_it_has(host: Host, asked: list) -> None:
    host.install("docker containerd")
    engine_is(host, CLASSIC)
    tools = {"tools": ["docker", "containerd"], "caches_mirror_port": 5001}
    write(host, **tools)
    host.put("/var/lib/wharf/daemon.json.record", '"registry_client reg.test:5000, caches"')
    engine_is(host, None)
    caches = caches_of(host, **{**tools, "caches": [HUB]})
    assert (caches.is_sure, caches.engine_options()) == (False, {})
    assert caches.warnings[0].startswith("The Docker engine of this host does not answer")
    caches.remove()
    gone = [NODE_NEAR, os.path.dirname(NODE_NEAR)]
    assert [path.replace(host.root, "") for path in caches.changes.paths] == gone
    assert host.text(DOCKER_NEAR)
    # That is still to be installed.
    host.install("containerd")
    assert (caches_of(host, **tools).is_sure, caches_of(host, **tools).warnings) == (False, [])


# What is somebody else's --------------------------------------------------------------------------

TABLE = '[[registry]]\nprefix = "docker.io"\nlocation = "docker.io"\n'


@pytest.mark.parametrize(
    ("installed", "path", "text", "told", "left"),
    [
        ("podman", "/etc/containers/registries.conf", TABLE, None, PODMAN),
        ("podman", "/etc/containers/registries.conf.d/z.conf", TABLE.replace("prefix", "#"), None, PODMAN),
        ("podman", PODMAN.replace("reg.", "other."), OTHERS + TABLE, None, PODMAN),
        ("podman", "/etc/containers/registries.conf", TABLE.replace('"docker.io"', '"docker.io/mine"'), "", PODMAN),
        ("containerd", NODE_HUB, 'server = "x"\n', None, NODE_NEAR),
        ("containerd", NODE_HUB, "", None, NODE_NEAR),
        ("containerd", NODE_HUB, OTHERS, None, NODE_NEAR),
        ("docker", DOCKER_HUB, 'server = "x"\n', None, DOCKER_NEAR),
        ("containerd", "/etc/containerd/certs.d/near.test_5000_/ca.crt", CA, "near", NODE_HUB),
        # Passed over by the engine where there are such files.
        ("docker", DAEMON, '{"registry-mirrors": ["https://theirs.test"]}', None, DOCKER_NEAR),
        ("docker", DAEMON, '{"insecure-registries": ["near.test:5000", "10.0.0.0/8"]}', "near", DOCKER_HUB),
        ("docker", DAEMON, '{"debug": true}', "", DOCKER_HUB),
    ],
)
def test_what_is_there_already_stays_and_is_told_of(
    host: Host, asked: list, installed: str, path: str, text: str, told: str | None, left: str
) -> None:
    host.install(installed)
    engine_is(host, NEW)
    host.put(path, text)
    caches = caches_of(host)
    assert len(caches.warnings) == (told != "")
    for line in caches.warnings:
        there = path.rpartition("/")[0] if "_5000_" in path else path
        assert line.startswith(host.root + there + " says already how ")
        assert f"pulls from {'near.test:5000' if told else 'docker.io'}," in line
    changed = write(host)
    assert path not in changed
    assert left in changed
    assert host.text(path) == text
    assert len(toml(host, left).get("registry", [])) == (0 if installed != "podman" else 1 + (told == ""))
    planned = write(host, check=True, caches=[])
    assert write(host, caches=[]) == planned
    assert host.text(path) == text


def test_mirror_of_our_own_is_none_of_theirs(host: Host, asked: list) -> None:
    host.install("docker")
    engine_is(host, NEW)
    host.put(DAEMON, '{"registry-mirrors": ["https://reg.test:5001"]}')
    claim = {"path": ["registry-mirrors", "https://reg.test:5001"], "before": None}
    for owners, is_theirs in (
        ({"registry_client reg.test:5000, caches": ["true"]}, False),
        ({"registry_client reg.test:5000, caches": ["true"], "docker_engine": ["true"]}, True),
        ({"registry_client other.test:5000, caches": ["true"]}, True),
    ):
        ledger = {"version": 1, "claims": [{**claim, "owners": owners}]}
        host.put("/var/lib/wharf/daemon.json.record", json.dumps(ledger))
        assert bool(caches_of(host).warnings) == is_theirs
    host.put("/var/lib/wharf/daemon.json.record", json.dumps({"version": 1, "claims": [{**claim, "owners": {}}]}))
    assert caches_of(host).warnings


def test_upstream_that_is_a_registry_of_ours_too_keeps_both(host: Host, asked: list) -> None:
    host.install("containerd")
    host.write(name="near.test")
    write(host)
    assert f"{host.root}/etc/containerd/certs.d/near.test:5000/wharf-ca.crt" in toml(host, NODE_NEAR)["ca"]
    assert host.write(name="near.test") == []
    host.write(name="near.test", state="absent")
    assert (host.text(NODE_NEAR) or "").startswith(MARK)


# What goes again ----------------------------------------------------------------------------------


@pytest.mark.parametrize("later", [{"caches": []}, {"state": "absent"}, {"state": "absent", "caches": []}])
def test_all_of_it_goes_again_and_nothing_else(host: Host, asked: list, later: dict) -> None:
    host.install("docker podman containerd")
    engine_is(host, CLASSIC)
    tools = {"tools": ["docker", "podman", "containerd"], "caches_mirror_port": 5001}
    host.put(NODE_NEAR.replace("hosts.toml", "ca.crt"))
    before = {path: path.read_text() for path in Path(host.root).rglob("*") if path.is_file()}
    assert len(write(host, **tools)) == 6
    host.put("/var/lib/wharf/daemon.json.record", '"registry_client reg.test:5000, caches"')
    engine_is(host, None)  # nobody asks it
    planned = write(host, check=True, **tools, **later)
    caches = caches_of(host, **tools, **later)
    assert caches.engine_options() == {"registry_client reg.test:5000, caches": {}}
    asked.clear()
    assert write(host, **tools, **later) == planned
    assert asked == []
    os.unlink(f"{host.root}/var/lib/wharf/daemon.json.record")
    assert {path: path.read_text() for path in Path(host.root).rglob("*") if path.is_file()} == before
    assert not os.path.exists(f"{host.root}/etc/docker/certs.d")
    assert write(host, **tools, **later) == []


def test_upstream_that_is_taken_off_the_list_goes(host: Host, asked: list) -> None:
    host.install("containerd podman")
    write(host)
    assert write(host, caches=[HUB]) == [NODE_NEAR, os.path.dirname(NODE_NEAR), PODMAN]
    assert len(toml(host, PODMAN)["registry"]) == 1


def test_previous_name_leaves_nothing(host: Host, asked: list) -> None:
    host.install("containerd podman")
    write(host, name="old.test")
    assert write(host, previous_names=["old.test:5000"]) == [
        PODMAN.replace("reg.", "old."),
        PODMAN,
        NODE_HUB,
        NODE_NEAR,
    ]
    assert all((host.text(path) or "").startswith(MARK) for path in (PODMAN, NODE_HUB, NODE_NEAR))


@pytest.mark.parametrize("theirs", [False, True])
def test_containerd_is_given_back_what_it_had_when_the_last_file_goes(host: Host, asked: list, theirs: bool) -> None:
    host.install("docker containerd")
    engine_is(host, NEW)
    tools = {"tools": ["docker", "containerd"]}
    host.put(CONFIG, "version = 2\n")
    if theirs:
        host.put(NODE_HUB, 'server = "x"\n')
    host.write(**tools)
    write(host, **tools)
    for check in (True, False):
        given = host.params(state="absent", caches=[], caches_mirror_port=0, caches_login={}, **tools)
        trust = host.trust(check, **given)
        caches = Caches(trust, given, check)
        caches.remove()
        trust.write()
        assert (host.root + CONFIG in trust.changes.paths) != theirs
    assert (host.text(CONFIG) == "version = 2\n") != theirs


# Whether the cache answers ------------------------------------------------------------------------


def test_each_cache_is_asked_before_anything_is_written_and_only_then(host: Host, asked: list) -> None:
    host.install("docker")
    engine_is(host, CLASSIC)
    write(host, check=True, caches_login=LOGIN, caches_mirror_port=5001)
    assert asked == []
    assert len(write(host, caches_login=LOGIN, caches_mirror_port=5001)) == 3
    once = [(REGISTRY, True, "kiosk", "only-secret", path) for path in ("docker.io", "near.test_5000")]
    assert asked == [*once, ("reg.test:5001", True, "", "", "")]
    assert write(host, caches_login=LOGIN, caches_mirror_port=5001) == []
    assert len(asked) == 3
    # daemon.json alone is to be changed.
    caches_of(host, caches_login=LOGIN, caches_mirror_port=5001).write(True)
    assert len(asked) == 6


@pytest.mark.parametrize(
    ("installed", "login", "error", "line"),
    [
        ("containerd", {}, api.NoResponseError("nobody answers"), "so its tools are not told of any: nobody answers"),
        ("containerd", {}, api.StatusError("asks for a user", 401), "asks for a user: give who may read it .*reader"),
        ("containerd", LOGIN, api.StatusError("refuses the user", 401), "refuses the user$"),
        ("podman", {}, api.StatusError("no", 403), "no$"),
        ("podman", {}, api.StatusError("asks for a user", 401), ""),  # each user has a login
        ("podman containerd", {}, api.StatusError("asks for a user", 401), "asks for a user: give"),
    ],
)
def test_nothing_is_written_where_a_cache_does_not_serve_the_host(
    host: Host, asked: list, installed: str, login: dict, error: api.RegistryError, line: str
) -> None:
    host.install(installed)

    def refuse(client: api.Client, name: str) -> None:
        if name == "near.test_5000":
            raise error

    host.monkeypatch.setattr(api.Client, "cache", refuse)
    if not line:
        assert write(host, caches_login=login) == [PODMAN]
        return
    with pytest.raises(WharfError, match=f"^the cache of near.test:5000 does not serve this host, {'.*' + line}"):
        write(host, caches_login=login)
    assert not os.path.exists(f"{host.root}/etc/containerd") and host.text(PODMAN) is None


def test_registry_really_is_asked_with_its_ca(host: Host) -> None:
    host.install("containerd")
    host.monkeypatch.setattr(client_caches, "TIMEOUT", 1)
    ca = Issued("CA", ca=True).pem
    with pytest.raises(WharfError, match=r"the registry does not answer as localhost:1: "):
        write(host, name="localhost", port=1, ca=ca)


def test_client_without_caches_asks_and_reads_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.install("docker podman containerd")
    monkeypatch.setattr(containers, "engine", lambda: pytest.fail("the engine was asked"))
    caches = caches_of(host, caches=[])
    caches.remove()
    caches.write(False)
    assert (caches.changes.paths, caches.engine_options(), caches.warnings) == ([], {}, [])

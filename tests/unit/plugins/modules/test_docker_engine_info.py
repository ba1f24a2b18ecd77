# SPDX-License-Identifier: MIT
"""The module docker_engine_info: what is pending, what makes a host unfit, what is handed on, and how it is told."""

from __future__ import annotations

import copy
import os
from types import SimpleNamespace

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import engine_packages
from ansible_collections.wharf.registry.plugins.module_utils.engine_packages import Preflight
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.modules import docker_engine_info as info

TRIXIE = {"id": "debian", "name": "Debian", "version_id": "13", "version_codename": "trixie"}
DEBS = {"manager": "apt", "repository": {"url": "http://docker.example/debian", "fingerprint": "A" * 40}}
RPMS = {"manager": "dnf", "note": "experimental", "repository": {"url": "http://docker.example/el", "fingerprint": "B"}}
SYSTEMS = {
    "debian": {
        "bookworm": {**DEBS, "distro": {"engine": ["docker.io"]}},
        "trixie": {**DEBS, "distro": {"engine": ["docker.io", "docker-cli"], "helpers": ["pigz"]}},
    },
    "almalinux": {"9": {**RPMS, "docker_ce": {"engine": ["docker-ce", "docker-ce-cli"]}}},
    "fedora": {"*": {**RPMS, "docker_ce": {"engine": ["docker-ce"]}}},
}
FILE = "$(URL) $(RELEASE) $(FINGERPRINT) $(HELD)"
PARAMS = {
    "source": "distro",
    "version": "",
    "allow_downgrade": False,
    "systems": SYSTEMS,
    "extra_packages": ["openssl"],
    "options": {},
    "files": [{"path": info.PROXIES, "content": "x"}],
    "repository": {
        "url": "http://mirror.example/docker/",
        "fingerprint": "",
        "apt": f"deb {FILE}",
        "dnf": f"rpm {FILE}",
    },
}
FOUND = {"installed": {}, "holds": [], "entries": []}
STATE = {
    "missing": ["docker.io"],
    "remove": [],
    "preflight": False,
    "source": False,
    "hold": [],
    "release": [],
    "changes_engine": True,
    "outsiders": ["alice"],
    "is_running": False,
}


def test_the_packages_are_those_of_the_system_and_the_source():
    request = info.request_for(PARAMS, TRIXIE)
    assert request["packages"] == ["docker.io", "docker-cli", "pigz", "openssl"]
    source = f"deb http://mirror.example/docker trixie {'A' * 40} "
    assert (request["conflicts"], request["repository"]["source"]) == ([], source)
    assert request["has_proxies"]
    none = info.request_for(PARAMS | {"source": "none"}, TRIXIE)
    assert (none["packages"], none["engine"]) == (["openssl"], [])


ALMA = {"id": "almalinux", "name": "AlmaLinux", "version_id": "9.6"}
ALPINE = {"id": "alpine", "name": "Alpine Linux", "version_id": "3.22.1"}


@pytest.mark.parametrize(
    ("here", "release", "held"),
    [(ALMA, "9", "docker-ce docker-ce-cli"), ({"id": "fedora", "version_id": "43"}, "43", "docker-ce")],
)
def test_a_system_without_names_is_known_by_its_number(here, release, held):
    params = PARAMS | {"source": "docker_ce", "version": "28.5", "repository": PARAMS["repository"] | {"url": ""}}
    request = info.request_for(params, here)
    assert (request["manager"], request["note"]) == ("dnf", "experimental")
    assert request["repository"]["source"] == f"rpm http://docker.example/el {release} B {held}"


@pytest.mark.parametrize(
    ("here", "source", "words"),
    [
        (TRIXIE | {"version_codename": "buster", "version_id": "10"}, "distro", "system, Debian 10: use none;"),
        (
            ALPINE,
            "docker_ce",
            "is docker_ce, which the role does not know for this host's system, Alpine Linux 3.22.1:",
        ),
        (ALMA, "distro", "AlmaLinux 9.6: use docker_ce, or none;"),
        (TRIXIE, "docker_ce", "Debian 13: use distro, or none;"),
        ({}, "distro", "unknown: use none;"),
    ],
)
def test_a_source_that_is_not_known_for_a_system_is_refused(here, source, words):
    with pytest.raises(WharfError) as error:
        info.request_for(PARAMS | {"source": source}, here)
    assert words in str(error.value)


def test_any_system_can_have_an_engine_of_its_own():
    request = info.request_for(PARAMS | {"source": "none", "repository": {}}, ALPINE)
    assert (request["manager"], request["packages"], request["repository"]) == ("", ["openssl"], {})


def test_without_a_package_manager_programs_must_be_there(monkeypatch):
    class Module:
        def get_bin_path(self, name):
            return "/usr/bin/openssl" if name == "openssl" else None

    request = info.request_for(
        PARAMS | {"source": "none", "repository": {}, "extra_packages": ["openssl", "skopeo"]}, ALPINE
    )
    found = FINISHED | info.packages_of(Module(), request, "/usr/bin/dockerd")
    request |= {"users": []}
    (problem,) = info.problems(found, request)
    assert problem.startswith("skopeo: is not on this host, and the role knows no packages of its system, Alpine Linux")


@pytest.mark.parametrize(
    ("installed", "packages", "owner"),
    [
        ("docker.io installed 26.1.5 hold\n", {"docker.io": "26.1.5"}, ""),
        ("docker-ce installed 5:28 install\ngone config-files 1 deinstall\n", {"docker-ce": "5:28"}, "docker-ce"),
    ],
)
def test_the_engines_package_is_searched_only_where_it_is_another(monkeypatch, installed, packages, owner):
    started = []

    def run(*argv):
        started.append(argv[:2])
        output = installed if argv[1] == "--show" else f"{owner}: {argv[2]}\n"
        return SimpleNamespace(stdout=output, returncode=0)

    monkeypatch.setattr(engine_packages, "run", run)
    found = info.packages_of(None, info.request_for(PARAMS | {"repository": {}}, TRIXIE), "/usr/sbin/dockerd")
    assert (found["installed"], found["dockerd_package"]) == (packages, owner)
    assert found["held"] == ([] if owner else ["docker.io"])
    assert started == [("dpkg-query", "--show"), *([("dpkg-query", "--search")] if owner else [])]


def test_what_need_not_be_tried_is_installed_as_it_is_from_sources_that_apt_can_use(monkeypatch):
    asked = []
    monkeypatch.setattr(Preflight, "main", lambda self: pytest.fail("tried"))
    monkeypatch.setattr(Preflight, "try_sources", lambda self: asked.append(self))
    plan = info.plan_of(info.request_for(PARAMS, TRIXIE), FOUND, STATE)
    assert (plan["arguments"], plan["hold"]) == (["docker.io"], [])
    assert plan["repository"] is None
    assert len(asked) == 1
    info.plan_of(info.request_for(PARAMS, TRIXIE), FOUND, STATE | {"missing": []})
    assert len(asked) == 1  # where nothing is to be installed, nothing is asked


def test_what_was_tried_is_installed_and_held_again(monkeypatch):
    tried = {"arguments": ["docker.io=2", "runc-"], "options": ["--allow-downgrades"]}
    monkeypatch.setattr(Preflight, "main", lambda self: (tried, "KEY"))
    found = FOUND | {"holds": ["docker.io", "docker-cli"]}
    state = STATE | {"preflight": True, "source": True, "release": ["docker-cli"]}
    plan = info.plan_of(info.request_for(PARAMS, TRIXIE), found, state)
    assert (plan["arguments"], plan["options"]) == (tried["arguments"], tried["options"])
    assert (plan["repository"]["url"], plan["repository"]["key"]) == ("http://mirror.example/docker", "KEY")
    assert (plan["hold"], plan["release"]) == (["docker.io"], ["docker-cli"])


@pytest.mark.parametrize(
    ("pending", "state", "arguments", "reloaded", "expected"),
    [
        ({"start": True}, {}, ["docker.io"], [], ["docker.io would be installed, and the engine started"]),
        (
            {"restart": ["log-driver", "packages"]},
            {"is_running": True, "remove": ["runc"]},
            ["docker.io=2", "runc-"],
            ["labels"],
            [
                "docker.io=2 would be installed in place of runc",
                "The engine would be reloaded for labels, and restarted for log-driver, packages",
            ],
        ),
        ({"start": True}, {}, [], [], ["The engine would be started, now and at boot"]),
        ({}, {"is_running": True}, [], ["labels"], ["The engine would be reloaded for labels"]),
        ({"users": ["alice"]}, {"is_running": True}, [], [], ["alice would become members of the group docker"]),
    ],
)
def test_what_would_happen_is_told(pending, state, arguments, reloaded, expected):
    pending = {"start": False, "users": [], "restart": []} | pending
    assert info.sentences(pending, FOUND, STATE | state, arguments, reloaded) == expected


# What is pending ------------------------------------------------------------------------------------------------------

DISTRO = {
    "source": "distro",
    "manager": "apt",
    "version": "",
    "replace": False,
    "engine": ["docker.io"],
    "components": [],
    "conflicts": ["docker-ce", "containerd.io"],
    "obsolete": ["docker-buildx-plugin"],
    "packages": ["docker.io", "pigz"],
    "users": ["alice"],
    "has_proxies": False,
}
DOCKER = DISTRO | {
    "source": "docker_ce",
    "engine": ["docker-ce", "docker-ce-cli"],
    "components": ["containerd.io"],
    "conflicts": ["docker.io"],
    "obsolete": [],
    "packages": ["docker-ce", "docker-ce-cli", "containerd.io", "pigz"],
}
NONE = DISTRO | {"source": "none", "engine": [], "conflicts": [], "obsolete": [], "packages": []}
PROXIED = {"has_proxies": True}
BARE = {
    "installed": {},
    "held": [],
    "dockerd": "",
    "dockerd_package": "",
    "elsewhere": "",
    "members": {"alice": False},
    "has_group": False,
    "wrong_files": [],
    "is_source_right": True,
    "entries": [],
    "holds": [],
    "has_block": False,
    "has_daemon_proxies": False,
    "has_hosts": False,
    "is_systemd": True,
    "identity": "",
    "restart": [],
    "is_active": False,
    "is_enabled": False,
}
RUNS = BARE | {
    "members": {"alice": True},
    "has_group": True,
    "identity": "boot 7 99",
    "is_active": True,
    "is_enabled": True,
}
FINISHED = RUNS | {
    "installed": {"docker.io": "26.1.5+dfsg1-9+b9", "pigz": "2.8-1"},
    "dockerd": "/usr/sbin/dockerd",
    "dockerd_package": "docker.io",
}
CE = "5:28.5.2-1~debian.13~trixie"
FINISHED_DOCKER = RUNS | {
    "installed": {"docker-ce": CE, "docker-ce-cli": CE, "containerd.io": "1.7.29-1", "pigz": "2.8-1"},
    "dockerd": "/usr/bin/dockerd",
    "dockerd_package": "docker-ce",
}
HELD = FINISHED_DOCKER | {"held": ["docker-ce", "docker-ce-cli"]}


def pending(found: dict, request: dict) -> set[str]:
    """Return the names of what is pending."""
    before = copy.deepcopy((found, request))
    state = info.judge(found, request)
    assert (found, request) == before
    assert state["is_running"] or not state["is_managed"]
    return {name for name, value in state.items() if value} - {"is_running", "is_managed"}


@pytest.mark.parametrize(("found", "request_"), [(FINISHED, DISTRO), (FINISHED_DOCKER, DOCKER), (FINISHED, NONE)])
def test_nothing_is_pending_on_a_finished_host(found, request_):
    assert pending(found, request_) == set()
    assert info.problems(found | {"has_hosts": True}, request_) == []  # an engine that runs with them
    assert info.problems(found, request_) == []


def test_everything_is_pending_on_a_bare_host():
    state = info.judge(BARE, DISTRO)
    assert (state["missing"], state["outsiders"]) == (["docker.io", "pigz"], ["alice"])
    assert (state["is_running"], state["is_managed"], state["start"]) == (False, False, True)
    # What the distribution offers need not be tried.
    assert pending(BARE, DISTRO) == {"missing", "changes_engine", "outsiders", "start"}
    bare = BARE | {"is_source_right": False}
    assert pending(bare, DOCKER) == {"missing", "changes_engine", "outsiders", "start", "preflight", "source"}


def test_a_helper_that_is_missing_does_not_change_the_engine():
    found = FINISHED_DOCKER | {"installed": {k: v for k, v in FINISHED_DOCKER["installed"].items() if k != "pigz"}}
    assert pending(found, DOCKER) == {"missing"}


def test_an_engine_that_nobody_manages_runs_all_the_same_and_is_not_started_again():
    found = FINISHED | {"is_active": False, "is_enabled": False}
    state = info.judge(found, DISTRO)
    assert (state["is_running"], state["is_managed"], state["start"]) == (True, False, False)


def test_an_engine_that_does_not_start_at_boot_is_enabled():
    assert pending(FINISHED | {"is_enabled": False}, DISTRO) == {"start"}


@pytest.mark.parametrize(
    ("found", "request_", "message"),
    [
        (FINISHED_DOCKER, DISTRO, "docker-ce, containerd.io are installed here, and docker.io would replace them"),
        (FINISHED, DOCKER, "docker.io is installed here, and docker-ce would replace it"),
        (RUNS | {"dockerd": "/usr/local/bin/dockerd"}, DISTRO, "dockerd is here already, from no package"),
        (RUNS, NONE, "no engine (dockerd) is on this host"),
        (FINISHED | {"has_group": False}, NONE, "the group docker does not exist"),
        (FINISHED | {"has_daemon_proxies": True}, DISTRO | PROXIED, "daemon.json holds proxies"),
        (
            BARE | {"elsewhere": "/snap/docker/1/bin/dockerd"},
            DISTRO,
            "an engine runs here already, /snap/docker/1/bin/",
        ),
        (BARE | {"has_hosts": True}, DISTRO, "daemon.json: holds hosts, from before"),
        (FINISHED | {"members": {"alice": True, "bob": None}}, DISTRO | {"users": ["alice", "bob"]}, "bob"),
    ],
)
def test_what_makes_a_host_unfit_is_named(found, request_, message):
    problems = info.problems(found, request_)
    assert len(problems) == 1
    assert message in problems[0]


def test_a_service_that_somebody_starts_otherwise_may_read_hosts_from_the_file(tmp_path):
    drop_ins = tmp_path / "docker.service.d"
    drop_ins.mkdir()
    (drop_ins / "proxy.conf").write_text("[Service]\nEnvironment=X=1\n")
    assert not info.is_started_otherwise(str(tmp_path))
    (drop_ins / "hosts.conf").write_text("[Service]\nExecStart=\nExecStart=/usr/bin/dockerd\n")
    assert info.is_started_otherwise(str(tmp_path))


def test_what_is_in_the_way_goes_on_request_with_what_served_it():
    plugin = {"installed": FINISHED_DOCKER["installed"] | {"docker-buildx-plugin": "0.29"}}
    found = FINISHED_DOCKER | plugin | {"is_source_right": False}
    request = DISTRO | {"replace": True}
    assert info.problems(found, request) == []
    assert info.judge(found, request)["remove"] == ["docker-ce", "containerd.io", "docker-buildx-plugin"]
    assert pending(found, request) == {"missing", "remove", "changes_engine", "preflight", "source"}
    alone = FINISHED | {"installed": FINISHED["installed"] | {"docker-buildx-plugin": "0.29"}}
    assert info.judge(alone, DISTRO)["remove"] == []


def test_a_pin_that_is_kept_is_held_and_one_that_is_not_is_tried():
    assert pending(FINISHED_DOCKER, DOCKER | {"version": "28.5"}) == {"hold"}
    assert pending(HELD, DOCKER | {"version": "28.5"}) == set()
    assert pending(HELD, DOCKER | {"version": "28.4"}) == {"preflight", "changes_engine"}
    # Somebody else's hold stays, ours goes with the pin.
    assert info.judge(HELD, DOCKER)["release"] == []
    assert info.judge(HELD | {"holds": ["docker-ce"]}, DOCKER)["release"] == ["docker-ce"]


@pytest.mark.parametrize("change", [{"is_source_right": False}, {"entries": ["/etc/apt/sources.list.d/docker.list"]}])
def test_a_source_that_is_not_as_it_must_be_is_tried_again(change):
    assert pending(FINISHED_DOCKER | change, DOCKER) == {"source", "preflight"}


def test_without_systemd_the_init_scripts_settings_read_the_proxies():
    sysv = FINISHED | {"is_systemd": False}
    assert pending(sysv, DISTRO) == set()
    assert pending(sysv, DISTRO | PROXIED) == {"block"}
    assert pending(sysv | {"has_block": True}, DISTRO | PROXIED) == set()
    assert pending(sysv | {"has_block": True}, DISTRO) == {"block"}
    assert pending(FINISHED, DISTRO | PROXIED) == set()


# Files ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def owned(monkeypatch):
    """Let files of whoever runs the tests count as root's."""
    true = os.lstat

    def lstat(path):
        facts = true(path)
        return os.stat_result((facts.st_mode, *facts[1:4], 0, 0, *facts[6:10]))

    monkeypatch.setattr(os, "lstat", lstat)


@pytest.mark.parametrize(
    ("mode", "content", "is_right"), [(0o600, "text", True), (0o644, "text", False), (0o600, "other", False)]
)
def test_a_file_is_right_with_its_mode_and_content(tmp_path, owned, mode, content, is_right):
    file = tmp_path / 'a"b\\c'
    file.write_text(content)
    file.chmod(mode)
    assert info.is_right(str(file), "0600", "text") is is_right
    assert not info.is_right(str(file), "0600", "")


def test_a_file_that_is_not_there_is_right_where_nothing_must_be(tmp_path):
    assert info.is_right(str(tmp_path / "none"), "0600", "")
    assert not info.is_right(str(tmp_path / "none"), "0600", "text")


def test_a_link_is_no_file(tmp_path, owned):
    (tmp_path / "file").write_text("text")
    (tmp_path / "file").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert not info.is_right(str(tmp_path / "link"), "0600", "text")


# Users -----------------------------------------------------------------------------------------------------


def test_users_are_found_by_name_with_their_groups():
    assert info.is_member("root", info.group_id("root")) is True
    assert info.is_member("root", info.group_id("no-group-of-that-name")) is False
    assert info.is_member("nobody-of-that-name", 0) is None

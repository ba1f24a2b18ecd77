# SPDX-License-Identifier: MIT
"""The role docker_engine's filters and its program for apt: what a host lacks, what is refused, what goes."""

from __future__ import annotations

import hashlib

import pytest
from conftest import load_module

from ansible_collections.wharf.registry.plugins.plugin_utils import engine_state as states
from ansible_collections.wharf.registry.plugins.plugin_utils.engine_problems import (
    docker_engine_problems as problems_of,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.engine_proxies import (
    docker_engine_proxy_text as proxy_text,
)

packages = load_module("roles/docker_engine/files/packages.py")

# What the look has found ----------------------------------------------------------------------------------------------

FILES = {"source": "/s", "key": "/k", "proxies": "/p", "drop_in": "/d"}
NO_TEXTS = {"source": "", "proxies": "", "drop_in": ""}
DISTRO = {
    "source": "distro",
    "version": "",
    "replace": False,
    "engine": ["docker.io"],
    "parts": [],
    "conflicts": ["docker-ce", "containerd.io"],
    "leftovers": ["docker-buildx-plugin"],
    "packages": ["docker.io", "pigz"],
    "users": ["alice"],
    "files": FILES,
    "texts": NO_TEXTS,
    "systemd": True,
}
DOCKER = DISTRO | {
    "source": "docker_ce",
    "engine": ["docker-ce", "docker-ce-cli"],
    "parts": ["containerd.io"],
    "conflicts": ["docker.io"],
    "leftovers": [],
    "packages": ["docker-ce", "docker-ce-cli", "containerd.io", "pigz"],
    "texts": NO_TEXTS | {"source": "the source"},
}
NONE = DISTRO | {"source": "none", "engine": [], "conflicts": [], "leftovers": [], "packages": []}
RUNS = [
    "user alice alice docker",
    "running boot 7 99",
    "unit ActiveState active",
    "unit UnitFileState enabled",
    "group",
]
FINISHED = [
    "package docker.io installed 26.1.5+dfsg1-9+b9 install",
    "package pigz installed 2.8-1 install",
    "engine /usr/sbin/dockerd docker.io",
    *RUNS,
]


def seen(path: str, text: str, mode: str = "644") -> str:
    """Return the look's line about a file."""
    return f"file {path} 0:0:{mode} {hashlib.sha256(text.encode()).hexdigest()}"


FINISHED_DOCKER = [
    "package docker-ce installed 5:28.5.2-1~debian.13~trixie install",
    "package docker-ce-cli installed 5:28.5.2-1~debian.13~trixie install",
    "package containerd.io installed 1.7.29-1 install",
    "package pigz installed 2.8-1 install",
    "engine /usr/bin/dockerd docker-ce",
    seen("/s", "the source"),
    seen("/k", "the key"),
    *RUNS,
]


def state_of(lines: list[str], wanted: dict) -> dict:
    """Return the state, and make sure of what holds for each."""
    state = states.docker_engine_state(lines, wanted)
    assert state["running"] or not state["managed"]
    assert state["due"] == bool(due(state) - {"outsiders", "owed"})
    return state


def test_a_broken_file_is_refused_before_the_packages_come() -> None:
    state = state_of(["user alice alice", "broken Expecting value: line 2 column 9 (char 10)"], DISTRO)
    assert state["problems"] == [
        "/etc/docker/daemon.json cannot be read: Expecting value: line 2 column 9 (char 10). Mend it, or remove it."
    ]


def due(state: dict) -> set[str]:
    """Return the names of what is due."""
    names = ("missing", "remove", "preflight", "source_due", "hold", "release", "proxies_due", "outsiders", "owed")
    return {name for name in names if state[name]}


@pytest.mark.parametrize(("lines", "wanted"), [(FINISHED, DISTRO), (FINISHED_DOCKER, DOCKER)])
def test_nothing_is_due_on_a_finished_host(lines, wanted):
    state = state_of(lines, wanted)
    assert due(state) == set()
    assert state["problems"] == []
    assert (state["running"], state["managed"], state["enabled"]) == (True, True, True)


def test_everything_is_due_on_a_bare_host():
    lines = ["user alice alice", "unit ActiveState inactive", "unit UnitFileState"]
    state = state_of(lines, DISTRO | {"users": ["alice", "alice"]})
    assert (state["missing"], state["outsiders"]) == (["docker.io", "pigz"], ["alice"])
    assert (state["running"], state["managed"], state["enabled"]) == (False, False, False)
    # What the distribution offers need not be tried.
    assert due(state) == {"missing", "outsiders"}
    assert due(state_of(lines, DOCKER)) == {"missing", "outsiders", "preflight", "source_due"}


def test_a_package_that_was_removed_is_missing():
    lines = ["package docker.io config-files 26.1.5 deinstall", *RUNS]
    assert state_of(lines, DISTRO)["missing"] == ["docker.io", "pigz"]


def test_an_engine_that_nobody_manages_runs_all_the_same():
    state = state_of(["user alice alice docker", "running boot 7 99"], DISTRO)
    assert (state["running"], state["managed"]) == (True, False)


@pytest.mark.parametrize(
    ("lines", "wanted", "words"),
    [
        (FINISHED_DOCKER, DISTRO, "docker-ce, containerd.io are installed here, and docker.io would replace them"),
        (FINISHED, DOCKER, "docker.io is installed here, and docker-ce would replace it"),
        ([*RUNS, "engine /usr/local/bin/dockerd"], DISTRO, "dockerd is here already, from no package"),
        (RUNS, NONE, "no engine (dockerd) is on this host"),
        ([line for line in FINISHED if line != "group"], NONE, "the group docker does not exist"),
        ([*FINISHED, "option proxies"], DISTRO | {"texts": NO_TEXTS | {"proxies": "x"}}, "daemon.json holds proxies"),
        (FINISHED, DISTRO | {"users": ["alice", "bob"]}, "bob"),
    ],
)
def test_what_makes_a_host_unfit_is_named(lines, wanted, words):
    problems = state_of(lines, wanted)["problems"]
    assert len(problems) == 1
    assert words in problems[0]


def test_what_is_in_the_way_goes_when_it_was_asked_for_with_what_served_it():
    lines = [*FINISHED_DOCKER, "package docker-buildx-plugin installed 0.29 install"]
    state = state_of(lines, DISTRO | {"replace": True})
    assert state["problems"] == []
    assert state["remove"] == ["docker-ce", "containerd.io", "docker-buildx-plugin"]
    assert due(state) == {"missing", "remove", "preflight", "source_due"}
    assert state_of([*FINISHED, lines[-1]], DISTRO)["remove"] == []


def test_none_leaves_the_packages_alone():
    assert due(state_of(FINISHED, NONE)) == set()


@pytest.mark.parametrize(
    ("version", "pin", "is_right"),
    [
        ("5:28.5.2-1~debian.13~trixie", "28.5.2", True),
        ("5:28.5.2-1~debian.13~trixie", "28.5", True),
        ("26.1.5+dfsg1-9+b9", "26", True),
        ("5:28.5.20-1~debian.13~trixie", "28.5.2", False),
        ("5:29.0.0~rc.1-1~debian.13~trixie", "29.0.0", False),
        ("5:29.0.0~rc.1-1~debian.13~trixie", "29.0.0~rc.1", True),
        ("", "26", False),
    ],
)
def test_a_pin_is_a_version_or_its_beginning(version, pin, is_right):
    assert states.matches(version, pin) == packages.matches(version, pin) == is_right


def test_a_pin_that_is_kept_is_held_and_one_that_is_not_is_tried():
    assert due(state_of(FINISHED_DOCKER, DOCKER | {"version": "28.5"})) == {"hold"}
    held = [line.replace("trixie install", "trixie hold") for line in FINISHED_DOCKER]
    assert due(state_of(held, DOCKER | {"version": "28.5"})) == set()
    assert due(state_of(held, DOCKER | {"version": "28.4"})) == {"preflight"}
    # Somebody else's hold stays, ours goes with the pin.
    assert state_of(held, DOCKER)["release"] == []
    assert state_of([*held, "hold docker-ce"], DOCKER)["release"] == ["docker-ce"]


@pytest.mark.parametrize(
    "change", [seen("/s", "another source"), seen("/s", "the source", "600"), "entry /etc/apt/sources.list"]
)
def test_a_source_that_is_not_as_it_must_be_is_tried_again(change):
    lines = [line for line in FINISHED_DOCKER if not change.startswith("file") or not line.startswith("file /s")]
    assert due(state_of([*lines, change], DOCKER)) == {"source_due", "preflight"}


def test_proxies_are_in_a_file_for_root_and_handed_over():
    wanted = DISTRO | {"texts": NO_TEXTS | {"proxies": "p", "drop_in": "d"}}
    right = [*FINISHED, seen("/p", "p", "600"), seen("/d", "d")]
    assert due(state_of(FINISHED, wanted)) == {"proxies_due"}
    assert due(state_of(right, wanted)) == set()
    assert due(state_of([*FINISHED, seen("/p", "p", "644"), seen("/d", "d")], wanted)) == {"proxies_due"}
    assert due(state_of(right, DISTRO)) == {"proxies_due"}
    # Without systemd it is a block in a file of the init script.
    sysv = {"systemd": False, "texts": NO_TEXTS | {"proxies": "p"}}
    assert due(state_of([*FINISHED, seen("/p", "p", "600")], DISTRO | sysv)) == {"proxies_due"}
    assert due(state_of([*FINISHED, seen("/p", "p", "600"), "hook"], DISTRO | sysv)) == set()


def test_a_restart_that_is_owed_is_remembered():
    assert state_of([*FINISHED, "owed proxies"], DISTRO)["owed"] == ["proxies"]
    assert state_of(FINISHED, DISTRO)["identity"] == "boot 7 99"


# Variables ------------------------------------------------------------------------------------------------------------

GOOD = {
    "docker_engine_source": "docker_ce",
    "docker_engine_version": "28.5",
    "docker_engine_channel": "test",
    "docker_engine_repository_url": "https://mirror.example/docker/debian/",
    "docker_engine_repository_key_fingerprint": "9DC8 5822 9FC7 DD38 854A  E2D8 8D81 803C 0EBF CD88",
    "docker_engine_users": ["alice"],
    "docker_engine_options": {"log-opts": {"max-size": "1m"}},
    "docker_engine_log_max_size": "10m",
    "docker_engine_log_max_file": 3,
    "docker_engine_http_proxy": "http://user:p%40ss@proxy.example:3128",
    "docker_engine_https_proxy": "socks5://10.0.0.1:1080/",
    "docker_engine_no_proxy": [".example.com", "10.0.0.0/8", "::1", "host:5000"],
    "docker_engine_no_proxy_extra": ["registry.example"],
    "docker_engine_restart_throttle": 0,
}


def test_good_variables_have_no_problems():
    assert problems_of(GOOD) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"docker_engine_source": "snap"}, "docker_engine_source is 'snap'. It must be one of distro, docker_ce, none"),
        ({"docker_engine_version": "5:28.5.2-1~debian.13~trixie"}, "without an epoch"),
        ({"docker_engine_version": 28.10}, "Write it in quotes"),
        ({"docker_engine_source": "none"}, "docker_engine_source is none, which installs no engine"),
        ({"docker_engine_channel": "nightly"}, "docker_engine_channel is 'nightly'. It must be one of stable, test"),
        ({"docker_engine_repository_url": "mirror.example/debian"}, "docker_engine_repository_url"),
        ({"docker_engine_repository_url": "https://u:secret@mirror.example/debian"}, "/etc/apt/auth.conf.d"),
        ({"docker_engine_repository_key_fingerprint": "0EBFCD88"}, "the whole fingerprint"),
        ({"docker_engine_users": ["a b"]}, "docker_engine_users"),
        ({"docker_engine_users": [""]}, "docker_engine_users"),
        ({"docker_engine_users": ["$(reboot)"]}, "docker_engine_users"),
        ({"docker_engine_options": {"hosts": ["tcp://0.0.0.0"]}}, "hosts"),
        ({"docker_engine_options": {"log-opts": {"max-file": 3}}}, "log-opts.max-file"),
        ({"docker_engine_options": {"proxies": {"http-proxy": "http://a"}}}, "docker_engine_options holds proxies"),
        ({"docker_engine_log_max_size": "10 MB"}, "docker_engine_log_max_size"),
        ({"docker_engine_log_max_size": "0m"}, "docker_engine_log_max_size"),
        ({"docker_engine_log_max_size": 10}, "docker_engine_log_max_size"),
        ({"docker_engine_log_max_file": 0}, "docker_engine_log_max_file"),
        ({"docker_engine_http_proxy": "user:secret@proxy.example:3128"}, "docker_engine_http_proxy has no scheme"),
        ({"docker_engine_https_proxy": "ftp://user:secret@proxy.example"}, "docker_engine_https_proxy is not an"),
        ({"docker_engine_https_proxy": "http://user:sec'ret@proxy.example"}, "A quote"),
        ({"docker_engine_no_proxy": ["a,b"]}, "docker_engine_no_proxy holds 'a,b'"),
        ({"docker_engine_no_proxy": ["https://a"]}, "docker_engine_no_proxy holds 'https://a'"),
        ({"docker_engine_restart_throttle": -1}, "docker_engine_restart_throttle is -1"),
    ],
)
def test_each_wrong_variable_is_named_without_a_password(change, words):
    problems = problems_of({**GOOD, **change})
    assert len(problems) == 1
    assert words in problems[0]
    assert "sec" not in problems[0]


# Proxies --------------------------------------------------------------------------------------------------------------


def test_the_registry_and_the_host_itself_are_always_direct():
    text = proxy_text({"HTTP_PROXY": "", "HTTPS_PROXY": "http://u:p@a:1"}, ["registry.example", "b", "localhost"])
    assert text.splitlines()[1:] == [
        "HTTPS_PROXY='http://u:p@a:1'",
        "NO_PROXY='localhost,127.0.0.0/8,::1,registry.example,b'",
    ]


def test_without_a_proxy_there_is_no_file():
    assert proxy_text({"HTTP_PROXY": "", "HTTPS_PROXY": ""}, ["registry.example"]) == ""


# Sources of others ----------------------------------------------------------------------------------------------------

UNWANTED = {"download.docker.com/linux/debian", "mirror.example/docker"}


def test_only_docker_s_lines_leave_a_list():
    text = (
        "# deb https://download.docker.com/linux/debian bookworm stable\n"
        "deb http://mirror.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k/docker.gpg] https://download.docker.com/linux/debian/ bookworm stable\n"
        "deb-src http://mirror.example/docker bookworm stable\n"
        "deb [signed-by=/k/other.gpg] https://mirror.example/docker-other bookworm stable\n"
    )
    left, gone, other = packages.split_list(text, UNWANTED)
    assert left.splitlines() == [text.splitlines()[number] for number in (0, 1, 4)]
    assert (gone, other) == ({"/k/docker.gpg"}, {"/k/other.gpg"})


def test_only_docker_s_stanzas_and_addresses_leave_a_file():
    text = (
        "# Ours.\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nSigned-By: /k/debian.gpg\n\n"
        "Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: trixie\nSigned-By: /k/docker.asc\n\n"
        "Types: deb\nURIs: https://a.example\n https://mirror.example/docker/\nSuites: trixie\n"
    )
    left, gone, other = packages.split_deb822(text, UNWANTED)
    assert left.split("\n\n") == [
        text.split("\n\n")[0],
        "Types: deb\nURIs: https://a.example\nSuites: trixie\n",
    ]
    assert (gone, other) == ({"/k/docker.asc"}, {"/k/debian.gpg"})


@pytest.mark.parametrize("split", [packages.split_list, packages.split_deb822])
def test_what_holds_nothing_of_docker_s_stays_as_it_is(split):
    for text in ("", "# nothing\n", "\n\nTypes: deb\nURIs: http://x\n\n\n# end\n", "deb http://x trixie main"):
        assert split(text, UNWANTED)[0] == text

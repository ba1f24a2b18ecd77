"""Which tools are meant, what is pending on a client, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import client_plan as client
from ansible_collections.wharf.registry.plugins.module_utils.client_plan import Containerd, Host, Plan, Wanted

REGISTRY = "reg.test:5000"
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
DOCKER_FILE = f"/etc/docker/certs.d/{REGISTRY}/wharf-ca.crt"
DOCKER_HOSTS = f"/etc/docker/certs.d/{REGISTRY}/hosts.toml"
PODMAN_FILE = f"/etc/containers/certs.d/{REGISTRY}/wharf-ca.crt"
PODMAN_PLAIN = "/etc/containers/registries.conf.d/wharf-reg.test_5000.conf"
NODE_FILE = f"/etc/containerd/certs.d/{REGISTRY}/wharf-ca.crt"
NODE_PLAIN = f"/etc/containerd/certs.d/{REGISTRY}/hosts.toml"
STORE = "/usr/local/share/ca-certificates"
TOML = "version = 2\n"
TABLE = '[plugins."io.containerd.grpc.v1.cri".registry]\n'
BLOCK = f'# BEGIN wharf\n{TABLE}  config_path = "/etc/containerd/certs.d"\n# END wharf\n'


def host(**facts: Any) -> Host:
    """Return a host with nothing but Docker, where a test says nothing else."""
    return Host(**{"tools": ["docker", "containerd"], "programs": ["docker", "update-ca-certificates"], **facts})


def node(text: str | None = TOML, **containerd: Any) -> Host:
    """Return a host with nothing but containerd, and this text in its file."""
    return host(tools=["containerd"], containerd=Containerd(text, **containerd))


def plan(on: Host, **wanted: Any) -> Plan:
    """Return the plan for a host."""
    return client.plan(on, Wanted(**{"name": "reg.test", "ca": CA, **wanted}))


def directory(path: str) -> str:
    """Return the directory of a file."""
    return path.rpartition("/")[0]


# Settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tools", [None, "auto", ["auto"], ["docker"], list(client.TOOLS)])
def test_good_tools_pass(tools: Any) -> None:
    assert client.tools_problems(tools, "v") == []


@pytest.mark.parametrize(
    ("tools", "line"),
    [
        ("docker", "v: 'docker' is not a list: use auto, or a list out of docker, podman, buildah, skopeo, containerd"),
        (5, "v: '5' is not a list"),
        ({"docker": True}, "v: a dict is not a list"),
        ([], "v: is an empty list"),
        (["docker", "nerdctl"], "v: 'nerdctl' is unknown: use auto, or a list out of docker"),
        (["auto", "docker"], "v: 'auto' is unknown"),
    ],
)
def test_bad_tools_are_named(tools: Any, line: str) -> None:
    problems = client.tools_problems(tools, "v")
    assert len(problems) == 1
    assert problems[0].startswith(line)


@pytest.mark.parametrize(
    ("value", "trust", "line"),
    [
        (None, "insecure", ""),
        (False, "insecure", ""),
        (True, "ca", ""),
        (True, "insecure", "v: is true, but t is insecure"),
    ],
)
def test_system_store_needs_a_ca(value: Any, trust: str, line: str) -> None:
    problems = client.system_store_problems(value, "v", "t", trust)
    assert "".join(problems).startswith(line)
    assert bool(problems) == bool(line)


@pytest.mark.parametrize(
    ("wanted", "check", "line"),
    [
        ({"ca": CA}, False, ""),
        ({"ca": ""}, False, "registry_client_ca: holds no PEM certificate"),
        ({"ca": "no PEM"}, True, "registry_client_ca: holds no PEM certificate"),
        ({"ca": ""}, True, ""),  # may still be to be issued
        ({"ca": "", "state": "absent"}, False, ""),
        ({"ca": "", "trust": "insecure"}, False, ""),
        ({"trust": "insecure", "users": ["root"]}, False, "registry_client_logins: a registry that is trusted as inse"),
        ({"trust": "insecure", "system_store": True}, False, "registry_client_system_store: is true, but registry_cl"),
        ({"ca": CA, "tools": []}, False, "registry_client_tools: is an empty list"),
        (
            {"ca": CA, "previous": ["old.test:5000", "old"]},
            False,
            "registry_client_previous_names: 'old' is not",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_named(wanted: dict, check: bool, line: str) -> None:
    problems = client.setting_problems(Wanted("reg.test", **wanted), check)
    assert len(problems) == bool(line)
    assert "".join(problems).startswith(line)


# The plan -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "tools", "files", "logins"),
    [
        ("docker containerd", ["auto"], [DOCKER_FILE], ["docker"]),
        ("", ["auto"], [DOCKER_FILE], ["docker"]),
        ("podman skopeo", ["auto"], [PODMAN_FILE], ["containers"]),
        ("docker buildah containerd", ["auto"], [DOCKER_FILE, PODMAN_FILE], ["docker", "containers"]),
        ("containerd", ["auto"], [NODE_FILE], []),
        ("docker containerd", ["containerd", "skopeo"], [PODMAN_FILE, NODE_FILE], ["containers"]),
    ],
)
def test_tools_are_those_that_are_found_or_named(found: str, tools: list, files: list[str], logins: list[str]) -> None:
    pending = plan(host(tools=found.split(), containerd=Containerd(TOML)), tools=tools)
    assert list(pending.write) == files
    assert pending.login_tools == logins
    assert pending.directories == sorted(map(directory, files))


def test_nothing_is_pending_where_all_is_there() -> None:
    there = {"directories": [directory(DOCKER_FILE)]}
    assert not plan(host(files={DOCKER_FILE: CA}, **there)).changes
    assert plan(host(files={DOCKER_FILE: "other"}, **there)).changes
    assert plan(host(files={DOCKER_FILE: None}, **there)).changes  # another owner or mode


def test_files_of_a_tool_that_is_no_longer_named_go_with_their_directories() -> None:
    pending = plan(host(files={DOCKER_FILE: CA, PODMAN_FILE: CA}), tools=["docker"])
    assert pending.remove == [PODMAN_FILE]
    assert pending.rmdir == [directory(PODMAN_FILE), "/etc/containers/certs.d"]


def test_each_tool_learns_of_plain_http_and_the_ca_goes() -> None:
    files = dict.fromkeys([DOCKER_FILE, PODMAN_FILE, NODE_FILE], CA)
    there = host(tools=["docker", "podman", "containerd"], files=files, containerd=Containerd(TOML))
    pending = plan(there, trust="insecure", tools=["docker", "podman", "containerd"])
    assert list(pending.write) == [PODMAN_PLAIN, NODE_PLAIN]
    assert pending.engine == {REGISTRY: {"insecure-registries": [REGISTRY]}}
    assert pending.remove == [DOCKER_FILE, PODMAN_FILE, NODE_FILE]
    # containerd's directory stays: its other file is there.
    assert directory(NODE_FILE) not in pending.rmdir
    assert "/etc/containers/registries.conf.d" not in pending.rmdir


def test_absent_removes_what_is_ours_and_asks_for_nothing() -> None:
    there = host(
        files={DOCKER_FILE: CA, NODE_PLAIN: ""},
        foreign=[NODE_PLAIN],
        engine_entries=[REGISTRY],
        missing_users=["x"],
    )
    pending = plan(there, state="absent", users=["x"])
    assert pending.remove == [DOCKER_FILE]
    assert pending.engine == {REGISTRY: {}}
    assert pending.problems == pending.gaps == []
    assert not plan(host(), state="absent").changes
    assert plan(host(), state="absent").engine == {}


def test_previous_names_lose_all_and_the_present_one_gets_all() -> None:
    old = "/etc/docker/certs.d/old.test:5000/wharf-ca.crt"
    there = host(
        files={old: CA},
        engine_entries=["old.test:5000"],
        hosts="# BEGIN wharf old.test\n192.0.2.1 old.test\n# END wharf old.test\n",
    )
    pending = plan(there, previous=["old.test:5000"], address="192.0.2.2")
    assert pending.remove == [old]
    assert list(pending.write) == [DOCKER_FILE]
    assert pending.rmdir == [directory(old), "/etc/docker/certs.d"]
    assert pending.engine == {"old.test:5000": {}}
    assert pending.hosts == "# BEGIN wharf reg.test\n192.0.2.2 reg.test\n# END wharf reg.test\n"


@pytest.mark.parametrize(
    ("text", "wanted", "new"),
    [
        ("a\n", {}, None),
        ("a\n", {"address": "::1"}, "a\n# BEGIN wharf reg.test\n::1 reg.test\n# END wharf reg.test\n"),
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
            {"address": "::1", "previous": ["reg.test:5001"]},
            None,
        ),
    ],
)
def test_line_in_the_hosts_file(text: str, wanted: dict, new: str | None) -> None:
    assert plan(host(hosts=text), **wanted).hosts == new


def test_system_store_gets_one_certificate_a_file() -> None:
    other = CA.replace("MIIB", "MIIC")
    pending = plan(host(), system_store=True, ca=f"# one\n{CA}\n# two\n{other}")
    assert list(pending.write.items())[1:] == [
        (f"{STORE}/wharf-reg.test_5000_1.crt", CA),
        (f"{STORE}/wharf-reg.test_5000_2.crt", other),
    ]
    assert pending.system_store


def test_system_store_is_updated_after_a_run_that_was_cut_off() -> None:
    path = f"{STORE}/wharf-reg.test_5000_1.crt"
    there = host(files={DOCKER_FILE: CA, path: CA}, directories=[STORE, directory(DOCKER_FILE)])
    assert not plan(there, system_store=True).changes
    assert plan(there).remove == [path]
    assert plan(there).system_store
    there.unlinked = [path]
    assert plan(there, system_store=True).system_store


@pytest.mark.parametrize(
    ("on", "text"),
    [
        (node(), TOML + BLOCK),
        (node("version = 3\n"), '[plugins."io.containerd.cri.v1.images".registry]'),
        (node(None), "# BEGIN wharf\nversion = 2\n[plugins"),
        (node(config_path="/srv"), None),
        (host(tools=[]), None),
    ],
)
def test_containerd_is_told_where_to_look_unless_it_knows(on: Host, text: str | None) -> None:
    new = plan(on, tools=["containerd"]).containerd
    assert (new is None) == (text is None)
    assert (text or "") in (new or "")


def test_containerds_own_directory_is_used() -> None:
    pending = plan(node(config_path="/srv"), tools=["containerd"])
    assert list(pending.write) == [f"/srv/{REGISTRY}/wharf-ca.crt"]


@pytest.mark.parametrize(("others", "text"), [(False, TOML), (True, None)])
def test_containerds_block_stays_while_another_registry_needs_it(others: bool, text: str | None) -> None:
    there = node(TOML + BLOCK, config_path="/etc/containerd/certs.d", others=others)
    assert plan(there, state="absent").containerd == text


@pytest.mark.parametrize(
    ("on", "wanted", "line"),
    [
        (node(), {}, ""),
        (host(tools=["containerd"], foreign=[NODE_PLAIN]), {}, f"registry_client_tools: {NODE_PLAIN} is not Wharf's, "),
        (node(broken=True), {}, "/etc/containerd/config.toml: containerd cannot read it"),
        (node(old_tables=True), {}, "/etc/containerd/config.toml: has registry.mirrors"),
        (node(TOML + TABLE), {}, "/etc/containerd/config.toml: has the CRI plugin's table registry"),
        (node("# old\n"), {}, "/etc/containerd/config.toml: is of version 1"),
        (
            host(foreign=[DOCKER_HOSTS], containerd_store=True),
            {},
            f"registry_client_tools: {DOCKER_HOSTS} is not Wharf's, and an engine",
        ),
        (host(programs=["docker"]), {"system_store": True}, "registry_client_system_store: there is no update-ca-cert"),
        (host(missing_users=["x"]), {"users": ["x"]}, "registry_client_logins: there is no system user 'x'"),
        # The classic image store does not read it.
        (host(foreign=[DOCKER_HOSTS]), {}, ""),
        # Nobody logs in with containerd.
        (host(tools=["containerd"], missing_users=["x"]), {"users": ["x"]}, ""),
        # Another's table with a directory in it.
        (node(TOML + TABLE, config_path="/srv"), {}, ""),
        # Not there yet, so not asked.
        (host(tools=[]), {"tools": ["containerd"]}, ""),
        # In the way of a previous name only, which loses all anyway.
        (node(), {"previous": ["old.test:5000"]}, ""),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_else(on: Host, wanted: dict, line: str) -> None:
    problems = plan(on, **wanted).problems
    assert len(problems) == bool(line)
    assert "".join(problems).startswith(line)


def test_login_needs_a_program() -> None:
    bare = host(tools=["containerd"], programs=[])
    gaps = plan(bare, tools=["docker", "podman", "skopeo"], users=["root"]).gaps
    assert [gap.partition(": ")[2][:30] for gap in gaps] == [
        "a login with docker needs the ",
        "a login with podman needs podm",
    ]
    assert plan(bare, tools=["docker"]).gaps == []

"""The role registry_client's Python: which tools are meant, what is due on a host, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import auth_files as login
from ansible_collections.wharf.registry.plugins.plugin_utils import client_plan as client

REGISTRY = "reg.test:5000"
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
DOCKER_FILE = f"/etc/docker/certs.d/{REGISTRY}/wharf-ca.crt"
PODMAN_FILE = f"/etc/containers/certs.d/{REGISTRY}/wharf-ca.crt"
PODMAN_PLAIN = "/etc/containers/registries.conf.d/wharf-reg.test_5000.conf"
NODE_FILE = f"/etc/containerd/certs.d/{REGISTRY}/wharf-ca.crt"
NODE_PLAIN = f"/etc/containerd/certs.d/{REGISTRY}/hosts.toml"
STORE = "/usr/local/share/ca-certificates"
TOML = {"containerd_file": "1", "containerd_version": "2"}


def plan(look: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    """Return the plan for what was seen; nothing but Docker, where a test says nothing else."""
    settings = {"state": "present", "trust": "ca", "ca": CA, "tools": "auto", "system_store": False, "users": []}
    seen = {"found": "docker containerd", "programs": "docker update-ca-certificates", **look}
    return client.registry_client_plan(seen, settings | {"registry": REGISTRY} | wanted)


def written(plan: dict[str, Any]) -> list[str]:
    """Return the paths that a plan writes."""
    return [item["path"] for item in plan["write"]]


def there(*paths: str, content: str = CA) -> dict[str, str]:
    """Return what the look says of files with this content."""
    return {path: "0:0:644 " + hashlib.sha256(content.encode()).hexdigest() for path in paths}


# Settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tools", [None, "auto", ["docker"], list(client.TOOLS)])
def test_good_tools_pass(tools: Any) -> None:
    assert client.registry_client_tools_problems(tools, "v") == []


@pytest.mark.parametrize(
    ("tools", "line"),
    [
        ("docker", "v: 'docker' is not a list: use auto, or a list out of docker, podman, buildah, skopeo, containerd"),
        (5, "v: '5' is not a list"),
        ({"docker": True}, "v: a dict is not a list"),
        ([], "v: is an empty list"),
        (["docker", "nerdctl"], "v: 'nerdctl' is unknown: use auto, or a list out of docker"),
        (["auto"], "v: 'auto' is unknown"),
    ],
)
def test_bad_tools_are_named(tools: Any, line: str) -> None:
    problems = client.registry_client_tools_problems(tools, "v")
    assert len(problems) == 1
    assert problems[0].startswith(line)


@pytest.mark.parametrize(
    ("value", "trust", "line"),
    [
        (None, "insecure", ""),
        (False, "insecure", ""),
        (True, "ca", ""),
        (True, "insecure", "v: is true, but t is insecure"),
        ("yes", "ca", "v: 'yes' is not a boolean"),
    ],
)
def test_system_store_is_judged(value: Any, trust: str, line: str) -> None:
    problems = client.registry_client_system_store_problems(value, "v", "t", trust)
    assert "".join(problems).startswith(line)
    assert bool(problems) == bool(line)


# The plan -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "tools", "files", "logins"),
    [
        ("docker containerd", "auto", [DOCKER_FILE], ["docker"]),
        ("", "auto", [DOCKER_FILE], ["docker"]),
        ("podman skopeo", "auto", [PODMAN_FILE], ["containers"]),
        ("docker buildah containerd", "auto", [DOCKER_FILE, PODMAN_FILE], ["docker", "containers"]),
        ("containerd", "auto", [NODE_FILE], []),
        ("docker containerd", ["containerd", "skopeo"], [PODMAN_FILE, NODE_FILE], ["containers"]),
    ],
)
def test_tools_are_what_is_found_or_what_is_said(found: str, tools: Any, files: list[str], logins: list[str]) -> None:
    due = plan({"found": found, **TOML}, tools=tools)
    assert written(due) == files
    assert due["logins"] == logins
    assert due["directories"] == sorted(path.rpartition("/")[0] for path in files)


def test_nothing_is_due_where_all_is_there() -> None:
    directory = DOCKER_FILE.rpartition("/")[0]
    due = plan({"files": there(DOCKER_FILE), "directories": directory})
    assert not due["due"]
    assert plan({"files": there(DOCKER_FILE, content="other"), "directories": directory})["due"]
    assert plan({"files": {DOCKER_FILE: there(DOCKER_FILE)[DOCKER_FILE].replace("644", "600")}})["due"]


def test_files_of_a_tool_that_is_not_meant_any_more_go_with_their_directories() -> None:
    due = plan({"files": there(DOCKER_FILE, PODMAN_FILE)}, tools=["docker"])
    assert due["remove"] == [PODMAN_FILE]
    assert due["empty"] == [PODMAN_FILE.rpartition("/")[0], "/etc/containers/certs.d"]


def test_plain_http_is_said_to_each_tool_and_takes_the_ca_away() -> None:
    look = {"found": "docker podman containerd", "files": there(DOCKER_FILE, PODMAN_FILE, NODE_FILE), **TOML}
    due = plan(look, trust="insecure", tools=["docker", "podman", "containerd"])
    assert written(due) == [PODMAN_PLAIN, NODE_PLAIN]
    assert due["engine"] and due["engine_options"] == {"insecure-registries": [REGISTRY]}
    assert due["remove"] == [DOCKER_FILE, PODMAN_FILE, NODE_FILE]
    # containerd's directory stays: its other file is there.
    assert NODE_FILE.rpartition("/")[0] not in due["empty"]
    assert "/etc/containers/registries.conf.d" not in due["empty"]


def test_absent_removes_what_is_ours_and_asks_for_nothing() -> None:
    look = {"files": there(DOCKER_FILE, NODE_PLAIN), "foreign": NODE_PLAIN, "daemon_keys": "1", "users": {"x": False}}
    due = plan(look, state="absent", users=["x"])
    assert due["remove"] == [DOCKER_FILE]
    assert due["engine"] and due["engine_options"] == {}
    assert due["problems"] == due["gaps"] == []
    assert not plan({}, state="absent")["due"]


def test_system_store_gets_one_certificate_a_file() -> None:
    other = CA.replace("MIIB", "MIIC")
    due = plan({}, system_store=True, ca=f"# one\n{CA}\n# two\n{other}")
    assert due["write"][1:] == [
        {"path": f"{STORE}/wharf-reg.test_5000_1.crt", "content": CA},
        {"path": f"{STORE}/wharf-reg.test_5000_2.crt", "content": other},
    ]
    assert due["system_store"]


def test_system_store_is_brought_up_to_date_after_a_run_that_broke_off() -> None:
    path = f"{STORE}/wharf-reg.test_5000_1.crt"
    directories = f"{STORE} {DOCKER_FILE.rpartition('/')[0]}"
    look = {"files": there(DOCKER_FILE, path), "directories": directories}
    assert not plan(look, system_store=True)["due"]
    assert plan(look | {"unlinked": path}, system_store=True)["system_store"]
    assert plan(look)["remove"] == [path]
    assert plan(look)["system_store"]


NODE = {"found": "containerd", **TOML}


@pytest.mark.parametrize(
    ("look", "due", "block"),
    [
        (NODE, True, '[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"'),
        (NODE | {"containerd_version": "3"}, True, '[plugins."io.containerd.cri.v1.images".registry]'),
        ({"found": "containerd"}, True, "version = 2\n[plugins"),
        (NODE | {"containerd_path": "/srv"}, False, ""),
        ({"found": ""}, False, ""),
    ],
)
def test_containerd_is_told_where_to_look_unless_it_knows(look: dict, due: bool, block: str) -> None:
    containerd = plan(look, tools=["containerd"])["containerd"]
    assert containerd["due"] == due
    assert containerd["block"].startswith(block)


def test_containerds_own_directory_is_used() -> None:
    assert written(plan(NODE | {"containerd_path": "/srv"}, tools=["containerd"])) == [f"/srv/{REGISTRY}/wharf-ca.crt"]


@pytest.mark.parametrize(("others", "due"), [("0", True), ("1", False)])
def test_containerds_block_stays_while_another_registry_needs_it(others: str, due: bool) -> None:
    look = NODE | {"containerd_block": "1", "containerd_path": "/etc/containerd/certs.d", "containerd_others": others}
    assert plan(look, state="absent")["containerd"] == {
        "due": due,
        "state": "absent",
        "block": '[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"',
    }


@pytest.mark.parametrize(
    ("look", "wanted", "line"),
    [
        (NODE | {"foreign": NODE_PLAIN}, {}, f"registry_client_tools: {NODE_PLAIN} is not Wharf's, and containerd r"),
        (NODE | {"containerd_broken": "1"}, {}, "/etc/containerd/config.toml: containerd cannot read it"),
        (NODE | {"containerd_mirrors": "2"}, {}, "/etc/containerd/config.toml: has registry.mirrors"),
        (NODE | {"containerd_table": "1"}, {}, "/etc/containerd/config.toml: has the CRI plugin's table registry"),
        (NODE | {"containerd_version": ""}, {}, "/etc/containerd/config.toml: is of version 1"),
        (
            {"foreign": f"/etc/docker/certs.d/{REGISTRY}/hosts.toml", "docker_store": "io.containerd"},
            {},
            f"registry_client_tools: /etc/docker/certs.d/{REGISTRY}/hosts.toml is not Wharf's, and an engine",
        ),
        ({"programs": "docker"}, {"system_store": True}, "registry_client_system_store: there is no update-ca-cert"),
        ({"users": {"x": False}}, {"users": ["x"]}, "registry_client_logins: there is no system user 'x'"),
    ],
)
def test_what_cannot_work_is_named(look: dict, wanted: dict, line: str) -> None:
    problems = plan(look, **wanted)["problems"]
    assert len(problems) == 1
    assert problems[0].startswith(line)


@pytest.mark.parametrize(
    ("look", "wanted"),
    [
        # The classic image store does not read it.
        ({"foreign": f"/etc/docker/certs.d/{REGISTRY}/hosts.toml", "docker_store": ""}, {}),
        # Nobody logs in with containerd.
        (NODE | {"users": {"x": False}}, {"users": ["x"]}),
        # Another's table with a directory in it.
        (NODE | {"containerd_table": "1", "containerd_path": "/srv"}, {}),
        # Not there yet, so not asked.
        ({"found": ""}, {"tools": ["containerd"]}),
    ],
)
def test_what_can_work_is_not_refused(look: dict, wanted: dict) -> None:
    assert plan(look, **wanted)["problems"] == []


def test_login_needs_a_program() -> None:
    look = {"found": "containerd", "programs": ""}
    gaps = plan(look, tools=["docker", "podman", "skopeo"], users=["root"])["gaps"]
    assert [gap.partition(": ")[2][:30] for gap in gaps] == [
        "a login with docker needs the ",
        "a login with podman needs podm",
    ]
    assert plan(look, tools=["docker"])["gaps"] == []


# The login ----------------------------------------------------------------------------------------


def entry(text: str) -> dict[str, str]:
    """Return an auth file's entry."""
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("document", "known"),
    [
        ({}, None),
        ({"auths": None}, None),
        ({"auths": {REGISTRY: {}}}, None),
        ({"auths": {REGISTRY: {"auth": "!"}}}, None),
        ({"auths": {"other.test": entry("a:b")}}, None),
        ({"auths": {REGISTRY: entry("ci:pass:word")}}, ("ci", "pass:word")),
    ],
)
def test_auth_file_is_read(document: dict, known: Any) -> None:
    assert login.in_file(document, REGISTRY) == known


@pytest.mark.parametrize("content", ["", "[]", "{", "\udcff"])
def test_file_that_is_no_auth_file_holds_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "auth.json").write_text(content, errors="surrogateescape")
    assert login.read_json(str(tmp_path / "auth.json")) == {}


def test_helpers_that_the_user_has_set_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "SETTINGS", str(tmp_path / "etc"))
    docker, containers = login.Docker(str(tmp_path), REGISTRY), login.Containers(str(tmp_path), REGISTRY)
    assert docker.helpers() == containers.helpers() == []
    for place in (docker, containers):
        Path(place.path).parent.mkdir(parents=True)
    Path(docker.path).write_text(json.dumps({"credsStore": "all", "credHelpers": {REGISTRY: "one"}}))
    assert docker.helpers() == ["one"]
    Path(docker.path).write_text(json.dumps({"credsStore": "all"}))
    assert docker.helpers() == ["all"]
    settings = tmp_path / ".config/containers/registries.conf"
    settings.write_text('# x\ncredential-helpers = [\n  "containers-auth.json", "secretservice"]\n[[registry]]\n')
    assert containers.helpers() == ["secretservice"]
    Path(containers.path).write_text(json.dumps({"credHelpers": {REGISTRY: "one"}}))
    assert containers.helpers() == ["one"]

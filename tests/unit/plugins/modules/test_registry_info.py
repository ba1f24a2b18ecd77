"""What a registry's server tells, and what on it stands in the registry's way."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ALONE

from ansible_collections.wharf.registry.plugins.module_utils import (
    gateway,
    server_data,
    server_files,
    server_info,
    server_rollback,
)
from ansible_collections.wharf.registry.plugins.module_utils.errors import BusyError
from ansible_collections.wharf.registry.plugins.module_utils.files import Entry
from ansible_collections.wharf.registry.plugins.module_utils.htpasswd import hash_password
from ansible_collections.wharf.registry.plugins.module_utils.parts import container_names
from ansible_collections.wharf.registry.plugins.module_utils.server_container import settings
from ansible_collections.wharf.registry.plugins.modules import registry_info as module

IMAGE = {"Id": "sha256:aa", "RootFS": {"Layers": ["sha256:11", "sha256:22"]}, "Config": {"Entrypoint": ["registry"]}}
STRONG = "kD8-xQ2_vLm4Rt7Zp1Wc"
ENGINE = {"version": "26.1.5", "containerd_image_store": False}


@pytest.fixture(autouse=True)
def _quiet_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with an engine, the image, and nothing else."""
    containers = module.containers
    monkeypatch.setattr(containers, "engine", lambda: ENGINE)
    monkeypatch.setattr(containers, "containers", list)
    monkeypatch.setattr(containers, "container", lambda _name: None)
    monkeypatch.setattr(containers, "image", lambda _reference: IMAGE)
    monkeypatch.setattr(module, "lock", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(module, "port_holder", lambda *_: "")
    monkeypatch.setattr(module.pwd, "getpwuid", {}.__getitem__)
    monkeypatch.setattr(module, "answer", lambda *_: "")
    monkeypatch.setattr(server_files, "SOCKETS", "/nowhere/sockets")
    monkeypatch.setattr(server_files, "SETTINGS", "/nowhere/registry.json")
    monkeypatch.setattr(server_rollback, "SETTINGS", "/nowhere/registry.json")
    monkeypatch.setattr(server_info, "served_certificates", lambda *_: [])
    monkeypatch.setattr(server_data.os, "fchown", lambda *_: None)
    nothing = SimpleNamespace(is_pending=lambda _managed: False, blocked=lambda _managed: [])
    monkeypatch.setattr(module, "Firewall", lambda *_: nothing)
    versions = {"sha256:aa": "2.8.3", "sha256:old": "2.8.2", "sha256:new": "v3.0.0"}
    monkeypatch.setattr(
        containers,
        "docker",
        lambda *arguments, **_: subprocess.CompletedProcess(
            [], 0, f"registry github.com/x {versions[arguments[-2]]}\n"
        ),
    )


@pytest.fixture
def parameters(tmp_path: Path) -> dict[str, Any]:
    """Return the module's parameters."""
    registry = {
        "container": "registry",
        "name": "reg.test",
        "port": 5000,
        "listen": [],
        "tls": False,
        "tls_directory": "/tls",
        "directory": str(tmp_path / "registry"),
        "gateway_directory": str(tmp_path / "gateway"),
        "data": str(tmp_path / "data"),
        "uid": 59500,
        "memory_limit": 0,
        "has_network": False,
        "caches": [],
        "caches_data": "/var/lib/wharf/caches",
        "mirror_port": 0,
        **ALONE,
        "image": "registry:2.8.3",
        "gateway_image": "nginx:1.30.5",
        "config": "version: 0.1\n",
        "gateway_config": "http { }\n",
        "page": True,
        "users": "",
        "bcrypt_cost": 4,
        "settings": "{}\n",
    }
    rest = {
        "image_id": "",
        "image_digest": "",
        "image_layers": [],
        "gateway_image_id": "",
        "gateway_image_digest": "",
        "gateway_image_layers": [],
        "refresh": False,
        "fetched": False,
        "config_keys": [],
    }
    rest |= {"generated_users": [], "password_directory": "/passwords", "proxy": ""}
    rest |= {"image_source": "archive", "manage_firewall": False}
    return {"registry": registry, "allow_downgrade": False, "data_confirm": "", "host": "server", **rest}


def runs(monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], image: str = "sha256:aa", **state: Any) -> None:
    """Let the containers run, as they should be but for the registry's image; `state` is that of the registry."""
    registry = parameters["registry"]
    known = {}
    for part, name in container_names("registry").items():
        made = settings(registry, part, "b", "id-network")
        config = {"Env": None} | {key: value for key, value in made.items() if key not in ("Image", "HostConfig")}
        known[name] = {"Id": f"id-{part}", "Image": image if part == "registry" else "sha256:aa", "Config": config}
        known[name] |= {"HostConfig": made["HostConfig"]}
        known[name]["State"] = {"Running": True, "StartedAt": "2026-11-28T19:35:23Z"}
    known["registry"]["State"] |= state
    served = {server_files.INDEX, server_files.METRICS}
    right, read = Entry(0, registry["uid"], 0o750, None), server_files.read_entry
    monkeypatch.setattr(server_files, "read_entry", lambda path: right if path in served else read(path))
    monkeypatch.setattr(module.containers, "container", known.get)
    directory = Path(registry["gateway_directory"])
    directory.mkdir(exist_ok=True)
    (directory / "upstreams.conf").write_text(gateway.upstreams("b"))


def test_a_bare_host_has_everything_pending(monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]) -> None:
    monkeypatch.setattr(module.containers, "engine", lambda: None)
    info, problems = module.inspect(parameters)
    assert problems == []
    assert (info["image"], info["container"]) == ("", "")
    files = ["data", "data_id", "sockets", "metrics", "index", "directory", "secret", "config", "gateway_directory"]
    assert info["pending"] == [
        *("image", *files, "network", "listen", "users", "gateway_config", "settings"),
        *("create", "create_network", "create_gateway", "state_file"),
    ]


def test_a_running_registry_has_no_container_pending(monkeypatch: pytest.MonkeyPatch, parameters: dict) -> None:
    runs(monkeypatch, parameters)
    info, problems = module.inspect(parameters)
    assert problems == []
    assert not [one for one in info["pending"] if re.match("(image|create|replace|start|restart|answer|switch)", one)]
    assert info["container"] == "id-registry"


def test_a_stopped_container_is_started_and_a_silent_one_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], tmp_path: Path
) -> None:
    runs(monkeypatch, parameters, Running=False)
    assert "start" in module.inspect(parameters)[0]["pending"]
    runs(monkeypatch, parameters)
    monkeypatch.setattr(module, "pending_files", lambda *_: {})
    monkeypatch.setattr(module, "answer", lambda *_: "no response")
    assert "answer" in module.inspect(parameters)[0]["pending"]
    # Who is to be restarted need not be asked.
    (tmp_path / "gateway/upstreams.conf").write_text(gateway.upstreams("a"))
    pending = module.inspect(parameters)[0]["pending"]
    assert ("switch" in pending, "answer" in pending) == (True, False)


@pytest.mark.parametrize(
    ("served", "pending"),
    [([], False), ([b"file"], False), ([b"old"], True)],
    ids=["nothing", "the file's", "an older one"],
)
def test_a_certificate_that_is_served_no_longer_needs_a_reload(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], served: list, pending: bool
) -> None:
    parameters["registry"]["tls"] = True
    monkeypatch.setattr(server_info, "certificates_in", lambda _path: [b"file"])
    monkeypatch.setattr(server_info, "served_certificates", lambda *_: served)
    runs(monkeypatch, parameters)
    monkeypatch.setattr(module, "pending_files", lambda *_: {})
    assert ("reload_gateway" in module.inspect(parameters)[0]["pending"]) is pending


@pytest.mark.parametrize(
    ("wanted", "containerd", "pending"),
    [
        ({}, False, False),
        ({"image_id": "sha256:aa"}, False, False),
        ({"image_id": "sha256:other"}, False, True),
        ({"image_id": "sha256:other", "image_layers": ["sha256:11", "sha256:22"]}, True, False),
        ({"image_id": "sha256:other", "image_layers": ["sha256:11", "sha256:22"]}, False, True),
        ({"image_id": "sha256:other", "image_layers": ["sha256:11"]}, True, True),
        ({"image_id": "sha256:other", "image_digest": "sha256:aa", "image_layers": []}, True, False),
        # The layers are the same, and the rest is not.
        (
            {"image_id": "sha256:other", "image_digest": "sha256:bb", "image_layers": ["sha256:11", "sha256:22"]},
            True,
            True,
        ),
        ({"refresh": True}, False, True),
        ({"refresh": True, "fetched": True}, False, False),
    ],
)
def test_the_image_is_fetched_where_it_is_another(
    monkeypatch: pytest.MonkeyPatch, parameters: dict, wanted: dict, containerd: bool, pending: bool
) -> None:
    monkeypatch.setattr(module.containers, "engine", lambda: ENGINE | {"containerd_image_store": containerd})
    both = ["registry", "gateway"] if "refresh" in wanted else ["registry"]
    info = module.inspect({**parameters, **wanted})[0]
    assert ("image" in info["pending"], info["images_pending"]) == (pending, both if pending else [])
    # The gateway's is judged in the same way.
    own = {f"gateway_{key}": value for key, value in wanted.items() if key.startswith("image_")}
    info = module.inspect({**parameters, **own})[0]
    assert info["images_pending"] == (["gateway"] if own and pending else [])


def test_an_image_that_is_missing_is_fetched_alone(monkeypatch, parameters):
    monkeypatch.setattr(module.containers, "image", lambda name: None if name == "nginx:1.30.5" else IMAGE)
    info = module.inspect(parameters)[0]
    assert (info["images_pending"], info["image"], info["gateway_image"]) == (["gateway"], "sha256:aa", "")
    assert "image" in info["pending"]


BUSY = "back-up is at work on server since 2026-11-28 03:00:00: wait until it has finished"


def finished(monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], tmp_path: Path) -> None:
    """Have everything as it should be, while somebody else works on the registry."""
    runs(monkeypatch, parameters)
    monkeypatch.setattr(module, "pending_files", lambda *_: {})
    state = SimpleNamespace(state_id="id", id="id", state_place=parameters["registry"]["data"])
    monkeypatch.setattr(module.server_data, "read", lambda *_: state)
    monkeypatch.setattr(module.server_data, "data_problems", lambda *_: [])
    monkeypatch.setattr(module, "lock_taken", lambda: BUSY)


def test_a_run_without_changes_goes_on_while_a_backup_is_at_work(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], tmp_path: Path
) -> None:
    finished(monkeypatch, parameters, tmp_path)
    info, problems = module.inspect(parameters)
    assert (info["pending"], problems) == ([], [])


def test_a_run_without_changes_goes_on_while_garbage_is_collected(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], tmp_path: Path
) -> None:
    """The registry is frozen then, and others stand in for it; a change of its users waits all the same."""
    finished(monkeypatch, parameters, tmp_path)
    names = [["registry"], ["registry-reads"], ["registry-writes"]]
    monkeypatch.setattr(module.containers, "containers", lambda: [{"names": one, "ports": set()} for one in names])
    (tmp_path / "gateway/upstreams.conf").write_text(gateway.upstreams("reads", "writes"))
    info, problems = module.inspect(parameters)
    assert (info["pending"], info["interrupted"], problems) == ([], ["registry-reads", "registry-writes"], [])
    monkeypatch.setattr(module, "pending_files", lambda *_: {"users": ("users", None)})
    assert module.inspect(parameters)[1] == [BUSY]


def test_a_change_waits_for_whoever_is_at_work(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], tmp_path: Path
) -> None:
    finished(monkeypatch, parameters, tmp_path)
    runs(monkeypatch, parameters, image="sha256:old")
    assert module.inspect(parameters)[1] == [BUSY]


@pytest.mark.parametrize(
    ("known", "generated", "reason"),
    [("", ["ci"], "holds none"), (STRONG[::-1], ["ci"], "holds others"), (STRONG, ["ci"], ""), ("", [], "")],
    ids=["no file", "another controller's", "the same", "to be replaced"],
)
@pytest.mark.parametrize("cost", [0, 5], ids=["the gateway's", "the registry's own, of the time before it"])
def test_passwords_that_only_another_controller_knows_are_not_replaced(
    parameters: dict[str, Any], known: str, generated: list[str], reason: str, cost: int
) -> None:
    file = Path(
        parameters["registry"]["gateway_directory" if cost == 0 else "directory"], "htpasswd" if cost else "users"
    )
    file.parent.mkdir()
    file.write_text(f"ci:{hash_password(STRONG, cost)}\nbroken:none\n")
    parameters["registry"]["users"] = f"ci:{known}\nbroken:\nnew:\n"
    parameters["generated_users"] = [*generated, "broken", "new"]
    problems = module.inspect(parameters)[1]
    assert len(problems) == bool(reason)
    for problem in problems:
        assert problem.startswith("registry_server_users: ci: have passwords on server that this controller does not")
        assert f"(/passwords {reason} for them)" in problem
        assert "-e registry_server_replace_passwords=ci," in problem


def test_an_image_that_cannot_be_pulled_is_refused_and_one_that_is_there_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]
) -> None:
    parameters["image_source"] = "pull"
    monkeypatch.setattr(module, "pull_problem", lambda *_: "no such host")
    assert module.inspect(parameters)[1] == []
    monkeypatch.setattr(module.containers, "image", lambda _reference: None)
    (problem,) = module.inspect(parameters)[1]
    assert problem.startswith(
        "registry_server_image: registry:2.8.3 cannot be pulled on server (no such host);"
        " registry_server_gateway_image: nginx:1.30.5 cannot be pulled on server (no such host): name an image in a"
    )
    monkeypatch.setattr(module, "pull_problem", lambda name, *_: "no such host" if "nginx" in name else "")
    (problem,) = module.inspect(parameters)[1]
    assert problem.startswith("registry_server_gateway_image: nginx:1.30.5 cannot be pulled on server (no such host): ")


def test_what_stands_in_the_way_is_named(monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]) -> None:
    @contextlib.contextmanager
    def held(*_: object, **__: object) -> Iterator[None]:
        raise BusyError(BUSY)
        yield

    monkeypatch.setattr(module, "lock", held)
    monkeypatch.setattr(module, "port_holder", lambda *_: "the container other")
    monkeypatch.setattr(module.pwd, "getpwuid", lambda _uid: SimpleNamespace(pw_name="daemon"))
    assert module.inspect(parameters)[1] == [
        BUSY,
        "registry_server_port: 5000 is taken on server by the container other: stop it or choose another port",
        "registry_server_uid: 59500 belongs to the user daemon on server: choose a number that nobody has",
    ]
    monkeypatch.setattr(module.pwd, "getpwuid", lambda _uid: SimpleNamespace(pw_name="wharf-registry"))
    assert not any("registry_server_uid" in line for line in module.inspect(parameters)[1])


def test_the_registry_s_own_user_may_have_its_number(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]
) -> None:
    monkeypatch.setattr(module.pwd, "getpwuid", lambda _uid: SimpleNamespace(pw_name="wharf-registry"))
    assert module.inspect(parameters)[1] == []


def test_a_container_of_another_is_refused_with_what_it_holds(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], tmp_path: Path
) -> None:
    source = tmp_path / "volumes/4be3/_data"
    for name in ("app", "web"):
        (source / f"docker/registry/v2/repositories/{name}/_manifests").mkdir(parents=True)
    volume = {"Type": "volume", "Name": "4be3", "Source": str(source), "Destination": "/var/lib/registry"}
    found = {"Id": "c9", "Name": "/registry", "Config": {"Image": "registry:2", "Labels": None}, "Mounts": [volume]}
    monkeypatch.setattr(module.containers, "container", lambda _name: {**found, "State": {"Running": True}})
    [line] = module.inspect(parameters)[1]
    data = parameters["registry"]["data"]
    assert line.startswith(
        "registry_server_container: server has a container registry already, of the image registry:2"
    )
    assert "it holds 2 repositories in the volume 4be3" in line
    assert "`docker rename registry registry-old && docker update --restart no registry-old" in line
    assert f"`mkdir -p {data} && cp -a {source}/. {data}/`" in line

    volume["Source"] = "/nowhere"
    [line] = module.inspect(parameters)[1]
    assert "`docker rename registry registry-old`. Or give this one another name" in line


CACHE = {"name": "docker.io", "config": "", "ca": "", "environment": [], "size": 0, "offline": False}


def test_what_stands_in_the_way_of_caches_is_named(parameters: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "data/docker/registry/v2/repositories/docker.io/app").mkdir(parents=True)
    (tmp_path / "caches/photos").mkdir(parents=True)
    parameters["registry"] |= {"caches": [CACHE | {"size": 1 << 60}], "caches_data": str(tmp_path / "caches")}
    found = module.cache_problems(parameters["registry"], str(tmp_path / "data"), "server")
    words = [
        "repositories of its own below docker.io/ on server, which",
        "may take",
        "of no cache (photos)",
        "may write",
    ]
    wanted = words if "may write" in "".join(found) else words[:3]  # below a directory that everybody writes to
    assert len(found) == len(wanted)
    assert all(any(word in line for line in found) for word in wanted)
    for one in ("roots", "docker", "import"):  # the last one of an import, which goes on or was killed
        (tmp_path / "caches" / one).mkdir()
    assert any("of no cache (photos)" in one for one in module.cache_problems(parameters["registry"], "", "server"))
    parameters["registry"]["caches"] = []
    assert module.cache_problems(parameters["registry"], str(tmp_path / "data"), "server") == []


@pytest.mark.parametrize(
    "name",
    [
        *("registry-network", "registry-gateway", "registry-before", "registry-gateway-before"),
        "registry-cache-docker.io",
    ],
)
def test_each_name_of_our_containers_is_ours_alone(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], tmp_path: Path, name: str
) -> None:
    """A run would remove the ones that are called before."""
    parameters["registry"]["caches"] = [CACHE]
    mount = {"Type": "bind", "Source": str(tmp_path), "Destination": "/var/lib/registry"}
    found = {"Id": "c9", "Name": f"/{name}", "Config": {"Image": "nginx", "Labels": {}}, "Mounts": [mount]}
    monkeypatch.setattr(module.containers, "containers", lambda: [{"names": [name], "ports": set()}])
    monkeypatch.setattr(module.containers, "container", lambda asked: found if asked == name else None)
    [line] = module.inspect(parameters)[1]
    assert line.startswith(f"registry_server_container: server has a container {name} already, of the image nginx")
    assert f"`docker rename {name} {name}-old`. Or give this one another name" in line
    (tmp_path / "docker/registry/v2/repositories/app/_manifests").mkdir(parents=True)
    [line] = module.inspect(parameters)[1]
    assert f"`docker rename {name} {name}-old && docker update --restart no {name}-old" in line


def test_an_address_that_the_host_does_not_have_is_named(parameters: dict[str, Any]) -> None:
    parameters["registry"]["listen"] = ["127.0.0.1", "192.0.2.77"]
    [line] = module.inspect(parameters)[1]
    assert line.startswith("registry_server_listen: 192.0.2.77 is not an address of server")


def test_an_older_version_is_refused_once_its_image_is_there(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]
) -> None:
    runs(monkeypatch, parameters, "sha256:new")
    info, problems = module.inspect(parameters)
    assert len(problems) == 1
    assert "this would be a downgrade to 2.8.3" in problems[0]
    assert info["version_change"] == "version 2.8.3 of the registry takes the place of 3.0.0"
    assert module.inspect(parameters | {"allow_downgrade": True})[1] == []
    # Not before: what is there may be another image than the one that is fetched.
    assert module.inspect(parameters | {"refresh": True})[1] == []


def test_a_configuration_that_the_new_version_does_not_understand_is_refused(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]
) -> None:
    runs(monkeypatch, parameters, "sha256:old")
    problems = module.inspect(parameters | {"config_keys": ["redis", "redis.addrs"]})[1]
    assert problems == [
        "registry_server_config: redis.addrs is not understood by version 2.8.3 of the registry: use redis.addr, one"
        " address"
    ]


def test_a_refresh_that_brings_the_same_image_is_told(monkeypatch: pytest.MonkeyPatch, parameters: dict) -> None:
    runs(monkeypatch, parameters)
    assert module.inspect(parameters)[0]["version_change"] == ""
    info, _ = module.inspect(parameters | {"refresh": True, "fetched": True})
    assert info["version_change"] == "version 2.8.3 of the registry runs already"


def test_what_interrupted_runs_have_left_is_found(monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]) -> None:
    for part in container_names("registry").values():
        names = [[f"{part}-before"], ["registry-writes"], ["registry-collect-garbage"], ["other"]]
        known = [{"names": one, "ports": set()} for one in names]
        monkeypatch.setattr(module.containers, "containers", known.copy)
        info, _ = module.inspect(parameters)
        assert info["cut_off"]
        assert info["interrupted"] == ["registry-collect-garbage", "registry-writes"]
        assert info["pending"][0] == "rollback"


def test_a_certificate_that_this_run_has_replaced_is_not_rolled_back(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], tmp_path: Path
) -> None:
    """The registry must answer with it; what a run has left that was cut off later is another matter."""
    monkeypatch.setattr(server_rollback, "RECORD", str(tmp_path / "before.json"))
    record = {"name": "", "container": None, "files": {}}
    Path(server_rollback.RECORD).write_text(json.dumps(record))
    pending = module.inspect(parameters)[0]["pending"]
    assert "kept" in pending
    assert "rollback" not in pending
    Path(server_rollback.RECORD).write_text(json.dumps(record | {"name": "registry"}))
    assert module.inspect(parameters)[0]["pending"][0] == "rollback"


def test_other_data_is_refused_unless_it_is_confirmed(parameters: dict[str, Any]) -> None:
    data = Path(parameters["registry"]["data"])
    data.mkdir()
    (data / ".wharf").write_text("bb other.test\n")
    (problem,) = module.inspect(parameters)[1]
    assert f"registry_server_data: {data} on server holds the data of another registry, other.test" in problem
    assert module.inspect(parameters | {"data_confirm": str(data)})[1] == []


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("/usr/bin/docker-registry github.com/distribution/distribution 2.8.3+ds1\n", "2.8.3+ds1"),
        ("registry github.com/docker/distribution v2.8.1\n", "2.8.1"),
        ("exec /usr/bin/registry: no such file or directory\n", ""),
        ("", ""),
    ],
)
def test_the_program_s_own_output_tells_its_version(monkeypatch: pytest.MonkeyPatch, output: str, version: str) -> None:
    done = subprocess.CompletedProcess([], 0, output)
    monkeypatch.setattr(module.containers, "docker", lambda *_, **__: done)
    assert module.image_version("registry:2.8.3") == version


def test_a_version_that_cannot_be_asked_for_in_time_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []

    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("docker", 20)

    monkeypatch.setattr(module.containers, "docker", hang)
    monkeypatch.setattr(module.containers, "remove", removed.append)
    assert module.image_version("registry:2.8.3") == ""
    assert len(removed) == 1


@pytest.mark.parametrize(
    ("source", "has_apt", "is_there"), [("distro", True, False), ("archive", False, False), ("distro", False, True)]
)
def test_an_image_of_debs_is_built_with_apt_only(monkeypatch, parameters, source, has_apt, is_there):
    monkeypatch.setattr(module, "has", lambda program: has_apt and program == "apt-get")
    monkeypatch.setattr(module.containers, "image", lambda _reference: IMAGE if is_there else None)
    assert module.inspect(parameters | {"image_source": source})[1] == []
    monkeypatch.setattr(module, "has", lambda _program: False)
    monkeypatch.setattr(module.containers, "image", lambda _reference: None)
    (problem,) = module.inspect(parameters | {"image_source": "distro"})[1]
    assert problem.endswith("but server has no apt-get: use pull or archive")


def test_what_a_firewall_blocks_is_told_and_what_it_is_to_open_is_pending(monkeypatch, parameters):
    asked = []
    firewall = SimpleNamespace(
        is_pending=lambda managed: asked.append(managed) or managed, blocked=lambda managed: ["chain"]
    )
    monkeypatch.setattr(module, "Firewall", lambda *given: firewall if given == ("registry", 5000, 5001) else None)
    parameters["registry"]["mirror_port"] = 5001
    info = module.inspect(parameters | {"manage_firewall": True})[0]
    assert "firewall" in info["pending"]
    assert info["blocked"] == ["chain"]
    assert "firewall" not in module.inspect(parameters)[0]["pending"]
    assert asked == [True, False]


def test_an_image_without_an_entrypoint_is_refused(monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]) -> None:
    image = {**IMAGE, "Config": {"Entrypoint": None, "Cmd": ["/registry", "serve", "/config.yml"]}}
    monkeypatch.setattr(module.containers, "image", lambda _reference: image)
    problems = module.inspect(parameters)[1]
    assert len(problems) == 1
    assert problems[0].startswith("registry_server_image: registry:2.8.3 has no ENTRYPOINT")


def test_a_controller_that_does_not_know_the_servers_secrets_changes_none(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], tmp_path: Path
) -> None:
    registry = parameters["registry"]
    registry |= {"peers": ["192.0.2.2"], "peers_certificate": "ours", "peers_key": "key"}
    runs(monkeypatch, parameters)
    assert module.inspect(parameters)[1] == []
    certificate = tmp_path / "gateway/peers.crt"
    certificate.write_text("another")
    _, problems = module.inspect(parameters)
    assert len(problems) == 1
    assert problems[0].startswith("registry_server_secrets_directory: server and the other servers have secrets that")
    assert f"`rm {certificate}`" in problems[0]
    certificate.write_text("ours")
    assert module.inspect(parameters)[1] == []


BUCKET = {"driver": "s3", "s3": {"region": "eu-1", "endpoint": "https://s.test", "bucket": "a", "root": "", "ca": ""}}
ELSEWHERE = {"driver": "s3", "s3": {**BUCKET["s3"], "endpoint": "", "root": "/images"}}
FILES = {"driver": "filesystem", "root": "/var/lib/registry"}


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[dict[str, Any]], None]:
    """Return a function that leaves what an earlier deployment told the command."""

    def write(settings: dict[str, Any]) -> None:
        (tmp_path / "registry.json").write_text(json.dumps(settings))
        monkeypatch.setattr(server_rollback, "SETTINGS", str(tmp_path / "registry.json"))

    return write


@pytest.mark.parametrize(
    ("deployed", "wanted", "said", "confirm"),
    [
        (BUCKET, FILES, "in the bucket a of https://s.test, and would be looked for in DATA: ", "DATA"),
        (FILES, BUCKET, "in DATA, and would be looked for in the bucket a of https://s.test: ", "a"),
        ({"name": "reg.test"}, BUCKET, "in DATA, and would be looked for in the bucket a of https://s.test: ", "a"),
        (BUCKET, ELSEWHERE, "of https://s.test, and would be looked for in the bucket a/images of Amazon: ", "a"),
        ({"driver": "gcs"}, FILES, "in gcs, and would be looked for in DATA: ", "DATA"),
    ],
)
def test_another_store_than_before_is_refused_unless_it_is_confirmed(
    parameters: dict[str, Any],
    deploy: Callable[[dict[str, Any]], None],
    deployed: dict[str, Any],
    wanted: dict[str, Any],
    said: str,
    confirm: str,
) -> None:
    registry = parameters["registry"]
    said, confirm = said.replace("DATA", registry["data"]), confirm.replace("DATA", registry["data"])
    registry["settings"] = json.dumps(wanted)
    assert module.inspect(parameters)[1] == []  # nothing is deployed yet
    deploy(deployed)
    (problem,) = module.inspect(parameters | {"data_confirm": "other"})[1]
    assert problem.startswith("registry_server_storage: the images on server are in ")
    assert said in problem
    assert problem.endswith(f"(-e wharf_registry_data_confirm={confirm})")
    assert module.inspect(parameters | {"data_confirm": confirm})[1] == []


@pytest.mark.parametrize(
    ("deployed", "wanted"),
    [
        (BUCKET, {**BUCKET, "s3": {**BUCKET["s3"], "region": "eu-2", "root": "/", "ca": "/ca.crt"}}),
        ({"driver": "s3", "root": "/"}, BUCKET),
        ({"name": "reg.test"}, FILES),
    ],
)
def test_what_does_not_say_that_the_store_is_another_one_is_accepted(
    parameters: dict[str, Any],
    deploy: Callable[[dict[str, Any]], None],
    deployed: dict[str, Any],
    wanted: dict[str, Any],
) -> None:
    parameters["registry"]["settings"] = json.dumps(wanted)
    deploy(deployed)
    assert module.inspect(parameters)[1] == []


def test_a_version_that_leaves_names_out_is_told_as_soon_as_its_image_is_there(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]
) -> None:
    monkeypatch.setattr(module, "image_version", lambda _image: "3.1.1")
    parameters["registry"]["store"] = "store.test"
    monkeypatch.setattr(module.containers, "container", lambda _name: None)
    _, problems = module.inspect(parameters)
    assert [line.startswith("registry_server_storage: version 3.1.1 of the registry") for line in problems] == [True]

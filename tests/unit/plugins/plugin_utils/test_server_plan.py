"""What the role registry_server makes of its settings, and what in them it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.wharf.registry.plugins.plugin_utils import server_plan as module
from ansible_collections.wharf.registry.plugins.plugin_utils.stores import generate_shared_secrets

ROLE = Path(__file__).resolve().parents[4] / "roles/registry_server"
BASE = yaml.safe_load((ROLE / "vars/main.yml").read_text("utf-8"))["__registry_server_config"]
DIGEST = "sha256:" + "0a" * 32
STRONG = "kD8-xQ2_vLm4Rt7Zp1Wc"
SETTINGS: dict[str, Any] = {
    "name": "reg.test",
    "port": 5000,
    "listen": [],
    "tls": True,
    "tls_directory": "/etc/wharf/tls",
    "users": [{"name": "ci"}],
    "rules": [],
    "password_directory": "/no/passwords",
    "replace_passwords": "",
    "anonymous": False,
    "bcrypt_cost": 4,
    "image_source": "pull",
    "image": f"registry:2.8.3@{DIGEST}",
    "gateway_image": f"nginx:1.30.5@{DIGEST}",
    "image_archive": "",
    "data": "/srv/images",
    "config": {},
    "memory_limit": "",
    "directory": "/etc/wharf/registry",
    "gateway_directory": "/etc/wharf/gateway",
    "page": True,
    "metrics_addresses": [],
    "caches": [],
    "caches_data": "/var/lib/wharf/caches",
    "caches_anonymous": False,
    "mirror_port": 0,
    "retention": [],
    "log_pulls": False,
    "uid": 59500,
    "container": "registry",
    "delete_untagged": False,
    "standby_of": "",
    "storage": {},
    "servers": [],
    "secrets_directory": "/no/secrets",
    "host": "alpha",
}


def plan(**changes: Any) -> dict[str, Any]:
    """Return the plan for SETTINGS with changes; they must be good."""
    made = module.server_plan({**SETTINGS, **changes}, BASE)
    assert made["problems"] == []
    return made


def test_the_role_s_own_settings_are_those_that_are_read() -> None:
    named = yaml.safe_load((ROLE / "vars/main.yml").read_text("utf-8"))["__registry_server_settings"]
    assert set(named) == set(SETTINGS)


def test_the_gateway_has_users_and_tls_and_the_registry_has_not() -> None:
    made = plan()
    assert (made["gateway"]["users"], made["gateway"]["tls"]) == (True, True)
    assert "auth" not in made["config"]
    http = made["config"]["http"]
    assert (http["net"], http["relativeurls"], "tls" in http) == ("unix", True, False)
    assert made["gateway"]["blobs"] == "/var/lib/registry/docker/registry/v2"
    assert not made["registry"]["has_network"]


def test_an_open_registry_without_tls_is_configured_so() -> None:
    made = plan(users=[], anonymous=True, tls=False)
    assert (made["gateway"]["users"], made["gateway"]["tls"], made["gateway"]["levels"]) == (False, False, [])
    known = json.loads(made["registry"]["settings"])
    assert (known["ca"], known["users"]) == ("", [])


@pytest.mark.parametrize(
    "config",
    [
        {"storage": {"s3": {"bucket": "images"}}},
        {"redis": {"addr": "redis:6379"}},
        {"notifications": {"endpoints": [{"name": "a", "url": "https://hook.test"}]}},
        {"proxy": {"remoteurl": "https://registry-1.docker.io"}},
    ],
)
def test_a_registry_that_asks_others_has_a_network(config: dict[str, Any]) -> None:
    made = plan(config=config)
    assert made["registry"]["has_network"]
    # The gateway serves the blobs of a file system only.
    assert bool(made["gateway"]["blobs"]) is ("storage" not in config)


def test_the_user_s_configuration_comes_last() -> None:
    made = plan(
        config={
            "log": {"level": "debug"},
            "storage": {"s3": {"bucket": "images"}, "cache": {"blobdescriptor": "inmemory"}},
        }
    )
    assert made["config"]["log"]["level"] == "debug"
    assert "filesystem" not in made["config"]["storage"]
    assert made["config_keys"][:2] == ["log", "log.level"]
    known = json.loads(made["registry"]["settings"])
    assert (known["driver"], known["root"], known["descriptor_cache"]) == ("s3", "/var/lib/registry", True)


def test_the_command_on_the_server_is_told_of_the_registry() -> None:
    assert json.loads(plan()["registry"]["settings"]) == {
        "container": "registry",
        "retention": [],
        "name": "reg.test",
        "port": 5000,
        "ca": "/etc/wharf/tls/ca.crt",
        "gateway_directory": "/etc/wharf/gateway",
        "uid": 59500,
        "driver": "filesystem",
        "root": "/var/lib/registry",
        "delete_untagged": False,
        "read_only": False,
        "descriptor_cache": False,
        "users": [{"name": "ci", "role": "writer"}],
        "rules": [],
    }


def test_gateway_containers_and_command_are_told_which_caches_are_offline() -> None:
    made = plan(caches=[{"upstream": "docker.io"}, {"upstream": "hub.test:5000", "offline": True}])
    wanted = {"docker.io": False, "hub.test_5000": True}
    assert {one["name"]: one["offline"] for one in made["gateway"]["caches"]} == wanted
    known = json.loads(made["registry"]["settings"])["caches"]["upstreams"]
    assert {one["slug"]: one["offline"] for one in known} == wanted
    assert [one["name"] for one in made["registry"]["caches"] if one.get("offline")] == ["hub.test_5000"]


def test_a_standby_is_known_as_one_and_its_registry_writes_nothing() -> None:
    own = {"storage": {"maintenance": {"uploadpurging": {"enabled": False}, "readonly": {"enabled": False}}}}
    made = plan(standby_of="server1", config=own)
    known = json.loads(made["registry"]["settings"])
    assert (known["standby_of"], known["read_only"], made["gateway"]["takes_pushes"]) == ("server1", True, False)
    maintenance = {"uploadpurging": {"enabled": False}, "readonly": {"enabled": True}}
    assert made["config"]["storage"]["maintenance"] == maintenance
    assert plan()["gateway"]["takes_pushes"]


def test_who_may_do_what_is_told_to_the_command_and_to_the_gateway() -> None:
    users = [{"name": "ci", "password": STRONG}, {"name": "kiosk", "role": "reader", "password": STRONG + "x"}]
    made = plan(users=users, rules=[{"repositories": "team/*", "write": ["kiosk"]}])
    known = json.loads(made["registry"]["settings"])
    assert known["users"] == [{"name": "ci", "role": "writer"}, {"name": "kiosk", "role": "reader"}]
    assert known["rules"] == [{"repositories": "team/*", "read": [], "write": ["kiosk"]}]
    assert made["gateway"]["rules"] == [["team/[a-z0-9._-]+", 1]]
    assert made["gateway"]["levels"] == [['"0:ci"', 2], ['"0:kiosk"', 1], ['"1:kiosk"', 2]]


@pytest.mark.parametrize(
    ("changes", "registry", "gateway"),
    [
        ({}, f"registry@{DIGEST}", f"nginx@{DIGEST}"),  # the engine takes a tag or a digest
        (
            {"image": "mirror.test:5000/library/registry:3.0.0", "gateway_image": "mirror.test:5000/nginx:1.30.5"},
            "mirror.test:5000/library/registry:3.0.0",
            "mirror.test:5000/nginx:1.30.5",
        ),
        (
            {"image": f"mirror.test:5000/registry@{DIGEST}", "gateway_image": f"mirror.test:5000/nginx@{DIGEST}"},
            f"mirror.test:5000/registry@{DIGEST}",
            f"mirror.test:5000/nginx@{DIGEST}",
        ),
        ({"image_source": "distro"}, "wharf-registry:distro", "wharf-gateway:distro"),
    ],
)
def test_the_images_follow_their_source(changes: dict[str, Any], registry: str, gateway: str) -> None:
    made = plan(**changes)
    assert made["image"] == {"name": registry, "id": "", "digest": "", "layers": []}
    assert made["registry"]["image"] == registry
    assert made["gateway_image"] == {"name": gateway, "id": "", "digest": "", "layers": []}


@pytest.mark.parametrize(("tags", "name"), [(["registry:2.8.3", "registry:2"], "registry:2.8.3"), ([], "sha256:aa")])
def test_an_archive_s_image_goes_by_its_tag_or_its_id(
    monkeypatch: pytest.MonkeyPatch, tags: list[str], name: str
) -> None:
    monkeypatch.setattr(module, "archive_problems", lambda *_: [])
    found = {"id": "sha256:aa", "digest": "sha256:cc", "tags": tags, "layers": ["sha256:bb"], "version": "2.8.3"}
    gateway = found | {"id": "sha256:dd", "tags": [], "version": "1.30.5"}
    monkeypatch.setattr(module, "archive_images", lambda _path: {"registry": found, "gateway": gateway})
    made = plan(image_source="archive", image_archive="/a.tar")
    assert made["image"] == {"name": name, "id": "sha256:aa", "digest": "sha256:cc", "layers": ["sha256:bb"]}
    assert made["gateway_image"] == made["image"] | {"name": "sha256:dd", "id": "sha256:dd"}


def test_numbers_and_booleans_that_arrive_as_text_are_taken_for_what_they_mean() -> None:
    made = plan(port="5443", tls="no", users=[], anonymous="yes", delete_untagged="true", bcrypt_cost="10")
    known = json.loads(made["registry"]["settings"])
    assert (known["port"], known["ca"], known["delete_untagged"]) == (5443, "", True)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"name": "Reg"}, "registry_server_name: 'Reg' has upper case letters"),
        ({"port": 70000}, "registry_server_port: 70000 is not a TCP port"),
        ({"listen": ["eth0"]}, "registry_server_listen: item 1, 'eth0', is not an IP address"),
        ({"rules": [{"repositories": "a", "read": ["x"]}]}, "registry_server_rules: rule 1 ('a') lists 'x' under read"),
        ({"users": []}, "registry_server_users: is empty"),
        ({"bcrypt_cost": 3}, "registry_server_bcrypt_cost: 3 is not a bcrypt cost"),
        ({"data": "/etc"}, "registry_server_data: '/etc' is a directory of the system"),
        (
            {"memory_limit": "much"},
            "registry_server_memory_limit: 'much' is not a size: use a whole number followed by k, m or g",
        ),
        (
            {"standby_of": "it's"},
            "registry_server_standby_of: \"it's\" is not a name that a message can hold: use the server's name in the",
        ),
        (
            {"standby_of": "server1", "config": {"storage": {"s3": {"bucket": "images"}}}},
            "registry_server_config: storage.s3 cannot have a standby, to which files are copied: leave it out, or",
        ),
        (
            {"standby_of": "server1", "config": {"storage": {"cache": {"blobdescriptor": "inmemory"}}}},
            "registry_server_config: storage.cache.blobdescriptor would still know what was deleted on server1, and",
        ),
        ({"image": "registry"}, "registry_server_image: 'registry' is not pinned"),
        ({"gateway_image": "nginx"}, "registry_server_gateway_image: 'nginx' is not pinned"),
        ({"image_source": "archive"}, "registry_server_image_archive: is missing"),
        (
            {"image": "registry:3.0.0", "config": {"redis": {"addr": "redis:6379"}}},
            "registry_server_config: redis.addr is not understood by version 3.0.0 of the registry: use redis.addrs",
        ),
    ],
)
def test_settings_that_cannot_work_are_named(changes: dict[str, Any], line: str) -> None:
    made = module.server_plan({**SETTINGS, **changes}, BASE)
    assert list(made) == ["problems"]
    assert made["problems"][0].startswith(line)


@pytest.mark.parametrize("limit", ["much", "5 elephants", "m", "-1"])
def test_a_memory_limit_that_is_no_size_is_refused(limit: str) -> None:
    assert "is not a size" in module.server_plan({**SETTINGS, "memory_limit": limit}, BASE)["problems"][0]


@pytest.mark.parametrize(
    ("limit", "size"),
    [
        *(("", 0), ("0", 0), ("536870912", 536870912), ("10240k", 10 << 20), ("256m", 256 << 20), ("1G", 1 << 30)),
        (None, 0),
    ],
)
def test_a_memory_limit_is_read_as_docker_reads_it(limit: str | None, size: int) -> None:
    assert plan(memory_limit=limit)["registry"]["memory_limit"] == size


def test_passwords_are_given_or_generated_or_still_missing(tmp_path: Path) -> None:
    (tmp_path / "ci").write_text(f"{STRONG}\n")
    users = [{"name": "ci"}, {"name": "dev", "password": STRONG}, {"name": "new"}]
    made = plan(users=users, password_directory=str(tmp_path))
    assert made["registry"]["users"] == f"ci:{STRONG}\ndev:{STRONG}\nnew:\n"
    assert (made["generate"], made["generated"]) == (["new"], ["ci", "new"])


@pytest.mark.parametrize("replaced", ["ci", " ci,"])
def test_a_password_that_is_to_be_replaced_need_not_be_the_server_s(replaced: str) -> None:
    assert plan(users=[{"name": "ci"}, {"name": "dev"}], replace_passwords=replaced)["generated"] == ["dev"]


@pytest.mark.parametrize("name", ["dev", "nobody"])
def test_only_a_generated_password_can_be_replaced(name: str) -> None:
    users = [{"name": "ci"}, {"name": "dev", "password": STRONG}]
    assert module.server_plan({**SETTINGS, "users": users, "replace_passwords": name}, BASE)["problems"] == [
        f"registry_server_replace_passwords: '{name}' is not a user whose password is generated: use ci"
    ]


def test_a_password_s_file_that_people_have_written_is_judged(tmp_path: Path) -> None:
    (tmp_path / "ci").write_text("short\n")
    made = module.server_plan({**SETTINGS, "password_directory": str(tmp_path)}, BASE)
    assert made["problems"] == [
        f"registry_server_users: {tmp_path}/ci has a password that is too weak for bcrypt cost 4: write a better one"
        " into it, or remove it, and one is made"
    ]


def test_generated_passwords_need_a_place_that_the_next_run_finds() -> None:
    made = module.server_plan({**SETTINGS, "password_directory": "None/.credentials/users"}, BASE)
    assert "'None/.credentials/users' is not an absolute path" in made["problems"][0]
    plan(users=[{"name": "ci", "password": STRONG}], password_directory="None/.credentials/users")


def test_an_image_that_is_not_used_is_not_judged() -> None:
    plan(image_source="distro", image="", gateway_image="", image_archive="/no/file")


# The configuration ------------------------------------------------------------------------------

OWN = {
    "log": {"level": "error", "accesslog": {"disabled": True}},
    "storage": {"filesystem": {"rootdirectory": "/data"}, "cache": {"blobdescriptor": "inmemory"}},
}


def test_dicts_are_merged_and_values_replaced():
    merged = module.merged_config(OWN, {"log": {"level": "debug"}}, {"http": {"addr": ":5000"}})
    assert merged["log"] == {"level": "debug", "accesslog": {"disabled": True}}
    assert merged["http"] == {"addr": ":5000"}
    assert merged["storage"] == OWN["storage"]


def test_null_takes_a_key_away():
    assert module.merged_config(OWN, {"log": {"accesslog": None}})["log"] == {"level": "error"}


def test_another_driver_replaces_the_file_system():
    merged = module.merged_config(OWN, {"storage": {"s3": {"bucket": "images"}}})
    assert merged["storage"] == {"s3": {"bucket": "images"}, "cache": {"blobdescriptor": "inmemory"}}


def test_an_option_of_the_storage_is_no_driver():
    merged = module.merged_config(OWN, {"storage": {"delete": {"enabled": True}}})
    assert set(merged["storage"]) == {"filesystem", "cache", "delete"}


def test_arguments_stay_as_they_are():
    before = repr(OWN)
    module.merged_config(OWN, {"log": {"level": "debug"}, "storage": {"s3": {}}})
    assert repr(OWN) == before


def test_the_keys_of_a_configuration_are_named_by_their_paths():
    config = {"redis": {"addrs": ["redis:6379"], "pool": {"maxidle": 16}, "db": None}, "storage": None}
    assert module.config_keys(config) == ["redis", "redis.addrs", "redis.pool", "redis.pool.maxidle"]


# What the role's specification says, before any of this is asked ----------------------------------

SPEC = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text("utf-8"))["argument_specs"]["main"]["options"]
SECRET = "s3cr3t-Wort"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"users": f"alice {SECRET}"}, "dict"),
        ({"users": [7]}, "dict"),
        ({"users": [{"name": "alice", "passwrod": "x"}]}, "passwrod"),
        ({"users": [{"password": SECRET}]}, "name"),
        ({"port": "http"}, "int"),
        ({"anonymous": "perhaps"}, "bool"),
        ({"image_source": "hub"}, "pull, archive, distro"),
        ({"state": "gone"}, "present, absent"),
    ],
)
def test_types_choices_and_keys_are_refused_by_the_specification(change: dict[str, Any], words: str) -> None:
    given = {f"registry_server_{key}": value for key, value in {"name": "reg.test", **change}.items()}
    errors = ArgumentSpecValidator(SPEC).validate(given).errors.errors
    assert len(errors) >= 1
    assert any(words in str(error) for error in errors)


@pytest.mark.parametrize("given", [{"port": "5443"}, {"anonymous": "yes"}, {"tls": "false"}, {"users": []}])
def test_numbers_and_booleans_as_text_pass_the_specification(given: dict[str, Any]) -> None:
    given = {f"registry_server_{key}": value for key, value in {"name": "reg.test", **given}.items()}
    assert ArgumentSpecValidator(SPEC).validate(given).errors.errors == []


STORE = {"s3": {"region": "us-east-1", "bucket": "wharf", "accesskey": "name", "secretkey": "SECRET-key"}}
SERVERS = [{"name": name, "address": f"{name}.test"} for name in ("alpha", "beta")]


def test_images_in_a_store_are_told_without_its_key() -> None:
    made = plan(storage=STORE, config={"storage": {"maintenance": {"uploadpurging": {"enabled": False}}}})
    assert [*made["config"]["storage"]] == ["delete", "s3", "redirect", "maintenance"]
    assert "SECRET" not in json.dumps([made["config"], made["gateway"], made["registry"]["settings"]])
    assert "SECRET" in made["registry"]["credentials"]
    known = json.loads(made["registry"]["settings"])
    assert (known["driver"], known["s3"]["bucket"], "servers" in known) == ("s3", "wharf", False)
    assert (made["gateway"]["blobs"], made["gateway"]["peers"], made["lacks_secrets"]) == ("", False, False)
    assert made["registry"]["has_network"]
    assert not {"s3", "servers"} & json.loads(plan()["registry"]["settings"]).keys()


def test_several_servers_know_each_other_by_secrets_that_are_generated(tmp_path: Path) -> None:
    several = {"storage": STORE, "servers": SERVERS, "host": "beta", "secrets_directory": str(tmp_path)}
    assert plan(**several)["lacks_secrets"]
    generate_shared_secrets(str(tmp_path))
    made = plan(**several)
    assert (made["gateway"]["peers"], made["registry"]["peers"], made["lacks_secrets"]) == (True, ["alpha.test"], False)
    known = json.loads(made["registry"]["settings"])
    assert (known["servers"], known["server"]) == (["alpha", "beta"], "beta")
    assert made["registry"]["peers_key"] not in json.dumps([made["config"], made["gateway"], known])
    (tmp_path / "peers.crt").unlink()
    found = module.server_plan({**SETTINGS, **several, "image": "registry:2.8.3"}, BASE)["problems"]
    assert [line.partition(": ")[0] for line in found] == ["registry_server_secrets_directory"]


def test_a_version_that_loses_names_has_no_images_in_a_store() -> None:
    found = module.server_plan({**SETTINGS, "storage": STORE, "image": f"registry:3.1.1@{DIGEST}"}, BASE)["problems"]
    assert [line.startswith("registry_server_storage: version 3.1.1") for line in found] == [True]

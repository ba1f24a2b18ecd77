"""daemon.json is owned key by key, and nothing that runs is killed for it."""

from __future__ import annotations

import json

import pytest
from conftest import snapshot, write

CONVERGE = "molecule/engine/converge.yml"
SYSTEMD = ["debian12", "debian13"]
ALL = [*SYSTEMD, "sysv"]


def config(host) -> dict:
    """Return the engine's configuration file."""
    return json.loads(host.file("/etc/docker/daemon.json").content_string)


def options(**options) -> list[str]:
    """Return the arguments that give the role these options and no others."""
    return ["-e", json.dumps({"docker_engine_options": options})]


@pytest.mark.parametrize("name", ALL)
def test_engine_runs_and_starts_at_boot(hosts, name):
    hosts[name].check_output("docker info")
    assert hosts[name].service("docker").is_enabled


@pytest.mark.parametrize("name", ALL)
def test_engine_has_read_its_configuration(hosts, name):
    info = json.loads(hosts[name].check_output("docker info --format '{{json .}}'"))
    assert info["LiveRestoreEnabled"] is True
    assert info["Labels"] == ["wharf=yes"]
    assert "registry.wharf.test:5000" in info["RegistryConfig"]["IndexConfigs"]


@pytest.mark.parametrize("name", SYSTEMD)
def test_other_peoples_keys_stay_and_so_does_the_files_mode(hosts, name):
    now = config(hosts[name])
    assert now["log-level"] == "warn"
    assert now["default-address-pools"] == [{"base": "10.200.0.0/16", "size": 24}]
    assert sorted(now["insecure-registries"]) == ["10.9.9.9:5000", "registry.wharf.test:5000"]
    assert now["log-opts"] == {"max-size": "10m", "max-file": "3"}
    assert hosts[name].file("/etc/docker/daemon.json").mode == 0o640


@pytest.mark.parametrize("name", SYSTEMD)
def test_reload_where_the_engine_can_reload(hosts, ansible, name):
    pid = hosts[name].file("/run/docker.pid").content_string
    result = ansible(CONVERGE, "--limit", name, *options(**{"max-concurrent-downloads": 7}))
    assert result.returncode == 0, result.stdout
    assert hosts[name].file("/run/docker.pid").content_string == pid
    # Keys that we once wrote and no longer want are gone, other people's stay.
    now = config(hosts[name])
    assert now["max-concurrent-downloads"] == 7
    assert now["insecure-registries"] == ["10.9.9.9:5000"]
    assert "labels" not in now
    assert "registry.wharf.test:5000" not in hosts[name].check_output("docker info --format '{{json .RegistryConfig}}'")


@pytest.mark.parametrize("name", ALL)
def test_restart_where_it_must(hosts, ansible, name):
    pid = hosts[name].file("/run/docker.pid").content_string
    result = ansible(CONVERGE, "--limit", name, *options(**{"log-opts": {"max-size": "20m"}}))
    assert result.returncode == 0, result.stdout
    assert hosts[name].file("/run/docker.pid").content_string != pid
    assert config(hosts[name])["log-opts"]["max-size"] == "20m"
    hosts[name].check_output("docker info")


@pytest.mark.parametrize(
    ("content", "place"),
    [('{"debug": true,\n "dns": [}\n', "line 2"), ("[]", "line 1"), ('{"debug": true, "debug": false}', "debug")],
)
def test_unreadable_configuration_is_named_and_left_alone(hosts, ansible, content, place):
    host = hosts["debian13"]
    host.check_output("cp -p /etc/docker/daemon.json /root/daemon.json")
    write(host, "/etc/docker/daemon.json", content)
    before = snapshot(host)
    result = ansible(CONVERGE, "--limit", "debian13")
    assert result.returncode != 0
    assert "/etc/docker/daemon.json" in result.stdout
    assert place in result.stdout
    assert snapshot(host) == before
    host.check_output("cp -p /root/daemon.json /etc/docker/daemon.json")


@pytest.mark.parametrize("name", ["debian13"])
def test_option_that_the_engine_does_not_know_is_refused_in_its_own_words(hosts, ansible, name):
    before = snapshot(hosts[name])
    result = ansible(CONVERGE, "--limit", name, *options(**{"no-such-key": 1}))
    assert result.returncode != 0
    assert "no-such-key" in result.stdout
    assert snapshot(hosts[name]) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [("features", {"containerd-snapshotter": True}), ("data-root", "/srv/docker"), ("storage-driver", "vfs")],
)
def test_engine_does_not_lose_sight_of_running_containers(hosts, ansible, key, value):
    host = hosts["debian13"]
    before = snapshot(host)
    result = ansible(CONVERGE, "--limit", "debian13", *options(**{key: value}))
    assert result.returncode != 0
    assert f"{key}" in result.stdout
    assert "would no longer see the containers that run now (sleeper)" in result.stdout
    assert snapshot(host) == before


def test_setting_that_names_the_store_in_use_is_no_move(hosts, ansible):
    result = ansible(CONVERGE, "--limit", "debian13", *options(**{"storage-driver": "overlay2"}))
    assert result.returncode == 0, result.stdout
    assert hosts["debian13"].check_output("docker info --format '{{.Driver}}'") == "overlay2"


def test_system_that_is_not_supported_is_refused(hosts, ansible):
    host = hosts["debian12"]
    before = snapshot(host)
    host.check_output("cp /usr/lib/os-release /root; sed -i 's/12/10/; s/bookworm/buster/' /usr/lib/os-release")
    host.check_output("cp /etc/debian_version /root/debian_version; echo 10.13 >/etc/debian_version")
    result = ansible(CONVERGE, "--limit", "debian12")
    host.check_output("cat /root/os-release >/usr/lib/os-release; cat /root/debian_version >/etc/debian_version")
    assert result.returncode != 0
    assert "Debian 10" in result.stdout
    assert snapshot(host) == before


@pytest.mark.parametrize("name", SYSTEMD)
def test_container_ran_on_through_it_all(hosts, name):
    started = hosts[name].check_output("docker inspect --format '{{.State.StartedAt}}' sleeper")
    assert started == hosts[name].check_output("cat /root/sleeper-started")

"""Plain HTTP, and a volume: the image moves, and neither the engine nor a container was restarted for it."""

from __future__ import annotations

import json
import re

import pytest
from clients import REGISTRY, pull, push
from machines import broken, container, program, put_back, replaced, without_systemd
from plays import Ansible, assert_all_is_well, write_play

HOSTS = ["server", "client1"]


@pytest.mark.parametrize("name", HOSTS)
def test_engine_was_not_restarted(hosts, name):
    assert hosts[name].check_output("cat /run/docker.pid") == hosts[name].check_output("cat /root/engine-pid")


@pytest.mark.parametrize("name", HOSTS)
def test_container_was_not_restarted(hosts, name):
    started = hosts[name].check_output("docker inspect --format '{{.State.StartedAt}}' sleeper")
    assert started == hosts[name].check_output("cat /root/sleeper-started")


@pytest.mark.parametrize("name", HOSTS)
def test_engine_knows_the_registry(hosts, name):
    assert REGISTRY in hosts[name].check_output("docker info --format '{{json .RegistryConfig.IndexConfigs}}'")


def test_image_moves(hosts, image):
    pull(hosts["server"], image, push(hosts["client1"], image))


def test_registry_speaks_plain_http_without_users(hosts):
    assert hosts["server"].file("/etc/wharf/gateway/users").content_string == ""
    assert not hosts["server"].file("/etc/wharf/tls").exists


@pytest.mark.thorough
def test_cron_collects_the_garbage_in_a_volume_of_a_registry_without_tls_and_users(hosts, ansible, image):
    server, client = hosts["server"], hosts["client1"]
    timers = "systemctl daemon-reload; systemctl start wharf-repair-storage.timer"
    with put_back(server, "/etc/systemd/system", "/etc/cron.d", then=timers):
        # Such a host has no timers either.
        server.check_output(
            "systemctl disable --now --quiet wharf-repair-storage.timer; rm -f /etc/systemd/system/wharf-*"
        )
        assert not server.file("/usr/sbin/cron").exists
        # It comes from the sources that can be used.
        stale = 'echo "deb $(grep -ohm1 "http[^ ]*" /etc/apt/sources.list)/old-stuff stale main" >{}'
        source = "/etc/apt/sources.list.d/old.list"
        with without_systemd(server), broken(server, stale.format(source), f"rm {source}"):
            result = ansible.succeeds("playbooks/deploy-registry.yml", wharf_garbage_schedule="daily")
        assert re.search(rf"old-stuff stale .*? It is about {re.escape(source)}\.", result.stdout), result.output
        assert server.file("/usr/sbin/cron").exists
        assert not server.file("/etc/systemd/system/wharf-collect-garbage.timer").exists
        table = server.file("/etc/cron.d/wharf-collect-garbage")
        assert (table.user, table.mode) == ("root", 0o644)  # cron ignores others
        (path,) = re.findall(r"^PATH=(.*)$", table.content_string, re.MULTILINE)
        (line,) = re.findall(r"^30 3 \* \* \* root (.*)$", table.content_string, re.MULTILINE)

        storage = server.check_output("docker volume inspect --format '{{.Mountpoint}}' images") + "/docker/registry/v2"
        rubbish = f"{REGISTRY}/rubbish/heap:1"
        client.check_output(f"docker tag sleeper {rubbish}")
        push(client, rubbish)
        layers = server.check_output(f"ls {storage}/repositories/rubbish/heap/_layers/sha256").split()
        digest = push(client, image)
        server.check_output(f"rm -r {storage}/repositories/rubbish")

        # As cron does it.
        ran = server.run(f"cd / && env -i HOME=/root LOGNAME=root SHELL=/bin/sh PATH={path} /bin/sh -c '{line}'")
        assert (ran.rc, ran.stdout, ran.stderr) == (0, "", "")
        told = server.file("/var/lib/wharf/results/collect-garbage").content_string
        assert re.match(r"ok \d+ deleted 3 blobs, ", told), told
        assert len(layers) == 2
        assert [name for name in layers if server.file(f"{storage}/blobs/sha256/{name[:2]}/{name}").exists] == []
        left = {"registry", "registry-network", "registry-gateway", "sleeper"}
        assert set(server.check_output("docker ps --all --format '{{.Names}}'").split()) == left
        pull(server, image, digest)
        assert push(client, rubbish)  # whole again


def test_what_a_timer_or_cron_starts_no_longer_goes(hosts, ansible):
    """The renewal, from when there was TLS, and a schedule that is wanted no longer, from when cron started it."""
    server = hosts["server"]
    server.check_output(program(server, "leave-timers.sh"))
    ansible.succeeds("playbooks/deploy-registry.yml")
    assert not server.file("/etc/cron.d/wharf-collect-garbage").exists
    assert "wharf-renew" not in server.check_output(
        "systemctl list-timers --all; ls /usr/local/sbin /etc/systemd/system"
    )
    assert ansible.succeeds("playbooks/deploy-registry.yml").changes == 0


def test_there_is_no_certificate_to_renew(ansible):
    result = ansible.fails("playbooks/renew-certificates.yml")
    assert "wharf_registry_trust: is insecure, so that there is no certificate" in result.stdout


@pytest.mark.thorough
def test_registrys_own_images_are_pulled_by_their_digests(hosts, ansible, tmp_path):
    """As the default does from Docker Hub: here the registry that is there already is the source."""
    server, sources = hosts["server"], {}
    for name in ("registry", "gateway"):
        tag = f"{REGISTRY}/test/{name}:1"
        server.check_output(f"docker tag wharf-{name}:distro {tag}")
        sources[name] = f"{tag}@{push(server, tag)}"
    variables = {
        "registry_server_name": "localhost",
        "registry_server_port": 5005,
        "registry_server_tls": False,
        "registry_server_anonymous": True,
        "registry_server_image": sources["registry"],
        "registry_server_gateway_image": sources["gateway"],
        "registry_server_container": "pulled",
        "registry_server_directory": "/srv/pulled",
        "registry_server_gateway_directory": "/srv/pulled-gateway",
        "registry_server_data": "/srv/pulled-data",
    }
    play = write_play(tmp_path, "client1", "registry_server", variables)
    ansible.succeeds(play)
    assert ansible.succeeds(play).changes == 0
    client = hosts["client1"]
    client.check_output("docker tag sleeper localhost:5005/sleeper && docker push localhost:5005/sleeper")
    client.check_output("docker rm --force pulled pulled-gateway pulled-network && rm -r /srv/pulled*")


def test_private_ca_instead_takes_the_insecure_entry_back(hosts, ansible, image):
    """Leaves the mode, and comes back to it; other people's entries stay."""
    client = hosts["client1"]
    mine = json.loads(client.file("/etc/docker/daemon.json").content_string)
    theirs = mine | {"insecure-registries": [*mine["insecure-registries"], "10.0.0.0/8"]}
    with replaced(client, "/etc/docker/daemon.json", json.dumps(theirs)):
        ansible.succeeds("site.yml", "--skip-tags", "verify", wharf_registry_trust="private_ca")
        config = json.loads(client.file("/etc/docker/daemon.json").content_string)
        assert config["insecure-registries"] == ["10.0.0.0/8"]
        pull(hosts["server"], image, push(client, image))

        ansible.succeeds("site.yml", "--skip-tags", "verify")
        config = json.loads(client.file("/etc/docker/daemon.json").content_string)
        assert sorted(config["insecure-registries"]) == ["10.0.0.0/8", REGISTRY]
        assert not client.file(f"/etc/docker/certs.d/{REGISTRY}").exists
        pull(hosts["server"], image, push(client, image))
    hosts["server"].check_output("rm -r /etc/wharf/tls /etc/wharf/ca")


def test_diagnosis_finds_all_well(ansible):
    assert_all_is_well(ansible, 2)


def test_local_inventory_makes_one_machine_server_and_client(hosts):
    """The easy start of the README, on a host that stands for the user's machine."""
    client = hosts["client1"]
    here = {
        "ansible_connection": "community.docker.docker",
        "ansible_host": container("client1"),
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "wharf_registry_container": "local",
    }
    written = ("/etc/docker", "/etc/systemd/system", "/etc/wharf", "/usr/local", "/var/lib/wharf")
    remove = "docker rm --force --volumes local local-gateway local-network"
    remove += "; systemctl daemon-reload; systemctl reload docker"
    with put_back(client, *written, then=remove):
        result = Ansible("inventories/local").succeeds("site.yml", **here)
        assert "localhost pushed sha256:" in result.stdout
        assert "localhost pulled sha256:" in result.stdout
        client.check_output("docker tag sleeper localhost:5000/sleeper && docker push localhost:5000/sleeper")

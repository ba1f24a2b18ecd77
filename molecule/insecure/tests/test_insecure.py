"""Plain HTTP, and a volume: the image moves, and neither the engine nor a container was restarted for it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator

import pytest
from conftest import REGISTRY, changes, pull, push, write
from testinfra.host import Host

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
    assert not hosts["server"].file("/etc/wharf/registry/htpasswd").exists
    assert not hosts["server"].file("/etc/wharf/tls").exists


@contextlib.contextmanager
def without_systemd(host: Host) -> Iterator[None]:
    """Hide systemd: this directory is what everyone, systemctl included, knows it by."""
    # Such a host has no timers either.
    host.check_output(
        "systemctl disable --now --quiet wharf-repair-storage.timer; rm -f /etc/systemd/system/wharf-*;"
        " mv /run/systemd/system /run/systemd/away"
    )
    try:
        yield
    finally:
        host.check_output("mv /run/systemd/away /run/systemd/system")


def test_cron_collects_the_garbage_in_a_volume_of_a_registry_without_tls_and_users(hosts, ansible, image):
    server, client = hosts["server"], hosts["client1"]
    with without_systemd(server):
        result = ansible("playbooks/deploy-registry.yml", "-e", "wharf_garbage_schedule=daily")
    assert result.returncode == 0, result.stdout
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
    assert server.check_output("docker ps --all --format '{{.Names}}'").split() == ["registry", "sleeper"]
    pull(server, image, digest)
    assert push(client, rubbish)  # whole again


def test_what_a_timer_or_cron_starts_no_longer_goes(hosts, ansible):
    """The renewal, from when there was TLS, and a schedule that is wanted no longer, from when cron started it."""
    server, unit = hosts["server"], "/etc/systemd/system/wharf-renew-certificate"
    server.check_output(
        f"printf '[Service]\\nExecStart=/bin/true\\n' >{unit}.service;"
        f" printf '[Timer]\\nOnCalendar=daily\\n[Install]\\nWantedBy=timers.target\\n' >{unit}.timer;"
        " systemctl enable --now wharf-renew-certificate.timer; touch /usr/local/sbin/wharf renew-certificate;"
        " mkdir -p /etc/cron.d; touch /etc/cron.d/wharf-collect-garbage"
    )
    assert ansible("playbooks/deploy-registry.yml").returncode == 0
    assert not server.file("/etc/cron.d/wharf-collect-garbage").exists
    assert "wharf-renew" not in server.check_output(
        "systemctl list-timers --all; ls /usr/local/sbin /etc/systemd/system"
    )
    assert changes(ansible("playbooks/deploy-registry.yml")) == 0


def test_there_is_no_certificate_to_renew(ansible):
    result = ansible("playbooks/renew-certificates.yml")
    assert result.returncode != 0
    assert "wharf_registry_trust: is insecure, so that there is no certificate" in result.stdout


def test_registrys_own_image_is_pulled_by_its_digest(hosts, ansible, tmp_path):
    """As the default does from Docker Hub: here the registry that is there already is the source."""
    source = f"{REGISTRY}/test/registry:2.8.3"
    hosts["server"].check_output(f"docker tag wharf-registry:distro {source}")
    variables = {
        "registry_server_name": "localhost",
        "registry_server_port": 5005,
        "registry_server_tls": False,
        "registry_server_anonymous": True,
        "registry_server_image": f"{source}@{push(hosts['server'], source)}",
        "registry_server_container": "pulled",
        "registry_server_directory": "/srv/pulled",
        "registry_server_data": "/srv/pulled-data",
    }
    play = tmp_path / "pulled.yml"
    role = {"role": "wharf.registry.registry_server", "vars": variables}
    play.write_text(json.dumps([{"hosts": "client1", "become": True, "gather_facts": False, "roles": [role]}]))

    result = ansible(str(play))
    assert result.returncode == 0, result.stdout
    assert changes(ansible(str(play))) == 0
    client = hosts["client1"]
    client.check_output("docker tag sleeper localhost:5005/sleeper && docker push localhost:5005/sleeper")
    client.check_output("docker rm --force pulled && rm -r /srv/pulled /srv/pulled-data")


def test_private_ca_instead_takes_the_insecure_entry_back(hosts, ansible, image):
    """Leaves the mode, and comes back to it; other people's entries stay."""
    client = hosts["client1"]
    config = json.loads(client.file("/etc/docker/daemon.json").content_string)
    config["insecure-registries"].append("10.0.0.0/8")
    write(client, "/etc/docker/daemon.json", json.dumps(config))

    result = ansible("site.yml", "-e", "wharf_registry_trust=private_ca", "--skip-tags", "verify")
    assert result.returncode == 0, result.stdout
    config = json.loads(client.file("/etc/docker/daemon.json").content_string)
    assert config["insecure-registries"] == ["10.0.0.0/8"]
    pull(hosts["server"], image, push(client, image))

    assert ansible("site.yml", "--skip-tags", "verify").returncode == 0
    config = json.loads(client.file("/etc/docker/daemon.json").content_string)
    assert sorted(config["insecure-registries"]) == ["10.0.0.0/8", REGISTRY]
    assert not client.file(f"/etc/docker/certs.d/{REGISTRY}").exists
    pull(hosts["server"], image, push(client, image))

    # As it was, for the next verification on the same hosts.
    config["insecure-registries"].remove("10.0.0.0/8")
    write(client, "/etc/docker/daemon.json", json.dumps(config))
    hosts["server"].check_output("rm -r /etc/wharf/tls /etc/wharf/ca")


def test_diagnosis_finds_all_well(ansible):
    result = ansible("playbooks/diagnose-registry.yml")
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("all is well") >= 2 * 2  # a line and a row for each


def test_local_inventory_makes_one_machine_server_and_client(hosts, ansible):
    """The easy start of the README, on a host that stands for the user's machine."""
    here = {
        "ansible_connection": "community.docker.docker",
        "ansible_host": "wharf-insecure-client1",
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "wharf_registry_container": "local",
    }
    result = ansible("site.yml", "-i", "inventories/local", "--limit", "localhost", "-e", json.dumps(here))
    assert result.returncode == 0, result.stdout
    assert "localhost pushed sha256:" in result.stdout
    assert "localhost pulled sha256:" in result.stdout
    client = hosts["client1"]
    client.check_output("docker tag sleeper localhost:5000/sleeper && docker push localhost:5000/sleeper")

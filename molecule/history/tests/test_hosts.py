"""What was on the hosts before: other people's containers, engines that map users, directories, IPv6."""

from __future__ import annotations

import json
import re
import secrets

import pytest
from clients import log_in, make_image, pull, push
from machines import PARTS, broken, engine_put_back, program, snapshot, wait_until, write

REGISTRY = "registry.corp.test:5000"
DATA = "/var/lib/wharf/registry"
CONFIG = "/etc/wharf/registry/config.yml"
# As in the registry's tutorial: its images lie in a volume without a name.
TUTORIAL = "docker run -d --restart always -p {port}:5000 -v /var/lib/registry --name {name} {image} serve /old.yml"


@pytest.fixture
def pushed(hosts, password) -> tuple[str, str]:
    """Push an image; return its reference and its digest."""
    reference = f"{REGISTRY}/test/{secrets.token_hex(6)}:1"
    make_image(hosts["client1"], reference)
    log_in(hosts["client1"], password, registry=REGISTRY)
    return reference, push(hosts["client1"], reference)


def make_tutorial_image(server) -> str:
    """Make an image like the registry's own, which serves plain HTTP without any setting; return its name."""
    config = "version: 0.1\nstorage: {filesystem: {rootdirectory: /var/lib/registry}}\nhttp: {addr: ':5000'}\n"
    write(server, "/var/tmp/old.yml", config)
    write(server, "/var/tmp/Dockerfile", "FROM wharf-registry:distro\nCOPY old.yml /old.yml\n")
    server.check_output("cd /var/tmp && tar -c old.yml Dockerfile | docker build --quiet --tag registry:2 -")
    return "registry:2"


# Other people's containers ------------------------------------------------------------------------


def test_container_of_another_is_refused_and_its_images_can_be_taken_over(hosts, ansible, pushed):
    """The commands that the message tells are run as they stand there."""
    server, client = hosts["server"], hosts["client1"]
    image = make_tutorial_image(server)
    away = f"docker stop {PARTS} && for n in {PARTS}; do docker rename $n our-$n; done"
    away += " && mv /etc/wharf /var/tmp/wharf && mv {0} {0}.ours"
    back = f"docker rm --force --volumes {PARTS} registry-old; for n in {PARTS}; do docker rename our-$n $n; done;"
    back += " rm -rf /etc/wharf {0}; mv /var/tmp/wharf /etc/wharf; mv {0}.ours {0};"
    back += f" docker start {PARTS}; docker rmi registry:2 localhost:5000/team/app:1"
    with broken(server, away.format(DATA), back.format(DATA)):
        server.check_output(TUTORIAL.format(port=5000, name="registry", image=image))
        server.check_output("docker tag registry:2 localhost:5000/team/app:1")
        wait_until(server, "docker push localhost:5000/team/app:1")
        before = snapshot(server)
        result = ansible.fails("site.yml", "--tags", "deploy")
        assert (
            "registry_server_container: server has a container registry already, of the image registry:2"
            in result.stdout
        )
        assert "it holds 1 repository in the volume" in result.stdout
        assert snapshot(server) == before

        first, second = re.findall(r"`([^`]+)`", result.stdout.partition("To take them over:")[2])[:2]
        server.check_output(first)
        server.check_output(second)
        ansible.succeeds("site.yml", "--tags", "deploy")
        assert client.run(f"docker pull {REGISTRY}/team/app:1").rc == 0
    wait_until(server, "wharf status")
    pull(client, *pushed)


@pytest.mark.thorough
def test_port_of_another_is_told_with_who_has_it(hosts, ansible):
    server = hosts["server"]
    image = make_tutorial_image(server)
    before = snapshot(server)
    run = TUTORIAL.format(port=5443, name="theirs", image=image)
    with broken(server, run, "docker rm --force --volumes theirs; docker rmi registry:2"):
        result = ansible.fails("site.yml", "--tags", "deploy", wharf_registry_port=5443)
    assert "registry_server_port: 5443 is taken on server by the container theirs" in result.stdout
    with broken(server, "systemd-run --unit holder python3 -m http.server 5443", "systemctl stop holder"):
        wait_until(server, "ss -Hltn sport = :5443 | grep -q .")
        result = ansible.fails("site.yml", "--tags", "deploy", wharf_registry_port=5443)
    assert "registry_server_port: 5443 is taken on server by python3" in result.stdout
    assert snapshot(server) == before


# Engines that map users ---------------------------------------------------------------------------


@pytest.mark.thorough
def test_engine_that_maps_users_is_served(hosts, ansible, pushed):
    """It was set up so before Wharf came: its store is another one."""
    server, client = hosts["server"], hosts["client1"]
    refused = ansible.fails("site.yml", "--tags", "install", docker_engine_options={"userns-remap": "default"})
    assert "userns-remap: the restarted engine would no longer see the containers that run now (" in refused.stdout
    restart = program(server, "restart-engine.sh")
    remove = f"docker rm --force {PARTS}; docker rmi wharf-registry:distro wharf-gateway:distro"
    with broken(server, f"docker stop {PARTS}", f"docker start {PARTS}"), engine_put_back(server):
        settings = json.loads(server.check_output("cat /etc/docker/daemon.json")) | {"userns-remap": "default"}
        write(server, "/etc/docker/daemon.json", json.dumps(settings))
        server.check_output(restart)
        assert "name=userns" in server.check_output("docker info --format '{{.SecurityOptions}}'")
        with broken(server, ":", remove):
            ansible.succeeds("site.yml", "--tags", "deploy")
            pull(client, *pushed)
            push(client, pushed[0])
            assert ansible.succeeds("site.yml", "--tags", "deploy").changes == 0


# Directories --------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_registry_starts_by_itself_when_its_disk_and_an_address_come_late(hosts, ansible, pushed):
    """An empty file system over the data stands for the mount point at boot; the address is one to listen on."""
    server, state = hosts["server"], "docker inspect --format '{{.State.Running}} {{.State.Error}}'"
    listen = [addresses(server)[0], "192.0.2.5"]
    address = "ip address {} 192.0.2.5/32 dev eth0"
    with broken(server, address.format("add"), address.format("del")):
        ansible.succeeds("site.yml", "--tags", "deploy", wharf_registry_listen=listen)
        late = f"docker stop {PARTS} && systemctl stop docker.socket docker && mount -t tmpfs none {DATA}"
        with broken(server, f"{late} && {address.format('del')} && systemctl start docker", address.format("add")):
            assert server.check_output(f"{state} {PARTS} | grep -c ^false") == "3"
            assert server.check_output(f"ls -A {DATA}") == ""
            server.check_output(f"umount {DATA}")
            # What came with the engine may still be at work, and has not seen the disk.
            wait_until(server, f"systemctl start wharf-repair-storage; {state} registry | grep ^true", 30, every=1)
            assert "cannot assign requested address" in server.check_output(f"{state} registry-network")
            assert server.run("systemctl is-failed wharf-repair-storage").rc != 0
        wait_until(server, f"[ $({state} {PARTS} | grep -c ^true) = 3 ]", 90, every=1)
        pull(hosts["client1"], *pushed)
        ansible.succeeds("site.yml", "--tags", "deploy")


def test_line_of_before_in_the_hosts_file_that_leads_elsewhere_is_refused(hosts, ansible):
    client = hosts["client1"]
    add = "echo '192.0.2.9 registry.corp.test # the old server' >>/etc/hosts"
    with broken(client, f"cp /etc/hosts /var/tmp && {add}", "cat /var/tmp/hosts >/etc/hosts"):
        before = snapshot(client)
        result = ansible.fails("playbooks/trust-registry.yml")
        assert (
            "/etc/hosts: 192.0.2.9 is the address of registry.corp.test in a line that is not Wharf's" in result.stdout
        )
        assert snapshot(client) == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ("ln -s /home /srv/case", "/srv/case on server leads to /home, which is a directory of the system"),
        pytest.param(
            "touch /srv/case",
            "/srv/case on server is or lies below /srv/case, which is no directory",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "mkdir /srv/case && mount -t tmpfs -o ro none /srv/case",
            "/srv/case on server cannot be written by root (Read-only file system)",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_place_that_cannot_hold_the_data_is_refused(hosts, ansible, make, message):
    server = hosts["server"]
    with broken(server, make, "umount /srv/case 2>/dev/null; rm -rf /srv/case"):
        before = snapshot(server)
        result = ansible.fails("playbooks/deploy-registry.yml", wharf_registry_data="/srv/case")
        assert f"registry_server_data: {message}" in result.stdout
        assert snapshot(server) == before


def test_share_whose_files_root_cannot_give_away_is_refused_with_the_remedy(hosts, ansible):
    """Python without the right to change owners stands for a share with root_squash."""
    server, python = hosts["server"], "/usr/local/bin/python-without-chown"
    write(server, python, '#!/bin/sh\nexec setpriv --bounding-set -chown -- python3 "$@"\n', "0755")
    with broken(server, "mkdir /srv/share", f"rm -r /srv/share {python}"):
        before = snapshot(server)
        place = {"wharf_registry_data": "/srv/share", "ansible_python_interpreter": python}
        result = ansible.fails("playbooks/deploy-registry.yml", "--limit", "server", **place)
        assert (
            "/srv/share on server takes no file for the user 59500 from root (Operation not permitted)" in result.stdout
        )
        assert "must belong to the user and the group 59500" in result.stdout
        assert snapshot(server) == before


def test_files_of_others_do_not_become_the_registry_s(hosts, ansible):
    """A first run: nothing is known of the registry's own data."""
    server = hosts["server"]
    hide = "mv /etc/wharf/registry/data /var/tmp/state; mkdir /srv/theirs; touch /srv/theirs/letter.txt"
    with broken(server, hide, "mv /var/tmp/state /etc/wharf/registry/data; rm -r /srv/theirs"):
        before = snapshot(server)
        result = ansible.fails("playbooks/deploy-registry.yml", wharf_registry_data="/srv/theirs")
        assert "/srv/theirs on server holds what is no registry's data (letter.txt)" in result.stdout
        assert snapshot(server) == before


# Addresses ----------------------------------------------------------------------------------------


def addresses(server) -> tuple[str, str]:
    """Return the server's IPv4 and IPv6 address."""
    found = json.loads(server.check_output("ip -json address show eth0"))[0]["addr_info"]
    by_family = {one["family"]: one["local"] for one in found if one["scope"] == "global"}
    return by_family["inet"], by_family["inet6"]


def test_client_reaches_the_registry_over_ipv6_alone(hosts, ansible, pushed):
    client, (_, ipv6) = hosts["client1"], addresses(hosts["server"])
    ansible.succeeds("playbooks/trust-registry.yml", wharf_registry_address=ipv6)
    assert client.check_output("getent ahosts registry.corp.test").split()[0] == ipv6
    pull(client, *pushed)
    ansible.succeeds("playbooks/trust-registry.yml")
    assert client.check_output("getent ahosts registry.corp.test").split()[0] != ipv6


@pytest.mark.thorough
def test_registry_listens_where_it_should_and_nowhere_else(hosts, ansible, pushed):
    server, client = hosts["server"], hosts["client1"]
    ipv4, ipv6 = addresses(server)
    wrong = ansible.fails("site.yml", "--tags", "deploy", wharf_registry_listen=["192.0.2.77"])
    assert "registry_server_listen: 192.0.2.77 is not an address of server" in wrong.stdout
    ansible.succeeds("site.yml", "--tags", "deploy", wharf_registry_listen=[ipv6])
    reached = "timeout 3 bash -c '</dev/tcp/{}/5000'"
    assert client.run(reached.format(ipv6)).rc == 0
    assert client.run(reached.format(ipv4)).rc != 0
    server.check_output("wharf collect-garbage")
    ansible.succeeds("site.yml", "--tags", "deploy")
    assert client.run(reached.format(ipv4)).rc == 0
    pull(client, *pushed)

"""A registry that lives on: each change keeps every image and takes the clients along, or is refused with a reason."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REGISTRY, changes, log_in, pull, push, snapshot, watch

ARCHIVES = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
NEW = {"wharf_registry_image_archive": str(ARCHIVES / "new.tar")}
MOVED = {"wharf_registry_data": "/srv/images"}
KEPT: dict[str, str] = {}  # images that were pushed on the way, and their digests


def images(host, *names: str) -> dict[str, str]:
    """Push images of fresh random content, one for each registry, and return their digests."""
    pushed = {}
    for name in names:
        reference = f"{name}/test/{secrets.token_hex(6)}:1"
        host.check_output(
            f"head -c 200000 /dev/urandom >/tmp/content && tar -C /tmp -c content | docker import - {reference}"
        )
        pushed[reference] = push(host, reference)
        host.check_output(f"docker image rm {reference}")
    return pushed


def all_there(host, registry: str = REGISTRY) -> None:
    """Pull every image that was ever pushed, by its digest."""
    assert KEPT
    for reference, digest in KEPT.items():
        pull(host, registry + reference[reference.index("/") :], digest)


def said(variables: dict) -> tuple[str, str]:
    """Return variables as arguments."""
    return "-e", json.dumps(variables)


def version(hosts) -> str:
    """Return the version of the registry that runs."""
    return hosts["server"].check_output("docker exec registry docker-registry --version").split()[-1]


@pytest.fixture(scope="module", autouse=True)
def _logged_in(hosts, password) -> Iterator[None]:
    log_in(hosts["client1"], password)
    KEPT.update(images(hosts["client1"], REGISTRY, REGISTRY))
    yield


# Versions -----------------------------------------------------------------------------------------


def test_upgrade_without_a_backup_is_refused(hosts, ansible):
    result = ansible("playbooks/upgrade-registry.yml", *said(NEW))
    assert result.returncode != 0
    assert "wharf_backup_repository: is not set" in result.stdout
    assert version(hosts).startswith("2.8.2")


def test_upgrade_keeps_every_image_and_stands_still_for_a_moment(hosts, ansible, number):
    client = hosts["client1"]
    with watch(client, next(iter(KEPT))) as seen:
        result = ansible("playbooks/upgrade-registry.yml", *said(NEW), "-e", "wharf_upgrade_without_backup=true")
    assert result.returncode == 0, result.stdout
    assert "version 2.8.3+ds1 of the registry takes the place of 2.8.2+ds1" in result.stdout
    assert version(hosts).startswith("2.8.3")
    all_there(client)
    assert hosts["server"].check_output("docker ps --all --format '{{.Names}}'") == "registry"
    number("upgrade, without service", seen.seconds, "s")
    assert seen.seconds < 10


def test_a_version_that_never_answers_makes_room_for_the_one_that_ran(hosts, ansible, number):
    client, server = hosts["client1"], hosts["server"]
    before = server.check_output("docker inspect --format '{{.Id}}' registry; sha256sum /etc/wharf/registry/config.yml")
    silent = {
        "wharf_registry_image_archive": str(ARCHIVES / "silent.tar"),
        "registry_server_start_timeout": 4,
        "registry_server_config": {"log": {"level": "info"}},
    }
    # Its configuration cannot be tried on an image that never answers; it is what comes back with the container.
    with watch(client, next(iter(KEPT))) as seen:
        first = ansible("playbooks/deploy-registry.yml", *said(silent))
    second = ansible("playbooks/deploy-registry.yml", *said(silent))
    for result in (first, second):
        assert result.returncode != 0
        assert "the registry does not answer as registry.wharf.test:5000" in result.stdout
        assert "I am not well" in result.stdout  # its own last words
        assert "The container that ran before is back, with its configuration." in result.stdout
    after = server.check_output("docker inspect --format '{{.Id}}' registry; sha256sum /etc/wharf/registry/config.yml")
    assert after == before
    all_there(client)
    number("failed upgrade, without service", seen.seconds, "s")


def test_downgrade_is_refused_unless_it_is_wanted(hosts, ansible):
    result = ansible("playbooks/deploy-registry.yml")  # the inventory says the old one still
    assert result.returncode != 0
    assert "this would be a downgrade to 2.8.2+ds1" in result.stdout
    assert version(hosts).startswith("2.8.3")

    assert ansible("playbooks/deploy-registry.yml", "-e", "wharf_allow_downgrade=true").returncode == 0
    assert version(hosts).startswith("2.8.2")
    all_there(hosts["client1"])


def test_configuration_that_the_version_does_not_understand_is_refused_before_anything_changes(hosts, ansible):
    before = snapshot(hosts["server"])
    result = ansible("site.yml", *said({"registry_server_config": {"redis": {"addrs": ["redis:6379"]}}}))
    assert result.returncode != 0
    assert "registry_server_config: redis.addrs is not understood by version 2.8.2" in result.stdout
    assert snapshot(hosts["server"]) == before


@pytest.mark.parametrize("state", ["renamed", "both"])
def test_run_that_was_cut_off_in_the_middle_is_mended_by_the_next(hosts, ansible, state):
    """As a power loss between two containers would leave them."""
    server = hosts["server"]
    server.check_output("docker rename registry registry-before")
    if state == "both":
        image = server.check_output("docker inspect --format '{{.Image}}' registry-before")
        server.check_output(f"docker stop registry-before; docker create --name registry {image} serve /nothing")
    result = ansible("playbooks/deploy-registry.yml")
    assert result.returncode == 0, result.stdout
    assert server.check_output("docker ps --all --format '{{.Names}}'") == "registry"
    all_there(hosts["client1"])


# Data ---------------------------------------------------------------------------------------------


def test_empty_new_place_is_refused(hosts, ansible):
    before = snapshot(hosts["server"])
    result = ansible("site.yml", *said({"wharf_registry_data": "/srv/images"}))
    assert result.returncode != 0
    assert "/srv/images on server is empty, and the images of registry.wharf.test are in /var/lib/wharf/registry" in (
        result.stdout
    )
    assert snapshot(hosts["server"]) == before


def test_data_moves_to_a_volume(hosts, ansible, number):
    client, server = hosts["client1"], hosts["server"]
    volume = said({"wharf_registry_data": "images"})
    announced = ansible("playbooks/move-registry-data.yml", *volume, "--check")
    assert announced.returncode == 0, announced.stdout
    assert "would be copied from /var/lib/wharf/registry to images" in announced.stdout
    assert server.check_output("docker volume ls --quiet") == ""

    with watch(client, next(iter(KEPT))) as seen:
        result = ansible("playbooks/move-registry-data.yml", *volume)
    assert result.returncode == 0, result.stdout
    number("data moved, without service", seen.seconds, "s")
    all_there(client)
    KEPT.update(images(client, REGISTRY))
    again = ansible("playbooks/move-registry-data.yml", *volume)
    assert "images has the images already" in again.stdout
    assert changes(again) == 0, again.stdout

    # What was left behind has no mark, and is never taken for the registry's own again.
    assert server.file("/var/lib/wharf/registry/docker").exists
    result = ansible("playbooks/deploy-registry.yml")
    assert result.returncode != 0
    assert "/var/lib/wharf/registry on server holds something else, and the images" in result.stdout


def test_move_that_cannot_be_is_refused(hosts, ansible):
    server = hosts["server"]
    server.check_output("mkdir /srv/taken; touch /srv/taken/file")
    result = ansible("playbooks/move-registry-data.yml", *said({"wharf_registry_data": "/srv/taken"}))
    assert "/srv/taken is not empty, and what lies there is no copy that was begun here" in result.stdout
    server.check_output(
        "setsid sh -c 'exec 9>>/run/lock/wharf-registry.lock; flock 9; echo $$ >/tmp/holder;"
        " echo collect-garbage $(date +%s) >/run/lock/wharf-registry.lock; exec sleep 60' >/dev/null 2>&1 & sleep 0.5"
    )
    held = ansible("playbooks/move-registry-data.yml", *said(MOVED))
    server.check_output("kill $(cat /tmp/holder); rm -r /tmp/holder /srv/taken")
    assert re.search("collect-garbage is at work on server since 20.*: wait", held.stdout), held.stdout


def test_move_that_was_cut_off_goes_on(hosts, ansible):
    """Half a copy is there, a file that was cut off in it, and one too many."""
    server = hosts["server"]
    server.check_output(
        "mkdir /srv/images; cd /var/lib/docker/volumes/images/_data; cp -a docker /srv/images/;"
        " cp .wharf /srv/images/.wharf-copy; cd /srv/images/docker/registry/v2; touch blobs/extra;"
        " truncate -s 5 $(find blobs -name data | head -n 1)"
    )
    result = ansible("playbooks/move-registry-data.yml", *said(MOVED))
    assert result.returncode == 0, result.stdout
    all_there(hosts["client1"])
    assert not server.file("/srv/images/docker/registry/v2/blobs/extra").exists


def test_disk_that_is_not_mounted_stops_the_run_and_the_container(hosts, ansible):
    """An empty tmpfs over the data stands for the mount point without its disk."""
    server = hosts["server"]
    server.check_output("docker stop registry; mount -t tmpfs none /srv/images")
    try:
        result = ansible("site.yml", *said(MOVED))
        assert result.returncode != 0
        assert "/srv/images on server is empty, but should hold the images of registry.wharf.test" in result.stdout
        started = server.run("docker start registry")
        assert started.rc != 0
        assert "bind source path does not exist: /srv/images/.wharf" in started.stderr
        assert server.check_output("ls -A /srv/images") == ""
        assert "its images are not in /srv/images" in ansible("playbooks/diagnose-registry.yml", *said(MOVED)).stdout
    finally:
        server.check_output("umount /srv/images")
    assert ansible("playbooks/deploy-registry.yml", *said(MOVED)).returncode == 0
    all_there(hosts["client1"])


def test_data_of_another_registry_is_refused_unless_it_is_confirmed(hosts, ansible):
    server = hosts["server"]
    server.check_output("mkdir /srv/other; echo 0123456789 other.wharf.test >/srv/other/.wharf")
    other = said({"wharf_registry_data": "/srv/other"})
    result = ansible("playbooks/deploy-registry.yml", *other)
    assert result.returncode != 0
    assert "/srv/other on server holds the data of another registry (other.wharf.test, 0123456789)" in result.stdout

    confirmed = ansible("playbooks/deploy-registry.yml", *other, "-e", "wharf_registry_data_confirm=/srv/other")
    assert confirmed.returncode == 0, confirmed.stdout
    missing = hosts["client1"].run(f"docker pull {next(iter(KEPT))}")
    assert "manifest unknown" in missing.stderr
    back = ansible("playbooks/deploy-registry.yml", *said(MOVED), "-e", "wharf_registry_data_confirm=/srv/images")
    assert back.returncode == 0, back.stdout
    all_there(hosts["client1"])


# Name, port, trust --------------------------------------------------------------------------------


def test_port_changes_and_the_clients_follow(hosts, ansible, password):
    client = hosts["client1"]
    port = MOVED | {"wharf_registry_port": 5443, "wharf_registry_logins": [{"user": "root", "name": "ci"}]}
    port["wharf_registry_previous_names"] = [REGISTRY]
    result = ansible("site.yml", *said(port), "--skip-tags", "verify")
    assert result.returncode == 0, result.stdout
    assert not client.file(f"/etc/docker/certs.d/{REGISTRY}").exists
    assert set(json.loads(client.check_output("cat /root/.docker/config.json"))["auths"]) == {
        "registry.wharf.test:5443"
    }
    all_there(client, "registry.wharf.test:5443")
    again = ansible("playbooks/trust-registry.yml", *said(port))
    assert changes(again) == 0, again.stdout


def test_name_changes_and_the_old_one_holds_until_it_is_called_former(hosts, ansible, password):
    client = hosts["client1"]
    new = MOVED | {"wharf_registry_name": "images.wharf.test"}
    both = new | {
        "wharf_registry_aliases": ["registry.wharf.test"],
        "wharf_registry_previous_names": ["registry.wharf.test:5443"],
        "wharf_registry_logins": [{"user": "root", "name": "ci"}],
    }
    result = ansible("site.yml", *said(both), "--skip-tags", "verify")
    assert result.returncode == 0, result.stdout
    all_there(client, "images.wharf.test:5000")
    assert hosts["server"].file(f"{MOVED['wharf_registry_data']}/.wharf").content_string.split()[1] == (
        "images.wharf.test"
    )
    # The alias is in the certificate: who trusts the CA under the old name may go on.
    client.check_output(f"cd /etc/docker/certs.d; mkdir {REGISTRY}; cp images.wharf.test:5000/* {REGISTRY}")
    log_in(client, password)
    all_there(client)
    both["wharf_registry_previous_names"] = [REGISTRY]
    assert ansible("playbooks/trust-registry.yml", *said(both)).returncode == 0
    refused = client.run(f"docker pull {next(iter(KEPT))}")
    assert "certificate signed by unknown authority" in refused.stderr


def test_plain_http_instead_of_tls_and_back(hosts, ansible, password):
    """The images stay, the users come back, and the engine's list has no entry too many."""
    client = hosts["client1"]
    plain = MOVED | {"wharf_registry_trust": "insecure", "wharf_registry_users": [], "wharf_registry_anonymous": True}
    plain["wharf_registry_previous_names"] = ["images.wharf.test:5000"]
    result = ansible("site.yml", *said(plain), "--skip-tags", "verify")
    assert result.returncode == 0, result.stdout
    all_there(client)
    assert json.loads(client.check_output("cat /etc/docker/daemon.json"))["insecure-registries"] == [REGISTRY]

    result = ansible("site.yml", *said(MOVED), "--skip-tags", "verify")
    assert result.returncode == 0, result.stdout
    assert "insecure-registries" not in json.loads(client.check_output("cat /etc/docker/daemon.json"))
    assert client.check_output("ls /etc/docker/certs.d") == REGISTRY
    log_in(client, password)
    all_there(client)


def test_no_image_was_lost(hosts, number):
    all_there(hosts["client1"])
    number("images lost", 0, "")

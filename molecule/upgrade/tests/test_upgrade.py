"""A registry that lives on: each change keeps every image and takes the clients along, or is refused with a reason."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator

import bcrypt
import pytest
from clients import REGISTRY, log_in, make_image, pull_all, push, watch
from machines import (
    PARTS,
    PREPARED,
    broken,
    container,
    containers,
    engine_that,
    from_outside,
    lock_held,
    program,
    put_back,
    snapshot,
    some,
    wait_until,
)

NEW = {"wharf_registry_image_archive": str(PREPARED / "new.tar")}  # of the registry and of its gateway
WITHOUT_BACKUP = ("-e", "wharf_upgrade_without_backup=true")
DATA = "/var/lib/wharf/registry"


def push_new(host) -> dict[str, str]:
    """Push an image of fresh random content; return its reference and its digest."""
    reference = f"{REGISTRY}/test/{secrets.token_hex(6)}:1"
    make_image(host, reference)
    digest = push(host, reference)
    host.check_output(f"docker image rm {reference}")
    return {reference: digest}


def version(hosts) -> str:
    """Return the version of the registry that runs."""
    return json.loads(hosts["server"].check_output("wharf status --json"))["containers"]["registry"]["version"]


@pytest.fixture(scope="module", autouse=True)
def kept(hosts, password, number) -> Iterator[dict[str, str]]:
    """Push images that must outlive every test of this file, to which others may be added: reference to digest."""
    log_in(hosts["client1"], password)
    images = push_new(hosts["client1"]) | push_new(hosts["client1"])
    yield images
    pull_all(hosts["client1"], images)
    number("images lost", 0, "")


@pytest.fixture(scope="module")
def steady(kept) -> str:
    """Return the image that is pulled all the time."""
    return next(iter(kept))


# Versions -----------------------------------------------------------------------------------------


def test_upgrade_without_a_backup_is_refused(hosts, ansible):
    result = ansible.fails("playbooks/upgrade-registry.yml", **NEW)
    assert "wharf_backup_repository: is not set" in result.stdout
    assert version(hosts).startswith("2.8.2")


def test_upgrade_keeps_every_image_and_a_downgrade_is_refused_unless_it_is_wanted(hosts, ansible, kept, steady, number):
    """The new one only calls itself 3.0.0. A backup could not be made: there is no such place."""
    client, server = hosts["client1"], hosts["server"]
    with watch(client, steady) as seen:
        result = ansible.succeeds("playbooks/upgrade-registry.yml", *WITHOUT_BACKUP, **NEW)
    assert "version 3.0.0 of the registry takes the place of 2.8.2+ds1" in result.stdout
    assert version(hosts) == "3.0.0"
    pull_all(client, kept)
    assert containers(server) == PARTS
    # What starts the registry when its disk comes late does so with each version.
    assert server.check_output("systemctl is-active wharf-repair-storage.timer") == "active"
    late = f"docker stop {PARTS} && systemctl stop docker.socket docker && mount -t tmpfs none {DATA}"
    with broken(server, f"{late} && systemctl start docker", f"umount {DATA}"):
        assert server.check_output("docker inspect --format '{{.State.Running}}' registry") == "false"
    run = f"[ $(docker inspect --format '{{{{.State.Running}}}}' {PARTS} | grep -c true) = 3 ]"
    # What came with the engine may still be at work, and has not seen the disk.
    wait_until(server, f"systemctl start wharf-repair-storage; {run}", 30, every=1)
    pull_all(client, kept)
    second = ansible.succeeds("playbooks/deploy-registry.yml", **NEW)
    assert second.changes == 0, second.stdout
    assert seen.failures == 0, vars(seen)
    number("upgrade, longest time between two pulls", seen.seconds, "s")

    result = ansible.fails("playbooks/deploy-registry.yml")  # the inventory says the old one still
    assert "this would be a downgrade to 2.8.2+ds1" in result.stdout
    assert version(hosts) == "3.0.0"

    with watch(client, steady) as seen:
        ansible.succeeds("playbooks/deploy-registry.yml", "-e", "wharf_allow_downgrade=true")
    assert version(hosts).startswith("2.8.2")
    assert seen.failures == 0, vars(seen)
    pull_all(client, kept)


# Of the engine's API, in their order; those before the gateway is replaced are the scenario history's matter. Each one
# is refused once by an imitated engine, in the unit tests of the module.
CALLS = [
    "registry-gateway/rename", "create.name=registry-gateway$", "containers/registry-gateway/start",
    "registry-gateway-before/stop",
]  # fmt: skip


@pytest.mark.parametrize("call", some(CALLS[-1:], CALLS))
def test_upgrade_that_fails_changes_nothing(hosts, ansible, kept, steady, call):
    """The engine refuses one of its calls."""
    client, server = hosts["client1"], hosts["server"]
    state = f"docker inspect --format '{{{{.Id}}}} {{{{.Image}}}}' {PARTS}; docker ps --all --format '{{{{.Names}}}}'"
    before = server.check_output(state), snapshot(server)
    with watch(client, steady) as seen, engine_that(server, "fail", f"POST .*{call}"):
        result = ansible.fails("playbooks/upgrade-registry.yml", *WITHOUT_BACKUP, **NEW)
    assert "broken by the test" in result.stdout, result.output
    assert "All is as it was before" in result.stdout
    assert (server.check_output(state), snapshot(server)) == before
    assert seen.failures == 0, vars(seen)
    pull_all(client, kept)


@pytest.mark.parametrize("call", some(CALLS[2:3], CALLS[1:]))
def test_upgrade_that_is_killed_is_mended_by_the_next_run(hosts, ansible, kept, steady, call):
    """It is rolled back, or stays where all of it was done; then the run brings the old one, which is wanted."""
    client, server = hosts["client1"], hosts["server"]
    with watch(client, steady) as seen:
        with engine_that(server, "hold", f"POST .*{call}"):
            with ansible.killed("playbooks/deploy-registry.yml", **NEW):
                wait_until(server, "[ -e /run/wharf-test-hit ]", 90)
            server.check_output("kill -9 $(cat /run/wharf-test-hit)")
        ansible.succeeds("playbooks/deploy-registry.yml", "-e", "wharf_allow_downgrade=true")
    assert version(hosts).startswith("2.8.2")
    assert containers(server) == PARTS
    assert seen.failures == 0, vars(seen)
    pull_all(client, kept)


@pytest.mark.thorough
def test_a_version_that_never_answers_makes_room_for_the_one_that_ran(hosts, ansible, kept, steady, number):
    client, server = hosts["client1"], hosts["server"]
    before = snapshot(server)
    silent = {
        "wharf_registry_image_archive": str(PREPARED / "silent.tar"),
        "registry_server_start_timeout": 4,
        "registry_server_config": {"log": {"level": "info"}},
    }
    # Its configuration cannot be tried on an image that never answers; it is what comes back with the container.
    with watch(client, steady) as seen:
        first = ansible("playbooks/deploy-registry.yml", **silent)
    second = ansible("playbooks/deploy-registry.yml", **silent)
    for result in (first, second):
        assert result.returncode != 0
        assert "the registry itself does not answer: " in result.stdout
        assert "I am not well" in result.stdout  # its own last words
        assert (
            "All is as it was before: the containers that ran, their configuration, users and certificate."
            in result.stdout
        )
    assert snapshot(server) == before
    assert seen.failures == 0, vars(seen)
    pull_all(client, kept)


def test_configuration_that_the_version_does_not_understand_is_refused_before_anything_changes(hosts, ansible):
    before = snapshot(hosts["server"])
    result = ansible.fails("site.yml", registry_server_config={"redis": {"addrs": ["redis:6379"]}})
    assert "registry_server_config: redis.addrs is not understood by version 2.8.2" in result.stdout
    assert snapshot(hosts["server"]) == before


@pytest.mark.parametrize("name", some(["registry-network"], PARTS.split()))
@pytest.mark.parametrize("state", some(["both"], ["renamed", "both"]))
def test_run_that_was_cut_off_in_the_middle_is_mended_by_the_next(hosts, ansible, kept, name, state):
    """As a power loss between two containers would leave them."""
    server = hosts["server"]
    server.check_output(f"docker rename {name} {name}-before")
    if state == "both":
        image = server.check_output(f"docker inspect --format '{{{{.Image}}}}' {name}-before")
        create = f"docker create --name {name} --label wharf.config=other {image} serve /nothing"
        server.check_output(f"docker stop {name}-before; {create}")
    ansible.succeeds("playbooks/deploy-registry.yml")
    assert containers(server) == PARTS
    pull_all(hosts["client1"], kept)


@pytest.mark.parametrize(
    ("call", "reboots"),
    [
        ("containers/registry-network/start", True),
        pytest.param("containers/registry-gateway/start", False, marks=pytest.mark.thorough),
    ],
)
def test_run_that_was_killed_is_mended_by_the_server_itself(hosts, ansible, kept, call, reboots):
    """While nobody serves, because the port is another's. What runs every minute is run by hand here.

    So it is before the run is killed as well, which it must not touch.
    """
    client, server = hosts["client1"], hosts["server"]
    state = f"docker inspect --format '{{{{.Name}}}} {{{{.Id}}}}' {PARTS}; docker ps --all --quiet | wc --lines"
    before = server.check_output(state)
    with engine_that(server, "hold", f"POST .*{call}"):
        with ansible.killed("playbooks/deploy-registry.yml", wharf_registry_listen=["0.0.0.0"]):
            wait_until(server, "[ -e /run/wharf-test-hit ]", 90)
        at_work = server.check_output(state)
        server.check_output("systemctl start wharf-repair-storage")
        assert server.check_output(state) == at_work != before
        server.check_output("kill -9 $(cat /run/wharf-test-hit)")
    if reboots:
        from_outside("restart", container("server"))
    wait_until(server, "systemctl start wharf-repair-storage; [ ! -e /etc/wharf/before.json ]", 90, every=1)
    assert server.check_output(state) == before
    pull_all(client, kept)
    assert ansible.succeeds("playbooks/deploy-registry.yml").changes == 0


# Before there was a gateway -----------------------------------------------------------------------


@pytest.fixture
def before_the_gateway(hosts, password, kept) -> None:
    """Have a deployment of the version before, and one more image in it; the script says what is imitated."""
    client, server = hosts["client1"], hosts["server"]
    users = f"ci:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}"
    server.check_output(f"echo '{users}' | {program(server, 'make-deployment-of-before.sh')}")
    assert containers(server) == "registry"
    pull_all(client, kept)
    kept.update(push_new(client))


@pytest.mark.thorough
def test_deployment_of_before_is_taken_over(hosts, ansible, password, kept, steady, before_the_gateway, number):
    """Where its last step fails, the container of before is back, with its files; then all of it goes well."""
    client, server = hosts["client1"], hosts["server"]
    fault = engine_that(server, "fail", "POST .*create.name=registry-gateway$")
    result = ansible.fails_whole((server, client), fault, "site.yml", "--skip-tags", "verify")
    assert "broken by the test" in result.stdout, result.output
    assert "All is as it was before" in result.stdout
    pull_all(client, kept)
    with watch(client, steady) as seen:
        ansible.succeeds("site.yml")
    assert containers(server) == PARTS
    assert not server.file("/etc/wharf/registry/htpasswd").exists
    log_in(client, password)
    pull_all(client, kept)
    kept.update(push_new(client))
    assert ansible.succeeds("site.yml", "--skip-tags", "verify").changes == 0
    number("takeover of a deployment without a gateway, without service", seen.seconds, "s")


# Data ---------------------------------------------------------------------------------------------


def test_empty_new_place_is_refused(hosts, ansible):
    before = snapshot(hosts["server"])
    result = ansible.fails("site.yml", wharf_registry_data="/srv/images")
    assert f"/srv/images on server is empty, and the images of registry.wharf.test are in {DATA}" in result.stdout
    assert snapshot(hosts["server"]) == before


def test_data_moves_to_a_volume_and_back_in_two_goes(hosts, ansible, kept, steady, number):
    client, server = hosts["client1"], hosts["server"]
    announced = ansible.succeeds("playbooks/move-registry-data.yml", "--check", wharf_registry_data="images")
    assert f"would be copied from {DATA} to images" in announced.stdout
    assert server.check_output("docker volume ls --quiet") == ""

    with watch(client, steady) as seen:
        ansible.succeeds("playbooks/move-registry-data.yml", wharf_registry_data="images")
    number("data moved, without service", seen.seconds, "s")
    pull_all(client, kept)
    kept.update(push_new(client))
    again = ansible("playbooks/move-registry-data.yml", wharf_registry_data="images")
    assert "images has the images already" in again.stdout
    assert again.changes == 0, again.stdout

    # What was left behind has no mark, and is never taken for the registry's own again.
    assert server.file(f"{DATA}/docker").exists
    result = ansible.fails("playbooks/deploy-registry.yml")
    assert f"{DATA} on server holds something else, and the images" in result.stdout

    # A move that was cut off goes on.
    server.check_output(f"rm -r {DATA}/docker")
    server.check_output(program(server, "cut-copy-off.sh", "/var/lib/docker/volumes/images/_data", DATA))
    ansible.succeeds("playbooks/move-registry-data.yml")
    pull_all(client, kept)
    assert not server.file(f"{DATA}/docker/registry/v2/blobs/extra").exists
    server.check_output("docker volume rm images")


@pytest.mark.thorough
def test_move_that_cannot_be_is_refused(hosts, ansible):
    with broken(hosts["server"], "mkdir /srv/taken; touch /srv/taken/file", "rm -r /srv/taken"):
        result = ansible("playbooks/move-registry-data.yml", wharf_registry_data="/srv/taken")
    assert "/srv/taken is not empty, and what lies there is no copy that was begun here" in result.stdout
    with lock_held(hosts["server"]):
        held = ansible("playbooks/move-registry-data.yml", wharf_registry_data="/srv/images")
    assert re.search("collect-garbage is at work on server since 20.*: wait", held.stdout), held.stdout


@pytest.mark.thorough
def test_disk_that_is_not_mounted_stops_the_run_and_the_container(hosts, ansible, kept):
    """An empty tmpfs over the data stands for the mount point without its disk."""
    server = hosts["server"]
    with broken(server, f"docker stop registry; mount -t tmpfs none {DATA}", f"umount {DATA}"):
        result = ansible.fails("site.yml")
        assert f"{DATA} on server is empty, but should hold the images of registry.wharf.test" in result.stdout
        started = server.run("docker start registry")
        assert started.rc != 0
        assert f"bind source path does not exist: {DATA}/.wharf" in started.stderr
        assert server.check_output(f"ls -A {DATA}") == ""
        assert f"its images are not in {DATA}" in ansible("playbooks/diagnose-registry.yml").stdout
    ansible.succeeds("playbooks/deploy-registry.yml")
    pull_all(hosts["client1"], kept)


@pytest.mark.thorough
def test_data_of_another_registry_is_refused_unless_it_is_confirmed(hosts, ansible, kept, steady):
    server, other = hosts["server"], {"wharf_registry_data": "/srv/other"}
    server.check_output("mkdir /srv/other; echo 0123456789 other.wharf.test >/srv/other/.wharf")
    result = ansible.fails("playbooks/deploy-registry.yml", **other)
    assert "/srv/other on server holds the data of another registry (other.wharf.test, 0123456789)" in result.stdout

    confirmed = ("-e", "wharf_registry_data_confirm=/srv/other")
    ansible.succeeds("playbooks/deploy-registry.yml", *confirmed, **other)
    missing = hosts["client1"].run(f"docker pull {steady}")
    assert "manifest unknown" in missing.stderr
    ansible.succeeds("playbooks/deploy-registry.yml", "-e", f"wharf_registry_data_confirm={DATA}")
    pull_all(hosts["client1"], kept)
    server.check_output("rm -r /srv/other")


# Name, port, trust --------------------------------------------------------------------------------


def change_port(hosts, ansible, kept: dict[str, str]) -> None:
    """Change the registry's port to 5443; the clients follow."""
    client = hosts["client1"]
    port = {"wharf_registry_port": 5443, "wharf_registry_logins": [{"user": "root", "name": "ci"}]}
    port["wharf_registry_previous_names"] = [REGISTRY]
    ansible.succeeds("site.yml", "--skip-tags", "verify", **port)
    assert not client.file(f"/etc/docker/certs.d/{REGISTRY}").exists
    logins = json.loads(client.check_output("cat /root/.docker/config.json"))["auths"]
    assert set(logins) == {"registry.wharf.test:5443"}
    pull_all(client, kept, "registry.wharf.test:5443")
    again = ansible("playbooks/trust-registry.yml", **port)
    assert again.changes == 0, again.stdout


def change_name(hosts, ansible, kept: dict[str, str]) -> None:
    """Change its name, and its port back; the old name holds as long as it is an alias."""
    client = hosts["client1"]
    both = {
        "wharf_registry_name": "images.wharf.test",
        "wharf_registry_aliases": ["registry.wharf.test"],
        "wharf_registry_previous_names": ["registry.wharf.test:5443"],
        "wharf_registry_logins": [{"user": "root", "name": "ci"}],
    }
    ansible.succeeds("site.yml", "--check", **both)  # its certificate is only announced
    ansible.succeeds("site.yml", "--skip-tags", "verify", **both)
    pull_all(client, kept, "images.wharf.test:5000")
    assert hosts["server"].file(f"{DATA}/.wharf").content_string.split()[1] == "images.wharf.test"
    pull_all(client, kept)
    both["wharf_registry_aliases"] = []
    ansible.succeeds("playbooks/trust-registry.yml", **both)
    logins = json.loads(client.check_output("cat /root/.docker/config.json"))["auths"]
    assert set(logins) == {"images.wharf.test:5000"}
    refused = client.run(f"docker pull {next(iter(kept))}")
    assert "certificate signed by unknown authority" in refused.stderr


def change_trust(hosts, ansible, password: str, kept: dict[str, str]) -> None:
    """Change to plain HTTP and back, under the old name.

    The images stay, the users come back, and the engine's list has no entry too many.
    """
    client = hosts["client1"]
    plain = {"wharf_registry_trust": "insecure", "wharf_registry_users": [], "wharf_registry_anonymous": True}
    plain["wharf_registry_previous_names"] = ["images.wharf.test:5000"]
    ansible.succeeds("site.yml", "--skip-tags", "verify", **plain)
    pull_all(client, kept)
    assert json.loads(client.check_output("cat /etc/docker/daemon.json"))["insecure-registries"] == [REGISTRY]

    ansible.succeeds("site.yml", "--skip-tags", "verify")
    assert "insecure-registries" not in json.loads(client.check_output("cat /etc/docker/daemon.json"))
    assert client.check_output("ls /etc/docker/certs.d") == REGISTRY
    log_in(client, password)
    pull_all(client, kept)


def test_port_changes_and_the_clients_follow(hosts, ansible, password, kept):
    client = hosts["client1"]
    with put_back(client, "/root/.docker/config.json"):
        change_port(hosts, ansible, kept)
        previous = ["registry.wharf.test:5443"]
        ansible.succeeds("site.yml", "--skip-tags", "verify", wharf_registry_previous_names=previous)
        log_in(client, password)
        pull_all(client, kept)


@pytest.mark.thorough
def test_port_name_and_trust_change_and_the_clients_follow(hosts, ansible, password, kept):
    """Each begins where the one before has ended, and the last one ends where the first began."""
    with put_back(hosts["client1"], "/root/.docker/config.json"):
        change_port(hosts, ansible, kept)
        change_name(hosts, ansible, kept)
        change_trust(hosts, ansible, password, kept)

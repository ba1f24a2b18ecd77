"""Maintenance that nobody notices: one client pulls and one pushes all the time, and neither of them sees a thing.

Each test prints its longest rounds in the scenario's last lines. They may be a second longer than those of a run of
site.yml that changes nothing.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
from attacks import CA
from clients import REGISTRY, AllTheTime, log_in, login, make_image, served_certificate
from machines import (
    container,
    docker_that,
    from_outside,
    in_background,
    lock_held,
    program,
    replaced,
    wait_until,
    without_repair,
)
from testinfra.host import Host

STORAGE = "/var/lib/wharf/registry/docker/registry/v2"
CONTAINERS = ("registry", "registry-network", "registry-gateway")
DEPLOY = "playbooks/deploy-registry.yml"
Notice = Callable[..., AbstractContextManager[None]]
# 401 is an answer of the gateway's own, /health one of the registry behind it.
HEALTHY = (
    "python3 -c \"import ssl, urllib.request as r; r.urlopen('https://127.0.0.1:5000/health',"
    ' context=ssl._create_unverified_context(), timeout=2)"'
)


@pytest.fixture(scope="module")
def everybody(hosts, passwords) -> Iterator[AllTheTime]:
    clients = AllTheTime(hosts["client2"], "ann", passwords["ann"])
    yield clients
    clients.end()


@pytest.fixture(scope="module")
def pace(everybody, ansible, number) -> dict[str, float]:
    """Return the longest round of each kind while site.yml finds nothing to change."""
    with everybody.during() as rounds:
        assert ansible.succeeds("site.yml").changes == 0
    assert not rounds.failures
    for kind, longest in rounds.longest.items():
        number(f"site.yml without a change, longest {kind}", longest, "s")
    return rounds.longest


@pytest.fixture(scope="module")
def unnoticed(everybody, pace, number) -> Notice:
    """Return what demands that no client notices what happens in a block; pushes may wait, if it says so."""

    @contextmanager
    def watch(name: str, pushes_wait: bool = False) -> Iterator[None]:
        with everybody.during() as rounds:
            yield
        for kind, longest in rounds.longest.items():
            number(f"{name}, longest {kind}", longest, "s")
        assert not rounds.failures, f"{len(rounds.failures)} failed: {rounds.failures[:3]}"
        kinds = ["pull"] if pushes_wait else ["pull", "push"]
        assert all(rounds.longest[kind] <= pace[kind] + 1 for kind in kinds), (rounds.longest, pace)

    return watch


def running(server: Host) -> dict[str, str]:
    """Return the IDs of all containers, and when they started."""
    lines = server.check_output(
        "docker inspect --format '{{.Name}} {{.Id}} {{.State.StartedAt}} {{.State.Running}}' $(docker ps --all --quiet)"
    ).splitlines()
    found = {line.split()[0].lstrip("/"): " ".join(line.split()[1:]) for line in lines}
    assert set(found) == set(CONTAINERS), found
    assert all(state.endswith("true") for state in found.values()), found
    return found


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Return which containers are others, or were started anew."""
    return {name for name in CONTAINERS if before[name] != after[name]}


def new_image(server: Host, image: str, change: str) -> None:
    """Give the name of an image to one that differs from it."""
    server.check_output(
        f"id=$(docker create {image} x) && docker commit --change '{change}' $id {image} && docker rm $id"
    )


# Changes ------------------------------------------------------------------------------------------


def test_renewal(server, unnoticed):
    before, certificate = running(server), served_certificate(server)
    with unnoticed("renewal"):
        server.check_output("wharf renew-certificate --now")
    assert served_certificate(server) != certificate
    assert changed(before, running(server)) == set()


def test_change_of_users_rules_and_hashes(hosts, ansible, server, passwords, unnoticed):
    """Of the two hashes each user has logged in with {SSHA} before, and logs in with bcrypt now."""
    assert re.fullmatch(r"(\w+:\{SSHA\}\S+\n?){4}", server.file("/etc/wharf/gateway/users").content_string)
    before = running(server)
    users = [{"name": "ci"}, {"name": "ann"}, {"name": "boss", "role": "admin"}, {"name": "new", "role": "reader"}]
    rules = [{"repositories": "lib/**", "read": ["new"], "write": ["ci"]}]
    with unnoticed("users, rules and hashes"):
        ansible.succeeds(DEPLOY, wharf_registry_users=users, wharf_registry_rules=rules, wharf_registry_bcrypt_cost=4)
    assert changed(before, running(server)) == set()
    assert re.fullmatch(r"(\w+:\$2[aby]\$04\$\S+\n?){4}", server.file("/etc/wharf/gateway/users").content_string)
    client = hosts["client1"]
    assert client.run(login(passwords["ci"], "ci")).rc == 0
    assert client.run(login(passwords["kiosk"], "kiosk")).rc != 0
    assert "ann nothing" in " ".join(server.check_output("wharf access ann lib/x").split())


def test_change_of_configuration(ansible, server, unnoticed):
    """The one of before comes back, with users and rules; the registry's container is another."""
    before = running(server)
    with unnoticed("configuration"):
        ansible.succeeds(DEPLOY, registry_server_config={"log": {"level": "info"}})
    assert changed(before, running(server)) == {"registry"}


@pytest.mark.parametrize("name", ["registry", "gateway"])
def test_upgrade(ansible, server, unnoticed, name):
    """The new image differs in a label alone: the lab has one version of each."""
    before = running(server)
    new_image(server, f"wharf-{name}:distro", f"LABEL try={time.time()}")
    with unnoticed(f"upgrade of the {name}"):
        ansible.succeeds(DEPLOY)
    assert changed(before, running(server)) >= {"registry" if name == "registry" else "registry-gateway"}


@pytest.mark.parametrize("name", ["registry", "gateway"])
@pytest.mark.thorough("gateway")
def test_upgrade_that_does_not_answer_goes_back(ansible, server, unnoticed, name):
    before, image = running(server), f"wharf-{name}:distro"
    server.check_output(f"docker tag {image} good:1")
    try:
        if name == "registry":
            new_image(server, image, 'ENTRYPOINT ["/usr/bin/docker-registry", "nonsense"]')
        else:
            server.check_output(f"docker tag wharf-registry:distro {image}")  # which has no nginx
        with unnoticed(f"rollback of the {name}"):
            result = ansible.fails(DEPLOY, registry_server_start_timeout=4)
    finally:
        server.check_output(f"docker tag good:1 {image} && docker image rm good:1")
    assert "All is as it was before" in result.stdout, result.output
    assert changed(before, running(server)) == set()


@pytest.mark.thorough
def test_failure_when_the_new_registry_serves_already(hosts, ansible, server, passwords, unnoticed):
    """In one run another configuration, and an image for the gateway without nginx, which is found out last.

    Uploads that the new registry has begun end there.
    """
    before, image, client, file = running(server), "wharf-gateway:distro", hosts["client1"], "/tmp/slow-uploads.json"
    slow = program(client, "slow-uploads.py", REGISTRY, CA, "ci", "lib/slow", file)
    client.check_output(
        f"rm -f {file}*; echo '{passwords['ci']}' >/tmp/password; setsid {slow} </tmp/password >/dev/null 2>&1 &"
    )
    server.check_output(f"docker tag {image} good:1 && docker tag wharf-registry:distro {image}")
    try:
        with unnoticed("rollback of both"):
            result = ansible.fails(DEPLOY, registry_server_config={"log": {"level": "debug"}})
    finally:
        server.check_output(f"docker tag good:1 {image} && docker image rm good:1")
        client.check_output(f"touch {file}.stop")
    wait_until(client, f"[ -e {file} ]", 30)
    seen = json.loads(client.check_output(f"cat {file}"))
    assert "All is as it was before" in result.stdout, result.output
    assert seen["uploads"] > 10
    assert seen["failures"] == []
    # The same containers; the registry had ended already, and was started again.
    assert {name: state.split()[0] for name, state in running(server).items()} == {
        name: state.split()[0] for name, state in before.items()
    }


@pytest.mark.thorough
def test_backup(ansible, server, unnoticed):
    before = running(server)
    with unnoticed("backup"):
        result = ansible.succeeds("playbooks/back-up-registry.yml", wharf_backup_repository="/srv/backup")
    assert re.search(r"snapshot \w+: \d+ tags", result.stdout), result.output
    assert changed(before, running(server)) == set()


def test_rotation_of_the_ca(ansible, server, unnoticed):
    before, certificate = running(server), served_certificate(server)
    with unnoticed("rotation of the CA"):
        ansible.succeeds("playbooks/rotate-ca.yml")
    assert served_certificate(server) != certificate
    assert changed(before, running(server)) == set()


# Collection ---------------------------------------------------------------------------------------


@pytest.fixture
def garbage(hosts, server, passwords) -> None:
    """Push an image, and take its repository away."""
    client, image = hosts["client1"], f"{REGISTRY}/lib/garbage:1"
    log_in(client, passwords["boss"], "boss")
    make_image(client, image)
    client.check_output(f"docker push {image} && docker image rm {image}")
    server.check_output(f"rm -r {STORAGE}/repositories/lib/garbage")


def pushes(hosts, passwords, tag: str) -> dict[str, tuple[Host, str]]:
    """Prepare pushes of random content by each tool: its name to the host and the command."""
    docker, tools, creds = hosts["client1"], hosts["client2"], f"ci:{passwords['ci']}"
    make_image(docker, f"{REGISTRY}/lib/docker:{tag}", 30_000_000)
    make_image(tools, f"{REGISTRY}/lib/ctr:{tag}")
    tools.check_output(
        f"docker save {REGISTRY}/lib/ctr:{tag} >/tmp/{tag}.tar && ctr image import /tmp/{tag}.tar >/dev/null"
        f" && podman load --quiet --input /tmp/{tag}.tar && podman tag {REGISTRY}/lib/ctr:{tag}"
        f" {REGISTRY}/lib/podman:{tag}"
    )
    return {
        "docker": (docker, f"docker push {REGISTRY}/lib/docker:{tag}"),
        "containerd": (tools, f"ctr image push --user {creds} --tlscacert {CA} {REGISTRY}/lib/ctr:{tag}"),
        "podman": (tools, f"podman push --creds {creds} {REGISTRY}/lib/podman:{tag}"),
        "skopeo": (
            tools,
            f"skopeo copy --dest-creds {creds} docker-archive:/tmp/{tag}.tar docker://{REGISTRY}/lib/skopeo:{tag}",
        ),
    }


def begin(all_of_them: dict[str, tuple[Host, str]], tag: str) -> None:
    """Begin pushes in the background."""
    for name, (host, command) in all_of_them.items():
        host.check_output(f"rm -f /tmp/{tag}.{name}")
        host.check_output(in_background(f"sh -c '{command} >/tmp/{tag}.{name}.out 2>&1; echo $? >/tmp/{tag}.{name}'"))


def assert_pushed(all_of_them: dict[str, tuple[Host, str]], tag: str) -> None:
    """Wait until pushes have ended, and assert that all ended well."""
    for name, (host, _) in all_of_them.items():
        wait_until(host, f"[ -s /tmp/{tag}.{name} ]", 60)
        code, output = host.check_output(f"cat /tmp/{tag}.{name} /tmp/{tag}.{name}.out").split("\n", 1)
        assert code == "0", f"{name}: {output}"


def test_collection(hosts, server, passwords, unnoticed, garbage):
    """Pushes by each tool, begun before and while it collects, end well by themselves. The collector takes 3 s more."""
    log_in(hosts["client1"], passwords["ci"])
    before, early, late = running(server), pushes(hosts, passwords, "early"), pushes(hosts, passwords, "late")
    slow = '"start --attach registry-collect-garbage") touch /tmp/collecting; sleep 3; real "$@" ;;'
    server.check_output("rm -f /tmp/collecting /tmp/collected")
    with docker_that(server, slow), unnoticed("collection", pushes_wait=True):
        begin(early, "early")
        server.check_output(in_background("sh -c 'wharf collect-garbage >/tmp/out 2>&1; echo $? >/tmp/collected'"))
        wait_until(server, "[ -e /tmp/collecting ]", 60)
        begin(late, "late")
        wait_until(server, "[ -e /tmp/collected ]", 90)
        assert_pushed(early, "early")
        assert_pushed(late, "late")
    assert server.check_output("cat /tmp/collected") == "0", server.check_output("cat /tmp/out")
    assert re.search(r"deleted: \d+ blobs?", server.check_output("cat /tmp/out"))
    assert changed(before, running(server)) == set()


@pytest.mark.thorough
def test_collection_that_is_killed_lets_pushes_go_on_within_a_minute(
    hosts, server, passwords, unnoticed, garbage, number
):
    before, held = running(server), pushes(hosts, passwords, "held")
    kill = '"start --attach registry-collect-garbage") kill -9 $PPID; exit 1 ;;'
    with without_repair(server), docker_that(server, kill), unnoticed("killed collection", pushes_wait=True):
        assert server.run("wharf collect-garbage").rc != 0
        begin(held, "held")
        time.sleep(2)
        assert not server.run("docker inspect registry-writes").rc
        for name, (host, _) in held.items():
            assert not host.file(f"/tmp/held.{name}").exists, name
        start = time.monotonic()
        server.check_output("systemctl start wharf-repair-storage.service")
        number("killed collection, healed in", time.monotonic() - start, "s")
        assert_pushed(held, "held")
    assert changed(before, running(server)) == set()


# What stops the containers ------------------------------------------------------------------------


def heals(server: Host, number, name: str, seconds: float) -> None:
    """Wait until all three containers run, and the registry answers, with nobody's help."""
    start = time.monotonic()
    wait_until(server, HEALTHY, seconds, every=0.2)
    number(f"{name}, answers after", time.monotonic() - start, "s")
    running(server)


def test_reboot_of_the_server(server, number):
    """A reboot's containers start in an order of chance (moby#50326)."""
    from_outside("restart", container("server"))
    heals(server, number, "reboot", 60)


def test_restart_of_an_engine_that_takes_its_containers_along(server, number):
    restart = "systemctl reset-failed docker; systemctl restart docker"
    with replaced(server, "/etc/docker/daemon.json", '{"live-restore": false}', then=restart):
        server.check_output(restart)
        heals(server, number, "restart of the engine", 60)


@pytest.mark.parametrize("holder", ["nobody", "back-up"])
@pytest.mark.thorough("back-up")
def test_restart_of_the_network_by_hand(server, number, holder):
    """The gateway is cut off. A backup may have the lock for hours."""
    with without_repair(server), nullcontext() if holder == "nobody" else lock_held(server, name=holder):
        server.check_output("docker restart --time 1 registry-network")
        assert server.run(HEALTHY).rc != 0
        start = time.monotonic()
        server.check_output("systemctl start wharf-repair-storage.service")
        heals(server, number, f"restart of the network, {holder} at work", 20)
        number(f"restart of the network, {holder} at work, healed in", time.monotonic() - start, "s")

"""A standby has each tag whole at every moment and takes no pushes; it becomes the server, and what is lost is told.

The network is cut with iptables, and a lost machine is a container that is killed and not started again for a while.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import pytest
from clients import REGISTRY, AllTheTime, make_image, pull, push
from machines import broken, container, from_outside, in_background, program, put, wait_until, without_repair
from plays import Ansible, with_groups
from testinfra.host import Host

DATA = "/var/lib/wharf/registry"
REPOSITORIES = f"{DATA}/docker/registry/v2/repositories"
CA = f"/etc/docker/certs.d/{REGISTRY}/wharf-ca.crt"
FEED = "wharf feed-standbys --wait 60 --json"
TIMER = "wharf-feed-standbys.timer"
STOP = f"systemctl stop {TIMER} wharf-feed-standbys.service"  # one may be under way
RUNS = 5  # of rsync in a copy


@pytest.fixture
def still(hosts) -> Iterator[Host]:
    """Return the server, which copies only when it is told to."""
    with broken(hosts["alpha"], f"{STOP} && {FEED}", f"systemctl start {TIMER}"):
        yield hosts["alpha"]


def feed(server: Host, standby: str = "beta") -> dict:
    """Let the server copy, and return what it says of a standby."""
    return json.loads(server.run(FEED).stdout)["standbys"][standby]


def publish(client: Host, name: str) -> str:
    """Push an image of fresh content, and return its digest."""
    make_image(client, f"{REGISTRY}/{name}")
    return push(client, f"{REGISTRY}/{name}")


def address(host: Host) -> str:
    """Return the address of a host."""
    return host.check_output("hostname --ip-address").split()[0]


def led_to(client: Host, host: Host) -> AbstractContextManager[None]:
    """Let the registry's name lead a client to another host, in place: the file is a mount. Go remembers it for 5 s."""
    line = f"s/^[0-9.]+(.*registry\\.wharf\\.test)/{address(host)}\\1/"
    change = f"cp /etc/hosts /root/hosts && sed -E '{line}' /root/hosts >/etc/hosts && sleep 5"
    return broken(client, change, "cat /root/hosts >/etc/hosts")


def tags(host: Host) -> dict[str, str]:
    """Return what a host's storage has tagged: digests by REPOSITORY:TAG."""
    links = host.run(f"cd {REPOSITORIES} && grep --recursive --include link '' . | grep /_manifests/tags/.*/current/")
    rows = [line.removeprefix("./").split("/current/link:") for line in links.stdout.splitlines()]
    return {path.replace("/_manifests/tags/", ":"): digest for path, digest in rows}


def assert_whole(host: Host) -> None:
    """Assert that each tag of a host can be served."""
    assert json.loads(host.run("wharf verify-storage --contents --json").stdout)["problems"] == []


# A standby ----------------------------------------------------------------------------------------


def test_a_standby_serves_what_was_pushed_to_the_server_and_takes_nothing_itself(hosts, still):
    client, beta = hosts["client1"], hosts["beta"]
    digest = publish(client, "team/app:1")
    assert feed(still)["changed"]
    with led_to(client, beta):
        pull(client, f"{REGISTRY}/team/app:1", digest)
        make_image(client, f"{REGISTRY}/team/app:2")
        assert (
            "this is a standby of alpha and takes no pushes" in client.run(f"docker push {REGISTRY}/team/app:2").stderr
        )
    for command in ("collect-garbage", "apply-retention", "back-up", "feed-standbys"):
        assert "this is a standby of alpha" in beta.run(f"wharf {command} </dev/null").stderr
    assert "copied from alpha" in beta.check_output("wharf status")
    assert not feed(still)["changed"]


def test_what_the_server_deletes_goes_from_the_standby(hosts, still, passwords):
    client, beta = hosts["client1"], hosts["beta"]
    digest = publish(client, "gone/app:1")
    feed(still)
    assert tags(beta)["gone/app:1"] == digest
    delete = program(client, "delete.py", REGISTRY, CA, "gone/app", digest)
    client.check_output(f"echo 'boss:{passwords['boss']}' | {delete}")
    still.check_output("wharf collect-garbage")
    feed(still)
    assert "gone/app:1" not in tags(beta)
    assert tags(beta) == tags(still)
    number = digest.partition(":")[2]
    assert not beta.file(f"{DATA}/docker/registry/v2/blobs/sha256/{number[:2]}/{number}").exists
    assert_whole(beta)


@pytest.mark.thorough("1", "2", "5")
@pytest.mark.parametrize("run", range(1, RUNS + 1))
def test_a_copy_that_is_killed_leaves_a_whole_registry(hosts, still, run):
    beta, name = hosts["beta"], f"killed/{secrets.token_hex(4)}:1"
    digest = publish(hosts["client1"], name)
    place = "/usr/local/sbin/setpriv"
    put(still, "setpriv-killed-at.sh", place, "0755")
    with broken(still, f"echo {run} >/run/killed-at", f"rm {place}"):
        assert still.run(f"setsid --wait {FEED}").rc != 0
    assert_whole(beta)
    assert tags(beta).get(name) in (None, digest)
    assert "failed" not in feed(still)
    assert tags(beta) == tags(still)


def test_a_network_that_is_cut_is_told_and_made_up_for(hosts, still):
    cut = f"iptables -I OUTPUT -d {address(hosts['beta'])} -j DROP"
    with broken(still, cut, cut.replace("-I", "-D")):
        publish(hosts["client1"], "cut/app:1")
        assert "failed" in feed(still)
    assert "cut/app:1" in still.check_output("wharf feed-standbys --pending")
    feed(still)
    assert tags(hosts["beta"]) == tags(still)


def test_it_follows_by_itself_while_people_push(hosts, passwords, number):
    alpha, beta = hosts["alpha"], hosts["beta"]

    def stored() -> int:
        return int(alpha.check_output(f"du --bytes --summarize {DATA}/docker/registry/v2/blobs").split()[0])

    people = AllTheTime(hosts["client1"], "ci", passwords["ci"])
    try:
        digest = publish(hosts["client2"], "timer/app:1")
        start = time.monotonic()
        wait_until(beta, f"grep -rqs {digest} {REPOSITORIES}/timer", 150, every=0.5)
        number("from a push to the standby", time.monotonic() - start, "s")
        feed(alpha)
        before = stored()
        time.sleep(10)
        copied, pushed = feed(alpha), stored() - before
        number("copying what people pushed in ten seconds", copied["seconds"], "s")
        number("bytes sent for each byte of it", copied["sent"] / pushed, "")
        assert_whole(beta)
    finally:
        people.end()


# A virtual address --------------------------------------------------------------------------------


@pytest.fixture
def virtual(hosts, ansible) -> Iterator[str]:
    """Return an address, with its prefix, that the server and its standby hold, and that clients are led to."""
    own = ipaddress.ip_interface(hosts["alpha"].check_output("ip -oneline -4 address show dev eth0").split()[3])
    held = f"{own.network[-2]}/{own.network.prefixlen}"
    try:
        ansible.succeeds("site.yml", "--tags", "deploy,trust", wharf_virtual_address=held)
        yield held
    finally:
        ansible.succeeds("site.yml", "--tags", "deploy,trust")
        time.sleep(5)  # Go knows a hosts file for so long
        for name in ("alpha", "beta"):
            assert held not in hosts[name].check_output("ip -oneline address")
            assert not hosts[name].file("/etc/wharf/keepalived").exists


def test_a_virtual_address_is_the_standby_s_while_the_server_does_not_answer(hosts, still, virtual, ansible, number):
    alpha, beta, client = still, hosts["beta"], hosts["client1"]
    here = f"ip -oneline address | grep -qF ' {virtual} '"
    wait_until(alpha, here, 15)
    assert virtual.partition("/")[0] in client.check_output(f"getent hosts {REGISTRY.partition(':')[0]}")
    digest = publish(client, "virtual/app:1")
    feed(alpha)
    again = ansible("site.yml", "--tags", "deploy,trust", wharf_virtual_address=virtual)
    assert again.changes == 0, again.output
    with without_repair(alpha), broken(alpha, "docker kill registry-gateway", "docker start registry-gateway"):
        start = time.monotonic()
        wait_until(beta, here, 15)
        number("a server that does not answer to its virtual address on the standby", time.monotonic() - start, "s")
        assert alpha.run(here).rc != 0
        pull(client, f"{REGISTRY}/virtual/app:1", digest)
        make_image(client, f"{REGISTRY}/virtual/app:2")
        refused = client.run(f"docker push {REGISTRY}/virtual/app:2").stderr
        assert "this is a standby of alpha and takes no pushes" in refused
    wait_until(alpha, here, 20)
    publish(client, "virtual/app:3")


# Another server -----------------------------------------------------------------------------------


@pytest.fixture
def inventory(tmp_path) -> Callable[..., Ansible]:
    """Return a function that returns what runs playbooks with other hosts as server and standby."""

    def write(server: str, standby: str = "") -> Ansible:
        return with_groups(tmp_path, registry_servers=[server], registry_standbys=[standby] if standby else [])

    return write


class Pushed(NamedTuple):
    """An image whose push was acknowledged, and when, in seconds since 1970."""

    when: float
    name: str
    digest: str


def end_pushes(clients: list[Host]) -> list[Pushed]:
    """Let clients push no more, and return what was acknowledged to them."""
    rows = []
    for client in clients:
        client.check_output("touch /run/stop")
        wait_until(client, "[ -e /run/ended ]", 60)
        lines = [line.split() for line in client.check_output("cat /run/acknowledged").splitlines()]
        rows += [Pushed(float(when), name, digest) for when, name, digest in lines]
    return rows


def test_a_server_that_is_lost_is_followed_by_the_standby_and_comes_back_as_one(hosts, still, inventory, number):
    alpha, beta, client = still, hosts["beta"], hosts["client1"]
    clients = [client, hosts["client2"]]
    for one in clients:
        reference = f"{REGISTRY}/people/{one.check_output('hostname')}"
        one.check_output(in_background(program(one, "push-all-the-time.sh", reference)))
    first = publish(client, "lost/a:1")
    wait_until(client, "[ $(wc -l </run/acknowledged) -gt 2 ]", 60)
    copied = feed(alpha)["at"]
    late = publish(client, "lost/late:1")
    lone = inventory("beta")
    # Nobody becomes the server while the other one answers, nor without being asked to.
    assert "beta is a standby of alpha: run playbooks/promote-standby.yml" in lone.fails("site.yml").stdout
    refused = lone.fails("playbooks/promote-standby.yml").stdout
    assert f"the registry on alpha ({address(alpha)}) still answers" in refused
    # The last copy is cut off when a tag is just arriving.
    arriving = f"{REPOSITORIES}/lost/a/_manifests/tags/arriving"
    beta.check_output(f"mkdir -p {arriving}/current && chown -R --reference {REPOSITORIES} {arriving}")
    from_outside("kill", container("alpha"))
    killed = start = time.time()
    promoted = lone.succeeds("playbooks/promote-standby.yml")
    number("a lost server to the standby as the server", time.time() - start, "s")
    assert "what was pushed to alpha after that is not there" in promoted.stdout
    assert not beta.file(arriving).exists
    time.sleep(6)  # for so long Docker goes on with the address that it has read in the hosts file
    again = publish(client, "lost/a:1")  # overwrites what alpha has
    back = time.time()

    # Clients go on by themselves, what was acknowledged before the copy is there, and what came later is not.
    time.sleep(5)
    pushed, there = end_pushes(clients), tags(beta)
    kept = [one for one in pushed if one.when < copied or one.when > killed]
    assert [one for one in kept if one.when < copied] and [one for one in kept if one.when > back]
    assert [one for one in kept if there.get(one.name) != one.digest] == []
    lost = [one.name for one in pushed if one.name not in there]
    assert lost
    pull(client, f"{REGISTRY}/lost/a:1", first)
    for one in kept[:3]:
        pull(client, f"{REGISTRY}/{one.name}", one.digest)

    # It comes back, takes itself for the server, and may not write to the new one.
    from_outside("start", container("alpha"))
    wait_until(alpha, "wharf status", 90)
    alpha.run(STOP)
    assert "failed" in feed(alpha)
    assert tags(beta)["lost/a:1"] == again
    both = inventory("beta", "alpha")
    refused = both.fails("site.yml").stdout
    assert "alpha has images that beta lacks, or has with another digest" in refused
    assert [name for name in ("lost/a:1", "lost/late:1", *lost) if name not in refused] == []
    both.succeeds("site.yml", "-e", "wharf_standby_confirm=alpha")
    assert tags(alpha) == tags(beta)
    assert late not in tags(alpha).values()

    # And on an ordinary day nothing is lost.
    last = publish(client, "lost/last:1")
    back = inventory("alpha", "beta")
    told = back.succeeds("playbooks/promote-standby.yml", "--check").stdout
    assert "lost/last:1" in told
    back.succeeds("playbooks/promote-standby.yml")
    pull(client, f"{REGISTRY}/lost/last:1", last)
    assert back("site.yml").changes == 0
    told = back.succeeds("playbooks/diagnose-registry.yml").stdout
    assert "all is well: a standby of alpha, copied from alpha" in told
    assert feed(alpha)["tags"] == len(tags(beta))


@pytest.mark.thorough
def test_what_else_is_done_to_the_server_is_done_to_the_standby_or_follows(hosts, ansible):
    alpha, beta, client = hosts["alpha"], hosts["beta"], hosts["client1"]
    digest = publish(client, "else/app:1")
    backup = {"wharf_backup_repository": "/srv/backup", "wharf_backup_password": secrets.token_hex(16)}
    ansible.succeeds("playbooks/rotate-ca.yml")
    ansible.succeeds("playbooks/renew-certificates.yml")
    ansible.succeeds("playbooks/upgrade-registry.yml", **backup)
    assert len({host.check_output("sha256sum </etc/wharf/tls/ca.crt") for host in (alpha, beta)}) == 1
    alpha.check_output("wharf feed-standbys --wait 60 --all")
    with led_to(client, beta):
        pull(client, f"{REGISTRY}/else/app:1", digest)
    time.sleep(6)  # until the client knows where the name leads now
    publish(client, "else/later:1")
    feed(alpha)
    ansible.succeeds("playbooks/restore-registry.yml", **backup, wharf_restore_confirm=REGISTRY.partition(":")[0])
    assert "failed" not in feed(alpha)
    assert "else/later:1" not in tags(beta)
    assert tags(beta) == tags(alpha)
    with led_to(client, beta):
        pull(client, f"{REGISTRY}/else/app:1", digest)
    # One standby less, and back.
    ansible.succeeds("playbooks/remove-registry.yml", "--limit", "beta")
    assert "registry" not in beta.check_output("docker ps --all --format '{{.Names}}'")
    ansible.succeeds("site.yml")
    assert ansible("site.yml").changes == 0
    assert tags(beta) == tags(alpha)
    assert_whole(beta)

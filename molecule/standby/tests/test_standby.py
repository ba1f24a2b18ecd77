"""A standby has each tag whole at every moment, takes no pushes, and becomes the server without a loss or with one told.

The network is cut with iptables, and a power failure kills all processes of a host; what else a lost machine takes
along cannot be shown with containers.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from clients import REGISTRY, AllTheTime, by_digest, make_image, pull, push
from machines import broken, container, from_outside, in_background, wait_until
from plays import INVENTORY, Ansible
from testinfra.host import Host

DATA = "/var/lib/wharf/registry"
FEED = "wharf feed-standbys --wait 60 --json"
TIMERS = "wharf-feed-standbys.timer"


@pytest.fixture(scope="session")
def of_beta(hosts) -> str:
    """Return what the registry is called where only the standby is meant; clients trust it under no such name."""
    return f"{hosts['beta'].check_output('hostname --ip-address').split()[0]}:5000"


@pytest.fixture
def still(hosts) -> Iterator[Host]:
    """Return the server, which copies only when it is told to."""
    with broken(hosts["alpha"], f"systemctl stop {TIMERS} && {FEED}", f"systemctl start {TIMERS}"):
        yield hosts["alpha"]


def fed(server: Host) -> dict:
    """Let the server copy, and return what it says of the standby."""
    return json.loads(server.run(FEED).stdout)["standbys"]["beta"]


def publish(client: Host, name: str, size: int = 200_000) -> str:
    """Push an image of fresh content, and return its digest."""
    make_image(client, f"{REGISTRY}/{name}", size)
    return push(client, f"{REGISTRY}/{name}")


@contextmanager
def led_to(client: Host, host: Host) -> Iterator[None]:
    """Let the registry's name lead a client to another host."""
    address = host.check_output("hostname --ip-address").split()[0]
    # In place: the file is a mount.
    change = f"cp /etc/hosts /root/hosts && sed -E 's/^\\S+(.*registry\\.wharf\\.test)/{address}\\1/' /root/hosts >/etc/hosts"
    with broken(client, change, "cat /root/hosts >/etc/hosts"):
        yield


def tags(host: Host) -> dict[str, str]:
    """Return what a host's storage has tagged."""
    links = f"cd {DATA}/docker/registry/v2/repositories && grep -r . --include=link . | grep /_manifests/tags/.*/current/"
    rows = [line.split(":", 1) for line in host.run(links).stdout.splitlines()]
    return {path.replace("./", "", 1).replace("/_manifests/tags/", ":").removesuffix("/current/link"): digest for path, digest in rows}


def assert_whole(host: Host) -> None:
    """Assert that each tag of a host can be served."""
    assert json.loads(host.run("wharf verify-storage --contents --json").stdout)["problems"] == []


# A standby ----------------------------------------------------------------------------------------


def test_a_standby_serves_what_was_pushed_to_the_server_and_takes_nothing_itself(hosts, still):
    client, digest = hosts["client1"], publish(hosts["client1"], "team/app:1")
    assert fed(still)["tags"] >= 1
    with led_to(client, hosts["beta"]):
        pull(client, f"{REGISTRY}/team/app:1", digest)
        make_image(client, f"{REGISTRY}/team/app:2")
        refused = client.run(f"docker push {REGISTRY}/team/app:2").stderr
        assert "this is a standby of alpha and takes no pushes" in refused
    for command in ("collect-garbage", "apply-retention", "back-up"):
        assert "alpha" in hosts["beta"].run(f"wharf {command}").stderr
    assert "copied from alpha" in hosts["beta"].check_output("wharf status")


def test_what_the_server_deletes_goes_from_the_standby(hosts, still, passwords):
    client, beta = hosts["client1"], hosts["beta"]
    digest = publish(client, "gone/app:1")
    publish(client, "gone/stays:1")
    fed(still)
    assert {"gone/app:1", "gone/stays:1"} <= tags(beta).keys()
    ask = f"curl --silent --fail --cacert /etc/docker/certs.d/{REGISTRY}/wharf-ca.crt --request DELETE"
    python = (
        "import base64, ssl, sys, urllib.request; login = base64.b64encode(sys.stdin.read().strip().encode()).decode();"
        f" request = urllib.request.Request('https://{REGISTRY}/v2/gone/app/manifests/{digest}', method='DELETE',"
        " headers={'Authorization': 'Basic ' + login});"
        f" urllib.request.urlopen(request, context=ssl.create_default_context(cafile='/etc/docker/certs.d/{REGISTRY}/wharf-ca.crt'))"
    )
    del ask
    client.check_output(f'echo "boss:{passwords["boss"]}" | python3 -c "{python}"')
    still.check_output("wharf collect-garbage")
    fed(still)
    assert "gone/app:1" not in tags(beta)
    assert tags(beta) == tags(still)
    number = digest.partition(":")[2]
    assert not beta.file(f"{DATA}/docker/registry/v2/blobs/sha256/{number[:2]}/{number}/data").exists
    assert_whole(beta)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_a_copy_that_is_killed_leaves_a_whole_registry(hosts, still, step):
    """The server's rsync is killed when it begins its first, second, ... run."""
    client, beta = hosts["client1"], hosts["beta"]
    new = {f"killed/{secrets.token_hex(4)}:1": "" for _ in range(2)}
    for name in new:
        new[name] = publish(client, name)
    kill = f'n=$(cat /run/steps 2>/dev/null || echo 0); n=$((n + 1)); echo $n >/run/steps; [ $n != {step} ] || kill -9 -$PPID'
    wrapper = f"#!/bin/sh\n{kill}\nexec /usr/bin/rsync \"$@\"\n"
    path = "/usr/local/sbin/rsync"
    with broken(still, f"rm -f /run/steps; printf '%s' '{wrapper}' >{path}; chmod 755 {path}; touch /run/steps; chmod 666 /run/steps", f"rm {path}"):
        still.run(f"setsid --wait {FEED}")
    assert_whole(beta)
    for name in new:
        assert tags(beta).get(name) in (None, new[name])
    assert fed(still).get("failed") is None
    assert tags(beta) == tags(still)


def test_a_network_that_is_cut_is_told_and_made_up_for(hosts, still, ansible):
    beta = hosts["beta"]
    address = beta.check_output("hostname --ip-address").split()[0]
    cut = f"iptables -I OUTPUT -d {address} -j DROP"
    with broken(still, cut, cut.replace("-I", "-D")):
        publish(hosts["client1"], "cut/app:1")
        assert "failed" in fed(still)
        assert "cut/app:1" not in tags(beta)
    assert "cut/app:1" in still.run("wharf feed-standbys --pending").stdout
    fed(still)
    assert "cut/app:1" in tags(beta)


def test_it_follows_by_itself_while_people_push(hosts, passwords, number):
    beta = hosts["beta"]
    people = AllTheTime(hosts["client1"], "ci", passwords["ci"])
    try:
        digest = publish(hosts["client2"], "timer/app:1")
        start = time.monotonic()
        wait_until(beta, f"grep -rq {digest} {DATA}/docker/registry/v2/repositories/timer", 150, every=0.5)
        number("from a push to the standby", time.monotonic() - start, "s")
        assert_whole(beta)
    finally:
        people.end()

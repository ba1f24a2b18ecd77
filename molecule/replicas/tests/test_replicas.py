"""Three servers on one store are one registry: whichever is away, clients get what was pushed, and push on."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from clients import REGISTRY, by_digest, make_image, pull, push, watch
from conftest import CREDENTIALS
from machines import (
    PARTS,
    broken,
    container,
    containers,
    from_outside,
    in_background,
    program,
    wait_until,
    without_repair,
    write,
)
from plays import INVENTORY, with_groups
from testinfra.host import Host

SERVERS = ("alpha", "beta", "gamma")
NAME = REGISTRY.partition(":")[0]
SECRET = "lab-secret-of-the-store"
# Succeeds on a server whose gateway tells this status of its own registry.
HEALTH = (
    "python3 -c 'import http.client, ssl;"
    ' h = http.client.HTTPSConnection("127.0.0.1", 5000, timeout=20, context=ssl._create_unverified_context());'
    ' h.request("GET", "/health"); exit(h.getresponse().status != {0})\''
)


def address(host: Host) -> str:
    """Return the address of a host."""
    return host.check_output("hostname --ip-address").split()[0]


def led_to(client: Host, *servers: Host) -> AbstractContextManager[None]:
    """Let the registry's name lead a client to some servers, in place: the file is a mount. Go remembers it for 5 s."""
    lines = "".join(f"{address(server)} {NAME}\\n" for server in servers)
    change = f"cp /etc/hosts /root/hosts && {{ grep -v {NAME} /root/hosts; printf '{lines}'; }} >/etc/hosts && sleep 5"
    return broken(client, change, "cat /root/hosts >/etc/hosts")


def publish(client: Host, name: str) -> str:
    """Push an image of fresh content, and return its digest."""
    make_image(client, f"{REGISTRY}/{name}")
    return push(client, f"{REGISTRY}/{name}")


@contextmanager
def pushes(client: Host, name: str, times: int = 1, count: int = 10) -> Iterator[dict[str, str]]:
    """Push images at the same time while the block runs, and fill what is yielded with their digests."""
    references = [f"{REGISTRY}/{name}/{number}:1" for number in range(count)]
    for reference in references:
        make_image(client, reference, 3_000_000)
    digests: dict[str, str] = {}
    client.check_output(in_background(program(client, "push-often.sh", "/tmp/pushes", times, *references)))
    time.sleep(0.5)
    yield digests
    wait_until(client, "[ -e /tmp/pushes/ended ]", 180)
    assert client.check_output("cat /tmp/pushes/failed") == ""
    digests.update(line.split() for line in client.check_output("cat /tmp/pushes/digests").splitlines())
    assert [*digests] and {*digests} == {*references}


def assert_all_are_there(client: Host, digests: dict[str, str]) -> None:
    """Assert that each image is pulled with the digest that its push was acknowledged with."""
    for reference, digest in digests.items():
        pull(client, reference, digest)


# What they share ----------------------------------------------------------------------------------


def test_what_was_pushed_through_one_is_pulled_through_each_other(hosts):
    client, digests = hosts["client1"], {}
    for name in (*SERVERS, *SERVERS[:2]):
        with led_to(client, hosts[name]):
            if name not in digests:
                digests[name] = publish(client, f"each/{name}:1")
            for other, digest in digests.items():
                pull(client, f"{REGISTRY}/each/{other}:1", digest)


def test_they_have_the_same_secret_and_the_same_ca_and_clients_know_all_of_them(hosts):
    for path in ("/etc/wharf/registry/http-secret", "/etc/wharf/gateway/peers.crt", "/etc/wharf/tls/ca.crt"):
        assert len({hosts[name].check_output(f"sha256sum <{path}") for name in SERVERS}) == 1
    known = hosts["client1"].check_output(f"grep {NAME} /etc/hosts").split()
    assert {address(hosts[name]) for name in SERVERS} <= {*known}
    settings = json.loads(hosts["beta"].file("/etc/wharf/registry.json").content_string)
    assert (settings["servers"], settings["server"], settings["s3"]["bucket"]) == ([*SERVERS], "beta", "wharf")


@pytest.mark.parametrize("name", SERVERS)
def test_the_key_of_the_store_is_in_one_file_that_others_do_not_read(hosts, name):
    server = hosts[name]
    found = server.check_output(f"grep -rl {SECRET} /etc /var/lib/wharf /run || true").splitlines()
    assert found == ["/etc/wharf/registry/credentials"]
    assert server.check_output("stat -c '%a %u %g' /etc/wharf/registry/credentials") == "400 59500 59500"
    assert SECRET not in server.check_output("docker inspect registry registry-gateway; ps aux")


def test_nobody_reaches_the_registry_of_a_server_without_the_servers_key(hosts):
    ask = (
        "python3 -c 'import http.client, ssl; c = ssl._create_unverified_context();"
        ' h = http.client.HTTPSConnection("{0}", 5000, context=c);'
        ' h.request("GET", "/v2/each/alpha/tags/list", headers={{"Host": "wharf-peers"}});'
        " print(h.getresponse().status)'"
    )
    for name in SERVERS:
        assert hosts["client1"].check_output(ask.format(address(hosts[name]))) == "400"


# What works on the images -------------------------------------------------------------------------


def test_a_collection_deletes_what_nothing_needs_while_pushes_wait_on_all_servers(hosts, ansible):
    client, repository = hosts["client1"], f"{REGISTRY}/garbage/app"
    digests = {f"{repository}:1": publish(client, "garbage/app:1")}
    old, digests[f"{repository}:1"] = digests[f"{repository}:1"], publish(client, "garbage/app:1")
    with led_to(client, hosts["gamma"]), pushes(client, "meanwhile", times=3) as late:
        said = ansible.succeeds("playbooks/collect-garbage.yml", "-e", "wharf_delete_untagged=true").output
    assert "each with its digest" in said
    gone = client.run(f"docker pull {by_digest(f'{repository}:1', old)}")
    assert gone.rc != 0 and "unknown" in gone.stderr
    assert_all_are_there(client, {**digests, **late})
    for name in SERVERS:
        assert containers(hosts[name]) == PARTS
        assert not hosts[name].file("/var/lib/wharf/held.json").exists
    assert ansible.succeeds("playbooks/collect-garbage.yml").changes == 0


@pytest.mark.thorough
def test_rules_delete_tags_of_all_servers(hosts, ansible):
    client = hosts["client1"]
    publish(client, "aged/app:1")
    kept = publish(client, "aged/app:2")
    rules = ("-e", json.dumps({"wharf_retention": [{"repositories": "aged/.*", "keep_newest": 1}]}))
    planned = ansible.succeeds("playbooks/apply-retention.yml", *rules).stdout
    plan = re.search(r"plan: (\w+)", planned)
    assert plan and "aged/app" in planned
    ansible.succeeds("playbooks/apply-retention.yml", *rules, "-e", f"wharf_retention_plan={plan[1]}")
    assert client.run(f"docker pull {REGISTRY}/aged/app:1").rc != 0
    pull(client, f"{REGISTRY}/aged/app:2", kept)


def test_all_servers_are_well_and_tell_of_each_other_and_the_bucket(hosts, ansible):
    said = ansible.succeeds("playbooks/diagnose-registry.yml").stdout
    for name in SERVERS:
        assert re.search(rf"{name} .*all is well", said), said
        assert json.loads(hosts[name].check_output("wharf verify-storage --json"))["problems"] == []
        # The bucket is listed once an hour; and its timer may be at it.
        wait_until(hosts[name], "rm -f /var/lib/wharf/metrics/bucket.json && wharf metrics", 60, every=1)
        figures = hosts[name].check_output("cat /var/lib/wharf/metrics/metrics").splitlines()
        assert [line for line in figures if line.startswith("wharf_storage_used_bytes ") and line.split()[1] != "0"]
        up = {f'wharf_peer_up{{peer="{address(hosts[other])}"}} 1' for other in SERVERS if other != name}
        assert up == {line for line in figures if line.startswith("wharf_peer_up")}


@pytest.mark.thorough
def test_a_new_ca_is_that_of_all_servers(hosts, ansible):
    client = hosts["client1"]
    digest = publish(client, "rotated/app:1")
    with watch(client, f"{REGISTRY}/rotated/app:1") as seen:
        ansible.succeeds("playbooks/rotate-ca.yml")
    assert seen.failures == 0, seen.errors
    assert len({hosts[name].check_output("sha256sum </etc/wharf/tls/ca.crt") for name in SERVERS}) == 1
    pull(client, f"{REGISTRY}/rotated/app:1", digest)


@pytest.mark.thorough
def test_an_upgrade_takes_one_after_the_other_and_nobody_notices(hosts, ansible):
    client = hosts["client1"]
    publish(client, "kept/app:1")
    with watch(client, f"{REGISTRY}/kept/app:1") as seen, pushes(client, "upgraded") as digests:
        ansible.succeeds("playbooks/upgrade-registry.yml")
    assert_all_are_there(client, digests)
    assert seen.failures == 0, seen.errors


# What is away -------------------------------------------------------------------------------------


def test_a_registry_that_is_killed_is_nobody_s_error(hosts, number):
    client, alpha = hosts["client1"], hosts["alpha"]
    publish(client, "kept/app:1")
    # The engine would start it at once: another one takes its time.
    kill = "docker update --restart no registry && kill -9 $(docker inspect --format '{{.State.Pid}}' registry)"
    with led_to(client, alpha), without_repair(alpha), watch(client, f"{REGISTRY}/kept/app:1") as seen:
        back = "docker start registry && docker update --restart always registry"
        with pushes(client, "killed") as digests, broken(alpha, kill, back):
            wait_until(client, "[ -e /tmp/pushes/ended ]", 180)
        assert_all_are_there(client, digests)
    assert seen.failures == 0, seen.errors
    number("without a good pull when a registry is killed", seen.seconds, "s")


def test_they_are_restarted_one_after_the_other_and_nobody_notices(hosts):
    client = hosts["client1"]
    publish(client, "kept/app:1")
    with watch(client, f"{REGISTRY}/kept/app:1") as seen, pushes(client, "restarted") as digests:
        for name in SERVERS:
            hosts[name].check_output("docker restart registry")
            wait_until(hosts[name], HEALTH.format(200), 30)
    assert_all_are_there(client, digests)
    assert seen.failures == 0, seen.errors


@pytest.mark.thorough
def test_a_server_that_loses_its_power_is_done_without(hosts, number):
    client, gamma = hosts["client1"], container("gamma")
    publish(client, "kept/app:1")
    with led_to(client, hosts["gamma"], hosts["alpha"], hosts["beta"]):
        try:
            with pushes(client, "lost", times=3) as digests:
                from_outside("kill", gamma)
                start = time.monotonic()
                wait_until(client, f"docker pull --quiet {REGISTRY}/kept/app:1", 60)
                number("a pull when the first server has lost its power", time.monotonic() - start, "s")
            assert_all_are_there(client, digests)
        finally:
            from_outside("start", gamma)
    # It serves again by itself.
    wait_until(hosts["gamma"], HEALTH.format(200), 120, every=1)


def test_a_store_that_is_away_is_told_and_all_goes_on_when_it_is_back(hosts):
    client, store = hosts["client1"], hosts["store"]
    digest = publish(client, "store/app:1")
    unit = "ceph-radosgw@rgw.a"
    with broken(store, f"systemctl stop {unit}", f"systemctl start {unit}"):
        for name in SERVERS:
            wait_until(hosts[name], HEALTH.format(503), 60, every=1)
        failed = client.run(f"docker pull {REGISTRY}/store/app:1")
        assert failed.rc != 0
        assert "503" in failed.stderr or "unavailable" in failed.stderr.lower()
    wait_until(client, f"docker pull --quiet {REGISTRY}/store/app:1", 60, every=1)
    pull(client, f"{REGISTRY}/store/app:1", digest)
    publish(client, "store/app:2")


# Another server -----------------------------------------------------------------------------------


def test_a_server_with_another_secret_is_refused_and_serves_on_as_before(hosts, ansible):
    file, gamma = CREDENTIALS / "registry/http-secret", hosts["gamma"]
    before, kept = file.read_text(), gamma.check_output("docker inspect --format '{{.Id}}' registry")
    file.write_text("another" * 8 + "\n")
    try:
        refused = ansible.fails("playbooks/deploy-registry.yml", "--limit", "gamma")
    finally:
        file.write_text(before)
    assert "has another http.secret than this server" in refused.output
    assert "All is as it was before" in refused.output
    assert "another" * 8 not in refused.output
    assert gamma.check_output("docker inspect --format '{{.Id}}' registry") == kept
    with led_to(hosts["client1"], gamma):
        publish(hosts["client1"], "secret/app:1")


def test_a_server_is_taken_away_and_another_one_added(hosts, ansible, tmp_path):
    client, alpha = hosts["client1"], hosts["alpha"]
    digest = publish(client, "two/app:1")
    gone = address(hosts["gamma"])
    ansible.succeeds("playbooks/remove-registry.yml", "--limit", "gamma")
    assert "registry" not in hosts["gamma"].check_output("docker ps --all --format '{{.Names}}'")
    with_groups(tmp_path, registry_servers=SERVERS[:2]).succeeds("site.yml", "--tags", "deploy,trust,verify")
    assert gone not in alpha.check_output("cat /etc/wharf/gateway/peers.conf")
    assert gone not in client.check_output(f"grep {NAME} /etc/hosts")
    pull(client, f"{REGISTRY}/two/app:1", digest)
    ansible.succeeds("site.yml")
    assert gone in alpha.check_output("cat /etc/wharf/gateway/peers.conf")
    with led_to(client, hosts["gamma"]):
        pull(client, f"{REGISTRY}/two/app:1", digest)
        publish(client, "two/app:2")


@pytest.mark.thorough
def test_images_move_from_a_directory_to_a_store_and_back_as_documented(hosts, ansible, tmp_path):
    client, gamma, store = hosts["client1"], hosts["gamma"], address(hosts["store"])
    ansible.succeeds("playbooks/remove-registry.yml", "--limit", "gamma")
    alone, bucket = with_groups(tmp_path, registry_servers=["gamma"]), "moved"
    rclone = (
        "cd /var/lib/wharf/registry && export RCLONE_CONFIG_STORE_TYPE=s3 RCLONE_CONFIG_STORE_PROVIDER=Ceph"
        f" RCLONE_CONFIG_STORE_ENDPOINT=https://{store}:7443 RCLONE_CONFIG_STORE_ACCESS_KEY_ID=lab-access"
        f" RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY={SECRET} RCLONE_CA_CERT=/root/store-ca.crt && rclone"
    )

    def deploy(storage: Mapping[str, Any], confirmed: str) -> None:
        """Deploy gamma alone, with its images in such a storage, and lead the client there."""
        settings = tmp_path / "storage.json"
        settings.write_text(json.dumps({"wharf_registry_storage": storage}))
        confirm = f"wharf_registry_data_confirm={confirmed}"
        alone.succeeds("site.yml", "--tags", "deploy,trust", "-e", f"@{settings}", "-e", confirm)
        time.sleep(6)

    def move(here: str, there: str) -> None:
        for part in ("blobs", "repositories"):
            gamma.check_output(f"{rclone} copy --transfers 16 {here}/registry/v2/{part} {there}/registry/v2/{part}")
        gamma.check_output("docker stop registry")
        gamma.check_output(f"{rclone} sync --transfers 16 --exclude '_uploads/**' {here} {there}")
        assert "0 differences found" in gamma.check_output(
            f"{rclone} check --exclude '_uploads/**' {here} {there} 2>&1"
        )

    ca = Path(INVENTORY).parents[1] / "store/ca.crt"
    write(gamma, "/root/store-ca.crt", ca.read_text())
    s3 = {"region": "us-east-1", "regionendpoint": f"https://{store}:7443", "bucket": bucket, "ca": str(ca)}
    s3 |= {"accesskey": "lab-access", "secretkey": SECRET}
    deploy({}, "/var/lib/wharf/registry")
    digests = {f"{REGISTRY}/moved/{number}:1": publish(client, f"moved/{number}:1") for number in range(3)}
    gamma.check_output(f"{rclone} mkdir store:{bucket}")
    move("docker", f"store:{bucket}/docker")
    deploy({"s3": s3}, bucket)
    gamma.check_output("wharf verify-storage --contents")
    assert_all_are_there(client, digests)
    digests[f"{REGISTRY}/moved/late:1"] = publish(client, "moved/late:1")
    move(f"store:{bucket}/docker", "docker")
    gamma.check_output("cd /var/lib/wharf/registry && chown -R 59500:59500 docker")
    deploy({}, "/var/lib/wharf/registry")
    gamma.check_output("wharf verify-storage --contents")
    assert_all_are_there(client, digests)
    alone.succeeds(
        "playbooks/remove-registry.yml", "-e", "wharf_remove_data=true", "-e", f"wharf_remove_confirm={NAME}"
    )
    ansible.succeeds("site.yml")


@pytest.mark.thorough
def test_what_one_two_and_three_of_them_bear(hosts, password, number):
    ca = f"/etc/docker/certs.d/{REGISTRY}/wharf-ca.crt"
    for count in (1, 2, 3):
        addresses = [address(hosts[name]) for name in SERVERS[:count]]
        command = program(hosts["client1"], "rates.py", 4, REGISTRY, ca, "ci", *addresses)
        rates = json.loads(hosts["client1"].check_output(f"echo '{password}' >/tmp/password; {command} </tmp/password"))
        for kind, rate in rates.items():
            assert rate > 0
            number(f"{kind} with {count} of three registries", rate, "a second")

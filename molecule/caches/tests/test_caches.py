"""Images of another registry: fetched once, served again with and without it, and never wrong."""

from __future__ import annotations

import json
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import REGISTRY, by_digest, log_in, make_image, push
from conftest import CACHE, HERE, THERE
from machines import broken, flip_bit, program, read_only, wait_until
from testinfra.host import Host

from ansible_collections.wharf.registry.plugins.plugin_utils.diagnosis import VERDICTS

CACHES = "/var/lib/wharf/caches"
BLOBS = f"{CACHES}/docker/registry/v2/blobs/sha256"
DISK = {"to": (64,), "from": ()}
AWAY = "docker stop --time 1 registry-gateway", "docker start registry-gateway"
SILENT = "docker pause registry-gateway", "docker unpause registry-gateway"


@pytest.fixture(scope="session")
def kiosk(hosts, upstream, passwords) -> Host:
    """Return a client on which a reader is logged in."""
    log_in(hosts["client1"], passwords["kiosk"], "kiosk")
    return hosts["client1"]


@pytest.fixture
def name() -> str:
    """Return the name of an image that nobody has."""
    return f"test/{secrets.token_hex(6)}:1"


def publish(host: Host, name: str, size: int = 200_000) -> str:
    """Make an image, push it to the upstream, and return its digest."""
    make_image(host, f"{THERE}/{name}", size)
    return push(host, f"{THERE}/{name}")


def pull(client: Host, name: str) -> str:
    """Pull an image through the cache, and return its digest. The client has it no longer."""
    shown = "docker image inspect --format '{{index .RepoDigests 0}}'"
    output = client.check_output(f"docker pull --quiet {HERE}/{name} && {shown} {HERE}/{name}")
    client.check_output(f"docker image rm {HERE}/{name}")
    return output.rpartition("@")[2].strip()


def refused(client: Host, name: str) -> tuple[str, float]:
    """Return what a client is told that pulls in vain, and how long that took, in seconds."""
    start = time.monotonic()
    result = client.run(f"docker pull {HERE}/{name}")
    assert result.rc != 0
    return result.stderr, time.monotonic() - start


def test_a_cache_whose_upstream_is_not_there_costs_nothing_but_itself(upstream):
    assert upstream.again.changes == 0
    assert "the upstream of the cache" in upstream.pull or "503 Service Temporarily Unavailable" in upstream.pull


def test_what_was_fetched_is_served_without_the_upstream_also_when_the_cache_starts_then(upstream, kiosk, hosts, name):
    digest = publish(upstream.host, name)
    assert pull(kiosk, name) == digest
    other = publish(upstream.host, f"{name}-other")
    with broken(upstream.host, *AWAY):
        for _ in range(2):
            assert pull(kiosk, name) == digest
            kiosk.check_output(f"docker pull --quiet {by_digest(f'{HERE}/{name}', digest)}")
            message, seconds = refused(kiosk, f"{name}-other")
            assert seconds < 5
            assert f"cache {CACHE} does not" in message or "503 Service Temporarily Unavailable" in message
            hosts["server"].check_output(f"docker restart registry-cache-{CACHE}")
    wait_until(kiosk, f"docker pull --quiet {HERE}/{name}-other", seconds=75, every=2)
    assert pull(kiosk, f"{name}-other") == other


def test_an_upstream_that_does_not_answer_keeps_nobody_waiting(upstream, kiosk, name):
    digest = publish(upstream.host, name)
    assert pull(kiosk, name) == digest
    with broken(upstream.host, *SILENT):
        start = time.monotonic()
        assert pull(kiosk, name) == digest
        assert time.monotonic() - start < 25
        message, seconds = refused(kiosk, "test/none:1")
        assert seconds < 25, message
    assert pull(kiosk, name) == digest


def test_a_full_disk_keeps_nothing_more_and_is_trimmed(upstream, kiosk, hosts, name):
    """What is there is served. What is new comes from the upstream itself, by its own name."""
    server, other, new = hosts["server"], hosts["client2"], f"{name}-new"
    digest, later = publish(upstream.host, name), publish(upstream.host, new, 2_000_000)
    assert pull(kiosk, name) == digest
    containers = ("registry-gateway", "registry-caches", f"registry-cache-{CACHE}")
    small = [program(server, f"move-{way}-small-disk.sh", CACHES, *room, *containers) for way, room in DISK.items()]
    direct, ca = f"/etc/containers/certs.d/{THERE}", upstream.host.file("/etc/wharf/tls/ca.crt").content_string
    with broken(server, *small), broken(other, f"mkdir -p {direct} && echo '{ca}' >{direct}/ca.crt", f"rm -r {direct}"):
        wait_until(kiosk, f"docker pull --quiet {HERE}/{name}")
        server.check_output(f"! dd if=/dev/zero of={CACHES}/filler bs=1M")
        assert pull(kiosk, name) == digest
        refused(kiosk, new)
        other.check_output(f"podman pull --quiet {THERE}/{new} && podman image rm {THERE}/{new}")
        server.check_output(f"truncate --size -4M {CACHES}/filler")  # less than a twentieth
        assert pull(kiosk, new) == later
        server.check_output("wharf trim-caches || true")
        server.check_output(program(server, "two-hours-later.py", f"{CACHES}/docker"))
        assert pull(kiosk, name) == digest
        server.run("systemctl start wharf-trim-caches")  # fails: what is to be kept is perhaps not there
        with broken(upstream.host, *AWAY):
            assert pull(kiosk, name) == digest
            refused(kiosk, new)
    wait_until(kiosk, f"docker pull --quiet {HERE}/{new}", seconds=75, every=2)


def test_a_tag_means_what_it_means_upstream(upstream, kiosk, name):
    first = publish(upstream.host, name)
    assert pull(kiosk, name) == first
    second = publish(upstream.host, name)
    assert second != first
    assert pull(kiosk, name) == second


def test_only_who_may_read_there_gets_it(upstream, kiosk, hosts, passwords, name):
    secret = f"secret/{name}"
    digest = publish(upstream.host, secret)
    assert "denied" in refused(kiosk, secret)[0]
    client = hosts["client2"]
    log_in(client, passwords["ci"])
    assert pull(client, secret) == digest
    client.check_output(f"docker logout {REGISTRY}")
    assert "no basic auth credentials" in refused(client, secret)[0]


def test_the_page_shows_what_is_in_a_cache_to_who_may_read_it(upstream, hosts, passwords, name):
    client, names = hosts["client2"], (name, f"secret/{name}")
    log_in(client, passwords["ci"])
    for one in names:
        publish(upstream.host, one)
        pull(client, one)
    client.check_output(f"docker logout {REGISTRY}")
    wait_until(hosts["server"], "wharf index", every=0.2)  # its timer starts it as well
    ca, shown = f"/etc/docker/certs.d/{REGISTRY}/wharf-ca.crt", {}
    for user in ("ci", "kiosk"):
        curl = f"curl --fail --silent --show-error --cacert {ca} --config - https://{REGISTRY}/-/list"
        listed = client.check_output(f"printf 'user = {user}:{passwords[user]}' | {curl}")
        rows = {row[0]: row[1:] for row in json.loads(listed)["repositories"]}
        shown[user] = [rows.get(f"{CACHE}/{one[:-2]}") for one in names]
    assert [row[0::3] for row in shown["ci"]] == [[1, THERE], [1, THERE]]
    assert shown["kiosk"] == [shown["ci"][0], None]


def test_who_pushes_to_a_cache_is_told_why_not(upstream, hosts, passwords, name):
    client = hosts["client2"]
    log_in(client, passwords["ci"])
    make_image(client, f"{HERE}/{name}")
    result = client.run(f"docker push {HERE}/{name}")
    assert result.rc != 0
    assert f"{CACHE} is the cache of another registry: nothing is pushed or deleted here" in result.stderr
    client.check_output(f"docker image rm {HERE}/{name}; docker logout {REGISTRY}")


def test_several_clients_at_once_get_it_whole(upstream, kiosk, hosts, passwords, name, number):
    size = 60_000_000
    digest = publish(upstream.host, name, size)
    log_in(hosts["client2"], passwords["ci"])
    sent = "cat /sys/class/net/eth0/statistics/tx_bytes"
    before = int(upstream.host.check_output(sent))
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(lambda client: pull(client, name), (kiosk, hosts["client2"]))) == [digest, digest]
    times = (int(upstream.host.check_output(sent)) - before) / size
    number("two clients at once, fetched from the upstream", times, "times")
    assert times < 3.5  # version 2 of the registry fetches for each client, and once to keep it
    before = int(upstream.host.check_output(sent))
    assert pull(kiosk, name) == digest
    assert int(upstream.host.check_output(sent)) - before < 1_000_000


def test_what_breaks_off_is_not_kept(upstream, kiosk, hosts, name):
    digest = publish(upstream.host, name, 60_000_000)
    upstream.host.check_output("tc qdisc add dev eth0 root tbf rate 40mbit burst 32k latency 400ms || true")
    try:
        with ThreadPoolExecutor() as pool:
            result = pool.submit(kiosk.run, f"timeout 30 docker pull {HERE}/{name}")
            time.sleep(3)
            upstream.host.check_output("docker kill registry-gateway; docker start registry-gateway")
            result.result()
    finally:
        upstream.host.run("tc qdisc del dev eth0 root")
    sums = hosts["server"].check_output(f"cd {BLOBS} && sha256sum */*/data").splitlines()
    assert [line for line in sums if line.split()[0] != line.split("/")[-2]] == []
    wait_until(kiosk, f"docker pull --quiet {HERE}/{name}", seconds=60, every=2)
    assert pull(kiosk, name) == digest


def test_what_is_damaged_upstream_reaches_nobody(upstream, kiosk, hosts, name):
    digest = publish(upstream.host, name)
    storage = "/var/lib/wharf/registry/docker/registry/v2"
    layers = f"{storage}/repositories/{name[:-2]}/_layers/sha256"
    largest = f"for one in $(ls {layers}); do du -b {storage}/blobs/sha256/*/$one/data; done | sort -n | tail -n 1"
    path = upstream.host.check_output(largest).split()[1]
    flip_bit(upstream.host, path)
    assert kiosk.run(f"docker pull {HERE}/{name}").rc != 0
    assert not hosts["server"].file(f"{BLOBS}/{'/'.join(path.split('/')[-3:])}").exists
    flip_bit(upstream.host, path)
    assert pull(kiosk, name) == digest


def test_a_run_that_fails_leaves_the_caches_as_they_were(upstream, kiosk, ansible, hosts, name):
    digest = publish(upstream.host, name)
    more = [{"upstream": "other.wharf.test"}]
    server = hosts["server"]
    result = ansible.fails_whole(
        [server], read_only(server, CACHES), "playbooks/deploy-registry.yml", wharf_caches=more
    )
    assert "All is as it was before" in result.stdout, result.output
    assert pull(kiosk, name) == digest


def test_repositories_of_its_own_are_not_hidden(upstream, ansible, hosts, passwords):
    client, own = hosts["client2"], f"{REGISTRY}/other.wharf.test/app:1"
    log_in(client, passwords["ci"])
    make_image(client, own)
    push(client, own)
    result = ansible.fails("playbooks/deploy-registry.yml", wharf_caches=[{"upstream": "other.wharf.test"}])
    assert "registry has repositories of its own below other.wharf.test/" in result.stdout, result.output
    hosts["server"].check_output("rm -r /var/lib/wharf/registry/docker/registry/v2/repositories/other.wharf.test")
    client.check_output(f"docker image rm {own}; docker logout {REGISTRY}")


@pytest.mark.thorough
def test_without_a_password_and_then_no_cache_at_all(upstream, kiosk, ansible, hosts, name):
    digest = publish(upstream.host, name)
    server, client = hosts["server"], hosts["client2"]
    client.run(f"podman logout {REGISTRY}")
    ansible.succeeds("playbooks/deploy-registry.yml", wharf_caches_anonymous=True)
    client.check_output(f"podman pull --quiet {HERE}/{name} && podman image rm {HERE}/{name}")
    assert client.run(f"podman pull --quiet {REGISTRY}/test/none:1").rc != 0
    nothing = {"wharf_caches": [], "wharf_registry_clients_use_caches": False}
    assert ansible.succeeds("playbooks/deploy-registry.yml", **nothing).changes
    assert "registry-cache" not in server.check_output("docker ps --all --format '{{.Names}}'")
    assert not server.file("/etc/wharf/caches").exists
    assert "not found" in refused(kiosk, name)[0]
    ansible.succeeds("playbooks/deploy-registry.yml")
    with broken(upstream.host, *AWAY):
        assert pull(kiosk, name) == digest  # what it had is still there


def test_what_was_pulled_least_recently_goes_and_what_is_kept_is_fetched_and_stays(upstream, kiosk, ansible, hosts):
    server, names = hosts["server"], [f"trim/{letter}:1" for letter in "abc"]
    kept = publish(upstream.host, "kept/image:1", 400_000)
    digests = {name: publish(upstream.host, name, 400_000) for name in names}
    for name in names:
        pull(kiosk, name)
    server.check_output("wharf trim-caches")
    server.check_output(program(server, "two-hours-later.py", f"{CACHES}/docker"))
    pull(kiosk, names[0])
    ca = upstream.host.file("/etc/wharf/tls/ca.crt").content_string
    small = {"upstream": THERE, "ca": ca, "size": "1M", "keep": ["kept/image:1"]}
    ansible.succeeds("playbooks/deploy-registry.yml", wharf_caches=[small])
    plan = server.check_output("wharf trim-caches --check")
    assert "trim/b" in plan and "trim/a" not in plan, plan
    done = server.check_output("wharf trim-caches")
    assert "deleted" in done, done
    status = server.check_output("wharf status")
    assert "1 kept image fetched" in status, status
    with broken(upstream.host, *AWAY):
        assert pull(kiosk, names[0]) == digests[names[0]]
        assert pull(kiosk, "kept/image:1") == kept
        refused(kiosk, names[1])
    assert pull(kiosk, names[1]) == digests[names[1]]
    ansible.succeeds("playbooks/deploy-registry.yml")


def test_a_bundle_of_caches_fills_those_of_a_site_without_a_way_out(upstream, kiosk, ansible, hosts, name, tmp_path):
    server, storage = hosts["server"], f"{CACHES}/docker/registry/v2"
    wanted = {"wharf_bundle": str(tmp_path / "caches.tar")}
    deploy, load = "playbooks/deploy-registry.yml", "playbooks/import-images.yml"
    offline = {"upstream": THERE, "offline": True, "keep": ["kept/image:1"]}
    digest = publish(upstream.host, name)
    publish(upstream.host, f"{name}-other")
    assert pull(kiosk, name) == digest
    layers = f"{storage}/repositories/{CACHE}/{name[:-2]}/_layers/sha256"
    wait_until(server, f"[ $(ls {layers} | wc -l) = 2 ]")  # version 2 keeps them a moment later
    ansible.succeeds("playbooks/export-images.yml", wharf_export_images=[f"{CACHE}/{name}"], **wanted)
    server.check_output(f"rm -rf {storage}/blobs/* {storage}/repositories/{CACHE}/*")
    try:
        with broken(upstream.host, *AWAY):
            refused(kiosk, name)
            ansible.succeeds(deploy, load, wharf_caches=[offline], **wanted)
            assert f"registry-cache-{CACHE}" not in server.check_output("docker ps --all --format '{{.Names}}'")
            before = figures(server)
            assert pull(kiosk, name) == digest
            assert f"is not in the cache {CACHE}, which has no upstream here" in refused(kiosk, f"{name}-other")[0]
            after = figures(server)
            assert after["up"] == 1
            assert after["errors_total"] == before["errors_total"]
            assert after["requests_total hit"] > before["requests_total hit"]
            server.check_output("wharf trim-caches")  # what it is to keep is not there, and is not asked for
            assert pull(kiosk, name) == digest
            assert server.check_output(f"find {storage}/blobs {storage}/repositories/{CACHE} ! -user 59500") == ""
    finally:
        again = ansible.succeeds(load, deploy, **wanted)
    assert "already there" in again.stdout
    wait_until(kiosk, f"docker pull --quiet {HERE}/{name}-other", seconds=75, every=2)
    assert pull(kiosk, name) == digest


@pytest.mark.thorough  # benchmarks/run.sh caches says it better
def test_pulls_are_about_as_fast_as_without_the_cache(upstream, kiosk, hosts, passwords, number):
    size, pusher, name = 100_000_000, hosts["client2"], f"speed/{secrets.token_hex(6)}:1"
    log_in(pusher, passwords["ci"])
    make_image(pusher, f"{REGISTRY}/{name}", size)
    push(pusher, f"{REGISTRY}/{name}")
    pusher.check_output(f"docker image rm {REGISTRY}/{name}; docker logout {REGISTRY}")
    direct = f"/etc/docker/certs.d/{THERE}"
    ca = upstream.host.file("/etc/wharf/tls/ca.crt").content_string

    def seconds(reference: str) -> float:
        start = time.monotonic()
        kiosk.check_output(f"docker pull --quiet {reference}")
        taken = time.monotonic() - start
        kiosk.check_output(f"docker image rm {reference}")
        return taken

    with broken(kiosk, f"mkdir -p {direct} && echo '{ca}' >{direct}/ca.crt", f"rm -r {direct}"):
        first, second, others = [], [], {"direct": [], "own": []}
        for turn in range(3):
            publish(upstream.host, f"{name}-{turn}", size)
            first.append(seconds(f"{HERE}/{name}-{turn}"))
            others["direct"].append(seconds(f"{THERE}/{name}-{turn}"))
            second.append(seconds(f"{HERE}/{name}-{turn}"))
            others["own"].append(seconds(f"{REGISTRY}/{name}"))
    number("first pull through the cache, of a direct one's speed", min(others["direct"]) / min(first), "times")
    number("second pull through the cache, of the registry's own speed", min(others["own"]) / min(second), "times")
    assert min(second) < 1.5 * min(others["own"])  # other scenarios run beside this one


def test_the_diagnosis_names_an_upstream_that_is_away_and_nothing_is_broken(upstream, kiosk, ansible, hosts, name):
    server, short = hosts["server"], f"warning: {VERDICTS['upstream_away']['short']}"
    diagnosis = ("playbooks/diagnose-registry.yml", "--limit", "server,client1")
    digest = publish(upstream.host, name)
    with broken(upstream.host, *AWAY):
        for _ in range(2):  # the second time its cache cannot start
            result = ansible(*diagnosis)
            assert "server: all is well. Warning: " in result.stdout, result.output
            assert f"the cache of {THERE} on server serves only what it has" in result.stdout, result.output
            assert short in result.stdout, result.output
            server.check_output(f"docker restart registry-cache-{CACHE}")
    wait_until(kiosk, f"docker pull --quiet {HERE}/{name}", seconds=75, every=2)
    assert pull(kiosk, name) == digest
    result = ansible(*diagnosis)
    assert short not in result.stdout, result.output


def figures(server: Host) -> dict[str, float]:
    """Return the figures of the upstream's cache by name and, where there is one, result."""
    wait_until(server, "wharf metrics", every=0.2)  # its timer starts it as well
    lines = server.file("/var/lib/wharf/metrics/metrics").content_string.splitlines()
    found = (re.fullmatch(r"wharf_cache_(\w+)\{(.+)\} (\S+)", line) for line in lines)
    return {
        " ".join([match[1], *re.findall(r'result="(\w+)"', match[2])]): float(match[3])
        for match in found
        if match and f'upstream="{THERE}"' in match[2]
    }


def test_figures_tell_what_a_cache_has_saved(upstream, kiosk, hosts, name):
    server, size, layers = hosts["server"], 2_000_000, f"{CACHES}/docker/registry/v2/repositories/{CACHE}/{name[:-2]}"
    publish(upstream.host, name, size)
    before = figures(server)
    assert before["up"] == 1
    pull(kiosk, name)
    wait_until(server, f"[ $(ls {layers}/_layers/sha256 | wc -l) = 2 ]")  # version 2 keeps them a moment later
    fetched = figures(server)
    assert fetched["requests_total miss"] > before["requests_total miss"]
    assert fetched["saved_bytes_total"] - before["saved_bytes_total"] < size
    pull(kiosk, name)
    served = figures(server)
    assert served["requests_total miss"] == fetched["requests_total miss"]
    assert served["requests_total hit"] > fetched["requests_total hit"]
    assert size <= served["saved_bytes_total"] - fetched["saved_bytes_total"] < 1.1 * size
    log = server.check_output("wharf log --since 2m")
    assert "cache hit" not in log and " cached: " not in log, log
    with broken(server, f"docker stop registry-cache-{CACHE}", f"docker start registry-cache-{CACHE}"):
        refused(kiosk, "test/none:1")
        after = figures(server)
    assert after["up"] == 0
    assert after["errors_total"] > served["errors_total"]
    assert after["last_error_timestamp_seconds"] > served.get("last_error_timestamp_seconds", 0)
    assert " upstream error: " in server.check_output("wharf log --since 2m")
    server.run("wharf trim-caches")  # what it is to keep is perhaps not there
    assert figures(server)["images"] >= 1
    wait_until(kiosk, f"docker pull --quiet {HERE}/{name}", seconds=75, every=2)
    assert pull(kiosk, name)

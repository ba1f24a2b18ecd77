"""Garbage goes, images stay: what a collection and the retention rules do, and what may go wrong meanwhile."""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from clients import REGISTRY, log_in, make_image, pull, push, watch
from machines import (
    PARTS,
    broken,
    container,
    containers,
    docker_that,
    from_outside,
    in_background,
    program,
    put_back,
    read_only,
    snapshot,
    some,
    wait_until,
    without_repair,
)
from plays import state
from testinfra.host import Host

DATA = "/var/lib/wharf/registry"
STORAGE = f"{DATA}/docker/registry/v2"
UPSTREAMS = "/etc/wharf/gateway/upstreams.conf"
VERIFY = "wharf verify-storage --json"
COLLECT = "wharf collect-garbage"


@pytest.fixture(scope="module")
def server(hosts) -> Host:
    return hosts["server"]


@pytest.fixture(scope="module")
def client(hosts, password) -> Host:
    log_in(hosts["client1"], password)
    return hosts["client1"]


@pytest.fixture(scope="module")
def kept(client) -> dict[str, str]:
    """Push images that must outlive every test of this file: a tag shared by two, one overwritten, a multi-arch one.

    Reference to digest.
    """
    references = [f"{REGISTRY}/kept/{name}" for name in ("one:1", "one:same", "two:1")]
    make_image(client, references[0])
    make_image(client, references[2])
    client.check_output(f"docker tag {references[0]} {references[1]}")
    digests = {reference: push(client, reference) for reference in references}
    assert digests[references[0]] == digests[references[1]]
    digests[f"{REGISTRY}/kept/many:all"] = push_index(client, f"{REGISTRY}/kept/many")
    return digests


@pytest.fixture(scope="module")
def steady(kept) -> str:
    """Return the image that is pulled all the time."""
    return f"{REGISTRY}/kept/one@{kept[f'{REGISTRY}/kept/one:1']}"


def push_index(host: Host, repository: str) -> str:
    """Push a multi-arch image with the tag all, whose two parts have no tag; return its digest."""
    parts = [f"{repository}:{name}" for name in ("amd64", "arm64")]
    for part in parts:
        make_image(host, part, platform=f"linux/{part.rpartition(':')[2]}")
        push(host, part)
    manifest = "export DOCKER_CLI_EXPERIMENTAL=enabled; docker manifest"
    host.check_output(f"{manifest} create {repository}:all {' '.join(parts)}")
    return host.check_output(f"{manifest} push --purge {repository}:all").split()[-1]


def add_garbage(client: Host, server: Host, name: str = "garbage/heap") -> str:
    """Push an image and take its repository away: nothing needs its blobs then. Return the largest one's directory."""
    make_image(client, f"{REGISTRY}/{name}:1")
    push(client, f"{REGISTRY}/{name}:1")
    digests = server.check_output(f"ls {STORAGE}/repositories/{name}/_layers/sha256").split()
    server.check_output(f"rm -r {STORAGE}/repositories/{name}")
    places = [f"{STORAGE}/blobs/sha256/{digest[:2]}/{digest}" for digest in digests]
    return max(places, key=lambda place: int(server.check_output(f"stat -c %s {place}/data")))


def blobs(server: Host) -> str:
    """Return the paths of all that is stored."""
    return server.check_output(f"find {DATA} -type f | sort")


def as_it_was(server: Host, kept: dict[str, str]) -> None:
    """Assert that the registry runs as usual: nothing stands in for it, no image is lost, no trace is left."""
    assert containers(server) == PARTS
    assert server.check_output("docker inspect --format '{{.State.Status}}' registry") == "running"
    assert re.findall(r"/(\w+)\.sock max_fails=0;", server.file(UPSTREAMS).content_string) in (["a"] * 2, ["b"] * 2)
    assert not server.file(f"{STORAGE}/repositories/wharf-verify").exists
    assert not server.file(f"{DATA}/.wharf-removed").exists
    assert not server.file(f"{DATA}/.wharf-aside").exists
    verified = json.loads(server.check_output(f"{VERIFY} --contents {DATA}"))
    assert verified["problems"] == []
    tags = json.loads(server.check_output(f"{VERIFY} --tags {DATA}"))["tags"]
    for reference, digest in kept.items():
        assert tags[reference.partition("/")[2]] == digest


@contextmanager
def pushing(client: Host) -> Iterator[None]:
    """Push an image while the block runs. It may have to wait; it arrives whole soon after that."""
    reference = f"{REGISTRY}/kept/late-{secrets.token_hex(3)}:1"
    make_image(client, reference)
    run = f"sh -c 'docker push {reference} >/tmp/push.log 2>&1; echo $? >/tmp/pushed'"
    client.check_output(f"rm -f /tmp/pushed; {in_background(run)}")
    yield
    wait_until(client, "[ -s /tmp/pushed ]", 90)
    said = client.check_output("cat /tmp/push.log")
    assert client.check_output("cat /tmp/pushed") == "0", said
    client.check_output(f"docker image rm {reference}")
    pull(client, reference, said.rpartition("digest: ")[2].split()[0])


def serves(client: Host) -> None:
    """Assert that a client pulls and pushes."""
    reference = f"{REGISTRY}/kept/two:1"
    client.check_output(f"docker image rm {reference} && docker pull {reference}")
    make_image(client, f"{REGISTRY}/kept/two:2")
    push(client, f"{REGISTRY}/kept/two:2")


def result(server: Host) -> str:
    """Return how the last run ended, as the diagnosis reads it."""
    return server.file("/var/lib/wharf/results/collect-garbage").content_string


# The collection -----------------------------------------------------------------------------------


def test_dry_run_shows_what_would_go_and_changes_nothing(server, client, kept, ansible):
    server.check_output(COLLECT)
    place = add_garbage(client, server)
    before = snapshot(server)
    shown = ansible.succeeds("playbooks/collect-garbage.yml", "--check")
    assert shown.changes == 0, shown.stdout
    assert "would be deleted: 3 blobs, " in shown.stdout
    assert os.path.basename(place) in shown.stdout
    assert snapshot(server) == before


def test_collection_frees_the_garbage_and_loses_nothing(server, client, kept, steady, ansible, number):
    server.check_output(COLLECT)
    places = [add_garbage(client, server, f"garbage/heap{number}") for number in range(2)]
    before = server.check_output("docker inspect --format '{{.Id}} {{.State.StartedAt}}' $(docker ps --quiet)")
    with watch(client, steady) as seen:
        run = ansible("playbooks/collect-garbage.yml")
    assert run.returncode == 0, run.stdout
    assert run.changes == 1, run.stdout
    assert "deleted: 6 blobs" in run.stdout
    assert "verified: an image was pushed and pulled" in run.stdout
    assert [place for place in places if server.file(place).exists] == []
    assert result(server).startswith("ok ")
    as_it_was(server, kept)
    for reference, digest in kept.items():
        client.run(f"docker image rm --force {reference}")
        pull(client, reference, digest)
        client.check_output(f"docker pull {reference}")
    assert seen.failures == 0, vars(seen)
    # Nothing was restarted.
    assert server.check_output("docker inspect --format '{{.Id}} {{.State.StartedAt}}' $(docker ps --quiet)") == before
    number("collection, pulls that failed", seen.failures, f"of {seen.pulls}")
    waited = re.search(r"pushes waited for up to ([0-9.]+) s; pulls went on", run.stdout)
    number("collection, pushes waited for up to", float(waited[1]), "s")
    number("collection, images lost", 0, "")


def test_nothing_to_collect_leaves_the_registry_alone(server, ansible):
    server.check_output(COLLECT)
    before = server.check_output("docker inspect --format '{{.State.StartedAt}}' registry")
    run = ansible.succeeds("playbooks/collect-garbage.yml")
    assert "nothing to collect" in run.stdout
    assert run.changes == 0, run.stdout
    assert server.check_output("docker inspect --format '{{.State.StartedAt}}' registry") == before


def test_image_that_was_collected_is_pushed_again_whole(server, client, kept):
    """A registry that remembered the blobs would say "Layer already exists" of what is gone."""
    reference = f"{REGISTRY}/garbage/again:1"
    make_image(client, reference)
    digest = push(client, reference)
    server.check_output(f"rm -r {STORAGE}/repositories/garbage/again && {COLLECT}")
    assert push(client, reference) == digest
    client.check_output(f"docker image rm {reference}")
    pull(client, reference, digest)


def test_pushes_meanwhile_wait_and_others_at_work_are_refused(server, client, kept, steady, ansible):
    add_garbage(client, server)
    hold = '"start --attach registry-collect-garbage") while [ -e /tmp/hold ]; do sleep 0.1; done; real "$@" ;;'
    with docker_that(server, hold):
        collecting = in_background(f"sh -c '{COLLECT} >/tmp/collected 2>&1'")
        hold_on = broken(server, f"touch /tmp/hold; {collecting}", "rm -f /tmp/hold")
        with watch(client, steady) as seen, hold_on:
            wait_until(server, "docker ps --all --format '{{.Names}}' | grep -x registry-collect-garbage")
            with pushing(client):
                digest = kept[f"{REGISTRY}/kept/two:1"]
                client.check_output(f"docker image rm {REGISTRY}/kept/two:1")
                client.check_output(f"docker pull {REGISTRY}/kept/two@{digest} && docker pull {REGISTRY}/kept/two:1")
                diagnosis = ansible("playbooks/diagnose-registry.yml")
                assert (
                    "pulls work, but pushes wait while `wharf collect-garbage` is at work on server" in diagnosis.stdout
                )
                busy = server.run(COLLECT)
                assert busy.rc == 1
                assert re.search("collect-garbage is at work on server since 20.* wait", busy.stderr), busy.stderr
                # Others stand in for the registry, which is frozen: that is no change for a run to make.
                assert ansible("playbooks/deploy-registry.yml").changes == 0
                other = {"registry_server_config": {"log": {"level": "warn"}}}
                deploy = ansible.fails("playbooks/deploy-registry.yml", **other)
                assert re.search("collect-garbage is at work on server since 20.* wait", deploy.stdout), deploy.stdout
                assert client.run("[ -e /tmp/pushed ]").rc != 0
                server.check_output("rm /tmp/hold")
        wait_until(server, "grep verified: /tmp/collected")
    assert seen.failures == 0, vars(seen)
    as_it_was(server, kept)


def test_push_that_is_under_way_succeeds_and_is_whole(server, client, kept):
    add_garbage(client, server)
    reference = f"{REGISTRY}/kept/large:1"
    make_image(client, reference, size=60_000_000)
    done: dict[str, object] = {}
    under_way = threading.Thread(target=lambda: done.update(first=client.run(f"docker push {reference}")))
    under_way.start()
    wait_until(server, f"ls {STORAGE}/repositories/kept/large/_uploads/*/data")
    server.check_output(COLLECT)
    under_way.join()
    tags = json.loads(server.check_output(f"{VERIFY} --tags {DATA}"))["tags"]
    assert done["first"].rc == 0, done["first"]
    assert "kept/large:1" in tags
    digest = push(client, reference)
    client.check_output(f"docker image rm {reference}")
    pull(client, reference, digest)
    as_it_was(server, kept)


@contextmanager
def pushing_in_two(client: Host, server: Host) -> Iterator[None]:
    """Push the layers of an image before the block, the manifest when the block lets it, and pull it afterwards."""
    name = f"early/{secrets.token_hex(3)}"  # before the one that it mounts from: version 3 looks at it first
    push_it = program(client, "push-in-two.py", REGISTRY, name, "1", "kept/one")
    start = in_background(f"sh -c '{push_it} >/tmp/second-half 2>&1'")
    client.check_output(f"rm -f /tmp/begun /tmp/go-on /tmp/second-half; {start}")
    wait_until(client, "[ -e /tmp/begun ]")
    yield
    client.check_output("touch /tmp/go-on")
    wait_until(client, "[ -s /tmp/second-half ]", 90)
    status, digest = client.check_output("cat /tmp/second-half").split(maxsplit=1)
    assert status == "201", digest
    pull(client, f"{REGISTRY}/{name}:1", digest)
    server.check_output(f"rm -r {STORAGE}/repositories/{name}")


def test_layers_whose_manifest_is_still_to_come_are_no_garbage(server, client, kept):
    """An image that was deleted a moment ago is."""
    server.check_output(COLLECT)
    make_image(client, f"{REGISTRY}/garbage/deleted:1")
    deleted = push(client, f"{REGISTRY}/garbage/deleted:1")
    server.check_output(f"rm -r {STORAGE}/repositories/garbage/deleted/_manifests")
    with pushing_in_two(client, server):
        begun = "kept: 2 blobs of pushes that have begun"
        shown = server.check_output(f"{COLLECT} --dry-run")
        assert "would be deleted: 3 blobs" in shown
        assert begun in shown
        collected = server.check_output(COLLECT)
        assert "deleted: 3 blobs" in collected
        assert begun in collected
        assert not server.file(blob(deleted)).exists
        again = server.check_output(COLLECT)
        assert begun in again
        assert "nothing to collect" in again
    as_it_was(server, kept)


def test_manifest_that_comes_during_a_collection_finds_its_layers(server, client, kept):
    add_garbage(client, server)
    hold = '"start --attach registry-collect-garbage") real "$@"; while [ -e /tmp/hold ]; do sleep 0.1; done ;;'
    with docker_that(server, hold):
        collecting = in_background(f"sh -c '{COLLECT} >/tmp/collected 2>&1'")
        with pushing_in_two(client, server), broken(server, f"touch /tmp/hold; {collecting}", "rm -f /tmp/hold"):
            wait_until(server, f"[ -d {DATA}/.wharf-aside ]")
            client.check_output("touch /tmp/go-on; sleep 1; ! [ -s /tmp/second-half ]")  # it waits
    wait_until(server, "grep verified: /tmp/collected")
    as_it_was(server, kept)


# What is cut off ----------------------------------------------------------------------------------

KILLED = {
    "one stands in": '"start registry-reads") real "$@"; kill -9 $PPID ;;',
    "pushes are to wait": '"pause registry-writes") real "$@"; kill -9 $PPID ;;',
    "pushes wait": '"pause registry") real "$@"; kill -9 $PPID ;;',
    "nothing is deleted yet": '"create --name registry-collect-garbage "*) real "$@"; kill -9 $PPID ;;',
    "the collection runs on": '"start --attach registry-collect-garbage") kill -9 $PPID; real "$@" ;;',
    "pushes go on": '"unpause registry-writes") real "$@"; kill -9 $PPID ;;',
    "nearly done": '"rm --force registry-writes") kill -9 $PPID ;;',
}


def killed(server: Host, phase: str) -> None:
    """Kill a collection."""
    with docker_that(server, KILLED[phase]):
        assert server.run(COLLECT).rc == 137
    assert containers(server) != PARTS  # it was in the middle


@pytest.mark.parametrize("phase", some(["the collection runs on"], KILLED))
def test_killed_collection_is_recovered_by_the_next(server, client, kept, steady, phase):
    add_garbage(client, server)
    with watch(client, steady) as seen, without_repair(server), pushing_in_two(client, server):
        killed(server, phase)
        with pushing(client):
            run = server.run(COLLECT)
    assert run.rc == 0, run.stderr
    assert "an earlier run was cut off: the registry is as it was before it" in run.stdout
    assert seen.failures == 0, vars(seen)
    as_it_was(server, kept)


def test_killed_collection_is_recovered_by_what_runs_every_minute(server, client, kept, steady):
    add_garbage(client, server)
    with watch(client, steady) as seen, without_repair(server), pushing_in_two(client, server):
        killed(server, "the collection runs on")
        with pushing(client):
            server.check_output("systemctl start wharf-repair-storage")
    assert seen.failures == 0, vars(seen)
    as_it_was(server, kept)


@pytest.mark.thorough
def test_killed_collection_is_recovered_by_a_deployment(server, client, kept, steady, ansible):
    add_garbage(client, server)
    with watch(client, steady) as seen, without_repair(server), pushing_in_two(client, server):
        killed(server, "nothing is deleted yet")
        before = snapshot(server)
        ansible.succeeds("playbooks/deploy-registry.yml", "--check")
        assert snapshot(server) == before
        with pushing(client):
            ansible.succeeds("playbooks/deploy-registry.yml")
        server.check_output("systemctl start wharf-repair-storage")  # as within the next minute
    assert seen.failures == 0, vars(seen)
    as_it_was(server, kept)
    serves(client)


@pytest.mark.thorough
def test_collection_that_is_stopped_brings_the_registry_back(server, client, kept):
    add_garbage(client, server)
    stop = '"start --attach registry-collect-garbage") kill -TERM $PPID; sleep 1; real "$@" ;;'
    with docker_that(server, stop):
        run = server.run(COLLECT)
    assert run.rc == 1
    assert "stopped by SIGTERM" in run.stderr
    assert "stopped by SIGTERM" in result(server)
    as_it_was(server, kept)
    serves(client)


def test_power_failure_in_the_middle(server, client, kept, password):
    add_garbage(client, server)
    with without_repair(server):
        killed(server, "pushes wait")
        # A signal stands for the power loss, and what is frozen does not get it (cgroup v1).
        server.check_output("docker unpause registry registry-writes")
    from_outside("kill", container("server"))
    from_outside("start", container("server"))
    wait_until(client, f"docker pull {REGISTRY}/kept/one:1", 60)
    wait_until(server, "wharf status --json | grep '\"pushes_wait\": false'", 120)  # within a minute or two
    serves(client)
    server.check_output(f"{COLLECT} --wait 60")  # the boot's repair may be at work
    as_it_was(server, kept)


# What fails ---------------------------------------------------------------------------------------

# Docker's calls until something is deleted; "" is the gateway's file that says where requests go.
BEFORE = [
    '"start registry-reads") broken ;;',
    '"start registry-writes") broken ;;',
    '"pause registry-writes") broken ;;',
    "",
    '"pause registry") broken ;;',
    '"run --rm --name registry-collect-garbage-dry-run"*) once || broken; real "$@" ;;',
    '"create --name registry-collect-garbage "*) broken ;;',
    '"start --attach registry-collect-garbage") broken ;;',
]


@pytest.mark.thorough
def test_collection_that_fails_before_it_deletes_changes_nothing(server, client, kept, steady, ansible):
    place = add_garbage(client, server)
    with watch(client, steady) as seen:
        for how in BEFORE:
            fault = docker_that(server, how) if how else read_only(server, "/etc/wharf/gateway")
            before = state(server, client)
            with fault:
                run = server.run(COLLECT)
            assert run.rc == 1, how
            assert ("broken by the test" if how else "Read-only file system") in run.stderr
            assert state(server, client) == before
        run = ansible.fails_whole((server, client), docker_that(server, BEFORE[-1]), "playbooks/collect-garbage.yml")
        assert "broken by the test" in run.stdout
        assert "changed=1" not in run.stdout
    assert server.file(place).exists
    assert seen.failures == 0, vars(seen)
    as_it_was(server, kept)


# And from then on: what is tried again, and what is not. The last leaves the gateway with what stands in.
FULL = "mount --bind /etc/wharf/gateway /etc/wharf/gateway && mount -o remount,ro,bind /etc/wharf/gateway"
NOT_FULL = "while umount /etc/wharf/gateway 2>/dev/null; do :; done"
AFTER = {
    '"unpause registry") once && broken; real "$@" ;;': "verified: an image was pushed",
    '"start registry") once && broken; real "$@" ;;': "verified: an image was pushed",
    '"unpause registry-writes") once && broken; real "$@" ;;': "verified: an image was pushed",
    '"start --attach registry-collect-garbage") real "$@"; broken ;;': "collection failed: docker start: broken by the",
    '"rm --force registry-writes") broken ;;': "verified: an image was pushed",
    f'"start registry") {FULL}; real "$@" ;;': "Read-only file system",
}


@pytest.mark.thorough
def test_collection_that_fails_after_it_deletes_says_what_is_gone_and_the_next_finishes(
    server, client, kept, steady, ansible
):
    with watch(client, steady) as seen, without_repair(server):
        for how, message in AFTER.items():
            server.check_output(f"{COLLECT} --recover")
            place = add_garbage(client, server)
            with docker_that(server, how), broken(server, ":", NOT_FULL):
                if "Read-only" in message:
                    said = ansible.fails("playbooks/collect-garbage.yml").stdout
                    assert "changed=1" in said
                else:
                    run = server.run(COLLECT)
                    said = run.stdout + run.stderr
                    assert (run.rc == 0) == ("verified" in message), f"{how}: {said}"
            assert message in said, f"{how}: {said}"
            assert re.search("deleted: [1-9]", said)
            assert not server.file(place).exists
            serves(client)
        assert "an earlier run was cut off: the registry is as it was" in server.check_output(COLLECT)
    assert seen.failures == 0, vars(seen)
    as_it_was(server, kept)


# What is refused ----------------------------------------------------------------------------------


def test_collection_that_fails_brings_the_registry_back(server, client, kept):
    place = add_garbage(client, server)
    with broken(server, f"mount --bind {place} {place}", f"umount {place}"):  # it cannot be removed
        run = server.run(COLLECT)
    assert run.rc == 1
    assert "the registry's own collection failed: " in run.stderr
    assert result(server).startswith("failed ")
    as_it_was(server, kept)
    serves(client)
    server.check_output(COLLECT)
    assert result(server).startswith("ok ")


def test_damaged_manifest_is_named_and_nothing_is_deleted(server, client, kept):
    place = add_garbage(client, server)
    digest = kept[f"{REGISTRY}/kept/two:1"]
    manifest = blob(digest)
    with put_back(server, manifest):
        server.check_output(f"sed -i 's/layers/lairs_/' {manifest}")
        run = server.run(COLLECT)
    assert run.rc == 1
    assert f"kept/two:1: the manifest {digest} is damaged" in run.stderr
    assert "Nothing was deleted" in run.stderr
    assert server.file(f"{place}/data").exists
    as_it_was(server, kept)


def test_damage_that_no_tag_leads_to_is_a_warning(server, client, kept):
    reference = f"{REGISTRY}/kept/overwritten:1"
    make_image(client, reference)
    before = push(client, reference)
    layer = json.loads(server.check_output(f"cat {blob(before)}"))["layers"][0]["digest"]
    make_image(client, reference)
    kept[reference] = push(client, reference)
    server.check_output(f"rm {blob(layer)}")
    place = add_garbage(client, server)
    collected = server.check_output(COLLECT)
    assert f"warning: kept/overwritten: the manifest {before} needs the blob {layer}" in collected
    assert "(no tag leads there)" in collected
    assert not server.file(place).exists
    # The registry's own collection skips a manifest that is not there, and fails at one that it cannot read.
    server.check_output(f"echo '{{' >{blob(before)}")
    run = server.run(COLLECT)
    assert (run.rc, "the registry's own collection failed: " in run.stderr) == (1, True), run.stderr
    left = f"{STORAGE}/repositories/kept/overwritten/_manifests/revisions/{before.replace(':', '/')}"
    assert f"no tag leads there: remove what is left of them, {left}" in run.stderr
    server.check_output(f"rm {blob(before)} && {COLLECT}")
    server.check_output(f"rm -r {left} && {COLLECT}")
    as_it_was(server, kept)


def test_collection_that_would_eat_an_image_is_refused(server, client, kept, ansible):
    """Without its link a part of an index counts for nothing with the registry's version 2, its layers are garbage."""
    index = json.loads(server.check_output(f"cat {blob(kept[f'{REGISTRY}/kept/many:all'])}"))
    part = index["manifests"][0]["digest"].partition(":")[2]
    link = f"{STORAGE}/repositories/kept/many/_manifests/revisions/sha256/{part}"
    tag = f"{STORAGE}/repositories/kept/many/_manifests/tags/amd64"
    with put_back(server, link, tag):
        server.check_output(f"rm -r {link} {tag}")
        before = blobs(server)
        run = ansible.fails("playbooks/collect-garbage.yml")
        assert re.search("would delete sha256:[0-9a-f]+, which kept/many:all needs", run.stdout), run.stdout
        assert blobs(server) == before
    as_it_was(server, kept)


def test_untagged_images_stay_with_version_2_where_a_multi_arch_image_is_stored(server, client, kept, ansible):
    reference = f"{REGISTRY}/kept/over:1"
    for _ in range(2):
        make_image(client, reference)
        kept[reference] = push(client, reference)
    before = blobs(server)
    run = ansible.fails("playbooks/collect-garbage.yml", wharf_delete_untagged=True)
    assert "is refused: the registry's version 2" in run.stdout
    assert "would delete the parts of the multi-arch image " in run.stdout
    assert blobs(server) == before
    # Without one they go.
    with put_back(server, f"{STORAGE}/repositories/kept/many", f"{STORAGE}/blobs"):
        server.check_output(f"rm -r {STORAGE}/repositories/kept/many")
        collected = server.run(f"{COLLECT} --delete-untagged")
        assert collected.rc == 0, collected.stderr
        assert len(server.check_output(f"ls {STORAGE}/repositories/kept/over/_manifests/revisions/sha256").split()) == 1
    as_it_was(server, kept)


def test_full_disk_is_refused(server):
    with broken(server, f"mount -t tmpfs -o size=8m tmpfs {DATA}", f"umount {DATA}"):
        run = server.run(COLLECT)
    assert run.rc == 1
    assert f"only 8.0 MiB free in {DATA}, and 16.0 MiB are needed" in run.stderr


def test_bad_variables_are_refused(ansible):
    bad = {"wharf_garbage_schedule": "hourly", "wharf_retention": [{"repositories": "(", "keep_newest": 1}]}
    run = ansible.fails("playbooks/collect-garbage.yml", **bad)
    assert "wharf_garbage_schedule: 'hourly' is unknown: use daily, weekly or monthly" in run.stdout
    assert "wharf_retention: rule 1 has repositories that is no regular expression" in run.stdout


# By itself ----------------------------------------------------------------------------------------


def test_schedule_works_survives_a_kill_and_goes(server, client, kept, ansible):
    assert server.check_output("systemctl is-active wharf-collect-garbage.timer") == "active"
    assert "Sun *-*-* 03:30" in server.check_output("systemctl cat wharf-collect-garbage.timer")

    place = add_garbage(client, server)
    server.check_output("systemctl start wharf-collect-garbage")
    assert not server.file(place).exists
    assert result(server).startswith("ok ")

    add_garbage(client, server)
    server.check_output("systemctl start --no-block wharf-collect-garbage")
    wait_until(server, "docker ps --format '{{.Names}}' | grep -x registry-writes")
    server.check_output("systemctl kill --kill-whom=main --signal=KILL wharf-collect-garbage")
    wait_until(server, "systemctl is-failed wharf-collect-garbage")
    as_it_was(server, kept)
    serves(client)
    server.check_output("systemctl reset-failed wharf-collect-garbage")

    start = "systemctl daemon-reload; systemctl start wharf-collect-garbage.timer"
    with put_back(server, "/etc/systemd/system", then=start):
        ansible.succeeds("playbooks/deploy-registry.yml", wharf_garbage_schedule="")
        assert server.run("systemctl is-active wharf-collect-garbage.timer").stdout.strip() == "inactive"
        left = server.check_output("find /etc -path '*/systemd/*' -name 'wharf-collect-garbage*'")
        assert left == ""


def test_status_says_how_the_registry_is(server, client, kept):
    server.check_output(f"rm -f /var/lib/wharf/results/*; {COLLECT}")  # how runs of other tests ended
    assert 10 <= len(server.check_output("wharf status").splitlines()) <= 13
    status = json.loads(server.check_output("wharf status --json"))
    assert status["problems"] == []
    assert status["registry"] == REGISTRY
    assert re.match(r"\d+\.\d+\.\d+", status["containers"]["registry"]["version"])
    assert status["certificate"]["days"] > 300
    assert status["storage"]["path"] == DATA
    assert status["storage"]["used"] > 100_000
    assert status["results"]["collect-garbage"]["good"]
    with broken(server, "docker stop registry", "docker start registry"):
        stopped = server.run("wharf status")
    assert stopped.rc == 3
    assert f"{REGISTRY}: exited, does not answer" in stopped.stdout


# Retention ----------------------------------------------------------------------------------------


def test_retention_deletes_what_its_plan_says_and_nothing_else(server, client, kept, ansible):
    server.check_output(COLLECT)
    name = f"app/{secrets.token_hex(3)}"
    repository = f"{REGISTRY}/{name}"
    digests = {}
    for age, tags in ((9, ["old", "old-too"]), (8, ["v1"]), (7, ["older"]), (1, ["new"])):
        make_image(client, f"{repository}:{tags[0]}")
        for tag in tags:
            client.check_output(f"docker tag {repository}:{tags[0]} {repository}:{tag}")
            digests[tag] = push(client, f"{repository}:{tag}")
            age_tag(server, name, tag, age)
    # The same image under a tag that stays: it must not go with the tag that does.
    client.check_output(f"docker tag {repository}:older {repository}:v2")
    digests["v2"] = push(client, f"{repository}:v2")
    digests["all"] = push_index(client, repository)
    for tag in ("amd64", "arm64"):
        age_tag(server, name, tag, 30)
    rule = {"repositories": f"{name[:-2]}.*", "keep_newest": 2, "keep_tags": "v[0-9]+", "older_than": 5}
    rules = {"wharf_retention": [rule]}

    before = snapshot(server)
    # In check mode nothing goes, whatever else is said.
    planned = ansible.succeeds("playbooks/apply-retention.yml", "--check", wharf_retention_plan="0" * 12, **rules)
    assert snapshot(server) == before
    assert "kept/" not in planned.stdout
    assert planned.changes == 0, planned.stdout
    # amd64 and arm64 are parts of "all": only their tags go. "older" shares its image with v2.
    assert "5 of " in planned.stdout
    assert "free 3 blobs" in planned.stdout
    plan = re.search("plan: ([0-9a-f]{12})", planned.stdout)[1]
    do = rules | {"wharf_retention_plan": plan}

    # Something was pushed since.
    client.check_output(f"docker tag {repository}:older {repository}:late")
    push(client, f"{repository}:late")
    age_tag(server, name, "late", 20)
    before = blobs(server)
    changed = ansible.fails("playbooks/apply-retention.yml", **do)
    assert f"plan {plan} is not what would be deleted now, so nothing was deleted" in changed.stdout
    assert blobs(server) == before
    server.check_output(f"rm -r {STORAGE}/repositories/{name}/_manifests/tags/late")

    done = ansible.succeeds("playbooks/apply-retention.yml", **do)
    assert "deleted 5 tags and 1 manifest" in done.stdout
    tags = json.loads(server.check_output(f"{VERIFY} --tags --repository {name} {DATA}"))["tags"]
    assert tags == {f"{name}:{tag}": digests[tag] for tag in ("v1", "v2", "new", "all")}
    # What was deleted is not served any more, by its digest neither.
    assert client.run(f"docker pull {repository}@{digests['old']}").rc != 0

    collected = server.check_output(COLLECT)
    assert "deleted: 3 blobs" in collected
    for tag in ("v1", "v2", "new", "all"):
        client.run(f"docker image rm --force {repository}:{tag}")
        pull(client, f"{repository}:{tag}", digests[tag])
    as_it_was(server, kept)
    again = ansible.fails("playbooks/apply-retention.yml", **do)
    assert f"there is no plan {plan} any more" in again.stdout
    # Another test deletes untagged images, which a multi-arch image anywhere forbids.
    server.check_output(f"rm -r {STORAGE}/repositories/{name}")


@pytest.mark.thorough
def test_retention_that_fails_deletes_all_or_nothing(server, client, kept, steady, ansible):
    name = f"app/{secrets.token_hex(3)}"
    for tag in ("1", "2", "3"):
        make_image(client, f"{REGISTRY}/{name}:{tag}")
        push(client, f"{REGISTRY}/{name}:{tag}")
    rules = {"wharf_retention": [{"repositories": name, "keep_newest": 1}]}
    apply = "playbooks/apply-retention.yml"
    planned = ansible.succeeds(apply, **rules).stdout
    do = rules | {"wharf_retention_plan": re.search("plan: ([0-9a-f]{12})", planned)[1]}
    # The last of all that goes.
    last = max(digest for tag, digest in tags_of(server, name).items() if not tag.endswith(":3")).partition(":")[2]
    place = f"{STORAGE}/repositories/{name}/_manifests/revisions/sha256/{last}"
    busy = broken(server, f"mount --bind {place} {place}", f"umount {place}")
    with watch(client, steady) as seen, without_repair(server):
        run = ansible.fails_whole((server, client), busy, apply, **do)
        assert "Device or resource busy: nothing was deleted" in run.stdout
        assert "changed=1" not in run.stdout
        full = docker_that(server, f'"start registry") {FULL}; real "$@" ;;')
        with full, broken(server, ":", NOT_FULL):
            run = ansible.fails(apply, **do)
        assert "deleted 2 tags and 2 manifests" in run.stdout
        assert "changed=1" in run.stdout
        assert list(tags_of(server, name)) == [f"{name}:3"]
        assert "an earlier run was cut off: the registry is as it was" in server.check_output(COLLECT)
    assert seen.failures == 0, vars(seen)
    server.check_output(f"rm -r {STORAGE}/repositories/{name}")
    as_it_was(server, kept)


@pytest.mark.thorough
def test_retention_lets_signatures_stay_and_go_with_their_image(server, client, kept):
    """Also those of signatures, and an index that stands for referrers."""
    name = f"signed/{secrets.token_hex(3)}"
    for tag in ("old", "new"):
        make_image(client, f"{REGISTRY}/{name}:{tag}")
        kept[f"{REGISTRY}/{name}:{tag}"] = push(client, f"{REGISTRY}/{name}:{tag}")
        client.check_output(program(client, "push-artifacts.py", REGISTRY, name, tag))
    listed = f"{VERIFY} --tags --repository {name} {DATA}"
    before = json.loads(server.check_output(listed))["tags"]
    assert len(before) == 10
    retain = f"echo '{json.dumps([{'repositories': name, 'keep_newest': 1}])}' | wharf apply-retention"
    planned = server.check_output(retain)
    assert "5 of " in planned
    server.check_output(f"{retain} --plan {re.search('plan: ([0-9a-f]{12})', planned)[1]}")
    after = json.loads(server.check_output(listed))["tags"]
    old = kept.pop(f"{REGISTRY}/{name}:old").replace(":", "-")
    gone = {tag.rpartition(":")[2] for tag in before.keys() - after.keys()}
    assert {"old", old, f"{old}.sig", f"{old}.att"} < gone
    assert len(gone) == 5
    assert after == {tag: digest for tag, digest in before.items() if tag in after}
    server.check_output(COLLECT)
    assert "nothing to delete" in server.check_output(retain)
    as_it_was(server, kept)
    # Another test deletes untagged images, which the referrers' index forbids.
    del kept[f"{REGISTRY}/{name}:new"]
    server.check_output(f"rm -r {STORAGE}/repositories/{name}")


def test_retention_without_rules_is_refused(ansible):
    run = ansible.fails("playbooks/apply-retention.yml")
    assert "wharf_retention: is empty" in run.stdout


def tags_of(server: Host, name: str) -> dict[str, str]:
    """Return the tags of a repository and their digests."""
    return json.loads(server.check_output(f"{VERIFY} --tags --repository {name} {DATA}"))["tags"]


def age_tag(server: Host, name: str, tag: str, days: int) -> None:
    """Make a tag as old as if it had been pushed so many days ago."""
    server.check_output(f"touch -d '-{days} days' {STORAGE}/repositories/{name}/_manifests/tags/{tag}/current/link")


def blob(digest: str) -> str:
    """Return the file of a blob."""
    number = digest.partition(":")[2]
    return f"{STORAGE}/blobs/sha256/{number[:2]}/{number}/data"

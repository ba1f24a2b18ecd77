"""Faults: whatever breaks, no image that was acknowledged is lost, and nothing is listed that cannot be pulled whole.

An image is acknowledged when `docker push` has ended with 0 and told its digest. Each test checks all that was
acknowledged so far, in it and in those before it.

What cannot be shown here: hosts are containers, so that power loss kills every process at once but loses nothing of the
kernel's page cache; and they share one clock, so that it is the certificates and files that move a day ahead instead.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from clients import REGISTRY, by_digest, push, watch
from machines import PARTS, container, from_outside, in_background, program, put_back, wait_until, write

DATA = "/var/lib/wharf/registry"
STORE = f"{DATA}/docker/registry/v2"
EMPTY = f"find {STORE} -name _uploads -prune -o -type f -size 0 -print"
BATCH = secrets.token_hex(3)  # of images that push-tight.py pushes
STEADY = f"{REGISTRY}/faults/steady:1"  # pulled all the time, to measure how long there is no service
ACKNOWLEDGED: dict[str, str] = {}  # reference: digest
LOST: set[str] = set()


def make_images(host, sizes: list[int]) -> list[str]:
    """Make images of random content, of these sizes in MB, not pushed; return their references."""
    batch = secrets.token_hex(3)
    references = [f"{REGISTRY}/faults/{batch}-{number}:1" for number in range(len(sizes))]
    pairs = (f"{reference}={size}" for reference, size in zip(references, sizes, strict=True))
    host.check_output(program(host, "make-images.sh", *pairs))
    return references


class Pushes:
    """Pushes that run on client1 at the same time."""

    def __init__(self, host, references: list[str], seconds: int = 120) -> None:
        """Start them, each with this much time: Docker tries up to five times."""
        self.host, self.references = host, references
        self.directory = f"/tmp/pushes-{secrets.token_hex(3)}"
        host.check_output(in_background(program(host, "push-all.sh", self.directory, seconds, *references)))

    def acknowledged(self) -> dict[str, str]:
        """Return what has been acknowledged up to now."""
        # Each file's last two lines are the digest, if there is one, and the exit code.
        lines = self.host.check_output(
            f'cd {self.directory}; for n in [0-9] [0-9][0-9]; do tail -n 2 $n 2>/dev/null | tr "\\n" " "; echo $n; done'
        ).splitlines()
        ends = [line.split() for line in lines]
        return {
            self.references[int(words[-1]) - 1]: words[words.index("digest:") + 1]
            for words in ends
            if words[-2:-1] == ["0"]
        }

    def wait_for(self, number: int) -> None:
        """Wait until this many have ended, well or not."""
        wait_until(self.host, f"[ $(ls {self.directory} | grep -vc log) -ge {number} ]", 150, every=0.02)

    def wait(self) -> dict[str, str]:
        """Wait until all have ended; return what was acknowledged, which counts from now on."""
        self.wait_for(len(self.references))
        found = self.acknowledged()
        ACKNOWLEDGED.update(found)
        return found


def repository(reference: str) -> str:
    """Return the name of an image's repository."""
    return reference.partition("/")[2].partition(":")[0]


def wait_for_uploads(server, number: int) -> None:
    """Wait until this many layers are on their way."""
    uploads = f"find {STORE}/repositories -path '*_uploads*' -name data -size +100k"
    wait_until(server, f"[ $({uploads} | wc -l) -ge {number} ]", 60, every=0.02)


def wait_for_service(hosts) -> None:
    """Wait until a client can pull again."""
    wait_until(hosts["client2"], f"docker pull --quiet {STEADY}", 90, every=0.2)


@contextmanager
def measured(hosts, number, what: str) -> Iterator[None]:
    """Let client2 pull all the time, and note for how long it could not at most."""
    with watch(hosts["client2"], STEADY) as seen:
        yield
    number(f"{what}, no service", seen.seconds, "s")


@contextmanager
def slow(name: str) -> Iterator[None]:
    """Let a host have a quarter of a processor, so that there is a middle to what it does."""
    from_outside("update", "--cpus", "0.25", container(name))
    try:
        yield
    finally:
        from_outside("update", "--cpus", str(os.cpu_count()), container(name))


def registry(server, field: str, parts: str = "registry") -> str:
    """Return a field of the registry's container, or of others."""
    return server.check_output(f"docker inspect --format '{{{{{field}}}}}' {parts}")


def listed(host, password: str) -> dict[str, dict[str, str]]:
    """Return what the registry lists: repository to tag to digest, or to what is wrong."""
    return json.loads(host.check_output(f"echo '{password}' | {program(host, 'read-all.py', REGISTRY)}"))


def check_all(hosts, password: str, pulled: Iterable[str] = ()) -> None:
    """Check that all that was acknowledged is there, and that another host can read whole whatever is listed.

    Args:
        hosts: the hosts.
        password: that of "ci".
        pulled: what to pull with Docker as well.

    """
    names = listed(hosts["client2"], password)
    tags = {f"{REGISTRY}/{name}:{tag}": digest for name, tags in names.items() for tag, digest in tags.items()}
    lost = {reference for reference, digest in ACKNOWLEDGED.items() if tags.get(reference) != digest}
    LOST.update(lost)
    assert not lost, {reference: (ACKNOWLEDGED[reference], tags.get(reference)) for reference in lost}
    assert {reference: digest for reference, digest in tags.items() if not digest.startswith("sha256:")} == {}

    references = {STEADY, *pulled}
    write(hosts["client2"], "/tmp/references", "\n".join(references))
    lines = hosts["client2"].check_output(f"{program(hosts['client2'], 'pull-all.sh')} </tmp/references").splitlines()
    wanted = {reference: by_digest(reference, ACKNOWLEDGED[reference]) for reference in references}
    assert dict(line.split(" ", 1) for line in lines) == wanted

    # And what no client asks for: whatever has no tag.
    assert json.loads(hosts["server"].run("wharf verify-storage --json").stdout)["problems"] == []


def push_one(hosts, password: str) -> None:
    """Push one more image, and check all."""
    after = Pushes(hosts["client1"], make_images(hosts["client1"], [1])).wait()
    assert len(after) == 1
    check_all(hosts, password, after)


@pytest.fixture(scope="module", autouse=True)
def steady(hosts, password, number) -> Iterator[None]:
    """Have an image that was there before all faults; in the end, pull all that was acknowledged once more."""
    [reference] = make_images(hosts["client1"], [1])
    hosts["client1"].check_output(f"docker tag {reference} {STEADY}")
    ACKNOWLEDGED[STEADY] = push(hosts["client1"], STEADY)
    yield
    check_all(hosts, password, ACKNOWLEDGED)
    number("images acknowledged", len(ACKNOWLEDGED), "")
    number("images lost", len(LOST), "")
    names = listed(hosts["client2"], password)
    number("names in the catalogue without an image", len([name for name in names if not names[name]]), "")


def test_power_is_lost_during_ten_pushes(hosts, password, number):
    just_before = make_images(hosts["client1"], [1, 1])
    pushed = make_images(hosts["client1"], [8] * 10)
    with measured(hosts, number, "power loss"):
        assert len(Pushes(hosts["client1"], just_before).wait()) == 2
        with slow("client1"):
            pushes = Pushes(hosts["client1"], pushed)
            wait_for_uploads(hosts["server"], 2)
            from_outside("kill", container("server"))
        before = pushes.acknowledged()
        assert len(before) < 10, "the power went too late"
        from_outside("start", container("server"))
        wait_for_service(hosts)
        after = pushes.wait()
    assert before.items() <= after.items()
    check_all(hosts, password, [*just_before, *after])
    number("power loss, acknowledged before it", len(before), "of 10 pushes")
    number("power loss, acknowledged in the end", len(after), "of 10 pushes")

    # The rest goes through afterwards.
    rest = [reference for reference in pushed if reference not in after]
    after = Pushes(hosts["client1"], rest).wait()
    assert len(after) == len(rest)
    check_all(hosts, password, after)


def test_server_reboots(hosts, password, number):
    with measured(hosts, number, "reboot"):
        from_outside("restart", container("server"))
    check_all(hosts, password)


@pytest.mark.parametrize("part", PARTS.split())
@pytest.mark.thorough("registry-network")
def test_container_is_killed_during_a_push(hosts, password, part, number):
    """The gateway joins the network of another container, and must be started anew when that was."""
    server = hosts["server"]
    pushed = make_images(hosts["client1"], [4, 4])
    with measured(hosts, number, f"{part} killed"):
        with slow("client1"):
            pushes = Pushes(hosts["client1"], pushed)
            wait_for_uploads(server, 2)
            pid = registry(server, ".State.Pid", part)
            server.check_output(f"kill -9 {pid}")
        assert pushes.acknowledged() == {}, "it was killed too late"
        wait_for_service(hosts)
        after = pushes.wait()
    assert registry(server, ".State.Pid", part) != pid
    check_all(hosts, password, after)
    number(f"{part} killed, acknowledged all the same", len(after), "of 2 pushes")


def test_engine_is_upgraded_under_it(hosts, password, number):
    server = hosts["server"]
    server.check_output(program(server, "make-engine-upgrade.sh"))
    identity = "cat /run/docker.pid; pgrep -x containerd"
    before, started = server.check_output(identity), registry(server, ".State.StartedAt", PARTS)
    pushed = make_images(hosts["client1"], [2, 4])
    with measured(hosts, number, "engine upgrade"):
        with slow("client1"):
            pushes = Pushes(hosts["client1"], pushed)
            wait_for_uploads(server, 1)
            server.check_output("DEBIAN_FRONTEND=noninteractive apt-get install -qq /root/upgrade/*.deb")
        after = pushes.wait()
    assert len(after) == 2
    server.check_output("rm -r /root/upgrade")
    assert server.check_output("dpkg-query -W docker.io containerd").count("+upgrade") == 2
    assert not set(before.split()) & set(server.check_output(identity).split())
    assert registry(server, ".State.StartedAt", PARTS) == started
    check_all(hosts, password, after)


def test_clock_is_set_back_a_day(hosts, ansible, password):
    """Everything was made tomorrow: the CA, the certificate, and all files."""
    server = hosts["server"]
    # Afterwards CA and certificate begin today again. Their keys are the same, so that clients trust both.
    with put_back(server, "/etc/wharf/ca", "/etc/wharf/tls", then="docker kill --signal HUP registry-gateway"):
        server.check_output(program(server, "set-clock-ahead.sh"))
        certificate = server.check_output("sha256sum /etc/wharf/tls/registry.crt /etc/wharf/ca/ca.crt")
        ansible.succeeds("site.yml", "--skip-tags", "verify")
        assert server.check_output("sha256sum /etc/wharf/tls/registry.crt /etc/wharf/ca/ca.crt") == certificate
        push_one(hosts, password)
    wait_for_service(hosts)


@pytest.fixture(scope="class")
def small_disk(hosts) -> Iterator[None]:
    """Have the data on a file system of its own, with 16 MB of room beside what is stored."""
    server = hosts["server"]
    server.check_output(program(server, "move-to-small-disk.sh", DATA, 16, "registry-gateway", "registry"))
    wait_for_service(hosts)
    yield
    server.check_output(program(server, "move-from-small-disk.sh", DATA, "registry-gateway", "registry"))
    wait_for_service(hosts)


def push_tight(server, password: str, how: str) -> tuple[dict[str, str], dict[str, str]]:
    """Run push-tight.py with "full" or "again"; return what was acknowledged, and why the rest failed."""
    command = program(server, "push-tight.py", how, REGISTRY, DATA, BATCH)
    acknowledged, failed = json.loads(server.check_output(f"echo '{password}' | {command}"))
    ACKNOWLEDGED.update(acknowledged)
    return acknowledged, failed


@pytest.mark.usefixtures("small_disk")
class TestDisk:
    """What a disk does to the registry."""

    def test_disk_is_full_during_pushes_and_freed(self, hosts, password, number):
        server = hosts["server"]
        # A push that does not fit, while another does.
        large, small = make_images(hosts["client1"], [24, 1])
        after = Pushes(hosts["client1"], [large, small], seconds=5).wait()
        assert large not in after
        # What it left is not needed by anybody; the registry itself removes it after a week. It may have the file open
        # for some minutes more, so that the room comes only with a restart.
        upload = f"{STORE}/repositories/{repository(large)}/_uploads"
        server.check_output(f"rm -r {upload} && docker restart registry")
        wait_for_service(hosts)

        acknowledged, failed = push_tight(server, password, "full")
        assert acknowledged
        assert len(failed) > 5
        # Among what it left is a manifest for which the registry takes an empty file.
        assert "/data" in server.check_output(EMPTY)
        # Nobody does anything, and the disk stays full.
        started = registry(server, ".State.StartedAt")
        wait_until(server, f"[ $({EMPTY} | wc -l) = 0 ]", 90, every=1)
        assert server.check_output(f"stat --file-system --format %a {DATA}") == "0"
        assert registry(server, ".State.StartedAt") == started
        check_all(hosts, password, [*after, *acknowledged])

        # Room is made, and the same pushes are repeated at once.
        server.check_output(f"rm {DATA}/filler")
        acknowledged, failed_again = push_tight(server, password, "again")
        assert failed_again == {}
        check_all(hosts, password, acknowledged)
        number("disk full, pushes that failed", len(failed) + 2 - len(after), "of 14 pushes")

    def test_data_turns_read_only_and_back(self, hosts, password):
        """As a disk that the kernel no longer trusts: the whole file system. Pulls go on, pushes say that they fail."""
        [pushed] = make_images(hosts["client1"], [1])
        started = registry(hosts["server"], ".State.StartedAt")
        hosts["server"].check_output("mount -o remount,ro /mnt/disk")
        assert Pushes(hosts["client1"], [pushed], seconds=5).wait() == {}
        check_all(hosts, password)
        hosts["server"].check_output("mount -o remount,rw /mnt/disk")
        after = Pushes(hosts["client1"], [pushed]).wait()
        assert len(after) == 1
        check_all(hosts, password, after)
        assert registry(hosts["server"], ".State.StartedAt") == started


def test_repair_is_killed_while_the_registry_is_paused(hosts, password):
    """Until a kill has come between the pause and its end, which takes a moment."""
    server = hosts["server"]
    server.check_output(program(server, "kill-repair.sh", STORE))
    server.check_output("systemctl start wharf-repair-storage")
    assert registry(server, ".State.Status") == "running"
    assert server.check_output(EMPTY) == ""
    push_one(hosts, password)


def test_run_is_killed_five_times_and_then_completes(hosts, ansible, password, number):
    """From a server that has lost all but its data. Each run wants something else, so that each has work to do."""
    seed = int(os.environ.get("WHARF_FAULTS_SEED") or secrets.randbelow(10**6))
    dice = random.Random(seed)
    number("the seed of the points where runs are killed", seed, "(WHARF_FAULTS_SEED)")
    hosts["server"].check_output(f"docker rm --force {PARTS}; rm -rf /etc/wharf /etc/docker/daemon.json")
    hosts["client2"].check_output("rm -rf /etc/docker /root/.docker")
    killed = 0
    for turn in range(5):
        wanted = {
            "docker_engine_options": {"labels": [f"turn={turn}"]},
            "wharf_registry_aliases": [f"turn-{turn}.wharf.test"],
            "registry_server_config": {"log": {"level": ["warn", "error"][turn % 2]}},
            "wharf_registry_bcrypt_cost": 4 + turn % 2,
        }
        with ansible.killed("site.yml", **wanted) as run:
            try:
                run.wait(dice.uniform(1, 10))
            except subprocess.TimeoutExpired:
                killed += 1
    ansible.succeeds("site.yml", "--skip-tags", "verify")
    assert killed >= 3, "most runs were over before they were to be killed"
    push_one(hosts, password)

"""A backup while people push, what can go wrong with it, and the registry restored on a fresh host.

All tests but the first two need `first`, a backup that was made while people pushed. The last two end the server: the
fresh host takes its place.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from conftest import REGISTRY, changes, log_in, pull, push, write

DATA = "/var/lib/wharf/registry"
BACKUP = "/srv/backup/registry"  # on client1
RESULT = "/var/lib/wharf/results/back-up"
# Not in the inventory: the server is deployed without a backup first.
SETTINGS = {
    "wharf_backup_host": "client1",
    "wharf_backup_repository": BACKUP,
    "wharf_backup_keep": {"daily": 7, "weekly": 4},
}
PUSH = """set -e
for i in $(seq "$2" "$3"); do
  head -c 200000 /dev/urandom >/tmp/content
  tar -C /tmp -c content | docker import - "$1/test/image$i:1" >/dev/null
  docker push "$1/test/image$i:1" | sed -n "s|.*digest: \\(sha256:[0-9a-f]*\\).*|$1/test/image$i:1 \\1|p"
done
"""
PULL = """docker image prune --all --force >/dev/null
while read -r reference digest; do
  docker pull --quiet "${reference%:*}@$digest" >/dev/null || echo "$reference: not there by its digest"
  got=$(docker pull "$reference" | sed -n 's/^Digest: //p')
  [ "$got" = "$digest" ] || echo "$reference: leads to $got instead of $digest"
done
"""
BUSY = """n=0
while [ ! -e /tmp/busy.stop ]; do
  n=$((n + 1)); head -c 1000000 /dev/urandom >/tmp/busy
  tar -C /tmp -c busy | docker import - "$1/busy/image:$n" >/dev/null
  docker push --quiet "$1/busy/image:$n" >/dev/null && touch /tmp/busy.pushed; sleep 0.3
done
touch /tmp/busy.done
"""


def play(ansible, name: str, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a playbook with the backup's settings, and others."""
    return ansible(f"playbooks/{name}.yml", *arguments, "-e", json.dumps(SETTINGS | settings))


def backup(ansible, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run the backup's playbook."""
    return play(ansible, "back-up-registry", *arguments, **settings)


def restore(ansible, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run the restore's playbook."""
    return play(ansible, "restore-registry", *arguments, **settings)


def run(hosts, command: str) -> tuple[int, str]:
    """Run a program on the server as a person there would; return its exit code and what it said."""
    result = hosts["server"].run(command)
    return result.rc, " ".join((result.stdout + result.stderr).split())


def made(result: subprocess.CompletedProcess[str]) -> dict[str, float]:
    """Return what a backup's playbook shows of the snapshot that it made: tags, total and new bytes, seconds."""
    assert result.returncode == 0, result.stdout
    found = re.search(
        r"snapshot \w+: (\d+) tags, ([\d.]+) (\w+), of them ([\d.]+) (\w+) new, in ([\d.]+) s", result.stdout
    )
    assert found, result.stdout
    units = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    tags, total, of_total, new, of_new, seconds = found.groups()
    return {
        "tags": int(tags),
        "total": float(total) * units[of_total],
        "new": float(new) * units[of_new],
        "seconds": float(seconds),
    }


@contextmanager
def without_systemd(host) -> Iterator[None]:
    """Hide from whoever asks that systemd runs a host."""
    host.check_output("mv /run/systemd/system /run/systemd/hidden")
    try:
        yield
    finally:
        host.check_output("mv /run/systemd/hidden /run/systemd/system")


def untouched(hosts, reference: str, digest: str) -> None:
    """Tell that the registry serves an image, and that nothing of a restore lies about."""
    pull(hosts["client2"], reference, digest)
    assert not hosts["server"].file(f"{DATA}/.restoring").exists


@pytest.fixture(scope="session")
def images(hosts, password) -> dict[str, str]:
    """Push 30 images from two hosts and a large one; return the digest of each reference."""
    for name in ("client1", "client2"):
        log_in(hosts[name], password)
        write(hosts[name], "/tmp/push", PUSH)
    large = f"{REGISTRY}/test/large:1"
    hosts["client1"].check_output(f"setsid sh /tmp/push {REGISTRY} 1 15 >/tmp/pushed 2>&1 </dev/null &")
    pushed = hosts["client2"].check_output(f"sh /tmp/push {REGISTRY} 16 30")
    hosts["client2"].check_output(
        f"head -c 60000000 /dev/urandom >/var/tmp/content && tar -C /var/tmp -c content | docker import - {large}"
    )
    digest = push(hosts["client2"], large)
    hosts["client2"].check_output(f"rm /var/tmp/content; docker image rm {large}")
    hosts["client1"].check_output("while pgrep -f '^sh /tmp/push' >/dev/null; do sleep 0.1; done")
    pushed += "\n" + hosts["client1"].check_output("cat /tmp/pushed")
    digests = dict(line.split() for line in pushed.splitlines()) | {large: digest}
    assert len(digests) == 31, pushed
    return digests


@pytest.fixture
def one(images, first) -> tuple[str, str]:
    """Return the reference and the digest of one image that is in the backup."""
    return f"{REGISTRY}/test/image1:1", images[f"{REGISTRY}/test/image1:1"]


def test_bad_settings_are_refused_before_anything_changes(hosts, ansible):
    bad = {"wharf_backup_keep": {"daily": 0}, "wharf_backup_schedule": "often", "wharf_backup_host": "server"}
    result = backup(ansible, **bad)
    assert result.returncode != 0
    assert "wharf_backup_keep: daily: 0 cannot be kept" in result.stdout
    assert "wharf_backup_schedule: 'often' is unknown" in result.stdout
    assert "wharf_backup_host: server is the registry's server itself" in result.stdout
    result = backup(ansible, wharf_backup_repository="", wharf_backup_host="")
    assert result.returncode != 0
    assert "wharf_backup_repository: is missing" in result.stdout
    assert (
        "wharf_backup_host: nobody is not a host of the inventory" in backup(ansible, wharf_backup_host="nobody").stdout
    )
    assert not hosts["server"].file("/etc/wharf/backup").exists


def test_check_mode_on_a_server_without_a_backup_changes_nothing(hosts, ansible):
    result = backup(ansible, "--check", "--diff")
    assert result.returncode == 0, result.stdout
    assert "would install it first" in result.stdout
    assert not hosts["server"].file("/etc/wharf/backup").exists
    assert not hosts["client1"].file(BACKUP).exists


@pytest.fixture(scope="module")
def first(hosts, ansible, images) -> dict[str, float]:
    """Make a backup while people push, with a schedule as where there is no systemd; return what the playbook shows."""
    write(hosts["client2"], "/tmp/busy.sh", BUSY)
    hosts["client2"].check_output(
        f"setsid sh /tmp/busy.sh {REGISTRY} >/dev/null 2>&1 </dev/null &"
        " while [ ! -e /tmp/busy.pushed ]; do sleep 0.1; done"
    )
    with without_systemd(hosts["server"]):
        result = made(backup(ansible, wharf_backup_schedule="daily"))
    hosts["client2"].check_output("touch /tmp/busy.stop; while [ ! -e /tmp/busy.done ]; do sleep 0.1; done")
    return result


def test_backup_is_made_while_people_push(hosts, images, first, number):
    assert first["tags"] > len(images)
    number("first backup, to another host, as a whole", first["new"] / first["seconds"] / 1e6, "MB/s")

    held = json.loads(hosts["server"].check_output("wharf restore --list --json"))["tags"]
    assert {f"{REGISTRY}/{reference}": digest for reference, digest in held.items()}.items() >= images.items()
    assert hosts["server"].file(RESULT).content_string.startswith("ok ")


def test_second_backup_costs_seconds_and_no_space(hosts, first, number):
    assert run(hosts, "wharf back-up")[0] == 0  # what was pushed during the first
    said = json.loads(hosts["server"].check_output("wharf back-up --json"))
    assert said["new"] < 20_000, said
    assert said["seconds"] < 15, said
    number("second backup without changes", said["seconds"], "s")
    number("second backup without changes, new", said["new"] / 1000, "kB")


def test_schedule_without_systemd_is_one_that_cron_understands(hosts, first):
    # What cron does at midnight, it does now: "@reboot" is when it starts for the first time.
    hosts["server"].check_output(
        f"systemctl stop cron; rm -f {RESULT} /run/crond.reboot; cd /etc/cron.d"
        " && sed -i.kept 's/^0 0 [*] [*] [*] /@reboot /' wharf-back-up && systemctl start cron"
        f" && timeout 120 sh -c 'until [ -e {RESULT} ]; do sleep 0.2; done'"
        " && mv wharf-back-up.kept wharf-back-up"
    )
    assert hosts["server"].file(RESULT).content_string.startswith("ok ")


def test_check_mode_says_what_is_new(hosts, ansible, first):
    before = hosts["client1"].check_output(f"find {BACKUP} -type f | sort")
    with without_systemd(hosts["server"]):
        result = backup(ansible, "--check", wharf_backup_schedule="daily")
    assert result.returncode == 0, result.stdout
    assert "would back up" in result.stdout
    assert changes(result) == 0, result.stdout
    assert hosts["client1"].check_output(f"find {BACKUP} -type f | sort") == before


def test_nobody_reads_the_secrets(hosts, first):
    for path in ("backup.json", "password", "id_ed25519"):
        assert hosts["server"].file(f"/etc/wharf/backup/{path}").mode == 0o600
    # The backup holds the key of the CA, and nobody finds it there without the password.
    key = hosts["server"].check_output("sed -n 2p /etc/wharf/ca/ca.key")
    assert hosts["client1"].run(f"grep -rqF '{key}' {BACKUP}").rc == 1


def test_user_of_the_backup_may_do_nothing_but_sftp(hosts, first):
    result = hosts["server"].run("ssh -F /etc/wharf/backup/ssh_config backup id </dev/null")
    assert "uid=" not in result.stdout


def test_controller_gets_a_copy_and_the_backup_is_checked(hosts, ansible, first, tmp_path):
    copy = tmp_path / "copy"
    result = backup(ansible, wharf_backup_fetch_to=str(copy), wharf_backup_check=True)
    assert "every byte was read" in result.stdout
    made(result)
    listing = hosts["client1"].check_output(f"cd {BACKUP} && find . -type f -exec sha256sum {{}} + | sort")
    lines = subprocess.run(
        "find . -type f -exec sha256sum {} + | sort", shell=True, cwd=copy, capture_output=True, text=True, check=True
    )
    assert lines.stdout.strip() == listing


def test_schedule_makes_a_backup_by_itself(hosts, ansible, first):
    server = hosts["server"]
    made(backup(ansible, wharf_backup_schedule="daily"))
    assert not server.file("/etc/cron.d/wharf-back-up").exists  # of the time without systemd
    assert server.service("wharf-back-up.timer").is_enabled
    server.check_output(f"rm -f {RESULT}; systemctl start wharf-back-up.service")
    assert server.file(RESULT).content_string.startswith("ok ")


def test_hosts_with_a_backup_are_as_its_snapshot_says(first, ansible, compare_with_snapshot):
    made(backup(ansible, wharf_backup_schedule="daily"))
    compare_with_snapshot("snapshot-with-backup")


def test_deployment_sets_the_backup_up_and_changes_nothing_after_that(hosts, ansible, first):
    hosts["server"].check_output("rm -r /etc/wharf/backup")
    assert changes(play(ansible, "deploy-registry", wharf_backup_schedule="daily")) > 0
    assert hosts["server"].service("wharf-back-up.timer").is_enabled
    assert run(hosts, "wharf back-up --plan")[0] == 0
    assert changes(play(ansible, "deploy-registry", wharf_backup_schedule="daily")) == 0


def test_upgrade_with_a_wrong_password_stops_before_anything_changes(hosts, ansible, first):
    kept = hosts["server"].check_output("sha256sum /etc/wharf/backup/*")
    refused = play(ansible, "upgrade-registry", wharf_backup_password="not-the-right-one")
    assert refused.returncode != 0
    assert "wharf_backup_password: is not the password of the backup in sftp:backup:/srv/backup" in refused.stdout
    assert not re.search("changed=[1-9]", refused.stdout)
    assert "PLAY [Deploy the registry]" not in refused.stdout
    assert hosts["server"].check_output("sha256sum /etc/wharf/backup/*") == kept


def test_upgrade_backs_up_first(hosts, ansible, first):
    upgraded = play(ansible, "upgrade-registry", "--skip-tags", "verify")
    made(upgraded)
    # The settings have no schedule: one that was there is gone.
    assert "wharf-back-up" not in hosts["server"].check_output("systemctl list-timers --all")
    assert upgraded.stdout.index("PLAY [Back the registry up]") < upgraded.stdout.index("PLAY [Deploy the registry]")


def test_backup_without_room_is_refused(hosts, first):
    hosts["client1"].check_output(
        "mkdir -p /srv/small && mount -t tmpfs -o size=20m tmpfs /srv/small"
        " && install --directory --owner wharf-backup --mode 0700 /srv/small/registry"
    )
    settings = "/etc/wharf/backup/backup.json"
    hosts["server"].check_output(f"sed -i.kept s:{BACKUP}:/srv/small/registry: {settings}")
    code, said = run(hosts, "wharf back-up")
    hosts["server"].check_output(f"mv {settings}.kept {settings}")
    assert (code, "there is no room in sftp:backup:/srv/small/registry" in said) == (1, True), said
    assert hosts["client1"].check_output("ls -A /srv/small/registry") == ""
    hosts["client1"].check_output("umount /srv/small")


def test_somebody_else_at_work_is_named(hosts, first):
    hosts["server"].check_output(
        "setsid sh -c 'exec 9>>/run/lock/wharf-registry.lock; flock 9;"
        " echo collect-garbage >/run/lock/wharf-registry.lock; touch /tmp/locked; sleep 600'"
        " >/dev/null 2>&1 </dev/null & while [ ! -e /tmp/locked ]; do sleep 0.1; done"
    )
    code, said = run(hosts, "wharf back-up")
    hosts["server"].check_output("pkill -f '[s]leep 600'; rm /tmp/locked")
    assert code == 1
    assert "collect-garbage is at work on server" in said


def test_interrupted_backup_does_not_disturb_the_next(hosts, first):
    server = hosts["server"]
    # Something that takes a while, and that no repository names.
    junk = f"{DATA}/docker/registry/v2/blobs/sha256/00/{'0' * 64}"
    server.check_output(f"mkdir -p {junk} && head -c 200000000 /dev/urandom >{junk}/data")
    locks, snapshots = f"ls {BACKUP}/locks", f"ls {BACKUP}/snapshots"
    before = hosts["client1"].check_output(snapshots)

    def begin() -> None:
        server.check_output("setsid wharf back-up >/dev/null 2>&1 </dev/null &")
        deadline = time.monotonic() + 30
        at_work = "pgrep -f '[r]estic .*backup --json'"
        while not (server.run(at_work).rc == 0 and hosts["client1"].check_output(locks)):
            assert time.monotonic() < deadline, "no backup under way"
            time.sleep(0.2)

    begin()
    # Without the program nobody holds the lock: restic must not work on, and bring it to an end.
    server.check_output(
        "pkill -KILL -f '[/]sbin/wharf back-up'; timeout 30 sh -c 'while pgrep -x restic; do sleep 0.1; done'"
    )
    assert hosts["client1"].check_output(snapshots) == before
    begin()
    # Both at once, as when the power goes: the program must not see restic go, nor restic the program.
    program = "-f '[/]sbin/wharf back-up'"
    server.check_output(f"pkill -STOP {program} && pkill -KILL -x restic && pkill -KILL {program}")
    assert hosts["client1"].check_output(locks)
    server.check_output(f"rm -r {junk}")
    assert run(hosts, "wharf back-up")[0] == 0
    assert not hosts["client1"].check_output(locks)


@pytest.mark.parametrize("damage", ["flipped byte", "missing file"])
def test_damaged_backup_is_found_and_never_restored(hosts, one, damage):
    client1, server = hosts["client1"], hosts["server"]
    pack = client1.check_output(f"find {BACKUP}/data -type f -printf '%s %p\\n' | sort -n | tail -1").split()[1]
    client1.check_output(f"cp -a {pack} /var/tmp/pack")
    if damage == "flipped byte":
        client1.check_output(
            f"chmod u+w {pack}; printf x | dd of={pack} bs=1 seek=1000000 conv=notrunc 2>/dev/null;"
            f" ! cmp -s {pack} /var/tmp/pack"
        )
    else:
        client1.check_output(f"rm -f {pack}")
    try:
        code, said = run(hosts, "wharf check-backup")
        assert (code, "is damaged" in said, Path(pack).name[:8] in said) == (1, True, True), said
        assert re.search(r"has lost something of: snapshot \w{8}: .*\b(test|busy)/\w+", said), said
        code, said = run(hosts, "wharf restore --confirm registry.wharf.test")
        assert (code, "the backup is damaged, and nothing was replaced" in said) == (1, True), said
        untouched(hosts, *one)
        assert not server.check_output(f"find {DATA} -maxdepth 1 -name 'before-restore*'")
    finally:
        client1.check_output(f"rm -f {pack}; mv /var/tmp/pack {pack}")


def test_restore_over_a_registry_needs_its_name(hosts, one):
    code, said = run(hosts, "wharf restore --confirm another")
    assert (code, "there is a registry in" in said) == (1, True), said
    assert "set wharf_restore_confirm: registry.wharf.test" in said
    code, said = run(hosts, "wharf restore --snapshot list")
    assert (code, "wharf_restore_snapshot: list is no snapshot" in said) == (1, True), said
    untouched(hosts, *one)


def test_one_repository_is_restored(hosts, ansible, one):
    server, reference, digest = hosts["server"], *one
    repositories = f"{DATA}/docker/registry/v2/repositories"
    blob = f"{DATA}/docker/registry/v2/blobs/sha256/{digest[7:9]}/{digest[7:]}"
    server.check_output(f"rm -r {repositories}/test/image1 {blob}")
    assert hosts["client1"].run(f"docker pull {REGISTRY}/test/image1@{digest}").rc != 0
    result = restore(ansible, "--skip-tags", "verify", wharf_restore_repository="test/image1")
    assert result.returncode == 0, result.stdout
    pull(hosts["client2"], reference, digest)


def test_tag_that_leads_elsewhere_is_restored_only_on_request(hosts, one):
    reference, digest = one
    client1 = hosts["client1"]
    client1.check_output(f"docker tag {REGISTRY}/test/image2:1 {reference}")
    other = push(client1, reference)
    code, said = run(hosts, "wharf restore --repository test/image1")
    assert (code, "test/image1:1. To restore them, set wharf_restore_overwrite: true" in said) == (1, True), said
    assert client1.check_output(f"docker pull {reference} | grep -o sha256:.*") == other

    code, said = run(hosts, "wharf restore --repository test/image1 --overwrite")
    assert code == 0, said
    assert client1.check_output(f"docker pull {reference} | grep -o sha256:.*") == digest
    pull(hosts["client2"], reference, other)  # what it led to is still there


def test_interrupted_restore_leaves_the_old_registry(hosts, ansible, one):
    server = hosts["server"]
    start = (
        "setsid wharf restore --confirm registry.wharf.test >/tmp/restore.log 2>&1 </dev/null &"
        " for _ in $(seq 300); do {}; sleep 0.1; done; cat /tmp/restore.log >&2; exit 1"
    )
    kill = "pkill -KILL -f '[/]sbin/wharf restore'; pkill -KILL restic; exit 0"
    server.check_output(start.format(f"[ ! -d {DATA}/.restoring ] || {{ sleep 1; {kill}; }}"))
    assert server.file(f"{DATA}/.restoring").exists
    pull(hosts["client2"], *one)

    # In the moment in which the registry is stopped: one run of the playbook that deploys it brings it back.
    server.check_output(
        start.format(f'pgrep -f "[d]ocker stop registry" >/dev/null && {{ {kill}; }}')
        .replace("sleep 0.1", "sleep 0.01")
        .replace("seq 300", "seq 6000")
    )
    server.check_output(
        "while docker inspect --format '{{.State.Running}}' registry | grep -q true; do sleep 0.1; done"
    )
    result = ansible("playbooks/deploy-registry.yml")
    assert result.returncode == 0, result.stdout
    pull(hosts["client2"], *one)


def test_restore_on_the_same_server_keeps_what_was_there(hosts, one):
    server, client1 = hosts["server"], hosts["client1"]
    client1.check_output(f"docker tag {REGISTRY}/test/image2:1 {REGISTRY}/later/image:1")
    push(client1, f"{REGISTRY}/later/image:1")
    ca = server.check_output("cat /etc/wharf/ca/ca.crt")
    said = json.loads(server.check_output("wharf restore --confirm registry.wharf.test --json"))
    assert client1.run(f"docker pull {REGISTRY}/later/image:1").rc != 0  # it came after the backup
    kept = next(place for place in said["kept"] if place.startswith(DATA))
    assert server.file(f"{kept}/docker/registry/v2/repositories/later/image").exists
    assert server.check_output("cat /etc/wharf/ca/ca.crt") == ca
    untouched(hosts, *one)


def test_speed_against_a_plain_copy(hosts, number):
    """The same data (images, and 300 MB like layers) by restic to a fresh repository and by cp; all get to the disk.

    The goal, half of the speed of cp, needs more than two processors: cp only waits for the disk, while restic also
    cuts, hashes (each blob and each file of the backup), encrypts, and reads again what it has encrypted. On two it is
    0.25 to 0.5. What does depend on nothing else, the processor's time for each MB, is limited here.
    """
    server = hosts["server"]
    server.check_output(
        f"rm -rf /var/tmp/speed; mkdir /var/tmp/speed; cp -a {DATA}/docker /var/tmp/speed/source;"
        " for i in 1 2 3; do head -c 100000000 /dev/urandom >/var/tmp/speed/source/$i; done; sync -f /var/tmp/speed"
    )
    size = int(server.check_output("du -sb /var/tmp/speed/source | cut -f1")) / 1e6
    environment = "export RESTIC_PASSWORD=speed RESTIC_REPOSITORY=/var/tmp/speed/repository"
    server.check_output(f"{environment}; restic init")
    commands = {
        "cp -a": "cp -a source copy && sync -f copy",
        "backup": "restic backup --compression off source",
        "restore": "restic restore latest --target restored && sync -f restored",
    }
    took = {}
    for name, command in commands.items():
        write(server, "/tmp/timed", f"{environment}; TIMEFORMAT='%R %U %S'\ntime {{ {command}; }} >/dev/null 2>&1")
        timed = server.check_output("cd /var/tmp/speed && bash /tmp/timed 2>&1 && rm /tmp/timed")
        seconds, user, system = map(float, timed.split())
        took[name] = (seconds, (user + system) / size * 1000)
        number(f"{name} of the same {size:.0f} MB", size / seconds, "MB/s")
    server.check_output("rm -rf /var/tmp/speed")
    for name in ("backup", "restore"):
        number(f"{name} against cp -a (goal 0.5)", took["cp -a"][0] / took[name][0], "times")
        number(f"{name}, time of a processor for a MB", took[name][1], "ms")
    assert took["backup"][1] < 25
    assert took["restore"][1] < 15


def test_registry_is_restored_on_a_fresh_host(hosts, ansible, images, first, number, tmp_path_factory):
    assert run(hosts, "wharf back-up")[0] == 0
    ca = hosts["server"].check_output("cat /etc/wharf/ca/ca.crt")
    trust = hosts["client1"].check_output("find /etc/docker /root/.docker -type f -exec sha256sum {} +")
    local = hosts["client1"].backend.run_local
    assert local("docker rm --force --volumes wharf-backup-server").rc == 0
    assert hosts["client2"].run(f"docker pull {REGISTRY}/test/image1:1").rc != 0
    # The name leads to the new host, as DNS would.
    assert local("docker network disconnect wharf-backup wharf-backup-spare").rc == 0
    aliases = "--alias spare --alias registry.wharf.test"
    assert local(f"docker network connect {aliases} wharf-backup wharf-backup-spare").rc == 0

    # The group holds the new host, and nothing else changes. In a directory of its own, or Molecule would read it too.
    old = Path(os.environ["MOLECULE_INVENTORY_FILE"])
    inventory = yaml.safe_load(old.read_text())
    del inventory["all"]["hosts"]["server"]
    inventory["registry_servers"]["hosts"] = inventory.pop("ungrouped")["hosts"]
    new = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    for name in ("group_vars", ".credentials"):
        new.with_name(name).symlink_to(old.with_name(name))
    new.write_text(yaml.safe_dump(inventory))
    os.environ["MOLECULE_INVENTORY_FILE"] = str(new)

    start = time.monotonic()
    # Into a named volume this time: the backup does not mind.
    result = restore(ansible, wharf_registry_data="registry-data")
    assert result.returncode == 0, result.stdout
    number("a fresh host to the registry restored and verified", time.monotonic() - start, "s")

    assert hosts["spare"].check_output("cat /etc/wharf/ca/ca.crt") == ca
    lost = []
    listed = "".join(f"{reference} {digest}\n" for reference, digest in images.items())
    for name in ("client1", "client2"):
        write(hosts[name], "/tmp/images", listed)
        write(hosts[name], "/tmp/pull-all", PULL)
        lost += hosts[name].check_output("sh /tmp/pull-all </tmp/images").splitlines()
    number("images lost", len(lost), "")
    assert lost == []
    assert hosts["client1"].check_output("find /etc/docker /root/.docker -type f -exec sha256sum {} +") == trust
    # What was pushed during the backup is listed only if it is whole.
    storage = "$(docker volume inspect --format '{{.Mountpoint}}' registry-data)"
    hosts["spare"].check_output(f"wharf verify-storage --contents {storage}")


def test_backup_goes_on_from_the_fresh_host(ansible):
    said = made(backup(ansible, wharf_registry_data="registry-data"))
    assert said["new"] < 1e6, said

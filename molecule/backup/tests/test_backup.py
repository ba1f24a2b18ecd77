"""A backup while people push, what can go wrong with it, and the registry restored on a fresh host.

All tests need `backed_up`: a backup that was made while people pushed, and a schedule for the next ones.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from clients import REGISTRY, by_digest, log_in, make_image, pull, push, watch
from machines import (
    LAB,
    PARTS,
    broken,
    container,
    docker_that,
    engine_that,
    flip_bit,
    from_outside,
    in_background,
    lock_held,
    program,
    put_back,
    read_only,
    wait_until,
    without_systemd,
    write,
)
from plays import INVENTORY, Ansible, Run, state

DATA = "/var/lib/wharf/registry"
BACKUP = "/srv/backup/registry"  # on client1
RESULT = "/var/lib/wharf/results/back-up"
# Not in the inventory: the server is deployed without a backup first.
SETTINGS = {
    "wharf_backup_host": "client1",
    "wharf_backup_repository": BACKUP,
    "wharf_backup_keep": {"daily": 7, "weekly": 4},
    "wharf_backup_schedule": "daily",
}


def play(ansible: Ansible, name: str, *arguments: str, **settings: object) -> Run:
    """Run a playbook with the backup's settings, and others."""
    return ansible(f"playbooks/{name}.yml", *arguments, **(SETTINGS | settings))


def backup(ansible: Ansible, *arguments: str, **settings: object) -> Run:
    """Run the backup's playbook."""
    return play(ansible, "back-up-registry", *arguments, **settings)


def restore(ansible: Ansible, *arguments: str, **settings: object) -> Run:
    """Run the restore's playbook."""
    return play(ansible, "restore-registry", *arguments, **settings)


def run(hosts, command: str) -> tuple[int, str]:
    """Run a program on the server as a person there would; return its exit code and what it said."""
    result = hosts["server"].run(command)
    return result.rc, " ".join((result.stdout + result.stderr).split())


def made(result: Run) -> dict[str, float]:
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


def untouched(hosts, reference: str, digest: str) -> None:
    """Tell that the registry serves an image, and that nothing of a restore lies about."""
    pull(hosts["client2"], reference, digest)
    assert not hosts["server"].file(f"{DATA}/.restoring").exists


@pytest.fixture(scope="module")
def images(hosts, password) -> dict[str, str]:
    """Push 30 images from two hosts and a large one; return the digest of each reference."""
    client1, client2 = hosts["client1"], hosts["client2"]
    for client in (client1, client2):
        log_in(client, password)
    half = in_background(f"sh -c '{program(client1, 'push-many.sh', REGISTRY, 1, 15)} >/tmp/pushed; touch /tmp/all'")
    client1.check_output(f"rm -f /tmp/all; {half}")
    pushed = client2.check_output(program(client2, "push-many.sh", REGISTRY, 16, 30))
    large = f"{REGISTRY}/test/large:1"
    make_image(client2, large, size=60_000_000)
    digest = push(client2, large)
    client2.check_output(f"docker image rm {large}")
    wait_until(client1, "[ -e /tmp/all ]", 120)
    pushed += "\n" + client1.check_output("cat /tmp/pushed")
    digests = dict(line.split() for line in pushed.splitlines()) | {large: digest}
    assert len(digests) == 31, pushed
    return digests


class Story(NamedTuple):
    """What was seen from a server without a backup to one with a schedule."""

    refused: tuple[Run, Run, Run]
    announced: Run
    bare: bool  # whether neither refusals nor the announcement have left anything
    first: dict[str, float]  # what the playbook shows of the first backup, made while people push, without systemd
    held: dict[str, str]  # what it held: reference to digest
    result: str  # how it ended
    table: str  # cron's, on a server without systemd
    planned: Run  # in check mode after that
    files: tuple[str, str]  # the backup's, before and after check mode
    copied: Run  # with a copy for the controller, and a check of the backup
    copies: tuple[str, str]  # the backup's files, and the copy's
    snapshot: str  # of the hosts, in the end


def sums(directory: str) -> str:
    """Return the command that tells what the files of a directory are."""
    return f"cd {directory} && find . -type f -exec sha256sum {{}} + | sort"


@pytest.fixture(scope="module")
def backed_up(hosts, ansible, images, take_snapshot, tmp_path_factory) -> Story:
    """Make a backup while people push, with a schedule as where there is no systemd; then one as where there is."""
    server, client = hosts["server"], hosts["client1"]
    bad = {"wharf_backup_keep": {"daily": 0}, "wharf_backup_schedule": "often", "wharf_backup_host": "server"}
    refused = (
        backup(ansible, **bad),
        backup(ansible, wharf_backup_repository="", wharf_backup_host="", wharf_backup_schedule=""),
        backup(ansible, wharf_backup_host="nobody"),
    )
    announced = backup(ansible, "--check", "--diff")
    bare = not server.file("/etc/wharf/backup").exists and not client.file(BACKUP).exists

    pusher = hosts["client2"]
    pushing = in_background(program(pusher, "push-all-the-time.sh", REGISTRY))
    with broken(pusher, f"rm -f /tmp/busy.*; {pushing}", "touch /tmp/busy.stop"), without_systemd(server):
        wait_until(pusher, "[ -e /tmp/busy.pushed ]")
        first = made(backup(ansible))
    wait_until(pusher, "[ -e /tmp/busy.done ]")
    server.check_output("systemctl start cron")  # it was installed without systemd, and would start with the host
    held = json.loads(server.check_output("wharf restore --list --json"))["tags"]
    result = server.file(RESULT).content_string
    table = server.file("/etc/cron.d/wharf-back-up").content_string
    files = f"find {BACKUP} -type f | sort"
    before = client.check_output(files)
    with without_systemd(server):
        planned = backup(ansible, "--check")
    after = client.check_output(files)

    copy = tmp_path_factory.mktemp("copy") / "copy"
    copied = backup(ansible, wharf_backup_fetch_to=str(copy), wharf_backup_check=True)
    copies = client.check_output(sums(BACKUP)), subprocess.getoutput(sums(str(copy)))
    return Story(
        refused=refused,
        announced=announced,
        bare=bare,
        first=first,
        held=held,
        result=result,
        table=table,
        planned=planned,
        files=(before, after),
        copied=copied,
        copies=copies,
        snapshot=take_snapshot(),
    )


@pytest.fixture
def one(images, backed_up) -> tuple[str, str]:
    """Return the reference and the digest of one image that is in the backup."""
    return f"{REGISTRY}/test/image1:1", images[f"{REGISTRY}/test/image1:1"]


def test_bad_settings_are_refused_before_anything_changes(backed_up):
    bad, missing, nobody = backed_up.refused
    assert [result.returncode == 0 for result in backed_up.refused] == [False] * 3
    assert "wharf_backup_keep: daily: 0 cannot be kept" in bad.stdout
    assert "wharf_backup_schedule: 'often' is unknown" in bad.stdout
    assert "wharf_backup_host: server is the registry's server itself" in bad.stdout
    assert "wharf_backup_repository: is missing" in missing.stdout
    assert "wharf_backup_host: nobody is not a host of the inventory" in nobody.stdout
    assert backed_up.bare


def test_check_mode_on_a_server_without_a_backup_changes_nothing(backed_up):
    assert backed_up.announced.returncode == 0, backed_up.announced.output
    assert "would install it first" in backed_up.announced.stdout
    assert backed_up.bare


def test_backup_is_made_while_people_push(images, backed_up, number):
    assert backed_up.first["tags"] > len(images)
    speed = backed_up.first["new"] / backed_up.first["seconds"] / 1e6
    number("first backup, to another host, as a whole", speed, "MB/s")
    held = {f"{REGISTRY}/{reference}": digest for reference, digest in backed_up.held.items()}
    assert held.items() >= images.items()
    assert backed_up.result.startswith("ok ")


def test_second_backup_costs_seconds_and_no_space(hosts, backed_up, number):
    assert run(hosts, "wharf back-up")[0] == 0  # what was pushed since
    said = json.loads(hosts["server"].check_output("wharf back-up --json"))
    assert said["new"] < 20_000, said
    assert said["seconds"] < 15, said
    number("second backup without changes", said["seconds"], "s")
    number("second backup without changes, new", said["new"] / 1000, "kB")


def test_schedule_without_systemd_is_one_that_cron_understands(hosts, backed_up):
    server = hosts["server"]
    # What cron does at midnight, it does now: "@reboot" is when it starts for the first time.
    table, done = re.subn(r"(?m)^0 0 \* \* \* ", "@reboot ", backed_up.table)
    assert done == 1, backed_up.table
    with put_back(server, "/etc/cron.d/wharf-back-up", then="systemctl restart cron"):
        server.check_output(f"systemctl stop cron; rm -f {RESULT} /run/crond.reboot")
        write(server, "/etc/cron.d/wharf-back-up", table, mode="0644")
        server.check_output("systemctl start cron")
        wait_until(server, f"[ -e {RESULT} ]", 120)
    assert server.file(RESULT).content_string.startswith("ok ")


def test_check_mode_says_what_is_new(backed_up):
    assert "would back up" in backed_up.planned.stdout
    assert backed_up.planned.changes == 0, backed_up.planned.output
    assert backed_up.files[0] == backed_up.files[1]


def test_nobody_reads_the_secrets(hosts, backed_up):
    for path in ("backup.json", "password", "id_ed25519"):
        assert hosts["server"].file(f"/etc/wharf/backup/{path}").mode == 0o600
    # The backup holds the key of the CA, and nobody finds it there without the password.
    key = hosts["server"].check_output("sed -n 2p /etc/wharf/ca/ca.key")
    assert hosts["client1"].run(f"grep -rqF '{key}' {BACKUP}").rc == 1


def test_user_of_the_backup_may_do_nothing_but_sftp(hosts, backed_up):
    result = hosts["server"].run("ssh -F /etc/wharf/backup/ssh_config backup id </dev/null")
    assert "uid=" not in result.stdout


def test_controller_gets_a_copy_and_the_backup_is_checked(backed_up):
    assert "every byte was read" in backed_up.copied.stdout
    made(backed_up.copied)
    assert backed_up.copies[0] == backed_up.copies[1]


def test_schedule_makes_a_backup_by_itself(hosts, backed_up):
    server = hosts["server"]
    assert not server.file("/etc/cron.d/wharf-back-up").exists  # of the time without systemd
    assert server.service("wharf-back-up.timer").is_enabled
    server.check_output(f"rm -f {RESULT}; systemctl start wharf-back-up.service")
    assert server.file(RESULT).content_string.startswith("ok ")


@pytest.mark.thorough
def test_hosts_with_a_backup_are_as_its_snapshot_says(backed_up, compare_with_snapshot):
    compare_with_snapshot("snapshot-with-backup", backed_up.snapshot)


def test_deployment_sets_the_backup_up_and_changes_nothing_after_that(hosts, ansible, backed_up):
    hosts["server"].check_output("rm -r /etc/wharf/backup")
    assert play(ansible, "deploy-registry").changes > 0
    assert hosts["server"].service("wharf-back-up.timer").is_enabled
    assert run(hosts, "wharf back-up --plan")[0] == 0
    assert play(ansible, "deploy-registry").changes == 0


@pytest.mark.thorough
def test_upgrade_with_a_wrong_password_stops_before_anything_changes(hosts, ansible, backed_up):
    kept = hosts["server"].check_output("sha256sum /etc/wharf/backup/*")
    refused = play(ansible, "upgrade-registry", wharf_backup_password="not-the-right-one")
    assert refused.returncode != 0
    assert "wharf_backup_password: is not the password of the backup in sftp:backup:/srv/backup" in refused.stdout
    assert not re.search("changed=[1-9]", refused.stdout)
    assert "PLAY [Deploy the registry]" not in refused.stdout
    assert hosts["server"].check_output("sha256sum /etc/wharf/backup/*") == kept


@pytest.mark.thorough
def test_controller_without_the_password_changes_nothing(hosts, ansible, backed_up, tmp_path):
    """A second one, that has the inventory and not what was generated."""
    kept = hosts["server"].check_output("sha256sum /etc/wharf/backup/*")
    for playbook in ("site", "back-up-registry"):
        refused = play(ansible, playbook, wharf_credentials_directory=str(tmp_path / "kept"))
        assert refused.returncode != 0
        assert f"{tmp_path}/kept/backup/password is missing on this controller, but the server has" in refused.stdout
        assert not re.search("changed=[1-9]", refused.stdout)
    assert list(tmp_path.iterdir()) == []
    assert hosts["server"].check_output("sha256sum /etc/wharf/backup/*") == kept
    lost = restore(ansible, wharf_backup_password="not-the-right-one", wharf_credentials_directory=str(tmp_path))
    assert f"wharf_registry_users: ci: have no password, and none in {tmp_path}/users: copy" in lost.stdout


@pytest.mark.thorough
def test_upgrade_backs_up_first(hosts, ansible, backed_up):
    server, start = hosts["server"], "systemctl daemon-reload; systemctl start wharf-back-up.timer"
    with put_back(server, "/etc/systemd/system", then=start):
        upgraded = play(ansible, "upgrade-registry", "--skip-tags", "verify", wharf_backup_schedule="")
        made(upgraded)
        # A schedule that was there and is not wanted any more is gone.
        assert "wharf-back-up" not in server.check_output("systemctl list-timers --all")
    assert upgraded.stdout.index("PLAY [Back the registry up]") < upgraded.stdout.index("PLAY [Deploy the registry]")


@pytest.mark.thorough
def test_damage_counts_where_a_tag_leads_to_it_and_an_override_overrides(hosts, ansible, backed_up):
    server, client1, name = hosts["server"], hosts["client1"], "test/overwritten"
    digests = []
    for _ in range(2):
        make_image(client1, f"{REGISTRY}/{name}:1")
        digests.append(push(client1, f"{REGISTRY}/{name}:1"))
    storage = f"{DATA}/docker/registry/v2"
    server.check_output(f"rm {layer_of(server, digests[0])}")
    try:
        code, said = run(hosts, "wharf back-up")
        assert (code, "damaged" in said) == (0, False), said
        assert re.search(rf"warning: {name}: the manifest {digests[0]} needs .* \(no tag leads there\)", said), said
        code, said = run(hosts, f"wharf restore --repository {name}")
        assert code == 0, said
        code, said = run(hosts, "wharf restore --confirm registry.wharf.test")
        assert code == 0, said
        pull(hosts["client2"], f"{REGISTRY}/{name}:1", digests[1])

        server.check_output(f"rm {layer_of(server, digests[1])}")
        code, said = run(hosts, "wharf back-up")
        assert (code, "but the registry is damaged: " in said) == (3, True), said
        ended = server.file(RESULT).content_string
        upgraded = play(ansible, "upgrade-registry", "--skip-tags", "verify", wharf_upgrade_without_backup=True)
        assert upgraded.returncode == 0, upgraded.stdout
        assert server.file(RESULT).content_string == ended  # no other backup was made
    finally:
        server.check_output(f"rm -r {storage}/repositories/{name}; wharf back-up")


def layer_of(server, digest: str) -> str:
    """Return the file of an image's layer."""
    blobs = f"{DATA}/docker/registry/v2/blobs/sha256"
    manifest = json.loads(server.check_output(f"cat {blobs}/{digest[7:9]}/{digest[7:]}/data"))
    number = manifest["layers"][0]["digest"][7:]
    return f"{blobs}/{number[:2]}/{number}/data"


def test_backup_without_room_is_refused(hosts, backed_up):
    small, settings = "/srv/small", "/etc/wharf/backup/backup.json"
    make = f"mkdir -p {small} && mount -t tmpfs -o size=20m tmpfs {small}"
    make += f" && install --directory --owner wharf-backup --mode 0700 {small}/registry"
    with broken(hosts["client1"], make, f"umount {small}; rmdir {small}"), put_back(hosts["server"], settings):
        hosts["server"].check_output(f"sed -i s:{BACKUP}:{small}/registry: {settings}")
        code, said = run(hosts, "wharf back-up")
        assert (code, "there is no room in sftp:backup:/srv/small/registry" in said) == (1, True), said
        assert hosts["client1"].check_output(f"ls -A {small}/registry") == ""


def test_somebody_else_at_work_is_named(hosts, backed_up):
    with lock_held(hosts["server"]):
        code, said = run(hosts, "wharf back-up")
    assert code == 1
    assert "collect-garbage is at work on server" in said


def test_interrupted_backup_does_not_disturb_the_next(hosts, backed_up):
    server = hosts["server"]
    # Something that takes a while, and that no repository names.
    junk = f"{DATA}/docker/registry/v2/blobs/sha256/00/{'0' * 64}"
    server.check_output(f"mkdir -p {junk} && head -c 200000000 /dev/urandom >{junk}/data")
    locks, snapshots = f"ls {BACKUP}/locks", f"ls {BACKUP}/snapshots"
    before = hosts["client1"].check_output(snapshots)

    def begin() -> None:
        server.check_output(in_background("wharf back-up"))
        wait_until(server, "pgrep -f '[r]estic .*backup --json'", 30)
        wait_until(hosts["client1"], f'[ -n "$({locks})" ]', 30)
        assert server.run("pgrep -x restic").rc == 0, "no backup under way"

    begin()
    # Without the program nobody holds the lock: restic must not work on, and bring it to an end.
    server.check_output("pkill -KILL -f '[/]sbin/wharf back-up'")
    wait_until(server, "! pgrep -x restic", 30)
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
@pytest.mark.thorough("missing file")
def test_damaged_backup_is_found_and_never_restored(hosts, one, damage):
    client1, server = hosts["client1"], hosts["server"]
    pack = client1.check_output(f"find {BACKUP}/data -type f -printf '%s %p\\n' | sort -n | tail -1").split()[1]
    earlier = server.check_output(f"find {DATA} -maxdepth 1 -name 'before-restore*'")
    with put_back(client1, pack):
        if damage == "flipped byte":
            client1.check_output(f"chmod u+w {pack}")
            flip_bit(client1, pack)
        else:
            client1.check_output(f"rm -f {pack}")
        code, said = run(hosts, "wharf check-backup")
        assert (code, "is damaged" in said, Path(pack).name[:8] in said) == (1, True, True), said
        assert re.search(r"has lost something of: snapshot \w{8}: .*\b(test|busy)/\w+", said), said
        code, said = run(hosts, "wharf restore --confirm registry.wharf.test")
        assert (code, "the backup is damaged, and nothing was replaced" in said) == (1, True), said
        untouched(hosts, *one)
        assert server.check_output(f"find {DATA} -maxdepth 1 -name 'before-restore*'") == earlier


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
    assert hosts["client1"].run(f"docker pull {reference}").rc != 0
    result = restore(ansible, "--skip-tags", "verify", wharf_restore_repository="test/image1")
    assert result.returncode == 0, result.stdout
    pull(hosts["client2"], reference, digest)


@pytest.mark.thorough
def test_tag_that_leads_elsewhere_is_restored_only_on_request(hosts, one):
    reference, digest = one
    client1 = hosts["client1"]
    client1.check_output(f"docker pull {REGISTRY}/test/image2:1 && docker tag {REGISTRY}/test/image2:1 {reference}")
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
    restoring = "wharf restore --confirm registry.wharf.test"
    server.check_output(in_background(restoring))
    wait_until(server, f'[ -n "$(ls -A {DATA}/.restoring 2>/dev/null)" ]', 60, every=0.02)
    server.check_output("pkill -KILL -f '[/]sbin/wharf restore'")
    wait_until(server, "! pgrep -x restic", 30)
    assert server.file(f"{DATA}/.restoring").exists
    pull(hosts["client2"], *one)

    # In the moment in which the registry is stopped: one run of the playbook that deploys it brings it back.
    with docker_that(server, '"stop registry") real "$@"; kill -9 $PPID ;;'):
        assert server.run(restoring).rc == 137
    assert server.check_output("docker inspect --format '{{.State.Running}}' registry") == "false"
    deployed = play(ansible, "deploy-registry")
    assert deployed.returncode == 0, deployed.output
    pull(hosts["client2"], *one)


def test_restore_on_the_same_server_keeps_what_was_there(hosts, one):
    server, client1 = hosts["server"], hosts["client1"]
    make_image(client1, f"{REGISTRY}/later/image:1")
    push(client1, f"{REGISTRY}/later/image:1")
    ca = server.check_output("cat /etc/wharf/ca/ca.crt")
    said = json.loads(server.check_output("wharf restore --confirm registry.wharf.test --json"))
    assert client1.run(f"docker pull {REGISTRY}/later/image:1").rc != 0  # it came after the backup
    kept = next(place for place in said["kept"] if place.startswith(DATA))
    assert server.file(f"{kept}/docker/registry/v2/repositories/later/image").exists
    assert server.check_output("cat /etc/wharf/ca/ca.crt") == ca
    untouched(hosts, *one)


# At each step but the last: how it fails. Users and CA are others than the backup's.
FAILS = {
    "it is not stopped": lambda server: docker_that(server, '"stop registry") broken ;;'),
    "the CA is not written, after the users": lambda server: read_only(server, "/etc/wharf/ca"),
    "the data is not moved": lambda server: broken(
        server, f"mount --bind {DATA}/docker {DATA}/docker", f"umount {DATA}/docker"
    ),
}


@pytest.mark.thorough
def test_restore_that_fails_replaces_nothing(hosts, ansible, one):
    server, client, (reference, digest) = hosts["server"], hosts["client2"], one
    users, ca = "/etc/wharf/gateway/users", "/etc/wharf/ca/ca.crt"
    server.check_output(f"rm -rf {DATA}/before-restore-*")
    arguments = ("playbooks/restore-registry.yml", "--skip-tags", "verify")
    settings = SETTINGS | {"wharf_restore_confirm": "registry.wharf.test"}
    with watch(client, by_digest(reference, digest)) as seen:
        with put_back(server, users, ca):
            server.check_output(f"sed -n s/^ci:/later:/p {users} >/tmp/later; cat /tmp/later >>{users}; echo >>{ca}")
            before = state(server, client)
            for fault in FAILS.values():
                with fault(server):
                    code, said = run(hosts, "wharf restore --confirm registry.wharf.test")
                assert (code, "Nothing was replaced: all is as it was before" in said) == (1, True), said
                assert state(server, client) == before
            last = docker_that(server, '"start registry") once && broken; real "$@" ;;')
            result = ansible.fails_whole((server, client), last, *arguments, **settings)
            assert "Nothing was replaced: all is as it was before" in result.stdout
            assert server.check_output(f"ls -A {DATA}").split() == [".wharf", "docker"]
        # What is deployed after the restore, and fails, does not take it back.
        name = f"{REGISTRY}/later/deployed:1"
        make_image(client, name)
        push(client, name)
        with engine_that(server, "fail", "POST .*/containers/create.name=registry$"):
            result = ansible.fails(*arguments, registry_server_config={"log": {"level": "warn"}}, **settings)
        assert "All is as it was before: the containers that ran, their configuration" in result.stdout
        assert "What was restored stays" in result.stdout
        assert "manifest unknown" in client.run(f"docker pull {name}").stderr
        assert play(ansible, "deploy-registry").changes == 0
    assert "x509" not in seen.errors
    untouched(hosts, *one)


@pytest.mark.thorough
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


@contextmanager
def server_lost(hosts, inventory: Path) -> Iterator[Ansible]:
    """Take the server away, and let its name lead to the fresh host, as DNS would; yield what runs playbooks then.

    The server comes back afterwards, and the backup's files and users are as they were.
    """
    aliases = {"server": ["server", "registry.wharf.test"], "spare": ["spare"]}

    def connect(name: str, *names: str) -> None:
        from_outside("network", "connect", *(f"--alias={alias}" for alias in names), LAB, container(name))

    # The group holds the new host, and nothing else changes. In a directory of its own, or Molecule would read it too.
    old = Path(INVENTORY)
    content = yaml.safe_load(old.read_text())
    del content["all"]["hosts"]["server"]
    content["registry_servers"]["hosts"] = content.pop("ungrouped")["hosts"]
    for name in ("group_vars", ".credentials"):
        inventory.with_name(name).symlink_to(old.with_name(name))
    inventory.write_text(yaml.safe_dump(content))

    from_outside("network", "disconnect", LAB, container("server"))
    from_outside("network", "disconnect", LAB, container("spare"))
    try:
        connect("spare", "spare", "registry.wharf.test")
        with put_back(hosts["client1"], "/srv/backup", "/var/lib/wharf-backup"):
            yield Ansible(str(inventory))
    finally:
        from_outside("network", "disconnect", LAB, container("spare"))
        for name, names in aliases.items():
            connect(name, *names)
        remove = f"docker rm --force --volumes {PARTS}; docker volume rm --force registry-data"
        hosts["spare"].check_output(f"{remove}; rm -rf /etc/wharf /var/lib/wharf")
        wait_until(hosts["client1"], f"docker pull {REGISTRY}/test/image1:1", 60)


def test_registry_is_restored_on_a_fresh_host_and_the_backup_goes_on_from_there(
    hosts, images, backed_up, number, tmp_path
):
    assert run(hosts, "wharf back-up")[0] == 0
    ca = hosts["server"].check_output("cat /etc/wharf/ca/ca.crt")
    trust = hosts["client1"].check_output("find /etc/docker /root/.docker -type f -exec sha256sum {} +")
    with server_lost(hosts, tmp_path / "hosts.yml") as ansible:
        assert hosts["client2"].run(f"docker pull {REGISTRY}/test/image1:1").rc != 0
        start = time.monotonic()
        # Into a named volume this time: the backup does not mind.
        result = restore(ansible, wharf_registry_data="registry-data")
        assert result.returncode == 0, result.output
        number("a fresh host to the registry restored and verified", time.monotonic() - start, "s")

        assert hosts["spare"].check_output("cat /etc/wharf/ca/ca.crt") == ca
        lost = []
        listed = "".join(f"{reference} {digest}\n" for reference, digest in images.items())
        for name in ("client1", "client2"):
            write(hosts[name], "/tmp/images", listed)
            lost += hosts[name].check_output(f"{program(hosts[name], 'pull-many.sh')} </tmp/images").splitlines()
        number("images lost", len(lost), "")
        assert lost == []
        assert hosts["client1"].check_output("find /etc/docker /root/.docker -type f -exec sha256sum {} +") == trust
        # What was pushed during the backup is listed only if it is whole.
        storage = "$(docker volume inspect --format '{{.Mountpoint}}' registry-data)"
        hosts["spare"].check_output(f"wharf verify-storage --contents {storage}")

        said = made(backup(ansible, wharf_registry_data="registry-data"))
        assert said["new"] < 1e6, said

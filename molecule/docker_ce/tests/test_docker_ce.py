"""Docker's own packages: what cannot work is refused before anything changes, and a move keeps what runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from machines import PREPARED, broken, engine_put_back, program, snapshot

CONVERGE = "molecule/docker_ce/converge.yml"
BARE = {"debian12": "20.10.24", "debian13": "26.1.4", "testing": "28.5.2", "ubuntu": "20.10.24"}
MOVER = ["--limit", "mover"]
TO_DOCKER = {"docker_engine_source": "docker_ce"}
REPLACE = {"docker_engine_replace": True}


def version(host, package: str) -> str:
    """Return the version of an installed package, without its epoch and revision; empty where it is not installed."""
    shown = host.run(f"dpkg-query --show --showformat '${{db:Status-Status}} ${{Version}}' {package}").stdout.split()
    return shown[1].rpartition(":")[2].split("-")[0].split("+")[0] if shown[:1] == ["installed"] else ""


def holds(host) -> list[str]:
    """Return the packages that are held."""
    return host.check_output("apt-mark showhold").split()


def treasure(host) -> dict[str, str]:
    """Return what must survive a move: the image, the running container and since when it runs, the volume's file."""
    return {
        "image": host.check_output("docker image ls --quiet sleeper:1"),
        "started": host.check_output("docker inspect --format '{{.State.Running}} {{.State.StartedAt}}' sleeper"),
        "chest": host.check_output("cat $(docker volume inspect --format '{{.Mountpoint}}' treasure)/chest"),
    }


@contextmanager
def packages_put_back(host) -> Iterator[None]:
    """Let a host have the engine's packages and holds, and its configuration, of before again, afterwards."""
    packages = [f"{name}={host.package(name).version}" for name in ("docker-ce", "docker-ce-cli")]
    held = holds(host)
    with engine_put_back(host):
        try:
            yield
        finally:
            host.check_output(program(host, "install-packages.sh", *packages))
            host.run(f"apt-mark hold {' '.join(held)}")


@pytest.fixture(scope="module")
def fingerprint() -> str:
    """Return the fingerprint of the repository's key."""
    return (PREPARED / "fingerprint").read_text().strip()


# Bare hosts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BARE)
def test_the_engine_is_dockers_own_and_runs(hosts, name):
    host = hosts[name]
    assert version(host, "docker-ce") == version(host, "docker-ce-cli") == BARE[name]
    assert version(host, "containerd.io")
    assert not version(host, "docker.io")
    assert "wharf=yes" in host.check_output("docker info --format '{{.Labels}}'")
    assert host.service("docker").is_enabled


@pytest.mark.parametrize("name", BARE)
def test_apt_takes_the_key_of_the_fingerprint_only(hosts, name, fingerprint):
    source = hosts[name].file("/etc/apt/sources.list.d/wharf-docker.sources")
    assert source.mode == 0o644
    assert f"Signed-By: /etc/apt/keyrings/wharf-docker.asc {fingerprint}\n" in source.content_string
    hosts[name].check_output("apt-get update -o APT::Update::Error-Mode=any")


def test_old_entries_and_their_key_are_gone_and_other_peoples_stay(hosts):
    host = hosts["debian12"]
    assert not host.file("/etc/apt/sources.list.d/docker.list").exists
    assert not host.file("/usr/share/keyrings/docker-archive-keyring.gpg").exists
    assert "download.docker.com" not in host.file("/etc/apt/sources.list").content_string
    assert "bookworm main" in host.file("/etc/apt/sources.list").content_string
    mixed = host.file("/etc/apt/sources.list.d/mixed.sources").content_string
    assert "http://mirror:8000/debian" not in mixed
    assert "# Of the company.\nTypes: deb\nURIs: http://mirror:8000/other\n" in mixed
    assert host.file("/etc/apt/keyrings/other.gpg").exists


# The version ----------------------------------------------------------------------------------------------------------


def test_what_is_pinned_is_held_and_apt_does_not_upgrade_it(hosts):
    host = hosts["debian13"]
    assert holds(host) == ["docker-ce", "docker-ce-cli"]
    assert "docker-ce" not in host.check_output("apt-get --simulate dist-upgrade | grep ^Inst || true")


@pytest.mark.thorough
def test_a_newer_pin_upgrades_by_one_restart_and_an_older_one_is_refused(hosts, ansible):
    host = hosts["debian13"]
    with packages_put_back(host):
        pid = host.file("/run/docker.pid").content_string
        ansible.succeeds(CONVERGE, "--limit", "debian13", docker_engine_version="26.1.5")
        assert version(host, "docker-ce") == version(host, "docker-ce-cli") == "26.1.5"
        assert holds(host) == ["docker-ce", "docker-ce-cli"]
        assert host.file("/run/docker.pid").content_string != pid
        assert "(deleted)" not in host.check_output("readlink /proc/$(cat /run/docker.pid)/exe")

        before = snapshot(host)
        result = ansible.fails(CONVERGE, "--limit", "debian13")
        assert "the engine here is 26.1.5 (docker-ce), and 26.1.4 is older" in result.stdout
        assert "docker_engine_allow_downgrade: true" in result.stdout
        assert snapshot(host) == before


def test_a_pin_that_goes_releases_only_our_holds(hosts, ansible):
    host = hosts["debian13"]
    before = version(host, "docker-ce")
    with packages_put_back(host), broken(host, "apt-mark hold containerd.io", "apt-mark unhold containerd.io"):
        ansible.succeeds(CONVERGE, "--limit", "debian13", docker_engine_version="")
        assert holds(host) == ["containerd.io"]
        assert version(host, "docker-ce") == before


# Refusals -------------------------------------------------------------------------------------------------------------

MIRROR = "http://mirror:8000"
PIN = "docker_engine_repository_key_fingerprint names"
# Each host makes a mistake of its own, so that one run shows several: what it says, and what it must hear.
MISTAKES = {
    "old-apt-sees-the-wrong-key": {
        "debian12": ({"repository_url": f"{MIRROR}/wrong"}, ["wrong cannot be used. apt says:", PIN]),
        "debian13": ({"repository_url": f"{MIRROR}/expired"}, ["expired cannot be used. apt says:", "not expired"]),
        "testing": (
            {"repository_url": f"{MIRROR}/missing"},
            ["no repository of this host holds docker-ce", "/missing"],
        ),
        "mover": ({"repository_url": f"{MIRROR}/forged"}, ["forged cannot be used. apt says:", PIN]),
    },
    "new-apt-sees-the-wrong-key": {
        "debian12": ({"repository_url": f"{MIRROR}/expired"}, ["expired cannot be used. apt says:", "not expired"]),
        "debian13": ({"repository_url": f"{MIRROR}/wrong"}, ["wrong cannot be used. apt says:", PIN]),
        "testing": ({"repository_url": f"{MIRROR}/forged"}, ["forged cannot be used. apt says:", PIN]),
        "mover": ({"version": "99.1"}, ["docker_engine_version: '99.1'", "they hold: 20.10.24, 20.10.23"]),
    },
    "what-is-not-there": {
        "debian12": ({"version": "20.1"}, ["docker_engine_version: '20.1'", "they hold: 20.10.24, 20.10.23"]),
        "debian13": (
            {"repository_url": "http://nobody.invalid/"},
            ["its key cannot be fetched from", "nobody.invalid"],
        ),
        "testing": ({"channel": "test"}, ["no repository of this host holds docker-ce", "component 'test'"]),
        "mover": ({"repository_url": f"{MIRROR}/nowhere"}, ["its key cannot be fetched from", "404"]),
    },
}


@pytest.mark.thorough("new-apt-sees-the-wrong-key")
@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_work_is_refused_before_anything_changes(hosts, ansible, tmp_path, name):
    """On hosts that would only get another source or version, and on one whose engine would have to go first."""
    mistakes = MISTAKES[name]
    inventory = tmp_path / "mistakes.json"
    says = {host: {f"docker_engine_{k}": v for k, v in said.items()} for host, (said, _) in mistakes.items()}
    inventory.write_text(json.dumps({"engines": {"hosts": says}}))
    before = {host: snapshot(hosts[host]) for host in mistakes}
    result = ansible.fails(CONVERGE, "-i", str(inventory), **TO_DOCKER, **REPLACE)
    heard = {part.partition("]")[0]: part for part in result.stdout.partition("PLAY RECAP")[0].split("fatal: [")[1:]}
    for host, (_, words) in mistakes.items():
        for word in words:
            assert word in heard[host].replace("''", "'")
    assert {host: snapshot(hosts[host]) for host in mistakes} == before
    for host in mistakes:
        assert hosts[host].run("ls -d /var/tmp/wharf-*").rc != 0


# The move -------------------------------------------------------------------------------------------------------------


def test_a_move_that_nobody_asked_for_is_refused_and_names_the_packages(hosts, ansible):
    before = snapshot(hosts["mover"])
    result = ansible.fails(CONVERGE, *MOVER, **TO_DOCKER)
    assert "docker.io, containerd, runc are installed here" in result.stdout
    assert "docker_engine_replace: true" in result.stdout
    assert snapshot(hosts["mover"]) == before


@pytest.mark.thorough
def test_check_mode_tells_the_move_and_changes_nothing(hosts, ansible):
    before = snapshot(hosts["mover"])
    result = ansible.succeeds(CONVERGE, *MOVER, "--check", **TO_DOCKER, **REPLACE)
    assert "docker-ce=5:20.10.24-1~debian.12~bookworm" in result.stdout
    assert "in place of docker.io, containerd, runc" in result.stdout
    assert "The engine would be restarted for packages" in result.stdout
    assert snapshot(hosts["mover"]) == before


def test_a_move_there_and_back_keeps_images_volumes_and_what_runs(hosts, ansible):
    host = hosts["mover"]
    before = treasure(host)
    ansible.succeeds(CONVERGE, *MOVER, **TO_DOCKER, **REPLACE)
    assert version(host, "docker-ce") == "20.10.24"
    assert not version(host, "docker.io")
    assert treasure(host) == before
    assert host.service("docker").is_enabled
    assert not host.file("/usr/sbin/policy-rc.d").exists
    # Both run from the packages that are installed now.
    for process in ("cat /run/docker.pid", "systemctl show containerd --property=MainPID --value"):
        assert "(deleted)" not in host.check_output(f"readlink /proc/$({process})/exe")
    host.check_output("docker run --rm sleeper:1 /bin/sleep 0")
    assert ansible.succeeds(CONVERGE, *MOVER, **TO_DOCKER).changes == 0

    result = ansible.fails(CONVERGE, *MOVER)
    assert "docker-ce, docker-ce-cli, containerd.io are installed here" in result.stdout

    ansible.succeeds(CONVERGE, *MOVER, **REPLACE, docker_engine_version="20.10")
    assert version(host, "docker.io") == "20.10.24"
    assert holds(host) == ["docker.io"]
    for package in ("docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin"):
        assert not version(host, package)
    assert treasure(host) == before
    assert not host.file("/etc/apt/sources.list.d/wharf-docker.sources").exists
    assert not host.file("/etc/apt/keyrings/wharf-docker.asc").exists
    host.check_output("docker run --rm sleeper:1 /bin/sleep 0")
    host.check_output("apt-mark unhold docker.io; rm /var/lib/wharf/docker_engine.holds")


@pytest.mark.thorough
def test_restart_that_a_run_was_cut_off_before_is_made_up_for_in_a_downgrade_that_was_asked_for(hosts, ansible):
    """The packages are there already; only the engine that runs is still the old one."""
    host = hosts["testing"]
    older = {"docker_engine_allow_downgrade": True, "docker_engine_version": "28.5.1"}
    with packages_put_back(host):
        pid = host.file("/run/docker.pid").content_string
        # The engine refuses the option, and the run ends before its handlers.
        unknown = {"docker_engine_options": {"no-such-key": 1}}
        ansible.fails(CONVERGE, "--limit", "testing", **older, **unknown)
        assert version(host, "docker-ce") == "28.5.1"
        assert host.file("/run/docker.pid").content_string == pid
        assert "(deleted)" in host.check_output("readlink /proc/$(cat /run/docker.pid)/exe")

        checked = ansible(CONVERGE, "--limit", "testing", "--check", **older)
        assert "The engine would be restarted for packages" in checked.stdout
        ansible.succeeds(CONVERGE, "--limit", "testing", **older)
        assert "(deleted)" not in host.check_output("readlink /proc/$(cat /run/docker.pid)/exe")
        assert ansible.succeeds(CONVERGE, "--limit", "testing", **older).changes == 0


@pytest.mark.thorough
def test_a_move_after_which_images_would_be_out_of_sight_is_refused(hosts, ansible):
    """The images are in containerd's store because of an option, and the option does not come along."""
    host = hosts["testing"]
    here = ["--limit", "testing"]
    store = {"docker_engine_options": {"features": {"containerd-snapshotter": True}}, "docker_engine_version": ""}
    with engine_put_back(host):
        ansible.succeeds(CONVERGE, *here, **store)
        assert "io.containerd.snapshotter" in host.check_output("docker info --format '{{json .DriverStatus}}'")
        before = snapshot(host)
        move = {"docker_engine_source": "distro", "docker_engine_version": "", **REPLACE}
        result = ansible.fails(CONVERGE, *here, **move)
        assert "keeps its images in containerd's store" in result.stdout.replace("''", "'")
        assert "features: {containerd-snapshotter: true}" in result.stdout
        ansible.succeeds(CONVERGE, *here, "--check", **(move | store))
        assert snapshot(host) == before

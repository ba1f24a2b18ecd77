"""Over SSH as an ordinary user: the same result, and each role alone does its part."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig

from clients import REGISTRY, make_image, pull, push
from machines import PROJECT
from plays import INVENTORY, assert_all_is_well, write_play

ALONE = "alone.wharf.test:8443"


def test_hosts_were_reached_over_ssh(hosts):
    for name in ("server", "client1", "client2", "alone"):
        assert "session opened for user ops" in hosts[name].check_output("journalctl --unit ssh --no-pager")
        assert hosts[name].run("sudo -n -u ops sudo -n true").rc != 0, "sudo must ask for a password"


def test_ordinary_user_pushes_and_another_pulls(hosts):
    reference = f"{REGISTRY}/test/ssh:1"
    as_ops = "runuser -l ops -c"
    hosts["client1"].check_output(
        f"{as_ops} 'echo hello >hello && tar -c hello | docker import - {reference} && docker push {reference}'"
    )
    hosts["client2"].check_output(f"{as_ops} 'docker pull {reference}'")


def test_login_is_the_users_own(hosts):
    config = hosts["client1"].file("/home/ops/.docker/config.json")
    assert (config.mode, config.user) == (0o600, "ops")


def test_what_everybody_must_read_is_readable_although_roots_umask_is_strict(hosts):
    assert hosts["client1"].check_output("echo lab | runuser -l ops -c 'sudo -S sh -c umask'").endswith("0027")
    for name, path in (
        ("client1", "/etc/docker/daemon.json"),
        ("client2", f"/etc/docker/certs.d/{REGISTRY}/wharf-ca.crt"),
    ):
        hosts[name].check_output(f"runuser -u nobody -- test -r {path}")


def test_run_without_changes_visits_a_client_once_for_its_trust_and_logins(ansible):
    """What the first play has found is used again, where nothing is pending."""
    result = ansible("site.yml", "--skip-tags", "verify")
    assert result.changes == 0
    task = "registry_client : Trust the registry and log the users in"
    assert result.stdout.count(task) == result.stdout.count(f"{task} (check only)") == 1


def test_roles_alone_serve_a_registry(hosts):
    alone = hosts["alone"]
    reference = f"{ALONE}/test/alone:1"
    make_image(alone, reference)
    pull(alone, reference, push(alone, reference))
    assert alone.file("/srv/registry-data/docker/registry/v2/repositories/test/alone").exists


def test_role_of_the_installed_collection_serves_by_its_full_name(tmp_path):
    """From the tarball, in a directory that knows nothing of the checkout, in a playbook of somebody else's."""
    play = write_play(tmp_path, "alone", "docker_engine")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))},
        "ANSIBLE_COLLECTIONS_PATH": f"{tmp_path}:{sysconfig.get_path('purelib')}",
        "ANSIBLE_HOST_KEY_CHECKING": "false",
    }
    for command in (
        ["ansible-galaxy", "collection", "build", PROJECT],
        [
            "ansible-galaxy",
            "collection",
            "install",
            "-p",
            tmp_path,
            "--no-deps",
            "--offline",
            "wharf-registry-1.0.0.tar.gz",
        ],
        ["ansible-playbook", "--check", "-i", INVENTORY, play],
    ):
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
    assert "wharf.registry.docker_engine" in result.stdout


def test_memory_limit_of_a_container(hosts):
    assert hosts["alone"].check_output("docker inspect --format '{{.HostConfig.Memory}}' alone") == str(256 * 1024**2)


def test_second_registry_leaves_the_first_alone(hosts, ansible, tmp_path):
    """Two registries on one client, one of them insecure: neither takes the other's entries away."""
    names = ["second.wharf.test", "third.wharf.test"]
    second, third = (
        {"registry_client_name": name, "registry_client_address": "192.0.2.1", "registry_client_trust": "insecure"}
        for name in names
    )
    play = write_play(tmp_path, "alone", "registry_client", second, third)
    ansible.succeeds(play)
    again = ansible(play)
    assert again.changes == 0, again.stdout
    config = json.loads(hosts["alone"].file("/etc/docker/daemon.json").content_string)
    assert sorted(config["insecure-registries"]) == [f"{name}:5000" for name in names]
    assert hosts["alone"].file(f"/etc/docker/certs.d/{ALONE}").exists


def test_diagnosis_finds_all_well(ansible):
    assert_all_is_well(ansible, 3)

"""Over SSH as an ordinary user: the same result, and each role alone does its part."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from clients import REGISTRY, make_image, pull, push
from machines import PROJECT, put_back, some
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


@pytest.mark.parametrize("user", some([r"CORP\jane"], ["jane.doe@corp.example", r"CORP\jane"]))
def test_user_of_a_directory_is_a_user_and_one_that_the_host_does_not_know_is_refused(hosts, ansible, user):
    """What getent knows is a user. Imitated: the directory, by a line in /etc/passwd."""
    client, quoted = hosts["client2"], f"'{user}'"
    settings = {"wharf_registry_logins": [{"user": user, "name": "ci"}], "docker_engine_users": [user]}
    only = ("--limit", "client2", "--skip-tags", "verify")
    refused = ansible.fails("site.yml", *only, **settings)
    assert f"docker_engine_users: {user} does not exist on this host" in refused.stdout
    assert "changed=0" in refused.stdout and "changed=1" not in refused.stdout
    home = "/srv/jane"
    with put_back(client, "/etc/passwd", "/etc/group", "/etc/gshadow", then=f"rm -rf {home}"):
        client.check_output(f"install -d -o 20001 {home}; echo {quoted}':x:20001:100::{home}:/bin/sh' >>/etc/passwd")
        ansible.succeeds("site.yml", *only, **settings)
        assert "docker" in client.check_output(f"id -nG {quoted}").split()
        assert REGISTRY in json.loads(client.file(f"{home}/.docker/config.json").content_string)["auths"]
        assert ansible("site.yml", *only, **settings).changes == 0


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


def test_awx_runs_it(tmp_path):
    """As AWX does: by ansible-runner, the credentials apart from the inventory, the answers of a survey as variables.

    What is imitated: AWX itself, and the execution environment, which is this controller. The environment's variables
    are those that AWX sets.
    """
    told = subprocess.run(["ansible-inventory", "-i", INVENTORY, "--list"], capture_output=True, text=True, check=True)
    known = json.loads(told.stdout)["_meta"]["hostvars"]
    credentials = ("ansible_become_pass", "ansible_private_key_file", "ansible_ssh_common_args")
    key = known["server"]["ansible_private_key_file"]
    groups = {"registry_servers": ["server"], "registry_clients": ["client1", "client2"]}
    inventory = {
        group: {"hosts": {host: {k: v for k, v in known[host].items() if k not in credentials} for host in hosts}}
        for group, hosts in groups.items()
    }
    for path, content in {
        "inventory/hosts.yml": json.dumps(inventory),
        "env/ssh_key": Path(key).read_text(),
        "env/passwords": json.dumps({"BECOME password.*:\\s*?$": known["server"]["ansible_become_pass"]}),
        "env/cmdline": "--ask-become-pass",
        "env/extravars": json.dumps({"wharf_diagnose_image": ""}),
        "env/settings": json.dumps({"suppress_ansible_output": True}),
        "env/envvars": json.dumps({
            "ANSIBLE_COLLECTIONS_PATH": f"{tmp_path}/requirements_collections:.:{sysconfig.get_path('purelib')}",
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            "ANSIBLE_FORCE_COLOR": "True",
        }),
    }.items():  # fmt: skip
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(content)
    (tmp_path / "env/ssh_key").chmod(0o600)
    (tmp_path / "project").symlink_to(PROJECT)

    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    for playbook in ("site.yml", "playbooks/diagnose-registry.yml"):
        command = ["ansible-runner", "run", tmp_path, "--playbook", playbook, "--ident", "job"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        events = [json.loads(file.read_text()) for file in (tmp_path / "artifacts/job/job_events").glob("*.json")]
        said = "".join(event["stdout"] for event in events)
        assert result.returncode == 0, result.stderr + said
        [summary] = [event["event_data"] for event in events if event["event"] == "playbook_on_stats"]
        assert summary["changed"] == {}, said
        assert summary["ok"].keys() >= set(known) - {"alone"}
        kept = subprocess.run(["grep", "-rlF", "not-a-secret-0123456789", tmp_path / "artifacts"])
        assert kept.returncode == 1, "a password is in what AWX would keep"
        shutil.rmtree(tmp_path / "artifacts")


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

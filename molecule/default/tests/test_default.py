"""A whole deployment: negative tests first, then what must work, then what must survive."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from conftest import PROJECT, REGISTRY, changes, log_in, pull, push, replace_container, snapshot


def test_stranger_cannot_pull(hosts):
    result = hosts["stranger"].run(f"docker pull {REGISTRY}/test/any:1")
    assert result.rc != 0
    assert "certificate signed by unknown authority" in result.stderr


def test_nobody_pulls_without_a_password(hosts):
    result = hosts["client1"].run(f"docker logout {REGISTRY}; docker pull {REGISTRY}/test/any:1")
    assert result.rc != 0
    assert "no basic auth credentials" in result.stderr


def test_wrong_password_is_refused(hosts):
    result = hosts["client1"].run(f"echo wrong | docker login --username ci --password-stdin {REGISTRY}")
    assert result.rc != 0
    assert "401 Unauthorized" in result.stderr


def test_port_of_something_else_is_named_before_anything_changes(hosts, ansible):
    before = {name: snapshot(hosts[name]) for name in ("server", "client1")}
    result = ansible("site.yml", "-e", "wharf_registry_port=22")
    assert result.returncode != 0
    assert "registry_server_port: 22 is taken on server by sshd" in result.stdout
    assert before == {name: snapshot(hosts[name]) for name in before}


def test_image_moves_by_digest(hosts, password, image):
    for name in ("client1", "client2"):
        log_in(hosts[name], password)
    pull(hosts["client2"], image, push(hosts["client1"], image))


NEW_CLIENT = ["-i", f"{PROJECT}/molecule/default/inventory/new-client.yml", "--limit", "stranger"]


def test_check_mode_announces_and_changes_nothing(hosts, ansible):
    before = snapshot(hosts["stranger"])
    result = ansible("site.yml", *NEW_CLIENT, "--check", "--diff")
    assert result.returncode == 0, result.stdout
    assert "changed: [stranger]" in result.stdout
    assert snapshot(hosts["stranger"]) == before


def test_new_client_alone_gets_trust_and_loses_it_again(hosts, ansible, password):
    stranger = hosts["stranger"]
    before = stranger.check_output("ls -R /etc/docker; cat /etc/hosts")

    result = ansible("site.yml", *NEW_CLIENT, "--skip-tags", "verify")
    assert result.returncode == 0, result.stdout
    log_in(stranger, password)
    stranger.check_output(f"docker logout {REGISTRY}")

    result = ansible("playbooks/trust-registry.yml", *NEW_CLIENT, "-e", "registry_client_state=absent")
    assert result.returncode == 0, result.stdout
    assert "unknown authority" in stranger.run(f"docker pull {REGISTRY}/test/any:1").stderr
    # The engine's own options stay: they are not the client's.
    after = stranger.check_output("ls -R /etc/docker; cat /etc/hosts")
    assert after.replace("daemon.json\n", "") == before.replace("daemon.json\n", "")


def test_one_tag_alone(ansible):
    result = ansible("site.yml", "--tags", "trust")
    assert result.returncode == 0, result.stdout
    assert changes(result) == 0, result.stdout
    assert "registry_client : Trust the registry and log the users in" in result.stdout
    assert "registry_server : Run the container" not in result.stdout


def test_secrets_show_nowhere(hosts, ansible, password):
    # A changed password makes every task run that handles it.
    result = ansible("site.yml", "-vvv", "--diff", "-e", '{"wharf_registry_bcrypt_cost": 5}')
    assert result.returncode == 0, result.stdout
    # The last line of a key is public: it is in the public key as well.
    keys = hosts["server"].check_output("cd /etc/wharf; sed -n 2p tls/registry.key; sed -n 2p ca/ca.key").splitlines()
    assert len(keys) == 2
    basic = base64.b64encode(f"ci:{password}".encode()).decode()
    for secret in [password, basic, "$2b$", *keys]:
        assert secret not in result.stdout
    assert ansible("site.yml", "--skip-tags", "verify").returncode == 0  # back to the usual cost


def test_generated_password_is_not_read_as_inventory(password):
    """Ansible takes every file in an inventory's directory for hosts, but for those that it does not see."""
    inventory = Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent
    listed = subprocess.run(
        ["ansible-inventory", "-i", inventory, "--list"], check=True, capture_output=True, text=True
    )
    assert "client1" in listed.stdout
    assert password not in listed.stdout + listed.stderr


@pytest.mark.parametrize(
    ("path", "mode", "user"),
    [
        ("/etc/wharf/ca/ca.key", 0o600, 0),
        ("/etc/wharf/tls/registry.key", 0o600, 59500),
        ("/etc/wharf/registry/config.yml", 0o640, 0),
        ("/etc/wharf/registry/htpasswd", 0o640, 0),
        ("/var/lib/wharf/registry", 0o750, 59500),
    ],
)
def test_files_are_for_those_who_need_them(hosts, path, mode, user):
    file = hosts["server"].file(path)
    assert (file.mode, file.uid) == (mode, user)


@pytest.mark.parametrize("name", ["client1", "client2", "stranger"])
def test_no_key_leaves_the_server(hosts, name):
    assert hosts[name].run("grep -rl 'PRIVATE KEY' /etc/docker /etc/wharf /root /tmp").stdout == ""


def test_certificate_is_right(hosts):
    text = hosts["server"].check_output("openssl x509 -noout -text -in /etc/wharf/tls/registry.crt")
    address = hosts["server"].check_output("hostname --ip-address")
    for part in (f"DNS:{REGISTRY.split(':')[0]}", "DNS:localhost", f"IP Address:{address}", "prime256v1"):
        assert part in text
    hosts["server"].check_output(
        "openssl verify -purpose sslserver -verify_hostname registry.wharf.test"
        " -CAfile /etc/wharf/tls/ca.crt /etc/wharf/tls/registry.crt"
    )


def test_container_is_hardened(hosts):
    container = json.loads(hosts["server"].check_output("docker inspect registry"))[0]
    host = container["HostConfig"]
    assert container["Config"]["User"] == "59500:59500"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["RestartPolicy"]["Name"] == "always"
    assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}


def test_container_becomes_healthy(hosts):
    state = ""
    for _ in range(70):  # the first check comes after 30 seconds
        state = hosts["server"].check_output("docker inspect --format '{{.State.Health.Status}}' registry")
        if state != "starting":
            break
        time.sleep(0.5)
    assert state == "healthy"


def test_engine_restart_keeps_the_registry_running(hosts, image, password):
    server = hosts["server"]
    log_in(hosts["client1"], password)
    digest = push(hosts["client1"], image)
    started = server.check_output("docker inspect --format '{{.State.StartedAt}}' registry")
    server.check_output("systemctl restart docker")
    assert server.check_output("docker inspect --format '{{.State.StartedAt}}' registry") == started
    log_in(hosts["client2"], password)
    pull(hosts["client2"], image, digest)


def test_data_survives_removal_of_the_container(hosts, ansible, image, password):
    replace_container(hosts, ansible, password, image)


def test_user_comes_and_goes_without_a_restart(hosts, ansible):
    started = hosts["server"].check_output("docker inspect --format '{{.State.StartedAt}}' registry")
    secret = "a-passphrase-of-nobody-0123456789"
    users = {"wharf_registry_users": [{"name": "ci"}, {"name": "dev", "password": secret}]}
    result = ansible("playbooks/deploy-registry.yml", "-e", json.dumps(users))
    assert result.returncode == 0, result.stdout
    log_in(hosts["client2"], secret, "dev")

    assert ansible("playbooks/deploy-registry.yml").returncode == 0
    refused = hosts["client2"].run(f"echo {secret} | docker login --username dev --password-stdin {REGISTRY}")
    assert "401 Unauthorized" in refused.stderr
    assert hosts["server"].check_output("docker inspect --format '{{.State.StartedAt}}' registry") == started


def test_changed_configuration_takes_effect_and_a_bad_one_does_not(hosts, ansible):
    server = hosts["server"]
    started = server.check_output("docker inspect --format '{{.Id}}' registry")
    bad = ansible("playbooks/deploy-registry.yml", "-e", '{"registry_server_config": {"log": {"level": "loud"}}}')
    assert bad.returncode != 0
    assert "invalid loglevel loud" in bad.stdout.lower()
    assert server.check_output("docker inspect --format '{{.Id}}' registry") == started
    assert "loud" not in server.file("/etc/wharf/registry/config.yml").content_string

    good = ansible("playbooks/deploy-registry.yml", "-e", '{"registry_server_config": {"log": {"level": "debug"}}}')
    assert good.returncode == 0, good.stdout
    assert "level=debug" in server.run("docker logs registry").stderr
    assert ansible("playbooks/deploy-registry.yml").returncode == 0


def test_check_mode_on_finished_hosts_finds_nothing_to_do(ansible):
    result = ansible("site.yml", "--check", "--diff")
    assert result.returncode == 0, result.stdout
    assert "changed: [" not in result.stdout


def test_user_id_that_belongs_to_somebody_is_refused(ansible):
    result = ansible("site.yml", "-e", '{"wharf_registry_uid": 1}')
    assert result.returncode != 0
    assert "registry_server_uid: 1 belongs to the user daemon on server" in result.stdout


def served_certificate(host) -> str:
    """Return the fingerprint of the certificate that the registry itself serves."""
    return host.check_output(
        "openssl s_client -connect 127.0.0.1:5000 -servername registry.wharf.test </dev/null 2>/dev/null"
        " | openssl x509 -noout -fingerprint -sha256"
    )


def test_certificate_with_little_life_left_is_renewed_by_the_same_ca(hosts, ansible, image, password):
    server = hosts["server"]
    ca = server.file("/etc/wharf/ca/ca.crt").content_string
    # Signed with the CA that lies there: 300 days of 397 are over.
    server.check_output(
        "cd /etc/wharf/tls && openssl x509 -copy_extensions copyall -x509toreq -in registry.crt -key registry.key"
        " -out /tmp/request.pem && openssl x509 -req -copy_extensions copyall -in /tmp/request.pem"
        " -CA ca.crt -CAkey ../ca/ca.key -not_before $(date -u -d '-300 days' +%Y%m%d%H%M%SZ)"
        " -not_after $(date -u -d '+97 days' +%Y%m%d%H%M%SZ) -out registry.crt && docker restart registry"
    )
    old = served_certificate(server)

    result = ansible("playbooks/deploy-registry.yml")
    assert result.returncode == 0, result.stdout
    assert served_certificate(server) != old
    assert server.run("openssl x509 -noout -checkend $((390 * 86400)) -in /etc/wharf/tls/registry.crt").rc == 0
    assert server.file("/etc/wharf/ca/ca.crt").content_string == ca
    # The clients, which have only the CA, need nothing.
    log_in(hosts["client1"], password)
    push(hosts["client1"], image)


def test_new_alias_gets_into_the_certificate(hosts, ansible):
    result = ansible("playbooks/deploy-registry.yml", "-e", '{"wharf_registry_aliases": ["other.wharf.test"]}')
    assert result.returncode == 0, result.stdout
    hosts["server"].check_output(
        "openssl s_client -connect 127.0.0.1:5000 -verify_hostname other.wharf.test -verify_return_error"
        " -CAfile /etc/wharf/tls/ca.crt </dev/null"
    )


def test_run_without_changes_costs_few_tasks(ansible, tmp_path):
    """Counts what reached a host: the budget of a client and of the server."""
    counted = tmp_path / "tasks.json"
    result = ansible(
        "site.yml",
        "--skip-tags=verify",
        ANSIBLE_CALLBACK_PLUGINS=str(PROJECT / "benchmarks/callback_plugins"),
        ANSIBLE_CALLBACKS_ENABLED="host_tasks",
        HOST_TASKS_FILE=str(counted),
    )
    assert result.returncode == 0, result.stdout
    tasks = json.loads(counted.read_text())
    assert {name: host["changed"] for name, host in tasks.items()} == {"server": 0, "client1": 0, "client2": 0}
    assert tasks["client1"]["tasks"] <= 12, tasks["client1"]["names"]
    assert tasks["server"]["tasks"] <= 25, tasks["server"]["names"]


def test_data_survives_a_reboot_of_the_host(hosts, image, password):
    log_in(hosts["client1"], password)
    digest = push(hosts["client1"], image)
    local = hosts["server"].backend.run_local
    assert local("docker restart wharf-default-server").rc == 0
    log_in_again = f"echo '{password}' | docker login --username ci --password-stdin {REGISTRY}"
    deadline = time.monotonic() + 60
    while hosts["client2"].run(log_in_again).rc != 0:
        assert time.monotonic() < deadline, "the registry did not come back by itself"
        time.sleep(0.5)
    pull(hosts["client2"], image, digest)


def test_proof_left_nothing_in_the_registry(hosts):
    storage = "/var/lib/wharf/registry/docker/registry/v2"
    assert not hosts["server"].file(f"{storage}/repositories/wharf-verify").exists

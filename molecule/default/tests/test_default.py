"""A whole deployment: negative tests first, then what must work, then what must survive."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from clients import (
    REGISTRY,
    log_in,
    login,
    pull,
    push,
    replace_container,
    serve_old_certificate,
    served_certificate,
)
from machines import LAB, PROJECT, broken, container, from_outside, lock_held, snapshot, some, wait_until
from plays import INVENTORY, Ansible

CREDENTIALS = Path(INVENTORY).parent / ".credentials"


def test_stranger_cannot_pull(hosts):
    result = hosts["stranger"].run(f"docker pull {REGISTRY}/test/any:1")
    assert result.rc != 0
    assert "certificate signed by unknown authority" in result.stderr


def test_nobody_pulls_without_a_password(hosts):
    result = hosts["client1"].run(f"docker logout {REGISTRY}; docker pull {REGISTRY}/test/any:1")
    assert result.rc != 0
    assert "no basic auth credentials" in result.stderr


def test_wrong_password_is_refused(hosts):
    result = hosts["client1"].run(login("wrong"))
    assert result.rc != 0
    assert "401 Unauthorized" in result.stderr


def test_port_of_something_else_is_named_before_anything_changes(hosts, ansible):
    hosts["server"].check_output("systemd-run --quiet --unit squatter python3 -m http.server 5005")
    before = {name: snapshot(hosts[name]) for name in ("server", "client1")}
    result = ansible.fails("site.yml", wharf_registry_port=5005)
    hosts["server"].check_output("systemctl stop squatter")
    assert "registry_server_port: 5005 is taken on server by python3" in result.stdout
    assert before == {name: snapshot(hosts[name]) for name in before}


def test_image_moves_by_digest(hosts, password, image):
    for name in ("client1", "client2"):
        log_in(hosts[name], password)
    pull(hosts["client2"], image, push(hosts["client1"], image))


NEW_CLIENT = ["-i", f"{PROJECT}/molecule/default/inventory/new-client.yml", "--limit", "stranger"]


def test_check_mode_announces_and_changes_nothing(hosts, ansible):
    before = snapshot(hosts["stranger"])
    result = ansible.succeeds("site.yml", *NEW_CLIENT, "--check", "--diff")
    assert "changed: [stranger]" in result.stdout
    assert snapshot(hosts["stranger"]) == before


def test_new_client_alone_gets_trust_and_loses_it_again(hosts, ansible, password):
    stranger = hosts["stranger"]
    before = stranger.check_output("ls -R /etc/docker; cat /etc/hosts")

    ansible.succeeds("site.yml", *NEW_CLIENT, "--skip-tags", "verify")
    log_in(stranger, password)
    stranger.check_output(f"docker logout {REGISTRY}")

    ansible.succeeds("playbooks/trust-registry.yml", *NEW_CLIENT, "-e", "registry_client_state=absent")
    assert "unknown authority" in stranger.run(f"docker pull {REGISTRY}/test/any:1").stderr
    # The engine's own options stay: they are not the client's.
    after = stranger.check_output("ls -R /etc/docker; cat /etc/hosts")
    assert after.replace("daemon.json\n", "") == before.replace("daemon.json\n", "")


# A task that runs on finished hosts as well, and in check mode.
TASKS = {
    "install": "Install Docker]",  # the play; nothing of it runs there
    "deploy": "registry_tls : Keep the certificate right]",
    "trust": "registry_client : Trust the registry and log the users in]",
    "verify": "Choose a name that is free, and who does what]",
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Iterator[Ansible]:
    """Yield what runs ansible-playbook with one bare host, server and client at once: for check mode only, no init."""
    name = container("bare")
    from_outside("run", "--detach", "--name", name, "--label", f"wharf.lab={LAB}", "wharf-host:trixie", "sleep", "inf")
    hosts = {"bare": {"ansible_connection": "community.docker.docker", "ansible_host": name}}
    groups = {group: {"hosts": {"bare": {}}} for group in ("registry_servers", "registry_clients")}
    settings = {
        "wharf_registry_name": REGISTRY.split(":")[0],
        "wharf_registry_image_source": "distro",
        "wharf_registry_users": [{"name": "ci"}],
        "wharf_registry_logins": [{"user": "root", "name": "ci"}],
        "wharf_manage_hosts_file": True,
    }
    inventory = tmp_path_factory.mktemp("bare") / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "children": groups, "vars": settings}}))
    yield Ansible(str(inventory))
    from_outside("rm", "--force", "--volumes", name)


@pytest.mark.parametrize("tag", some(["deploy"], TASKS))  # the same plays as those of the playbooks
def test_each_part_alone_by_its_tag(ansible, bare, tag):
    others = [task for name, task in TASKS.items() if name not in (tag, "install")]
    finished = ansible("site.yml", "--tags", tag)
    assert finished.changes == 0, finished.output
    assert TASKS[tag] in finished.stdout
    assert [task for task in others if task in finished.stdout] == []
    announced = bare.succeeds("site.yml", "--check", "--diff", "--tags", tag)
    assert [task for task in others if task in announced.stdout] == []
    assert (announced.changes > 0) is (tag != "verify"), announced.output


@pytest.mark.parametrize(
    "playbook",
    some(["deploy-registry"], ["install-docker", "deploy-registry", "trust-registry", "verify-registry"]),
)
def test_each_part_alone_by_its_playbook(ansible, bare, playbook):
    finished = ansible(f"playbooks/{playbook}.yml", *(["--limit", "client2"] if playbook == "trust-registry" else []))
    assert finished.changes == 0, finished.output
    assert bare(f"playbooks/{playbook}.yml", "--check").changes > 0 or playbook == "verify-registry"
    bad = bare.fails(f"playbooks/{playbook}.yml", "--check", wharf_registry_port=0)
    assert "wharf_registry_port: 0 is not a TCP port" in bad.stdout


def test_all_but_one_part_on_a_bare_host_shows_settings_and_only_names_our_programs(bare):
    shown = bare.succeeds("site.yml", "--skip-tags", "verify", "--check", "--diff").output
    assert [name for name, task in TASKS.items() if task not in shown] == ["verify"]
    assert "/usr/local/sbin/wharf (0:0 0755)" in shown
    assert "live-restore" in shown
    assert "+storage:" in shown
    assert "ExecStart" not in shown
    assert len(shown.splitlines()) < 250


def test_image_that_cannot_be_pulled_is_named_before_anything_changes(hosts, ansible, bare):
    before = snapshot(hosts["server"])
    pull_it = {"wharf_registry_image_source": "pull", "wharf_registry_image": "nowhere.invalid/registry:2.8.3"}
    # The engine is asked, and where there is none yet, the registry itself.
    for run, host, arguments in ((ansible, "server", []), (bare, "bare", ["--check"])):
        refused = run.fails("site.yml", *arguments, **pull_it).stdout
        assert f"registry_server_image: nowhere.invalid/registry:2.8.3 cannot be pulled on {host} (" in refused
        assert "registry_server_image_source: archive (from a file) or distro" in refused
    assert snapshot(hosts["server"]) == before


def test_run_without_changes_goes_on_while_a_backup_is_at_work(hosts, ansible):
    with lock_held(hosts["server"], 300):
        assert ansible("playbooks/deploy-registry.yml").changes == 0
        refused = ansible.fails("playbooks/deploy-registry.yml", registry_server_config={"log": {"level": "warn"}})
        assert re.search("collect-garbage is at work on server since 20.*: wait", refused.stdout), refused.output


# A second controller: CI, AWX, a colleague's machine. It has the inventory, and not the passwords that were generated.


def test_controller_without_the_passwords_changes_nothing(hosts, ansible, tmp_path):
    before = {name: snapshot(hosts[name]) for name in ("server", "client1")}
    for arguments in ([], ["--check"]):
        refused = ansible.fails("site.yml", *arguments, wharf_credentials_directory=str(tmp_path / "kept")).stdout
        assert "registry_server_users: ci: have passwords on server that this controller does not know" in refused
        assert f"({tmp_path}/kept/users holds none for them)" in refused
    assert before == {name: snapshot(hosts[name]) for name in before}
    assert list(tmp_path.iterdir()) == []


def test_controller_with_the_passwords_changes_nothing_either(ansible, tmp_path):
    shutil.copytree(CREDENTIALS, tmp_path / "with space")
    result = ansible("playbooks/deploy-registry.yml", wharf_credentials_directory=str(tmp_path / "with space"))
    assert result.changes == 0, result.output


def test_password_is_replaced_when_that_is_said(hosts, ansible, tmp_path, password):
    ca = hosts["server"].check_output("sha256sum /etc/wharf/ca/* /etc/wharf/tls/*")
    elsewhere = {"wharf_credentials_directory": str(tmp_path)}
    try:
        result = ansible.succeeds("playbooks/deploy-registry.yml", **elsewhere, registry_server_replace_passwords="ci")
        new = (tmp_path / "users/ci").read_text().strip()
        assert new not in result.output
        log_in(hosts["client1"], new)
        assert "401 Unauthorized" in hosts["client1"].run(login(password)).stderr
        assert ansible("playbooks/deploy-registry.yml", **elsewhere).changes == 0
        # The controller that had it before is told as well.
        told = ansible.fails("playbooks/deploy-registry.yml")
        assert f"({CREDENTIALS}/users holds others for them)" in told.stdout
    finally:
        ansible.succeeds("playbooks/deploy-registry.yml", "-e", "registry_server_replace_passwords=ci")
    log_in(hosts["client1"], password)
    assert hosts["server"].check_output("sha256sum /etc/wharf/ca/* /etc/wharf/tls/*") == ca


def test_secrets_show_nowhere(hosts, ansible, password):
    # A changed password makes every task run that handles it.
    result = ansible.succeeds("site.yml", "-vvv", "--diff", wharf_registry_bcrypt_cost=5)
    # The last line of a key is public: it is in the public key as well.
    read = "cd /etc/wharf; sed -n 2p tls/registry.key; sed -n 2p ca/ca.key; cat registry/http-secret"
    secrets = hosts["server"].check_output(read).splitlines()
    assert len(secrets) == 3
    basic = base64.b64encode(f"ci:{password}".encode()).decode()
    back = ansible.succeeds("site.yml", "-vvv", "--diff", "--skip-tags", "verify")  # to the usual hash
    for secret in [password, basic, "$2b$", "{SSHA}", *secrets]:
        assert secret not in result.stdout + back.stdout


def test_generated_password_is_not_read_as_inventory(password):
    """Ansible takes every file in an inventory's directory for hosts, but for those that it does not see."""
    command = ["ansible-inventory", "-i", Path(INVENTORY).parent, "--list"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "client1" in listed.stdout
    assert password not in listed.stdout + listed.stderr


@pytest.mark.parametrize(
    ("path", "mode", "user"),
    [
        ("/etc/wharf/ca/ca.key", 0o600, 0),
        ("/etc/wharf/tls/registry.key", 0o600, 59500),
        ("/etc/wharf/registry/config.yml", 0o640, 0),
        ("/etc/wharf/registry/http-secret", 0o600, 0),
        ("/etc/wharf/gateway", 0o750, 0),
        ("/etc/wharf/gateway/users", 0o640, 0),
        ("/var/lib/wharf/sockets", 0o700, 59500),
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


CONTAINERS = ("registry", "registry-network", "registry-gateway")


@pytest.mark.parametrize("name", CONTAINERS)
def test_container_is_hardened(hosts, name):
    container = json.loads(hosts["server"].check_output(f"docker inspect {name}"))[0]
    host = container["HostConfig"]
    assert container["Config"]["User"] == "59500:59500"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges=true", "label=disable"]
    assert host["RestartPolicy"]["Name"] == "always"
    assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
    # The gateway writes to the registry's sockets only, and the registry to no file of the gateway.
    writes = {mount["Destination"] for mount in container["Mounts"] if mount["RW"]}
    assert writes == ({"/var/lib/registry", "/wharf/sockets"} if name == "registry" else set())


def test_registry_has_no_port_and_no_network(hosts):
    """Nobody gets around the gateway but root on the server, who reads figures on an address that nobody else has."""
    server = hosts["server"]
    there = "nsenter --net=/proc/$(docker inspect --format '{{.State.Pid}}' registry)/ns/net"
    assert [line.split()[3] for line in server.check_output(f"{there} ss -Hltn").splitlines()] == ["127.0.0.1:5001"]
    assert {line.split()[1] for line in server.check_output(f"{there} ip -o address").splitlines()} == {"lo"}
    ask = "python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' /var/lib/wharf/"
    variables = server.check_output("docker inspect --format '{{json .Config.Env}}' registry")
    socket = re.search("REGISTRY_HTTP_ADDR=/wharf/(sockets/[ab].sock)", variables)[1]
    assert server.run(ask + socket).rc == 0
    assert "Permission denied" in server.run(f"runuser -u nobody -- {ask}{socket}").stderr


@pytest.mark.parametrize(("container", "program"), {"registry": "docker-registry", "registry-gateway": "nginx"}.items())
def test_image_holds_no_program_but_its_own(hosts, container, program):
    """So that whatever works here works with an image without a shell."""
    files = hosts["server"].check_output(f"docker export {container} | tar -t | grep -v '/$'").split()
    programs = [Path(file).name for file in files if "bin/" in file]
    assert programs == [program]


def started(server) -> str:
    """Return since when the registry's containers run."""
    return server.check_output(f"docker inspect --format '{{{{.Id}}}} {{{{.State.StartedAt}}}}' {' '.join(CONTAINERS)}")


def test_engine_restart_keeps_the_registry_running(hosts, image, password):
    server = hosts["server"]
    log_in(hosts["client1"], password)
    digest = push(hosts["client1"], image)
    before = started(server)
    server.check_output("systemctl restart docker")
    assert started(server) == before
    log_in(hosts["client2"], password)
    pull(hosts["client2"], image, digest)


def test_data_survives_removal_of_the_container(hosts, ansible, image, password):
    for name in ("client1", "client2"):
        log_in(hosts[name], password)
    replace_container(hosts["server"], hosts["client1"], hosts["client2"], ansible, image)


def test_user_comes_and_goes_without_a_restart(hosts, ansible):
    before = started(hosts["server"])
    secret = "a-passphrase-of-nobody-0123456789"
    users = {"wharf_registry_users": [{"name": "ci"}, {"name": "dev", "password": secret}]}
    ansible.succeeds("playbooks/deploy-registry.yml", **users)
    log_in(hosts["client2"], secret, "dev")

    ansible.succeeds("playbooks/deploy-registry.yml")
    refused = hosts["client2"].run(login(secret, "dev"))
    assert "401 Unauthorized" in refused.stderr
    assert started(hosts["server"]) == before


def test_changed_configuration_takes_effect_and_a_bad_one_does_not(hosts, ansible):
    server = hosts["server"]
    before = started(server)
    bad = ansible.fails(
        "playbooks/deploy-registry.yml", registry_server_config={"middleware": {"registry": [{"name": "no-such"}]}}
    )
    assert "no registry middleware registered with name: no-such" in bad.stdout
    assert "All is as it was before" in bad.stdout
    assert started(server) == before
    assert "no-such" not in server.file("/etc/wharf/registry/config.yml").content_string

    ansible.succeeds("playbooks/deploy-registry.yml", registry_server_config={"log": {"level": "debug"}})
    assert "level=debug" in server.run("docker logs registry").stderr
    # Nobody was interrupted: the gateway is the one that was there.
    kept = [line for line in started(server).splitlines() if line in before]
    assert len(kept) == 2
    ansible.succeeds("playbooks/deploy-registry.yml")


def test_check_mode_on_finished_hosts_finds_nothing_to_do(ansible):
    result = ansible.succeeds("site.yml", "--check", "--diff")
    assert "changed: [" not in result.stdout


def test_user_id_that_belongs_to_somebody_is_refused(ansible):
    result = ansible.fails("site.yml", wharf_registry_uid=1)
    assert "registry_server_uid: 1 belongs to the user daemon on server" in result.stdout


def test_certificate_with_little_life_left_is_renewed_by_the_same_ca(hosts, ansible, image, password):
    server = hosts["server"]
    ca = server.file("/etc/wharf/ca/ca.crt").content_string
    serve_old_certificate(server)
    old = served_certificate(server)

    ansible.succeeds("playbooks/deploy-registry.yml")
    assert served_certificate(server) != old
    assert server.run("openssl x509 -noout -checkend $((390 * 86400)) -in /etc/wharf/tls/registry.crt").rc == 0
    assert server.file("/etc/wharf/ca/ca.crt").content_string == ca
    # The clients, which have only the CA, need nothing.
    log_in(hosts["client1"], password)
    push(hosts["client1"], image)


@pytest.mark.thorough
def test_roots_commands_may_lead_to_another_engine(hosts, ansible, image, password):
    """A context of root's, from a time when this host's engine was not the only one."""
    server, context = hosts["server"], "docker context create other --docker host=tcp://127.0.0.1:9"
    with ExitStack() as stack:
        for name in ("server", "client1", "client2"):
            away = f"{context} && docker context use other"
            stack.enter_context(broken(hosts[name], away, "docker context use default && docker context rm other"))
        assert "127.0.0.1:9" in server.run("docker ps").stderr
        old = served_certificate(server)
        server.check_output("wharf renew-certificate --now && wharf collect-garbage")
        assert served_certificate(server) != old
        server.check_output(
            "docker() { command docker --host unix:///run/docker.sock $@; };"
            f" docker rm --force {' '.join(CONTAINERS)} && docker image rm wharf-registry:distro wharf-gateway:distro"
        )
        ansible.succeeds("site.yml", "--skip-tags", "verify")
        assert ansible.succeeds("site.yml").changes == 0
    log_in(hosts["client1"], password)
    push(hosts["client1"], image)


def test_new_alias_gets_into_the_certificate(hosts, ansible):
    ansible.succeeds("playbooks/deploy-registry.yml", wharf_registry_aliases=["other.wharf.test"])
    hosts["server"].check_output(
        "openssl s_client -connect 127.0.0.1:5000 -verify_hostname other.wharf.test -verify_return_error"
        " -CAfile /etc/wharf/tls/ca.crt </dev/null"
    )


def test_run_without_changes_costs_few_tasks(tmp_path):
    """Counts what reached a host: the budget of a client and of the server."""
    counted = tmp_path / "tasks.json"
    counting = Ansible(
        ANSIBLE_CALLBACK_PLUGINS=str(PROJECT / "benchmarks/callback_plugins"),
        ANSIBLE_CALLBACKS_ENABLED="host_tasks",
        HOST_TASKS_FILE=str(counted),
    )
    counting.succeeds("site.yml", "--skip-tags=verify")
    tasks = json.loads(counted.read_text())
    assert {name: host["changed"] for name, host in tasks.items()} == {"server": 0, "client1": 0, "client2": 0}
    assert tasks["client1"]["tasks"] <= 12, tasks["client1"]["names"]
    assert tasks["server"]["tasks"] <= 25, tasks["server"]["names"]


def test_data_survives_a_reboot_of_the_host(hosts, image, password):
    log_in(hosts["client1"], password)
    digest = push(hosts["client1"], image)
    from_outside("restart", container("server"))
    wait_until(hosts["client2"], login(password), 60)  # the registry comes back by itself
    pull(hosts["client2"], image, digest)


def test_smoke_test_left_nothing_in_the_registry(hosts):
    storage = "/var/lib/wharf/registry/docker/registry/v2"
    assert not hosts["server"].file(f"{storage}/repositories/wharf-verify").exists

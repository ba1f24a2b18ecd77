"""Other systems than Debian: Ubuntu, one like RHEL with dnf, and one that nobody knows."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager

import pytest
from clients import REGISTRY, log_in, make_image, pull, push
from machines import broken, container, put_back, snapshot, write
from plays import Ansible, write_play

INSTALL = "playbooks/install-docker.yml"
DEPLOY = "playbooks/deploy-registry.yml"
UBUNTU = {"ubuntu22": "22.04", "ubuntu24": "24.04", "ubuntu26": "26.04"}
REDHAT = ["--limit", "redhat"]
MIRROR = "http://localhost:8000"
SOURCE = "/etc/yum.repos.d/wharf-docker.repo"


def versions(host) -> dict[str, str]:
    """Return the versions of Docker's packages that rpm knows."""
    listed = host.check_output("rpm --query --all --queryformat '%{NAME} %{VERSION}\\n'").splitlines()
    return {name: version for name, version in map(str.split, listed) if name.startswith(("docker", "containerd"))}


# All of them ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UBUNTU)
def test_ubuntu_is_real_and_has_its_own_engine(hosts, name):
    assert f'VERSION_ID="{UBUNTU[name]}"' in hosts[name].file("/etc/os-release").content_string
    assert hosts[name].package("docker.io").is_installed
    assert hosts[name].service("docker").is_enabled


@pytest.mark.parametrize("puller", ["ubuntu22", "redhat", "unknown"])
def test_an_image_moves_from_system_to_system(hosts, password, puller):
    image = f"{REGISTRY}/test/{puller}:1"
    make_image(hosts["ubuntu26"], image)
    for name in ("ubuntu26", puller):
        log_in(hosts[name], password)
    pull(hosts[puller], image, push(hosts["ubuntu26"], image))


def test_check_mode_on_finished_hosts_has_nothing_to_do(ansible):
    result = ansible.succeeds("site.yml", "--check", "--skip-tags", "verify")
    assert result.changes == 0
    # Once, however many tasks there are.
    assert result.stdout.count("experimental on this system") == 1


# Like RHEL, imitated --------------------------------------------------------------------------------------------------


def test_dnf_has_installed_what_is_pinned_and_does_not_upgrade_it(hosts):
    host = hosts["redhat"]
    engine = {"docker-ce": "26.1.4", "docker-ce-cli": "26.1.4"}
    assert versions(host) == engine | {"containerd.io": "1.7.99", "docker-buildx-plugin": "0.99.0"}
    assert "docker-ce" not in host.run("dnf --assumeno upgrade").stdout
    assert "live-restore" in host.file("/etc/docker/daemon.json").content_string
    assert host.service("docker").is_enabled


def test_others_entries_for_docker_s_packages_are_gone_and_other_peoples_stay(hosts):
    host = hosts["redhat"]
    assert not host.file("/etc/yum.repos.d/docker-ce.repo").exists
    assert host.file("/etc/yum.repos.d/mixed.repo").content_string.startswith("# Of the company.\n[company]\n")


def test_the_system_s_store_of_red_hat_has_the_ca(hosts):
    ask = f"import urllib.request as u; u.urlopen('https://{REGISTRY}/health')"
    hosts["redhat"].check_output(f'python3 -c "{ask}"')
    assert hosts["ubuntu22"].run(f'python3 -c "{ask}"').rc != 0


def test_a_newer_pin_upgrades_and_an_older_one_is_refused_and_can_be_allowed(hosts, ansible):
    host = hosts["redhat"]
    ansible.succeeds(INSTALL, *REDHAT, docker_engine_version="26.1.5")
    assert versions(host)["docker-ce"] == versions(host)["docker-ce-cli"] == "26.1.5"
    assert "(deleted)" not in host.check_output("readlink /proc/$(cat /run/docker.pid)/exe")
    assert "excludepkgs=docker-ce docker-ce-cli\n" in host.file(SOURCE).content_string
    before = snapshot(host)
    refused = ansible.fails(INSTALL, *REDHAT)
    assert "the engine here is 26.1.5 (docker-ce), and 26.1.4 is older" in refused.stdout
    assert snapshot(host) == before
    ansible.succeeds(INSTALL, *REDHAT, docker_engine_allow_downgrade=True)
    assert versions(host)["docker-ce"] == "26.1.4"
    assert ansible.succeeds(INSTALL, *REDHAT).changes == 0


DISTRO = {
    "docker_engine_source": "distro",
    "docker_engine_version": "",
    "docker_engine_repository_url": "",
    "docker_engine_repository_key_fingerprint": "",
}
MISTAKES = {
    "wrong": ({"docker_engine_repository_url": f"{MIRROR}/wrong"}, "fingerprint names"),
    "forged": ({"docker_engine_repository_url": f"{MIRROR}/forged"}, "is not signed by the key"),
    "missing": ({"docker_engine_repository_url": f"{MIRROR}/missing"}, "no repository of this host holds docker-ce"),
    "nowhere": ({"docker_engine_repository_url": f"{MIRROR}/nowhere"}, "its key cannot be fetched from"),
    "version": ({"docker_engine_version": "99.1"}, "use one that they hold: 26.1.5, 26.1.4"),
    "channel": ({"docker_engine_channel": "test"}, "The repository must hold this release, 9"),
    "distro": (DISTRO, "AlmaLinux 9.6: use docker_ce, or none"),
}


@pytest.mark.thorough
def test_what_cannot_work_is_refused_before_anything_changes(hosts, ansible):
    before = snapshot(hosts["redhat"])
    for mistake, words in MISTAKES.values():
        variables = {"docker_engine_version": "26.1.5"} | mistake
        assert words in ansible.fails("playbooks/validate.yml", *REDHAT, **variables).stdout.replace("''", "'")
    assert snapshot(hosts["redhat"]) == before


def test_packages_in_the_way_are_named(hosts, ansible):
    """Fedora's own engine, of which rpm knows only the name here."""
    host = hosts["redhat"]
    specification = "Name: moby-engine\nVersion: 1\nRelease: 1\nLicense: none\nSummary: x\n%description\nx\n%files\n"
    write(host, "/root/m.spec", specification)
    host.check_output("rpmbuild --quiet -bb --define '_rpmdir /root' /root/m.spec")
    with broken(host, "rpm --install /root/*/moby-engine-*.rpm", "rpm --erase moby-engine"):
        result = ansible.fails(INSTALL, *REDHAT, docker_engine_version="26.1.5")
        assert "moby-engine is installed here" in result.stdout
        assert "dnf remove moby-engine" in result.stdout


# A system that nobody knows -------------------------------------------------------------------------------------------


def test_a_system_that_is_not_known_takes_no_source_but_none(ansible):
    result = ansible.fails(INSTALL, "--limit", "unknown", **DISTRO)
    assert "which the role does not know for this host's system, Own Linux 7: use none" in result.stdout


def test_what_is_missing_there_is_named(hosts, ansible, tmp_path):
    play = write_play(tmp_path, "unknown", "docker_engine", {"docker_engine_extra_packages": ["openssl"]})
    with broken(hosts["unknown"], "mv /usr/bin/openssl /usr/bin/o", "mv /usr/bin/o /usr/bin/openssl"):
        result = ansible.fails(play)
    assert "openssl: is not on this host, and the role knows no packages of its system, Own Linux 7" in result.stdout


@pytest.mark.parametrize("name", ["redhat", "unknown"])
@pytest.mark.thorough
def test_a_server_without_apt_serves_an_image_from_a_file(hosts, ansible, tmp_path, name):
    """A whole deployment on one host, removed again. First the source that needs apt is refused."""
    host, archive, inventory = hosts[name], tmp_path / "images.tar", tmp_path / "hosts.json"
    saved = ["docker", "exec", container("ubuntu24"), "docker", "save", "wharf-registry:distro", "wharf-gateway:distro"]
    archive.write_bytes(subprocess.run(saved, check=True, capture_output=True).stdout)
    reached = {
        "ansible_connection": "community.docker.docker",
        "ansible_host": container(name),
        "ansible_become": False,
    }
    variables = {
        "docker_engine_source": "none",
        "wharf_registry_name": "localhost",
        "wharf_registry_users": [{"name": "ci"}],
        "wharf_registry_image_source": "archive",
        "wharf_registry_image_archive": str(archive),
    }
    groups = {group: {"hosts": {name: reached}} for group in ("registry_servers", "registry_clients")}
    inventory.write_text(json.dumps({"all": {"vars": variables, "children": groups}}))
    alone = Ansible(str(inventory))
    before = snapshot(host)
    built = {"wharf_registry_image_source": "distro", "wharf_registry_image_archive": ""}
    refused = alone.fails("playbooks/validate.yml", **built)
    assert f"but {name} has no apt-get: use pull or archive" in refused.stdout
    assert snapshot(host) == before
    # Without a source of its own dnf has no need for the repository.
    with put_back(host, "/etc/yum.repos.d", "/etc/pki/rpm-gpg"):
        try:
            alone.succeeds("site.yml")
            assert alone.succeeds("site.yml", "--skip-tags", "verify").changes == 0
            assert host.check_output("systemctl is-enabled wharf-renew-certificate.timer") == "enabled"
            host.check_output("/usr/local/sbin/wharf status")
        finally:
            alone.succeeds("playbooks/remove-registry.yml", wharf_remove_data=True, wharf_remove_confirm="localhost")


# The firewall of a real Ubuntu ----------------------------------------------------------------------------------------

NFTABLES = """flush ruleset
table inet filter {
  chain input { type filter hook input priority filter; policy drop; iif lo accept; ct state established accept; }
  chain forward { type filter hook forward priority filter; policy drop; ct state established,related accept; }
}
"""
DOCKER_USER = """*filter
:ufw-user-forward - [0:0]
:DOCKER-USER - [0:0]
-A DOCKER-USER -j ufw-user-forward
-A DOCKER-USER -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -d 172.17.0.0/16 -j DROP
-A DOCKER-USER -j RETURN
COMMIT
"""
RESTART = "systemctl reset-failed docker && systemctl restart docker"


@pytest.fixture(scope="module")
def server(hosts):
    """Return the server with the firewalls' packages, none of which is on."""
    server = hosts["ubuntu24"]
    server.check_output(
        "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update &&"
        " apt-get -qq --no-install-recommends install firewalld ufw nftables >/dev/null &&"
        " systemctl disable --quiet --now firewalld ufw nftables"
    )
    return server


def reaches(client) -> bool:
    """Tell whether a client reaches the registry."""
    ask = f"import socket; socket.create_connection(('{REGISTRY.partition(':')[0]}', 5000), timeout=2)"
    return client.run(f'python3 -c "{ask}"').rc == 0


@contextmanager
def firewall(server, start: str, stop: str):
    """Have a firewall, with the engine started after it as at boot, and none afterwards."""
    with broken(server, f"{start} && {RESTART}", f"{stop}; {RESTART}"):
        yield


def is_opened_and_taken_back(server, client, ansible, words: str) -> None:
    """Assert that the firewall blocks, and that runs tell it, open it, and close it again."""
    assert not reaches(client)
    told = ansible.succeeds(DEPLOY)
    assert f"no client gets through: {words}" in told.stdout
    assert told.changes == 0
    before = server.check_output("cat /etc/nftables.conf; grep -v '^#' /etc/ufw/user.rules")
    assert ansible.succeeds(DEPLOY, "--check", wharf_manage_firewall=True).changes == 1
    assert not reaches(client)
    opened = ansible.succeeds(DEPLOY, wharf_manage_firewall=True)
    assert reaches(client)
    assert "no client gets through" not in opened.stdout
    assert ansible.succeeds(DEPLOY, wharf_manage_firewall=True).changes == 0
    ansible.succeeds(DEPLOY)
    assert not reaches(client)
    assert server.check_output("cat /etc/nftables.conf; grep -v '^#' /etc/ufw/user.rules") == before


@pytest.mark.thorough
def test_nftables_that_drops_what_is_forwarded(server, hosts, ansible):
    with put_back(server, "/etc/nftables.conf"):
        write(server, "/etc/nftables.conf", NFTABLES)
        with firewall(server, "systemctl start nftables", "systemctl stop nftables; nft flush ruleset"):
            words = "the chain inet filter forward of nftables drops what goes to port 5000"
            is_opened_and_taken_back(server, hosts["ubuntu22"], ansible, words)
            # It holds after a boot, when nftables comes first.
            ansible.succeeds(DEPLOY, wharf_manage_firewall=True)
            server.check_output(f"systemctl restart nftables && {RESTART}")
            assert reaches(hosts["ubuntu22"])
            ansible.succeeds(DEPLOY)


def test_ufw_as_it_comes_lets_the_registry_pass_and_is_left_alone(server, hosts, ansible):
    with firewall(server, "ufw --force enable && ufw default deny routed", "ufw --force disable; nft flush ruleset"):
        assert reaches(hosts["ubuntu22"])
        before = server.file("/etc/ufw/user.rules").content_string
        assert ansible.succeeds(DEPLOY, wharf_manage_firewall=True).changes == 0
        assert server.file("/etc/ufw/user.rules").content_string == before


@pytest.mark.thorough
def test_ufw_before_docker_s_rules(server, hosts, ansible):
    """As ufw-docker sets it up."""
    with put_back(server, "/etc/ufw"):
        after = server.file("/etc/ufw/after.rules").content_string
        write(server, "/etc/ufw/after.rules", after + DOCKER_USER)
        with firewall(server, "ufw --force enable", "ufw --force disable; nft flush ruleset"):
            is_opened_and_taken_back(server, hosts["ubuntu22"], ansible, "ufw drops what goes to port 5000")


def test_firewalld_as_it_comes_lets_the_registry_pass(server, hosts, ansible):
    with firewall(server, "systemctl start firewalld", "systemctl stop firewalld; nft flush ruleset"):
        assert "public" in server.check_output("firewall-cmd --get-default-zone")
        assert reaches(hosts["ubuntu22"])
        assert ansible.succeeds(DEPLOY, wharf_manage_firewall=True).changes == 0

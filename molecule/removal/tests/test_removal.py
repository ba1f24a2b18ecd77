"""A registry goes: nothing is left on the hosts but what is to stay, and it comes back on its data."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import pytest
from clients import REGISTRY, make_image, pull, push
from machines import PREPARED, PROJECT, lock_held, program
from plays import INVENTORY, Run

NEEDING = ["collect-garbage", "trust-registry"]


def look(host) -> set[str]:
    """Return what is on a host, as lines of text."""
    return set(host.check_output(program(host, "look.sh")).splitlines())


def before(name: str) -> set[str]:
    """Return what was on a host before Wharf came."""
    return set((PREPARED / f"{name}.before").read_text().splitlines())


class Story(NamedTuple):
    """What was seen while the registry went and came back."""

    after: dict[str, set[str]]  # what was on each host when it had gone
    daemon_json: dict  # of client1, when it had gone
    logins: dict[str, dict]  # of each host, when it had gone
    again: Run
    needing: dict[str, Run]  # playbooks that need the registry, without it
    authorities: tuple[str, str]  # the CA that was left, and the one of the registry that came back


@pytest.fixture(scope="module")
def story(hosts, ansible) -> Story:
    """Push an image, remove the registry, do what can be done without it, deploy it again, and pull the image."""
    server, client = hosts["server"], hosts["client1"]
    image = f"{REGISTRY}/test/removal:1"
    make_image(client, image)
    digest = push(client, image)
    client.check_output(f"docker image rm {image}")
    pull(server, image, digest)
    assert server.file(f"/etc/ssl/certs/wharf-{REGISTRY.replace(':', '_')}_1.pem").exists

    ansible.succeeds("playbooks/remove-registry.yml")
    both = {name: hosts[name] for name in ("server", "client1")}
    after = {name: look(host) for name, host in both.items()}
    daemon_json = json.loads(client.check_output("cat /etc/docker/daemon.json"))
    logins = {name: json.loads(host.check_output("cat /root/.docker/config.json")) for name, host in both.items()}
    again = ansible("playbooks/remove-registry.yml")
    needing = {name: ansible(f"playbooks/{name}.yml") for name in NEEDING}

    ca = server.check_output("sha256sum </etc/wharf/ca/ca.crt")
    ansible.succeeds("site.yml")
    authorities = ca, server.check_output("sha256sum </etc/wharf/tls/ca.crt")
    pull(client, image, digest)
    return Story(after, daemon_json, logins, again, needing, authorities)


# Before -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("confirmed", [{}, {"wharf_remove_confirm": "registry"}])
def test_deleting_without_the_name_is_refused(hosts, ansible, confirmed):
    there = look(hosts["server"])
    result = ansible.fails("playbooks/remove-registry.yml", wharf_remove_data=True, **confirmed)
    assert "wharf_remove_confirm: must be the name of the registry" in result.stdout
    assert look(hosts["server"]) == there


def test_removal_waits_for_what_is_at_work(hosts, ansible):
    with lock_held(hosts["server"]):
        result = ansible.fails("playbooks/remove-registry.yml")
    assert "collect-garbage is at work on server since" in result.stdout
    assert "PLAY [Trust the registry no longer]" not in result.stdout


def test_check_mode_says_what_goes_and_changes_nothing(hosts, ansible):
    hosts["server"].check_output("wharf collect-garbage")  # which leaves a line on how it ended
    there = {name: look(hosts[name]) for name in ("server", "client1")}
    result = ansible.succeeds("playbooks/remove-registry.yml", "--check")
    things = [
        "container registry",
        "container registry-gateway",
        "container registry-network",
        "image wharf-registry:distro",
        "image wharf-gateway:distro",
        "/etc/wharf/registry",
        "/etc/wharf/gateway",
        "/var/lib/wharf/sockets",
        "/usr/local/sbin/wharf",
    ]
    things += ["/etc/systemd/system/wharf-collect-garbage.timer", "/var/lib/wharf/results"]
    for thing in things:
        assert thing in result.stdout
    # client1 alone trusts another one, so that the server's engine gives up what Wharf told it.
    assert result.stdout.count("Still here, of other registries: ") == 1
    assert "Still here, of other registries: registry_client other.wharf.test:5000 in daemon.json" in result.stdout
    assert "The engine gives log-driver, log-opts up" in result.stdout
    assert {name: look(hosts[name]) for name in there} == there


# Without the registry -----------------------------------------------------------------------------


def test_removal_leaves_the_hosts_as_they_were(story):
    server = {name for name in story.after["server"] if "/var/lib/wharf" not in name and "/etc/wharf" not in name}
    assert server - before("server") == {line for line in server if line.startswith("/root/.docker")}
    assert before("server") - server == set()
    own = re.compile("/var/lib/wharf/(sockets|index|metrics|results)")
    assert [line for line in story.after["server"] if own.match(line)] == []


def test_client_keeps_the_other_registry(story):
    after = story.after["client1"]
    gone, new = before("client1") - after, after - before("client1")
    assert all("/etc/docker/daemon.json" in line or "daemon.json.record" in line for line in gone), gone
    assert all(word in "".join(new) for word in ("daemon.json", "daemon.json.record"))
    assert {line.split()[0] for line in new} <= {
        "/etc/docker/daemon.json", "/var/lib/wharf/daemon.json.record", "/root/.docker/", "/root/.docker/config.json"
    }  # fmt: skip
    assert story.daemon_json["insecure-registries"] == ["other.wharf.test:5000"]


def test_nobody_is_logged_in_any_more(story):
    assert [login.get("auths", {}) for login in story.logins.values()] == [{}, {}]


def test_second_removal_changes_nothing(story):
    assert story.again.returncode == 0, story.again.stdout
    assert "changed: [" not in story.again.stdout


@pytest.mark.parametrize("playbook", NEEDING)
def test_what_needs_the_registry_says_how_to_get_it_back(story, playbook):
    assert story.needing[playbook].returncode != 0
    assert "run playbooks/deploy-registry.yml first" in story.needing[playbook].stdout


# And with it again --------------------------------------------------------------------------------


def test_registry_comes_back_on_its_data_with_its_ca(story):
    assert story.authorities[0] == story.authorities[1]


def test_smoke_test_does_without_a_client_that_an_earlier_play_could_not_reach(ansible, tmp_path):
    away = {"ansible_host": "192.0.2.1", "ansible_connection": "ssh", "ansible_timeout": 2}
    (tmp_path / "away.json").write_text(json.dumps({"registry_clients": {"hosts": {"away": away}}}))
    plays = [{"hosts": "registry_clients", "gather_subset": ["min"]}]
    plays += [{"import_playbook": str(PROJECT / "playbooks/verify-registry.yml")}]
    (tmp_path / "play.yml").write_text(json.dumps(plays))
    # Before the others, as the first client pushes.
    result = ansible(str(tmp_path / "play.yml"), "-i", str(tmp_path / "away.json"), "-i", INVENTORY)
    assert "'away not verified: it cannot be reached'" in result.stdout
    assert "client1 pushed sha256:" in result.stdout
    assert "failed=0" in result.stdout.partition("PLAY RECAP")[2].partition("client1 :")[2].partition("server :")[0]


def test_everything_goes_when_the_name_is_given(hosts, ansible):
    confirmed = ("-e", "wharf_remove_data=true", "-e", "wharf_remove_confirm=registry.wharf.test")
    ansible.succeeds("playbooks/remove-registry.yml", *confirmed)
    server = look(hosts["server"])
    # As it was, for the other tests.
    ansible.succeeds("site.yml", "--skip-tags", "verify")
    assert {line for line in server if "wharf" in line} <= before("server")
    assert before("server") - server == set()

"""A registry goes: nothing is left on the hosts but what is to stay, and it comes back on its data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import PROJECT, REGISTRY, pull, push

HERE = Path(__file__).resolve().parents[1]
SAVED: dict[str, str] = {}


def look(host) -> set[str]:
    """Return what is on a host, as lines of text."""
    return set(host.check_output((HERE / "look.sh").read_text()).splitlines())


def before(name: str) -> set[str]:
    """Return what was on a host before Wharf came."""
    return set((Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / f"{name}.before").read_text().splitlines())


def test_image_is_there_and_the_hosts_are_logged_in(hosts, image):
    SAVED[image] = push(hosts["client1"], image)
    pull(hosts["server"], image, SAVED[image])
    assert hosts["server"].file(f"/etc/ssl/certs/wharf-{REGISTRY.replace(':', '_')}_1.pem").exists


@pytest.mark.parametrize(
    "variables", [{"wharf_remove_data": True}, {"wharf_remove_data": True, "wharf_remove_confirm": "registry"}]
)
def test_deleting_without_the_name_is_refused(hosts, ansible, variables):
    there = look(hosts["server"])
    result = ansible("playbooks/remove-registry.yml", "-e", json.dumps(variables))
    assert result.returncode != 0
    assert "wharf_remove_confirm: must be the name of the registry" in result.stdout
    assert look(hosts["server"]) == there


def test_removal_waits_for_what_is_at_work(hosts, ansible):
    server = hosts["server"]
    server.check_output(
        "setsid sh -c 'cd /run/lock; exec 9>>wharf-registry.lock; flock 9; echo collect-garbage >wharf-registry.lock;"
        " echo $$ >/tmp/holder; exec sleep 60' >/dev/null 2>&1 & sleep 0.5"
    )
    result = ansible("playbooks/remove-registry.yml")
    server.check_output("kill $(cat /tmp/holder); rm /tmp/holder")
    assert result.returncode != 0
    assert "collect-garbage is at work on the registry" in result.stdout
    assert "PLAY [Trust the registry no longer]" not in result.stdout


def test_check_mode_says_what_goes_and_changes_nothing(hosts, ansible):
    hosts["server"].check_output("wharf collect-garbage")  # which leaves a line on how it ended
    there = {name: look(hosts[name]) for name in ("server", "client1")}
    result = ansible("playbooks/remove-registry.yml", "--check")
    assert result.returncode == 0, result.stdout
    things = ["container registry", "image wharf-registry:distro", "/etc/wharf/registry", "/usr/local/sbin/wharf"]
    things += ["/etc/systemd/system/wharf-collect-garbage.timer", "/var/lib/wharf/results"]
    for thing in things:
        assert thing in result.stdout
    # client1 alone trusts another one, so that the server's engine gives up what Wharf told it.
    assert result.stdout.count("Still here, of other registries: ") == 1
    assert "Still here, of other registries: registry_client other.wharf.test:5000 in daemon.json" in result.stdout
    assert "The engine gives log-driver, log-opts up" in result.stdout
    assert {name: look(hosts[name]) for name in there} == there


def test_removal_leaves_the_hosts_as_they_were(hosts, ansible):
    result = ansible("playbooks/remove-registry.yml")
    assert result.returncode == 0, result.stdout
    server = {name for name in look(hosts["server"]) if "/var/lib/wharf" not in name and "/etc/wharf" not in name}
    assert server - before("server") == {line for line in server if line.startswith("/root/.docker")}
    assert before("server") - server == set()


def test_client_keeps_the_other_registry(hosts):
    after = look(hosts["client1"])
    gone, new = before("client1") - after, after - before("client1")
    assert all("/etc/docker/daemon.json" in line or "daemon.json.record" in line for line in gone), gone
    assert all(word in "".join(new) for word in ("daemon.json", "daemon.json.record"))
    assert {line.split()[0] for line in new} <= {
        "/etc/docker/daemon.json", "/var/lib/wharf/daemon.json.record", "/root/.docker/", "/root/.docker/config.json"
    }  # fmt: skip
    config = json.loads(hosts["client1"].check_output("cat /etc/docker/daemon.json"))
    assert config["insecure-registries"] == ["other.wharf.test:5000"]


def test_nobody_is_logged_in_any_more(hosts):
    for name in ("server", "client1"):
        auths = json.loads(hosts[name].check_output("cat /root/.docker/config.json")).get("auths", {})
        assert auths == {}


def test_second_removal_changes_nothing(ansible):
    result = ansible("playbooks/remove-registry.yml")
    assert result.returncode == 0, result.stdout
    assert "changed: [" not in result.stdout


@pytest.mark.parametrize("playbook", ["collect-garbage", "apply-retention", "renew-certificates", "trust-registry"])
def test_what_needs_the_registry_says_how_to_get_it_back(ansible, playbook):
    rules = json.dumps({"wharf_retention": [{"repositories": ".*", "keep_newest": 1}]})
    result = ansible(f"playbooks/{playbook}.yml", "-e", rules)
    assert result.returncode != 0
    assert "run playbooks/deploy-registry.yml first" in result.stdout


def test_registry_comes_back_on_its_data_with_its_ca(hosts, ansible):
    server = hosts["server"]
    ca = server.check_output("sha256sum </etc/wharf/ca/ca.crt")
    result = ansible("site.yml")
    assert result.returncode == 0, result.stdout
    assert server.check_output("sha256sum </etc/wharf/tls/ca.crt") == ca
    for image, digest in SAVED.items():
        pull(hosts["client1"], image, digest)


def test_proof_does_without_a_client_that_an_earlier_play_could_not_reach(ansible, tmp_path):
    away = {"ansible_host": "192.0.2.1", "ansible_connection": "ssh", "ansible_timeout": 2}
    (tmp_path / "away.json").write_text(json.dumps({"registry_clients": {"hosts": {"away": away}}}))
    plays = [{"hosts": "registry_clients", "gather_subset": ["min"]}]
    plays += [{"import_playbook": str(PROJECT / "playbooks/verify-registry.yml")}]
    (tmp_path / "play.yml").write_text(json.dumps(plays))
    # Before the others, as the first client pushes.
    inventories = ["-i", str(tmp_path / "away.json"), "-i", os.environ["MOLECULE_INVENTORY_FILE"]]
    result = ansible(str(tmp_path / "play.yml"), *inventories)
    assert "'away not verified: it cannot be reached'" in result.stdout
    assert "client1 pushed sha256:" in result.stdout
    assert "failed=0" in result.stdout.partition("PLAY RECAP")[2].partition("client1 :")[2].partition("server :")[0]


def test_everything_goes_when_the_name_is_given(hosts, ansible):
    result = ansible(
        "playbooks/remove-registry.yml",
        "-e",
        "wharf_remove_data=true",
        "-e",
        "wharf_remove_confirm=registry.wharf.test",
    )
    assert result.returncode == 0, result.stdout
    server = look(hosts["server"])
    assert {line for line in server if "wharf" in line} <= before("server")
    assert before("server") - server == set()
    # As it was, for the next verification on the same hosts.
    assert ansible("site.yml", "--skip-tags", "prove").returncode == 0

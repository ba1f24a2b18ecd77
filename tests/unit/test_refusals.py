"""site.yml itself refuses bad input, in one clear line for each mistake, before it talks to any host.

One run for many: each host of the inventory makes one mistake, and the hosts do not exist, so that a run that reached
for one would say so.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
STRONG = "kD8-xQ2_vLm4Rt7Zp1Wc"
GOOD = {"wharf_registry_name": "registry.example.com", "wharf_registry_users": [{"name": "ci", "password": STRONG}]}
OPEN = {"wharf_registry_trust": "insecure", "wharf_registry_users": [], "wharf_registry_anonymous": True}
PROVIDED = {"wharf_registry_trust": "provided"}

# What is said in the inventory (None takes a fact away), and what the line must hold.
MISTAKES = {
    "no-name": ({"wharf_registry_name": None}, "wharf_registry_name: is missing"),
    "scheme": ({"wharf_registry_name": "https://reg.test"}, "wharf_registry_name: 'https://reg.test' has a scheme"),
    "path": ({"wharf_registry_name": "reg.test/team"}, "wharf_registry_name: 'reg.test/team' has a path"),
    "port-in-name": ({"wharf_registry_name": "reg.test:5000"}, "wharf_registry_name: 'reg.test:5000' has a port"),
    "upper-case": ({"wharf_registry_name": "Reg.test"}, "wharf_registry_name: 'Reg.test' has upper case letters"),
    "port-0": ({"wharf_registry_port": 0}, "wharf_registry_port: 0 is not a TCP port"),
    "port-70000": ({"wharf_registry_port": 70000}, "wharf_registry_port: 70000 is not a TCP port"),
    "port-text": ({"wharf_registry_port": "http"}, "wharf_registry_port: is of type str"),
    "trust": ({"wharf_registry_trust": "letsencrypt"}, "wharf_registry_trust: 'letsencrypt' is unknown"),
    "users-insecure": ({"wharf_registry_trust": "insecure"}, "wharf_registry_users: users need TLS"),
    "colon": ({"wharf_registry_users": [{"name": "a:b", "password": STRONG}]}, "has a colon"),
    "empty-user": ({"wharf_registry_users": [{"name": "", "password": STRONG}]}, "wharf_registry_users: user 1"),
    "double-user": ({"wharf_registry_users": [{"name": "a"}, {"name": "a"}]}, "twice"),
    "empty-password": ({"wharf_registry_users": [{"name": "a", "password": ""}]}, "empty"),
    "long-password": ({"wharf_registry_users": [{"name": "a", "password": "kD8xQ2vLm4" * 8}]}, "72"),
    "weak-password": ({"wharf_registry_users": [{"name": "a", "password": "secret"}]}, "20 characters"),
    "nobody": ({"wharf_registry_users": []}, "wharf_registry_anonymous"),
    "no-certificate": (PROVIDED, "wharf_registry_certificate: is missing"),
    "missing-file": (
        PROVIDED | dict.fromkeys(["wharf_registry_certificate", "wharf_registry_key", "wharf_registry_ca"], "/no/file"),
        "wharf_registry_certificate: '/no/file'",
    ),
    "no-pem": (PROVIDED | {"wharf_registry_ca": str(PROJECT / "site.yml")}, "wharf_registry_ca: "),
    "no-archive": ({"wharf_registry_image_source": "archive"}, "wharf_registry_image_archive: is missing"),
    "bad-archive": (
        {"wharf_registry_image_source": "archive", "wharf_registry_image_archive": str(PROJECT / "site.yml")},
        "wharf_registry_image_archive: ",
    ),
    "image-source": ({"wharf_registry_image_source": "hub"}, "wharf_registry_image_source: 'hub' is unknown"),
    "unpinned": ({"wharf_registry_image": "registry:latest"}, "wharf_registry_image: 'registry:latest' is not pinned"),
    "data": ({"wharf_registry_data": "/var/lib"}, "wharf_registry_data: '/var/lib' is a directory of the system"),
    "login-of-nobody": (
        {"wharf_registry_logins": [{"user": "root", "name": "x"}]},
        "wharf_registry_logins: login 1 ('root') logs in as 'x', whom the registry does not know",
    ),
    "tool": ({"wharf_client_tools": ["docker", "rkt"]}, "wharf_client_tools: 'rkt' is unknown: use auto, or"),
    "tools-text": ({"wharf_client_tools": "docker"}, "wharf_client_tools: 'docker' is not a list: use auto, or"),
    "tools-none": ({"wharf_client_tools": []}, "wharf_client_tools: is an empty list"),
    "insecure-store": (
        OPEN | {"wharf_client_system_store": True},
        "wharf_client_system_store: is true, but wharf_registry_trust is insecure",
    ),
    "former": (
        {"wharf_registry_previous_names": ["old"]},
        "wharf_registry_previous_names: item 1, 'old' is not NAME:PORT",
    ),
    "former-present": (
        {"wharf_registry_previous_names": ["registry.example.com:5000"]},
        "wharf_registry_previous_names: item 1, 'registry.example.com:5000' is what the registry is called now",
    ),
    "backup-place": (
        {"wharf_backup_repository": "ftp://store/registry"},
        "wharf_backup_repository: 'ftp://store/registry' is no place for a backup",
    ),
    "backup-inside": (
        {"wharf_backup_repository": "/var/lib/wharf/registry/backup"},
        "wharf_backup_repository: '/var/lib/wharf/registry/backup' lies in what is backed up",
    ),
    "backup-password": ({"wharf_backup_password": "short"}, "wharf_backup_password: has 5 characters"),
    "backup-keep": ({"wharf_backup_keep": {"daily": 0}}, "wharf_backup_keep: daily: 0 cannot be kept"),
    "backup-schedule": ({"wharf_backup_schedule": "often"}, "wharf_backup_schedule: 'often' is unknown"),
    "backup-fetch": ({"wharf_backup_fetch_to": "copy"}, "wharf_backup_fetch_to: 'copy' is not a directory"),
    "hosts-file": ({"wharf_manage_hosts_file": "perhaps"}, "wharf_manage_hosts_file: "),
    "misspelt": ({"wharf_backup_shedule": "daily"}, "wharf_backup_shedule: is unknown: use wharf_backup_schedule"),
}

# What is wrong with the engine is told once the settings are right.
ENGINE_MISTAKES = {
    "engine-source": ({"docker_engine_source": "snap"}, "docker_engine_source: 'snap' is unknown"),
    "engine-channel": ({"docker_engine_channel": "nightly"}, "docker_engine_channel: 'nightly' is unknown"),
    "engine-version": ({"docker_engine_version": "latest"}, "docker_engine_version: 'latest' is no version"),
    "engine-repository": (
        {"docker_engine_repository_url": "mirror.test"},
        "docker_engine_repository_url: 'mirror.test' is no address",
    ),
    "engine-key": (
        {"docker_engine_repository_key_fingerprint": "0EBFCD88"},
        "docker_engine_repository_key_fingerprint: '0EBFCD88'",
    ),
    "engine-proxy": (
        {"docker_engine_http_proxy": f"ops:{STRONG}@proxy.test:3128"},
        "docker_engine_http_proxy: has no scheme",
    ),
}


def run(tmp_path: Path, inventory: dict) -> str:
    """Run site.yml with an inventory and return what it said, line breaks and runs of spaces folded."""
    file = tmp_path / "inventory.yml"
    file.write_text(yaml.safe_dump(inventory))
    result = subprocess.run(
        ["ansible-playbook", "-i", str(file), "site.yml"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert result.returncode != 0
    return " ".join(result.stdout.split())


def answers(tmp_path: Path, mistakes: dict[str, tuple[dict, str]]) -> dict[str, str]:
    """Return what a run with these mistakes said of each host."""
    hosts = {
        name: {k: v for k, v in (GOOD | facts).items() if v is not None} | {"ansible_host": "192.0.2.1"}
        for name, (facts, _) in mistakes.items()
    }
    inventory = {"registry_servers": {"hosts": {"server": GOOD}}, "registry_clients": {"hosts": hosts}}
    output = run(tmp_path, inventory)
    for trace in ("UNREACHABLE", "Gathering Facts", "changed: ["):
        assert trace not in output
    assert STRONG not in output
    recap = output.index("PLAY RECAP")
    if "(on " in output:  # all settings of all hosts are judged in one task
        lines = re.findall(r"(\w+: .*?) \(on ([^)]*)\)", output[output.index("fatal: [") : recap])
        return {host: " ".join(line for line, on in lines if host in on.split(", ")) for host in mistakes}
    parts = output[:recap].split("fatal: [")[1:]
    return {part.partition("]")[0]: part for part in parts}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what was said of each host that makes a mistake."""
    rounds = (answers(tmp_path_factory.mktemp("refusals"), mistakes) for mistakes in (MISTAKES, ENGINE_MISTAKES))
    return {host: words for answer in rounds for host, words in answer.items()}


@pytest.mark.parametrize("name", [*MISTAKES, *ENGINE_MISTAKES])
def test_mistake_is_named(said: dict[str, str], name: str) -> None:
    assert (MISTAKES | ENGINE_MISTAKES)[name][1] in said[name].replace("''", "'")


def test_host_without_a_mistake_is_stopped_too_but_not_blamed(said: dict[str, str]) -> None:
    assert set(said) == {*MISTAKES, *ENGINE_MISTAKES}


def test_deployment_without_a_server_is_refused(tmp_path: Path) -> None:
    output = run(tmp_path, {"registry_clients": {"hosts": {"client": GOOD | {"ansible_host": "192.0.2.1"}}}})
    assert "registry_servers: the group is empty" in output
    assert "UNREACHABLE" not in output


@pytest.mark.parametrize("inventory", ["example", "lab", "local"])
def test_the_inventories_that_we_ship_are_accepted(tmp_path: Path, inventory: str) -> None:
    play = tmp_path / "play.yml"
    play.write_text(f"- import_playbook: {PROJECT}/playbooks/validate-settings.yml\n")
    result = subprocess.run(
        ["ansible-playbook", "-i", f"inventories/{inventory}", str(play)],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Refuse settings that cannot work" in result.stdout

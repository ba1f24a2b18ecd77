"""Bad input: each wrong deployment is refused in one line, before any host is reached, and each right one is accepted.

The tables are wrong_deployments.yml and right_deployments.yml. Their inventories are read as Ansible reads them, and
judged by the filter that site.yml begins with. Some go through ansible-playbook itself, with hosts that do not exist: a
run that reached for one would say so.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ansible
import pytest
import yaml
from conftest import ROOT

from ansible_collections.wharf.registry.plugins.filter.settings_problems import settings_problems
from ansible_collections.wharf.registry.plugins.plugin_utils import deployment
from ansible_collections.wharf.registry.plugins.plugin_utils.deployment import warnings
from ansible_collections.wharf.registry.plugins.plugin_utils.specifications import specification
from tests.unit.inventories import GOOD, STRONG, read, written

WRONG = yaml.safe_load((ROOT / "tests/unit/wrong_deployments.yml").read_text("utf-8"))
RIGHT = yaml.safe_load((ROOT / "tests/unit/right_deployments.yml").read_text("utf-8"))


def problems(directory: Path, case: Mapping[str, Any]) -> list[str]:
    """Return what is wrong in the deployment of a case."""
    hostvars, groups = read(written(directory, case), case.get("extra"))
    members = [host for group in deployment.GROUPS for host in groups.get(group, [])]
    hosts = case.get("hosts", members)
    lines = settings_problems(
        hostvars, hosts, groups, case.get("limit", ""), case.get("needs", ()), case.get("extra", {})
    )
    return [line.replace(str(directory), "DIRECTORY") for line in lines]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_deployment_gets_one_line(name: str, tmp_path: Path) -> None:
    found = problems(tmp_path, WRONG[name])
    assert len(found) == 1 and "\n" not in found[0], found
    assert found[0].startswith(WRONG[name]["line"])
    assert ": " in found[0].partition(": ")[2], "it says what would be right"
    assert STRONG not in found[0]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_deployment_is_accepted(name: str, tmp_path: Path) -> None:
    assert problems(tmp_path, RIGHT[name]) == []


def test_the_tables_are_large() -> None:
    assert len(WRONG) >= 200 and len(RIGHT) >= 70


# What a table in YAML cannot say ----------------------------------------------------------------------------------

INI = """
[registry_servers]
server ansible_host=192.0.2.1

[registry_clients]
client1 ansible_host=192.0.2.2 wharf_manage_hosts_file=true

[all:vars]
wharf_registry_name=registry.corp.test
wharf_registry_port=443
wharf_registry_users=[{"name": "ci", "password": "kD8-xQ2_vLm4Rt7Zp1Wc"}]
wharf_registry_anonymous=false
wharf_client_system_store=yes
wharf_registry_data="/srv/registry"
docker_engine_replace=True
docker_engine_restart_throttle=2
"""


def test_an_inventory_in_ini_is_accepted(tmp_path: Path) -> None:
    """Its values are text, but for what Python reads as something else."""
    file = tmp_path / "hosts.ini"
    file.write_text(INI)
    hostvars, groups = read(str(file), {"wharf_delete_untagged": "true", "wharf_registry_bcrypt_cost": "5"})
    assert settings_problems(hostvars, ["server", "client1"], groups) == []


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("wharf_registry_port", "05000", "wharf_registry_port: 05000 is 2560 to YAML (octal): write 5000"),
        ("wharf_registry_port", "5:00", "wharf_registry_port: 5:00 is 300 to YAML (in sixties): write 500"),
        ("wharf_registry_uid", "0x7d0", "wharf_registry_uid: 0x7d0 is 2000 to YAML (hexadecimal): write 2000"),
    ],
)
@pytest.mark.parametrize("place", ["hosts.yml", "group_vars/all.yml"])
def test_a_number_that_yaml_reads_otherwise(tmp_path: Path, name: str, text: str, line: str, place: str) -> None:
    file = written(tmp_path, {})
    if place == "hosts.yml":
        Path(file).write_text(Path(file).read_text().replace("  vars:\n", f"  vars:\n    {name}:   {text} # so\n"))
    else:
        (tmp_path / "group_vars").mkdir()
        (tmp_path / place).write_text(f"{name}: {text}\n")
    hostvars, groups = read(file)
    found = settings_problems(hostvars, ["server", "client1", "client2"], groups)
    assert len(found) == 1 and found[0].startswith(line), found


def test_vaults_in_the_clear_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "group_vars/all/vault.yml": {"vault_password_ci": "in the clear"},
        "group_vars/elsewhere/vault.yml": "$ANSIBLE_VAULT;1.1;AES256\n6162\n",
        "group_vars/registry_servers/vault.yml": "a: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n",
        "group_vars/registry_clients/vault.yml": "a: \"{{ lookup('env', 'A') }}\"\n",
        "host_vars/server/vault.yml": "---\n",
    }
    found = problems(tmp_path, {"files": files})
    warned = "".join(capsys.readouterr().err.split())  # it is wrapped
    assert found == []
    assert warned.count("isnamedlikeavault,butisnotencrypted") == 1
    assert "group_vars/all/vault.ymlisnamed" in warned
    assert "intheclear" not in warned


# Through ansible-playbook -----------------------------------------------------------------------------------------

RUNS = [
    "name-with-scheme",
    "name-localhost-with-remote-clients",
    "name-not-templated",
    "port-only-for-the-server",
    "port-in-words",
    "users-as-mapping",
    "tools-unknown",
    "engine-options-underscore",
    "two-servers-on-files",
    "group-with-hyphen",
    "limit-to-a-stranger",
    "variables-of-a-misspelt-group",
    "every-run-wharf-allow-downgrade",
]


def run(inventory: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run site.yml with an inventory."""
    command = ["ansible-playbook", "-i", inventory, "site.yml", *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "COLUMNS": "80", "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Return the status and the output of a run for each of RUNS."""

    def output(name: str) -> tuple[int, str]:
        directory = tmp_path_factory.mktemp(name)
        limit = ["--limit", WRONG[name]["limit"]] if "limit" in WRONG[name] else []
        result = run(written(directory, WRONG[name]), *limit)
        return result.returncode, (result.stdout + result.stderr).replace(str(directory), "DIRECTORY")

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(RUNS, pool.map(output, RUNS), strict=True))


@pytest.mark.parametrize("name", RUNS)
def test_site_refuses_it_once_in_one_line_and_reaches_no_host(outputs: dict[str, tuple[int, str]], name: str) -> None:
    status, output = outputs[name]
    assert status != 0
    assert "UNREACHABLE" not in output and "Gathering Facts" not in output and "Validate the hosts" not in output
    line = WRONG[name]["line"].rstrip("'")
    assert [text for text in output.splitlines() if text.strip().startswith(line)], output
    assert output.count(line) == 1, output
    assert STRONG not in output


def test_no_variable_of_ansibles_own_plugins_is_refused() -> None:
    plugins = Path(ansible.__file__).parent.rglob("plugins/**/*.py")
    names = {name for file in plugins for name in re.findall(r"- name: (ansible_\w+)", file.read_text("utf-8"))}
    assert {"ansible_host", "ansible_sudo_pass"} <= names
    assert deployment._connection_problems({"server": dict.fromkeys(names, "")}) == []


def test_a_misspelt_tag_is_refused(tmp_path: Path) -> None:
    result = run(written(tmp_path, {}), "--tags", "always,instal", "--skip-tags", "Verify")
    for line in (
        "--tags: 'instal' is no tag of site.yml: use install",
        "--skip-tags: 'Verify' is no tag of site.yml: use ",
    ):
        assert result.stdout.count(line) == 1, result.stdout


def test_all_mistakes_are_told_in_one_run(tmp_path: Path) -> None:
    names = ["port-in-words", "data-tmp", "uid-root", "memory-mb", "engine-log-size", "backup-schedule-cron"]
    case = {"all": {key: value for name in names for key, value in WRONG[name]["all"].items()}}
    result = run(written(tmp_path, case))
    assert result.returncode
    assert [result.stdout.count(WRONG[name]["line"]) for name in names] == [1] * len(names), result.stdout


def test_a_right_deployment_goes_on_to_its_hosts(tmp_path: Path) -> None:
    """What the others are spared: here the hosts are asked."""
    unreachable = {
        name: {"ansible_ssh_common_args": "-o ConnectTimeout=1"} for name in ("server", "client1", "client2")
    }
    result = run(written(tmp_path, {"all": GOOD, **unreachable}), "-e", "wharf_allow_downgrade=true")
    assert "UNREACHABLE" in result.stdout and "Wrong in this deployment" not in result.stdout


@pytest.mark.parametrize("inventory", ["lab", "local", "example"])
def test_the_inventories_that_we_ship_are_right_but_for_the_examples_password(inventory: str) -> None:
    hostvars, groups = read(str(ROOT / "inventories" / inventory))
    found = settings_problems(hostvars, groups["registry_servers"], groups)
    assert found == ([] if inventory != "example" else [line for line in found if "an example shows" in line])
    assert len(found) == (inventory == "example")


@pytest.mark.parametrize("password", ["right", "wrong", ""])
def test_a_value_from_a_vault_is_read_and_one_that_cannot_be_decrypted_is_named(tmp_path: Path, password: str) -> None:
    (tmp_path / "right").write_text("right")
    (tmp_path / "wrong").write_text("wrong")
    encrypt = ["ansible-vault", "encrypt_string", "--vault-password-file", str(tmp_path / "right"), STRONG]
    vault = subprocess.run(encrypt, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    users = 'wharf_registry_users: [{name: ci, password: "{{ vault_ci }}"}]\n'
    case = {"all": {"wharf_registry_users": None}, "files": {"group_vars/all.yml": f"{users}vault_ci: {vault}\n"}}
    result = run(written(tmp_path, case), *(["--vault-password-file", str(tmp_path / password)] if password else []))
    named = "wharf_registry_users: cannot be decrypted: use --ask-vault-pass" in result.stdout
    assert named == (password != "right"), result.stdout
    assert STRONG not in result.stdout + result.stderr


# Whatever somebody writes -----------------------------------------------------------------------------------------

ODD = [True, -1, 1.5, "", "x", "\t", [], {}, [None], [[]], {"a": None}, [{"a": 1}], {"name": ["x"]}, "{{", "ä" * 300]
ROLES = (
    "settings",
    "docker_engine",
    "registry_server",
    "registry_tls",
    "registry_client",
    "registry_backup",
    "registry_standby",
)


@pytest.mark.parametrize("role", ROLES)
def test_no_value_breaks_the_check_and_each_line_says_its_variable(role: str) -> None:
    options = specification(role)
    for name, value in itertools.product(options, ODD):
        own = {**GOOD, name: value, "inventory_dir": ""}
        hostvars = {"server": own, "client1": own}
        groups = {"all": ["server", "client1"], "registry_servers": ["server"], "registry_clients": ["client1"]}
        for line in settings_problems(hostvars, ["server", "client1"], groups):
            assert re.match(r"(wharf|docker_engine|registry)_\w+: .+: .+", line) and "\n" not in line, (
                name,
                value,
                line,
            )


def test_hosts_of_a_deployment_without_clients_are_warned_of(tmp_path: Path) -> None:
    case = {"groups": {"registry_clients": None, "clients": ["client1", "client2"]}}
    hostvars, groups = read(written(tmp_path, case))
    assert settings_problems(hostvars, ["server"], groups) == []
    assert warnings(hostvars, ["server"], groups) == [
        "registry_clients: has no host, so that client1 and client2 will not trust the registry"
    ]


HALF = {
    "a key twice": ("group_vars/all.yml", "a: 1\na: 2\n", "group_vars/all.yml: line 2: a stands there again"),
    "hosts in a list": ("more.yml", "registry_clients: {hosts: [client3]}\n", "more.yml"),
    "settings beside the hosts": ("vault.yml", "$ANSIBLE_VAULT;1.1;AES256\n6162\n", "vault.yml"),
}


@pytest.mark.parametrize("case", HALF)
def test_an_inventory_that_is_read_by_half_ends_the_run(tmp_path: Path, case: str) -> None:
    """Ansible itself only warns, and goes on without the rest."""
    name, text, named = HALF[case]
    written(tmp_path, {"files": {name: text}})
    result = run(str(tmp_path))
    assert result.returncode and named in result.stderr and "PLAY [" not in result.stdout, result.stdout


def test_files_beside_the_inventory_are_no_hosts(tmp_path: Path) -> None:
    """The example keeps certificates and the registry's image there."""
    written(tmp_path, {"files": {"files/ca.crt": "-----BEGIN CERTIFICATE-----\nMIIB\n", "files/registry.tar": "\0"}})
    listed = subprocess.run(
        ["ansible-inventory", "-i", str(tmp_path), "--graph"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert listed.stderr == "" and "MIIB" not in listed.stdout


def test_hosts_that_are_one_machine_are_warned_of(tmp_path: Path) -> None:
    """Not refused: what leads to each may be an option of SSH that is not known here."""
    case = {"client1": {"ansible_host": "192.0.2.9"}, "client2": {"ansible_host": "192.0.2.9"}}
    hostvars, groups = read(written(tmp_path, case))
    assert [line[:46] for line in warnings(hostvars, ["server", "client1", "client2"], groups)] == [
        "client1 and client2 are one machine (192.0.2.9"
    ]

"""The checkout is a collection: it can be built, installed elsewhere, run from there, and explains itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

WHAT_TO_SET = "set ANSIBLE_CONFIG to the absolute path of its ansible.cfg"
PLUGINS = {
    "role": {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()},
    "module": {path.stem for path in (ROOT / "plugins/modules").glob("*.py")},
    "filter": {path.stem for path in (ROOT / "plugins/filter").glob("*.py")},
}


def run(place: Path, *command: str, succeeds: bool = True) -> str:
    """Run a command in a directory, with the collections that are installed there or by pip; return its output."""
    installed = f"{place}:{sysconfig.get_path('purelib')}"
    result = subprocess.run(
        command,
        cwd=place,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(place),
            "ANSIBLE_COLLECTIONS_PATH": installed,
            "LC_ALL": "C.UTF-8",
        },
        capture_output=True,
        text=True,
    )
    assert (result.returncode == 0) == succeeds, result.stdout + result.stderr
    return result.stdout if succeeds else result.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory in which the collection is installed from its tarball."""
    place = tmp_path_factory.mktemp("collection")
    run(place, "ansible-galaxy", "collection", "build", str(ROOT), "--output-path", str(place))
    (tarball,) = place.glob("wharf-registry-*.tar.gz")
    run(place, "ansible-galaxy", "collection", "install", str(tarball), "-p", str(place), "--no-deps", "--offline")
    return place


def test_the_tarball_has_what_users_need_and_nothing_else(place: Path) -> None:
    top = {path.name for path in (place / "ansible_collections/wharf/registry").iterdir()}
    assert top == {
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "FILES.json",
        "LICENSE",
        "MANIFEST.json",
        "README.md",
        "README.zh.md",
        "ansible.cfg",
        "docs",
        "inventories",
        "meta",
        "monitoring",
        "playbooks",
        "plugins",
        "requirements.yml",
        "roles",
        "site.yml",
    }
    assert [path for path in (place / "ansible_collections/wharf").rglob("*") if path.is_symlink()] == []


def test_its_playbook_runs_by_its_full_name(place: Path) -> None:
    inventory = ROOT / "inventories/lab"
    run(place, "ansible-playbook", "-i", str(inventory), "wharf.registry.site", "--syntax-check")


@pytest.mark.parametrize("kind", PLUGINS)
def test_everything_explains_itself(place: Path, kind: str) -> None:
    names = [f"wharf.registry.{name}" for name in sorted(PLUGINS[kind])]
    docs = json.loads(run(place, "ansible-doc", "--json", "-t", kind, *names))
    assert sorted(docs) == names
    if kind == "role":
        assert all(doc["entry_points"] for doc in docs.values())
        return
    for name, plugin in docs.items():
        options = plugin["doc"].get("options", {})
        assert plugin["doc"]["short_description"] and plugin["examples"] and plugin["return"], name
        assert all(option["description"] for option in options.values()), name


def begins_with_the_check(playbook: Path) -> bool:
    first = yaml.safe_load(playbook.read_text("utf-8"))[0].get("import_playbook", "")
    return first == "validate-settings.yml" or bool(first) and begins_with_the_check(playbook.parent / first)


def test_every_playbook_begins_with_the_check_of_ansible_and_the_settings() -> None:
    parts = {"settings.yml", "validate-settings.yml"}
    playbooks = [path for path in (ROOT / "playbooks").glob("*.yml") if path.name not in parts]
    assert [path.name for path in (ROOT / "site.yml", *playbooks) if not begins_with_the_check(path)] == []


@pytest.mark.parametrize("playbook", ["site.yml", "playbooks/verify-registry.yml"])
def test_a_run_from_another_directory_is_told_what_to_set(tmp_path: Path, playbook: str) -> None:
    assert WHAT_TO_SET in run(tmp_path, "ansible-playbook", f"{ROOT}/{playbook}", "--syntax-check", succeeds=False)


def test_an_ansible_that_is_too_old_is_told_so() -> None:
    """The version is imitated: an old one does not get any further, whatever it would stumble over later."""
    old = "from ansible import release; release.__version__ = '2.18.19'; from ansible.cli.playbook import main; main()"
    command = [
        sys.executable,
        "-c",
        old,
        "-i",
        "inventories/example",
        "playbooks/verify-registry.yml",
        "--syntax-check",
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "LC_ALL": "C.UTF-8"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode and "ansible-core 2.18.19 is too old: use 2.19 or newer" in result.stderr


def test_no_inventory_is_the_default(tmp_path: Path) -> None:
    """A run without -i changes nothing anywhere."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    command = ["ansible-playbook", "site.yml"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode and "name the inventory with -i" in " ".join(result.stdout.split())


def test_a_run_in_a_world_writable_checkout_is_told_what_to_set(tmp_path: Path) -> None:
    """Ansible reads no ansible.cfg there."""
    checkout = tmp_path / "checkout"
    subprocess.run(["git", "checkout-index", "--all", f"--prefix={checkout}/"], cwd=ROOT, check=True)
    checkout.chmod(0o777)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    command = ["ansible-playbook", "-i", "inventories/lab", "site.yml", "--syntax-check"]
    result = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert result.returncode and WHAT_TO_SET in result.stderr


def test_a_checkout_that_lost_its_link_is_told_so(tmp_path: Path) -> None:
    """Without symbolic links, git writes a file that holds where the link leads."""
    subprocess.run(["git", "checkout-index", "--all", f"--prefix={tmp_path}/"], cwd=ROOT, check=True)
    link = tmp_path / "ansible_collections/wharf/registry"
    link.unlink()
    link.write_text("../..")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    command = ["ansible-playbook", "-i", "inventories/lab", "site.yml", "--syntax-check"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode and "ansible_collections/wharf/registry there is a link to ../.." in result.stderr


def test_a_run_from_another_directory_works_with_ansible_cfg(tmp_path: Path) -> None:
    command = ["ansible-playbook", "-i", f"{ROOT}/inventories/lab", f"{ROOT}/site.yml", "--syntax-check"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ANSIBLE_CONFIG": f"{ROOT}/ansible.cfg"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr

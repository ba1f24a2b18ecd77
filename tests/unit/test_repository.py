"""The rules of the repository: what is said twice agrees, and names and files are as the style wants them."""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import variables
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ansible_collections.wharf.registry.plugins.module_utils.engine import THIS_ENGINE

# Those that act on hosts: the role settings has only variables, whose names are the deployment's own.
ROLES = {path.name: path for path in sorted((ROOT / "roles").iterdir()) if path.is_dir() and path.name != "settings"}
NOT_OURS = {".ansible", ".cache", ".git", ".pytest_cache", ".ruff_cache", ".venv", "__pycache__", ".credentials"}


FACTS = variables.options(ROOT / "roles/settings/meta/argument_specs.yml", "validate")


def load(path: Path) -> Any:
    """Return what a YAML file holds; None where there is no file."""
    return yaml.safe_load(path.read_text("utf-8")) if path.exists() else None


def specs(role: str) -> dict[str, dict[str, Any]]:
    """Return the options of a role."""
    return variables.options(ROLES[role] / "meta/argument_specs.yml")


ENTRIES = list(
    yaml.safe_load((ROOT / "roles/settings/meta/argument_specs.yml").read_text("utf-8"))["argument_specs"].values()
)
# Read by the role itself, for all hosts.
UNREAD: set[str] = set()


def files(*endings: str, under: tuple[str, ...] = (".",)) -> list[Path]:
    """Return the repository's files and links to files, those with these endings or all."""
    found = []
    for start in under:
        for directory, below, names in os.walk(ROOT / start):
            below[:] = [name for name in below if name not in NOT_OURS]
            found += [Path(directory, name) for name in names if not endings or name.endswith(endings)]
    return sorted(found)


def tasks_of(role: str) -> Iterator[dict[str, Any]]:
    """Yield all tasks and handlers of a role, blocks before what is in them."""
    places = (f"roles/{role}/tasks", f"roles/{role}/handlers")
    yield from tasks_in(task for file in files(".yml", under=places) for task in load(file))


def tasks_in(tasks: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield tasks, blocks before what is in them."""
    waiting = list(tasks)
    while waiting:
        yield (task := waiting.pop(0))
        for part in ("block", "rescue", "always"):
            waiting += task.get(part, [])


def exactly(values: dict[str, Any]) -> dict[str, str]:
    """Return values in a form in which true, 1 and "1" differ."""
    return {name: f"{type(value).__name__} {value!r}" for name, value in values.items()}


# What is said twice -------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_those_of_the_argument_specs(role: str) -> None:
    """A required variable has no default, or an empty one, so that the role's own message can speak."""
    defaults = load(ROLES[role] / "defaults/main.yml")
    required = {name for name, spec in specs(role).items() if spec.get("required")}
    optional = {name: spec["default"] for name, spec in specs(role).items() if name not in required}
    assert exactly({k: v for k, v in defaults.items() if k not in required}) == exactly(optional)
    assert all(defaults[name] in ("", [], {}) for name in required & defaults.keys())


def test_the_settings_defaults_are_those_of_their_specification() -> None:
    """A setting without one in the specification is empty until the inventory gives it."""
    specs = {name: spec for entry in ENTRIES for name, spec in entry["options"].items()}
    defaults = load(ROOT / "roles/settings/defaults/main.yml")
    assert list(defaults) == list(specs)
    empty = {"list": [], "dict": {}, "bool": False}
    wanted = {name: spec.get("default", empty.get(spec["type"], "")) for name, spec in specs.items()}
    assert exactly(defaults) == exactly(wanted)


def test_every_setting_that_the_plays_read_is_in_the_specification() -> None:
    """What is not there is refused as a misspelt name. After a | stand filters; wharf_images is a group."""
    text = "\n".join(file.read_text("utf-8") for file in files(".yml", under=("playbooks",)))
    read = set(re.findall(r"(?<![\w.])(?<!\| )(wharf_[a-z]\w*)", text))
    known = {name for entry in ENTRIES for name in entry["options"]}
    assert read - {"wharf_images"} <= known
    assert known - read - UNREAD == set()


def test_a_role_that_is_given_the_settings_defaults_has_its_own() -> None:
    """What a play hands on as it is has the same default in the role, so that both ways lead to the same."""
    specs_of = {name: spec for role in ROLES if role != "settings" for name, spec in specs(role).items()}
    settings = load(ROOT / "roles/settings/defaults/main.yml")
    handed = {
        pair
        for file in files(".yml", under=("playbooks",))
        for pair in re.findall(
            r'^ +(\w+): "\{\{ (wharf_\w+)(?: \| (?:bool|int))? \}\}"$', file.read_text("utf-8"), re.M
        )
        if pair[0] in specs_of and not specs_of[pair[0]].get("required")
    }
    assert len(handed) > 20
    wrong = [pair for pair in handed if exactly({"": specs_of[pair[0]]["default"]}) != exactly({"": settings[pair[1]]})]
    assert wrong == []


def test_no_inventory_sets_what_nobody_reads() -> None:
    text = "\n".join(file.read_text("utf-8") for file in files(".yml", under=("inventories", "molecule", ".config")))
    assert set(re.findall(r"^[\s#-]*(wharf_\w+):", text, re.MULTILINE)) <= FACTS.keys()


def test_the_tables_in_the_readmes_are_up_to_date() -> None:
    assert variables.run(check=True) == []


# Requirements -------------------------------------------------------------------------------------


def used_collections() -> set[str]:
    """Return the collections whose modules, filters, tests, lookups and connections are named anywhere."""
    name = r"([a-z_0-9]+\.[a-z_0-9]+)\.[a-z_0-9]+"
    module = rf"^[\s-]*{name}:(?=\s|$)"
    plugin = rf"(?:\|\s*|\bis (?:not )?|\b(?:lookup|query|q)\(\s*['\"]|connection: ){name}\b"
    found = set()
    for file in files(".yml", ".j2", under=("roles", "playbooks", "lab", "molecule", ".config")):
        if file.parent.name == "tests":  # what hosts say
            continue
        found |= set(re.findall(rf"{module}|{plugin}", file.read_text("utf-8"), re.MULTILINE))
    return {collection for pair in found for collection in pair if collection} - {"ansible.builtin", "wharf.registry"}


def test_the_collections_that_are_used_are_required_and_no_others() -> None:
    assert {item["name"] for item in load(ROOT / "requirements.yml")["collections"]} == used_collections()


@pytest.mark.parametrize("item", load(ROOT / "requirements.yml")["collections"], ids=lambda item: item["name"])
def test_the_installed_collection_is_one_that_is_required(item: dict[str, str]) -> None:
    path = Path(sysconfig.get_path("purelib"), "ansible_collections", *item["name"].split("."), "MANIFEST.json")
    assert json.loads(path.read_text("utf-8"))["collection_info"]["version"] in SpecifierSet(item["version"])


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_python_packages_are_pinned_and_installed_as_pinned(name: str) -> None:
    for line in (ROOT / name).read_text("utf-8").splitlines():
        if line and not line.startswith(("#", "-r ")):
            requirement = Requirement(line)
            assert [pin.operator for pin in requirement.specifier] == ["=="], line
            if not requirement.marker or requirement.marker.evaluate():
                assert importlib.metadata.version(requirement.name) in requirement.specifier


# Names --------------------------------------------------------------------------------------------


def test_no_roles_name_begins_with_anothers() -> None:
    assert [(a, b) for a in ROLES for b in ROLES if a != b and a.startswith(b)] == []


@pytest.mark.parametrize("role", ROLES)
def test_variables_bear_their_roles_name(role: str) -> None:
    """Public ones are in the defaults. Results for the play, set by set_fact, are public but no input."""
    private, public = f"__{role}_", f"{role}_"
    names, facts = set(load(ROLES[role] / "vars/main.yml") or {}), set()
    for task in tasks_of(role):
        names |= set(task.get("vars", {})) | {task.get("register"), task.get("loop_control", {}).get("loop_var")}
        facts |= set(task.get("ansible.builtin.set_fact", {})) - {"cacheable"}
    assert [name for name in load(ROLES[role] / "defaults/main.yml") if not name.startswith(public)] == []
    assert sorted(name for name in names - {None} if not name.startswith(private)) == []
    assert sorted(name for name in facts if not name.startswith((private, public)) or name in specs(role)) == []


@pytest.mark.parametrize("role", ROLES)
def test_no_two_tasks_of_a_role_have_the_same_name(role: str) -> None:
    names = [task["name"] for task in tasks_of(role)]
    assert sorted({name for name in names if names.count(name) > 1}) == []


@pytest.mark.parametrize("role", ROLES)
def test_a_role_knows_no_groups_no_other_role_and_no_settings(role: str) -> None:
    """A message may name a setting as the remedy, with its value: `wharf_x: true`."""
    for file in files(".yml", ".j2", under=(f"roles/{role}",)):
        text = file.read_text("utf-8")
        assert not re.search(r"\bgroups\b[.\[]|\bhostvars\b", text), file
        assert not re.search(r"\b(?:include|import)_role\b", text), file
        assert not re.search(r"\bwharf_\w+\b(?!:)", text), file


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_what_every_role_has(role: str) -> None:
    parts = ["README.md", "defaults/main.yml", "meta/main.yml", "meta/argument_specs.yml"]
    parts += ["tasks/main.yml", "tasks/validate.yml", "vars/main.yml"]
    if role in ("server_programs", "registry_tls"):  # their argument specs and modules judge everything
        parts.remove("tasks/validate.yml")
    assert load(ROLES[role] / "meta/main.yml")["dependencies"] == []
    assert [part for part in parts if not (ROLES[role] / part).is_file()] == []


def test_what_runs_on_the_controller_runs_as_the_user_whatever_the_inventory_says() -> None:
    """A task's own become: false would not: an inventory that says ansible_become: true, as the example does, wins."""
    plays = [play for file in sorted((ROOT / "playbooks").glob("*.yml")) for play in load(file)]
    tasks = [task for play in plays for part in ("pre_tasks", "tasks") for task in tasks_in(play.get(part, []))]
    tasks += [task for role in ROLES for task in tasks_of(role)]
    local = [task for task in tasks if task.get("delegate_to") == "localhost"]
    assert len(local) > 4
    assert [task["name"] for task in local if task.get("vars", {}).get("ansible_become") is not False] == []
    assert [task["name"] for task in tasks if "become" in task or "connection" in task or "local_action" in task] == []


def test_task_files_are_short() -> None:
    task_files = [file for role in ROLES for file in files(".yml", under=(f"roles/{role}/tasks",))]
    assert [file for file in task_files if len(file.read_text("utf-8").splitlines()) > 100] == []


def test_a_checkout_on_windows_has_the_hosts_line_ends(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", clone], check=True)
    for path in (ROOT / ".gitattributes", ROOT / "roles/registry_server/files/build-images.sh"):
        shutil.copy(path, clone)
    windows = ["git", "-C", clone, "-c", "core.autocrlf=true", "-c", "user.name=a", "-c", "user.email=a@b.test"]
    subprocess.run([*windows, "add", "."], check=True)
    subprocess.run([*windows, "commit", "-qm", "all"], check=True)
    (clone / "build-images.sh").unlink()
    subprocess.run([*windows, "checkout", "-q", "."], check=True)
    assert b"\r" not in (clone / "build-images.sh").read_bytes()


def test_no_role_needs_a_file_that_may_be_executed() -> None:
    """An archive that was unpacked on Windows knows no such mode; nor does a home directory mounted noexec."""
    scripts = [
        task["ansible.builtin.script"] for role in ROLES for task in tasks_of(role) if "ansible.builtin.script" in task
    ]
    assert scripts
    assert [script for script in scripts if "executable" not in script] == []


def test_the_only_link_is_the_one_that_makes_the_checkout_a_collection() -> None:
    links = [
        path for path in ROOT.glob("**/*") if path.is_symlink() and not NOT_OURS & set(path.relative_to(ROOT).parts)
    ]
    assert [str(link.relative_to(ROOT)) for link in links] == ["ansible_collections/wharf/registry"]
    assert links[0].resolve() == ROOT


def anchors(page: str) -> set[str]:
    """Return what a link to a heading of a Markdown page is called, as the usual renderers do it."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^ *```.*?^ *```$", "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", files(".md"), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_pages_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"\w+:", target):
            place, _, heading = target.partition("#")
            file = (page.parent / place).resolve() if place else page
            assert file.exists() and file.is_relative_to(ROOT), target
            assert not heading or heading in anchors(file.read_text("utf-8")), target


def test_the_readme_leads_to_every_page_of_docs_and_every_role() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    pages = [path.relative_to(ROOT) for path in (*ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md"))]
    assert [str(page) for page in pages if f"({page})" not in text] == []


def test_every_page_and_message_names_playbooks_that_are_there() -> None:
    for file in files(".md", ".py", ".yml", ".sh"):
        if not file.is_symlink():
            for name in re.findall(r"\bplaybooks/([\w-]+\.yml)\b", file.read_text("utf-8")):
                assert (ROOT / "playbooks" / name).is_file(), (file, name)


def test_no_file_names_a_place_on_a_developers_machine() -> None:
    """The homes of people, except that of the lab's user, and the place of this very clone."""
    place = re.compile(rf"/(?:home|Users)/(?!ops\b)\w+/|{re.escape(str(ROOT))}/")
    assert [file for file in files() if place.search(file.read_text("utf-8", errors="replace"))] == []


def test_a_host_that_hangs_ends_its_connection() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "ansible.cfg")
    options = dict(re.findall(r"-o (\w+)=(\S+)", config["ssh_connection"]["ssh_args"]))
    assert 0 < int(options["ServerAliveInterval"]) * int(options["ServerAliveCountMax"]) <= 60
    assert 0 < int(config["defaults"]["timeout"]) <= 30
    tasks = load(ROOT / "playbooks/diagnose-registry.yml")[-1]["tasks"]
    asked = [task for task in tasks if any("_diagnosis" in key and key.startswith("wharf.") for key in task)]
    assert len(asked) == 2
    assert all(task["timeout"] for task in asked)


def test_the_readme_in_chinese_names_all_that_the_english_one_does() -> None:
    """Variables, playbooks, pages and what clients and playbooks say: who changes one of the two changes the other."""
    english, chinese = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh.md"))
    english = re.sub(r"\| scenario \|.*?\n\n", "", english, flags=re.DOTALL)  # there it leads to this table
    names = set(re.findall(r"`(\w*(?:wharf|docker_engine)_\w+|[\w/-]+\.yml|\.\.\. [^`]+|x509: [^`\n]*)`", english))
    links = set(re.findall(r"\]\(([^)#]+)\)", english)) - {"README.zh.md"}
    missing = [name for name in names if name not in chinese] + [link for link in links if f"({link}" not in chinese]
    assert sorted(missing) == []


def test_each_host_has_variables_of_its_own_before_a_task_runs_once_for_all() -> None:
    """With ansible-core 2.21 they would share them; the newest Ansible for Python 3.11 does not tell (2.19)."""
    (first,) = load(ROOT / "playbooks/settings.yml")
    *others, last = first["tasks"]
    assert ("ansible.builtin.set_fact" in last, "run_once" in last) == (True, False)
    assert not any("register" in task or "ansible.builtin.set_fact" in task for task in others)


def test_the_role_and_the_modules_let_dockers_command_use_the_same_engine() -> None:
    """But for signatures: the registry's own image is pulled as DOCKER_CONTENT_TRUST says."""
    of_role = load(ROLES["registry_server"] / "vars/main.yml")["__registry_server_engine"]
    assert {**of_role, "DOCKER_CONTENT_TRUST": ""} == THIS_ENGINE

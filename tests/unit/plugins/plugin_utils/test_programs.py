"""The command wharf as one file, and which driver its repair looks at."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

from ansible_collections.wharf.registry.plugins.module_utils.command import index
from ansible_collections.wharf.registry.plugins.module_utils.command.cli import SUBCOMMANDS
from ansible_collections.wharf.registry.plugins.plugin_utils import programs


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the command as a server has it."""
    path = tmp_path_factory.mktemp("sbin") / "wharf"
    content = programs.command_archive(str(ROOT / "roles/server_programs"))
    assert content.startswith("base64:")
    path.write_bytes(base64.b64decode(content.removeprefix("base64:")))
    path.chmod(0o755)
    return path


def run(command: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it with this Python, isolated as on a server."""
    environment = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, "-IB", command, *arguments], capture_output=True, text=True, cwd="/", env=environment
    )


def test_the_command_is_a_program_and_the_same_bytes_each_time(command: Path) -> None:
    assert command.read_bytes().startswith(b"#!/usr/bin/python3 -IB\n")
    again = programs.command_archive(str(ROOT / "roles/registry_server"))
    assert base64.b64decode(again.removeprefix("base64:")) == command.read_bytes()


def test_it_brings_the_files_of_the_page(command: Path) -> None:
    page = ROOT / "roles/server_programs/files/page"
    with zipfile.ZipFile(command) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if name.startswith("wharf/page/")}
    assert found == {f"wharf/page/{name}": (page / name).read_bytes() for name in index.PAGE}


def test_it_holds_what_it_imports_and_no_more() -> None:
    files = programs.command_files(ROOT / "plugins/module_utils")
    assert {"command/cli.py", "lock.py", "storage.py", "manifests.py", "files.py", "errors.py"} <= files.keys()
    assert "daemon_json.py" not in files
    assert not any(re.search(r"^(from|import) ansible", text, re.MULTILINE) for text in files.values())


@pytest.mark.parametrize(
    "line",
    [
        *(
            "from .. import lock, data",
            "from .. import lock\nfrom ..data import place",
            "from .. import data, lock as held",
        ),
        *("from .. import (\n    data,\n    lock,\n)", "from ..lock import lock\nfrom .data import (\n    place,\n)"),
    ],
)
def test_it_finds_what_is_imported_however_that_is_written(tmp_path: Path, line: str) -> None:
    (tmp_path / "command").mkdir()
    texts = {"command/cli.py": line, "lock.py": "from . import errors, text", "data.py": "import errno\n"}
    texts |= {"errors.py": "", "text.py": "from ansible.module_utils import six\n"}
    for name, text in {**texts, "six.py": "", "errno.py": ""}.items():
        (tmp_path / name).write_text(text)
    assert programs.command_files(tmp_path) == texts


def test_help_names_every_subcommand_and_the_exit_codes(command: Path) -> None:
    for arguments in ([], ["--help"]):
        shown = run(command, *arguments)
        assert (shown.returncode, shown.stderr) == (0, "")
        listed = shown.stdout.partition("subcommands:\n")[2].partition("\n\n")[0]
        assert [line.split()[0] for line in listed.splitlines()] == list(SUBCOMMANDS)
        assert "exit codes:" in shown.stdout


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_each_subcommand_has_a_help(command: Path, name: str) -> None:
    shown = run(command, name, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("usage: wharf")


def test_a_wrong_command_line_is_exit_code_2_and_a_refusal_1(command: Path) -> None:
    wrong = run(command, "nonsense")
    assert (wrong.returncode, "invalid choice: 'nonsense'" in wrong.stderr) == (2, True)
    assert run(command, "status", "--nonsense").returncode == 2
    refused = run(command, "verify-storage", "/nothing/there")
    assert refused.returncode == 1
    assert refused.stderr.startswith("wharf verify-storage: /nothing/there is not a directory: ")


def test_only_the_chosen_subcommand_is_imported(command: Path) -> None:
    trace = subprocess.run(
        [sys.executable, "-X", "importtime", command, "verify-storage", "/tmp"], capture_output=True, text=True, cwd="/"
    )
    imported = set(re.findall(r"wharf\.command\.(\w+)", trace.stderr))
    assert "registry" in imported
    assert not imported & {"backup", "garbage", "move", "read_only", "renew", "repair", "retention", "status"}


@pytest.mark.parametrize(
    ("config", "driver"),
    [
        (None, "filesystem"),
        ({}, "filesystem"),
        ({"storage": {"delete": {"enabled": True}, "cache": None}}, "filesystem"),
        ({"storage": {"filesystem": {"rootdirectory": "/x"}}}, "filesystem"),
        ({"storage": {"s3": {"bucket": "b"}, "redirect": {"disable": True}}}, "s3"),
        ({"storage": {"filesystem": None, "azure": {}}}, "azure"),
        ({"storage": {"s3": None}}, "filesystem"),
        ({"storage": "s3"}, "filesystem"),
    ],
)
def test_storage_driver(config: dict | None, driver: str) -> None:
    assert programs.storage_driver(config) == driver

"""Ansible, as a person runs it, with the scenario's inventory."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import yaml
from clients import served_certificate
from machines import PROJECT, snapshot
from testinfra.host import Host

INVENTORY = os.environ.get("MOLECULE_INVENTORY_FILE", "")


class Run:
    """A run of ansible-playbook that has ended: all that it said in `stdout`, line breaks and runs of spaces folded."""

    def __init__(self, returncode: int, output: str) -> None:
        """Remember how it ended, and what it said."""
        self.returncode, self.output = returncode, output
        self.stdout = " ".join(output.split())

    @property
    def changes(self) -> int:
        """How many tasks have changed something in a run that was good, on all hosts together.

        Not by `"changed=0" in stdout`: the controller has a line of its own, and that always says so.
        """
        assert self.returncode == 0, self.output
        lines = re.findall(r"\s: ok=\d+\s+changed=(\d+)\s", self.stdout)
        assert lines, self.output
        return sum(map(int, lines))


class Ansible:
    """Runs playbooks with an inventory; variables are keyword arguments."""

    def __init__(self, inventory: str = INVENTORY, **environment: str) -> None:
        """Take the scenario's inventory, or another one, and add to the environment."""
        self.inventory = inventory
        self.environment = os.environ | {"ANSIBLE_FORCE_COLOR": "0"} | environment

    def __call__(
        self, playbook: str, *arguments: str, heard: Callable[[str], None] = lambda _: None, **variables: object
    ) -> Run:
        """Run a playbook, however it ends.

        Args:
            playbook: its path.
            arguments: others of ansible-playbook.
            heard: called with each line as it comes.
            variables: given with -e, in a file: -vvv does not tell them.
        """
        with self._started(playbook, arguments, variables, subprocess.PIPE) as process:
            lines = []
            for line in process.stdout:
                lines.append(line)
                heard(line)
        return Run(process.returncode, "".join(lines))

    def succeeds(self, playbook: str, *arguments: str, **variables: object) -> Run:
        """Run a playbook that must end well."""
        result = self(playbook, *arguments, **variables)
        assert result.returncode == 0, result.output
        return result

    def fails(self, playbook: str, *arguments: str, **variables: object) -> Run:
        """Run a playbook that must not end well."""
        result = self(playbook, *arguments, **variables)
        assert result.returncode != 0, result.output
        return result

    def fails_whole(
        self, hosts: Iterable[Host], fault: AbstractContextManager, playbook: str, *arguments: str, **variables: object
    ) -> Run:
        """Run a playbook that a fault lets fail, and that leaves all on these hosts as it was."""
        before = state(*hosts)
        with fault:
            result = self.fails(playbook, *arguments, **variables)
        assert state(*hosts) == before
        return result

    @contextmanager
    def killed(self, playbook: str, *arguments: str, **variables: object) -> Iterator[subprocess.Popen]:
        """Begin to run a playbook, and kill Ansible with all its processes when the block ends."""
        with self._started(playbook, arguments, variables, subprocess.DEVNULL, start_new_session=True) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    # Ansible's workers have sessions of their own.
                    workers = subprocess.run(["pgrep", "--parent", str(process.pid)], capture_output=True, text=True)
                    os.killpg(process.pid, signal.SIGKILL)
                    for worker in map(int, workers.stdout.split()):
                        with suppress(ProcessLookupError):
                            os.kill(worker, signal.SIGKILL)

    @contextmanager
    def _started(
        self, playbook: str, arguments: tuple[str, ...], variables: Mapping[str, object], output: int, **options: bool
    ) -> Iterator[subprocess.Popen]:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(variables, file)
            file.flush()
            command = ["ansible-playbook", "-i", self.inventory, playbook, *arguments]
            command += ["-e", f"@{file.name}"] if variables else []
            with subprocess.Popen(
                command,
                cwd=PROJECT,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                **options,
            ) as process:
                yield process


def write_play(directory: Path, hosts: str, role: str, *variables: Mapping[str, object]) -> str:
    """Write a playbook that gives hosts a role alone, once with each of these variables; return its path."""
    roles = [{"role": f"wharf.registry.{role}", "vars": one} for one in variables or ({},)]
    file = directory / "play.yml"
    file.write_text(json.dumps([{"hosts": hosts, "become": True, "gather_facts": False, "roles": roles}]))
    return str(file)


def state(*hosts: Host) -> list[str]:
    """Return what a run may change on hosts, without the notes of how runs have ended, and the certificate served."""
    lines = (line for host in hosts for line in [*snapshot(host).splitlines(), served_certificate(host)])
    return [line for line in lines if not line.startswith("/var/lib/wharf/results/")]


def assert_all_is_well(ansible: Ansible, hosts: int) -> None:
    """Assert that the diagnosis finds nothing on so many hosts: it says so in a line and in a row for each."""
    assert ansible.succeeds("playbooks/diagnose-registry.yml").stdout.count("all is well") >= 2 * hosts


def with_groups(directory: Path, **groups: Sequence[str]) -> Ansible:
    """Return what runs playbooks with other hosts in some groups. Hosts that leave them are not in the inventory.

    Args:
        directory: where the inventory is written.
        groups: the hosts of each.
    """
    old, now = Path(INVENTORY), [name for names in groups.values() for name in names]
    content = yaml.safe_load(old.read_text())
    known = {name: one for group in content.values() for name, one in (group.get("hosts") or {}).items()}
    gone = {name for group in groups for name in content[group].get("hosts") or {}}.difference(now)
    content.update({group: {"hosts": {name: known[name] for name in names}} for group, names in groups.items()})
    content["all"]["hosts"] = {name: one for name, one in known.items() if name not in gone}
    for name in ("group_vars", ".credentials"):
        if not (link := directory / name).is_symlink():
            link.symlink_to(old.with_name(name))
    path = directory / "-".join([*now, "hosts.yml"])
    path.write_text(yaml.safe_dump(content))
    return Ansible(str(path))

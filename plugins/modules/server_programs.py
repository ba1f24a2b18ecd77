#!/usr/bin/python
"""Ansible module: the command wharf on a registry's server, and what starts its subcommands from time to time."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: server_programs
short_description: Install the command wharf, and what starts its subcommands from time to time
description:
  - Writes the command, and for each enabled job a service and a timer of systemd, or where systemd does not run a file
    for cron; removes those of the others. Reloads systemd once, and starts and stops timers.
  - Installs no packages.
  - One visit does what with other modules would take thirty.
options:
  state:
    description:
      - V(absent) removes all that V(present) and the subcommands have made, but keeps what other programs need. It
        fails while a subcommand is at work.
    type: str
    choices: [present, absent]
    default: present
  command:
    description:
      - The content of the command, C(base64:) and base64, as P(wharf.registry.command_archive#filter) returns it.
    type: str
    required: true
  jobs:
    description:
      - All subcommands that can be started from time to time.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - The subcommand. Its files are named C(wharf-NAME).
        type: str
        required: true
      enabled:
        description:
          - Whether it is to be started from time to time.
        type: bool
        required: true
      service:
        description:
          - The content of the service.
        type: str
        required: true
      timer:
        description:
          - The content of the timer.
        type: str
        required: true
      cron:
        description:
          - The content of the file for cron.
        type: str
        required: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
- name: Install the command, and collect the garbage at night
  wharf.registry.server_programs:
    command: "{{ role_path | wharf.registry.command_archive }}"
    jobs:
      - name: collect-garbage
        enabled: true
        service: "{{ lookup('ansible.builtin.template', 'wharf-collect-garbage.service.j2') }}"
        timer: "{{ lookup('ansible.builtin.template', 'wharf-collect-garbage.timer.j2') }}"
        cron: "{{ lookup('ansible.builtin.template', 'wharf-collect-garbage.j2') }}"
"""

RETURN = r"""
paths:
  description: The files that were written or removed, and the timers that were started, or would be.
  returned: always
  type: list
  elements: str
  sample: [/usr/local/sbin/wharf, wharf-collect-garbage.timer]
cron_missing:
  description: Whether cron is to start something, and is not installed.
  returned: always
  type: bool
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.errors import BusyError
from ansible_collections.wharf.registry.plugins.module_utils.files import Changes, Entry, decode
from ansible_collections.wharf.registry.plugins.module_utils.lock import LOCK, RESULTS, lock, lock_holder, read_result

COMMAND = "/usr/local/sbin/wharf"
UNITS = "/etc/systemd/system"
CRON = "/etc/cron.d"


class Programs:
    """The command and its jobs on this host."""

    def __init__(self, jobs: list[dict[str, Any]], changes: Changes) -> None:
        """Take the jobs, and what makes changes."""
        self.jobs, self.changes = jobs, changes
        self.systemd = os.path.isdir("/run/systemd/system")

    def install(self, command: str) -> None:
        """Write the command, and what starts the enabled jobs; remove what starts the others."""
        self.changes.file(COMMAND, Entry(0, 0, 0o755, decode(command)))
        enabled = [job for job in self.jobs if job["enabled"]]
        self.stop([job for job in self.jobs if job not in enabled])
        changed = {job["name"] for job in enabled if self.write(job)}
        if self.systemd and changed:
            self.systemctl("daemon-reload")
        self.start([job["name"] for job in enabled], changed)

    def write(self, job: dict[str, Any]) -> bool:
        """Write what starts a job; tell whether that has changed."""
        changed = False
        for path, content in self.files(job).items():
            wanted = Entry(0, 0, 0o644, content.encode()) if self.systemd == path.startswith(UNITS) else None
            changed |= self.changes.file(path, wanted)
        return changed

    @staticmethod
    def files(job: dict[str, Any]) -> dict[str, str]:
        """Return the files that start a job, and their contents."""
        name = f"wharf-{job['name']}"
        return {
            f"{UNITS}/{name}.service": job["service"],
            f"{UNITS}/{name}.timer": job["timer"],
            f"{CRON}/{name}": job["cron"],
        }

    def stop(self, jobs: list[dict[str, Any]]) -> None:
        """Stop jobs and remove what starts them; a failure that no later run can make good is forgotten."""
        paths = {job["name"]: [path for path in self.files(job) if os.path.lexists(path)] for job in jobs}
        units = [os.path.basename(path) for found in paths.values() for path in found if path.startswith(UNITS)]
        # Before their files go: a timer without them would be a unit that nobody finds any more.
        if timers := [unit for unit in units if unit.endswith(".timer")]:
            self.systemctl("--quiet", "disable", "--now", *timers)
        for name, found in paths.items():
            for path in found:
                self.changes.file(path, None)
            if found and (result := read_result(name)) and not result.good:
                self.changes.remove(str(RESULTS / name))
        if units:
            self.systemctl("daemon-reload")
            self.systemctl("--quiet", "reset-failed", *units, check=False)  # most have not failed

    def start(self, names: list[str], changed: set[str]) -> None:
        """Start the timers that do not run, or whose files have changed."""
        timers = {f"wharf-{name}.timer": name in changed for name in names if self.systemd}
        if not timers:
            return
        command = ["systemctl", "show", "--property=Id,ActiveState,UnitFileState", *timers]
        done = subprocess.run(command, capture_output=True, text=True)
        facts = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in done.stdout.split("\n\n")]
        running = {
            fact["Id"] for fact in facts if (fact["ActiveState"], fact["UnitFileState"]) == ("active", "enabled")
        }
        if idle := [timer for timer, has_changed in timers.items() if has_changed or timer not in running]:
            self.changes.paths += idle
            self.systemctl("--quiet", "enable", *idle)
            self.systemctl("restart", *idle)

    def remove(self) -> None:
        """Remove the command, what starts it, and what its subcommands have noted."""
        self.stop(self.jobs)
        self.changes.remove(COMMAND)
        self.changes.remove(str(RESULTS))
        for path in Path("/run").glob("wharf-repair-storage.*"):
            self.changes.remove(str(path))
        self.changes.remove_empty(str(RESULTS.parent))

    def cron_missing(self) -> bool:
        """Tell whether cron is to start something, and is not there."""
        wanted = not self.systemd and any(job["enabled"] for job in self.jobs)
        return wanted and not (shutil.which("cron") or shutil.which("crond"))

    def systemctl(self, *arguments: str, check: bool = True) -> None:
        """Run systemctl, where systemd runs, and not in check mode.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        if self.systemd and not self.changes.check_mode:
            subprocess.run(["systemctl", *arguments], check=check, capture_output=True, text=True)


def run(module: AnsibleModule, programs: Programs) -> bool:
    """Install or remove; return whether cron is missing.

    Raises:
        BusyError: it is to be removed, and a subcommand is at work.
        OSError: a file cannot be written.
        subprocess.CalledProcessError: systemctl failed.
    """
    if module.params["state"] == "present":
        programs.install(module.params["command"])
        return programs.cron_missing()
    if module.check_mode:
        if holder := lock_holder():
            raise BusyError(f"{holder}: wait until it has finished")
        programs.remove()
        return False
    with lock("remove-programs"):
        programs.remove()
        LOCK.unlink()
    return False


def main() -> None:
    """Run the module."""
    job: dict[str, Any] = {name: {"type": "str", "required": True} for name in ("name", "service", "timer", "cron")}
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "command": {"type": "str", "required": True},
            "jobs": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": job | {"enabled": {"type": "bool", "required": True}},
            },
        },
        supports_check_mode=True,
    )
    os.umask(0o022)
    os.environ["PATH"] = f"{os.environ.get('PATH', '/bin:/usr/bin')}:/usr/local/sbin:/usr/sbin:/sbin"
    # What is written at -vvv as well: not the whole command.
    invocation = {"module_args": module.params | {"command": "(not shown)"}}
    changes = Changes(module.check_mode)
    missing, message = False, ""
    try:
        missing = run(module, Programs(module.params["jobs"], changes))
    except BusyError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
    except subprocess.CalledProcessError as error:
        message = f"{' '.join(error.cmd)}: {error.stderr.strip()}"
    if message:
        module.fail_json(msg=message, paths=changes.paths, invocation=invocation)
    # In check mode nobody installs cron afterwards.
    changed = bool(changes.paths) or (missing and module.check_mode)
    module.exit_json(
        changed=changed, paths=changes.paths, diff=changes.diff, cron_missing=missing, invocation=invocation
    )


if __name__ == "__main__":
    main()

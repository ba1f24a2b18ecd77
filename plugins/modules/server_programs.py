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
  - Without the job C(index) the index of the registry's page is removed.
  - One visit does what with other modules would take thirty. Installs no packages.
options:
  state:
    description: V(absent) removes all that V(present) and the subcommands have made. It fails while one is at work.
    type: str
    choices: [present, absent]
    default: present
  command:
    description: The content of the command, as P(wharf.registry.command_archive#filter) returns it.
    type: str
    required: true
  jobs:
    description: All subcommands that can be started from time to time.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: The subcommand. Its files are named C(wharf-NAME)., type: str, required: true}
      enabled: {description: Whether it is to be started from time to time., type: bool, required: true}
      service: {description: The content of the service., type: str, required: true}
      timer: {description: The content of the timer., type: str, required: true}
      cron: {description: The content of the file for cron., type: str, required: true}
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- wharf.registry.server_programs:
    command: "{{ role_path | wharf.registry.command_archive }}"
    jobs:
      - name: collect-garbage
        enabled: true
        service: "{{ lookup('ansible.builtin.template', 'wharf-collect-garbage.service.j2') }}"
        timer: "{{ lookup('ansible.builtin.template', 'wharf-collect-garbage.timer.j2') }}"
        cron: "{{ lookup('ansible.builtin.template', 'wharf-collect-garbage.j2') }}"
"""

RETURN = r"""
paths: {description: "The files and timers that changed, or would.", type: list, elements: str, returned: always}
cron_missing: {description: Whether cron is to start something and is not installed., type: bool, returned: success}
rclone_missing: {description: Whether rclone is not installed., type: bool, returned: success}
has_copied:
  description: Whether there is something of the copying between a server and its standbys, for role registry_standby.
  type: bool
  returned: success
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.bucket import CACHE
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError, message_of
from ansible_collections.wharf.registry.plugins.module_utils.files import Changes, Entry, decode
from ansible_collections.wharf.registry.plugins.module_utils.lock import HELD, LOCK, RESULTS, lock, read_result
from ansible_collections.wharf.registry.plugins.module_utils.parts import INDEX, METRICS, has_copied
from ansible_collections.wharf.registry.plugins.module_utils.processes import has, search_path
from ansible_collections.wharf.registry.plugins.module_utils.server_versions import KNOWN

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
        self.changes.put(COMMAND, Entry(0, 0, 0o755, decode(command)))
        self.stop([job for job in self.jobs if not job["enabled"]])
        timers = {}  # and whether they or their services have changed
        for job in self.jobs:
            if job["enabled"]:
                changed = [self.changes.put(*file) for file in self.files(job)]
                timers[f"wharf-{job['name']}.timer"] = any(changed)
        if self.systemd and timers:
            if any(timers.values()):
                self.systemctl("daemon-reload")
            self.start(timers)

    def files(self, job: dict[str, Any]) -> list[tuple[str, Entry | None]]:
        """Return the files that start a job, as they should be on this host."""
        name = f"wharf-{job['name']}"
        service, timer, cron = (Entry(0, 0, 0o644, job[kind].encode()) for kind in ("service", "timer", "cron"))
        return [
            (f"{UNITS}/{name}.service", service if self.systemd else None),
            (f"{UNITS}/{name}.timer", timer if self.systemd else None),
            (f"{CRON}/{name}", None if self.systemd else cron),
        ]

    def stop(self, jobs: list[dict[str, Any]]) -> None:
        """Stop jobs and remove what starts them; a failure that no later run can make good is forgotten."""
        paths = {job["name"]: [path for path, _ in self.files(job) if os.path.lexists(path)] for job in jobs}
        units = [os.path.basename(path) for found in paths.values() for path in found if path.startswith(UNITS)]
        # Before their files go: a timer without them would be a unit that nobody finds any more.
        if timers := [unit for unit in units if unit.endswith(".timer")]:
            self.systemctl("--quiet", "disable", "--now", *timers)
        if services := [unit for unit in units if unit.endswith(".service")]:  # one may come with the engine
            self.systemctl("--quiet", "disable", *services)
        for name, found in paths.items():
            for path in found:
                self.changes.put(path, None)
            if name == "index":  # nobody keeps it up to date any more
                if found:
                    self.systemctl("stop", "wharf-index.service", check=False)
                self.changes.remove(INDEX)
            if found and (result := read_result(name)) and (name == "index" or not result.good):
                self.changes.remove(str(RESULTS / name))
        if units:
            self.systemctl("daemon-reload")
            self.systemctl("--quiet", "reset-failed", *units, check=False)  # most have not failed

    def start(self, timers: dict[str, bool]) -> None:
        """Start the timers that do not run, or that have changed."""
        command = ["systemctl", "show", "--property=Id,ActiveState,UnitFileState", *timers]
        blocks = subprocess.run(command, capture_output=True, text=True).stdout.split("\n\n")
        right = [{f"Id={timer}", "ActiveState=active", "UnitFileState=enabled"} for timer in timers]
        shown = [set(block.splitlines()) for block in blocks]
        if idle := [timer for timer, lines in zip(timers, right) if timers[timer] or lines not in shown]:
            self.changes.paths += idle
            services = [job for job in self.jobs if job["enabled"] and "[Install]" in job["service"]]
            self.systemctl("--quiet", "enable", *idle, *(f"wharf-{job['name']}.service" for job in services))
            self.systemctl("restart", *idle)

    def remove(self) -> None:
        """Remove the command, what starts it, and what its subcommands have noted."""
        self.stop(self.jobs)
        for path in (
            COMMAND,
            RESULTS,
            KNOWN,
            CACHE,
            HELD,
            *Path("/run").glob("wharf-repair-storage.*"),
            *Path("/run").glob("wharf-index.*"),
            *Path("/run").glob("wharf-metrics.*"),
            *Path("/run").glob("wharf-trim-caches.*"),
            METRICS,
        ):
            self.changes.remove(str(path))
        self.changes.remove_empty(str(RESULTS.parent))

    def cron_missing(self) -> bool:
        """Tell whether cron is to start something, and is not there."""
        wanted = not self.systemd and any(job["enabled"] for job in self.jobs)
        return wanted and not (shutil.which("cron") or shutil.which("crond"))

    def systemctl(self, *arguments: str, check: bool = True) -> None:
        """Run systemctl, where systemd runs, and not in check mode.

        Raises:
            WharfError: it failed.
        """
        if self.systemd and not self.changes.check_mode:
            done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True)
            if check and done.returncode:
                raise WharfError(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}")


def shown(diff: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return what --diff shows: of what changes the lines, such as a schedule's; of our own new programs the names."""
    lines = [change for change in diff if change["before"] and change["before"] != change["after"]]
    names = [f"{change['after_header']}\n" for change in diff if change not in lines]
    return [*([{"prepared": "".join(names)}] if names else []), *lines]


def main() -> None:
    """Run the module."""
    job: dict[str, Any] = {name: {"type": "str", "required": True} for name in ("name", "service", "timer", "cron")}
    job["enabled"] = {"type": "bool", "required": True}
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "command": {"type": "str", "required": True},
            "jobs": {"type": "list", "elements": "dict", "required": True, "options": job},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)
    os.environ["PATH"] = search_path()
    changes = Changes(module.check_mode)
    programs = Programs(module.params["jobs"], changes)
    # What is written at -vvv as well: not the whole command.
    result = {"paths": changes.paths, "invocation": {"module_args": module.params | {"command": "(not shown)"}}}
    missing = False
    try:
        if module.params["state"] == "present":
            programs.install(module.params["command"])
            missing = programs.cron_missing()
        else:
            with lock("remove-programs", check_mode=module.check_mode):
                programs.remove()
                if not module.check_mode:
                    LOCK.unlink()
    except (WharfError, OSError) as error:
        module.fail_json(msg=message_of(error), **result)
    # In check mode nobody installs cron afterwards.
    changed = bool(changes.paths) or (missing and module.check_mode)
    result |= {"cron_missing": missing, "rclone_missing": not has("rclone"), "has_copied": has_copied()}
    module.exit_json(changed=changed, diff=shown(changes.diff), **result)


if __name__ == "__main__":
    main()

"""Counts the tasks of a run that reached a host."""

from __future__ import annotations

import collections
import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: host_tasks
type: aggregate
short_description: Count the tasks that reached a host
description:
  - Counts the results that came from a host, and writes them at the end as JSON, per host, with the keys C(tasks)
    (how many), C(names) (which, in their order) and C(changed).
  - Each item of a loop counts as a task, a delegated task for the host that it is delegated to. What is skipped or
    done on the controller alone does not count.
  - Needs ansible-core 2.19 or newer.
options:
  path:
    description: The file to write.
    type: path
    required: true
    env:
      - name: HOST_TASKS_FILE
"""

# Their work is done where Ansible runs, also when it is done for a host.
CONTROLLER_ACTIONS = {
    f"{prefix}{name}"
    for prefix in ("", "ansible.builtin.")
    for name in (
        "add_host",
        "assert",
        "debug",
        "fail",
        "group_by",
        "import_role",
        "import_tasks",
        "include_role",
        "include_tasks",
        "include_vars",
        "meta",
        "pause",
        "set_fact",
        "set_stats",
        "validate_argument_spec",
    )
}


class CallbackModule(CallbackBase):
    """Counts while the run goes on, writes when it ends."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "host_tasks"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        """Starts with nothing counted."""
        super().__init__()
        self.names: dict[str, list[str]] = collections.defaultdict(list)

    def count(self, result: Any, **_: Any) -> None:
        """Counts one result: of a task, or of one item of a loop."""
        if result.task.action not in CONTROLLER_ACTIONS:
            host = result.task_fields.get("delegate_to") or result.host.name
            self.names[host].append(result.task.get_name())

    def count_task(self, result: Any, **_: Any) -> None:
        """Counts the result of a task, unless its items have been counted already."""
        if not result.task.loop and not result.task.loop_with:
            self.count(result)

    v2_runner_item_on_ok = count
    v2_runner_item_on_failed = count
    v2_runner_retry = count
    v2_runner_on_ok = count_task
    v2_runner_on_failed = count_task
    v2_runner_on_unreachable = count_task

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Writes what was counted."""
        hosts = {
            host: {"tasks": len(names), "names": names, "changed": stats.changed.get(host, 0)}
            for host, names in self.names.items()
        }
        with open(os.environ["HOST_TASKS_FILE"], "w", encoding="utf-8") as file:
            json.dump(hosts, file, indent=2)

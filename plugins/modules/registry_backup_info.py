#!/usr/bin/python
"""Ansible module: what a registry's server has for its backup, and what is still pending."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_backup_info
short_description: Tell what a registry's server has for its backup, and what is pending
description:
  - Reads packages, files and the connection to the host that keeps the backup, in one visit, and changes nothing.
  - Fails when the settings cannot work, and when the password does not open the backup that is there. The password is
    tried only where it is about to be written, and only where restic is installed and gets to the backup.
options:
  state:
    description: With V(absent), what is pending is the removal of what is there.
    type: str
    choices: [present, absent]
    default: present
  settings: {description: The content that C(/etc/wharf/backup/backup.json) should have., type: str, default: ""}
  password: {description: The password that the backup is encrypted with., type: str, default: ""}
  generate:
    description: Whether O(password) is still to be generated. A server that has one already is refused then.
    type: bool
    default: false
  password_file: {description: "Where the controller keeps it, for the message.", type: str, default: ""}
  ssh_config:
    description: The content that C(/etc/wharf/backup/ssh_config) should have. Empty where no host of the inventory
      keeps the backup.
    type: str
    default: ""
attributes: {check_mode: {support: full}, diff_mode: {support: none}}
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- wharf.registry.registry_backup_info:
    settings: "{{ lookup('ansible.builtin.template', 'etc/wharf/backup/backup.json.j2') }}"
    password: "{{ vault_backup_password }}"
  register: registry_backup_info
"""

RETURN = r"""
configured: {description: Whether the server has a directory of settings., returned: always, type: bool}
pending:
  description: What is not as it should be, packages, files, directories and the connection.
  returned: always
  type: list
  elements: str
  sample: [restic, /etc/wharf/backup/password, connection]
missing_packages:
  description: The packages that are not installed.
  returned: when O(state=present)
  type: list
  elements: str
package_lists:
  description: Whether apt knows any package, where it is what installs them.
  returned: when O(state=present)
  type: bool
connection:
  description: V(open) when the server gets to the backup, V(closed) when there is no way yet, that host does not let it
    in or is not the one that is pinned, V(unreachable) when nobody answers there, V(none) where no host of the
    inventory keeps the backup.
  returned: when O(state=present)
  type: str
"""

import json
import os
import re
import subprocess
from contextlib import suppress
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.backup_settings import backup_problems
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.files import Entry, read_entry
from ansible_collections.wharf.registry.plugins.module_utils.processes import has, has_package_lists
from ansible_collections.wharf.registry.plugins.module_utils.restic import SETTINGS, Restic, sftp

# What holds each program, by what installs packages.
PACKAGES = {
    "apt-get": {"restic": "restic", "sftp": "openssh-client"},
    "dnf": {"restic": "restic", "sftp": "openssh-clients"},
}
REMOVED = (str(SETTINGS), "/var/lib/wharf/backup", "/var/cache/wharf-backup")
OWNER = (0, 0)


def gather(settings: dict[str, Any], files: dict[str, str], password: str, generate: str = "") -> dict[str, Any]:
    """Return what is there, and what is pending.

    Args:
        settings: what backup.json should hold.
        files: the contents that the files of the settings should have; none for one that should not be there.
        password: the backup's.
        generate: where the controller would keep a password that is still to be generated.

    Raises:
        WharfError: the settings cannot work, or the password is wrong.
    """
    given = {key: settings[key] for key in ("repository", "host", "environment", "keep")}
    problems = backup_problems("registry_backup_", password=password, **given)
    if not settings["repository"] and not settings["host"]:
        problems.insert(0, "registry_backup_repository: is missing: use an absolute path, or what restic takes")
    if generate and (SETTINGS / "password").exists():
        problems.append(
            f"registry_backup_password: is not given, and {generate} is missing on this controller, but the server"
            " has the backup's password already: copy that file from the controller that has it, or"
            f" {SETTINGS}/password from the server"
        )
    if problems:
        raise WharfError("\n".join(problems))
    missing = missing_packages()
    pending = []
    for name, content in files.items():
        wanted = Entry(*OWNER, 0o600, content.encode()) if content else None
        if read_entry(str(SETTINGS / name)) != wanted:
            pending.append(name)
    connection = "none"
    if settings["host"]:
        connection = "closed" if "ssh_config" in pending else probe(settings["repository"])
    tried = {"backup.json", "password"} & {*pending} and not generate
    if tried and "restic" not in missing and connection in ("none", "open"):
        with suppress(subprocess.TimeoutExpired):  # one that cannot be reached within a minute tells nothing
            Restic(settings, password).run("cat", "config", "--no-lock", "--no-cache", timeout=60)
    closed = ["connection"] if connection == "closed" else []
    return {
        "missing_packages": missing,
        "package_lists": not has("apt-get") or has_package_lists(),
        "connection": connection,
        "pending": missing + [str(SETTINGS / name) for name in pending] + closed,
    }


def missing_packages() -> list[str]:
    """Return the packages with the programs that are missing. Raises WharfError where nothing could install them."""
    missing = [program for program in PACKAGES["apt-get"] if not has(program)]
    packages = next((packages for manager, packages in PACKAGES.items() if has(manager)), {})
    if missing and not packages:
        raise WharfError(
            f"{' and '.join(missing)}: must be installed on this host first, which has no apt-get and no dnf"
        )
    return [packages[program] for program in missing]


def probe(directory: str) -> str:
    """Return the state of the connection to the host that keeps the backup: open, closed or unreachable."""
    try:
        done = sftp(f"cd {directory}\n")
    except FileNotFoundError:  # no SSH client
        return "closed"
    unreachable = r"Could not resolve|Connection (timed out|refused)|No route to host|Network is unreachable"
    if done.returncode != 0:
        return "unreachable" if re.search(unreachable, done.stderr) else "closed"
    return "open"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "settings": {"type": "str", "default": "", "no_log": True},
            "password": {"type": "str", "default": "", "no_log": True},
            "generate": {"type": "bool", "default": False},
            "password_file": {"type": "str", "default": "", "no_log": False},
            "ssh_config": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    os.environ["LC_ALL"] = "C"
    params = module.params
    result: dict[str, Any] = {"changed": False, "configured": SETTINGS.is_dir()}
    if params["state"] == "absent":
        module.exit_json(**result, pending=[path for path in REMOVED if os.path.lexists(path)])
    password = params["password"]
    files = {"backup.json": params["settings"], "password": f"{password}\n", "ssh_config": params["ssh_config"]}
    try:
        generate = params["password_file"] if params["generate"] else ""
        result.update(gather(json.loads(params["settings"]), files, password, generate))
    except WharfError as error:
        module.fail_json(msg=str(error))
    if result["connection"] == "unreachable":
        module.warn("the host that keeps the backup cannot be reached from the registry's server: no backup is made")
    module.exit_json(**result)


if __name__ == "__main__":
    main()

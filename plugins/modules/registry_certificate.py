#!/usr/bin/python
"""Ansible module: the files of a registry's certificate, from a private CA on the host or as they were provided."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_certificate
short_description: Keep the certificate of a registry's server right
description:
  - Judges the certificate, its key, the CA and their owners and modes on the host, and makes, installs or repairs what
    is pending, all in one visit. What only a person can put right is refused before anything changes.
  - Private keys are made on the host and never leave it.
  - The role C(registry_tls) calls this module and describes what a certificate is like and when it is replaced.
options:
  state:
    description:
      - V(absent) removes the server's key and certificate, the CA's certificate for clients, and what the renewal
        reads; and their directories where nothing else is in them.
    type: str
    choices: [present, absent]
    default: present
  mode:
    description:
      - Whether a private CA on the host issues the certificate, or others provide it.
    type: str
    choices: [private_ca, provided]
    default: private_ca
  name:
    description:
      - The DNS name or IP address of the registry.
    type: str
    required: true
  aliases:
    description:
      - Further names and addresses that the certificate must hold. Those of the host itself are always in it.
    type: list
    elements: str
    default: []
  directory:
    description:
      - The directory of C(ca.crt), C(registry.crt) and C(registry.key).
    type: path
    default: /etc/wharf/tls
  owner:
    description:
      - The number of the user and of the group that own C(registry.key).
    type: int
    default: 59500
  ca_directory:
    description:
      - The directory of the private CA.
    type: path
    default: /etc/wharf/ca
  remove_ca:
    description:
      - Whether O(state=absent) removes the private CA as well.
    type: bool
    default: false
  ca_days:
    description:
      - How long a new CA is valid, in days.
    type: int
    default: 3650
  days:
    description:
      - How long a certificate is valid, in days.
    type: int
    default: 397
  rotation:
    description:
      - The step to take from the CA to another.
    type: str
    choices: [keep, stage, switch, retire, finish]
    default: keep
  endpoint:
    description:
      - Where the server answers on this host, ADDRESS:PORT, for the renewal.
    type: str
    default: ""
  restart_command:
    description:
      - The command that lets the server load a renewed certificate.
    type: str
    default: ""
  key:
    description:
      - For O(mode=provided), the private key of O(provided.certificate), in PEM.
    type: str
    default: ""
  provided:
    description:
      - For O(mode=provided), what the filter P(wharf.registry.provided_certificate#filter) returns, without the key.
    type: dict
    suboptions:
      certificate:
        description: The server's certificate and its intermediates, in PEM.
        type: str
        default: ""
      ca:
        description: The CA for clients, in PEM.
        type: str
        default: ""
      problems:
        description: What is wrong with them. The module refuses it, together with what it finds itself.
        type: list
        elements: str
        default: []
      warnings:
        description: What will soon be wrong with them.
        type: list
        elements: str
        default: []
  controller_time:
    description:
      - The time of the controller in seconds since the epoch. No certificate is made on a host whose clock differs by
        more than a day.
    type: float
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
- name: Have a certificate from a private CA
  wharf.registry.registry_certificate:
    name: registry.example.org
    aliases: [registry, 192.0.2.10]
    controller_time: "{{ now().timestamp() }}"
  register: certificate
"""

RETURN = r"""
pending:
  description: One reason for each thing that was done, or would be.
  returned: always
  type: list
  elements: str
  sample: [/etc/wharf/tls/registry.crt is missing]
packages:
  description: The packages that must be installed before the module can work. It has done nothing where there are any.
  returned: when O(state=present)
  type: list
  elements: str
  sample: [openssl]
fingerprint:
  description: SHA-256 of C(registry.crt); empty in check mode where it is still to be issued.
  returned: when O(state=present)
  type: str
ca_pem:
  description: The text of C(ca.crt); empty in check mode where the CA is still to be made.
  returned: when O(state=present)
  type: str
"""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import private_ca
from ansible_collections.wharf.registry.plugins.module_utils.addresses import is_name, own_addresses
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.files import write_atomic
from ansible_collections.wharf.registry.plugins.module_utils.modes import mode_problems, repair_modes

LONGEST_LEAF_DAYS = 397


def input_problems(wanted: dict[str, Any]) -> list[str]:
    """Return what is wrong with the role's variables beyond their types."""
    problems = []
    if not is_name(wanted["name"]):
        problems.append(
            f"registry_tls_name: '{wanted['name']}' is not a DNS name or an IP address; give the bare name in lower "
            "case, without scheme, port or path"
        )
    problems += [
        f"registry_tls_aliases: '{alias}' is not a DNS name or an IP address; give bare names in lower case"
        for alias in wanted["aliases"]
        if not is_name(alias, wildcard=True)
    ]
    if not 1 <= wanted["days"] <= LONGEST_LEAF_DAYS:
        problems.append(
            f"registry_tls_certificate_days: {wanted['days']} is not from 1 to {LONGEST_LEAF_DAYS} days; clients "
            "refuse certificates that live longer"
        )
    if wanted["ca_days"] <= wanted["days"]:
        problems.append(
            f"registry_tls_ca_days: {wanted['ca_days']} days are not more than the {wanted['days']} of "
            "registry_tls_certificate_days; the CA must outlive the certificates that it signs"
        )
    if wanted["owner"] < 0:
        problems.append(f"registry_tls_owner: {wanted['owner']} is not a user's number; it must be 0 or more")
    return problems + directory_problems(wanted) + operation_problems(wanted)


def directory_problems(wanted: dict[str, Any]) -> list[str]:
    """Return what is wrong with the two directories."""
    directories = {f"registry_tls_{kind}": os.path.normpath(wanted[kind]) for kind in ("directory", "ca_directory")}
    problems = [
        f"{variable}: '{directory}' is not the absolute path of a directory"
        for variable, directory in directories.items()
        if not directory.startswith("/") or directory.strip("/") == ""
    ]
    outer, inner = directories.values()
    if inner == outer or inner.startswith(f"{outer.rstrip('/')}/") and outer != "/":
        problems.append(
            f"registry_tls_ca_directory: {inner} lies in registry_tls_directory, which the registry's container sees; "
            "keep the CA's key outside it"
        )
    return problems


def operation_problems(wanted: dict[str, Any]) -> list[str]:
    """Return what is wrong with the variables for the renewal and the rotation."""
    problems = []
    if bool(wanted["endpoint"]) != bool(wanted["restart_command"]):
        problems.append(
            "registry_tls_endpoint: goes together with registry_tls_restart_command: set both, or neither; without the "
            "first nobody knows whether a restart is pending"
        )
    elif wanted["endpoint"] and not re.fullmatch(r"[^\s/]+:\d{1,5}", wanted["endpoint"]):
        problems.append(f"registry_tls_endpoint: '{wanted['endpoint']}' is not ADDRESS:PORT, such as 127.0.0.1:5000")
    if wanted["mode"] != "private_ca" and wanted["rotation"] != "keep":
        problems.append(
            "registry_tls_rotation: is for mode private_ca; a provided CA is replaced by handing over another one, at "
            "first together with the old one"
        )
    return problems


class Provided:
    """The files as others provide them."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        provided = wanted["provided"] or {"certificate": "", "ca": "", "problems": [], "warnings": []}
        self.directory = Path(wanted["directory"])
        self.warnings: list[str] = provided["warnings"]
        # The key first: a run that is cut off leaves a pair that the next run sees and repairs.
        self.contents = {
            self.directory / "registry.key": wanted["key"].encode(),
            self.directory / "registry.crt": provided["certificate"].encode(),
            self.directory / "ca.crt": provided["ca"].encode(),
        }
        self.expected = {self.directory: (0o755, 0)} | {
            path: (0o600, wanted["owner"]) if path.suffix == ".key" else (0o644, 0) for path in self.contents
        }
        self.errors, reasons = mode_problems(self.expected, [self.directory])
        self.pending = list(reasons.values())
        self.different = [] if self.errors else [path for path in self.contents if self.judge(path)]
        if private_ca.SETTINGS.exists():
            self.pending.append("the settings of the certificate's own renewal are still there")

    def judge(self, path: Path) -> bool:
        """Tell whether a file is not as it was provided."""
        there = path.exists()
        if there and path.read_bytes() == self.contents[path]:
            return False
        self.pending.append(f"{path} {'differs from what was provided' if there else 'is missing'}")
        return True

    def apply(self) -> None:
        """Do what is pending."""
        repair_modes(self.expected, [self.directory])
        for path in self.different:
            mode, owner = self.expected[path]
            write_atomic(str(path), self.contents[path], mode, owner, owner)
        private_ca.SETTINGS.unlink(missing_ok=True)


def remove(module: AnsibleModule) -> dict[str, Any]:
    """Remove what the role made, and the directories that nobody else keeps something in."""
    directory, ca_directory = Path(module.params["directory"]), Path(module.params["ca_directory"])
    files = [directory / name for name in ("registry.crt", "registry.key", "ca.crt")] + [private_ca.SETTINGS]
    pending = [f"{path} is still there" for path in files if path.exists()]
    if module.params["remove_ca"] and ca_directory.exists():
        pending.append(f"{ca_directory} is still there")
    if not module.check_mode:
        for path in files:
            path.unlink(missing_ok=True)
        if module.params["remove_ca"] and ca_directory.exists():
            shutil.rmtree(ca_directory)
        for path in (directory, private_ca.SETTINGS.parent):
            try:
                path.rmdir()
            except OSError:
                continue
            pending.append(f"{path} is empty")
    return {"changed": bool(pending), "pending": pending}


def addresses(module: AnsibleModule) -> list[str]:
    """Return the host's own addresses; none where they cannot be read."""
    status, output, _ = module.run_command(["ip", "-json", "address", "show"])
    return own_addresses(json.loads(output)) if status == 0 and output.strip() else []


def keep(module: AnsibleModule) -> dict[str, Any]:
    """Judge what is there and do what is pending."""
    wanted = module.params
    provided = wanted["mode"] == "provided"
    if problems := input_problems(wanted) + ((wanted["provided"] or {}).get("problems") or [] if provided else []):
        raise WharfError("\n".join(problems))
    bundle, certificate = (Path(wanted["directory"], name) for name in ("ca.crt", "registry.crt"))
    if not provided and not module.get_bin_path("openssl"):
        if not module.get_bin_path("apt-get"):
            raise WharfError("openssl must be installed first: this host has no apt-get")
        there = bundle.is_file() and certificate.is_file()
        return {
            "changed": module.check_mode,
            "pending": ["openssl is missing, so that keys and certificates could not be judged"],
            "packages": ["openssl"],
            "fingerprint": hashlib.sha256(certificate.read_bytes()).hexdigest() if there else "",
            "ca_pem": bundle.read_text() if there else "",
        }
    files = Provided(wanted) if provided else private_ca.PrivateCA(wanted, addresses(module))
    if files.errors:
        raise WharfError("\n".join(files.errors))
    pending = files.pending
    if pending and not module.check_mode:
        files.apply()
    for warning in files.warnings:
        module.warn(warning)
    if provided:
        result = {"fingerprint": hashlib.sha256(files.contents[certificate]).hexdigest()}
        result["ca_pem"] = files.contents[bundle].decode()
    else:
        result = {"fingerprint": files.fingerprint(), "ca_pem": files.ca_pem()}
    return {"changed": bool(pending), "pending": pending, "packages": [], **result}


def main() -> None:
    """Run the module."""
    text = {"type": "str", "default": ""}
    lines = {"type": "list", "elements": "str", "default": []}
    provided = {"certificate": text, "ca": text, "problems": lines, "warnings": lines}
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "mode": {"type": "str", "choices": ["private_ca", "provided"], "default": "private_ca"},
            "name": {"type": "str", "required": True},
            "aliases": lines,
            "directory": {"type": "path", "default": "/etc/wharf/tls"},
            "owner": {"type": "int", "default": 59500},
            "ca_directory": {"type": "path", "default": "/etc/wharf/ca"},
            "remove_ca": {"type": "bool", "default": False},
            "ca_days": {"type": "int", "default": 3650},
            "days": {"type": "int", "default": 397},
            "rotation": {
                "type": "str", "choices": ["keep", "stage", "switch", "retire", "finish"], "default": "keep",
            },
            "endpoint": text,
            "restart_command": text,
            # Not inside of provided: a key there would be shown in the host's journal, because it has several lines.
            "key": {"type": "str", "default": "", "no_log": True},
            "provided": {"type": "dict", "options": provided},
            "controller_time": {"type": "float"},
        },
        supports_check_mode=True,
    )  # fmt: skip
    os.umask(0o022)
    if os.geteuid() != 0:
        # Whatever an ordinary user sees is not what is there.
        module.fail_json(msg="the role needs root on the host; set become: true")
    try:
        module.exit_json(**(remove(module) if module.params["state"] == "absent" else keep(module)))
    except (WharfError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

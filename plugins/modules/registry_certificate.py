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
  - Private keys are made on the host and never leave it, but for the CA's, which another host may take over.
  - The role C(registry_tls) calls this module and describes what a certificate is like and when it is replaced.
options:
  state:
    description: V(absent) removes what the module made; and its directories where nothing else is in them.
    type: str
    choices: [present, absent]
    default: present
  mode:
    description: Whether a private CA on the host issues the certificate, or others provide it.
    type: str
    choices: [private_ca, provided]
    default: private_ca
  name: {description: The DNS name or IP address of the registry., type: str, required: true}
  aliases:
    description: Further names and addresses that the certificate must hold beside those of the host itself.
    type: list
    elements: str
    default: []
  listen:
    description: The addresses that the server listens on, where it does not on all. The certificate holds these then.
    type: list
    elements: str
    default: []
  reversible:
    description:
      - Whether what this module replaces is kept until the module M(wharf.registry.registry_container) has seen the
        registry answer, or puts it back. What a run that was cut off has left is rolled back first.
    type: bool
    default: false
  directory: {description: "The directory of ca.crt, registry.crt, registry.key.", type: path, default: /etc/wharf/tls}
  owner: {description: The number of the user and of the group that own C(registry.key)., type: int, default: 59500}
  ca_directory: {description: The directory of the private CA., type: path, default: /etc/wharf/ca}
  remove_ca: {description: Whether O(state=absent) removes the private CA as well., type: bool, default: false}
  ca_days: {description: "How long a new CA is valid, in days.", type: int, default: 3650}
  days: {description: "How long a certificate is valid, in days.", type: int, default: 397}
  rotation:
    description: The step to take from the CA to another.
    type: str
    choices: [keep, stage, switch, retire, finish]
    default: keep
  endpoint: {description: "For the renewal, where the server answers, ADDRESS:PORT.", type: str, default: ""}
  restart_command: {description: The command that lets the server load a renewed certificate., type: str, default: ""}
  authority:
    description:
      - The CA of another host, as M(wharf.registry.registry_authority_info) returns it, which is to be this host's as
        well, whatever CA is there. Without, this host has a CA of its own.
    type: str
    default: ""
  authority_of: {description: "The name of that host; empty where there is none.", type: str, default: ""}
  key: {description: "For O(mode=provided), the key of O(provided.certificate), in PEM.", type: str, default: ""}
  provided:
    description: For O(mode=provided), what the filter P(wharf.registry.provided_certificate#filter) returns.
    type: dict
    suboptions:
      certificate: {description: "The server's certificate and its intermediates, in PEM.", type: str, default: ""}
      ca: {description: "The CA for clients, in PEM.", type: str, default: ""}
      problems:
        description: What is wrong with them. The module refuses it, together with what it finds itself.
        type: list
        elements: str
        default: []
      warnings: {description: What will soon be wrong with them., type: list, elements: str, default: []}
  controller_time:
    description:
      - The time of the controller in seconds since the epoch. No certificate is made on a host whose clock differs by
        more than a day.
    type: float
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: Wharf maintainers
"""

EXAMPLES = r"""
- name: Have a certificate from a private CA
  wharf.registry.registry_certificate: {name: registry.example.org, aliases: [registry, 192.0.2.10]}
  register: certificate
"""

RETURN = r"""
pending:
  description: One reason for each thing that was done, or would be, such as C(registry.crt is missing).
  returned: always
  type: list
  elements: str
packages:
  description: The packages that must be installed before the module can work. It has done nothing where there are any.
  returned: when O(state=present)
  type: list
  elements: str
fingerprint: {description: SHA-256 of registry.crt; empty while it is to be issued., returned: present, type: str}
ca_pem: {description: The text of ca.crt; empty while the CA is to be made., returned: present, type: str}
"""

import hashlib
import ipaddress
import json
import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import api, openssl, private_ca, server_rollback
from ansible_collections.wharf.registry.plugins.module_utils.addresses import is_name, own_addresses
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError, message_of
from ansible_collections.wharf.registry.plugins.module_utils.files import (
    Changes,
    Entry,
    all_or_nothing,
    write_atomic,
)
from ansible_collections.wharf.registry.plugins.module_utils.lock import lock

LONGEST_DAYS = 397
LOCK_WAIT = 60  # seconds


def input_problems(wanted: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the role's variables beyond their types, without the beginning of their names."""
    days, ca_days, endpoint = wanted["days"], wanted["ca_days"], wanted["endpoint"]
    directories = {key: os.path.normpath(wanted[key]) for key in ("directory", "ca_directory")}
    outer, inner = directories.values()
    if not is_name(wanted["name"]):
        yield f"name: '{wanted['name']}' is no DNS name or IP address; give it bare, in lower case, without port"
    for alias in wanted["aliases"]:
        if not is_name(alias, wildcard=True):
            yield f"aliases: '{alias}' is no DNS name or IP address; give bare names in lower case"
    if not 1 <= days <= LONGEST_DAYS:
        yield f"certificate_days: {days} is not from 1 to {LONGEST_DAYS}; clients refuse certificates that live longer"
    if ca_days <= days:
        yield f"ca_days: {ca_days} is not more than the {days} days of a certificate, which its CA must outlive"
    if wanted["owner"] < 0:
        yield f"owner: {wanted['owner']} is not a user's number; it must be 0 or more"
    for key, path in directories.items():
        if not path.startswith("/") or not path.strip("/"):
            yield f"{key}: '{path}' is not the absolute path of a directory"
    if outer.strip("/") and f"{inner}/".startswith(f"{outer}/"):
        yield f"ca_directory: {inner} lies in {outer}, which the registry's container sees; keep the CA outside it"
    if bool(endpoint) != bool(wanted["restart_command"]):
        yield (
            "endpoint: goes together with registry_tls_restart_command: set both, or neither; without the first nobody "
            "knows whether a restart is pending"
        )
    elif endpoint and not re.fullmatch(r"[^\s/]+:\d{1,5}", endpoint):
        yield f"endpoint: '{endpoint}' is not ADDRESS:PORT, such as 127.0.0.1:5000"
    if wanted["mode"] == "provided" and wanted["rotation"] != "keep":
        yield (
            "rotation: is for mode private_ca; a provided CA is replaced by handing over another one, at first "
            "together with the old one"
        )


def addresses(module: AnsibleModule) -> list[str]:
    """Return the addresses that clients can use: the host's own; none where they cannot be read."""
    status, output, _ = module.run_command(["ip", "-json", "address", "show"])
    own = own_addresses(json.loads(output)) if status == 0 and output.strip() else []
    return listened_on(module.params["listen"], own)


def listened_on(listen: list[str], own: list[str]) -> list[str]:
    """Return at which of the host's own addresses the registry listens; at all of them where no other is named."""
    if not listen:
        return own
    named = [address for address in map(ipaddress.ip_address, listen) if not address.is_loopback]
    versions = {address.version for address in named if address.is_unspecified}
    found = [address for address in own if ipaddress.ip_address(address).version in versions]
    return list(dict.fromkeys([*(str(address) for address in named if not address.is_unspecified), *found]))


def issue(module: AnsibleModule) -> dict[str, Any]:
    """Judge what the private CA on this host has made, and do what is pending."""
    if not module.get_bin_path("openssl"):
        if not any(map(module.get_bin_path, ("apt-get", "dnf"))):
            raise WharfError("openssl must be installed on this host first, which has no apt-get and no dnf")
        bundle, certificate = (Path(module.params["directory"], name) for name in ("ca.crt", "registry.crt"))
        there = bundle.is_file() and certificate.is_file()
        return {
            "pending": ["openssl is missing, so that keys and certificates could not be judged"],
            "packages": ["openssl"],
            "changed": module.check_mode,
            "fingerprint": hashlib.sha256(certificate.read_bytes()).hexdigest() if there else "",
            "ca_pem": bundle.read_text() if there else "",
        }
    files = private_ca.PrivateCA(module.params, addresses(module))
    paths = [os.path.realpath(path) for path in files.modes]
    taken = take_authority(module, paths, True)
    if taken and module.check_mode:
        return {"pending": taken, "fingerprint": "", "ca_pem": ""}
    with all_or_nothing(*paths, str(private_ca.SETTINGS)):
        if taken:
            take_authority(module, paths, False)
            files.judge()
        if files.errors:
            raise WharfError("\n".join(files.errors))
        pending = [*taken, *files.pending]
        if files.pending and not module.check_mode:
            keep(module, *paths)
            files.apply()
    for warning in files.warnings:
        module.warn(warning)
    return {"pending": pending, "fingerprint": files.fingerprint(), "ca_pem": files.ca_pem()}


def take_authority(module: AnsibleModule, paths: list[str], check_mode: bool) -> list[str]:
    """Let the CA of the host that this one follows be its own; return what differs."""
    wanted = module.params
    if not wanted["authority_of"]:
        return []
    authority = json.loads(wanted["authority"])
    source = f"the CA of {wanted['authority_of']}"
    if not authority["ca.key"] or not authority["ca.crt"]:
        if module.check_mode:
            return [f"{source} is still to be made"]
        raise WharfError(f"registry_tls_authority_of: {source} is not there: run playbooks/deploy-registry.yml for it")
    if not check_mode:
        keep(module, *paths)
    changes = Changes(check_mode)
    directories = (os.path.realpath(wanted[key]) for key in ("directory", "ca_directory"))
    private_ca.take_authority(authority, *directories, changes)
    return [f"{path} is not that of {source}" for path in changes.paths]


def keep(module: AnsibleModule, *paths: str) -> None:
    """Keep what is about to be replaced, where that is wanted."""
    if module.params["reversible"]:
        server_rollback.keep(*paths, str(private_ca.SETTINGS))


def refusal(certificate: bytes, key: bytes, ca: str, name: str) -> str:
    """Return why a client would refuse a certificate that nobody serves yet, or nothing: both sides meet in memory."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory(prefix="wharf-", dir=openssl.WORK) as directory:  # read from files only
        paths = [f"{directory}/{part}" for part in ("certificate", "key")]
        for path, content in zip(paths, (certificate, key)):
            write_atomic(path, content, 0o600)
        try:
            server.load_cert_chain(*paths, password="")  # without one, a person would be asked
        except ssl.SSLError as error:
            return f"the server could not load it with its key ({error.reason})"
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        api.trust(pem=ca).wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for side in sides * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
        except ssl.SSLError as error:
            return str(error.reason)
    return ""


def install(module: AnsibleModule) -> dict[str, Any]:
    """Write the files as others provide them."""
    wanted, provided = module.params, module.params["provided"]
    directory = os.path.realpath(wanted["directory"])
    files = {  # the key first: a run that is cut off leaves a pair that the next run sees and repairs
        "registry.key": Entry(wanted["owner"], wanted["owner"], 0o600, wanted["key"].encode()),
        "registry.crt": Entry(0, 0, 0o644, provided["certificate"].encode()),
        "ca.crt": Entry(0, 0, 0o644, provided["ca"].encode()),
    }
    for check_mode in (True, module.check_mode):  # at first to see whether there is an error, before anything changes
        changes = Changes(check_mode)
        changes.put(directory, Entry(0, 0, 0o755, None))
        for name, entry in files.items():
            changes.put(f"{directory}/{name}", entry)
        pending = [f"{path} differs from what was provided" for path in changes.paths]
        if not changes.check_mode or not pending:
            continue
        if problem := refusal(
            *(files[name].content for name in ("registry.crt", "registry.key")), provided["ca"], wanted["name"]
        ):
            raise WharfError(f"registry_tls_certificate: clients would refuse it as {wanted['name']}: {problem}")
        if not module.check_mode:
            keep(module, directory, *(f"{directory}/{name}" for name in files))
    if private_ca.SETTINGS.exists():
        pending.append("the settings of the certificate's own renewal are still there")
        if not module.check_mode:
            keep(module)
        changes.remove(str(private_ca.SETTINGS))
    for warning in provided["warnings"]:
        module.warn(warning)
    return {
        "pending": pending,
        "fingerprint": hashlib.sha256(files["registry.crt"].content).hexdigest(),
        "ca_pem": provided["ca"],
    }


def recover(module: AnsibleModule) -> None:
    """Roll back what a run that was cut off has left, where that is wanted; only then must the registry hold still."""
    if module.params["reversible"] and server_rollback.exists() and not module.check_mode:
        with lock("deploy-registry", LOCK_WAIT):
            server_rollback.recover()


def remove(module: AnsibleModule) -> dict[str, Any]:
    """Remove what the role made, and the directories that nobody else keeps something in."""
    changes = Changes(module.check_mode)
    directory, ca_directory = (os.path.realpath(module.params[key]) for key in ("directory", "ca_directory"))
    for path in (*(f"{directory}/{name}" for name in ("registry.crt", "registry.key", "ca.crt")), private_ca.SETTINGS):
        changes.remove(str(path))
    if module.params["remove_ca"]:
        changes.remove(ca_directory)
    for path in (directory, private_ca.SETTINGS.parent):
        changes.remove_empty(str(path))
    return {"pending": [f"{path} is still there" for path in changes.paths]}


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
            "listen": lines,
            "reversible": {"type": "bool", "default": False},
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
            "authority": {"type": "str", "default": "", "no_log": True},
            "authority_of": text,
            "provided": {"type": "dict", "options": provided, "apply_defaults": True},
            "controller_time": {"type": "float"},
        },
        supports_check_mode=True,
    )  # fmt: skip
    os.umask(0o022)
    wanted = module.params
    if os.geteuid() != 0:
        # Whatever an ordinary user sees is not what is there.
        module.fail_json(msg="the role needs root on the host; set become: true")
    try:
        if wanted["state"] == "absent":
            result = remove(module)
        elif problems := [f"registry_tls_{line}" for line in input_problems(wanted)] + wanted["provided"]["problems"]:
            raise WharfError("\n".join(problems))
        else:
            recover(module)
            result = {"packages": [], **(install if wanted["mode"] == "provided" else issue)(module)}
    except (WharfError, OSError) as error:
        module.fail_json(msg=message_of(error))
    module.exit_json(**{"changed": bool(result["pending"]), **result})


if __name__ == "__main__":
    main()

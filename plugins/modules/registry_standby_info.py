#!/usr/bin/python
"""Ansible module: what a registry's server, or a standby of it, has for the copying between them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_standby_info
short_description: Tell what a registry's server or a standby has for the copying between them, and what is pending
description:
  - One visit that changes nothing tells all that the role registry_standby decides by.
  - Fails where the registry's user could not get to the images, and where a standby has no SSH server.
options:
  server: {description: "Whether this is the server, which copies.", type: bool, required: true}
  data: {description: "The directory of the registry's data.", type: path, required: true}
  uid: {description: "The user and group ID that the registry runs as.", type: int, required: true}
  images: {description: "Whether the images are wanted, too: all tags are read then.", type: bool, default: false}
  host: {description: "The host's name, for the messages.", type: str, required: true}
attributes: {check_mode: {support: full}}
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- wharf.registry.registry_standby_info:
    server: true
    data: /var/lib/wharf/registry
    uid: 59500
    host: "{{ inventory_hostname }}"
"""

RETURN = r"""
pending:
  description: What is not as it should be, of packages, user, directories and key.
  returned: success
  type: list
  elements: str
missing_packages: {description: The packages that are not installed., returned: success, type: list, elements: str}
package_lists: {description: Whether apt knows any package., returned: success, type: bool}
files:
  description: The text of the files of the connection, by their paths; none where one is missing or is anybody's.
  returned: success
  type: dict
public_key: {description: The key of the server., returned: success, type: str}
host_key: {description: The key of this host's SSH server., returned: success, type: str}
data: {description: Where the data lies., returned: success, type: str}
data_id: {description: The ID of the data; empty where it has none., returned: success, type: str}
source: {description: The ID of the data of which this is a copy; empty for none., returned: success, type: str}
copied: {description: Whether it has been copied, or is only about to be., returned: success, type: bool}
mark:
  description: Of which data it is a copy, of which server at which address, as of when, and with how many tags.
  returned: success
  type: dict
standby_of: {description: The server that the registry here is a standby of., returned: success, type: str}
deployed: {description: Whether there is a registry., returned: success, type: bool}
used: {description: Whether there are repositories in the data., returned: success, type: bool}
images:
  description: The digests of the images, by REPOSITORY:TAG and REPOSITORY@DIGEST.
  returned: success
  type: dict
"""

import grp
import ipaddress
import os
import pwd
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import server_data
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError, message_of
from ansible_collections.wharf.registry.plugins.module_utils.files import (
    Entry,
    no_link,
    read_entry,
    read_json,
    read_text,
)
from ansible_collections.wharf.registry.plugins.module_utils.parts import USER
from ansible_collections.wharf.registry.plugins.module_utils.processes import has, has_package_lists
from ansible_collections.wharf.registry.plugins.module_utils.storage import Storage

SETTINGS = Path("/etc/wharf/standby")
HOME = Path("/var/lib/wharf-standby")
STATE = Path("/var/lib/wharf/standby")
HOST_KEY = Path("/etc/ssh/ssh_host_ed25519_key.pub")
REGISTRY = Path("/etc/wharf/registry.json")
ROOT = 0
# The programs of each side, and what holds them.
PACKAGES = {
    True: {"rsync": "rsync", "ssh": "openssh-client", "ssh-keygen": "openssh-client"},
    False: {"rsync": "rsync", "rrsync": "rsync"},
}


def gather(server: bool, data: str, uid: int, images: bool, host: str) -> dict[str, Any]:
    """Return what is there, and what is pending.

    Args:
        server: whether this is the server, which copies, or a standby.
        data: the directory of the registry's data.
        uid: the registry's user.
        images: whether to read all tags.
        host: the host's name, for the messages.

    Raises:
        WharfError: something only a person can put right.
    """
    path = os.path.realpath(data)
    if closed := closed_above(path, uid):
        raise WharfError(
            f"registry_standby_data: {data} on {host} lies below {closed}, where the registry's user, {uid}, has no way"
            " through, and it does the copying: use one such as /var/lib/wharf/registry"
        )
    host_key = " ".join(read_text(HOST_KEY).split()[:2])
    if not server and not host_key:
        raise WharfError(
            f"registry_standby_hosts: {host} has no SSH server with a key of the type ed25519 ({HOST_KEY}), by which"
            " the server would get there: install openssh-server"
        )
    if taken := taken_by_others(uid):
        raise WharfError(f"{taken} on {host}, and the copying needs a user and a group {USER} with that number")
    missing = missing_packages(server)
    directories = {SETTINGS: Entry(ROOT, uid, 0o750, None)} if server else {}
    directories |= {HOME: Entry(ROOT, ROOT, 0o755, None)}
    directories |= {} if server else {HOME / ".ssh": Entry(ROOT, ROOT, 0o755, None)}
    left = [str(STATE)] if not server and STATE.exists() else []  # of a server that it was
    pending = {
        **dict.fromkeys(missing, True),
        "user": not has_user(uid),
        **{str(path): read_entry(str(path)) != entry for path, entry in directories.items()},
        "key": server and not has_key(uid),
        **dict.fromkeys(left, True),
    }
    names = ("ssh_config", "known_hosts", "standbys.json")
    files = [SETTINGS / name for name in names] if server else [HOME / ".ssh/authorized_keys"]
    mark, known = mark_of(path), read_json(REGISTRY)
    storage = Storage(path) if os.path.isdir(path) else None
    return {
        "pending": [name for name, is_pending in pending.items() if is_pending],
        "missing_packages": missing,
        "package_lists": has_package_lists(),
        "files": {str(file): text_of(file) for file in files},
        "public_key": " ".join(read_text(SETTINGS / "id_ed25519.pub").split()[:2]),
        "host_key": host_key,
        "data": path,
        "data_id": server_data.read(path).id,
        "source": str(mark.get("source") or ""),
        "copied": bool(mark.get("at")),
        "mark": mark,
        "standby_of": known.get("standby_of", ""),
        "deployed": bool(known),
        "used": bool(storage and os.path.isdir(storage.top / "repositories") and storage.repositories()),
        "images": all_images(storage) if images and storage else {},
    }


def all_images(storage: Storage) -> dict[str, str]:
    """Return the digests of all images, by REPOSITORY:TAG and by REPOSITORY@DIGEST: some are pulled by that alone."""
    found = {f"{name}:{tag}": digest for (name, tag), digest in storage.all_tags().items()}
    return found | {f"{name}@{one}": one for name in storage.repositories() for one in storage.revisions(name)}


def mark_of(path: str) -> dict[str, Any]:
    """Return of which data this is a copy; nothing where it is none, or what is written there cannot be.

    The registry's user may write it, whoever that is.
    """
    mark = read_json(os.path.join(path, server_data.COPIED), no_link)
    try:
        address = str(mark.get("address") or "")
        return mark and {
            "source": re.fullmatch("[0-9a-f]+", mark["source"])[0],  # type: ignore[index]
            "server": re.fullmatch(r"[\w.-]*", mark["server"])[0],  # type: ignore[index]
            "address": str(ipaddress.ip_address(address)) if address else "",
            "at": min(max(int(mark["at"]), 0), int(time.time())),
            "tags": int(mark["tags"]),
        }
    except (KeyError, TypeError, ValueError, OverflowError):
        return {}


def missing_packages(server: bool) -> list[str]:
    """Return the packages with the programs that are missing. Raises WharfError where nothing could install them."""
    programs = [program for program in PACKAGES[server] if not has(program)]
    if programs and not has("apt-get"):
        raise WharfError(f"{' and '.join(programs)}: must be installed on this host first, which has no apt-get")
    return list(dict.fromkeys(PACKAGES[server][program] for program in programs))


def closed_above(path: str, uid: int) -> str:
    """Return a directory above a path that a user cannot pass through; empty where there is none."""
    for parent in Path(path).parents:
        if parent.exists() and not (facts := parent.stat()).st_mode & 0o001:
            own = (facts.st_uid == uid and facts.st_mode & 0o100) or (facts.st_gid == uid and facts.st_mode & 0o010)
            if not own:
                return str(parent)
    return ""


def taken_by_others(uid: int) -> str:
    """Return what of the name and the number of the user that copies somebody else has; nothing where both are free."""
    with suppress(KeyError):
        if (group := grp.getgrgid(uid).gr_name) != USER:
            return f"registry_standby_uid: {uid} belongs to the group {group}"
    with suppress(KeyError):
        if (home := pwd.getpwnam(USER).pw_dir) != str(HOME):
            return f"registry_standby_uid: {uid} cannot be the number of {USER}, a user with the home {home}"
    return ""


def has_user(uid: int) -> bool:
    """Tell whether the user is there as which rsync and SSH run."""
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        return False
    return (user.pw_uid, user.pw_gid, user.pw_dir, user.pw_shell) == (uid, uid, str(HOME), "/bin/sh")


def has_key(uid: int) -> bool:
    """Tell whether the server has a key that it can use."""
    key = read_entry(str(SETTINGS / "id_ed25519"))
    return bool(key and (key.uid, key.mode) == (uid, 0o400) and (SETTINGS / "id_ed25519.pub").is_file())


def text_of(path: Path) -> str:
    """Return the text of a file that is root's alone to write, and that the registry's user reads."""
    entry = read_entry(str(path))
    wanted = entry and entry.content and entry == Entry(ROOT, ROOT, 0o644, entry.content)
    return entry.content.decode("utf-8", "replace") if wanted else ""


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "server": {"type": "bool", "required": True},
            "data": {"type": "path", "required": True},
            "uid": {"type": "int", "required": True},
            "images": {"type": "bool", "default": False},
            "host": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **gather(**module.params))
    except (WharfError, OSError) as error:
        module.fail_json(msg=message_of(error))


if __name__ == "__main__":
    main()

"""Where the registry's data lies, and files on the controller that variables name."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable
from typing import Any, TypeVar

from ansible_collections.wharf.registry.plugins.plugin_utils.values import CONTROL, quoted, shown

Read = TypeVar("Read")

_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
# Their owner must stay root: the registry's data directory gets the container's user as its owner.
_SYSTEM_DIRECTORY = re.compile(
    r"/(?:(?:bin|boot|etc|lib|lib64|sbin|usr/s?bin|usr/lib|usr/share|var/lib/(?:docker|containerd))(?:/.*)?"
    r"|dev|home|lost\+found|media|mnt|opt|proc|root|run|srv|sys|tmp|usr|usr/local"
    r"|var|var/(?:backups|cache|lib|local|log|mail|opt|run|spool|tmp)|var/lib/wharf(?:/(?:results|backup)(?:/.*)?)?)?"
)
_OF_OTHERS = re.compile(
    r"(?!/etc/)" + _SYSTEM_DIRECTORY.pattern + r"|/etc(/(apt|ca-certificates|containerd|containers|cron\.\w+|default"
    r"|docker|init\.d|logrotate\.d|nginx|pam\.d|pki|profile\.d|security|ssh|ssl(/certs|/private)?|sudoers\.d|systemd"
    r"|wharf)|/(containerd|containers|docker)/certs\.d(/.*)?)?"
)
LOST = ("/dev/", "/proc/", "/run/", "/sys/", "/var/run/", "/tmp/", "/var/tmp/")


def data_problems(value: object, variable: str) -> list[str]:
    """Judge where the registry keeps its data: an absolute directory of its own, or the name of a volume.

    Null means the default and is good.
    """
    path = value if isinstance(value, str) else ""
    is_directory, parts = path.startswith("/"), path.split("/")
    normal = "/" + posixpath.normpath(path).lstrip("/")  # a leading double slash is normpath's one exception
    faults = {
        "is neither a directory nor a volume": not isinstance(value, str),
        "is not an absolute path": not is_directory and len(parts) > 1,
        "is not the name of a volume (two or more of letters, digits and _.-, but none of these first)": (
            not is_directory and not _VOLUME.fullmatch(path)
        ),
        "has '..' in it": is_directory and ".." in parts,
        "has a colon or a control character in it, which Docker's mounts cannot have": (
            ":" in path or CONTROL.search(path)
        ),
        "is a directory of the system, whose owner would change": is_directory and _SYSTEM_DIRECTORY.fullmatch(normal),
        "is lost at the next reboot, or cleaned up by the system": normal.startswith(LOST),
        "has two slashes at its start, as the shares of other machines have": path.startswith("//"),
    }
    wrong = next((fault for fault, is_there in faults.items() if is_there), None)
    use = "use a directory of its own, such as /var/lib/wharf/registry, or the name of a volume"
    return [f"{variable}: {shown(value)} {wrong}: {use}"] if wrong and value is not None else []


def own_directory_problems(path: str, variable: str, example: str = "") -> list[str]:
    """Judge a directory of the server that only Wharf writes to."""
    default = example or f"/etc/{variable.removesuffix('_directory').replace('_', '/')}"
    if not path.startswith("/") or posixpath.normpath(path) != path.rstrip("/") or ":" in path or CONTROL.search(path):
        wrong = "is not an absolute path without a colon, a dot or a slash too many"
    elif _OF_OTHERS.fullmatch(path.rstrip("/")):
        wrong = "is a directory of the system"
    elif path.startswith(LOST):
        wrong = "is lost at the next reboot, or cleaned up by the system"
    else:
        return []
    return [f"{variable}: {shown(path)} {wrong}: use one of its own, such as {default}"]


def controller_directory_fault(path: str) -> str:
    """Return why a directory of the controller cannot be one that is Wharf's own; empty where it may be."""
    normal = "/" + posixpath.normpath(path).lstrip("/")
    if not path.startswith("/"):
        return "is not the absolute path of a directory on the controller"
    if os.path.isfile(path):
        return "is a file"
    return "is a directory of the system" if _SYSTEM_DIRECTORY.fullmatch(normal) else ""


def is_absolute_path(path: str) -> bool:
    """Tell whether text is an absolute path. A relative one means another file to each that resolves it."""
    return path.startswith(("/", "~/")) and not CONTROL.search(path)


def read_file(path: str, read: Callable[[Any], Read]) -> Read:
    """Return what ``read`` makes of a file on the controller, given its absolute path and open in binary mode.

    Raises:
        ValueError: it is missing or unreadable, or ``read`` refuses it, with the end of the message.
    """
    use = "use the path of a file on the controller that can be read there"
    try:
        if not os.path.exists(full := os.path.expanduser(path)):
            wrong = f"does not exist: {use}"
        elif not os.path.isfile(full):
            wrong = f"is not a file: {use}"
        else:
            with open(full, "rb") as file:
                return read(file)
    except OSError as error:
        wrong = f"cannot be read ({error.strerror or 'input/output error'}): {use}"
    except ValueError as error:
        wrong = str(error)
    raise ValueError(f"{quoted(path, 200)} {wrong}")

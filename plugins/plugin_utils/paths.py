"""Where the registry's data lies, and files on the controller that variables name."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.values import CONTROL, absent, kind, quoted, shown

_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
# Their owner must stay root: the registry's data directory gets the container's user as its owner.
_SYSTEM_DIRECTORY = re.compile(
    r"/(?:bin|boot|dev|etc|home|lib|lib64|opt|proc|root|run|sbin|srv|sys|tmp|usr|usr/local"
    r"|var|var/lib|var/lib/docker|var/log|var/run|var/tmp)?"
)
_LOST_AT_REBOOT = ("/dev/", "/proc/", "/run/", "/sys/", "/var/run/")
_PEM_BYTES = 1024 * 1024


def data_problems(value: object, variable: str) -> list[str]:
    """Judge where the registry keeps its data: an absolute directory of its own, or the name of a volume.

    Null means the default and is good.
    """
    if value is None:
        return []
    if not isinstance(value, str):
        wrong = "is neither a directory nor a volume"
    elif value.startswith("/"):
        wrong = _directory_fault(value)
    elif "/" in value:
        wrong = "is not an absolute path"
    elif not _VOLUME.fullmatch(value):
        wrong = "is not the name of a volume (two or more of letters, digits and _.-, but none of these first)"
    else:
        wrong = None
    use = "use a directory of its own, such as /var/lib/wharf/registry, or the name of a volume"
    return [f"{variable}: {shown(value)} {wrong}: {use}"] if wrong else []


def _directory_fault(path: str) -> str | None:
    """Return why a directory cannot hold the data; None when it can."""
    # A leading double slash is normpath's one exception.
    normal = "/" + posixpath.normpath(path).lstrip("/")
    if ".." in path.split("/"):
        return "has '..' in it"
    if ":" in path or CONTROL.search(path):
        return "has a colon or a control character in it, which Docker's mounts cannot have"
    if _SYSTEM_DIRECTORY.fullmatch(normal):
        return "is a directory of the system, whose owner would change"
    return "is lost at the next reboot" if normal.startswith(_LOST_AT_REBOOT) else None


def pem_problems(value: object, variable: str, block: str = "certificate") -> list[str]:
    """Judge a certificate or key: PEM text, or the path of a PEM file on the controller. Its content is not judged.

    Args:
        value: text; with ``-----BEGIN`` in it, it is PEM itself, otherwise an absolute path (``~`` allowed).
        variable: the variable's name, for the messages.
        block: ``certificate`` or ``key``: which PEM block must be there.

    Returns:
        At most one line. A value that is not a path is never shown: it may be a key.

    Raises:
        ValueError: ``block`` is neither of the two.
    """
    if block not in ("certificate", "key"):
        raise ValueError(f"{shown(block)} is not a kind of PEM: use certificate or key")
    use = "use PEM text or the absolute path of a PEM file on the controller"
    if absent(value):
        return [f"{variable}: is missing: {use}"]
    if not isinstance(value, str):
        return [f"{variable}: {kind(value)} is neither PEM text nor a path: {use}"]
    if "-----BEGIN" in value:
        wrong = _pem_fault(value, block)
        return [f"{variable}: the text {wrong}"] if wrong else []
    if not is_absolute_path(value):
        return [f"{variable}: holds neither PEM text nor an absolute path: {use}"]

    def read(file: Any) -> None:
        wrong = _pem_fault(file.read(_PEM_BYTES).decode("utf-8", "replace"), block)
        if wrong:
            raise ValueError(wrong)

    return file_problems(value, variable, read)


def _pem_fault(text: str, block: str) -> str | None:
    """Return what is wrong with what should be PEM of this kind, and the remedy; None when nothing is."""
    found = re.findall(r"-----BEGIN ([A-Z0-9 ]+)-----", text)
    what, marker = ("private key", "PRIVATE KEY") if block == "key" else ("certificate", "CERTIFICATE")
    if any(label == marker or (block == "key" and label.endswith(marker)) for label in found):
        return None
    if text.startswith("$ANSIBLE_VAULT"):
        return "is encrypted with Ansible Vault: set the variable to its text, with lookup('ansible.builtin.file', ...)"
    if found:
        return f"holds no {what} but a PEM block of another kind ({found[0]}): use one that has a {what}"
    return f"is not PEM: use one that has a line -----BEGIN {marker}-----"


def is_absolute_path(path: str) -> bool:
    """Tell whether text is an absolute path. A relative one means another file to each that resolves it."""
    return path.startswith(("/", "~/")) and not CONTROL.search(path)


def file_problems(path: str, variable: str, read: Callable[[Any], object]) -> list[str]:
    """Judge a file on the controller.

    Args:
        path: its absolute path, ``~`` allowed.
        variable: the variable's name, for the message.
        read: called with the open binary file; raises ValueError with the line's end when the content is wrong.

    Returns:
        At most one line: it is missing, unreadable, or ``read`` refuses it.
    """
    use = "use the path of a file on the controller that can be read there"
    full = os.path.expanduser(path)
    try:
        if not os.path.exists(full):
            wrong = f"does not exist: {use}"
        elif not os.path.isfile(full):
            wrong = f"is not a file: {use}"
        else:
            with open(full, "rb") as file:
                read(file)
            return []
    except OSError as error:
        wrong = f"cannot be read ({error.strerror or 'input/output error'}): {use}"
    except ValueError as error:
        wrong = str(error)
    return [f"{variable}: {quoted(path, 200)} {wrong}"]

"""The password of a backup, as the controller knows it."""

from __future__ import annotations

from pathlib import Path


def backup_password(given: str, path: str) -> str:
    """Return the password of a backup.

    Args:
        given: the password itself; empty where there is only a file.
        path: the file on the controller that a generated one is kept in.

    Returns:
        The password; a text that says so where it is still to be generated.
    """
    if given or not path:
        return given
    try:
        return Path(path).read_text("utf-8").strip()
    except FileNotFoundError:
        return "(still to be generated)"

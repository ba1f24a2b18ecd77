"""What a person must know: the one family of exceptions whose text is shown as it is."""

from __future__ import annotations

import os


class WharfError(Exception):
    """What is wrong, and what to do, in plain words. Never holds a secret."""


class BusyError(WharfError):
    """Something else holds the lock."""


class DamageError(WharfError):
    """The registry's storage lacks something, or holds something else than it should."""


def message_of(error: BaseException) -> str:
    """Return what to tell a person of an error that ended a subcommand."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error) or type(error).__name__
    place = f"{error.filename}: " if error.filename else ""
    remedy = ": run it as root" if isinstance(error, PermissionError) and os.getuid() != 0 else ""
    return f"{place}{error.strerror}{remedy}"

"""What a person must know: the one family of exceptions whose text is shown as it is."""

from __future__ import annotations


class WharfError(Exception):
    """What is wrong, and what to do, in plain words. Never holds a secret."""


class BusyError(WharfError):
    """Something else holds the lock."""


class DamageError(WharfError):
    """The registry's storage lacks something, or holds something else than it should."""

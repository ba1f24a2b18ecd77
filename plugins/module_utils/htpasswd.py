"""The registry's password file: a bcrypt hash for each user.

Python has no bcrypt, the system's libcrypt has.
"""

from __future__ import annotations

import ctypes
import re
import secrets

from .errors import WharfError

_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# The registry takes these prefixes alike: golang.org/x/crypto/bcrypt compares the major version only.
_HASH = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{53}")


def hash_password(password: str, cost: int = 4) -> str:
    """Return a new bcrypt hash of a password. Raises WharfError where the system's library has no bcrypt."""
    # The salt's last character holds two bits only.
    salt = "".join(secrets.choice(_ALPHABET) for _ in range(21)) + secrets.choice(".Oeu")
    return _crypt(password, f"$2b${cost:02}${salt}")


def fits(password: str, hashed: str, cost: int) -> bool:
    """Tell whether a hash is bcrypt's, has this cost, and is this password's."""
    match = _HASH.fullmatch(hashed)
    return bool(match) and int(match["cost"]) == cost and secrets.compare_digest(_crypt(password, hashed), hashed)


def belongs(password: str, hashed: str) -> bool:
    """Tell whether a hash is that of a password, whatever its cost. One that no registry could use is anybody's."""
    return not _HASH.fullmatch(hashed) or secrets.compare_digest(_crypt(password, hashed), hashed)


def hashes_of(text: str) -> dict[str, str]:
    """Return the users of a password file, with their hashes."""
    return dict(line.strip().split(":", 1) for line in text.splitlines() if ":" in line)


def users_of(text: str) -> dict[str, str]:
    """Return the users of lines NAME:PASSWORD, with their passwords."""
    return dict(line.split(":", 1) for line in text.splitlines())


def htpasswd(existing: str, users: dict[str, str], cost: int = 4) -> str:
    """Return the text of the password file for these users, names with passwords in its order.

    A line of the existing text that is right already stays, so that the text equals that one when nothing changes. A
    changed line has a new salt. Checking a line takes one hash. Raises WharfError like ``hash_password``.
    """
    hashes = hashes_of(existing)
    lines = []
    for name, password in users.items():
        hashed = hashes.get(name, "")
        lines.append(f"{name}:{hashed if fits(password, hashed, cost) else hash_password(password, cost)}\n")
    return "".join(lines)


def _crypt(password: str, setting: str) -> str:
    """Return crypt(3) of a password, which must be a bcrypt hash of the same cost."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    hashed = library.crypt(password.encode(), setting.encode())
    if not hashed or hashed[3:7] != setting[3:7].encode():
        raise WharfError("the system's libcrypt knows no bcrypt")
    return hashed.decode()

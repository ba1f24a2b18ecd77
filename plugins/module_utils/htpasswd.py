"""The gateway's password file: a hash for each user, salted SHA-1 or bcrypt.

Every request carries the password, so that the hash decides how many the gateway can answer. Python has no bcrypt, the
system's libcrypt has.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import hashlib
import re
import secrets

from .errors import WharfError

_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# libcrypt takes these prefixes alike.
_BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{53}")
_SHA1 = "{SSHA}"


def hash_password(password: str, cost: int = 0) -> str:
    """Return a new hash of a password: bcrypt's of this cost, or for 0 salted SHA-1.

    Raises:
        WharfError: the system's library has no bcrypt.
    """
    if not cost:
        return _salted(password, secrets.token_bytes(16))
    # The salt's last character holds two bits only.
    salt = "".join(secrets.choice(_ALPHABET) for _ in range(21)) + secrets.choice(".Oeu")
    return _crypt(password, f"$2b${cost:02}${salt}")


def fits(password: str, hashed: str, cost: int) -> bool:
    """Tell whether a hash is of this cost, and of this password."""
    return _cost(hashed) == cost and belongs(password, hashed)


def belongs(password: str, hashed: str) -> bool:
    """Tell whether a hash is that of a password, whatever its cost. One that we would not make is anybody's."""
    cost = _cost(hashed)
    if cost < 0:
        return True
    again = _crypt(password, hashed) if cost else _salted(password, _decoded(hashed)[20:])
    return secrets.compare_digest(again, hashed)


def hashes_of(text: str) -> dict[str, str]:
    """Return the users of a password file, with their hashes."""
    return dict(line.strip().split(":", 1) for line in text.splitlines() if ":" in line)


def users_of(text: str) -> dict[str, str]:
    """Return the users of lines NAME:PASSWORD, with their passwords."""
    return dict(line.split(":", 1) for line in text.splitlines())


def htpasswd(existing: str, users: dict[str, str], cost: int = 0) -> str:
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


def _cost(hashed: str) -> int:
    """Return the cost of a hash, 0 for salted SHA-1; -1 for what is neither this nor bcrypt's."""
    if match := _BCRYPT.fullmatch(hashed):
        return int(match["cost"])
    return 0 if hashed.startswith(_SHA1) and len(_decoded(hashed)) > 20 else -1


def _decoded(hashed: str) -> bytes:
    """Return the SHA-1 with the salt after it; nothing where it cannot be read."""
    try:
        return base64.b64decode(hashed[len(_SHA1) :], validate=True)
    except (binascii.Error, ValueError):
        return b""


def _salted(password: str, salt: bytes) -> str:
    # As nginx reads it. Where SHA-1 is forbidden for signatures, this is none.
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return _SHA1 + base64.b64encode(digest + salt).decode()


def _crypt(password: str, setting: str) -> str:
    """Return crypt(3) of a password, which must be a bcrypt hash of the same cost."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    hashed = library.crypt(password.encode(), setting.encode())
    if not hashed or hashed[3:7] != setting[3:7].encode():
        raise WharfError("the system's libcrypt knows no bcrypt")
    return hashed.decode()

"""Filters that judge a registry's inputs on the controller, before any host changes.

Each ``*_problems`` filter takes a value and the name of the variable that holds it. It answers with a list of lines,
empty when the value is good. A line names the variable, what is wrong, and what would be right. Lines may be shown and
logged: they name users by position and name, and never hold a password, a key or the text around one.

The other filters read a saved image (``registry_archive_image``) and write the password file
(``registry_passwords_needed``, ``registry_with_passwords``, ``registry_htpasswd``).
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import posixpath
import re
import tarfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

NAME_EXAMPLE = "registry.example.com"

COST_LOWEST = 4  # bcrypt's own limit
COST_HIGHEST = 14  # about a second for every request
COST_DEFAULT = 4
COST_SLOW = 10  # from here on guessing is slow enough for passwords that people make up

PASSWORD_BYTES = 72  # bcrypt ignores what follows
USER_NAME_BYTES = 255
USER_KEYS = ["name", "password"]
SCHEDULES = ("daily", "weekly", "monthly")
LOGIN_KEYS = ["user", "name", "password"]

# The grammar of image references. Source: distribution/reference, regexp.go.
_LABEL = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_PATH_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"(?:(?:{_DOMAIN}|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*"
_REFERENCE = re.compile(
    rf"{_REPOSITORY}(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?(?P<digest>@sha256:[0-9a-f]{{64}})?"
)
_NAME = re.compile(_DOMAIN)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_SYSTEM_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{53}")

# Their owner must stay root: the registry's data directory gets the container's user as its owner.
_SYSTEM_DIRECTORY = re.compile(
    r"/(?:bin|boot|dev|etc|home|lib|lib64|opt|proc|root|run|sbin|srv|sys|tmp|usr|usr/local"
    r"|var|var/lib|var/lib/docker|var/log|var/run|var/tmp)?"
)
_LOST_AT_REBOOT = ("/dev/", "/proc/", "/run/", "/sys/", "/var/run/")

_MANIFEST_BYTES = 16 * 1024 * 1024
_PEM_BYTES = 1024 * 1024


# What a message may show --------------------------------------------------------------------------


def shown(value: object) -> str:
    """Return a value as a message shows it: YAML's spelling, one line, cut to 80 characters, no content of lists."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return _quoted(value, 80)
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"a value of type {type(value).__name__}"


def _quoted(text: str, limit: int) -> str:
    """Return text in quotes, control characters escaped, cut to ``limit`` characters."""
    return repr(str(text[:limit]) + ("..." if len(text) > limit else ""))


def _kind(value: object) -> str:
    """Return what sort of value this is without a word of its content: for values that may hold a secret."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    return shown(value)


def _listed(words: list[str]) -> str:
    """Return words as a person lists them: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _relative(variable: str, ending: str) -> str:
    """Return the name of a variable's sister: ``registry_server_users``, ``tls`` -> ``registry_server_tls``."""
    return f"{variable.rpartition('_')[0]}_{ending}"


def absent(value: object) -> bool:
    """Tell whether an optional value was not given: null, or empty text."""
    return value is None or (isinstance(value, str) and value == "")


# Name, aliases, port ------------------------------------------------------------------------------


def registry_name_problems(value: object, variable: str) -> list[str]:
    """Judge the name or IPv4 address that stands in image references.

    :param value: what the variable holds; good are a DNS name in lower case, an IPv4 address and ``localhost``.
    :param variable: the variable's name, for the messages.
    :returns: one line for what does not belong there (scheme, path, port, upper case), one for what is left.
    """
    use = f"the name or IPv4 address that stands in image references, such as {NAME_EXAMPLE}"
    if absent(value):
        return [f"{variable}: is missing: set it to {use}"]
    if not isinstance(value, str):
        return [f"{variable}: {shown(value)} is not a name: use {use}"]
    return _name_problems(value, variable, "")


def registry_aliases_problems(aliases: object, variable: str) -> list[str]:
    """Judge the further names and addresses that the certificate must match.

    :param aliases: list of DNS names, IPv4 and IPv6 addresses, all text; null means none.
    :param variable: the variable's name, for the messages.
    :returns: at least one line for each bad item.
    """
    if aliases is None:
        return []
    if not isinstance(aliases, (list, tuple)):
        return [f"{variable}: {shown(aliases)} is not a list: use a list of names and addresses"]
    problems = []
    for position, alias in enumerate(aliases, start=1):
        where = f"item {position}, "
        if not isinstance(alias, str) or alias == "":
            use = f"use a name or an address, such as {NAME_EXAMPLE}"
            problems.append(f"{variable}: {where}{shown(alias)} is not a name: {use}")
        elif alias.startswith("[") and _is_ipv6(alias.strip("[]")):
            problems.append(f"{variable}: {where}{shown(alias)} has brackets: use {shown(alias.strip('[]'))}")
        elif not _is_ipv6(alias):
            problems += _name_problems(alias, variable, where)
    return problems


def registry_port_problems(value: object, variable: str) -> list[str]:
    """Judge a TCP port: a number from 1 to 65535, or its digits as text. Null means the default and is good."""
    if value is None or 1 <= _whole_number(value) <= 65535:
        return []
    return [f"{variable}: {shown(value)} is not a TCP port: use a number from 1 to 65535"]


def _name_problems(name: str, variable: str, where: str) -> list[str]:
    """Return the problems of a name that is text; ``where`` stands before it in the messages, e.g. ``item 2, ``."""
    rest, faults = _bare_name(name)
    # What stands before an @ may be a password.
    whole = shown("..." + name[name.rindex("@") :] if "@" in name else name)
    wrong = _bare_name_problem(rest)
    problems = []
    if faults:
        use = f"use {shown(rest)}" if wrong is None and "@" not in name else "use the host's name alone"
        port = next((f for f in faults if f.startswith("a port")), None)
        if port and variable.endswith("_name"):
            use += f" (the port has a variable of its own, {_relative(variable, 'port')})"
        elif "upper case letters" in faults:
            use += " (clients look for the certificate under the name exactly as it stands in image references)"
        problems.append(f"{variable}: {where}{whole} has {_listed(faults)}: {use}")
    if wrong is not None and rest:
        problems.append(f"{variable}: {where}{shown(rest)} {wrong}")
    return problems


def _bare_name(name: str) -> tuple[str, list[str]]:
    """Return a name without what does not belong there, in lower case, and a list of what that was."""
    faults = []
    rest = name.strip()
    if rest != name:
        faults.append("white space around it")
    if scheme := _SCHEME.match(rest):
        faults.append(f"a scheme ({scheme.group().lower()})")
        rest = rest[scheme.end() :]
    if "@" in rest:
        rest = rest.rpartition("@")[2]
        faults.append("a user in front of an @")
    if "/" in rest:
        rest, _, path = rest.partition("/")
        faults.append(f"a path ({shown('/' + path)})" if path else "a slash at its end")
    if (match := re.fullmatch(r"(\[.*\]|[^:]*):([^:]*)", rest)) and not _is_ipv6(rest):
        rest = match.group(1)
        faults.append(f"a port ({shown(':' + match.group(2))})" if match.group(2) else "a colon at its end")
    if rest.lower() != rest:
        rest = rest.lower()
        faults.append("upper case letters")
    if rest.endswith(".") and _NAME.fullmatch(rest[:-1]):
        rest = rest[:-1]
        faults.append("a dot at its end")
    return rest, faults


def _bare_name_problem(name: str) -> str | None:
    """Return what is wrong with a name as ``_bare_name`` returns it, and the remedy; None when nothing is."""
    if name == "":
        return f"is empty: use a name such as {NAME_EXAMPLE}"
    if _is_ipv6(name.strip("[]")):
        return "is an IPv6 address, which older Docker clients refuse in image references: use a DNS name for it"
    if name.rpartition(".")[2].isdecimal():
        return _ipv4_problem(name)
    if strange := sorted(set(re.sub(r"[a-z0-9.-]", "", name))):
        also = "" if name.isascii() else "; names in other scripts are written in their xn-- form"
        return f"holds {_listed([shown(c) for c in strange])}: use letters a to z, digits, dots and hyphens only{also}"
    if not _NAME.fullmatch(name):
        return "has an empty part, or a part with a hyphen at its start or end: use a name such as " + NAME_EXAMPLE
    if len(name) > 253:
        return f"has {len(name)} characters: use a name of at most 253"
    if longest := next((label for label in name.split(".") if len(label) > 63), None):
        return f"has a part of {len(longest)} characters: use at most 63 between two dots"
    return None


def _ipv4_problem(text: str) -> str | None:
    """Return what is wrong with text that ends in a number, which only an IPv4 address may; None when nothing is."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return "is not an IPv4 address: use four numbers from 0 to 255, such as 192.0.2.10, or a name"
    if address.is_unspecified or address.is_multicast or int(address) == 0xFFFFFFFF:
        return "is not an address that a client can reach: use the server's own address or name"
    return None


def _is_ipv6(text: str) -> bool:
    """Tell whether text is an IPv6 address without a zone (a certificate cannot hold a zone)."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def _whole_number(value: object) -> int:
    """Return an integer, or text that holds one in plain digits (as ``-e`` hands it in); -1 for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"0|[1-9][0-9]{0,8}", value):
        return int(value)
    return -1


# Users --------------------------------------------------------------------------------------------


def registry_boolean_problems(value: object, variable: str) -> list[str]:
    """Judge a boolean. Null means the default and is good; text such as ``yes`` is not."""
    if value is None or isinstance(value, bool):
        return []
    return [f"{variable}: {shown(value)} is not a boolean: use true or false, without quotes"]


def registry_schedule_problems(value: object, variable: str) -> list[str]:
    """Judge how often something happens by itself: daily, weekly, monthly, or never, which is empty text or null."""
    if absent(value) or value in SCHEDULES:
        return []
    return [f"{variable}: {shown(value)} is unknown: use {', '.join(SCHEDULES)}, or nothing at all for never"]


def registry_cost_problems(value: object, variable: str) -> list[str]:
    """Judge bcrypt's cost, the base-2 logarithm of its rounds: 4 to 14. Null means the default and is good."""
    if value is None or COST_LOWEST <= _whole_number(value) <= COST_HIGHEST:
        return []
    use = f"use a number from {COST_LOWEST} to {COST_HIGHEST}"
    why = "the registry hashes on every request, and each step doubles the time"
    return [f"{variable}: {shown(value)} is not a bcrypt cost: {use} ({why})"]


def registry_user_problems(
    users: object, variable: str, anonymous: object = False, tls: object = True, cost: object = COST_DEFAULT
) -> list[str]:
    """Judge the list of users, each alone and all together with who else may come in.

    :param users: list of mappings ``{name: text, password: text}``; ``password`` may be left out, then one is
        generated. Null means no users.
    :param variable: the variable's name; the messages derive its sisters from it (``..._anonymous``).
    :param anonymous: whether the registry is open to everyone. Not judged here: see ``registry_boolean_problems``.
    :param tls: whether the registry speaks TLS.
    :param cost: bcrypt's cost; says how strong a password must be. Not judged here: see ``registry_cost_problems``.
    :returns: the problems, in the order of the list. No line holds a password.
    """
    if users is None:
        users = []
    if not isinstance(users, (list, tuple)):
        return [f"{variable}: {_kind(users)} is not a list: use a list of mappings with name and password"]

    problems = []
    seen: dict[str, int] = {}
    for position, user in enumerate(users, start=1):
        problems += [f"{variable}: {problem}" for problem in _one_user_problems(user, position, seen, cost)]

    openness = _relative(variable, "anonymous")
    if not users and anonymous is False:
        problems.append(
            f"{variable}: is empty: give at least one user (a password is made where none is given),"
            f" or set {openness} to true to open the registry to everyone"
        )
    if users and anonymous is True:
        problems.append(
            f"{variable}: users are given but {openness} is true, and a registry that is open to everyone asks for no"
            f" user: remove the users or set {openness} to false"
        )
    if users and tls is False:
        problems.append(
            f"{variable}: users need TLS, because clients send no password over plain HTTP, where anyone could read it:"
            f" use TLS, or remove the users and set {openness} to true"
        )
    return problems


def _one_user_problems(user: object, position: int, seen: dict[str, int], cost: object) -> list[str]:
    """Return the problems of one item; ``seen`` maps the names so far to their positions and gets this one's."""
    who = f"user {position}"
    if not isinstance(user, Mapping):
        return [f"{who} is {_kind(user)}, not a mapping: use name and password, as in {{name: alice, password: ...}}"]

    name = user.get("name")
    if isinstance(name, str) and name:
        # Behind a colon may stand the password, as in alice:secret.
        head, colon, _ = name.partition(":")
        who += f" ({_quoted(head, 40)}{', then a colon' if colon else ''})"
    problems = [f"{who} {problem}" for problem in (_keys_problem(user, USER_KEYS), _user_name_problem(user)) if problem]
    if isinstance(name, str) and name:
        if name in seen:
            problems.append(f"{who} stands in the list twice, first as user {seen[name]}: use each name once")
        seen.setdefault(name, position)
    if "password" in user and (problem := _password_problem(user["password"], cost)):
        problems.append(f"{who} {problem}")
    return problems


def _keys_problem(item: Mapping[Any, Any], keys: list[str]) -> str | None:
    """Return the line's end about unknown keys. A key without a value may be a secret: it is not shown."""
    unknown = [key for key in item if key not in keys]
    if not unknown:
        return None
    use = f"use {_listed(keys)} only"
    plain = [
        key
        for key in unknown
        if isinstance(key, str) and re.fullmatch("[A-Za-z_]{1,20}", key) and item[key] is not None
    ]
    if plain != unknown:
        return f"has a key that does not belong there: {use}"
    what = "the unknown key" if len(plain) == 1 else "the unknown keys"
    return f"has {what} {_listed([shown(key) for key in plain])}: {use}"


def _user_name_problem(user: Mapping[Any, Any]) -> str | None:
    """Return the line's end about a user's name, None when it is good.

    Source: distribution, registry/auth/htpasswd/htpasswd.go.
    """
    name = user.get("name")
    if absent(name):
        return "has no name: give one"
    if not isinstance(name, str):
        return f"has {_kind(name)} as name: use text, in quotes where YAML would read a number"
    if ":" in name:
        return "has a colon in the name, which ends the name in the password file: use a name without one"
    if _CONTROL.search(name) or any(character.isspace() for character in name):
        return "has white space or a control character in the name: use a name without"
    if name.startswith("#"):
        return "has a name that starts with #, which makes its line in the password file a comment: use another name"
    if (size := _utf8_bytes(name)) is None:
        return "has a name that is not valid Unicode: use another name"
    if size > USER_NAME_BYTES:
        return f"has a name of {size} bytes: use at most {USER_NAME_BYTES}"
    return None


def _password_problem(password: object, cost: object) -> str | None:
    """Return the line's end about a password that was given, None when it is good. It tells nothing of the password."""
    if absent(password):
        return "has an empty password: give one, or leave password out and one is made"
    if problem := _password_form_problem(password):
        return problem
    rounds = COST_DEFAULT if cost is None else _whole_number(cost)
    if not COST_LOWEST <= rounds <= COST_HIGHEST:
        return None
    length, different = (20, 8) if rounds < COST_SLOW else (8, 5)
    if len(password) >= length and len(set(password)) >= different:
        return None
    need = f"has a password that is too weak for bcrypt cost {rounds}: use at least {length} characters, {different} of"
    need += " them different, or leave password out and one is made"
    if rounds < COST_SLOW:
        need += " (the registry hashes on every request, so the cost is low and long random passwords make up for it)"
    return need


def _password_form_problem(password: object) -> str | None:
    """Return the line's end about a password that bcrypt or a client could not take, however strong it is."""
    if absent(password):
        return "has an empty password: give one"
    if not isinstance(password, str):
        return f"has {_kind(password)} as password: use text, in quotes where YAML would read a number"
    if _CONTROL.search(password):
        return "has a line break or another control character in the password: use a password without"
    if (size := _utf8_bytes(password)) is None:
        return "has a password that is not valid Unicode: use another password"
    if size > PASSWORD_BYTES:
        return f"has a password of more than {PASSWORD_BYTES} bytes, and bcrypt ignores the rest: use a shorter one"
    return None


def registry_login_problems(logins: object, variable: str, names: object = None) -> list[str]:
    """Judge who logs in on the clients: system users, each with the name of a registry's user.

    :param logins: list of mappings ``{user: text, name: text, password: text}``; ``password`` may be left out where the
        play knows it. Null means nobody.
    :param variable: the variable's name, for the messages.
    :param names: list of the names that the registry knows; null where that is not known here.
    :returns: the problems, in the order of the list. No line holds a password.
    """
    if logins is None:
        return []
    if not isinstance(logins, (list, tuple)):
        return [f"{variable}: {_kind(logins)} is not a list: use a list of mappings with user, name and password"]
    problems = []
    seen: dict[str, int] = {}
    for position, login in enumerate(logins, start=1):
        problems += [f"{variable}: {problem}" for problem in _one_login_problems(login, position, seen, names)]
    return problems


def _one_login_problems(login: object, position: int, seen: dict[str, int], names: object) -> list[str]:
    """Return the problems of one item; ``seen`` maps the system users so far to their positions and gets this one's."""
    who = f"login {position}"
    if not isinstance(login, Mapping):
        return [f"{who} is {_kind(login)}, not a mapping: use user, name and password"]
    user = login.get("user")
    found = [_keys_problem(login, LOGIN_KEYS)]
    if isinstance(user, str) and _SYSTEM_USER.fullmatch(user):
        who += f" ({_quoted(user, 40)})"
        if user in seen:
            found.append(f"stands in the list twice, first as login {seen[user]}: use each system user once")
        seen.setdefault(user, position)
    else:
        found.append("has no system user of the client under user: give its name, such as deploy")
    wrong_name = _user_name_problem(login)
    found.append(wrong_name)
    if wrong_name is None and isinstance(names, (list, tuple)) and login["name"] not in names:
        found.append(f"logs in as {_quoted(login['name'], 40)}, whom the registry does not know: use one of its users")
    if "password" in login:
        found.append(_password_form_problem(login["password"]))
    return [f"{who} {problem}" for problem in found if problem]


def _utf8_bytes(text: str) -> int | None:
    """Return the length of text in UTF-8 bytes, None when it has no UTF-8 form."""
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return None


# The password file --------------------------------------------------------------------------------


def registry_passwords_needed(users: list[Mapping[str, Any]] | None) -> list[str]:
    """Return the names of the users that have no password yet, in the list's order.

    :param users: list of mappings ``{name, password}`` that ``registry_user_problems`` found good; null means none.
    """
    return [str(user["name"]) for user in users or [] if absent(user.get("password"))]


def registry_with_passwords(
    users: list[Mapping[str, Any]] | None, passwords: Mapping[str, str] | None
) -> list[dict[str, str]]:
    """Return the users, each with a password: its own, or else the one that ``passwords`` has for its name.

    :param users: list of mappings ``{name, password}`` that ``registry_user_problems`` found good; null means none.
    :param passwords: mapping of user name to password; names that are not asked for are ignored.
    :raises ValueError: a user has no password here nor there. The message holds the name only.
    """
    complete = []
    for position, user in enumerate(users or [], start=1):
        password = user.get("password")
        if absent(password):
            password = (passwords or {}).get(user["name"])
        if absent(password):
            raise ValueError(f"user {position} ({_quoted(user['name'], 40)}) has no password, and none was made for it")
        complete.append({"name": str(user["name"]), "password": str(password)})
    return complete


def registry_htpasswd(existing: str | None, users: list[Mapping[str, str]] | None, cost: int = COST_DEFAULT) -> str:
    """Return the text of the htpasswd file for these users, and touch no line that is right already.

    A line stays when its hash has the wanted cost and fits the password; so the text equals ``existing`` when nothing
    is due. Otherwise a new hash with a new salt is made: template the result once. Users that are not in the list are
    dropped.

    The registry takes the prefixes 2a, 2b and 2y alike (golang.org/x/crypto/bcrypt compares the major version only);
    new hashes are 2b.

    :param existing: the file's text now; null or empty when there is none.
    :param users: list of mappings ``{name, password}``, complete (``registry_with_passwords``).
    :param cost: bcrypt's cost, 4 to 14. Checking a kept line takes one hash at that cost for each user.
    :returns: one line ``name:hash`` for each user in the list's order, each with its line break; empty for no users.
    :raises ValueError: the package bcrypt is missing, the cost is out of range, or a user has no usable name or
        password. No message holds a password or a hash.
    """
    rounds = _whole_number(cost)
    if not COST_LOWEST <= rounds <= COST_HIGHEST:
        raise ValueError(f"{shown(cost)} is not a bcrypt cost: use a number from {COST_LOWEST} to {COST_HIGHEST}")
    users = users or []
    if not users:
        return ""
    bcrypt = _import_bcrypt()
    hashes = dict(line.strip().split(":", 1) for line in (existing or "").splitlines() if ":" in line)
    lines = []
    for position, user in enumerate(users, start=1):
        name, password = user["name"], user.get("password")
        if _user_name_problem(user) or _password_form_problem(password):
            who = f"user {position} ({_quoted(str(name).partition(':')[0], 40)})"
            raise ValueError(f"{who} has no usable name or password")
        secret = str(password).encode("utf-8")
        line = hashes.get(name, "")
        if not _hash_fits(bcrypt, line, secret, rounds):
            line = bcrypt.hashpw(secret, bcrypt.gensalt(rounds, prefix=b"2b")).decode("ascii")
        lines.append(f"{name}:{line}\n")
    return "".join(lines)


def _hash_fits(bcrypt: Any, line: str, secret: bytes, cost: int) -> bool:
    """Tell whether a hash is bcrypt's, has this cost and fits the password."""
    match = _BCRYPT.fullmatch(line)
    if not match or int(match.group("cost")) != cost:
        return False
    try:
        return bool(bcrypt.checkpw(secret, line.encode("ascii")))
    except ValueError:
        return False


def _import_bcrypt() -> Any:
    """Return the module bcrypt; only here, so that every other filter works without it."""
    try:
        import bcrypt
    except ImportError:
        raise ValueError(
            "the Python package bcrypt is missing on the controller: install what requirements.txt lists"
        ) from None
    return bcrypt


# Data and image -----------------------------------------------------------------------------------


def registry_data_problems(value: object, variable: str) -> list[str]:
    """Judge where the registry keeps its data: an absolute directory of its own, or the name of a volume.

    Null means the default and is good.
    """
    use = "use a directory of its own, such as /var/lib/wharf/registry, or the name of a volume"
    if value is None:
        return []
    if not isinstance(value, str):
        return [f"{variable}: {shown(value)} is neither a directory nor a volume: {use}"]
    wrong = None
    if not value.startswith("/"):
        if "/" in value:
            wrong = "is not an absolute path"
        elif not _VOLUME.fullmatch(value):
            wrong = "is not the name of a volume (two or more of letters, digits and _.-, but none of these first)"
    else:
        # A leading double slash is normpath's one exception.
        path = "/" + posixpath.normpath(value).lstrip("/")
        if ".." in value.split("/"):
            wrong = "has '..' in it"
        elif ":" in value or _CONTROL.search(value):
            wrong = "has a colon or a control character in it, which Docker's mounts cannot have"
        elif _SYSTEM_DIRECTORY.fullmatch(path):
            wrong = "is a directory of the system, whose owner would change"
        elif path.startswith(_LOST_AT_REBOOT):
            wrong = "is lost at the next reboot"
    return [f"{variable}: {shown(value)} {wrong}: {use}"] if wrong else []


def registry_image_problems(value: object, variable: str) -> list[str]:
    """Judge the reference of the registry's image: pinned by a tag or a digest, and not ``latest``.

    Null means the default and is good.
    """
    use = "use one such as registry:2.8.3 or registry@sha256:..."
    if value is None:
        return []
    if not isinstance(value, str):
        return [f"{variable}: {shown(value)} is not an image reference: {use}"]
    match = _REFERENCE.fullmatch(value)
    if not match:
        return [f"{variable}: {shown(value)} is not an image reference: {use}"]
    if match.group("digest"):
        return []
    if match.group("tag") is None:
        return [f"{variable}: {shown(value)} is not pinned, it has neither tag nor digest: {use}"]
    if match.group("tag") == "latest":
        return [f"{variable}: {shown(value)} is not pinned, latest is another image tomorrow: {use}"]
    return []


def registry_archive_problems(path: object, variable: str) -> list[str]:
    """Judge a saved image on the controller: what ``docker save`` writes, plain or packed with gzip.

    :param path: absolute path of the file; ``~`` is the home directory of who runs Ansible.
    :param variable: the variable's name, for the messages.
    :returns: at most one line. An archive with several images is good: its first is taken.
    """
    use = 'use the absolute path of what docker save wrote, such as "{{ inventory_dir }}/files/registry.tar"'
    if absent(path):
        return [f"{variable}: is missing: {use}"]
    if not isinstance(path, str) or not _is_whole_path(path):
        return [f"{variable}: {shown(path)} is not the absolute path of a file: {use}"]
    return _about_file(path, variable, _read_archive)


def registry_archive_image(path: str) -> dict[str, Any]:
    """Return which image a saved image file holds.

    The id is the digest of the image's configuration, which is what an engine with the classic image store shows as
    the image's id. It is computed from the configuration itself, so it holds for every layout: ``<hex>.json`` (docker
    save up to 24) and ``blobs/sha256/<hex>`` (25 and newer). Source: moby, image/tarexport/load.go.

    :param path: absolute path on the controller of a tar archive, plain or packed with gzip.
    :returns: ``{'id': 'sha256:<64 hex>', 'tags': [text, ...], 'layers': ['sha256:<64 hex>', ...], 'version': text}`` of
        the first image; the layers are the digests of their unpacked content, the lowest first; the version is empty
        where no label tells it.
    :raises ValueError: the file cannot be read or holds no image.
    """
    if problems := registry_archive_problems(path, "image archive"):
        raise ValueError(problems[0])
    with open(os.path.expanduser(path), "rb") as file:
        return _read_archive(file)


def _read_archive(file: Any) -> dict[str, Any]:
    """Return the first image of an open archive, as ``registry_archive_image`` does.

    :raises ValueError: it is no archive of an image; the message ends a line that begins with the path.
    """
    remedy = "make it with docker save IMAGE -o FILE"
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    opened = False
    try:
        with tarfile.open(fileobj=file, mode="r:gz" if packed else "r:") as archive:
            opened = True
            members = {posixpath.normpath(member.name): member for member in archive.getmembers()}
            manifest = _member_bytes(archive, members, "manifest.json")
            image = _first_image(manifest) if manifest is not None else None
            configuration = _member_bytes(archive, members, image["Config"]) if image else None
    except (tarfile.TarError, EOFError, zlib.error, OSError):
        wrong = "is damaged or cut short" if opened else "is not a tar archive, plain or packed with gzip"
        raise ValueError(f"{wrong}: {remedy}") from None
    if manifest is None:
        raise ValueError(f"holds no image, it has no manifest.json: {remedy}")
    if image is None:
        raise ValueError(f"holds no image, its manifest.json names none: {remedy}")
    if configuration is None:
        raise ValueError(f"holds no image, the configuration that its manifest.json names is missing: {remedy}")
    return {
        "id": "sha256:" + hashlib.sha256(configuration).hexdigest(),
        "tags": [tag for tag in image.get("RepoTags") or [] if isinstance(tag, str)],
        "layers": _layers(configuration),
        "version": _version(configuration),
    }


def _version(configuration: bytes) -> str:
    """Return the version that an image's label tells; empty where it has none."""
    try:
        return str((json.loads(configuration)["config"]["Labels"] or {})["org.opencontainers.image.version"])
    except (ValueError, KeyError, TypeError):
        return ""


def _layers(configuration: bytes) -> list[str]:
    """Return the diff ids of an image's configuration; empty when it is none that an engine would take."""
    try:
        return [str(layer) for layer in json.loads(configuration)["rootfs"]["diff_ids"]]
    except (ValueError, KeyError, TypeError):
        return []


def _member_bytes(archive: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], name: str) -> bytes | None:
    """Return the content of a file in an archive; None when there is no such file, or one of absurd size."""
    member = members.get(posixpath.normpath(name))
    if member is None or not member.isfile() or member.size > _MANIFEST_BYTES:
        return None
    file = archive.extractfile(member)
    return file.read() if file else None


def _first_image(manifest: bytes) -> dict[str, Any] | None:
    """Return the first entry of a manifest.json if it names a configuration, None otherwise."""
    try:
        images = json.loads(manifest)
    except ValueError:
        return None
    first = images[0] if isinstance(images, list) and images else None
    return first if isinstance(first, dict) and isinstance(first.get("Config"), str) and first["Config"] else None


# PEM ----------------------------------------------------------------------------------------------


def registry_pem_problems(value: object, variable: str, kind: str = "certificate") -> list[str]:
    """Judge a certificate or key: PEM text, or the path of a PEM file on the controller. Its content is not judged.

    :param value: text; with ``-----BEGIN`` in it, it is PEM itself, otherwise an absolute path (``~`` allowed).
    :param variable: the variable's name, for the messages.
    :param kind: ``certificate`` or ``key``: which PEM block must be there.
    :returns: at most one line. A value that is not a path is never shown: it may be a key.
    :raises ValueError: ``kind`` is neither of the two.
    """
    if kind not in ("certificate", "key"):
        raise ValueError(f"{shown(kind)} is not a kind of PEM: use certificate or key")
    use = "use PEM text or the absolute path of a PEM file on the controller"
    if absent(value):
        return [f"{variable}: is missing: {use}"]
    if not isinstance(value, str):
        return [f"{variable}: {_kind(value)} is neither PEM text nor a path: {use}"]
    if "-----BEGIN" in value:
        wrong = _pem_problem(value, kind)
        return [f"{variable}: the text {wrong}"] if wrong else []
    if not _is_whole_path(value):
        return [f"{variable}: holds neither PEM text nor an absolute path: {use}"]

    def read(file: Any) -> None:
        wrong = _pem_problem(file.read(_PEM_BYTES).decode("utf-8", "replace"), kind)
        if wrong:
            raise ValueError(wrong)

    return _about_file(value, variable, read)


def _pem_problem(text: str, kind: str) -> str | None:
    """Return what is wrong with what should be PEM of this kind, and the remedy; None when nothing is."""
    blocks = re.findall(r"-----BEGIN ([A-Z0-9 ]+)-----", text)
    keys = [block for block in blocks if block.endswith("PRIVATE KEY")]
    found = keys if kind == "key" else [block for block in blocks if block == "CERTIFICATE"]
    what = "private key" if kind == "key" else "certificate"
    if found:
        return None
    if text.startswith("$ANSIBLE_VAULT"):
        return "is encrypted with Ansible Vault: set the variable to its text, with lookup('ansible.builtin.file', ...)"
    if blocks:
        return f"holds no {what} but a PEM block of another kind ({blocks[0]}): use one that has a {what}"
    return f"is not PEM: use one that has a line -----BEGIN {'PRIVATE KEY' if kind == 'key' else 'CERTIFICATE'}-----"


# Files on the controller --------------------------------------------------------------------------


def _is_whole_path(path: str) -> bool:
    """Tell whether text is an absolute path. A relative one means another file to each that resolves it."""
    return path.startswith(("/", "~/")) and not _CONTROL.search(path)


def _about_file(path: str, variable: str, read: Callable[[Any], object]) -> list[str]:
    """Return the problem of a file as a list of at most one line: it is missing, unreadable, or ``read`` refuses it.

    :param read: called with the open binary file; raises ValueError with the line's end when the content is wrong.
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
    return [f"{variable}: {_quoted(path, 200)} {wrong}"]

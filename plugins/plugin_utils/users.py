"""The registry's users and their generated passwords, and who logs in on clients."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.values import (
    CONTROL,
    absent,
    kind,
    quoted,
    shown,
    sibling,
    whole_number,
)

COST_LOWEST = 4  # bcrypt's own limit
COST_HIGHEST = 14  # about a second for every request
COST_DEFAULT = 4
COST_SLOW = 10  # from here on guessing is slow enough for passwords that people make up
PASSWORD_BYTES = 72  # bcrypt ignores what follows
USER_NAME_BYTES = 255

_SYSTEM_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")


def cost_problems(value: object, variable: str) -> list[str]:
    """Judge bcrypt's cost, the base-2 logarithm of its rounds: 4 to 14. Null means the default and is good."""
    if value is None or COST_LOWEST <= whole_number(value) <= COST_HIGHEST:
        return []
    use = f"use a number from {COST_LOWEST} to {COST_HIGHEST}"
    why = "the registry hashes on every request, and each step doubles the time"
    return [f"{variable}: {shown(value)} is not a bcrypt cost: {use} ({why})"]


def user_problems(
    users: Sequence[Mapping[str, Any]] | None,
    variable: str,
    anonymous: bool = False,
    tls: bool = True,
    cost: object = COST_DEFAULT,
) -> list[str]:
    """Judge the list of users, each alone and all together with who else may come in.

    Args:
        users: list of mappings ``{name: text, password: text}``; ``password`` may be left out, then one is generated.
        variable: the variable's name; the messages derive the names beside it from it (``..._anonymous``).
        anonymous: whether the registry is open to everyone.
        tls: whether the registry speaks TLS.
        cost: bcrypt's cost; says how strong a password must be. Not judged here: see ``cost_problems``.

    Returns:
        The problems, in the order of the list. No line holds a password.
    """
    problems = []
    seen: dict[str, int] = {}
    for position, user in enumerate(users or [], start=1):
        problems += [f"{variable}: {problem}" for problem in _one_user_problems(user, position, seen, cost)]
    openness = sibling(variable, "anonymous")
    if not users and not anonymous:
        problems.append(
            f"{variable}: is empty: give at least one user (a password is made where none is given),"
            f" or set {openness} to true to open the registry to everyone"
        )
    if users and anonymous:
        problems.append(
            f"{variable}: users are given but {openness} is true, and a registry that is open to everyone asks for no"
            f" user: remove the users or set {openness} to false"
        )
    if users and not tls:
        problems.append(
            f"{variable}: users need TLS, because clients send no password over plain HTTP, where anyone could read it:"
            f" use TLS, or remove the users and set {openness} to true"
        )
    return problems


def _one_user_problems(user: Mapping[str, Any], position: int, seen: dict[str, int], cost: object) -> list[str]:
    """Return the problems of one item; ``seen`` maps the names so far to their positions and gets this one's."""
    who, name = f"user {position}", user.get("name")
    if isinstance(name, str) and name:
        # Behind a colon may stand the password, as in alice:secret.
        head, colon, _ = name.partition(":")
        who += f" ({quoted(head, 40)}{', then a colon' if colon else ''})"
    problems = [f"{who} {problem}" for problem in [_user_name_fault(name)] if problem]
    if isinstance(name, str) and name:
        if name in seen:
            problems.append(f"{who} stands in the list twice, first as user {seen[name]}: use each name once")
        seen.setdefault(name, position)
    if "password" in user and (problem := _password_fault(user["password"], cost)):
        problems.append(f"{who} {problem}")
    if "password" not in user and ("/" in str(name) or str(name).startswith(".")):
        problems.append(
            f"{who} has no password, and one that is generated could not be kept in a file of that name: use another"
            " name, or give it a password"
        )
    return problems


def login_problems(
    logins: Sequence[Mapping[str, Any]] | None, variable: str, names: Sequence[str] | None = None
) -> list[str]:
    """Judge who logs in on the clients: system users, each with the name of a registry's user.

    Args:
        logins: list of mappings ``{user: text, name: text, password: text}``; ``password`` may be left out where the
            play knows it.
        variable: the variable's name, for the messages.
        names: the names that the registry knows; null where that is not known here.

    Returns:
        The problems, in the order of the list. No line holds a password.
    """
    problems = []
    seen: dict[str, int] = {}
    for position, login in enumerate(logins or [], start=1):
        problems += [f"{variable}: {problem}" for problem in _one_login_problems(login, position, seen, names)]
    return problems


def _one_login_problems(
    login: Mapping[str, Any], position: int, seen: dict[str, int], names: Sequence[str] | None
) -> list[str]:
    """Return the problems of one item; ``seen`` maps the system users so far to their positions and gets this one's."""
    who, user, name = f"login {position}", login.get("user"), login.get("name")
    found: list[str | None] = []
    if isinstance(user, str) and _SYSTEM_USER.fullmatch(user):
        who += f" ({quoted(user, 40)})"
        if user in seen:
            found.append(f"stands in the list twice, first as login {seen[user]}: use each system user once")
        seen.setdefault(user, position)
    else:
        found.append("has no system user of the client under user: give its name, such as deploy")
    fault = _user_name_fault(name)
    if fault is None and names is not None and name not in names:
        fault = f"logs in as {quoted(str(name), 40)}, whom the registry does not know: use one of its users"
    found.append(fault)
    if "password" in login:
        found.append(_password_form_fault(login["password"]))
    return [f"{who} {problem}" for problem in found if problem]


def _user_name_fault(name: object) -> str | None:
    """Return the line's end about a user's name, None when it is good.

    Source: distribution, registry/auth/htpasswd/htpasswd.go.
    """
    if absent(name):
        return "has no name: give one"
    if not isinstance(name, str):
        return f"has {kind(name)} as name: use text, in quotes where YAML would read a number"
    if ":" in name:
        return "has a colon in the name, which ends the name in the password file: use a name without one"
    if CONTROL.search(name) or any(character.isspace() for character in name):
        return "has white space or a control character in the name: use a name without"
    if name.startswith("#"):
        return "has a name that starts with #, which makes its line in the password file a comment: use another name"
    if (size := _utf8_bytes(name)) is None:
        return "has a name that is not valid Unicode: use another name"
    if size > USER_NAME_BYTES:
        return f"has a name of {size} bytes: use at most {USER_NAME_BYTES}"
    return None


def _password_fault(password: object, cost: object) -> str | None:
    """Return the line's end about a password that was given, None when it is good. It tells nothing of the password."""
    if absent(password):
        return "has an empty password: give one, or leave password out and one is made"
    if fault := _password_form_fault(password):
        return fault
    rounds = COST_DEFAULT if cost is None else whole_number(cost)
    length, different = (20, 8) if rounds < COST_SLOW else (8, 5)
    judged = COST_LOWEST <= rounds <= COST_HIGHEST
    if not judged or (len(str(password)) >= length and len(set(str(password))) >= different):
        return None
    fault = (
        f"has a password that is too weak for bcrypt cost {rounds}: use at least {length} characters, {different} of"
    )
    fault += " them different, or leave password out and one is made"
    if rounds < COST_SLOW:
        fault += " (the registry hashes on every request, so the cost is low and long random passwords make up for it)"
    return fault


def _password_form_fault(password: object) -> str | None:
    """Return the line's end about a password that bcrypt or a client could not take, however strong it is."""
    if absent(password):
        return "has an empty password: give one"
    if not isinstance(password, str):
        return f"has {kind(password)} as password: use text, in quotes where YAML would read a number"
    if CONTROL.search(password):
        return "has a line break or another control character in the password: use a password without"
    if (size := _utf8_bytes(password)) is None:
        return "has a password that is not valid Unicode: use another password"
    if size > PASSWORD_BYTES:
        return f"has a password of more than {PASSWORD_BYTES} bytes, and bcrypt ignores the rest: use a shorter one"
    return None


def _utf8_bytes(text: str) -> int | None:
    """Return the length of text in UTF-8 bytes, None when it has no UTF-8 form."""
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return None


def passwords_of(users: Sequence[Mapping[str, Any]] | None, directory: str) -> dict[str, str]:
    """Return the users with their passwords, given or generated; an empty one is still to be generated.

    Args:
        users: list of mappings ``{name, password}`` that ``user_problems`` found good.
        directory: where generated passwords are on the controller, each in a file of the user's name.
    """
    passwords = {}
    for user in users or []:
        file = Path(directory, user["name"])
        generated = file.read_text("utf-8").strip() if absent(user.get("password")) and file.is_file() else ""
        passwords[user["name"]] = generated or str(user.get("password") or "")
    return passwords


def users_with_passwords(
    users: Sequence[Mapping[str, Any]], directory: str, placeholder: str | None = None
) -> list[dict[str, str]]:
    """Return the users, each with a password; arguments as for ``passwords_of``.

    ``placeholder`` stands for a password that is still to be generated (in check mode). Without it, a ValueError says
    what to do about one that was generated elsewhere, or not yet.
    """
    found = []
    for name, password in passwords_of(users, directory).items():
        if not password and placeholder is None:
            raise ValueError(
                f"wharf_registry_users: {name} has no password, and none was generated into {Path(directory, name)}:"
                " run playbooks/deploy-registry.yml from here, or copy the file from where it was run"
            )
        found.append({"name": name, "password": password or str(placeholder)})
    return found


def logins_with_passwords(
    logins: Sequence[Mapping[str, str]], users: Sequence[Mapping[str, str]]
) -> list[dict[str, str]]:
    """Return the logins, each of a system user as one of these users, with the user's password."""
    passwords = {user["name"]: user["password"] for user in users}
    return [{**login, "password": passwords[login["name"]]} for login in logins]

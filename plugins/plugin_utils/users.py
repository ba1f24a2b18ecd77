"""The registry's users and their passwords, and who logs in on clients."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.credentials import (
    file_name_fault,
    read_password,
    same_file,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.values import CONTROL, absent, quoted, shown, whole_number

COST_DEFAULT = 0  # salted SHA-1
COSTS = (0, *range(4, 15))  # from bcrypt's own limit to about a second for every request
COST_SLOW = 10  # from here on guessing is slow enough for passwords that people make up

# What an htpasswd file, /etc/shadow or a hashing filter holds: with it as the password nobody could log in as expected.
_HASH = re.compile(r"([^:]+:)?(\$(2[abxy]?|apr1|1|5|6|y|7|argon2\w*)\$|\{(S?SHA|SSHA\d*|CRYPT|MD5)\}).+")
# Passwords that stand in documentation, the example's among them (inventories/example).
_PUBLISHED = re.compile(
    r"replace[-_ ]?(this|me)|change[-_ ]?(this|me)|(your|example|secret|my)[-_ ]?password", re.IGNORECASE
)


def cost_problems(value: object, variable: str) -> list[str]:
    """Judge bcrypt's cost, the base-2 logarithm of its rounds, or 0. Null means the default and is good."""
    if value is None or whole_number(value) in COSTS:
        return []
    use = f"use 0 for the quick hash of long passwords, or a number from {COSTS[1]} to {COSTS[-1]}"
    why = "passwords are checked at every request, and each step doubles the time"
    return [f"{variable}: {shown(value)} is not a bcrypt cost: {use} ({why})"]


def user_problems(
    users: Sequence[Mapping[str, Any]] | None,
    variable: str,
    anonymous: bool = False,
    tls: bool = True,
    cost: object = COST_DEFAULT,
) -> list[str]:
    """Judge the list of users, each alone and all together with who else may come in. No line holds a password.

    Args:
        users: list of mappings ``{name: text, role: text, password: text}``; without ``password`` one is generated.
            The roles are judged by their specification.
        variable: the variable's name; the messages derive the names beside it from it (``..._anonymous``).
        anonymous: whether the registry is open to everyone.
        tls: whether the registry speaks TLS.
        cost: bcrypt's cost, or 0; says how strong a password must be. Not judged here: see ``cost_problems``.
    """
    problems = _problems_of_each(users, variable, "user", "name", lambda user: _user_faults(user, cost))
    problems += _alike(users or [], variable)
    openness = f"{variable.removesuffix('users')}anonymous"
    if not users and not anonymous:
        problems.append(
            f"{variable}: is empty: give at least one user (a password is made where none is given),"
            f" or set {openness} to true to open the registry to everyone"
        )
    if users and anonymous:
        problems.append(
            f"{variable}: users are given but {openness} is true, and clients never log in where nothing asks them to:"
            f" remove the users or set {openness} to false"
        )
    if users and not tls:
        role = f"{variable.removesuffix('users')}tls to true"
        use = "wharf_registry_trust to private_ca or provided" if variable.startswith("wharf_") else role
        problems.append(
            f"{variable}: users need TLS, because clients send no password over plain HTTP, where anyone could read it:"
            f" set {use}, or remove the users and set {openness} to true"
        )
    return problems


def login_problems(
    logins: Sequence[Mapping[str, Any]] | None, variable: str, users: Sequence[Mapping[str, Any]] | None = None
) -> list[str]:
    """Judge who logs in on the clients. No line holds a password.

    Args:
        logins: system users with the name of a registry's user, mappings ``{user: text, name: text, password: text}``;
            ``password`` may be left out where the play knows it.
        variable: the variable's name, for the messages.
        users: the registry's users; null where they are not known here.
    """
    names = None if users is None else [user.get("name") for user in users]
    return _problems_of_each(logins, variable, "login", "user", lambda login: _login_faults(login, names))


def _problems_of_each(
    items: Sequence[Mapping[str, Any]] | None,
    variable: str,
    noun: str,
    key: str,
    faults: Callable[[Mapping[str, Any]], Iterator[str]],
) -> list[str]:
    """Return the problems in the order of the list, each with whom it is about, and who stands in the list twice."""
    problems, seen = [], {}
    for position, item in enumerate(items or [], start=1):
        who, name = f"{variable}: {noun} {position}", item.get(key)
        if isinstance(name, str) and name:
            # Behind a colon may stand the password, as in alice:secret.
            head, colon, _ = name.partition(":")
            who += f" ({quoted(head, 40)}{', then a colon' if colon else ''})"
            if (first := seen.setdefault(name, position)) != position:
                problems.append(f"{who} stands in the list twice, first as {noun} {first}: use each once")
        problems += [f"{who} {fault}" for fault in faults(item)]
    return problems


def _user_faults(user: Mapping[str, Any], cost: object) -> Iterator[str]:
    name = user.get("name")
    wrong = list(_name_faults(name))
    yield from wrong
    if "password" in user:
        remedy = "give one, or leave password out and one is made"
        faults = list(_password_faults(user["password"], remedy))
        if not faults and user["password"] == name:
            faults = [f"has its own name as its password: {remedy}"]
        yield from faults or _weakness(user["password"], cost)
    elif not wrong and (fault := file_name_fault(str(name))):
        yield (
            f"has no password, and one that is generated could not be kept in a file of that name, which {fault}: use"
            " another name, or give it a password"
        )


def _alike(users: Sequence[Mapping[str, Any]], variable: str) -> Iterator[str]:
    """Yield the names that nginx takes for one, as systems do that would have one file for both passwords."""
    seen: dict[str, str] = {}
    for name in (user["name"] for user in users if isinstance(user.get("name"), str)):
        if (first := seen.setdefault(same_file(name), name)) != name:
            yield (
                f"{variable}: {quoted(first, 40)} and {quoted(name, 40)} are one name to the gateway, for which case"
                " does not count: use another name for one of them"
            )


def _login_faults(login: Mapping[str, Any], names: Sequence[object] | None) -> Iterator[str]:
    user, name = login.get("user"), login.get("name")
    if system_user_fault(user):
        yield "has no system user of the client under user: give its name, such as deploy"
    faults = list(_name_faults(name))
    yield from faults
    if not faults and names is not None and name not in names:
        yield f"logs in as {quoted(str(name), 40)}, whom the registry does not know: use one of its users"
    if "password" in login:
        yield from _password_faults(login["password"], "give one")


def system_user_fault(user: object) -> str:
    """Return why no host can have a user of that name; empty where one may: which it has, only the host knows.

    Users of a directory are jane.doe, jane.doe@corp.example or CORP\\jane.
    """
    if not isinstance(user, str) or not user or user != user.strip():
        return "is no name of a user: use one of the host's, such as deploy"
    if user.startswith("-") or re.search("[:/,]", user) or CONTROL.search(user):
        return "is no name of a user, which no colon, comma or slash is in: use one of the host's, such as deploy"
    if re.search(r'[$`;|&<>(){}"*?\[\]]', user.rstrip("$")):
        return "is no name of a user: use one of the host's, such as deploy"
    return ""


def _name_faults(name: object) -> Iterator[str]:
    """Yield what is wrong with a user's name. Source: distribution, registry/auth/htpasswd/htpasswd.go."""
    text = name if isinstance(name, str) else ""
    if absent(name):
        yield "has no name: give one"
    elif ":" in text:
        yield "has a colon in the name, which ends the name in the password file: use a name without one"
    elif text.startswith("#"):
        yield "has a name that starts with #, which makes its line in the password file a comment: use another name"
    elif text.startswith("@"):
        yield "has a name that starts with @, as only the groups in rules do: use another name"
    elif re.search(r"\s", text):
        yield "has white space in the name: use a name without"
    else:
        yield from _text_faults(name, "name", 255)


def _password_faults(password: object, remedy: str) -> Iterator[str]:
    """Yield why a client could not take a password, however strong it is."""
    if absent(password):
        yield f"has an empty password: {remedy}"
    else:
        yield from _text_faults(password, "password", 255)
        yield from _meant_otherwise(password, remedy)


def _meant_otherwise(password: object, remedy: str) -> Iterator[str]:
    """Yield why a password is hardly the one that is meant."""
    text = str(password)
    if _HASH.fullmatch(text):
        yield "has the hash of a password as its password: give the password itself, which Wharf hashes"
    elif _PUBLISHED.search(text):
        yield f"has a password that an example shows to everybody: {remedy.replace('give one', 'give another')}"
    elif text != text.strip() and not CONTROL.search(text):
        yield "has white space around the password, which a client may cut off: use a password without"


def _text_faults(value: object, what: str, most: int) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"has a {what} that is not text: put it in quotes, where YAML would read a number"
    elif CONTROL.search(value):
        yield f"has a line break or another control character in the {what}: use a {what} without"
    elif re.search("[\ud800-\udfff]", value):
        yield f"has a {what} that is not valid Unicode: use another {what}"
    elif len(value.encode()) > most:
        yield f"has a {what} of more than {most} bytes: use a shorter one"


def _weakness(password: str, cost: object) -> Iterator[str]:
    """Yield why a password does not suit its hash."""
    rounds = COST_DEFAULT if cost is None else whole_number(cost)
    if rounds not in COSTS:
        return
    if rounds and len(password.encode()) > 72:
        yield "has a password of more than 72 bytes, and bcrypt ignores the rest: use a shorter one"
    length, different = (20, 8) if rounds < COST_SLOW else (8, 5)
    if len(password) < length or len(set(password)) < different:
        why = "it is checked at every request, so the cost is low and long random passwords make up for it"
        yield (
            f"has a password that is too weak for bcrypt cost {rounds}: use at least {length} characters, {different}"
            f" of them different, or leave password out and one is made{f' ({why})' if rounds < COST_SLOW else ''}"
        )


def passwords_of(users: Sequence[Mapping[str, Any]] | None, directory: str) -> dict[str, str]:
    """Return the users with their passwords, given or generated; an empty one is still to be generated.

    Args:
        users: list of mappings ``{name, password}`` that ``user_problems`` found good.
        directory: where generated passwords are on the controller, each in a file of the user's name.

    Raises:
        ValueError: a file is there that cannot be read.
    """
    return {
        user["name"]: read_password(directory, user["name"]) if absent(user.get("password")) else user["password"]
        for user in users or []
    }


def generated_problems(
    users: Sequence[Mapping[str, Any]] | None, directory: str, variable: str, cost: object = COST_DEFAULT
) -> list[str]:
    """Judge the passwords that were generated, whose files people may have written or copied. No line holds one."""
    problems = []
    for name in (user["name"] for user in users or [] if absent(user.get("password"))):
        try:
            password = read_password(directory, name)
        except ValueError as error:
            problems.append(f"{variable}: {error}")
            continue
        faults = list(_password_faults(password, "")) or list(_weakness(password, cost)) if password else []
        file = Path(directory, name).expanduser()
        problems += [
            f"{variable}: {file} {fault.partition(':')[0]}: write a better one into it, or remove it, and one is made"
            for fault in faults
        ]
    return problems


def users_with_passwords(
    users: Sequence[Mapping[str, Any]], directory: str, placeholder: str | None = None
) -> list[dict[str, str]]:
    """Return the users, each with a password; arguments as for ``passwords_of``.

    ``placeholder`` stands for a password that is still to be generated (in check mode). Without it, a ValueError says
    what to do about one that was generated elsewhere, or not yet.
    """
    passwords = passwords_of(users, directory)
    if placeholder is None and (missing := next((name for name in passwords if not passwords[name]), None)):
        raise ValueError(
            f"wharf_registry_users: {missing} has no password, and none was generated into {Path(directory, missing)}:"
            " run playbooks/deploy-registry.yml from here, or copy the file from the controller that has it"
        )
    return [{"name": name, "password": password or str(placeholder)} for name, password in passwords.items()]


def logins_with_passwords(
    logins: Sequence[Mapping[str, str]], users: Sequence[Mapping[str, str]]
) -> list[dict[str, str]]:
    """Return who logs in on the clients, with the passwords that ``users_with_passwords`` returned."""
    passwords = {user["name"]: user["password"] for user in users}
    return [{**login, "password": passwords[login["name"]]} for login in logins]


def reader_login(
    reader: str, users: Sequence[Mapping[str, Any]], directory: str, placeholder: str | None = None
) -> dict[str, str]:
    """Return the login of the reader of caches; an empty one where there is none. For the rest see above."""
    if not reader:
        return {}
    return logins_with_passwords([{"name": reader}], users_with_passwords(users, directory, placeholder))[0]

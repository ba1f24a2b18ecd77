"""Users and logins with their passwords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def users(given: Sequence[Mapping[str, str]], directory: str, placeholder: str | None = None) -> list[dict[str, str]]:
    """Return the registry's users, each with a password.

    Args:
        given: wharf_registry_users, a list of {name, password}; a user without a password got a generated one.
        directory: where the generated passwords lie on the controller, a file for each user.
        placeholder: stands for a password that is still to be generated (in check mode).

    Raises:
        ValueError: a password is not there: it was generated elsewhere, or not yet.
    """
    return [
        {"name": user["name"], "password": user.get("password") or _generated(user["name"], directory, placeholder)}
        for user in given
    ]


def _generated(name: str, directory: str, placeholder: str | None) -> str:
    """Return the password that was generated for a user."""
    file = Path(directory, name)
    if file.is_file():
        return file.read_text("utf-8").strip()
    if placeholder is not None:
        return placeholder
    raise ValueError(
        f"wharf_registry_users: {name} has no password, and none was generated into {file}:"
        " run playbooks/deploy-registry.yml from here, or copy the file from where it was run"
    )


def logins(given: Sequence[Mapping[str, str]], known: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return wharf_registry_logins as the role registry_client wants them: with passwords.

    Args:
        given: system users, each with the name of one of the registry's users.
        known: what ``users`` returns.
    """
    passwords = {user["name"]: user["password"] for user in known}
    return [{"user": item["user"], "name": item["name"], "password": passwords[item["name"]]} for item in given]

"""Generated passwords: each in a file of its own on the controller, which bears the name of whom it belongs to."""

from __future__ import annotations

import os
import secrets
import string
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from ansible.utils.display import Display

from ansible_collections.wharf.registry.plugins.plugin_utils.paths import is_absolute_path
from ansible_collections.wharf.registry.plugins.plugin_utils.values import shown


def directory_problems(value: str, variable: str) -> list[str]:
    """Judge the directory of generated passwords. A default that is still to be templated is good."""
    if "{{" in value or (is_absolute_path(value) and ".." not in value.split("/")):
        return []
    return [
        f"{variable}: {shown(value)} is not an absolute path: use one that the next run finds again, also from another"
        ' directory or in another container, such as "/srv/wharf-credentials" or "{{ inventory_dir }}/.credentials"'
    ]


def file_name_fault(name: str) -> str | None:
    """Return why no file can bear a name, which is one part of a path; None where one can."""
    if "/" in name or name.startswith("."):
        return "has a slash in it, or a dot in front"
    # 143 is the least that a usual file system takes.
    return "has more than 143 bytes" if len(name.encode("utf-8", "replace")) > 143 else None


def same_file(name: str) -> str:
    """Return what two names have in common that are one file on some systems: where case or accents do not count."""
    return unicodedata.normalize("NFC", name.casefold())


def read_password(directory: str, name: str) -> str:
    """Return a generated password; empty where it is still to be generated.

    Raises:
        ValueError: there is one that cannot be read.
    """
    file = Path(directory, name).expanduser()
    try:
        password = file.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise ValueError(
            f"{file} cannot be read ({reason}): run Ansible as its owner, or give it to who does"
        ) from None
    if file.stat().st_mode & 0o004 and file.parent.stat().st_mode & 0o001:
        Display().warning(f"everybody on this machine can read the password in {file}: chmod 700 {file.parent}")
    return password


def generate_passwords(names: Sequence[str], directory: str, only_tell: bool = False, length: int = 32) -> list[str]:
    """Generate a password for each name that has none, and return the files.

    The directory keeps itself out of git. A file is there whole or not at all, and never replaced.

    Args:
        names: whose passwords.
        directory: where they are kept.
        only_tell: whether to write nothing.
        length: of each, in letters and digits.
    """
    place = Path(directory).expanduser()
    files = [place / name for name in names]
    if not only_tell:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_new(place / ".gitignore", "*\n")
        for file in files:
            write_new(file, "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length)) + "\n")
    return [str(file) for file in files]


def write_new(file: Path, text: str) -> None:
    """Write a file for its owner alone, unless it is there."""
    new = file.with_name(f".{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
        if not file.exists():
            os.replace(new, file)
    finally:
        new.unlink(missing_ok=True)

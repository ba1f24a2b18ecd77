"""The files and directories of the registry on its server: what is pending, and writing it."""

from __future__ import annotations

import difflib
import os
import re
import secrets
import tempfile
import time
from typing import Any

from .containers import WITHOUT_LABELS, container, docker, remove
from .errors import WharfError
from .files import Changes, Entry, read_entry, read_text, write_atomic
from .htpasswd import htpasswd, users_of
from .server_container import read_only_binds
from .server_data import DATA_ID, STATE_FILE, Data
from .server_rollback import SETTINGS, give_away
from .text import one_line

Files = dict[str, tuple[str, Entry]]  # by what each is called in `pending`: its path, and how it should be


def pending_files(registry: dict[str, Any], path: str, data: Data) -> Files:
    """Return the registry's files and directories that are not as they should be, in the order of their writing.

    Args:
        registry: values for REGISTRY_SPEC.
        path: where the data lies; empty for a volume that is not there.
        data: what was found of it.
    """
    uid, directory = registry["uid"], os.path.realpath(registry["directory"])
    password_file = f"{directory}/htpasswd"
    users = users_of(registry["users"])
    passwords = htpasswd(read_text(password_file), users, registry["bcrypt_cost"])
    data_id = f"{data.id or secrets.token_hex(10)} {registry['name']}\n"
    wanted: Files = {
        "data": (path, Entry(uid, uid, 0o750, None)),
        # Before the container, which does not start without the ID: where it is missing, the data's disk is not there.
        "data_id": (f"{path}/{DATA_ID}", Entry(0, 0, 0o644, data_id.encode())),
        "directory": (directory, Entry(0, uid, 0o750, None)),
        # Before the configuration: a registry that finds no htpasswd makes one, with a user of its own.
        "users": (password_file, Entry(0, uid, 0o640, passwords.encode())),
        "config": (f"{directory}/config.yml", Entry(0, uid, 0o640, registry["config"].encode())),
        "settings": (SETTINGS, Entry(0, 0, 0o644, registry["settings"].encode())),
    }
    return {
        name: (place, entry)
        for name, (place, entry) in wanted.items()
        if read_entry(place) != entry and (users or name != "users")
    }


def write_files(files: Files) -> None:
    """Write what pending_files() returns.

    Raises:
        OSError: a file cannot be written.
    """
    changes = Changes(check_mode=False)
    for name, (path, entry) in files.items():
        if name == "data" and (before := read_entry(path)) and (before.uid, before.gid) != (entry.uid, entry.gid):
            give_away(path, entry.uid, entry.gid)
        changes.put(path, entry)


def paths_of(registry: dict[str, Any], path: str) -> list[str]:
    """Return all that a run may write, as pending_files() does; `path` is where the data lies."""
    directory = os.path.realpath(registry["directory"])
    files = ("", "/htpasswd", "/config.yml", f"/{STATE_FILE}")
    return [path, f"{path}/{DATA_ID}", *(directory + name for name in files), SETTINGS]


def diff_of(files: Files) -> list[dict[str, str]]:
    """Return what --diff shows: names, and of the configuration the changed lines, without what may be secret."""
    places = [f"{path}\n" for name, (path, _) in files.items() if name != "config"]
    shown = [{"prepared": "".join(places)}] if places else []
    if "config" in files:
        path, entry = files["config"]
        texts = (read_text(path), (entry.content or b"").decode())
        lines = [re.sub(r"(?im)^(\s*\S*(?:key|secret|password|token)\S*:[ ]).+$", r"\1(not shown)", t) for t in texts]
        shown.append({"prepared": "".join(difflib.unified_diff(*(t.splitlines(True) for t in lines), path, path))})
    return shown


def validate_config(registry: dict[str, Any], files: Files) -> None:
    """Start the image on a configuration, without network and data: it must still run after a second.

    The registry has no command that checks a file. It runs as root, because the files are not yet the registry's.

    Args:
        registry: values for REGISTRY_SPEC.
        files: from pending_files(); nothing of it is written yet.

    Raises:
        WharfError: it does not run; the message holds the registry's own words.
    """
    name = f"{registry['container']}-config-check"
    remove(name)
    with tempfile.TemporaryDirectory(prefix="wharf-", dir="/run") as directory:
        users = files["users"][1].content if "users" in files else None
        there = f"{os.path.realpath(registry['directory'])}/htpasswd"
        write_atomic(f"{directory}/htpasswd", users or read_text(there).encode(), 0o600)
        write_atomic(f"{directory}/config.yml", registry["config"].encode(), 0o600)
        options = ["--detach", "--name", name, "--network", "none", "--user", "0", "--userns", "host"]
        options += ["--security-opt", WITHOUT_LABELS]
        for volume in read_only_binds({**registry, "directory": directory}):
            options += ["--volume", volume]
        try:
            started = docker("run", *options, registry["image"], "serve", "/wharf/config/config.yml")
            output = started.stdout
            if started.returncode == 0:
                time.sleep(1)
                if ((container(name) or {}).get("State") or {}).get("Running"):
                    return
                output = docker("logs", name).stdout
            words = one_line(output.partition("Usage:")[0], 1000)
            raise WharfError(f"registry_server_config: the registry refuses this configuration ({words}): correct it")
        finally:
            remove(name)

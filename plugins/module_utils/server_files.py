"""The files and directories of the registry on its server: what is pending, and writing it."""

from __future__ import annotations

import difflib
import os
import re
import secrets
import time
from typing import Any

from .containers import WITHOUT_LABELS, container, docker, remove
from .errors import WharfError
from .files import Changes, Entry, read_entry, read_text, write_atomic
from .htpasswd import htpasswd, users_of
from .server_container import config_hash, read_only_binds
from .server_data import DATA_ID, Data
from .text import one_line

SETTINGS = "/etc/wharf/registry.json"
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


def write_files(registry: dict[str, Any], files: Files, validate: bool) -> None:
    """Write what pending_files() returns, and try a new configuration first where it is to be validated.

    Raises:
        WharfError: the registry refuses its configuration, or the engine does not do what it should.
        OSError: a file cannot be written.
    """
    changes = Changes(check_mode=False)
    for name, (path, entry) in files.items():
        if name == "data" and (before := read_entry(path)) and (before.uid, before.gid) != (entry.uid, entry.gid):
            _give_away(path, entry)
        elif name == "config":
            if validate:
                validate_config(registry)
            # What the container runs with: it may have to run again.
            running = container(registry["container"])
            labels = (running or {}).get("Config", {}).get("Labels") or {}
            if labels.get("wharf.config") == config_hash(read_text(path)):
                changes.put(f"{path}.before", entry._replace(content=read_text(path).encode()))
        changes.put(path, entry)


def _give_away(path: str, owner: Entry) -> None:
    """Give all that another registry wrote to this one's user."""
    for parent, directories, files in os.walk(path):
        for name in (*directories, *files):
            if name != DATA_ID:
                os.chown(os.path.join(parent, name), owner.uid, owner.gid, follow_symlinks=False)


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


def validate_config(registry: dict[str, Any]) -> None:
    """Start the image on a configuration, without network and data: it must still run after a second.

    The registry has no command that checks a file. It runs as root, because the file is not yet the registry's.

    Raises:
        WharfError: it does not run; the message holds the registry's own words.
    """
    name = f"{registry['container']}-config-check"
    candidate = f"{registry['directory']}/.config.yml.candidate"
    options = ["--detach", "--name", name, "--network", "none", "--user", "0"]
    options += ["--security-opt", WITHOUT_LABELS]
    for volume in (f"{candidate}:/candidate.yml:ro", *read_only_binds(registry)):
        options += ["--volume", volume]
    remove(name)
    write_atomic(candidate, registry["config"].encode(), 0o600)
    try:
        started = docker("run", *options, registry["image"], "serve", "/candidate.yml")
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
        os.unlink(candidate)

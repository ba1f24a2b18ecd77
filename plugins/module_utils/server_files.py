"""The files and directories of the registry on its server: what is pending, and writing it."""

from __future__ import annotations

import difflib
import os
import re
import secrets
import stat
import time
from dataclasses import dataclass, field
from typing import Any

from .containers import container, create_volume, docker, remove
from .data import directory
from .errors import WharfError
from .files import write_atomic
from .htpasswd import htpasswd, is_current, users_of
from .server_container import config_hash, read_only_binds
from .server_data import DATA_ID, Data
from .text import one_line

SETTINGS = "/etc/wharf/registry.json"
# What registry_info and registry_files are told beside REGISTRY_SPEC.
FILES_SPEC: dict[str, Any] = {
    "users": {"type": "str", "default": "", "no_log": True},
    "bcrypt_cost": {"type": "int", "default": 4},
    "settings": {"type": "str", "default": ""},
}


@dataclass
class File:
    """A file as it should be."""

    path: str
    content: str
    mode: int
    gid: int = 0


@dataclass
class Files:
    """What the registry's files are to be, and which of them are not.

    Attributes:
        registry: values for REGISTRY_SPEC and FILES_SPEC.
        path: where the data lies; empty for a volume that is not there.
        data: what was found of it.
        pending: of data, data_id, directory, users, config and settings those that are not as they should be.
    """

    registry: dict[str, Any]
    path: str
    data: Data
    pending: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Compare what is there with what should be."""
        registry, uid = self.registry, self.registry["uid"]
        directory = registry["directory"]
        users = users_of(registry["users"])
        htpasswd_path = f"{directory}/htpasswd"
        checks = {
            "data": facts(self.path) == (uid, uid, 0o750),
            "data_id": bool(self.data.id) and self.data.name == registry["name"],
            "directory": facts(directory) == (0, uid, 0o750),
            "users": not users
            or (
                facts(htpasswd_path) == (0, uid, 0o640)
                and is_current(read(htpasswd_path) or "", users, registry["bcrypt_cost"])
            ),
            "config": is_right(self.config),
            "settings": not registry["settings"] or is_right(File(SETTINGS, registry["settings"], 0o644)),
        }
        self.pending = [name for name, right in checks.items() if not right]

    @property
    def config(self) -> File:
        """Return config.yml as it should be."""
        uid = self.registry["uid"]
        return File(f"{self.registry['directory']}/config.yml", self.registry["config"], 0o640, uid)

    def write(self, validate: bool) -> None:
        """Write what is pending.

        Args:
            validate: whether to start the image on a new configuration before it replaces the old one.

        Raises:
            WharfError: the registry refuses its configuration, or the engine does not do what it should.
            OSError: a file cannot be written.
        """
        registry, uid = self.registry, self.registry["uid"]
        directory = registry["directory"]
        for name in self.pending:
            if name == "data":
                self._prepare_data()
            elif name == "data_id":
                # Before the container: it does not start where the ID is missing, which is where the data's disk is
                # not mounted.
                content = f"{self.data.id or secrets.token_hex(10)} {registry['name']}\n"
                write_atomic(os.path.join(self.path, DATA_ID), content.encode())
            elif name == "directory":
                os.makedirs(directory, exist_ok=True)
                own(directory, 0, uid, 0o750)
            elif name == "users":
                # Before the configuration: a registry that finds no htpasswd makes one, with a user of its own.
                path = f"{directory}/htpasswd"
                text = htpasswd(read(path) or "", users_of(registry["users"]), registry["bcrypt_cost"])
                write_atomic(path, text.encode(), 0o640, 0, uid)
            elif name == "config":
                self._write_config(validate)
            else:
                os.makedirs(os.path.dirname(SETTINGS), exist_ok=True)
                write_atomic(SETTINGS, registry["settings"].encode())

    def _prepare_data(self) -> None:
        """Give the data to the registry's user, with all that another registry wrote."""
        uid = self.registry["uid"]
        if not self.path:
            self.path = create_volume(self.registry["data"])
        existed = os.path.isdir(self.path)
        os.makedirs(self.path, exist_ok=True)
        if existed and facts(self.path)[:2] != (uid, uid):
            for parent, directories, files in os.walk(self.path):
                for name in (*directories, *files):
                    if name != DATA_ID:
                        os.chown(os.path.join(parent, name), uid, uid, follow_symlinks=False)
        own(self.path, uid, uid, 0o750)

    def _write_config(self, validate: bool) -> None:
        """Write config.yml, and keep the one that the container runs with: it may have to run again."""
        file = self.config
        before = read(file.path)
        if before is not None:
            running = container(self.registry["container"])
            label = ((running or {}).get("Config", {}).get("Labels") or {}).get("wharf.config")
            if label == config_hash(before):
                write_atomic(f"{file.path}.before", before.encode(), file.mode, 0, file.gid)
        if validate:
            validate_config(self.registry)
        write_atomic(file.path, file.content.encode(), file.mode, 0, file.gid)

    def diff(self) -> list[dict[str, str]]:
        """Return what --diff shows: names, and of the configuration the changed lines, without what may be secret."""
        shown = [{"prepared": f"{name}\n"} for name in self.pending if name != "config"]
        if "config" in self.pending:
            texts = [_masked(text).splitlines(True) for text in (read(self.config.path) or "", self.config.content)]
            lines = difflib.unified_diff(*texts, self.config.path, self.config.path)
            shown.append({"prepared": "".join(lines)})
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
    for volume_ in (f"{candidate}:/candidate.yml:ro", *read_only_binds(registry)):
        options += ["--volume", volume_]
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


def is_right(file: File) -> bool:
    """Tell whether a file is as it should be."""
    return facts(file.path) == (0, file.gid, file.mode) and read(file.path) == file.content


def facts(path: str) -> tuple[int, int, int]:
    """Return owner, group and mode of what lies at a path; -1 each where there is nothing."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return -1, -1, -1
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def read(path: str) -> str | None:
    """Return a file's text; None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None


def own(path: str, uid: int, gid: int, mode: int) -> None:
    """Set owner, group and mode."""
    os.chown(path, uid, gid)
    os.chmod(path, mode)


def data_path(data: str) -> str:
    """Return where the data lies on the host, whether it is there or not; empty for a volume that is not there."""
    return str(directory(data) or "")


def _masked(text: str) -> str:
    """Return a configuration without the values that may be secret."""
    return re.sub(r"(?im)^(\s*\S*(?:key|secret|password|token)\S*:[ ]).+$", r"\1(not shown)", text)

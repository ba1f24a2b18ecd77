"""A host whose container tools are to trust a registry, in a directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import (
    client_caches,
    client_trust,
    container_policy,
    daemon_json,
    processes,
)
from ansible_collections.wharf.registry.plugins.module_utils.client_trust import Trust
from ansible_collections.wharf.registry.plugins.module_utils.files import Entry

REGISTRY = "reg.test:5000"
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
CONFIG = "/etc/containerd/config.toml"
PLACES = ("REGISTRIES", "HOSTS", "TEMPLATES", "CONTAINERD_FILE", "LEDGER")


class Host:
    """A host in a directory, with nothing but Docker where a test says nothing else."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have all paths of the module in the directory."""
        self.root, self.monkeypatch = str(root), monkeypatch
        self.commands: list[list[str]] = []
        self.answers: Callable[[list[str]], tuple[int, str]] = lambda command: (0, "")
        self.programs = {"dockerd", "containerd", "update-ca-certificates"}
        for name in PLACES:
            monkeypatch.setattr(client_trust, name, self.root + getattr(client_trust, name))
        monkeypatch.setattr(container_policy, "SETTINGS", self.root + container_policy.SETTINGS)
        stores = [(command, *(self.root + path for path in paths)) for command, *paths in client_trust.STORES]
        monkeypatch.setattr(client_trust, "STORES", stores)
        for name in ("REGISTRIES", "LEDGER"):
            monkeypatch.setattr(client_caches, name, getattr(client_trust, name))
        for name in ("PATH", "LEDGER"):
            monkeypatch.setattr(daemon_json, name, self.root + getattr(daemon_json, name))
        roots = {family: self.root + path for family, path in client_trust.CERTIFICATES.items()}
        for module in (client_trust, client_caches):
            monkeypatch.setattr(module, "CERTIFICATES", roots)
        monkeypatch.setattr(client_trust, "has", lambda program: program in self.programs)
        for module in (client_trust, processes):
            monkeypatch.setattr(module, "run", self.run)
        owner = (os.getuid(), os.getgid(), 0o644)
        monkeypatch.setattr(client_trust, "_entry", lambda text: Entry(*owner, text.encode()))
        self.put("/etc/hosts", "127.0.0.1 localhost\n")

    def run(self, command: list[str]) -> tuple[int, str]:
        """Note a command down and answer as the test wants; containerd's own word is its file."""
        self.commands.append(command)
        if command[0] == "containerd" and command[-2:] == ["config", "dump"] and self.answers(command) == (0, ""):
            return 0, Path(command[2]).read_text() if "--config" in command else self.text(CONFIG) or ""
        return self.answers(command)

    def install(self, tools: str) -> None:
        """Have these tools and no others."""
        self.programs = {"dockerd" if tool == "docker" else tool for tool in tools.split()} | {"update-ca-certificates"}

    def put(self, path: str, text: str = CA, mode: int = 0o644) -> str:
        """Write a file and the directories above it."""
        Path(self.root + path).parent.mkdir(parents=True, exist_ok=True)
        Path(self.root + path).write_text(text)
        Path(self.root + path).chmod(mode)
        return path

    def text(self, path: str) -> str | None:
        """Return the text of a file; None where there is none."""
        return Path(self.root + path).read_text() if Path(self.root + path).exists() else None

    def params(self, **params: Any) -> dict[str, Any]:
        """Return the module's parameters."""
        params.setdefault("tools", ["auto"])
        given = {"name": "reg.test", "port": 5000, "state": "present", "trust": "ca", "ca": CA, "address": ""}
        return {
            **given,
            "system_store": False,
            "previous_names": [],
            "aliases": [],
            "logins": [],
            "other_addresses": [],
            **params,
        }

    def trust(self, check: bool = False, **params: Any) -> Trust:
        """Return what a registry needs here."""
        return Trust(self.params(**params), check)

    def write(self, check: bool = False, **params: Any) -> list[str]:
        """Write what is pending; return the paths that were changed."""
        trust = self.trust(check, **params)
        assert trust.problems() == []
        trust.write_hosts()
        trust.write()
        return [path[len(self.root) :] for path in trust.hosts_changes.paths + trust.changes.paths]

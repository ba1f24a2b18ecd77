"""The command wharf as one file, and what decides which of its subcommands start by themselves."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.values import mapping_in

# Keys of the registry's section "storage" that are no drivers.
NO_DRIVERS = ("cache", "delete", "maintenance", "redirect", "tag")


def storage_driver(config: Mapping[str, Any] | None) -> str:
    """Return the storage driver of a registry's configuration, as far as the inventory sets it."""
    storage = mapping_in(config or {}, "storage")
    drivers = [key for key, value in storage.items() if key not in NO_DRIVERS and value is not None]
    return next((driver for driver in drivers if driver != "filesystem"), "filesystem")


def command_archive(role_path: str) -> str:
    """Return the command wharf as one file that Python runs: a zip archive behind a line #!, as text in base64.

    It holds the files as they lie in plugins/module_utils, so that modules and the command share them, and those of
    the registry's page.

    Args:
        role_path: the directory of any role of this collection.
    """
    collection = Path(role_path).parents[1]
    package, page = collection / "plugins/module_utils", collection / "roles/server_programs/files/page"
    start = "import sys\n\nfrom wharf.command.cli import main\n\nsys.exit(main())\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # neither packed nor dated: the same bytes wherever it is made
        archive.writestr(zipfile.ZipInfo("__main__.py"), start)
        archive.writestr(zipfile.ZipInfo("wharf/__init__.py"), "")
        for name, text in command_files(package).items():
            archive.writestr(zipfile.ZipInfo(f"wharf/{name}"), text)
        for file in sorted(page.iterdir()):
            archive.writestr(zipfile.ZipInfo(f"wharf/page/{file.name}"), file.read_bytes())
    return "base64:" + base64.b64encode(b"#!/usr/bin/python3 -IB\n" + buffer.getvalue()).decode()


def command_files(package: Path) -> dict[str, str]:
    """Return the command's own files and those that they import, by their paths below plugins/module_utils."""
    texts = {f"command/{file.name}": file.read_text("utf-8") for file in sorted(package.glob("command/*.py"))}
    waiting = list(texts.values())
    while waiting:
        # `from ..lock import`, `from .errors import`, `from .. import containers, data`, also over several lines
        text = waiting.pop()
        names = re.findall(r"^from \.+(\w+) import", text, re.MULTILINE)
        for listed in re.findall(r"^from \.+ import (\([^)]*\)|.+)$", text, re.MULTILINE):
            names += re.findall(r"\w+", listed)
        for name in names:
            file = package / f"{name}.py"
            if file.name not in texts and file.exists():
                texts[file.name] = file.read_text("utf-8")
                waiting.append(texts[file.name])
    return dict(sorted(texts.items()))

"""Keeps the modules that Ansible has put together, for the next run.

Ansible puts each module together with all that it imports before it sends it to a host, and forgets that at the end of
the run: about half of the processor time that a short run takes. A scenario has hundreds of runs of the same modules.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from ansible import constants
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: module_cache
type: aggregate
short_description: Keep the modules that were put together, for the next run
description:
  - Keeps them in C(.cache/modules), and gives them to the next run of the same ansible-core with the same sources.
"""

PROJECT = Path(__file__).resolve().parents[2]


def sources() -> str:
    """Return a number for what modules are made from: the collection's files, and what is installed in .venv."""
    files = sorted(file for part in ("modules", "module_utils") for file in (PROJECT / "plugins" / part).rglob("*.py"))
    files += Path(sys.prefix).glob("requirements*.txt")  # written by lab/setup.sh
    stats = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]


class CallbackModule(CallbackBase):
    """The callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "module_cache"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        """Give this run what was kept."""
        super().__init__()
        self.kept = PROJECT / ".cache/modules" / sources()
        self.made = Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache")
        self.made.mkdir(exist_ok=True)
        if not self.kept.exists():
            shutil.rmtree(self.kept.parent, ignore_errors=True)  # of other sources
            self.kept.mkdir(parents=True, exist_ok=True)
        for file in self.kept.iterdir():
            if file.suffix != ".part":
                (self.made / file.name).symlink_to(file)

    def v2_playbook_on_stats(self, _stats: object) -> None:
        """Keep what this run has made. Others may do the same at this moment."""
        for file in self.made.iterdir():
            if not file.is_symlink() and file.suffix != ".lock" and self.kept.exists():
                part = self.kept / f"{file.name}.{os.getpid()}.part"
                shutil.copyfile(file, part)
                part.replace(self.kept / file.name)

"""Removing what a registry has on its server. Docker and all packages stay, and the data unless it is asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from . import containers
from .lock import LOCK
from .server_files import SETTINGS

DISTRO_IMAGE = "wharf-registry:distro"
SUFFIXES = ("", "-before", "-read-only", "-collect-garbage", "-collect-garbage-dry-run", "-config-check")


class Removal:
    """One removal; `removed` has what went, or would go in check mode."""

    def __init__(self, check_mode: bool) -> None:
        """Take whether nothing may change."""
        self.check_mode = check_mode
        self.removed: list[str] = []

    def remove(self, container: str, directory: str, data: str) -> None:
        """Remove a registry.

        Args:
            container: its container's name.
            directory: its configuration.
            data: its data, a directory or the name of a volume; empty where that stays.

        Raises:
            WharfError: the engine does not do what it should.
            OSError: a file cannot be removed.
        """
        if containers.engine():
            self._remove_containers(container)
        for path in (directory, SETTINGS):
            self._remove_path(path)
        if data.startswith("/"):
            self._remove_data(data)
        elif data and containers.call("GET", f"/volumes/{data}"):
            self._note(f"volume {data}", lambda: containers.call("DELETE", f"/volumes/{data}"))
        for path in ("/etc/wharf", "/var/lib/wharf"):
            if os.path.isdir(path) and not os.listdir(path):
                self._note(path, lambda path=path: os.rmdir(path))
        if not self.check_mode:
            LOCK.unlink(missing_ok=True)

    def _note(self, what: str, remove: Callable[[], object]) -> None:
        """Remove something, unless nothing may change, and note that it went."""
        if not self.check_mode:
            remove()
        self.removed.append(what)

    def _remove_containers(self, name: str) -> None:
        """Remove the containers and their images, by the names that these had; where others run from one, it stays."""
        images, ids = {DISTRO_IMAGE}, set()
        for container in [name + suffix for suffix in SUFFIXES]:
            if found := containers.container(container):
                images.add(found["Config"]["Image"])
                ids.add(found["Image"])
                self._note(f"container {container}", lambda container=container: containers.remove(container))
        for image in sorted(images):
            if containers.image(image) and (self.check_mode or containers.remove_image(image)):
                self.removed.append(f"image {image}")
        # What another build has left is without a name.
        for image in ids if not self.check_mode else ():
            containers.remove_image(image)

    def _remove_path(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it."""
        if os.path.isdir(path) and not os.path.islink(path):
            self._note(path, lambda: shutil.rmtree(path))
        elif os.path.lexists(path):
            self._note(path, lambda: os.unlink(path))

    def _remove_data(self, path: str) -> None:
        """Remove the data. Its directory stays where a disk is mounted there."""
        if not os.path.ismount(path):
            self._remove_path(path)
        elif entries := [os.path.join(path, name) for name in os.listdir(path)]:

            def empty() -> None:
                for entry in entries:
                    shutil.rmtree(entry) if os.path.isdir(entry) and not os.path.islink(entry) else os.unlink(entry)

            self._note(f"all in {path}", empty)

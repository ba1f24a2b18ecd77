"""Running the registry's container, and the way back.

At any moment the container that ran or its successor is there whole, and config.yml.before is the configuration of the
one that ran: what a run that was cut off has left can be rolled back by the next.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from . import containers
from .errors import WharfError
from .lock import lock
from .server_container import config_hash, differences, settings
from .server_data import DATA_ID, first_line, write_state
from .server_files import data_path, read
from .server_info import answer, certificates, is_outdated

LOCK_WAIT = 60  # seconds: collection, backup and the like need the container to hold still
LOG_LINES = "20"


class Run:
    """One run of the container, under the lock."""

    def __init__(self, registry: dict[str, Any], timeout: float, check_mode: bool) -> None:
        """Take values for REGISTRY_SPEC, the seconds that the registry has to answer, and whether nothing changes."""
        self.registry, self.timeout, self.check_mode = registry, timeout, check_mode
        self.name = registry["container"]
        self.before = f"{self.name}-before"
        self.kept_config = f"{registry['directory']}/config.yml.before"
        self.actions: list[str] = []
        self.differences: list[str] = []

    # Forward ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Have the container run as it should be, and the registry answer.

        Raises:
            WharfError: it does not answer, or the engine refuses; what ran before runs again.
        """
        with self._locked():
            found = containers.container(self.name) if containers.engine() else None
            self._plan(found)
            if self.check_mode:
                return
            try:
                if self.differences or found is None:
                    self._replace(bool(found))
                elif self.actions:
                    containers.act(self.name, "restart" if found["State"]["Running"] else "start")
                if problem := answer(self.registry, self.timeout):
                    raise WharfError(problem)
            except WharfError as error:
                raise WharfError(self._failure(error)) from None
            self._commit()

    def _plan(self, found: dict[str, Any] | None) -> None:
        """Find out what there is to do."""
        if found is None:
            self.actions.append("created")
            return
        image = containers.image(self.registry["image"]) or {}
        self.differences = differences(settings(self.registry), found, image.get("Id", ""))
        if self.differences:
            self.actions.append("replaced")
        elif not found["State"]["Running"]:
            self.actions.append("started")
        elif is_outdated(certificates(self.registry)):
            self.actions.append("restarted")

    def _replace(self, has_predecessor: bool) -> None:
        """Create the container; one that is there runs on under another name until its successor is made."""
        if has_predecessor:
            containers.rename(self.name, self.before)
        containers.create(self.name, settings(self.registry))
        if has_predecessor:
            containers.act(self.before, "stop")
        containers.act(self.name, "start")

    def _commit(self) -> None:
        """Remove what the way back needed, and remember whose the data is."""
        containers.remove(self.before)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.kept_config)
        path = data_path(self.registry["data"])
        data_id = first_line(f"{path}/{DATA_ID}").partition(" ")[0]
        if first_line(f"{self.registry['directory']}/data") != f"{data_id} {self.registry['data']}":
            write_state(self.registry["directory"], data_id, self.registry["data"], path)

    # Back ---------------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Roll back what a run that was cut off has left.

        It is as it was before, healthy or not: whoever calls this goes on from there.
        """
        with self._locked():
            if containers.container(self.before) is None:
                return
            self.actions.append("rolled_back")
            if not self.check_mode:
                with contextlib.suppress(WharfError):
                    self._roll_back()

    def _failure(self, error: WharfError) -> str:
        """Roll back, and return the whole message: what went wrong, the log's last lines, and what runs now."""
        log = containers.docker("logs", "--tail", LOG_LINES, self.name).stdout.rstrip()
        lines = [str(error), f"The last lines of `docker logs {self.name}`:", log or "(none)"]
        try:
            if self._roll_back():
                lines.append("The container that ran before is back, with its configuration.")
        except WharfError as problem:
            lines.append(f"The container that ran before could not be rolled back: {problem}")
        return "\n".join(lines)

    def _roll_back(self) -> bool:
        """Start the container again that was set aside, with its configuration. Return whether there was one.

        Raises:
            WharfError: it does not start, or is not healthy.
        """
        before = containers.container(self.before)
        if before is None:
            return False
        kept = read(self.kept_config)
        if kept is not None and config_hash(kept) == (before["Config"].get("Labels") or {}).get("wharf.config"):
            os.replace(self.kept_config, f"{self.registry['directory']}/config.yml")
        containers.remove(self.name)
        containers.rename(self.before, self.name)
        containers.act(self.name, "start")
        # As its health check asks: the port and the certificate may be those that it had before.
        health = ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:5001/debug/health"]
        for _ in range(20):
            if containers.docker("exec", self.name, *health).returncode == 0:
                return True
            time.sleep(0.5)
        raise WharfError(f"it was started, but is not healthy: see docker logs {self.name}")

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        """Return the lock; nothing in check mode, which changes nothing."""
        return contextlib.nullcontext() if self.check_mode else lock("deploy-registry", LOCK_WAIT)

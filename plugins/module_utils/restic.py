"""restic with the settings of this registry's backup: the one place that builds its command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

from .errors import WharfError
from .files import free_bytes
from .text import one_line, without_logins

SETTINGS = Path("/etc/wharf/backup")
SSH = ["-F", f"{SETTINGS}/ssh_config", "backup"]  # where a host of the inventory keeps the backup
TAG = "wharf-registry"
# restic 0.17 and newer have exit codes for these, 0.14 only messages.
ABSENT = re.compile(r"Is there a repository at the following location|repository does not exist|unable to open config")
LOCKED = "already locked"
WRONG_PASSWORD = "wrong password or no key found"
# Lines about what it does, or that it tries again.
NOISE = re.compile(
    r"^(using temporary cache|create exclusive lock|load indexes|check |read all data|\[|$)|returned error, retry"
)


class Restic:
    """The backup of one registry, as restic sees it."""

    def __init__(self, settings: dict[str, Any], password: str | None = None) -> None:
        """Take what backup.json holds, and a password that is not in its file yet."""
        self.name: str = settings["name"]
        self.directories = {kind: Path(path) for kind, path in settings["directories"].items()}
        self.keep: dict[str, int] = settings["keep"]
        self.over_ssh = bool(settings["host"])
        self.repository: str = f"sftp:backup:{settings['repository']}" if self.over_ssh else settings["repository"]
        # For messages: without the name and password that a URL may hold.
        self.place = without_logins(self.repository)
        self.environment: dict[str, str] = {
            "HOME": "/root",
            **os.environ,
            "RESTIC_CACHE_DIR": "/var/cache/wharf-backup",
            "RESTIC_PROGRESS_FPS": "0.0001",
            **settings["environment"],
            "RESTIC_REPOSITORY": self.repository,
            **({"RESTIC_PASSWORD": password} if password else {"RESTIC_PASSWORD_FILE": f"{SETTINGS}/password"}),
        }

    @classmethod
    def configured(cls) -> Restic:
        """Return the backup that this server is set up for. Raises WharfError where there are no settings."""
        try:
            return cls(json.loads((SETTINGS / "backup.json").read_text("utf-8")))
        except (OSError, ValueError) as error:
            message = f"{SETTINGS}/backup.json cannot be read ({error}): run playbooks/back-up-registry.yml"
            raise WharfError(message) from None

    def run(self, *arguments: str | Path, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        """Run restic and return how it ended. Nothing secret is on its command line.

        It ends with this program, also when that is killed: it must not work on without the lock.

        Raises:
            WharfError: the password is wrong.
        """
        command = ["setpriv", "--pdeathsig", "TERM", "restic"]
        if self.over_ssh:
            command += ["-o", f"sftp.command=ssh {' '.join(SSH)} -s sftp"]
        result = subprocess.run(
            [*command, *map(str, arguments)], env=self.environment, timeout=timeout,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        if WRONG_PASSWORD in result.stderr:
            raise WharfError(
                f"wharf_backup_password: is not the password of the backup in {self.place}: give the one that it was"
                f" made with. A server that has made backups has it in {SETTINGS}/password; the first run generated it"
                " into .credentials/backup/password beside the inventory"
            )
        return result

    def output(self, *arguments: str | Path) -> str:
        """Run restic and return its standard output. Raises WharfError when it fails."""
        result = self.run(*arguments)
        if LOCKED in result.stderr:
            # Perhaps by a run of this host that was killed. restic itself judges which locks are stale: this host's
            # whose process has ended, and anybody's after half an hour.
            self.run("unlock")
            result = self.run(*arguments)
        if result.returncode != 0:
            raise WharfError(f"restic {arguments[0]} failed on {self.place}: {last_lines(result)}")
        return result.stdout

    def snapshots(self, required: bool = True) -> list[dict[str, Any]] | None:
        """Return this registry's snapshots, the oldest first; None where there is no backup, if none is required.

        Raises:
            WharfError: the repository cannot be reached or read, or there is none.
        """
        result = self.run("snapshots", "--json", "--tag", TAG, "--host", self.name, "--no-lock")
        if result.returncode == 0:
            return sorted(json.loads(result.stdout) or [], key=lambda item: seconds(item["time"]))
        if not ABSENT.search(result.stderr):
            raise WharfError(f"the backup in {self.place} cannot be opened: {last_lines(result)}")
        if required:
            raise WharfError(f"there is no backup in {self.place}")
        return None

    def free_space(self) -> int | None:
        """Return the bytes that are free where the backup is; None where nobody can tell."""
        if self.repository.startswith("/"):
            return free_bytes(Path(self.repository))
        if not self.over_ssh:
            return None
        path = self.repository.removeprefix("sftp:backup:")
        # A directory that restic makes at the first backup is not there yet: the one above it is.
        listed = sftp(f"-df {path}\n-df {os.path.dirname(path)}\n").stdout.splitlines()
        rows = [line.split() for line in listed if line.rstrip().endswith("%")]
        return int(rows[0][2]) * 1024 if rows else None  # size, used, available, (root), capacity; kilobytes


def sftp(commands: str) -> subprocess.CompletedProcess[str]:
    """Let sftp do these lines on the host of the inventory that keeps the backup; return how it ended."""
    return subprocess.run(["sftp", "-q", "-b", "-", *SSH], input=commands, capture_output=True, text=True)


def last_lines(result: subprocess.CompletedProcess[str]) -> str:
    """Return the last lines of restic's output, as one."""
    lines = significant_lines(result.stderr or result.stdout)
    return one_line(" ".join(lines[-4:]), 1000) or f"it gave no reason (exit code {result.returncode})"


def significant_lines(output: str) -> list[str]:
    """Return the lines of restic's output that matter to a person, each once."""
    return list(dict.fromkeys(line.strip() for line in output.splitlines() if not NOISE.search(line.strip())))


def seconds(stamp: str) -> float:
    """Return restic's time, any zone, in seconds since 1970."""
    # Python before 3.11 reads neither nanoseconds nor Z.
    return datetime.fromisoformat(re.sub(r"\.\d+", "", stamp).replace("Z", "+00:00")).timestamp()

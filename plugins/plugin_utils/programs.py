"""Filters that tell which of a program's files a host lacks, and what starts a program from time to time."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# What a schedule is for systemd (systemd.time(7), after which the time of day comes) and for cron (crontab(5), before
# which it comes).
SCHEDULES = {
    "daily": ("*-*-*", "* * *"),
    "weekly": ("Sun *-*-*", "* * 0"),
    "monthly": ("*-*-01", "1 * *"),
}


def server_programs_schedule(jobs: Sequence[Mapping[str, Any]], init: str) -> list[dict[str, str]]:
    """Return the files that start programs from time to time: systemd services and their timers, or entries for cron.

    Args:
        jobs: each has name (of the program in /usr/local/sbin, of the files, and of the unit), arguments, description,
            schedule ("" for never, "minutely", "daily", "weekly" or "monthly"), at (HH:MM, not for "minutely"), spread
            (how much later it may start, so that not all servers do at once: systemd's time span; cron knows none), and
            service (further lines for the section [Service]).
        init: what starts programs on this host, "systemd" or "cron".

    Returns:
        {path, mode, content} for each job's three files; without content a file should not be there.

    Raises:
        KeyError: the schedule is none of these.
    """
    return [file for job in jobs for file in _files(job, init)]


def _files(job: Mapping[str, Any], init: str) -> list[dict[str, str]]:
    """Return the three files of one job."""
    name, schedule = job["name"], job["schedule"]
    command = " ".join(["/usr/local/sbin/wharf", name.removeprefix("wharf-"), *job.get("arguments", [])])
    service = timer = cron = ""
    if schedule and init == "systemd":
        lines = [
            "# Ansible managed",
            "[Unit]",
            f"Description={job['description']}",
            "After=docker.service network-online.target",
            "Wants=network-online.target",
            "",
            "[Service]",
            "Type=oneshot",
            f"ExecStart={command}",
            *job.get("service", []),
        ]
        service = "".join(f"{line}\n" for line in lines)
        when = (
            ["OnCalendar=minutely", "AccuracySec=5s"]
            if schedule == "minutely"
            else [
                f"OnCalendar={SCHEDULES[schedule][0]} {job['at']}",
                f"RandomizedDelaySec={job['spread']}",
                "Persistent=true",
            ]
        )
        lines = [
            "# Ansible managed",
            "[Unit]",
            f"Description={job['description']} ({schedule})",
            "",
            "[Timer]",
            *when,
            "",
            "[Install]",
            "WantedBy=timers.target",
        ]
        timer = "".join(f"{line}\n" for line in lines)
    elif schedule:
        if schedule == "minutely":
            # cron starts it although the one before is still at work.
            times, command = "* * * * *", f"flock --nonblock /run/{name}.lock {command}"
        else:
            hour, minute = map(int, job["at"].split(":"))
            times = f"{minute} {hour} {SCHEDULES[schedule][1]}"
        lines = [
            "# Ansible managed",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            f"{times} root {command} >/dev/null",
        ]
        cron = "".join(f"{line}\n" for line in lines)
    return [
        {"path": f"/etc/systemd/system/{name}.service", "mode": "0644", "content": service},
        {"path": f"/etc/systemd/system/{name}.timer", "mode": "0644", "content": timer},
        {"path": f"/etc/cron.d/{name}", "mode": "0644", "content": cron},
    ]


def server_programs_due(wanted: Sequence[Mapping[str, str]], look: Iterable[str]) -> list[Mapping[str, str]]:
    """Return those of the files that are not as they should be on a host.

    Args:
        wanted: {path, mode, content}; a file without content should not be there.
        look: what a look said, among it a line "file PATH UID:GID:MODE SHA256" for each of these files that is there,
            "timer NAME.timer" for each timer that runs, and "cron" where that is installed. A timer that does not run
            is due, whatever its file; so is an entry for cron where there is none.
    """
    lines = set(look)
    there = {line.split(" ")[1] for line in lines if line.startswith("file ")}

    def is_right(file: Mapping[str, str]) -> bool:
        path = file["path"]
        if not file["content"]:
            return path not in there
        digest = hashlib.sha256(content_bytes(file["content"])).hexdigest()
        if path.endswith(".timer") and f"timer {path.rpartition('/')[2]}" not in lines:
            return False
        if path.startswith("/etc/cron.d/") and "cron" not in lines:
            return False
        return f"file {path} 0:0:{file['mode'].lstrip('0')} {digest}" in lines

    return [file for file in wanted if not is_right(file)]


def server_programs_timers(due: Sequence[Mapping[str, str]], wanted: bool) -> list[str]:
    """Return the timers to start anew (wanted) because something of theirs is due, or those to stop (not wanted)."""
    units = [file for file in due if file["path"].startswith("/etc/systemd/") and bool(file["content"]) == wanted]
    names = [file["path"].rpartition("/")[2].rpartition(".")[0] for file in units]
    return [f"{name}.timer" for name in dict.fromkeys(names)]


def command_archive(role_path: str) -> str:
    """Return the command wharf as one file that Python runs: a zip archive behind a line #!, as text in base64.

    It holds the files as they lie in plugins/module_utils, so that modules and the command share them.

    Args:
        role_path: the directory of any role of this collection.
    """
    package = Path(role_path).parents[1] / "plugins/module_utils"
    start = "import sys\n\nfrom wharf.command.cli import main\n\nsys.exit(main())\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # neither packed nor dated: the same bytes wherever it is made
        archive.writestr(zipfile.ZipInfo("__main__.py"), start)
        archive.writestr(zipfile.ZipInfo("wharf/__init__.py"), "")
        for name, text in command_files(package).items():
            archive.writestr(zipfile.ZipInfo(f"wharf/{name}"), text)
    return "base64:" + base64.b64encode(b"#!/usr/bin/python3 -IB\n" + buffer.getvalue()).decode()


def command_files(package: Path) -> dict[str, str]:
    """Return the command's own files and those that they import, by their paths below plugins/module_utils."""
    texts = {f"command/{file.name}": file.read_text("utf-8") for file in sorted(package.glob("command/*.py"))}
    waiting = list(texts.values())
    while waiting:
        # `from ..lock import`, `from .errors import`, `from .. import data`
        text = waiting.pop()
        for name in re.findall(r"^from \.+(\w+) import|^from \.\. import (\w+)", text, re.MULTILINE):
            file = package / f"{''.join(name)}.py"
            if file.name not in texts and file.exists():
                texts[file.name] = file.read_text("utf-8")
                waiting.append(texts[file.name])
    return dict(sorted(texts.items()))


def content_bytes(content: str) -> bytes:
    """Return the bytes of a file's content, which is text, or base64 behind "base64:"."""
    return base64.b64decode(content[7:]) if content.startswith("base64:") else content.encode()

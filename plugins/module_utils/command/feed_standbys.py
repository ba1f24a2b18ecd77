"""Bring the standbys up to date with this server, over SSH, with rsync.

The registry goes on meanwhile. A standby is a whole registry at each moment, also where the copying is cut off: what
images need comes before their tags, and goes after them. Exit code 1: one standby at least was not reached, or must not
be overwritten; the others are up to date.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import containers
from ..addresses import source_of
from ..errors import WharfError
from ..files import no_link, read_json, read_text, write_atomic
from ..lock import RESULTS
from ..parts import container_names, published
from ..server_data import COPIED
from ..staging import TREE, stage_links
from ..text import human_bytes, one_line
from .cli import Task, add_wait
from .registry import Registry

SETTINGS = Path("/etc/wharf/standby")
STATE = Path("/var/lib/wharf/standby")
RESULT = RESULTS / "feed-standbys.json"  # by the names of standbys: when its links were staged, and how many tags
SCHEDULES = ("/etc/systemd/system/wharf-feed-standbys.timer", "/etc/cron.d/wharf-feed-standbys")
STAGED = Path("/run/wharf-feed-standbys.json")  # what is staged; gone after a reboot: a lost power empties files
LINKS, BLOBS = f"{TREE}/repositories", f"{TREE}/blobs"
COLLECTION = "collect-garbage"  # alone removes blobs for good
JOBS = ("apply-retention", COLLECTION, "repair-storage", "restore")  # they change what pushes do not
DAY = 86400  # seconds
SETTLED = 60 * 10**9  # nanoseconds; no disk is slower between the directory of a blob and its file
MOST = 300  # parts, of which each is an argument of rsync
# Of the links, only those that make tags. By their content: two pushes may have the same time.
TAGS = ("--include=*/", "--include=**/_manifests/tags/**", "--exclude=*")
# All else is what its path says: what is there is right, whatever the server's own has become.
NO_TAGS = ("--exclude=**/_manifests/tags/", "--ignore-existing")
ONLY_DELETE = ("--delete", "--existing", "--ignore-existing")
VANISHED = 24  # rsync's exit code where a file was gone when it was to be read: an upload that has ended


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--pending", action="store_true", help="only say which tags the standbys have not got yet")
    parser.add_argument(
        "--last", action="store_true", help="also from a server that has become a standby, before another is promoted"
    )
    parser.add_argument("--only", default="", metavar="NAME", help="only this standby")
    parser.add_argument("--all", action="store_true", help="compare every file, such as after a standby has lost power")
    add_wait(parser)


def run(task: Task) -> str:
    """Copy, or only say what is still to be copied."""
    task.record = not task.options.pending
    known = read_text(SETTINGS / "standbys.json")
    only = task.options.only
    standbys = [one for one in json.loads(known or "[]") if only in ("", one["name"])]
    if only and not standbys:
        raise WharfError(f"{only} is no standby of this server")
    if not standbys:
        return task.line("there is no standby: the group registry_standbys is empty")
    with task.lock():
        feeder = Feeder(Registry.in_files(), task.options.all)
        results = {one["name"]: feeder.pending(one["name"]) for one in standbys}
        if not task.options.pending:
            results = {one["name"]: feeder.feed(one["name"], one["address"]) for one in standbys}
    task.result["standbys"] = results
    task.result["changed"] = any(one.get("changed") for one in results.values())
    lines = [task.line(f"{name}: {in_words(one)}") for name, one in results.items()]
    if failed := [line for line, one in zip(lines, results.values()) if "failed" in one]:
        raise WharfError("; ".join(failed))
    return "; ".join(lines)


def in_words(result: Mapping[str, Any]) -> str:
    """Return how a standby is, as a person reads it."""
    if "failed" in result:
        return f"is not up to date: {result['failed']}"
    if "missing" in result:
        names = ", ".join(result["missing"][:10])
        return f"has not got {len(result['missing'])} tags yet: {names}" if names else "has got every tag"
    return f"has {result['tags']} tags, {human_bytes(result['sent'])} sent in {result['seconds']} s"


class Feeder:
    """Copies the storage of a registry to other hosts, while the lock keeps everything in its place.

    Attributes:
        parts: of the directories that are copied by themselves, the repositories and the 256 of blobs, what is another
            text once anything in them was; and of the whole, whose text is another one when all is to be copied.
        tags: what is tagged, digests by REPOSITORY:TAG.
        collected: when garbage was last collected, in seconds since 1970.
        state: of each standby as of when it is a copy, and how many tags it has.
    """

    def __init__(self, registry: Registry, everything: bool = False) -> None:
        """Copy the links of the registry aside. Raises WharfError where there are none to copy.

        Args:
            registry: the registry.
            everything: whether nothing that is there already is taken for right.
        """
        registry.require_data()
        self.everything, self.collected = everything, ended(COLLECTION)
        self.registry, self.data, self.at = registry, registry.path, int(time.time())
        STATE.mkdir(mode=0o750, parents=True, exist_ok=True)
        os.chown(STATE, 0, registry.uid)  # rsync runs as the registry's user
        storage, settled = registry.storage, time.time_ns() - SETTLED
        states = storage.states(settled)
        self.parts = {"": whole_state(self.at)} | {f"{LINKS}/{name}": state for name, state in states.items()}
        self.tags = self.stage()
        # After the links: what they need has come by now.
        self.parts |= {f"{BLOBS}/{part}": state for part, state in storage.blob_states(settled).items()}
        self.state: dict[str, Any] = read_json(RESULT)

    def stage(self) -> dict[str, str]:
        """Bring the copy of the links up to date, and return what is tagged."""
        known = read_json(STAGED)
        changed = differing(known.get("parts", {}), self.parts)
        if changed is None:
            tags = stage_links(self.data, STATE / "stage")
        else:
            names = {part.removeprefix(f"{LINKS}/") for part in changed}
            tags = {tag: digest for tag, digest in known["tags"].items() if tag.partition(":")[0] not in names}
            tags |= stage_links(self.data, STATE / "stage", names)
        if changed != []:
            write_json(STAGED, {"parts": self.parts, "tags": tags})
        return tags

    def pending(self, name: str) -> dict[str, Any]:
        """Return which tags a standby has not got yet, or has with another digest."""
        before = read_json(STATE / f"{name}.json").get("tags", {})
        missing = sorted(tag for tag, digest in self.tags.items() if before.get(tag) != digest)
        return {"at": self.state.get(name, {}).get("at", 0), "missing": missing}

    def feed(self, name: str, address: str) -> dict[str, Any]:
        """Bring a standby up to date.

        Args:
            name: what SSH calls it.
            address: its address.

        Returns:
            When the links were staged ("at"), "tags", the bytes that were "sent", "seconds", and whether anything
            "changed"; or why it has "failed".
        """
        start, known = time.monotonic(), read_json(STATE / f"{name}.json")
        before = {"parts": self.parts, "tags": self.tags, "collected": self.collected}
        try:
            mark, to, sent = self.require_copy(name), f"{name}:", [(0, 0)]
            # What is known of it holds if nobody else has copied to it since.
            holds = not self.everything and mark.get("at") == self.state.get(name, {}).get("at")
            parts = differing(known.get("parts", {}) if holds else {}, self.parts)
            blobs, links = self.places([BLOBS, LINKS] if parts is None else parts)
            if blobs or links:
                sent.append(self.rsync(*NO_TAGS[: 1 if self.everything else None], *blobs, *links, to))
            if links:
                sent.append(self.rsync("--checksum", "--delete", *TAGS, *links, to))
            goes = self.everything or known.get("collected") != self.collected
            removed = [*(blobs if goes else []), *links]
            if removed:
                sent.append(self.rsync(*ONLY_DELETE, *removed, to))
            if before != known:
                write_json(STATE / f"{name}.json", before)
            self.mark(name, address)
        except WharfError as error:
            return {"failed": one_line(str(error), 500)}
        self.state[name] = {"at": self.at, "tags": len(self.tags)}
        RESULTS.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomic(str(RESULT), json.dumps(self.state).encode())
        files, size = map(sum, zip(*sent))
        seconds = round(time.monotonic() - start, 1)
        return {**self.state[name], "sent": size, "seconds": seconds, "changed": files > 0}

    def places(self, parts: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return the directories of blobs and of links that rsync copies, below the root of the storage.

        Of a repository only its own, and not the repositories whose names begin with its name.
        """
        blobs, links = [], []
        for part in parts:
            if part == BLOBS or part.startswith(f"{BLOBS}/"):
                blobs.append(f"{self.data}/./{part}")
            else:
                links += [
                    f"{STATE}/stage/./{part}{own}" for own in ([""] if part == LINKS else ["/_manifests", "/_layers"])
                ]
        return tuple([place for place in one if os.path.isdir(place)] for one in (blobs, links))  # type: ignore[return-value]

    def require_copy(self, name: str) -> dict[str, Any]:
        """Return the mark of a standby. Raises WharfError where its data is no copy of this registry's."""
        with tempfile.TemporaryDirectory(dir=STATE) as directory:
            os.chown(directory, self.registry.uid, self.registry.uid)
            copy = Path(directory, COPIED)
            try:
                self.rsync(f"{name}:{COPIED}", str(copy), relative=False)
            except WharfError as error:
                if "No such file" not in str(error):
                    raise
            mark = read_json(copy, no_link)
        if mark.get("source") != self.registry.data_id:
            raise WharfError(
                "its data is no copy of this server's: its disk is not mounted, it was promoted, or belongs to another"
                " server; to have it follow this one, run playbooks/site.yml with it in registry_standbys"
            )
        return mark

    def mark(self, name: str, address: str) -> None:
        """Let a standby know as of when it is a copy, and of whose images."""
        known = {"source": self.registry.data_id, "server": os.uname().nodename, "address": self.address(address)}
        known |= {"at": self.at, "tags": len(self.tags), "interval": interval()}
        write_atomic(str(STATE / COPIED), json.dumps(known).encode())
        self.rsync(str(STATE / COPIED), f"{name}:", relative=False)

    def address(self, standby: str) -> str:
        """Return where the registry here answers, as a standby can ask it; empty where that is not known."""
        network = containers.container(container_names(self.registry.container)["network"])
        listens = [one.get("HostIp") or "0.0.0.0" for one in (published(network) if network else [])]
        own = source_of(standby, 22)
        if any(one in listens for one in ((own, "::") if ":" in own else (own, "0.0.0.0"))):
            return own
        return next((one for one in listens if one not in ("0.0.0.0", "::")), "")

    def rsync(self, *arguments: str, relative: bool = True) -> tuple[int, int]:
        """Run rsync as the registry's own user; root neither reads nor writes where that may write.

        Returns:
            How many files were written or deleted, and the bytes sent.

        Raises:
            WharfError: it fails.
        """
        uid = str(self.registry.uid)
        result = subprocess.run(
            [
                *("setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--pdeathsig", "TERM"),
                # Not the times of directories, by which the standby's index sees what is new since it looked there.
                # What is there is there after a lost power, too.
                *("rsync", "--recursive", "--times", "--omit-dir-times", "--fsync"),
                *("--timeout=120", "--stats", "--no-human-readable", *["--relative"] * relative),
                *(f"--rsh=ssh -F {SETTINGS}/ssh_config", *arguments),
            ],
            env={**os.environ, "LC_ALL": "C", "HOME": str(SETTINGS)},
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        if result.returncode not in (0, VANISHED):
            raise WharfError(f"rsync ended with {result.returncode}: {one_line(result.stderr, 400)}")
        return counted(result.stdout)


def whole_state(now: int) -> str:
    """Return what is another text when all is to be copied: each day, and after what changes more than links.

    A collection removes blobs, and a repair may leave their directories.
    """
    return f"{now // DAY} {[ended(job) for job in JOBS]}"


def ended(job: str) -> int:
    """Return when a subcommand last ended, in seconds since 1970; 0 for never."""
    path = RESULTS / job
    return int(path.stat().st_mtime) if path.exists() else 0


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> list[str] | None:
    """Return which parts are others than they were; None where they are all to be copied."""
    if before.get("") != now[""] or not before.keys() <= now.keys():
        return None
    changed = [part for part, state in now.items() if not state or before.get(part) != state]
    return changed if len(changed) <= MOST else None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Keep what only root need read."""
    write_atomic(str(path), json.dumps(content).encode(), 0o600)


def interval() -> int:
    """Return after how many seconds the next copy begins; 0 where nothing starts it."""
    for path in SCHEDULES:
        if match := re.search(r"\(after (\d+) min at most\)$", read_text(path), re.MULTILINE):
            return 60 * int(match[1])
    return 0


def counted(statistics: str) -> tuple[int, int]:
    """Return from rsync's --stats how many files were written or deleted, and the bytes sent."""
    found = dict(line.split(": ", 1) for line in statistics.splitlines() if ": " in line)

    def number(name: str) -> int:
        return int(found.get(name, "0").split(" ")[0])

    changed = number("Number of regular files transferred") + number("Number of deleted files")
    return changed, number("Total bytes sent")

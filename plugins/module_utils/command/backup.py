"""Backs a registry up and restores it, with restic, on the registry's own server.

    wharf back-up [--plan]      makes a snapshot; --plan only says what it would do
    wharf check-backup                   reads the whole backup and says what is damaged
    wharf restore [...]         brings a snapshot back, see --help

All take --wait SECONDS (for whoever else is at work on the registry) and --json. The exit code is 0 when all is well,
1 when the work failed or was refused, 3 when a backup was made of a registry that is damaged itself. Settings are in
/etc/wharf/backup: backup.json, password, and with a host of Wharf's own choice the key and ssh_config.

Why a backup is consistent while people push: the registry writes a blob before the link that names it, and the links
of layers before those of manifests and tags. So links are copied first, tags before manifests before layers, and the
blobs are backed up after that. Nothing else removes blobs meanwhile, because garbage collection takes the same lock.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import DamageError, WharfError
from ..lock import lock, write_result
from ..storage import DIGEST, Storage

SETTINGS = Path("/etc/wharf/backup")
STATE = Path("/var/lib/wharf/backup")
STAGE = STATE / "stage"  # always the same place, so that restic finds what it had before
VIEW = STATE / "view"
TREE = "docker/registry/v2"
TAG = "wharf-registry"
# The configuration is what the inventory says, and the record of the data tells where it lies on this server.
OWN = {"config.yml", "config.yml.before", "data"}
SPARE = 64 << 20  # bytes that must stay free
# What the exit codes and words of restic mean (0.17 and newer have codes, 0.14 only words).
ABSENT = re.compile(r"Is there a repository at the following location|repository does not exist|unable to open config")
LOCKED = "already locked"
WRONG_PASSWORD = "wrong password or no key found"


def say(text: str) -> None:
    """Tell a person how far it is. Standard output is for the result."""
    print(text, file=sys.stderr, flush=True)


def megabytes(size: float) -> str:
    """Return a size in bytes for people."""
    return f"{size / 1e6:.1f} MB"


class Job:
    """What this server's registry and its backup are, from the settings."""

    def __init__(self) -> None:
        """Read the settings.

        Raises:
            WharfError: they are not there.
        """
        try:
            self.settings: dict[str, Any] = json.loads((SETTINGS / "backup.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise WharfError(
                f"{SETTINGS}/backup.json cannot be read ({error}): run playbooks/back-up-registry.yml"
            ) from None
        self.name: str = self.settings["name"]
        self.repository: str = self.settings["repository"]
        # For messages: without the name and password that a URL may hold.
        self.place: str = re.sub(r"//[^/@]*@", "//", self.repository)

    # restic ---------------------------------------------------------------------------------------

    def command(self, *arguments: str | Path) -> list[str]:
        """Return the command line of restic; nothing secret is on it.

        restic ends with this program, also when that is killed: it must not work on without the lock.
        """
        ssh = f"ssh -F {SETTINGS}/ssh_config backup -s sftp"
        own = ["-o", f"sftp.command={ssh}"] if self.settings["own_ssh"] else []
        return ["setpriv", "--pdeathsig", "TERM", "restic", *own, *map(str, arguments)]

    def environment(self) -> dict[str, str]:
        """Return the environment of restic."""
        return {
            **os.environ,
            "HOME": os.environ.get("HOME", "/root"),
            "RESTIC_CACHE_DIR": "/var/cache/wharf-backup",
            "RESTIC_PROGRESS_FPS": "0.0001",
            **self.settings["environment"],
            "RESTIC_REPOSITORY": self.repository,
            "RESTIC_PASSWORD_FILE": str(SETTINGS / "password"),
        }

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run restic and return what it said, whatever that is."""
        command = self.command(*arguments)
        return subprocess.run(command, env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True)

    def restic(self, *arguments: str | Path) -> str:
        """Run restic and return its standard output.

        Raises:
            WharfError: it failed.
        """
        result = self.run(*arguments)
        if LOCKED in result.stderr:
            # Perhaps by a run of this host that was killed. restic itself judges which locks are stale: this host's
            # whose process has ended, and anybody's after half an hour.
            self.run("unlock")
            result = self.run(*arguments)
        if result.returncode != 0:
            raise WharfError(f"restic {arguments[0]} failed on {self.place}: {words(result)}")
        return result.stdout

    def snapshots(self) -> list[dict[str, Any]] | None:
        """Return this registry's snapshots, the oldest first; None where there is no backup at all.

        Raises:
            WharfError: the password is wrong, or the repository cannot be reached or read.
        """
        result = self.run("snapshots", "--json", "--tag", TAG, "--host", self.name, "--no-lock")
        if result.returncode == 0:
            return sorted(json.loads(result.stdout) or [], key=lambda item: when(item["time"]))
        if WRONG_PASSWORD in result.stderr:
            raise WharfError(
                f"wharf_backup_password: is not the password of the backup in {self.place}: give the one that it"
                " was made with (the first run generated it into .credentials/backup-password beside the inventory)"
            )
        if ABSENT.search(result.stderr):
            return None
        raise WharfError(f"the backup in {self.place} cannot be opened: {words(result)}")

    def choose(self, wanted: str) -> dict[str, Any]:
        """Return the snapshot of this id, or the newest for "latest".

        Raises:
            WharfError: there is none.
        """
        there = self.snapshots()
        if there is None:
            raise WharfError(f"there is no backup in {self.place}")
        for item in reversed(there):
            if wanted == "latest" or item["id"].startswith(wanted):
                return item
        listed = ", ".join(f"{item['short_id']} ({item['time'][:16]})" for item in there[-10:]) or "none"
        raise WharfError(
            f"wharf_restore_snapshot: {wanted} is no snapshot of {self.name} in {self.place}: there are {listed}"
        )

    # The registry ---------------------------------------------------------------------------------

    def container(self, form: str) -> str:
        """Return what docker inspect says of the registry's container; empty when there is none."""
        command = ["docker", "container", "inspect", "--format", form, self.settings["container"]]
        result = subprocess.run(command, capture_output=True, text=True)
        return result.stdout.strip() if result.returncode == 0 else ""

    def mounted(self) -> str:
        """Return the directory that the registry's container keeps its images in; empty when there is no container."""
        return self.container('{{range .Mounts}}{{if eq .Destination "/var/lib/registry"}}{{.Source}}{{end}}{{end}}')

    def data(self) -> Path:
        """Return the directory that holds the images, of a directory or of a volume alike.

        Raises:
            WharfError: there is none.
        """
        place = self.mounted() or self.configured()
        if not place or not Path(place).is_dir():
            raise WharfError(f"there is no registry here: neither its container nor {self.settings['data']}")
        return Path(place)

    def configured(self) -> str:
        """Return the directory that the inventory says; empty for a volume that is not there yet."""
        place: str = self.settings["data"]
        if place.startswith("/"):
            return place
        command = ["docker", "volume", "inspect", "--format", "{{.Mountpoint}}", place]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    def make_data(self) -> Path:
        """Return the directory that images are to be restored into, made if it is not there."""
        if not self.configured():
            command = ["docker", "volume", "create", self.settings["data"]]
            subprocess.run(command, check=True, capture_output=True)
        path = Path(self.configured())
        if not path.is_dir():
            path.mkdir(mode=0o750, parents=True)
        if path.stat().st_uid == 0:
            os.chown(path, self.settings["uid"], self.settings["uid"])
        return path

    def files(self) -> dict[str, Path]:
        """Return the directories of the configuration, by what they hold."""
        return {kind: Path(self.settings["directories"][kind]) for kind in ("registry", "tls", "ca")}


def words(result: subprocess.CompletedProcess[str]) -> str:
    """Return the last words of restic, in one line."""
    lines = telling(result.stderr or result.stdout)
    return " ".join(" ".join(lines[-4:]).split()) or f"it says nothing (exit code {result.returncode})"


def telling(said: str) -> list[str]:
    """Return the lines of restic that say something: not that it tries again, or what it is about to do."""
    noise = re.compile(
        r"^(using temporary cache|create exclusive lock|load indexes|check |read all data|\[|$)|returned error, retry"
    )
    return list(dict.fromkeys(line.strip() for line in said.splitlines() if not noise.search(line.strip())))


def when(stamp: str) -> float:
    """Return restic's time (nanoseconds, any zone) in seconds since 1970."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", stamp).replace("Z", "+00:00")).timestamp()


# Backup -------------------------------------------------------------------------------------------


def stage(data: Path) -> dict[str, str]:
    """Bring the copy of the registry's links in STAGE up to date, and return what is tagged: {"name:tag": digest}.

    VIEW shows the same links with the blobs beside them, so as a registry's storage.
    """
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = STAGE / "repositories"
    target.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(VIEW, ignore_errors=True)
    (VIEW / TREE).mkdir(parents=True)
    (VIEW / TREE / "repositories").symlink_to(target)
    (VIEW / TREE / "blobs").symlink_to(data / TREE / "blobs")
    copied: set[Path] = set()
    for name in Storage(data).repositories():
        # The order in which the registry writes them, backwards. Uploads under way are left out.
        for part in ("_manifests/tags", "_manifests/revisions", "_layers"):
            copied |= copy_links(data / TREE / "repositories" / name / part, target / name / part)
    for directory, _below, names in os.walk(target, topdown=False):
        place = Path(directory)
        if "link" in names and place / "link" not in copied:
            (place / "link").unlink()
        if place != target and not os.listdir(place):
            place.rmdir()
    storage = Storage(VIEW)
    return {f"{name}:{tag}": digest for name in storage.repositories() for tag, digest in storage.tags(name).items()}


def copy_links(source: Path, target: Path) -> set[Path]:
    """Copy the link files below a directory, with their times; return the copies.

    A copy that is right already is not touched, so that restic finds nothing new.
    """
    copied = set()
    for directory, _below, names in os.walk(source):
        if "link" not in names:
            continue
        link, copy = Path(directory, "link"), target / Path(directory).relative_to(source) / "link"
        # Version 2 writes a link in place: one that is read meanwhile is empty, for a moment.
        for _ in range(20):
            content, written = link.read_text(errors="replace"), link.stat().st_mtime_ns
            if DIGEST.fullmatch(content.strip()):
                break
            time.sleep(0.05)
        copied.add(copy)
        if copy.is_file() and copy.stat().st_mtime_ns == written and copy.read_text() == content:
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(content)
        os.utime(copy, ns=(written, written))
    return copied


def free_space(job: Job) -> int | None:
    """Return the bytes that are free where the backup lies; None where nobody can tell."""
    if job.repository.startswith("/"):
        place = Path(job.repository)
        while not place.exists():
            place = place.parent
        facts = os.statvfs(place)
        return facts.f_bavail * facts.f_frsize
    if not job.settings["own_ssh"]:
        return None
    path = job.repository.partition(":")[2].partition(":")[2]
    # A directory that restic makes at the first backup is not there yet: the one above it is.
    batch = f"-df {path}\n-df {os.path.dirname(path)}\n"
    command = ["sftp", "-q", "-b", "-", "-F", str(SETTINGS / "ssh_config"), "backup"]
    said = subprocess.run(command, input=batch, capture_output=True, text=True).stdout
    rows = [line.split() for line in said.splitlines() if line.rstrip().endswith("%")]
    return int(rows[0][2]) * 1024 if rows else None  # size, used, avail, (root), %capacity; kilobytes


def new_bytes(data: Path, since: float) -> int:
    """Return how many bytes of blobs came after a time: no more than what is new to the backup."""
    size = 0
    for directory, _below, names in os.walk(data / TREE / "blobs"):
        for name in names:
            facts = os.stat(os.path.join(directory, name))
            size += facts.st_size if facts.st_mtime > since else 0
    return size


def plan(job: Job) -> tuple[Path, bool, int]:
    """Look before anything is written: the data, whether the backup exists, and the bytes that are new to it.

    Raises:
        WharfError: there is nothing to back up, or no room for it, or the backup that was there is gone.
    """
    data = job.data()
    config = job.files()["registry"] / "config.yml"
    if config.exists() and not re.search(r"^\s+filesystem:", config.read_text("utf-8"), re.MULTILINE):
        raise WharfError(
            f"{config}: the registry keeps its images elsewhere than in files: back that storage up itself"
        )
    snapshots = job.snapshots()
    exists = snapshots is not None
    known = STATE / "repository.json"
    if not exists and known.exists() and json.loads(known.read_text("utf-8"))["repository"] == job.repository:
        raise WharfError(
            f"the backup that was in {job.place} is not there any more: is its disk mounted?"
            f" To begin a new one, remove {known} first"
        )
    last = [when(item["time"]) for item in (snapshots or [])[-1:]]
    size = new_bytes(data, last[0] - 3600 if last else 0)
    room = free_space(job)
    if room is not None and room < size + SPARE:
        raise WharfError(
            f"there is no room in {job.place}: {megabytes(room)} are free, and {megabytes(size + SPARE)} are"
            " needed: make room, or keep fewer snapshots (wharf_backup_keep)"
        )
    return data, exists, size


def back_up(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Make a snapshot, and let those go that need not be kept."""
    start = time.monotonic()
    with lock("back-up", options.wait):
        data, exists, size = plan(job)
        if options.plan:
            return {"snapshot": None, "exists": exists, "new": size, "message": f"would back up {megabytes(size)}"}
        if not exists:
            job.restic("init")
        tags = stage(data)
        # The state of the registry that goes into the backup, not of the one that people push to meanwhile.
        report = Storage(VIEW).summary()
        facts = {
            "name": job.name,
            "port": job.settings["port"],
            "image": job.container("{{.Config.Image}}"),
            "data": str(data),
            "directories": {kind: str(path) for kind, path in job.files().items()},
            "tags": tags,
        }
        text = json.dumps(facts, indent=1, sort_keys=True)
        if not (STAGE / "wharf.json").exists() or (STAGE / "wharf.json").read_text() != text:
            (STAGE / "wharf.json").write_text(text)
        places = [path for path in (STAGE, data / TREE / "blobs", *job.files().values()) if path.is_dir()]
        (STATE / "places").write_text("".join(f"{place}\n" for place in places))
        # Blobs are compressed already, and never change: their size and time tell whether they are known.
        said = job.restic(
            *("backup", "--json", "--compression", "off", "--host", job.name, "--tag", TAG),
            *("--ignore-ctime", "--ignore-inode", "--files-from-verbatim", STATE / "places"),
        )
        summary = next(item for item in map(json.loads, said.splitlines()) if item.get("message_type") == "summary")
        remember(job)
        # Of a registry that is damaged, the older snapshots may be the whole ones: none of them goes.
        if not report["problems"]:
            forget(job)
    seconds = time.monotonic() - start
    result = {
        "snapshot": summary["snapshot_id"][:8],
        "new": summary.get("data_added_packed", summary["data_added"]),
        "total": summary["total_bytes_processed"],
        "tags": len(tags),
        "seconds": round(seconds, 1),
        "problems": report["problems"],
    }
    result["message"] = (
        f"snapshot {result['snapshot']}: {result['tags']} tags, {megabytes(result['total'])},"
        f" of them {megabytes(result['new'])} new, in {seconds:.1f} s"
    )
    return result


def remember(job: Job) -> None:
    """Note that the backup exists, so that one that is not there any more is not begun anew in silence."""
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    (STATE / "repository.json").write_text(json.dumps({"repository": job.repository}))
    (STATE / "repository.json").chmod(0o600)


def forget(job: Job) -> None:
    """Let the snapshots go that need not be kept, and the space that only they used."""
    keep = [f"--keep-{unit}={count}" for unit, count in job.settings["keep"].items()]
    if keep:
        job.restic("forget", "--prune", "--tag", TAG, "--host", job.name, "--group-by", "host", *keep)


# Check --------------------------------------------------------------------------------------------


def check(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Read all of the backup, every byte of it."""
    start = time.monotonic()
    snapshots = job.snapshots()
    if snapshots is None:
        raise WharfError(f"there is no backup in {job.place}")
    # Without a lock: a backup that is made meanwhile only adds to it.
    result = job.run("check", "--read-data", "--no-lock")
    seconds = time.monotonic() - start
    if result.returncode != 0:
        said = telling(result.stdout + result.stderr)
        raise WharfError(
            "\n".join([f"the backup in {job.place} is damaged. restic says:", *said[:30], *lost(job, said)])
        )
    count = len(snapshots)
    return {"snapshots": count, "message": f"all {count} snapshots are whole: every byte was read, in {seconds:.0f} s"}


def lost(job: Job, said: list[str]) -> list[str]:
    """Name what each snapshot has lost by the damage that restic has found, as far as restic can tell."""
    hits = [hit for kind, ids in broken(said).items() if ids for hit in find(job, f"--{kind}", *ids)]
    # A blob of the registry lies in a directory that bears its digest, and so does each link to it.
    digests = {Path(hit["path"]).parent.name for hit in hits if hit["path"].endswith("/data")}
    for snapshot in find(job, *sorted(digests)[:10000]) if digests else []:
        hits += [{"snapshot": snapshot["snapshot"], "path": match["path"]} for match in snapshot["matches"]]
    names: dict[str, set[str]] = {}
    for hit in hits:
        repository = re.search("/repositories/(.+?)/_", hit["path"])
        if repository or TREE not in hit["path"]:
            names.setdefault(hit["snapshot"][:8], set()).add(repository[1] if repository else hit["path"])
    lines = [f"snapshot {snapshot}: {', '.join(sorted(those))}" for snapshot, those in names.items()]
    return ["What each snapshot has lost something of:", *lines] if lines else []


def broken(said: list[str]) -> dict[str, list[str]]:
    """Return the ids of restic's own blobs that it finds damaged, and of the files (packs) of which it says no more."""
    found: dict[str, list[str]] = {"blob": [], "pack": []}
    for line in said:
        blobs = re.findall(r"\bblob ([0-9a-f]{64})", line)
        packs = re.findall(r"\b(?:pack|Pack ID does not match, want) ([0-9a-f]{64})", line)
        found["blob"] += blobs
        found["pack"] += packs if not blobs else []
    return {kind: sorted(set(ids)) for kind, ids in found.items()}


def find(job: Job, *wanted: str) -> list[dict[str, Any]]:
    """Return what restic finds in this registry's snapshots; nothing if it cannot."""
    result = job.run("find", "--json", "--no-lock", "--tag", TAG, "--host", job.name, *wanted)
    found = next((line for line in result.stdout.splitlines() if line.startswith("[")), "[]")
    return json.loads(found) if result.returncode == 0 else []


# Restore ------------------------------------------------------------------------------------------


def restore(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Bring a snapshot back: all of it, or one repository."""
    start = time.monotonic()
    snapshot = job.choose(options.snapshot)
    dumped = job.run("dump", "--no-lock", snapshot["id"], STAGE / "wharf.json")
    if dumped.returncode != 0:
        raise damaged(dumped)
    facts = json.loads(dumped.stdout)
    if options.list:
        return {"snapshot": snapshot["short_id"], "time": snapshot["time"], "tags": facts["tags"], "message": "listed"}
    with lock("restore", options.wait):
        work = restore_repository if options.repository else restore_all
        result = work(job, options, snapshot, facts)
    if not options.plan:
        remember(job)
    seconds = time.monotonic() - start
    result |= {"snapshot": snapshot["short_id"], "time": snapshot["time"], "seconds": round(seconds, 1)}
    result["message"] = f"snapshot {snapshot['short_id']} of {snapshot['time'][:16]}: {result['message']}"
    return result


def unpack(job: Job, snapshot: dict[str, Any], target: Path, includes: list[str]) -> None:
    """Restore these paths of a snapshot below a directory.

    Raises:
        WharfError: something in the backup is damaged. What was restored until then is removed.
    """
    chosen = [word for path in includes for word in ("--include", path)]
    result = job.run("restore", snapshot["id"], "--target", target, *chosen)
    # Version 0.14 says "There were 3 errors" and ends with 1 as well.
    if result.returncode != 0:
        raise damaged(result)


@contextmanager
def beside(data: Path) -> Iterator[Path]:
    """Give a fresh directory to restore into, and remove it afterwards.

    It is inside of the data's directory, so that it is the same file system even if a disk is mounted there.
    """
    staging = data / ".restoring"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(mode=0o700)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def damaged(result: subprocess.CompletedProcess[str]) -> WharfError:
    """Return why nothing is restored."""
    return WharfError(
        "the backup is damaged, and nothing was replaced. restic says:\n"
        + "\n".join(telling(result.stderr)[:10])
        + "\nRun wharf check-backup, or choose another snapshot (wharf_restore_snapshot)"
    )


def room_for(job: Job, snapshot: dict[str, Any], data: Path) -> None:
    """Raise WharfError when the whole snapshot has no room beside the data."""
    said = job.restic("stats", snapshot["id"], "--mode", "restore-size", "--json", "--no-lock")
    needed = json.loads(said)["total_size"] + SPARE
    facts = os.statvfs(data)
    if facts.f_bavail * facts.f_frsize < needed:
        raise WharfError(
            f"there is no room in {data}: the restored data lies beside the old until all of it is there and whole,"
            f" {megabytes(needed)} are needed and {megabytes(facts.f_bavail * facts.f_frsize)} are free"
        )


def restore_all(
    job: Job, options: argparse.Namespace, snapshot: dict[str, Any], facts: dict[str, Any]
) -> dict[str, Any]:
    """Replace the data, the CA, the certificate and the users; keep what was there."""
    there, said = job.mounted(), job.configured()
    if there and there != said:
        raise WharfError(
            f"wharf_registry_data: is {job.settings['data']}, but the registry's container keeps its images in {there}:"
            " move the data first, or name the place where it is"
        )
    if options.plan and not Path(said or "/nowhere").is_dir():
        return {"message": f"would bring back {len(facts['tags'])} tags into {job.settings['data']}"}
    data = Path(said) if options.plan else job.make_data()
    tags = sum(len(Storage(data).tags(name)) for name in Storage(data).repositories())
    if Storage(data).repositories() and options.confirm != job.name:
        raise WharfError(
            f"there is a registry in {data}, with {tags} tags: to replace it with the snapshot {snapshot['short_id']}"
            f" of {snapshot['time'][:16]} ({len(facts['tags'])} tags), set wharf_restore_confirm: {job.name}."
            " What is there now is kept beside it"
        )
    room_for(job, snapshot, data)
    if options.plan:
        return {"message": f"would replace {tags} tags in {data} by {len(facts['tags'])}"}
    with beside(data) as staging:
        say(f"restoring {len(facts['tags'])} tags into {staging}")
        unpack(job, snapshot, staging, [])
        tree = staging / "registry"
        (tree / TREE).mkdir(parents=True)
        (staging / STAGE.relative_to("/") / "repositories").rename(tree / TREE / "repositories")
        blobs = staging / Path(facts["data"]).relative_to("/") / TREE / "blobs"
        if blobs.is_dir():  # a registry that was never pushed to has none
            blobs.rename(tree / TREE / "blobs")
        drop_unnamed(tree)
        say("comparing every blob with its digest")
        whole(Storage(tree), facts["tags"], None)
        hand_over(tree, data)
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        running = job.container("{{.State.Running}}") == "true"
        if running:
            subprocess.run(["docker", "stop", job.settings["container"]], check=True, capture_output=True)
        try:
            kept = place_files(job, staging, facts, stamp)
            old = exchange(tree / "docker", data / "docker", data / f"before-restore-{stamp}")
        finally:
            if running:
                start_registry(job.settings["container"])
    kept += [str(old)] if old else []
    return {"tags": len(facts["tags"]), "kept": kept, "message": f"{len(facts['tags'])} tags are back, each blob whole"}


def start_registry(container: str) -> None:
    """Start the registry's container again, and wait until it is well, as its own health check asks; at most 30 s."""
    subprocess.run(["docker", "start", container], check=True, capture_output=True)
    ask = ["docker", "exec", container, "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:5001/debug/health"]
    deadline = time.monotonic() + 30
    while subprocess.run(ask, capture_output=True).returncode != 0 and time.monotonic() < deadline:
        time.sleep(0.2)


def drop_unnamed(tree: Path) -> None:
    """Remove the blobs that no link names: one of them may be half of a push that came after the links were copied."""
    named = set()
    for directory, _below, names in os.walk(tree / TREE / "repositories"):
        if "link" in names:
            named.add(Path(directory, "link").read_text(errors="replace").strip())
    for blob in list((tree / TREE / "blobs").glob("*/*/*")):
        if f"{blob.parent.parent.name}:{blob.name}" not in named:
            shutil.rmtree(blob)


def whole(storage: Storage, tags: dict[str, str], only: list[str] | None) -> None:
    """Compare what was restored with its digests, and with the tags that the backup promised.

    Raises:
        WharfError: something is missing or damaged.
    """
    problems = list(storage.problems(only, contents=True))
    there = {f"{name}:{tag}": digest for name in storage.repositories() for tag, digest in storage.tags(name).items()}
    problems += [
        f"{reference}: should lead to {digest}" for reference, digest in tags.items() if there.get(reference) != digest
    ]
    if problems:
        raise WharfError(
            "what was restored is not whole, and nothing was replaced:\n"
            + "\n".join(problems[:30])
            + "\nThe registry was damaged when this snapshot was made: choose an older one (wharf_restore_snapshot), or"
            " restore the repositories that are whole one by one (wharf_restore_repository)"
        )


def hand_over(tree: Path, data: Path) -> None:
    """Give all that was restored to the registry's user."""
    owner = data.stat()
    for directory, _below, names in os.walk(tree):
        os.chown(directory, owner.st_uid, owner.st_gid)
        os.chmod(directory, 0o755)
        for name in names:
            os.chown(os.path.join(directory, name), owner.st_uid, owner.st_gid)


def exchange(new: Path, old: Path, kept: Path) -> Path | None:
    """Put a directory in the place of another in one step; return where the old one is now, None if there was none."""
    if not old.exists():
        new.rename(old)
        return None
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    at_cwd, exchanged = -100, 2
    if renameat2 is None or renameat2(at_cwd, bytes(new), at_cwd, bytes(old), exchanged) != 0:
        # A file system that cannot: two steps.
        kept.mkdir(mode=0o700)
        old.rename(kept / "docker")
        new.rename(old)
        return kept
    kept.mkdir(mode=0o700)
    new.rename(kept / "docker")
    return kept


def place_files(job: Job, staging: Path, facts: dict[str, Any], stamp: str) -> list[str]:
    """Put CA, certificate and users in their places; return the copies of what was there and differs.

    The directories stay, because the container has them mounted. What is this server's OWN is not brought back.
    """
    kept = []
    for kind, place in job.files().items():
        source = staging / Path(facts["directories"][kind]).relative_to("/")
        names = sorted(path.name for path in source.iterdir() if path.is_file()) if source.is_dir() else []
        names = [name for name in names if name not in OWN]
        if all(same(place / name, source / name) for name in names):
            continue
        if place.is_dir():
            copy = place.with_name(f"{place.name}.before-restore-{stamp}")
            shutil.copytree(place, copy)
            copy.chmod(0o700)
            kept.append(str(copy))
        else:
            place.mkdir(parents=True)
            shutil.copystat(source, place)
            os.chown(place, source.stat().st_uid, source.stat().st_gid)
        for name in names:
            facts_of = (source / name).stat()
            part = place / f".{name}.part"
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write((source / name).read_bytes())
            os.chown(part, facts_of.st_uid, facts_of.st_gid)
            os.chmod(part, facts_of.st_mode & 0o7777)
            part.rename(place / name)
    return kept


def same(one: Path, other: Path) -> bool:
    """Tell whether two files are there and hold the same."""
    return one.is_file() and one.read_bytes() == other.read_bytes()


def restore_repository(
    job: Job, options: argparse.Namespace, snapshot: dict[str, Any], facts: dict[str, Any]
) -> dict[str, Any]:
    """Bring one repository back into the running registry. Tags that are there and not in the backup stay."""
    name = options.repository
    wanted = {ref: digest for ref, digest in facts["tags"].items() if ref.rpartition(":")[0] == name}
    if not wanted:
        names = sorted({reference.rpartition(":")[0] for reference in facts["tags"]})
        raise WharfError(
            f"wharf_restore_repository: {name} is not in the snapshot {snapshot['short_id']}:"
            f" there are {', '.join(names[:20]) or 'none'}"
        )
    data = job.data()
    running = Storage(data)
    there = {f"{name}:{tag}": digest for tag, digest in running.tags(name).items()}
    other = [ref for ref, digest in wanted.items() if there.get(ref, digest) != digest]
    if other and not options.overwrite:
        raise WharfError(
            f"these tags lead to something else now than in the snapshot {snapshot['short_id']}:"
            f" {', '.join(other[:20])}. To lead them back, set wharf_restore_overwrite: true (what they lead to now"
            " stays in the registry, by its digest)"
        )
    if options.plan:
        return {"message": f"would bring back {len(wanted)} tags of {name}"}
    with beside(data) as staging:
        links = STAGE / "repositories" / name
        unpack(job, snapshot, staging, [str(links)])
        tree = staging / "registry"
        place = tree / TREE / "repositories" / name
        place.parent.mkdir(parents=True)
        (staging / links.relative_to("/")).rename(place)
        restored = Storage(tree)
        digests = sorted(restored.revisions(name) | restored.layers(name))
        good = [digest for digest in digests if is_whole(running.blob_path(digest), digest)]
        for digest in good:
            copy = restored.blob_path(digest)
            copy.parent.mkdir(parents=True)
            os.link(running.blob_path(digest), copy)
        missing = [digest for digest in digests if digest not in set(good)]
        paths = [
            f"{facts['data']}/{TREE}/blobs/{algorithm}/{number[:2]}/{number}"
            for algorithm, _, number in (digest.partition(":") for digest in missing)
        ]
        for group in range(0, len(paths), 1000):
            unpack(job, snapshot, staging, paths[group : group + 1000])
        for digest, path in zip(missing, paths, strict=True):
            copy = restored.blob_path(digest)
            copy.parent.mkdir(parents=True)
            (staging / path.lstrip("/") / "data").rename(copy)
        whole(restored, wanted, [name])
        hand_over(tree, data)
        # As the registry writes: blobs, then the links of layers and manifests, tags last.
        for digest in missing:
            target = running.blob_path(digest)
            make_directories(target.parent, data)
            restored.blob_path(digest).replace(target)
        for part in ("_layers", "_manifests/revisions", "_manifests/tags"):
            put_links(place / part, running.repository(name) / part, data)
    count = len(wanted)
    return {
        "tags": count,
        "kept": [f"{ref} led to {there[ref]}" for ref in other],
        "message": f"{count} tags of {name} are back, {len(missing)} blobs were missing or damaged",
    }


def is_whole(path: Path, digest: str) -> bool:
    """Tell whether a blob is there and what its digest says."""
    try:
        with path.open("rb") as file:
            algorithm, _, number = digest.partition(":")
            return hashlib.file_digest(file, algorithm).hexdigest() == number
    except OSError:
        return False


def make_directories(path: Path, data: Path) -> None:
    """Make a directory below the data, and those above it, for the registry's user."""
    if not path.exists():
        make_directories(path.parent, data)
        path.mkdir()
        os.chown(path, data.stat().st_uid, data.stat().st_gid)


def put_links(source: Path, target: Path, data: Path) -> None:
    """Put restored links beside those that are there, each at once."""
    # A tag's index before its current link, which makes it visible.
    for directory, _below, names in sorted(os.walk(source), key=lambda item: "/current" in item[0]):
        if "link" in names:
            place = target / Path(directory).relative_to(source)
            make_directories(place, data)
            Path(directory, "link").replace(place / "link")


# The programs -------------------------------------------------------------------------------------


def options_of(arguments: list[str]) -> argparse.Namespace:
    """Return the command line, judged."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="for others at work on the registry")
    common.add_argument("--json", action="store_true", help="print the result as one JSON object")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("back-up", parents=[common], help="make a snapshot")
    verb.add_argument("--plan", action="store_true", help="only say what it would do")
    verbs.add_parser("check-backup", parents=[common], help="read the whole backup and say what is damaged")
    verb = verbs.add_parser("restore", parents=[common], help="bring a snapshot back")
    verb.add_argument("--snapshot", default="latest", metavar="ID", help="which one; the newest if it is not said")
    verb.add_argument("--confirm", default="", metavar="NAME", help="the registry's name: replace one that has images")
    verb.add_argument("--repository", default="", metavar="NAME", help="only this one, into the running registry")
    verb.add_argument("--overwrite", action="store_true", help="with --repository: lead existing tags back as well")
    verb.add_argument("--plan", action="store_true", help="only say what it would do")
    verb.add_argument("--list", action="store_true", help="only say which tags the snapshot holds")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the program; return its exit code."""
    options = options_of(arguments)
    # As when a person interrupts: what is half done is cleaned up, and a stopped registry is started again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    work = {"back-up": back_up, "check-backup": check, "restore": restore}[options.verb]
    # Whoever restores sees how it goes; what a schedule starts, nobody sees.
    noted = options.verb != "restore" and not getattr(options, "plan", False)
    result: dict[str, Any]
    try:
        result = work(Job(), options)
        code = 3 if result.get("problems") else 0
        if code:
            result["message"] += "; but the registry is damaged: " + "; ".join(result["problems"][:20])
    except (WharfError, DamageError, OSError, subprocess.CalledProcessError) as error:
        result, code = {"message": str(error)}, 1
    except BaseException as error:
        if noted:
            write_result(options.verb, False, f"ended before it was done ({error!r})")
        raise
    if noted:
        write_result(options.verb, code == 0, result["message"])
    print(json.dumps(result) if options.json else result["message"])
    return code

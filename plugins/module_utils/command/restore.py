"""Restore a snapshot: images, users, certificate and CA, or one repository.

Everything is read from the backup and compared with its digests first. Then it replaces what is there in one step, with
the registry stopped for a second or two. What was there is kept, and the result says where.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .. import gateway
from ..containers import cli
from ..data import location
from ..errors import WharfError, message_of
from ..files import all_or_nothing, free_bytes, read_entry, write_atomic
from ..lock import write_result
from ..parts import container_names
from ..restic import Restic, significant_lines
from ..server_data import RECORD
from ..staging import TREE
from ..storage import Storage
from ..text import human_bytes, pluralize
from .backup import RESERVE, STAGE, record_repository
from .cli import Task, add_wait, ignore_signals
from .read_only import wait_until_ready
from .registry import Registry

# The configuration comes from the inventory, and the state file of the data belongs to this server.
# What the inventory says, and what is the server's own: the deployment that comes next writes it.
NOT_RESTORED = {"config.yml", "http-secret", "data", "nginx.conf", "network.conf", "listen.conf", "mirror.conf"}
NOT_RESTORED |= {"upstreams.conf"}
STAGED = STAGE.relative_to("/")  # below the directory that a snapshot is restored into, a registry's storage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--snapshot", default="latest", metavar="ID", help="which one (the newest)")
    parser.add_argument("--confirm", default="", metavar="NAME", help="the registry's name, to replace its images")
    parser.add_argument("--repository", default="", metavar="NAME", help="only this one, into the running registry")
    parser.add_argument("--overwrite", action="store_true", help="with --repository: existing tags as well")
    parser.add_argument("--data", default="", metavar="PLACE", help="the directory or volume (where the data is)")
    parser.add_argument(
        "--uid", type=int, default=59500, metavar="NUMBER", help="the registry's user, for data where none was"
    )
    parser.add_argument("--plan", action="store_true", help="only say what it would do")
    parser.add_argument("--list", action="store_true", help="only say which tags the snapshot holds")
    add_wait(parser)


def run(task: Task) -> str:
    """Restore a snapshot, or one repository of it; or list its tags."""
    start, options = time.monotonic(), task.options
    job = Job(task)
    task.result.update(snapshot=job.snapshot["short_id"], time=job.snapshot["time"])
    if options.list:
        task.result["tags"] = job.tags
        return "\n".join(task.line(f"{reference} {digest}") for reference, digest in sorted(job.tags.items()))
    with task.lock():
        message = job.restore_repository(options.repository) if options.repository else job.restore_all()
    if not options.plan:
        record_repository(job.restic)
        write_result("restore", True, message)  # by which the copy to standbys knows that all may be another
        task.result["changed"] = True
    task.result["seconds"] = round(time.monotonic() - start, 1)
    return task.line(f"snapshot {job.title}: {message}")


class Job:
    """A snapshot, and the server that it is restored on."""

    def __init__(self, task: Task) -> None:
        """Choose the snapshot, and read what it holds. Raises WharfError."""
        self.options, self.result = task.options, task.result
        self.restic, self.registry = Restic.configured(), Registry(must_exist=False)
        if self.registry.driver != "filesystem" and not task.options.list:
            raise WharfError(
                f"the registry keeps its images in {self.registry.driver}, and a snapshot has files: see"
                " docs/back-up-registry.md for what brings them back"
            )
        self.snapshot = self._choose(task.options.snapshot)
        self.title = f"{self.snapshot['short_id']} of {self.snapshot['time'][:16]}"
        description = self._read("dump", "--no-lock", self.snapshot["id"], STAGE / "wharf.json")
        self.contents: dict[str, Any] = json.loads(description)
        self.tags: dict[str, str] = self.contents["tags"]

    def _choose(self, wanted: str) -> dict[str, Any]:
        """Return the snapshot with this ID, or the newest for "latest"."""
        snapshots = self.restic.snapshots()
        for snapshot in reversed(snapshots):
            if wanted == "latest" or snapshot["id"].startswith(wanted):
                return snapshot
        listed = ", ".join(f"{item['short_id']} ({item['time'][:16]})" for item in snapshots[-10:]) or "none"
        raise WharfError(
            f"wharf_restore_snapshot: {wanted} is no snapshot of {self.restic.name} in {self.restic.place}: there are"
            f" {listed}"
        )

    def _read(self, *arguments: str | Path) -> str:
        """Let restic read from the snapshot; return what it prints. Raises WharfError where the backup is damaged."""
        result = self.restic.run(*arguments)
        # Version 0.14 says "There were 3 errors" and ends with 1 as well.
        if result.returncode != 0:
            lines = "\n".join(significant_lines(result.stderr)[:10])
            raise WharfError(
                f"the backup is damaged, and nothing was replaced. restic says:\n{lines}\n"
                "Run wharf check-backup, or choose another snapshot (wharf_restore_snapshot)"
            )
        return result.stdout

    def unpack(self, target: Path, *paths: Path) -> None:
        """Restore these paths of the snapshot, or all of it, below a directory."""
        chosen = [word for path in paths for word in ("--include", str(path))]
        self._read("restore", self.snapshot["id"], "--target", target, *chosen)

    # All of it ----------------------------------------------------------------------------------------------------

    def restore_all(self) -> str:
        """Replace the data, the CA, the certificate and the users; keep what was there. Return the message."""
        mounted, wanted = self.registry.mounted, pluralize(len(self.tags), "tag")
        place = self.options.data or str(mounted or self.registry.place)
        if not place:
            raise WharfError("there is no registry here: give a directory or volume for the images with --data")
        data = location(place)
        if mounted and mounted != data:
            raise WharfError(
                f"wharf_registry_data: is {place}, but the registry's container keeps its images in {mounted}:"
                " move the data first, or name the place where it is"
            )
        if self.options.plan and not data.is_dir():
            return f"would restore {wanted} into {place}"
        if not self.options.plan:
            data = self.create(place)
        storage = Storage(data := self.registry.storage_in(data))
        present = pluralize(len(storage.all_tags()), "tag")
        if storage.repositories() and self.options.confirm != self.restic.name:
            raise WharfError(
                f"there is a registry in {data}, with {present}: to replace it with the snapshot {self.title}"
                f" ({wanted}), set wharf_restore_confirm: {self.restic.name}. What is there now is kept"
            )
        output = self.restic.output("stats", self.snapshot["id"], "--mode", "restore-size", "--json", "--no-lock")
        needed, free = json.loads(output)["total_size"] + RESERVE, free_bytes(data)
        if free < needed:
            raise WharfError(
                f"there is no room in {data}: the restored data lies beside the old until all of it is there and"
                f" verified, {human_bytes(needed)} are needed and {human_bytes(free)} are free"
            )
        if self.options.plan:
            return f"would replace {present} in {data} by {wanted}"
        with staging_dir(data) as staging:
            tree = self.unpack_all(staging)
            verify_restored(Storage(tree), self.tags)
            chown(tree, data)
            self.result.update(tags=len(self.tags), kept=self.replace_all(staging, tree, data))
        return f"{wanted} restored, each blob verified"

    def create(self, place: str) -> Path:
        """Create the directory or volume to restore into, for the registry's user, if it is missing; return where."""
        if not place.startswith("/"):
            cli("volume", "create", place)
        path = location(place)
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
        if path.stat().st_uid == 0:
            os.chown(path, self.options.uid, self.options.uid)
        return path

    def unpack_all(self, staging: Path) -> Path:
        """Restore the snapshot into a directory; return the one there that is a registry's storage."""
        self.unpack(staging)
        tree, old = staging / STAGED, staging / Path(self.contents["data"]).relative_to("/")
        (tree / TREE / "blobs").unlink()  # a link to the directory of then
        if (old / TREE / "blobs").is_dir():  # a registry that was never pushed to has none
            (old / TREE / "blobs").rename(tree / TREE / "blobs")
        remove_unreferenced(tree)
        return tree

    def replace_all(self, staging: Path, tree: Path, data: Path) -> list[str]:
        """Put everything in its place, with the registry stopped; return what was kept of that which was there.

        Raises:
            WharfError: it cannot be; all is in its place of before, and the registry runs again.
        """
        stamp = f"before-restore-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
        running = bool(self.registry.inspected) and self.registry.inspected["State"]["Running"]
        new, old, aside = tree / "docker", data / "docker", data / stamp
        ignore_signals()
        try:
            if running:
                cli("stop", self.registry.container)
            with self.files_restored(staging, stamp) as kept:
                try:
                    kept += swap(new, old, aside)
                    if running:
                        cli("start", self.registry.container)
                except Exception:
                    swap_back(new, old, aside)
                    raise
        except Exception as error:
            message = f"{message_of(error).rstrip('.')}. Nothing was replaced: all is as it was before"
            try:
                if running:
                    cli("start", self.registry.container)
            except WharfError as again:
                message += f", but the registry does not start ({again})"
            raise WharfError(message) from None
        Path(RECORD).unlink(missing_ok=True)  # nobody goes back to what was there before this
        if running:
            with suppress(WharfError):  # its deployment comes next, and says why
                gateway.reload(container_names(self.registry.container)["gateway"])
                wait_until_ready(self.registry)
        return kept

    @contextmanager
    def files_restored(self, staging: Path, stamp: str) -> Iterator[list[str]]:
        """Put CA, certificate and users in their places, and back if the block fails.

        Yields copies of the directories that were there and differ. The directories themselves stay, because the
        container has them mounted.
        """
        kept: list[str] = []
        with ExitStack() as undo:
            for kind, place in self.restic.directories.items():
                if kind not in self.contents["directories"]:  # of the time before the gateway
                    continue
                source = staging / Path(self.contents["directories"][kind]).relative_to("/")
                paths = [path for path in source.glob("*") if path.is_file() and path.name not in NOT_RESTORED]
                files = {str(place / path.name): read_entry(str(path)) for path in paths}
                present = {path: read_entry(path) for path in files}
                if all(present[path] and present[path].content == entry.content for path, entry in files.items()):
                    continue
                undo.enter_context(all_or_nothing(*files))
                if place.is_dir():
                    copy = place.with_name(f"{place.name}.{stamp}")
                    undo.push(lambda failed, *_, copy=copy: failed and shutil.rmtree(copy, ignore_errors=True))
                    shutil.copytree(place, copy)
                    copy.chmod(0o700)
                    kept.append(str(copy))
                else:
                    place.mkdir(parents=True)
                    shutil.copystat(source, place)
                    chown(place, source)
                for path, entry in files.items():
                    write_atomic(path, entry.content, entry.mode, entry.uid, entry.gid)
            yield kept

    # One repository -----------------------------------------------------------------------------------------------

    def restore_repository(self, name: str) -> str:
        """Restore one repository into the running registry; return the message. Other tags stay."""
        wanted = {tag: digest for tag, digest in self.tags.items() if tag.rpartition(":")[0] == name}
        if not wanted:
            names = ", ".join(sorted({tag.rpartition(":")[0] for tag in self.tags})[:20]) or "none"
            raise WharfError(f"wharf_restore_repository: {name} is not in the snapshot {self.title}: there are {names}")
        data = self.registry.path
        running = Storage(data)
        current = {f"{name}:{tag}": digest for tag, digest in running.tags(name).items()}
        moved = [tag for tag, digest in wanted.items() if current.get(tag, digest) != digest]
        if moved and not self.options.overwrite:
            raise WharfError(
                f"these tags lead to something else now than in the snapshot {self.title}: {', '.join(moved[:20])}."
                " To restore them, set wharf_restore_overwrite: true (what they lead to now stays in the registry, by"
                " its digest)"
            )
        tags = pluralize(len(wanted), "tag")
        if self.options.plan:
            return f"would restore {tags} of {name}"
        with staging_dir(data) as staging:
            restored, missing = self.unpack_repository(staging, running, name)
            verify_restored(restored, wanted, [name])
            chown(staging / STAGED, data)
            publish(restored, running, data)
        self.result.update(tags=len(wanted), kept=[f"{tag} led to {current[tag]}" for tag in moved])
        return f"{tags} of {name} restored; {pluralize(missing, 'blob')} had been missing or damaged"

    def unpack_repository(self, staging: Path, running: Storage, name: str) -> tuple[Storage, int]:
        """Build a storage with one repository, of the registry's own blobs where these are intact.

        Returns:
            The storage, and how many blobs came from the backup.
        """
        self.unpack(staging, STAGE / TREE / "repositories" / name)
        restored = Storage(staging / STAGED)
        missing: dict[Path, Path] = {}  # where the backup has blobs, and where they belong
        for digest in sorted(restored.revisions(name) | restored.layers(name)):
            blob, own = restored.blob_path(digest), running.blob_path(digest)
            blob.parent.mkdir(parents=True)
            if running.is_intact(digest):
                os.link(own, blob)
            else:
                missing[Path(self.contents["data"], TREE, own.relative_to(running.top))] = blob
        paths = list(missing)
        for group in range(0, len(paths), 1000):
            self.unpack(staging, *paths[group : group + 1000])
        found = {path: blob for path, blob in missing.items() if (staging / path.relative_to("/")).exists()}
        for path, blob in found.items():  # what was lost before the snapshot is judged with the rest
            (staging / path.relative_to("/")).rename(blob)
        return restored, len(found)


@contextmanager
def staging_dir(data: Path) -> Iterator[Path]:
    """Give a fresh directory to restore into, on the data's own file system, and remove it afterwards.

    It goes by its descriptor: the registry may write in the data, and what it laid in the place of the name would count
    for nothing.
    """
    path = data / ".restoring"
    shutil.rmtree(path, ignore_errors=True)
    try:
        path.mkdir(mode=0o700)
        here = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(here).st_uid != os.geteuid():
                raise WharfError(f"{path}: somebody else has put a directory in its place; nothing was restored")
            staging = Path(f"/proc/{os.getpid()}/fd/{here}/tree")  # restic would remove what looks like a link
            staging.mkdir(mode=0o700)
            yield staging
        finally:
            os.close(here)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def remove_unreferenced(tree: Path) -> None:
    """Remove the blobs that no link names: one of them may be half of a push that came after the links were copied."""
    links = [path for path in (tree / TREE / "repositories").rglob("link") if path.is_file()]
    referenced = {link.read_text(errors="replace").strip() for link in links}
    for blob in list((tree / TREE / "blobs").glob("*/*/*")):
        if f"{blob.parent.parent.name}:{blob.name}" not in referenced:
            shutil.rmtree(blob)


def verify_restored(storage: Storage, tags: dict[str, str], names: list[str] | None = None) -> None:
    """Compare what was restored with its digests, and with the tags that the snapshot should hold."""
    found = {f"{name}:{tag}": digest for (name, tag), digest in storage.all_tags().items()}
    wrong = [f"{tag}: should lead to {digest}" for tag, digest in tags.items() if found.get(tag) != digest]
    if problems := [*storage.problems(names, contents=True), *wrong]:
        raise WharfError(
            "what was restored is not complete, and nothing was replaced:\n"
            + "\n".join(problems[:30])
            + "\nThe registry was damaged when this snapshot was made: choose an older one (wharf_restore_snapshot), or"
            " restore the repositories that are complete one by one (wharf_restore_repository)"
        )


def chown(path: Path, like: Path) -> None:
    """Give a directory and all that is in it to the owner and group of another one."""
    subprocess.run(["chown", "--recursive", "--no-dereference", f"--reference={like}", path], check=True)


def swap(new: Path, old: Path, kept: Path) -> list[str]:
    """Put a directory in the place of another in one step; return where the old one is now, if there was one."""
    if not old.exists():
        new.rename(old)
        return []
    kept.mkdir(mode=0o700)
    if exchange(new, old):
        try:
            new.rename(kept / "docker")
        except OSError:
            exchange(new, old)
            raise
    else:  # a file system that cannot: two steps
        old.rename(kept / "docker")
        new.rename(old)
    return [str(kept)]


def exchange(one: Path, other: Path) -> bool:
    """Let two directories change places at once; return whether the file system can."""
    at_cwd, flag = -100, 2
    return ctypes.CDLL(None).renameat2(at_cwd, bytes(one), at_cwd, bytes(other), flag) == 0


def swap_back(new: Path, old: Path, kept: Path) -> None:
    """Undo swap(), however far it came."""
    aside = kept / "docker"
    if old.exists() and not new.exists():
        old.rename(new)
    if aside.exists():
        aside.rename(old)
    if kept.exists():
        kept.rmdir()


def publish(restored: Storage, running: Storage, data: Path) -> None:
    """Move a repository into the registry, as the registry writes: blobs, links of layers and manifests, tags last."""

    def rank(file: Path) -> tuple[bool, ...]:
        path = file.relative_to(restored.top).as_posix()
        # A tag's index before its current link, which makes it visible.
        order = (path.startswith("repositories/"), "/_manifests/" in path, "/_manifests/tags/" in path)
        return (*order, file.parent.name == "current")

    for file in sorted((path for path in restored.top.rglob("*") if path.is_file()), key=rank):
        destination = running.top / file.relative_to(restored.top)
        for parent in reversed([parent for parent in destination.parents if not parent.exists()]):
            parent.mkdir()
            chown(parent, data)
        file.replace(destination)  # nothing happens to the registry's own blobs: the two are one file

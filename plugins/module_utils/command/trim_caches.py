"""Bring each pull-through cache under its size, least recently pulled images first, and fetch what it is to keep.

What is kept (wharf_caches[].keep), and what was pulled or stored within the last hour, stays. Where the file system has
less than 5 % or 2 GiB free, whichever is less, caches without a size are trimmed as well, and only what was pulled
within the last five minutes stays, and what is kept. Pulls go on meanwhile. A run that is cut off leaves no image half
deleted: the next one removes what is left.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

from .. import caches
from ..api import Client
from ..containers import new_lines
from ..data import container
from ..engine import engine_runs
from ..errors import BusyError, WharfError, message_of
from ..files import acting_as_owner, in_place, read_json, write_atomic
from ..lock import RESULTS, local_time, lock
from ..manifests import DIGEST, needed_blobs, walk
from ..parts import container_names
from ..storage import SharedStorage
from ..text import age, human_bytes, pluralize, table
from .cli import Task
from .registry import Registry

STATE = RESULTS / "trim-caches.json"  # when images were pulled, how far the gateway's log was read, how the caches are
FRESH, FRESH_ON_FULL_DISK = 3600, 300  # seconds for which what was pulled stays
HOUR = 3600  # seconds after which a scheduled run asks the upstreams again, and looks at more than the disk
FLOOR = 2 << 30  # bytes that are to be free, or a twentieth of the file system where that is less
# A line of the gateway's, as the engine keeps it: the time, the repository, and a tag or digest.
CACHED = re.compile(
    rb'^\{"log":"(\S+) (?:cached|pulled): user .*: (?:GET|HEAD) /v2/([^\s"\\]+)/manifests/([^\s"\\]+)\\n"', re.MULTILINE
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--check", action="store_true", help="only show what would be deleted and fetched")
    parser.add_argument("--if-needed", action="store_true", help="only an hour after the last time, or on a full disk")


def run(task: Task) -> str:
    """Trim and fetch, or show the plan."""
    if not engine_runs():  # no cache does, and to ask the engine would start it
        return ""
    registry, is_check = Registry(), task.options.check
    if not registry.caches:
        return task.line("there is no cache here: wharf_caches names none")
    try:
        with nullcontext() if is_check else lock("trim-caches", path=caches.LOCK):
            trimming = Trimming(task, registry)
            if task.options.if_needed and not trimming.is_needed():
                return ""
            task.record = not is_check
            if is_check:
                trimming.check()
                return ""
            return trimming.trim_and_fetch()
    except BusyError:
        if task.options.if_needed:  # it will run again soon
            return ""
        raise


class Image(NamedTuple):
    """What stays or goes as a whole: a tag, a manifest that no tag leads to, or a blob that no manifest names."""

    name: str  # of the repository, which begins with the cache's
    tag: str  # empty where there is none
    digest: str
    used: float  # when it was last pulled or stored, in seconds since 1970
    needs: frozenset[str]  # digests, its own as well, whether they are there or not
    is_kept: bool = False
    is_loose: bool = False  # a blob of a pull that broke off

    @property
    def slug(self) -> str:
        """Return which cache it is in."""
        return self.name.partition("/")[0]

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}" if self.tag else f"{self.name}@{self.digest}"


class File(NamedTuple):
    """A blob as a file."""

    size: int
    stored: float  # seconds since 1970


class Trimming:
    """One run, on the caches of this server, which share their blobs in one storage."""

    def __init__(self, task: Task, registry: Registry) -> None:
        """Read where they are, and what the last run has noted."""
        self.task, self.upstreams = task, registry.caches["upstreams"]
        self.data = Path(os.path.realpath(registry.caches["data"]))
        self.storage = SharedStorage(self.data)
        kept = ((one["slug"], *reference.rpartition(":")) for one in self.upstreams for reference in one["keep"])
        self.kept = {(f"{slug}/{name}", tag) for slug, name, _, tag in kept}
        self.offline = {one["slug"] for one in self.upstreams if one.get("offline")}  # where nothing is fetched
        state = read_json(STATE)
        self.pulled: dict[str, dict[str, float]] = state.get("pulled", {})
        self.logs: dict[str, Any] = state.get("logs", {})
        self.asked: int = state.get("asked", 0)  # when the upstreams last were for what is kept
        self.unfetched: list[str] = state.get("unfetched", [])  # what went wrong then
        self.fetched = {slug: one.get("fetched") for slug, one in state.get("caches", {}).items()}
        self.deleted: list[Image] = []
        self.freed = self.brought = 0  # bytes
        self.problems: list[str] = []
        self.gateway = container_names(registry.container)["gateway"]

    def is_due(self) -> bool:
        """Tell whether the upstreams were not asked within the last hour."""
        return not 0 <= time.time() - self.asked < HOUR

    def is_needed(self) -> bool:
        """Tell whether an hour is over, or the disk is nearly full."""
        return self.is_due() or self.free() < self.floor()

    def read_log(self) -> None:
        """Note what was pulled through the gateway since it was read last, and through one that was just replaced."""
        known, self.logs, gateway = self.logs, {}, self.gateway
        for found in filter(None, map(container, (gateway, f"{gateway}-before"))):
            text, self.logs[found["Id"]] = new_lines(found.get("LogPath", ""), known.get(found["Id"]))
            for moment, name, reference in CACHED.findall(text):
                with suppress(ValueError):
                    when = datetime.datetime.fromisoformat(moment.decode()).timestamp()
                    times = self.pulled.setdefault(name.decode(), {})
                    times[reference.decode()] = max(when, times.get(reference.decode(), 0))

    # What is there ------------------------------------------------------------------------------------------------

    def images(self) -> list[Image]:
        """Return all that is in the caches now."""
        found = []
        for name in self.storage.repositories():
            tags, revisions = self.storage.tags(name), self.storage.revisions(name)
            closures = {one: self.storage.closure(one, damaged=True) for one in revisions.union(tags.values())}
            below = {needed for one, needs in closures.items() for needed in needs if needed != one}
            untagged = revisions - below - set(tags.values())
            brought = {one: when for one, when in self.storage.linked_since(name, 0).items() if DIGEST.fullmatch(one)}
            times = self.pulled.get(name, {})
            for tag, digest in [*tags.items(), *(("", one) for one in untagged)]:
                needs = closures[digest]
                used = [
                    *(times.get(one, 0) for one in (tag, *needs)),
                    *(self.storage.modified(self.storage.revision(name, one) / "link") for one in needs & revisions),
                    *(brought[one] for one in needs & brought.keys()),
                    self.storage.modified(self.storage.tag_link(name, tag)) if tag else 0,
                ]
                found.append(Image(name, tag, digest, max(used), frozenset(needs), (name, tag) in self.kept))
            for digest in brought.keys() - closures.keys() - below:
                found.append(Image(name, "", digest, brought[digest], frozenset([digest]), is_loose=True))
        return found

    def files(self) -> dict[str, File]:
        """Return the blobs that are there, by digest."""
        found = {}
        for path in self.storage.top.glob("blobs/*/*/*/data"):
            digest = f"{path.parents[2].name}:{path.parent.name}"
            with suppress(OSError):
                facts = path.lstat()
                if DIGEST.fullmatch(digest):
                    found[digest] = File(facts.st_size, facts.st_mtime)
        return found

    def floor(self) -> int:
        """Return how many bytes are to be free."""
        return min(FLOOR, shutil.disk_usage(self.data).total // 20)

    def free(self) -> int:
        """Return how many bytes are free."""
        return shutil.disk_usage(self.data).free

    # What goes ----------------------------------------------------------------------------------------------------

    def plan(self, images: list[Image], files: dict[str, File], now: float) -> dict[Image, str]:
        """Return what goes, each with the reason."""
        going = {one: "of a pull that broke off" for one in images if one.is_loose and one.used <= now - FRESH}
        for cache in self.upstreams:
            own = [one for one in images if one.slug == cache["slug"] and one not in going]
            if cache["size"]:
                reason = f"more than {human_bytes(cache['size'])}"
                going |= dict.fromkeys(least_recent(own, files, cache["size"], now - FRESH), reason)
        left = [one for one in images if one not in going]
        lacking = self.floor() - self.free() - sum(unneeded(files, left, going, now).values())
        if lacking > 0:
            limit = bytes_of(left, files) - lacking
            going |= dict.fromkeys(least_recent(left, files, limit, now - FRESH_ON_FULL_DISK), "the disk is full")
        return going

    def check(self) -> None:
        """Show what a run would do."""
        self.read_log()
        now, images, files = time.time(), self.images(), self.files()
        going = self.plan(images, files, now)
        freed = unneeded(files, [one for one in images if one not in going], going, now)
        self.show(going)
        self.task.line(f"would be freed: {pluralize(len(freed), 'blob')}, {human_bytes(sum(freed.values()))}")
        for name, tag in sorted(one for one in self.kept if not self.storage.is_whole(*one)):
            is_offline = name.partition("/")[0] in self.offline
            self.task.line(
                f"{'not there before a bundle brings it' if is_offline else 'would be fetched'}: {name}:{tag}"
            )
        self.tell(images, files)

    def show(self, going: dict[Image, str]) -> None:
        """Print the images that go as a table, the least recently pulled first."""
        gone = sorted((one for one in going if not one.is_loose), key=lambda one: (one.used, str(one)))
        self.task.result.setdefault("images", []).extend(
            {"name": one.name, "tag": one.tag, "digest": one.digest, "used": int(one.used)} for one in gone
        )
        rows = [(one.name, one.tag, local_time(one.used), one.digest[:19], going[one]) for one in gone]
        for line in table([("repository", "tag", "last pulled", "digest", "reason"), *rows]) if rows else ():
            self.task.line(line)

    def tell(self, images: list[Image], files: dict[str, File]) -> None:
        """Print a line for each cache, and keep the same for --json and `wharf status`."""
        self.task.result["caches"] = {}
        for cache in self.upstreams:
            own = [one for one in images if one.slug == cache["slug"]]
            facts = {
                "upstream": cache["upstream"],
                "bytes": bytes_of(own, files),
                "size": cache["size"],
                "images": sum(not one.is_loose for one in own),
                "kept": len(cache["keep"]),
                "fetched": self.fetched.get(cache["slug"]) if cache["keep"] else None,
                "offline": cache["slug"] in self.offline,
            }
            self.task.result["caches"][cache["slug"]] = facts
            self.task.line(f"{cache['upstream']}: {in_words(facts)}")

    # What is done -------------------------------------------------------------------------------------------------

    def trim_and_fetch(self) -> str:
        """Do all that is to be done; return the message. Raises WharfError where some of it failed."""
        shutil.rmtree(self.data / caches.NEW, ignore_errors=True)  # of an import that was killed: it has the same lock
        images, files = self.trim()
        before = self.brought
        self.fetch_kept()
        if fetched := self.brought - before:
            images, files = self.trim()
        self.tell(images, files)
        self.write_state(images)
        self.task.result["changed"] = bool(self.deleted or self.freed or fetched)
        self.task.bytes = self.freed
        done = [f"deleted {pluralize(len(self.deleted), 'image')}, {human_bytes(self.freed)}"]
        done += [f"fetched {human_bytes(fetched)} that are kept"] if fetched else []
        if (free := self.free()) < self.floor():
            self.problems.append(f"only {human_bytes(free)} free in {self.data}, and nothing more can go: make room")
        if self.problems:
            raise WharfError("; ".join(dict.fromkeys([*self.problems, *done])))
        return self.task.line("; ".join(done))

    def trim(self) -> tuple[list[Image], dict[str, File]]:
        """Delete what has to go; return what is there then."""
        self.read_log()
        now, images, files = time.time(), self.images(), self.files()
        going = self.plan(images, files, now)
        left = [one for one in images if one not in going]
        if not going and not unneeded(files, left, going, now):
            return images, files
        self.show(going)
        self.remove_links(going, left)
        # Anew: what was pulled since needs its blobs.
        gone = unneeded(files, self.images(), going, now)
        self.remove(self.storage.blob_path(digest).parent for digest in gone)
        images, files = self.images(), self.files()
        self.deleted += [one for one in going if not one.is_loose]
        self.freed += sum(size for digest, size in gone.items() if digest not in files)
        # Once more: what was pulled just now needs what is gone.
        lost = gone.keys() - files.keys()
        if broken := [one for one in images if not one.is_loose and not one.needs.isdisjoint(lost)]:
            self.fetch((one.name, one.tag or one.digest) for one in broken)
            images, files = self.images(), self.files()
        return images, files

    def remove_links(self, going: Collection[Image], left: Iterable[Image]) -> None:
        """Remove tags, then manifests, then the links to blobs, as far as no image that is left needs them."""
        needed, tags, revisions, layers = defaultdict(set), [], [], []
        for image in left:
            needed[image.name] |= image.needs
        for image in going:
            tags += [self.storage.tag_link(image.name, image.tag).parents[1]] if image.tag else []
            for digest in sorted(image.needs - needed[image.name]):
                revisions.append(self.storage.revision(image.name, digest))
                layers.append(self.storage.layer_link(image.name, digest).parent)
        self.remove(dict.fromkeys([*tags, *revisions, *layers]))

    def remove(self, directories: Iterable[Path]) -> None:
        """Remove directories of the storage with all that is in them, and those above in which nothing else is.

        Whoever has broken into a cache's container may write there, and lay links: to the registry's own images, say.
        """
        with acting_as_owner(self.storage.top / "blobs"):
            for path in directories:
                try:
                    remove_in_place(path)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    self.problems.append(f"{path} cannot be deleted: {error.strerror or error}")
                    continue
                with suppress(OSError):  # something else is in it
                    for above in path.parents:
                        if len(above.relative_to(self.storage.top).parts) <= 2:  # a cache's own
                            break
                        remove_in_place(above, only_empty=True)

    # What is fetched ----------------------------------------------------------------------------------------------

    def fetch_kept(self) -> None:
        """Fetch what is to be kept, where it is not there or has changed; on the timer's behalf once an hour."""
        if self.task.options.if_needed and not self.is_due():
            self.problems += self.unfetched  # a run that does not ask has not ended better
            return
        before = len(self.problems)
        for cache in filter(lambda one: one["keep"] and one["slug"] not in self.offline, self.upstreams):
            if self.fetch(sorted(one for one in self.kept if one[0].partition("/")[0] == cache["slug"])):
                self.fetched[cache["slug"]] = int(time.time())
        self.asked, self.unfetched = int(time.time()), self.problems[before:]

    def fetch(self, references: Iterable[tuple[str, str]]) -> bool:
        """Let the caches fetch images for all platforms, as far as they are not there; tell whether all could be.

        Args:
            references: pairs of a repository and a tag or digest.
        """
        all_fetched = True
        for name, reference in references:
            slug, _, path = name.partition("/")
            try:
                with caches.direct(slug, 60) as client:
                    self.fetch_image(client, name, path, reference)
            except (WharfError, OSError) as error:
                all_fetched = False
                if self.storage.is_whole(name, reference):
                    self.task.line(f"{name}:{reference} is there; whether it has changed is not known: {error}")
                else:
                    separator = "@" if DIGEST.fullmatch(reference) else ":"
                    self.problems.append(f"{name}{separator}{reference} could not be fetched: {message_of(error)}")
        return all_fetched

    def fetch_image(self, client: Client, name: str, path: str, reference: str) -> None:
        """Let a cache fetch an image, whose repository it knows by a path of its own. Raises WharfError."""
        storage = self.storage
        first = client.manifest(path, reference)
        for _, manifest in walk(
            first.digest, lambda one: (first if one == first.digest else client.manifest(path, one)).document
        ):
            for blob in needed_blobs(manifest, lambda _: False):
                digest, link = blob["digest"], storage.layer_link(name, blob["digest"])
                size = storage.size(digest)
                is_right = size == blob.get("size", size)
                if size is not None and is_right and os.path.lexists(link):
                    continue
                if size is not None and not is_right:  # cut short: the cache would serve it as it is
                    self.remove([storage.blob_path(digest).parent])
                if self.free() - blob.get("size", 0) < self.floor():
                    raise WharfError(f"only {human_bytes(self.free())} free in {self.data}: make room")
                self.brought += sum(map(len, client.blob(path, digest)))

    def write_state(self, images: Iterable[Image]) -> None:
        """Keep what the next run needs, of what is there only."""
        there = defaultdict(set)
        for one in images:
            there[one.name] |= {one.tag, *one.needs}
        pulled = {
            name: {reference: when for reference, when in self.pulled[name].items() if reference in references}
            for name, references in sorted(there.items())
            if name in self.pulled
        }
        state = {"logs": self.logs, "pulled": pulled, "caches": self.task.result["caches"]}
        state |= {"asked": self.asked, "unfetched": self.unfetched}
        STATE.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomic(str(STATE), json.dumps(state).encode(), 0o600, os.geteuid(), os.getegid())


def least_recent(images: Iterable[Image], files: dict[str, File], limit: int, since: float) -> list[Image]:
    """Return the least recently pulled images, without which the others take no more than a limit.

    Args:
        images: those among which it chooses; blobs that they share count once.
        files: the blobs.
        limit: in bytes.
        since: what was pulled or stored later stays, and so does what is kept.
    """
    images = list(images)
    holders, total, going = Counter(one for image in images for one in image.needs), bytes_of(images, files), []
    for image in sorted(images, key=lambda one: (one.used, str(one))):
        if total <= limit:
            break
        if image.is_kept or image.used > since:
            continue
        going.append(image)
        holders.subtract(image.needs)
        total -= sum(files[one].size for one in image.needs if one in files and not holders[one])
    # What shares all with others that stay takes no room.
    return [image for image in going if not all(holders[one] for one in image.needs)]


def bytes_of(images: Iterable[Image], files: dict[str, File]) -> int:
    """Return how many bytes images take, what they share once."""
    return sum(files[one].size for one in set().union(*(image.needs for image in images)) if one in files)


def unneeded(files: dict[str, File], left: Iterable[Image], going: Iterable[Image], now: float) -> dict[str, int]:
    """Return the blobs that are to be deleted, digest to bytes: of what goes, and what is in no repository any more."""
    needed = set().union(*(image.needs for image in left))
    gone = set().union(*(image.needs for image in going))
    return {
        digest: file.size
        for digest, file in files.items()
        if digest not in needed and (digest in gone or file.stored <= now - FRESH)
    }


def remove_in_place(path: Path, only_empty: bool = False) -> None:
    """Remove a directory, with all that is in it unless only an empty one is to go, and follow no link on the way.

    Raises:
        OSError: it cannot be removed, is not there or not empty, or a link is on the way.
    """
    above = in_place(str(path.parent), os.O_RDONLY | os.O_DIRECTORY)
    try:
        if only_empty:
            os.rmdir(path.name, dir_fd=above)
        else:
            shutil.rmtree(f"/proc/self/fd/{above}/{path.name}")
    finally:
        os.close(above)


def in_words(facts: dict[str, Any]) -> str:
    """Return how a cache is, as a person reads it."""
    limit = f" of {human_bytes(facts['size'])}" if facts["size"] else ""
    text = f"{human_bytes(facts['bytes'])}{limit}, {pluralize(facts['images'], 'image')}"
    if facts["kept"]:
        when = f" fetched {age(time.time() - facts['fetched'])} ago" if facts["fetched"] else " not yet fetched whole"
        text += f"; {pluralize(facts['kept'], 'kept image')}{'' if facts.get('offline') else when}"
    return text

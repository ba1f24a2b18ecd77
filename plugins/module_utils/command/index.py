"""Keep the index of the registry's page up to date: the repositories, their tags, and which layers images share.

It reads only what has changed since the last run, and writes a list for each group of users who may read the same. It
waits for nobody who works on the registry, and changes nothing but the index.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from pkgutil import get_data
from typing import Any
from urllib.parse import quote

from .. import containers, parts
from ..access import LONGEST, readable, reading_class, rule_of
from ..api import DigestError, StatusError
from ..engine import engine_runs
from ..errors import BusyError, DamageError, WharfError
from ..files import Entry, read_entry, read_json, read_text, write_atomic
from ..lock import read_result
from ..manifests import ATTACHED, DIGEST, blobs, children, parse, subject
from ..references import PATH, TAG
from ..storage import LARGEST_MANIFEST, SharedStorage, Storage
from ..text import human_bytes, pluralize
from .cli import Task
from .registry import Registry
from .retention import find_candidates, read_rule
from .status import bytes_in, look

INDEX = Path(parts.INDEX)
BOOT_ID = "/proc/sys/kernel/random/boot_id"  # what was written before a power loss may be lost: then all is compared
PAGE = ("index.html", "page.js", "page.css", "icon.svg")
MOST_CANDIDATES = 200  # tags of the plan that are shown
VERSION = 2  # of the state
TABLES = (
    "CREATE TABLE runs (basis TEXT, started INT)",
    "CREATE TABLE repositories (name TEXT PRIMARY KEY, rule INT, links TEXT, facts TEXT)",
    "CREATE TABLE manifests (repository TEXT, digest TEXT, facts TEXT, PRIMARY KEY (repository, digest)) WITHOUT ROWID",
    "CREATE TABLE layers (layer TEXT, repository TEXT, tags TEXT, PRIMARY KEY (layer, repository)) WITHOUT ROWID",
    "CREATE INDEX layers_of ON layers (repository, layer, tags)",
)
DAMAGED = ("file is not a database", "database disk image is malformed")
SETTLING = 2 * 10**9  # nanoseconds within which a file may change again and keep its time
HOUR, DAY = 3600, 86400  # seconds
TOUCHED = re.compile(  # of the gateway's log: what it refused is no news
    rf'^\S+ (?:pushed|deleted|broken off): user "[^"]*" from \S+: (?:PUT|DELETE) /v2/({PATH})/manifests/\S+$',
    re.MULTILINE,
)
MOST_LAYERS = 1000  # of a manifest, and parts of an index: no engine takes as many
MOST_BYTES = 10 * 1024**2  # of what layers that are shared are told to a user's browser
ROOM, INODES = 64 * 1024**2, 1000  # bytes and files that others must find where the index lies
MOST_SHARERS = 20  # images that are named for a layer
MOST_SHOWN = 100  # platforms of a manifest, what is attached to one, and parts of it to which something is
LARGEST_NUMBER = 2**53 - 1  # that JavaScript knows
IMAGE_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
NO_CONFIG = "application/vnd.oci.empty.v1+json"


def run(task: Task) -> str:
    """Bring the index up to date."""
    if not engine_runs():  # nobody is served a page, and to ask the engine would start it
        return ""
    registry, task.record = Registry(), True
    if not INDEX.is_dir():  # the gateway has this directory mounted, and would not see another one
        raise WharfError(f"there is no {INDEX}: the page is switched off, or playbooks/deploy-registry.yml makes it")
    with opened(INDEX / "state") as state:
        own = source_of(registry)
        changed = Index(registry, state).renew(own, Caches.of(registry))
    write_page(registry)
    write_status(registry)
    task.result.update(changed=bool(changed), repositories=sorted(changed))
    return task.line(f"{pluralize(len(changed), 'repository')} changed") if changed else ""


@contextmanager
def opened(directory: Path) -> Iterator[sqlite3.Connection]:
    """Open the state, which stays as it was if the block fails. Raises BusyError while another run has it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, state = directory / "state.db", None
    try:
        try:
            state = _begun(path)
            version = state.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as error:
            if str(error) == "database is locked":
                raise BusyError("another run brings the index up to date") from None
            if str(error) not in DAMAGED:
                raise
            version = None
        if version != VERSION:
            if state:
                state.close()
            path.unlink(missing_ok=True)
            state = _begun(path)
            for statement in (f"PRAGMA user_version = {VERSION}", *TABLES):
                state.execute(statement)
        yield state
        state.execute("COMMIT")
    except sqlite3.Error as error:
        if str(error) in DAMAGED:
            path.unlink(missing_ok=True)  # the next run makes it anew
        raise WharfError(f"{path}: {error}") from None
    finally:
        if state:
            state.close()


def _begun(path: Path) -> sqlite3.Connection:
    state = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        state.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        state.close()
        raise
    return state


def write_page(registry: Registry) -> None:
    """Write the files of the page itself, which come with this program."""
    for name in PAGE:
        write(registry, INDEX / "page" / name, get_data(__package__.rpartition(".")[0], f"page/{name}"))


def write_status(registry: Registry) -> None:
    """Write what the page shows admins: what `wharf status` says, and what retention would delete next.

    The images' size is found out once an hour, and the plan once a day, or when it is another one: all blobs, or all
    manifests, are looked at for them.
    """
    path, now = INDEX / "status.json", time.time()
    before = read_json(path)
    last = read_result("apply-retention")
    basis = [registry.retention, last.time if last else 0]
    is_counted = 0 <= now - before.get("counted", 0) < HOUR
    is_planned = before.get("basis") == basis and 0 <= now - before.get("planned", 0) < DAY
    result: dict[str, Any] = {}
    look(registry, result, before.get("storage", {}).get("used") if is_counted else None)
    result |= {
        "counted": before["counted"] if is_counted else int(now),
        "basis": basis,
        "planned": before["planned"] if is_planned else int(now),
        "retention": before.get("retention") if is_planned else retention_of(registry, now),
    }
    if registry.caches:
        is_known = is_counted and "cached" in before
        result["cached"] = before["cached"] if is_known else bytes_in(Path(registry.caches["data"]))
    write(registry, path, json.dumps(result).encode())


def retention_of(registry: Registry, now: float) -> dict[str, Any] | None:
    """Return what the rules of the last deployment would delete now; None without rules, or where nobody can tell.

    On a standby nothing is deleted: its server's page tells.
    """
    is_readable = registry.driver == "filesystem" or registry.s3
    if not (registry.retention and is_readable) or registry.standby_of:
        return None
    try:
        candidates = find_candidates(registry.storage, [read_rule(rule) for rule in registry.retention], now)
    except (WharfError, OSError):  # `wharf verify-storage` names what is damaged
        return None
    return {"tags": [one._asdict() for one in candidates[:MOST_CANDIDATES]], "count": len(candidates)}


def write(registry: Registry, path: Path, content: bytes) -> None:
    """Write a file that the gateway may read, unless it is so already."""
    uid, gid = os.geteuid(), registry.uid
    for place in reversed(path.parents):
        if place.is_relative_to(INDEX):
            place.mkdir(mode=0o750, exist_ok=True)
            os.chown(place, uid, gid)
            place.chmod(0o750)
    entry = Entry(uid, gid, 0o640, content)
    if read_entry(str(path)) != entry:
        check_room(len(content))
        write_atomic(str(path), content, entry.mode, uid, gid, is_lasting=False)  # see BOOT_ID


def check_room(size: int) -> None:
    """Refuse to fill the file system, which may be the system's own."""
    facts = os.statvfs(INDEX)
    free = facts.f_bavail * facts.f_frsize
    if free - size < ROOM:
        raise WharfError(f"{human_bytes(free)} free in {INDEX}, and {human_bytes(ROOM)} must stay so: make room first")
    if facts.f_files and facts.f_favail < INODES:  # Btrfs tells none
        raise WharfError(f"{facts.f_favail} inodes free in {INDEX}, and {INODES} must stay so: make room first")


# What is stored ---------------------------------------------------------------------------------------------------


class Source:
    """Where images are. In a registry itself each has all that it names, and no upstream."""

    def upstream(self, _name: str) -> str:
        """Return the upstream of which a repository is in a cache; nothing for the registry's own ones."""
        return ""

    def has(self, _name: str, _digest: str) -> bool:
        """Tell whether a blob that a manifest names is there."""
        return True


class Files(Source):
    """The images of a registry whose storage is a file system."""

    growing = ("_manifests/revisions/sha256",)  # of a repository: the directories that change with its manifests

    def __init__(self, registry: Registry) -> None:
        """Find the storage. Raises WharfError."""
        registry.require_data()
        self.storage: Storage = Storage(registry.path)
        self.place: Any = str(self.storage.top)

    def repositories(self, _known: Iterable[str], _settled: int) -> Iterable[str]:
        return self.storage.repositories()

    def links(self, name: str, known: Mapping[str, Any], settled: int) -> dict[str, Any]:
        """Return what is the same as long as a repository is.

        Args:
            name: the repository.
            known: what this returned last.
            settled: what was written before, in nanoseconds since 1970, was read as it is.

        Returns:
            tags: of each tag when it was pushed, in nanoseconds since 1970, and its digest.
            manifests: when the repository last got a manifest; in a cache also a layer.
            untagged: those of the known ones that are still there.
        """
        tags, before, top = {}, known.get("tags", {}), self.storage.repository(name)
        for tag in filter(re.compile(TAG).fullmatch, self.storage.tag_names(name)):
            with suppress(OSError, DamageError):
                when = self.storage.lstat(f"{top}/_manifests/tags/{tag}/current/link").st_mtime_ns
                tags[tag] = self._tag(name, tag, when, before.get(tag), settled)
        newest = 0
        for directory in self.growing:
            with suppress(OSError):
                newest = max(newest, self.storage.lstat(f"{top}/{directory}").st_mtime_ns)
        untagged = [digest for digest in known.get("untagged", ()) if self.storage.has_revision(name, digest)]
        return {"tags": tags, "manifests": newest, "untagged": untagged}

    def _tag(self, name: str, tag: str, when: int, before: list[Any] | None, settled: int) -> list[Any]:
        return before if before and before[0] == when < settled else [when, self.storage.tag(name, tag)]

    def digests(
        self, name: str, known: Collection[str], _tags: Iterable[str], found: Collection[dict[str, Any]]
    ) -> Iterable[str]:
        """Return more manifests of a repository, from those of before, of its tags, and the facts of what was read."""
        return () if found else self.storage.revisions(name, known)  # at once all

    def manifest(self, _name: str, digest: str) -> tuple[dict[str, Any], int]:
        """Return a manifest that the repository has, and its size. Raises DamageError or OSError."""
        return self.storage.read(digest), self.storage.size(digest) or 0

    def config(self, name: str, digest: str) -> dict[str, Any]:
        """Return an image's configuration, which must be the repository's own. Raises DamageError or OSError."""
        if not self.storage.is_there(self.storage.layer_link(name, digest)):
            raise DamageError(f"{name} does not have {digest}")
        return self.storage.read(digest)


class Objects(Files):
    """The images of a registry whose storage is a bucket."""

    def __init__(self, registry: Registry) -> None:
        """Take the bucket; nothing is asked yet."""
        self.storage, self.place = registry.storage, dict(registry.s3)

    def _tag(self, name: str, tag: str, when: int, before: list[Any] | None, settled: int) -> list[Any]:
        return [when, self.storage.tag(name, tag)]  # the listing tells it, and its times are another clock's


class Caches(Files):
    """The images of the pull-through caches, which have of each what was asked for: a platform, or not even a layer."""

    growing = (*Files.growing, "_layers/sha256")

    def __init__(self, data: str, slugs: Mapping[str, str]) -> None:
        """Take the place of the storage, and the upstreams by what their repositories' names begin with."""
        self.storage, self.slugs = SharedStorage(data), slugs
        self.place = [str(self.storage.top), dict(slugs)]

    @classmethod
    def of(cls, registry: Registry) -> Caches | None:
        """Return the caches of a registry, if there are any."""
        data = registry.caches.get("data", "")
        if not os.path.isdir(data):  # nothing is served then
            return None
        return cls(data, {one["slug"]: one["upstream"] for one in registry.caches["upstreams"]})

    def upstream(self, name: str) -> str:
        """Return the upstream of which a repository is in a cache; nothing for the registry's own ones."""
        return self.slugs.get(name.partition("/")[0], "")

    def _tag(self, name: str, tag: str, when: int, before: list[Any] | None, settled: int) -> list[Any]:
        """Return since when a tag leads where it does: each pull writes its link."""
        if before and before[0] <= when < settled:
            return before
        digest = self.storage.tag(name, tag)
        return before if before and before[1] == digest else [when, digest]

    def has(self, name: str, digest: str) -> bool:
        """Tell whether a blob that a manifest names is there."""
        return os.path.lexists(self.storage.layer_link(name, digest))


class ObjectStore(Source):
    """The images of a registry whose storage is an object store: what the registry itself tells.

    Each tag is a request, and the store's answer takes its time. So all of them are asked for once an hour, and what
    was pushed or deleted since the last run, by the gateway's log, each time.
    """

    def __init__(self, registry: Registry) -> None:
        """Take the registry; nothing is asked yet."""
        self.client, self.gateway = registry.client(), parts.container_names(registry.container)["gateway"]
        # With another gateway the log of the one before is gone.
        self.place = f"{registry.driver} {(containers.container(self.gateway) or {}).get('Id')}"
        self.touched: set[str] | None = None  # None for all

    def repositories(self, known: Iterable[str], settled: int) -> Iterable[str]:
        if settled // 10**9 // HOUR != time.time_ns() // 10**9 // HOUR:
            return self._listed("/v2/_catalog", "repositories")
        log = containers.docker("logs", "--since", str(settled // 10**9), self.gateway).stdout
        self.touched = set(TOUCHED.findall(log))
        return sorted({*known, *self.touched})

    def links(self, name: str, known: Mapping[str, Any], settled: int) -> dict[str, Any]:
        """Return as Files. The store does not tell when a tag was pushed: it is when that was seen, or 0."""
        if known and self.touched is not None and name not in self.touched:
            return dict(known)
        tags, before = {}, known.get("tags", {})
        for tag in self._listed(f"/v2/{name}/tags/list", "tags"):
            with suppress(DamageError), _damage():
                digest = self.client.digest(name, tag)
                is_same = tag in before and before[tag][1] == digest
                tags[tag] = before[tag] if is_same else [time.time_ns() if known or settled > 0 else 0, digest]
        return {"tags": tags, "manifests": 0, "untagged": []}

    def digests(
        self, _name: str, _known: Collection[str], tags: Iterable[str], found: Collection[dict[str, Any]]
    ) -> Iterable[str]:
        return {*tags, *(child for facts in found for child in facts.get("children", ()))}

    def manifest(self, name: str, digest: str) -> tuple[dict[str, Any], int]:
        with _damage():
            manifest = self.client.manifest(name, digest)
        return manifest.document, len(manifest.content)

    def config(self, name: str, digest: str) -> dict[str, Any]:
        content = b""
        with _damage():
            for part in self.client.blob(name, digest):
                content += part
                if len(content) > LARGEST_MANIFEST:
                    self.client.close()
                    raise DamageError(f"the configuration {digest} is larger than any can be")
        return parse(content, digest)

    def _listed(self, path: str, key: str) -> Iterator[str]:
        """Yield what the registry lists, page by page; nothing where it does not know the repository."""
        query, asked = "n=1000", set()
        while query:
            if query in asked:
                raise WharfError(f"{self.client} answers {path} with the same page again and again")
            asked.add(query)
            response = self.client.request("GET", f"{path}?{query}")
            if response.status == 404:
                return
            if response.status != 200:
                raise WharfError(f"{self.client} answered {path} with HTTP status {response.status}")
            names = response.document().get(key) or []
            yield from names
            query = f"n=1000&last={quote(names[-1])}" if names and "Link" in response.headers else ""


def source_of(registry: Registry) -> Files | ObjectStore:
    """Return where the registry's own images are. Raises WharfError."""
    if registry.s3:
        return Objects(registry)
    return Files(registry) if registry.driver == "filesystem" else ObjectStore(registry)


@contextmanager
def _damage() -> Iterator[None]:
    """Take an answer that will stay the same for damage; a blob may also lie where only clients go."""
    try:
        yield
    except DigestError as error:
        raise DamageError(str(error)) from None
    except StatusError as error:
        if error.status in (429, 502, 503, 504):
            raise
        raise DamageError(str(error)) from None


def facts_of(source: Files | ObjectStore, name: str, digest: str) -> dict[str, Any]:
    """Return what is kept of a manifest; nothing where it cannot be read. They are of these types whatever it holds.

    Returns:
        own: the bytes of the manifest and of what is no layer.
        layers: the layers' digests and sizes.
        children: the manifests that an index names.
        type: "index", "image" or "artifact".
        platforms: what an image is for.
        kind: the media type of what an artifact is.
        subject: the manifest that it belongs to.
        partial: only where blobs that it names are not there: "config" if that is among them, else "layers". The bytes
            are those of what is.
    """
    try:
        manifest, own = source.manifest(name, digest)
    except (DamageError, OSError):
        return {}
    config = _mapping(manifest.get("config"))
    named = {blob["digest"]: _number(blob.get("size")) for blob in blobs(manifest)}
    # No registry takes a manifest without its blobs, and a cache does.
    sizes = {one: size for one, size in named.items() if source.has(name, one)}
    layers = dict(islice(((one, size) for one, size in sizes.items() if one != config.get("digest")), MOST_LAYERS))
    lacking = named.keys() - sizes.keys()
    is_image = config.get("mediaType") in IMAGE_CONFIGS and not manifest.get("artifactType")
    first = next(iter(manifest["layers"]), None) if isinstance(manifest.get("layers"), list) else None
    kinds = map(_text, (manifest.get("artifactType"), config.get("mediaType"), _mapping(first).get("mediaType")))
    return {
        "own": own + sum(sizes.values()) - sum(layers.values()),
        "layers": layers,
        "children": list(islice(dict.fromkeys(child["digest"] for child in children(manifest)), MOST_LAYERS)),
        "type": "index" if "manifests" in manifest else "image" if is_image else "artifact",
        "platforms": _platforms(source, name, config) if is_image else [],
        "kind": next((kind for kind in kinds if kind not in ("", NO_CONFIG, *IMAGE_CONFIGS)), ""),
        "subject": subject(manifest),
        **({"partial": "config" if lacking & {_text(config.get("digest"))} else "layers"} if lacking else {}),
    }


def _platforms(source: Files | ObjectStore, name: str, descriptor: dict[str, Any]) -> list[str]:
    """Return the platform that an image's configuration names; none for what no system runs, such as a provenance."""
    digest = _text(descriptor.get("digest"))
    try:
        config = source.config(name, digest) if DIGEST.fullmatch(digest) else {}
    except (DamageError, OSError):
        return []
    parts = [_text(config.get(key)) for key in ("os", "architecture", "variant")]
    return ["/".join(filter(None, parts))] if parts[0] not in ("", "unknown") else []


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value[:LONGEST] if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= LARGEST_NUMBER else 0


# What is shown ----------------------------------------------------------------------------------------------------


class Contents:
    """What is shown of a repository, from what its tags lead to and the facts of its manifests by digest.

    Attributes:
        file: what the page reads: the tags, newest first, each with its manifest's place in a list of them; of each of
            these the parts to which something is attached, in a cache also what of it, itself included, is there with
            its configuration; and what is attached, by digest.
        layers: the newest tags of the images that have a layer.
        total: the number of tags that are not attached, the bytes, when it was last pushed to, in a cache also the
            upstream; None without tags.
        untagged: the manifests without a tag that belong to others.
    """

    def __init__(
        self, tags: Mapping[str, tuple[int, str]], manifests: Mapping[str, dict[str, Any]], upstream: str = ""
    ) -> None:
        """Put it together; of a cache for its upstream."""
        self.manifests, self.upstream = manifests, upstream
        if upstream:  # a cache notes a tag for whoever asks where it leads, and may never get the manifest
            tags = {tag: one for tag, one in tags.items() if one[1] in manifests}
        tagged = {digest for _, digest in tags.values()}
        of = {tag: self._subject(tag, digest) for tag, (_, digest) in tags.items()}
        self.untagged = sorted(one for one, facts in manifests.items() if facts.get("subject") and one not in tagged)
        self.attached: dict[str, list[dict[str, str]]] = {}
        for digest in self.untagged:
            self._attach(manifests[digest]["subject"], digest)
        for tag, (_, digest) in sorted(tags.items()):
            # An index of all that belongs to a manifest, which clients keep where a registry has no such API, is none.
            if of[tag] and (ATTACHED.fullmatch(tag) is None or "." in tag):
                self._attach(of[tag], digest, tag=tag)
        newest = sorted(tags.items(), key=lambda item: -item[1][0])
        closures = {digest: self._closure(digest) for digest in dict.fromkeys(digest for _, (_, digest) in newest)}
        places = {digest: place for place, digest in enumerate(closures)}
        shown, self.layers = [], {}
        images: set[str] = set()
        for tag, (pushed, digest) in newest:
            shown.append({"name": tag, "pushed": pushed // 10**9, "manifest": places[digest]})
            if of[tag]:
                shown[-1]["of"] = of[tag]
            elif digest not in images:
                images.add(digest)
                for layer in _layers(closures[digest]):
                    found = self.layers.setdefault(layer, [])
                    if len(found) < MOST_SHARERS:
                        found.append(tag)
        described = [self._describe(digest, parts) for digest, parts in closures.items()]
        used = {part for one in described for part in one.get("parts", ())}
        attached = {part: self.attached[part] for part in sorted(used)}
        self.file = {"tags": shown, "manifests": described, "attached": attached}
        whole = {digest: facts for parts in closures.values() for digest, facts in parts.items()}
        count = sum("of" not in tag for tag in shown)
        self.total = [count, _size(whole), shown[0]["pushed"], *([upstream] if upstream else [])] if tags else None

    def _describe(self, digest: str, parts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """Return what is shown of a manifest that leads to others."""
        platforms = sorted({platform for facts in parts.values() for platform in facts["platforms"]})
        attached = [part for part in parts if part in self.attached]
        # The page would load the configuration of all that is there.
        there = [part for part, facts in parts.items() if facts.get("partial") != "config"]
        return {
            "digest": digest,
            "size": _size(parts),
            "platforms": platforms[:MOST_SHOWN],
            "type": self.manifests[digest]["type"] if parts else "damaged",
            **({"parts": attached[:MOST_SHOWN]} if attached else {}),
            **({"there": there} if self.upstream else {}),
        }

    def _subject(self, tag: str, digest: str) -> str:
        """Return what a tag's manifest belongs to, as it says itself, or the tag does."""
        facts = self.manifests.get(digest) or {"subject": "", "type": ""}
        return facts["subject"] or subject({"manifests": []} if facts["type"] == "index" else {}, tag)

    def _attach(self, of: str, digest: str, **more: str) -> None:
        facts = self.manifests.get(digest) or {"kind": "", "type": "damaged"}
        found = self.attached.setdefault(of, [])
        if len(found) < MOST_SHOWN:
            found.append({"digest": digest, "type": facts["kind"] or facts["type"], **more})

    def _closure(self, digest: str) -> dict[str, dict[str, Any]]:
        """Return the facts of a manifest and of all that it leads to, as far as the repository has them."""
        found, waiting = {}, [digest]
        while waiting:
            digest = waiting.pop()
            if digest not in found and (facts := self.manifests.get(digest)):
                found[digest] = facts
                waiting += facts["children"]
        return found


def _layers(manifests: Mapping[str, dict[str, Any]]) -> dict[str, int]:
    """Return the layers of manifests and their sizes."""
    if len(manifests) == 1:
        return next(iter(manifests.values()))["layers"]
    found: dict[str, int] = {}
    for facts in manifests.values():
        found.update(facts["layers"])
    return found


def _size(manifests: Mapping[str, dict[str, Any]]) -> int:
    """Return the bytes of manifests and of their layers, each once."""
    return sum(facts["own"] for facts in manifests.values()) + sum(_layers(manifests).values())


# The index --------------------------------------------------------------------------------------------------------


class Index:
    """The files of the index, which the gateway serves, and the state."""

    def __init__(self, registry: Registry, state: sqlite3.Connection) -> None:
        """Take the registry that it is of."""
        self.registry, self.state = registry, state
        self.started = time.time_ns()

    def renew(self, own: Files | ObjectStore, caches: Caches | None) -> set[str]:
        """Read what has changed, and write what that changes. Return the names of the repositories that have."""
        patterns = [rule["repositories"] for rule in self.registry.rules]
        places = [own.place, *([caches.place] if caches else [])]
        basis = json.dumps([self.registry.uid, *places, patterns, read_text(BOOT_ID)])
        last = self.state.execute("SELECT basis, started FROM runs").fetchone() or ("", 0)
        is_new = last[0] != basis  # other rules, another place or owner, or the host has started anew
        settled = 0 if is_new else last[1] - SETTLING
        rows = self.state.execute("SELECT name, rule, links FROM repositories")
        known = {name: (rule, json.loads(links)) for name, rule, links in rows}
        changed, rules = set(), set()
        for source, name in stored(own, caches, known, settled):
            rule, before = known.pop(name, (None, {}))
            links = source.links(name, before, settled)
            if not (before or links["tags"] or links["manifests"]):
                continue
            if links != before or links["manifests"] >= settled:
                rule = rule_of(self.registry.rules, name) if rule is None or is_new else rule
                if self._read(source, name, rule, links):
                    changed.add(name)
                    rules.add(rule)
        for name, (rule, _) in known.items():
            for table, key in (("repositories", "name"), ("manifests", "repository"), ("layers", "repository")):
                self.state.execute(f"DELETE FROM {table} WHERE {key} = ?", (name,))
            self._remove(self._tags_file(name))
            changed.add(name)
            rules.add(rule)
        self._write_lists(lambda numbers: is_new or not numbers.isdisjoint(rules))
        if not last[0]:  # the state is new, and does not know what was written
            names = {name for name, *_ in self._listed()}
            for path in list((INDEX / "tags").rglob("_.json")):
                if path.parent.relative_to(INDEX / "tags").as_posix() not in names:
                    self._remove(path)
        self.state.execute("DELETE FROM runs")
        self.state.execute("INSERT INTO runs VALUES (?, ?)", (basis, self.started))
        return changed

    def _read(self, source: Files | ObjectStore, name: str, rule: int, links: dict[str, Any]) -> bool:
        """Read a repository, write its tags, and tell whether anything is not as it was."""
        known = self._facts(name)
        whole = {one: facts for one, facts in known.items() if "partial" not in facts}
        tags = links["tags"]
        manifests: dict[str, dict[str, Any]] = {}
        digests = [digest for _, digest in tags.values()]
        while more := [one for one in source.digests(name, known, digests, manifests.values()) if one not in manifests]:
            manifests.update((one, whole.get(one) or facts_of(source, name, one)) for one in more)
        upstream = source.upstream(name)
        contents = Contents(tags, manifests, upstream)
        links["untagged"] = contents.untagged
        if not all(manifests.get(digest, upstream) for _, digest in tags.values()):
            links["manifests"] = -1  # somebody may repair it
        if contents.total:
            write(self.registry, self._tags_file(name), json.dumps(contents.file).encode())
        else:
            self._remove(self._tags_file(name))
        facts = {one: json.dumps(found) for one, found in manifests.items() if found and one not in whole}
        self._replace("manifests", "digest", "facts", name, facts, known.keys() - manifests.keys())
        layers = {layer: " ".join(found) for layer, found in contents.layers.items()}
        old = dict(self.state.execute("SELECT layer, tags FROM layers WHERE repository = ?", (name,)))
        news = {layer: found for layer, found in layers.items() if old.pop(layer, None) != found}
        self._replace("layers", "layer", "tags", name, news, old)
        before = self.state.execute("SELECT facts FROM repositories WHERE name = ?", (name,)).fetchone()
        row = (name, rule, json.dumps(links), json.dumps(contents.total))
        self.state.execute("REPLACE INTO repositories VALUES (?, ?, ?, ?)", row)
        return not before or row[3] != before[0] or bool(news or old)

    def _facts(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the facts of a repository's manifests as they were read."""
        query = "SELECT digest, facts FROM manifests WHERE repository = ?"
        rows = dict(self.state.execute(query, (name,)))
        return dict(zip(rows, json.loads(f"[{','.join(rows.values())}]")))

    def _replace(
        self, table: str, key: str, value: str, name: str, news: Mapping[str, str], gone: Iterable[str]
    ) -> None:
        """Write the rows of a repository that are new or others, and delete those that are gone."""
        rows = [(name, *one) for one in news.items()]
        self.state.executemany(f"REPLACE INTO {table} (repository, {key}, {value}) VALUES (?, ?, ?)", rows)
        rows = [(name, one) for one in gone]
        self.state.executemany(f"DELETE FROM {table} WHERE repository = ? AND {key} = ?", rows)

    def _write_lists(self, is_affected: Callable[[frozenset[int]], bool]) -> None:
        """Write the lists of those who may read something that has changed; remove those of nobody."""
        users, rules = self.registry.users, self.registry.rules
        names = [user["name"] for user in users] or [""]
        classes = {reading_class(users, rules, name): readable(users, rules, name) for name in names}
        paths = {name: (INDEX / f"list-{name}.json", INDEX / f"shared-{name}.json") for name in classes}
        stale = [name for name in classes if is_affected(classes[name]) or not all(map(Path.exists, paths[name]))]
        listed, layers = (self._listed(), self._layers()) if stale else ([], [])
        for name in stale:
            mine = {row[0]: row for row in listed if row[1] in classes[name]}
            rows = [text for *_, text in mine.values()]
            text = f'{{"generated": {self.started // 10**9}, "repositories": [{", ".join(rows)}]}}'
            images = shared(row for row in layers if row[1] in mine)
            for path, content in zip(paths[name], (text, "{" + ", ".join(most_shared(images)) + "}")):
                write(self.registry, path, content.encode())
        for path in (*INDEX.glob("list-*.json"), *INDEX.glob("shared-*.json")):
            if path.stem.partition("-")[2] not in classes:
                path.unlink()

    def _listed(self) -> list[tuple[str, int, str]]:
        """Return the repositories that have tags: name, rule, and the JSON text of what the list has of it."""
        query = "SELECT name, rule, facts FROM repositories WHERE facts != 'null' ORDER BY name"
        rows = self.state.execute(query)
        return [(name, rule, f"[{json.dumps(name)}, {facts[1:]}") for name, rule, facts in rows]

    def _layers(self) -> list[tuple[str, str, list[str]]]:
        """Return the layers that several images have: layer, repository, and those there, as JSON texts."""
        several = "SELECT layer FROM layers GROUP BY layer HAVING COUNT(*) > 1 OR MAX(INSTR(tags, ' ')) > 0"
        query = f"SELECT layer, repository, tags FROM layers WHERE layer IN ({several}) ORDER BY layer, repository"
        rows = self.state.execute(query)
        return [(layer, name, [json.dumps([name, tag]) for tag in tags.split()]) for layer, name, tags in rows]

    def _tags_file(self, name: str) -> Path:
        # No part of a repository's name is like this one: what is below team/app is not in the way of team/app itself.
        return INDEX / "tags" / name / "_.json"

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # of others there is something in it
            for place in path.parents:
                if place.is_relative_to(INDEX / "tags"):
                    place.rmdir()


def stored(
    own: Files | ObjectStore, caches: Caches | None, known: Collection[str], settled: int
) -> Iterator[tuple[Files | ObjectStore, str]]:
    """Yield the repositories that are served, each with where it is: below an upstream's name only its cache is."""

    def place_of(name: str) -> Files | ObjectStore:
        return caches if caches and caches.upstream(name) else own

    for source in filter(None, (own, caches)):
        mine = [name for name in known if place_of(name) is source]
        for name in source.repositories(mine, settled):
            if place_of(name) is source and len(name) <= LONGEST and re.fullmatch(PATH, name):
                yield source, name


def shared(layers: Iterable[tuple[str, str, list[str]]]) -> dict[str, list[str]]:
    """Return the images that have a layer in common, of what Index._layers returns."""
    images: dict[str, list[str]] = {}
    for layer, _, texts in layers:
        found = images.setdefault(layer, [])
        found += texts[: MOST_SHARERS - len(found)]
    return {layer: found for layer, found in images.items() if len(found) > 1}


def most_shared(images: dict[str, list[str]]) -> Iterator[str]:
    """Yield the JSON text of what `shared` returns, of the layers that most images share, as far as there is room."""
    room = MOST_BYTES
    for layer in sorted(images, key=lambda layer: (-len(images[layer]), layer)):
        text = f'"{layer}": [{", ".join(images[layer])}]'
        room -= len(text) + 2
        if room < 0:
            return
        yield text

"""Reads what a registry has stored in a bucket of an object store, with the driver "s3", by rclone; and deletes there.

Two listings tell nearly all: a link's digest is part of its path, but for a tag's own, and of that one the store tells
the MD5, which is that of one of the repository's manifests. Manifests are fetched once and kept on this host.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .errors import DamageError, WharfError
from .files import no_link, read_json, read_text, write_atomic
from .manifests import DIGEST, blobs, digest_of
from .processes import has, search_path
from .storage import LARGEST_MANIFEST, Storage
from .text import one_line

CACHE = Path("/var/lib/wharf/bucket")
LINKS = "links.json"  # there: where tags lead whose ETag is no MD5, as with keys of a key management
ASIDE = ".wharf-aside"  # beside "docker": what the registry's own collection must not find, in the places that it had
DOCKER = "docker"
TOP = f"{DOCKER}/registry/v2"
DAY = 86400
PARALLEL = "16"
MISSING = 3  # rclone's exit code where a directory is not there; for a bucket it is the same
STAMP = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", re.MULTILINE)  # with which a message of rclone's begins
# A store that does not answer is soon said to be away.
PATIENCE = ("--contimeout", "10s", "--timeout", "60s", "--low-level-retries", "3", "--retries", "2")


class Facts(NamedTuple):
    """What the store tells of an object."""

    st_size: int
    st_mtime_ns: int
    md5: str = ""

    @property
    def st_mtime(self) -> float:
        """When it was written, in seconds since 1970."""
        return self.st_mtime_ns / 10**9


class Rclone:
    """rclone with the settings of the registry's bucket: the one place that builds its command line."""

    def __init__(self, s3: Mapping[str, Any], credentials: Path | str) -> None:
        """Take "region", "endpoint", "bucket", "root", "ca", and the file of the keys, the registry's own."""
        self.place = "/".join(filter(None, (s3["bucket"], s3.get("root", "").strip("/"))))
        self.options = (*PATIENCE, *(("--ca-cert", s3["ca"]) if s3.get("ca") else ()))
        settings = {
            "TYPE": "s3",
            "PROVIDER": "Other" if s3.get("endpoint") else "AWS",
            "ENV_AUTH": "true",
            "REGION": s3["region"],
            "ENDPOINT": s3.get("endpoint", ""),
            "NO_CHECK_BUCKET": "true",
        }
        # Neither root's own settings nor a proxy, which the registry itself does not ask either.
        others = ("rclone_", "aws_", "http_proxy", "https_proxy", "all_proxy")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.lower().startswith(others)},
            "PATH": search_path(),
            "RCLONE_CONFIG": "/nonexistent",
            **{f"RCLONE_CONFIG_STORE_{name}": value for name, value in settings.items()},
            "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
        }

    def at(self, path: Path | str) -> str:
        """Return a path below the registry's root directory as rclone takes it."""
        return f"store:{self.place}/{path}"

    def run(self, *words: str, given: Iterable[str] = (), missing_ok: bool = False) -> str:
        """Run rclone and return what it prints. It ends with this program, also when that is killed.

        Args:
            words: the command line, without a secret.
            given: lines on its standard input, such as for "--files-from -".
            missing_ok: whether there need not be such a directory.

        Raises:
            WharfError: it failed.
        """
        if not has("rclone"):
            raise WharfError("rclone is not installed, by which the bucket is read: run playbooks/deploy-registry.yml")
        command = ["setpriv", "--pdeathsig", "TERM", "rclone", *words, *self.options]
        lines = "".join(f"{line}\n" for line in given)
        done = subprocess.run(command, input=lines, capture_output=True, text=True, env=self.environment)
        if done.returncode == MISSING and missing_ok:
            return ""
        if done.returncode:
            said = STAMP.split(done.stderr.strip())[-1] or f"exit code {done.returncode}"
            raise WharfError(f"rclone {words[0]} failed on the bucket {self.place}: {one_line(said, 400)}")
        return done.stdout

    def listed(self, path: Path | str, *options: str) -> dict[str, Facts]:
        """Return the objects below a path, by their own paths, without those of uploads."""
        words = ("lsjson", "-R", "--files-only", "--no-mimetype", "--use-server-modtime", "--fast-list")
        but = ("--filter", "+ _manifests/**", "--filter", "- _uploads/**")  # a tag may have that name
        found = json.loads(self.run(*words, *options, *but, self.at(path), missing_ok=True) or "[]")
        return {f"{path}/{one['Path']}": _facts(one) for one in found}


class Bucket(Storage):
    """A registry's storage in a bucket, as it was when it was asked for the first time."""

    def __init__(self, s3: Mapping[str, Any], credentials: Path | str) -> None:
        """Take the bucket and the file of its keys; nothing is asked yet."""
        self.rclone, self.top = Rclone(s3, credentials), Path(TOP)
        self.manifest = lru_cache(maxsize=4096)(self.read)
        self.cache = CACHE
        self._directories: dict[str, set[str]] = {}
        self._tags: dict[str, dict[str, str]] = {}  # of a repository: manifests by MD5, and what was read of tags

    @cached_property
    def links(self) -> dict[str, Facts]:
        """The links of all repositories, by their paths."""
        found = self.rclone.listed(self.top / "repositories", "--hash")
        if not found:  # is it empty, or not there?
            self.rclone.run("lsf", "--dirs-only", "store:" + self.rclone.place.partition("/")[0])
        return self._noted(found)

    @cached_property
    def blobs(self) -> dict[str, Facts]:
        """What is stored, needed or not, by digests. It is listed after the links: what they lead to comes first."""
        _ = self.links
        found = self.rclone.listed(self.top / "blobs").items()
        return {_digest(path): facts for path, facts in found if path.endswith("/data")}

    def _noted(self, links: dict[str, Facts]) -> dict[str, Facts]:
        """Note the directories in which links are; return the links."""
        for path in links:
            while True:
                above, _, name = path.rpartition("/")
                known = self._directories.setdefault(above, set())
                if not above or name in known:
                    break
                known.add(name)
                path = above
        return links

    def as_owner(self) -> AbstractContextManager[None]:
        """Return what is of no use here: nobody but the store's users can write to it."""
        return nullcontext()

    def repositories(self) -> list[str]:
        """Return the names of the repositories that hold a manifest or a layer, in order."""
        _, top = self.links, f"{self.top}/repositories/"
        parts = {"_manifests", "_layers"}
        found = (path for path, names in self._directories.items() if path.startswith(top) and parts & names)
        names = (path[len(top) :] for path in found)
        return sorted(name for name in names if not any(one.startswith("_") for one in name.split("/")))

    def has_repository(self, name: str) -> bool:
        """Tell whether there is a repository."""
        return bool(self.names(self.repository(name)))

    def exists(self, digest: str) -> bool:
        return digest in self.blobs

    def size(self, digest: str) -> int | None:
        """Return the bytes of a blob or manifest; None where it is not there."""
        facts = self.blobs.get(digest)
        return facts and facts.st_size

    def names(self, directory: Path | str) -> list[str]:
        """Return the names in a directory of links, in order; none where it is not there."""
        _ = self.links
        return sorted(self._directories.get(str(directory), ()))

    def stat(self, path: Path | str) -> Any:
        """Return size and time of a link or blob; of a directory of links when the newest was written."""
        path = str(path)
        if path.startswith(f"{self.top}/blobs/"):
            found = self.blobs.get(_digest(path))
        else:
            found = self.links.get(path)
            if found is None and (below := self.names(path)):
                found = Facts(0, max(self.stat(f"{path}/{name}").st_mtime_ns for name in below))
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", path)
        return found

    lstat = stat

    def is_there(self, path: Path | str) -> bool:
        """Tell whether there is an object, or a directory of links."""
        with suppress(FileNotFoundError):
            return bool(self.stat(path))
        return False

    def blob_sizes(self) -> dict[str, int]:
        """Return the bytes of all that is stored, needed or not."""
        return {digest: facts.st_size for digest, facts in self.blobs.items()}

    # Links --------------------------------------------------------------------------------------------------------

    def link(self, path: Path | str) -> str:
        """Return the digest that a link holds. Raises DamageError where there is none."""
        path = str(path)
        facts, digest = self.links.get(path), _digest(path)
        if facts and path.endswith("/current/link"):
            digest = self._tag(path, facts)
        elif not facts or facts.st_size != len(digest):
            digest = ""
        if not DIGEST.fullmatch(digest):
            raise DamageError("its link holds no digest")
        return digest

    def _tag(self, path: str, facts: Facts) -> str:
        """Return where a tag leads; nothing where its link holds no digest."""
        name = path[len(f"{self.top}/repositories/") :].rpartition("/_manifests/")[0]
        if name not in self._tags:
            self._tags[name] = {_md5(one): one for one in self.revisions(name)}
        known, key = self._tags[name], facts.md5 or path
        if key not in known and key not in self._others:
            self._read_tags(name, known)
        return known.get(key) or self._others.get(key, "")

    @cached_property
    def _others(self) -> dict[str, str]:
        """Where links lead whose ETag is no MD5, by that."""
        return read_json(self.cache / LINKS, no_link)

    def _read_tags(self, name: str, known: dict[str, str]) -> None:
        """Read the links of a repository's tags of which the listing does not tell where they lead."""
        paths = [str(self.tag_link(name, tag)) for tag in self.tag_names(name)]
        keys = {path: self.links[path].md5 or path for path in paths if path in self.links}
        unknown = {path: key for path, key in keys.items() if key not in known and key not in self._others}
        with self._copied(unknown) as new:
            contents = {key: read_text(f"{new}/{path}", no_link).strip() for path, key in unknown.items()}
        known.update(contents)
        if not set(contents.values()) <= self.revisions(name):  # its manifest may have been pushed since
            self.links.update(self._noted(self.rclone.listed(self.repository(name), "--hash")))
            self.__dict__.pop("blobs", None)
        others = {key: one for key, one in contents.items() if DIGEST.fullmatch(one) and key not in (*paths, _md5(one))}
        if others:
            self._others.update(others)
            content = json.dumps(self._others).encode()
            write_atomic(str(self.cache / LINKS), content, 0o600, os.geteuid(), os.getegid())

    # Contents -----------------------------------------------------------------------------------------------------

    def open(self, digest: str) -> BinaryIO:
        """Open a manifest or configuration, which is fetched first if it is not at hand. Raises OSError."""
        if digest not in self.blobs:
            raise FileNotFoundError(errno.ENOENT, "no such object", digest)
        if not self._has(digest):
            # Where one is new, others may be.
            manifests = {one for name in self.repositories() for one in self.revisions(name)}
            self.fetch({digest, *manifests})
            if digest not in manifests:
                self.fetch(blob["digest"] for one in manifests for blob in blobs(self.readable(one))[:1])
        return open(self.cache / digest, "rb", opener=no_link)

    def fetch(self, digests: Iterable[str]) -> None:
        """Have manifests and configurations at hand that are to be read soon."""
        sizes = {one: self.size(one) for one in digests}
        wanted = [one for one, size in sizes.items() if size is not None and size <= LARGEST_MANIFEST]
        paths = {one: str(self.blob_path(one)) for one in wanted if not self._has(one)}
        if not paths:
            return
        with self._copied(paths.values()) as new:
            for path in self.cache.iterdir():  # what is gone from the store, and what was cut off
                if path.name not in self.blobs and path.name != LINKS:
                    with suppress(FileNotFoundError):  # another run has removed it
                        if time.time() - path.stat().st_ctime > DAY:
                            path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
            for digest, path in paths.items():
                with suppress(FileNotFoundError):
                    os.replace(f"{new}/{path}", self.cache / digest)

    def _has(self, digest: str) -> bool:
        """Tell whether a manifest or configuration is at hand, as it should be."""
        with suppress(OSError), open(self.cache / digest, "rb", opener=no_link) as file:
            return digest_of(file.read(), digest.partition(":")[0]) == digest
        return False

    @contextmanager
    def _copied(self, paths: Iterable[str]) -> Iterator[str]:
        """Copy objects into a directory for a while; those that are gone meanwhile are left out."""
        self.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        words = ("copy", "--files-from", "-", "--no-traverse", "--no-check-dest", "--transfers", PARALLEL)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.cache) as new:
            self.rclone.run(*words, self.rclone.at(""), new, given=paths)
            yield new

    def is_intact(self, digest: str) -> bool:
        """Read a blob, and tell whether it is there and its content has its digest."""
        return digest in self._hashed([digest])

    def hashed(self, names: Iterable[str]) -> Callable[[str], bool]:
        """Return what tells of each blob that repositories need whether its content has its digest.

        Their manifests are fetched anew, and compared when they are read.
        """
        self._fresh = tempfile.TemporaryDirectory(prefix="wharf-")
        self.cache = Path(self._fresh.name)
        self.manifest.cache_clear()
        manifests = {digest for name in names for digest in self.revisions(name)}
        self.fetch(manifests)
        needed = {blob["digest"] for one in manifests for blob in blobs(self.readable(one))}
        return self._hashed(needed).__contains__

    def _hashed(self, digests: Iterable[str]) -> set[str]:
        """Read blobs; return those that are there and have their digests."""
        found: set[str] = set()
        wanted = [one for one in digests if one in self.blobs]
        for algorithm in sorted({one.partition(":")[0] for one in wanted}):
            paths = [str(self.blob_path(one)) for one in wanted if one.startswith(f"{algorithm}:")]
            words = ("hashsum", algorithm, "--download", "--files-from", "-", "--no-traverse")
            lines = self.rclone.run(*words, self.rclone.at(""), given=paths).splitlines()
            pairs = (line.split(None, 1) for line in lines if line)
            found |= {f"{algorithm}:{number}" for number, path in pairs if _digest(path) == f"{algorithm}:{number}"}
        return found

    def likely_manifests(self, sizes: Mapping[str, int]) -> Collection[str]:
        """Return what may be a manifest among blobs, of which the sizes are known: no layer has links of that kind."""
        layers = {digest for name in self.repositories() for digest in self.layers(name)}
        return [digest for digest in super().likely_manifests(sizes) if digest not in layers]

    # What is written ----------------------------------------------------------------------------------------------

    def delete(self, paths: Iterable[Path | str]) -> None:
        """Delete objects; those that are not there do not count."""
        if lines := [str(path) for path in paths]:
            self.rclone.run("delete", "--files-from", "-", "--no-traverse", self.rclone.at(""), given=lines)

    def objects_in(self, directory: Path | str) -> list[str]:
        """Return the paths of the links below a directory."""
        below = [f"{directory}/{name}" for name in self.names(directory)]
        return [path for one in below for path in ([one] if one in self.links else self.objects_in(one))]

    def repositories_in(self, directory: str) -> list[str]:
        """Return the names of what is directly in a directory of repositories, as it is now, also without a link."""
        place = self.rclone.at(self.top / "repositories" / directory)
        lines = self.rclone.run("lsf", "--dirs-only", place, missing_ok=True).splitlines()
        return [f"{directory}/{line.rstrip('/')}" for line in lines]

    def remove_repository(self, name: str) -> None:
        """Remove a repository, as it is now, with the blobs that it has links to: nobody else may need them."""
        directory = self.repository(name)
        links = self.rclone.listed(directory)
        self.delete({str(self.blob_path(_digest(path))) for path in links if DIGEST.fullmatch(_digest(path))})
        self.rclone.run("purge", self.rclone.at(directory), missing_ok=True)

    def set_aside(self, paths: Iterable[Path | str]) -> None:
        """Move objects to where the registry does not look."""
        if lines := [str(Path(path).relative_to(DOCKER)) for path in paths]:
            words = ("move", "--files-from", "-", "--no-traverse", "--transfers", PARALLEL)
            self.rclone.run(*words, self.rclone.at(DOCKER), self.rclone.at(f"{ASIDE}/{DOCKER}"), given=lines)

    def has_aside(self) -> bool:
        """Tell whether something was set aside."""
        return bool(self.rclone.run("lsf", "-R", "--files-only", self.rclone.at(ASIDE), missing_ok=True).strip())

    def put_back(self) -> None:
        """Move what was set aside back to its places. What has been pushed again since stays."""
        words = ("move", "--ignore-existing", "--transfers", PARALLEL)
        self.rclone.run(*words, self.rclone.at(f"{ASIDE}/{DOCKER}"), self.rclone.at(DOCKER))
        self.rclone.run("purge", self.rclone.at(ASIDE), missing_ok=True)


def _facts(found: Mapping[str, Any]) -> Facts:
    """Return what rclone tells of an object."""
    hashes = {name.lower(): value for name, value in (found.get("Hashes") or {}).items()}
    return Facts(found["Size"], _nanoseconds(found["ModTime"]), hashes.get("md5", ""))


def _nanoseconds(text: str) -> int:
    """Return a time such as 2026-11-29T20:50:51.123456789Z or ...+01:00, in nanoseconds since 1970."""
    seconds, rest = text[:19], text[19:].replace("Z", "+00:00")
    fraction = rest[1 : len(rest) - 6] if rest.startswith(".") else ""
    moment = datetime.fromisoformat(f"{seconds}{rest[-6:]}").timestamp()
    return int(moment) * 10**9 + int(fraction.ljust(9, "0")[:9] or 0)


def _digest(path: str) -> str:
    """Return the digest that is part of a path: of a link, ALGORITHM/NUMBER/link, or ALGORITHM/AB/NUMBER/data."""
    parts = path.rsplit("/", 4)
    if parts[-1] == "data" and len(parts) == 5:
        return f"{parts[-4]}:{parts[-2]}"
    return ":".join(parts[-3:-1])


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()  # as the store's

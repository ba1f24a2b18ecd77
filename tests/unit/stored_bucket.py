"""A registry's storage in a bucket, for tests: a directory, and a program `rclone` that takes it for one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import bucket
from tests.unit.stored_registry import StoredRegistry

S3 = {"region": "r", "endpoint": "https://store:7443", "bucket": "wharf", "root": "", "ca": "/etc/ca.crt"}
RCLONE = """
import datetime, fnmatch, hashlib, json, os, pathlib, shutil, sys

root, log, words, options = pathlib.Path(STORE), pathlib.Path(LOG), [], {}
arguments = sys.argv[1:]
VALUED = ("--contimeout", "--timeout", "--low-level-retries", "--retries", "--ca-cert", "--transfers", "--filter")
while arguments:
    word = arguments.pop(0)
    if word in (*VALUED, "--files-from"):
        options[word] = arguments.pop(0)
    elif word.startswith("-"):
        options[word] = True
    else:
        words.append(word)
with log.open("a") as file:
    file.write(json.dumps({"words": words, "environment": dict(os.environ)}) + "\\n")
if (root / "away").exists():
    sys.exit("2026/11/29 21:23:10 NOTICE: something\\n2026/11/29 21:23:11 Failed to list: dial tcp:\\n\\trefused")
verb, *places = words
algorithm = places.pop(0) if verb == "hashsum" else ""
places = [root / one[6:] if one.startswith("store:") else pathlib.Path(one) for one in places]
if verb in ("lsjson", "lsf", "purge") and not places[0].is_dir():
    print("[")
    sys.exit(3)
top = places[0]
given = sys.stdin.read().split("\\n") if "--files-from" in options else None
files = [path for path in top.rglob("*") if path.is_file()]
if given is not None:
    files = [top / one for one in given if one and (top / one).is_file()]
if verb == "lsjson":
    found = []
    for path in files:
        if "_uploads" in path.parts and "_manifests" not in path.parts:
            continue
        facts = path.stat()
        when = datetime.datetime.fromtimestamp(facts.st_mtime_ns // 10**9, datetime.timezone.utc)
        text = when.strftime("%Y-%m-%dT%H:%M:%S") + f".{facts.st_mtime_ns % 10**9:09}Z"
        one = {"Path": str(path.relative_to(top)), "Size": facts.st_size, "ModTime": text}
        if "--hash" in options:
            key = b"a key of its own" if (root / "encrypted").exists() else b""
            one["Hashes"] = {"md5": hashlib.md5(key + path.read_bytes()).hexdigest()}
        found.append(one)
    print(json.dumps(found))
elif verb == "lsf":
    for path in files if "-R" in options else top.iterdir():
        print(path.relative_to(top))
elif verb in ("copy", "move"):
    for path in files:
        place = places[1] / path.relative_to(top)
        if "--ignore-existing" in options and place.exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        if verb == "move":
            path.unlink()
elif verb == "delete":
    for path in files:
        path.unlink()
elif verb == "purge":
    shutil.rmtree(top)
elif verb == "hashsum":
    for path in files:
        print(f"{hashlib.new(algorithm, path.read_bytes()).hexdigest()}  {path.relative_to(top)}")
else:
    sys.exit(f"what is {verb}?")
"""


def install_rclone(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the buckets be what is in DIRECTORY/store, and DIRECTORY/log what was asked of them."""
    programs = directory / "bin"
    programs.mkdir()
    places = f"STORE, LOG = {str(directory / 'store')!r}, {str(directory / 'log')!r}"
    (programs / "rclone").write_text(f"#!{sys.executable} -IS\n{places}\n{RCLONE}")
    (programs / "rclone").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setattr(bucket, "has", lambda _: True)
    monkeypatch.setattr(bucket, "CACHE", directory / "cache")


class StoredBucket(StoredRegistry):
    """A bucket that the registry has written to."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make it, empty, and the program that reads it."""
        self.store, self.log = directory / "store", directory / "log"
        super().__init__(self.store / "wharf")
        install_rclone(directory, monkeypatch)

    def storage(self) -> bucket.Bucket:
        """Return it as it is now."""
        return bucket.Bucket(S3, "/etc/wharf/registry/credentials")

    def calls(self) -> list[str]:
        """Return how rclone was called since the last time, without its options."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [" ".join(json.loads(line)["words"]) for line in lines]


@pytest.fixture
def stored_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredBucket:
    """Return an empty bucket."""
    return StoredBucket(tmp_path, monkeypatch)

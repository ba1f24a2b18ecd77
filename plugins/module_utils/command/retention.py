"""Deletes old tags by rules: first a plan that a person reads, then just that.

    wharf apply-retention <RULES               shows what would go, and the plan's number
    wharf apply-retention --plan NUMBER <RULES deletes it, if it is still the same

RULES is a JSON list, see docs/apply-retention.md. A tag that goes takes no other tag with it, though they share an
image: the registry's API (version 2) deletes an image with all its tags, so this works on the storage itself, as
the registry's own code does when it removes a tag, while the registry refuses pushes. The space is free after
wharf-collect-garbage.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DamageError, WharfError
from ..lock import local_time
from ..storage import Storage
from ..text import human_bytes, pluralize
from .registry import (
    TRASH,
    Registry,
    all_tags,
    compare,
    run,
    served,
)

DAY = 86400


class Going(NamedTuple):
    """A tag that goes."""

    name: str
    tag: str
    digest: str
    pushed: int  # seconds since 1970
    why: str


def plan(storage: Storage, rules: list[dict[str, Any]], now: float) -> list[Going]:
    """Return the tags that go. For a repository the first rule whose pattern it matches decides; without one all stay.

    Args:
        storage: the registry's storage.
        rules: mappings with the keys repositories, keep_newest, keep_tags and older_than.
        now: seconds since 1970.

    """
    going = []
    for name in storage.repositories():
        number, rule = next(
            ((number, rule) for number, rule in enumerate(rules, start=1) if re.fullmatch(rule["repositories"], name)),
            (0, None),
        )
        if rule is None:
            continue
        named = rule.get("keep_tags")
        tags = {tag: digest for tag, digest in storage.tags(name).items() if not named or not re.fullmatch(named, tag)}
        pushed = {tag: storage.pushed(name, tag) for tag in tags}
        newest = rule.get("keep_newest", 1)
        days = rule.get("older_than")
        for tag in sorted(tags, key=lambda tag: (-pushed[tag], tag))[newest:]:
            if days is not None and now - pushed[tag] <= days * DAY:
                continue
            why = [f"not among the newest {newest}" if newest else ""]
            why += [
                f"older than {pluralize(days, 'day')}" if days is not None else "",
                "not in keep_tags" if named else "",
            ]
            going.append(
                Going(name, tag, tags[tag], int(pushed[tag]), f"rule {number}: {', '.join(filter(None, why))}")
            )
    return going


def number_of(going: list[Going], rules: list[dict[str, Any]]) -> str:
    """Return the plan's number, which changes with every tag that goes, its digest, its push, and with the rules."""
    text = json.dumps([[one[:4] for one in going], rules], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def revisions_that_go(storage: Storage, name: str, tags: set[str]) -> set[str]:
    """Return the manifests of a repository that go with some of its tags: what nothing else there leads to.

    Args:
        storage: the registry's storage.
        name: the repository.
        tags: those that go.

    """
    known, revisions = storage.tags(name), storage.revisions(name)
    doomed: set[str] = set()
    for digest in {known[tag] for tag in tags}:
        doomed.add(digest)
        with contextlib.suppress(DamageError):  # it goes, damaged or not
            doomed |= storage.closure(digest)
    doomed &= revisions
    roots = {digest for tag, digest in known.items() if tag not in tags} | (revisions - doomed)
    return doomed - closures(storage, name, roots & revisions)


def closures(storage: Storage, name: str, digests: Iterable[str]) -> set[str]:
    """Return all that some manifests of a repository need.

    Raises:
        WharfError: one cannot be read.

    """
    found: set[str] = set()
    for digest in digests:
        try:
            found |= storage.closure(digest)
        except DamageError as error:
            raise WharfError(f"{name}@{digest}: {error}: push that image again, or restore it from a backup") from None
    return found


def freed(storage: Storage, going: list[Going]) -> tuple[int, int]:
    """Return how many blobs and bytes a garbage collection will free once the tags are gone."""
    now: set[str] = set()
    then: set[str] = set()
    for name in storage.repositories():
        revisions = storage.revisions(name)
        tags = {one.tag for one in going if one.name == name}
        gone = revisions_that_go(storage, name, tags) if tags else set()
        for digest in gone:
            now.add(digest)
            with contextlib.suppress(DamageError):
                now |= storage.closure(digest)
        then |= closures(storage, name, revisions - gone)
    paths = [path for path in map(storage.blob_path, now - then) if path.is_file()]
    return len(paths), sum(path.stat().st_size for path in paths)


def show(going: list[Going]) -> None:
    """Print the tags that go, as a table."""
    head = ("repository", "tag", "pushed", "digest", "why")
    rows = [head, *((one.name, one.tag, local_time(one.pushed), one.digest[:19], one.why) for one in going)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]))


def delete(root: Path, storage: Storage, going: list[Going]) -> int:
    """Delete tags, and the manifests that nothing else leads to. Return how many manifests.

    Each goes at once, by a move: a tag that is half deleted would still be listed.
    """
    doomed = {
        name: revisions_that_go(storage, name, {one.tag for one in going if one.name == name})
        for name in sorted({one.name for one in going})
    }
    trash = root / TRASH
    trash.mkdir(mode=0o700)
    places = [storage.repository(one.name) / "_manifests/tags" / one.tag for one in going]
    for name, digests in doomed.items():
        revisions = storage.repository(name) / "_manifests/revisions"
        places += [revisions.joinpath(*digest.split(":")) for digest in sorted(digests)]
    for number, place in enumerate(places):
        place.rename(trash / str(number))
    shutil.rmtree(trash)
    return len(places) - len(going)


def work(registry: Registry, rules: list[dict[str, Any]], asked: str) -> str:
    """Show the plan, or carry it out; return the line that is kept as the result."""
    if asked and registry.mend():
        print("an earlier run was cut off: the registry is back as it was")
    storage = registry.storage
    going = plan(storage, rules, time.time())
    tags = all_tags(storage)
    if not going:
        print(f"nothing to delete: by these rules {pluralize(len(tags), 'tag')} stay")
        if asked:
            raise WharfError(f"there is no plan {asked} any more")
        return "nothing to delete"
    number = number_of(going, rules)
    show(going)
    if asked != number:
        blobs, size = freed(storage, going)
        print(f"{len(going)} of {pluralize(len(tags), 'tag')} would be deleted")
        print(f"a garbage collection would then free {pluralize(blobs, 'blob')}, {human_bytes(size)}")
        print(f"plan: {number}")
        if asked:
            raise WharfError(
                f"plan {asked} is not what would be deleted now, so nothing was deleted: read the new plan"
            )
        return ""

    registry.demand()
    problems = list(storage.problems())
    gone = {(one.name, one.tag) for one in going}
    with registry.client_for_a_while() as client:
        with registry.read_only() as times:
            storage = registry.storage
            # What was pushed since counts.
            if number_of(plan(storage, rules, time.time()), rules) != asked:
                raise WharfError("something was pushed at this moment, so nothing was deleted: read the new plan")
            kept = {key: digest for key, digest in all_tags(storage).items() if key not in gone}
            answers = served(client, kept)
            manifests = delete(registry.root, storage, going)
        compare("in the storage", kept, all_tags(registry.storage))
        compare("for a client", answers, served(client, kept))
        if still := [key for key, answer in served(client, dict.fromkeys(gone, "")).items() if "404" not in answer]:
            raise WharfError(f"{still[0][0]}:{still[0][1]} is still served")
    if new := [problem for problem in registry.storage.problems() if problem not in problems]:
        raise WharfError(f"the storage was damaged: {new[0]}: restore it from a backup")
    print(f"deleted {pluralize(len(going), 'tag')} and {pluralize(manifests, 'manifest')}")
    print(f"kept: {pluralize(len(kept), 'tag')}, each with its digest")
    print(f"refused pushes for {times['read_only']:.1f} s; did not answer for {times['gaps']:.1f} s, in two parts")
    return f"deleted {pluralize(len(going), 'tag')}"


def main(arguments: list[str]) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--plan", default="", metavar="NUMBER", help="delete what this plan says")
    options = parser.parse_args(arguments)
    rules = json.load(sys.stdin)
    return run(
        "apply-retention",
        lambda registry: work(registry, rules, options.plan),
        wait=0,
        record=bool(options.plan),
    )

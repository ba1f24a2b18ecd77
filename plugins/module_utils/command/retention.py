"""Delete old tags by rules: first a plan that a person reads, then just that.

RULES is a JSON list on standard input, see docs/apply-retention.md. Without --plan the plan and its number are shown;
with it the plan is carried out, if it is still the same. `wharf collect-garbage` frees the space.

A tag that is deleted takes no other tag with it, though they share an image: the registry's API (version 2) deletes an
image with all its tags, so this works on the storage itself, as the registry's own code does when it removes a tag,
while pushes wait.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..bucket import Bucket
from ..errors import DamageError, WharfError, message_of
from ..lock import local_time
from ..manifests import subject
from ..storage import Storage
from ..text import human_bytes, pluralize, table
from .cli import Task, add_held, add_wait
from .read_only import TRASH, changing, clean_up
from .registry import Registry

DAY = 86400
# Tags that no image has: of a signature, attestation or SBOM, or of the index of all that belongs to a manifest.
SURELY_ATTACHED = re.compile(r"sha\d+-[0-9a-f]+(\.(sig|att|sbom))?")


class Candidate(NamedTuple):
    """A tag that the rules let go."""

    name: str
    tag: str
    digest: str
    pushed: int  # seconds since 1970
    reason: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_held(parser)
    parser.add_argument("--plan", default="", metavar="NUMBER", help="delete what this plan names")
    add_wait(parser)


def run(task: Task) -> str:
    """Show the plan, or carry it out."""
    rules = [read_rule(rule) for rule in json.load(sys.stdin)]
    wanted = task.options.plan
    task.record = bool(wanted)
    with task.lock():
        registry = Registry.readable()
        if wanted:
            registry.require_held(task.options.held, "apply-retention")
            clean_up(registry, task, "an earlier run was cut off: the registry is as it was before it")
        storage = registry.storage
        candidates, count = find_candidates(storage, rules, time.time()), len(storage.all_tags())
        if not candidates:
            task.line(f"nothing to delete: these rules keep {pluralize(count, 'tag')}")
            if wanted:
                raise WharfError(f"there is no plan {wanted} any more")
            return ""
        number = plan_number(candidates, rules)
        show(task, candidates)
        if wanted == number:
            return carry_out(task, registry, candidates, rules)
        blobs, size = freed(storage, candidates)
        task.line(f"{len(candidates)} of {pluralize(count, 'tag')} would be deleted")
        task.line(f"a garbage collection would then free {pluralize(blobs, 'blob')}, {human_bytes(size)}")
        task.line(f"plan: {number}")
        task.result["plan"] = number
        if wanted:
            raise WharfError(
                f"plan {wanted} is not what would be deleted now, so nothing was deleted: read the new plan"
            )
        return ""


def carry_out(task: Task, registry: Registry, candidates: list[Candidate], rules: list[dict[str, Any]]) -> str:
    """Delete what the plan names; return the message."""
    registry.preflight(task.options.held)
    message = f"deleted {pluralize(len(candidates), 'tag')}"
    deleted = {(one.name, one.tag) for one in candidates}
    with changing(registry, task, dict(registry.storage.damage()), deleted, task.options.held):
        storage = registry.storage
        # What was pushed since counts.
        if plan_number(find_candidates(storage, rules, time.time()), rules) != task.options.plan:
            raise WharfError("something was pushed at this moment, so nothing was deleted: read the new plan")
        registry.require_held(task.options.held, "apply-retention")  # still
        manifests = delete(storage, candidates)
        task.result["changed"] = True
        task.line(f"{message} and {pluralize(manifests, 'manifest')}")
    return message


def read_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule as the inventory means it: null is nothing, and a number may arrive as text."""
    given = {key: value for key, value in rule.items() if value is not None}
    return {key: int(value) if key in ("keep_newest", "older_than") else value for key, value in given.items()}


# The plan -----------------------------------------------------------------------------------------


class Repository:
    """A repository, its tags, and the rule that decides about them: the first one that matches its name.

    Attributes:
        attached: the tags of what belongs to a manifest, such as its signatures, and that manifest's digest; without a
            rule nobody asks.
        deletable: the tags that the rule does not keep by their names; none without a rule.
    """

    def __init__(self, storage: Storage, name: str, rules: list[dict[str, Any]], stored: set[str]) -> None:
        """Read it. `stored` are the manifests of all repositories."""
        self.storage, self.name, self.stored = storage, name, stored
        self.tags, self.revisions = storage.tags(name), storage.revisions(name)
        number = next((n for n, rule in enumerate(rules) if re.fullmatch(rule["repositories"], name)), None)
        self.rule, self.which = ({}, "") if number is None else (rules[number], f"rule {number + 1}")
        ruled = self.tags if self.which else {}  # of the others no manifest is read
        subjects = {tag: subject(storage.readable(digest), tag) for tag, digest in ruled.items()}
        self.attached = {
            tag: of for tag, of in subjects.items() if of in stored or (of and SURELY_ATTACHED.fullmatch(tag))
        }
        kept = self.rule.get("keep_tags") or "(?!)"
        self.deletable = [tag for tag in sorted(self.tags) if number is not None and not re.fullmatch(kept, tag)]

    def candidate(self, tag: str, reason: str) -> Candidate:
        """Return a tag as one to delete."""
        pushed = int(self.storage.pushed(self.name, tag))
        return Candidate(self.name, tag, self.tags[tag], pushed, f"{self.which}: {reason}")

    def candidates(self, now: float) -> Iterator[Candidate]:
        """Yield the tags that the rule lets go, and what belongs to images that are gone already."""
        newest, days = self.rule.get("keep_newest", 1), self.rule.get("older_than")
        reasons = [f"not among the newest {newest}"] if newest else []
        reasons += [f"older than {pluralize(days, 'day')}"] if days is not None else []
        reasons += ["not in keep_tags"] if self.rule.get("keep_tags") else []
        pushed = {tag: self.storage.pushed(self.name, tag) for tag in self.deletable}
        images = sorted((-pushed[tag], tag) for tag in self.deletable if tag not in self.attached)
        for _, tag in images[newest:]:
            if days is None or now - pushed[tag] > days * DAY:
                yield self.candidate(tag, ", ".join(reasons))
        # Where there are only signatures, their images may be in another registry. A copy may bring a signature first.
        for tag in self.deletable if self.tags.keys() - self.attached.keys() else []:
            is_orphan = tag in self.attached and self.attached[tag] not in self.stored
            if is_orphan and now - pushed[tag] > max(days or 0, 1) * DAY:
                yield self.candidate(tag, "the image that it belongs to is gone")

    def follow(self, gone: dict[str, set[str]], where: dict[str, set[str]]) -> Iterator[Candidate]:
        """Yield the tags of what belongs to manifests that go.

        Args:
            gone: the manifests that go, by their repositories.
            where: the repositories that have a manifest.
        """
        for tag in self.deletable:
            of = self.attached.get(tag, "")
            # Signatures may be kept in a repository of their own.
            places = {self.name} if of in self.revisions else where.get(of, set())
            if places and all(of in gone.get(place, set()) for place in places):
                yield self.candidate(tag, f"belongs to {of[:19]}, which goes")


def find_candidates(storage: Storage, rules: list[dict[str, Any]], now: float) -> list[Candidate]:
    """Return the tags to delete. The first rule that matches a repository's name decides; without one it keeps all.

    What belongs to an image, such as its signatures, does not count as an image: it stays and goes with it.
    """
    where: dict[str, set[str]] = {}
    for name in storage.repositories():
        for digest in storage.revisions(name):
            where.setdefault(digest, set()).add(name)
    stored = set(where)
    repositories = [Repository(storage, name, rules, stored) for name in storage.repositories()]
    candidates = [candidate for repository in repositories for candidate in repository.candidates(now)]
    found = candidates
    while found:  # what belongs to them, and what belongs to that
        gone = unreferenced_manifests(storage, candidates)
        known = {one[:2] for one in candidates}
        following = (candidate for repository in repositories for candidate in repository.follow(gone, where))
        found = [candidate for candidate in following if candidate[:2] not in known]
        candidates += found
    return candidates


def plan_number(candidates: list[Candidate], rules: list[dict[str, Any]]) -> str:
    """Return the plan's number, which changes with every tag in it, its digest, its push, and with the rules."""
    text = json.dumps([[candidate[:4] for candidate in candidates], rules], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def show(task: Task, candidates: list[Candidate]) -> None:
    """Print the tags of a plan as a table."""
    task.result["tags"] = [candidate._asdict() for candidate in candidates]
    rows = [(one.name, one.tag, local_time(one.pushed), one.digest[:19], one.reason) for one in candidates]
    for line in table([("repository", "tag", "pushed", "digest", "reason"), *rows]):
        task.line(line)


# What it takes with it ----------------------------------------------------------------------------


def unreferenced_manifests(storage: Storage, candidates: list[Candidate]) -> dict[str, set[str]]:
    """Return the manifests to which nothing leads any more once the tags are deleted, by their repositories."""
    found: dict[str, set[str]] = {}
    for name in {one.name for one in candidates}:
        tags, revisions = storage.tags(name), storage.revisions(name)
        deleted = {one.tag for one in candidates if one.name == name}
        tagged = {digest for tag, digest in tags.items() if tag not in deleted} & revisions
        stays = closures(storage, name, tagged)
        roots, more = set(), {tags[tag] for tag in deleted}
        while more:
            roots |= more
            # They are deleted, damaged or not.
            gone = closures(storage, name, roots, damaged=True) & revisions
            found[name] = gone - stays - closures(storage, name, revisions - gone, damaged=True)
            # What has no tag and belongs to them.
            others = revisions - gone - stays
            more = {digest for digest in others if subject(storage.readable(digest)) in found[name]}
    return found


def closures(storage: Storage, name: str, digests: Iterable[str], damaged: bool = False) -> set[str]:
    """Return all that some manifests of a repository need, themselves included.

    One that cannot be read needs only itself if it may be damaged, and is a WharfError otherwise.
    """
    found = set(digests)
    for digest in digests:
        try:
            found |= storage.closure(digest, damaged)
        except DamageError as error:
            if not damaged:
                raise WharfError(
                    f"{name}@{digest}: {error}: push that image again, or restore it from a backup"
                ) from None
    return found


def freed(storage: Storage, candidates: list[Candidate]) -> tuple[int, int]:
    """Return how many blobs and bytes a garbage collection will free once the tags are deleted."""
    unreferenced = unreferenced_manifests(storage, candidates)
    blobs: set[str] = set()
    for name, digests in unreferenced.items():
        blobs |= closures(storage, name, digests, damaged=True)
    for name in storage.repositories() if blobs else []:
        blobs -= closures(storage, name, storage.revisions(name) - unreferenced.get(name, set()), damaged=True)
    sizes = [size for size in map(storage.size, blobs) if size is not None]
    return len(sizes), sum(sizes)


def delete(storage: Storage, candidates: list[Candidate]) -> int:
    """Delete tags, and the manifests that nothing else leads to. Return how many manifests.

    Raises:
        WharfError: one of them cannot be; the others are in their places again, in files.
    """
    paths = [storage.repository(one.name) / "_manifests/tags" / one.tag for one in candidates]
    for name, digests in sorted(unreferenced_manifests(storage, candidates).items()):
        paths += [storage.revision(name, digest) for digest in sorted(digests)]
    if isinstance(storage, Bucket):
        # At any time a tag is whole, or gone; and none leads to a manifest that is gone.
        objects = [path for one in paths for path in storage.objects_in(one)]
        tags = [path for path in objects if path.endswith("/current/link")]
        manifests = [path for path in objects if "/_manifests/revisions/" in path]
        for some in (set(objects).difference(tags, manifests), tags, manifests):
            storage.delete(some)
        return len(paths) - len(candidates)
    trash = storage.top.parents[2] / TRASH
    moved: list[tuple[Path, Path]] = []
    with storage.as_owner():
        trash.mkdir(mode=0o700)
        try:
            # Each goes at once: a tag that is half deleted would still be listed.
            for number, path in enumerate(paths):
                path.rename(trash / str(number))
                moved.append((trash / str(number), path))
        except BaseException as error:
            for place, path in reversed(moved):
                place.rename(path)
            trash.rmdir()
            if isinstance(error, OSError):
                raise WharfError(f"{message_of(error)}: nothing was deleted") from None
            raise
        shutil.rmtree(trash, ignore_errors=True)  # the next run removes what is left of it
    return len(paths) - len(candidates)

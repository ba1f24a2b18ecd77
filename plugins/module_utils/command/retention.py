"""Delete old tags by rules: first a plan that a person reads, then just that.

RULES is a JSON list on standard input, see docs/apply-retention.md. Without --plan the plan and its number are shown;
with it the plan is carried out, if it is still the same. `wharf collect-garbage` frees the space.

A tag that is deleted takes no other tag with it, though they share an image: the registry's API (version 2) deletes an
image with all its tags, so this works on the storage itself, as the registry's own code does when it removes a tag,
while the registry refuses pushes.
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
from ..text import human_bytes, pluralize, table
from .checks import require_same, tags_served
from .locked import run_locked
from .options import Output, add_json, add_wait
from .read_only import TRASH, clean_up, interruption, read_only, temporary_client
from .registry import Registry

DAY = 86400


class Candidate(NamedTuple):
    """A tag that the rules let go."""

    name: str
    tag: str
    digest: str
    pushed: int  # seconds since 1970
    reason: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--plan", default="", metavar="NUMBER", help="delete what this plan names")
    add_wait(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Show the plan or carry it out; return the exit code."""
    rules = [read_rule(rule) for rule in json.load(sys.stdin)]
    output = Output(options.json)
    code = run_locked(
        options.subcommand,
        lambda: apply_retention(Registry(), rules, options.plan, output),
        options.wait,
        record=bool(options.plan),
    )
    output.close()
    return code


def apply_retention(registry: Registry, rules: list[dict[str, Any]], wanted: str, output: Output) -> str:
    """Show the plan, or carry it out; return the line that is kept as the result.

    Args:
        registry: the registry.
        rules: see find_candidates.
        wanted: the number of the plan to carry out; empty to show it.
        output: where the lines go.
    """
    if wanted and clean_up(registry):
        output.line("an earlier run was cut off: the registry is as it was before it")
    storage = registry.storage
    candidates = find_candidates(storage, rules, time.time())
    tags = storage.all_tags()
    if not candidates:
        output.line(f"nothing to delete: these rules keep {pluralize(len(tags), 'tag')}")
        if wanted:
            raise WharfError(f"there is no plan {wanted} any more")
        return "nothing to delete"
    number = plan_number(candidates, rules)
    show(candidates, output)
    if wanted != number:
        blobs, size = freed(storage, candidates)
        output.line(f"{len(candidates)} of {pluralize(len(tags), 'tag')} would be deleted")
        output.line(f"a garbage collection would then free {pluralize(blobs, 'blob')}, {human_bytes(size)}")
        output.line(f"plan: {number}")
        output.result["plan"] = number
        if wanted:
            raise WharfError(
                f"plan {wanted} is not what would be deleted now, so nothing was deleted: read the new plan"
            )
        return ""

    registry.preflight()
    problems = list(storage.problems())
    deleted = {(candidate.name, candidate.tag) for candidate in candidates}
    with temporary_client(registry) as client:
        with read_only(registry) as times:
            storage = registry.storage
            # What was pushed since counts.
            if plan_number(find_candidates(storage, rules, time.time()), rules) != wanted:
                raise WharfError("something was pushed at this moment, so nothing was deleted: read the new plan")
            kept = {key: digest for key, digest in storage.all_tags().items() if key not in deleted}
            answers = tags_served(client, kept)
            output.result["changed"] = True
            manifests = delete(registry.root, storage, candidates)
        require_same("in the storage", kept, registry.storage.all_tags())
        require_same("for a client", answers, tags_served(client, kept))
        after = tags_served(client, dict.fromkeys(deleted, ""))
        if still := [key for key, answer in after.items() if "404" not in answer]:
            raise WharfError(f"{still[0][0]}:{still[0][1]} is still served")
    if new := [problem for problem in registry.storage.problems() if problem not in problems]:
        raise WharfError(f"the storage was damaged: {new[0]}: restore it from a backup")
    output.line(f"deleted {pluralize(len(candidates), 'tag')} and {pluralize(manifests, 'manifest')}")
    output.line(f"kept: {pluralize(len(kept), 'tag')}, each with its digest")
    output.line(interruption(times))
    return f"deleted {pluralize(len(candidates), 'tag')}"


def read_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule as the inventory means it: null is nothing, and a number may arrive as text."""
    given = {key: value for key, value in rule.items() if value is not None}
    return {key: int(value) if key in ("keep_newest", "older_than") else value for key, value in given.items()}


# The plan -----------------------------------------------------------------------------------------


def find_candidates(storage: Storage, rules: list[dict[str, Any]], now: float) -> list[Candidate]:
    """Return the tags to delete. The first rule that matches a repository's name decides; without one it keeps all.

    Args:
        storage: the registry's storage.
        rules: mappings with the keys repositories, keep_newest, keep_tags and older_than.
        now: seconds since 1970.
    """
    candidates = []
    for name in storage.repositories():
        for number, rule in enumerate(rules, start=1):
            if re.fullmatch(rule["repositories"], name):
                candidates += _candidates_of(storage, name, rule, f"rule {number}", now)
                break
    return candidates


def _candidates_of(storage: Storage, name: str, rule: dict[str, Any], which: str, now: float) -> list[Candidate]:
    """Return the tags of one repository that one rule does not keep."""
    protected, newest, days = rule.get("keep_tags"), rule.get("keep_newest", 1), rule.get("older_than")
    tags = {
        tag: digest for tag, digest in storage.tags(name).items() if not protected or not re.fullmatch(protected, tag)
    }
    pushed = {tag: storage.pushed(name, tag) for tag in tags}
    reasons = [f"not among the newest {newest}"] if newest else []
    reasons += [f"older than {pluralize(days, 'day')}"] if days is not None else []
    reasons += ["not in keep_tags"] if protected else []
    reason = f"{which}: {', '.join(reasons)}"
    return [
        Candidate(name, tag, tags[tag], int(pushed[tag]), reason)
        for tag in sorted(tags, key=lambda tag: (-pushed[tag], tag))[newest:]
        if days is None or now - pushed[tag] > days * DAY
    ]


def plan_number(candidates: list[Candidate], rules: list[dict[str, Any]]) -> str:
    """Return the plan's number, which changes with every tag in it, its digest, its push, and with the rules."""
    text = json.dumps([[candidate[:4] for candidate in candidates], rules], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def show(candidates: list[Candidate], output: Output) -> None:
    """Print the tags of a plan as a table."""
    output.result["tags"] = [candidate._asdict() for candidate in candidates]
    rows = [(one.name, one.tag, local_time(one.pushed), one.digest[:19], one.reason) for one in candidates]
    for line in table([("repository", "tag", "pushed", "digest", "reason"), *rows]):
        output.line(line)


# What it takes with it ----------------------------------------------------------------------------


def unreferenced_manifests(storage: Storage, name: str, tags: set[str]) -> set[str]:
    """Return the manifests of a repository that nothing leads to any more without some of its tags.

    Args:
        storage: the registry's storage.
        name: the repository.
        tags: those to delete.
    """
    digests, revisions = storage.tags(name), storage.revisions(name)
    unreferenced: set[str] = set()
    for digest in {digests[tag] for tag in tags}:
        unreferenced.add(digest)
        with contextlib.suppress(DamageError):  # it is deleted, damaged or not
            unreferenced |= storage.closure(digest)
    unreferenced &= revisions
    kept = {digest for tag, digest in digests.items() if tag not in tags} | (revisions - unreferenced)
    return unreferenced - closures(storage, name, kept & revisions)


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


def freed(storage: Storage, candidates: list[Candidate]) -> tuple[int, int]:
    """Return how many blobs and bytes a garbage collection will free once the tags are deleted."""
    needed_now: set[str] = set()
    needed_then: set[str] = set()
    for name in storage.repositories():
        revisions = storage.revisions(name)
        tags = {one.tag for one in candidates if one.name == name}
        unreferenced = unreferenced_manifests(storage, name, tags) if tags else set()
        for digest in unreferenced:
            needed_now.add(digest)
            with contextlib.suppress(DamageError):
                needed_now |= storage.closure(digest)
        needed_then |= closures(storage, name, revisions - unreferenced)
    paths = [path for path in map(storage.blob_path, needed_now - needed_then) if path.is_file()]
    return len(paths), sum(path.stat().st_size for path in paths)


def delete(root: Path, storage: Storage, candidates: list[Candidate]) -> int:
    """Delete tags, and the manifests that nothing else leads to. Return how many manifests.

    Each goes at once, by a move: a tag that is half deleted would still be listed.
    """
    tags: dict[str, set[str]] = {}
    for one in candidates:
        tags.setdefault(one.name, set()).add(one.tag)
    paths = [storage.repository(one.name) / "_manifests/tags" / one.tag for one in candidates]
    for name in sorted(tags):
        revisions = storage.repository(name) / "_manifests/revisions"
        digests = sorted(unreferenced_manifests(storage, name, tags[name]))
        paths += [revisions.joinpath(*digest.split(":")) for digest in digests]
    trash = root / TRASH
    trash.mkdir(mode=0o700)
    for number, path in enumerate(paths):
        path.rename(trash / str(number))
    shutil.rmtree(trash)
    return len(paths) - len(candidates)

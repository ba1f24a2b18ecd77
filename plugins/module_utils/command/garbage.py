"""Delete what no image needs any more. No image is lost, whatever happens.

The registry's own collection is asked what it would delete; nothing goes on if a single image needs any of it. Then
pushes wait while it collects, pulls go on, and it is tested afterwards with a push and a pull. Every tag must lead to
the digest that it led to before. What a push has brought already, and its manifest does not name yet, stays.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from ..containers import cli
from ..errors import DamageError, WharfError
from ..lock import held_for
from ..manifests import blobs, children
from ..storage import Storage
from ..text import human_bytes, pluralize
from .cli import Task, add_held, add_wait
from .read_only import changing, clean_up, container_options, set_aside
from .registry import Registry

SHOWN = 20  # blobs that are listed one by one
HELD_SPARE = 60  # seconds before pushes go on at which a collection on several servers is ended
PUSH = 3600  # seconds for which what a push has brought may wait for its manifest
ELIGIBLE = re.compile(r"^blob eligible for deletion: (\S+)$", re.MULTILINE)
SUMMARY = re.compile(r"(\d+) blobs marked, (\d+) blobs and (\d+) manifests eligible for deletion")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_held(parser)
    parser.add_argument("--dry-run", action="store_true", help="only show what would be deleted, and how much")
    parser.add_argument(
        "--delete-untagged",
        action=argparse.BooleanOptionalAction,
        help="also delete manifests without a tag (as wharf_delete_untagged in the inventory)",
    )
    parser.add_argument("--recover", action="store_true", help="only clean up after a run that was killed")
    add_wait(parser)


def run(task: Task) -> str:
    """Collect, or clean up."""
    options = task.options
    task.record = not (options.dry_run or options.recover)
    with task.lock():
        registry = Registry.readable()
        if options.recover:
            clean_up(registry, task, "the registry is as it was")
            return ""
        if not options.dry_run:
            registry.require_held(options.held, "collect-garbage")
            clean_up(registry, task, "an earlier run was cut off: the registry is as it was before it")
        untagged = registry.delete_untagged if options.delete_untagged is None else options.delete_untagged
        return collect_garbage(task, registry, untagged)


def collect_garbage(task: Task, registry: Registry, delete_untagged: bool) -> str:
    """Collect; return the message."""
    registry.preflight(task.options.held)
    damage = dict(registry.storage.damage())
    for sentence, is_tagged in damage.items():
        task.line(f"warning: {sentence}{'' if is_tagged else ' (no tag leads there)'}")
    problems = sum(damage.values())
    also = f"; {pluralize(problems, 'problem')} in the storage" if problems else ""
    if delete_untagged:
        refuse_untagged(registry)
    start = time.monotonic()
    candidates, begun = find_garbage(registry, delete_untagged)
    if task.options.held and held_for() - HELD_SPARE < (took := time.monotonic() - start) * 1.2:
        raise WharfError(
            f"to look took {took:.0f} s, and to delete takes longer than pushes are still held, {held_for():.0f} s:"
            " nothing was deleted; docs/collect-garbage.md tells what to do with so many repositories"
        )
    if task.options.dry_run:
        show(task, candidates, "would be deleted")
        show_begun(task, begun)
        return ""
    if not candidates:
        show_begun(task, begun)
        task.line("nothing to collect: the registry was left alone")
        task.bytes = 0
        return f"nothing to collect{also}"
    with changing(registry, task, damage, is_held=task.options.held):
        if not task.options.held:  # what was pushed since has changed what is unreferenced
            candidates, begun = find_garbage(registry, delete_untagged)
        try:
            registry.require_held(task.options.held, "collect-garbage")
            with set_aside(registry, begun):
                registrys_collection(registry, delete_untagged, dry_run=False, is_held=task.options.held)
        finally:  # it may have failed half way
            storage = registry.storage
            gone = {digest: size for digest, size in candidates.items() if not storage.exists(digest)}
            task.result["changed"] = bool(gone)
            show(task, gone, "deleted")
            show_begun(task, begun)
    task.bytes = sum(candidates.values())
    return f"deleted {pluralize(len(candidates), 'blob')}, {human_bytes(task.bytes)}{also}"


def find_garbage(registry: Registry, delete_untagged: bool) -> tuple[dict[str, int], set[Path]]:
    """Return what is to be deleted, digest to bytes, and the files of pushes that have begun, which must stay."""
    storage, candidates = registry.storage, find_candidates(registry, delete_untagged)
    files = set(begun_pushes(storage, candidates, time.time() - PUSH))
    return {one: size for one, size in candidates.items() if storage.blob_path(one) not in files}, files


def begun_pushes(storage: Storage, candidates: dict[str, int], since: float) -> Iterator[Path]:
    """Yield the files of pushes that have begun, whose manifests are still to come: blobs, and links to blobs.

    A push has brought what has a link that is younger than all manifests that name it: the link of a blob is written
    when it is uploaded, also where it is there already, or mounted. So an image whose tag was deleted is garbage at
    once, because its manifest is still there. Version 3 deletes such links as well, to blobs that others need, too.

    Args:
        storage: the registry's storage.
        candidates: what a collection would delete, digest to bytes.
        since: when the oldest push that counts has brought the first of it, in seconds since 1970.
    """
    named: dict[str, float] = {}  # what manifests among the candidates name, and when the last of these was stored
    small = storage.likely_manifests(candidates)
    storage.fetch(small)
    for digest in small:
        manifest, stored = storage.readable(digest), storage.modified(storage.blob_path(digest))
        for descriptor in children(manifest) + blobs(manifest):
            named[descriptor["digest"]] = max(stored, named.get(descriptor["digest"], 0))
    storage.manifest.cache_clear()  # configurations are JSON as well, and there may be thousands
    for name in storage.repositories():
        revisions, tags = storage.revisions(name), storage.tag_names(name)
        brought = {one for one, when in storage.linked_since(name, since).items() if when > named.get(one, 0)}
        for digest in revisions & candidates.keys():  # the index that names it may be still to come
            link, history = storage.revision(name, digest) / "link", f"index/{digest.replace(':', '/')}"
            if storage.modified(link) > max(since, named.get(digest, 0)) and not any(
                storage.is_there(storage.tag_link(name, tag).parents[1] / history) for tag in tags
            ):
                brought |= storage.closure(digest, damaged=True)
        brought = {one for one in brought if storage.exists(one)}
        yield from map(storage.blob_path, brought & candidates.keys())
        if others := brought - candidates.keys():
            manifests = map(storage.readable, revisions - candidates.keys())
            needed = {blob["digest"] for manifest in manifests for blob in blobs(manifest)}
            yield from filter(storage.is_there, (storage.layer_link(name, digest) for digest in others - needed))


def find_candidates(registry: Registry, delete_untagged: bool) -> dict[str, int]:
    """Return what a collection would delete, digest to bytes. Raises WharfError where an image needs some of it."""
    before: Collection[str] | None = None
    while True:
        candidates = registrys_collection(registry, delete_untagged, dry_run=True)
        referenced = find_referenced(registry.storage, untagged=not delete_untagged)
        wanted = [digest for digest in candidates if digest in referenced and digest in (before or referenced)]
        if not wanted:
            return {digest: size for digest, size in candidates.items() if digest not in referenced}
        if before:
            break
        before = wanted  # if it was a push that made use of it meanwhile, it is not among the next candidates
    more = f", and {len(wanted) - 1} more" if len(wanted) > 1 else ""
    raise WharfError(
        f"the registry's own collection would delete {wanted[0]}, which {referenced[wanted[0]]} needs{more}."
        " Nothing was deleted. Push the image again, or restore it from a backup"
    )


def registrys_collection(
    registry: Registry, delete_untagged: bool, dry_run: bool, is_held: bool = False
) -> dict[str, int]:
    """Let the registry collect, or tell what it would delete; return that, digest to bytes. Raises WharfError.

    While pushes are held on several servers, it ends before the first of them goes on.
    """
    name = registry.dry_run_collector if dry_run else registry.collector
    words = [
        *("--name", name, *container_options(registry, ":ro" if dry_run else "")),
        *(registry.inspected["Image"], "garbage-collect"),
        *(["--dry-run"] if dry_run else []),
        *(["--delete-untagged"] if delete_untagged else []),
        # As the registry's own container is started, so with its configuration.
        *registry.inspected["Config"]["Cmd"][1:],
    ]
    sizes = registry.storage.blob_sizes() if dry_run else {}
    try:
        if dry_run:
            cli("rm", "--force", name, check=False)
            output = cli("run", "--rm", *words)
        else:
            # In two steps, so that it cannot start once this program has been stopped. recover() removes it.
            cli("create", *words)
            output = cli("start", "--attach", name, **({"timeout": held_for() - HELD_SPARE} if is_held else {}))
    except WharfError as error:
        if is_held:  # it may go on by itself
            cli("rm", "--force", name, check=False)
        raise WharfError(
            f"the registry's own collection failed: {error}. {remedy(registry.storage)}".rstrip(". ")
        ) from None
    summary, digests = SUMMARY.search(output), ELIGIBLE.findall(output)
    if summary is None or int(summary[2]) != len(digests):
        raise WharfError("the output of the registry's own collection is not understood: is this a new version of it?")
    return {digest: sizes.get(digest, 0) for digest in digests}


def remedy(storage: Storage) -> str:
    """Return what to do about manifests that cannot be read, at which the registry's own collection fails."""
    links = [
        str(storage.revision(name, digest))
        for name in storage.repositories()
        for digest in sorted(storage.revisions(name) - storage.tagged(name))
        if not storage.readable(digest)
    ]
    if not links:
        return ""
    left = " ".join(links)
    return f"There are manifests that cannot be read, and no tag leads there: remove what is left of them, {left}"


def find_referenced(storage: Storage, untagged: bool) -> dict[str, str]:
    """Return what must stay, by our own reading: digest to the image that needs it.

    Args:
        storage: the registry's storage.
        untagged: whether manifests without a tag count as images.
    """
    referenced: dict[str, str] = {}
    for name in storage.repositories():
        revisions = storage.revisions(name)
        images = {digest: f"{name}@{digest}" for digest in revisions} if untagged else {}
        for tag, digest in storage.tags(name).items():
            # A tag whose image is gone needs nothing any more. It is reported as damage.
            if digest in revisions or storage.exists(digest):
                images[digest] = f"{name}:{tag}"
        for digest, image in images.items():
            try:
                # What no tag leads to may be damaged: nobody can pull it whole.
                for needed in storage.closure(digest, damaged="@" in image):
                    referenced.setdefault(needed, image)
            except DamageError as error:
                raise WharfError(
                    f"{image}: {error}, so that nobody can tell what belongs to it. Nothing was deleted. Push the image"
                    " again, or restore it from a backup"
                ) from None
    return referenced


def refuse_untagged(registry: Registry) -> None:
    """Refuse what a registry of version 2 would do: delete the parts of an index, which have no tags of their own."""
    storage = registry.storage
    images = ((name, digest) for name in storage.repositories() for digest in sorted(storage.revisions(name)))
    index = next((f"{name}@{digest}" for name, digest in images if children(storage.readable(digest))), "")
    if index and not re.match("[3-9]", version := registry.version() or "unknown"):
        raise WharfError(
            f"--delete-untagged (wharf_delete_untagged) is refused: the registry's version {version} would delete the"
            f" parts of the multi-arch image {index}. Set it to false, or use version 3 of the registry"
        )


def show_begun(task: Task, files: set[Path]) -> None:
    """Print how much stays because pushes have begun."""
    if kept := sum(file.name == "data" for file in files):
        task.line(f"kept: {pluralize(kept, 'blob')} of pushes that have begun")


def show(task: Task, candidates: dict[str, int], verb: str) -> None:
    """Print what is deleted, the largest first."""
    task.result["blobs"] = candidates
    task.line(f"{verb}: {pluralize(len(candidates), 'blob')}, {human_bytes(sum(candidates.values()))}")
    for digest, size in sorted(candidates.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]:
        task.line(f"  {digest}  {human_bytes(size)}")
    if len(candidates) > SHOWN:
        task.line(f"  and {len(candidates) - SHOWN} more")

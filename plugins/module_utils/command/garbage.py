"""Collects the registry's garbage: blobs that no image needs any more. No image is lost, whatever happens.

    wharf collect-garbage [--dry-run] [--[no-]delete-untagged] [--wait SECONDS]
    wharf collect-garbage --bring-back

The registry's own collection is asked what it would delete; nothing goes on if a single image needs any of it. Then the
registry refuses pushes while it collects, serves pulls all the time but for two short moments, and afterwards proves
itself by a push and a pull. Every tag must lead to the digest that it led to before.

--bring-back mends what a run left behind that was killed.
"""

from __future__ import annotations

import argparse
import re

from ..errors import DamageError, WharfError
from ..manifests import children
from ..storage import Storage
from ..text import human_bytes, pluralize
from .registry import (
    Registry,
    all_tags,
    call,
    compare,
    docker,
    run,
    served,
)

SHOWN = 20  # blobs that are listed one by one
ELIGIBLE = re.compile(r"^blob eligible for deletion: (\S+)$", re.MULTILINE)
SUMMARY = re.compile(r"(\d+) blobs marked, (\d+) blobs and (\d+) manifests eligible for deletion")


def needed(storage: Storage, untagged_too: bool) -> dict[str, str]:
    """Return what must stay, by our own reading: digest to the image that needs it.

    Args:
        storage: the registry's storage.
        untagged_too: whether manifests without a tag count as images.

    Raises:
        WharfError: a manifest cannot be read, so that nobody can tell what it needs.

    """
    found: dict[str, str] = {}
    for name in storage.repositories():
        revisions = storage.revisions(name)
        images = {digest: f"{name}:{tag}" for tag, digest in storage.tags(name).items()}
        # A tag whose image is gone needs nothing any more. It is told as damage.
        images = {digest: image for digest, image in images.items() if digest in revisions or _lies(storage, digest)}
        if untagged_too:
            images = {digest: f"{name}@{digest}" for digest in revisions} | images
        for digest, image in images.items():
            try:
                for one in storage.closure(digest):
                    found.setdefault(one, image)
            except DamageError as error:
                raise WharfError(
                    f"{image}: {error}, so that nobody can tell what belongs to it. Nothing was deleted. Push the image"
                    " again, or restore it from a backup"
                ) from None
    return found


def _lies(storage: Storage, digest: str) -> bool:
    """Tell whether there is anything under a digest."""
    return storage.blob_path(digest).exists()


def collect(registry: Registry, delete_untagged: bool, really: bool) -> dict[str, int]:
    """Let the registry collect, or tell what it would delete: digest to size in bytes.

    Raises:
        WharfError: it failed, or told something that is not understood.

    """
    words = [registry.image, "garbage-collect", *([] if really else ["--dry-run"])]
    words += ["--delete-untagged"] if delete_untagged else []
    # As the registry's own container is started, so with its configuration.
    words += registry.made["Config"]["Cmd"][1:]
    options = ["--network", "none", *registry.options("" if really else ":ro")]
    sizes = {path.parent.name: path.stat().st_size for path in registry.storage.top.glob("blobs/*/*/*/data")}
    if really:
        # In two steps, so that it cannot start once this program has been stopped. Bringing back removes it.
        docker("create", "--name", registry.collector, *options, *words)
        done = call("start", "--attach", registry.collector)
    else:
        docker("rm", "--force", registry.asked, check=False)
        done = call("run", "--rm", "--name", registry.asked, *options, *words)
    if done.returncode != 0:
        last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-1:]
        raise WharfError(f"the registry's own collection failed: {last[0] if last else f'exit code {done.returncode}'}")
    summary = SUMMARY.search(done.stdout)
    digests = ELIGIBLE.findall(done.stdout)
    if summary is None or int(summary[2]) != len(digests):
        raise WharfError("what the registry's own collection says is not understood: is this a new version of it?")
    return {digest: sizes.get(digest.partition(":")[2], 0) for digest in digests}


def rubbish(registry: Registry, delete_untagged: bool) -> dict[str, int]:
    """Return what would go, digest to size in bytes, after comparing it with what must stay.

    Raises:
        WharfError: an image needs some of it.

    """
    doomed = collect(registry, delete_untagged, really=False)
    stays = needed(registry.storage, untagged_too=not delete_untagged)
    if wanted := [(digest, stays[digest]) for digest in doomed if digest in stays]:
        digest, image = wanted[0]
        more = f", and {len(wanted) - 1} more" if len(wanted) > 1 else ""
        raise WharfError(
            f"the registry's own collection would delete {digest}, which {image} needs{more}. Nothing was deleted."
            " Push the image again, or restore it from a backup"
        )
    return doomed


def refuse_untagged(registry: Registry) -> None:
    """Refuse to delete untagged manifests where that would eat images.

    Raises:
        WharfError: a registry of version 2 would delete what an index consists of, because it has no tag of its own.

    """
    storage = registry.storage
    indexes = [
        f"{name}@{digest}"
        for name in storage.repositories()
        for digest in sorted(storage.revisions(name))
        if children(storage.manifest(digest))
    ]
    if indexes and not re.match("[3-9]", version := registry.version()):
        raise WharfError(
            f"--delete-untagged (wharf_delete_untagged) is refused: the registry's version {version} would delete what"
            f" the multi-arch image {indexes[0]} consists of. Set it to false, or use version 3 of the registry"
        )


def show(doomed: dict[str, int], verb: str) -> None:
    """Print what goes, the largest first."""
    print(f"{verb}: {pluralize(len(doomed), 'blob')}, {human_bytes(sum(doomed.values()))}")
    for digest, size in sorted(doomed.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]:
        print(f"  {digest}  {human_bytes(size)}")
    if len(doomed) > SHOWN:
        print(f"  and {len(doomed) - SHOWN} more")


def work(registry: Registry, dry_run: bool, delete_untagged: bool) -> str:
    """Collect; return the line that is kept as the result."""
    if not dry_run and registry.mend():
        print("an earlier run was cut off: the registry is back as it was")
    registry.demand()
    problems = list(registry.storage.problems())
    for problem in problems:
        print(f"warning: {problem}")
    damage = f"; {pluralize(len(problems), 'problem')} in the storage" if problems else ""
    if delete_untagged:
        refuse_untagged(registry)
    doomed = rubbish(registry, delete_untagged)
    if dry_run:
        show(doomed, "would be deleted")
        print("(while images are pushed, what belongs to them may count as rubbish here; a real run keeps pushes off)")
        return ""
    if not doomed:
        print("nothing to collect: the registry was left alone")
        return f"nothing to collect{damage}"

    with registry.client_for_a_while() as client:
        # Before, so that a registry that cannot do it is left alone, and what fails afterwards is this run's doing.
        registry.prove(client)
        with registry.read_only() as times:
            tags = all_tags(registry.storage)
            answers = served(client, tags)
            # What was pushed since has changed what would go.
            doomed = rubbish(registry, delete_untagged)
            collect(registry, delete_untagged, really=True)
        compare("in the storage", tags, all_tags(registry.storage))
        if new := [problem for problem in registry.storage.problems() if problem not in problems]:
            raise WharfError(f"the storage was damaged: {new[0]}: restore it from a backup")
        compare("for a client", answers, served(client, tags))
        registry.prove(client)
    show(doomed, "deleted")
    names = {name for name, _ in tags}
    print(f"kept: {pluralize(len(tags), 'tag')} in {pluralize(len(names), 'repository')}, each with its digest")
    print(f"refused pushes for {times['read_only']:.1f} s; did not answer for {times['gaps']:.1f} s, in two parts")
    print("proved: an image was pushed and pulled")
    return f"deleted {pluralize(len(doomed), 'blob')}, {human_bytes(sum(doomed.values()))}{damage}"


def main(arguments: list[str]) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dry-run", action="store_true", help="only show what would go, and how much")
    parser.add_argument(
        "--delete-untagged",
        action=argparse.BooleanOptionalAction,
        help="also delete manifests without a tag; what the inventory says when it is not given",
    )
    parser.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="wait so long for other programs")
    parser.add_argument("--bring-back", action="store_true", help="mend what a run left behind that was killed")
    options = parser.parse_args(arguments)

    def collection(registry: Registry) -> str:
        chosen = registry.delete_untagged if options.delete_untagged is None else options.delete_untagged
        return work(registry, options.dry_run, chosen)

    def bringing_back(registry: Registry) -> str:
        if registry.mend():
            print("the registry is back as it was")
        return ""

    return run(
        "collect-garbage",
        bringing_back if options.bring_back else collection,
        options.wait,
        record=not (options.dry_run or options.bring_back),
    )

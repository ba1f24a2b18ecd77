"""Delete what no image needs any more. No image is lost, whatever happens.

The registry's own collection is asked what it would delete; nothing goes on if a single image needs any of it. Then the
registry refuses pushes while it collects, serves pulls all the time but for two short moments, and is tested afterwards
with a push and a pull. Every tag must lead to the digest that it led to before.
"""

from __future__ import annotations

import argparse
import re

from ..errors import DamageError, WharfError
from ..manifests import children
from ..storage import Storage
from ..text import human_bytes, one_line, pluralize
from .checks import require_same, smoke_test, tags_served
from .docker import call, docker
from .locked import run_locked
from .options import Output, add_json, add_wait
from .read_only import clean_up, interruption, read_only, temporary_client
from .registry import Registry

SHOWN = 20  # blobs that are listed one by one
ELIGIBLE = re.compile(r"^blob eligible for deletion: (\S+)$", re.MULTILINE)
SUMMARY = re.compile(r"(\d+) blobs marked, (\d+) blobs and (\d+) manifests eligible for deletion")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--dry-run", action="store_true", help="only show what would be deleted, and how much")
    parser.add_argument(
        "--delete-untagged",
        action=argparse.BooleanOptionalAction,
        help="also delete manifests without a tag (as wharf_delete_untagged in the inventory)",
    )
    parser.add_argument("--recover", action="store_true", help="only clean up after a run that was killed")
    add_wait(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Collect; return the exit code."""
    output = Output(options.json)

    def work() -> str:
        registry = Registry()
        if options.recover:
            if clean_up(registry):
                output.line("the registry is as it was")
            return ""
        untagged = registry.delete_untagged if options.delete_untagged is None else options.delete_untagged
        return collect_garbage(registry, untagged, options.dry_run, output)

    code = run_locked(options.subcommand, work, options.wait, record=not (options.dry_run or options.recover))
    output.close()
    return code


def collect_garbage(registry: Registry, delete_untagged: bool, dry_run: bool, output: Output) -> str:
    """Collect; return the line that is kept as the result."""
    if not dry_run and clean_up(registry):
        output.line("an earlier run was cut off: the registry is as it was before it")
    registry.preflight()
    problems = list(registry.storage.problems())
    for problem in problems:
        output.line(f"warning: {problem}")
    damage = f"; {pluralize(len(problems), 'problem')} in the storage" if problems else ""
    if delete_untagged:
        refuse_untagged(registry)
    candidates = find_candidates(registry, delete_untagged)
    if dry_run:
        show(candidates, "would be deleted", output)
        output.line("(parts of an image that is being pushed may be among them; a real run refuses pushes meanwhile)")
        return ""
    if not candidates:
        output.line("nothing to collect: the registry was left alone")
        return f"nothing to collect{damage}"

    with temporary_client(registry) as client:
        # Before, so that a registry that cannot do it is left alone, and what fails afterwards is this run's doing.
        smoke_test(client, registry.storage)
        with read_only(registry) as times:
            tags = registry.storage.all_tags()
            answers = tags_served(client, tags)
            # What was pushed since has changed what is unreferenced.
            candidates = find_candidates(registry, delete_untagged)
            registrys_collection(registry, delete_untagged, dry_run=False)
            output.result["changed"] = True
        require_same("in the storage", tags, registry.storage.all_tags())
        if new := [problem for problem in registry.storage.problems() if problem not in problems]:
            raise WharfError(f"the storage was damaged: {new[0]}: restore it from a backup")
        require_same("for a client", answers, tags_served(client, tags))
        smoke_test(client, registry.storage)
    show(candidates, "deleted", output)
    names = {name for name, _ in tags}
    output.line(f"kept: {pluralize(len(tags), 'tag')} in {pluralize(len(names), 'repository')}, each with its digest")
    output.line(interruption(times))
    output.line("verified: an image was pushed and pulled")
    return f"deleted {pluralize(len(candidates), 'blob')}, {human_bytes(sum(candidates.values()))}{damage}"


def find_candidates(registry: Registry, delete_untagged: bool) -> dict[str, int]:
    """Return what a collection would delete, digest to size in bytes, compared with what is referenced.

    Raises:
        WharfError: an image needs some of it.
    """
    candidates = registrys_collection(registry, delete_untagged, dry_run=True)
    referenced = find_referenced(registry.storage, untagged=not delete_untagged)
    if wanted := [(digest, referenced[digest]) for digest in candidates if digest in referenced]:
        digest, image = wanted[0]
        more = f", and {len(wanted) - 1} more" if len(wanted) > 1 else ""
        raise WharfError(
            f"the registry's own collection would delete {digest}, which {image} needs{more}. Nothing was deleted."
            " Push the image again, or restore it from a backup"
        )
    return candidates


def registrys_collection(registry: Registry, delete_untagged: bool, dry_run: bool) -> dict[str, int]:
    """Let the registry collect, or tell what it would delete: digest to size in bytes.

    Raises:
        WharfError: it failed, or its output is not understood.
    """
    command = [registry.image, "garbage-collect", *(["--dry-run"] if dry_run else [])]
    command += ["--delete-untagged"] if delete_untagged else []
    # As the registry's own container is started, so with its configuration.
    command += registry.inspected["Config"]["Cmd"][1:]
    options = ["--network", "none", *registry.container_options(":ro" if dry_run else "")]
    sizes = {path.parent.name: path.stat().st_size for path in registry.storage.top.glob("blobs/*/*/*/data")}
    if dry_run:
        docker("rm", "--force", registry.dry_run_collector, check=False)
        done = call("run", "--rm", "--name", registry.dry_run_collector, *options, *command)
    else:
        # In two steps, so that it cannot start once this program has been stopped. recover() removes it.
        docker("create", "--name", registry.collector, *options, *command)
        done = call("start", "--attach", registry.collector)
    if done.returncode != 0:
        last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-1:]
        reason = one_line(last[0]) if last else f"exit code {done.returncode}"
        raise WharfError(f"the registry's own collection failed: {reason}")
    summary = SUMMARY.search(done.stdout)
    digests = ELIGIBLE.findall(done.stdout)
    if summary is None or int(summary[2]) != len(digests):
        raise WharfError("the output of the registry's own collection is not understood: is this a new version of it?")
    return {digest: sizes.get(digest.partition(":")[2], 0) for digest in digests}


def find_referenced(storage: Storage, untagged: bool) -> dict[str, str]:
    """Return what must stay, by our own reading: digest to the image that needs it.

    Args:
        storage: the registry's storage.
        untagged: whether manifests without a tag count as images.

    Raises:
        WharfError: a manifest cannot be read, so that nobody can tell what it needs.
    """
    referenced: dict[str, str] = {}
    for name in storage.repositories():
        revisions = storage.revisions(name)
        images = {digest: f"{name}:{tag}" for tag, digest in storage.tags(name).items()}
        # A tag whose image is gone needs nothing any more. It is reported as damage.
        images = {
            digest: image
            for digest, image in images.items()
            if digest in revisions or storage.blob_path(digest).exists()
        }
        if untagged:
            images = {digest: f"{name}@{digest}" for digest in revisions} | images
        for digest, image in images.items():
            try:
                for needed in storage.closure(digest):
                    referenced.setdefault(needed, image)
            except DamageError as error:
                raise WharfError(
                    f"{image}: {error}, so that nobody can tell what belongs to it. Nothing was deleted. Push the image"
                    " again, or restore it from a backup"
                ) from None
    return referenced


def refuse_untagged(registry: Registry) -> None:
    """Refuse to delete untagged manifests where that would destroy images.

    Raises:
        WharfError: a registry of version 2 would delete the parts of an index, because they have no tags of their own.
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
            f"--delete-untagged (wharf_delete_untagged) is refused: the registry's version {version} would delete the"
            f" parts of the multi-arch image {indexes[0]}. Set it to false, or use version 3 of the registry"
        )


def show(candidates: dict[str, int], verb: str, output: Output) -> None:
    """Print what is deleted, the largest first."""
    output.result["blobs"] = candidates
    output.line(f"{verb}: {pluralize(len(candidates), 'blob')}, {human_bytes(sum(candidates.values()))}")
    for digest, size in sorted(candidates.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]:
        output.line(f"  {digest}  {human_bytes(size)}")
    if len(candidates) > SHOWN:
        output.line(f"  and {len(candidates) - SHOWN} more")

"""Name what keeps an image in the registry's storage from being served whole. Reads only.

What no tag leads to is a warning: the exit code is 3 only where an image with a tag is damaged.

Looks at the registry's own storage, or at DIRECTORY: a copy, or one that was restored. Works beside a running registry,
which may be in the middle of a push: a problem that a second run does not show was none.
"""

from __future__ import annotations

import argparse

from ..errors import WharfError
from ..storage import Storage
from ..text import human_bytes, pluralize
from .cli import Task
from .registry import Registry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("directory", metavar="DIRECTORY", nargs="?", help="holds docker/registry/v2")
    parser.add_argument("--contents", action="store_true", help="also hash every blob that an image needs")
    parser.add_argument("--repository", action="append", metavar="NAME", help="only this one; may be given again")
    parser.add_argument("--tags", action="store_true", help="only list the tags and their digests")


def run(task: Task) -> str:
    """Verify, or list the tags."""
    options = task.options
    try:
        storage = Storage(options.directory) if options.directory else Registry.readable().storage
    except FileNotFoundError as error:
        raise WharfError(f"{error}: give the directory that holds docker/registry/v2") from None
    names = options.repository or storage.repositories()
    if options.tags:
        tags = {f"{name}:{tag}": digest for name in names for tag, digest in storage.tags(name).items()}
        task.result["tags"] = tags
        for reference, digest in tags.items():
            task.line(f"{reference}  {digest}")
        return pluralize(len(tags), "tag")
    summary = storage.summary(names, options.contents)
    task.result.update(summary)
    for line in [*summary["problems"], *(f"warning: {warning}" for warning in summary["warnings"])]:
        task.line(line)
    return task.line(
        f"{pluralize(summary['repositories'], 'repository')}, {pluralize(summary['tags'], 'tag')},"
        f" {pluralize(summary['manifests'], 'manifest')}, {pluralize(summary['blobs'], 'blob')},"
        f" {human_bytes(summary['bytes'])}; {pluralize(len(summary['problems']), 'problem')}"
    )

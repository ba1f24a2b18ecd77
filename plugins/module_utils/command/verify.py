"""Name what keeps an image in the registry's storage from being served whole. Reads only.

Looks at the registry's own storage, or at DIRECTORY: a copy, or one that was restored. Works beside a running registry,
which may be in the middle of a push: a problem that a second run does not show was none.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import WharfError
from ..storage import Storage
from ..text import human_bytes, pluralize
from .options import Output, add_json
from .registry import Registry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("directory", metavar="DIRECTORY", nargs="?", help="holds docker/registry/v2")
    parser.add_argument("--contents", action="store_true", help="also hash every blob that an image needs")
    parser.add_argument("--repository", action="append", metavar="NAME", help="only this one; may be given again")
    parser.add_argument("--tags", action="store_true", help="only list the tags and their digests")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Verify; return the exit code."""
    root = Path(options.directory) if options.directory else Registry().root
    try:
        storage = Storage(root)
    except FileNotFoundError as error:
        raise WharfError(f"{error}: give the directory that holds docker/registry/v2") from None
    output = Output(options.json)
    names = options.repository or storage.repositories()
    problems = []
    if options.tags:
        tags = {f"{name}:{tag}": digest for name in names for tag, digest in storage.tags(name).items()}
        output.result["tags"] = tags
        for reference, digest in tags.items():
            output.line(f"{reference}  {digest}")
    else:
        summary = storage.summary(names, options.contents)
        output.result.update(summary)
        problems = summary["problems"]
        for problem in problems:
            output.line(problem)
        counts = [pluralize(summary[f"{noun.removesuffix('y')}{'ies' if noun.endswith('y') else 's'}"], noun)
                  for noun in ("repository", "tag", "manifest", "blob")]  # fmt: skip
        output.line(f"{', '.join(counts)}, {human_bytes(summary['bytes'])}; {pluralize(len(problems), 'problem')}")
    output.close()
    return 3 if problems else 0

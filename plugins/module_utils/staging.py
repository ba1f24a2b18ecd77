"""Copies what a registry has linked, while people push, so that each tag of the copy has all that it needs.

The registry writes a blob before the link that names it, and the links of layers before those of manifests and tags. So
tags are copied before manifests before layers, and the blobs are read after that. Nothing else removes blobs meanwhile,
as long as whoever copies holds the lock, which garbage collection takes as well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

from .files import no_link, read_text
from .storage import DIGEST, Storage

TREE = "docker/registry/v2"
PARTS = ("_manifests/tags", "_manifests/revisions", "_layers")  # of a repository


def stage_links(data: Path, place: Path, names: Collection[str] | None = None) -> dict[str, str]:
    """Bring a copy of a registry's links up to date, and return what is tagged: {"name:tag": digest}.

    Args:
        data: the root directory of the registry's storage.
        place: that of the copy, which only root writes.
        names: the repositories that this is about; None for all.
    """
    source, target = data / TREE / "repositories", place / TREE / "repositories"
    target.mkdir(parents=True, exist_ok=True)
    copied: set[Path] = set()
    for name in Storage(data).repositories() if names is None else names:
        # The order in which the registry writes them, backwards. Uploads under way are left out.
        for part in PARTS:
            for link in (source / name / part).rglob("link"):
                if link.is_file():  # and no tag of this name
                    copy = target / link.relative_to(source)
                    copy_link(link, copy)
                    copied.add(copy)
    for top in [target] if names is None else [target / name / part for name in names for part in PARTS]:
        for directory, _, files in os.walk(top, topdown=False):
            place_of_links = Path(directory)
            if "link" in files and place_of_links / "link" not in copied:
                (place_of_links / "link").unlink()
            if place_of_links != target and not os.listdir(place_of_links):
                place_of_links.rmdir()
    staged = Storage(place)
    found = {name: staged.tags(name) for name in (staged.repositories() if names is None else names)}
    return {f"{name}:{tag}": digest for name, tags in found.items() for tag, digest in tags.items()}


def copy_link(link: Path, copy: Path) -> None:
    """Copy a link with its time. A copy that is right already is not touched, so that it is not taken for a new one."""
    # Version 2 writes a link in place: one that is read meanwhile is empty, for a moment.
    for _ in range(20):
        written, content = link.lstat().st_mtime_ns, read_text(link, no_link)
        # Time and content must belong together: restic and rsync go by size and time.
        if DIGEST.fullmatch(content.strip()) and link.lstat().st_mtime_ns == written:
            break
        time.sleep(0.05)
    else:
        content = ""  # whatever it is, it is not the registry's: the copy is found to be damaged, as the link is
    if not copy.is_file() or copy.stat().st_mtime_ns != written or copy.read_text() != content:
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(content)
        os.utime(copy, ns=(written, written))

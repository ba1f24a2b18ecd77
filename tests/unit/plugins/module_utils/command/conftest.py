"""A registry's storage, as a push leaves it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def image() -> Callable[..., str]:
    """Return a function that stores an image: image(data, "team/app", "1", b"content of its layer") -> its digest."""
    return store


def store(root: Path, name: str, tag: str, content: bytes) -> str:
    """Store what a push stores, with one layer and no configuration; return the manifest's digest."""
    top = root / "docker/registry/v2"

    def blob(data: bytes) -> str:
        number = hashlib.sha256(data).hexdigest()
        place = top / "blobs/sha256" / number[:2] / number
        place.mkdir(parents=True, exist_ok=True)
        (place / "data").write_bytes(data)
        return number

    def link(place: str, number: str) -> None:
        (top / "repositories" / name / place).mkdir(parents=True, exist_ok=True)
        (top / "repositories" / name / place / "link").write_text(f"sha256:{number}")

    layer = blob(content)
    manifest = blob(f'{{"layers": [{{"digest": "sha256:{layer}", "size": {len(content)}}}]}}'.encode())
    link(f"_layers/sha256/{layer}", layer)
    link(f"_manifests/revisions/sha256/{manifest}", manifest)
    link(f"_manifests/tags/{tag}/current", manifest)
    return f"sha256:{manifest}"

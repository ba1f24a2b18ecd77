"""A registry's storage as the registry itself writes it, for tests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


class StoredRegistry:
    """Writes a storage as the registry does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = root / "docker/registry/v2"
        self.top.mkdir(parents=True)

    def blob(self, content: bytes) -> str:
        number = hashlib.sha256(content).hexdigest()
        self.write(self.top / "blobs/sha256" / number[:2] / number / "data", content)
        return f"sha256:{number}"

    def link(self, path: str, digest: str) -> None:
        self.write(self.top / "repositories" / path / "link", digest.encode())

    def layer(self, name: str, content: bytes) -> dict:
        digest = self.blob(content)
        self.link(f"{name}/_layers/{digest.replace(':', '/')}", digest)
        return {"digest": digest, "size": len(content)}

    def manifest(self, name: str, tag: str | None, manifest: dict) -> str:
        digest = self.blob(json.dumps(manifest).encode())
        self.link(f"{name}/_manifests/revisions/{digest.replace(':', '/')}", digest)
        if tag:
            self.link(f"{name}/_manifests/tags/{tag}/current", digest)
        return digest

    def image(self, name: str, tag: str | None, content: bytes = b"layer") -> str:
        layers = [self.layer(name, content)]
        return self.manifest(name, tag, {"config": self.layer(name, b"config of " + content), "layers": layers})

    @staticmethod
    def write(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

"""Pushes an image of fresh random content to registries, or pulls it by several clients at once and tells the seconds.

    python3 images.py push CA URL [CA URL]...
    python3 images.py pull CA URL NAME CLIENTS

Clients are processes with a connection each. They compare what comes with its digest, and store nothing: what a client
does with an image that it has is the same wherever it came from.
"""

from __future__ import annotations

import json
import os
import pathlib
import ssl
import sys

from transport import MANIFEST_TYPE, Connection, Registry, digest_of, fetch, in_parallel, push_image

SIZE = 512 << 20  # bytes


def registry(ca: str, url: str) -> Registry:
    """A registry that wants no login, and the CA that signed its certificate."""
    return Registry(url, pathlib.Path(), context=ssl.create_default_context(cafile=ca))


def pull(connection: Connection, name: str) -> int:
    """Pulls what was pushed last, and returns its size in bytes."""
    text = bytearray()
    head = connection.head("GET", f"/v2/{name}/manifests/latest", f"Accept: {MANIFEST_TYPE}")
    connection.exchange(head, 200, sink=text.extend)
    manifest = json.loads(text)
    digests = [blob["digest"] for blob in (manifest["config"], *manifest["layers"])]
    return sum(fetch(connection, connection.head("GET", f"/v2/{name}/blobs/{one}"), one) for one in digests)


def main() -> None:
    """Reads the command line, pushes or pulls, prints."""
    verb, *words = sys.argv[1:]
    if verb == "push":
        content = os.urandom(SIZE)
        for ca, url in zip(words[::2], words[1::2], strict=True):
            push_image(registry(ca, url), [(digest_of(content), content)])
        return
    ca, url, name, clients = words
    sizes = int(clients) * SIZE  # without the few bytes of its configuration
    rate = in_parallel(registry(ca, url), int(clients), lambda connection, _: pull(connection, name))
    print(f"{sizes / rate:.2f}")


if __name__ == "__main__":
    main()

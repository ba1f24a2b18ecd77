"""Writes many repositories with many tags straight into a registry's storage, in the registry's own layout.

    python3 store-mass.py DIRECTORY REPOSITORIES TAGS UID

Not pushed: 20,000 pushes take minutes. Each tag is an image of its own, of layers that many have, which are not there.
A quarter of all tags is in the first repository, load/team-0/api-0.
"""

import hashlib
import json
import os
import sys

root, repositories, tags, owner = sys.argv[1], *map(int, sys.argv[2:])
each = tags * 3 // 4 // repositories
top = os.path.join(root, "docker/registry/v2")
PARTS = ("api", "web", "worker", "cron", "proxy", "cache", "queue", "mail", "auth", "search")
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def write(path, content):
    """Write a file; its directories are the registry's as well."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "xb") as file:
        file.write(content)


def blob(content):
    """Store a blob; return its digest."""
    number = hashlib.sha256(content).hexdigest()
    write(f"{top}/blobs/sha256/{number[:2]}/{number}/data", content)
    return f"sha256:{number}"


def link(path, digest):
    """Write a link."""
    write(f"{top}/repositories/{path}/link", digest.encode())


for number in range(repositories):
    name = f"load/team-{number % 25}/{PARTS[number % len(PARTS)]}-{number}"
    config = json.dumps({"os": "linux", "architecture": "amd64", "config": {}, "history": [], "name": name}).encode()
    config_digest = blob(config)
    link(f"{name}/_layers/{config_digest.replace(':', '/')}", config_digest)
    for tag in range(each if number else tags - each * (repositories - 1)):
        layers = [f"base {number % 9} {part}" for part in range(3)] + [f"{name} {tag}"]
        manifest = {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest,
                       "size": len(config)},
            "layers": [{"mediaType": LAYER, "digest": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
                        "size": 1_000_000 + 1000 * tag} for text in layers],
        }  # fmt: skip
        digest = blob(json.dumps(manifest).encode())
        link(f"{name}/_manifests/revisions/{digest.replace(':', '/')}", digest)
        link(f"{name}/_manifests/tags/{tag // 10}.{tag % 10}.0/current", digest)
        link(f"{name}/_manifests/tags/{tag // 10}.{tag % 10}.0/index/{digest.replace(':', '/')}", digest)
for directory, _, files in os.walk(top):
    for path in (directory, *(os.path.join(directory, file) for file in files)):
        os.chown(path, owner, owner)

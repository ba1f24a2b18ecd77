"""Measure what `wharf index` takes of a processor: the first run over many repositories, one without news, one push.

And how long `wharf metrics` takes to count them. Run it in the repository's root: python -m benchmarks.index DIRECTORY.
It ends with 1 if a push takes over a second, or the count over 0.2.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from ansible_collections.wharf.registry.plugins.module_utils.command import index, metrics
from ansible_collections.wharf.registry.plugins.module_utils.exposition import Exposition
from ansible_collections.wharf.registry.plugins.module_utils.manifests import digest_of
from ansible_collections.wharf.registry.plugins.module_utils.storage import Storage
from tests.unit.stored_registry import StoredRegistry

REPOSITORIES, TAGS, TEAMS = 1000, 20, 25


def push(stored: StoredRegistry, number: int, tag: str) -> None:
    """Store an image of ten layers, five of which other repositories have, too."""
    name = f"team-{number % TEAMS}/app{number}"
    layers = [f"base {number % 10} {part}" for part in range(5)] + [f"{name} {tag} {part}" for part in range(5)]
    descriptors = [{"digest": digest_of(layer.encode()), "size": 1000} for layer in layers]
    config = stored.layer(name, json.dumps({"os": "linux", "architecture": "amd64", "tag": [name, tag]}).encode())
    stored.manifest(name, tag, {"config": config | {"mediaType": index.IMAGE_CONFIGS[0]}, "layers": descriptors})


def measured(what: str, registry: SimpleNamespace) -> float:
    """Bring the index up to date; print and return the seconds of a processor that it took."""
    start = time.process_time()
    with index.opened(index.INDEX / "state") as state:
        changed = index.Index(registry, state).renew(index.Files(registry))
    seconds, memory = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{what}: {len(changed)} repositories changed, {seconds:.2f} s of a processor, {memory} MiB at most")
    return seconds


def main(place: Path) -> int:
    """Measure in a directory, which must be new."""
    stored, index.INDEX = StoredRegistry(place / "data"), place / "index"
    for number in range(REPOSITORIES):
        for tag in range(TAGS):
            push(stored, number, str(tag))
    users = [{"name": "root", "role": "admin"}, *({"name": f"u{n}", "role": "writer"} for n in range(TEAMS))]
    rules = [{"repositories": f"team-{n}/**", "read": [], "write": [f"u{n}"]} for n in range(TEAMS)]
    registry = SimpleNamespace(uid=59500, users=users, rules=rules, path=stored.root)
    time.sleep(3)  # what is older is settled
    print(f"{REPOSITORIES} repositories, {REPOSITORIES * TAGS} tags, {len(rules)} rules, {TEAMS + 1} groups of users")
    measured("all", registry)
    measured("nothing new", registry)
    push(stored, 5, "new")
    pushed, start = measured("one push", registry), time.process_time()
    settings = SimpleNamespace(driver="filesystem", storage=Storage(stored.root))
    metrics.Server.contents(SimpleNamespace(registry=settings, figures=Exposition()))
    counted = time.process_time() - start
    print(f"wharf metrics counts them in {counted:.2f} s of a processor")
    return int(pushed > 1 or counted > 0.2)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

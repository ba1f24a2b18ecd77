"""Measure what `wharf index` takes of a processor: the first run over many repositories, one without news, one push.

The same for one repository with as many tags, and how long `wharf metrics` takes to count the many. Run it in the
repository's root: python -m benchmarks.index DIRECTORY. It ends with 1 if a push takes over a second, or the count
over 0.2.
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


class Case:
    """A registry with its index."""

    def __init__(self, place: Path, repositories: int, tags: int) -> None:
        """Fill it."""
        self.stored, self.index = StoredRegistry(place / "data"), place / "index"
        for number in range(repositories):
            for tag in range(tags):
                push(self.stored, number, str(tag))
        users = [{"name": "root", "role": "admin"}, *({"name": f"u{n}", "role": "writer"} for n in range(TEAMS))]
        rules = [{"repositories": f"team-{n}/**", "read": [], "write": [f"u{n}"]} for n in range(TEAMS)]
        self.registry = SimpleNamespace(
            uid=59500, users=users, rules=rules, path=self.stored.root, require_data=lambda: None
        )
        time.sleep(3)  # what is older is settled
        print(f"repositories: {repositories}, tags of each: {tags}, rules: {TEAMS}, groups of users: {TEAMS + 1}")

    def measured(self, what: str) -> float:
        """Bring the index up to date; print and return the seconds of a processor that it took."""
        index.INDEX, start = self.index, time.process_time()
        with index.opened(index.INDEX / "state") as state:
            changed = index.Index(self.registry, state).renew(index.Files(self.registry))
        seconds, memory = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{what}: {len(changed)} repositories changed, {seconds:.2f} s of a processor, {memory} MiB at most")
        return seconds

    def pushed(self) -> float:
        """Return the seconds that a push takes after all has been read."""
        self.measured("all")
        self.measured("nothing new")
        push(self.stored, 0, "new")
        return self.measured("one push")


def main(place: Path) -> int:
    """Measure in a directory, which must be new."""
    many = Case(place / "many", REPOSITORIES, TAGS)
    slowest, start = many.pushed(), time.process_time()
    settings = SimpleNamespace(driver="filesystem", storage=Storage(many.stored.root))
    metrics.Server.contents(SimpleNamespace(registry=settings, figures=Exposition()))
    counted = time.process_time() - start
    print(f"wharf metrics counts them in {counted:.2f} s of a processor")
    slowest = max(slowest, Case(place / "large", 1, REPOSITORIES * TAGS).pushed())
    return int(slowest > 1 or counted > 0.2)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""The program that mends a storage: what a write that was cut off leaves, at each step of a push."""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
from conftest import ROOT, load_module
from test_registry_storage import Registry

storage = load_module("roles/registry_server/files/registry_storage.py")
load_module("roles/registry_server/files/registry_host.py")
loader = SourceFileLoader("mend_storage", str(ROOT / "roles/registry_server/files/wharf-mend-storage"))
program = module_from_spec(spec_from_loader("mend_storage", loader))
sys.modules["mend_storage"] = program
loader.exec_module(program)

LATER = time.time() + 86400
STEPS = ["layer", "config", "manifest", "revision", "index", "current"]


class Pushing(Registry):
    """A registry of version 2, whose pushes can be cut off at one of the STEPS: its file is there, but empty."""

    def push(self, name: str, tag: str, content: bytes, cut_off: str = "") -> str:
        """Push an image; return its digest."""
        self.cut_off, self.over = cut_off, False
        layer, config = self.blob(content), self.blob(b"config of " + content)
        manifest = {"layers": [{"digest": layer}], "config": {"digest": config}}
        digest = self.digest(json.dumps(manifest).encode())
        number = digest.replace(":", "/")
        self.step("layer", f"repositories/{name}/_layers/{layer.replace(':', '/')}/link", layer)
        self.step("config", f"repositories/{name}/_layers/{config.replace(':', '/')}/link", config)
        data = f"blobs/sha256/{digest[7:9]}/{digest[7:]}/data"
        if not (self.top / data).exists():  # what lies there is taken for whole
            self.step("manifest", data, json.dumps(manifest))
        self.step("revision", f"repositories/{name}/_manifests/revisions/{number}/link", digest)
        self.step("index", f"repositories/{name}/_manifests/tags/{tag}/index/{number}/link", digest)
        self.step("current", f"repositories/{name}/_manifests/tags/{tag}/current/link", digest)
        return digest

    def step(self, name: str, path: str, content: str) -> None:
        """Write a file, unless the push is over."""
        if not self.over:
            self.over = name == self.cut_off
            self.write(self.top / path, b"" if self.over else content.encode())

    @staticmethod
    def digest(content: bytes) -> str:
        """Return the digest of a content."""
        return storage._hash("sha256:", [content])

    def mend(self) -> tuple[list[str], list[str]]:
        """Mend, and look whether all is well then."""
        result = program.mend(storage.Storage(self.root))
        seen = storage.Storage(self.root)
        assert list(seen.problems(contents=True)) == []
        assert program.faults(seen, LATER) == []
        return result

    def tags(self, name: str) -> dict[str, str]:
        """Return where the tags lead; one that leads nowhere is an error."""
        seen = storage.Storage(self.root)
        assert list(seen.tags(name)) == seen.tag_names(name)
        return seen.tags(name)


@pytest.fixture
def registry(tmp_path: Path) -> Pushing:
    return Pushing(tmp_path)


def test_a_whole_storage_needs_nothing(registry):
    digest = registry.push("team/app", "1", b"one")
    assert program.faults(storage.Storage(registry.root), LATER) == []
    assert registry.mend() == ([], [])
    assert registry.tags("team/app") == {"1": digest}


@pytest.mark.parametrize("step", STEPS)
def test_a_push_that_was_cut_off_is_not_listed_and_succeeds_the_next_time(registry, step):
    old = registry.push("team/app", "old", b"old")
    registry.push("team/app", "new", b"new", cut_off=step)
    assert program.faults(storage.Storage(registry.root), LATER) != []
    done, lost = registry.mend()
    assert done
    assert lost == []
    whole = registry.tags("team/app")
    assert whole.pop("old") == old
    digest = registry.push("team/app", "new", b"new")
    assert whole in ({}, {"new": digest})
    assert registry.mend() == ([], [])
    assert registry.tags("team/app") == {"old": old, "new": digest}


@pytest.mark.parametrize("step", STEPS)
def test_a_tag_that_is_moved_leads_to_the_old_image_or_the_new_one(registry, step):
    old = registry.push("team/app", "1", b"old")
    registry.push("team/app", "1", b"new", cut_off=step)
    assert registry.mend()[1] == []
    now = registry.tags("team/app")["1"]
    assert now == (old if step != "current" else registry.push("team/app", "1", b"new"))


@pytest.mark.parametrize("step", STEPS)
def test_an_image_that_is_pushed_a_second_time_stays(registry, step):
    digest = registry.push("team/app", "1", b"one")
    registry.push("team/app", "1", b"one", cut_off=step)
    assert registry.mend()[1] == []
    assert registry.tags("team/app") == {"1": digest}


def test_a_push_that_was_acknowledged_over_an_empty_manifest_is_told_of(registry):
    """The registry takes the empty file for the manifest: nothing can bring the image back but another push."""
    registry.push("team/app", "1", b"one", cut_off="manifest")
    digest = registry.push("team/app", "1", b"one")
    _done, lost = registry.mend()
    assert lost == [f"team/app:1 ({digest}) is lost: push it again"]
    assert registry.tags("team/app") == {}
    registry.push("team/app", "1", b"one")
    assert registry.mend() == ([], [])
    assert registry.tags("team/app") == {"1": digest}


def test_a_tag_without_the_file_that_says_where_it_leads_is_a_fault(registry):
    digest = registry.push("team/app", "1", b"one")
    (registry.top / "repositories/team/app/_manifests/tags/1/current/link").unlink()
    assert [path.name for path in program.faults(storage.Storage(registry.root), LATER)] == ["1"]
    registry.mend()
    assert registry.tags("team/app") == {"1": digest}


def test_what_is_being_written_uploads_and_a_blob_that_is_empty_by_itself_are_none(registry):
    registry.push("team/app", "1", b"")
    registry.write(registry.top / "repositories/team/app/_uploads/1/data", b"")
    registry.push("team/app", "2", b"two", cut_off="current")
    seen = storage.Storage(registry.root)
    assert program.faults(seen, time.time()) == []
    assert [path.parent.parent.name for path in program.faults(seen, LATER)] == ["2"]


def test_links_to_what_was_collected_stay(registry):
    """The registry's own collection leaves them, and knows them."""
    registry.link("team/app/_layers/sha256/" + "0" * 64, "sha256:" + "0" * 64)
    assert registry.mend() == ([], [])
    assert os.path.exists(registry.top / "repositories/team/app/_layers/sha256" / ("0" * 64) / "link")

"""The reader of a registry's storage: what is whole, and every kind of damage."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import storage
from ansible_collections.wharf.registry.plugins.module_utils.errors import DamageError
from tests.unit.stored_registry import StoredRegistry


@pytest.fixture
def registry(tmp_path: Path) -> StoredRegistry:
    return StoredRegistry(tmp_path)


def problems(registry: StoredRegistry, **arguments) -> list[str]:
    return list(storage.Storage(registry.root).problems(**arguments))


def test_whole_registry_has_no_problems(registry):
    first = registry.image("a/b", "1")
    second = registry.image("a/b", None, b"other")
    index = registry.manifest("a/b", "all", {"manifests": [{"digest": first}, {"digest": second}]})
    registry.image("a", "1")  # a repository whose name is the beginning of another's
    (registry.top / "repositories/only/_uploads/1").mkdir(parents=True)
    read = storage.Storage(registry.root)
    assert read.repositories() == ["a", "a/b"]
    assert read.tags("a/b") == {"1": first, "all": index}
    assert read.revisions("a/b") == {first, second, index}
    assert read.closure(index) >= {first, second, index}
    assert len(read.closure(index)) == 7
    summary = read.summary(contents=True)
    assert summary.pop("bytes") == sum(path.stat().st_size for path in registry.top.glob("blobs/*/*/*/data"))
    assert summary == {"repositories": 2, "tags": 3, "manifests": 3, "blobs": 4, "problems": [], "warnings": []}


def test_empty_registry_has_no_problems(tmp_path):
    assert storage.Storage(tmp_path).summary()["repositories"] == 0


def test_image_that_is_pushed_meanwhile_is_no_damage(registry, monkeypatch):
    registry.image("a", "1")
    read = storage.Storage(registry.root)
    tag_names = read.tag_names

    def push_first(name):
        registry.image("a", "2", b"just now")
        return tag_names(name)

    monkeypatch.setattr(read, "tag_names", push_first)
    assert list(read.damage()) == []


def test_missing_root_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is not a directory"):
        storage.Storage(tmp_path / "nothing")


def test_missing_blob_is_found(registry):
    registry.image("a", "1", b"gone")
    storage.Storage(registry.root).blob_path(registry.blob(b"gone")).unlink()
    (problem,) = problems(registry)
    assert problem.endswith("which is not there")


def test_what_a_registry_that_was_broken_into_lays_there_is_not_followed_and_keeps_nobody_waiting(registry, tmp_path):
    digest = registry.image("a", "1", b"one")
    registry.image("a", "2", b"two")
    read = storage.Storage(registry.root)
    secret = tmp_path / "shadow"
    secret.write_text(digest)
    tags = [read.tag_link("a", tag) for tag in ("1", "2")]
    blobs = [registry.blob(content) for content in (b"one", b"two")]
    layers = [read.blob_path(blob) for blob in blobs]
    for path in (*tags, *layers):
        path.unlink()
    tags[0].symlink_to(secret)
    os.mkfifo(tags[1])
    layers[0].symlink_to(secret)
    os.mkfifo(layers[1])
    assert read.tags("a") == {}
    assert not any(map(read.is_intact, blobs))
    assert sum("its link holds no digest" in problem for problem in problems(registry, contents=True)) == 2


def test_directories_that_are_links_are_not_followed(registry, tmp_path):
    """They lead out of the storage, or round in circles."""
    digest = registry.image("a", "1")
    other = StoredRegistry(tmp_path / "other")
    other.image("a", "2")
    there, here = other.top / "repositories/a/_manifests", registry.top / "repositories"
    (here / "a/_manifests/tags/3").symlink_to(there / "tags/2")
    (here / "a/_manifests/tags/4").mkdir()
    (here / "a/_manifests/tags/4/current").symlink_to(there / "tags/2/current")
    (here / "b").mkdir()
    (here / "b/_manifests").symlink_to(there)
    (here / "c/_manifests").mkdir(parents=True)
    (here / "c/_manifests/tags").symlink_to(there / "tags")
    (here / "c/d").symlink_to(here)
    read = storage.Storage(registry.root)
    assert read.repositories() == ["a", "b", "c"]
    assert read.all_tags() == {("a", "1"): digest}
    assert read.tag_names("b") == read.tag_names("c") == []
    assert read.revisions("b") == set()


def test_storage_itself_may_be_behind_a_link(registry, tmp_path):
    digest = registry.image("a", "1")
    (tmp_path / "link").symlink_to(registry.root)
    assert storage.Storage(tmp_path / "link").all_tags() == {("a", "1"): digest}


def test_no_manifest_fills_the_memory(registry, monkeypatch):
    digest = registry.image("a", "1")
    monkeypatch.setattr(storage, "LARGEST_MANIFEST", 10)
    assert problems(registry) == [f"a: the manifest {digest} is larger than any can be"]


def test_short_blob_is_found(registry):
    registry.image("a", "1", b"long")
    storage.Storage(registry.root).blob_path(registry.blob(b"long")).write_bytes(b"lo")
    (problem,) = problems(registry)
    assert problem.endswith("which has 2 bytes instead of 4")


def test_flipped_byte_in_a_blob_is_found_in_the_contents(registry):
    registry.image("a", "1", b"right")
    registry.image("b", "1", b"right")
    storage.Storage(registry.root).blob_path(registry.blob(b"right")).write_bytes(b"wrong")
    assert problems(registry) == []
    assert len(problems(registry, contents=True)) == 2
    assert len(problems(registry, names=["b"], contents=True)) == 1


def test_blob_that_the_repository_may_not_serve_is_found(registry):
    digest = registry.image("a", "1")
    layer = storage.Storage(registry.root).manifest(digest)["layers"][0]["digest"]
    (registry.top / "repositories/a/_layers" / layer.replace(":", "/") / "link").unlink()
    (problem,) = problems(registry)
    assert problem.endswith("which the repository does not have")


@pytest.mark.parametrize(
    "content, problem", [(b"{}", "has another digest"), (None, "is not there (No such file or directory)")]
)
def test_damaged_manifest_is_found(registry, content, problem):
    path = storage.Storage(registry.root).blob_path(registry.image("a", "1"))
    path.unlink() if content is None else path.write_bytes(content)
    (found,) = problems(registry)
    assert found.endswith(problem)


def test_manifest_that_is_no_object_is_found(registry):
    digest = registry.blob(b"[]")
    registry.link(f"a/_manifests/revisions/{digest.replace(':', '/')}", digest)
    registry.link("a/_manifests/tags/1/current", digest)
    (problem,) = problems(registry)
    assert problem.endswith("is no JSON object")


def test_index_without_its_child_is_found(registry):
    digest = "sha256:" + "0" * 64
    registry.manifest("a", "1", {"manifests": [{"digest": digest}]})
    (problem,) = problems(registry)
    assert f"needs the manifest {digest}" in problem


def test_tag_that_leads_nowhere_is_found(registry):
    registry.image("a", "1")
    registry.link("a/_manifests/tags/2/current", "sha256:" + "0" * 64)
    (problem,) = problems(registry)
    assert problem.startswith("a:2: leads to sha256:0000")


def test_tag_with_an_empty_link_is_found_and_not_listed(registry):
    digest = registry.image("a", "1")
    registry.link("a/_manifests/tags/2/current", "")
    assert problems(registry) == ["a:2: its link holds no digest"]
    assert storage.Storage(registry.root).all_tags() == {("a", "1"): digest}


def test_unknown_repository_is_found(registry):
    assert problems(registry, names=["none"]) == ["none: there is no such repository"]


def test_damage_of_what_no_tag_leads_to_is_a_warning(registry):
    untagged = registry.image("a", None, b"gone")
    registry.image("a", "1", b"layer")
    child = registry.image("a", None, b"also gone")
    registry.manifest("a", "all", {"manifests": [{"digest": child}]})
    registry.manifest("a", None, {"manifests": [{"digest": "sha256:" + "0" * 64}]})
    read = storage.Storage(registry.root)
    for content in (b"gone", b"also gone"):
        read.blob_path(registry.blob(content)).unlink()
    summary = read.summary()
    assert [child in problem for problem in summary["problems"]] == [True]
    assert len(summary["warnings"]) == 2
    assert all(warning.endswith("(no tag leads there)") for warning in summary["warnings"])
    assert any(untagged in warning for warning in summary["warnings"])
    assert any("needs the manifest sha256:0000" in warning for warning in summary["warnings"])


def test_layer_from_elsewhere_need_not_be_there(registry):
    layer = {"digest": "sha256:" + "0" * 64, "size": 1, "urls": ["https://example.com/layer"]}
    registry.manifest("a", "1", {"config": registry.layer("a", b"config"), "layers": [layer]})
    assert problems(registry, contents=True) == []


def test_manifest_of_schema_1_needs_its_layers(registry):
    layer = registry.layer("a", b"old")
    registry.manifest("a", "1", {"fsLayers": [{"blobSum": layer["digest"]}]})
    assert problems(registry) == []
    storage.Storage(registry.root).blob_path(layer["digest"]).unlink()
    assert len(problems(registry)) == 1


def test_what_is_cut_short_or_has_no_link_is_not_whole(registry):
    registry.image("a", "1")
    registry.image("a", "2", b"other")
    (layer, config) = (registry.layer("a", content)["digest"] for content in (b"layer", b"config of layer"))
    read = storage.Storage(registry.root)
    assert read.is_whole("a", "1")
    for digest in (layer, config):
        content = read.blob_path(digest).read_bytes()
        read.blob_path(digest).write_bytes(content[:-1])
        assert (read.is_whole("a", "1"), read.is_whole("a", "2")) == (False, True)
        read.blob_path(digest).write_bytes(content)
    for path in (read.layer_link("a", layer), read.revision("a", read.tag("a", "1")) / "link"):
        content = path.read_bytes()
        path.write_bytes(b"")  # as after a power loss
        assert not read.is_whole("a", "1")
        path.write_bytes(content)
    assert read.is_whole("a", "1")


def test_only_the_links_that_an_image_needs_are_read(registry, monkeypatch):
    for number in range(5):
        registry.image("a", str(number), bytes([number]))
    reads, link = [], storage._link
    monkeypatch.setattr(storage, "_link", lambda path: reads.append(path) or link(path))
    assert storage.Storage(registry.root).is_whole("a", "1")
    assert len(reads) == 4


def test_layer_from_elsewhere_that_only_another_repository_has_does_not_count(registry):
    layer = {**registry.layer("b", b"foreign"), "urls": ["https://example.com/layer"]}
    registry.manifest("a", "1", {"config": registry.layer("a", b"config"), "layers": [layer]})
    read = storage.Storage(registry.root)
    assert read.is_whole("a", "1")
    registry.layer("a", b"foreign")
    read.blob_path(layer["digest"]).unlink()
    assert not read.is_whole("a", "1")


@pytest.mark.parametrize("above", range(4))
def test_no_link_in_a_shared_storage_is_followed(registry, above):
    """From a blob's file itself up to all blobs; with a link above the storage everything is as it was."""
    digest = registry.manifest("a", "1", {"schemaVersion": 2})
    (registry.root / "link").symlink_to(registry.root)
    read = storage.SharedStorage(registry.root / "link")
    path = read.blob_path(digest)
    assert (read.exists(digest), read.size(digest), read.is_intact(digest)) == (True, path.stat().st_size, True)
    assert read.read(digest) == {"schemaVersion": 2}
    place = [path, *path.parents][above]
    place.rename(registry.root / "moved")
    place.symlink_to(registry.root / "moved")
    assert path.is_file()
    assert (read.exists(digest), read.size(digest), read.is_intact(digest)) == (False, None, False)
    with pytest.raises(DamageError, match="is not there"):
        read.read(digest)
    if above:  # an admin may have moved blobs of the registry itself
        assert storage.Storage(registry.root).read(digest) == {"schemaVersion": 2}


# What is new --------------------------------------------------------------------------------------


def test_whatever_is_linked_or_removed_is_seen(tmp_path):
    stored = StoredRegistry(tmp_path)
    first, second = stored.image("team/app", "1"), stored.image("team/app", None, b"untagged")
    stored.image("other", "1")
    top = tmp_path / "docker/registry/v2"
    tags, revisions = top / "repositories/team/app/_manifests/tags", top / "repositories/team/app/_manifests/revisions"
    link = revisions / second.replace(":", "/") / "link"
    steps = [
        lambda: stored.image("team/app", "2"),
        lambda: (tags / "1/current/link").write_text(second),  # as version 2 does
        lambda: link.unlink(),
        lambda: link.write_text(second),
        lambda: shutil.rmtree(tags / "2"),
    ]
    read, never = storage.Storage(tmp_path), time.time_ns() + 10**12
    for step in steps:
        before = read.states(never)
        assert before == read.states(never) and all(before.values())
        time.sleep(0.02)
        step()
        now = read.states(never)
        assert now["team/app"] != before["team/app"] and now["other"] == before["other"]
    assert {*read.states(0).values(), *read.blob_states(0).values()} == {""}
    before = read.blob_states(never)
    time.sleep(0.02)
    shutil.rmtree(read.blob_path(first).parent)
    now, part = read.blob_states(never), first.replace(":", "/")[: len("sha256/00")]
    assert [one for one in now if now[one] != before[one]] == [part]

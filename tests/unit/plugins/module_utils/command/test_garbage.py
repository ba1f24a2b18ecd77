"""The collection: what must stay, also where what no tag leads to is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import garbage
from tests.unit.stored_registry import StoredRegistry


def test_damage_that_no_tag_leads_to_hides_nothing_that_must_stay(tmp_path: Path) -> None:
    stored = StoredRegistry(tmp_path)
    part = stored.image("app", None, b"part")
    missing = "sha256:" + "0" * 64
    index = stored.manifest("app", None, {"manifests": [{"digest": missing}, {"digest": part}]})
    storage = garbage.Storage(tmp_path)
    assert garbage.find_referenced(storage, untagged=True).keys() >= {index, part, stored.blob(b"part")}
    assert garbage.remedy(storage) == ""
    # The same under a tag: nobody can tell what the missing part needs.
    stored.link("app/_manifests/tags/1/current", index)
    with pytest.raises(garbage.WharfError, match="app:1: .* nobody can tell what belongs to it"):
        garbage.find_referenced(garbage.Storage(tmp_path), untagged=True)


def test_what_cannot_be_read_is_named_unless_a_tag_leads_there(tmp_path: Path) -> None:
    stored = StoredRegistry(tmp_path)
    digests = [stored.image("app", tag, content) for tag, content in (("1", b"tagged"), (None, b"untagged"))]
    storage = garbage.Storage(tmp_path)
    for digest in digests:
        storage.blob_path(digest).write_text("{")
    left = tmp_path / "docker/registry/v2/repositories/app/_manifests/revisions" / digests[1].replace(":", "/")
    assert garbage.remedy(storage).endswith(f"remove what is left of them, {left}")

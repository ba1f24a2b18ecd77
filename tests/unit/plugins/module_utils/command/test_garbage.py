"""The collection: what must stay, also where what no tag leads to is damaged."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


class Collecting:
    """A registry whose own collection tells these candidates, one list after the other, the last one for ever."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, *candidates: list[str]) -> None:
        self.root, self.asked, self.meanwhile = root, 0, lambda: None

        def tell(_registry: Any, _untagged: bool, dry_run: bool) -> dict[str, int]:
            assert dry_run
            found = candidates[min(self.asked, len(candidates) - 1)]
            self.asked += 1
            if self.asked == 1:
                self.meanwhile()
            return dict.fromkeys(found, 7)

        monkeypatch.setattr(garbage, "registrys_collection", tell)

    @property
    def storage(self) -> Any:
        """Return it as it is now."""
        return garbage.Storage(self.root)

    def candidates(self) -> dict[str, int]:
        """Return what a collection would delete."""
        registry: Any = self
        return garbage.find_candidates(registry, delete_untagged=True)


def test_nothing_that_is_needed_is_a_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = StoredRegistry(tmp_path)
    stored.image("app", "1", b"layer")
    orphan = stored.blob(b"orphan")
    registry = Collecting(tmp_path, monkeypatch, [orphan])
    assert (registry.candidates(), registry.asked) == ({orphan: 7}, 1)


def test_a_push_in_between_is_no_reason_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry has marked before the push, and we have read after it."""
    stored = StoredRegistry(tmp_path)
    stored.image("app", "1", b"layer")
    orphan, layer = stored.blob(b"orphan"), stored.blob(b"pushed again")
    registry = Collecting(tmp_path, monkeypatch, [orphan, layer], [orphan])
    registry.meanwhile = lambda: stored.image("app", "2", b"pushed again") and None
    assert (registry.candidates(), registry.asked) == ({orphan: 7}, 2)


def test_of_two_pushes_in_between_the_second_one_s_layer_stays_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was no candidate that was needed before, so that nothing is refused; and it is none of what is returned."""
    stored = StoredRegistry(tmp_path)
    stored.image("app", "1", b"layer")
    orphan, one, two = (stored.blob(content) for content in (b"orphan", b"one", b"two"))
    registry = Collecting(tmp_path, monkeypatch, [orphan, one, two], [orphan, two])
    registry.meanwhile = lambda: stored.image("app", "2", b"one") and None
    tell = garbage.registrys_collection

    def push_again(*words: Any, **more: Any) -> dict[str, int]:
        found = tell(*words, **more)
        if registry.asked == 2:
            stored.image("app", "3", b"two")
        return found

    monkeypatch.setattr(garbage, "registrys_collection", push_again)
    assert registry.candidates() == {orphan: 7}


def test_a_collection_that_would_take_what_an_image_needs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = StoredRegistry(tmp_path)
    stored.image("app", "1", b"layer")
    registry = Collecting(tmp_path, monkeypatch, [stored.blob(b"layer")])
    with pytest.raises(garbage.WharfError, match=r"would delete sha256:\w+, which app:1 needs\. Nothing was deleted"):
        registry.candidates()
    assert registry.asked == 2


@pytest.mark.parametrize("dry_run", [True, False])
def test_the_collector_runs_as_hardened_as_the_registry_and_knows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    called: list[tuple[str, ...]] = []

    def cli(*words: str, check: bool = True) -> str:
        called.append(words)
        return "0 blobs marked, 0 blobs and 0 manifests eligible for deletion"

    monkeypatch.setattr(garbage, "cli", cli)
    variables = ["REGISTRY_HTTP_SECRET=s3cr3t", "REGISTRY_HTTP_ADDR=/wharf/sockets/a.sock", "GOGC=400"]
    config = {"Env": variables, "User": "5:5", "Cmd": ["serve", "/wharf/config/config.yml"]}
    inspected = {"Config": config, "HostConfig": {"Memory": 0}, "Image": "sha256:aa"}
    registry: Any = SimpleNamespace(
        container="reg", collector="gc", dry_run_collector="try", inspected=inspected, storage=garbage.Storage(tmp_path)
    )
    assert garbage.registrys_collection(registry, True, dry_run) == {}
    text = str(called)
    assert "s3cr3t" not in text
    assert "REGISTRY_HTTP_ADDR" not in text
    words = next(words for words in called if words[0] in ("run", "create"))
    assert {"--read-only", "no-new-privileges=true", "5:5", "GOGC=400", "garbage-collect", "--delete-untagged"} < {
        *words
    }
    assert (f"reg{':ro' if dry_run else ''}" in words, "--dry-run" in words) == (True, dry_run)
    assert words[words.index("--network") + 1] == "none"

"""Retention: which tags the rules let go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import retention
from tests.unit.stored_bucket import StoredBucket, stored_bucket  # noqa: F401
from tests.unit.stored_registry import StoredRegistry

NOW = 1_000_000_000.0
DAY = 86400


def store(root: Path, name: str, tags: dict[str, float]) -> None:
    """Make a repository with tags of these ages in days, each with an image of its own."""
    for number, (tag, age) in enumerate(tags.items()):
        link = root / f"docker/registry/v2/repositories/{name}/_manifests/tags/{tag}/current/link"
        link.parent.mkdir(parents=True)
        link.write_text(f"sha256:{number:064x}")
        os.utime(link, (NOW - age * DAY,) * 2)


def deleted(root: Path, *rules: dict[str, Any]) -> list[str]:
    """Return what the rules let go, as repository:tag."""
    return [f"{one.name}:{one.tag}" for one in retention.find_candidates(retention.Storage(root), list(rules), NOW)]


def test_the_newest_stay_and_the_last_one_unless_it_is_said(tmp_path: Path) -> None:
    store(tmp_path, "app", {"a": 3, "b": 2, "c": 1})
    assert deleted(tmp_path, {"repositories": "app", "keep_newest": 2}) == ["app:a"]
    assert deleted(tmp_path, {"repositories": "app", "older_than": 0}) == ["app:b", "app:a"]
    assert deleted(tmp_path, {"repositories": "app", "keep_newest": 0}) == ["app:c", "app:b", "app:a"]


def test_tags_that_are_named_stay_and_do_not_count(tmp_path: Path) -> None:
    store(tmp_path, "app", {"v1": 4, "a": 3, "v2": 2, "b": 1, "v3-rc": 5})
    assert deleted(tmp_path, {"repositories": "app", "keep_newest": 1, "keep_tags": "v[0-9]"}) == ["app:a", "app:v3-rc"]


def test_young_tags_stay(tmp_path: Path) -> None:
    store(tmp_path, "app", {"old": 10.01, "day": 10, "young": 9, "new": 1})
    assert deleted(tmp_path, {"repositories": "app", "older_than": 10}) == ["app:old"]


def test_the_first_rule_that_matches_the_whole_name_decides(tmp_path: Path) -> None:
    for name in ("app/web", "app/web-old", "other"):
        store(tmp_path, name, {"a": 2, "b": 1})
    rules = [{"repositories": "app/web", "keep_newest": 5}, {"repositories": "app/.*", "keep_newest": 1}]
    assert deleted(tmp_path, *rules) == ["app/web-old:a"]


def test_the_plans_number_changes_with_a_push_and_with_the_rules(tmp_path: Path) -> None:
    rule = {"repositories": "app", "keep_newest": 1}
    store(tmp_path, "app", {"a": 2, "b": 1})
    storage = retention.Storage(tmp_path)
    first = retention.plan_number(retention.find_candidates(storage, [rule], NOW), [rule])
    assert retention.plan_number(retention.find_candidates(storage, [rule], NOW + DAY), [rule]) == first
    other = rule | {"older_than": 1}
    assert retention.plan_number(retention.find_candidates(storage, [other], NOW), [other]) != first
    os.utime(storage.tag_link("app", "a"), (NOW - 3 * DAY,) * 2)
    assert retention.plan_number(retention.find_candidates(storage, [rule], NOW), [rule]) != first


def test_a_rule_is_read_as_the_inventory_means_it() -> None:
    rule = {"repositories": "app", "keep_newest": "3", "keep_tags": None, "older_than": 5}
    assert retention.read_rule(rule) == {"repositories": "app", "keep_newest": 3, "older_than": 5}


# What belongs to an image -------------------------------------------------------------------------


def test_a_deletion_that_fails_half_way_is_undone(tmp_path: Path, monkeypatch) -> None:
    stored = StoredRegistry(tmp_path)
    for tag in ("a", "b", "c"):
        stored.image("app", tag, tag.encode())
    before = sorted(tmp_path.rglob("*"))
    storage, rename = retention.Storage(tmp_path), Path.rename

    def fail(path: Path, target: Path) -> Path:
        if target.name == "2":
            raise OSError(28, "No space left on device", str(path))
        return rename(path, target)

    candidates = retention.find_candidates(storage, [{"repositories": "app", "keep_newest": 0}], NOW)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(retention.WharfError, match="No space left on device: nothing was deleted"):
            retention.delete(storage, candidates)
    assert sorted(tmp_path.rglob("*")) == before
    assert retention.delete(storage, candidates) == 3
    assert retention.Storage(tmp_path).all_tags() == {}
    assert not (tmp_path / retention.TRASH).exists()


class Signed:
    """A registry with images and what belongs to them; the older a tag, the earlier it was made."""

    def __init__(self, root: Path) -> None:
        self.root, self.registry, self.age = root, StoredRegistry(root), 100

    def aged(self, name: str, tag: str, digest: str) -> str:
        self.age -= 1
        os.utime(retention.Storage(self.root).tag_link(name, tag), (NOW - self.age * DAY,) * 2)
        return digest

    def image(self, tag: str, name: str = "app") -> str:
        return self.aged(name, tag, self.registry.image(name, tag, tag.encode()))

    def index(self, tag: str, *children: str, name: str = "app", **more: Any) -> str:
        manifest = {"manifests": [{"digest": child} for child in children], **more}
        return self.aged(name, tag, self.registry.manifest(name, tag, manifest))

    def attach(self, digest: str, suffix: str, name: str = "app") -> str:
        tag = digest.replace(":", "-") + suffix
        return self.aged(name, tag, self.registry.image(name, tag, f"{suffix} of {digest}".encode()))

    def deleted(self, *rules: dict[str, Any]) -> set[str]:
        storage = retention.Storage(self.root)
        candidates = retention.find_candidates(storage, list(rules), NOW)
        retention.delete(storage, candidates)
        assert list(retention.Storage(self.root).damage()) == []
        return {f"{one.name}:{one.tag}" for one in candidates}


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return Signed(tmp_path)


def tag_of(digest: str, suffix: str = "", name: str = "app") -> str:
    return f"{name}:{digest.replace(':', '-')}{suffix}"


def test_signatures_do_not_count_and_go_with_their_image(signed: Signed) -> None:
    old, new = signed.image("1"), signed.image("2")
    for digest in (old, new):
        for suffix in (".sig", ".att", ".sbom"):
            signed.attach(digest, suffix)
    gone = signed.deleted({"repositories": "app", "keep_newest": 1})
    assert gone == {"app:1", *(tag_of(old, suffix) for suffix in (".sig", ".att", ".sbom"))}


def test_signature_of_a_signature_and_of_a_part_of_an_index_go_with_it(signed: Signed) -> None:
    part = signed.registry.image("app", None, b"part")
    signed.index("1", part)
    signature = signed.attach(part, ".sig")
    signed.attach(signature, ".sig")
    signed.image("2")
    gone = signed.deleted({"repositories": "app", "keep_newest": 1})
    assert gone == {"app:1", tag_of(part, ".sig"), tag_of(signature, ".sig")}


def test_signature_stays_while_anything_leads_to_its_image(signed: Signed) -> None:
    shared = signed.image("1")
    signed.aged("app", "stable", signed.registry.image("app", "stable", b"1"))
    signed.attach(shared, ".sig")
    part = signed.image("2")
    signed.attach(part, ".sig")
    signed.index("all", part)
    assert signed.deleted({"repositories": "app", "keep_newest": 1, "keep_tags": "stable"}) == {"app:1", "app:2"}


def test_index_that_stands_for_the_referrers_goes_with_all_that_it_names(signed: Signed) -> None:
    image = signed.image("1")
    artifact = {"config": signed.registry.layer("app", b"{}"), "layers": [], "subject": {"digest": image}}
    listed = signed.registry.manifest("app", None, artifact)
    unlisted = signed.registry.manifest("app", None, artifact | {"artifactType": "text/plain"})
    signed.index(image.replace(":", "-"), listed)
    tagged = signed.aged("app", "notes", signed.registry.manifest("app", "notes", artifact | {"annotations": {}}))
    signed.image("2")
    gone = signed.deleted({"repositories": "app", "keep_newest": 1})
    assert gone == {"app:1", "app:notes", tag_of(image)}
    assert not retention.Storage(signed.root).revisions("app") & {image, listed, unlisted, tagged}


def test_signature_whose_image_is_gone_goes_when_it_is_a_day_old(signed: Signed) -> None:
    signed.image("1")
    missing = "sha256:" + "0" * 64
    for suffix in (".sig", ".txt"):  # the second may be anything
        signed.attach(missing, suffix)
    signed.age = 1
    young = "sha256:" + "1" * 64
    signed.attach(young, ".sig")
    assert signed.deleted({"repositories": "app", "keep_newest": 5, "older_than": 98}) == set()
    assert signed.deleted({"repositories": "app", "keep_newest": 5, "keep_tags": ".*[.]sig"}) == set()
    assert signed.deleted({"repositories": "app", "keep_newest": 5}) == {tag_of(missing, ".sig")}


def test_image_under_a_tag_like_a_digest_is_an_image(signed: Signed) -> None:
    name = "sha256-" + "0" * 64
    signed.image(name)
    signed.image("1")
    assert signed.deleted({"repositories": "app", "keep_newest": 1}) == {f"app:{name}"}


def test_repository_of_signatures_follows_the_images_of_others(signed: Signed) -> None:
    old, new = signed.image("1"), signed.image("2")
    for digest in (old, new, "sha256:" + "0" * 64):  # the last may be of another registry
        signed.attach(digest, ".sig", name="signatures")
    rule = {"repositories": "app", "keep_newest": 1}
    assert signed.deleted(rule, {"repositories": "signatures"}) == {"app:1", tag_of(old, ".sig", "signatures")}


def test_damage_that_no_tag_leads_to_stops_no_plan(signed: Signed) -> None:
    untagged = signed.registry.image("app", None, b"untagged")
    retention.Storage(signed.root).blob_path(untagged).unlink()
    for tag in ("1", "2"):
        signed.image(tag)
    storage = retention.Storage(signed.root)
    candidates = retention.find_candidates(storage, [{"repositories": "app", "keep_newest": 1}], NOW)
    assert [one.tag for one in candidates] == ["1"]
    assert retention.freed(storage, candidates)[0] == 3


# In a bucket ------------------------------------------------------------------------------------------------------


def test_in_a_bucket_a_deletion_that_is_cut_off_leaves_each_tag_whole_or_none_of_it(
    stored_bucket: StoredBucket,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for tag in ("a", "b", "index"):
        digest = stored_bucket.image("app", tag, tag.encode())
        stored_bucket.link(f"app/_manifests/tags/{tag}/index/{digest.replace(':', '/')}", digest)
    stored_bucket.image("other", "a", b"a")
    delete = retention.Bucket.delete
    for steps in range(4):
        storage, left = stored_bucket.storage(), [steps]

        def some(self: Any, paths: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise retention.WharfError("the store is away")
            delete(self, paths)

        monkeypatch.setattr(retention.Bucket, "delete", some)
        candidates = retention.find_candidates(storage, [{"repositories": "app", "keep_newest": 0}], NOW)
        assert len(candidates) == (0 if steps == 3 else 3)
        if steps < 3:
            with pytest.raises(retention.WharfError, match="away"):
                retention.delete(storage, candidates)
            assert list(stored_bucket.storage().damage()) == []
            if steps == 2:  # the tags are gone
                break
    monkeypatch.setattr(retention.Bucket, "delete", delete)
    assert set(stored_bucket.storage().all_tags()) == {("other", "a")}
    assert not any("/tags/" in path for path in stored_bucket.storage().links if "/app/" in path)


def test_in_a_bucket_the_manifest_goes_with_its_last_tag_and_its_blobs_with_a_collection(
    stored_bucket: StoredBucket,  # noqa: F811
) -> None:
    kept = stored_bucket.image("app", "1", b"kept")
    stored_bucket.link("app/_manifests/tags/2/current", kept)
    gone = stored_bucket.image("app", "old", b"gone")
    storage = stored_bucket.storage()
    rule = {"repositories": "app", "keep_newest": 0, "keep_tags": "1"}
    candidates = retention.find_candidates(storage, [rule], NOW + DAY)
    assert retention.freed(storage, candidates)[0] == 3
    assert retention.delete(storage, candidates) == 1
    after = stored_bucket.storage()
    assert (after.all_tags(), after.revisions("app")) == ({("app", "1"): kept}, {kept})
    assert after.exists(gone)

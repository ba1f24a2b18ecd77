"""The collection: what must stay, also where what no tag leads to is damaged."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.bucket import Bucket
from ansible_collections.wharf.registry.plugins.module_utils.command import garbage, read_only
from tests.unit.stored_bucket import S3, StoredBucket, install_rclone, stored_bucket  # noqa: F401
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
        container="reg",
        collector="gc",
        dry_run_collector="try",
        inspected=inspected,
        storage=garbage.Storage(tmp_path),
        driver="filesystem",
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


# Pushes that have begun ---------------------------------------------------------------------------

NOW = time.time()


class Pushing(StoredRegistry):
    """A storage that is written at the moments that a test names, in seconds before now."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ago = 60.0
        self.read: Callable[[], garbage.Storage] = lambda: garbage.Storage(root)
        self.sizes: dict[str, int] = {}

    def write(self, path: Path, content: bytes) -> None:
        """Write a file as the registry does: a blob that is there already stays as it is."""
        if path.name != "data" or not path.exists():
            super().write(path, content)
            os.utime(path, (NOW - self.ago, NOW - self.ago))
        self.ago -= 0.001  # nothing is written at the same moment

    def kept(self, *candidates: str) -> set[str]:
        """Return which of the candidates stay, and the links that a collection must not find, as REPOSITORY DIGEST."""
        storage = self.read()
        sizes = {digest: storage.blob_sizes()[digest] for digest in candidates}
        paths = {storage.blob_path(digest): digest for digest in candidates}
        paths |= {
            storage.layer_link(name, digest): f"{name} {digest}"
            for name in storage.repositories()
            for digest in storage.layers(name)
        }
        return {paths[path] for path in garbage.begun_pushes(storage, sizes, NOW - 3600)}

    def forget(self, name: str, digest: str) -> None:
        """Delete an image as the retention rules and the registry's API do: its blobs stay, and the links to layers."""
        shutil.rmtree(self.top / "repositories" / name / "_manifests" / "revisions" / digest.replace(":", "/"))


@pytest.fixture(params=["files", "bucket"])
def pushing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Pushing:
    """Return an empty storage."""
    if request.param == "files":
        return Pushing(tmp_path)
    install_rclone(tmp_path, monkeypatch)
    pushing = Pushing(tmp_path / "store/wharf")
    pushing.read = lambda: Bucket(S3, "")
    return pushing


def test_layers_whose_manifest_is_still_to_come_stay_for_an_hour(pushing: Pushing) -> None:
    begun = pushing.layer("app", b"begun")["digest"]
    orphan = pushing.blob(b"nobody has a link to it")
    pushing.ago = 3599
    late = pushing.layer("app", b"late")["digest"]
    pushing.ago = 3601
    abandoned = pushing.layer("app", b"abandoned")["digest"]
    assert pushing.kept(begun, orphan, late, abandoned) == {begun, late}


def test_an_image_that_was_deleted_a_moment_ago_is_garbage(pushing: Pushing) -> None:
    image = pushing.image("app", None, b"layer")
    pushing.forget("app", image)
    assert pushing.kept(image, pushing.blob(b"layer"), pushing.blob(b"config of layer")) == set()


def test_what_a_deleted_image_has_left_stays_where_it_is_pushed_again(pushing: Pushing) -> None:
    """The registry leaves the blob as it is, as old as it may be, and so the old manifest."""
    pushing.ago = 86400
    image = pushing.image("app", None, b"layer")
    pushing.forget("app", image)
    pushing.ago = 60
    layer = pushing.layer("again", b"layer")["digest"]
    assert pushing.kept(image, layer, pushing.blob(b"config of layer")) == {layer}


def test_the_link_to_a_mounted_layer_stays_and_no_link_that_an_image_needs_is_touched(pushing: Pushing) -> None:
    """Version 3 deletes it: the layer is marked later, in the repository that it comes from."""
    pushing.image("base", "1", b"layer")
    layer = pushing.layer("app", b"layer")["digest"]
    assert pushing.kept() == {f"app {layer}"}


def test_of_an_index_that_is_being_pushed_the_parts_stay_with_all_that_they_need(pushing: Pushing) -> None:
    pushing.ago = 7200  # found there by the client
    found = pushing.layer("app", b"found")["digest"]
    pushing.image("base", "1", b"mounted")
    pushing.ago = 7000
    mounted = pushing.layer("app", b"mounted")["digest"]
    pushing.ago = 60
    layers = [pushing.layer("app", content) for content in (b"found", b"mounted", b"new")]
    for digest in (found, mounted):
        os.utime(garbage.Storage(pushing.root).layer_link("app", digest), (NOW - 7000, NOW - 7000))
    new = layers[2]["digest"]
    part = pushing.manifest("app", None, {"config": layers[0], "layers": layers})
    assert pushing.kept(part, found, new) == {part, found, new, f"app {mounted}"}


def test_manifests_that_a_tag_has_left_or_an_index_that_goes_are_garbage(pushing: Pushing) -> None:
    replaced = pushing.image("app", None, b"replaced")
    pushing.link(f"app/_manifests/tags/1/index/{replaced.replace(':', '/')}", replaced)
    part = pushing.image("app", None, b"part")
    index = pushing.manifest("app", None, {"manifests": [{"digest": part}]})
    pushing.link(f"app/_manifests/tags/all/index/{index.replace(':', '/')}", index)
    layers = {pushing.blob(content) for content in (b"replaced", b"config of replaced", b"part", b"config of part")}
    assert pushing.kept(replaced, part, index, *layers) == set()


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"layers": 1, "manifests": true, "fsLayers": 7}', b'{"config": [], "fsLayers": [1]}', b"\xff{"],
)
def test_no_blob_keeps_a_collection_from_reading_on(pushing: Pushing, content: bytes) -> None:
    begun, odd = pushing.layer("app", b"begun")["digest"], pushing.blob(content)
    assert pushing.kept(odd, begun) == {begun}


class Collection:
    """A registry whose own collection deletes all that is stored and no image needs, as the real one does."""

    def __init__(self, stored: Pushing, monkeypatch: pytest.MonkeyPatch, *, fails: bool = False) -> None:
        self.stored, self.fails, self.lines = stored, fails, []
        self.held, self.collector, self.path = False, "gc", stored.root
        monkeypatch.setattr(garbage, "registrys_collection", self.collect)
        monkeypatch.setattr(garbage, "changing", self.changing)
        monkeypatch.setattr(read_only, "cli", lambda *_, **__: "")

    @property
    def storage(self) -> Any:
        return garbage.Storage(self.path)

    def preflight(self, _is_held: bool) -> None:
        """Find nothing wrong."""

    def require_held(self, *_: Any) -> None:
        """Find nothing wrong."""

    @contextlib.contextmanager
    def changing(self, *_: Any, **__: Any) -> Iterator[None]:
        self.held = True
        yield
        self.held = False

    def collect(self, _registry: Any, _untagged: bool, dry_run: bool, **_: Any) -> dict[str, int]:
        needed, storage = garbage.find_referenced(self.storage, untagged=True), self.storage
        files = [path for path in storage.top.glob("blobs/*/*/*/data") if f"sha256:{path.parent.name}" not in needed]
        found = {f"sha256:{path.parent.name}": path.stat().st_size for path in files}
        if not dry_run:
            assert self.held
            for path in files:
                shutil.rmtree(path.parent)
            if self.fails:
                raise garbage.WharfError("it fails half way")
        return found

    def run(self, *, dry_run: bool = False) -> tuple[str, list[str]]:
        """Collect; return the message, and what was printed."""
        self.lines = []
        options = SimpleNamespace(dry_run=dry_run, held=False)
        task: Any = SimpleNamespace(options=options, line=self.lines.append, result={})
        registry: Any = self
        return garbage.collect_garbage(task, registry, delete_untagged=False), self.lines


@pytest.mark.parametrize("fails", [False, True])
def test_what_has_begun_is_there_after_a_collection_that_deletes_all_else(
    pushing: Pushing, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    pushing.image("app", "1", b"image")
    begun = pushing.layer("app", b"begun")["digest"]
    garbage_blob = pushing.blob(b"garbage")
    registry = Collection(pushing, monkeypatch, fails=fails)
    before = registry.storage.blob_path(begun).stat()
    with pytest.raises(garbage.WharfError, match="half way") if fails else contextlib.nullcontext():
        message, _ = registry.run()
        assert message == "deleted 1 blob, 7 bytes"
    assert registry.lines == [
        "deleted: 1 blob, 7 bytes",
        f"  {garbage_blob}  7 bytes",
        "kept: 1 blob of pushes that have begun",
    ]
    assert not registry.storage.blob_path(garbage_blob).exists()
    after = registry.storage.blob_path(begun).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert sorted(os.listdir(pushing.root)) == ["docker"]


def test_what_has_begun_is_no_candidate_of_a_dry_run_and_alone_no_reason_to_collect(
    pushing: Pushing, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushing.image("app", "1", b"image")
    pushing.layer("app", b"begun")
    registry = Collection(pushing, monkeypatch)
    assert registry.run(dry_run=True)[1] == [
        "would be deleted: 0 blobs, 0 bytes",
        "kept: 1 blob of pushes that have begun",
    ]
    kept, left = "kept: 1 blob of pushes that have begun", "nothing to collect: the registry was left alone"
    assert registry.run() == ("nothing to collect", [kept, left])


# In a bucket ------------------------------------------------------------------------------------------------------


def test_what_a_collection_must_not_find_is_elsewhere_in_the_bucket_meanwhile(
    stored_bucket: StoredBucket,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    removed: list[tuple[str, ...]] = []
    monkeypatch.setattr(read_only, "cli", lambda *words, **_: removed.append(words))
    begun = stored_bucket.layer("app", b"begun")["digest"]
    monkeypatch.setattr(read_only, "ASIDE_IN_BUCKET", marker := stored_bucket.root / "marker")
    registry: Any = SimpleNamespace(collector="gc", storage=stored_bucket.storage(), is_first=True)
    path = registry.storage.blob_path(begun)
    with pytest.raises(garbage.WharfError), read_only.set_aside(registry, {path}):
        assert not (stored_bucket.root / path).exists() and marker.exists()
        raise garbage.WharfError("it fails half way")
    assert (stored_bucket.root / path).exists() and not marker.exists()
    assert removed == [("rm", "--force", "gc")]


def test_what_another_server_has_aside_in_the_bucket_stays_there(
    stored_bucket: StoredBucket,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(read_only, "ASIDE_IN_BUCKET", stored_bucket.root / "marker")
    storage = stored_bucket.storage()
    path = storage.blob_path(stored_bucket.layer("app", b"begun")["digest"])
    storage.set_aside([path])
    other: Any = SimpleNamespace(collector="gc", storage=stored_bucket.storage(), is_first=False)
    read_only.put_back(other)
    assert not (stored_bucket.root / path).exists()


def test_a_collection_that_would_not_end_while_pushes_are_held_deletes_nothing(
    pushing: Pushing, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = pushing.blob(b"garbage")
    registry = Collection(pushing, monkeypatch)
    monkeypatch.setattr(garbage, "held_for", lambda: garbage.HELD_SPARE)
    task: Any = SimpleNamespace(options=SimpleNamespace(dry_run=False, held=True), line=print, result={})
    with pytest.raises(garbage.WharfError, match="and to delete takes longer than pushes are still held, 60 s"):
        garbage.collect_garbage(task, registry, delete_untagged=False)  # type: ignore[arg-type]
    assert registry.storage.exists(digest)


@pytest.mark.parametrize("seconds", [0, 30])
def test_on_several_servers_a_collection_ends_before_pushes_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    called: list[Any] = []

    def cli(*words: str, check: bool = True, timeout: float | None = None) -> str:
        called.append((words[0], timeout))
        if timeout == 30 - garbage.HELD_SPARE:
            raise garbage.WharfError("docker start: it did not end within -30 s")
        return "0 blobs marked, 0 blobs and 0 manifests eligible for deletion"

    monkeypatch.setattr(garbage, "cli", cli)
    monkeypatch.setattr(garbage, "held_for", lambda: seconds or 600)
    config = {"Env": ["AWS_SHARED_CREDENTIALS_FILE=/wharf/config/credentials"], "User": "5:5", "Cmd": ["serve", "c"]}
    host = {"Memory": 0, "NetworkMode": "bridge", "ExtraHosts": ["store.corp.test:192.0.2.9"]}
    inspected = {"Config": config, "HostConfig": host, "Image": "sha256:aa"}
    registry: Any = SimpleNamespace(
        container="reg", collector="gc", inspected=inspected, storage=garbage.Storage(tmp_path), driver="s3"
    )
    with pytest.raises(garbage.WharfError, match="did not end") if seconds else contextlib.nullcontext():
        garbage.registrys_collection(registry, False, False, is_held=True)
    expected = [("create", None), ("start", (seconds or 600) - garbage.HELD_SPARE)]
    assert called == [*expected, *([("rm", None)] if seconds else [])]
    words = read_only.container_options(registry)
    assert words[words.index("--network") + 1] == "bridge"
    assert words[words.index("--add-host") + 1] == "store.corp.test:192.0.2.9"
    assert words[words.index("--env") + 1] == config["Env"][0]

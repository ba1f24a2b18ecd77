"""wharf trim-caches: what goes, in which order, what stays, and what is fetched."""

from __future__ import annotations

import datetime
import json
import os
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import lock
from ansible_collections.wharf.registry.plugins.module_utils.api import Client
from ansible_collections.wharf.registry.plugins.module_utils.command import cli, registry, trim_caches
from ansible_collections.wharf.registry.plugins.module_utils.files import acting_as_owner
from tests.unit.served_registry import Handler, digest
from tests.unit.served_registry import registry as proxy  # noqa: F401
from tests.unit.stored_registry import StoredRegistry

HOUR = 3600
KIB = 1024
DEBIAN, NGINX, TOOL = "docker.io/library/debian", "docker.io/library/nginx", "ghcr.io/team/tool"


class Server:
    """A server with the caches of docker.io and ghcr.io."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.stored = place, StoredRegistry(place / "caches")
        self.storage = trim_caches.SharedStorage(self.stored.root)
        self.log = place / "gateway.log"
        self.free, self.asked = 100 << 30, lambda _slug: Client("127.0.0.1", 1)
        self.caches = [
            {"upstream": "docker.io", "slug": "docker.io", "size": 0, "keep": []},
            {"upstream": "ghcr.io", "slug": "ghcr.io", "size": 0, "keep": []},
        ]
        self.output = ""
        gateways = {"registry-gateway": {"Id": "g", "LogPath": str(self.log)}}
        monkeypatch.setattr(registry, "SETTINGS", place / "registry.json")
        monkeypatch.setattr(registry, "CONFIGURATION", place / "registry")
        monkeypatch.setattr(registry.data, "container", lambda _: None)
        monkeypatch.setattr(lock, "RESULTS", place / "results")
        monkeypatch.setattr(trim_caches, "STATE", place / "results/trim-caches.json")
        monkeypatch.setattr(trim_caches.caches, "LOCK", place / "lock")
        monkeypatch.setattr(trim_caches, "container", gateways.get)
        monkeypatch.setattr(trim_caches, "engine_runs", lambda: True)
        monkeypatch.setattr(trim_caches.caches, "direct", lambda slug, _timeout: self.asked(slug))
        monkeypatch.setattr(trim_caches.Trimming, "free", lambda _: self.free + self.deleted_bytes())
        monkeypatch.setattr(trim_caches.Trimming, "floor", lambda _: 1 << 30)
        monkeypatch.setattr(os, "fchown", lambda *_: None)
        self.before = self.blobs()

    def image(self, name: str, tag: str | None, content: str, hours: float, size: int = KIB) -> str:
        """Store an image, with a layer of this content and size, that was pulled so long ago and never since."""
        before = set(self.stored.top.rglob("*"))
        layers = [self.stored.layer(name, content.encode() * size)]
        config = self.stored.layer(name, b"config of " + content.encode())
        made = self.stored.manifest(name, tag, {"config": config, "layers": layers})
        self.grow_older(set(self.stored.top.rglob("*")) - before, hours)
        self.before = self.blobs()
        return made

    @staticmethod
    def grow_older(paths: Any, hours: float) -> None:
        for path in paths:
            os.utime(path, (time.time() - hours * HOUR,) * 2)

    def pulled(self, path: str, hours: float, method: str = "GET", event: str = "cached") -> None:
        """Let the gateway log a pull."""
        when = datetime.datetime.fromtimestamp(time.time() - hours * HOUR, datetime.UTC).isoformat(timespec="seconds")
        entry = {"log": f'{when} {event}: user "x" from 192.0.2.1: {method} /v2/{path}\n', "stream": "stdout"}
        with self.log.open("a") as file:
            file.write(json.dumps(entry, separators=(",", ":")) + "\n")

    def run(self, capsys: pytest.CaptureFixture[str], check: bool = False, if_needed: bool = False) -> int:
        """Run the subcommand; return its exit code."""
        settings = {"caches": {"data": str(self.stored.root), "upstreams": self.caches}}
        (self.place / "registry.json").write_text(json.dumps(settings))
        options = Namespace(subcommand="trim-caches", json=False, wait=0, check=check, if_needed=if_needed)
        task = cli.Task(options)
        code = task.perform(trim_caches.run)
        captured = capsys.readouterr()
        self.output, self.result = captured.out + captured.err, task.result
        return code

    def tags(self) -> set[str]:
        return {f"{name}:{tag}" for name, tag in self.storage.all_tags()}

    def blobs(self) -> dict[str, int]:
        paths = self.stored.top.glob("blobs/*/*/*/data")
        return {f"sha256:{path.parent.name}": path.stat().st_size for path in paths}

    def deleted_bytes(self) -> int:
        return sum(self.before.values()) - sum(self.blobs().values())


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(tmp_path, monkeypatch)


# What goes --------------------------------------------------------------------------------------------------------


def test_the_least_recently_pulled_images_go_until_a_cache_is_under_its_size(server, capsys) -> None:
    for tag, hours in (("1", 50), ("2", 40), ("3", 30), ("4", 20)):
        server.image(DEBIAN, tag, tag, hours, 10 * KIB)
    server.image(TOOL, "1", "t", 60, 10 * KIB)  # another cache, without a size
    server.caches[0]["size"] = 25 * KIB
    assert server.run(capsys) == 0
    assert server.tags() == {f"{DEBIAN}:3", f"{DEBIAN}:4", f"{TOOL}:1"}
    assert not server.storage.problems()
    assert len(server.blobs()) == 9
    assert "docker.io: 20.5 KiB of 25.0 KiB, 2 images" in server.output
    last = lock.read_result("trim-caches")
    assert (last.good, last.message) == (True, "deleted 2 images, 20.5 KiB")
    assert last.bytes == server.deleted_bytes() > 20 * KIB
    assert server.run(capsys) == 0
    assert lock.read_result("trim-caches").message == "deleted 0 images, 0 bytes"


def test_the_timer_runs_it_every_hour_and_at_once_on_a_full_disk(server, capsys, monkeypatch) -> None:
    def runs() -> bool:
        assert server.run(capsys, if_needed=True) == 0
        return server.output != ""

    server.image(DEBIAN, "1", "1", 50)
    assert (runs(), runs()) == (True, False)
    assert lock.read_result("trim-caches").good
    server.free = 1 << 29
    server.image(DEBIAN, "2", "2", 40, 1 << 20)
    assert server.run(capsys, if_needed=True) == 1  # too little can go
    assert not server.tags()
    server.free = 100 << 30
    assert not runs()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3601)
    assert runs()
    monkeypatch.setattr(time, "time", lambda: now - 3601)  # somebody has set the clock back
    assert runs()


def test_the_gateway_s_log_says_what_was_pulled_and_is_remembered(server, capsys) -> None:
    digests = {tag: server.image(DEBIAN, tag, tag, hours, KIB) for tag, hours in (("1", 50), ("2", 40), ("3", 30))}
    server.pulled("docker.io/library/debian/manifests/1", 5, "HEAD")
    server.pulled(f"docker.io/library/debian/manifests/{digests['2']}", 4, event="pulled")  # wharf_log_pulls
    server.pulled("docker.io/library/debian/manifests/3", 3, event="denied")
    assert server.run(capsys) == 0
    server.caches[0]["size"] = 3 * KIB
    server.log.unlink()  # it may have been rotated away
    assert server.run(capsys) == 0
    assert server.tags() == {f"{DEBIAN}:1", f"{DEBIAN}:2"}
    assert list(json.loads(trim_caches.STATE.read_text())["pulled"][DEBIAN]) == ["1", digests["2"]]
    server.caches[0]["size"] = 2 * KIB
    assert server.run(capsys) == 0
    assert server.tags() == {f"{DEBIAN}:2"}
    # Nobody remembers what is not there any more.
    assert list(json.loads(trim_caches.STATE.read_text())["pulled"][DEBIAN]) == [digests["2"]]
    assert trim_caches.STATE.stat().st_mode & 0o777 == 0o600


def test_a_tag_was_pulled_when_a_part_of_its_index_was(server, capsys) -> None:
    parts = [server.image(DEBIAN, None, content, 60) for content in "ab"]
    server.stored.manifest(DEBIAN, "13", {"manifests": [{"digest": one} for one in parts]})
    server.image(DEBIAN, "1", "1", 50)
    server.grow_older(server.stored.top.rglob("*"), 60)
    server.before = server.blobs()
    server.pulled(f"docker.io/library/debian/manifests/{parts[1]}", 20)
    server.caches[0]["size"] = 3 * KIB
    assert server.run(capsys) == 0
    assert server.tags() == {f"{DEBIAN}:13"}
    assert server.storage.revisions(DEBIAN) >= set(parts)
    assert server.result["caches"]["docker.io"]["images"] == 1
    # And the parts go with it, and with them the repository.
    server.caches[0]["size"] = 1
    assert server.run(capsys) == 0
    assert (server.blobs(), server.storage.repositories()) == ({}, [])
    assert [path.name for path in (server.stored.top / "repositories").iterdir()] == ["docker.io"]


def test_what_is_kept_or_was_pulled_within_an_hour_stays(server, capsys) -> None:
    server.image(DEBIAN, "13", "kept", 90)
    server.image(DEBIAN, "12", "pulled", 80)
    server.image(NGINX, "1", "stored", 0.5)
    server.image(NGINX, "2", "old", 70)
    server.image(NGINX, "3", "just being pulled", 60)
    server.grow_older([server.storage.layer_link(NGINX, digest(b"just being pulled" * KIB))], 0.5)
    server.pulled("docker.io/library/debian/manifests/12", 0.9)
    server.caches[0] |= {"size": 1, "keep": ["library/debian:13"]}
    assert server.run(capsys) == 0
    assert f"{DEBIAN}:13 is there; whether it has changed is not known: the registry does not answer" in server.output
    assert server.result["caches"]["docker.io"]["fetched"] is None
    assert server.tags() == {f"{DEBIAN}:13", f"{DEBIAN}:12", f"{NGINX}:1", f"{NGINX}:3"}


def test_blobs_that_another_image_needs_stay(server, capsys) -> None:
    server.image(DEBIAN, "1", "shared", 50)
    server.image(DEBIAN, "2", "own", 45)
    server.image(TOOL, "1", "shared", 40)
    server.caches[0]["size"] = 1
    assert server.run(capsys) == 0
    assert server.tags() == {f"{TOOL}:1"}
    assert not server.storage.problems(contents=True)
    assert len(server.blobs()) == 3


def test_what_shares_all_with_an_image_that_stays_stays_as_well(server, capsys) -> None:
    for tag, content in (("trixie", "one"), ("old", "two"), ("13", "one")):
        server.image(DEBIAN, tag, content, 90, 10 * KIB)
    server.grow_older(server.stored.top.rglob("*"), 90)
    server.grow_older([server.storage.tag_link(DEBIAN, "old")], 50)
    server.grow_older([server.storage.tag_link(DEBIAN, "13")], 40)
    server.caches[0]["size"] = 45 * KIB
    assert server.run(capsys) == 0
    assert server.tags() == {f"{DEBIAN}:13", f"{DEBIAN}:trixie"}


def test_images_without_a_tag_are_images(server, capsys) -> None:
    overwritten = server.image(DEBIAN, "13", "before", 50)
    server.image(DEBIAN, "13", "after", 40)
    server.grow_older(server.stored.top.rglob("*"), 40)
    server.run(capsys)
    assert server.result["caches"]["docker.io"]["images"] == 2
    server.grow_older([server.storage.revision(DEBIAN, overwritten) / "link"], 90)
    server.caches[0]["size"] = 10 * KIB
    server.run(capsys)
    assert server.storage.has_revision(DEBIAN, overwritten) is False
    assert server.tags() == {f"{DEBIAN}:13"}
    assert not server.storage.problems()


def test_what_pulls_that_broke_off_have_left_goes_after_an_hour(server, capsys) -> None:
    server.image(DEBIAN, "13", "whole", 50)
    for content in (b"new", b"old"):
        server.stored.layer(DEBIAN, content)
        server.stored.blob(content + b" without a link")
    old = (digest(b"old"), digest(b"old without a link"))
    server.grow_older([server.storage.layer_link(DEBIAN, old[0]), *map(server.storage.blob_path, old)], 2)
    before = server.blobs()
    assert server.run(capsys) == 0
    assert before.keys() - server.blobs().keys() == set(old)
    assert not os.path.lexists(server.storage.layer_link(DEBIAN, old[0]))
    assert "repository" not in server.output  # none of them is an image


def test_what_a_killed_import_has_left_goes(server, capsys) -> None:
    left = server.stored.root / "import"
    left.mkdir()
    (left / "half").touch()
    with lock.lock("import-images", path=trim_caches.caches.LOCK):
        server.run(capsys)
    server.run(capsys, check=True)
    assert (left / "half").exists()
    assert server.run(capsys) == 0
    assert not left.exists()


@pytest.mark.parametrize("damage", ["{", ""])
def test_a_manifest_that_cannot_be_read_goes_as_the_others(server, capsys, damage: str) -> None:
    made = server.image(DEBIAN, "13", "one", 50)
    server.storage.blob_path(made).write_text(damage)
    server.image(DEBIAN, "12", "two", 40)
    server.grow_older(server.stored.top.rglob("*"), 50)
    server.caches[0]["size"] = 1
    assert server.run(capsys) == 0
    assert server.blobs() == {}


@pytest.mark.parametrize(
    ("lacking", "left"),
    [
        (0, {"kept", "now", "recent", "old"}),
        (1, {"kept", "now", "recent"}),
        (15 * KIB, {"kept", "now"}),
        (90 * KIB, {"kept", "now"}),
    ],
)
def test_a_full_disk_leaves_only_what_is_pulled_now(server, capsys, lacking: int, left: set[str]) -> None:
    for tag, hours in (("kept", 80), ("old", 50), ("recent", 0.3), ("now", 0.01)):
        server.image(TOOL, tag, tag, hours, 3 * KIB)
    server.caches[1]["keep"] = ["team/tool:kept"]
    server.free = (1 << 30) - lacking
    server.run(capsys)
    assert {tag for _, tag in server.storage.all_tags()} == left
    assert ("nothing more can go: make room" in server.output) is (lacking > 30 * KIB)


def test_a_plan_changes_nothing(server, capsys) -> None:
    server.image(DEBIAN, "1", "one", 50)
    server.image(DEBIAN, "2", "two", 40)
    server.caches[0] |= {"size": 5 * KIB, "keep": ["library/debian:2", "library/nginx:1"]}
    before = {path: path.lstat().st_mtime for path in server.place.rglob("*")}
    assert server.run(capsys, check=True) == 0
    lines = server.output.splitlines()
    assert lines[1].split()[:2] == [DEBIAN, "1"]
    assert lines[1].endswith("more than 5.0 KiB")
    assert lines[2].startswith("would be freed: 3 blobs, 3.")
    assert lines[3] == f"would be fetched: {NGINX}:1"
    assert {path: before.get(path) for path in server.place.rglob("*")} == before | {
        server.place / "registry.json": None
    }


def test_a_run_that_is_cut_off_leaves_whole_images(server, capsys, monkeypatch) -> None:
    """Wherever it ends, all tags that are left are whole, and the next run removes the rest."""
    for tag, hours in (("1", 50), ("2", 40), ("3", 0)):
        server.image(DEBIAN, tag, tag, hours)
        server.image(TOOL, tag, "3", hours)
    server.caches[0]["size"] = server.caches[1]["size"] = 1
    remove, left = trim_caches.remove_in_place, 0

    def cut_off(path: Path, only_empty: bool = False) -> None:
        nonlocal left
        if (left := left - 1) < 0:
            raise KeyboardInterrupt
        remove(path, only_empty)

    monkeypatch.setattr(trim_caches, "remove_in_place", cut_off)
    codes = []
    for rounds in range(1, 60):
        left = rounds
        codes.append(server.run(capsys))
        assert not server.storage.problems()
        assert server.tags() >= {f"{DEBIAN}:3", f"{TOOL}:3"}
    assert set(codes) == {0, 1}
    assert server.tags() == {f"{DEBIAN}:3"} | {f"{TOOL}:{tag}" for tag in "123"}
    assert len(server.blobs()) == 3


# Who else writes there --------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as others")
@pytest.mark.parametrize("place", ["blobs/sha256/{start}", "repositories/docker.io/library", "blobs/sha256"])
def test_no_link_is_followed(server, capsys, tmp_path: Path, place: str) -> None:
    """Whoever has broken into a cache's container has laid one to the registry's images, which the same user has."""
    made = server.image(DEBIAN, "1", "one", 50)
    path = server.stored.top / place.format(start=made[7:9])
    other = tmp_path / "other"
    path.rename(other)
    path.symlink_to(other)
    for one in (tmp_path, *tmp_path.rglob("*")):
        os.chown(one, 59500, 59500, follow_symlinks=False)
    before = set(other.rglob("*"))
    server.caches[0]["size"] = 1
    server.run(capsys)
    assert set(other.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as others")
def test_what_is_not_the_registry_s_stays(server, capsys) -> None:
    server.image(DEBIAN, "1", "one", 50)
    for one in (server.stored.root, *server.stored.root.rglob("*")):
        os.chown(one, 59500, 59500)
    tags = server.storage.repository(DEBIAN) / "_manifests/tags"
    for one in (tags, *tags.rglob("*")):
        os.chown(one, 0, 0)
    server.caches[0]["size"] = 1
    assert server.run(capsys) == 1
    assert "_manifests/tags/1 cannot be deleted: Permission denied" in server.output
    assert server.tags() == {f"{DEBIAN}:1"}
    for one in (tags, *tags.rglob("*")):
        os.chown(one, 59500, 59500)
    with acting_as_owner(server.stored.top / "blobs"):
        assert os.geteuid() == 59500
    assert server.run(capsys) == 0
    assert (server.tags(), server.blobs(), os.geteuid()) == (set(), {}, 0)


# What is fetched --------------------------------------------------------------------------------------------------


class Upstream:
    """The proxy of a cache, and what lies behind it; it stores as it serves."""

    def __init__(self, served: Any, server: Server, slug: str) -> None:
        self.served, self.server, self.slug = served, server, slug
        self.contents: dict[tuple[str, str], bytes] = {}
        served.instead = self.answer
        server.asked = lambda asked: Client("127.0.0.1", served.port) if asked == slug else Client("127.0.0.1", 1)

    def image(self, name: str, content: bytes) -> dict[str, Any]:
        config = b"config of " + content
        for one in (content, config):
            self.contents[name, digest(one)] = one
        layers = [{"digest": digest(content), "size": len(content)}]
        return self.manifest(name, {"config": {"digest": digest(config), "size": len(config)}, "layers": layers})

    def manifest(self, name: str, manifest: dict[str, Any], tag: str = "") -> dict[str, Any]:
        content = json.dumps(manifest).encode()
        self.contents[name, digest(content)] = content
        if tag:
            self.contents[name, tag] = content
        return {"digest": digest(content), "size": len(content)}

    def answer(self, handler: Handler) -> None:
        name, kind, reference = handler.path.removeprefix("/v2/").rsplit("/", 2)
        content = self.contents.get((name, reference))
        if content is None:
            return handler.error(404, "UNKNOWN", "unknown")
        stored, name = self.server.stored, f"{self.slug}/{name}"
        if kind == "blobs":
            stored.layer(name, content)
        else:
            stored.manifest(name, reference if ":" not in reference else None, json.loads(content))
        return handler.answer(200, content)

    def asked(self) -> list[str]:
        """Return what was asked for since, and forget it."""
        paths = [path for _, path, _ in self.served.requests]
        self.served.requests.clear()
        return paths


@pytest.fixture
def upstream(server, proxy) -> Upstream:  # noqa: F811
    return Upstream(proxy, server, "docker.io")


def test_what_is_kept_is_fetched_for_all_platforms_and_once(server, upstream, capsys) -> None:
    parts = [upstream.image("library/debian", content) for content in (b"amd64", b"arm64")]
    upstream.manifest("library/debian", {"manifests": parts}, "13")
    server.caches[0] |= {"keep": ["library/debian:13"], "size": 1}
    assert server.run(capsys) == 0
    assert server.tags() == {f"{DEBIAN}:13"}
    assert server.storage.summary()["problems"] == []
    assert len(server.blobs()) == 7
    assert len([path for path in upstream.asked() if "/blobs/" in path]) == 4
    assert lock.read_result("trim-caches").message == "deleted 0 images, 0 bytes; fetched 40 bytes that are kept"
    assert "; 1 kept image fetched 0 seconds ago" in server.output
    assert server.run(capsys) == 0
    assert len(upstream.asked()) == 3  # the tag, which may have changed, and what it leads to
    assert server.result["changed"] is False
    # What is cut short is fetched anew, as the plan says.
    blob = server.storage.blob_path(digest(b"amd64"))
    blob.write_bytes(b"amd6")
    server.run(capsys, check=True)
    assert f"would be fetched: {DEBIAN}:13" in server.output
    assert server.run(capsys) == 0
    assert [path for path in upstream.asked() if "/blobs/" in path] == [f"/v2/library/debian/blobs/{digest(b'amd64')}"]
    assert blob.read_bytes() == b"amd64"
    # What is there for another repository is not there for this one.
    server.storage.layer_link(DEBIAN, digest(b"arm64")).unlink()
    assert server.run(capsys) == 0
    assert [path for path in upstream.asked() if "/blobs/" in path] == [f"/v2/library/debian/blobs/{digest(b'arm64')}"]


def test_what_cannot_be_fetched_is_told_and_the_rest_is_fetched(server, upstream, capsys) -> None:
    upstream.manifest("library/debian", {"manifests": [upstream.image("library/debian", b"x")]}, "13")
    server.caches[0]["keep"] = ["library/nginx:1", "library/debian:13"]
    server.caches[1]["keep"] = ["team/tool:1"]
    assert server.run(capsys) == 1
    assert server.tags() == {f"{DEBIAN}:13"}
    last = lock.read_result("trim-caches")
    assert not last.good
    assert f"{NGINX}:1 could not be fetched: " in last.message
    assert f"{TOOL}:1 could not be fetched: the registry does not answer" in last.message
    assert server.result["caches"]["docker.io"]["fetched"] is None
    assert "2 kept images not yet fetched whole" in server.output


def test_what_a_cache_without_an_upstream_keeps_stays_and_is_not_fetched(server, upstream, capsys) -> None:
    server.image(DEBIAN, "13", "kept", 90)
    server.image(DEBIAN, "12", "old", 80)
    server.caches[0] |= {"keep": ["library/debian:13", "library/nginx:1"], "size": 1, "offline": True}
    server.asked = None
    assert server.run(capsys, check=True) == 0
    assert "would be fetched" not in server.output
    assert "not there before a bundle brings it: docker.io/library/nginx:1" in server.output
    assert server.run(capsys) == 0
    assert server.tags() == {f"{DEBIAN}:13"}
    assert ", 1 image; 2 kept images\n" in server.output
    assert server.result["caches"]["docker.io"]["offline"]


def test_nothing_is_fetched_where_there_is_no_room(server, upstream, capsys) -> None:
    made = upstream.image("library/debian", b"layer")
    upstream.manifest("library/debian", {"manifests": [made]}, "13")
    server.caches[0]["keep"] = ["library/debian:13"]
    server.free = (1 << 30) + 3
    assert server.run(capsys) == 1
    assert "could not be fetched: only 1024.0 MiB free" in server.output
    assert not any("/blobs/" in path for path in upstream.asked())


def test_the_timer_asks_the_upstreams_once_an_hour_on_a_full_disk_too(server, upstream, capsys, monkeypatch) -> None:
    upstream.manifest("library/debian", {"manifests": [upstream.image("library/debian", b"x")]}, "13")
    server.caches[0]["keep"] = ["library/debian:13", "library/nginx:1"]
    server.free = (1 << 30) - 1
    codes, now = [], time.time()
    for minutes in (0, 5, 55, 61):
        monkeypatch.setattr(time, "time", lambda later=minutes * 60: now + later)
        server.image(TOOL, str(minutes), str(minutes), 50, KIB)  # so that what is lacking can go
        codes.append((server.run(capsys, if_needed=True), bool(upstream.asked())))
        assert f"{NGINX}:1 could not be fetched: " in server.output
        assert not server.storage.tags(TOOL)
    assert codes == [(1, True), (1, False), (1, False), (1, True)]
    server.free = 100 << 30
    assert server.run(capsys, if_needed=True) == 0
    assert server.output == ""
    assert server.run(capsys) == 1  # whoever starts it asks at once
    assert upstream.asked()


@pytest.mark.parametrize("tag", ["new", None])
def test_what_is_pulled_while_its_layers_are_deleted_is_fetched_again(
    server, upstream, capsys, monkeypatch, tag: str | None
) -> None:
    server.image(DEBIAN, "old", "shared", 50)
    content, stored = b"shared" * KIB, server.stored
    new = upstream.image("library/nginx", content)
    if tag:
        upstream.manifest("library/nginx", json.loads(upstream.contents["library/nginx", new["digest"]]), tag)
    server.caches[0]["size"] = 1
    remove = trim_caches.remove_in_place

    def meanwhile(path: Path, only_empty: bool = False) -> None:
        if path == server.storage.blob_path(digest(content)).parent:
            stored.manifest(NGINX, tag, json.loads(upstream.contents["library/nginx", new["digest"]]))
            stored.layer(NGINX, b"config of " + content)
            stored.link(f"{NGINX}/_layers/{digest(content).replace(':', '/')}", digest(content))
        remove(path, only_empty)

    monkeypatch.setattr(trim_caches, "remove_in_place", meanwhile)
    assert server.run(capsys) == 0
    assert server.storage.revisions(NGINX) == {new["digest"]}
    assert not list(server.storage.damage())
    assert server.storage.blob_path(digest(content)).read_bytes() == content


def test_what_is_pulled_before_the_blobs_go_keeps_them(server, capsys, monkeypatch) -> None:
    server.image(DEBIAN, "old", "shared", 50)
    server.caches[0]["size"] = 1
    remove_links: Callable[..., None] = trim_caches.Trimming.remove_links

    def meanwhile(trimming: Any, *arguments: Any) -> None:
        remove_links(trimming, *arguments)
        server.stored.image(NGINX, "new", b"shared" * KIB)

    monkeypatch.setattr(trim_caches.Trimming, "remove_links", meanwhile)
    assert server.run(capsys) == 0
    assert server.tags() == {f"{NGINX}:new"}
    assert not server.storage.problems()


# The subcommand ---------------------------------------------------------------------------------------------------


def test_without_caches_or_without_an_engine_there_is_nothing_to_do(server, capsys, monkeypatch) -> None:
    (server.place / "registry.json").write_text("{}")
    task = cli.Task(Namespace(subcommand="trim-caches", json=False, wait=0, check=False, if_needed=False))
    assert task.perform(trim_caches.run) == 0
    assert "there is no cache here" in capsys.readouterr().out
    monkeypatch.setattr(trim_caches, "engine_runs", lambda: False)
    assert server.run(capsys) == 0
    assert not (server.place / "results").exists()


def test_only_one_works_at_a_time_and_a_plan_waits_for_nobody(server, capsys) -> None:
    with lock.lock("trim-caches", path=trim_caches.caches.LOCK):
        assert server.run(capsys) == 1
        assert "trim-caches is at work" in server.output
        assert server.run(capsys, check=True) == 0
        assert server.run(capsys, if_needed=True) == 0  # the timer, while a bundle is read or written
        assert server.output == ""


def test_a_disk_that_is_not_mounted_is_no_empty_cache(server, capsys) -> None:
    server.stored.root.rename(server.place / "elsewhere")
    assert server.run(capsys) == 1
    assert "caches is not a directory" in server.output

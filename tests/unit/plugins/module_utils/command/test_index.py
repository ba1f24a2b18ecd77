"""wharf index: what the page shows of a registry's storage, for each group of users, and only what has changed anew."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import access, lock, storage
from ansible_collections.wharf.registry.plugins.module_utils.api import Client
from ansible_collections.wharf.registry.plugins.module_utils.command import cli, index, registry
from ansible_collections.wharf.registry.plugins.module_utils.lock import Result
from ansible_collections.wharf.registry.plugins.module_utils.manifests import digest_of
from tests.unit.stored_bucket import S3, StoredBucket, stored_bucket  # noqa: F401
from tests.unit.stored_registry import StoredRegistry

pytest_plugins = ["tests.unit.served_registry"]

USERS = [
    *({"name": name, "role": "reader"} for name in ("kiosk", "eve")),
    {"name": "ann", "role": "writer"},
    {"name": "root", "role": "admin"},
]
RULES = [{"repositories": "secret/**", "read": [], "write": ["ann"]}]
CONFIG = "application/vnd.oci.image.config.v1+json"
SIGNATURE = "application/vnd.dev.cosign.simplesigning.v1+json"


class Page:
    """A registry's storage, its users, and the files that are made of them."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.stored, self.index, self.users, self.rules = StoredRegistry(place / "data"), place / "index", USERS, RULES
        self.more: dict[str, Any] = {}
        self.log, self.gateway = "", "first"
        self.gid = os.getegid()
        self.settings, self.monkeypatch, self.capsys = place / "registry.json", monkeypatch, capsys
        mount = {"Destination": "/var/lib/registry", "Source": str(self.stored.root)}
        monkeypatch.setattr(registry, "SETTINGS", self.settings)
        monkeypatch.setattr(registry.data, "container", lambda _: {"Mounts": [mount], "Config": {"Env": []}})
        monkeypatch.setattr(index, "INDEX", self.index)
        monkeypatch.setattr(index, "engine_runs", lambda: self.engine)
        monkeypatch.setattr(registry, "CONFIGURATION", place / "registry")
        self.index.mkdir(mode=0o750)
        self.engine = True
        monkeypatch.setattr(index, "get_data", lambda package, name: f"{package} {name}".encode())
        monkeypatch.setattr(index, "look", self.look)
        monkeypatch.setattr(index, "read_result", lambda _: None)
        monkeypatch.setattr(lock, "RESULTS", place / "results")
        self.counted: list[int | None] = []

    def look(self, _registry: Any, result: dict[str, Any], used: int | None) -> None:
        """Say how the registry is, as `wharf status`, of which there are tests of its own."""
        self.counted.append(used)
        result |= {"problems": [], "storage": {"used": 5 if used is None else used}}

    def failure(self) -> str:
        """Run the command, which fails; return why."""
        with pytest.raises(AssertionError):
            self.run()
        return self.error

    def run(self) -> list[str]:
        """Run the command; return the repositories that have changed."""
        settings = {"uid": self.gid, "users": self.users, "rules": self.rules, "retention": []}
        self.settings.write_text(json.dumps(settings | self.more))
        self.monkeypatch.setattr(sys, "argv", ["wharf", "index", "--json"])
        code = cli.main()
        output, self.error = self.capsys.readouterr()
        assert (code, self.error) == (0, "")
        return json.loads(output)["repositories"]

    def later(self, seconds: float = 10) -> None:
        """Let time go by: what is stored is older."""
        for path in self.stored.top.rglob("*"):
            facts = path.lstat()
            when = facts.st_mtime_ns - int(seconds * 10**9)
            os.utime(path, ns=(when, when), follow_symlinks=False)

    def image(self, name: str, tag: str | None, *layers: bytes, **more: Any) -> str:
        """Store an image as a client pushes it; return its digest."""
        config = {"os": "linux", "architecture": "amd64", "layers": [layer.decode() for layer in layers]}
        descriptor = self.stored.layer(name, json.dumps(config).encode()) | {"mediaType": CONFIG}
        manifest = {"config": descriptor, "layers": [self.stored.layer(name, layer) for layer in layers], **more}
        return self.stored.manifest(name, tag, manifest)

    def signature(self, name: str, tag: str | None, of: str = "") -> str:
        subject = {"subject": {"digest": of}} if of else {}
        layers = [self.stored.layer(name, f"signature {tag} {of}".encode()) | {"mediaType": SIGNATURE}]
        config = self.stored.layer(name, b"{}") | {"mediaType": CONFIG}
        return self.stored.manifest(name, tag, {"config": config, "layers": layers, **subject})

    def read(self, kind: str, user: str) -> Any:
        """Return the list, or what is shared, that a user may read."""
        return json.loads(
            (self.index / f"{kind}-{access.reading_class(self.users, self.rules, user)}.json").read_text()
        )

    def names(self, user: str) -> list[str]:
        return [row[0] for row in self.read("list", user)["repositories"]]

    def tags(self, name: str) -> dict[str, dict[str, Any]]:
        """Return what the page makes of a repository's file."""
        file = json.loads((self.index / "tags" / name / "_.json").read_text())
        found = {tag["name"]: file["manifests"][tag.pop("manifest")] | tag for tag in file["tags"]}
        for tag in found.values():
            parts = tag.pop("parts", [])
            assert set(parts) <= file["attached"].keys()
            tag["attached"] = [one | {"of": part} for part in parts for one in file["attached"][part]]
        return found

    def files(self) -> dict[str, tuple[int, int, int]]:
        """Return all files below the index and what changes when one is written."""
        found = {path: path.stat() for path in self.index.rglob("*") if path.is_file() and path.suffix == ".json"}
        return {str(p.relative_to(self.index)): (s.st_ino, s.st_mtime_ns, s.st_size) for p, s in found.items()}


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Page:
    return Page(tmp_path, monkeypatch, capsys)


def size(page: Page, *digests: str) -> int:
    paths = (page.stored.top / "blobs/sha256" / one[7:9] / one[7:] / "data" for one in digests)
    return sum(path.stat().st_size for path in paths)


# Who reads what ---------------------------------------------------------------------------------------------------


def test_nothing_of_a_repository_is_in_the_files_of_those_who_may_not_read_it(page: Page) -> None:
    for name in ("open/app", "open/other", "secret/app", "secret/other"):
        page.image(name, "1", b"everywhere", name.encode())
    page.image("secret/app", "2", b"only in secret", b"x")
    page.image("secret/other", "2", b"only in secret", b"y")
    page.image("open/app", "3", b"once in the open")
    page.image("secret/app", "3", b"once in the open")
    page.run()
    assert page.names("ann") == page.names("root") == ["open/app", "open/other", "secret/app", "secret/other"]
    assert page.names("kiosk") == page.names("eve") == ["open/app", "open/other"]
    everywhere, secret, once = map(page.stored.blob, (b"everywhere", b"only in secret", b"once in the open"))
    assert {image[0] for image in page.read("shared", "root")[everywhere]} == set(page.names("root"))
    assert page.read("shared", "root").keys() == {everywhere, secret, once}
    # Not even that somebody else has the layer, too.
    assert page.read("shared", "kiosk") == {everywhere: [["open/app", "1"], ["open/other", "1"]]}
    kind = access.reading_class(USERS, RULES, "kiosk")
    for path in (page.index / f"list-{kind}.json", page.index / f"shared-{kind}.json"):
        assert "secret" not in path.read_text()


def test_a_user_more_or_other_rules_make_other_lists(page: Page) -> None:
    page.image("open/app", "1", b"x")
    page.image("secret/app", "1", b"y")
    page.run()
    old = {path.name for path in page.index.glob("*-*.json")}
    page.rules = [{"repositories": "open/**", "read": [], "write": []}]
    page.run()
    assert (page.names("kiosk"), page.names("root")) == (["secret/app"], ["open/app", "secret/app"])
    # The lists of before are nobody's: under its number now stands another rule.
    assert {path.name for path in page.index.glob("*-*.json")} & old == {"list-all.json", "shared-all.json"}
    page.users = [*USERS, {"name": "bob", "role": "reader"}]
    page.rules = [*page.rules, {"repositories": "secret/app", "read": ["bob"], "write": []}]
    page.run()
    assert (page.names("bob"), page.names("kiosk")) == (["secret/app"], [])


def test_of_another_gateway_all_files_are_written_anew(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.image("app", "1", b"x")
    page.later()
    page.run()
    before = page.files()
    for name in ("chown", "fchown"):  # tests need not be root's
        monkeypatch.setattr(os, name, lambda *_: None)
    page.gid += 1
    page.run()
    assert before.keys() == page.files().keys()
    assert not before.items() & page.files().items()


def test_a_registry_that_is_open_to_everybody_has_one_list(page: Page) -> None:
    page.users, page.rules = [], []
    page.image("app", "1", b"x")
    page.run()
    assert {path.name for path in page.index.glob("*-*.json")} == {"list-all.json", "shared-all.json"}
    assert page.names("anybody") == ["app"]


def test_the_gateway_may_read_the_index_and_not_the_state(page: Page) -> None:
    page.image("team/app", "1", b"x")
    page.run()
    modes = {str(path.relative_to(page.index)): path.stat() for path in (page.index, *page.index.rglob("*"))}
    assert {path: oct(facts.st_mode & 0o777) for path, facts in modes.items() if path.startswith("state")}[
        "state"
    ] == "0o700"
    for path, facts in modes.items():
        if not path.startswith("state"):
            assert oct(facts.st_mode & 0o777) == ("0o750" if (page.index / path).is_dir() else "0o640"), path
            assert (facts.st_uid, facts.st_gid) == (os.geteuid(), os.getegid())


# What has changed -------------------------------------------------------------------------------------------------


def test_what_has_not_changed_is_not_written(page: Page) -> None:
    for name in ("a", "b", "secret/c"):
        page.image(name, "1", name.encode())
    page.later()
    assert page.run() == ["a", "b", "secret/c"]
    before = page.files()
    assert page.run() == []
    assert page.files() == before
    page.image("secret/c", "2", b"new")
    assert page.run() == ["secret/c"]
    changed = {name for name, facts in page.files().items() if before.get(name) != facts}
    # The lists of those who may not read it are as they were.
    assert changed == {"tags/secret/c/_.json", "list-all.json"}


def test_a_tag_that_is_overwritten_leads_to_the_new_image(page: Page) -> None:
    first = page.image("app", "1", b"first")
    page.later()
    page.run()
    second = page.image("app", "1", b"second")
    assert page.run() == ["app"]
    assert [page.tags("app")["1"]["digest"], first != second] == [second, True]
    assert abs(page.tags("app")["1"]["pushed"] - time.time()) < 5
    assert page.read("list", "root")["repositories"][0][1] == 1


def test_two_pushes_at_the_same_moment_are_both_seen(page: Page) -> None:
    """A file system's clock ticks every few milliseconds: the second one leaves the time as it was."""
    page.image("app", "1", b"first")
    link = page.stored.top / "repositories/app/_manifests/tags/1/current/link"
    page.run()
    before = link.stat()
    second = page.image("app", "1", b"second")
    os.utime(link, ns=(before.st_atime_ns, before.st_mtime_ns))
    page.run()
    assert page.tags("app")["1"]["digest"] == second


def test_a_tag_that_was_copied_with_an_older_time_is_seen(page: Page) -> None:
    """As on a standby: of the links each has the time of its push, and of the directories none."""
    page.image("app", "1", b"first")
    page.later()
    page.run()
    second = page.image("app", "1", b"second")
    os.utime(page.stored.top / "repositories/app/_manifests/tags/1/current/link", (1_700_000_000, 1_700_000_000))
    assert page.run() == ["app"]
    assert [page.tags("app")["1"][key] for key in ("digest", "pushed")] == [second, 1_700_000_000]


def test_a_tag_and_a_repository_that_are_deleted_are_gone(page: Page) -> None:
    for name in ("app", "app/part", "other"):
        for tag in ("1", "2"):
            page.image(name, tag, b"base", tag.encode())
    page.later()
    page.run()
    top = page.stored.top / "repositories"
    shutil.rmtree(top / "app/_manifests/tags/1")
    assert page.run() == ["app"]
    assert page.tags("app").keys() == {"2"}
    shutil.rmtree(top / "other")
    shutil.rmtree(top / "app/part/_manifests/tags")  # its layers are still there
    assert page.run() == ["app/part", "other"]
    assert page.names("root") == ["app"]
    assert sorted(name for name in page.files() if name.startswith("tags/")) == ["tags/app/_.json"]
    assert not (page.index / "tags/other").exists()
    assert page.read("shared", "root") == {}
    shutil.rmtree(top)
    page.run()
    assert page.names("root") == []


def test_repositories_whose_names_look_like_files_do_not_get_in_the_way(page: Page) -> None:
    names = ["a", "a.json", "a/b", "a/b.json/c", "b" * 255]
    for name in names:
        page.image(name, "1", name.encode())
    page.run()
    assert page.names("root") == names
    assert [list(page.tags(name)) for name in names] == [["1"]] * 5


def test_only_a_state_that_is_damaged_is_thrown_away(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.image("app", "1", b"x")
    page.run()
    before, state = page.files(), (page.index / "state/state.db").read_bytes()

    class Full(sqlite3.Connection):
        def execute(self, *_: Any) -> Any:
            raise sqlite3.OperationalError("database or disk is full")

    connect = sqlite3.connect
    monkeypatch.setattr(index.sqlite3, "connect", lambda *args, **more: connect(*args, factory=Full, **more))
    monkeypatch.setattr(sys, "argv", ["wharf", "index"])
    assert cli.main() == 1
    assert "database or disk is full" in page.capsys.readouterr().err
    assert (page.files(), (page.index / "state/state.db").read_bytes()) == (before, state)
    monkeypatch.undo()
    for message, is_there in (("disk I/O error", True), ("database disk image is malformed", False)):
        with pytest.raises(index.WharfError, match=message), index.opened(page.index / "state"):
            raise sqlite3.DatabaseError(message)  # while it works
        assert (page.index / "state/state.db").exists() == is_there
    (page.index / "state/state.db").mkdir()
    with pytest.raises(index.WharfError, match="unable to open"), index.opened(page.index / "state"):
        pass


def test_without_a_state_the_page_has_its_tags_until_they_are_read_again(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("app", "old", "old/part"):
        page.image(name, "1", b"x")
    page.run()
    (page.index / "state/state.db").unlink()
    shutil.rmtree(page.stored.top / "repositories/old/_manifests")
    before = page.files()
    with monkeypatch.context() as patch:
        patch.setattr(index.Index, "_write_lists", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        patch.setattr(sys, "argv", ["wharf", "index"])
        assert cli.main() == 1
    page.capsys.readouterr()
    assert page.files() == before
    page.run()
    assert sorted(name for name in page.files() if name.startswith("tags/")) == [
        "tags/app/_.json",
        "tags/old/part/_.json",
    ]


@pytest.mark.parametrize("damage", ["gone", "damaged", "other version"])
def test_without_a_state_all_is_read_again(page: Page, damage: str) -> None:
    page.image("app", "1", b"x")
    page.image("old", "1", b"x")
    page.run()
    state = page.index / "state/state.db"
    if damage == "gone":
        state.unlink()
    elif damage == "damaged":
        state.write_bytes(b"no database" * 1000)
    else:
        sqlite3.connect(state).execute("PRAGMA user_version = 99")
    shutil.rmtree(page.stored.top / "repositories/old")
    assert page.run() == ["app"]
    assert (page.names("root"), (page.index / "tags/old").exists()) == (["app"], False)


def test_nothing_waits_for_the_disk_and_after_a_power_loss_all_is_written_again(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []
    monkeypatch.setattr(index.os, "fsync", waits.append)
    page.image("app", "1", b"x")
    page.later()
    page.run()
    assert len(waits) == 1  # how it ended, which `wharf status` tells
    before = {name: (page.index / name).read_bytes() for name in page.files()}
    for name in before:
        (page.index / name).write_bytes(b"")  # as some file systems leave it
    page.run()
    assert not (page.index / "tags/app/_.json").read_bytes()
    boot = page.index.parent / "boot_id"
    boot.write_text("another")
    monkeypatch.setattr(index, "BOOT_ID", str(boot))
    page.run()
    after = {name: (page.index / name).read_bytes() for name in page.files()}
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} <= {
        name for name in before if name.startswith(("list-", "status"))
    }
    assert page.names("root") == ["app"]


def test_a_run_that_is_cut_off_is_made_good_by_the_next(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.image("app", "1", b"x")
    page.later()
    page.run()
    page.image("app", "2", b"y")
    page.later()
    with monkeypatch.context() as patch:
        patch.setattr(index.Index, "_write_lists", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        patch.setattr(sys, "argv", ["wharf", "index"])
        assert cli.main() == 1
    page.capsys.readouterr()
    assert page.read("list", "root")["repositories"][0][1] == 1
    assert page.run() == ["app"]
    assert page.read("list", "root")["repositories"][0][1] == 2


def test_two_runs_do_not_get_in_each_other_s_way(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.image("app", "1", b"x")
    page.run()
    before = page.files()
    monkeypatch.setattr(sys, "argv", ["wharf", "index"])
    with index.opened(page.index / "state"):
        assert cli.main() == 1
    assert "another run brings the index up to date" in page.capsys.readouterr().err
    assert page.files() == before


# What is shown ----------------------------------------------------------------------------------------------------


def test_an_image_has_its_size_and_platform(page: Page) -> None:
    digest = page.image("app", "1", b"layer", b"another")
    page.image("app", "2", b"layer")
    page.run()
    one, two = (page.tags("app")[tag] for tag in "12")
    assert one.pop("pushed") <= time.time()
    manifest = json.loads((page.stored.top / "blobs/sha256" / digest[7:9] / digest[7:] / "data").read_text())
    whole = [digest, manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
    described = {"name": "1", "digest": digest, "platforms": ["linux/amd64"], "type": "image", "attached": []}
    assert one == described | {"size": size(page, *whole)}
    # What both have counts once.
    ((name, count, total, pushed),) = page.read("list", "root")["repositories"]
    assert (name, count, total, pushed > 0) == ("app", 2, one["size"] + two["size"] - len(b"layer"), True)


def test_an_index_has_the_platforms_and_the_size_of_its_images(page: Page) -> None:
    parts = []
    for platform in ({"architecture": "amd64"}, {"architecture": "arm", "variant": "v7"}):
        config = page.stored.layer("app", json.dumps({"os": "linux", **platform}).encode()) | {"mediaType": CONFIG}
        parts.append(
            page.stored.manifest("app", None, {"config": config, "layers": [page.stored.layer("app", b"base")]})
        )
    config = page.stored.layer("app", b'{"os": "unknown", "architecture": "unknown"}') | {"mediaType": CONFIG}
    parts.append(page.stored.manifest("app", None, {"config": config, "layers": []}))  # a provenance, of BuildKit's
    page.stored.manifest("app", "1", {"manifests": [{"digest": part} for part in [*parts, "sha256:" + "0" * 64]]})
    page.run()
    tag = page.tags("app")["1"]
    assert (tag["type"], tag["platforms"]) == ("index", ["linux/amd64", "linux/arm/v7"])
    assert tag["size"] == sum(path.stat().st_size for path in page.stored.top.glob("blobs/*/*/*/data"))


def test_what_belongs_to_an_image_is_shown_with_it(page: Page) -> None:
    image = page.image("app", "1", b"x")
    part = page.image("app", None, b"part")
    page.stored.manifest("app", "all", {"manifests": [{"digest": part}]})
    by_tag = page.signature("app", f"sha256-{image[7:]}.sig")
    by_subject = page.signature("app", None, image)
    of_part = page.signature("app", None, part)
    sbom = {"artifactType": "application/spdx+json", "subject": {"digest": image}, "layers": []}
    sbom["config"] = page.stored.layer("app", b"{}") | {"mediaType": index.NO_CONFIG}
    by_type = page.stored.manifest("app", "sbom", sbom)
    fallback = page.stored.manifest("app", f"sha256-{image[7:]}", {"manifests": [{"digest": by_subject}]})
    page.run()
    tags = page.tags("app")
    assert sorted(tags["1"]["attached"], key=lambda one: one["digest"]) == sorted(
        [
            {"digest": by_tag, "type": SIGNATURE, "tag": f"sha256-{image[7:]}.sig", "of": image},
            {"digest": by_subject, "type": SIGNATURE, "of": image},
            {"digest": by_type, "type": "application/spdx+json", "tag": "sbom", "of": image},
        ],
        key=lambda one: one["digest"],
    )
    assert tags["all"]["attached"] == [{"digest": of_part, "type": SIGNATURE, "of": part}]
    # They are no images: not counted, nor what shares a layer. The table can leave them out.
    assert {tag: one["of"] for tag, one in tags.items() if "of" in one} == dict.fromkeys(
        (f"sha256-{image[7:]}.sig", f"sha256-{image[7:]}", "sbom"), image
    )
    assert fallback == tags[f"sha256-{image[7:]}"]["digest"]
    assert page.read("list", "root")["repositories"][0][1] == 2


def test_a_signature_that_comes_and_goes_without_a_tag_is_seen(page: Page) -> None:
    image = page.image("app", "1", b"x")
    page.later()
    page.run()
    signature = page.signature("app", None, image)
    page.run()
    assert [one["digest"] for one in page.tags("app")["1"]["attached"]] == [signature]
    page.later()
    page.run()
    # The registry deletes only the link; the directory stays.
    (page.stored.top / "repositories/app/_manifests/revisions/sha256" / signature[7:] / "link").unlink()
    page.run()
    assert page.tags("app")["1"]["attached"] == []


def test_many_tags_of_an_image_to_which_much_is_attached_are_not_their_product() -> None:
    image, others = "sha256:" + "f" * 64, [f"sha256:{number:064x}" for number in range(2000)]
    facts = {"own": 1, "layers": {}, "children": others, "type": "index", "platforms": ["p" * 500], "kind": ""}
    manifests = {image: facts | {"subject": ""}} | {
        one: facts | {"subject": others[number - number % 2], "children": [], "platforms": [f"{number}" * 100]}
        for number, one in enumerate(others)
    }
    manifests |= {one.replace("0", "1"): manifests[one] | {"subject": image} for one in others}
    contents = index.Contents({f"{number}": (number, image) for number in range(2000)}, manifests)
    assert len(contents.file["tags"]) == 2000
    (shown,) = contents.file["manifests"]
    assert [len(shown[what]) for what in ("platforms", "parts")] == [100, 100]
    assert len(contents.file["attached"][image]) == 100
    assert len(json.dumps(contents.file)) < 500_000


def test_images_that_share_a_layer_are_named_once_each_and_not_without_end(page: Page) -> None:
    page.image("app", "1", b"base", b"x")
    page.image("app", "latest", b"base", b"x")  # the same image
    page.image("single", "1", b"alone")
    page.image("single", "latest", b"alone")
    page.run()
    assert page.read("shared", "root") == {}
    for number in range(30):
        page.image("many", str(number), b"base", str(number).encode())
    page.run()
    (images,) = page.read("shared", "root").values()
    assert len(images) == len({tuple(image) for image in images}) == 20


def test_of_shared_layers_the_most_shared_are_named_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MOST_BYTES", 3000)
    layers = [
        (f"layer{number}", "app", [f'["app", "{tag}"]' for tag in range(2 + number % 10)]) for number in range(1000)
    ]
    found = list(index.most_shared(index.shared(layers)))
    assert {len(images) for text in found for images in json.loads("{" + text + "}").values()} == {11}
    assert 2000 < len(", ".join(found)) < 3000


def test_an_index_of_the_same_image_over_and_over_is_read_once(page: Page) -> None:
    image = page.image("app", None, b"x")
    page.stored.manifest("app", "1", {"manifests": [{"digest": image}] * 5000})
    many = [{"digest": f"sha256:{number:064x}"} for number in range(5000)]
    page.stored.manifest("app", "2", {"manifests": many})
    page.run()
    assert page.tags("app")["1"]["platforms"] == ["linux/amd64"]
    assert (page.index / "state/state.db").stat().st_size < 300_000


@pytest.mark.parametrize(("used", "files"), [(0, 10**6), (10**6, 0)])
def test_a_file_system_that_is_nearly_full_is_not_filled(
    page: Page, monkeypatch: pytest.MonkeyPatch, used: int, files: int
) -> None:
    page.image("app", "1", b"x")
    page.later()
    page.run()
    before = page.files()
    page.image("app", "2", b"x")
    facts = SimpleNamespace(f_bavail=used, f_frsize=4096, f_files=10**6, f_favail=files)
    monkeypatch.setattr(index.os, "statvfs", lambda _: facts)
    with pytest.raises(AssertionError, match="room first"):
        page.run()
    assert page.files() == before
    monkeypatch.setattr(facts, "f_bavail", 10**6)
    monkeypatch.setattr(facts, "f_files", 0)  # Btrfs makes inodes as they are needed
    assert page.run() == ["app"]


# What must not be trusted -----------------------------------------------------------------------------------------

DIGEST = "sha256:" + "a" * 64
HOSTILE: list[Any] = [
    {"config": None, "layers": None, "manifests": None, "subject": None},
    {"config": [], "layers": {}, "manifests": "x", "subject": []},
    {"config": {"digest": ["a"], "mediaType": CONFIG}, "layers": [1, "x", None, [], {}]},
    {"config": {"digest": {}, "mediaType": {}}, "layers": [{"digest": {}}], "artifactType": ["x"]},
    {"config": {"digest": "sha256:../../../../etc/passwd", "mediaType": CONFIG}, "layers": []},
    {"config": {"digest": DIGEST, "size": 10**400, "mediaType": CONFIG}, "layers": [{"digest": DIGEST, "size": 2**60}]},
    {"layers": [{"digest": DIGEST, "size": size} for size in (-5, 1.5, True, "7", None, [])]},
    {"layers": [{"digest": "sha256:" + f"{n:064x}", "size": 1} for n in range(3000)]},
    {"layers": [{"mediaType": "<script>" * 100_000}], "artifactType": "\ud800"},
    {"manifests": [{"digest": DIGEST}, {"digest": "x"}, 7, None], "layers": "x"},
    {"subject": {"digest": "sha256:<b>"}, "artifactType": "<img src=x onerror=alert(1)>"},
]


@pytest.mark.parametrize("manifest", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_a_manifest_holds_the_others_are_shown(page: Page, manifest: dict[str, Any]) -> None:
    page.image("app", "good", b"x")
    page.stored.manifest("app", "hostile", manifest)
    page.run()
    good, hostile = (page.tags("app")[tag] for tag in ("good", "hostile"))
    assert good["type"] == "image"
    assert isinstance(hostile["size"], int) and 0 <= hostile["size"] <= 2 * 2**53
    assert hostile["type"] in ("image", "index", "artifact") and hostile["platforms"] == []
    assert len((page.index / "tags/app/_.json").read_bytes()) < 5000
    assert (page.index / "list-all.json").read_bytes().isascii()


def test_a_configuration_is_not_trusted(page: Page) -> None:
    configs = [b"[]", b"no JSON", b'{"os": {}, "architecture": ["x"]}', b'{"os": "' + b"x" * 5000 + b'"}', b"[" * 10**6]
    for number, content in enumerate(configs):
        config = page.stored.layer("app", content) | {"mediaType": CONFIG}
        page.stored.manifest("app", str(number), {"config": config, "layers": []})
    page.run()
    platforms = [tag["platforms"] for _, tag in sorted(page.tags("app").items())]
    assert platforms == [[], [], [], ["x" * 255], []]


def test_a_configuration_of_another_repository_is_not_read(page: Page) -> None:
    """The registry does not take such a manifest; nor is what it would tell written for others to read."""
    page.image("secret/app", "1", b"x")
    config = {"digest": page.stored.blob(b'{"os": "secret"}'), "size": 1, "mediaType": CONFIG}
    index_of_others = {"manifests": [{"digest": page.image("secret/app", "2", b"y")}]}
    page.stored.manifest("app", "1", {"config": config, "layers": []})
    page.stored.manifest("app", "2", index_of_others)
    page.run()
    assert page.tags("app")["1"]["platforms"] == page.tags("app")["2"]["platforms"] == []
    assert page.tags("app")["2"]["size"] == len(json.dumps(index_of_others))


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"manifests": []}', b"[]"])
def test_a_manifest_that_cannot_be_read_is_named_until_it_can(page: Page, content: bytes | None) -> None:
    digest = page.image("app", "1", b"x")
    page.image("app", "2", b"y")
    path = page.stored.top / "blobs/sha256" / digest[7:9] / digest[7:] / "data"
    good = path.read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    page.later()
    page.run()
    broken = page.tags("app")["1"]
    assert (broken["type"], broken["size"], broken["attached"]) == ("damaged", 0, [])
    assert page.tags("app")["2"]["type"] == "image"
    assert page.read("list", "root")["repositories"][0][1] == 2
    before = page.files()
    assert page.run() == []
    assert page.files() == before
    path.write_bytes(good)
    assert page.run() == ["app"]
    assert page.tags("app")["1"]["type"] == "image"


def test_a_tag_that_leads_nowhere_is_not_shown(page: Page) -> None:
    page.image("app", "1", b"x")
    link = page.stored.top / "repositories/app/_manifests/tags/{}/current/link"
    for tag, content in (("empty", b""), ("words", b"../../etc/passwd"), ("-bad", b""), ("a b", DIGEST.encode())):
        page.stored.write(Path(str(link).format(tag)), content)
    page.stored.write(Path(str(link).format("without")), DIGEST.encode())
    page.run()
    assert {name: tag["type"] for name, tag in page.tags("app").items()} == {"1": "image", "without": "damaged"}


def test_names_that_no_repository_has_are_not_shown(page: Page) -> None:
    for name in ("App", "a b", "<script>", "a__/b", "-a", "x/" * 130 + "x"):
        page.image(name, "1", name.encode())
    page.image("app", "1", b"x")
    page.run()
    assert page.names("root") == ["app"]


def test_links_that_a_registry_that_was_broken_into_lays_are_not_followed(page: Page, tmp_path: Path) -> None:
    other = Page(tmp_path / "other", page.monkeypatch, page.capsys)
    page = Page(tmp_path / "mine", page.monkeypatch, page.capsys)
    digest = other.image("planted", "planted", b"planted")
    page.image("app", "1", b"x")
    there, here = other.stored.top / "repositories/planted/_manifests", page.stored.top / "repositories"
    tags = here / "app/_manifests/tags"
    (tags / "tag").symlink_to(there / "tags/planted")
    for tag in ("current", "link", "pipe"):
        (tags / tag).mkdir()
    (tags / "current/current").symlink_to(there / "tags/planted/current")
    (tags / "link/current").mkdir()
    (tags / "link/current/link").symlink_to(there / "tags/planted/current/link")
    (tags / "pipe/current").mkdir()
    os.mkfifo(tags / "pipe/current/link")
    (here / "whole").symlink_to(other.stored.top / "repositories/planted")
    (here / "manifests").mkdir()
    (here / "manifests/_manifests").symlink_to(there)
    (here / "circle").symlink_to(here)
    # A blob is what its digest says, or it is not read; and not through a link that stands in its place.
    page.stored.link("app/_manifests/tags/blob/current", digest)
    blob = page.stored.top / "blobs/sha256" / digest[7:9] / digest[7:]
    blob.mkdir(parents=True)
    (blob / "data").symlink_to(other.stored.top / "blobs/sha256" / digest[7:9] / digest[7:] / "data")
    page.stored.link(f"app/_manifests/revisions/{digest.replace(':', '/')}", digest)
    page.run()
    assert page.names("root") == ["app"]
    assert {name: tag["type"] for name, tag in page.tags("app").items()} == {"1": "image", "blob": "damaged"}
    assert all("planted" not in path.read_text() for path in page.index.rglob("*.json"))


# A bucket ---------------------------------------------------------------------------------------------------------


def test_what_is_in_a_bucket_is_shown_as_what_is_in_files_and_only_what_is_new_is_fetched(
    page: Page,
    stored_bucket: StoredBucket,  # noqa: F811
) -> None:
    page.more = {"driver": "s3", "root": "", "s3": S3}
    assert page.run() == []
    for name in ("app", "secret/x"):
        config = stored_bucket.layer(name, b'{"os": "linux", "architecture": "arm64"}') | {"mediaType": CONFIG}
        stored_bucket.manifest(name, "1", {"config": config, "layers": [stored_bucket.layer(name, b"layer")]})
    assert page.run() == ["app", "secret/x"]
    (one,) = page.tags("app").values()
    assert (one["type"], one["platforms"]) == ("image", ["linux/arm64"])
    assert one["pushed"] == int(stored_bucket.storage().pushed("app", "1"))
    assert (page.names("eve"), page.names("ann")) == (["app"], ["app", "secret/x"])
    stored_bucket.calls()
    assert page.run() == []
    assert [call.split()[0] for call in stored_bucket.calls()] == ["lsjson"]
    digest = stored_bucket.image("app", "1", b"another")
    assert page.run() == ["app"]
    assert page.tags("app")["1"]["digest"] == digest
    shutil.rmtree(stored_bucket.top / "repositories/secret")
    assert page.run() == ["secret/x"]


# An object store ---------------------------------------------------------------------------------------------------


@pytest.fixture
def served(page: Page, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a registry whose images are in no file system, with the gateway's log as page.log: both are imitated."""
    server = request.getfixturevalue("registry")
    monkeypatch.setattr(registry.gateway, "direct", lambda _: Client("registry", server.port, address="127.0.0.1"))
    monkeypatch.setattr(index.containers, "docker", lambda *_: subprocess.CompletedProcess([], 0, page.log))
    monkeypatch.setattr(index.containers, "container", lambda _: {"Id": page.gateway})
    page.more = {"driver": "s3", "root": "/"}
    return server


def push(served: Any, name: str, tag: str, content: bytes, **more: Any) -> str:
    config, manifest = json.dumps({"os": "linux", "architecture": content.decode()}).encode(), {"layers": []}
    served.blobs[digest_of(config)] = config
    manifest |= {"config": {"digest": digest_of(config), "size": len(config), "mediaType": CONFIG}, **more}
    text = json.dumps(manifest).encode()
    served.manifests[name, tag] = served.manifests[name, digest_of(text)] = text
    return digest_of(text)


def test_what_an_object_store_holds_is_asked_of_the_registry(page: Page, served: Any) -> None:
    for number in range(7):
        push(served, f"app{number}", "1", b"amd64")
        push(served, "many", str(number), str(number).encode())
    part = push(served, "index", "part", b"arm64")
    del served.manifests["index", "part"]
    text = json.dumps({"manifests": [{"digest": part}]}).encode()
    served.manifests["index", "all"] = served.manifests["index", digest_of(text)] = text
    page.run()
    assert page.names("root") == [*(f"app{number}" for number in range(7)), "index", "many"]
    assert sorted(page.tags("many")) == [*"0123456"]
    (one,) = page.tags("index").values()
    assert (one["type"], one["platforms"], one["pushed"]) == ("index", ["linux/arm64"], 0)


def test_within_the_hour_only_what_the_gateway_has_seen_is_asked_for(
    page: Page, served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = index.HOUR * 10**9
    now = [time.time_ns() // hour * hour + 10 * 10**9]
    monkeypatch.setattr(index.time, "time_ns", lambda: now[0])
    push(served, "app", "1", b"amd64")
    push(served, "gone", "1", b"amd64")
    push(served, "other", "1", b"amd64")
    page.run()
    now[0] += 60 * 10**9
    served.requests.clear()
    assert page.run() == []
    assert served.requests == []
    second = push(served, "app", "1", b"arm64")
    push(served, "unseen", "1", b"arm64")
    served.manifests = {key: value for key, value in served.manifests.items() if key[0] != "gone"}
    page.log = (
        '2026-11-28T10:00:00+00:00 pushed: user "ann" from 10.0.0.1: PUT /v2/app/manifests/1\n'
        f'2026-11-28T10:00:00+00:00 deleted: user "root" from 10.0.0.1: DELETE /v2/gone/manifests/{DIGEST}\n'
        '2026-11-28T10:00:00+00:00 denied: user "/v2/other/manifests/1" from 10.0.0.1: GET /v2/app/tags/list\n'
        '2026-11-28T10:00:00+00:00 denied: user "eve" from 10.0.0.1: PUT /v2/other/manifests/1\n'
        '2026-11-28T10:00:00+00:00 login refused: user "x" from 10.0.0.1: DELETE /v2/other/manifests/1\n'
        '2026-11-28T10:00:00+00:00 login refused: user "x pushed: user y" from 10.0.0.1: PUT /v2/other/manifests/1\n'
        '2026-11-28T10:00:00+00:00 broken off: user "ann" from 10.0.0.1: PUT /v2/never/was/manifests/1\n'
    )
    assert page.run() == ["app", "gone"]
    state = sqlite3.connect(page.index / "state/state.db")
    assert [name for (name,) in state.execute("SELECT name FROM repositories ORDER BY name")] == [
        "app",
        "gone",
        "other",
    ]
    assert {path.split("/")[2] for _, path, _ in served.requests} == {"app", "gone", "never"}
    assert (page.tags("app")["1"]["digest"], page.tags("app")["1"]["pushed"]) == (second, now[0] // 10**9)
    assert page.names("root") == ["app", "other"]
    now[0] += hour
    assert page.run() == ["gone", "unseen"]


def test_what_was_pushed_while_the_gateway_was_replaced_is_seen_although_its_log_is_gone(
    page: Page, served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time_ns() // (index.HOUR * 10**9) * index.HOUR * 10**9 + 10 * 10**9]
    monkeypatch.setattr(index.time, "time_ns", lambda: now[0])
    push(served, "app", "1", b"amd64")
    page.run()
    now[0] += 60 * 10**9
    push(served, "app", "2", b"arm64")
    push(served, "new", "1", b"arm64")
    assert page.run() == []
    page.gateway = "second"
    assert page.run() == ["app", "new"]
    assert {tag: one["pushed"] for tag, one in page.tags("app").items()} == {"1": 0, "2": now[0] // 10**9}
    served.requests.clear()
    assert (page.run(), served.requests) == ([], [])


def test_a_registry_that_lists_the_same_page_for_ever_is_not_asked_for_ever(page: Page, served: Any) -> None:
    push(served, "app", "1", b"amd64")
    page.run()
    served.instead = lambda handler: handler.answer(200, b'{"repositories": ["app"]}', Link='<...>; rel="next"')
    page.rules = []  # so that all is asked for
    with pytest.raises(AssertionError, match="and again"):
        page.run()
    assert page.names("root") == ["app"]


def test_a_registry_that_does_not_answer_leaves_the_index_as_it_is(page: Page, served: Any) -> None:
    push(served, "app", "1", b"amd64")
    page.run()
    before = page.files()
    served.instead = lambda handler: handler.error(503, "UNAVAILABLE", "the store does not answer")
    page.rules = []  # so that all is asked for
    with pytest.raises(AssertionError, match="status 503"):
        page.run()
    assert page.files() == before


# Caches ------------------------------------------------------------------------------------------------------------


class Cached(Page):
    """A page of a registry with caches."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(place, monkeypatch, capsys)
        self.own, self.stored = (
            self.stored,
            StoredRegistry(place / "caches"),
        )  # image() and later() are for what is in caches
        self.upstreams("docker.io", "hub.example.com:8443")

    def upstreams(self, *names: str) -> None:
        slugs = [{"upstream": name, "slug": name.replace(":", "_")} for name in names]
        self.more["caches"] = {"data": str(self.stored.root), "upstreams": slugs}

    def row(self, name: str) -> list[Any]:
        (found,) = (row for row in self.read("list", "root")["repositories"] if row[0] == name)
        return found[1:]


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cached:
    return Cached(tmp_path, monkeypatch, capsys)


DEBIAN = "docker.io/library/debian"


def test_what_is_in_a_cache_is_listed_as_that_and_by_the_same_rules(cached: Cached) -> None:
    cached.own.image("app", "1", b"base")
    cached.own.image("docker.io/hidden", "1")  # nobody can pull it
    cached.image(DEBIAN, "13", b"base")
    cached.image("hub.example.com_8443/app", "1", b"x")
    cached.image("docker.io/secret/app", "1", b"base")
    cached.rules = [{"repositories": "docker.io/secret/**", "read": [], "write": ["ann"]}]
    cached.run()
    assert cached.names("kiosk") == ["app", DEBIAN, "hub.example.com_8443/app"]
    assert cached.names("ann") == ["app", DEBIAN, "docker.io/secret/app", "hub.example.com_8443/app"]
    assert (cached.row(DEBIAN)[3:], cached.row("hub.example.com_8443/app")[3:]) == (
        ["docker.io"],
        ["hub.example.com:8443"],
    )
    assert len(cached.row("app")) == 3
    ((_, images),) = cached.read("shared", "kiosk").items()
    assert images == [["app", "1"], [DEBIAN, "13"]]


def test_of_an_index_in_a_cache_the_platforms_are_shown_that_were_fetched(cached: Cached) -> None:
    amd64, absent = cached.image(DEBIAN, None, b"x"), "sha256:" + "0" * 64
    cached.stored.manifest(DEBIAN, "13", {"manifests": [{"digest": amd64}, {"digest": absent}]})
    cached.stored.link(f"{DEBIAN}/_manifests/tags/asked-for/current", absent)  # by HEAD
    cached.later()
    cached.run()
    (tag,) = cached.tags(DEBIAN).values()
    assert (tag["name"], tag["type"], tag["platforms"]) == ("13", "index", ["linux/amd64"])
    assert tag["there"] == [tag["digest"], amd64]
    assert cached.row(DEBIAN)[0] == 1
    assert cached.run() == []


def test_what_a_cache_has_without_its_configuration_is_not_there(cached: Cached) -> None:
    """The page would load it, and the cache ask its upstream for it."""
    parts = [cached.image(DEBIAN, None, str(number).encode()) for number in range(101)]
    cached.stored.manifest(DEBIAN, "index", {"manifests": [{"digest": one} for one in parts]})
    alone = cached.image(DEBIAN, "alone", b"alone")
    for digest in (alone, parts[0]):
        manifest = cached.stored.top.joinpath("blobs/sha256", digest[7:9], digest[7:], "data").read_text()
        config = json.loads(manifest)["config"]
        shutil.rmtree(cached.stored.top / f"repositories/{DEBIAN}/_layers/sha256/{config['digest'][7:]}")
    cached.later()
    cached.run()
    tags = cached.tags(DEBIAN)
    assert tags["alone"]["there"] == []
    assert sorted(tags["index"]["there"]) == sorted([tags["index"]["digest"], *parts[1:]])


def test_layers_of_a_cache_count_when_they_are_there(cached: Cached) -> None:
    manifest = cached.image(DEBIAN, "13", b"one layer", b"another")
    lacking = cached.stored.blob(b"another")
    config = json.loads(cached.stored.top.joinpath("blobs/sha256", manifest[7:9], manifest[7:], "data").read_text())
    late = [lacking, config["config"]["digest"]]
    links = {one: cached.stored.top / f"repositories/{DEBIAN}/_layers/sha256/{one[7:]}" for one in late}
    for path in links.values():
        shutil.rmtree(path)
    cached.later()
    cached.run()
    assert cached.row(DEBIAN)[1] == size(cached, manifest, cached.stored.blob(b"one layer"))
    assert cached.tags(DEBIAN)["13"]["platforms"] == []
    assert cached.run() == []
    for one in late:
        cached.stored.link(f"{DEBIAN}/_layers/{one.replace(':', '/')}", one)
    assert cached.run() == [DEBIAN]
    assert cached.row(DEBIAN)[1] == size(cached, manifest, cached.stored.blob(b"one layer"), *late)
    assert cached.tags(DEBIAN)["13"]["platforms"] == ["linux/amd64"]


def test_a_pull_that_changes_nothing_is_no_news(cached: Cached) -> None:
    cached.image(DEBIAN, "13", b"x")
    cached.later(1000)
    cached.run()
    before = cached.files()
    link = cached.stored.top / f"repositories/{DEBIAN}/_manifests/tags/13/current/link"
    os.utime(link)
    assert (cached.run(), cached.files()) == ([], before)
    newer = cached.image(DEBIAN, "13", b"y")
    assert cached.run() == [DEBIAN]
    assert cached.tags(DEBIAN)["13"]["digest"] == newer


def test_what_was_trimmed_and_upstreams_that_are_taken_off_the_list_are_gone(cached: Cached) -> None:
    for name in (DEBIAN, "docker.io/library/old", "hub.example.com_8443/app"):
        cached.image(name, "1", name.encode())
    cached.later()
    cached.run()
    shutil.rmtree(cached.stored.top / "repositories/docker.io/library/old")
    assert cached.run() == ["docker.io/library/old"]
    cached.upstreams("docker.io")
    cached.run()
    assert cached.names("root") == [DEBIAN]
    assert sorted(name for name in cached.files() if name.startswith("tags/")) == [f"tags/{DEBIAN}/_.json"]
    del cached.more["caches"]
    cached.run()
    assert cached.names("root") == []
    cached.upstreams("docker.io")
    cached.run()
    assert cached.names("root") == [DEBIAN]
    cached.stored.root.rename(cached.stored.root.with_name("elsewhere"))
    cached.run()
    assert cached.names("root") == []


def test_what_the_caches_take_is_told_beside_the_registry_s_own(cached: Cached) -> None:
    for name in (DEBIAN, "hub.example.com_8443/app"):
        cached.stored.layer(name, b"0123456789")

    def status() -> Any:
        cached.run()
        return json.loads((cached.index / "status.json").read_text())

    assert status()["cached"] == 10
    cached.stored.layer(DEBIAN, b"more")
    assert status()["cached"] == 10  # it is found out once an hour
    del cached.more["caches"]
    assert "cached" not in status()


def test_caches_stand_beside_an_object_store_which_is_not_asked_for_them(
    page: Page, served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = index.HOUR * 10**9
    now = [time.time_ns() // hour * hour + 10 * 10**9]
    monkeypatch.setattr(index.time, "time_ns", lambda: now[0])
    caches = StoredRegistry(tmp_path / "caches")
    upstream = {"upstream": "docker.io", "slug": "docker.io"}
    page.more["caches"] = {"data": str(caches.root), "upstreams": [upstream]}
    push(served, "app", "1", b"amd64")
    caches.image(DEBIAN, "13")
    page.run()
    assert page.names("root") == ["app", DEBIAN]
    now[0] += 60 * 10**9
    served.requests.clear()
    caches.image("docker.io/library/new", "1", b"new")
    shutil.rmtree(caches.top / "repositories" / DEBIAN)
    assert (page.run(), served.requests) == ([DEBIAN, "docker.io/library/new"], [])
    assert page.names("root") == ["app", "docker.io/library/new"]


# How long it takes ------------------------------------------------------------------------------------------------


def test_a_push_into_many_repositories_reads_only_that_one(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        page.image(f"app{number}", "1", b"base", str(number).encode())
    page.later()
    page.run()
    read: list[str] = []
    facts_of = index.facts_of
    monkeypatch.setattr(index, "facts_of", lambda source, name, one: read.append(one) or facts_of(source, name, one))
    digest = page.image("app7", "2", b"new")
    page.run()
    assert read == [digest]


def test_the_state_has_what_the_storage_has(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = [page.image("app", f"{number}", b"base", b"%d" % number) for number in range(3)]
    page.image("other", "1", b"base")
    page.later()
    page.run()
    links = page.stored.top / "repositories/app/_manifests"
    shutil.rmtree(links / "tags/0")
    (links / "revisions/sha256" / digests[0][7:] / "link").unlink()
    digests.append(page.image("app", "new", b"new"))
    reads: list[Path] = []
    read = storage.in_place
    monkeypatch.setattr(storage, "in_place", lambda path, flags: reads.append(Path(path)) or read(path, flags))
    page.run()
    new = f"revisions/sha256/{digests[3][7:]}"
    gone = f"revisions/sha256/{digests[0][7:]}"
    found = [str(path.parent.relative_to(links)) for path in reads if path.name == "link"]
    assert sorted(found) == sorted([gone, new, "tags/new/current"])

    def state(what: str, order: str) -> list[tuple[str, ...]]:
        with sqlite3.connect(page.index / "state/state.db") as file:
            return file.execute(f"SELECT {what} ORDER BY {order}").fetchall()

    assert [one for (one,) in state("digest FROM manifests WHERE repository = 'app'", "digest")] == sorted(digests[1:])
    layers = [
        (page.stored.blob(layer), tags) for layer, tags in ((b"base", "2 1"), (b"1", "1"), (b"2", "2"), (b"new", "new"))
    ]
    assert {
        (layer, *sorted(tags.split())) for layer, tags in state("layer, tags FROM layers WHERE repository = 'app'", "1")
    } == {(layer, *sorted(tags.split())) for layer, tags in layers}
    shutil.rmtree(links)
    page.run()
    assert {name for (name,) in state("repository FROM manifests", "1") + state("repository FROM layers", "1")} == {
        "other"
    }


def test_the_page_s_own_files_are_written(page: Page) -> None:
    page.run()
    for name in index.PAGE:
        path = page.index / "page" / name
        assert path.read_text().endswith(f" page/{name}")
        assert path.stat().st_mode & 0o777 == 0o640


def test_admins_see_what_retention_would_delete_and_what_takes_long_is_found_out_now_and_then(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status() -> Any:
        page.run()
        return json.loads((page.index / "status.json").read_text())

    for number in range(3):
        page.stored.image("app", f"1.{number}", b"%d" % number)
    page.later(86400 * 40)
    assert status()["retention"] is None
    page.more["retention"] = [{"repositories": "app", "keep_newest": "1", "older_than": None}]
    found = status()["retention"]
    assert (found["count"], len(found["tags"]), {one["name"] for one in found["tags"]}) == (2, 2, {"app"})
    assert page.counted == [None, 5]
    page.stored.image("app", "2.0")
    assert status()["retention"] == found
    monkeypatch.setattr(index, "read_result", lambda _: Result(True, 7, "deleted 2 tags"))
    assert status()["retention"]["count"] == 3
    page.stored.image("app", "3.0")
    monkeypatch.setattr(index, "DAY", 0)
    assert status()["retention"]["count"] == 4
    page.more["standby_of"] = "server1"  # where that is deleted
    assert status()["retention"] is None
    del page.more["standby_of"]
    monkeypatch.setattr(index, "HOUR", 1e-9)
    assert status()["storage"] == {"used": 5}
    assert page.counted[2:] == [5, 5, 5, 5, None]


def test_a_registry_that_does_not_say_how_it_is_has_its_lists_all_the_same(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_: Any) -> None:
        raise index.WharfError("no engine")

    page.stored.image("app", "1")
    monkeypatch.setattr(index, "look", look)
    assert "no engine" in page.failure()
    assert json.loads((page.index / "list-all.json").read_text())["repositories"][0][0] == "app"


def test_an_engine_that_does_not_run_is_not_asked(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its socket would start it, in the middle of what it was stopped for."""
    asked: list[str] = []
    monkeypatch.setattr(registry.data, "container", asked.append)
    page.engine = False
    page.settings.write_text("{}")
    page.monkeypatch.setattr(sys, "argv", ["wharf", "index"])
    assert (cli.main(), asked, list(page.index.iterdir())) == (0, [], [])


def test_where_the_page_is_switched_off_nothing_is_made(page: Page) -> None:
    page.index.rmdir()
    assert "the page is switched off" in page.failure()
    assert not page.index.exists()


def test_a_disk_that_is_not_mounted_is_no_empty_registry(page: Page, tmp_path: Path) -> None:
    page.image("app", "1", b"x")
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry/data").write_text(f"0123 {page.stored.root}\n")
    (page.stored.root / ".wharf").write_text("0123 reg.test\n")
    assert page.run() == ["app"]
    page.stored.root.rename(tmp_path / "elsewhere")
    page.stored.root.mkdir()
    assert "is its disk mounted?" in page.failure()
    assert page.names("root") == ["app"]

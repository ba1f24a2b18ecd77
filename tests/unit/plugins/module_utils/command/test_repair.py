"""The repair of a storage: what a write that was cut off leaves, at each step of a push."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import gateway, lock, storage
from ansible_collections.wharf.registry.plugins.module_utils.command import repair
from tests.unit.stored_registry import StoredRegistry

repair.SETTLED = 0  # nobody else writes here

STEPS = ["layer", "config", "manifest", "revision", "index", "current"]


def repaired(root: Path, faults: list[Path], removed: set[str] = frozenset()) -> repair.Repairs:
    """Repair these faults; return what became of them."""
    repairs = repair.Repairs(storage.Storage(root), set(removed))
    repairs.repair(faults, nullcontext)
    return repairs


class Pushing(StoredRegistry):
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
        return storage.digest_of(content)

    def repair(self, removed: set[str] = frozenset()) -> tuple[list[str], list[str]]:
        """Repair, and look whether all is well then."""
        result = self.try_to_repair(removed)
        assert result.waiting == []
        seen = storage.Storage(self.root)
        assert list(seen.problems(contents=True)) == []
        assert repair.find_faults(seen) == []
        return result.done, result.lost

    def try_to_repair(self, removed: set[str] = frozenset()):
        """Repair what can be repaired."""
        found = repair.find_faults(storage.Storage(self.root))
        return repaired(self.root, found, set(removed))

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
    assert repair.find_faults(storage.Storage(registry.root)) == []
    assert registry.repair() == ([], [])
    assert registry.tags("team/app") == {"1": digest}


@pytest.mark.parametrize("step", STEPS)
def test_a_push_that_was_cut_off_is_not_listed_and_succeeds_the_next_time(registry, step):
    old = registry.push("team/app", "old", b"old")
    registry.push("team/app", "new", b"new", cut_off=step)
    assert repair.find_faults(storage.Storage(registry.root)) != []
    done, lost = registry.repair()
    assert done
    assert lost == []
    whole = registry.tags("team/app")
    assert whole.pop("old") == old
    digest = registry.push("team/app", "new", b"new")
    assert whole in ({}, {"new": digest})
    assert registry.repair() == ([], [])
    assert registry.tags("team/app") == {"old": old, "new": digest}


@pytest.mark.parametrize("step", STEPS)
def test_a_tag_that_is_moved_leads_to_the_old_image_or_the_new_one(registry, step):
    old = registry.push("team/app", "1", b"old")
    registry.push("team/app", "1", b"new", cut_off=step)
    assert registry.repair()[1] == []
    now = registry.tags("team/app")["1"]
    assert now == (old if step != "current" else registry.push("team/app", "1", b"new"))


@pytest.mark.parametrize("step", STEPS)
def test_an_image_that_is_pushed_a_second_time_stays(registry, step):
    digest = registry.push("team/app", "1", b"one")
    registry.push("team/app", "1", b"one", cut_off=step)
    assert registry.repair()[1] == []
    assert registry.tags("team/app") == {"1": digest}


def test_a_push_that_was_acknowledged_over_an_empty_manifest_is_told_of(registry):
    """The registry takes the empty file for the manifest: nothing can bring the image back but another push."""
    registry.push("team/app", "1", b"one", cut_off="manifest")
    digest = registry.push("team/app", "1", b"one")
    _done, lost = registry.repair()
    assert lost == [f"team/app:1 ({digest}) is lost: push it again"]
    assert registry.tags("team/app") == {}
    registry.push("team/app", "1", b"one")
    assert registry.repair() == ([], [])
    assert registry.tags("team/app") == {"1": digest}


def test_a_push_that_ends_after_its_manifest_was_removed_is_told_of_the_next_time(registry):
    digest = registry.push("team/app", "1", b"one", cut_off="manifest")
    removed = registry.try_to_repair().removed
    assert removed == {digest}
    number = digest.replace(":", "/")
    for link in (f"revisions/{number}", f"tags/1/index/{number}", "tags/1/current"):
        registry.link(f"team/app/_manifests/{link}", digest)
    assert registry.repair(removed)[1] == [f"team/app:1 ({digest}) is lost: push it again"]
    assert registry.tags("team/app") == {}
    registry.push("team/app", "1", b"one")
    assert registry.repair(removed) == ([], [])


def test_an_index_of_which_a_part_was_acknowledged_over_an_empty_manifest_is_told_of(registry):
    registry.push("team/app", "part", b"one", cut_off="manifest")
    part = registry.push("team/app", "part", b"one")
    content = json.dumps({"manifests": [{"digest": part}]}).encode()
    index = registry.blob(content)
    number = index.replace(":", "/")
    for link in (f"revisions/{number}", f"tags/1/index/{number}", "tags/1/current"):
        registry.link(f"team/app/_manifests/{link}", index)
    assert registry.try_to_repair().lost == [
        f"team/app:part ({part}) is lost: push it again",
        f"team/app:1 ({index}) is lost: push it again",
    ]
    assert not repair.is_whole(storage.Storage(registry.root), "team/app", "1")
    registry.push("team/app", "part", b"one")
    assert repair.is_whole(storage.Storage(registry.root), "team/app", "1")
    assert registry.tags("team/app") == {"part": part, "1": index}


@pytest.fixture
def full_disk() -> Callable[[Path], None]:
    """Return a function that lets the kernel refuse every write to a file."""

    def fill(path: Path) -> None:
        path.unlink()
        path.symlink_to("/dev/full")

    return fill


@pytest.mark.parametrize("step", ["layer", "config", "revision", "index"])
def test_without_room_nothing_that_is_needed_is_removed(registry, full_disk, step):
    """The disk fills up under a second push of the same image; its links can be written when there is room."""
    digest = registry.push("team/app", "1", b"one")
    registry.push("team/app", "1", b"one", cut_off=step)
    [fault] = repair.find_faults(storage.Storage(registry.root))
    full_disk(fault)
    result = repaired(registry.root, [fault])
    assert len(result.waiting) == 1
    assert result.done == result.lost == []
    fault.unlink()
    fault.touch()
    registry.repair()
    assert registry.tags("team/app") == {"1": digest}


@pytest.mark.parametrize("step", ["layer", "config", "manifest", "current"])
def test_without_room_all_is_repaired_that_needs_none(registry, full_disk, step):
    digest = registry.push("team/app", "1", b"one", cut_off=step)
    [fault] = repair.find_faults(storage.Storage(registry.root))
    full_disk(fault)
    result = repaired(registry.root, [fault])
    assert result.waiting == []
    assert registry.repair() == ([], [])
    assert registry.tags("team/app") == ({"1": digest} if step == "current" else {})


def test_what_version_3_left_of_a_file_is_removed(registry):
    registry.push("team/app", "1", b"one")
    registry.write(registry.top / "repositories/team/app/_manifests/revisions/sha256/0/link.1.tmp", b"")
    registry.write(registry.top / "blobs/sha256/00/0/data.1.tmp", b"")
    assert len(registry.repair()[0]) == 2


class Seen:
    """What is known of the registry that runs."""

    def __init__(self, registry: Pushing, log: str = "") -> None:
        self.inspected, self.storage, self.number = {"LogPath": log}, storage.Storage(registry.root), "2.8.3"

    def version(self) -> str:
        return self.number


LOG = b'level=error msg="response completed with error" err.code="manifest unknown"\n'
FULL = b'level=error msg="response completed with error" err.detail="filesystem: write /x: no space left on device"\n'


@pytest.mark.parametrize(
    ("before", "now", "more", "needed"),
    [
        ({}, {}, b"", False),
        ({}, {}, LOG, False),
        ({}, {}, LOG + FULL + LOG, True),
        ({"again": True}, {}, b"", True),
        ({"full": True}, {}, b"", True),
        ({}, {"full": True}, b"", True),
        ({}, {"started": "later"}, b"", True),
        ({"log": [0, 0]}, {}, b"", True),  # rotated
    ],
)
def test_it_is_needed_when_a_write_can_have_been_cut_off(registry, tmp_path, monkeypatch, before, now, more, needed):
    monkeypatch.setattr(lock, "RESULTS", tmp_path / "results")
    log = tmp_path / "log"
    log.write_bytes(FULL)
    state = {"again": False, "full": False, "started": "once", "log": [log.stat().st_ino, log.stat().st_size]}
    with log.open("ab") as file:
        file.write(more)
    seen = Seen(registry, str(log))
    later = state | {"log": [log.stat().st_ino, log.stat().st_size]} | now
    assert repair.is_needed(seen, state | before, later) is needed
    assert repair.is_needed(seen, {}, later)
    seen.number = "3.1.1"  # leaves nothing
    assert not repair.is_needed(seen, state | before, later)
    assert not repair.is_needed(seen, {}, later)


def test_it_is_needed_when_a_lost_image_is_there_again(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "RESULTS", tmp_path)
    (tmp_path / "repair-storage").write_text("failed 1 team/app:1 (sha256:0) is lost: push it again; more\n")
    state = {"again": False, "full": False, "started": "once", "log": []}
    seen = Seen(registry)
    assert not repair.is_needed(seen, state, state)
    registry.push("team/app", "1", b"one")
    assert repair.is_needed(seen, state, state)
    seen.number = "3.1.1"
    assert repair.is_needed(seen, state, state)


def test_a_tag_without_the_file_that_says_where_it_leads_is_a_fault(registry):
    digest = registry.push("team/app", "1", b"one")
    (registry.top / "repositories/team/app/_manifests/tags/1/current/link").unlink()
    assert [path.name for path in repair.find_faults(storage.Storage(registry.root))] == ["1"]
    registry.repair()
    assert registry.tags("team/app") == {"1": digest}


def test_what_is_being_written_uploads_and_a_blob_that_is_empty_by_itself_are_none(registry, monkeypatch):
    registry.push("team/app", "1", b"")
    registry.write(registry.top / "repositories/team/app/_uploads/1/data", b"")
    assert repair.find_faults(storage.Storage(registry.root)) == []
    digest = registry.push("team/app", "2", b"two", cut_off="current")
    monkeypatch.setattr(repair.time, "sleep", lambda _: registry.link("team/app/_manifests/tags/2/current", digest))
    assert repair.find_faults(storage.Storage(registry.root)) == []


def test_links_to_what_was_collected_stay(registry):
    """The registry's own collection leaves them, and knows them."""
    registry.link("team/app/_layers/sha256/" + "0" * 64, "sha256:" + "0" * 64)
    assert registry.repair() == ([], [])
    assert os.path.exists(registry.top / "repositories/team/app/_layers/sha256" / ("0" * 64) / "link")


ERRORS = [  # what the engine could not start the container for
    'invalid mount config for type "bind": bind source path does not exist: /srv/images/.wharf',  # docker start
    "Error starting userland proxy: listen tcp4 10.77.0.5:5000: bind: cannot assign requested address",
    'runc create failed: error mounting "/srv/images/.wharf" to rootfs at "/wharf/data": no such file',  # at boot
]


# Of a gateway whose network does not run yet (moby#50326).
NO_NETWORK = "cannot join network of a non running container: 0123456789ab"
EARLY, LATE = "2026-11-28T19:35:23.1Z", "2026-11-28T19:35:24Z"


class Boot:
    """A server after its boot: what the engine knows of the containers, and the data's disk."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.containers: dict[str, Any] = {}
        self.called: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.works = True  # what is started runs
        self.seen: Any = SimpleNamespace(container="reg", place=str(directory), data_id="aa", s3={})
        (directory / ".wharf").write_text("aa reg.test\n")
        for name in ("reg", "reg-network", "reg-gateway"):
            self.set(name)
        monkeypatch.setattr(repair.data, "container", self.containers.get)
        monkeypatch.setattr(repair.containers, "container", self.containers.get)
        monkeypatch.setattr(repair, "Registry", lambda: self.seen)
        monkeypatch.setattr(repair, "cli", self.cli)
        self.task: Any = SimpleNamespace(lock=nullcontext, line=lambda text: self.said.append(text) or text)

    def set(self, name: str, error: str | None = None, started: str = EARLY) -> None:
        """Let a container run, or not for a reason of the engine's; empty where somebody has stopped it."""
        state = {"Running": error is None, "Error": error or "", "StartedAt": started}
        self.containers[name] = {"Name": f"/{name}", "State": state}

    def cli(self, verb: str, name: str, check: bool) -> None:
        """Start a container."""
        assert not check
        self.called.append((verb, name))
        if self.works:
            self.set(name, started=LATE)


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Boot:
    """Return a server on which all three containers run."""
    return Boot(tmp_path, monkeypatch)


@pytest.mark.parametrize("error", ["", *ERRORS])
@pytest.mark.parametrize("id_", ["", "aa reg.test\n", "bb reg.test\n"])
def test_the_registry_is_started_that_the_engine_could_not_start(
    boot: Boot, tmp_path: Path, error: str, id_: str
) -> None:
    """Not when somebody has stopped it, nor before its own disk is there."""
    (tmp_path / ".wharf").unlink()
    if id_:
        (tmp_path / ".wharf").write_text(id_)
    boot.set("reg", error)
    could_not = {"reg": error} if error and id_.startswith("aa") else {}
    assert repair.could_not_start(boot.seen) == could_not
    boot.set("reg")
    assert repair.could_not_start(boot.seen) == {}
    boot.containers.clear()
    assert repair.could_not_start(boot.seen) == {}


def test_the_gateway_and_its_network_do_not_wait_for_the_data_s_disk(boot: Boot, tmp_path: Path) -> None:
    (tmp_path / ".wharf").unlink()
    boot.set("reg", ERRORS[0])
    boot.set("reg-network", ERRORS[1])
    boot.set("reg-gateway", NO_NETWORK)
    assert list(repair.could_not_start(boot.seen)) == ["reg-network", "reg-gateway"]
    (tmp_path / ".wharf").write_text("aa reg.test\n")
    assert list(repair.could_not_start(boot.seen)) == ["reg", "reg-network", "reg-gateway"]


def test_all_are_started_in_the_order_in_which_they_need_each_other(boot: Boot) -> None:
    boot.set("reg-gateway", NO_NETWORK)
    boot.set("reg-network", ERRORS[1])
    told = f"started reg-network, reg-gateway; before: {ERRORS[1]}"
    assert (repair.start(boot.task), boot.said) == (told, [told])
    assert boot.called == [("restart", "reg-network"), ("restart", "reg-gateway")]
    boot.called.clear()
    boot.set("reg", ERRORS[0])
    assert repair.start(boot.task) == f"started reg; before: {ERRORS[0]}"
    assert boot.called == [("restart", "reg"), ("restart", "reg-gateway")]  # whose data was not there either
    assert repair.could_not_start(boot.seen) == {}


def test_what_was_set_aside_goes_first_which_may_have_the_port(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    boot.set("reg-network", "driver failed: port is already allocated")
    monkeypatch.setattr(repair.server_rollback, "recover", lambda name: boot.called.append(("recover", name)))
    repair.start(boot.task)
    assert boot.called[:2] == [("recover", "reg"), ("restart", "reg-network")]


def test_a_gateway_is_restarted_whose_network_was_started_anew(boot: Boot) -> None:
    boot.set("reg-network", started=LATE)
    assert repair.could_not_start(boot.seen) == {"reg-gateway": "its network was started anew"}
    assert repair.start(boot.task) == "started reg-gateway; before: its network was started anew"
    boot.set("reg-gateway", "")  # somebody has stopped it
    assert repair.could_not_start(boot.seen) == {}


def test_what_another_one_has_started_meanwhile_is_not_started_again(boot: Boot) -> None:
    boot.set("reg-network", ERRORS[1])

    @contextmanager
    def lock() -> Any:
        boot.set("reg-network", started=LATE)  # whoever had the lock
        yield

    boot.task.lock = lock
    assert list(repair.could_not_start(boot.seen)) == ["reg-network"]
    assert repair.start(boot.task) == "started reg-gateway; before: its network was started anew"


def test_nothing_is_said_of_a_start_that_fails_or_has_to_wait(boot: Boot) -> None:
    @contextmanager
    def busy() -> Any:
        raise repair.BusyError("somebody is at work")
        yield

    boot.set("reg", ERRORS[-1])
    boot.works = False
    assert (repair.start(boot.task), boot.called) == ("", [("restart", "reg")])
    boot.task.lock = busy
    assert (repair.start(boot.task), len(boot.called)) == ("", 1)
    assert boot.said == []


@pytest.mark.parametrize(
    ("holder", "does"),
    [("back-up", True), ("move-data", True), ("export-images", True), ("deploy-registry", False), ("restore", False)],
)
def test_a_gateway_does_not_wait_for_who_leaves_it_alone(
    boot: Boot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: str, does: bool
) -> None:
    """The registry waits, whose data may be about to move."""
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")
    boot.task.lock = lambda: lock.lock("repair-storage")
    boot.set("reg", ERRORS[0])
    boot.set("reg-network", started=LATE)
    with lock.lock(holder):
        told = repair.start(boot.task)
    assert bool(told) is does
    assert boot.called == ([("restart", "reg-gateway")] if does else [])
    assert repair.start(boot.task).startswith("started reg")
    assert ("restart", "reg") in boot.called


def test_a_deployment_that_was_killed_is_rolled_back_and_none_that_is_at_work(
    boot: Boot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recovered: list[bool] = []

    def recover() -> str:
        holder = lock.lock_holder()
        recovered.append(holder is not None and holder.name == "repair-storage")
        return "All is as it was before."

    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(repair, "engine_runs", lambda: True)
    monkeypatch.setattr(repair.server_rollback, "has_begun", lambda: True)
    monkeypatch.setattr(repair.server_rollback, "recover", recover)
    boot.task.lock = lambda: lock.lock("repair-storage")
    boot.task.options = SimpleNamespace(if_needed=True, list=False)
    with lock.lock("deploy-registry"):
        assert repair.run(boot.task) == ""
    assert recovered == []
    assert repair.run(boot.task) == "a deployment was cut off: All is as it was before."
    assert recovered == [True]


@pytest.mark.parametrize("left", ["pushes wait", "layers are set aside", ""])
def test_what_a_killed_collection_has_left_to_pushes_is_cleaned_up_unless_one_is_at_work(
    boot: Boot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    boot.seen.gateway_directory, boot.seen.path, held = str(tmp_path), tmp_path, bool(left)
    if left == "layers are set aside":
        (tmp_path / ".wharf-aside").mkdir()
    slots = ("reads", "writes") if left == "pushes wait" else ("a",)
    (tmp_path / "upstreams.conf").write_text(gateway.upstreams(*slots))
    cleaned: list[str] = []

    class EnoughError(Exception):
        """What comes next is not asked for here."""

    class Known:
        """The registry on this server."""

        def __new__(cls) -> Any:
            return boot.seen

        @classmethod
        def readable(cls) -> None:
            raise EnoughError

    monkeypatch.setattr(repair, "Registry", Known)
    monkeypatch.setattr(repair, "engine_runs", lambda: True)
    monkeypatch.setattr(repair, "clean_up", lambda _registry, _task, message: cleaned.append(message))
    boot.task.options = SimpleNamespace(if_needed=True, list=False)
    with pytest.raises(EnoughError):
        repair.run(boot.task)
    assert cleaned == (["a collection was cut off: the registry is as it was before it"] if held else [])

    @contextmanager
    def busy() -> Any:
        raise repair.BusyError("collect-garbage is at work")
        yield

    boot.task.lock = busy
    if held:
        assert repair.run(boot.task) == ""
    assert len(cleaned) == held


@pytest.mark.parametrize("cut_off", [False, True])
def test_on_a_standby_only_the_host_is_repaired(
    boot: Boot, registry: Pushing, monkeypatch: pytest.MonkeyPatch, cut_off: bool
) -> None:
    registry.push("team/app", "1", b"one", cut_off="manifest")
    monkeypatch.setattr(repair, "engine_runs", lambda: True)
    monkeypatch.setattr(repair.server_rollback, "has_begun", lambda: cut_off)
    monkeypatch.setattr(repair.server_rollback, "recover", lambda: "all is as it was")
    monkeypatch.setattr(repair.gateway, "is_held", lambda _: False)
    known = {"standby_of": "server1", "path": registry.root, "storage": storage.Storage(registry.root)}
    vars(boot.seen).update(known, gateway_directory="")
    monkeypatch.setattr(repair, "could_not_start", lambda _: {})
    known_registry = MagicMock(return_value=boot.seen)
    known_registry.readable.return_value = boot.seen
    monkeypatch.setattr(repair, "Registry", known_registry)
    boot.task.options = SimpleNamespace(if_needed=True, list=False)
    assert repair.run(boot.task) == ("a deployment was cut off: all is as it was" if cut_off else "")
    assert len(repair.find_faults(boot.seen.storage)) > 0


def test_in_a_bucket_nothing_is_repaired_but_the_host(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    boot.seen.s3, boot.seen.gateway_directory = {"bucket": "images"}, "/nowhere"
    monkeypatch.setattr(repair, "Registry", lambda: boot.seen)
    monkeypatch.setattr(repair.Registry, "readable", lambda: boot.seen, raising=False)
    monkeypatch.setattr(repair, "could_not_start", lambda _: {})
    boot.task.options = SimpleNamespace(if_needed=False, list=False)
    assert repair.run(boot.task) == "nothing to repair: what was cut off is not in the bucket"
    boot.task.options.if_needed = True
    assert repair.run(boot.task) == ""

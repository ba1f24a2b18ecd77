"""Pushes that wait: what stands in for the registry, that nothing reaches it meanwhile, and the way back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import read_only as module
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

SECRET = "REGISTRY_HTTP_SECRET=s3cr3t"


class Engine:
    """An engine with the registry's containers, and the gateway: who is there, who is frozen, and whom it asks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there, self.frozen, self.called = {"reg"}, set(), []
        self.slots: tuple[str, ...] = ("b",)
        self.created: dict[str, Any] = {}
        self.stragglers = 0  # connections that come just before it is frozen
        self.drains, self.fails = True, ""  # what begins with this fails
        config = {"Env": [SECRET, "REGISTRY_HTTP_ADDR=/wharf/sockets/b.sock"], "Cmd": ["serve", "c"], "User": "5:5"}
        host = {"Binds": ["/srv:/var/lib/registry"], "NetworkMode": "none", "RestartPolicy": {"Name": "always"}}
        inspected = {"Config": {**config, "Image": "registry:2"}, "HostConfig": host, "Image": "sha256:aa"}
        self.registry: Any = SimpleNamespace(
            container="reg", slot="b", stand_ins={"reads": "reg-reads", "writes": "reg-writes"}, descriptor_cache=False,
            collector="gc", dry_run_collector="try", inspected=inspected, status=self.status, client=self.client,
            pass_requests_to=self.switch, driver="filesystem", drain_seconds=60,
        )  # fmt: skip
        monkeypatch.setattr(module, "cli", self.cli)
        monkeypatch.setattr(module.containers, "create", self.create)
        monkeypatch.setattr(module.containers, "container", self.container)
        monkeypatch.setattr(module.gateway, "drain", self.drain)
        monkeypatch.setattr(module.gateway, "connections", self.connections)
        monkeypatch.setattr(module, "ignore_signals", lambda: None)
        monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)

    def container(self, name: str) -> Any:
        return {"State": {"Paused": name in self.frozen}} if name in self.there else None

    def status(self) -> str:
        return "paused" if "reg" in self.frozen else "running"

    def create(self, name: str, settings: dict[str, Any]) -> None:
        self.called.append(f"create {name}")
        self.created[name] = settings
        self.there.add(name)

    def cli(self, *words: str, check: bool = True) -> str:
        call = " ".join(words)
        self.called.append(call)
        if self.fails and call.startswith(self.fails) and check:
            raise WharfError(f"docker {call}")
        name = words[-1]
        if words[0] == "pause":
            self.frozen.add(name)
        elif words[0] == "unpause":
            self.frozen.discard(name)
        elif words[0] == "rm":
            self.there.discard(name)
            self.frozen.discard(name)
        return "\n".join(sorted(self.there)) if words[0] == "ps" else ""

    def switch(self, reads: str, writes: str = "") -> None:
        self.called.append(f"switch {reads} {writes}".strip())
        self.slots = (reads, writes) if writes else (reads,)

    def drain(self, name: str, slot: str, _seconds: float) -> bool:
        self.called.append(f"drain {name}")
        return self.drains

    def connections(self, _found: Any, slot: str) -> int:
        assert slot == "b"
        self.stragglers -= 1
        return int(self.stragglers >= 0)

    @contextlib.contextmanager
    def client(self, slot: str = "b") -> Iterator[Any]:
        def wait(*_: Any, **__: Any) -> None:
            assert {"b": "reg", "reads": "reg-reads", "writes": "reg-writes"}[slot] in self.there - self.frozen

        yield SimpleNamespace(wait=wait)

    def is_as_before(self) -> bool:
        """Tell whether nothing of a collection is left."""
        return (self.there, self.frozen, self.slots) == ({"reg"}, set(), ("b",))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Return an engine on which the registry runs."""
    return Engine(monkeypatch)


def test_while_pushes_are_held_the_registry_is_frozen_and_afterwards_all_is_as_before(engine: Engine) -> None:
    with module.pushes_held(engine.registry) as moments:
        assert engine.there == {"reg", "reg-reads", "reg-writes"}
        assert engine.frozen == {"reg", "reg-writes"}
        assert engine.slots == ("reads", "writes")
    assert engine.is_as_before()
    assert len(moments) == 2
    calls = engine.called
    assert calls.index("pause reg-writes") < calls.index("switch reads writes") < calls.index("drain reg")
    # Who waits is answered by the registry itself when it can, and nobody is removed who still answers.
    assert calls.index("unpause reg") < calls.index("switch b") < calls.index("drain reg-writes")
    assert calls.index("drain reg-writes") < calls.index("rm --force reg-writes")


def test_what_comes_in_just_before_it_is_frozen_is_ended_first(engine: Engine) -> None:
    engine.stragglers = 2
    with module.pushes_held(engine.registry):
        assert "reg" in engine.frozen
    words = ["drain reg", "pause reg", "unpause reg", "drain reg", "pause reg", "unpause reg", "drain reg", "pause reg"]
    begin = engine.called.index("drain reg")
    assert engine.called[begin : begin + len(words)] == words


def test_a_push_that_does_not_end_is_waited_for_and_nothing_is_changed(engine: Engine) -> None:
    engine.drains = False
    message = "did not end within 60 s: nothing was changed; try again"
    with pytest.raises(WharfError, match=message), module.pushes_held(engine.registry):
        raise AssertionError
    assert engine.is_as_before()


@pytest.mark.parametrize("fails", ["start reg-reads", "start reg-writes", "pause reg-writes", "pause reg"])
def test_whatever_fails_all_is_as_before(engine: Engine, fails: str) -> None:
    engine.fails = fails
    with pytest.raises(WharfError, match=f"docker {fails}"), module.pushes_held(engine.registry):
        raise AssertionError
    assert engine.is_as_before()


def test_what_fails_while_pushes_are_held_is_told_and_all_is_as_before(engine: Engine) -> None:
    with pytest.raises(WharfError, match="the collector"), module.pushes_held(engine.registry):
        raise WharfError("the collector")
    assert engine.is_as_before()


def test_a_stand_in_is_the_registry_with_another_socket_and_its_secret_stands_in_no_command(engine: Engine) -> None:
    with module.pushes_held(engine.registry):
        pass
    for slot in ("reads", "writes"):
        made = engine.created[f"reg-{slot}"]
        assert made["Env"] == [SECRET, f"REGISTRY_HTTP_ADDR=/wharf/sockets/{slot}.sock"]
        assert (made["Image"], made["Cmd"], made["User"]) == ("sha256:aa", ["serve", "c"], "5:5")
        assert made["HostConfig"] == engine.registry.inspected["HostConfig"] | {"RestartPolicy": {"Name": "no"}}
    assert "s3cr3t" not in str(engine.called)


@pytest.mark.parametrize(
    "left", [(), ("gc",), ("reg-reads",), ("reg-reads", "reg-writes"), ("gc", "reg-reads", "reg-writes")]
)
def test_what_a_killed_collection_has_left_is_cleaned_up_and_told(
    engine: Engine, tmp_path: Path, left: tuple[str, ...]
) -> None:
    storage = SimpleNamespace(top=tmp_path, as_owner=contextlib.nullcontext, repositories_in=lambda _: [])
    engine.registry.storage, engine.registry.path = storage, tmp_path
    engine.there |= {*left, "other"}
    if left:
        engine.frozen, engine.slots = {"reg", "reg-writes"} & engine.there, ("reads", "writes")
    told: list[str] = []
    task: Any = SimpleNamespace(line=told.append)
    module.clean_up(engine.registry, task, "it is as it was")
    engine.there.discard("other")
    assert engine.is_as_before()
    assert told == (["it is as it was"] if left else [])


def stored_at(engine: Engine, root: Path, *names: str) -> list[Path]:
    """Store files with their names for content, and return them."""
    storage = SimpleNamespace(
        top=root / "docker/registry/v2", as_owner=contextlib.nullcontext, repositories_in=lambda _: []
    )
    engine.registry.storage, engine.registry.path = storage, root
    files = [storage.top / name for name in names]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text(str(file.relative_to(storage.top)))
    return files


FILES = ("blobs/sha256/aa/aa01/data", "repositories/team/app/_layers/sha256/aa01/link")


def test_what_is_set_aside_is_in_its_place_again_whatever_fails(engine: Engine, tmp_path: Path) -> None:
    files = stored_at(engine, tmp_path, *FILES, "blobs/sha256/bb/bb01/data")
    with pytest.raises(WharfError, match="the collector"), module.set_aside(engine.registry, files[:2]):
        assert [file.exists() for file in files] == [False, False, True]
        raise WharfError("the collector")
    assert [file.read_text() for file in files[:2]] == list(FILES)
    assert not (tmp_path / module.ASIDE).exists()
    # Also where it fails half way.
    files[1].unlink()
    with pytest.raises(FileNotFoundError), module.set_aside(engine.registry, files[:2]):
        raise AssertionError
    assert files[0].read_text() == FILES[0]


def test_what_a_killed_collection_has_set_aside_is_put_back_when_the_collector_is_gone(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = stored_at(engine, tmp_path, *FILES)
    monkeypatch.setattr(module, "put_back", lambda _registry: None)
    with module.set_aside(engine.registry, files):
        pass
    monkeypatch.undo()
    Engine.__init__(engine, monkeypatch)
    stored_at(engine, tmp_path)
    engine.there.add("gc")
    files[1].write_text("pushed again since")
    rename = Path.rename

    def moved(file: Path, place: Path) -> Path:
        assert "gc" not in engine.there
        return rename(file, place)

    monkeypatch.setattr(Path, "rename", moved)
    module.clean_up(engine.registry, SimpleNamespace(line=print), "it is as it was")  # type: ignore[arg-type]
    assert [file.read_text() for file in files] == [FILES[0], "pushed again since"]
    assert not (tmp_path / module.ASIDE).exists()
    assert engine.is_as_before()


def test_while_pushes_are_held_on_all_servers_the_one_that_serves_pulls_is_tested(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    @contextlib.contextmanager
    def client(slot: str = "b") -> Iterator[Any]:
        asked.append(slot)
        yield SimpleNamespace(close=lambda: None)

    engine.registry.client, engine.registry.storage = client, module.Storage(tmp_path)
    monkeypatch.setattr(module, "smoke_test", lambda *_: None)
    told: list[str] = []
    task: Any = SimpleNamespace(line=told.append)
    with module.changing(engine.registry, task, (), is_held=True):
        pass
    assert (asked, engine.called) == (["reads"] * 3, [])
    assert told == ["kept: 0 tags in 0 repositories, each with its digest", "verified: an image was pushed and pulled"]


def test_what_is_held_on_all_servers_is_not_released_by_a_clean_up(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.registry.storage, engine.registry.path = module.Storage(tmp_path), tmp_path
    engine.there |= {"reg-reads", "reg-writes"}
    monkeypatch.setattr(module, "held_for", lambda: 600.0)
    module.clean_up(engine.registry, SimpleNamespace(line=print), "it is as it was")  # type: ignore[arg-type]
    assert {"reg-reads", "reg-writes"} <= engine.there

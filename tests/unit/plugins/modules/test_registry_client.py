"""The order of a visit: everything is judged before anything changes, and the result tells whether all was right."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import auth_files, daemon_json
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.modules import registry_client

OWNER = "registry_client reg.test:5000"


class Trust:
    """What a host needs, as a test wants it; notes down what is done."""

    present, registry, families, tools, ca = True, "reg.test:5000", ["docker"], ["docker"], "CA"
    wanted, others = ["reg.test:5000", "near.test:5000", "away.test:5000"], ["old.test:5000"]
    refusals: list[str] = []
    options: dict[str, dict] = {}
    pending = False
    done: list[str] = []

    def __init__(self, params: dict[str, Any], check_mode: bool) -> None:
        """Take what the module hands over."""
        self.changes = self.hosts_changes = SimpleNamespace(paths=[], diff=[])
        self.warnings = []
        self.foreign: list[str] = []

    def problems(self) -> list[str]:
        """Return what a test wants."""
        return list(self.refusals)

    def engine_options(self) -> dict[str, dict]:
        """Return what a test wants."""
        return self.options

    def check_proxy(self) -> None:
        """Note it down."""
        self.done.append("proxy")

    def write_hosts(self) -> None:
        """Note it down."""
        self.done.append("hosts")

    def write(self) -> bool:
        """Note it down; return what a test wants."""
        self.done.append("files")
        return self.pending


class Caches:
    """The caches, as a test wants them; notes down what is done."""

    options: dict[str, dict] = {}
    is_sure, pending = True, False

    def __init__(self, trust: Trust, params: dict[str, Any], check_mode: bool) -> None:
        """Take what the module hands over."""
        self.changes, self.diff, self.warnings = SimpleNamespace(paths=[]), [], []

    def engine_options(self) -> dict[str, dict]:
        """Return what a test wants."""
        return self.options

    def remove(self) -> None:
        """Note it down."""
        Trust.done.append("old caches")

    def write(self, is_mirror_new: bool) -> None:
        """Note it down, and change what a test wants."""
        Trust.done.append(f"caches {is_mirror_new}")
        self.changes.paths += ["hosts.toml"] if self.pending else []


class Change:
    """A change of daemon.json."""

    changed, reload_keys = True, ["insecure-registries"]

    def __init__(self, module: object, owner: str, options: dict, groups: list) -> None:
        """Note down that it is judged."""
        self.owner = owner
        Trust.done.append(f"judge {owner}")

    def apply(self) -> None:
        """Note it down."""
        Trust.done.append(f"apply {self.owner}")

    def result(self) -> dict[str, dict]:
        """Return a difference."""
        return {"diff": {"before": "", "after": "{}"}}


@pytest.fixture
def trust(monkeypatch: pytest.MonkeyPatch) -> type[Trust]:
    """Return what stands for the host."""
    for name, value in {"refusals": [], "options": {}, "pending": False, "done": []}.items():
        monkeypatch.setattr(Trust, name, value)
    for name, value in {"options": {}, "is_sure": True, "pending": False}.items():
        monkeypatch.setattr(Caches, name, value)
    monkeypatch.setattr(registry_client, "Trust", Trust)
    monkeypatch.setattr(registry_client, "Caches", Caches)
    monkeypatch.setattr(registry_client, "addresses", lambda name: NAMES.get(name, []))
    monkeypatch.setattr(daemon_json, "Change", Change)
    monkeypatch.setattr(auth_files, "find_user", lambda name: None if name == "nobody" else True)
    monkeypatch.setattr(auth_files, "has", lambda program: True)
    return Trust


NAMES = {"reg.test": ["192.0.2.1"], "near.test": ["192.0.2.1"], "own.test": ["127.0.1.1", "::1"]}


def run(check: bool = False, **params: Any) -> dict[str, Any]:
    """Run the module."""
    given = {
        "name": "reg.test",
        "port": 5000,
        "address": "",
        "resolve": True,
        "previous_names": [],
        "other_addresses": [],
        "logins": [],
        "problems": [],
    }
    return registry_client.run(SimpleNamespace(params={**given, "request": "r", **params}, check_mode=check))


def test_host_on_which_all_is_right_is_up_to_date(trust: type[Trust]) -> None:
    assert run() == {
        "changed": False,
        "ca": "CA",
        "reload_keys": [],
        "request": "r",
        "trusted": True,
        "up_to_date": True,
        "diff": [],
    }


def test_host_with_something_pending_is_not(trust: type[Trust]) -> None:
    trust.pending = True
    result = run()
    assert (result["changed"], result["trusted"], result["up_to_date"]) == (True, False, False)


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ({"problems": ["registry_client_port: 0"]}, "registry_client_port: 0"),
        ({"logins": [{"user": "nobody", "name": "ci", "password": "x"}]}, "no system user 'nobody'"),
    ],
)
def test_nothing_is_done_where_anything_is_wrong(trust: type[Trust], params: dict, line: str) -> None:
    with pytest.raises(WharfError, match=line):
        run(**params)
    trust.refusals = ["registry_client_tools: x"]
    with pytest.raises(WharfError, match="registry_client_tools: x"):
        run()
    assert trust.done == []


def test_name_that_resolves_nowhere_is_refused_before_the_tools_are_told(trust: type[Trust]) -> None:
    with pytest.raises(WharfError, match=r"^new\.test resolves to nothing on this host: .*registry_client_address"):
        run(name="new.test")
    assert trust.done == ["hosts"]
    assert run(name="new.test", resolve=False)["up_to_date"] is False
    assert run(name="new.test", address="192.0.2.1")["up_to_date"] is True


def test_name_that_means_the_host_itself_is_refused_where_nothing_answers(trust: type[Trust]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        NAMES["server.test"] = ["127.0.0.1"]
        assert run(name="server.test", port=port)["up_to_date"] is True
    with pytest.raises(WharfError, match=r"^own\.test resolves to 127\.0\.1\.1 on this host, which is the host itself"):
        run(name="own.test", port=port)
    assert trust.done[-1] == "hosts"
    run(check=True, name="own.test", port=port)
    run(name="own.test", port=port, resolve=False)


@pytest.mark.parametrize("check", [False, True])
def test_daemon_json_is_judged_first_and_changed_last(trust: type[Trust], check: bool) -> None:
    trust.options = {OWNER: {"insecure-registries": ["reg.test:5000"]}}
    result = run(check)
    applied = [] if check else [f"judge {OWNER}", f"apply {OWNER}", "proxy"]
    assert trust.done == [f"judge {OWNER}", "hosts", "old caches", "files", *applied, "caches False"]
    assert (result["changed"], result["trusted"], result["reload_keys"]) == (True, False, ["insecure-registries"])
    assert result["diff"] == [{"before": "", "after": "{}"}]


@pytest.mark.parametrize("check", [False, True])
def test_caches_come_after_trust_and_are_no_part_of_it(trust: type[Trust], monkeypatch, check: bool) -> None:
    monkeypatch.setattr(Caches, "options", {f"{OWNER}, caches": {"registry-mirrors": ["https://reg.test:5001"]}})
    judged, applied = f"judge {OWNER}, caches", f"apply {OWNER}, caches"
    result = run(check)
    last = [] if check else [judged, applied]
    proxy = [] if check else ["proxy"]
    assert trust.done == [judged, "hosts", "old caches", "files", *proxy, "caches True", *last]
    assert (result["changed"], result["trusted"], result["up_to_date"]) == (True, True, False)


@pytest.mark.parametrize(("attribute", "changed"), [("is_sure", False), ("pending", True)])
def test_caches_that_are_not_as_they_should_be_take_another_visit(
    trust: type[Trust], monkeypatch: pytest.MonkeyPatch, attribute: str, changed: bool
) -> None:
    monkeypatch.setattr(Caches, attribute, changed)
    result = run()
    assert (result["changed"], result["trusted"], result["up_to_date"]) == (changed, True, False)


def test_logins_come_last_and_out_of_previous_names_first(trust: type[Trust], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def log_all(logins: list, registries: dict, *_: object) -> auth_files.Outcome:
        seen.append(list(registries.items()))
        return auth_files.Outcome(changed=True, confirmed=False)

    monkeypatch.setattr(auth_files, "log_all", log_all)
    login = {"user": "root", "name": "ci", "password": "x"}
    result = run(logins=[login], previous_names=["old.test:5000"])
    assert seen == [[("old.test:5000", False), ("reg.test:5000", True), ("near.test:5000", True)]]
    assert (result["changed"], result["trusted"], result["up_to_date"]) == (True, True, False)
    monkeypatch.setattr(auth_files, "log_all", lambda *_: auth_files.Outcome(problems=["root cannot log in"]))
    with pytest.raises(WharfError, match="root cannot log in"):
        run(logins=[login])

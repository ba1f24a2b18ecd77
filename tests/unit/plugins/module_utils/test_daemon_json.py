# SPDX-License-Identifier: MIT
"""Who owns which key of daemon.json, and what the engine is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import daemon_json
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

LOG_GROUP = {"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}}
LIVE_GROUP = {"live-restore": True}


@pytest.fixture(autouse=True)
def ledger(tmp_path, monkeypatch) -> Path:
    """Return where the ledger lies."""
    monkeypatch.setattr(daemon_json, "LEDGER", str(tmp_path / "ledger"))
    return tmp_path / "ledger"


class Host:
    """A daemon.json and its ledger in memory, as successive calls of the module leave them."""

    def __init__(self, document: dict | None = None) -> None:
        self.document = document
        self.ledger = daemon_json.Ledger()
        self.yielded: list[str] = []

    def present(self, owner: str, options: dict | None = None, groups: tuple = (), reserved: tuple = ()) -> dict | None:
        """Let an owner have what it wants; a second call must change nothing."""
        for number in range(2):
            document, ledger, self.yielded = daemon_json.merge(
                self.document, self.ledger, owner, options or {}, list(groups), reserved
            )
            if number:
                assert (document, ledger) == (self.document, self.ledger)
            # What is remembered must survive being written and read.
            Path(daemon_json.LEDGER).write_text(ledger.to_text() or "")
            self.ledger = daemon_json.Ledger.read()
            self.document = document
        return self.document

    def absent(self, owner: str) -> dict | None:
        """Let an owner withdraw."""
        return self.present(owner)


# Whose key is it ------------------------------------------------------------------------------------------------------


def test_other_peoples_keys_stay_and_ours_go_again():
    host = Host({"data-root": "/srv/docker", "log-opts": {"tag": "x"}})
    assert host.present("us", {"debug": True, "log-opts": {"max-size": "1m"}}) == {
        "data-root": "/srv/docker",
        "log-opts": {"tag": "x", "max-size": "1m"},
        "debug": True,
    }
    assert host.absent("us") == {"data-root": "/srv/docker", "log-opts": {"tag": "x"}}
    assert host.ledger.to_text() is None


def test_a_key_that_is_no_longer_wanted_goes_and_the_others_stay():
    host = Host({})
    host.present("us", {"debug": True, "mtu": 1400, "proxies": {"http-proxy": "http://p", "no-proxy": "a"}})
    assert host.present("us", {"mtu": 1400, "proxies": {"no-proxy": "a"}}) == {
        "mtu": 1400,
        "proxies": {"no-proxy": "a"},
    }


def test_the_value_that_stood_there_before_comes_back():
    host = Host({"mtu": 1500, "log-opts": {"max-size": "5m"}})
    host.present("us", {"mtu": 1400, "log-opts": {"max-size": "10m"}})
    host.present("us", {"mtu": 1300, "log-opts": {"max-size": "10m"}})
    assert host.absent("us") == {"mtu": 1500, "log-opts": {"max-size": "5m"}}


def test_a_value_that_somebody_changed_since_is_theirs():
    host = Host({})
    host.present("us", {"mtu": 1400, "debug": True})
    host.document["mtu"] = 1492
    assert host.absent("us") == {"mtu": 1492}


def test_an_option_wins_over_a_change_and_gives_it_back():
    host = Host({})
    host.present("us", {"mtu": 1400})
    host.document["mtu"] = 1492
    assert host.present("us", {"mtu": 1400}) == {"mtu": 1400}
    assert host.absent("us") == {"mtu": 1492}


def test_a_value_that_was_right_already_is_left_on_withdrawal():
    host = Host({"debug": True})
    host.present("us", {"debug": True})
    assert host.absent("us") == {"debug": True}


@pytest.mark.parametrize(
    ("left", "right", "keys"),
    [
        ({"a": True}, {"a": 1}, ["a"]),
        ({"a": [{"b": False}]}, {"a": [{"b": 0}]}, ["a"]),
        ({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2, "c": 1}, "a": 1}, []),
        ({"a": None}, {}, []),
        ({"labels": ["x", "y"], "dns": ["x", "y"]}, {"labels": ["y", "x"], "dns": ["y", "x"]}, ["dns"]),
    ],
)
def test_true_is_not_one_and_order_counts_only_in_lists_that_are_one_value(left, right, keys):
    assert daemon_json.changed_keys(left, right) == keys


def test_a_file_that_is_there_only_because_of_us_goes_with_us():
    host = Host(None)
    host.present("us", {"debug": True})
    assert host.absent("us") is None
    assert host.ledger.to_text() is None


def test_a_file_that_was_there_stays_even_when_it_is_empty():
    host = Host({})
    host.present("us", {"debug": True})
    assert host.absent("us") == {}


def test_an_object_made_by_us_stays_when_somebody_has_put_a_key_into_it():
    host = Host({})
    host.present("us", {"log-opts": {"max-size": "1m"}})
    host.document["log-opts"]["tag"] = "x"
    assert host.absent("us") == {"log-opts": {"tag": "x"}}


def test_nested_objects_are_merged_at_every_depth():
    host = Host({"builder": {"gc": {"enabled": True}}})
    host.present("us", {"builder": {"gc": {"policy": [1]}, "entitlements": {"a": {"b": True}}}})
    assert host.document == {"builder": {"gc": {"enabled": True, "policy": [1]}, "entitlements": {"a": {"b": True}}}}
    assert host.absent("us") == {"builder": {"gc": {"enabled": True}}}


def test_other_lists_are_whole_values():
    host = Host({"dns": ["10.0.0.1"]})
    assert host.present("us", {"dns": ["10.0.0.2"]}) == {"dns": ["10.0.0.2"]}
    assert host.absent("us") == {"dns": ["10.0.0.1"]}


@pytest.mark.parametrize("key", daemon_json.ITEM_LISTS)
def test_items_of_owned_lists_are_added_and_taken_away_one_by_one(key):
    host = Host({key: ["theirs", "both"]})
    assert host.present("us", {key: ["both", "ours", "more"]}) == {key: ["theirs", "both", "ours", "more"]}
    host.document[key].append("later")
    assert host.present("us", {key: ["both", "ours"]}) == {key: ["theirs", "both", "ours", "later"]}
    assert host.absent("us") == {key: ["theirs", "both", "later"]}


def test_an_item_that_another_owner_claims_stays():
    host = Host(None)
    host.present("client", {"insecure-registries": ["a:5000", "b:5000"]})
    host.present("engine", {"insecure-registries": ["a:5000"]})
    assert host.absent("client") == {"insecure-registries": ["a:5000"]}
    assert host.absent("engine") is None


@pytest.mark.parametrize("first", ["client", "engine"])
def test_a_key_that_two_owners_claim_goes_with_the_last(first):
    host = Host({"debug": False})
    host.present("client", {"debug": True})
    host.present("engine", {"debug": True})
    last = {"client": "engine", "engine": "client"}[first]
    assert host.absent(first) == {"debug": True}
    assert host.absent(last) == {"debug": False}
    assert host.ledger.to_text() is None


def test_a_list_where_somebody_wrote_null_is_filled():
    host = Host({"insecure-registries": None})
    assert host.present("us", {"insecure-registries": ["a:5000"]}) == {"insecure-registries": ["a:5000"]}
    assert host.absent("us") == {"insecure-registries": None}


def test_an_empty_object_comes_back_with_the_last_owner():
    host = Host({"log-opts": {}})
    host.present("client", {"log-opts": {"tag": "x"}})
    host.present("engine", {"log-opts": {"max-size": "1m"}})
    assert host.absent("client") == {"log-opts": {"max-size": "1m"}}
    assert host.absent("engine") == {"log-opts": {}}


@pytest.mark.parametrize(
    ("document", "options", "named"),
    [
        ({"log-opts": "none"}, {"log-opts": {"max-size": "1m"}}, "log-opts is a string .* wants an object there"),
        ({"log-opts": {"tag": "x"}}, {"log-opts": "none"}, "log-opts is an object .* wants a string there"),
        ({"labels": "a=b"}, {"labels": ["a=b"]}, "labels is a string .* wants a list of strings there"),
    ],
)
def test_an_option_that_would_break_what_stands_there_is_refused(document, options, named):
    with pytest.raises(WharfError, match=named):
        daemon_json.merge(document, daemon_json.Ledger(), "us", options, [])


@pytest.mark.parametrize("wanted", [{"debug": None}, {"log-opts": {"a": None}}, {"labels": "a=b"}, {"labels": [1]}])
def test_what_no_engine_takes_is_refused(wanted):
    with pytest.raises(WharfError):
        daemon_json.check_wanted(wanted, "options")


def test_order_is_kept_and_new_keys_come_last():
    host = Host({"z": 1, "a": {"y": 1, "b": 2}})
    host.present("us", {"b": 1, "a": {"c": 3, "y": 0}})
    assert list(host.document) == ["z", "a", "b"]
    assert list(host.document["a"]) == ["y", "b", "c"]


# Defaults that yield --------------------------------------------------------------------------------------------------


def test_defaults_are_written_where_nobody_decides():
    assert Host(None).present("us", groups=(LIVE_GROUP, LOG_GROUP)) == {**LIVE_GROUP, **LOG_GROUP}


@pytest.mark.parametrize("theirs", [{"log-driver": "journald"}, {"log-opts": {"tag": "x"}}])
def test_a_group_yields_as_a_whole_to_a_key_of_somebody_else(theirs):
    host = Host(dict(theirs))
    assert host.present("us", groups=(LIVE_GROUP, LOG_GROUP)) == {**theirs, **LIVE_GROUP}
    assert host.yielded == ["log-driver", "log-opts"]


def test_a_group_yields_to_options():
    host = Host(None)
    host.present("us", groups=(LIVE_GROUP, LOG_GROUP))
    assert host.present("us", {"log-driver": "local"}, (LIVE_GROUP, LOG_GROUP)) == {**LIVE_GROUP, "log-driver": "local"}
    assert host.present("us", groups=(LIVE_GROUP, LOG_GROUP)) == {**LIVE_GROUP, **LOG_GROUP}


def test_a_group_yields_to_the_command_line():
    assert Host(None).present("us", groups=(LIVE_GROUP,), reserved=("live-restore",)) is None


def test_a_group_is_withdrawn_when_somebody_takes_its_key_over():
    host = Host(None)
    host.present("us", groups=(LOG_GROUP,))
    host.document["log-driver"] = "journald"
    assert host.present("us", groups=(LOG_GROUP,)) == {"log-driver": "journald"}


def test_a_key_put_beside_ours_does_not_withdraw_the_group():
    host = Host(None)
    host.present("us", groups=(LOG_GROUP,))
    host.document["log-opts"]["tag"] = "x"
    assert host.present("us", groups=(LOG_GROUP,))["log-opts"] == {"max-size": "10m", "max-file": "3", "tag": "x"}


def test_a_default_that_somebody_changed_is_left_to_them():
    host = Host(None)
    host.present("us", groups=(LOG_GROUP,))
    host.document["log-opts"]["max-size"] = "50m"
    assert host.present("us", groups=(LOG_GROUP,))["log-opts"] == {"max-size": "50m", "max-file": "3"}
    assert host.absent("us") == {"log-opts": {"max-size": "50m"}}


def test_a_default_yields_to_the_value_that_an_option_had_covered():
    host = Host({"live-restore": False})
    host.present("us", {"live-restore": True}, (LIVE_GROUP,))
    assert host.present("us", groups=(LIVE_GROUP,)) == {"live-restore": False}


# The ledger -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def owned(ledger):
    """Let two owners have keys, one of which waits for a restart."""
    host = Host(None)
    host.present("docker_engine", {"features": {"containerd-snapshotter": True}, "debug": True})
    host.present("registry_client a:1", {"insecure-registries": ["a:1"], "debug": True})
    host.ledger.pending = {"engine": "boot 7 99", "has": {"features": None}}
    ledger.write_text(host.ledger.to_text())


def test_owners_are_known_by_what_they_own(owned):
    assert daemon_json.owners() == ["docker_engine", "registry_client a:1"]
    assert daemon_json.owners(("features", "containerd-snapshotter")) == ["docker_engine"]
    assert daemon_json.owners(("debug",)) == ["docker_engine", "registry_client a:1"]
    assert daemon_json.owners(("mtu",)) == []


def test_nobody_owns_anything_without_a_ledger(ledger):
    assert daemon_json.owners() == []
    daemon_json.end_restart()
    assert not ledger.exists()


def test_what_waited_for_a_restart_is_forgotten_after_it(owned, ledger):
    daemon_json.end_restart()
    left = json.loads(ledger.read_text())
    assert "pending" not in left
    owned = [claim["path"] for claim in left["claims"] if claim["path"][:1] in ([], ["features"])]
    assert owned == [[], ["features"], ["features", "containerd-snapshotter"]]


# A run that is killed -------------------------------------------------------------------------------------------------

STEPS = [
    ({"mtu": 1400}, {"mtu": 1300, "debug": True}),
    ({"mtu": 1400, "labels": ["a=1", "b=1"]}, {"labels": ["b=1", "c=1"]}),
    ({}, {"log-opts": {"max-size": "1m"}}),
    ({"log-opts": {"max-size": "1m"}}, {}),
]


@pytest.mark.parametrize("original", [None, {}, {"mtu": 1500, "labels": ["a=1"], "log-opts": {"tag": "x"}}])
@pytest.mark.parametrize(("first", "second"), STEPS)
@pytest.mark.parametrize("file_was_replaced", [False, True])
@pytest.mark.parametrize("then", ["repeat", "withdraw"])
def test_a_run_killed_between_ledger_and_file_can_be_repeated_and_withdrawn(
    original, first, second, file_was_replaced, then
):
    host = Host(original)
    host.present("us", first)
    document, ledger, _yielded = daemon_json.merge(host.document, host.ledger, "us", second, [])
    host.ledger = daemon_json.union(host.ledger, ledger, {})
    if file_was_replaced:
        host.document = document
    if then == "repeat":
        assert host.present("us", second) == document
    assert host.absent("us") == original
    assert host.ledger.to_text() is None


# The text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "place", "words"),
    [
        (b'{\n  "a": 1,\n}\n', "line", "comma"),
        (b'{\n  "a": 1\n  "b": 2\n}\n', "line 3, column 3", "comma"),
        (b'{\n  "a": [1,]\n}\n', "line 2", "comma"),
        (b'{\n  // why\n  "a": 1\n}\n', "line 2, column 3", "comments"),
        (b"{\n  'a': 1\n}\n", "line 2, column 3", "double quotes"),
        (b'{\n  "a": tru\n}\n', "line 2, column 8", "JSON value"),
        (b'{\n  "a": "b\n}\n', "line 2, column 10", "double quote"),
        (b'{\n  "a": 1\n', "line", "close every bracket"),
        (b"{} {}", "line 1, column 4", "ended"),
        (b"[1]", "line 1, column 1", "{ }"),
        (b'\n  "x"', "line 2, column 3", "{ }"),
        (b"null", "line 1, column 1", "{ }"),
        (b'{\n  "a": NaN\n}', "line 2, column 8", "number"),
        (b'{"a": 1,\n "b": "\xe4"}', "line 2, column 8", "UTF-8"),
        (b"\xef\xbb\xbf{}", "line 1, column 1", "byte order mark"),
        (b'{"a": {"b": 1, "c": {}},\n "d": [{"x": 1}, {"x": 1}],\n "a": 2}', "line 3, column 2", '"a" stands twice'),
        (b'{"a": {"b": 1,\n"b": 2}}', "line 2, column 1", '"b" stands twice'),
    ],
)
def test_an_unreadable_file_is_named_with_line_column_and_remedy(raw, place, words):
    with pytest.raises(WharfError) as error:
        daemon_json.parse(raw, "/etc/docker/daemon.json")
    message = str(error.value)
    assert message.startswith("/etc/docker/daemon.json, ")
    assert place in message
    assert words in message
    assert message.endswith("Nothing was changed.")


@pytest.mark.parametrize("raw", [b"", b" \n\t\n"])
def test_an_empty_file_is_an_empty_object(raw):
    assert daemon_json.parse(raw, "f") == {}


def test_what_does_not_change_keeps_its_text():
    text = '{\n\t"dns": ["10.0.0.1", "10.0.0.2"],\n\t"a\\"{": { "b" : 1.50 },\n\t"labels": ["x=1"]\n}\n'
    before = daemon_json.parse(text.encode(), "f")
    after = {**before, "labels": ["x=1", "y=2"], "new": {"k": "ü"}}
    assert daemon_json.render(after, text, before) == (
        '{\n\t"dns": ["10.0.0.1", "10.0.0.2"],\n\t"a\\"{": { "b" : 1.50 },\n'
        '\t"labels": [\n\t\t"x=1",\n\t\t"y=2"\n\t],\n\t"new": {\n\t\t"k": "ü"\n\t}\n}\n'
    )


def test_a_list_of_somebody_else_keeps_what_stands_in_it_twice():
    host = Host({"labels": ["a=1", "b=1", "a=1"], "dns": []})
    text = json.dumps(host.document)
    before = json.loads(text)
    assert '"labels": ["a=1", "b=1", "a=1"]' in daemon_json.render(host.present("us", {"mtu": 1400}), text, before)


def test_a_new_file_is_indented_by_four():
    assert daemon_json.render({"a": {"b": 1}}) == '{\n    "a": {\n        "b": 1\n    }\n}\n'
    assert daemon_json.render({}) == "{}\n"


@pytest.mark.parametrize(
    ("key", "before", "after", "reload"),
    [
        ("live-restore", None, True, True),
        ("insecure-registries", ["a"], None, True),
        ("log-driver", None, "json-file", False),
        ("features", None, {"buildkit": True}, True),
        ("features", {"buildkit": True}, {"buildkit": True, "containerd-snapshotter": True}, False),
        ("proxies", {}, {"no-proxy": "x"}, False),
    ],
)
def test_what_can_be_reloaded(key, before, after, reload):
    assert daemon_json.can_reload(key, before, after) is reload


CLASSIC = {"Driver": "overlay2", "DockerRootDir": "/var/lib/docker", "DriverStatus": [["a", "b"]]}
CONTAINERD = CLASSIC | {"Driver": "overlayfs", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}


@pytest.mark.parametrize(
    ("info", "version", "after", "found"),
    [
        (CLASSIC, "26.1.5+dfsg1", {"features": {"containerd-snapshotter": True}}, ["features.containerd-snapshotter"]),
        (CLASSIC, "26.1.5+dfsg1", {"features": {"buildkit": False}}, []),
        (CLASSIC, "29.0.1", {"features": {}}, []),
        (CONTAINERD, "26.1.5", {"features": {"containerd-snapshotter": True}}, []),
        (CONTAINERD, "26.1.5", {}, ["features.containerd-snapshotter"]),
        (CONTAINERD, "29.0.1", {}, []),
        (CONTAINERD, "29.0.1", {"features": {"containerd-snapshotter": False}}, ["features.containerd-snapshotter"]),
        (CLASSIC, "20.10.24", {"storage-driver": "overlay2", "data-root": "/var/lib/docker"}, []),
        (CLASSIC, "20.10.24", {"storage-driver": "vfs", "data-root": "/srv"}, ["data-root", "storage-driver"]),
        (CLASSIC | {"DockerRootDir": "/srv"}, "20.10.24", {}, ["data-root"]),
        (CLASSIC, "20.10.24", {"userns-remap": "default"}, ["userns-remap"]),
        (CLASSIC | {"SecurityOptions": ["name=userns"]}, "26.1.5", {}, ["userns-remap"]),
    ],
)
def test_settings_that_hide_containers_are_found(info, version, after, found):
    keys = ["data-root", "features", "storage-driver", "userns-remap"]
    assert daemon_json.out_of_sight(info | {"ServerVersion": version}, after, keys) == found


def test_a_setting_that_did_not_change_hides_nothing():
    info = CLASSIC | {"ServerVersion": "26.1.5"}
    assert daemon_json.out_of_sight(info, {"storage-driver": "vfs"}, ["log-level"]) == []


def test_only_keys_that_leave_the_file_need_a_stand_in():
    keys = ["insecure-registries", "live-restore", "max-concurrent-uploads", "labels"]
    assert daemon_json.stand_ins({"labels": ["a=b"]}, keys) == {"insecure-registries": [], "live-restore": False}

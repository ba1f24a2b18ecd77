# SPDX-License-Identifier: MIT
"""The module docker_daemon_config: who owns which key of daemon.json, and what the engine is told."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import ROOT

from ansible_collections.wharf.registry.plugins.module_utils import daemon_json as ddc

ROLE = ROOT / "roles/docker_engine"
MODULE = ROOT / "plugins/modules/docker_daemon_config.py"


LOG_GROUP = {"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}}
LIVE_GROUP = {"live-restore": True}


class Host:
    """A daemon.json and its record in memory, as successive calls of the module leave them."""

    def __init__(self, document: dict | None = None) -> None:
        self.document = document
        self.record = ddc.Record()
        self.yielded: list[str] = []

    def present(self, owner: str, options: dict | None = None, groups: tuple = (), reserved: tuple = ()) -> dict | None:
        """Let an owner have what it wants; a second call must change nothing."""
        for _number in range(2):
            merged = ddc.merge(self.document, self.record, owner, options or {}, list(groups), reserved)
            if _number:
                assert ddc.same(merged.document, self.document)
                assert merged.record.to_json() == self.record.to_json()
            # What is remembered must survive being written and read.
            as_json = json.loads(json.dumps(merged.record.to_json()))
            self.record = ddc.Record.from_json(as_json, "record")
            self.document = merged.document
            self.yielded = merged.yielded
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
    assert host.record.is_empty()


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


def test_true_is_not_one():
    assert not ddc.same(True, 1)
    assert not ddc.same([{"a": False}], [{"a": 0}])
    assert ddc.same({"a": 1, "b": [1.0]}, {"b": [1], "a": 1})


def test_a_file_that_is_there_only_because_of_us_goes_with_us():
    host = Host(None)
    host.present("us", {"debug": True})
    assert host.absent("us") is None
    assert host.record.is_empty()


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


@pytest.mark.parametrize("key", ddc.ITEM_LISTS)
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
    assert host.record.is_empty()


def test_a_list_where_somebody_wrote_null_is_filled():
    host = Host({"insecure-registries": None})
    assert host.present("us", {"insecure-registries": ["a:5000"]}) == {"insecure-registries": ["a:5000"]}


@pytest.mark.parametrize(
    ("document", "options", "named"),
    [
        ({"log-opts": "none"}, {"log-opts": {"max-size": "1m"}}, "log-opts is not an object"),
        ({"insecure-registries": "a:5000"}, {"insecure-registries": ["a:5000"]}, "insecure-registries is not a list"),
    ],
)
def test_an_option_that_would_break_what_stands_there_is_refused(document, options, named):
    with pytest.raises(ddc.Problem, match=named):
        ddc.merge(document, ddc.Record(), "us", options, [])


@pytest.mark.parametrize("wanted", [{"debug": None}, {"log-opts": {"a": None}}, {"labels": "a=b"}])
def test_what_no_engine_takes_is_refused(wanted):
    with pytest.raises(ddc.Problem):
        ddc.check_wanted(wanted, "options")


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
def test_a_run_killed_between_record_and_file_can_be_repeated_and_withdrawn(
    original, first, second, file_was_replaced, then
):
    host = Host(original)
    host.present("us", first)
    merged = ddc.merge(host.document, host.record, "us", second, [])
    host.record = ddc.union(host.record, merged.record, {})
    if file_was_replaced:
        host.document = merged.document
    if then == "repeat":
        assert ddc.same(host.present("us", second), merged.document)
    assert ddc.same(host.absent("us"), original)
    assert host.record.is_empty()


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
    with pytest.raises(ddc.Problem) as problem:
        ddc.parse(raw, "/etc/docker/daemon.json")
    message = str(problem.value)
    assert message.startswith("/etc/docker/daemon.json, ")
    assert place in message
    assert words in message
    assert message.endswith("Nothing was changed.")


@pytest.mark.parametrize("raw", [b"", b" \n\t\n"])
def test_an_empty_file_is_an_empty_object(raw):
    assert ddc.parse(raw, "f") == {}


def test_what_does_not_change_keeps_its_text():
    text = '{\n\t"dns": ["10.0.0.1", "10.0.0.2"],\n\t"a\\"{": { "b" : 1.50 },\n\t"labels": ["x=1"]\n}\n'
    before = ddc.parse(text.encode(), "f")
    after = {**before, "labels": ["x=1", "y=2"], "new": {"k": "ü"}}
    assert ddc.render(after, text, before) == (
        '{\n\t"dns": ["10.0.0.1", "10.0.0.2"],\n\t"a\\"{": { "b" : 1.50 },\n'
        '\t"labels": [\n\t\t"x=1",\n\t\t"y=2"\n\t],\n\t"new": {\n\t\t"k": "ü"\n\t}\n}\n'
    )


def test_a_new_file_is_indented_by_four():
    assert ddc.render({"a": {"b": 1}}) == '{\n    "a": {\n        "b": 1\n    }\n}\n'
    assert ddc.render({}) == "{}\n"


# The engine's command line --------------------------------------------------------------------------------------------


def test_flags_are_named_as_the_keys_that_they_set():
    line = "-H fd:// --containerd=/run/c.sock -D --label a=b --insecure-registry=x --add-runtime r=/r -p /run/d.pid"
    assert ddc.flags_of(line.split()) == {
        "hosts": "-H",
        "containerd": "--containerd",
        "debug": "-D",
        "labels": "--label",
        "insecure-registries": "--insecure-registry",
        "pidfile": "-p",
    }


def test_flag_values_are_found_in_every_spelling():
    argv = ["-H", "unix:///a", "-Hunix:///b", "--host=unix:///c", "--host", "unix:///d"]
    assert ddc.flag_values(argv, "host", "H") == ["unix:///a", "unix:///b", "unix:///c", "unix:///d"]


def test_the_engine_looks_into_objects_that_are_not_flat():
    assert ddc.engine_keys({"proxies": {"no-proxy": "a"}, "log-opts": {"x": "y"}, "mtu": 1}) == [
        "no-proxy",
        "log-opts",
        "mtu",
    ]


HELP = """
      --allow-nondistributable-artifacts list   Allow push of
                                                nondistributable
  -D, --debug                                   Enable debug mode
      --dns list                                DNS server to use
      --log-driver string                       Default driver for
  -l, --log-level string                        Set the logging level
      --log-opt map                             Default log driver
      --mtu int                                 Set the containers network MTU
      --default-shm-size bytes                  Default shm size for
      --http-proxy string                       HTTP proxy URL
"""


@pytest.mark.parametrize(
    "wanted",
    [
        {"debug": True, "dns": [], "log-driver": "x", "log-opts": {}, "mtu": 1, "default-shm-size": 1},
        {"default-shm-size": "64M", "features": {"buildkit": True}, "proxies": {"http-proxy": "x"}},
    ],
)
def test_keys_that_the_help_shows_are_taken(wanted):
    ddc.check_against_help(wanted, ddc.help_types(HELP))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"live_restore": True}, "no key live_restore"),
        ({"debug": "yes"}, "true or false"),
        ({"mtu": "1400"}, "whole number"),
        ({"mtu": True}, "whole number"),
        ({"dns": "10.0.0.1"}, "a list"),
        ({"log-driver": {"a": {}}}, "a string"),
        ({"proxies": {"http": "x"}}, "no key http"),
        ({"log-level": "loud"}, "one of debug, info"),
    ],
)
def test_keys_that_the_help_does_not_show_are_refused(wanted, words):
    with pytest.raises(ddc.Problem, match=words):
        ddc.check_against_help(wanted, ddc.help_types(HELP))


def test_the_last_error_of_this_run_is_found_in_the_engines_log():
    log = (
        'time="2026-01-02T10:00:00.123456789Z" level=error msg="old"\n'
        'time="2026-01-02T10:00:05.1Z" level=info msg="fine"\n'
        'time="2026-01-02T12:00:05.999999999+02:00" level=error msg="unsupported scheme \\"\\""\nnot a line of a log\n'
    )
    began = datetime(2026, 1, 2, 10, 0, 5, 500000, tzinfo=UTC).timestamp()
    assert ddc.last_error_in(log, began) == 'unsupported scheme ""'
    assert ddc.last_error_in(log, began + 60) == ""


@pytest.mark.parametrize(
    ("key", "before", "after", "reload"),
    [
        ("live-restore", ddc.ABSENT, True, True),
        ("insecure-registries", ["a"], ddc.ABSENT, True),
        ("log-driver", ddc.ABSENT, "json-file", False),
        ("features", ddc.ABSENT, {"buildkit": True}, True),
        ("features", {"buildkit": True}, {"buildkit": True, "containerd-snapshotter": True}, False),
        ("proxies", {}, {"no-proxy": "x"}, False),
    ],
)
def test_what_can_be_reloaded(key, before, after, reload):
    assert ddc.can_reload(key, before, after) is reload


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
    ],
)
def test_settings_that_hide_containers_are_found(info, version, after, found):
    keys = ["data-root", "features", "storage-driver"]
    assert ddc.out_of_sight(info | {"ServerVersion": version}, after, keys) == found


def test_a_setting_that_did_not_change_hides_nothing():
    assert ddc.out_of_sight(CLASSIC | {"ServerVersion": "26.1.5"}, {"storage-driver": "vfs"}, ["log-level"]) == []


def test_only_keys_that_leave_the_file_need_a_stand_in():
    keys = ["insecure-registries", "live-restore", "max-concurrent-uploads", "labels"]
    assert ddc.stand_ins({"labels": ["a=b"]}, keys) == {"insecure-registries": [], "live-restore": False}


# The module as a process ----------------------------------------------------------------------------------------------

# An engine that writes a pid file, serves the events of its API and logs what it would reload.
FAKE_ENGINE = """#!{python}
import json, os, signal, socket, sys, threading, time
home = {home!r}
if "--help" in sys.argv:
    print("      --debug    x\\n      --log-level string    x\\n      --insecure-registry list   x")
    print("      --live-restore    x\\n      --label list    x\\n      --max-concurrent-uploads int    x")
    if os.path.exists(home + "/knows-validate"):
        print("      --validate    x")
    sys.exit()
if "--validate" in sys.argv:
    text = open(sys.argv[sys.argv.index("--config-file") + 1]).read()
    sys.exit("unable to configure the Docker daemon with file %s: bad" % sys.argv[-1] if "bad" in text else 0)
listeners = []
def reload(*_):
    text = open(home + "/daemon.json").read() if os.path.exists(home + "/daemon.json") else None
    with open(home + "/reloads", "a") as log:
        log.write(json.dumps(text and json.loads(text)) + "\\n")
    if text and "bad" in text:
        return
    for one in listeners:
        try:
            one.sendall(b'{{"Type":"daemon","Action":"reload"}}\\n')
        except OSError:
            pass
signal.signal(signal.SIGHUP, reload)
server = socket.socket(socket.AF_UNIX)
server.bind(home + "/docker.sock")
server.listen()
def serve():
    while True:
        one, _ = server.accept()
        one.recv(65536)
        listeners.append(one)
        one.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Type: application/json\\r\\n\\r\\n")
threading.Thread(target=serve, daemon=True).start()
with open(home + "/docker.pid", "w") as file:
    file.write(str(os.getpid()))
while True:
    time.sleep(60)
"""


# Runs the module and kills it before the n-th change: a file replaced, a file removed or a signal sent.
KILLED = """
import os, runpy, signal, sys
path, left = sys.argv[1], int(sys.argv[2])
def counted(function):
    def call(*arguments, **keywords):
        global left
        left -= 1
        if not left:
            kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **keywords)
    return call
kill = os.kill
os.rename, os.unlink, os.kill = counted(os.rename), counted(os.unlink), counted(os.kill)
sys.argv = [path]
runpy.run_path(path, run_name="__main__")
"""


class Sandbox:
    """A directory that stands for a host, with the module's files and an engine that can be started."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / "etc" / "docker" / "daemon.json"
        self.record = home / "var" / "record"
        self.engine: subprocess.Popen | None = None
        self.bin = home / "bin"
        self.bin.mkdir()
        # The engine reads its file through this link: it does not care where the module's path is.
        (home / "daemon.json").symlink_to(self.file)

    def install(self, knows_validate: bool = True) -> None:
        """Put an engine on the PATH."""
        dockerd = self.bin / "dockerd"
        dockerd.write_text(FAKE_ENGINE.format(python=sys.executable, home=str(self.home)))
        dockerd.chmod(0o755)
        if knows_validate:
            (self.home / "knows-validate").touch()

    def start(self, *flags: str) -> None:
        """Start the engine and wait until it has written its pid file."""
        for name in ("docker.pid", "docker.sock"):
            (self.home / name).unlink(missing_ok=True)
        self.engine = subprocess.Popen([self.bin / "dockerd", "-H", f"unix://{self.home}/docker.sock", *flags])
        deadline = time.monotonic() + 10
        while not (self.home / "docker.pid").exists() or not (self.home / "docker.pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the engine."""
        if self.engine:
            self.engine.send_signal(signal.SIGKILL)
            self.engine.wait()
            self.engine = None

    def reloads(self) -> list:
        """What the engine saw in its file at each reload."""
        log = self.home / "reloads"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def run(self, check: bool = False, killed_at: int = 0, **params) -> dict:
        """Run the module; returns its result. killed_at: kill it before the n-th thing that it does, empty result."""
        arguments = {
            "path": str(self.file),
            "record": str(self.record),
            "pid_file": str(self.home / "docker.pid"),
            "owner": "us",
            "reload_timeout": 1,
            **params,
            "_ansible_check_mode": check,
            "_ansible_diff": True,
            "_ansible_remote_tmp": str(self.home / "tmp"),
        }
        done = subprocess.run(
            [sys.executable, "-c", KILLED, MODULE, str(killed_at)] if killed_at else [sys.executable, MODULE],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            env={**os.environ, "PATH": f"{self.bin}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if killed_at and done.returncode == -signal.SIGKILL:
            return {}
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def host(tmp_path):
    sandbox = Sandbox(tmp_path)
    yield sandbox
    sandbox.stop()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_check_mode_on_a_bare_host_says_what_would_be_and_makes_nothing(host):
    result = host.run(check=True, options={"debug": True})
    assert (result["changed"], result["action"]) == (True, "none")
    assert result["diff"]["before"] == ""
    assert json.loads(result["diff"]["after"]) == {"debug": True}
    assert not host.file.parent.exists()
    assert not host.record.parent.exists()


def test_a_bare_host_gets_directory_file_and_record_with_their_modes(host):
    umask = os.umask(0o077)
    try:
        assert host.run(options={"debug": True})["changed"]
    finally:
        os.umask(umask)
    assert (mode_of(host.file), mode_of(host.file.parent), mode_of(host.record)) == (0o644, 0o755, 0o600)
    assert not host.run(options={"debug": True})["changed"]
    assert not host.run(check=True, options={"debug": True})["changed"]


def test_withdrawal_leaves_nothing_behind(host):
    host.run(options={"debug": True})
    assert host.run(state="absent")["changed"]
    assert not host.file.exists()
    assert not host.record.exists()
    assert not host.run(state="absent")["changed"]


def test_mode_and_link_of_the_file_are_kept(host):
    real = host.home / "elsewhere.json"
    real.write_text("{}")
    real.chmod(0o640)
    host.file.parent.mkdir(parents=True)
    host.file.symlink_to(real)
    host.run(options={"debug": True})
    assert host.file.is_symlink()
    assert (json.loads(real.read_text()), mode_of(real)) == ({"debug": True}, 0o640)


def test_a_file_that_says_the_same_is_not_rewritten(host):
    host.file.parent.mkdir(parents=True)
    host.file.write_text('{"debug":true}')
    assert not host.run(options={"debug": True})["changed"]
    assert host.file.read_text() == '{"debug":true}'


@pytest.mark.parametrize("state", ["present", "absent"])
def test_broken_json_fails_and_changes_nothing(host, state):
    host.file.parent.mkdir(parents=True)
    host.file.write_text('{\n  "debug": true\n  "mtu": 1400\n}\n')
    result = host.run(options={"debug": True}, state=state)
    assert result["failed"]
    assert f"{host.file}, line 3, column 3" in result["msg"]
    assert host.file.read_text() == '{\n  "debug": true\n  "mtu": 1400\n}\n'
    assert not host.record.exists()


def test_a_broken_record_fails_and_changes_nothing(host):
    host.run(options={"debug": True})
    before = host.file.read_text()
    host.record.write_text('{"claims": 7}')
    result = host.run(state="absent")
    assert result["failed"]
    assert str(host.record) in result["msg"]
    assert host.file.read_text() == before


def test_a_record_that_cannot_be_written_changes_nothing(host):
    host.record.parent.write_text("a file where the directory should be")
    result = host.run(options={"debug": True})
    assert result["failed"]
    assert not host.file.exists()


def test_the_engine_reloads_what_it_can(host):
    host.install()
    host.start()
    result = host.run(options={"live-restore": True}, check=True)
    assert (result["action"], result["reload_keys"], host.reloads()) == ("reload", ["live-restore"], [])
    result = host.run(options={"live-restore": True})
    assert (result["action"], result["changed"]) == ("reloaded", True)
    assert host.reloads() == [{"live-restore": True}]
    assert host.run(options={"live-restore": True})["action"] == "none"
    assert len(host.reloads()) == 1


def test_a_key_that_leaves_is_shown_empty_once(host):
    host.install()
    host.start()
    host.run(options={"insecure-registries": ["a:5000"], "max-concurrent-uploads": 2})
    assert host.run(state="absent")["action"] == "reloaded"
    assert host.reloads()[1:] == [{"insecure-registries": []}]
    assert not host.file.exists()
    assert not host.record.exists()


def test_a_restart_is_asked_for_until_the_engine_has_been_restarted(host):
    host.install()
    host.start()
    options = {"log-level": "warn", "live-restore": True}
    result = host.run(options=options)
    assert (result["action"], result["restart_keys"]) == ("restart", ["log-level"])
    # The engine must know live-restore before it is stopped.
    assert host.reloads() == [options]
    result = host.run(options=options)
    assert (result["action"], result["changed"], result["reload_keys"]) == ("restart", False, [])
    host.stop()
    host.start()
    assert host.run(options=options)["action"] == "none"
    assert "pending" not in json.loads(host.record.read_text())


def test_a_restart_is_not_asked_for_when_the_change_was_taken_back(host):
    host.install()
    host.start()
    host.run(options={"log-level": "warn"})
    assert host.run(options={})["action"] == "none"


def test_no_action_when_no_engine_runs(host):
    host.install()
    assert host.run(options={"log-level": "warn", "debug": True})["action"] == "none"


def test_a_reload_that_an_interrupted_run_owes_is_made_up_for(host):
    host.install()
    host.start()
    host.run(options={"debug": False})
    record = json.loads(host.record.read_text())
    identity = ddc.Engine.find(str(host.home / "docker.pid")).identity
    record["pending"] = {"engine": identity, "has": {"debug": {"value": True}}}
    host.record.write_text(json.dumps(record))
    result = host.run(options={"debug": False})
    assert (result["action"], result["changed"]) == ("reloaded", True)
    assert len(host.reloads()) == 2
    assert host.run(options={"debug": False})["action"] == "none"


def test_a_stand_in_that_an_interrupted_run_left_goes(host):
    host.install()
    host.start()
    host.run(options={"live-restore": True})
    record = json.loads(host.record.read_text())
    identity = ddc.Engine.find(str(host.home / "docker.pid")).identity
    record["pending"] = {"engine": identity, "has": {"live-restore": {"value": True}}, "shown": {"live-restore": False}}
    host.record.write_text(json.dumps(record))
    host.file.write_text('{"live-restore": false}')
    assert host.run(state="absent")["action"] == "reloaded"
    assert host.reloads()[-1] == {"live-restore": False}
    assert not host.file.exists()


@pytest.mark.parametrize("killed_at", range(1, 7))
@pytest.mark.parametrize("original", [None, {"debug": False, "labels": ["a=1"]}])
@pytest.mark.parametrize("task", ["write", "withdraw"])
def test_a_run_killed_at_any_moment_is_made_up_for_by_the_next(host, killed_at, original, task):
    host.install()
    if original is not None:
        host.file.parent.mkdir(parents=True)
        host.file.write_text(json.dumps(original))
    host.start()
    options = {"labels": ["b=1"], "live-restore": True, "max-concurrent-uploads": 2}
    wanted = {**(original or {}), **options, "labels": [*(original or {"labels": []})["labels"], "b=1"]}
    if task == "write":
        # Temporary file for the engine's judgement (some Pythons), record, file, signal, record.
        assert not host.run(options=options, killed_at=killed_at) or killed_at > 4
        host.run(options=options)
        assert json.loads(host.file.read_text()) == wanted
        assert host.reloads()[-1] == wanted
    else:
        host.run(options=options)
        # The same, with the file twice: first with stand-ins.
        assert not host.run(state="absent", killed_at=killed_at) or killed_at > 5
    host.run(state="absent")
    assert (json.loads(host.file.read_text()) if host.file.exists() else None) == original
    assert not host.record.exists()
    assert host.reloads()[-1] == {**(original or {"labels": []}), "live-restore": False}
    assert not host.run(state="absent")["changed"]


def test_the_engines_own_refusal_is_passed_on_and_changes_nothing(host):
    host.install()
    host.file.parent.mkdir(parents=True)
    host.file.write_text("{}")
    for check in (True, False):
        result = host.run(options={"log-level": "bad"}, check=check)
        assert result["failed"]
        assert f"unable to configure the Docker daemon with file {host.file}: bad" in result["msg"]
    assert host.file.read_text() == "{}"
    assert not host.record.exists()


def test_an_old_engine_judges_by_reloading_and_what_it_refuses_is_put_back(host):
    host.install(knows_validate=False)
    host.file.parent.mkdir(parents=True)
    host.file.write_text('{"debug": false}')
    host.start()
    result = host.run(options={"labels": ["bad"]})
    assert result["failed"]
    assert "did not take over" in result["msg"]
    assert host.file.read_text() == '{"debug": false}'
    assert not host.record.exists()
    assert host.run(options={"log-level": "warn"})["action"] == "restart"


def test_an_old_engine_knows_no_other_keys_than_its_help(host):
    host.install(knows_validate=False)
    result = host.run(options={"log_level": "warn"})
    assert result["failed"]
    assert "knows no key log_level" in result["msg"]


def test_an_option_that_is_a_flag_as_well_is_refused_and_a_default_yields(host):
    host.install()
    host.start("--live-restore", "--label=a=b")
    result = host.run(options={"labels": ["c=d"]})
    assert result["failed"]
    assert "labels is set by --label" in result["msg"]
    result = host.run(defaults=[{"live-restore": True}])
    assert (result["changed"], result["yielded"]) == (False, ["live-restore"])
    assert not host.file.exists()


def test_an_engine_that_reads_another_file_is_named(host):
    host.install()
    host.start("--config-file=/etc/other.json")
    result = host.run(options={"debug": True})
    assert result["failed"]
    assert "/etc/other.json" in result["msg"]


def test_an_engine_in_a_swarm_gets_no_live_restore(host):
    root = host.home / "root"
    (root / "swarm").mkdir(parents=True)
    (root / "swarm" / "docker-state.json").touch()
    host.file.parent.mkdir(parents=True)
    host.file.write_text(json.dumps({"data-root": str(root)}))
    assert host.run(defaults=[{"live-restore": True}])["yielded"] == ["live-restore"]
    result = host.run(options={"live-restore": True})
    assert result["failed"]
    assert "swarm" in result["msg"]


def test_two_owners_keep_out_of_each_others_way(host):
    host.run(owner="docker_engine", defaults=[{"live-restore": True}], options={"insecure-registries": ["a:5000"]})
    host.run(owner="registry_client", options={"insecure-registries": ["a:5000", "b:5000"]})
    host.run(owner="docker_engine", state="absent")
    assert json.loads(host.file.read_text()) == {"insecure-registries": ["a:5000", "b:5000"]}

# SPDX-License-Identifier: MIT
"""The engine's command line, the keys that it knows, and its log."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import engine
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

# The engine's command line --------------------------------------------------------------------------------------------


def test_flags_are_named_as_the_keys_that_they_set():
    line = "-H fd:// --containerd=/run/c.sock -D --label a=b --insecure-registry=x --add-runtime r=/r -p /run/d.pid"
    assert engine.flags_of(line.split()) == {
        "hosts": "-H",
        "containerd": "--containerd",
        "debug": "-D",
        "labels": "--label",
        "insecure-registries": "--insecure-registry",
        "pidfile": "-p",
    }


def test_flag_values_are_found_in_every_spelling():
    argv = ["-H", "unix:///a", "-Hunix:///b", "--host=unix:///c", "--host", "unix:///d"]
    assert engine.flag_values(argv, "host", "H") == ["unix:///a", "unix:///b", "unix:///c", "unix:///d"]


def test_the_engine_looks_into_objects_that_are_not_flat():
    assert engine.engine_keys({"proxies": {"no-proxy": "a"}, "log-opts": {"x": "y"}, "mtu": 1}) == [
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
    engine.check_against_help(wanted, engine.help_types(HELP))


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
    with pytest.raises(WharfError, match=words):
        engine.check_against_help(wanted, engine.help_types(HELP))


def test_the_last_error_of_this_run_is_found_in_the_engines_log():
    log = (
        'time="2026-01-02T10:00:00.123456789Z" level=error msg="old"\n'
        'time="2026-01-02T10:00:05.1Z" level=info msg="fine"\n'
        'time="2026-01-02T12:00:05.999999999+02:00" level=error msg="unsupported scheme \\"\\""\nnot a line of a log\n'
    )
    began = datetime(2026, 1, 2, 10, 0, 5, 500000, tzinfo=UTC).timestamp()
    assert engine.last_error_in(log, began) == 'unsupported scheme ""'
    assert engine.last_error_in(log, began + 60) == ""

# SPDX-License-Identifier: MIT
"""The role docker_engine's variables: what is refused, and the file with the proxies."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils.engine_variables import (
    docker_engine_problems,
    docker_engine_proxies,
)

GOOD = {
    "docker_engine_source": "docker_ce",
    "docker_engine_version": "28.5",
    "docker_engine_repository_url": "https://mirror.example/docker/debian/",
    "docker_engine_repository_key_fingerprint": "9DC8 5822 9FC7 DD38 854A  E2D8 8D81 803C 0EBF CD88",
    "docker_engine_users": ["alice"],
    "docker_engine_options": {"log-opts": {"max-size": "1m"}},
    "docker_engine_log_max_size": "10m",
    "docker_engine_http_proxy": "http://user:p%40ss@proxy.example:3128",
    "docker_engine_https_proxy": "socks5://10.0.0.1:1080/",
    "docker_engine_no_proxy": [".example.com", "10.0.0.0/8", "::1", "host:5000"],
    "docker_engine_no_proxy_extra": ["registry.example"],
    "docker_engine_restart_throttle": 0,
}


def test_good_variables_have_no_problems():
    assert docker_engine_problems({"host": GOOD}, ["host"]) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"docker_engine_version": "5:28.5.2-1~debian.13~trixie"}, "without an epoch"),
        ({"docker_engine_version": 28.10}, "write it in quotes"),
        ({"docker_engine_source": "none"}, "docker_engine_source is none, which installs no engine"),
        ({"docker_engine_repository_url": "mirror.example/debian"}, "docker_engine_repository_url"),
        ({"docker_engine_repository_url": "https://u:secret@mirror.example/debian"}, "/etc/apt/auth.conf.d"),
        ({"docker_engine_repository_url": "u:secret@mirror.example/debian"}, "/etc/apt/auth.conf.d"),
        ({"docker_engine_repository_key_fingerprint": "0EBFCD88"}, "use the whole one"),
        ({"docker_engine_users": [""]}, "docker_engine_users"),
        ({"docker_engine_users": ["$(reboot)"]}, "docker_engine_users"),
        ({"docker_engine_options": {"hosts": ["tcp://0.0.0.0"]}}, "hosts"),
        ({"docker_engine_options": {"log-opts": {"max-file": 3}}}, "log-opts.max-file"),
        ({"docker_engine_options": {"proxies": {"http-proxy": "http://a"}}}, "docker_engine_options: holds proxies"),
        ({"docker_engine_log_max_size": "10 MB"}, "docker_engine_log_max_size"),
        ({"docker_engine_log_max_size": "0m"}, "docker_engine_log_max_size"),
        ({"docker_engine_log_max_size": 10}, "docker_engine_log_max_size"),
        ({"docker_engine_source": "snap"}, "docker_engine_source: 'snap' is unknown: use distro, docker_ce or none"),
        ({"docker_engine_channel": "nightly"}, "docker_engine_channel: 'nightly' is unknown: use stable or test"),
        (
            {"docker_engine_restart_throttle": "many"},
            "docker_engine_restart_throttle: 'many' is not a whole number",
        ),
        ({"docker_engine_options": "debug"}, "docker_engine_options: is text: use a mapping"),
        ({"docker_engine_http_proxy": "user:secret@proxy.example:3128"}, "docker_engine_http_proxy: has no scheme"),
        ({"docker_engine_https_proxy": "ftp://user:secret@proxy.example"}, "docker_engine_https_proxy: is no address"),
        ({"docker_engine_https_proxy": "http://user:sec'ret@proxy.example"}, "a quote"),
        ({"docker_engine_no_proxy": ["a,b"]}, "docker_engine_no_proxy: 'a,b'"),
        ({"docker_engine_no_proxy": ["https://a"]}, "docker_engine_no_proxy: 'https://a'"),
        ({"docker_engine_restart_throttle": -1}, "docker_engine_restart_throttle: -1"),
    ],
)
def test_each_wrong_variable_is_named_without_a_password(change, words):
    problems = docker_engine_problems({"host": {**GOOD, **change}}, ["host"])
    assert len(problems) == 1
    assert words in problems[0]
    assert "sec" not in problems[0]


def test_booleans_and_numbers_may_be_text():
    text = {"docker_engine_replace": "yes", "docker_engine_restart_throttle": "2"}
    assert docker_engine_problems({"host": GOOD | text}, ["host"]) == []


def test_a_mistake_is_told_once_with_the_hosts_that_make_it():
    wrong, right = {"docker_engine_log_max_size": "big"}, {"ansible_host": "a"}
    hostvars = {"a": wrong, "b": right, "c": wrong}
    problems = docker_engine_problems(hostvars, ["a", "b", "c"])
    assert [problem.partition(" (on ")[2] for problem in problems] == ["a, c)"]
    assert "(on" not in docker_engine_problems(hostvars, ["a", "c"])[0]


# Proxies --------------------------------------------------------------------------------------------------------------


def test_the_registry_and_the_host_itself_are_always_direct():
    text = docker_engine_proxies(
        {
            "docker_engine_http_proxy": "",
            "docker_engine_https_proxy": "http://u:p@a:1",
            "docker_engine_no_proxy": ["b", "localhost"],
            "docker_engine_no_proxy_extra": ["registry.example"],
        }
    )
    assert text.splitlines()[1:] == [
        "HTTPS_PROXY='http://u:p@a:1'",
        "NO_PROXY='localhost,127.0.0.0/8,::1,registry.example,b'",
    ]


def test_without_a_proxy_there_is_no_file():
    assert docker_engine_proxies({"docker_engine_no_proxy": ["registry.example"]}) == ""
    assert docker_engine_proxies({"docker_engine_http_proxy": "", "docker_engine_https_proxy": ""}) == ""

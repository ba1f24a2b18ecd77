"""What the container tools answer, and what it means."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import client_tools
from ansible_collections.wharf.registry.plugins.module_utils.parts import DENIED

REGISTRY = "reg.wharf.test:5000"
UNKNOWN = f"Error response from daemon: manifest for {REGISTRY}/wharf-diagnosis/none:none not found: manifest unknown"
CERTS = f"/etc/containers/certs.d/{REGISTRY}"
CTR = f'ctr: failed to resolve reference "{REGISTRY}/wharf-diagnosis/none:none": '


@pytest.fixture
def host(monkeypatch, tmp_path):
    """Return a host's answers by the program that is asked, with docker and podman; all is well at first."""
    answers = {
        "docker": (1, UNKNOWN),
        "podman": (1, "reading manifest none in x: manifest unknown"),
        "env": (0, "HOME=/\n"),
    }
    answers["test"] = answers["sh"] = (0, "")
    asked = []

    def in_login(user, *command):
        asked.append((user, command))
        return answers.get(f"{user} {command[0]}", answers.get(command[0], (127, "not found")))

    monkeypatch.setattr(client_tools, "in_login", in_login)
    monkeypatch.setattr(client_tools, "has", lambda name: name in (*answers, "dockerd"))
    monkeypatch.setattr(
        client_tools, "find_user", lambda name: SimpleNamespace(pw_name=name, pw_dir=str(tmp_path / name))
    )
    monkeypatch.setattr(client_tools, "as_owner", lambda user, work, default: json.loads(json.dumps(work())))
    monkeypatch.setattr(client_tools, "disk_fault", lambda tools: None)
    monkeypatch.setattr(client_tools, "refusal", lambda registry, home: ("", ""))
    return SimpleNamespace(answers=answers, asked=asked, home=tmp_path)


def faults(logins=(), tools=("auto",), tls=True):
    return client_tools.faults(list(tools), list(logins), REGISTRY, tls)


def test_each_tool_is_asked_as_its_user_and_leaves_nothing_behind(host):
    assert faults(["root", "dev"]) == []
    image = f"{REGISTRY}/wharf-diagnosis/none:none"
    assert [(user, *command) for user, command in host.asked if command[0] != "test"] == [
        ("root", "docker", "pull", image),
        ("root", "podman", "pull", image),
        ("dev", "docker", "pull", image),
        ("dev", "podman", "pull", image),
    ]


def test_who_may_not_use_the_engine_has_the_other_tools_where_there_are_some(host):
    host.answers["test"] = (1, "")
    assert faults(["dev"]) == []
    assert ("docker" in {command[0] for user, command in host.asked if user == "dev"}) is False
    host.answers["docker"] = (1, "permission denied while trying to connect to the Docker daemon socket at unix:///x")
    (fault,) = faults(["dev"], ["docker"])
    assert (fault[0], fault[1]["user"]) == ("tool_no_access", "dev")


@pytest.mark.parametrize(
    ("output", "code", "details"),
    [
        ("Error: initializing source: pinging container registry: Get: x509: certificate signed by", "tool_trust", {}),
        ("pinging: Get: proxyconnect tcp: dial tcp 127.0.0.1:9: refused", "tool_proxy", {}),
        (f"open {CERTS}: permission denied", "tool_unreadable", {"path": CERTS}),
        (f"WARNING: open {CERTS}: permission denied no basic auth credentials", "tool_unreadable", {"path": CERTS}),
        ("there was no answer within 20 s", "tool_fails", {}),
        ("podman: cannot set up namespace using newuidmap", "tool_fails", {}),
        ('exec: "docker-credential-pass": executable file not found in $PATH', "tool_helper", {"helper": "pass"}),
    ],
)
def test_what_a_tool_says_is_never_well_unless_the_registry_answers(host, output, code, details):
    host.answers["podman"] = (125, output)
    (fault,) = faults(["root"])
    assert fault[0] == code
    assert details.items() <= fault[1].items()


def test_containerd_is_asked_with_the_directory_that_it_reads(host, monkeypatch):
    host.answers.update(containerd=(0, ""), ctr=(1, f"{CTR}authorization failed: no basic auth credentials"))
    monkeypatch.setattr(client_tools, "Containerd", lambda _used: SimpleNamespace(config_path="/srv/certs.d"))
    assert faults(tools=["containerd"]) == []
    assert host.asked[-1][1][:5] == ("ctr", "images", "pull", "--hosts-dir", "/srv/certs.d")
    monkeypatch.setattr(client_tools, "Containerd", lambda _used: SimpleNamespace(config_path=""))
    assert faults(tools=["containerd"])[0][0] == "containerd_path"


@pytest.mark.parametrize(
    "output", ["unauthorized: authentication required", f"{CTR}authorization failed: no basic auth"]
)
def test_the_registry_answers_also_who_has_no_login(host, output):
    host.answers["podman"] = (125, output)
    assert faults() == []
    (fault,) = faults(["root"])
    assert fault[0] == "tool_login"


@pytest.mark.parametrize(
    "output",
    [
        f"Error: initializing source docker://x: reading manifest: denied: {DENIED}",
        f"unexpected status from HEAD request to https://{REGISTRY}/v2/a/manifests/none: 403 Forbidden",
    ],
)
def test_a_user_who_may_not_pull_the_image_that_nobody_has_gets_through(host, output):
    host.answers["podman"] = (125, output)
    assert faults() == faults(["root"]) == []


def test_a_ca_that_a_user_may_not_read_is_named(host, monkeypatch):
    monkeypatch.setattr(client_tools.glob, "glob", lambda pattern: [f"{CERTS}/wharf-ca.crt"])
    host.answers["head"] = (1, f"head: cannot open '{CERTS}/wharf-ca.crt' for reading: Permission denied")
    host.answers["dev podman"] = (125, "x509: certificate signed by unknown authority")
    (fault,) = faults(["dev"])
    assert (fault[0], fault[1]["path"], fault[1]["user"]) == ("tool_unreadable", f"{CERTS}/wharf-ca.crt", "dev")


def test_the_end_of_a_long_message_is_shown():
    assert client_tools.end_of("a\nb") == "a b"
    assert client_tools.end_of("a" * 400 + "reason").endswith("aareason")
    assert len(client_tools.end_of("a" * 400)) == 300


def test_a_helper_that_a_tool_does_without_in_silence_is_named(host):
    config = host.home / "root/.docker/config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"credsStore": "pass"}))
    host.answers["docker"] = (1, "no basic auth credentials")
    host.answers["sh"] = (1, "")
    (fault,) = faults(["root"])
    assert (fault[0], fault[1]["helper"], fault[1]["path"]) == ("tool_helper", "pass", str(config))


def test_a_proxy_explains_what_fails_but_not_for_the_engines_command(host):
    host.answers["env"] = (0, "https_proxy=http://user:secret@proxy:3128\nA=b\n")
    host.answers["podman"] = (125, "pinging: Service Unavailable")
    (fault,) = faults()
    assert (fault[0], fault[1]["proxy"]) == ("tool_proxy", "http://proxy:3128")
    host.answers["docker"] = (125, "Service Unavailable")
    assert faults(["root"])[0][0] == "tool_fails"


@pytest.mark.parametrize(
    ("environment", "tls", "code"),
    [
        ("HTTPS_PROXY=http://proxy:3128", True, "tool_proxy"),
        ("https_proxy=http://proxy:3128\nno_proxy=.wharf.test", True, "tool_fails"),
        ("https_proxy=http://proxy:3128", False, "tool_fails"),
        ("http_proxy=http://proxy:3128", False, "tool_proxy"),
    ],
)
def test_a_proxy_that_does_not_lead_to_the_registry_explains_nothing(host, environment, tls, code):
    host.answers["env"] = (0, f"{environment}\n")
    host.answers["podman"] = (125, "pinging: Service Unavailable")
    assert faults(tls=tls)[0][0] == code


def test_the_file_of_a_proxy_is_found(tmp_path):
    assert client_tools.proxy_source(str(tmp_path)) == ""
    (tmp_path / ".profile").write_text("# https_proxy=no\nexport HTTPS_PROXY=http://p\n")
    assert client_tools.proxy_source(str(tmp_path)) == f"{tmp_path}/.profile"


def test_what_the_tools_refuse_is_told_once_and_what_is_blocked_is_not_asked_why(host, monkeypatch):
    monkeypatch.setattr(client_tools, "refusal", lambda registry, home: ("signed", "/policy"))
    assert faults(["root", "dev"]) == [("policy_signed", {"path": "/policy"})]
    monkeypatch.setattr(client_tools, "refusal", lambda registry, home: ("rejects", home))
    assert faults(["dev"]) == [("policy_rejects", {"path": f"{host.home}/{user}"}) for user in ("root", "dev")]
    assert faults(["dev"], ["docker"]) == []
    host.answers["podman"] = (125, "registry is blocked")
    monkeypatch.setattr(client_tools, "refusal", lambda registry, home: ("blocks", "/conf"))
    assert faults() == [("registry_blocked", {"path": "/conf"})]


def test_a_disk_without_room_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(client_tools, "STORAGE", {"docker": str(tmp_path), "podman": "/nothing"})
    monkeypatch.setattr(client_tools.os, "statvfs", lambda _: SimpleNamespace(f_bavail=1000, f_frsize=4096))
    assert client_tools.disk_fault(["podman"]) is None
    assert client_tools.disk_fault(["docker"]) == ("client_disk_full", {"place": str(tmp_path), "free": "3.9 MiB"})

"""What is read on a client, and how it is changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import client_host, client_plan
from ansible_collections.wharf.registry.plugins.module_utils.client_plan import Containerd, Host, Plan, Wanted
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

REGISTRY = "reg.test:5000"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory in which all paths of the module are."""
    for name in ("CONTAINERD", "CONTAINERD_FILE", "HOSTS", "LINKS", "REGISTRIES", "STORE"):
        monkeypatch.setattr(client_host, name, str(tmp_path) + getattr(client_host, name))
    places = {family: str(tmp_path) + path for family, path in client_host.CERTIFICATES.items()}
    monkeypatch.setattr(client_host, "CERTIFICATES", places)
    monkeypatch.setattr(client_host, "owners", lambda: [f"registry_client {REGISTRY}", "docker_engine"])
    monkeypatch.setattr(client_host, "has", lambda program: program in ("dockerd", "skopeo"))
    for path in (client_host.HOSTS, client_host.CONTAINERD_FILE):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(client_host.HOSTS).write_text("127.0.0.1 localhost\n")
    return tmp_path


def put(path: str, text: str, mode: int = 0o644) -> str:
    """Write a file and the directories above it."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    Path(path).chmod(mode)
    return path


def test_files_are_read_with_their_owner_and_mode(root: Path) -> None:
    right = put(f"{root}/etc/docker/certs.d/{REGISTRY}/wharf-ca.crt", "CA")
    wrong = put(f"{root}/etc/containers/certs.d/{REGISTRY}/wharf-ca.crt", "CA", 0o600)
    foreign = put(f"{root}/etc/containerd/certs.d/{REGISTRY}/hosts.toml", 'server = "x"\n')
    old = put(f"{root}/etc/docker/certs.d/old.test:5000/wharf-ca.crt", "CA")
    host = client_host.read_host(Wanted("reg.test", previous=["old.test:5000"], users=["root", "nobody-here"]))
    texts = {right: "CA", wrong: None, foreign: 'server = "x"\n', old: "CA"}
    assert host.files == (texts if os.getuid() == 0 else dict.fromkeys(texts))
    assert host.foreign == [foreign]
    assert host.tools == ["docker", "skopeo"]
    assert host.engine_entries == [REGISTRY]
    assert host.missing_users == ["nobody-here"]
    assert not host.containerd.others
    assert host.hosts == "127.0.0.1 localhost\n"


def test_certificates_of_the_systems_store_are_found_by_name(root: Path) -> None:
    taken = put(f"{client_host.STORE}/wharf-reg.test_5000_1.crt", "CA")
    late = put(f"{client_host.STORE}/wharf-reg.test_5000_2.crt", "CA")
    put(f"{client_host.STORE}/wharf-other.test_5000_1.crt", "CA")
    put(f"{client_host.LINKS}/wharf-reg.test_5000_1.pem", "CA")
    host = client_host.read_host(Wanted("reg.test"))
    assert list(host.files) == [taken, late]
    assert host.unlinked == [late]


def test_another_registry_of_containerds_is_noticed(root: Path) -> None:
    put(f"{client_host.CONTAINERD}/{REGISTRY}/wharf-ca.crt", "CA")
    assert not client_host.read_host(Wanted("reg.test")).containerd.others
    put(f"{client_host.CONTAINERD}/other.test:5000/wharf-ca.crt", "CA")
    assert client_host.read_host(Wanted("reg.test")).containerd.others
    assert not client_host.read_host(Wanted("reg.test", previous=["other.test:5000"])).containerd.others


@pytest.mark.parametrize(
    ("files", "ca"),
    [
        ({}, ""),
        ({f"/a/{REGISTRY}/wharf-ca.crt": "CA", f"/b/{REGISTRY}/wharf-ca.crt": "CA"}, "CA"),
        ({f"/a/{REGISTRY}/wharf-ca.crt": "CA", f"/b/{REGISTRY}/wharf-ca.crt": "other"}, ""),
        ({f"/a/{REGISTRY}/wharf-ca.crt": None}, ""),
        ({"/a/old.test:5000/wharf-ca.crt": "CA"}, ""),
    ],
)
def test_ca_is_known_where_all_tools_have_the_same(files: dict, ca: str) -> None:
    assert client_host.known_ca(Host(files=files), REGISTRY) == ca


@pytest.mark.parametrize(
    ("dump", "path"),
    [
        ("", ""),
        ('[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = ""\n', ""),
        ('[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/srv/registries"\n', "/srv/registries"),
        ("[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = '/a:/b'\n", "/a"),
        ('[plugins."x".registry]\n[plugins."y"]\n  config_path = "/srv"\n', ""),
    ],
)
def test_containerds_directory_is_found_in_its_configuration(dump: str, path: str) -> None:
    assert client_host.config_path(dump) == path


def test_directories_that_others_use_stay(root: Path) -> None:
    gone = put(f"{root}/certs.d/{REGISTRY}/wharf-ca.crt", "CA")
    kept = put(f"{root}/other/{REGISTRY}/wharf-ca.crt", "CA")
    put(f"{root}/other/{REGISTRY}/client.cert", "mine")
    plan = Plan(
        remove=[gone, kept],
        rmdir=[f"{root}/certs.d/{REGISTRY}", f"{root}/certs.d", f"{root}/other/{REGISTRY}", f"{root}/missing"],
    )
    client_host.apply(plan)
    assert not Path(root, "certs.d").exists()
    assert [path.name for path in Path(root, "other", REGISTRY).iterdir()] == ["client.cert"]


def test_containerd_that_refuses_the_configuration_keeps_the_old_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(client_host.CONTAINERD_FILE, "old\n")
    monkeypatch.setattr(client_host, "run", lambda command: (1, "cannot parse it"))
    with pytest.raises(WharfError, match="config.toml: containerd refuses it: cannot parse it"):
        client_host.apply(Plan(containerd="new\n"))
    assert Path(client_host.CONTAINERD_FILE).read_text() == "old\n"


def test_containerd_that_does_not_start_gets_the_old_configuration_back(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(client_host.CONTAINERD_FILE, "old\n")
    seen = []

    def run(command: list[str]) -> tuple[int, str]:
        seen.append((command[0], Path(client_host.CONTAINERD_FILE).read_text()))
        return (1, "it does not start") if seen[-1] == ("service", "new\n") else (0, "")

    monkeypatch.setattr(client_host, "run", run)
    with pytest.raises(WharfError, match="containerd does not start with it: it does not start"):
        client_host.apply(Plan(containerd="new\n"))
    assert seen == [("containerd", "old\n"), ("service", "new\n"), ("service", "old\n")]


def test_file_of_containerds_that_held_nothing_but_our_block_goes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = client_plan.with_block("", client_plan.CONTAINERD_MARKER, "version = 2")
    put(client_host.CONTAINERD_FILE, text)
    monkeypatch.setattr(client_host, "run", lambda command: (0, ""))
    there = Host(tools=["containerd"], containerd=Containerd(text))
    client_host.apply(client_plan.plan(there, Wanted("reg.test", state="absent")))
    assert not Path(client_host.CONTAINERD_FILE).exists()


def test_diff_shows_what_is_written_and_removed() -> None:
    host = Host(files={"/a": "old"}, hosts="h\n")
    assert client_host.diff(host, Plan(write={"/a": "new", "/b": "text"}, remove=["/c"], hosts="i\n")) == [
        {"before_header": "/a", "before": "old", "after_header": "/a", "after": "new"},
        {"before_header": "/b", "before": "", "after_header": "/b", "after": "text"},
        {"before_header": "/c", "before": "", "after_header": "/c", "after": ""},
        {"before_header": client_plan.HOSTS, "before": "h\n", "after_header": client_plan.HOSTS, "after": "i\n"},
    ]

"""What a registry's server tells: engine, container, storage and programs, with an engine that is only made up."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import data, lock, server_info
from ansible_collections.wharf.registry.plugins.modules import registry_server_diagnosis as module

# The scheduled programs -----------------------------------------------------------------------------------------------


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Return the directory of the results; no unit has failed."""
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(lock, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "output", lambda *_: "")
    return tmp_path / "results"


@pytest.mark.parametrize("line", ["", "failed", "failed soon", "nonsense", "failed soon no"])
def test_a_result_that_is_damaged_is_a_warning(results, line):
    (results / "back-up").write_text(line)
    (results / ".back-up.half").write_text("")
    details = {"program": "back-up", "when": "time unknown", "message": "it does not say why"}
    assert module.failed_programs() == [("program_failed", details)]


def test_programs_and_services_that_failed_are_named_once(results, monkeypatch):
    (results / "renew-certificate").write_text("failed 1700000000 the CA: it is gone\n")
    (results / "collect-garbage").write_text("ok 1700000000 nothing is due\n")
    units = "wharf-renew-certificate.service loaded failed\nwharf-back-up.service loaded failed\n"
    monkeypatch.setattr(module, "output", lambda *_: units)
    details = {"program": "renew-certificate", "when": "2023-11-14 22:13 UTC", "message": "the CA: it is gone"}
    assert module.failed_programs() == [
        ("program_failed", details),
        ("unit_failed", {"unit": "wharf-back-up.service"}),  # it was killed
    ]


# The container and its storage ----------------------------------------------------------------------------------------


@pytest.fixture
def inspected(monkeypatch, results, tmp_path):
    """Return what a made-up engine knows of the registry's container, which is well; tests change it."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images/.wharf").touch()
    found = {
        "State": {"Status": "running", "Pid": 1, "ExitCode": 0, "Error": ""},
        "HostConfig": {
            "PortBindings": {"5000/tcp": [{"HostIp": "", "HostPort": "5000"}], "5001/tcp": None},
            "NetworkMode": "default",
        },
        "NetworkSettings": {"Networks": {"bridge": {}}},
        "Mounts": [
            {"Source": str(tmp_path / "images"), "Destination": data.MOUNT},
            {"Source": str(tmp_path / "images/.wharf"), "Destination": module.DATA_ID},
        ],
        "known": [{"names": ["registry"], "ports": {5000}}],
        "log": "",
        "storage": ("ok", {}),
    }
    monkeypatch.setattr(module, "running_engine", lambda: SimpleNamespace(argv=[]))
    monkeypatch.setattr(module, "config_fault", lambda _argv: ({}, found.get("later")))
    monkeypatch.setattr(module.containers, "container", lambda _name: None if "gone" in found else found)
    monkeypatch.setattr(module.containers, "containers", lambda: found["known"])
    monkeypatch.setattr(module.containers, "engine_info", lambda _timeout: found.get("info", {}))
    monkeypatch.setattr(module.forwarding, "fault", lambda *_: None)
    monkeypatch.setattr(module.containers, "docker", lambda *_, **__: subprocess.CompletedProcess([], 0, found["log"]))
    monkeypatch.setattr(module, "storage_fault", lambda *_: found["storage"])
    monkeypatch.setattr(module, "silence_of", lambda *_: found.get("silence", ""))
    return found


def inspect(tmp_path):
    """Return what the module tells of the container registry, at port 5000."""
    return module.inspect(None, "registry", 5000, "/nothing", tmp_path)


def test_all_is_well(inspected, tmp_path):
    (tmp_path / "registry.crt").write_text("PEM")
    found = inspect(tmp_path)
    assert (found["code"], found["details"], found["warnings_found"]) == ("ok", {"place": f"{tmp_path}/images"}, [])
    assert (found["certificate"], found["ca"], found["port_holder"]) == ("PEM", "", "")


@pytest.mark.parametrize(
    ("state", "log", "details"),
    [
        ({"Status": "exited", "ExitCode": 2}, "one\nbad config\nUsage:\n  registry serve\n", ("bad config", "start")),
        ({"Status": "exited", "ExitCode": 0}, "something", ("", "start")),
        ({"Status": "created", "ExitCode": 128, "Error": "no such\ndevice"}, "", ("no such device", "start")),
        ({"Status": "paused"}, "", ("", "unpause")),
    ],
)
def test_a_container_that_does_not_run_is_told_with_its_reason(inspected, tmp_path, state, log, details):
    inspected["State"] |= state
    inspected["log"] = log
    found = inspect(tmp_path)
    assert found["code"] == "container_stopped"
    assert found["details"] == {
        "place": f"{tmp_path}/images", "status": state["Status"], "log": details[0], "start": details[1]
    }  # fmt: skip


def test_what_the_server_knows_better_than_its_container(inspected, tmp_path, monkeypatch):
    inspected["known"] = [{"names": ["registry-read-only"], "ports": {5000}}]
    inspected["State"]["Status"] = "exited"
    assert inspect(tmp_path)["code"] == "read_only_container"
    (tmp_path / "images/.wharf").unlink()
    assert inspect(tmp_path)["code"] == "data_missing"
    inspected["gone"] = True
    found = inspect(tmp_path)
    assert (found["code"], found["details"]) == ("container_absent", {"place": "/nothing"})
    monkeypatch.setattr(module, "running_engine", lambda: None)
    monkeypatch.setattr(module.shutil, "which", lambda _name: None)
    assert inspect(tmp_path)["code"] == "engine_absent"
    monkeypatch.setattr(module.shutil, "which", lambda _name: "/usr/sbin/dockerd")
    monkeypatch.setattr(module, "stopped_fault", lambda _module: ("engine_masked", {"unit": "docker.service"}))
    found = inspect(tmp_path)
    assert (found["code"], found["details"]) == ("engine_masked", {"unit": "docker.service"})


def test_an_engine_that_hangs_is_asked_once(inspected, tmp_path, monkeypatch):
    inspected["info"] = None
    monkeypatch.setattr(module.containers, "containers", lambda: pytest.fail("it is asked again"))
    assert inspect(tmp_path)["code"] == "engine_hangs"


def test_another_port_that_is_published_is_told(inspected, tmp_path):
    inspected["HostConfig"]["PortBindings"]["5000/tcp"] = [{"HostPort": "5443"}]
    found = inspect(tmp_path)
    assert (found["code"], found["details"]["published"]) == ("other_port", ["5443"])


def test_a_container_that_nobody_reaches_is_told(inspected, tmp_path):
    inspected["silence"] = "timed out"
    found = inspect(tmp_path)
    assert (found["code"], found["details"]["output"]) == ("container_silent", "timed out")
    inspected["NetworkSettings"]["Networks"] = {}
    found = inspect(tmp_path)
    assert (found["code"], found["details"]["network"]) == ("no_network", "bridge")


def test_a_port_is_asked_where_it_is_published():
    assert module.silence_of(1, ["::", "0.0.0.0"])
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            for _ in range(2):  # TLS, then plain HTTP
                connection, _ = server.accept()
                connection.recv(9999)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        assert module.silence_of(server.getsockname()[1], ["0.0.0.0"]) == ""


def test_an_engine_that_would_not_start_again_is_a_warning(inspected, tmp_path):
    inspected["later"] = ("engine_json", {"path": "/etc/docker/daemon.json"})
    found = inspect(tmp_path)
    assert (found["code"], [one["code"] for one in found["warnings_found"]]) == ("ok", ["engine_json_later"])


def test_a_disk_that_is_nearly_full_is_a_warning(inspected, tmp_path):
    inspected["storage"] = ("disk_low", {"free": "200.0 MiB"})
    found = inspect(tmp_path)
    assert found["code"] == "ok"
    details = {"free": "200.0 MiB", "place": f"{tmp_path}/images"}
    assert found["warnings_found"] == [{"code": "disk_low", "details": details}]


@pytest.mark.parametrize(
    ("known", "processes", "holder"),
    [
        ([{"names": ["web"], "ports": {5000}}], "", "the container web"),
        ([{"names": ["registry"], "ports": {5000}}], "docker-proxy", ""),
        ([], "nginx", "nginx"),
        ([], "docker-proxy", ""),  # of an engine that was stopped
    ],
)
def test_what_else_has_the_port_is_told(inspected, tmp_path, monkeypatch, known, processes, holder):
    inspected["known"] = known
    monkeypatch.setattr(server_info, "output", lambda *_: f'users:(("{processes}",pid=1,fd=3))')
    found = inspect(tmp_path)
    assert (found["port_holder"], bool(found["port_stop"])) == (holder, bool(holder))


@pytest.mark.parametrize(
    ("known", "group", "command"),
    [
        ([{"names": ["web"]}], "", "docker stop web"),
        ([], "0::/system.slice/nginx.service\n", "systemctl stop nginx.service"),
        ([], "0::/user.slice/user-0.slice/session-1.scope\n", "kill 77"),
    ],
)
def test_the_command_that_stops_what_has_the_port(monkeypatch, known, group, command):
    monkeypatch.setattr(module, "output", lambda *_: 'users:(("nginx",pid=77,fd=3))')
    monkeypatch.setattr(module, "read_text", lambda _path: group)
    assert module.stop_command(5000, known) == command


@pytest.mark.parametrize("name", ["it's", 'a "b"', "back\\slash", "sp ace: #x"])
def test_storage_is_found_whatever_its_path(inspected, tmp_path, name):
    inspected["Mounts"][0]["Source"] = str(tmp_path / name)
    assert inspect(tmp_path)["details"]["place"] == str(tmp_path / name)


GIGABYTE = 1024**3
GOOD = {"f_files": 1000, "f_ffree": 900, "f_frsize": 4096, "f_bavail": GIGABYTE, "f_blocks": 2 * GIGABYTE, "f_flag": 0}


@pytest.mark.parametrize(
    ("changes", "code", "details"),
    [
        ({}, "ok", {"free": "4.0 TiB"}),
        ({"f_bavail": 0}, "disk_full", {"free": "0 bytes"}),
        ({"f_ffree": 3}, "disk_full", {"free": "3 inodes"}),
        ({"f_files": 0, "f_ffree": 0}, "ok", {"free": "4.0 TiB"}),
        ({"f_bavail": 50000}, "disk_low", {"free": "195.3 MiB"}),
        ({"f_bavail": GIGABYTE // 10}, "disk_low", {"free": "409.6 GiB"}),
    ],
)
def test_free_space_is_judged(monkeypatch, changes, code, details):
    monkeypatch.setattr(module.Path, "read_text", lambda *_: "Uid:\t1\t7\t7\nGid:\t1\t8\t8\n")
    monkeypatch.setattr(module, "denied", lambda *_: "")
    monkeypatch.setattr(module.os, "statvfs", lambda _path: SimpleNamespace(**GOOD | changes))
    assert module.storage_fault(1, "/data", []) == (code, details)


def test_storage_that_cannot_be_written_is_named(monkeypatch):
    monkeypatch.setattr(module.Path, "read_text", lambda *_: "Uid:\t1\t7\t7\nGid:\t1\t8\t8\n")
    monkeypatch.setattr(
        module,
        "denied",
        lambda _root, uid, gid, wanted: f"{data.MOUNT}/{uid}/{gid}" if (data.MOUNT, 7) in wanted else "",
    )
    monkeypatch.setattr(module.os.path, "exists", lambda _path: True)
    monkeypatch.setattr(module.os, "statvfs", lambda _path: SimpleNamespace(**GOOD))
    monkeypatch.setattr(module.os, "stat", lambda _path: SimpleNamespace(st_uid=0, st_gid=1, st_mode=0o40755))
    owners = {"container_user": "7:8", "owner": "0:1"}
    assert module.storage_fault(1, "/data", []) == ("wrong_owner", {"directory": "/data/7/8", **owners})
    for mode, code in ((0o40000, "wrong_mode"), (0o40500, "wrong_mode"), (0o40700, "not_allowed")):
        monkeypatch.setattr(module.os, "stat", lambda _path, m=mode: SimpleNamespace(st_uid=7, st_gid=8, st_mode=m))
        assert module.storage_fault(1, "/data", [])[0] == code
    monkeypatch.setattr(module, "denied", lambda _root, _uid, _gid, wanted: "/w/htpasswd" if wanted else "")
    found = module.storage_fault(1, "/data", [("/w/htpasswd", "/etc/htpasswd")])
    assert found == ("file_unreadable", {"file": "/etc/htpasswd", "container_user": "7:8"})
    monkeypatch.setattr(module.os, "statvfs", lambda _path: SimpleNamespace(**GOOD | {"f_flag": os.ST_RDONLY}))
    assert module.storage_fault(1, "/data", []) == ("mounted_read_only", {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_place_that_the_registrys_user_may_not_use_is_named(tmp_path):
    storage = Path(f"{tmp_path}{data.MOUNT}")
    (storage / module.BLOBS).mkdir(parents=True)
    for directory in [tmp_path, *tmp_path.rglob("*")]:
        directory.chmod(0o755)
    os.chown(storage, 59500, 59500)
    blobs = f"{data.MOUNT}/{module.BLOBS}"
    wanted = [(data.MOUNT, os.R_OK), (data.MOUNT, os.W_OK), (blobs, os.R_OK), (blobs, os.W_OK)]
    assert module.denied(str(tmp_path), 59500, 59500, wanted) == blobs
    os.chown(storage / module.BLOBS, 59500, 59500)
    assert module.denied(str(tmp_path), 59500, 59500, wanted) == ""
    storage.chmod(0)
    assert module.denied(str(tmp_path), 59500, 59500, wanted) == data.MOUNT


def test_the_files_that_the_container_needs_are_found_on_the_host(tmp_path):
    (tmp_path / "htpasswd").touch()
    (tmp_path / "data").touch()
    mounts = [{"Source": str(tmp_path), "Destination": "/wharf/config"}, {"Source": "/x", "Destination": data.MOUNT}]
    assert module.files_of({"Mounts": mounts}) == [("/wharf/config/htpasswd", f"{tmp_path}/htpasswd")]

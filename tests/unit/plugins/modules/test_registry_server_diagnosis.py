"""What a registry's server tells: the parts that need no engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import data, lock
from ansible_collections.wharf.registry.plugins.modules import registry_server_diagnosis as module

MOUNTINFO = """\
1012 984 0:57 / / rw,relatime - overlay overlay rw,lowerdir=/a
1020 1012 8:1 /srv/with\\040space /var/lib/registry {options} - ext4 /dev/sda1 {source}
1021 1012 8:1 /etc/wharf /wharf ro,relatime - ext4 /dev/sda1 rw
"""


@pytest.mark.parametrize(
    ("options", "source", "read_only"),
    [
        ("rw,relatime", "rw,errors=remount-ro", False),
        ("ro,relatime", "rw", True),
        ("rw,relatime", "ro", True),
        ("rw,rootcontext=ro_t", "rw", False),
    ],
)
def test_a_mount_is_read_only_by_its_own_options_or_those_of_its_file_system(options, source, read_only):
    assert module.is_read_only(MOUNTINFO.format(options=options, source=source), data.MOUNT) is read_only


def test_the_last_mount_at_a_place_counts():
    first = MOUNTINFO.format(options="ro", source="ro")
    assert not module.is_read_only(first + MOUNTINFO.format(options="rw", source="rw"), data.MOUNT)
    assert not module.is_read_only("", data.MOUNT)


@pytest.mark.parametrize("line", ["", "failed", "failed soon", "nonsense", "failed soon no"])
def test_a_result_that_is_damaged_has_no_content(tmp_path, monkeypatch, line):
    monkeypatch.setattr(lock, "RESULTS", tmp_path)
    (tmp_path / "back-up").write_text(line)
    (tmp_path / "collect-garbage").write_text("failed 1700000000 the disk: it is gone\n")
    (tmp_path / ".back-up.half").write_text("")
    failed = {"good": False, "time": 1700000000.0, "message": "the disk: it is gone"}
    assert module.programs() == {"back-up": None, "collect-garbage": failed}


@pytest.mark.parametrize("name", ["data", "it's", 'a "b"', "back\\slash", "sp ace: #x"])
def test_storage_of_a_container_that_does_not_run_is_found_whatever_its_path(tmp_path, name):
    place = tmp_path / name
    place.mkdir()
    (place / ".wharf").touch()
    mounts = [
        {"Source": str(place), "Destination": data.MOUNT},
        {"Source": str(place / ".wharf"), "Destination": module.DATA_ID},
    ]
    inspected = {"Mounts": mounts, "State": {"Status": "exited", "Pid": 0}}
    found = module.storage(inspected, "/nothing")
    assert (found["place"], found["has_id"], found["owner"]) == (str(place), True, f"{os.geteuid()}:{os.getegid()}")
    assert 0 < found["free"] <= found["size"]
    (place / ".wharf").unlink()
    assert module.storage(inspected, "/nothing")["has_id"] is False


def test_storage_that_is_not_there_has_no_space():
    assert module.storage(None, "/nothing/there") == {"place": "/nothing/there", "has_id": True}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_directory_that_the_registrys_user_may_not_write_is_named(tmp_path):
    storage = Path(f"{tmp_path}{data.MOUNT}")
    (storage / module.BLOBS).mkdir(parents=True)
    for directory in [tmp_path, *tmp_path.rglob("*")]:
        directory.chmod(0o755)
    os.chown(storage, 59500, 59500)
    assert module.unwritable(str(tmp_path), 59500, 59500) == f"{data.MOUNT}/{module.BLOBS}"
    os.chown(storage / module.BLOBS, 59500, 59500)
    assert module.unwritable(str(tmp_path), 59500, 59500) == ""
    os.chown(storage, 0, 0)
    assert module.unwritable(str(tmp_path), 59500, 59500) == data.MOUNT

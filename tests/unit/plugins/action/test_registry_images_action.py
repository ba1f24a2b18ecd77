"""The controller's side of registry_images: what is transferred, shown and removed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError

from ansible_collections.wharf.registry.plugins.action import registry_images

DIGEST = "sha256:" + "a" * 64
GOOD = {"pending": True, "failed": False, "digest": DIGEST, "size": 2048, "seconds": 1.0}
THERE = {"pending": False, "failed": False, "digest": DIGEST, "size": 2048}
BAD = {"pending": True, "failed": True, "msg": "manifest\nunknown"}


class Action(registry_images.ActionModule):
    """The action plugin with a module that only remembers what it is asked to do."""

    def __init__(self, images: Any, check_mode: bool = False, **args: Any) -> None:
        self._task = SimpleNamespace(args={"images": images, **args}, check_mode=check_mode, delegate_to=None)
        self._task.async_val, self._connection = 0, SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere"))
        self._task.resolved_action = "wharf.registry.registry_images"
        self.calls: list[dict[str, Any]] = []
        self.commands: list[str] = []
        self.transfers: list[str] = []
        self.pending = dict.fromkeys([image["image"] for image in images] if isinstance(images, list) else [], GOOD)
        self.becomes = dict(self.pending)
        self.rooms = [{"path": "/var/tmp", "host": "server", "device": 1, "free": 10**6}]
        self.lost_after = 99
        self.unwritable = False

    def _execute_module(self, module_name: str = "", module_args: Any = None, task_vars: Any = None) -> dict[str, Any]:
        args = dict(module_args or self._task.args)
        self.calls.append(args)
        if self._task.check_mode:
            images = [{"image": i["image"], **self.pending[i["image"]]} for i in args["images"]]
            return {"images": images, "rooms": self.rooms, "failed": any(i["failed"] for i in images)}
        if "job" not in args:
            if not isinstance(args["images"], list):
                return {"failed": True, "msg": "images is of another type"}
            self.started = [image["image"] for image in args["images"]]
        done = [{"image": image, **self.becomes[image]} for image in self.started][: self.lost_after]
        after = args.get("after", 0)
        finished = after + 1 >= len(done)
        return {"job": "/run/wharf-copy-1", "images": done[after : after + 1], "finished": finished, "error": ""}

    def _low_level_execute_command(self, command: str, sudoable: bool = True) -> dict[str, Any]:
        assert not sudoable
        self.commands.append(command)
        return {"rc": int(self.unwritable), "stdout": "/var/tmp/wharf-copy-x\n", "stderr": "read-only\n"}

    def _transfer_file(self, local: str, remote: str) -> str:
        if "broken" in local:
            raise AnsibleError("failed to transfer file")
        if "gone" in local:
            raise AnsibleConnectionFailure("host is down")
        self.transfers.append(remote)
        return remote


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the lines that are shown."""
    lines: list[str] = []
    monkeypatch.setattr(registry_images.display, "display", lambda line, **_: lines.append(line))
    return lines


def run(action: Action) -> dict[str, dict[str, Any]]:
    """Run the action; return the result of each image."""
    result = action.run(None, {"inventory_hostname": "server"})
    return {image["image"]: image for image in result["images"]}


def archive(path: Path, name: str = "saved") -> dict[str, str]:
    """Return an image of an archive on the controller."""
    (path / name).write_bytes(b"x" * 1000)
    return {"image": f"{name}:1", "source": "docker-archive:FILE", "archive": str(path / name), "digest": "sha256:2"}


REMOTE = {"image": "app:1", "source": "docker://other.test/app:1"}


def test_each_image_is_shown_as_it_is_done_and_failures_are_named(shown):
    action = Action([REMOTE, {**REMOTE, "image": "bad:1"}, {**REMOTE, "image": "there:1"}])
    action.becomes |= {"bad:1": BAD, "there:1": THERE}
    result = action.run(None, {"inventory_hostname": "server"})
    assert shown == [
        "server: copying 3 images",
        "  app:1: copied, 2.0 KiB in 1.0 s",
        "  bad:1: failed: manifest unknown",
        "  there:1: already there",
    ]
    assert (result["changed"], result["failed"]) == (True, True)
    assert result["msg"] == "not copied, for the reasons in the table: bad:1"
    assert [call.get("after") for call in action.calls] == [None, 1, 2]
    assert action.commands == []


def test_table_is_in_the_order_of_the_images():
    action = Action([{"image": f"{name}:1", "source": "docker://other.test/app:1"} for name in ("one", "two", "three")])
    action.becomes |= {"one:1": GOOD | {"size": 2_500_000, "seconds": 1.25}, "two:1": BAD, "three:1": THERE}
    action.becomes["two:1"] = BAD | {"msg": "no such image, and a long reason for it"}
    action.started = ["three:1", "one:1", "two:1"]
    action.results = lambda _: [{"image": image, **action.becomes[image]} for image in action.started]
    assert action.run(None, {"inventory_hostname": "server"})["table"].splitlines() == [
        "image    digest               size           seconds",
        "one:1    sha256:aaaaaaaaaaaa  2.4 MiB        1.2",
        "two:1                         FAILED         no such image, and a long reason for it",
        "three:1  sha256:aaaaaaaaaaaa  already there",
    ]


def test_only_archives_that_are_needed_are_transferred_and_removed(tmp_path):
    there, needed = archive(tmp_path), archive(tmp_path, "needed")
    action = Action([REMOTE, there, needed])
    action.pending["saved:1"] = THERE
    assert not run(action)["saved:1"]["pending"]
    assert action.transfers == ["/var/tmp/wharf-copy-x/0"]
    copied = {image["image"]: image for image in action.calls[1]["images"]}
    assert set(copied) == {"app:1", "needed:1"}
    assert copied["needed:1"] == {**needed, "archive": "/var/tmp/wharf-copy-x/0"}
    assert action.commands[-1] == "rm -rf /var/tmp/wharf-copy-x"


def test_where_all_is_there_nothing_is_transferred(tmp_path):
    action = Action([archive(tmp_path)])
    action.pending["saved:1"] = THERE
    assert not run(action)["saved:1"]["pending"]
    assert (action.commands, len(action.calls)) == ([], 1)


def test_bundle_is_transferred_once_for_all_its_images(tmp_path):
    (tmp_path / "team.tar").write_bytes(b"x" * 1000)
    images = [{"image": f"team/app:{n}", "digest": f"sha256:{n}", "size": 500} for n in range(3)]
    action = Action(images, bundle=str(tmp_path / "team.tar"))
    run(action)
    assert action.transfers == ["/var/tmp/wharf-copy-x/0"]
    assert action.calls[1]["bundle"] == "/var/tmp/wharf-copy-x/0"
    assert len(action.calls[1]["images"]) == 3


@pytest.mark.parametrize(
    ("rooms", "words"),
    [
        ([("/var/tmp", 1, 1999)], "/var/tmp on server has 2.0 KiB free"),
        ([("/var/tmp", 1, 2999), ("/data", 1, 2999)], "/var/tmp on server has 2.9 KiB free"),
        ([("/var/tmp", 1, 2000), ("/data", 2, 999)], "/data on server has 999 bytes free"),
    ],
)
def test_archive_without_room_does_not_travel_and_stops_no_other(tmp_path, rooms, words):
    """It takes twice its size on the way, and its size in the registry."""
    action = Action([REMOTE, archive(tmp_path)])
    action.rooms = [{"path": path, "host": "server", "device": device, "free": free} for path, device, free in rooms]
    images = run(action)
    assert words in images["saved:1"]["msg"]
    assert not images["app:1"]["failed"]
    assert action.commands == []


def test_images_of_caches_need_room_where_the_caches_have_theirs(tmp_path):
    bundle = tmp_path / "team.tar"
    bundle.write_bytes(b"x" * 1000)
    images = [
        {"image": name, "size": 800, "cache": cache} for name, cache in (("app:1", False), ("docker.io/a:1", True))
    ]
    action = Action(images, bundle=str(bundle))
    device = 0
    for free, fits in ((800, True), (700, False)):
        action.rooms = [
            {
                "path": path,
                "host": "server",
                "device": (device := device + 1),
                "free": free if path == "/caches" else 1000,
            }
            for path in ("/var/tmp", "/data", "/caches")
        ]
        found = run(action)
        assert [image["failed"] for image in found.values()] == [not fits] * 2
    assert "/caches on server has 700 bytes free, and 800 bytes are needed" in found["app:1"]["msg"]
    # Where the registry has no container, its place is not known, and that of the caches is no other.
    action.rooms[1] = None
    assert "/caches on server has 700 bytes free" in run(action)["docker.io/a:1"]["msg"]
    action.rooms[2]["free"] = 800
    assert not run(action)["docker.io/a:1"]["failed"]


def test_archive_that_cannot_be_transferred_stops_no_other(tmp_path):
    action = Action([archive(tmp_path, "broken"), archive(tmp_path), REMOTE])
    images = run(action)
    assert images["broken:1"]["msg"] == "failed to transfer file"
    assert not images["saved:1"]["failed"] and not images["app:1"]["failed"]


def test_images_of_a_host_that_is_gone_were_not_copied(tmp_path):
    there = archive(tmp_path)
    action = Action([there, archive(tmp_path, "gone")])
    action.pending["saved:1"] = THERE
    images = run(action)
    assert not images["saved:1"]["failed"]
    assert images["gone:1"]["msg"] == "server cannot be reached: host is down"
    assert action.commands[-1] == "rm -rf /var/tmp/wharf-copy-x"


def test_what_was_transferred_is_removed_whatever_happens(tmp_path):
    action = Action([archive(tmp_path)])
    action.becomes = {}  # the module's answer breaks
    with pytest.raises(KeyError):
        run(action)
    assert action.commands[-1] == "rm -rf /var/tmp/wharf-copy-x"
    action = Action([archive(tmp_path)])
    action.unwritable = True
    result = action.run(None, {"inventory_hostname": "server"})
    assert (result["failed"], result["msg"]) == (True, "no directory can be made in /var/tmp: read-only")


def test_images_without_a_result_were_not_copied(tmp_path):
    action = Action([REMOTE, {**REMOTE, "image": "late:1"}])
    action.lost_after = 1
    images = run(action)
    assert not images["app:1"]["failed"]
    assert (images["late:1"]["failed"], images["late:1"]["msg"]) == (True, "it was interrupted")


def test_check_mode_transfers_and_shows_nothing(tmp_path, shown):
    action = Action([REMOTE, archive(tmp_path)], check_mode=True)
    action.pending = {"app:1": {k: v for k, v in GOOD.items() if k != "seconds"}, "saved:1": THERE}
    result = action.run(None, {"inventory_hostname": "server"})
    assert [" ".join(line.split()) for line in result["table"].splitlines()[1:]] == [
        "app:1 sha256:aaaaaaaaaaaa would be copied",
        "saved:1 sha256:aaaaaaaaaaaa already there",
    ]
    assert (result["changed"], action.commands, shown) == (True, [], [])


def test_module_refuses_what_is_no_list():
    assert Action("app:1").run(None, {}) == {"failed": True, "msg": "images is of another type"}

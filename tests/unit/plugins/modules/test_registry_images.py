"""The module registry_images, with a registry that listens and a skopeo and a docker that only push a manifest."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.modules import registry_images

pytest_plugins = ["tests.unit.served_registry"]
PASSWORD = "a-password-of-the-tests"
SKOPEO = """#!{python}
import http.client, json, os, stat, sys, time
home = {home!r}
with open(home + "/log", "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
options = dict(word[2:].split("=", 1) for word in sys.argv if word.startswith("--") and "=" in word)
for name, path in options.items():
    if "authfile" in name:
        modes = [stat.S_IMODE(os.stat(one).st_mode) for one in (path, os.path.dirname(path))]
        assert modes == [0o600, 0o700], modes
source, target = sys.argv[-2:] if sys.argv[1] == "copy" else (sys.argv[-1], "")
name = source.rpartition("/")[2]
if name.startswith("missing"):
    sys.exit('time="x" level=fatal msg="reading \\\\"missing\\\\": manifest unknown"')
while name.startswith("slow") and sys.argv[1] == "copy" and not os.path.exists(home + "/go"):
    time.sleep(0.01)
content = open(home + "/manifest." + name, "rb").read()
if not target:
    os.write(1, content)
    sys.exit()
host, _, path = target.removeprefix("docker://").partition("/")
repository, _, tag = path.rpartition(":")
login = json.load(open(options["dest-authfile"]))["auths"][host]["auth"]
connection = http.client.HTTPConnection(host)
headers = {{"Authorization": "Basic " + login}}
connection.request("PUT", "/v2/" + repository + "/manifests/" + tag, content, headers)
sys.exit(connection.getresponse().status != 201)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return where the programs keep what they did, and what the manifests are."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "skopeo").write_text(SKOPEO.format(python=sys.executable, home=str(tmp_path)))
    (programs / "skopeo").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(registry_images, "runtime_directory", lambda: str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    for number, name in enumerate(("app:1", "app:2", "slow:1")):
        config = {"digest": "sha256:" + str(number) * 64, "size": 100}
        content = json.dumps({"schemaVersion": 2, "config": config, "layers": []}, indent=5)
        (tmp_path / f"manifest.{name}").write_text(content)
    before = os.umask(0o077)
    yield tmp_path
    os.umask(before)


def parameters(registry: Any, *names: str, **more: Any) -> dict[str, Any]:
    """Return the module's parameters for images of another registry."""
    image = {"archive": None, "size": 0, "digest": "", "image_id": ""}
    images = [{**image, "image": f"team/{name}", "source": f"docker://other.test/x/{name}"} for name in names]
    own = {
        "name": "registry.wharf.test",
        "port": registry.port,
        "tls": False,
        "ca": "",
        "container": "",
        "place": "/tmp",
    }
    own |= {"users": [{"name": "ci", "password": PASSWORD}], "logins": [], "source_ca": "", "proxy": "", "no_proxy": []}
    return {**own, "images": images, "bundle": None, "parallel": 4, "job": None, "background": False, **more}


class Module:
    """What run() needs of an AnsibleModule."""

    def __init__(self, check_mode: bool, params: dict[str, Any]) -> None:
        self.params, self.check_mode = params, check_mode


def run(params: dict[str, Any], check_mode: bool = False) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Run the module; return the result of each image, and the whole one."""
    result = registry_images.run(Module(check_mode, params))
    return {image["image"]: image for image in result["images"]}, result


def commands(home: Path) -> list[list[str]]:
    """Return how skopeo was called."""
    return [json.loads(line) for line in (home / "log").read_text().splitlines()]


def test_one_that_fails_stops_no_other_and_is_named(registry, home):
    images, result = run(parameters(registry, "missing:1", "app:1", "app:2"))
    assert images["team/missing:1"]["failed"]
    assert images["team/missing:1"]["msg"] == 'skopeo: reading "missing": manifest unknown'
    assert result["failed"] and result["changed"]
    assert result["msg"] == 'team/missing:1: skopeo: reading "missing": manifest unknown'
    for tag in "12":
        content = (home / f"manifest.app:{tag}").read_bytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert registry.manifests["team/app", tag] == content
        assert images[f"team/app:{tag}"] == {
            "image": f"team/app:{tag}",
            "pending": True,
            "failed": False,
            "digest": digest,
            "size": len(content) + 100,  # the manifest's own bytes count, not those that json.dumps would write
            "seconds": images[f"team/app:{tag}"]["seconds"],
        }


def test_what_is_there_is_not_copied_again(registry, home):
    run(parameters(registry, "app:1"))
    images, result = run(parameters(registry, "app:1"))
    assert not result["changed"]
    assert not images["team/app:1"]["pending"]
    assert images["team/app:1"]["size"] == len((home / "manifest.app:1").read_bytes()) + 100
    assert [command[0] for command in commands(home)] == ["inspect", "copy", "inspect"]


def test_image_id_tells_as_well(registry, home):
    run(parameters(registry, "app:1"))
    wanted = parameters(registry, "app:1")
    wanted["images"][0].update(source="docker-archive:FILE", archive="/srv/nowhere.tar", image_id="sha256:" + "0" * 64)
    assert not run(wanted)[1]["changed"]
    wanted["images"][0].update(image_id="sha256:" + "1" * 64)
    assert run(wanted, check_mode=True)[1]["changed"]


def test_check_mode_copies_nothing_and_takes_a_registry_that_is_not_there_for_an_empty_one(registry, home, monkeypatch):
    monkeypatch.setattr(registry_images, "mounted_at", lambda _container: home)
    images, result = run(parameters(registry, "app:1", "missing:1", container="registry"), check_mode=True)
    assert images["team/app:1"]["pending"] and images["team/missing:1"]["failed"]
    assert registry.manifests == {}
    assert [room["path"] for room in json.loads(json.dumps(result))["rooms"]] == ["/tmp", str(home)]
    nowhere = parameters(registry, "app:1", port=1)
    assert run(nowhere, check_mode=True)[1]["changed"]
    assert "does not answer" in run(nowhere)[0]["team/app:1"]["msg"]
    untrusted = parameters(registry, "app:1", tls=True, ca="/nowhere/ca.crt")
    assert run(untrusted, check_mode=True)[1]["changed"]
    assert "/nowhere/ca.crt cannot be read" in run(untrusted)[0]["team/app:1"]["msg"]


def test_without_skopeo_check_mode_only_asks_the_registry(registry, home):
    (home / "programs/skopeo").unlink()
    assert run(parameters(registry, "app:1"), check_mode=True)[0]["team/app:1"]["pending"]
    assert "skopeo is not installed here" in run(parameters(registry, "app:1"))[1]["msg"]


def test_passwords_are_on_no_command_line_and_nothing_stays_behind(registry, home):
    login = {"registry": "other.test", "name": "robot", "password": PASSWORD}
    registry.login = base64.b64encode(f"ci:{PASSWORD}".encode()).decode()
    images, _ = run(parameters(registry, "app:1", logins=[login], source_ca="-----BEGIN"))
    assert not images["team/app:1"]["failed"], images
    assert PASSWORD not in (home / "log").read_text()
    assert any("cert-dir" in word for command in commands(home) for word in command)
    assert list((home / "run").iterdir()) == []


def test_several_at_once_but_no_more(registry, home):
    wanted = parameters(registry, "slow:1", "app:1", "app:2", parallel=1)
    job = registry_images.start(lambda: registry_images.Run(wanted, False, made(home)).results())
    time.sleep(0.5)
    assert list(registry.manifests) == []
    (home / "go").touch()
    assert [result["image"] for result in results(job)] == ["team/slow:1", "team/app:1", "team/app:2"]


def made(home: Path) -> str:
    """Return a fresh directory for logins."""
    directory = home / f"logins{time.monotonic_ns()}"
    directory.mkdir()
    return str(directory)


def results(job: str) -> Iterator[dict[str, Any]]:
    """Yield the results of a job until it has finished."""
    count, finished = 0, False
    while not finished:
        answer = registry_images.progress(job, count)
        count, finished = count + len(answer["images"]), answer["finished"]
        yield from answer["images"]


def test_results_come_as_images_are_done(registry, home):
    wanted = parameters(registry, "slow:1", "app:1", background=True)
    started = time.monotonic()
    job = registry_images.run(Module(False, wanted))["job"]
    coming = results(job)
    assert next(coming)["image"] == "team/app:1"
    assert os.stat(job).st_mode & 0o077 == 0
    (home / "go").touch()
    assert next(coming)["image"] == "team/slow:1"
    assert list(coming) == []
    assert time.monotonic() - started < registry_images.PATIENCE
    assert list((home / "run").iterdir()) == []


def test_job_ends_when_nobody_asks(registry, home, monkeypatch):
    monkeypatch.setattr(registry_images, "ABANDONED", 1)
    job = registry_images.run(Module(False, parameters(registry, "slow:1", "slow:1", parallel=1, background=True)))[
        "job"
    ]
    deadline = time.monotonic() + 20
    while os.path.exists(job) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list((home / "run").iterdir()) == []
    time.sleep(0.3)
    assert [command[0] for command in commands(home)] == ["inspect", "copy"]
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and str(home).encode() in cmdline(pid)]


def cmdline(pid: str) -> bytes:
    """Return the command line of a process; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_job_that_is_killed_has_finished(registry, home):
    job = registry_images.run(Module(False, parameters(registry, "slow:1", "app:1", background=True)))["job"]
    coming = results(job)
    assert next(coming)["image"] == "team/app:1"
    (holder,) = {pid for pid in os.listdir("/proc") if pid.isdigit() and holds(pid, f"{job}/results")} - {
        str(os.getpid())
    }
    os.kill(int(holder), signal.SIGKILL)
    assert list(coming) == []
    (home / "go").touch()


def holds(pid: str, path: str) -> bool:
    """Tell whether a process has a file open."""
    try:
        return path in [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return False


def test_error_of_the_whole_job_is_told(registry, home):
    wanted = parameters(registry, "app:1", bundle=str(home / "nowhere.tar"), background=True)
    wanted["images"][0]["source"] = "bundle"
    job = registry_images.run(Module(False, wanted))["job"]
    answer = registry_images.progress(job, 0)
    assert "nowhere.tar cannot be read" in answer["error"]
    assert answer["images"] == []


def test_another_directory_is_no_job(tmp_path):
    (tmp_path / "results").touch()
    with pytest.raises(registry_images.WharfError, match="is no job"):
        registry_images.progress(str(tmp_path), 0)
    assert tmp_path.exists()

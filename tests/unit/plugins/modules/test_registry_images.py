"""The module registry_images, with a registry that listens and a skopeo and a docker that only push a manifest."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import bundles, cache_storage
from ansible_collections.wharf.registry.plugins.module_utils.lock import lock
from ansible_collections.wharf.registry.plugins.module_utils.manifests import OCI_INDEX, OCI_MANIFEST
from ansible_collections.wharf.registry.plugins.module_utils.storage import Storage
from ansible_collections.wharf.registry.plugins.modules import registry_images
from tests.unit.stored_registry import StoredRegistry

pytest_plugins = ["tests.unit.served_registry"]
PASSWORD = "a-password-of-the-tests"
SKOPEO = """#!{python}
import http.client, json, os, stat, sys, time
home = {home!r}
with open(home + "/log", "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
logins = os.environ["REGISTRY_AUTH_FILE"]
modes = [stat.S_IMODE(os.stat(one).st_mode) for one in (logins, os.path.dirname(logins))]
assert modes == [0o600, 0o700], modes
source, target = sys.argv[-2:] if sys.argv[1] == "copy" else (sys.argv[-1], "")
name = source.rpartition("/")[2]
if sys.argv[1] == "list-tags":
    start = "manifest." + name + ":"
    print(json.dumps({{"Tags": [file[len(start):] for file in os.listdir(home) if file.startswith(start)]}}))
    sys.exit(os.path.exists(home + "/no-tags"))
if name.startswith("missing"):
    sys.exit('time="x" level=fatal msg="reading \\\\"missing\\\\": manifest unknown"')
while name.startswith("slow") and sys.argv[1] == "copy" and not os.path.exists(home + "/go"):
    time.sleep(0.01)
content = open(home + "/manifest." + name, "rb").read()
if not target:
    os.write(1, content)
    sys.exit()
host, _, path = target.removeprefix("docker://").partition("/")
repository, _, tag = path.partition("@") if "@" in path else path.rpartition(":")
login = json.load(open(logins))["auths"][host]["auth"]
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
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    (tmp_path / "run").mkdir()
    for number, name in enumerate(("app:1", "app:2", "slow:1")):
        config = {"digest": "sha256:" + str(number) * 64, "size": 100}
        content = json.dumps({"schemaVersion": 2, "config": config, "layers": []}, indent=5)
        (tmp_path / f"manifest.{name}").write_text(content)
    before = os.umask(0o077)
    yield tmp_path
    os.umask(before)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def parameters(registry: Any, *names: str, **more: Any) -> dict[str, Any]:
    """Return the module's parameters for images of another registry."""
    image = {"archive": None, "size": None, "digest": "", "cache": False, "missing": []}
    images = [{**image, "image": f"team/{name}", "source": f"docker://other.test/x/{name}"} for name in names]
    own = {"name": "registry.wharf.test", "port": registry.port, "tls": False, "ca": "", "container": None}
    own |= {"users": [{"name": "ci", "password": PASSWORD}], "logins": [], "source_ca": "", "proxy": "", "no_proxy": []}
    return {
        **own,
        "images": images,
        "bundle": None,
        "caches_data": None,
        "parallel": 4,
        "job": None,
        "after": 0,
        **more,
    }


def results(params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Copy images, and yield the results as they come."""
    count, finished = 0, False
    while not finished:
        answer = registry_images.run(params, False)
        count, finished = count + len(answer["images"]), answer["finished"]
        params = {**params, "job": answer["job"], "after": count}
        yield from answer["images"]


def copied(params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Copy images; return the result of each."""
    return {image["image"]: image for image in results(params)}


def checked(params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Run the module in check mode; return the result of each image."""
    return {image["image"]: image for image in registry_images.run(params, True)["images"]}


def commands(home: Path) -> list[list[str]]:
    """Return how skopeo was called."""
    return [json.loads(line) for line in (home / "log").read_text().splitlines()]


def test_one_that_fails_stops_no_other_and_is_named(registry, home):
    images = copied(parameters(registry, "missing:1", "app:1", "app:2"))
    assert images["team/missing:1"]["failed"]
    assert images["team/missing:1"]["msg"] == 'skopeo: reading "missing": manifest unknown'
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
    copied(parameters(registry, "app:1"))
    images = copied(parameters(registry, "app:1"))
    assert not images["team/app:1"]["pending"]
    assert images["team/app:1"]["size"] == len((home / "manifest.app:1").read_bytes()) + 100
    assert [command[0] for command in commands(home)] == ["inspect", "copy", "list-tags"] + ["inspect", "list-tags"]


@pytest.mark.parametrize(("port", "host"), [(443, "registry.wharf.test"), (443, "registry.wharf.test:443")])
def test_registry_itself_is_asked_on_the_loopback_with_the_port_and_without(port, host):
    copies = SimpleNamespace(
        p={"name": "registry.wharf.test", "port": port, "tls": True}, local="127.0.0.1:443", source_trust=[]
    )
    source = registry_images.SkopeoSource(copies, {"image": "a:1", "archive": None, "source": f"docker://{host}/b:1"})
    assert source.name == "docker://127.0.0.1:443/b:1"


def test_image_id_tells_as_well(registry, home):
    copied(parameters(registry, "app:1"))
    wanted = parameters(registry, "app:1")
    wanted["images"][0].update(source="docker-archive:FILE", archive="/srv/nowhere.tar", digest="sha256:" + "0" * 64)
    assert not copied(wanted)["team/app:1"]["pending"]
    wanted["images"][0].update(digest="sha256:" + "1" * 64)
    image = checked(wanted)["team/app:1"]
    assert (image["pending"], image["digest"]) == (True, "")  # an id is no digest


def test_check_mode_copies_nothing_and_takes_a_registry_that_is_not_there_for_an_empty_one(registry, home, monkeypatch):
    monkeypatch.setattr(registry_images.data, "mounted_at", lambda _container: home)
    result = registry_images.run(parameters(registry, "app:1", "missing:1", container="registry"), True)
    images = {image["image"]: image for image in result["images"]}
    assert images["team/app:1"]["pending"] and images["team/missing:1"]["failed"]
    digest = hashlib.sha256((home / "manifest.app:1").read_bytes()).hexdigest()
    assert images["team/app:1"]["digest"] == f"sha256:{digest}"
    assert registry.manifests == {}
    rooms = json.loads(json.dumps(result))["rooms"]
    assert [room and room["path"] for room in rooms] == ["/var/tmp", str(home), None]
    nowhere = parameters(registry, "app:1", port=1)
    assert checked(nowhere)["team/app:1"]["pending"]
    assert "does not answer" in copied(nowhere)["team/app:1"]["msg"]
    untrusted = parameters(registry, "app:1", tls=True, ca="/nowhere/ca.crt")
    assert checked(untrusted)["team/app:1"]["pending"]
    assert "/nowhere/ca.crt cannot be read" in copied(untrusted)["team/app:1"]["msg"]


def test_without_skopeo_check_mode_only_asks_the_registry(registry, home):
    (home / "programs/skopeo").unlink()
    assert checked(parameters(registry, "app:1"))["team/app:1"]["pending"]
    assert copied(parameters(registry, "app:1"))["team/app:1"]["msg"] == "skopeo is not installed here"


def test_passwords_are_on_no_command_line_and_nothing_stays_behind(registry, home):
    login = {"registry": "other.test", "name": "robot", "password": PASSWORD}
    registry.login = base64.b64encode(f"ci:{PASSWORD}".encode()).decode()
    images = copied(parameters(registry, "app:1", logins=[login], source_ca="-----BEGIN"))
    assert not images["team/app:1"]["failed"], images
    assert PASSWORD not in (home / "log").read_text()
    assert any("cert-dir" in word for command in commands(home) for word in command)
    assert list((home / "run").iterdir()) == []


def test_several_at_once_but_no_more(registry, home):
    coming = results(parameters(registry, "slow:1", "app:1", "app:2", parallel=1))
    threading.Timer(0.5, lambda: (home / "go").write_text(str(len(registry.manifests)))).start()
    assert [result["image"] for result in coming] == ["team/slow:1", "team/app:1", "team/app:2"]
    assert (home / "go").read_text() == "0"


def test_results_come_as_images_are_done(registry, home):
    started = time.monotonic()
    coming = results(parameters(registry, "slow:1", "app:1"))
    assert next(coming)["image"] == "team/app:1"
    (job,) = (path for path in (home / "run").iterdir() if (path / "results").exists())
    assert job.stat().st_mode & 0o077 == 0
    (home / "go").touch()
    assert next(coming)["image"] == "team/slow:1"
    assert list(coming) == []
    assert time.monotonic() - started < registry_images.PATIENCE
    assert list((home / "run").iterdir()) == []


def test_job_ends_when_nobody_asks(registry, home, monkeypatch):
    monkeypatch.setattr(registry_images, "ABANDONED", 1)
    monkeypatch.setattr(registry_images, "PATIENCE", 0)
    job = registry_images.run(parameters(registry, "slow:1", "slow:1", parallel=1), False)["job"]
    deadline = time.monotonic() + 20
    while (os.path.exists(job) or list((home / "run").iterdir())) and time.monotonic() < deadline:
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


@pytest.mark.parametrize(("number", "error"), [(signal.SIGKILL, ""), (signal.SIGTERM, "it was interrupted")])
def test_job_that_is_killed_has_finished(registry, home, number, error):
    wanted = parameters(registry, "slow:1", "app:1")
    answer = registry_images.run(wanted, False)
    assert [image["image"] for image in answer["images"]] == ["team/app:1"]
    (holder,) = (pid for pid in os.listdir("/proc") if pid.isdigit() and holds(pid, f"{answer['job']}/results"))
    os.kill(int(holder), number)
    while not answer["finished"]:
        answer = registry_images.run({**wanted, "job": answer["job"], "after": 1}, False)
    assert (answer["images"], answer["error"]) == ([], error)
    (home / "go").touch()


def holds(pid: str, path: str) -> bool:
    """Tell whether a process has a file open."""
    try:
        return path in [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return False


def bundled(home: Path) -> tuple[str, list[str]]:
    """Write a bundle of an index, of another inside it, and of what both share.

    Returns:
        The digest of the index, and those of its parts as they are to be pushed.
    """
    stored = StoredRegistry(home / "stored")
    first, second = (stored.image("team/app", None, content) for content in (b"first", b"second"))
    inner = stored.manifest("team/app", None, {"manifests": [{"digest": first}]})
    parts = [{"digest": part} for part in (inner, second, first)]
    digest = stored.manifest("team/app", "1", {"manifests": parts})
    storage = Storage(stored.root)
    bundles.write(bundles.plan(storage, ["team/app"]), str(home / "team.tar"))
    return digest, [first, inner, second]


def assert_pushed_without_skopeo(registry: Any, home: Path, wanted: dict[str, Any], parts: list[str]) -> None:
    """Let an image be copied, and find all of it in the registry, parts first."""
    (home / "programs/skopeo").unlink()
    digest = wanted["images"][0]["digest"]
    image = copied(wanted)["team/app:1"]
    assert (image["pending"], image["failed"], image["digest"]) == (True, False, digest)
    requests = [path for method, path, _ in registry.requests if method == "PUT" and "manifests" in path]
    assert [path.rpartition("/")[2] for path in requests] == [*parts, "1"]
    assert len(registry.blobs) == 4
    assert f"sha256:{hashlib.sha256(registry.manifests['team/app', '1']).hexdigest()}" == digest
    assert not copied(wanted)["team/app:1"]["pending"]


def test_images_of_a_bundle_are_pushed_whole(registry, home):
    digest, parts = bundled(home)
    wanted = parameters(registry, "app:1", bundle=str(home / "team.tar"))
    wanted["images"][0].update(source="bundle", digest=digest)
    assert_pushed_without_skopeo(registry, home, wanted, parts)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_image_of_an_oci_archive_is_pushed_whole(registry, home, mode):
    digest, parts = bundled(home)
    path = home / "oci.tar"
    with tarfile.open(home / "team.tar") as bundle, tarfile.open(path, mode) as archive:
        for member in bundle:
            content = bundle.extractfile(member)
            member.name = f"./{member.name}"  # as tar -C writes it
            archive.addfile(member, content)
    wanted = parameters(registry, "app:1")
    wanted["images"][0].update(source="oci-archive", archive=str(path), digest=digest)
    assert_pushed_without_skopeo(registry, home, wanted, parts)


def source_manifest(home: Path, name: str, **manifest: Any) -> str:
    """Let the other registry have a manifest; return its digest, under which it has it as well."""
    content = json.dumps({"schemaVersion": 2, **manifest}).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    (home / f"manifest.{name}").write_bytes(content)
    (home / f"manifest.{name.partition(':')[0]}@{digest}").write_bytes(content)
    return digest


def signature(home: Path, digest: str, *layers: str, suffix: str = ".sig") -> str:
    """Let the other registry have signatures of a manifest; return the digest of the manifest that lists them."""
    parts = [{"digest": "sha256:" + layer * 64} for layer in layers]
    return source_manifest(home, f"app:{digest.replace(':', '-')}{suffix}", config=parts[0], layers=parts)


def test_what_belongs_to_an_image_comes_along_and_once(registry, home):
    part = source_manifest(home, "app:part", config={"digest": "sha256:" + "5" * 64})
    index = source_manifest(home, "app:all", manifests=[{"digest": part}])
    attached = [signature(home, index, "a"), signature(home, part, "b", suffix=".att")]
    attached.append(signature(home, attached[1], "c"))
    signature(home, "sha256:" + "f" * 64, "d")  # of another image
    (home / f"manifest.app:{index.replace(':', '-')}").write_text(json.dumps({"manifests": []}))
    wanted = parameters(registry, "app:all")
    image = copied(wanted)["team/app:all"]
    tags = {f"{index}.sig", f"{part}.att", f"{attached[1]}.sig", index}
    assert set(image["attached"]) == {tag.replace(":", "-") for tag in tags}
    assert {("team/app", tag) for tag in image["attached"]} <= registry.manifests.keys()
    again = copied(wanted)["team/app:all"]
    assert (again["pending"], "attached" in again) == (False, False)
    # One more signature moves the tag of the list.
    signature(home, index, "a", "e")
    assert checked(wanted)["team/app:all"]["pending"]
    assert copied(wanted)["team/app:all"]["attached"] == [f"{index}.sig".replace(":", "-")]
    # What was signed here as well stays signed.
    signature(home, index, "a", "9")
    left = copied(wanted)["team/app:all"]
    assert (left["pending"], left["failed"]) == (False, False)
    assert left["note"].endswith("stays as it is here, because it holds something else")


def test_signatures_of_a_bundle_take_no_other_away(registry, home):
    stored = StoredRegistry(home / "stored")
    tag = "sha256-" + "0" * 64 + ".sig"
    digest = stored.image("team/app", tag, b"signature")
    storage = Storage(stored.root)
    bundles.write(bundles.plan(storage, ["team/app"]), str(home / "team.tar"))
    own = json.dumps({"layers": [{"digest": "sha256:" + "1" * 64}]}).encode()
    registry.manifests["team/app", tag] = own
    wanted = parameters(registry, f"app:{tag}", bundle=str(home / "team.tar"))
    wanted["images"][0].update(source="bundle", digest=digest)
    image = copied(wanted)[f"team/app:{tag}"]
    assert (image["failed"], image["pending"], "stays as it is here" in image["note"]) == (False, False, True)
    assert registry.manifests["team/app", tag] == own


def cached(registry: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], str]:
    """Write a bundle of an index that a cache has in part; return the module's parameters, and the index's digest."""
    monkeypatch.setattr(cache_storage, "LOCK", home / "lock")
    stored = StoredRegistry(home / "stored")
    parts = [{"digest": stored.image("docker.io/app", None)}, {"digest": "sha256:" + "0" * 64}]
    digest = stored.manifest("docker.io/app", "1", {"manifests": parts})
    storage = Storage(stored.root)
    planned = bundles.plan(storage, ["docker.io/*"], None, storage, ["docker.io/*"])
    bundles.write(planned, str(home / "team.tar"))
    for one in ("blobs", "repositories/docker.io"):
        (home / "caches/docker/registry/v2" / one).mkdir(parents=True)
    wanted = parameters(registry, "app:1", bundle=str(home / "team.tar"), caches_data=str(home / "caches"))
    wanted["images"] = [{**wanted["images"][0], "source": "bundle", "cache": True, **planned.images[0]}]
    return wanted, digest


def test_images_of_caches_are_written_where_the_caches_have_them_and_not_pushed(registry, home, monkeypatch):
    wanted, digest = cached(registry, home, monkeypatch)
    assert checked(wanted)["docker.io/app:1"]["pending"]
    assert checked(wanted)["docker.io/app:1"]["digest"] == digest
    image = copied(wanted)["docker.io/app:1"]
    assert (image["pending"], image["failed"], image["digest"]) == (True, False, digest)
    assert not registry.requests
    storage = Storage(home / "caches")
    assert storage.is_whole("docker.io/app", "1", wanted["images"][0]["missing"])
    assert not (home / "caches/import").exists()
    for again in (checked(wanted), copied(wanted)):
        assert not again["docker.io/app:1"]["pending"]
        assert again["docker.io/app:1"]["size"] == wanted["images"][0]["size"]
    layer = next(iter(storage.layers("docker.io/app")))
    storage.layer_link("docker.io/app", layer).unlink()
    assert copied(wanted)["docker.io/app:1"]["pending"]
    assert layer in storage.layers("docker.io/app")


def test_what_is_cut_short_in_a_cache_is_repaired_by_another_import(registry, home, monkeypatch):
    wanted, _ = cached(registry, home, monkeypatch)
    assert copied(wanted)["docker.io/app:1"]["pending"]
    storage = Storage(home / "caches")
    for digest in storage.closure(storage.tag("docker.io/app", "1"), missing=wanted["images"][0]["missing"]):
        content = storage.blob_path(digest).read_bytes()
        storage.blob_path(digest).write_bytes(content[:-1])
        assert checked(wanted)["docker.io/app:1"]["pending"]
        assert copied(wanted)["docker.io/app:1"]["pending"]
        assert storage.blob_path(digest).read_bytes() == content


def test_a_tag_that_has_moved_is_moved_back(registry, home, monkeypatch):
    wanted, digest = cached(registry, home, monkeypatch)
    there = StoredRegistry.__new__(StoredRegistry)
    there.root, there.top = home / "caches", home / "caches/docker/registry/v2"
    other = there.image("docker.io/app", "1", b"other")
    kept = there.image("docker.io/app", "2", b"kept")
    assert checked(wanted)["docker.io/app:1"]["pending"]
    assert copied(wanted)["docker.io/app:1"]["digest"] == digest
    storage = Storage(there.root)
    assert storage.tags("docker.io/app") == {"1": digest, "2": kept}
    assert other in storage.revisions("docker.io/app")


def test_an_import_into_a_cache_that_is_stopped_ends_before_the_next_blob(registry, home, monkeypatch):
    wanted, _ = cached(registry, home, monkeypatch)
    copies = registry_images.Copies(wanted, False, str(home / "run"))
    put, written = cache_storage.CacheStorage._put, []

    def stopping(*arguments: Any) -> None:
        copies.stopped.set()
        written.append(put(*arguments))

    monkeypatch.setattr(cache_storage.CacheStorage, "_put", stopping)
    (image,) = copies.results()
    assert (image["msg"], len(written)) == ("it was stopped before its turn", 1)


def test_only_images_of_caches_wait_for_a_trimming(registry, home, monkeypatch):
    wanted, _ = cached(registry, home, monkeypatch)
    monkeypatch.setattr(cache_storage, "PATIENCE", 0)
    wanted["images"] += parameters(registry, "app:1")["images"]
    with lock("trim-caches", path=home / "lock"):
        (image,) = results(wanted)
    assert (image["image"], image["failed"]) == ("team/app:1", False)
    assert ("team/app", "1") in registry.manifests
    assert {image["failed"] for image in copied(wanted).values()} == {False}


def test_what_a_cache_has_instead_is_said_of_the_cache(registry, home, monkeypatch):
    wanted, _ = cached(registry, home, monkeypatch)
    monkeypatch.setattr(cache_storage.CacheStorage, "store", lambda *_: None)
    message = "the cache has nothing now, which is not what was copied"
    assert copied(wanted)["docker.io/app:1"]["msg"] == message


def test_what_a_cache_had_in_part_is_refused_where_there_is_no_such_cache(registry, home, monkeypatch):
    wanted, _ = cached(registry, home, monkeypatch)
    wanted["images"][0]["cache"] = False
    for images in (checked(wanted), copied(wanted)):
        assert "list docker.io in wharf_caches" in images["docker.io/app:1"]["msg"]
    assert not registry.requests


def test_signatures_in_a_cache_take_no_other_away(registry, home, monkeypatch):
    wanted, _ = cached(registry, home, monkeypatch)
    tag = "sha256-" + "0" * 64 + ".sig"
    digest = StoredRegistry.image(there := StoredRegistry(home / "signed"), "docker.io/app", tag, b"new")
    bundles.write(bundles.plan(Storage(there.root), ["docker.io/app"]), str(home / "signed.tar"))
    own = StoredRegistry.__new__(StoredRegistry)
    own.root, own.top = home / "caches", home / "caches/docker/registry/v2"
    before = own.image("docker.io/app", tag, b"old")
    image = {**wanted["images"][0], "image": f"docker.io/app:{tag}", "digest": digest, "missing": []}
    result = copied({**wanted, "images": [image], "bundle": str(home / "signed.tar")})[f"docker.io/app:{tag}"]
    assert "stays as it is here" in result["note"]
    assert Storage(own.root).tags("docker.io/app") == {tag: before}


def test_source_that_lists_no_tags_gives_the_image_and_a_note(registry, home):
    (home / "no-tags").touch()
    image = copied(parameters(registry, "app:1"))["team/app:1"]
    assert (image["pending"], image["failed"]) == (True, False)
    assert "its signatures were not looked for: skopeo" in image["note"]


def test_indexes_are_copied_part_by_part(registry, home):
    """Skopeo copies no index: of one inside another it knows nothing, and it would alter one of layers of zstd."""
    part = source_manifest(home, "app:part", config={"digest": "sha256:" + "5" * 64})
    inner = source_manifest(home, "app:inner", manifests=[{"digest": part, "mediaType": OCI_MANIFEST}])
    outer = source_manifest(home, "app:outer", manifests=[{"digest": inner, "mediaType": OCI_INDEX}])
    image = copied(parameters(registry, "app:outer"))["team/app:outer"]
    assert (image["failed"], image["digest"]) == (False, outer)
    copies = [command[-1].rpartition("/")[2] for command in commands(home) if command[0] == "copy"]
    assert copies == [f"app@{part}"]


def test_the_old_format_is_refused_with_a_remedy(registry, home):
    (home / "manifest.app:1").write_text(json.dumps({"schemaVersion": 1, "fsLayers": []}))
    image = copied(parameters(registry, "app:1"))["team/app:1"]
    assert image["msg"].startswith("it has the old format of manifests, schema 1")


def test_layers_from_elsewhere_are_named_when_the_registry_refuses_them():
    layers = [{"digest": "sha256:" + "5" * 64, "urls": ["https://example.com/layer"]}]
    refused = registry_images.WharfError("HTTP status 500")
    with pytest.raises(registry_images.WharfError, match="500 .*only with validation.manifests.urls.allow"):
        raise_through(registry_images.explained(json.dumps({"layers": layers}).encode()), refused)
    with pytest.raises(registry_images.WharfError, match="^HTTP status 500$"):
        raise_through(registry_images.explained(b"{}"), refused)


def raise_through(context: Any, error: Exception) -> None:
    with context:
        raise error


def test_error_of_the_whole_job_is_told(registry, home):
    wanted = parameters(registry, "app:1", bundle=str(home / "nowhere.tar"))
    wanted["images"][0]["source"] = "bundle"
    answer = registry_images.run(wanted, False)
    assert "nowhere.tar cannot be read" in answer["error"]
    assert (answer["images"], answer["finished"]) == ([], True)


def test_another_directory_is_no_job(tmp_path):
    (tmp_path / "results").touch()
    with pytest.raises(registry_images.WharfError, match="is no job"):
        registry_images.progress(str(tmp_path), 0)
    assert tmp_path.exists()


DOCKER = """#!/bin/sh
case "$1 $2" in
    "image inspect") [ "$5" = local:1 ] && echo sha256:{index} || { echo "No such image" >&2; exit 1; } ;;
esac
"""


def test_index_that_an_engine_has_in_part_is_known_by_that_part(registry, home, monkeypatch):
    """As the containerd image store has it: its id is the index's digest, and what it pushes is another."""
    content = (home / "manifest.app:1").read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    (home / "programs/docker").write_text(DOCKER.replace("{index}", "8" * 64))
    (home / "programs/docker").chmod(0o755)
    known = [{"ID": digest, "Available": True}, {"ID": "sha256:" + "7" * 64, "Available": False}]
    monkeypatch.setattr(registry_images.containers, "manifests", lambda _: known)
    wanted = parameters(registry, "app:1", name="127.0.0.1")
    wanted["images"][0]["source"] = "engine:local:1"
    registry.manifests["team/app", "1"] = content
    assert not checked(wanted)["team/app:1"]["pending"]
    known[1]["Available"] = True  # then all of it is to be there
    assert checked(wanted)["team/app:1"]["pending"]

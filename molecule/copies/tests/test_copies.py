"""Images from everywhere to the registry, and in one file to another registry."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import re
import secrets
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple

import pytest
from clients import REGISTRY, log_in, make_image, pull
from machines import Hosts, broken, container, in_background, lock_held, program, put_back
from plays import INVENTORY, Ansible, Run
from testinfra.host import Host

SECOND = "second.wharf.test:5000"
PASSWORD = "carries-images-from-one-place-to-another"
STORAGE = "/var/lib/wharf/registry/docker/registry/v2"


class Deployments(NamedTuple):
    """Who runs the playbooks of the two deployments."""

    first: Ansible
    second: Ansible


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Deployments:
    """Return what runs playbooks as a user of the controller who may not become root.

    The inventory's ansible_become is for its hosts. (Ansible would not ask for root where it is root already, as in
    the tests.)
    """
    sudo = tmp_path_factory.mktemp("bin") / "sudo"
    sudo.write_text("#!/bin/sh\necho 'the controller has no root for you' >&2\nexit 1\n")
    sudo.chmod(0o755)
    environment = {"ANSIBLE_BECOME_ALLOW_SAME_USER": "true", "PATH": f"{sudo.parent}:{os.environ['PATH']}"}
    inventories = INVENTORY, "molecule/copies/inventory/second.yml"
    return Deployments(*(Ansible(inventory, **environment) for inventory in inventories))


def lines(result: Run) -> dict[str, str]:
    """Return the line of each image that was shown when it was done, by image."""
    return dict(re.findall(r"^  (\S+:\S+): (copied, .*|already there|failed: .*)$", result.output, re.MULTILINE))


def table(result: Run) -> dict[str, str]:
    """Return the rows of the tables of copies, by image; each host has a table."""
    found = re.findall(r"^ {8}image  .*\n((?: {8}.*\n)*)", result.output, re.MULTILINE)
    return {row.split()[0]: " ".join(row.split()[1:]) for rows in found for row in rows.splitlines()}


def stored(host: Host) -> str:
    """Return all files of a registry, with size and time: what a run that moves nothing leaves as it was."""
    return host.check_output(f"find {STORAGE} -type f -printf '%p %s %T@\\n' | grep -v '/_uploads/' | sort")


def tags(host: Host) -> set[str]:
    """Return what a registry has, REPOSITORY:TAG."""
    paths = host.check_output(f"cd {STORAGE}/repositories && find . -path '*/_manifests/tags/*/current/link'")
    found = re.findall(r"\./(.*)/_manifests/tags/([^/]*)/current/link", paths)
    return {f"{repository}:{tag}" for repository, tag in found}


def blobs_of(host: Host) -> list[str]:
    """Return what a registry has stored, as a bundle names it."""
    return host.check_output(f"cd {STORAGE}/blobs/sha256 && ls -d */* | sed 's,.*/,blobs/sha256/,'").split()


def digest_in(host: Host, image: str) -> str:
    """Return the digest that a tag has in a registry."""
    repository, _, tag = image.rpartition(":")
    return host.check_output(f"cat {STORAGE}/repositories/{repository}/_manifests/tags/{tag}/current/link")


@pytest.fixture(scope="module")
def second(hosts: Hosts, play: Deployments) -> Host:
    """Return the server of a second deployment, whose registry client1 trusts and is logged in to."""
    play.second.succeeds("site.yml", "--tags", "deploy,trust")
    log_in(hosts["client1"], PASSWORD, "carrier", SECOND)
    return hosts["client2"]


@pytest.fixture(scope="module")
def source_ca(second: Host) -> str:
    """Return the second registry's CA certificate."""
    return second.check_output("cat /etc/wharf/tls/ca.crt")


@pytest.fixture(scope="module")
def sources(hosts: Hosts, second: Host) -> dict[str, str]:
    """Push images that share layers, and an index of two of them, to the second registry; return their digests."""
    client, images = hosts["client1"], ("app:1", "app:2", "base:2", "multi:1", "multi:nested")
    client.check_output(program(client, "push-sources.sh", SECOND))
    client.check_output(program(client, "push-artifacts.py", SECOND, "team/multi", "1", "nested"))
    return {f"team/{name}": digest_in(second, f"team/{name}") for name in images}


@pytest.fixture(scope="module")
def engine_image(hosts: Hosts) -> str:
    """Make an image that only client1's engine has; return its id."""
    return make_image(hosts["client1"], "local-app:7")


@pytest.fixture(scope="module")
def docker_archive(hosts: Hosts, engine_image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file that docker save wrote, of two images."""
    make_image(hosts["client1"], "saved/other:1")
    hosts["client1"].check_output("docker tag local-app:7 saved/app:7")
    path = tmp_path_factory.mktemp("archive") / "saved.tar"
    with path.open("wb") as file:
        save = ["docker", "exec", container("client1"), "docker", "save", "saved/app:7", "saved/other:1"]
        subprocess.run(save, stdout=file, check=True)
    hosts["client1"].check_output("docker image rm saved/app:7 saved/other:1")
    return path


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def zstd(content: bytes) -> bytes:
    """Return content as zstd packs it, in one block that it leaves as it is."""
    assert len(content) < 1 << 17
    start = b"\x28\xb5\x2f\xfd\xa0" + len(content).to_bytes(4, "little")
    return start + (len(content) << 3 | 1).to_bytes(3, "little") + content


@pytest.fixture(scope="module")
def oci_archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Return an OCI archive of an index of three images, and the digests of the index and of those that are gzip's.

    The layer of the third is packed with zstd, which skopeo would note in the index, and so refuses to copy it.
    """
    blobs: dict[str, bytes] = {}

    def blob(content: bytes | dict, **also: object) -> dict:
        content = json.dumps(content).encode() if isinstance(content, dict) else content
        blobs[sha256(content)] = content
        return {"digest": sha256(content), "size": len(content), **also}

    kind = "application/vnd.oci.image"
    packed = (("amd64", "gzip", gzip.compress), ("arm64", "gzip", gzip.compress), ("riscv64", "zstd", zstd))
    manifests = []
    for architecture, suffix, pack in packed:
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            info = tarfile.TarInfo("content")
            info.size = 50000
            tar.addfile(info, io.BytesIO(secrets.token_bytes(info.size)))
        rootfs = {"type": "layers", "diff_ids": [sha256(layer.getvalue())]}
        config = blob({"architecture": architecture, "os": "linux", "rootfs": rootfs})
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": config | {"mediaType": f"{kind}.config.v1+json"},
            "layers": [blob(pack(layer.getvalue()), mediaType=f"{kind}.layer.v1.tar+{suffix}")],
        }
        platform = {"architecture": architecture, "os": "linux"}
        manifests.append(blob(manifest, mediaType=f"{kind}.manifest.v1+json", platform=platform))
    index = {"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": manifests}
    top = blob(index, mediaType=f"{kind}.index.v1+json")
    path = tmp_path_factory.mktemp("archive") / "oci.tar"
    with tarfile.open(path, "w") as tar:
        files = {f"blobs/{digest.replace(':', '/')}": content for digest, content in blobs.items()}
        files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
        files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [top]}).encode()
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path, [top["digest"], *(manifest["digest"] for manifest in manifests[:2])]


@contextmanager
def watched(host: Host) -> Iterator[None]:
    """Keep all command lines and environments of a host in /tmp/seen while the block runs."""
    host.check_output(f"rm -f /tmp/seen /tmp/enough; {in_background(program(host, 'watch-processes.sh'))}")
    with broken(host, ":", "touch /tmp/enough; sleep 0.3"):
        yield


def leftovers(server: Host) -> str:
    """Return what copies, exports and imports have left on a server."""
    return server.check_output("ls /run /var/tmp | grep -e wharf-copy- -e wharf-export- || true")


class Copied(NamedTuple):
    """What was seen while images were copied from everywhere."""

    wanted: dict[str, Any]  # the variables, but for the image that is missing
    result: Run
    heard: list[str]  # lines that were said while one source did not answer yet
    engine: tuple[str, str]  # what client1's engine and directories had before, and afterwards
    leftovers: str


# A line for each as it happens: one source answers only when other images have been told of, one of which the same host
# copies at the same time.
EARLY = ["  from/engine:7: copied, ", "  saved/app:7: copied, "]


@pytest.fixture(scope="module")
def copied(hosts, second, play, sources, source_ca, engine_image, docker_archive, oci_archive) -> Copied:
    """Copy images from everywhere, and one that is not there."""
    wanted = {
        "wharf_copies_ca": source_ca,
        "wharf_copies_logins": [{"registry": SECOND, "name": "carrier", "password": PASSWORD}],
        "wharf_copies": [
            {"from": f"{SECOND}/team/multi:1"},
            {"from": f"{SECOND}/team/multi:nested", "to": "nested/multi:1"},
            {"from": f"docker://{SECOND}/team/app@{sources['team/app:1']}", "to": "other/app:one"},
            {"from": "local-app:7", "engine": "client1", "to": "from/engine:7"},
            {"from": str(docker_archive), "image": "saved/app:7"},
            {"from": str(oci_archive[0]), "to": "from/oci:1"},
        ],
    }
    missing = {"from": f"{SECOND}/team/missing:1"}
    engine = "docker images --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort; ls -A /run /var/tmp"
    before = hosts["client1"].check_output(engine)
    heard: list[str] = []

    def hear(line: str) -> None:
        if line.startswith("server: copying"):
            # Its tool gives up when it has waited for ten seconds, and on a slow machine the others take as long.
            Timer(8, second.run, ["docker unpause registry"]).start()
        heard.extend(start for start in EARLY if line.startswith(start))
        if len(heard) == len(EARLY) or line.startswith("PLAY RECAP"):
            second.run("docker unpause registry")

    with watched(hosts["server"]), watched(hosts["client1"]):
        second.check_output("docker pause registry")
        copies = {"wharf_copies": [missing, *wanted["wharf_copies"]]}
        result = play.first("playbooks/copy-images.yml", "-vvv", heard=hear, **(wanted | copies))
    after = hosts["client1"].check_output(engine)
    return Copied(wanted, result, heard, (before, after), leftovers(hosts["server"]))


def test_images_come_from_everywhere_and_one_that_fails_stops_no_other(copied):
    result = copied.result
    assert result.returncode == 2, result.output
    assert sorted(copied.heard) == sorted(EARLY), result.output
    assert "not copied, for the reasons in the table: team/missing:1" in result.stdout
    assert "manifest unknown" in table(result)["team/missing:1"]
    assert "manifest unknown" in lines(result)["team/missing:1"]
    for image in ("team/multi:1", "nested/multi:1", "other/app:one", "from/engine:7", "saved/app:7", "from/oci:1"):
        assert lines(result)[image].startswith("copied, "), result.output
        assert re.search(r"sha256:\w{12} \d+\.\d [KM]iB \d+\.\d", table(result)[image]), table(result)


def test_every_digest_is_what_it_was_and_each_image_of_an_index_is_there(
    hosts, copied, password, sources, oci_archive, engine_image
):
    client, oci_digests = hosts["client1"], oci_archive[1]
    log_in(client, password)
    assert digest_in(hosts["server"], "team/multi:1") == sources["team/multi:1"]
    assert digest_in(hosts["server"], "from/oci:1") == oci_digests[0]
    pull(client, f"{REGISTRY}/other/app:one", sources["team/app:1"])
    for name in ("team/app:1", "team/base:2"):
        pull(client, f"{REGISTRY}/team/multi:1", sources[name])
    for digest in oci_digests[1:]:
        pull(client, f"{REGISTRY}/from/oci:1", digest)
    for image in ("from/engine:7", "saved/app:7"):
        name = f"{REGISTRY}/{image}"
        pulled = f"docker pull --quiet {name} >&2 && docker image inspect --format '{{{{.Id}}}}' {name}"
        assert client.check_output(pulled) == engine_image
        client.check_output(f"docker image rm {name}")


def test_what_belongs_to_an_image_comes_along(hosts, second, copied, sources):
    """Its signatures and their own, those of a part, and referrers with their index; unknown kinds of content too."""
    wanted = {name for name in tags(second) if name.startswith("team/multi:sha256-")}
    assert len(wanted) == 5
    own = {name: digest_in(hosts["server"], name) for name in tags(hosts["server"])}
    assert {name: own.get(name) for name in wanted} == {name: digest_in(second, name) for name in wanted}
    for repository in ("team", "nested"):
        assert "(with 5 tags of what belongs to it)" in table(copied.result)[f"{repository}/multi:1"]
    assert own["nested/multi:1"] == sources["team/multi:nested"]
    verified = json.loads(hosts["server"].check_output("wharf verify-storage --json --contents"))
    assert (verified["problems"], verified["warnings"]) == ([], [])


def test_passwords_are_nowhere_to_be_seen_and_nothing_stays_behind(hosts, copied, password):
    before, after = copied.engine
    assert after == before
    assert copied.leftovers == ""
    for user, secret in (("carrier", PASSWORD), ("ci", password)):
        for text in (secret, base64.b64encode(f"{user}:{secret}".encode()).decode()):
            assert text not in copied.result.output
            for name in ("server", "client1"):
                assert hosts[name].run(f"grep -qF '{text}' /tmp/seen").rc == 1
    assert "skopeo" in hosts["server"].check_output("tr '\\0' ' ' </tmp/seen | grep -o 'skopeo copy' | head -n 1")


@pytest.mark.thorough
def test_second_run_moves_nothing(hosts, play, copied):
    before = stored(hosts["server"])
    for arguments in ([], ["--check"]):
        result = play.first.succeeds("playbooks/copy-images.yml", *arguments, **copied.wanted)
        assert result.changes == 0, result.output
        assert all(row.endswith("already there") for row in table(result).values()), table(result)
        assert "transferring" not in result.stdout
        assert stored(hosts["server"]) == before


def test_check_mode_tells_what_is_due_and_changes_nothing(hosts, play, copied, docker_archive):
    before = stored(hosts["server"])
    wanted = [{"from": f"{SECOND}/team/app:2"}, {"from": str(docker_archive), "image": "saved/other:1"}]
    checked = copied.wanted | {"wharf_copies": wanted}
    result = play.first.succeeds("playbooks/copy-images.yml", "--check", **checked)
    assert len(table(result)) == 2
    assert all(row.endswith("would be copied") for row in table(result).values()), table(result)
    assert stored(hosts["server"]) == before


def test_name_of_an_image_on_the_engine_comes_back_to_what_had_it(hosts, play, copied):
    """Docker can push only what is named so; that name may be another image's."""
    client, server = hosts["client1"], hosts["server"]
    name = f"{REGISTRY}/from/engine:8"
    other = make_image(client, name)
    digest = digest_in(server, "from/engine:7")
    wanted = [
        {"from": "local-app:7", "engine": "client1", "to": "from/engine:8"},
        # The registry itself is a source like others, so that a tag can be given to what it had before.
        {"from": f"{REGISTRY}/from/engine@{digest}", "to": "from/engine:9"},
    ]
    with put_back(server, f"{STORAGE}/repositories/from/engine/_manifests"):
        play.first.succeeds("playbooks/copy-images.yml", wharf_copies=wanted)
        assert client.check_output(f"docker image inspect --format '{{{{.Id}}}}' {name}") == other
        assert {digest_in(server, f"from/engine:{tag}") for tag in (8, 9)} == {digest}
    client.check_output(f"docker image rm {name}")


def test_bad_input_is_refused_before_anything_changes(hosts, play, copied):
    before = stored(hosts["server"])
    wanted = [
        {"from": f"{SECOND}/team/app:2"},
        {"from": f"{SECOND}/other/app:2", "to": "team/app:2"},
        {"from": "local-app:7", "engine": "nobody"},
        {"from": "/nowhere.tar"},
    ]
    bad = copied.wanted | {"wharf_copies": wanted}
    limited = play.first("playbooks/copy-images.yml", "--limit", "client1", **bad)
    assert limited.returncode == 2
    assert "--limit: leaves out server, which this playbook is for" in limited.stdout
    result = play.first("playbooks/copy-images.yml", **bad)
    assert result.returncode == 2
    for words in (
        "item 2: team/app:2 is what item 1 becomes",
        "item 3: engine: 'nobody'",
        "item 4: from: there is no",
    ):
        assert words in result.stdout
    forgotten = [{"registry": SECOND, "name": "carrier", "password": "{{ vault_of_the_source }}"}]
    result = play.first("playbooks/copy-images.yml", **(copied.wanted | {"wharf_copies_logins": forgotten}))
    assert result.returncode == 2
    assert "'vault_of_the_source' is undefined" in result.stdout
    assert stored(hosts["server"]) == before


def test_wrong_password_of_a_source_is_named_and_not_shown(hosts, play, copied):
    wrong = [{"registry": SECOND, "name": "carrier", "password": "wrong-password-0123456789"}]
    wanted = {"wharf_copies": [{"from": f"{SECOND}/team/app:2"}], "wharf_copies_logins": wrong}
    result = play.first("playbooks/copy-images.yml", "-vvv", **(copied.wanted | wanted))
    assert result.returncode == 2
    assert "uthorized" in table(result)["team/app:2"] or "authentication" in table(result)["team/app:2"], table(result)
    assert "wrong-password" not in result.stdout.replace(json.dumps(wrong), "")
    assert leftovers(hosts["server"]) == ""


def test_sources_are_reached_through_the_engines_proxy(play, copied):
    """There is no such proxy, and its password is not shown."""
    wanted = {"wharf_copies": [{"from": f"{SECOND}/team/app:2"}, {"from": "local-app:7", "engine": "client1"}]}
    proxy = {"docker_engine_https_proxy": "http://ops:pa55-of-the-proxy@proxy.test:3128"}
    result = play.first("playbooks/copy-images.yml", "-vvv", **(copied.wanted | wanted | proxy))
    assert result.returncode == 2
    assert "proxyconnect" in table(result)["team/app:2"], table(result)
    assert "FAILED" not in table(result)["local-app:7"], table(result)
    assert "pa55-of-the-proxy" not in result.stdout


# Bundles ------------------------------------------------------------------------------------------


def export(play: Deployments, bundle: Path, *arguments: str, images: str = "*") -> Run:
    """Export images of the first registry, and its own image."""
    wanted = {"wharf_bundle": str(bundle), "wharf_export_images": [images], "wharf_export_registry_images": True}
    return play.first("playbooks/export-images.yml", *arguments, **wanted)


class Bundle(NamedTuple):
    """A bundle of all that the first registry has, and what was seen while it was written."""

    path: Path
    checked: tuple[Run, bool]  # the run in check mode, and whether the file was there after it
    result: Run
    stored: tuple[str, str]  # what was stored before, and afterwards
    images: dict[str, str]  # what the registry had: image to digest
    blobs: list[str]
    leftovers: str


@pytest.fixture(scope="module")
def bundle(hosts, play, copied, tmp_path_factory) -> Bundle:
    """Write the bundle that the tests read."""
    server, path = hosts["server"], tmp_path_factory.mktemp("bundle") / "images.tar"
    before = stored(server)
    checked = export(play, path, "--check"), path.exists()
    result = export(play, path)
    images = {image: digest_in(server, image) for image in tags(server)}
    return Bundle(path, checked, result, (before, stored(server)), images, blobs_of(server), leftovers(server))


def test_bundle_holds_each_blob_once(bundle, sources):
    checked, there = bundle.checked
    assert checked.returncode == 0, checked.output
    assert "would be written" in checked.stdout
    assert not there
    assert bundle.result.returncode == 0, bundle.result.output
    assert bundle.stored[0] == bundle.stored[1]
    assert bundle.leftovers == ""
    with tarfile.open(bundle.path) as tar:
        names = tar.getnames()
        index = json.load(tar.extractfile("index.json"))
        sums = tar.extractfile("SHA256SUMS").read().decode()
    assert len(names) == len(set(names))
    images = {item["annotations"]["org.opencontainers.image.ref.name"]: item["digest"] for item in index["manifests"]}
    assert images == bundle.images
    assert images["team/multi:1"] == sources["team/multi:1"]
    # Exactly what the registry holds, and the layer that team/multi and other/app share only once.
    assert set(names) == {*bundle.blobs, "oci-layout", "index.json", "SHA256SUMS", "registry-images.tar"}
    fingerprint = re.search(r"fingerprint: (\w{64})", bundle.result.stdout)[1]
    assert f"{fingerprint}  index.json" in sums


def test_bundle_that_is_there_is_not_written_again_nor_overwritten(play, bundle):
    before = bundle.path.stat()
    again = export(play, bundle.path)
    assert again.changes == 0, again.output
    assert "Fetch the bundle" not in again.stdout
    other = export(play, bundle.path, images="team/*")
    assert other.returncode == 2
    assert "it is another bundle, or was altered: give another name, or remove it" in other.stdout
    assert bundle.path.stat() == before


def test_export_says_what_is_in_its_way(hosts, play, tmp_path):
    result = export(play, tmp_path / "no.tar", images="team/nobody")
    assert result.returncode == 2
    assert "the registry has no image team/nobody" in result.stdout
    (tmp_path / "junk.tar").write_text("something that somebody needs")
    result = export(play, tmp_path / "junk.tar")
    assert result.returncode == 2
    assert re.search("is cut short, or no bundle: .*: give another name, or remove it", result.stdout), result.output
    (tmp_path / "junk.tar").unlink()
    with lock_held(hosts["server"]):
        result = export(play, tmp_path / "no.tar")
    assert result.returncode == 2
    assert "collect-garbage is at work on server since" in result.stdout
    assert list(tmp_path.glob("*.tar*")) == []


def altered(bundle: Path, target: Path, how: str) -> None:
    """Write a bundle with something wrong in it, which is still a tar archive where that can be."""
    if how == "cut short":
        target.write_bytes(bundle.read_bytes()[: bundle.stat().st_size // 2 // 10240 * 10240])
        return
    with tarfile.open(bundle) as old, tarfile.open(target, "w") as new:
        members = old.getmembers()
        largest = max((m for m in members if m.name.startswith("blobs/")), key=lambda m: m.size)
        for member in members:
            content = old.extractfile(member).read()
            if how == "flipped byte" and member is largest:
                content = content[:1000] + bytes([content[1000] ^ 1]) + content[1001:]
            if how == "missing blob" and member is largest:
                continue
            if how == "tags exchanged" and member.name == "index.json":
                index = json.loads(content)
                first, last = index["manifests"][0], index["manifests"][-1]
                first["annotations"], last["annotations"] = last["annotations"], first["annotations"]
                content = json.dumps(index, indent=1).encode()
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
        if how == "path outside":
            new.addfile(tarfile.TarInfo("../../etc/cron.d/evil"))


def import_(play: Deployments, bundle: Path, **also: str) -> Run:
    """Import a bundle into the second registry."""
    return play.second("playbooks/import-images.yml", wharf_bundle=str(bundle), **also)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut short", "cut short"),
        ("flipped byte", "is damaged: the content of blobs/sha256/"),
        ("missing blob", "which is missing"),
        ("tags exchanged", "was altered: index.json"),
        ("path outside", "was altered: it holds '../../etc/cron.d/evil'"),
    ],
)
@pytest.mark.thorough("cut short-cut short", "missing blob-which is missing", "tags exchanged-was altered: index.json")
def test_bundle_that_is_not_as_it_was_is_refused_before_anything_is_pushed(second, play, bundle, tmp_path, how, words):
    before = stored(second)
    altered(bundle.path, tmp_path / "altered.tar", how)
    result = import_(play, tmp_path / "altered.tar")
    assert result.returncode == 2, result.output
    assert words in result.stdout
    assert stored(second) == before


def test_bundle_with_another_fingerprint_than_expected_is_refused(second, play, bundle):
    before = stored(second)
    result = import_(play, bundle.path, wharf_bundle_fingerprint="0" * 64)
    assert result.returncode == 2
    assert "it is another bundle, or was altered" in result.stdout
    assert stored(second) == before


def test_bundle_fills_a_fresh_registry(hosts, second, play, bundle):
    with put_back(second, STORAGE, then="docker restart registry"):
        second.check_output(f"docker stop registry && rm -rf {STORAGE} && docker start registry")
        result = import_(play, bundle.path)
        assert result.returncode == 0, result.output
        assert {image: digest_in(second, image) for image in tags(second)} == bundle.images
        assert blobs_of(second) == bundle.blobs
        for repository, digest in sorted(images_of(bundle)):
            pull(hosts["client1"], f"{SECOND}/{repository}:any", digest)
        assert second.run("command -v skopeo").rc != 0  # nothing but the bundle is needed there
        assert leftovers(second) == ""

        before = stored(second)
        again = import_(play, bundle.path)
        assert again.changes == 0, again.output
        assert "transferring" not in again.stdout
        assert stored(second) == before


def images_of(bundle: Bundle) -> set[tuple[str, str]]:
    """Return the images of a bundle that an engine can pull, each part of an index by itself: repository and digest."""
    found, pending = set(), {(image.rpartition(":")[0], digest) for image, digest in bundle.images.items()}
    with tarfile.open(bundle.path) as tar:
        while pending:
            repository, digest = pending.pop()
            manifest = json.load(tar.extractfile("blobs/" + digest.replace(":", "/")))
            pending |= {(repository, child["digest"]) for child in manifest.get("manifests", [])}
            if any("image.layer.v1.tar+gzip" in kind or "rootfs" in kind for kind in layer_kinds(manifest)):
                found.add((repository, digest))
    return found


def layer_kinds(manifest: dict[str, Any]) -> list[str]:
    """Return the media types of a manifest's layers."""
    return [layer["mediaType"] for layer in manifest.get("layers", [])]


def test_the_registrys_own_images_come_out_of_the_bundle(hosts, bundle):
    with tarfile.open(bundle.path) as tar:
        images = tar.extractfile("registry-images.tar").read()
    load = ["docker", "exec", "-i", container("client1"), "docker", "load"]
    loaded = subprocess.run(load, input=images, capture_output=True, check=True)
    for name in ("wharf-registry:distro", "wharf-gateway:distro"):
        assert name.encode() in loaded.stdout
        assert hosts["client1"].check_output(f"docker image rm {name}")

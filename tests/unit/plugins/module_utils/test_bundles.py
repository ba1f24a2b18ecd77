"""A bundle: what is written is read again, and nothing else is."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import bundles
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.storage import SharedStorage, Storage
from tests.unit.stored_registry import StoredRegistry

DIGEST = "sha256:" + "a" * 64
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


def put(root: Path, content: bytes) -> str:
    """Store a blob; return its digest."""
    number = hashlib.sha256(content).hexdigest()
    path = root / f"docker/registry/v2/blobs/sha256/{number[:2]}/{number}/data"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return f"sha256:{number}"


def tag(root: Path, name: str, manifest: dict[str, Any]) -> str:
    """Store a manifest and its tag; return its digest."""
    digest = put(root, json.dumps(manifest).encode())
    repository, _, word = name.partition(":")
    link = root / f"docker/registry/v2/repositories/{repository}/_manifests/tags/{word}/current/link"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.write_text(digest)
    return digest


def blob(root: Path, content: bytes) -> dict[str, Any]:
    """Store a blob; return its descriptor."""
    return {"digest": put(root, content), "size": len(content)}


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Return the storage of a registry with two images that share a layer, and an index of both."""
    root = tmp_path / "registry"
    shared = blob(root, b"shared" * 1000)
    images = []
    for n in (1, 2):
        config = blob(root, f"config {n}".encode())
        manifest = {"schemaVersion": 2, "mediaType": DOCKER, "config": config, "layers": [shared]}
        images.append({"digest": tag(root, f"team/app:{n}", manifest), "size": len(json.dumps(manifest))})
    tag(root, "multi:1", {"schemaVersion": 2, "manifests": images})
    return root


def write(path: Path, *images: str) -> dict[str, Any]:
    """Write a bundle of these images."""
    storage = Storage(path.parent / "registry")
    planned = bundles.plan(storage, list(images))
    bundles.write(planned, str(path))
    return planned.summary()


def check(path: Path) -> dict[str, Any]:
    """Read a whole bundle."""
    found = bundles.Bundle(str(path))
    found.check()
    return found.contents.summary()


def contents(path: Path) -> dict[str, bytes]:
    """Return the files of an archive."""
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def rewrite(path: Path, files: dict[str, bytes]) -> None:
    """Write an archive anew."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_each_blob_once_and_always_the_same_bytes(registry, tmp_path):
    written = write(tmp_path / "a.tar", "*")
    assert [image["image"] for image in written["images"]] == ["multi:1", "team/app:1", "team/app:2"]
    # Two configurations, one layer, two manifests, one index.
    assert len([name for name in contents(tmp_path / "a.tar") if name.startswith("blobs/")]) == 6
    write(tmp_path / "b.tar", "multi", "team/app:?")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    read = check(tmp_path / "a.tar")
    assert {key: read[key] for key in ("images", "size", "fingerprint")} == {
        key: written[key] for key in ("images", "size", "fingerprint")
    }


def test_media_types_are_those_of_the_manifests(registry, tmp_path):
    write(tmp_path / "a.tar", "*")
    kinds = [item["mediaType"] for item in json.loads(contents(tmp_path / "a.tar")["index.json"])["manifests"]]
    assert kinds == ["application/vnd.oci.image.index.v1+json", DOCKER, DOCKER]


def test_index_inside_an_index_and_what_belongs_to_an_image_come_along(registry, tmp_path):
    (inner,) = (digest for name, digest in Storage(registry).tags("multi").items() if name == "1")
    outer = tag(registry, "multi:2", {"schemaVersion": 2, "manifests": [{"digest": inner}]})
    part = Storage(registry).manifest(inner)["manifests"][0]["digest"]
    names = ["multi:2"]
    for digest in (outer, part, "sha256:" + "0" * 64):
        name = f"multi:{digest.replace(':', '-')}.sig"
        signature = tag(registry, name, {"layers": [blob(registry, digest.encode())], "schemaVersion": 2})
        names.append(name)
    del names[-1]  # of another image
    of_a_signature = f"multi:{Storage(registry).tags('multi')[names[1][6:]].replace(':', '-')}.att"
    tag(registry, of_a_signature, {"schemaVersion": 2, "config": blob(registry, signature.encode())})
    written = write(tmp_path / "a.tar", "multi:2")
    assert [image["image"] for image in written["images"]] == sorted([*names, of_a_signature])
    found = bundles.Bundle(str(tmp_path / "a.tar"))
    assert {digest for digest, is_manifest in found.needs["multi:2"].items() if is_manifest} > {inner, outer, part}
    assert hashlib.sha256(found.manifest(outer)).hexdigest() == outer.partition(":")[2]


def test_old_format_is_not_exported(registry, tmp_path):
    tag(registry, "old:1", {"schemaVersion": 1, "fsLayers": []})
    with pytest.raises(WharfError, match="old:1 has the old format of manifests, schema 1"):
        write(tmp_path / "a.tar", "*")


def test_damage_in_the_registry_is_not_exported(registry, tmp_path):
    layer = hashlib.sha256(b"shared" * 1000).hexdigest()
    data = registry / f"docker/registry/v2/blobs/sha256/{layer[:2]}/{layer}/data"
    data.write_bytes(b"Shared" + data.read_bytes()[6:])
    with pytest.raises(WharfError, match=f"{layer}/data, a blob of team/app:2, is damaged"):
        write(tmp_path / "a.tar", "*")
    data.unlink()
    with pytest.raises(WharfError, match="multi:1 is damaged"):
        write(tmp_path / "a.tar", "*")
    assert not (tmp_path / "a.tar").exists()


def test_pattern_that_names_nothing_is_an_error(registry, tmp_path):
    with pytest.raises(WharfError, match="there is no image to export"):
        write(tmp_path / "a.tar")
    with pytest.raises(WharfError, match="no image team/other"):
        write(tmp_path / "a.tar", "multi:1", "team/other")


def test_room_is_counted_for_each_file_system():
    here = {"path": "/var/tmp", "host": "server", "device": 1, "free": 1000}
    data = {**here, "path": "/srv", "free": 1000}
    bundles.check_room((here, 500), (data, 500))
    bundles.check_room((here, 1000), ({**data, "device": 2}, 1000))
    with pytest.raises(WharfError, match="/var/tmp on server has 1000 bytes free, and 1.0 KiB are needed: make room"):
        bundles.check_room((here, 500), (data, 524))
    with pytest.raises(WharfError, match="/srv on server"):
        bundles.check_room((here, 1000), ({**data, "device": 2}, 1001))


def test_file_needs_no_more_than_was_planned(registry, tmp_path):
    planned = bundles.plan(Storage(registry), ["*"])
    write(tmp_path / "a.tar", "*")
    assert planned.room() >= (tmp_path / "a.tar").stat().st_size


def test_cut_anywhere_it_is_refused(registry, tmp_path):
    write(tmp_path / "a.tar", "*")
    whole = (tmp_path / "a.tar").read_bytes()
    for length in [*range(0, len(whole), 512), *range(100, len(whole), 5000)]:
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        with pytest.raises(WharfError):
            check(tmp_path / "cut.tar")


def test_flipped_anywhere_it_is_refused_or_the_same(registry, tmp_path):
    """A bit may flip where nothing is read, in the padding or in a time: then what is read is still the same."""
    good = write(tmp_path / "a.tar", "*")
    whole = (tmp_path / "a.tar").read_bytes()
    refused = 0
    for position in range(0, len(whole), 61):
        changed = bytearray(whole)
        changed[position] ^= 4
        (tmp_path / "bad.tar").write_bytes(changed)
        try:
            assert check(tmp_path / "bad.tar")["images"] == good["images"]
        except WharfError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("name", "words"),
    [("../../etc/passwd", "none of its images needs"), ("/etc/passwd", "none of its images needs")],
)
def test_what_does_not_belong_is_refused(registry, tmp_path, name, words):
    write(tmp_path / "a.tar", "*")
    rewrite(tmp_path / "bad.tar", contents(tmp_path / "a.tar") | {name: b"evil"})
    with pytest.raises(WharfError, match=words):
        check(tmp_path / "bad.tar")


def test_links_and_what_stands_twice_are_refused(registry, tmp_path):
    write(tmp_path / "a.tar", "*")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.REGTYPE):
        rewrite(tmp_path / "bad.tar", contents(tmp_path / "a.tar"))
        with tarfile.open(tmp_path / "bad.tar", "a") as tar:
            info = tarfile.TarInfo("index.json")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        with pytest.raises(WharfError, match="does not belong"):
            check(tmp_path / "bad.tar")


@pytest.mark.parametrize("name", ["../evil:1", "Team/app:1", "app", "/app:1", "a//b:1", "app:1 --flag"])
def test_names_that_no_image_has_are_refused_even_with_the_right_sums(registry, tmp_path, name):
    write(tmp_path / "a.tar", "*")
    files = contents(tmp_path / "a.tar")
    index = json.loads(files["index.json"])
    index["manifests"][0]["annotations"][bundles.NAME] = name
    files["index.json"] = json.dumps(index).encode()
    sums = {file: hashlib.sha256(files[file]).hexdigest() for file in ("oci-layout", "index.json")}
    files["SHA256SUMS"] = "".join(f"{value}  {file}\n" for file, value in sums.items()).encode()
    rewrite(tmp_path / "bad.tar", files)
    with pytest.raises(WharfError, match="is not an image's name"):
        check(tmp_path / "bad.tar")


@pytest.mark.parametrize("name", ["SHA256SUMS", "index.json", "oci-layout"])
def test_missing_parts_are_named(registry, tmp_path, name):
    write(tmp_path / "a.tar", "*")
    files = contents(tmp_path / "a.tar")
    del files[name]
    rewrite(tmp_path / "bad.tar", files)
    with pytest.raises(WharfError, match=name):
        check(tmp_path / "bad.tar")


@pytest.mark.parametrize("sums", ["", "no sums at all", "0  index.json\n0  oci-layout\n"])
def test_sums_that_are_none_are_refused(registry, tmp_path, sums):
    write(tmp_path / "a.tar", "*")
    rewrite(tmp_path / "bad.tar", contents(tmp_path / "a.tar") | {"SHA256SUMS": sums.encode()})
    with pytest.raises(WharfError, match="was altered: oci-layout"):
        check(tmp_path / "bad.tar")


@pytest.mark.parametrize(
    ("own", "more"),
    [
        ([], []),
        (
            [DIGEST, "sha256:" + "c" * 64],
            ["the registry's own image sha256:aaaaaaaaaaaa", "the gateway's image sha256:cccccccccccc"],
        ),
    ],
)
def test_table_of_a_bundle(own, more):
    planned = bundles.Contents(b"{}", own)
    planned.add("app:1", DIGEST, {DIGEST: 2_000_000, "sha256:b": 500_000})
    planned.add("app:2", DIGEST, {DIGEST: 2_000_000})
    assert [" ".join(line.split()) for line in planned.summary()["table"].splitlines()] == [
        "image digest size",
        "app:1 sha256:aaaaaaaaaaaa 2.4 MiB",
        "app:2 sha256:aaaaaaaaaaaa 1.9 MiB",
        *more,
        "all, each blob once 2.4 MiB",
        f"fingerprint: {hashlib.sha256(b'{}').hexdigest()}",
    ]


# Of caches ----------------------------------------------------------------------------------------


@pytest.fixture
def caches(tmp_path: Path) -> StoredRegistry:
    """Return the storage of caches that has one image whole, and one of an index of three."""
    stored = StoredRegistry(tmp_path / "caches")
    here = stored.image("docker.io/library/debian", "12")
    broken = stored.manifest("docker.io/library/debian", "broken", {"layers": [{"digest": DIGEST, "size": 1}]})
    parts = [
        {"digest": here, "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": broken, "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        {
            "digest": "sha256:" + "b" * 64,
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        },
        {"digest": "sha256:" + "c" * 64},
    ]
    stored.manifest("docker.io/library/debian", "13", {"schemaVersion": 2, "manifests": parts})
    stored.manifest("docker.io/library/debian", "no", {"schemaVersion": 2, "manifests": parts[1:]})
    return stored


def of_caches(registry: Path, caches: StoredRegistry, *patterns: str) -> bundles.Contents:
    """Return what a bundle holds of caches and of the registry."""
    cached = [one for one in patterns if one.startswith("docker.io/")]
    return bundles.plan(Storage(registry), [*patterns], None, SharedStorage(caches.root), cached)


def test_of_an_index_in_a_cache_the_bundle_holds_what_is_whole_and_says_so(registry, caches, tmp_path):
    planned = of_caches(registry, caches, "docker.io/**", "multi")
    lines = [" ".join(line.split()) for line in planned.summary()["table"].splitlines()]
    assert [line.split(maxsplit=2)[0] for line in lines[1:6]] == [
        *(f"docker.io/library/debian:{tag}" for tag in ("12", "13", "broken", "no")),
        "multi:1",
    ]
    assert lines[2].endswith("bytes, without linux/arm64/v8, attestations, sha256:cccccccccccc")
    assert lines[3] == "docker.io/library/debian:broken left out: the cache has only parts of it"
    bundles.write(planned, str(tmp_path / "a.tar"))
    read = check(tmp_path / "a.tar")
    assert read["images"] == planned.images
    assert [len(image["missing"]) for image in read["images"]] == [0, 3, 0]
    found = bundles.Bundle(str(tmp_path / "a.tar"))
    assert len(found.needs["docker.io/library/debian:13"]) == 4


def test_what_lacks_parts_without_saying_so_is_refused(registry, caches, tmp_path):
    planned = of_caches(registry, caches, "docker.io/library/debian:13")
    index = json.loads(planned.index)
    notes, digest = index["manifests"][0]["annotations"], index["manifests"][0]["digest"]
    parts = " ".join(part["digest"] for part in Storage(caches.root).manifest(digest)["manifests"])
    for missing, words in (
        ("", "which is missing"),
        (digest, "and does not hold it"),
        (f"{notes[bundles.MISSING]} ../../etc", "what docker.io/library/debian:13 lacks is not named by digests"),
        (parts, f"of docker.io/library/debian:13 it holds the index {digest}, and no part of that"),
    ):
        notes[bundles.MISSING] = missing
        planned.index = json.dumps(index).encode()
        bundles.write(planned, str(tmp_path / "bad.tar"))
        with pytest.raises(WharfError, match=words):
            check(tmp_path / "bad.tar")
        (tmp_path / "bad.tar").unlink()


def test_patterns_of_the_registry_take_nothing_from_caches_and_the_other_way_round(registry, caches):
    assert [image["image"] for image in of_caches(registry, caches, "*").images] == [
        "multi:1",
        "team/app:1",
        "team/app:2",
    ]
    for pattern, words in (
        ("docker.io/team/*", "the caches have no image docker.io/team"),
        ("docker.io/library/debian:no", "the caches have only parts of docker.io/library/debian:no: let a client"),
    ):
        with pytest.raises(WharfError, match=words):
            of_caches(registry, caches, "docker.io/library/debian:12", pattern)


def test_one_odd_or_damaged_image_in_a_cache_stops_no_other(registry, caches):
    caches.manifest("docker.io/old", "1", {"schemaVersion": 1, "fsLayers": []})
    config = {"digest": f"sha512:{'a' * 128}", "size": 1}
    caches.write(caches.top / f"blobs/sha512/aa/{'a' * 128}/data", b"a")
    caches.manifest("docker.io/long", "1", {"config": config, "layers": []})
    digest = caches.manifest("docker.io/damaged", "1", {"schemaVersion": 2})
    Storage(caches.root).blob_path(digest).write_text("{")
    planned = of_caches(registry, caches, "docker.io/**")
    assert [image["image"] for image in planned.images] == [f"docker.io/library/debian:{tag}" for tag in ("12", "13")]
    for name, words in (
        ("old", "it has the old format of manifests"),
        ("long", f"it needs {config['digest']}: only sha256"),
        ("damaged", f"it is damaged: the manifest {digest} cannot be read"),
    ):
        assert planned.notes[f"docker.io/{name}:1"].startswith(f"left out: {words}")
        with pytest.raises(WharfError, match=f"nothing to export of docker.io/{name}: docker.io/{name}:1 left out: it"):
            of_caches(registry, caches, f"docker.io/{name}")


def test_a_blob_of_a_cache_that_is_damaged_is_named_with_its_image(registry, caches, tmp_path):
    layer = Storage(caches.root).blob_path(caches.blob(b"layer"))
    layer.write_bytes(b"Layer")
    with pytest.raises(WharfError, match=f"{layer}, a blob of docker.io/library/debian:13, is damaged: its content"):
        bundles.write(of_caches(registry, caches, "docker.io/**", "multi"), str(tmp_path / "a.tar"))

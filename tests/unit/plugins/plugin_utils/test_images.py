"""Images as the controller sees them: one row for each bad reference or file, with the line that it gets."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import images, paths


class Tagged(str):
    """Text as Ansible hands it to a filter: a subclass of str."""


def only_line(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    assert "\n" not in problems[0]
    return problems[0]


CONFIGURATION = (
    b'{"config":{"Entrypoint":["/usr/bin/docker-registry"],"Labels":{"org.opencontainers.image.version":"2.8.3"}},'
    b'"rootfs":{"type":"layers","diff_ids":["sha256:aa","sha256:bb"]}}'
)
HEX = hashlib.sha256(CONFIGURATION).hexdigest()
GATEWAY = b'{"config":{"Env":["NGINX_VERSION=1.30.5"]}}'
NGINX = {"Config": "nginx.json", "RepoTags": ["nginx:1.30.5"]}
LEGACY = {"Config": f"{HEX}.json", "RepoTags": ["registry:2.8.3", "registry:2"], "Layers": []}
OCI = {"Config": f"blobs/sha256/{HEX}", "RepoTags": None, "Layers": []}


def saved(path: Path, *files: tuple[str, bytes], packed: bool = False) -> str:
    """Write a tar archive of these files, as docker save does, and return its path."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    path.write_bytes(gzip.compress(buffer.getvalue()) if packed else buffer.getvalue())
    return str(path)


def both(path: Path, image: dict, *files: tuple[str, bytes], packed: bool = False) -> str:
    """Write an archive of this image, the registry's, and of the gateway's."""
    return saved(path, *files, manifest(image, NGINX), (NGINX["Config"], GATEWAY), packed=packed)


def manifest(*images: object) -> tuple[str, bytes]:
    return ("manifest.json", json.dumps(list(images)).encode())


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("image", "tags"), [(LEGACY, ["registry:2.8.3", "registry:2"]), (OCI, [])], ids=["legacy layout", "OCI layout"]
)
def test_saved_images_pass_and_tell_their_ids(tmp_path: Path, image: dict, tags: list[str], packed: bool) -> None:
    path = both(tmp_path / "a.tar", image, ("l.tar", b"\0" * 9000), (image["Config"], CONFIGURATION), packed=packed)
    assert images.archive_problems(path, "wharf_registry_image_archive") == []
    layers = ["sha256:aa", "sha256:bb"]
    assert images.archive_images(path) == {
        "registry": {"id": f"sha256:{HEX}", "digest": "", "tags": tags, "layers": layers, "version": "2.8.3"},
        "gateway": {
            "id": f"sha256:{hashlib.sha256(GATEWAY).hexdigest()}",
            "digest": "",
            "tags": ["nginx:1.30.5"],
            "layers": [],
            "version": "1.30.5",
        },
    }


def test_an_archive_whose_configuration_names_no_layers_passes(tmp_path: Path) -> None:
    """Then only the id can tell whether an engine has the image."""
    path = both(tmp_path / "a.tar", LEGACY, (LEGACY["Config"], b"{}"))
    assert images.archive_images(path)["registry"]["layers"] == []


@pytest.mark.parametrize("nested", [False, True], ids=["manifest", "index"])
def test_the_digest_of_the_manifest_or_index_is_told(tmp_path: Path, nested: bool) -> None:
    def blob(content: object) -> tuple[str, bytes]:
        text = json.dumps(content).encode()
        return f"blobs/sha256/{hashlib.sha256(text).hexdigest()}", text

    def entry(file: tuple[str, bytes]) -> dict[str, str]:
        return {"digest": file[0].removeprefix("blobs/").replace("/", ":")}

    image = blob({"config": {"digest": f"sha256:{HEX}"}})
    other = blob({"config": {"digest": "sha256:" + "0" * 64}})
    # The other platforms of an index need not be there.
    index = blob({"manifests": [{"digest": "sha256:" + "1" * 64}, entry(image)]})
    chosen = index if nested else image
    top = ("index.json", json.dumps({"manifests": [entry(other), entry(chosen)]}).encode())
    path = both(tmp_path / "a.tar", OCI, (OCI["Config"], CONFIGURATION), image, other, index, top)
    assert images.archive_images(path)["registry"]["digest"] == entry(chosen)["digest"]


def packed_images(tmp_path: Path, found: list[tuple[dict, list[str]]]) -> str:
    """Write an archive of images with these configurations and names."""
    entries = [{"Config": f"{number}.json", "RepoTags": tags} for number, (_, tags) in enumerate(found)]
    files = [(f"{number}.json", json.dumps({"config": config}).encode()) for number, (config, _) in enumerate(found)]
    return saved(tmp_path / "a.tar", manifest(*entries), *files)


# As the official images and others that are in use start.
REGISTRY_2 = {"Entrypoint": ["/entrypoint.sh"], "Cmd": ["/etc/docker/registry/config.yml"]}
REGISTRY_3 = {"Entrypoint": ["/entrypoint.sh"], "Cmd": ["/etc/distribution/config.yml"]}
HUB_NGINX = {"Entrypoint": ["/docker-entrypoint.sh"], "Cmd": ["nginx", "-g", "daemon off;"], "Env": ["A=b"]}
SHELL = {"Entrypoint": ["/bin/sh", "-c", "exec something"]}
SHELL_2 = {"Entrypoint": ["/bin/sh", "-c", "exec another"]}
APP = {"Entrypoint": ["/app"]}


@pytest.mark.parametrize(
    ("registry", "gateway"),
    [
        ((REGISTRY_2, ["mirror.test:5000/library/a:2"]), (HUB_NGINX, ["b:1"])),
        ((REGISTRY_3, []), ({"Entrypoint": ["/usr/sbin/nginx", "-e", "stderr"]}, [])),
        (
            ({"Entrypoint": ["/registry"]}, ["nginx:1"]),
            ({"Cmd": ["/run"], "Env": ["NGINX_VERSION=1"]}, ["registry:1"]),
        ),
        ((SHELL, ["own/registry:1"]), (HUB_NGINX, ["registry-gateway:1"])),
        ((REGISTRY_3, ["a:1"]), (SHELL, ["own.test:5000/web/nginx-fips@sha256:" + "0" * 64])),
        ((SHELL, ["distribution:3"]), (SHELL_2, ["registry/nginx:1"])),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_which_image_is_which_is_told_by_program_and_name(tmp_path, registry, gateway, turned) -> None:
    """Whatever else is in the file."""
    found = [registry, gateway, (APP, ["app:1"])]
    told = images.archive_images(packed_images(tmp_path, found[::-1] if turned else found))
    assert (told["registry"]["tags"], told["gateway"]["tags"]) == (registry[1], gateway[1])


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            [(REGISTRY_3, ["mirror/registry:3.0.0"]), (SHELL, ["app:1"])],
            "holds no image of the gateway, nginx, only mirror/registry:3.0.0, app:1: make it with docker save"
            " mirror/registry:3.0.0 nginx:1.30.5 -o FILE",
        ),
        (
            [(HUB_NGINX, ["nginx:1.28.0"]), (SHELL, ["app:1"])],
            "holds no image of the registry, only nginx:1.28.0, app:1: make it with docker save registry:3.1.1"
            " nginx:1.28.0 -o FILE; one of your own is known by its name, such as own/registry:1",
        ),
        (
            [(SHELL, ["app:1"])],
            "holds no image of the registry, only app:1: make it with docker save registry:3.1.1 nginx:1.30.5 -o FILE;"
            " one of your own is known by its name, such as own/registry:1",
        ),
        (
            [(REGISTRY_3, ["registry:3"]), (REGISTRY_2, ["registry:2"]), (HUB_NGINX, ["nginx:1"])],
            "holds several images of the registry (registry:3, registry:2): make it with docker save registry:3.1.1"
            " nginx:1.30.5 -o FILE, with one of each",
        ),
        (
            [(REGISTRY_3, ["registry:3"]), (SHELL, ["nginx:1"]), (SHELL_2, ["gateway:2"])],
            "holds several images of the gateway, nginx (nginx:1, gateway:2): make it with docker save registry:3.1.1"
            " nginx:1.30.5 -o FILE, with one of each",
        ),
    ],
)
def test_a_file_that_lacks_one_or_has_several_gets_one_clear_line(tmp_path: Path, found: list, line: str) -> None:
    path = packed_images(tmp_path, found)
    assert images.archive_problems(path, "x") == [f"x: '{path}' {line}"]


def test_an_image_under_two_entries_is_one(tmp_path: Path) -> None:
    """As the containerd image store writes one with several names."""
    path = packed_images(tmp_path, [(REGISTRY_3, ["a:1"]), (HUB_NGINX, ["nginx:1"]), (REGISTRY_3, ["b:1"])])
    assert images.archive_images(path)["registry"]["tags"] == ["a:1", "b:1"]


def test_an_archive_that_was_packed_again_passes(tmp_path: Path) -> None:
    name, content = manifest(LEGACY, NGINX)
    files = [(f"./{LEGACY['Config']}", CONFIGURATION), (f"./{NGINX['Config']}", GATEWAY)]
    path = saved(tmp_path / "a.tar", (f"./{name}", content), *files)
    assert images.archive_images(path)["registry"]["id"] == f"sha256:{HEX}"


def test_the_home_directory_may_be_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both(tmp_path / "a.tar", LEGACY, (LEGACY["Config"], CONFIGURATION))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert images.archive_images("~/a.tar")["registry"]["id"] == f"sha256:{HEX}"


MAKE = "make it with docker save registry:3.1.1 nginx:1.30.5 -o FILE"
USE_ARCHIVE = 'use the absolute path of what docker save wrote, such as "{{ inventory_dir }}/files/images.tar"'


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (None, f"is missing: {USE_ARCHIVE}"),
        ("", f"is missing: {USE_ARCHIVE}"),
        (5, f"5 is not the absolute path of a file: {USE_ARCHIVE}"),
        (True, f"true is not the absolute path of a file: {USE_ARCHIVE}"),
        (["/a.tar"], f"a list is not the absolute path of a file: {USE_ARCHIVE}"),
        ("registry.tar", f"'registry.tar' is not the absolute path of a file: {USE_ARCHIVE}"),
        ("/a\0b", f"'/a\\x00b' is not the absolute path of a file: {USE_ARCHIVE}"),
    ],
)
def test_what_is_no_path_of_an_archive_gets_one_clear_line(path: object, line: str) -> None:
    assert images.archive_problems(path, "x_archive") == [f"x_archive: {line}"]


def test_a_file_that_cannot_be_had_gets_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use = "use the path of a file on the controller that can be read there"
    missing = str(tmp_path / "a.tar")
    assert images.archive_problems(missing, "x") == [f"x: '{missing}' does not exist: {use}"]
    assert images.archive_problems(str(tmp_path), "x") == [f"x: '{tmp_path}' is not a file: {use}"]

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path / "a.tar", manifest(LEGACY))
    monkeypatch.setattr(paths, "open", refuse, raising=False)
    assert images.archive_problems(path, "x") == [f"x: '{path}' cannot be read (Permission denied): {use}"]


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ([], "holds no image, it has no manifest.json"),
        ([("etc/passwd", b"root")], "holds no image, it has no manifest.json"),
        ([("index.json", b"{}"), ("oci-layout", b"{}")], "holds no image, it has no manifest.json"),
        ([manifest()], "holds no image, its manifest.json names none"),
        ([("manifest.json", b"{")], "holds no image, its manifest.json names none"),
        ([("manifest.json", b"{}")], "holds no image, its manifest.json names none"),
        ([("manifest.json", b"\xff\xfe")], "holds no image, its manifest.json names none"),
        ([manifest({"RepoTags": ["a:1"]})], "holds no image, its manifest.json names none"),
        ([manifest({"Config": None})], "holds no image, its manifest.json names none"),
        ([manifest("text")], "holds no image, its manifest.json names none"),
        ([manifest(LEGACY)], "holds no image, the configuration that its manifest.json names is missing"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_an_archive_without_an_image_gets_one_clear_line(tmp_path: Path, files: list, line: str, packed: bool) -> None:
    path = saved(tmp_path / "a.tar", *files, packed=packed)
    expected = f"x: '{path}' {line}: {MAKE}"
    assert images.archive_problems(path, "x") == [expected]
    with pytest.raises(ValueError, match="holds no image"):
        images.archive_images(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello\n" * 200, b"PK\x03\x04" + b"\0" * 600, gzip.compress(b"hello"), b"\x1f\x8bxx"]
)
def test_what_is_no_tar_archive_gets_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    assert images.archive_problems(str(path), "x") == [
        f"x: '{path}' is not a tar archive, plain or packed with gzip: {MAKE}"
    ]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_an_archive_that_is_cut_short_gets_one_clear_line(tmp_path: Path, packed: bool) -> None:
    noise = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(2000))
    path = Path(saved(tmp_path / "a.tar", ("layer.tar", noise), manifest(LEGACY), packed=packed))
    path.write_bytes(path.read_bytes()[:30000])
    assert images.archive_problems(str(path), "x") == [f"x: '{path}' is damaged or cut short: {MAKE}"]


# References


DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    "image",
    [
        None,
        "registry:2.8.3",
        "library/registry:2",
        f"registry@{DIGEST}",
        f"registry:latest@{DIGEST}",
        "mirror.example:5000/library/registry:3.0.0",
        "Mirror.example/a__b/c-d.e:v1_0",
        Tagged("registry:2.8.3"),
    ],
)
def test_pinned_images_pass(image: object) -> None:
    assert images.image_problems(image, "wharf_registry_image") == []


PIN = "use one such as registry:3.1.1 or registry@sha256:..."


@pytest.mark.parametrize(
    ("image", "line"),
    [
        ("registry", f"'registry' is not pinned, it has neither tag nor digest: {PIN}"),
        (
            "mirror.example:5000/registry",
            f"'mirror.example:5000/registry' is not pinned, it has neither tag nor digest: {PIN}",
        ),
        ("registry:latest", f"'registry:latest' is not pinned, latest is another image tomorrow: {PIN}"),
        ("", f"'' is not an image reference: {PIN}"),
        ("registry:", f"'registry:' is not an image reference: {PIN}"),
        ("registry:2.8.3 ", f"'registry:2.8.3 ' is not an image reference: {PIN}"),
        ("Registry:2", f"'Registry:2' is not an image reference: {PIN}"),
        ("https://mirror.example/registry:2", f"'https://mirror.example/registry:2' is not an image reference: {PIN}"),
        ("registry@sha256:abc", f"'registry@sha256:abc' is not an image reference: {PIN}"),
        ("registry:" + "a" * 129, "is not an image reference"),
        (2, f"2 is not an image reference: {PIN}"),
        (["registry:2"], f"a list is not an image reference: {PIN}"),
    ],
)
def test_a_bad_image_gets_one_clear_line(image: object, line: str) -> None:
    problem = only_line(images.image_problems(image, "wharf_registry_image"))
    assert problem.startswith("wharf_registry_image: ")
    assert line in problem

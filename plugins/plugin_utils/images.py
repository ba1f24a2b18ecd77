"""Images as the controller sees them: their references, and the archives that hold them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
import re
import tarfile
import zlib
from collections.abc import Callable
from typing import Any

from ansible_collections.wharf.registry.plugins.module_utils.manifests import blobs, children
from ansible_collections.wharf.registry.plugins.module_utils.references import REFERENCE
from ansible_collections.wharf.registry.plugins.plugin_utils.paths import is_absolute_path, read_file
from ansible_collections.wharf.registry.plugins.plugin_utils.values import absent, shown

_LARGEST_JSON = 16 * 1024 * 1024
EXAMPLES = {"registry": "registry:3.1.1", "gateway": "nginx:1.30.5"}
_REMEDY = f"make it with docker save {' '.join(EXAMPLES.values())} -o FILE"
# By the last part of its name an image is known whose first program tells nothing, such as a shell.
_NAMES = {"registry": re.compile("registry|distribution"), "gateway": re.compile("nginx|gateway")}


def image_problems(value: object, variable: str, example: str = EXAMPLES["registry"]) -> list[str]:
    """Judge the reference of an image: pinned by a tag or a digest, and not ``latest``. Null means the default."""
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if value is None or match and match["digest"]:
        return []
    if not match:
        wrong = "is not an image reference"
    elif match["tag"] is None:
        wrong = "is not pinned, it has neither tag nor digest"
    elif match["tag"] == "latest":
        wrong = "is not pinned, latest is another image tomorrow"
    else:
        return []
    name = example.partition(":")[0]
    return [f"{variable}: {shown(value)} {wrong}: use one such as {example} or {name}@sha256:..."]


def archive_problems(path: object, variable: str) -> list[str]:
    """Judge a file on the controller that holds the images of the registry and the gateway, as ``archive_images`` does.

    A path may begin with ``~``, the home directory of who runs Ansible.
    """
    try:
        archive_images(path)
    except ValueError as error:
        return [f"{variable}: {error}"]
    return []


def archive_images(path: object) -> dict[str, dict[str, Any]]:
    """Return the images of the registry and the gateway in a file that ``docker save`` wrote, plain or packed.

    Which is which is told by the program that they start with, else by their names.

    Returns:
        Of ``registry`` and ``gateway`` the ``id``, ``digest``, ``tags``, ``layers`` and ``version``. The id is the
        digest of the image's configuration, which is what an engine with the classic image store shows as the image's
        id. It is computed from the configuration itself, so it holds for every layout: ``<hex>.json`` (docker save up
        to 24) and ``blobs/sha256/<hex>`` (25 and newer). Source: moby, image/tarexport/load.go. The digest is that of
        its manifest or index, which the containerd image store shows as the id; empty in the old layout. The layers
        are the digests of their unpacked content, the lowest first; the version is empty where nothing tells it.

    Raises:
        ValueError: the file cannot be read, or does not hold exactly one image of each.
    """
    use = 'use the absolute path of what docker save wrote, such as "{{ inventory_dir }}/files/images.tar"'
    if absent(path):
        raise ValueError(f"is missing: {use}")
    if not isinstance(path, str) or not is_absolute_path(path):
        raise ValueError(f"{shown(path)} is not the absolute path of a file: {use}")
    return read_file(path, _both_images)


def _both_images(file: Any) -> dict[str, dict[str, Any]]:
    """Return the images of an open archive, as ``archive_images`` does.

    Raises:
        ValueError: it does not hold them; the message ends a line that begins with the path.
    """
    found = _all_images(file)
    kinds = {kind: [image for image in found if image["program"] == kind] for kind in EXAMPLES}
    for kind, images in kinds.items():
        images += [] if images else [image for image in found if not image["program"] and _is_named(image, kind)]
    for kind, images in kinds.items():
        what = "the gateway, nginx" if kind == "gateway" else "the registry"
        if not images:
            own = "" if kind == "gateway" else "; one of your own is known by its name, such as own/registry:1"
            there = {kind: _shown_tag(images[0]) for kind, images in kinds.items() if images}
            save = " ".join({**EXAMPLES, **there}.values())
            held = ", ".join(map(_shown_tag, found))
            raise ValueError(f"holds no image of {what}, only {held}: make it with docker save {save} -o FILE{own}")
        if len(images) > 1:
            raise ValueError(
                f"holds several images of {what} ({', '.join(map(_shown_tag, images))}): {_REMEDY}, with one of each"
            )
    return {
        kind: {key: value for key, value in images[0].items() if key != "program"} for kind, images in kinds.items()
    }


def _is_named(image: dict[str, Any], kind: str) -> bool:
    """Tell whether the last part of one of an image's names, without tag and digest, is one of this kind."""
    return any(_NAMES[kind].search(re.split("[:@]", tag.rpartition("/")[2])[0]) for tag in image["tags"])


def _shown_tag(image: dict[str, Any]) -> str:
    """Return an image's name for people; its id where it has none."""
    return [*image["tags"], image["id"][: len("sha256:") + 12]][0]


def _all_images(file: Any) -> list[dict[str, Any]]:
    """Return the images of an open archive, each once, with the ``program`` that it starts with: one of EXAMPLES.

    Raises:
        ValueError: it is no archive of images; the message ends a line that begins with the path.
    """
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    wrong = "is not a tar archive, plain or packed with gzip"
    images: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:gz" if packed else "r:") as archive:
            wrong, lacks = "is damaged or cut short", "it has no manifest.json"
            content = _reader(archive)
            manifest = content("manifest.json")
            lacks = "its manifest.json names none"
            entries = [(posixpath.normpath(entry["Config"]), entry.get("RepoTags")) for entry in json.loads(manifest)]
            entries[0]
            lacks = "the configuration that its manifest.json names is missing"
            for name, tags in entries:
                image = _image(content, content(name))
                image = images.setdefault(image["id"], image)
                image["tags"] += [tag for tag in tags or [] if isinstance(tag, str)]
    except (tarfile.TarError, EOFError, zlib.error, OSError):
        raise ValueError(f"{wrong}: {_REMEDY}") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"holds no image, {lacks}: {_REMEDY}") from None
    return list(images.values())


def _image(content: Callable[[str], bytes], configuration: bytes) -> dict[str, Any]:
    """Return an image of an archive by the text of its configuration, without its tags."""
    layers: list[str] = []
    commands: list[list[str]] = []
    labels, environment = {}, {}
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
        found = json.loads(configuration)
        config = found["config"]
        commands = [[str(word) for word in config[key]] for key in ("Entrypoint", "Cmd") if config.get(key)]
        labels = dict(config.get("Labels") or {})
        environment = dict(line.partition("=")[::2] for line in config.get("Env") or [])
        layers = [str(layer) for layer in found["rootfs"]["diff_ids"]]
    programs = {posixpath.basename(command[0]) for command in commands}
    # The official images start a script, whose arguments tell: the registry's configuration, and nginx.
    own_files = ("/etc/docker/registry/", "/etc/distribution/")
    program = ""
    if "nginx" in programs or "NGINX_VERSION" in environment:
        program = "gateway"
    elif programs & {"registry", "docker-registry"} or any(
        word.startswith(own_files) for words in commands for word in words
    ):
        program = "registry"
    return {
        "id": _sha256(configuration),
        "digest": _manifest_digest(content, _sha256(configuration)),
        "tags": [],
        "layers": layers,
        "version": str(labels.get("org.opencontainers.image.version") or environment.get("NGINX_VERSION") or ""),
        "program": program,
    }


def _manifest_digest(content: Callable[[str], bytes], configuration: str) -> str:
    """Return the digest of the image in an archive that has a configuration; empty where the archive tells none."""
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
        for entry in json.loads(content("index.json"))["manifests"]:
            if configuration in _configurations(content, entry):
                return str(entry["digest"])
    return ""


def _configurations(content: Callable[[str], bytes], entry: dict[str, Any]) -> set[str]:
    """Return the digests of the configurations of an image, or of those of an index that are there."""
    with contextlib.suppress(KeyError):
        manifest = json.loads(content("blobs/" + entry["digest"].replace(":", "/")))
        parts = (_configurations(content, child) for child in children(manifest))
        return {blob["digest"] for blob in blobs({"config": manifest.get("config")})}.union(*parts)
    return set()


def images_in(path: str) -> list[tuple[list[str], dict[str, str]]]:
    """Return the images of an archive, each with its names, and source and digest for the module registry_images.

    Raises:
        ValueError: docker save did not write it, it is no OCI archive either, or it is damaged.
    """
    try:
        with tarfile.open(path, "r:*") as archive:
            content = _reader(archive)
            # What docker save writes is both since version 25, and only as its own kind is it what docker load takes.
            try:
                entries = json.loads(content("manifest.json"))
            except KeyError:
                return _oci_images(content)
            found = []
            for position, entry in enumerate(entries):
                source = "docker-archive:FILE" + (f":@{position}" if len(entries) > 1 else "")
                plan = {"source": source, "digest": _sha256(content(entry["Config"]))}
                found.append((entry.get("RepoTags") or [], plan))
            return found
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(
            f"{shown(path)} is no archive of images, or damaged: make it with docker save, or with skopeo copy ..."
            " oci-archive:FILE"
        ) from None


def _oci_images(content: Callable[[str], bytes]) -> list[tuple[list[str], dict[str, str]]]:
    """Return the images of an OCI archive, as ``images_in`` does."""
    found = []
    for entry in json.loads(content("index.json"))["manifests"]:
        name = (entry.get("annotations") or {}).get("org.opencontainers.image.ref.name", "")
        content("blobs/" + entry["digest"].replace(":", "/"))
        found.append(([name] if name else [], {"source": "oci-archive", "digest": entry["digest"]}))
    return found


def _reader(archive: tarfile.TarFile) -> Callable[[str], bytes]:
    """Return what reads a small file of an archive by its name. It raises KeyError where there is none."""
    members = {posixpath.normpath(member.name): member for member in archive.getmembers()}

    def content(name: str) -> bytes:
        member = members[posixpath.normpath(name)]
        file = archive.extractfile(member) if member.size <= _LARGEST_JSON else None
        if file is None:
            raise KeyError(name)
        return file.read()

    return content


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def version_in(reference: object) -> str:
    """Return the version in a reference's tag; empty where it has none."""
    return (re.findall(r":(v?[0-9]+\.[0-9][^@]*)", str(reference)) or [""])[0]


def major_of(version: str, image_source: str) -> int:
    """Return the registry's major version; 0 where it is not known. Packages of distributions have 2."""
    numbers = re.match(r"v?([0-9]+)", version)
    return int(numbers[1]) if numbers else 2 if image_source == "distro" else 0

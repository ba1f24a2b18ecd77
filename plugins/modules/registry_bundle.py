#!/usr/bin/python
"""Write, check or unpack a bundle: images of a registry in one file that can be carried to another."""

from __future__ import annotations

DOCUMENTATION = """
module: registry_bundle
short_description: Write, check or unpack a bundle of images
description:
  - A bundle is a tar archive of an OCI image layout, in which each blob lies once, whatever number of images has it,
    and all digests are those of the registry, also where images are in Docker's format. The name of an image, which is
    REPOSITORY:TAG, is its annotation C(org.opencontainers.image.ref.name).
  - Its fingerprint is the SHA-256 of its index.json, which names all images by digest, so that it stands for all that
    is in it.
  - Nothing of a bundle is extracted under a name that the bundle says.
options:
  action:
    description: V(write) reads a registry's storage on this host. V(check) reads a bundle, with all its contents.
      V(unpack) checks it while it lays out each image as skopeo's C(dir:) reads it. V(room) tells whether there is
      room for V(unpack), and for the images in the registry.
    type: str
    choices: [write, check, unpack, room]
    required: true
  path:
    description: The bundle.
    type: path
  container:
    description: For V(write) and V(room), the registry's container.
    type: str
    default: registry
  images:
    description: For V(write), REPOSITORY:TAG, or REPOSITORY for all its tags; C(*) and C(?) stand for anything. For
      V(unpack), the images that are wanted.
    type: list
    elements: str
    default: []
  registry_image:
    description: For V(write), whether the image that the registry itself runs from comes along, as registry-image.tar.
    type: bool
    default: false
  directory:
    description: For V(unpack), where to; the directory must be there. For V(room), where that would be.
    type: path
  size:
    description: For V(room), the bytes that the directory must take.
    type: int
    default: 0
  growth:
    description: For V(room), the bytes that the registry must take.
    type: int
    default: 0
author: [Wharf maintainers]
"""

EXAMPLES = """
- name: Write a bundle
  registry_bundle:
    action: write
    images: ["team/*"]
    path: /var/tmp/team.tar
"""

RETURN = """
images:
  description: The digest and the size in bytes of each image, by its name.
  type: dict
  returned: success, except for room
size:
  description: The size of all blobs, in bytes.
  type: int
  returned: success, except for room
fingerprint:
  description: The SHA-256 of index.json.
  type: str
  returned: success, except for room
registry_image:
  description: The id of the registry's own image; empty when it is not in the bundle.
  type: str
  returned: success, except for room
"""

import contextlib
import fnmatch
import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.errors import DamageError, WharfError
from ansible_collections.wharf.registry.plugins.module_utils.lock import lock
from ansible_collections.wharf.registry.plugins.module_utils.manifests import blobs, children
from ansible_collections.wharf.registry.plugins.module_utils.storage import Storage

NAME = "org.opencontainers.image.ref.name"
REGISTRY_IMAGE = "wharf.registry-image"
OWN_FILE = "registry-image.tar"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
# REPOSITORY:TAG. Source: distribution/reference, regexp.go.
PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
IMAGE = re.compile(rf"{PART}(?:/{PART})*:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}")
LARGEST_JSON = 64 * 1024 * 1024
CHUNK = 1024 * 1024


def run(*command: str) -> str:
    """Run a program and return what it says.

    Raises:
        WharfError: it fails; with its own last words.

    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WharfError(f"{command[0]}: {(done.stderr.strip().splitlines() or [done.returncode])[-1]}")
    return done.stdout.strip()


def storage_of(container: str) -> str:
    """Return where the registry's data lies on this host, a directory or a volume's."""
    template = '{{range .Mounts}}{{if eq .Destination "/var/lib/registry"}}{{.Source}}{{end}}{{end}}'
    return run("docker", "inspect", "--type", "container", "--format", template, container)


def check_room(directory: str, size: int, growth: int = 0, data: str = "") -> None:
    """Tell whether files fit.

    Args:
        directory: takes `size` bytes.
        data: takes `growth` bytes, on the same file system or another one.

    Raises:
        WharfError: they do not.

    """
    needs: dict[int, list[Any]] = {}
    for place, need in ((directory, size), (data, growth)):
        if place:
            needs.setdefault(os.stat(place).st_dev, [place, 0])[1] += need
    for place, need in needs.values():
        free = shutil.disk_usage(place).free
        if need > free:
            raise WharfError(
                f"{place} on {socket.gethostname()} has {free / 1e6:.0f} MB free, and {need / 1e6:.0f} MB are needed:"
                " make room there"
            )


def chosen(storage: Storage, patterns: list[str]) -> dict[str, str]:
    """Return the digests of the images that patterns name, by REPOSITORY:TAG in order.

    Raises:
        WharfError: a pattern names nothing.

    """
    tags = {f"{name}:{tag}": digest for name in storage.repositories() for tag, digest in storage.tags(name).items()}
    found: dict[str, str] = {}
    for pattern in patterns:
        matching = fnmatch.filter(tags, pattern if ":" in pattern else f"{pattern}:*")
        if not matching:
            raise WharfError(f"the registry has no image {pattern}")
        found |= {name: tags[name] for name in matching}
    return dict(sorted(found.items()))


def kind(manifest: dict[str, Any]) -> str:
    """Return a manifest's media type, which OCI's need not say."""
    return manifest.get("mediaType") or (INDEX if "manifests" in manifest else MANIFEST)


def index_of(images: dict[str, str], contents: dict[str, bytes], own: str) -> bytes:
    """Return index.json: always the same for the same images."""
    manifests = [
        {
            "mediaType": kind(json.loads(contents[digest])),
            "digest": digest,
            "size": len(contents[digest]),
            "annotations": {NAME: name},
        }
        for name, digest in images.items()
    ]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": {REGISTRY_IMAGE: own}}
    return json.dumps(index, indent=1).encode()


class Hashing(io.RawIOBase):
    """A file that is hashed while it is read."""

    def __init__(self, file: Any) -> None:
        """Take an open file."""
        self.file = file
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read from the file."""
        part = self.file.read(size)
        self.hash.update(part)
        return part


def write(p: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Write a bundle from the registry's storage."""
    data = storage_of(p["container"])
    with lock("export-images"):
        storage = Storage(data)
        images = chosen(storage, p["images"])
        sizes: dict[str, int] = {}
        shown = {}
        for name, digest in images.items():
            try:
                needed = {blob: storage.blob_path(blob).stat().st_size for blob in storage.closure(digest)}
            except (DamageError, OSError) as error:
                raise WharfError(f"{name} is damaged, see playbooks/diagnose-registry.yml: {error}") from None
            if other := next((blob for blob in needed if not BLOB.fullmatch("blobs/" + blob.replace(":", "/"))), None):
                raise WharfError(f"{name} needs {other}: only sha256 is supported")
            sizes |= needed
            shown[name] = {"digest": digest, "size": sum(needed.values())}
        own = run("docker", "inspect", "--format", "{{.Image}}", p["container"]) if p["registry_image"] else ""
        index = index_of(images, {digest: storage.blob_path(digest).read_bytes() for digest in images.values()}, own)
        result = {
            "changed": True,
            "images": shown,
            "size": sum(sizes.values()),
            "fingerprint": hashlib.sha256(index).hexdigest(),
            "registry_image": own,
        }
        if check_mode:
            return result
        place = os.path.dirname(p["path"])
        check_room(place, result["size"] + 1024 * len(sizes) + CHUNK)
        files = {"oci-layout": LAYOUT, "index.json": index}
        with tempfile.TemporaryDirectory(dir=place) as directory:
            own_file = Path(directory, OWN_FILE)
            if own:
                # By its name, where it has one, so that it has it again where it is loaded.
                named = run("docker", "inspect", "--format", "{{.Config.Image}}", p["container"])
                run("docker", "save", "--output", str(own_file), named)
            try:
                with tarfile.open(p["path"], "x:", format=tarfile.PAX_FORMAT) as tar:
                    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
                    if own:
                        sums[OWN_FILE] = file_hash(own_file)
                    files["SHA256SUMS"] = "".join(f"{value}  {name}\n" for name, value in sums.items()).encode()
                    for name, content in files.items():
                        add(tar, name, len(content), io.BytesIO(content))
                    if own:
                        with own_file.open("rb") as file:
                            add(tar, OWN_FILE, own_file.stat().st_size, file)
                    for blob in sorted(sizes):
                        with storage.blob_path(blob).open("rb") as file:
                            hashing = Hashing(file)
                            add(tar, "blobs/" + blob.replace(":", "/"), sizes[blob], hashing)
                        if hashing.hash.hexdigest() != blob.partition(":")[2]:
                            raise WharfError(f"the registry's blob {blob} is damaged: its content has another digest")
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(p["path"])
                raise
    # The user who fetches it is the one whose directory this is.
    owner = os.stat(place)
    os.chmod(p["path"], 0o600)
    os.chown(p["path"], owner.st_uid, owner.st_gid)
    return result


def add(tar: tarfile.TarFile, name: str, size: int, file: Any) -> None:
    """Add a file to an archive, without anything that would differ next time."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    tar.addfile(info, file)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Bundle:
    """A bundle that is read; nothing in it is believed."""

    def __init__(self, path: str) -> None:
        """Read its table of contents, its index and its manifests.

        Raises:
            WharfError: it is no bundle, or not as it was written.

        """
        try:
            if os.path.getsize(path) % tarfile.RECORDSIZE:
                raise WharfError(f"{path} is cut short, or no bundle: its length is none that a bundle can have")
            self.tar = tarfile.open(path, "r:")  # noqa: SIM115 (open as long as the module runs)
            self.members: dict[str, tarfile.TarInfo] = {}
            for member in self.tar:
                if not member.isfile() or member.name in self.members:
                    raise WharfError(f"{path} holds {member.name!r}, which does not belong into a bundle")
                self.members[member.name] = member
        except tarfile.TarError as error:
            raise WharfError(f"{path} is cut short or damaged, or no bundle: {error}") from None
        except OSError as error:
            raise WharfError(f"{path} cannot be read: {error.strerror}") from None
        self.path = path
        self.sums = dict(
            reversed(line.split("  ", 1)) for line in self.small("SHA256SUMS").decode("ascii", "replace").splitlines()
        )
        for name in ("oci-layout", "index.json"):
            if hashlib.sha256(self.small(name)).hexdigest() != self.sums.get(name):
                raise WharfError(f"{path} was altered: {name} is not what SHA256SUMS says")
        try:
            self.read_index()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise WharfError(f"{path} is no bundle: {error!r} in its index.json or a manifest") from None

    def read_index(self) -> None:
        """Read which images there are, and look for what they need."""
        path = self.path
        index = json.loads(self.small("index.json"))
        self.images = {item["annotations"][NAME]: item["digest"] for item in index["manifests"]}
        if strange := next((name for name in self.images if not IMAGE.fullmatch(name)), None):
            raise WharfError(f"{path} is no bundle: {strange!r} is not an image's name")
        self.registry_image = index["annotations"][REGISTRY_IMAGE]
        self.manifests: dict[str, dict[str, Any]] = {}
        self.needs = {name: self.closure(name, digest) for name, digest in self.images.items()}
        known = {"SHA256SUMS", "oci-layout", "index.json"} | ({OWN_FILE} if self.registry_image else set())
        needed = {blob for needs in self.needs.values() for blob in needs}
        for name in self.members:
            blob = BLOB.fullmatch(name)
            if name not in known and not (blob and f"sha256:{blob[1]}" in needed):
                raise WharfError(f"{path} was altered: it holds {name!r}, which none of its images needs")
        if self.registry_image and OWN_FILE not in self.members:
            raise WharfError(f"{path} is damaged: {OWN_FILE} is missing")

    def small(self, name: str) -> bytes:
        """Return the content of one of the small files."""
        member = self.members.get(name)
        file = self.tar.extractfile(member) if member and member.size <= LARGEST_JSON else None
        if file is None:
            raise WharfError(f"{self.path} is no bundle, or damaged: {name} is missing")
        return file.read()

    def member(self, image: str, digest: str) -> tarfile.TarInfo:
        """Return where a blob lies in the archive."""
        try:
            return self.members["blobs/" + digest.replace(":", "/")]
        except KeyError:
            raise WharfError(f"{self.path} is damaged: {image} needs {digest}, which is missing") from None

    def closure(self, image: str, digest: str) -> dict[str, int]:
        """Return the sizes of all blobs that an image needs; its manifests are read and compared with their digests."""
        found: dict[str, int] = {}
        waiting = [digest]
        while waiting:
            digest = waiting.pop()
            if digest in found:
                continue
            member = self.member(image, digest)
            content = self.small(member.name)
            if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
                raise WharfError(
                    f"{self.path} is damaged: the content of {digest}, which {image} needs, has another digest"
                )
            manifest = self.manifests[digest] = json.loads(content)
            found[digest] = member.size
            waiting += [child["digest"] for child in children(manifest)]
            for blob in blobs(manifest):
                if blob.get("urls") and "blobs/" + blob["digest"].replace(":", "/") not in self.members:
                    continue  # a layer that clients fetch from elsewhere
                size = self.member(image, blob["digest"]).size
                if size != blob.get("size", size):
                    raise WharfError(f"{self.path} is damaged: {blob['digest']} has {size} bytes, not {blob['size']}")
                found[blob["digest"]] = size
        return found

    def read(self, name: str, expected: str, target: Any = None) -> None:
        """Hash a file of the archive, and write it on the way.

        Raises:
            WharfError: its content has another digest.

        """
        file = self.tar.extractfile(self.members[name])
        state = hashlib.sha256()
        try:
            while part := file.read(CHUNK):
                state.update(part)
                if target:
                    target.write(part)
        except tarfile.TarError:
            raise WharfError(f"{self.path} is cut short, in {name}") from None
        if state.hexdigest() != expected:
            raise WharfError(f"{self.path} is damaged: the content of {name} is not what it was")

    def summary(self) -> dict[str, Any]:
        """Return what the module returns."""
        sizes = {blob: size for needs in self.needs.values() for blob, size in needs.items()}
        return {
            "images": {
                name: {"digest": digest, "size": sum(self.needs[name].values())} for name, digest in self.images.items()
            },
            "size": sum(sizes.values()),
            "fingerprint": self.sums["index.json"],
            "registry_image": self.registry_image,
        }


def check(p: dict[str, Any]) -> dict[str, Any]:
    """Read a whole bundle."""
    bundle = Bundle(p["path"])
    for name in bundle.members:
        blob = BLOB.fullmatch(name)
        if blob or name == OWN_FILE:
            bundle.read(name, blob[1] if blob else bundle.sums.get(name, ""))
    return {"changed": False, **bundle.summary()}


def unpack(p: dict[str, Any]) -> dict[str, Any]:
    """Lay out the images that are wanted for skopeo: DIRECTORY/HEX for each digest, blobs as hard links."""
    bundle = Bundle(p["path"])
    place = Path(p["directory"])
    needed = {blob for name in p["images"] for blob in bundle.needs[name]}
    (place / "blobs").mkdir(mode=0o700)
    for digest in sorted(needed):
        number = digest.partition(":")[2]
        with (place / "blobs" / number).open("xb") as file:
            bundle.read(f"blobs/sha256/{number}", number, file)
    for name in p["images"]:
        top = bundle.images[name]
        directory = place / top.partition(":")[2]
        if directory.exists():
            continue
        directory.mkdir(mode=0o700)
        (directory / "version").write_text("Directory Transport Version: 1.1\n", encoding="ascii")
        for digest in bundle.needs[name]:
            number = digest.partition(":")[2]
            link = "manifest.json" if digest == top else number
            if digest in bundle.manifests and digest != top:
                link = f"{number}.manifest.json"
            os.link(place / "blobs" / number, directory / link)
    return {"changed": True, **bundle.summary()}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "choices": ["write", "check", "unpack", "room"], "required": True},
            "path": {"type": "path"},
            "container": {"type": "str", "default": "registry"},
            "images": {"type": "list", "elements": "str", "default": []},
            "registry_image": {"type": "bool", "default": False},
            "directory": {"type": "path"},
            "size": {"type": "int", "default": 0},
            "growth": {"type": "int", "default": 0},
        },
        required_if=[
            ("action", "check", ["path"]),
            ("action", "unpack", ["path", "directory"]),
            ("action", "room", ["directory"]),
        ],
        supports_check_mode=True,
    )
    p = module.params
    try:
        if p["action"] == "write":
            result = write(p, module.check_mode)
        elif p["action"] == "check":
            result = check(p)
        elif p["action"] == "unpack":
            result = unpack(p)
        else:
            check_room(p["directory"], p["size"], p["growth"], storage_of(p["container"]))
            result = {"changed": False}
    except WharfError as failure:
        module.fail_json(msg=str(failure))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or p['path']}: {error.strerror}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()

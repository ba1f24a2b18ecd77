#!/usr/bin/python
"""Write a bundle of images, or read one."""

from __future__ import annotations

DOCUMENTATION = """
module: registry_bundle
author: Wharf maintainers
version_added: 1.0.0
short_description: Write a bundle of images, or read one
description:
  - A bundle is a tar archive of an OCI image layout, in which each blob lies once, and all digests are those of the
    registry. Its fingerprint is the SHA-256 of its index.json, which names all images by digest, so that it stands for
    everything in the bundle. docs/export-images.md has more.
options:
  action:
    description: V(write) reads the registry's storage on its server; in check mode, it tells what it would write.
      V(reserve) refuses, where the bundle shall go to, a file that is another one, or too little room.
      V(accept) reads I(path) with C(.part) behind it, whole, and gives it its name. V(check) reads a bundle, whole.
    type: str
    choices: [write, reserve, accept, check]
    required: true
  path: {description: The bundle. Not needed for V(write) in check mode., type: path}
  container:
    description: For V(write), the registry's container. Its gateway's is found by that.
    type: str
    default: registry
  images:
    description: For V(write), REPOSITORY:TAG, or REPOSITORY for all its tags; C(*) and C(?) stand for anything. One
      that begins with the name of one of I(caches) and a slash takes images from there, and no other one does, also
      not a bare C(*).
    type: list
    elements: str
    default: []
  caches:
    description: The upstreams of the pull-through caches, to tell which images are theirs.
    type: list
    elements: str
    default: []
  caches_data: {description: "For V(write), where the caches keep what they have.", type: path}
  own_images:
    description: For V(write), whether the images that the registry itself and its gateway run from come along, as
      registry-images.tar.
    type: bool
    default: false
  fingerprint: {description: The fingerprint that the bundle must have., type: str, default: ""}
  room: {description: "For V(reserve), the bytes that the bundle takes.", type: int, default: 0}
attributes:
  check_mode: {support: full}
"""

EXAMPLES = """
- name: Write a bundle
  wharf.registry.registry_bundle:
    action: write
    images: ["team/*"]
    path: /srv/private/team.tar
"""

RETURN = """
images:
  description: The images, each with its name C(image), its C(digest), its C(size) in bytes, C(missing), the digests of
    manifests that it names and that the cache did not have, and C(cache), for a bundle that is read, whether it is of
    one of the I(caches). Like C(size) (of all blobs, in bytes), C(fingerprint), C(own_images) (the ids of the images of
    the registry itself and its gateway; none when they are not in the bundle) and C(table) (all this for people).
  type: list
  elements: dict
  returned: when a bundle was written or read
room: {description: "The bytes that the file takes, at most.", type: int, returned: for write}
exists: {description: Whether the bundle is there already., type: bool, returned: for reserve}
"""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import bundles, caches
from ansible_collections.wharf.registry.plugins.module_utils.cache_storage import directories_of, untrimmed
from ansible_collections.wharf.registry.plugins.module_utils.containers import cli
from ansible_collections.wharf.registry.plugins.module_utils.data import container, mounted_at
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError, message_of
from ansible_collections.wharf.registry.plugins.module_utils.files import read_json
from ansible_collections.wharf.registry.plugins.module_utils.lock import lock
from ansible_collections.wharf.registry.plugins.module_utils.parts import container_names
from ansible_collections.wharf.registry.plugins.module_utils.storage import SharedStorage, Storage

SETTINGS = "/etc/wharf/registry.json"  # what was deployed
PLACE = "/var/tmp"  # for the registry's own images, which are large


def write(p: dict[str, Any], storage: Storage, inspected: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Write a bundle, readable for the user whose directory it lies in: who fetches it."""
    own: dict[str, str] = {}  # id to name
    if p["own_images"]:
        name = container_names(p["container"])["gateway"]
        gateway = container(name)
        if gateway is None:
            raise WharfError(f"there is no container {name}: run playbooks/deploy-registry.yml")
        own = {found["Image"]: found["Config"]["Image"] for found in (inspected, gateway)}
    own_size = sum(int(cli("image", "inspect", "--format", "{{.Size}}", image)) for image in own)
    cached = [pattern for pattern in p["images"] if is_cached(pattern, p["caches"])]
    for pattern in cached:
        directories_of(p["caches_data"], pattern.partition("/")[0])
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock("export-images"))
        if cached:
            stack.enter_context(untrimmed("export-images"))
        of_caches = SharedStorage(p["caches_data"]) if cached else None
        contents = bundles.plan(storage, p["images"], list(own), of_caches, cached)
        if not check_mode:
            room = bundles.room_at(os.path.dirname(p["path"]))
            bundles.check_room((room, contents.room() + own_size), (bundles.room_at(PLACE), own_size))
            with tempfile.TemporaryDirectory(prefix="wharf-export-", dir=PLACE) as directory:
                own_file = Path(directory, "images.tar") if own else None
                if own_file:
                    # By their names, where they have some, so that they have them again where they are loaded.
                    cli("save", "--output", str(own_file), *own.values())
                bundles.write(contents, p["path"], own_file)
    return {"room": contents.room() + own_size, **contents.summary()}


def is_cached(image: str, upstreams: list[str]) -> bool:
    """Tell whether an image, or a pattern, is in the cache of one of these upstreams."""
    return image.startswith(tuple(f"{caches.slug(upstream)}/" for upstream in upstreams))


def check(path: str, fingerprint: str = "") -> dict[str, Any]:
    """Read a whole bundle. Raises WharfError where it is not as it was written, or has another fingerprint."""
    bundle = bundles.Bundle(path)
    found = bundle.contents.summary()
    if fingerprint and found["fingerprint"] != fingerprint:
        raise WharfError(
            f"{path} has the fingerprint {found['fingerprint']} instead of {fingerprint}: it is another bundle,"
            " or was altered"
        )
    bundle.check()
    return found


def reserve(path: str, fingerprint: str, room: int) -> dict[str, Any]:
    """Refuse a place where the bundle cannot be, a file that is there and is another one, or too little room."""
    if not os.path.isabs(path) or not path.endswith(".tar"):
        raise WharfError(
            f"{path!r} is not the absolute path of a file that ends in .tar: use /srv/images/team.tar or so"
        )
    if not os.access(os.path.dirname(path), os.W_OK):
        raise WharfError(f"{os.path.dirname(path)!r} is no directory in which you can write: make it")
    if not os.path.lexists(path):
        bundles.check_room((bundles.room_at(os.path.dirname(path)), room))
        return {"exists": False}
    try:
        return {"exists": True, **check(path, fingerprint)}
    except WharfError as error:
        raise WharfError(f"{error}: give another name, or remove it") from None


def run(p: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Do what is asked for; return what the module returns."""
    action, path = p["action"], p["path"]
    if not path and not (action == "write" and check_mode):
        raise WharfError("path is missing: it is where the bundle is")
    if action == "write":
        inspected = container(p["container"])
        data = mounted_at(inspected)
        if inspected is None or data is None:
            raise WharfError(f"there is no container {p['container']} with data: run playbooks/deploy-registry.yml")
        driver = read_json(SETTINGS).get("driver", "filesystem")
        if driver != "filesystem" and not all(is_cached(pattern, p["caches"]) for pattern in p["images"]):
            raise WharfError(
                f"the images are in {driver}, and a bundle is written from files, or from a cache: export images of"
                " caches alone, or copy what is wanted to a registry with playbooks/copy-images.yml, or into a file"
                " with `skopeo copy --all docker://... oci-archive:...`"
            )
        return write(p, Storage(data), inspected, check_mode)
    if action == "reserve":
        return reserve(path, p["fingerprint"], p["room"])
    found = check(f"{path}.part" if action == "accept" else path, p["fingerprint"])
    if action == "accept" and not check_mode:
        os.replace(f"{path}.part", path)
    for image in found["images"]:
        image["cache"] = is_cached(image["image"], p["caches"])
    return found


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "choices": ["write", "reserve", "accept", "check"], "required": True},
            "path": {"type": "path"},
            "container": {"type": "str", "default": "registry"},
            "images": {"type": "list", "elements": "str", "default": []},
            "caches": {"type": "list", "elements": "str", "default": []},
            "caches_data": {"type": "path"},
            "own_images": {"type": "bool", "default": False},
            "fingerprint": {"type": "str", "default": ""},
            "room": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode)
    except (WharfError, OSError) as error:
        module.fail_json(msg=message_of(error))
    module.exit_json(changed=module.params["action"] in ("write", "accept"), **result)


if __name__ == "__main__":
    main()

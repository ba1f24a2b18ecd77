#!/usr/bin/python
"""Write a bundle of images, or read one."""

from __future__ import annotations

DOCUMENTATION = """
module: registry_bundle
author: Wharf maintainers
version_added: 1.0.0
short_description: Write a bundle of images, or read one
description:
  - A bundle is a tar archive of an OCI image layout, in which each blob lies once, whatever number of images has it,
    and all digests are those of the registry, also where images are in Docker's format. The name of an image, which is
    REPOSITORY:TAG, is its annotation C(org.opencontainers.image.ref.name).
  - Its fingerprint is the SHA-256 of its index.json, which names all images by digest, so that it stands for everything
    in the bundle.
options:
  action:
    description: V(write) reads the registry's storage on its server; in check mode, it tells what it would write.
      V(reserve) refuses, where the bundle shall go to, a file that is another one, or too little room.
      V(accept) reads I(path) with C(.part) behind it, whole, and gives it its name. V(check) reads a bundle, whole.
    type: str
    choices: [write, reserve, accept, check]
    required: true
  path:
    description: The bundle. Not needed for V(write) in check mode.
    type: path
  container:
    description: For V(write), the registry's container.
    type: str
    default: registry
  images:
    description: For V(write), REPOSITORY:TAG, or REPOSITORY for all its tags; C(*) and C(?) stand for anything.
    type: list
    elements: str
    default: []
  registry_image:
    description: For V(write), whether the image that the registry itself runs from comes along, as registry-image.tar.
    type: bool
    default: false
  fingerprint:
    description: The fingerprint that the bundle must have.
    type: str
    default: ""
  room:
    description: For V(reserve), the bytes that the bundle takes.
    type: int
    default: 0
attributes:
  check_mode:
    support: full
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
  description: The images, each with its name C(image), its C(digest) and its C(size) in bytes.
  type: list
  elements: dict
  returned: when a bundle was written or read
size:
  description: The size of all blobs, in bytes.
  type: int
  returned: when a bundle was written or read
fingerprint:
  description: The SHA-256 of index.json.
  type: str
  returned: when a bundle was written or read
registry_image:
  description: The id of the registry's own image; empty when it is not in the bundle.
  type: str
  returned: when a bundle was written or read
table:
  description: All this as a table for people.
  type: str
  returned: when a bundle was written or read
room:
  description: The bytes that the file takes, at most.
  type: int
  returned: for write
exists:
  description: Whether the bundle is there already.
  type: bool
  returned: for reserve
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import bundles
from ansible_collections.wharf.registry.plugins.module_utils.containers import cli
from ansible_collections.wharf.registry.plugins.module_utils.data import container, mounted_at
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.lock import lock
from ansible_collections.wharf.registry.plugins.module_utils.storage import Storage


def write(p: dict[str, Any], storage: Storage, inspected: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Write a bundle, readable for the user whose directory it lies in: who fetches it."""
    own, own_size = "", 0
    if p["registry_image"]:
        own = inspected["Image"]
        own_size = int(cli("image", "inspect", "--format", "{{.Size}}", own))
    with lock("export-images"):
        planned = bundles.plan(storage, p["images"], own)
        if not check_mode:
            place = os.path.dirname(p["path"])
            bundles.check_room((bundles.room_at(place), planned.room + 2 * own_size))
            with tempfile.TemporaryDirectory(dir=place) as directory:
                own_file = Path(directory, "image.tar") if own else None
                if own_file:
                    # By its name, where it has one, so that it has it again where it is loaded.
                    cli("save", "--output", str(own_file), inspected["Config"]["Image"])
                bundles.write(planned, storage, p["path"], own_file)
            owner = os.stat(place)
            os.chmod(p["path"], 0o600)
            os.chown(p["path"], owner.st_uid, owner.st_gid)
    return {"changed": True, "room": planned.room + own_size, **planned.summary()}


def check(path: str, fingerprint: str = "") -> dict[str, Any]:
    """Read a whole bundle. Raises WharfError where it is not as it was written, or has another fingerprint."""
    bundle = bundles.Bundle(path)
    found = bundle.summary()
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
        return {"changed": False, "exists": False}
    try:
        found = check(path)
    except WharfError as error:
        raise WharfError(f"{error}: give another name, or remove it") from None
    if found["fingerprint"] != fingerprint:
        raise WharfError(f"{path} is there, and is a bundle of something else: give another name, or remove it")
    return {"changed": False, "exists": True, **found}


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do what is asked for; return what the module returns."""
    p = module.params
    if p["action"] == "write":
        inspected = container(p["container"])
        data = mounted_at(inspected)
        if inspected is None or data is None:
            raise WharfError(f"there is no container {p['container']} with data: run playbooks/deploy-registry.yml")
        return write(p, Storage(data), inspected, module.check_mode)
    if p["action"] == "reserve":
        return reserve(p["path"], p["fingerprint"], p["room"])
    if p["action"] == "check":
        return {"changed": False, **check(p["path"], p["fingerprint"])}
    part = p["path"] + ".part"
    found = check(part, p["fingerprint"])
    if not module.check_mode:
        os.replace(part, p["path"])
    return {"changed": True, **found}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "choices": ["write", "reserve", "accept", "check"], "required": True},
            "path": {"type": "path"},
            "container": {"type": "str", "default": "registry"},
            "images": {"type": "list", "elements": "str", "default": []},
            "registry_image": {"type": "bool", "default": False},
            "fingerprint": {"type": "str", "default": ""},
            "room": {"type": "int", "default": 0},
        },
        required_if=[("action", "reserve", ["path"]), ("action", "accept", ["path"]), ("action", "check", ["path"])],
        supports_check_mode=True,
    )
    try:
        if module.params["action"] == "write" and not module.params["path"] and not module.check_mode:
            raise WharfError("path is missing: it is where the bundle is written")
        result = run(module)
    except WharfError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or module.params['path']}: {error.strerror}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()

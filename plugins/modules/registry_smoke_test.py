#!/usr/bin/python
"""Push an image of fresh random content to a registry, or pull and compare it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_smoke_test
short_description: Push an image of fresh random content to a registry, or pull and compare it
description:
  - Shows that an image moves, by moving one. With O(digest) it is pulled, and its layers are compared with O(layers);
    without, it is made and pushed.
  - Logs in with a configuration of its own, because the users of this host need not be logged in.
  - Leaves nothing on this host, also when it fails, so that it counts as no change. What was pushed stays in the
    registry until O(state=absent) removes it.
options:
  state:
    description:
      - V(served) asks the registry itself, on its server, for the whole image.
      - V(absent) removes the repository with all its blobs from the storage. Run on the registry's server. The API
        would leave it in the catalogue, and the blobs until the next garbage collection; the content is random, so that
        no other image has them.
    type: str
    choices: [present, served, absent]
    default: present
  tool: {description: What moves the image., type: str, choices: [docker, podman], default: docker}
  registry: {description: "The registry as it stands in image references, NAME:PORT.", type: str, required: true}
  repository:
    description: The repository, without the registry. It must not exist yet when something is pushed.
    type: str
    required: true
  user: {description: The registry's user; empty where it asks for none., type: str, default: ""}
  password:
    description: The user's password. It is in a file that only root can read, as long as the module runs.
    type: str
    default: ""
  digest: {description: The digest of the image to pull., type: str, default: ""}
  layers: {description: The layers that the image must have., type: list, elements: str, default: []}
attributes:
  check_mode: {support: full}
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
- name: Push an image
  wharf.registry.registry_smoke_test:
    registry: registry.example.com:5000
    repository: test/image
"""

RETURN = r"""
digest: {description: "The image's digest; empty in check mode, and when it was removed.", type: str, returned: success}
layers: {description: The digests of its layers., type: list, elements: str, returned: success}
seconds: {description: How long the push or the pull took., type: float, returned: success}
"""

import base64
import contextlib
import io
import json
import os
import re
import tarfile
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.command.read_only import remove_repository
from ansible_collections.wharf.registry.plugins.module_utils.command.registry import Registry
from ansible_collections.wharf.registry.plugins.module_utils.engine import THIS_ENGINE
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.processes import must_run
from ansible_collections.wharf.registry.plugins.module_utils.text import one_line

RUN = "/run"  # in memory, and only root writes there
SIZE = 1024 * 1024  # bytes
TIMEOUT = 180  # seconds: a hundred clients may pull at once
NOTHING: dict[str, Any] = {"digest": "", "layers": [], "seconds": 0.0}
DIGEST = re.compile(r"\bdigest: (sha256:[0-9a-f]{64})\b")


class Tool:
    """Docker or podman with a login of its own."""

    def __init__(self, params: dict[str, Any], directory: str) -> None:
        """Write the login where the tool reads it."""
        self.program, self.directory = params["tool"], directory
        self.repository = f"{params['registry']}/{params['repository']}"
        file = f"{directory}/config.json"
        self.environment = {**THIS_ENGINE, "DOCKER_CONFIG": directory, "REGISTRY_AUTH_FILE": file}
        basic = base64.b64encode(f"{params['user']}:{params['password']}".encode()).decode()
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as login:
            json.dump({"auths": {params["registry"]: {"auth": basic}} if params["user"] else {}}, login)

    def run(self, *arguments: str) -> str:
        """Run the tool, and return its output.

        Raises:
            WharfError: it failed.
        """
        command = [self.program, *arguments]
        return must_run(command, " ".join(command), environment=self.environment, timeout=TIMEOUT)

    def make(self, reference: str) -> None:
        """Make an image of random content."""
        entry = tarfile.TarInfo("content")
        entry.size = SIZE
        with tarfile.open(f"{self.directory}/layer.tar", "w") as layer:
            layer.addfile(entry, io.BytesIO(os.urandom(SIZE)))
        self.run("import", layer.name, reference)

    def push(self, reference: str) -> str:
        """Push an image, and return its digest."""
        if self.program == "podman":
            self.run("push", "--quiet", "--digestfile", f"{self.directory}/digest", reference)
            with open(f"{self.directory}/digest", encoding="ascii") as file:
                return file.read().strip()
        output = self.run("push", reference)
        if match := DIGEST.search(output):
            return match[1]
        raise WharfError(f"docker push {reference}: names no digest: {one_line(output)}")

    def move(self, digest: str, layers: list[str]) -> dict[str, Any]:
        """Push an image, or pull the one with this digest and compare its layers.

        Raises:
            WharfError: it does not move, or something else was pulled than pushed.
        """
        reference = f"{self.repository}@{digest}" if digest else f"{self.repository}:smoke-test"
        if not digest:
            self.make(reference)
        start = time.monotonic()
        if digest:
            self.run("pull", "--quiet", reference)
        else:
            digest = self.push(reference)
        seconds = time.monotonic() - start
        found = json.loads(self.run("image", "inspect", "--format", "{{json .RootFS.Layers}}", reference))
        if layers and found != layers:
            raise WharfError(f"{reference}: the content differs: {found} was pulled, {layers} was pushed")
        return {"digest": digest, "layers": found, "seconds": seconds}

    def remove(self) -> None:
        """Remove all images of the repository from this host."""
        for image in sorted(set(self.run("image", "ls", "--quiet", self.repository).split())):
            self.run("image", "rm", "--force", image)


def serve(repository: str, digest: str) -> None:
    """Demand that the registry itself gives an image, with all its content as it was pushed. Raises WharfError."""
    with Registry().client() as client:
        document = client.manifest(repository, digest).document
        for blob in (document["config"], *document["layers"]):
            for _ in client.blob(repository, blob["digest"]):
                pass


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Move an image, and clean up whatever happens; or remove it from the registry.

    Raises:
        WharfError: it does not move.
    """
    if params["state"] == "absent":
        registry = Registry()
        if registry.driver == "filesystem" or registry.s3:
            remove_repository(registry.storage, params["repository"])
        return NOTHING
    if params["state"] == "served":
        serve(params["repository"], params["digest"])
        return NOTHING
    with tempfile.TemporaryDirectory(prefix="wharf-smoke-test-", dir=RUN) as directory:
        tool = Tool(params, directory)
        try:
            result = tool.move(params["digest"], params["layers"])
        except BaseException:
            with contextlib.suppress(WharfError):  # the first error is the one to show
                tool.remove()
            raise
        tool.remove()
        return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "served", "absent"], "default": "present"},
            "tool": {"type": "str", "choices": ["docker", "podman"], "default": "docker"},
            "registry": {"type": "str", "required": True},
            "repository": {"type": "str", "required": True},
            "user": {"type": "str", "default": ""},
            "password": {"type": "str", "default": "", "no_log": True},
            "digest": {"type": "str", "default": ""},
            "layers": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, **NOTHING)
    try:
        module.exit_json(changed=False, **run(module.params))
    except (WharfError, OSError) as error:
        module.fail_json(msg=f"{error} (playbooks/diagnose-registry.yml finds out why)")


if __name__ == "__main__":
    main()

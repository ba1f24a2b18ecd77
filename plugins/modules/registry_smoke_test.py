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
    registry.
options:
  tool:
    description: What moves the image.
    type: str
    choices: [docker, podman]
    default: docker
  registry:
    description: The registry as it stands in image references, NAME:PORT.
    type: str
    required: true
  repository:
    description: The repository, without the registry. It must not exist yet when something is pushed.
    type: str
    required: true
  user:
    description: The registry's user; empty where it asks for none.
    type: str
    default: ""
  password:
    description: The user's password. It is in a file that only root can read, as long as the module runs.
    type: str
    default: ""
  digest:
    description: The digest of the image to pull.
    type: str
    default: ""
  layers:
    description: The layers that the image must have.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
- name: Push an image
  wharf.registry.registry_smoke_test:
    registry: registry.example.com:5000
    repository: test/image
  register: pushed

- name: Pull it
  wharf.registry.registry_smoke_test:
    registry: registry.example.com:5000
    repository: test/image
    digest: "{{ pushed.digest }}"
    layers: "{{ pushed.layers }}"
"""

RETURN = r"""
digest:
  description: The image's digest; empty in check mode.
  type: str
  returned: success
layers:
  description: The digests of its layers.
  type: list
  elements: str
  returned: success
seconds:
  description: How long the push or the pull took.
  type: float
  returned: success
"""

import base64
import contextlib
import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.text import one_line

RUN = "/run"  # in memory, and only root writes there
SIZE = 1024 * 1024  # bytes
DIGEST = re.compile(r"\bdigest: (sha256:[0-9a-f]{64})\b")


class Tool:
    """Docker or podman with a login of its own."""

    def __init__(self, program: str, directory: str, auths: dict[str, Any]) -> None:
        """Write the login where the tool reads it."""
        self.program, self.directory = program, directory
        file = f"{directory}/config.json"
        self.environment = {**os.environ, "DOCKER_CONFIG": directory, "REGISTRY_AUTH_FILE": file, "LC_ALL": "C.UTF-8"}
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as login:
            json.dump({"auths": auths}, login)

    def run(self, *arguments: str, given: bytes = b"") -> str:
        """Run the tool, and return its output.

        Raises:
            WharfError: it failed.
        """
        command = [self.program, *arguments]
        try:
            done = subprocess.run(command, input=given, capture_output=True, env=self.environment, check=False)
        except OSError as error:
            raise WharfError(f"{self.program}: {error.strerror}") from error
        if done.returncode:
            raise WharfError(f"{' '.join(command)}: {one_line(done.stderr.decode('utf-8', 'replace'))}")
        return done.stdout.decode("utf-8", "replace")

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

    def remove(self, repository: str) -> None:
        """Remove all images of a repository from this host."""
        for image in sorted(set(self.run("image", "ls", "--quiet", repository).split())):
            self.run("image", "rm", "--force", image)


def random_layer() -> bytes:
    """Return a layer of random content, as a tar archive."""
    archive, entry = io.BytesIO(), tarfile.TarInfo("content")
    entry.size = SIZE
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(entry, io.BytesIO(os.urandom(SIZE)))
    return archive.getvalue()


def move(tool: Tool, repository: str, digest: str, layers: list[str]) -> dict[str, Any]:
    """Push an image, or pull the one with this digest and compare its layers.

    Raises:
        WharfError: it does not move, or something else was pulled than pushed.
    """
    reference = f"{repository}@{digest}" if digest else f"{repository}:smoke-test"
    if not digest:
        tool.run("import", "-", reference, given=random_layer())
    start = time.monotonic()
    if digest:
        tool.run("pull", "--quiet", reference)
    else:
        digest = tool.push(reference)
    seconds = time.monotonic() - start
    found = json.loads(tool.run("image", "inspect", "--format", "{{json .RootFS.Layers}}", reference))
    if layers and found != layers:
        raise WharfError(f"{reference}: the content differs: {found} was pulled, {layers} was pushed")
    return {"digest": digest, "layers": found, "seconds": seconds}


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Move an image, and clean up whatever happens.

    Raises:
        WharfError: it does not move.
    """
    repository = f"{params['registry']}/{params['repository']}"
    basic = base64.b64encode(f"{params['user']}:{params['password']}".encode()).decode()
    with tempfile.TemporaryDirectory(prefix="wharf-smoke-test-", dir=RUN) as directory:
        tool = Tool(params["tool"], directory, {params["registry"]: {"auth": basic}} if params["user"] else {})
        try:
            result = move(tool, repository, params["digest"], params["layers"])
        except BaseException:
            with contextlib.suppress(WharfError):  # the first error is the one to show
                tool.remove(repository)
            raise
        tool.remove(repository)
        return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
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
        module.exit_json(changed=False, digest="", layers=[], seconds=0.0)
    try:
        module.exit_json(changed=False, **run(module.params))
    except (WharfError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()

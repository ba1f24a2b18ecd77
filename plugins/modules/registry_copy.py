#!/usr/bin/python
"""Copy one image into a registry, if it is not there yet."""

from __future__ import annotations

DOCUMENTATION = """
module: registry_copy
short_description: Copy one image into a registry, if it is not there yet
description:
  - Copies with skopeo, indexes with all their images and every digest as it was. For that it runs on the registry's own
    server, and connects to 127.0.0.1, because the server need not resolve the registry's name.
  - An image of a host's Docker engine is pushed by that engine, from any host that trusts the registry.
  - What is there already is told by its digest; where the source has none yet (an engine of the classic image store, a
    file of C(docker save)), by the digest of its configuration, which is the image's id.
  - Before and after, the registry itself is asked, and its certificate proved.
  - In check mode nothing is copied, and a registry that does not answer counts as one without the image.
options:
  source:
    description: What to copy, as skopeo names it (V(docker://HOST/NAME:TAG), V(docker-archive:FILE),
      V(oci-archive:FILE), V(dir:DIRECTORY)), or V(engine:NAME:TAG) for an image of this host's engine.
    type: str
    required: true
  digest:
    description: The digest of the source's manifest or index, where it is known.
    type: str
    default: ""
  image_id:
    description: The digest of the source's configuration, where that is known and the other is not.
    type: str
    default: ""
  name:
    description: The registry's name as clients use it.
    type: str
    required: true
  port:
    description: The registry's port.
    type: int
    required: true
  ca:
    description: Path of the registry's CA certificates in PEM, or of a directory of them, as container tools have it;
      without it plain HTTP is spoken.
    type: path
    default: ""
  image:
    description: What the image shall be in the registry, REPOSITORY:TAG.
    type: str
    required: true
  user:
    description: The registry's user; empty for a registry that is open to everyone.
    type: str
    default: ""
  password:
    description: The user's password.
    type: str
    default: ""
  logins:
    description: Logins of the source registries.
    type: list
    elements: dict
    default: []
    suboptions:
      registry:
        description: HOST or HOST:PORT as in image references.
        type: str
        required: true
      name:
        description: The user.
        type: str
        required: true
      password:
        description: The user's password.
        type: str
        required: true
  source_ca:
    description: CA certificates of the source registries in PEM, trusted besides those of this host.
    type: str
    default: ""
  proxy:
    description: The proxy on the way to the source registries; it may hold a user and a password.
    type: str
    default: ""
  no_proxy:
    description: Hosts, domains, addresses and networks that are reached without the proxy.
    type: list
    elements: str
    default: []
author: [Wharf maintainers]
"""

EXAMPLES = """
- name: Copy an image
  registry_copy:
    source: docker://quay.example.com/team/app:1.4
    name: registry.example.com
    port: 5000
    ca: /etc/wharf/tls/ca.crt
    image: team/app:1.4
"""

RETURN = """
due:
  description: Whether the registry did not have the image.
  type: bool
  returned: success
digest:
  description: The digest that the image has in the registry, or would have where that is known.
  type: str
  returned: success
size:
  description: What the image takes in the registry, in bytes, each blob counted once.
  type: int
  returned: success, except where it would be copied
seconds:
  description: How long the copy took.
  type: float
  returned: success
"""

import base64
import contextlib
import glob
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule

KINDS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
LARGEST_MANIFEST = 16 * 1024 * 1024


class Failure(Exception):
    """What went wrong, in words for a person."""


class Registry:
    """The registry that images go to."""

    def __init__(self, p: dict, address: str) -> None:
        """Take the module's parameters, and the address to connect to."""
        self.name, self.port, self.address = p["name"], p["port"], address
        self.user, self.password = p["user"], p["password"]
        self.trust = None
        if p["ca"]:
            self.trust = ssl.create_default_context(cafile=None if os.path.isdir(p["ca"]) else p["ca"])
            for path in glob.glob(os.path.join(glob.escape(p["ca"]), "*.crt")):
                self.trust.load_verify_locations(cafile=path)

    def manifest(self, repository: str, reference: str) -> tuple[str, dict] | None:
        """Return (digest, content) of a manifest or index; None when the registry does not have it.

        Raises:
            OSError: it does not answer.
            Failure: it answers with an error.

        """
        headers = {"Accept": ", ".join(KINDS)}
        if self.user:
            headers["Authorization"] = "Basic " + encoded(self.user, self.password)
        raw = socket.create_connection((self.address, self.port), timeout=60)
        try:
            if self.trust:
                raw = self.trust.wrap_socket(raw, server_hostname=self.name)
            connection = http.client.HTTPConnection(self.name, self.port)
            connection.sock = raw
            connection.request("GET", f"/v2/{repository}/manifests/{reference}", headers=headers)
            response = connection.getresponse()
            body = response.read(LARGEST_MANIFEST)
        except http.client.HTTPException as error:
            raise Failure(f"what answers as {self.name}:{self.port} does not speak HTTP: {error!r}") from None
        finally:
            raw.close()
        if response.status == 404:
            return None
        if response.status == 401:
            raise Failure(f"{self.name}:{self.port} refuses the user {self.user!r}, or its password")
        if response.status != 200:
            raise Failure(f"{self.name}:{self.port} answered with HTTP status {response.status}")
        return digest_of(body), json.loads(body)

    def size(self, repository: str, digest: str, content: dict) -> int:
        """Return the bytes of all that an image needs, each blob counted once."""
        sizes = {digest: len(json.dumps(content))}
        waiting = [content]
        while waiting:
            content = waiting.pop()
            for blob in [content.get("config"), *content.get("layers", []), *content.get("manifests", [])]:
                if blob:
                    sizes[blob["digest"]] = blob.get("size", 0)
            for child in content.get("manifests", []):
                found = self.manifest(repository, child["digest"])
                waiting += [found[1]] if found else []
        return sum(sizes.values())


def encoded(user: str, password: str) -> str:
    """Return a login as HTTP and auth files have it."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def registry_logins(registry: str, p: dict) -> dict[str, str]:
    """Return the login of the registry that images go to, by what it is called; empty when it asks for none."""
    return {registry: encoded(p["user"], p["password"])} if p["user"] else {}


def write_logins(path: str, logins: dict[str, str]) -> None:
    """Write an auth file, as docker and skopeo read it."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"auths": {registry: {"auth": login} for registry, login in logins.items()}}, file)


def digest_of(content: bytes) -> str:
    """Return the digest of a manifest."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def run(*command: str, **environment: str) -> bytes:
    """Run a program, with this in its environment besides what is there, and return what it says.

    Raises:
        Failure: it fails; with its own last words.

    """
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=os.environ | environment
        )
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"status {done.returncode}"]
        # skopeo says: time="..." level=fatal msg="..."
        said = re.search(r'msg="((?:[^"\\]|\\.)*)"', lines[-1])
        raise Failure(f"{os.path.basename(command[0])}: {said[1] if said else lines[-1]}".replace('\\"', '"'))
    return done.stdout


class Source:
    """An image that skopeo reads."""

    def __init__(self, p: dict, directory: str) -> None:
        """Write the logins and certificates into a directory of root's."""
        self.digest, self.image_id = p["digest"], p["image_id"]
        self.skopeo = shutil.which("skopeo", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin")
        self.environment = {}
        if p["proxy"]:
            self.environment = {"HTTPS_PROXY": p["proxy"], "NO_PROXY": ",".join(p["no_proxy"])}
        self.address = "127.0.0.1"
        here = f"docker://{self.address}:{p['port']}/"
        self.target = here + p["image"]
        # On the loopback, and after the registry's certificate has been proved.
        self.to = {"authfile": f"{directory}/registry.json", "tls-verify": "false"}
        write_logins(self.to["authfile"], registry_logins(f"{self.address}:{p['port']}", p))
        registry = f"docker://{p['name']}:{p['port']}/"
        self.name = p["source"]
        if self.name.startswith(registry):
            self.name, self.source = here + self.name[len(registry) :], self.to
            return
        self.source = {"authfile": f"{directory}/sources.json"}
        write_logins(
            self.source["authfile"],
            {login["registry"]: encoded(login["name"], login["password"]) for login in p["logins"]},
        )
        if p["source_ca"]:
            self.source["cert-dir"] = f"{directory}/certificates"
            os.mkdir(self.source["cert-dir"])
            with open(f"{directory}/certificates/ca.crt", "w", encoding="utf-8") as file:
                file.write(p["source_ca"])

    def look(self) -> bool:
        """Learn the source's digest. False in check mode on a host that has no skopeo yet."""
        if self.digest or self.image_id:
            return True
        if not self.skopeo:
            return False
        options = [f"--{name}={value}" for name, value in self.source.items()]
        self.digest = digest_of(run(self.skopeo, "inspect", "--raw", *options, self.name, **self.environment))
        return True

    def same(self, digest: str, content: dict) -> bool:
        """Tell whether this is what the registry has."""
        return digest == self.digest or bool(self.image_id and self.image_id == content.get("config", {}).get("digest"))

    def copy(self) -> None:
        """Copy it, with all that belongs to it."""
        if not self.skopeo:
            raise Failure("skopeo is not installed here")
        # What docker save writes is unpacked and has no digest yet: it is packed on its way.
        whole = [] if self.name.startswith("docker-archive:") else ["--all", "--preserve-digests"]
        options = [f"--dest-{name}={value}" for name, value in self.to.items()]
        if self.name.startswith("docker://"):
            options += [f"--src-{name}={value}" for name, value in self.source.items()]
        run(
            self.skopeo,
            "copy",
            "--quiet",
            "--retry-times",
            "2",
            *whole,
            *options,
            self.name,
            self.target,
            **self.environment,
        )


class EngineSource:
    """An image of this host's Docker engine."""

    def __init__(self, p: dict, directory: str) -> None:
        """Write the registry's login into a directory of root's."""
        self.name = p["source"].partition(":")[2]
        self.address = p["name"]
        registry = f"{p['name']}:{p['port']}"
        self.target = f"{registry}/{p['image']}"
        self.directory = directory
        self.digest = self.image_id = ""
        write_logins(f"{directory}/config.json", registry_logins(registry, p))

    def id_of(self, name: str) -> str:
        """Return the id that the engine has for a name; empty where it has no such image."""
        try:
            return run("docker", "image", "inspect", "--format", "{{.Id}}", name).decode().strip()
        except Failure as failure:
            if "No such image" in str(failure):
                return ""
            raise

    def look(self) -> bool:
        """Learn the image's id."""
        self.image_id = self.id_of(self.name)
        if not self.image_id:
            raise Failure(f"the engine of {socket.gethostname()} has no image {self.name}")
        return True

    def same(self, digest: str, content: dict) -> bool:
        """Tell whether this is what the registry has. The containerd image store's id is that of the manifest."""
        return self.image_id in (digest, content.get("config", {}).get("digest"))

    def copy(self) -> None:
        """Push it. The name that this needs goes again, or back to what had it."""
        before = self.id_of(self.target)
        run("docker", "tag", self.name, self.target)
        try:
            run("docker", "--config", self.directory, "push", "--quiet", self.target)
        finally:
            if not before:
                run("docker", "image", "rm", self.target)
            elif before != self.image_id:
                run("docker", "tag", before, self.target)


def work(module: AnsibleModule, directory: str) -> dict:
    """Copy the image if it is due; return what the module returns."""
    repository, _, tag = module.params["image"].rpartition(":")
    source = (EngineSource if module.params["source"].startswith("engine:") else Source)(module.params, directory)
    known = source.look()
    registry = found = None
    try:
        registry = Registry(module.params, source.address)
        found = registry.manifest(repository, tag)
    except OSError as error:
        if not module.check_mode:
            where = f"{module.params['name']}:{module.params['port']}"
            raise Failure(f"the registry does not answer as {where}: {error}") from None
    if found and known and source.same(*found):
        return {
            "changed": False,
            "due": False,
            "digest": found[0],
            "size": registry.size(repository, *found),
            "seconds": 0.0,
        }
    if module.check_mode:
        return {"changed": True, "due": True, "digest": source.digest, "seconds": 0.0}
    start = time.monotonic()
    source.copy()
    seconds = round(time.monotonic() - start, 2)
    found = registry.manifest(repository, tag)
    if not found or not source.same(*found):
        raise Failure(f"the registry has {found[0] if found else 'nothing'} now, which is not what was copied")
    return {
        "changed": True,
        "due": True,
        "digest": found[0],
        "size": registry.size(repository, *found),
        "seconds": seconds,
    }


def main() -> None:
    """Run the module."""
    text = {"type": "str", "default": ""}
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "str", "required": True},
            "digest": text,
            "image_id": text,
            "name": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "ca": {"type": "path", "default": ""},
            "image": {"type": "str", "required": True},
            "user": text,
            "password": text | {"no_log": True},
            "logins": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "registry": {"type": "str", "required": True},
                    "name": {"type": "str", "required": True},
                    "password": {"type": "str", "required": True, "no_log": True},
                },
            },
            "source_ca": text,
            "proxy": text | {"no_log": True},
            "no_proxy": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    # A run that is cut off leaves no login behind: the directory goes with the exception.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    place = "/run" if os.access("/run", os.W_OK) else None
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="wharf-copy-", dir=place))
        try:
            result = work(module, directory)
        except (Failure, OSError, ValueError) as failure:
            stack.close()
            module.fail_json(msg=str(failure))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

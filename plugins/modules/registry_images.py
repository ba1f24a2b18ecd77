#!/usr/bin/python
"""Copy images into a registry, those that are not there yet."""

from __future__ import annotations

DOCUMENTATION = """
module: registry_images
author: Wharf maintainers
version_added: 1.0.0
short_description: Copy images into a registry, those that are not there yet
description:
  - Copies with skopeo, several images at once, indexes with all their images and every digest as it was. For that it
    runs on the registry's own server, and connects to 127.0.0.1, because the server need not resolve the registry's
    name. An image that cannot be copied does not stop the others.
  - An image of a host's Docker engine is pushed by that engine, from any host that trusts the registry.
  - Whether an image is there already is known by its digest; where the source has none yet (an engine of the classic
    image store, a file of C(docker save)), by the digest of its configuration, which is the image's id.
  - The registry itself is asked before and after, and its certificate verified.
  - Archives and bundles are transferred from the controller only if their images are needed, into a private directory
    that is removed again. Each image is shown on the controller as soon as it is done.
options:
  images:
    description: What to copy. Either this or I(job).
    type: list
    elements: dict
    suboptions:
      image:
        description: What the image becomes in the registry, C(REPOSITORY:TAG).
        type: str
        required: true
      source:
        description: What to copy, as skopeo names it (C(docker://HOST/NAME:TAG), C(docker-archive:FILE),
          C(oci-archive:FILE) with the word C(FILE) for I(archive)); C(engine:NAME:TAG) for an image of this host's
          engine; C(bundle) for an image of I(bundle).
        type: str
        default: bundle
      archive:
        description: Path of the archive on the controller.
        type: path
      size:
        description: What the image takes in the registry, in bytes, as far as it is known.
        type: int
        default: 0
      digest:
        description: The digest of the source's manifest or index, where it is known.
        type: str
        default: ""
      image_id:
        description: The digest of the source's configuration, where that is known and the other is not.
        type: str
        default: ""
  bundle:
    description: Path on the controller of the bundle that images come from.
    type: path
  parallel:
    description: How many images are copied at once.
    type: int
    default: 4
  name:
    description: The registry's name as clients use it.
    type: str
    default: ""
  port:
    description: The registry's port.
    type: int
    default: 5000
  tls:
    description: Whether the registry speaks TLS.
    type: bool
    default: true
  ca:
    description: Path of the registry's CA certificates in PEM on its server. Engines have their own.
    type: path
    default: ""
  container:
    description: The registry's container on this host, to see whether there is room for what comes from the controller.
    type: str
    default: ""
  users:
    description: The registry's users, the first of whom pushes; empty for a registry that is open to everyone.
    type: list
    elements: dict
    default: []
    suboptions: &user
      name: {description: The user., type: str, required: true}
      password: {description: The user's password., type: str, required: true}
  logins:
    description: Logins of the source registries.
    type: list
    elements: dict
    default: []
    suboptions:
      <<: *user
      registry: {description: HOST or HOST:PORT as in image references., type: str, required: true}
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
  place:
    description: Where on the host archives and bundles are transferred to; it must have twice their size free.
    type: path
    default: /var/tmp
  background:
    description: Go on in the background, and return I(job). The action plugin does so.
    type: bool
    default: false
  job:
    description: Wait for the next results of a job in the background. It ends when nobody does so for two minutes.
    type: path
  after:
    description: The number of results of I(job) that are known already.
    type: int
    default: 0
attributes:
  check_mode:
    description: Nothing is copied, and a registry that does not answer counts as one without the images.
    support: full
"""

EXAMPLES = """
- name: Copy images
  wharf.registry.registry_images:
    images:
      - {image: "team/app:1.4", source: "docker://quay.example.com/team/app:1.4"}
      - {image: "team/tool:2", source: "docker-archive:FILE", archive: /srv/images/tool.tar}
    name: registry.example.com
    port: 5000
    ca: /etc/wharf/tls/ca.crt
"""

RETURN = """
images:
  description: >-
    What became of each image, in the order in which they were done: its name C(image); C(pending), whether the registry
    did not have it; its C(digest) there; C(size), its bytes there, each blob counted once; C(seconds) that the copy
    took; C(failed), and C(msg) that says why.
  returned: always
  type: list
  elements: dict
rooms:
  description: How many bytes are free where archives are transferred to, and where the registry has its data.
  returned: in check mode
  type: list
  elements: dict
job:
  description: The directory of the job.
  returned: with background
  type: str
finished:
  description: Whether these are the last results.
  returned: with job
  type: bool
error:
  description: Why further images have no results; empty where they have.
  returned: with job
  type: str
"""

import base64
import contextlib
import fcntl
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
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.api import (
    Client,
    Manifest,
    NoResponseError,
    NotFoundError,
    TrustError,
    trust,
)
from ansible_collections.wharf.registry.plugins.module_utils.bundles import Bundle, room_at
from ansible_collections.wharf.registry.plugins.module_utils.data import container, mounted_at
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError
from ansible_collections.wharf.registry.plugins.module_utils.manifests import blobs, digest_of

PREFIX = "wharf-copy-"
ABANDONED = 120  # seconds after which a job that nobody asks for ends
PATIENCE = 20  # seconds that one question waits for a result


class Run:
    """What all images of a run share: logins, trust, programs. Its directory is root's alone."""

    def __init__(self, p: dict[str, Any], check_mode: bool, directory: str) -> None:
        """Write the logins and certificates. The umask keeps them private."""
        self.p, self.check_mode, self.directory = p, check_mode, directory
        self.skopeo = shutil.which("skopeo", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin")
        self.registry = f"{p['name']}:{p['port']}"
        self.local = f"127.0.0.1:{p['port']}"
        self.user = p["users"][0] if p["users"] else {"name": "", "password": ""}
        own = encoded(**self.user) if p["users"] else ""
        # The directory is also a Docker client's own, so that the engine pushes with this login.
        self.write_logins("config.json", {self.registry: own, self.local: own} if own else {})
        logins = {login["registry"]: encoded(login["name"], login["password"]) for login in p["logins"]}
        self.write_logins("sources.json", logins)
        # On the loopback, and after the registry's certificate has been verified.
        self.target_options = {"authfile": f"{directory}/config.json", "tls-verify": "false"}
        self.source_options = {"authfile": f"{directory}/sources.json"}
        if p["source_ca"]:
            self.source_options["cert-dir"] = f"{directory}/certificates"
            os.mkdir(self.source_options["cert-dir"])
            Path(directory, "certificates/ca.crt").write_text(p["source_ca"], encoding="utf-8")
        self.environment = {"HTTPS_PROXY": p["proxy"], "NO_PROXY": ",".join(p["no_proxy"])} if p["proxy"] else {}
        self.unpacked: dict[str, str] = {}
        self.children: set[subprocess.Popen[bytes]] = set()
        self.stopped = False

    def write_logins(self, name: str, logins: dict[str, str]) -> None:
        """Write an auth file, as docker and skopeo read it."""
        content = {"auths": {registry: {"auth": login} for registry, login in logins.items()}}
        Path(self.directory, name).write_text(json.dumps(content), encoding="utf-8")

    def call(self, *command: str, always: bool = False) -> bytes:
        """Run a program and return its output.

        Args:
            command: the program and its arguments.
            always: also after stop().

        Raises:
            WharfError: it fails; with its last line.
        """
        if self.stopped and not always:
            raise WharfError("it was stopped before its turn")
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **self.environment},
            )
        except OSError as error:
            raise WharfError(f"{command[0]}: {error.strerror}") from None
        self.children.add(child)
        try:
            output, errors = child.communicate()
        finally:
            self.children.discard(child)
        if child.returncode:
            last = (errors.decode("utf-8", "replace").strip().splitlines() or [f"status {child.returncode}"])[-1]
            # skopeo writes: time="..." level=fatal msg="..."
            message = re.search(r'msg="((?:[^"\\]|\\.)*)"', last)
            raise WharfError(f"{os.path.basename(command[0])}: {message[1] if message else last}".replace('\\"', '"'))
        return output

    def stop(self) -> None:
        """End the programs that run; those whose turn has not come yet are not started."""
        self.stopped = True
        for child in list(self.children):
            child.terminate()

    def results(self) -> Iterator[dict[str, Any]]:
        """Copy all images. Yields what became of each when it is done, and nothing ({}) each second meanwhile."""
        with contextlib.ExitStack() as stack:
            wanted = [image["image"] for image in self.p["images"] if image["source"] == "bundle"]
            if wanted and not self.check_mode:
                place = stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, dir=self.p["place"]))
                self.unpacked = Bundle(self.p["bundle"]).unpack(wanted, Path(place))
            pool = stack.enter_context(ThreadPoolExecutor(self.p["parallel"]))
            stack.push(lambda kind, *_: self.stop() if kind else None)  # before the pool waits for its threads
            waiting = {pool.submit(self.result, image) for image in self.p["images"]}
            while waiting:
                done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
                yield {}

    def result(self, image: dict[str, Any]) -> dict[str, Any]:
        """Copy one image; return what became of it."""
        result = {"image": image["image"], "pending": True, "digest": "", "size": 0, "seconds": 0.0, "failed": False}
        try:
            result.update(self.copy(image))
        except (WharfError, OSError, ValueError) as error:
            result.update(failed=True, msg=str(error))
        return result

    def copy(self, image: dict[str, Any]) -> dict[str, Any]:
        """Copy one image if it is not there."""
        source = (EngineSource if image["source"].startswith("engine:") else SkopeoSource)(self, image)
        source.identify()
        try:
            found, size = self.find(source, image["image"])
        except (NoResponseError, TrustError):
            if not self.check_mode:
                raise
            found, size = None, 0
        if found and source.matches(found):
            return {"pending": False, "digest": found.digest, "size": size}
        if self.check_mode:
            return {"digest": source.digest}
        start = time.monotonic()
        source.copy()
        seconds = round(time.monotonic() - start, 2)
        found, size = self.find(source, image["image"])
        if not found or not source.matches(found):
            has = found.digest if found else "nothing"
            raise WharfError(f"the registry has {has} now, which is not what was copied")
        return {"digest": found.digest, "size": size, "seconds": seconds}

    def find(self, source: SkopeoSource | EngineSource, image: str) -> tuple[Manifest | None, int]:
        """Return what the registry has under an image's name, and its bytes if it is this source's image."""
        repository, _, tag = image.rpartition(":")
        with self.client(source) as client:
            try:
                found = client.manifest(repository, tag)
            except NotFoundError:
                return None, 0
            return found, sum(client.sizes(repository, found).values()) if source.matches(found) else 0

    def client(self, source: SkopeoSource | EngineSource) -> Client:
        """Return a client of the registry that images go to, on the source's way there."""
        return Client(
            self.p["name"],
            self.p["port"],
            source.trust() if self.p["tls"] else None,
            address=source.address,
            user=self.user["name"],
            password=self.user["password"],
            timeout=60,
        )

    def rooms(self) -> list[dict[str, Any]]:
        """Return how much is free where archives are transferred to, and where the registry has its data."""
        data = mounted_at(container(self.p["container"])) if self.p["container"] else None
        return [room_at(place) for place in (self.p["place"], data) if place and os.path.isdir(place)]


class SkopeoSource:
    """An image that skopeo reads."""

    def __init__(self, run: Run, image: dict[str, Any]) -> None:
        """Say what it is for skopeo."""
        self.run, self.digest, self.image_id = run, image["digest"], image["image_id"]
        self.address = "127.0.0.1"
        self.target = f"docker://{run.local}/{image['image']}"
        self.name = image["source"].replace("FILE", image["archive"] or "FILE", 1)
        self.options = run.source_options
        if image["source"] == "bundle":
            self.name = f"dir:{run.unpacked.get(image['image'], '')}"
        elif self.name.startswith(f"docker://{run.registry}/"):
            self.name = self.name.replace(run.registry, run.local, 1)
            self.options = run.target_options

    def trust(self) -> ssl.SSLContext:
        """Return which certificates of the registry are good: those of its own CA."""
        return trust(self.run.p["ca"])

    def identify(self) -> None:
        """Learn the source's digest, unless it is known, or skopeo is only to be installed."""
        if not self.digest and not self.image_id and self.run.skopeo:
            options = [f"--{name}={value}" for name, value in self.options.items()]
            self.digest = digest_of(self.run.call(self.run.skopeo, "inspect", "--raw", *options, self.name))

    def matches(self, found: Manifest) -> bool:
        """Tell whether this is what the registry has."""
        return found.digest == self.digest or bool(self.image_id) and self.image_id == configuration(found)

    def copy(self) -> None:
        """Copy it, with everything that belongs to it."""
        if not self.run.skopeo:
            raise WharfError("skopeo is not installed here")
        # What docker save writes is unpacked and has no digest yet: it is packed on its way.
        whole = [] if self.name.startswith("docker-archive:") else ["--all", "--preserve-digests"]
        options = [f"--dest-{name}={value}" for name, value in self.run.target_options.items()]
        if self.name.startswith("docker://"):
            options += [f"--src-{name}={value}" for name, value in self.options.items()]
        command = [self.run.skopeo, "copy", "--quiet", "--retry-times", "2", *whole, *options]
        self.run.call(*command, self.name, self.target)


class EngineSource:
    """An image of this host's Docker engine."""

    def __init__(self, run: Run, image: dict[str, Any]) -> None:
        """Say what it is for docker."""
        self.run = run
        self.name = image["source"].partition(":")[2]
        self.address = ""
        self.target = f"{run.registry}/{image['image']}"
        self.digest = self.image_id = ""

    def trust(self) -> ssl.SSLContext:
        """Return which certificates of the registry are good: those that the engine takes."""
        directory = f"/etc/docker/certs.d/{self.run.registry}"
        return trust(*[directory] if os.path.isdir(directory) else [], system=True)

    def id_of(self, name: str) -> str:
        """Return the id that the engine has for a name; empty where it has no such image."""
        try:
            return self.run.call("docker", "image", "inspect", "--format", "{{.Id}}", name).decode().strip()
        except WharfError as error:
            if "No such image" in str(error):
                return ""
            raise

    def identify(self) -> None:
        """Learn the image's id."""
        self.image_id = self.id_of(self.name)
        if not self.image_id:
            raise WharfError(f"the engine of {socket.gethostname()} has no image {self.name}")

    def matches(self, found: Manifest) -> bool:
        """Tell whether this is what the registry has. The containerd image store's id is that of the manifest."""
        return self.image_id in (found.digest, configuration(found))

    def copy(self) -> None:
        """Push it. The name that this needs is removed again, or given back to the image that had it."""
        before = self.id_of(self.target)
        self.run.call("docker", "tag", self.name, self.target)
        try:
            self.run.call("docker", "--config", self.run.directory, "push", "--quiet", self.target)
        finally:
            if not before:
                self.run.call("docker", "image", "rm", self.target, always=True)
            elif before != self.image_id:
                self.run.call("docker", "tag", before, self.target, always=True)


def encoded(name: str, password: str) -> str:
    """Return a login as auth files have it."""
    return base64.b64encode(f"{name}:{password}".encode()).decode()


def configuration(found: Manifest) -> str:
    """Return the digest of an image's configuration, which is its id in the classic image store; empty for an index."""
    return next((blob["digest"] for blob in blobs({"config": found.document.get("config")})), "")


# In the background --------------------------------------------------------------------------------


def start(work: Callable[[], Generator[dict[str, Any], None, None]]) -> str:
    """Go on in a process of its own, which writes each result as a line of a file. Returns the job's directory.

    It holds the file's lock as long as it lives. It ends when nobody has asked for its results for a while: the
    controller is gone.
    """
    job = tempfile.mkdtemp(prefix=PREFIX, dir=runtime_directory())
    file = open(os.path.join(job, "results"), "a", encoding="utf-8")  # noqa: SIM115 (the child's, as long as it lives)
    fcntl.flock(file, fcntl.LOCK_EX)
    if os.fork():
        return job
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    try:
        asked, deadline = 0.0, time.monotonic() + ABANDONED
        with contextlib.closing(work()) as results:
            for result in results:
                if result:
                    write_line(file, result)
                if os.stat(job).st_mtime != asked:
                    asked, deadline = os.stat(job).st_mtime, time.monotonic() + ABANDONED
                if time.monotonic() > deadline:
                    break
        if time.monotonic() > deadline:
            shutil.rmtree(job)
    except BaseException as error:
        write_line(file, {"error": str(error) or type(error).__name__})
    finally:
        os._exit(0)


def write_line(file: Any, result: dict[str, Any]) -> None:
    """Write a result for progress()."""
    file.write(json.dumps(result) + "\n")
    file.flush()


def progress(job: str, after: int) -> dict[str, Any]:
    """Return the results of a job after those that are known, once there are some; the last ones end it."""
    if not os.path.basename(job).startswith(PREFIX):
        raise WharfError(f"{job} is no job of this module")
    deadline = time.monotonic() + PATIENCE
    with open(os.path.join(job, "results"), encoding="utf-8") as file:
        while True:
            os.utime(job)
            finished = is_unlocked(file)
            file.seek(0)
            lines = [line for line in file.read().splitlines(keepends=True) if line.endswith("\n")][after:]
            if lines or finished or time.monotonic() > deadline:
                break
            time.sleep(0.1)
    if finished:
        shutil.rmtree(job)
    results = [json.loads(line) for line in lines]
    error = next((result["error"] for result in results if "error" in result), "")
    return {"images": [r for r in results if "error" not in r], "finished": finished, "error": error}


def is_unlocked(file: Any) -> bool:
    """Tell whether nobody holds a file's lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True


# The module ---------------------------------------------------------------------------------------


def runtime_directory() -> str | None:
    """Return where nothing survives a reboot; the default place for a user who may not write there."""
    return "/run" if os.access("/run", os.W_OK) else None


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do what is asked for; return what the module returns."""
    p = module.params
    if p["job"]:
        return {"changed": False, **progress(p["job"], p["after"])}

    def work() -> Generator[dict[str, Any], None, None]:
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=runtime_directory()) as directory:
            copies = Run(p, module.check_mode, directory)
            yield from copies.results()
            if module.check_mode:
                yield {"rooms": copies.rooms()}

    if p["background"]:
        return {"changed": False, "job": start(work)}
    results = [result for result in work() if result]
    rooms = results.pop()["rooms"] if module.check_mode else []
    failed = [f"{result['image']}: {result['msg']}" for result in results if result["failed"]]
    changed = any(result["pending"] and not result["failed"] for result in results)
    return {"changed": changed, "images": results, "rooms": rooms, "failed": bool(failed), "msg": "; ".join(failed)}


def main() -> None:
    """Run the module."""
    text = {"type": "str", "default": ""}
    name = {"type": "str", "required": True}
    image = {"image": name, "source": {**text, "default": "bundle"}, "digest": text, "image_id": text}
    image.update(archive={"type": "path"}, size={"type": "int", "default": 0})
    user = {"name": name, "password": {**name, "no_log": True}}
    module = AnsibleModule(
        argument_spec={
            "images": {"type": "list", "elements": "dict", "options": image},
            "bundle": {"type": "path"},
            "parallel": {"type": "int", "default": 4},
            "name": text,
            "port": {"type": "int", "default": 5000},
            "tls": {"type": "bool", "default": True},
            "ca": {"type": "path", "default": ""},
            "container": text,
            "users": {"type": "list", "elements": "dict", "default": [], "options": user},
            "logins": {"type": "list", "elements": "dict", "default": [], "options": {"registry": name, **user}},
            "source_ca": text,
            "proxy": {**text, "no_log": True},
            "no_proxy": {"type": "list", "elements": "str", "default": []},
            "place": {"type": "path", "default": "/var/tmp"},
            "background": {"type": "bool", "default": False},
            "job": {"type": "path"},
            "after": {"type": "int", "default": 0},
        },
        required_one_of=[("images", "job")],
        mutually_exclusive=[("images", "job")],
        supports_check_mode=True,
    )
    os.umask(0o077)
    # A run that is cut off leaves no login behind: its directory goes with the exception.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        result = run(module)
    except (WharfError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

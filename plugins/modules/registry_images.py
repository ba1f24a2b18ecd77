#!/usr/bin/python
"""Copy images into a registry, those that are not there yet."""

from __future__ import annotations

DOCUMENTATION = """
module: registry_images
author: Wharf maintainers
version_added: 1.0.0
short_description: Copy images into a registry, those that are not there yet
description:
  - Copies with skopeo, several images at once, indexes with all their images and every digest as it was; images of a
    bundle or of an OCI archive without it. For that it runs on the registry's own server, and connects to 127.0.0.1,
    because the server need not resolve the registry's name. An image of a host's Docker engine is pushed by that
    engine, from any host that trusts the registry.
  - To a pull-through cache nothing is pushed. Images of a bundle that are for one are written where the caches have
    theirs, which serve them at once.
  - From another registry, what belongs to an image comes along, such as signatures - the tags C(sha256-DIGEST.sig),
    C(.att), C(.sbom) and C(sha256-DIGEST). One that holds something else in the registry stays as it is there.
  - Archives and bundles are transferred from the controller only if their images are needed, into a private directory
    that is removed again. Each image is shown on the controller as soon as it is done; one that fails stops no other.
options:
  images:
    description: What to copy. Either this or I(job).
    type: list
    elements: dict
    suboptions:
      image: {description: "What the image becomes in the registry, C(REPOSITORY:TAG).", type: str, required: true}
      source:
        description: What to copy, as skopeo names it (C(docker://HOST/NAME:TAG), C(docker-archive:FILE) with the word
          C(FILE) for I(archive)); C(oci-archive) for the one with I(digest) in the OCI archive I(archive);
          C(engine:NAME:TAG) for an image of this host's engine; C(bundle) for an image of I(bundle).
        type: str
        default: bundle
      archive: {description: Path of the archive on the controller., type: path}
      size: {description: "What the image takes in the registry, in bytes, as far as it is known.", type: int}
      digest:
        description: The digest of the source's manifest or index, as far as it is known; of its configuration for what
          docker save wrote, which has no other digest yet.
        type: str
        default: ""
      cache:
        description: Whether an image of I(bundle) goes into the storage of the caches, where nothing is pushed.
        type: bool
        default: false
      missing:
        description: The digests of manifests that an image of I(bundle) names and that are not in it, which only a
          cache takes.
        type: list
        elements: str
        default: []
  bundle: {description: Path on the controller of the bundle that images come from., type: path}
  caches_data: {description: Where the caches of this host keep what they have., type: path}
  parallel: {description: How many images are copied at once., type: int, default: 4}
  name: {description: The registry's name as clients use it., type: str}
  port: {description: The registry's port., type: int, default: 5000}
  tls: {description: Whether the registry speaks TLS., type: bool, default: true}
  ca: {description: File of the registry's CA certificates on its server., type: path, default: ""}
  container: {description: "The registry's container on this host, to see how much room its data has.", type: str}
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
  source_ca: {description: "CA certificates of the source registries in PEM, trusted besides this host's.", type: str}
  proxy: {description: The proxy on the way to the source registries; it may hold a user and a password., type: str}
  no_proxy: {description: What is reached without the proxy., type: list, elements: str, default: []}
  job: {description: Wait for the next results of a job. It ends when nobody does so for some minutes., type: path}
  after: {description: The number of results of I(job) that are known already., type: int, default: 0}
attributes:
  check_mode: {description: A registry that does not answer counts as one without the images., support: full}
"""

EXAMPLES = """
- name: Copy images
  wharf.registry.registry_images:
    images:
      - {image: "team/app:1.4", source: "docker://quay.example.com/team/app:1.4"}
      - {image: "team/tool:2", source: "docker-archive:FILE", archive: /srv/images/tool.tar}
    name: registry.example.com
    ca: /etc/wharf/tls/ca.crt
"""

RETURN = """
images:
  description: What became of each image, its name C(image); C(pending), whether the registry did not have it; its
    C(digest) there; C(size), its bytes there, each blob counted once; C(seconds), where it was copied; C(attached), the
    tags of what belongs to it and was copied as well, such as signatures; C(note), what was left and why; C(failed),
    and C(msg) that says why.
  returned: always
  type: list
  elements: dict
table: {description: The same for people., returned: always, type: str}
rooms:
  description: How many bytes are free where archives are transferred to, where the registry has its data, and where
    the caches have theirs; null for a place that is not known or not there.
  returned: in check mode
  type: list
  elements: dict
job:
  description: The job that copies in the background. The action plugin asks for its next results until it has
    C(finished); C(error) says why it has no further ones.
  returned: otherwise
  type: str
"""

import base64
import contextlib
import fcntl
import glob
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
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import api, bundles, cache_storage, containers, data
from ansible_collections.wharf.registry.plugins.module_utils.engine import THIS_ENGINE
from ansible_collections.wharf.registry.plugins.module_utils.errors import DamageError, WharfError, message_of
from ansible_collections.wharf.registry.plugins.module_utils.manifests import (
    ATTACHED,
    OLD_FORMAT,
    blobs,
    children,
    digest_of,
    is_old_format,
    subject,
    walk,
)
from ansible_collections.wharf.registry.plugins.module_utils.references import spellings

PREFIX = "wharf-copy-"
RETRY = ("--retry-times", "2")  # where a registry does not answer in time
PLACE = "/var/tmp"  # where archives are transferred to, and bundles unpacked
ABANDONED = 120  # seconds after which a job that nobody asks for ends
PATIENCE = 20  # seconds that one question waits for a result


class KeptError(WharfError):
    """What the registry has stays, because something would be lost."""


class Copies:
    """What all images of a run share: logins, trust, programs. Its directory is root's alone."""

    def __init__(self, p: dict[str, Any], check_mode: bool, directory: str) -> None:
        """Write the logins and certificates. The umask keeps them private."""
        self.p, self.check_mode = p, check_mode
        self.skopeo = shutil.which("skopeo", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin")
        self.registry, self.local = f"{p['name']}:{p['port']}", f"127.0.0.1:{p['port']}"
        self.login = {"user": p["users"][0]["name"], "password": p["users"][0]["password"]} if p["users"] else {}
        own = [{"registry": registry, **p["users"][0]} for registry in (self.registry, self.local) if p["users"]]
        auths = {
            login["registry"]: {"auth": base64.b64encode(f"{login['name']}:{login['password']}".encode()).decode()}
            for login in [*p["logins"], *own]
        }
        logins = Path(directory, "config.json")
        logins.write_text(json.dumps({"auths": auths}), encoding="utf-8")
        # The engine's client reads the first, skopeo the second.
        self.environment = {**os.environ, **THIS_ENGINE, "DOCKER_CONFIG": directory, "REGISTRY_AUTH_FILE": str(logins)}
        if p["proxy"]:
            self.environment.update(HTTPS_PROXY=p["proxy"], NO_PROXY=",".join(p["no_proxy"]))
        self.source_trust: list[str] = []
        if p["source_ca"]:
            os.mkdir(f"{directory}/certificates")
            Path(directory, "certificates/ca.crt").write_text(p["source_ca"], encoding="utf-8")
            self.source_trust = [f"cert-dir={directory}/certificates"]
        self.bundle: bundles.Bundle | None = None
        self.tags: dict[str, list[str]] = {}  # of each source repository that was asked
        self.stopped = threading.Event()

    def call(self, *command: str, always: bool = False) -> bytes:
        """Run a program and return its output; not when the run was stopped, unless always.

        Raises:
            WharfError: it fails; with its last line.
        """
        if not always:
            self.refuse_stopped()
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment
        ) as child:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    output, errors = child.communicate(timeout=1)
                    break
                if self.stopped.is_set() and not always:
                    child.terminate()
        if child.returncode:
            last = (errors.decode("utf-8", "replace").strip().splitlines() or [f"status {child.returncode}"])[-1]
            # skopeo writes: time="..." level=fatal msg="..."
            message = re.search(r'msg="((?:[^"\\]|\\.)*)"', last)
            raise WharfError(f"{os.path.basename(command[0])}: {message[1] if message else last}".replace('\\"', '"'))
        return output

    def refuse_stopped(self) -> None:
        """Raise WharfError when the run was stopped."""
        if self.stopped.is_set():
            raise WharfError("it was stopped before its turn")

    def results(self) -> Generator[dict[str, Any], None, None]:
        """Copy all images. Yields what became of each when it is done."""
        if self.p["bundle"] and not self.check_mode:
            self.bundle = bundles.Bundle(self.p["bundle"])
        yield from self.results_of([image for image in self.p["images"] if not image["cache"]])
        # A trimming may keep these waiting, and no others.
        if cached := [image for image in self.p["images"] if image["cache"]]:
            is_writing = self.bundle is not None
            with cache_storage.filling(self.p["caches_data"]) if is_writing else contextlib.nullcontext():
                yield from self.results_of(cached)

    def results_of(self, images: list[dict[str, Any]]) -> Generator[dict[str, Any], None, None]:
        """Copy some of the images, several at once. Yields what became of each when it is done."""
        pool = ThreadPoolExecutor(self.p["parallel"])
        try:
            for future in as_completed([pool.submit(self.result, image) for image in images]):
                yield future.result()
        except BaseException:
            self.stopped.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def result(self, image: dict[str, Any]) -> dict[str, Any]:
        """Copy one image; return what became of it."""
        result = {"image": image["image"], "pending": True, "digest": "", "size": 0, "failed": False}
        try:
            return {**result, **self.copy(image)}
        except (WharfError, OSError, ValueError) as error:
            return {**result, "failed": True, "msg": message_of(error)}

    def copy(self, image: dict[str, Any]) -> dict[str, Any]:
        """Copy one image if the registry does not have it."""
        kind, _, _ = image["source"].partition(":")
        bundled = CachedSource if image["cache"] else BundleSource
        kinds = {"engine": EngineSource, "bundle": bundled, "oci-archive": ArchiveSource}
        source = kinds.get(kind, SkopeoSource)(self, image)
        wanted = image["digest"] or source.identify()
        try:
            state = source.state(wanted)
        except (api.NoResponseError, api.TrustError):
            if not self.check_mode:
                raise
            state = {"pending": True}
        if self.check_mode and state["pending"]:
            return {"digest": wanted if source.has_digest else ""}
        start, pending = time.monotonic(), state["pending"]
        if pending:
            try:
                source.copy()
            except KeptError as error:
                return {"pending": False, "digest": state["digest"], "note": str(error)}
            state = source.state(wanted)
            if state["pending"]:
                found = state["digest"] or "nothing"
                raise WharfError(f"the {source.holder} has {found} now, which is not what was copied")
        attached = source.attach(state["digest"])
        state.update(attached, pending=pending or bool(attached.get("attached")))
        if state["pending"] and not self.check_mode:
            state["seconds"] = round(time.monotonic() - start, 2)
        return state

    def client(self, source: Source) -> api.Client:
        """Return a client of the registry."""
        p, context = self.p, source.trust() if self.p["tls"] else None
        return api.Client(p["name"], p["port"], context, address=source.address, timeout=60, **self.login)


class Source:
    """Where an image comes from."""

    address = "127.0.0.1"  # of the registry
    holder = "registry"  # of the image, once it is copied
    has_digest = True

    def __init__(self, copies: Copies, image: dict[str, Any]) -> None:
        self.copies, self.image = copies, image["image"]
        self.ids: set[str] = set()  # besides the one that identify() returns
        self.repository, _, self.tag = self.image.rpartition(":")

    def trust(self) -> ssl.SSLContext:
        """Return which certificates of the registry are good: those of its own CA."""
        return api.trust(self.copies.p["ca"])

    def identify(self) -> str:
        """Return the image's digest or id, for one that does not say it."""
        raise NotImplementedError

    def state(self, wanted: str) -> dict[str, Any]:
        """Return what the registry has under the image's name, and whether it is still to get what is wanted."""
        with self.copies.client(self) as client:
            try:
                found = client.manifest(self.repository, self.tag)
            except api.NotFoundError:
                return {"pending": True, "digest": ""}
            # An image's id is its configuration's digest in the classic image store, its manifest's in containerd's.
            names = [found.digest, *(blob["digest"] for blob in blobs({"config": found.document.get("config")}))]
            if not {wanted, *self.ids} & set(names):
                return {"pending": True, "digest": found.digest}
            return {"pending": False, "digest": found.digest, "size": client.size(self.repository, found)}

    def copy(self) -> None:
        """Copy it, with everything that it needs."""
        raise NotImplementedError

    def is_pending(self, client: api.Client, tag: str, content: bytes) -> bool:
        """Tell whether the registry is still to get a list of signatures and the like.

        Raises KeptError where what it has holds something that would be lost.
        """
        try:
            present = client.manifest(self.repository, tag)
        except api.NotFoundError:
            return True
        refuse_loss(tag, content, present.document)
        return present.digest != digest_of(content)

    def attach(self, _digest: str) -> dict[str, Any]:
        """Copy what belongs to an image that the registry has, such as signatures; return what to tell about it."""
        return {}


class BundleSource(Source):
    """An image of the bundle."""

    def __init__(self, copies: Copies, image: dict[str, Any]) -> None:
        super().__init__(copies, image)
        if image["missing"] and not image["cache"]:
            raise WharfError(
                "the bundle has it from a cache, and not for all its platforms, which only a cache takes: list"
                f" {self.repository.partition('/')[0]} in wharf_caches, and run playbooks/deploy-registry.yml"
            )

    def layout(self) -> bundles.Layout:
        """Return where the image is."""
        return self.copies.bundle

    def copy(self) -> None:
        """Push what the registry does not have: blobs, manifests after those that they name, and the tag."""
        layout = self.layout()
        needs = layout.needs[self.image]
        with self.copies.client(self) as client:
            for digest, is_manifest in needs.items():
                self.copies.refuse_stopped()
                if not is_manifest and not client.has_blob(self.repository, digest):
                    with layout.blob(digest) as file:
                        client.push_file(self.repository, digest, file, file.size)
            manifests = [digest for digest, is_manifest in needs.items() if is_manifest]
            if ATTACHED.fullmatch(self.tag):
                self.is_pending(client, self.tag, layout.manifest(manifests[-1]))
            for digest in manifests:
                reference = self.tag if digest == manifests[-1] else digest
                with explained(content := layout.manifest(digest)):
                    client.push_manifest(self.repository, reference, content)


class CachedSource(BundleSource):
    """An image of the bundle for a cache, to which nothing is pushed: what it has is written here."""

    holder = "cache"

    def __init__(self, copies: Copies, image: dict[str, Any]) -> None:
        super().__init__(copies, image)
        self.digest, self.missing = image["digest"], image["missing"]
        self.storage = cache_storage.CacheStorage(copies.p["caches_data"], self.repository.partition("/")[0])

    def present(self) -> str:
        """Return the digest to which the tag leads in the cache; empty where it leads nowhere."""
        with contextlib.suppress(DamageError):
            return self.storage.tag(self.repository, self.tag)
        return ""

    def state(self, wanted: str) -> dict[str, Any]:
        """Return what the cache has under the image's name, and whether it is still to get what is wanted."""
        digest = self.present()
        if digest != wanted or not self.storage.is_whole(self.repository, self.tag, self.missing):
            return {"pending": True, "digest": digest}
        sizes = map(self.storage.size, self.storage.closure(digest, missing=self.missing))
        return {"pending": False, "digest": digest, "size": sum(size or 0 for size in sizes)}

    def copy(self) -> None:
        """Write what the cache does not have."""
        layout, present = self.layout(), self.present()
        if present and ATTACHED.fullmatch(self.tag):
            refuse_loss(self.tag, layout.manifest(self.digest), self.storage.readable(present))
        self.storage.store(self.image, layout, self.copies.refuse_stopped)


class ArchiveSource(BundleSource):
    """An image of an OCI archive, which nothing but its digest names here."""

    def __init__(self, copies: Copies, image: dict[str, Any]) -> None:
        super().__init__(copies, image)
        self.archive, self.digest = image["archive"], image["digest"]

    def layout(self) -> bundles.Layout:
        """Open the archive, and find what the image needs."""
        return bundles.Archive(self.archive, self.image, self.digest)


class SkopeoSource(Source):
    """An image that skopeo reads."""

    def __init__(self, copies: Copies, image: dict[str, Any]) -> None:
        super().__init__(copies, image)
        self.name = image["source"].replace("FILE", image["archive"] or "FILE", 1)
        self.trusted = copies.source_trust
        for own in spellings(copies.p["name"], copies.p["port"], copies.p["tls"]):
            if self.name.startswith(f"docker://{own}/"):
                self.name = self.name.replace(own, copies.local, 1)
                self.trusted = ["tls-verify=false"]
                break
        # What docker save writes is unpacked and has no digest yet: it is packed on its way.
        self.has_digest = not self.name.startswith("docker-archive:")
        # What is in a registry can be read part by part.
        self.place = re.sub(r"(@[^@/]+|:[^:/]+)$", "", self.name) if self.name.startswith("docker://") else ""
        self.contents: dict[str, bytes] = {}

    def skopeo(self, *arguments: str) -> bytes:
        """Run skopeo, which must be there."""
        if not self.copies.skopeo:
            raise WharfError("skopeo is not installed here")
        return self.copies.call(self.copies.skopeo, *arguments)

    def raw(self, name: str) -> bytes:
        """Return the manifest or index that a name leads to."""
        if name not in self.contents:
            options = [f"--{option}" for option in self.trusted]
            self.contents[name] = self.skopeo("inspect", "--raw", *RETRY, *options, name)
        return self.contents[name]

    def identify(self) -> str:
        """Return the source's digest; empty where skopeo is only to be installed."""
        return digest_of(self.raw(self.name)) if self.copies.skopeo else ""

    def copy(self) -> None:
        """Copy it, with everything that it needs."""
        if self.place:
            with self.copies.client(self) as client:
                self.transfer(client, self.name, self.tag)
        else:
            self.run(self.name, self.image)

    def transfer(self, client: api.Client, name: str, reference: str) -> None:
        """Copy what a name leads to, to a tag or a digest.

        An index is copied here, part by part: of one with layers that zstd has packed, skopeo says that it must be
        converted, because it would note that in the index; and an index inside an index is more than it copies.
        """
        content = self.raw(name)
        manifest = json.loads(content)
        if is_old_format(manifest):
            raise WharfError(f"it {OLD_FORMAT}")
        with explained(content):
            if "manifests" in manifest:
                for child in children(manifest):
                    self.transfer(client, f"{self.place}@{child['digest']}", child["digest"])
                client.push_manifest(self.repository, reference, content)
            else:
                self.run(name, f"{self.repository}{'@' if ':' in reference else ':'}{reference}")

    def run(self, name: str, target: str) -> None:
        """Let skopeo copy."""
        options = ["--preserve-digests"] if self.has_digest else []
        if self.place:
            options += [f"--src-{option}" for option in self.trusted]
        # On the loopback, and after the registry's certificate has been verified.
        command = ["copy", "--quiet", *RETRY, "--dest-tls-verify=false", *options]
        self.skopeo(*command, name, f"docker://{self.copies.local}/{target}")

    def attach(self, digest: str) -> dict[str, Any]:
        """Copy the tags of what belongs to an image, to a part of it, or to one of them."""
        if not self.place or not self.copies.skopeo:
            return {}
        copied, kept, seen, pending = [], [], set(), [digest]
        with self.copies.client(self) as client:
            try:
                tags = self.tags()
            except WharfError as error:
                return {"note": f"its signatures were not looked for: {error}"}
            while pending:
                for part, _ in walk(pending.pop(), lambda one: client.manifest(self.repository, one).document):
                    own = [] if part in seen else [tag for tag in tags if subject({"manifests": []}, tag) == part]
                    seen.add(part)
                    for tag in own:
                        content = self.raw(f"{self.place}:{tag}")
                        try:
                            is_pending = self.is_pending(client, tag, content)
                        except KeptError as error:
                            kept.append(str(error))
                            continue
                        if is_pending:
                            copied.append(tag)
                        if is_pending and not self.copies.check_mode:
                            self.transfer(client, f"{self.place}:{tag}", tag)
                        if not (is_pending and self.copies.check_mode):
                            pending.append(digest_of(content))
        return {key: value for key, value in {"attached": copied, "note": "; ".join(kept)}.items() if value}

    def tags(self) -> list[str]:
        """Return the tags that are in the source's repository, asked for once."""
        if self.place not in self.copies.tags:
            options = [f"--{option}" for option in self.trusted]
            self.copies.tags[self.place] = (
                json.loads(self.skopeo("list-tags", *RETRY, *options, self.place))["Tags"] or []
            )
        return self.copies.tags[self.place]


def refuse_loss(tag: str, content: bytes, present: dict[str, Any]) -> None:
    """Raise KeptError where a list of signatures and the like that is there holds something that a new one lacks."""
    new, old = (
        {part["digest"] for part in (*children(one), *blobs({**one, "config": None}))}
        for one in (json.loads(content), present)
    )
    if not old <= new:
        raise KeptError(f"{tag} stays as it is here, because it holds something else")


@contextlib.contextmanager
def explained(content: bytes) -> Generator[None, None, None]:
    """Say why the registry may have refused a manifest."""
    try:
        yield
    except WharfError as error:
        if any(blob.get("urls") for blob in blobs(json.loads(content))):
            raise WharfError(
                f"{error} (it has layers that clients fetch from elsewhere: the registry takes such an image only with"
                " validation.manifests.urls.allow in registry_server_config)"
            ) from None
        raise


class EngineSource(Source):
    """An image of this host's Docker engine."""

    address = ""
    has_digest = False

    def __init__(self, copies: Copies, image: dict[str, Any]) -> None:
        super().__init__(copies, image)
        self.call = copies.call
        self.registry = copies.registry
        self.name = image["source"].partition(":")[2]
        self.target = f"{copies.registry}/{image['image']}"

    def trust(self) -> ssl.SSLContext:
        """Return which certificates of the registry are good: those that the engine takes."""
        directory = glob.escape(f"/etc/docker/certs.d/{self.registry}")
        return api.trust(*glob.glob(f"{directory}/*.crt"), system=True)

    def id_of(self, name: str) -> str:
        """Return the id that the engine has for a name; empty where it has no such image."""
        try:
            return self.call("docker", "image", "inspect", "--format", "{{.Id}}", name).decode().strip()
        except WharfError as error:
            if "No such image" in str(error):
                return ""
            raise

    def identify(self) -> str:
        """Return the image's id."""
        if found := self.id_of(self.name):
            # Of an index that is not there whole, the engine pushes what there is, with a digest of its own.
            known = containers.manifests(self.name)
            if not all(one.get("Available") for one in known):
                self.ids = {one["ID"] for one in known if one.get("Available")}
            return found
        raise WharfError(f"the engine of {socket.gethostname()} has no image {self.name}")

    def copy(self) -> None:
        """Push it. The name that this needs is removed again, or given back to the image that had it."""
        before = self.id_of(self.target)
        self.call("docker", "tag", self.name, self.target)
        try:
            self.call("docker", "push", "--quiet", self.target)
        finally:
            undo = ("tag", before, self.target) if before else ("image", "rm", self.target)
            self.call("docker", *undo, always=True)


# In the background --------------------------------------------------------------------------------


def start(work: Callable[[], Generator[dict[str, Any], None, None]]) -> str:
    """Do work in a process of its own, which writes each result as a line of a file. Returns the job's directory.

    The process holds the file's lock as long as it lives.
    """
    job = tempfile.mkdtemp(prefix=PREFIX, dir=runtime_directory())
    with open(os.path.join(job, "results"), "a", encoding="utf-8", buffering=1) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fork():
            return job
        try:
            os.setsid()
            for descriptor in (0, 1, 2):
                os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
            threading.Thread(target=end_when_abandoned, args=(job,), daemon=True).start()
            with contextlib.closing(work()) as results:
                for result in results:
                    print(json.dumps(result), file=file)
        except BaseException as error:
            print(json.dumps({"error": message_of(error)}), file=file)
        finally:
            os._exit(0)


def end_when_abandoned(job: str) -> None:
    """End this process when nobody has asked for the job's results for a while: the controller is gone."""
    asked = 0.0
    with contextlib.suppress(OSError):  # somebody has removed it
        while asked != os.stat(job).st_mtime:
            asked = os.stat(job).st_mtime
            time.sleep(ABANDONED)
        shutil.rmtree(job)
    os.kill(os.getpid(), signal.SIGTERM)


def progress(job: str, after: int) -> dict[str, Any]:
    """Return the results of a job after those that are known, once there are some; the last ones end it."""
    if not os.path.basename(job).startswith(PREFIX):
        raise WharfError(f"{job} is no job of this module")
    deadline, finished = time.monotonic() + PATIENCE, False
    with open(os.path.join(job, "results"), encoding="utf-8") as file:
        while True:
            os.utime(job)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                finished = True
            file.seek(0)
            results = [json.loads(line) for line in file if line.endswith("\n")][after:]
            if results or finished or time.monotonic() > deadline:
                break
            time.sleep(0.1)
    if finished:
        shutil.rmtree(job)
    error = next((result["error"] for result in results if "error" in result), "")
    return {"job": job, "images": [one for one in results if "error" not in one], "finished": finished, "error": error}


# The module ---------------------------------------------------------------------------------------


def runtime_directory() -> str | None:
    """Return where nothing survives a reboot; the default place for a user who may not write there."""
    return "/run" if os.access("/run", os.W_OK) else None


def run(p: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Do what is asked for; return what the module returns."""
    # A run that is cut off leaves no login behind: its directory goes with the exception.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("it was interrupted"))

    def work() -> Generator[dict[str, Any], None, None]:
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=runtime_directory()) as directory:
            yield from Copies(p, check_mode, directory).results()

    if check_mode:
        places = [PLACE, p["container"] and data.mounted_at(data.container(p["container"])), p["caches_data"]]
        rooms = [bundles.room_at(place) if place and os.path.isdir(place) else None for place in places]
        return {"images": list(work()), "rooms": rooms}
    return progress(p["job"] or start(work), p["after"])


def main() -> None:
    """Run the module."""
    text, name = {"default": ""}, {"required": True}
    user = {"name": name, "password": {"required": True, "no_log": True}}
    image = {"image": name, "source": {"default": "bundle"}, "archive": {"type": "path"}, "size": {"type": "int"}}
    image |= {
        "cache": {"type": "bool", "default": False},
        "missing": {"type": "list", "elements": "str", "default": []},
    }
    dicts = {"type": "list", "elements": "dict"}
    module = AnsibleModule(
        argument_spec={
            "images": {**dicts, "options": {**image, "digest": text}},
            "bundle": {"type": "path"},
            "caches_data": {"type": "path"},
            "parallel": {"type": "int", "default": 4},
            "name": {},
            "port": {"type": "int", "default": 5000},
            "tls": {"type": "bool", "default": True},
            "ca": {"type": "path", "default": ""},
            "container": {},
            "users": {**dicts, "default": [], "options": user},
            "logins": {**dicts, "default": [], "options": {"registry": name, **user}},
            "source_ca": {},
            "proxy": {"no_log": True},
            "no_proxy": {"type": "list", "elements": "str", "default": []},
            "job": {"type": "path"},
            "after": {"type": "int", "default": 0},
        },
        required_one_of=[("images", "job")],
        mutually_exclusive=[("images", "job")],
        supports_check_mode=True,
    )
    os.umask(0o077)
    try:
        result = run(module.params, module.check_mode)
    except (WharfError, OSError, ValueError) as error:
        module.fail_json(msg=message_of(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()

"""What clients of the registry do: log in, push and pull, and pull all the time while something happens to it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

from machines import PARTS, in_background, program, wait_until
from testinfra.host import Host

REGISTRY = "registry.wharf.test:5000"


def make_image(host: Host, reference: str, size: int = 200_000, platform: str = "linux/amd64") -> str:
    """Make an image of fresh random content, not pushed; return its ID."""
    return host.check_output(
        f"head -c {size} /dev/urandom >/var/tmp/content && tar -C /var/tmp -c content"
        f" | docker import --platform {platform} - {reference}; rm /var/tmp/content"
    )


def login(password: str, user: str = "ci", registry: str = REGISTRY) -> str:
    """Return the command that logs in to a registry, with the password on standard input."""
    return f"echo '{password}' | docker login --username {user} --password-stdin {registry}"


def log_in(host: Host, password: str, user: str = "ci", registry: str = REGISTRY) -> None:
    """Log root in to a registry."""
    assert host.run(login(password, user, registry)).rc == 0


def push(host: Host, reference: str) -> str:
    """Push an image and return its digest, sha256:..."""
    return host.check_output(f"docker push {reference}").rpartition("digest: ")[2].split()[0]


def by_digest(reference: str, digest: str) -> str:
    """Return the reference of an image by its digest instead of its tag."""
    return f"{reference.rpartition(':')[0]}@{digest}"


def pull(host: Host, reference: str, digest: str) -> None:
    """Pull an image by its digest; the client itself compares the content with it."""
    image = by_digest(reference, digest)
    host.check_output(f"docker pull --quiet {image} && docker image rm {image}")


def cri_pull(host: Host, image: str, password: str | None = None) -> str:
    """Ask containerd for an image as Kubernetes does, and return the trailers of the answer.

    There is no such client in Debian, so curl speaks gRPC: PullImageRequest {image {image}, auth {username, password}}.
    """

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    message = field(1, field(1, image.encode()))
    if password:
        message += field(2, field(1, b"ci") + field(2, password.encode()))
    request = base64.b64encode(b"\0" + len(message).to_bytes(4, "big") + message).decode()
    host.check_output(f"echo {request} | base64 --decode >/tmp/request")
    return host.check_output(
        "curl --silent --show-error --output /dev/null --dump-header - --http2-prior-knowledge"
        " --unix-socket /run/containerd/containerd.sock --request POST --header 'content-type: application/grpc'"
        " --header 'te: trailers' --data-binary @/tmp/request http://x/runtime.v1.ImageService/PullImage"
    )


def pull_all(host: Host, images: Mapping[str, str], registry: str = "") -> None:
    """Pull images, reference to digest, each by its digest; from another registry if one is named."""
    assert images
    for reference, digest in images.items():
        pull(host, registry + reference[reference.index("/") :] if registry else reference, digest)


def replace_container(server: Host, pusher: Host, puller: Host, ansible, image: str) -> None:
    """Push an image, remove the registry's containers, deploy again, and pull the image on another host."""
    digest = push(pusher, image)
    server.check_output(f"docker rm --force --volumes {PARTS}")
    ansible.succeeds("playbooks/deploy-registry.yml")
    pull(puller, image, digest)


class Watch:
    """What a client saw that pulled all the time. Filled when `watch` ends."""

    pulls = 0
    failures = 0
    # The longest time from the end of one good pull to the end of the next. Not only from a pull that failed: Docker
    # also waits for a registry that is away, and gets through.
    seconds = 0.0
    errors = ""  # what Docker said of the pulls that failed


@contextmanager
def watch(host: Host, reference: str) -> Iterator[Watch]:
    """Pull an image and remove it again, every 200 ms, while the block runs. The host must be logged in, if need be.

    It begins and ends with a good pull, the last one within 90 seconds.
    """
    seen = Watch()
    host.check_output("rm -f /tmp/watch.*")
    host.check_output(in_background(f"timeout 900 {program(host, 'pull-all-the-time.py', reference)}"))
    wait_until(host, "grep -q ' 0$' /tmp/watch.log", 30)
    try:
        yield seen
    finally:
        host.check_output("touch /tmp/watch.stop")
        ended = host.run("timeout 90 sh -c 'until [ -e /tmp/watch.done ]; do sleep 0.1; done'").rc == 0
        seen.errors = host.run("cat /tmp/watch.errors").stdout
    assert ended, seen.errors
    lines = [line.split() for line in host.check_output("cat /tmp/watch.log").splitlines()]
    ends = [(float(end), code == "0") for end, code in lines]
    good = [end for end, succeeded in ends if succeeded]
    seen.pulls, seen.failures = len(ends), len(ends) - len(good)
    seen.seconds = max(end - before for before, end in pairwise(good))


class Rounds(NamedTuple):
    """What a client saw that pulled, and one that pushed, in a stretch of time."""

    longest: dict[str, float]  # round in seconds, of each kind
    failures: list[str]


class AllTheTime:
    """A host that pulls, and pushes, every 200 ms, without a second attempt; see files/all-the-time.py."""

    def __init__(self, host: Host, user: str, password: str) -> None:
        """Begin."""
        self.host, self.file = host, "/tmp/all-the-time.json"
        host.check_output(f"rm -f {self.file}*")
        command = program(
            host, "all-the-time.py", REGISTRY, f"/etc/docker/certs.d/{REGISTRY}/wharf-ca.crt", user, self.file
        )
        host.check_output(f"echo '{password}' >/tmp/password; setsid {command} </tmp/password >{self.file}.out 2>&1 &")
        wait_until(host, f"[ -s {self.file} ]", 30)

    def end(self) -> None:
        """Let the last rounds end, within 90 seconds."""
        self.host.check_output(f"touch {self.file}.stop")
        wait_until(self.host, f"[ -e {self.file}.done ]", 90)

    @contextmanager
    def during(self) -> Iterator[Rounds]:
        """Fill what is yielded with the rounds that end or begin while the block runs; then one of each kind begins."""
        begin, rounds = float(self.host.check_output("date +%s.%N")), Rounds({}, [])
        yield rounds
        end, deadline = float(self.host.check_output("date +%s.%N")), time.monotonic() + 90
        while True:
            lines = [json.loads(line) for line in self.host.check_output(f"cat {self.file}").splitlines()]
            if {kind for kind, start, _, _ in lines if start > end} == {"pull", "push"}:
                break
            assert time.monotonic() < deadline, self.host.check_output(f"cat {self.file}.out; tail -n 3 {self.file}")
            time.sleep(0.1)
        for kind, start, seconds, problem in lines:
            if start + seconds > begin and start < end:
                rounds.longest[kind] = max(rounds.longest.get(kind, 0.0), seconds)
                rounds.failures.extend([f"{kind}: {problem}"] if problem else [])


# Certificates -------------------------------------------------------------------------------------


def served_certificate(server: Host, port: int = 5000) -> str:
    """Return the fingerprint of the certificate that the registry itself serves; empty where there is none."""
    return server.run(
        f"openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256"
    ).stdout.strip()


def serve_old_certificate(server: Host, life: int = 397, left: int = 97) -> None:
    """Let the registry serve a certificate from its CA that has so many days left of its life."""
    server.check_output(program(server, "make-certificate-old.sh", life - left, left))

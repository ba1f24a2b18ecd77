"""What attackers send: requests byte for byte, by each of the registry's users, and what must never come back."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from clients import REGISTRY
from machines import program
from testinfra.host import Host

CA = f"/etc/docker/certs.d/{REGISTRY}/wharf-ca.crt"
OCI = "application/vnd.oci.image.manifest.v1+json"
FORM = "Content-Type: application/x-www-form-urlencoded"
WRONG = "wrong"  # in the place of a user: ann, with another password


class Answer(NamedTuple):
    """What came back over one connection, until it was closed: the first response, and all of it."""

    status: int
    headers: str
    body: str
    all: str
    seconds: float

    def header(self, name: str) -> list[str]:
        """Return the values of a header."""
        return re.findall(rf"(?im)^{name}: *(.*?)\r?$", self.headers)

    @property
    def code(self) -> str:
        """Return OCI's code of an error in JSON. An answer that holds none is no such error."""
        assert self.header("Content-Type")[0].startswith("application/json"), self
        return json.loads(self.body)["errors"][0]["code"]


def digest_of(content: str) -> str:
    """Return the digest of a content."""
    return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


class Client:
    """A host that sends requests as the registry's users."""

    def __init__(self, host: Host, passwords: Mapping[str, str]) -> None:
        """Take the host and the users' passwords."""
        self.host, self.passwords = host, {WRONG: passwords["kiosk"], **passwords}
        self.program = program(host, "raw.py", REGISTRY, CA)

    def login(self, user: str) -> str:
        """Return the header of a user."""
        login = f"{'ann' if user == WRONG else user}:{self.passwords[user]}"
        return f"Authorization: Basic {base64.b64encode(login.encode()).decode()}"

    def request(self, user: str, line: str, *headers: str, body: str | None = None) -> str:
        """Return a request: `line` is METHOD TARGET, with HTTP/1.1 unless it names another version."""
        line += "" if re.search(r" HTTP/\S+$", line) else " HTTP/1.1"
        lines = [line, f"Host: {REGISTRY}", *([self.login(user)] if user else []), "Connection: close", *headers]
        lines += [] if "Accept:" in "".join(headers) else [f"Accept: {OCI}"]
        if body is not None:
            lines.append(f"Content-Length: {len(body.encode())}")
        return "\r\n".join([*lines, "", body or ""])

    def send(self, requests: Iterable[str]) -> list[Answer]:
        """Send requests, each over a connection of its own."""
        given, parts, size = list(requests), [[]], 0
        for request in given:  # the kernel takes no more than 128 KiB as one argument
            size += len(request) + 100
            if size > 60_000:
                parts.append([])
                size = len(request)
            parts[-1].append(request)
        answers = []
        for part in parts:
            output = self.host.check_output(f"printf %s {shlex.quote(json.dumps(part))} | {self.program}")
            for text, seconds in json.loads(output):
                head, _, body = text.partition("\r\n\r\n")
                status = re.match(r"HTTP/1\.[01] (\d{3})", head)
                answers.append(Answer(int(status[1]) if status else 0, head, body, text, seconds))
        assert len(answers) == len(given)
        return answers

    def ask(self, user: str, line: str, *headers: str, body: str | None = None) -> Answer:
        """Send one request."""
        return self.send([self.request(user, line, *headers, body=body)])[0]

    def push_blob(self, user: str, repository: str, content: str) -> str:
        """Push a blob; return its digest."""
        begun = self.ask(user, f"POST /v2/{repository}/blobs/uploads/", body="")
        assert begun.status == 202, begun
        (location,) = begun.header("Location")
        target = f"{location}{'&' if '?' in location else '?'}digest={digest_of(content)}"
        ended = self.ask(user, f"PUT {target}", "Content-Type: application/octet-stream", body=content)
        assert ended.status == 201, ended
        return digest_of(content)

    def push(self, user: str, repository: str, content: str, *tags: str) -> str:
        """Push an image whose only layer and manifest hold a content; return the manifest's digest."""
        blob = {
            "mediaType": "application/octet-stream",
            "digest": self.push_blob(user, repository, content),
            "size": len(content),
        }
        document = {"schemaVersion": 2, "mediaType": OCI, "config": blob, "layers": [blob]}
        manifest = json.dumps({**document, "annotations": {"content": content}})
        for tag in tags:
            answer = self.ask(user, f"PUT /v2/{repository}/manifests/{tag}", f"Content-Type: {OCI}", body=manifest)
            assert answer.status == 201, answer
        return digest_of(manifest)

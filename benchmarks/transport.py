"""Puts the same load on several registries in turn, and tells what each bears.

Run on the registries' own host, with their own addresses, so that no network and no proxy is measured. GETs come from
wrk, and from ab where each is to have a connection of its own, since wrk would resume its TLS sessions, which Docker
does not. Blobs are pushed by processes with one kept connection each, on plain sockets. What the client costs lies on
all sides alike and makes their rates more equal than they are: its share is told.

Prints one JSON object: for each load the unit, and for each registry the rates of all rounds, the best of them, and
which share of the machine's processors the client took in that round; then the memory of containers under load. The
best, because whatever else runs on the machine can only make a registry slower.
"""

from __future__ import annotations

import argparse
import base64
import collections
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import re
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
REPOSITORY = "benchmark"
# The processes are copies of this one: they find the content of the blobs in its memory.
PROCESSES = multiprocessing.get_context("fork")
# What is hashed and sent at a time: it stays in the processor's cache.
CHUNK = 1 << 18
LOADS = ("manifests", "new connections", "small blobs", "blob GETs", "pushes")
SMALL = 90  # bytes
MANY = 200  # clients, when the memory is measured
# No single wait on a socket lasts longer, in seconds.
TIMEOUT = 60


class TransportError(Exception):
    """A registry answered otherwise than it must."""


@dataclasses.dataclass
class Registry:
    """Where a registry is, and how it lets us in.

    Attributes:
        url: Scheme, address and port. What has https knows our user.
        data: Its storage on this host; what was pushed is removed from there.
        authorization: The value of the header of that name, or "".
        context: For TLS, with the CA to trust.
    """

    url: str
    data: pathlib.Path
    authorization: str = ""
    context: ssl.SSLContext | None = None


class Connection:
    """A kept HTTP/1.1 connection to a registry."""

    def __init__(self, registry: Registry) -> None:
        """Connects, with a check of the certificate where there is TLS."""
        parts = urllib.parse.urlsplit(registry.url)
        self.socket: socket.socket = socket.create_connection((parts.hostname, parts.port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if registry.context:
            self.socket = registry.context.wrap_socket(self.socket, server_hostname=parts.hostname)
        self.fixed = f"Host: {parts.netloc}\r\n"
        if registry.authorization:
            self.fixed += f"Authorization: {registry.authorization}\r\n"
        self.buffer = memoryview(bytearray(1 << 20))

    def head(self, method: str, path: str, *headers: str) -> bytes:
        """The bytes of a request up to its body."""
        lines = "".join(f"{header}\r\n" for header in headers)
        return f"{method} {path} HTTP/1.1\r\n{self.fixed}{lines}\r\n".encode()

    def exchange(
        self,
        head: bytes,
        status: int,
        body: Iterable[bytes | memoryview] = (),
        sink: Callable[[memoryview], object] | None = None,
    ) -> tuple[dict[str, str], int]:
        """Sends a request and reads the whole response.

        Args:
            head: What head() made.
            status: The status that must come.
            body: The request's body, in pieces.
            sink: Is given the response's body, in pieces.

        Returns:
            The response's headers, with names in lower case, and the length of its body in bytes.

        Raises:
            TransportError: Another status, or a connection that ended early.
        """
        self.socket.sendall(head)
        for piece in body:
            self.socket.sendall(piece)
        filled, end = 0, -1
        while end < 0:
            got = self.socket.recv_into(self.buffer[filled:])
            if not got:
                raise TransportError(f"{head.split(b' HTTP')[0].decode()}: the connection ended")
            filled += got
            end = self.buffer.obj.find(b"\r\n\r\n", 0, filled)
        first, *lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = 0 if head.startswith(b"HEAD") else int(headers["content-length"])
        pending = self.buffer[end + 4 : filled]
        left = length - len(pending)
        if sink:
            sink(pending)
        if int(first.split(" ")[1]) != status:
            raise TransportError(f"{head.split(b' HTTP')[0].decode()}: {first} {bytes(pending).decode('latin-1')}")
        while left:
            got = self.socket.recv_into(self.buffer[: min(left, len(self.buffer))])
            if not got:
                raise TransportError(f"{head.split(b' HTTP')[0].decode()}: the connection ended")
            if sink:
                sink(self.buffer[:got])
            left -= got
        return headers, length


def digest_of(content: bytes) -> str:
    """The digest of content, as the registry writes it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def push(connection: Connection, *pieces: bytes | memoryview) -> tuple[str, int]:
    """Pushes a blob with the requests of the Docker client, and like it makes the digest while the content is sent.

    Args:
        connection: Where to.
        pieces: The content.

    Returns:
        The digest, and the size in bytes.

    Raises:
        TransportError: The registry refused it, or came to another digest.
    """
    blobs = f"/v2/{REPOSITORY}/blobs"
    size = sum(len(piece) for piece in pieces)
    checksum = hashlib.sha256()

    def content() -> Iterator[memoryview]:
        for piece in pieces:
            view = memoryview(piece)
            for start in range(0, len(view), CHUNK):
                checksum.update(view[start : start + CHUNK])
                yield view[start : start + CHUNK]

    def target(headers: dict[str, str]) -> str:
        parts = urllib.parse.urlsplit(headers["location"])
        return f"{parts.path}?{parts.query}"

    headers, _ = connection.exchange(connection.head("POST", f"{blobs}/uploads/", "Content-Length: 0"), 202)
    fields = ("Content-Type: application/octet-stream", f"Content-Length: {size}")
    headers, _ = connection.exchange(connection.head("PATCH", target(headers), *fields), 202, content())
    digest = f"sha256:{checksum.hexdigest()}"
    head = connection.head("PUT", f"{target(headers)}&digest={digest}", "Content-Length: 0")
    headers, _ = connection.exchange(head, 201)
    if headers["docker-content-digest"] != digest:
        raise TransportError(f"{digest} became {headers['docker-content-digest']}")
    return digest, size


def fetch(connection: Connection, head: bytes, digest: str) -> int:
    """Reads a blob or manifest, compares its digest, and returns its size in bytes."""
    checksum = hashlib.sha256()
    _, size = connection.exchange(head, 200, sink=checksum.update)
    if f"sha256:{checksum.hexdigest()}" != digest:
        raise TransportError(f"{digest} came as sha256:{checksum.hexdigest()}")
    return size


def push_image(registry: Registry, blobs: list[tuple[str, bytes]]) -> str:
    """Pushes an image of these layers under the tag "latest", and returns its manifest's digest."""
    connection = Connection(registry)
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [name for name, _ in blobs]}}
    ).encode()
    for content in (config, *(blob for _, blob in blobs)):
        push(connection, content)
    layer = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config),
                "digest": digest_of(config),
            },
            "layers": [{"mediaType": layer, "size": len(blob), "digest": name} for name, blob in blobs],
        }
    ).encode()
    head = connection.head(
        "PUT",
        f"/v2/{REPOSITORY}/manifests/latest",
        f"Content-Type: {MANIFEST_TYPE}",
        f"Content-Length: {len(manifest)}",
    )
    headers, _ = connection.exchange(head, 201, (manifest,))
    if headers["docker-content-digest"] != digest_of(manifest):
        raise TransportError("the manifest's digest has changed")
    return digest_of(manifest)


def in_parallel(registry: Registry, workers: int, work: Callable[[Connection, int], int]) -> float:
    """Runs the same load in several processes at once.

    Args:
        registry: Whom to load.
        workers: How many processes, each with a connection of its own.
        work: Is given the connection and the process's number, and returns how much it did.

    Returns:
        The rate of all together, in what the work counts per second, from the first one's start to the last one's end.

    Raises:
        TransportError: One of them failed.
    """
    barrier = PROCESSES.Barrier(workers)
    results = PROCESSES.SimpleQueue()

    def run(number: int) -> None:
        try:
            connection = Connection(registry)
            barrier.wait(TIMEOUT)
            start = time.monotonic()
            amount = work(connection, number)
            results.put((start, time.monotonic(), amount, ""))
        except Exception as error:
            barrier.abort()
            results.put((0, 0, 0, f"{type(error).__name__}: {error}"))

    processes = [PROCESSES.Process(target=run, args=(number,)) for number in range(workers)]
    for process in processes:
        process.start()
    outcomes = [results.get() for _ in processes]
    for process in processes:
        process.join()
    # Those who only waited for the one that failed know nothing of the reason.
    errors = sorted((error for *_, error in outcomes if error), key=lambda error: error.startswith("BrokenBarrier"))
    if errors:
        raise TransportError(f"{registry.url}: {errors[0]}")
    starts, ends, amounts, _ = zip(*outcomes, strict=True)
    return sum(amounts) / (max(ends) - min(starts))


def small_requests(registry: Registry, path: str, digest: str, options: argparse.Namespace) -> float:
    """GETs of something small by wrk, over kept connections, per second."""
    check(registry, path, digest)
    output = wrk(registry, path, options.workers, options.seconds)
    return float(re.search(r"Requests/sec: *([0-9.]+)", output)[1])


def wrk(registry: Registry, path: str, connections: int, seconds: float, *more: str) -> str:
    """Let wrk load a registry, and return what it prints. Raises TransportError where a request failed."""
    command = [
        "wrk",
        "--threads=2",
        f"--connections={connections}",
        f"--duration={seconds:.0f}s",
        "--timeout=30s",
        *more,
    ]
    output = subprocess.run(
        [*command, *tool_options(registry, path)], check=True, capture_output=True, text=True
    ).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise TransportError(f"{registry.url}: {output}")
    return output


def new_connections(registry: Registry, path: str, digest: str, options: argparse.Namespace) -> float:
    """GETs of something small by ab, each over a connection of its own, per second."""
    check(registry, path, digest)
    # One ab uses one processor only.
    command = ["ab", "-q", "-c", str(options.workers // 2), "-t", f"{options.seconds:.0f}", "-n", "10000000"]
    command += tool_options(registry, path)
    tools = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    outputs = [tool.communicate()[0] for tool in tools]
    for tool, output in zip(tools, outputs, strict=True):
        if tool.returncode or "Non-2xx" in output or not re.search(r"Failed requests: +0\n", output):
            raise TransportError(f"{registry.url}: {output}")
    return sum(float(re.search(r"Requests per second: +([0-9.]+)", output)[1]) for output in outputs)


def tool_options(registry: Registry, path: str) -> list[str]:
    """What wrk and ab both are told."""
    headers = [f"Accept: {MANIFEST_TYPE}"]
    if registry.authorization:
        headers.append(f"Authorization: {registry.authorization}")
    return [*(option for header in headers for option in ("-H", header)), registry.url + path]


def check(registry: Registry, path: str, digest: str) -> None:
    """Look whether the right thing is served, before the measured time."""
    connection = Connection(registry)
    fetch(connection, connection.head("GET", path, f"Accept: {MANIFEST_TYPE}"), digest)


def blob_gets(registry: Registry, blobs: list[tuple[str, bytes]], options: argparse.Namespace) -> float:
    """GETs of blobs by wrk, all of them in turn, in MB/s."""
    paths = [f"/v2/{REPOSITORY}/blobs/{digest}" for digest, _ in blobs]
    for path, (digest, _) in zip(paths, blobs, strict=True):
        check(registry, path, digest)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        listed = ", ".join(f'"{path}"' for path in paths)
        script.write(
            f"local paths, next_path = {{{listed}}}, 0\n"
            "function request()\n"
            "  next_path = next_path % #paths + 1\n"
            '  return wrk.format("GET", paths[next_path])\n'
            "end\n"
        )
        script.flush()
        output = wrk(registry, paths[0], len(blobs), options.seconds, "--script", script.name)
    rate, unit = re.search(r"Transfer/sec: *([0-9.]+)([KMG])B", output).groups()
    return float(rate) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[unit] / 1e6


def blob_pushes(registry: Registry, blobs: list[tuple[str, bytes]], count: int) -> float:
    """Pushes of blobs that the registry does not have, so many by each process, in MB/s."""
    run = os.urandom(16)
    pushed = PROCESSES.SimpleQueue()

    def work(connection: Connection, number: int) -> int:
        # Random content that begins otherwise is new content.
        rest = memoryview(blobs[number][1])[32:]
        done = [push(connection, run + bytes([number, turn]) + bytes(14), rest) for turn in range(count)]
        pushed.put([digest for digest, _ in done])
        return sum(size for _, size in done)

    try:
        return in_parallel(registry, len(blobs), work) / 1e6
    finally:
        # Else the next measurement would compete with the writing of this one to the disk.
        while not pushed.empty():
            remove(registry, pushed.get())


def remove(registry: Registry, digests: list[str]) -> None:
    """Removes pushed blobs from the registry's storage."""
    root = registry.data / "docker/registry/v2"
    for digest in digests:
        name = digest.removeprefix("sha256:")
        shutil.rmtree(root / "blobs/sha256" / name[:2] / name, ignore_errors=True)
        shutil.rmtree(root / "repositories" / REPOSITORY / "_layers/sha256" / name, ignore_errors=True)


def measure(sides: dict[str, Registry], options: argparse.Namespace) -> dict[str, dict[str, object]]:
    """Measures all loads on all registries, alternating, so that all see the same moods of the machine.

    Args:
        sides: The registries by name.
        options: Of the command line: load, rounds, seconds, workers, size, pushes.

    Returns:
        For each load {"unit", "rates": {side: [...]}, "best": {side: rate}, "client": {side: share}}.
    """
    contents = [os.urandom(options.size << 20) for _ in range(options.workers)]
    blobs = [(digest_of(content), content) for content in contents]
    small = os.urandom(SMALL)
    manifest = {side: push_image(registry, blobs) for side, registry in sides.items()}
    for registry in sides.values():
        push(Connection(registry), small)
    tag, blob = f"/v2/{REPOSITORY}/manifests/latest", f"/v2/{REPOSITORY}/blobs/{digest_of(small)}"
    loads: dict[str, tuple[str, Callable[[str], float]]] = {
        "manifests": ("/s", lambda side: small_requests(sides[side], tag, manifest[side], options)),
        "new connections": ("/s", lambda side: new_connections(sides[side], tag, manifest[side], options)),
        "small blobs": ("/s", lambda side: small_requests(sides[side], blob, digest_of(small), options)),
        "blob GETs": ("MB/s", lambda side: blob_gets(sides[side], blobs, options)),
        "pushes": ("MB/s", lambda side: blob_pushes(sides[side], blobs, options.pushes)),
    }
    result = {}
    for load in options.load or loads:
        unit, rate = loads[load]
        rounds: dict[str, list[tuple[float, float]]] = collections.defaultdict(list)
        for side in sides:
            rate(side)  # warms caches, and does not count
        for turn in range(options.rounds):
            # Who comes first changes too.
            for side in sorted(sides, reverse=bool(turn % 2)):
                os.sync()
                rounds[side].append(with_share(rate, side))
                print(f"{load}, {side}: {rounds[side][-1][0]} {unit}", file=sys.stderr)
        result[load] = {
            "unit": unit,
            "rates": {side: [rate for rate, _ in values] for side, values in rounds.items()},
            "best": {side: max(values)[0] for side, values in rounds.items()},
            "client": {side: max(values)[1] for side, values in rounds.items()},
        }
    return result


def with_share(rate: Callable[[str], float], side: str) -> tuple[float, float]:
    """Measure, and return the rate and which share of the processors the client took."""

    def spent() -> float:
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in usage)

    start, before = time.monotonic(), spent()
    measured = rate(side)
    share = (spent() - before) / (time.monotonic() - start) / (os.cpu_count() or 1)
    return round(measured, 1), round(share, 2)


def memory(registry: Registry, containers: list[str]) -> dict[str, float]:
    """Return the megabytes that each container has while many clients ask for a manifest, each over its connection."""
    seconds = 4
    load = PROCESSES.Process(target=wrk, args=(registry, f"/v2/{REPOSITORY}/manifests/latest", MANY, seconds))
    load.start()
    time.sleep(seconds / 2)
    result = {}
    for container in containers:
        command = ["docker", "inspect", "--format", "{{.State.Pid}}", container]
        pid = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        # What processes share counts once.
        maps = [pathlib.Path(f"/proc/{one}/smaps_rollup").read_text() for one in (pid, *children)]
        result[container] = round(
            sum(int(re.search(r"^Pss: +(\d+)", one, re.MULTILINE)[1]) for one in maps) * 1024 / 1e6, 1
        )
    load.join()
    if load.exitcode:
        raise TransportError(f"{registry.url} does not bear {MANY} clients")
    return result


def main() -> None:
    """Reads the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--registry",
        action="append",
        required=True,
        nargs=3,
        metavar=("NAME", "URL", "DATA"),
        help="a registry: what it is called here, and its storage on this host",
    )
    parser.add_argument("--ca", required=True, help="the CA that signed the certificates of those with https")
    parser.add_argument("--user", required=True, help="a user of those; the password is in $REGISTRY_PASSWORD")
    parser.add_argument("--memory", action="append", metavar="CONTAINER", help="of the last registry")
    parser.add_argument("--load", action="append", choices=LOADS, help="only this one (or several)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each load on each registry")
    parser.add_argument("--seconds", type=float, default=3, help="length of one measurement")
    parser.add_argument("--workers", type=int, default=16, help="parallel connections")
    parser.add_argument("--size", type=int, default=32, help="of a blob, in MiB")
    parser.add_argument("--pushes", type=int, default=2, help="blobs that each worker pushes in one measurement")
    options = parser.parse_args()
    login = base64.b64encode(f"{options.user}:{os.environ['REGISTRY_PASSWORD']}".encode()).decode()
    context = ssl.create_default_context(cafile=options.ca)
    sides = {
        name: Registry(url, pathlib.Path(data), f"Basic {login}", context)
        if url.startswith("https:")
        else Registry(url, pathlib.Path(data))
        for name, url, data in options.registry
    }
    loads = measure(sides, options)
    print(json.dumps({"loads": loads, "memory": memory([*sides.values()][-1], options.memory or [])}))


if __name__ == "__main__":
    main()

"""The engine's containers, images and volumes, through its API and its command."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from .engine import DEFAULT_SOCKET, THIS_ENGINE
from .errors import WharfError
from .processes import search_path
from .text import one_line

# Under SELinux a container sees none of the host's files that are not relabelled for it, which takes long where they
# are many. Where there is no SELinux, an engine takes no notice of it.
WITHOUT_LABELS = "label=disable"
SECURITY = ["no-new-privileges=true", WITHOUT_LABELS]
TIMEOUT = 120  # seconds: a container has ten to stop, and a busy host needs its time
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class ApiConnection(http.client.HTTPConnection):
    """A connection to the engine's API."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def call(method: str, path: str, body: Any = None, timeout: float = TIMEOUT) -> Any:
    """Return what the engine answers within so many seconds, as JSON data; None where it knows no such thing.

    Raises:
        WharfError: it does not answer, or refuses.
    """
    connection = ApiConnection(DEFAULT_SOCKET, timeout)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
        response = connection.getresponse()
        status, text = response.status, response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise WharfError(f"the Docker engine does not answer at {DEFAULT_SOCKET}: {error}") from None
    finally:
        connection.close()
    try:
        found = json.loads(text) if text else None
    except ValueError:
        found = None
    if status == 404 and method == "GET":
        return None
    if status >= 400:
        message = found.get("message") if isinstance(found, dict) else text
        raise WharfError(f"the Docker engine refuses: {one_line(message)}")
    return found


def engine_info(timeout: float = TIMEOUT) -> dict[str, Any] | None:
    """Return what the engine says of itself; None where it does not answer in `timeout` seconds."""
    try:
        return call("GET", "/info", timeout=timeout)
    except WharfError:
        return None


def engine() -> dict[str, Any] | None:
    """Return the engine's version and how it stores images; None where it does not answer."""
    found = engine_info()
    if found is None:
        return None
    containerd = "io.containerd.snapshotter" in json.dumps(found.get("DriverStatus"))
    return {"version": found.get("ServerVersion"), "containerd_image_store": containerd}


def image(reference: str) -> dict[str, Any] | None:
    """Return what the engine knows of an image; None where it does not have it."""
    return call("GET", f"/images/{quote(reference, safe='/:@')}/json") if reference else None


def manifests(reference: str) -> list[dict[str, Any]]:
    """Return what the engine tells of the manifests of an image; nothing where it tells none (before 28)."""
    found = call("GET", f"/images/{quote(reference, safe='/:@')}/json?manifests=1")
    return (found or {}).get("Manifests") or []


def container(name: str) -> dict[str, Any] | None:
    """Return what the engine knows of a container; None where there is none."""
    return call("GET", f"/containers/{quote(name)}/json")


def containers() -> list[dict[str, Any]]:
    """Return all containers, with their names (without a slash) and the ports that they publish."""
    found = call("GET", "/containers/json?all=1")
    return [
        {
            "names": [name.lstrip("/") for name in item["Names"]],
            "ports": {port.get("PublicPort") for port in item.get("Ports") or []} - {None},
        }
        for item in found
    ]


def create_volume(name: str) -> str:
    """Create a volume, and return where it lies."""
    return call("POST", "/volumes/create", {"Name": name})["Mountpoint"]


def create(name: str, settings: dict[str, Any]) -> None:
    """Create a container; nothing starts yet."""
    call("POST", f"/containers/create?name={quote(name)}", settings)


def act(name: str, verb: str) -> None:
    """Let the engine start, stop or restart a container. What is so already stays as it is."""
    call("POST", f"/containers/{quote(name)}/{verb}")


def rename(name: str, new: str) -> None:
    """Give a container another name."""
    call("POST", f"/containers/{quote(name)}/rename?name={quote(new)}")


def remove(name: str) -> None:
    """Stop and remove a container, if there is one."""
    if container(name) is not None:
        call("DELETE", f"/containers/{quote(name)}?force=1")


def tag(image_id: str, reference: str) -> None:
    """Let a name mean an image; one with a digest cannot mean another."""
    repository, _, name = reference.rpartition(":")
    if "@" not in reference and repository and "/" not in name:
        call("POST", f"/images/{quote(image_id)}/tag?repo={quote(repository, safe='')}&tag={quote(name)}")


def remove_image(reference: str) -> bool:
    """Remove an image, and tell whether it went: one that a container runs from stays."""
    try:
        call("DELETE", f"/images/{quote(reference, safe='/:@')}")
    except WharfError:
        return False
    return True


def docker(
    *arguments: str, timeout: float | None = 60, stderr: int = subprocess.STDOUT
) -> subprocess.CompletedProcess[str]:
    """Run Docker's command, for what the API makes hard, and return how it ended.

    Args:
        arguments: the command's.
        timeout: how long it may take, in seconds.
        stderr: where its errors go; by default its output holds them.
    """
    command = ["docker", *arguments]
    with uninterrupted():
        # A session of its own: Ctrl-C on a terminal is this program's business alone.
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True, errors="replace",
            timeout=timeout, start_new_session=True, env={**os.environ, **THIS_ENGINE, "PATH": search_path()},
        )  # fmt: skip


def cli(*arguments: str, check: bool = True, timeout: float | None = None) -> str:
    """Run Docker's command and return what it printed.

    Args:
        arguments: the command's.
        check: whether a failure counts; otherwise the result is empty then.
        timeout: how long it may take, in seconds; None for as long as it takes.

    Raises:
        WharfError: it failed; the message ends with its last line.
    """
    try:
        done = docker(*arguments, timeout=timeout, stderr=subprocess.PIPE)
    except subprocess.TimeoutExpired:
        raise WharfError(f"docker {arguments[0]}: it did not end within {timeout:.0f} s") from None
    if done.returncode == 0:
        return done.stdout.strip()
    if not check:
        return ""
    lines = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
    raise WharfError(f"docker {arguments[0]}: {one_line(lines[-1])}")


def new_lines(log: str, before: list[int] | None) -> tuple[bytes, list[int] | None]:
    """Return the lines that a container has logged since, and where its log ends: the inode and the bytes of its file.

    Args:
        log: the path of the file; the engine renames one that is full to LOG.1, and the one before to LOG.2.
        before: where it ended; None where nothing of it was read yet.
    """
    if not log:
        return b"", before
    texts: list[bytes] = []
    end, seen = before, set()
    for path in (log, f"{log}.1", f"{log}.2"):
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            facts = os.fstat(file.fileno())
            if facts.st_ino in seen:  # it was renamed just now
                continue
            start = before[1] if before and before[0] == facts.st_ino and before[1] <= facts.st_size else 0
            file.seek(start)
            text = file.read()
            text = text[: text.rfind(b"\n") + 1]  # the rest of a line is still to come
            texts.insert(0, text)
            end = end if seen else [facts.st_ino, start + len(text)]
            seen.add(facts.st_ino)
            if before and before[0] == facts.st_ino:
                break
    return b"".join(texts), end


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals that would end this program back as long as this lasts.

    What the engine was asked for comes all the same; a container that it makes after this program has cleaned up would
    be left for ever.
    """
    held: list[int] = []
    # Handlers, and no mask of signals: that is a thread's, and the command that is started would inherit it.
    before = {number: signal.signal(number, lambda got, _frame: held.append(got)) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in held:
            signal.raise_signal(number)

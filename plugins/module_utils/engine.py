"""The Docker engine of a host: whether it runs, how it was started, what it knows, and its API."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shlex
import socket
import subprocess
import time
from datetime import datetime
from typing import Any
from urllib.parse import quote

from .errors import WharfError
from .processes import processes_of

PID_FILE = "/run/docker.pid"
DEFAULT_SOCKET = "/run/docker.sock"
# Lets Docker's command use this host's engine, also where root's environment or context leads to another one. Whatever
# DOCKER_CONTENT_TRUST asks for, nobody has signed what is moved with it: that is compared by its digest.
THIS_ENGINE = {
    "DOCKER_HOST": f"unix://{DEFAULT_SOCKET}",
    **dict.fromkeys(("DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CONTENT_TRUST"), ""),
}
RELOAD_TIMEOUT = 15  # seconds

# Flags whose key in daemon.json has another name (moby cmd/dockerd/config*.go: shorthands and named options).
FLAG_KEYS = {
    "D": "debug",
    "G": "group",
    "H": "hosts",
    "authorization-plugin": "authorization-plugins",
    "b": "bridge",
    "cdi-spec-dir": "cdi-spec-dirs",
    "default-address-pool": "default-address-pools",
    "default-network-opt": "default-network-opts",
    "default-ulimit": "default-ulimits",
    "dns-opt": "dns-opts",
    "exec-opt": "exec-opts",
    "feature": "features",
    "g": "graph",
    "host": "hosts",
    "insecure-registry": "insecure-registries",
    "l": "log-level",
    "label": "labels",
    "log-opt": "log-opts",
    "node-generic-resource": "node-generic-resources",
    "p": "pidfile",
    "registry-mirror": "registry-mirrors",
    "s": "storage-driver",
    "storage-opt": "storage-opts",
}
# Not keys of the file, or (runtimes) the one key that may be given in both places.
FLAGS_WITHOUT_KEY = ("add-runtime", "config-file", "help", "h", "validate", "version", "v")
# Keys that `dockerd --help` does not show.
HIDDEN_KEYS = ("builder", "features", "graph", "network-diagnostic-port", "runtimes", "deprecated-key-path", "proxies")
# The engine looks into every other object for keys of its own (moby daemon/config/config.go, flatOptions).
FLAT_KEYS = (
    "builder",
    "cluster-store-opts",
    "default-network-opts",
    "default-ulimits",
    "features",
    "log-opts",
    "runtimes",
)
HELP_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "string": ((str,), "a string"),
    "list": ((list,), "a list"),
    "map": ((dict,), "an object"),
}
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
KINDS = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}


def describe(value: Any) -> str:
    """Return the kind of a JSON value, for people."""
    return KINDS.get(type(value), "null")


def flags_of(argv: list[str]) -> dict[str, str]:
    """Return the keys of daemon.json that dockerd's arguments set, with the flag that does."""
    found: dict[str, str] = {}
    for word in argv:
        if not re.match(r"--?[a-zA-Z]", word):
            continue
        name = word[2:].split("=", 1)[0] if word.startswith("--") else word[1]
        if name not in FLAGS_WITHOUT_KEY:
            found[FLAG_KEYS.get(name, name)] = f"--{name}" if word.startswith("--") else f"-{name}"
    return found


def flag_values(argv: list[str], *names: str) -> list[str]:
    """Return the values that arguments give a flag: `--name value`, `--name=value`, `-n value`, `-nvalue`."""
    values = []
    for number, word in enumerate(argv):
        for name in names:
            dashed = f"--{name}" if len(name) > 1 else f"-{name}"
            if word == dashed and number + 1 < len(argv):
                values.append(argv[number + 1])
            elif len(name) > 1 and word.startswith(dashed + "="):
                values.append(word[len(dashed) + 1 :])
            elif len(name) == 1 and word.startswith(dashed) and word != dashed:
                values.append(word[2:].lstrip("="))
    return values


def engine_keys(wanted: dict) -> list[str]:
    """Return the names under which the engine knows the keys of `wanted`: it looks into objects such as `proxies`."""
    keys = []
    for key, value in wanted.items():
        keys.extend(value if isinstance(value, dict) and key not in FLAT_KEYS else [key])
    return keys


def help_types(text: str) -> dict[str, str]:
    """Return the keys that an engine's --help shows, with the type shown there ('' is a switch)."""
    types = {}
    for line in text.splitlines():
        match = re.match(r"\s+(?:-\w, )?--([a-z0-9-]+)(?: ([a-zA-Z-]+))?(?:\s{2,}|$)", line)
        if match and match.group(1) not in FLAGS_WITHOUT_KEY:
            types[FLAG_KEYS.get(match.group(1), match.group(1))] = match.group(2) or ""
    return types


def check_against_help(wanted: dict, types: dict[str, str]) -> None:
    """Judge options for an engine that cannot (before version 23).

    Raises:
        WharfError: the engine knows no such key, or wants another type.
    """
    for key, value in wanted.items():
        if isinstance(value, dict) and key not in FLAT_KEYS and key not in types:
            check_against_help(value, types)
            continue
        if key not in types and key not in HIDDEN_KEYS:
            raise WharfError(f"the installed engine knows no key {key}. Correct or remove it. Nothing was changed.")
        if key == "log-level" and value not in LOG_LEVELS:
            # Such an engine reloads it without a word, and stops at its next start.
            raise WharfError(f"log-level is {value!r}; it must be one of {', '.join(LOG_LEVELS)}. Nothing was changed.")
        right, kind = HELP_TYPES.get(types.get(key, "other"), ((object,), ""))
        if not isinstance(value, right) or (isinstance(value, bool) and bool not in right and object not in right):
            raise WharfError(f"{key} is {describe(value)}; the installed engine wants {kind}. Nothing was changed.")


class Engine:
    """The dockerd that runs."""

    def __init__(self, pid: int, argv: list[str], identity: str) -> None:
        self.pid = pid
        self.argv = argv
        self.identity = identity  # process ids are used again, also after a boot

    @classmethod
    def find(cls, pid_file: str = "") -> Engine | None:
        """Return the engine that wrote `pid_file` (PID_FILE); None when it does not run."""
        try:
            with open(pid_file or PID_FILE, encoding="ascii") as file:
                pid = int(file.read().strip())
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                if file.read().strip() != "dockerd":
                    return None
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                state = file.read().rpartition(")")[2].split()
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                boot = file.read().strip()
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                argv = file.read().rstrip("\0").split("\0")
        except (OSError, ValueError):
            return None
        # A zombie has ended, whatever its name says.
        return cls(pid, argv[1:], f"{boot} {pid} {state[19]}") if state[0] != "Z" else None

    def socket_path(self, document: dict) -> str | None:
        """Return the Unix socket of its API; None when it has none.

        Args:
            document: the engine's daemon.json.
        """
        for host in flag_values(self.argv, "host", "H") or document.get("hosts") or [f"unix://{DEFAULT_SOCKET}"]:
            if host.startswith("unix://"):
                return host[len("unix://") :] or DEFAULT_SOCKET
            if host.startswith("fd://"):
                return DEFAULT_SOCKET
        return None


def running_engine() -> Engine | None:
    """Return the engine that runs, wherever its process ID is written; None where there is none."""
    for process in processes_of("dockerd"):
        with contextlib.suppress(OSError):
            argv = (process / "cmdline").read_text("utf-8", "replace").rstrip("\0").split("\0")
            if argv != [""]:  # a zombie has none
                return Engine(int(process.name), argv[1:], "")
    return None


def engine_runs() -> bool:
    """Tell whether the engine runs. One that does not must not be asked: its socket would start it."""
    is_active = ["systemctl", "--quiet", "is-active", "docker"]
    return os.path.exists(PID_FILE) or (is_systemd() and subprocess.run(is_active).returncode == 0)


def is_systemd() -> bool:
    """Return whether systemd runs the host."""
    return os.path.isdir("/run/systemd/system")


def idle_argv(module: Any) -> list[str]:
    """Return the arguments with which the service manager would start the engine, as far as that can be read."""
    argv: list[str] = []
    systemctl = module.get_bin_path("systemctl")
    if not is_systemd():
        # Debian's init script always passes it.
        argv.extend(["-p", "/run/docker.pid"])
    elif systemctl:
        _rc, out, _err = module.run_command([systemctl, "show", "docker.service", "--property=ExecStart", "--value"])
        match = re.search(r"argv\[\]=(.*?) ;", out)
        argv.extend(match.group(1).split()[1:] if match else [])
    try:
        with open("/etc/default/docker", encoding="utf-8", errors="replace") as file:
            for name, value in re.findall(r"^\s*(?:export\s+)?(DOCKER_OPTS|OPTIONS)=(.*)$", file.read(), re.MULTILINE):
                if name == "DOCKER_OPTS" or "$OPTIONS" in argv:
                    argv.extend(shlex.split(" ".join(shlex.split(value, comments=True))))
    except (OSError, ValueError):
        pass
    return [word for word in argv if not word.startswith("$")]


def last_error_in(log: str, since: float) -> str:
    """Return the message of the last error in an engine's log that is not older than `since` (seconds since 1970)."""
    message = ""
    for line in log.splitlines():
        found = re.search(r'time="([^"]+)" level=(?:error|fatal) msg="((?:[^"\\]|\\.)*)"', line)
        if found:
            # Python before 3.11 reads neither nanoseconds nor Z.
            moment = re.sub(r"\.\d+", "", found.group(1)).replace("Z", "+00:00")
            try:
                if datetime.fromisoformat(moment).timestamp() >= int(since):
                    message = found.group(2).replace('\\"', '"')
            except ValueError:
                continue
    return message


def last_error(module: Any, since: float) -> str:
    """Return the last error in the engine's log since a moment; empty where none can be found."""
    journalctl = module.get_bin_path("journalctl")
    if journalctl and is_systemd():
        command = [journalctl, "--unit=docker.service", f"--since=@{int(since)}", "--output=cat", "--no-pager"]
        return last_error_in(module.run_command(command)[1], since)
    try:
        # Where Debian's init script sends it.
        with open("/var/log/docker.log", encoding="utf-8", errors="replace") as file:
            return last_error_in(file.read()[-16384:], since)
    except OSError:
        return ""


class Answer:
    """The engine's answer to a GET, as it comes: in HTTP/1.0, where it ends with the connection."""

    def __init__(self, path: str, url: str, timeout: float) -> None:
        """Ask. Raises OSError when no good answer begins in `timeout` seconds."""
        self.buffer = b""
        self.connection = socket.socket(socket.AF_UNIX)
        try:
            self.connection.settimeout(timeout)
            self.connection.connect(path)
            self.connection.sendall(f"GET {url} HTTP/1.0\r\nHost: docker\r\n\r\n".encode("ascii"))
            status = self.read_until(b"\r\n\r\n", timeout).partition(b"\r\n")[0]
            if b" 200 " not in status:
                raise OSError(errno.EPROTO, status.decode("ascii", "replace"))
        except OSError:
            self.connection.close()
            raise

    def read_until(self, end: bytes, timeout: float) -> bytes:
        """Return what comes before `end`; without one, all the rest. Raises OSError when it does not come in time."""
        deadline = time.monotonic() + timeout
        while not end or end not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "no answer")
            self.connection.settimeout(left)
            received = self.connection.recv(65536)
            if not received and end:
                raise ConnectionResetError(errno.ECONNRESET, "connection closed")
            if not received:
                return self.buffer
            self.buffer += received
        found, _end, self.buffer = self.buffer.partition(end)
        return found


def api_get(path: str, url: str) -> Any:
    """Return what the engine's API answers to a GET, as JSON data.

    Raises:
        OSError, ValueError: it does not answer, or not in JSON.
    """
    answer = Answer(path, url, 30)
    try:
        return json.loads(answer.read_until(b"", 30))
    finally:
        answer.connection.close()


class ReloadWatch:
    """Listens for the engine's event that says it has reloaded its configuration."""

    def __init__(self, path: str, timeout: float) -> None:
        filters = quote(json.dumps({"type": ["daemon"], "event": ["reload"]}))
        since = time.time_ns()
        self.events = Answer(path, f"/events?since={since // 10**9}.{since % 10**9:09d}&filters={filters}", timeout)

    def wait(self, timeout: float) -> bool:
        """Return whether the event came within `timeout` seconds."""
        try:
            self.events.read_until(b"}", timeout)
            return True
        except OSError:
            return False
        finally:
            self.events.connection.close()

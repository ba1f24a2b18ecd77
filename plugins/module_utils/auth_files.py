"""Logins of users on a host: what their tools keep in files and stores."""

from __future__ import annotations

import base64
import binascii
import glob
import json
import os
import pwd
import re
import shutil
import stat
import subprocess
from dataclasses import asdict, dataclass, field
from typing import Callable

from .api import Client, trust
from .errors import WharfError
from .text import one_line

ENGINE_SOCKET = "/var/run/docker.sock"
SETTINGS = "/etc/containers"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT = 60  # seconds, for a program
ANSWER_TIMEOUT = 5  # seconds
HELPERS = re.compile(r"^\s*credential-helpers\s*=\s*\[(.*?)\]", re.MULTILINE | re.DOTALL)


def run(command: list[str], given: str = "") -> tuple[int, str]:
    """Run a command, and return its status and its output: the end of its errors on one line where it failed.

    Args:
        command: the program and its arguments.
        given: what it gets on its standard input.
    """
    try:
        environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            command, input=given.encode(), capture_output=True, timeout=TIMEOUT, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        return 1, f"{command[0]} did not end within {TIMEOUT} seconds"
    except OSError as error:
        return 1, f"{command[0]}: {error.strerror}"
    if done.returncode:
        return done.returncode, one_line(done.stderr.decode("utf-8", "replace")[-400:], 400)
    return 0, done.stdout.decode("utf-8", "replace")


def read_json(path: str) -> dict:
    """Return the mapping in a JSON file; an empty one where there is none to read."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def in_file(document: dict, registry: str) -> tuple[str, str] | None:
    """Return (name, password) that an auth file itself has for a registry; None where it has none."""
    entry = (document.get("auths") or {}).get(registry) or {}
    try:
        name, _, password = base64.b64decode(entry.get("auth") or "").decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if name else None


def in_helper(helper: str, registry: str) -> tuple[str, str] | None:
    """Return (name, password) that a credential helper has for a registry; None where it has none."""
    status, output = run([f"docker-credential-{helper}", "get"], registry)
    try:
        entry = json.loads(output) if status == 0 else {}
        return (entry["Username"], entry["Secret"])
    except (ValueError, KeyError, TypeError):
        return None


class Docker:
    """Docker's login of one user. All of this runs as that user."""

    program = "docker"

    def __init__(self, home: str, registry: str) -> None:
        self.registry = registry
        self.path = os.path.join(home, ".docker/config.json")

    def helpers(self) -> list[str]:
        """Return the credential helpers that the user has set for this registry."""
        document = read_json(self.path)
        helper = (document.get("credHelpers") or {}).get(self.registry) or document.get("credsStore")
        return [helper] if helper else []

    def known(self) -> tuple[str, str] | None:
        """Return the name and the password that the tool would use for this registry."""
        for helper in self.helpers():
            if credentials := in_helper(helper, self.registry):
                return credentials
        return in_file(read_json(self.path), self.registry)

    def is_kept(self, login: tuple[str, str]) -> bool:
        """Return whether a helper has this login, where the user has set one: the tool may not read the file then."""
        helpers = self.helpers()
        return not helpers or any(in_helper(helper, self.registry) == login for helper in helpers)

    def usable(self) -> bool:
        """Return whether the user may use the engine, or has one of their own."""
        if read_json(self.path).get("currentContext") not in (None, "", "default"):
            return True
        return not os.path.exists(ENGINE_SOCKET) or os.access(ENGINE_SOCKET, os.R_OK | os.W_OK)

    def arguments(self) -> list[str]:
        """Return what the tool's commands need besides."""
        return []

    def stale(self, wanted: tuple[str, str] | None) -> list[str]:
        """Return the files that the tool reads before its own, and that have another login for this registry."""
        return []


class Containers(Docker):
    """The login that podman, buildah and skopeo share, in the one file that outlives a reboot."""

    def __init__(self, home: str, registry: str) -> None:
        super().__init__(home, registry)
        self.home = home
        self.path = os.path.join(home, ".config/containers/auth.json")
        tools = [tool for tool in ("skopeo", "podman", "buildah") if shutil.which(tool, path=PATH)]
        self.program = (tools or ["skopeo"])[0]

    def helpers(self) -> list[str]:
        if helper := (read_json(self.path).get("credHelpers") or {}).get(self.registry):
            return [helper]
        helpers: list[str] = []
        for place in (SETTINGS, os.path.join(self.home, ".config/containers")):
            for path in [os.path.join(place, "registries.conf"), *glob.glob(f"{place}/registries.conf.d/*.conf")]:
                try:
                    with open(path, encoding="utf-8") as file:
                        match = HELPERS.search(file.read())
                except (OSError, UnicodeDecodeError):
                    continue
                helpers = re.findall(r"[\"']([\w.-]+)[\"']", match[1]) if match else helpers
        # This one is the file itself.
        return [helper for helper in helpers if helper != "containers-auth.json"]

    def usable(self) -> bool:
        return True

    def arguments(self) -> list[str]:
        return ["--authfile", self.path]

    def stale(self, wanted: tuple[str, str] | None) -> list[str]:
        places = [f"/run/user/{os.getuid()}/containers/auth.json", f"/run/containers/{os.getuid()}/auth.json"]
        return [path for path in places if in_file(read_json(path), self.registry) not in (None, wanted)]


def mode(path: str) -> int | None:
    """Return the mode of a file; None where there is none."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return None


class Registry:
    """A registry to log in to, and how to ask it whether it accepts a login."""

    def __init__(self, name: str, port: int, ca: str = "") -> None:
        """Take its name and port, and the CA certificates that it is trusted with."""
        self.name, self.port, self.ca = name, port, ca

    def accepts(self, login: tuple[str, str]) -> bool | None:
        """Return whether the registry accepts a login; None where it cannot be asked from here."""
        try:
            with Client(
                self.name, self.port, trust(pem=self.ca), user=login[0], password=login[1], timeout=ANSWER_TIMEOUT
            ) as client:
                return client.ping().status == 200
        except WharfError:
            return None


@dataclass
class Outcome:
    """What logging in or out has done, or would do."""

    changed: bool = False
    confirmed: bool = True  # the registry has accepted each login in this run
    problems: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Take over what has been done with another tool, or for another user."""
        self.changed = self.changed or other.changed
        self.confirmed = self.confirmed and other.confirmed
        self.problems += other.problems


def log_in(place: Docker, login: tuple[str, str], registry: Registry, check: bool) -> Outcome:
    """Log in with one tool.

    Where its file is right and the registry confirms the login, the tool itself is not asked: that takes longer.
    """
    before, stale = (place.known(), mode(place.path)), place.stale(login)
    pending = before[0] != login or before[1] not in (None, 0o600) or bool(stale)
    accepted = registry.accepts(login) if not pending and place.is_kept(login) else None
    if check or accepted:
        return Outcome(pending or accepted is False, accepted is True)
    command = [place.program, "login", *place.arguments(), "--username", login[0], "--password-stdin", place.registry]
    status, output = run(command, login[1])
    if status:
        return Outcome(problems=[output])
    if mode(place.path) not in (None, 0o600):
        os.chmod(place.path, 0o600)
    _log_out_of(place, stale)
    return Outcome((place.known(), mode(place.path)) != before or bool(stale))


def log_out(place: Docker, check: bool) -> Outcome:
    """Log out with one tool."""
    stale = place.stale(None)
    here = place.registry in (read_json(place.path).get("auths") or {}) or place.known() is not None
    if not (here or stale):
        return Outcome()
    if not check:
        status, output = run([place.program, "logout", *place.arguments(), place.registry]) if here else (0, "")
        if status:
            return Outcome(problems=[output])
        _log_out_of(place, stale)
    return Outcome(changed=True)


def _log_out_of(place: Docker, files: list[str]) -> None:
    """Remove the registry's entry from files that the tool reads before its own."""
    for path in files:
        run([place.program, "logout", "--authfile", path, place.registry])


def one_user(login: dict, home: str, registry: Registry, tools: list[str], state: str, check: bool) -> Outcome:
    """Log one user in or out with their tools. Runs as that user.

    Args:
        login: user, name and password.
        home: the user's home directory.
        registry: where.
        tools: docker, containers, or both.
        state: present or absent.
        check: whether to change nothing.
    """
    reference = f"{registry.name}:{registry.port}"
    places = [{"docker": Docker, "containers": Containers}[tool](home, reference) for tool in tools]
    # Users who may not use the engine have the other tools; without others the engine's own error explains it.
    places = [place for place in places if place.usable()] or places
    outcome = Outcome()
    for place in places:
        if state == "present":
            done = log_in(place, (login["name"], login.get("password") or ""), registry, check)
            what = f"cannot log in as {login['name']}"
        else:
            done, what = log_out(place, check), "cannot log out"
        done.problems = [
            f"registry_client_logins: {login['user']} {what} with {place.program}: {text}" for text in done.problems
        ]
        outcome.add(done)
    return outcome


def as_user(user: pwd.struct_passwd, work: Callable[[], Outcome]) -> Outcome:
    """Run a function in a process of its own, which belongs to this user and has nothing of root's environment."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        who = f"registry_client_logins: {user.pw_name}"
        try:
            os.close(reading)
            if os.getuid() == 0:
                os.initgroups(user.pw_name, user.pw_gid)
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
            os.umask(0o077)
            os.environ.clear()
            os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name, PATH=PATH, LC_ALL="C.UTF-8")
            os.chdir(user.pw_dir)
            outcome = work()
        except OSError as error:
            outcome = Outcome(problems=[f"{who}: {error}"])
        except BaseException as error:  # whatever it is, it must not go on as a second copy of the module
            outcome = Outcome(problems=[f"{who}: {type(error).__name__}"])
        with os.fdopen(writing, "w") as pipe:
            json.dump(asdict(outcome), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return Outcome(**json.loads(text)) if text else Outcome(problems=[f"{user.pw_name}: the login was cut off"])

"""Logins of users on a host: what their tools keep in files and stores."""

from __future__ import annotations

import base64
import binascii
import json
import os
import pwd
import re
import select
import signal
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from .api import Client, trust
from .container_policy import OWN_SETTINGS, registries_files
from .errors import WharfError
from .files import no_pipe, read_json, read_text
from .processes import PATH, has, must_run, run

ENGINE_SOCKET = "/var/run/docker.sock"
CONTAINERS = ("skopeo", "podman", "buildah")  # share one login; the first that is there logs in
ANSWER_TIMEOUT = 5  # seconds
USER_TIMEOUT = 300  # seconds that all that is done as a user may take
HELPERS = re.compile(r"^\s*credential-helpers\s*=\s*\[(.*?)\]", re.MULTILINE | re.DOTALL)


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
        """Take the user's home directory, and the registry, NAME:PORT."""
        self.home, self.registry = home, registry
        self.path = os.path.join(home, ".docker/config.json")
        self.options: list[str] = []  # what the tool's commands need besides

    def helpers(self) -> list[str]:
        """Return the credential helpers that the user has set for this registry."""
        document = read_json(self.path)
        helper = (document.get("credHelpers") or {}).get(self.registry) or document.get("credsStore")
        return [helper] if helper else []

    def known(self) -> tuple[str, str] | None:
        """Return the name and the password that the tool would use; it may not read the file where a helper is set."""
        found = [in_helper(helper, self.registry) for helper in self.helpers()]
        return next(filter(None, found or [in_file(read_json(self.path), self.registry)]), None)

    def mode(self) -> int:
        """Return the mode of the file; the right one where there is no file, because a helper keeps the login."""
        return stat.S_IMODE(os.stat(self.path).st_mode) if os.path.exists(self.path) else 0o600

    def usable(self) -> bool:
        """Return whether the user may use the engine, or has one of their own."""
        if read_json(self.path).get("currentContext") not in (None, "", "default"):
            return True
        return not os.path.exists(ENGINE_SOCKET) or os.access(ENGINE_SOCKET, os.R_OK | os.W_OK)

    def stale(self, wanted: tuple[str, str] | None) -> list[str]:
        """Return the files that the tool reads before its own, and that have another login for this registry."""
        return []

    def refuse_damage(self) -> None:
        """Raise WharfError where the tool would write its file anew, without other logins that the user has there.

        So Docker's does with what it cannot read: a comma too much, or a file that `sudo docker login` has left root's.
        """
        try:
            with open(self.path, encoding="utf-8", opener=no_pipe) as file:
                text = file.read()
            document = json.loads(text) if text.strip() else {}
            problem = "" if isinstance(document, dict) else "holds no object"
        except FileNotFoundError:
            return
        except OSError as error:
            problem = f"cannot be read by its user ({error.strerror}): give it back to them"
        except ValueError as error:
            problem = f"is no JSON ({error}): correct it"
        if problem:
            raise WharfError(
                f"{self.path} {problem}, or move it away. A login would replace it, and lose those that it holds"
            )

    def log_in(self, login: tuple[str, str], ca: str, check: bool) -> tuple[bool, bool]:
        """Log in, and return whether that changes anything, and whether the registry has accepted the login.

        Where the file is right and the registry confirms the login, the tool itself is not asked: that takes longer.

        Raises:
            WharfError: the tool refuses, or would lose other logins.
        """
        self.refuse_damage()
        before, stale = (self.known(), self.mode()), self.stale(login)
        pending = before != (login, 0o600) or bool(stale)
        accepted = None if pending else is_accepted(self.registry, ca, login)
        if check or accepted:
            return pending or accepted is False, accepted is True
        command = ["login", *self.options, "--username", login[0], "--password-stdin", self.registry]
        must_run([self.program, *command], f"cannot log in as {login[0]} with {self.program}", given=login[1])
        if self.mode() != 0o600:
            os.chmod(self.path, 0o600)
        self.forget(stale)
        return (self.known(), self.mode()) != before or bool(stale), True

    def log_out(self, check: bool) -> tuple[bool, bool]:
        """Log out; return and raise as log_in() does."""
        stale = self.stale(None)
        here = self.registry in (read_json(self.path).get("auths") or {}) or self.known() is not None
        if here and not check:
            command = [self.program, "logout", *self.options, self.registry]
            must_run(command, f"cannot log out with {self.program}")
        if not check:
            self.forget(stale)
        return here or bool(stale), True

    def forget(self, files: list[str]) -> None:
        """Remove the registry's entry from files that the tool reads before its own."""
        for path in files:
            run([self.program, "logout", "--authfile", path, self.registry])


class Containers(Docker):
    """The login that podman, buildah and skopeo share, in the one file that outlives a reboot."""

    def __init__(self, home: str, registry: str) -> None:
        super().__init__(home, registry)
        self.path = os.path.join(home, OWN_SETTINGS, "auth.json")
        self.options = ["--authfile", self.path]
        self.program = next(filter(has, CONTAINERS), CONTAINERS[0])

    def helpers(self) -> list[str]:
        if helper := (read_json(self.path).get("credHelpers") or {}).get(self.registry):
            return [helper]
        helpers: list[str] = []
        for path in registries_files(self.home):
            match = HELPERS.search(read_text(path))
            helpers = re.findall(r"[\"']([\w.-]+)[\"']", match[1]) if match else helpers
        # This one is the file itself.
        return [helper for helper in helpers if helper != "containers-auth.json"]

    def usable(self) -> bool:
        return True

    def stale(self, wanted: tuple[str, str] | None) -> list[str]:
        places = [f"/run/user/{os.getuid()}/containers/auth.json", f"/run/containers/{os.getuid()}/auth.json"]
        return [path for path in places if in_file(read_json(path), self.registry) not in (None, wanted)]


def is_accepted(registry: str, ca: str, login: tuple[str, str]) -> bool | None:
    """Return whether a registry that these CA certificates signed accepts a login; None where it cannot be asked."""
    found = re.fullmatch(r"(.*?)(?::([0-9]+))?", registry)
    try:
        with Client(
            found[1], int(found[2] or 443), trust(pem=ca), user=login[0], password=login[1], timeout=ANSWER_TIMEOUT
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

    def add(self, changed: bool, confirmed: bool, problems: Sequence[str] = ()) -> None:
        """Take over what has been done with another tool, or for another user."""
        self.changed |= changed
        self.confirmed &= confirmed
        self.problems += problems


PLACES = {"docker": Docker, "containers": Containers}  # by the family of tools that share it


def find_user(name: str) -> pwd.struct_passwd | None:
    """Return a system user of this host; None where there is none."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def login_problems(users: list[str], tools: list[str], check: bool) -> list[str]:
    """Return why users cannot log in with these tools.

    Args:
        users: system users.
        tools: the tools that are to trust the registry.
        check: whether programs may be missing, because a run may still install them.
    """
    problems = []
    # Where no tool has a login, nobody is logged in.
    if set(tools) - {"containerd"}:
        problems += [
            f"registry_client_logins: there is no system user {user!r} on this host: create it first, or take it out"
            for user in users
            if find_user(user) is None
        ]
    if check or not users:
        return problems
    if "docker" in tools and not has("docker"):
        problems.append(
            "registry_client_logins: a login with docker needs the command docker, and it is not installed: install it"
            " (Debian's packages docker.io and docker-cli), or leave docker out of registry_client_tools"
        )
    named = [tool for tool in tools if tool in CONTAINERS]
    if named and not any(map(has, CONTAINERS)):
        problems.append(
            f"registry_client_logins: a login with {named[0]} needs podman, buildah or skopeo, and none of them is"
            f" installed: install it, or leave {' and '.join(named)} out of registry_client_tools"
        )
    return problems


def log_all(logins: list[dict], registries: dict[str, bool], families: list[str], ca: str, check: bool) -> Outcome:
    """Log users in and out.

    Args:
        logins: user, name and password of each.
        registries: NAME:PORT, and whether they are to be logged in there.
        families: families of tools; those that have no login are passed over.
        ca: the CA certificates that the registry is trusted with.
        check: whether to change nothing.
    """
    outcome = Outcome()
    for login in logins if PLACES.keys() & set(families) else []:
        if user := find_user(login["user"]):  # who is missing has been refused where that matters
            try:
                done = as_user(user, partial(one_user, login, user.pw_dir, registries, families, ca, check))
                outcome.add(**done)
            except WharfError as error:
                outcome.problems.append(f"registry_client_logins: {error}")
    return outcome


def one_user(login: dict, home: str, registries: dict[str, bool], families: list[str], ca: str, check: bool) -> dict:
    """Log one user in and out, as that user; arguments as for log_all(), and the user's home directory."""
    outcome = Outcome()
    for registry, is_wanted in registries.items():
        places = [place(home, registry) for family, place in PLACES.items() if family in families]
        # Users who may not use the engine have the other tools; without others the engine's own error explains it.
        for place in [place for place in places if place.usable()] or places:
            try:
                credentials = (login["name"], login.get("password") or "")
                outcome.add(*(place.log_in(credentials, ca, check) if is_wanted else place.log_out(check)))
            except WharfError as error:
                outcome.problems.append(f"registry_client_logins: {login['user']} {error}")
    return asdict(outcome)


def as_user(user: pwd.struct_passwd, work: Callable[[], Any]) -> Any:
    """Run a function in a process of its own, which belongs to this user and has nothing of root's environment.

    What lies in a home directory is its user's: links in it lead this process nowhere that the user may not go.

    Returns:
        What the function returns, which must fit into JSON.

    Raises:
        WharfError: the function failed, or the user's processes hold it up.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer = {}
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
            answer["result"] = work()
        except BaseException as error:  # whatever it is, it must not go on as a second copy of the module
            # What other errors say may show a password.
            is_told = isinstance(error, (OSError, WharfError))
            answer["error"] = str(error) if is_told else type(error).__name__
        with os.fdopen(writing, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    text, deadline = b"", time.monotonic() + USER_TIMEOUT
    while select.select([reading], [], [], max(0, deadline - time.monotonic()))[0]:
        if not (part := os.read(reading, 65536)):
            break
        text += part
    os.close(reading)
    os.kill(child, signal.SIGKILL)  # where it has not ended: its user can make it stop
    os.waitpid(child, 0)
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {"error": f"was cut off, or did not end within {USER_TIMEOUT} seconds"}
    if "error" in answer:
        raise WharfError(f"{user.pw_name}: {answer['error']}")
    return answer["result"]


def as_owner(user: pwd.struct_passwd, work: Callable[[], Any], default: Any) -> Any:
    """Return what a function finds in a user's home, which it reads as that user; the default where it may not."""
    try:
        return as_user(user, work)
    except WharfError:
        return default

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

ENGINE_SOCKET = "/var/run/docker.sock"
SETTINGS = "/etc/containers"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT = 60
HELPERS = re.compile(r"^\s*credential-helpers\s*=\s*\[(.*?)\]", re.MULTILINE | re.DOTALL)


def run(command: list[str], given: str = "") -> tuple[int, str]:
    """Run a command with this on its standard input. Returns its status, and what it said (errors if it failed)."""
    try:
        done = subprocess.run(command, input=given.encode(), capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return 1, f"{command[0]} did not end within {TIMEOUT} seconds"
    except OSError as error:
        return 1, f"{command[0]}: {error.strerror}"
    said = done.stderr if done.returncode else done.stdout
    return done.returncode, said.decode("utf-8", "replace")


def read_json(path: str) -> dict:
    """Return a JSON file's mapping; an empty one where there is none to read."""
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
    status, said = run([f"docker-credential-{helper}", "get"], registry)
    try:
        entry = json.loads(said) if status == 0 else {}
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
        """The credential helpers that the user has set for this registry."""
        document = read_json(self.path)
        helper = (document.get("credHelpers") or {}).get(self.registry) or document.get("credsStore")
        return [helper] if helper else []

    def known(self) -> tuple[str, str] | None:
        """The name and the password that the tool would use for this registry."""
        for helper in self.helpers():
            if credentials := in_helper(helper, self.registry):
                return credentials
        return in_file(read_json(self.path), self.registry)

    def usable(self) -> bool:
        """Whether the user may use the engine, or has one of their own."""
        if read_json(self.path).get("currentContext") not in (None, "", "default"):
            return True
        return not os.path.exists(ENGINE_SOCKET) or os.access(ENGINE_SOCKET, os.R_OK | os.W_OK)

    def arguments(self) -> list[str]:
        """What the commands need besides."""
        return []

    def stale(self, wanted: tuple[str, str] | None) -> list[str]:
        """Files that come before this one, and say another thing of the registry."""
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
                        said = HELPERS.search(file.read())
                except (OSError, UnicodeDecodeError):
                    continue
                helpers = re.findall(r"[\"']([\w.-]+)[\"']", said[1]) if said else helpers
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
    """The mode of a file; None where there is none."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return None


def log_in(place: Docker, name: str, password: str, check: bool) -> tuple[bool, str]:
    """Log in with one tool. Returns whether something changed (in check mode: would), and the problem."""
    wanted = (name, password)
    before, stale = (place.known(), mode(place.path)), place.stale(wanted)
    if check:
        return before[0] != wanted or before[1] not in (None, 0o600) or bool(stale), ""
    command = [place.program, "login", *place.arguments(), "--username", name, "--password-stdin", place.registry]
    status, said = run(command, password)
    if status:
        return False, said
    if mode(place.path) not in (None, 0o600):
        os.chmod(place.path, 0o600)
    for path in stale:
        run([place.program, "logout", "--authfile", path, place.registry])
    return (place.known(), mode(place.path)) != before or bool(stale), ""


def log_out(place: Docker, check: bool) -> tuple[bool, str]:
    """Log out with one tool. Returns whether something changed (in check mode: would), and the problem."""
    stale = place.stale(None)
    named = place.registry in (read_json(place.path).get("auths") or {})
    if not (named or place.known() or stale):
        return False, ""
    if not check:
        if named or place.known():
            status, said = run([place.program, "logout", *place.arguments(), place.registry])
            if status:
                return False, said
        for path in stale:
            run([place.program, "logout", "--authfile", path, place.registry])
    return True, ""


def one_user(login: dict, home: str, registry: str, tools: list[str], state: str, check: bool) -> dict:
    """Log one user in or out, as that user. Returns what the module does, for this user."""
    places = [{"docker": Docker, "containers": Containers}[tool](home, registry) for tool in tools]
    # Whoever may not use the engine has the other tools; without others the engine itself says why.
    places = [place for place in places if place.usable()] or places
    changed, problems = False, []
    for place in places:
        if state == "present":
            this, problem = log_in(place, login["name"], login["password"], check)
        else:
            this, problem = log_out(place, check)
        changed = changed or this
        if problem:
            words = " ".join(problem.split())[-400:]
            which = f"cannot log in as {login['name']}" if state == "present" else "cannot log out"
            problems.append(f"registry_client_logins: {login['user']} {which} with {place.program}: {words}")
    return {"changed": changed, "problems": problems}


def as_user(user: pwd.struct_passwd, work) -> dict:
    """Run a function in a process of its own, which belongs to this user and has nothing of root's environment."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
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
            result = work()
        except OSError as error:
            result = {"changed": False, "problems": [f"registry_client_logins: {user.pw_name}: {error}"]}
        except BaseException as error:  # whatever it is, it must not go on as a second copy of the module
            result = {"changed": False, "problems": [f"registry_client_logins: {user.pw_name}: {type(error).__name__}"]}
        with os.fdopen(writing, "w") as pipe:
            json.dump(result, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else {"changed": False, "problems": [f"{user.pw_name}: the login broke off"]}

"""What the role docker_engine finds on a host, and what is pending there."""

from __future__ import annotations

import glob
import grp
import os
import platform
import pwd
import socket
import stat
from pathlib import Path
from typing import Any

from .daemon_json import PATH as DAEMON_JSON
from .daemon_json import parse, read_bytes
from .engine import Engine, is_systemd
from .engine_packages import KEY_FILE, SOURCE_FILE, matches, remove_entries, run

HOLDS = "/var/lib/wharf/docker_engine.holds"
RESTART = "/var/lib/wharf/docker_engine.restart"
PROXIES = "/etc/default/wharf-docker"
INIT_SCRIPT_BLOCK = "# BEGIN wharf proxies"


# What is there ---------------------------------------------------------------------------------------------------


def system() -> dict[str, Any]:
    """Return what the host is: distribution, version, release, service manager, address, Python."""
    release: dict[str, str] = {}
    for line in (read_bytes("/etc/os-release") or b"").decode("utf-8", "replace").splitlines():
        name, equals, value = line.partition("=")
        if equals:
            release[name] = value.strip("\"'")
    return {
        "distribution": release.get("ID", "").capitalize(),
        "version": release.get("VERSION_ID", ""),
        "release": release.get("VERSION_CODENAME", ""),
        "service_mgr": "systemd" if is_systemd() else "sysvinit",
        "address": default_address(),
        "python": platform.python_version(),
    }


def default_address() -> str:
    """Return the IPv4 address that the host uses by default; empty where it has no route. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))
            return one.getsockname()[0]
        except OSError:
            return ""


def is_right(path: str, mode: str, content: str) -> bool:
    """Return whether a file of the role is as it must be: absent where nothing must be in it."""
    try:
        facts = os.lstat(path)
        text = Path(path).read_bytes()
    except FileNotFoundError:
        return not content
    except OSError:
        return False
    owner = (stat.S_ISREG(facts.st_mode), facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode))
    return bool(content) and owner == (True, 0, 0, int(mode, 8)) and text == content.encode()


def groups_of(user: str) -> list[str] | None:
    """Return the names of a user's groups; None where there is no such user."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    names = []
    for gid in os.getgrouplist(user, entry.pw_gid):
        try:
            names.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return names


def _has_group(name: str) -> bool:
    try:
        return bool(grp.getgrnam(name))
    except KeyError:
        return False


def _lines(path: str) -> list[str]:
    """Return the lines of a file; none where there is none."""
    return (read_bytes(path) or b"").decode("utf-8", "replace").splitlines()


def _packages(names: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the versions of those packages that are installed, and which of them are held."""
    form = "${Package} ${db:Status-Status} ${Version} ${db:Status-Want}\n"
    shown = run("dpkg-query", "--show", f"--showformat={form}", *names).stdout if names else ""
    rows = [line.split() for line in shown.splitlines() if not line.startswith("dpkg-query:")]
    rows = [row for row in rows if len(row) == 4 and row[1] == "installed"]
    return {row[0]: row[2] for row in rows}, [row[0] for row in rows if row[3] == "hold"]


def _service() -> tuple[bool, bool]:
    """Return whether the service manager runs the engine, and whether it starts it at boot."""
    if is_systemd():
        shown = run("systemctl", "show", "docker.service", "--property=ActiveState,UnitFileState").stdout.split()
        enabled = {f"UnitFileState={state}" for state in ("enabled", "enabled-runtime", "static", "generated", "alias")}
        return "ActiveState=active" in shown, bool(enabled & set(shown))
    is_active = run("service", "docker", "status").returncode == 0
    return is_active, any(map(os.path.exists, glob.glob("/etc/rc[2345].d/S[0-9][0-9]docker")))


def gather(module: Any, request: dict) -> dict[str, Any]:
    """Return what is on the host. Changes nothing.

    Args:
        module: the AnsibleModule.
        request: what the role wants, see `judge`.

    Raises:
        WharfError: daemon.json cannot be read.
    """
    names = request["packages"] + request["conflicts"] + request["obsolete"]
    installed, held = _packages(list(dict.fromkeys(names)))
    dockerd = module.get_bin_path("dockerd")
    owner = run("dpkg-query", "--search", os.path.realpath(dockerd)) if dockerd else None
    engine = Engine.find()
    identity = engine.identity if engine else ""
    restart = _lines(RESTART)
    is_active, is_enabled = _service()
    source = request["repository_source"]
    return {
        "installed": installed,
        "held": held,
        "dockerd": dockerd or "",
        "dockerd_package": owner.stdout.partition(":")[0] if owner and owner.returncode == 0 else "",
        "groups": {user: groups_of(user) for user in request["users"]},
        "has_group": _has_group("docker"),
        "wrong_files": [one["path"] for one in request["files"] if not is_right(**one)],
        "is_source_right": is_right(SOURCE_FILE, "644", source) and os.path.exists(KEY_FILE) == bool(source),
        "entries": remove_entries(request["repository_url"], is_real=False) if source else [],
        "holds": _lines(HOLDS),
        "has_block": INIT_SCRIPT_BLOCK in _lines("/etc/default/docker"),
        "has_daemon_proxies": "proxies" in parse(read_bytes(DAEMON_JSON) or b"", DAEMON_JSON),
        "is_systemd": is_systemd(),
        "identity": identity,
        # Only of the engine that still runs: another one has been started since.
        "restart": restart[1:] if identity and restart[:1] == [identity] else [],
        "is_active": is_active,
        "is_enabled": is_enabled,
    }


# What is pending -------------------------------------------------------------------------------------------------


def judge(found: dict[str, Any], request: dict) -> dict[str, Any]:
    """Return what is to be done on a host.

    Args:
        found: what `gather` returns.
        request: source, version, replace; the packages engine, components, conflicts and obsolete of the source on
            this system, and packages (all that must be installed); users; files (path, mode, content).

    Returns:
        missing and remove (packages), changes_engine (its own packages change), preflight (the change is tried first),
        source (files for apt are to be written or removed), hold and release (packages), proxies (files with them are
        to be written or removed), block (that in the init script's settings is), outsiders (users to put into the
        group), is_running, is_managed (by the service manager), start (it is to be started or enabled).
    """
    installed, pin = found["installed"], request["version"]
    missing = [package for package in request["packages"] if package not in installed]
    in_the_way = [package for package in request["conflicts"] if package in installed]
    core = request["engine"] + request["components"]
    is_source_wrong = not found["is_source_right"] or bool(found["entries"])
    is_pin_wrong = bool(pin) and any(not matches(installed.get(package, ""), pin) for package in request["engine"])
    changes_engine = is_pin_wrong or bool(in_the_way and core) or any(package in missing for package in core)
    has_proxies = any(file["content"] for file in request["files"] if file["path"] == PROXIES)
    members = [user for user, groups in found["groups"].items() if groups is not None and "docker" in groups]
    is_running = bool(found["identity"]) or found["is_active"]
    return {
        "missing": missing,
        "remove": in_the_way and in_the_way + [package for package in request["obsolete"] if package in installed],
        "changes_engine": changes_engine,
        # What Debian offers is known to be there; everything else is tried before anything changes.
        "preflight": (request["source"] == "docker_ce" and (changes_engine or is_source_wrong))
        or is_pin_wrong
        or bool(in_the_way and core),
        "source": is_source_wrong,
        "hold": [package for package in request["engine"] if pin and package not in found["held"]],
        "release": [package for package in found["holds"] if not pin or package not in request["engine"]],
        "proxies": bool(found["wrong_files"]),
        "block": not found["is_systemd"] and found["has_block"] != has_proxies,
        "outsiders": [user for user in dict.fromkeys(request["users"]) if user not in members],
        "is_running": is_running,
        "is_managed": found["is_active"],
        # One that runs without the service manager would be in its way.
        "start": not (found["is_active"] and found["is_enabled"]) and (found["is_active"] or not is_running),
    }


def problems(found: dict[str, Any], request: dict) -> list[str]:
    """Return what makes a host unfit, for people."""
    result = []
    source, installed = request["source"], found["installed"]
    in_the_way = [package for package in request["conflicts"] if package in installed]
    if source == "none":
        if not found["dockerd"]:
            result.append(
                "docker_engine_source: is none, but no engine (dockerd) is on this host: install one, or use distro or "
                "docker_ce, and the role does it"
            )
        elif request["users"] and not found["has_group"]:
            result.append(
                "docker_engine_users: is set, but the group docker does not exist on this host: create it, or leave "
                "the users out"
            )
    elif in_the_way and not request["replace"]:
        other = "distro" if source == "docker_ce" else "docker_ce"
        are, them = ("is", "it") if len(in_the_way) == 1 else ("are", "them")
        result.append(
            f"docker_engine_source: is {source}, but {', '.join(in_the_way)} {are} installed here, and "
            f"{request['engine'][0]} would replace {them}: set docker_engine_source: {other} to keep what is there, "
            "remove it first, or set docker_engine_replace: true; images, containers and volumes stay"
        )
    elif found["dockerd"] and not in_the_way and request["engine"][0] not in installed:
        result.append(
            f"docker_engine_source: is {source}, but {found['dockerd']} is here already, from "
            f"{found['dockerd_package'] or 'no package'}: remove it first, or set docker_engine_source: none, "
            "which configures it and leaves it where it is"
        )
    if found["has_daemon_proxies"] and any(file["content"] for file in request["files"] if file["path"] == PROXIES):
        result.append(
            "docker_engine_http_proxy or docker_engine_https_proxy: is set, but /etc/docker/daemon.json holds proxies, "
            "and the engine would take those instead: take them out of the file, or leave the variables out"
        )
    result.extend(
        f"docker_engine_users: {user} does not exist on this host: create the user first, or take the name out"
        for user, groups in found["groups"].items()
        if groups is None
    )
    return result

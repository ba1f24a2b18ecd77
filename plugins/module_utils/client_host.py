"""Reading what a client of a registry has, and changing it."""

from __future__ import annotations

import errno
import glob
import os
import pwd
import re
import shutil
import socket
import stat
import tempfile
from typing import Any

from .auth_files import PATH, run
from .client_plan import (
    CERTIFICATES,
    CONTAINERD,
    CONTAINERD_FILE,
    CONTAINERS,
    HOSTS,
    REGISTRIES,
    STORE,
    Containerd,
    Host,
    Plan,
    Wanted,
    file_label,
)
from .daemon_json import Change, owners
from .errors import WharfError
from .files import write_atomic

LINKS = "/etc/ssl/certs"


def has(program: str) -> bool:
    """Return whether a program is installed."""
    return shutil.which(program, path=PATH) is not None


def engine_owner(registry: str) -> str:
    """Return who owns a registry's entry in daemon.json."""
    return f"registry_client {registry}"


def resolves(name: str) -> bool:
    """Return whether a name has an address on this host."""
    try:
        return bool(socket.getaddrinfo(name, None))
    except OSError:
        return False


# Reading ------------------------------------------------------------------------------------------


def read_host(wanted: Wanted) -> Host:
    """Return what is on this host, of the registry, of its previous names, and of the tools. Changes nothing.

    Raises:
        WharfError: what Wharf remembers of daemon.json cannot be read.
    """
    # The engine counts, and not the command docker, which may be podman's.
    tools = [tool for tool in ("docker", *CONTAINERS, "containerd") if has("dockerd" if tool == "docker" else tool)]
    host = Host(
        tools=tools,
        programs=[program for program in ("docker", "update-ca-certificates") if has(program)],
        hosts=_text(HOSTS) or "",
    )
    registries = [wanted.registry, *wanted.previous]
    host.containerd = _read_containerd(tools, wanted.tools, registries)
    for registry in registries:
        _read_files(host, registry)
    owned = owners()
    host.engine_entries = [registry for registry in registries if engine_owner(registry) in owned]
    # Only an engine with containerd's image store reads a hosts.toml.
    if "docker" in tools and any(path.startswith(CERTIFICATES["docker"]) for path in host.foreign):
        host.containerd_store = "io.containerd" in run(["docker", "info", "--format", "{{json .DriverStatus}}"])[1]
    host.missing_users = [user for user in wanted.users if not _is_user(user)]
    return host


def known_ca(host: Host, registry: str) -> str:
    """Return the CA certificate that all tools have for a registry; empty where they differ or have none."""
    contents = {text for path, text in host.files.items() if path.endswith(f"/{registry}/wharf-ca.crt")}
    return (contents.pop() or "") if len(contents) == 1 else ""


def _text(path: str) -> str | None:
    """Return the text of a file; None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_user(name: str) -> bool:
    """Return whether this host has a system user."""
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


def _read_containerd(found: list[str], tools: list[str], registries: list[str]) -> Containerd:
    """Return how containerd is configured: by its own word where it is used, otherwise by its file."""
    text = _text(CONTAINERD_FILE)
    containerd, dump = Containerd(text=text), text or ""
    if "containerd" in found and ("containerd" in tools or (tools == ["auto"] and "docker" not in found)):
        status, dump = run(["containerd", "config", "dump"])
        containerd.broken = status != 0
        containerd.old_tables = re.search(r"registry\.(mirrors\.|configs\..*\.tls\])", dump) is not None
    containerd.config_path = config_path(dump)
    try:
        containerd.others = bool(set(os.listdir(CONTAINERD)) - set(registries))
    except OSError:
        containerd.others = False
    return containerd


def config_path(dump: str) -> str:
    """Return the first directory of registries in containerd's configuration; empty without any."""
    here = False
    for line in dump.splitlines():
        if "[" in line:
            here = re.match(r" *\[plugins\..*\.registry\]", line) is not None
        if here and (match := re.match(r"\s*config_path\s*=\s*[\"']([^\"':]*)", line)) and match[1]:
            return match[1]
    return ""


def _read_files(host: Host, registry: str) -> None:
    """Add a registry's files and their directories to what is on a host."""
    roots = dict.fromkeys([*CERTIFICATES.values(), CONTAINERD, *filter(None, [host.containerd.config_path])])
    directories = [f"{root}/{registry}" for root in roots]
    paths = [f"{directory}/{name}" for directory in directories for name in ("wharf-ca.crt", "hosts.toml")]
    in_store = sorted(glob.glob(f"{STORE}/wharf-{glob.escape(file_label(registry))}_*.crt"))
    for path in [*paths, f"{REGISTRIES}/wharf-{file_label(registry)}.conf", *in_store]:
        text = _text(path) if os.path.isfile(path) else None
        if text is None:
            continue
        facts = os.stat(path)
        is_right = (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (0, 0, 0o644)
        host.files[path] = text if is_right else None
        if path.endswith("/hosts.toml") and not re.search(r"^# Wharf", text, re.MULTILINE):
            host.foreign.append(path)
    host.unlinked += [path for path in in_store if not os.path.exists(_link(path))]
    host.directories += [path for path in (*directories, REGISTRIES, STORE) if os.path.isdir(path)]


def _link(path: str) -> str:
    """Return the link that the system's store has for a certificate."""
    return f"{LINKS}/{os.path.basename(path)[: -len('.crt')]}.pem"


# Changing -----------------------------------------------------------------------------------------


def engine_changes(module: Any, plan: Plan) -> list[Change]:
    """Work out the changes of daemon.json, each without those before it. Changes nothing.

    Raises:
        WharfError: daemon.json cannot be read, or the engine would not start with it.
    """
    return [Change(module, engine_owner(registry), options, []) for registry, options in plan.engine.items()]


def apply_engine(module: Any, plan: Plan, changes: list[Change]) -> None:
    """Write daemon.json, and let the engine read it again, which stops nothing.

    Raises:
        WharfError: the engine does not take it over; the file is as it was.
    """
    for number, (registry, options) in enumerate(plan.engine.items()):
        change = changes[0] if number == 0 else Change(module, engine_owner(registry), options, [])
        change.apply()


def apply(plan: Plan) -> None:
    """Write and remove what a plan says, without /etc/hosts and daemon.json.

    Raises:
        WharfError: a program refuses; its own output is in the message.
        OSError: a file cannot be written or removed.
    """
    for directory in plan.directories:
        os.makedirs(directory, mode=0o755, exist_ok=True)
    # The tools read these files at every connection: nothing is restarted.
    for path, text in plan.write.items():
        write_atomic(path, text.encode("utf-8", "surrogateescape"))
    for path in plan.remove:
        os.unlink(path)
    for directory in plan.rmdir:
        _rmdir(directory)
    if plan.system_store and has("update-ca-certificates"):
        _must(["update-ca-certificates", "--fresh"], f"{STORE}: the system's store does not take it over")
    if plan.containerd is not None:
        _configure_containerd(plan.containerd)


def write_hosts(text: str) -> None:
    """Write /etc/hosts with the mode and the owner that it has.

    Raises:
        OSError: it cannot be written.
    """
    content = text.encode("utf-8", "surrogateescape")
    facts = os.stat(HOSTS)
    try:
        write_atomic(HOSTS, content, stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid)
    except OSError as error:
        # In a container it is a mount point, which nothing can replace.
        if error.errno != errno.EBUSY:
            raise
        with open(HOSTS, "wb") as file:
            file.write(content)


def _rmdir(directory: str) -> None:
    """Remove a directory if it is empty."""
    try:
        os.rmdir(directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def _must(command: list[str], otherwise: str) -> None:
    """Run a command.

    Raises:
        WharfError: it failed.
    """
    status, output = run(command)
    if status:
        raise WharfError(f"{otherwise}: {output}")


def _configure_containerd(text: str) -> None:
    """Give containerd another configuration, and restart it, which stops no container.

    Raises:
        WharfError: containerd refuses the configuration, or does not start with it. The old file is there again.
    """
    before = _text(CONTAINERD_FILE)
    if text.strip():
        os.makedirs(os.path.dirname(CONTAINERD_FILE), mode=0o755, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(CONTAINERD_FILE), suffix=".toml") as file:
            file.write(text)
            file.flush()
            _must(["containerd", "--config", file.name, "config", "dump"], f"{CONTAINERD_FILE}: containerd refuses it")
    _replace(CONTAINERD_FILE, text if text.strip() else None)
    try:
        _must(["service", "containerd", "restart"], f"{CONTAINERD_FILE}: containerd does not start with it")
    except WharfError:
        _replace(CONTAINERD_FILE, before)
        run(["service", "containerd", "restart"])
        raise


def _replace(path: str, text: str | None) -> None:
    """Give a file this text; without one, remove it."""
    if text is not None:
        write_atomic(path, text.encode("utf-8", "surrogateescape"))
    elif os.path.exists(path):
        os.unlink(path)


def diff(host: Host, plan: Plan) -> list[dict[str, str]]:
    """Return what --diff shows of a plan."""
    texts = [(path, host.files.get(path) or "", text) for path, text in plan.write.items()]
    texts += [(path, host.files.get(path) or "", "") for path in plan.remove]
    if plan.containerd is not None:
        texts.append((CONTAINERD_FILE, host.containerd.text or "", plan.containerd))
    if plan.hosts is not None:
        texts.append((HOSTS, host.hosts, plan.hosts))
    return [
        {"before_header": path, "before": before, "after_header": path, "after": after} for path, before, after in texts
    ]

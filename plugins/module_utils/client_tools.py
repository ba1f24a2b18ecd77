"""Whether the container tools of a host get through to the registry when their users use them.

Each tool is asked, in a login of the user, for an image that does not exist: only the registry can tell that it is
unknown.
"""

from __future__ import annotations

import glob
import os
import pwd
import re
import shlex
from functools import partial
from typing import Any

from . import proxies
from .auth_files import CONTAINERS, ENGINE_SOCKET, Containers, Docker, as_owner, find_user
from .client_trust import CONTAINERD_FILE, TOOLS, Containerd, chosen_tools
from .container_policy import refusal
from .files import read_text
from .parts import DENIED
from .processes import has, run
from .text import human_bytes, one_line, without_logins

TIMEOUT = 20  # seconds: the tools try some things twice
FULL_BYTES = 16 * 1024**2  # so little that a pull cannot be counted on
DIRECTORIES = ("/etc/containers/certs.d", "/etc/docker/certs.d")
IMAGE = "wharf-diagnosis/none:none"
STORAGE = {"docker": "/var/lib/docker", "containerd": "/var/lib/containerd", "podman": "/var/lib/containers"}
STORAGE["buildah"] = STORAGE["podman"]
# The last two: whom no rule lists for it.
UNKNOWN = re.compile(
    rf"(manifest|name) unknown|repository name not known|none:none\"?: not found|{DENIED}|/v2/\S+ 403 Forbidden", re.I
)
UNAUTHORIZED = re.compile(
    r"unauthorized|no basic auth|authentication required|authorization failed|access denied|401 |username/password",
    re.I,
)
# Of which the first that fits tells what is wrong; the first three also tell why a tool has no login.
FAULTS = (
    ("tool_helper", re.compile(r"docker-credential-(?P<helper>[\w-]+).*(not found|no such file)", re.I)),
    ("tool_no_access", re.compile(r"permission denied.*(docker daemon|docker API|docker\.sock)", re.I)),
    (
        "tool_unreadable",
        re.compile(r"\b[a-z]+ (?P<path>/[^\s:]+(?::\d+[^\s:]*)?): (permission denied|operation not permitted)", re.I),
    ),
    ("tool_proxy", re.compile(r"proxyconnect", re.I)),
    ("tool_trust", re.compile(r"x509|certificate|server gave HTTP response", re.I)),
)
REFUSALS = {"rejects": "policy_rejects", "blocks": "registry_blocked", "signed": "policy_signed"}
Fault = tuple[str, dict[str, Any]]  # a key of plugin_utils/verdicts.yml, and what its texts name


def commands(tools: list[str], registry: str, user: str) -> dict[str, list[str]]:
    """Return what asks the registry with each of these tools, as far as they are installed, as a user."""
    image = f"{registry}/{IMAGE}"
    asking = {tool: [tool, "pull", image] for tool in ("docker", "podman", "buildah")}
    asking["skopeo"] = ["skopeo", "inspect", "--raw", f"docker://{image}"]
    if user == "root" and "containerd" in tools:
        directory = Containerd(True).config_path
        asking["containerd"] = ["ctr", "images", "pull", "--hosts-dir", directory, image]
        if has("crictl"):  # asks as Kubernetes does
            asking["containerd"] = ["crictl", "pull", image]
    return {tool: command for tool, command in asking.items() if tool in tools and has(command[0])}


def in_login(user: str, *command: str) -> tuple[int, str]:
    """Run a command as a user would, with the environment of a login; return its status and its output."""
    entry = pwd.getpwnam(user)
    # Some accounts have none that runs commands.
    shell = entry.pw_shell if entry.pw_shell in read_text("/etc/shells").split() else "/bin/sh"
    # `su` begins no session of its own, which would give this to the user; it lasts as long as one of theirs.
    runtime, logins = f"/run/user/{entry.pw_uid}", f"{entry.pw_dir}/.config/containers/auth.json"
    has_session = f"XDG_RUNTIME_DIR={runtime}" if os.path.isdir(runtime) else f"REGISTRY_AUTH_FILE={logins}"
    line = shlex.join(["env", *([has_session] if user != "root" else []), *command])
    # Told to end, `su` ends what it has started, too.
    limited = ["timeout", "--kill-after=5", str(TIMEOUT), "su", "--login", user, "--shell", shell]
    status, output = run([*limited, "--command", f"{line} </dev/null"], timeout=TIMEOUT + 6)
    is_late = status == 124 or output.startswith("timeout did not end")  # what it has started goes on, and says nothing
    return status, f"there was no answer within {TIMEOUT} s" if is_late else output


def proxy_of(user: str, registry: str, tls: bool) -> str:
    """Return the proxy that leads from a user's login to the registry, without its credentials; empty for none."""
    environment = dict(line.split("=", 1) for line in in_login(user, "env")[1].splitlines() if "=" in line)
    host, _, port = registry.rpartition(":")
    return without_logins(proxies.proxy_for(environment, host, int(port), tls))


def proxy_source(home: str) -> str:
    """Return the file in which a user's proxy is set; empty where it is not found."""
    own = [f"{home}/{name}" for name in (".profile", ".bash_profile", ".bashrc", ".config/containers/containers.conf")]
    everybodys = ["/etc/environment", "/etc/profile", "/etc/profile.d/*", "/etc/containers/containers.conf"]
    return proxies.file_with_proxy(*everybodys, *own)


def end_of(output: str, length: int = 300) -> str:
    """Return the end of what a tool says on one line, because there the reason is."""
    line = one_line(output, len(output))
    return line if len(line) <= length else f"...{line[3 - length :]}"


def unreadable_file(user: str, registry: str) -> str:
    """Return a file of the CA that a user may not read, which some tools pass over in silence; empty for none."""
    files = sorted(path for base in DIRECTORIES for path in glob.glob(f"{base}/{registry}/*"))
    status, output = in_login(user, "head", "--bytes=0", *files) if files else (0, "")
    return (re.findall(r"'(/[^']+)'", output) or [files[0]])[0] if status else ""


def fault_of(output: str, tool: str, entry: pwd.struct_passwd, registry: str, tls: bool) -> Fault:
    """Return what a tool's answer means, which is none of the registry's."""
    user = entry.pw_name
    matches = ((code, pattern.search(output)) for code, pattern in FAULTS)
    code, match = next((one for one in matches if one[1]), ("tool_fails", None))
    details = {"tool": tool, "user": user, "output": end_of(output), **(match.groupdict() if match else {})}
    if code == "tool_trust" and (path := unreadable_file(user, registry)):
        return "tool_unreadable", {**details, "path": path}
    proxy = "" if tool == "docker" else proxy_of(user, registry, tls)
    if code == "tool_proxy" or (proxy and code in ("tool_fails", "tool_trust")):
        return "tool_proxy", {
            **details,
            "proxy": proxy or "that is set for it",
            "source": as_owner(entry, lambda: proxy_source(entry.pw_dir), ""),
        }
    return code, details


def disk_fault(tools: list[str]) -> Fault | None:
    """Return that there is no room for what a tool pulls."""
    for place in dict.fromkeys(STORAGE[tool] for tool in tools if tool in STORAGE):
        if os.path.isdir(place):
            space = os.statvfs(place)
            if (free := space.f_bavail * space.f_frsize) < FULL_BYTES:
                return "client_disk_full", {"place": place, "free": human_bytes(free)}
    return None


def login_fault(output: str, tool: str, entry: pwd.struct_passwd, registry: str) -> Fault:
    """Return why a tool of a user has no login that is good."""
    user, place = entry.pw_name, (Docker if tool == "docker" else Containers)(entry.pw_dir, registry)
    details = {"tool": tool, "user": user, "output": end_of(output)}
    # Some tools go on without a login then, in silence.
    find = "command -v docker-credential-{}"
    missing = [
        one
        for one in as_owner(entry, place.helpers, [])
        if in_login(user, "sh", "-c", find.format(shlex.quote(one)))[0]
    ]
    return (
        ("tool_helper", {**details, "helper": missing[0], "path": place.path}) if missing else ("tool_login", details)
    )


def faults(tools: list[str], logins: list[str], registry: str, tls: bool) -> list[Fault]:
    """Return what keeps a tool from the registry, up to the first that breaks a pull; what is only worth a warning too.

    Args:
        tools: those that are to trust the registry, or "auto".
        logins: system users who are logged in to it.
        registry: NAME:PORT.
        tls: whether it has a certificate.
    """
    tools = chosen_tools([tool for tool in TOOLS if has("dockerd" if tool == "docker" else tool)], tools)
    if fault := disk_fault(tools):
        return [fault]
    if "containerd" in tools and has("containerd") and not Containerd(True).config_path:
        return [("containerd_path", {"path": CONTAINERD_FILE})]
    found = []
    for user in dict.fromkeys(["root", *logins]):
        entry = find_user(user)
        if entry is None:
            continue
        asking = commands(tools, registry, user)
        # The engine itself has been asked, and who may not use it has the other tools, where there are some.
        if user not in logins or (len(asking) > 1 and in_login(user, "test", "-w", ENGINE_SOCKET)[0] != 0):
            asking.pop("docker", None)
        how, path = "", ""
        if set(asking) & set(CONTAINERS):
            how, path = as_owner(entry, partial(refusal, registry, entry.pw_dir), ("", ""))
        for tool, command in asking.items():
            status, output = in_login(user, *command)
            if status == 0 or UNKNOWN.search(output) or (how == "blocks" and tool in CONTAINERS):
                continue
            if UNAUTHORIZED.search(output) and not any(pattern.search(output) for _, pattern in FAULTS[:3]):
                if user in logins and tool != "containerd":
                    return [*found, login_fault(output, tool, entry, registry)]
                continue
            return [*found, fault_of(output, tool, entry, registry, tls)]
        if how and (fault := (REFUSALS[how], {"path": path})) not in found:
            found.append(fault)
    return found

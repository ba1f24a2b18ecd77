# SPDX-License-Identifier: MIT
"""Judge what files/look.sh says about a host."""

from __future__ import annotations

import hashlib
from typing import Any

DOCUMENTATION = r"""
name: docker_engine_state
short_description: Judge what the look at a host has found
description: Says from the lines of C(files/look.sh) what is due on a host and why the role could not work on it.
positional: wanted
options:
  _input:
    description: The lines of the look.
    type: list
    elements: str
    required: true
  wanted:
    description:
      - What is to be true. C(source), C(version) and C(replace) are the variables of these names; C(engine), C(parts),
        C(conflicts) and C(leftovers) are packages from the catalogue, C(packages) all that must be installed; C(users)
        are those of the group docker; C(files) are the role's files by name, and C(texts) what must be in them, nothing
        for a file that must not be there; C(systemd) says whether systemd runs the host.
    type: dict
    required: true
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
state: "{{ look.stdout_lines | docker_engine_state(wanted) }}"
# => {missing: [pigz], preflight: false, outsiders: [alice], running: true, managed: true, enabled: true, problems: []}
"""

RETURN = r"""
_value:
  description:
    - C(due), whether packages, files for apt, holds or proxies are to come or to go; the next ones say which.
    - C(missing), the packages to install; C(installed), the version of each package that is there; C(remove), what is
      in the engine's way and may go; C(preflight), whether the change is one that is tried first.
    - C(source_due), whether the role's files for apt are to be written or removed, or old entries go; C(entries), the
      files in which these stand.
    - C(hold) and C(release), packages to be held and to be released; C(held), those that the role held.
    - C(proxies_due), whether the files with the proxies are to be written or removed.
    - C(outsiders), the users to put into the group.
    - C(running), whether the engine runs; C(identity), which engine that is; C(owed), why an earlier run wanted to
      restart just this one; C(managed), whether the service manager runs it; C(enabled), whether it starts at boot.
    - C(problems), what makes the host unfit, in words.
  type: dict
"""

REMEDY = (
    "Set docker_engine_source: {found} to keep what is there, remove it first, or let the role replace it with "
    "docker_engine_replace: true; images, containers and volumes stay."
)


def upstream(version: str) -> str:
    """The version of the program in a package's version: without epoch, revision and what Debian adds."""
    return version.rpartition(":")[2].rsplit("-", 1)[0].split("+")[0]


def matches(version: str, pin: str) -> bool:
    """Whether a package's version is the pinned one, or begins with it."""
    return upstream(version) == pin or upstream(version).startswith(f"{pin}.")


def found_on(lines: list[str]) -> dict[str, Any]:
    """What the lines of the look say, by their first words."""
    found: dict[str, Any] = {word: {} for word in ("package", "held", "user", "unit", "file")} | {
        word: [] for word in ("engine", "entry", "hold", "running", "owed", "option", "hook", "group", "broken")
    }
    for line in lines:
        word, *rest = line.split()
        if word == "package":
            if rest[1] == "installed":
                found["package"][rest[0]] = rest[2]
                found["held"][rest[0]] = rest[3] == "hold"
        elif word in ("user", "file"):
            found[word][rest[0]] = rest[1:]
        elif word == "unit" and len(rest) == 2:
            found["unit"][rest[0]] = rest[1]
        elif word in ("entry", "hold", "owed", "option", "broken"):
            found[word].append(" ".join(rest))
        elif word in ("engine", "running", "hook", "group"):
            found[word] = rest or [True]
    return found


def is_right(seen: list[str] | None, text: str, mode: str) -> bool:
    """Whether a file of the role is as it must be: absent where nothing must be in it."""
    if not text:
        return seen is None
    return seen == [f"0:0:{mode}", hashlib.sha256(text.encode()).hexdigest()]


def docker_engine_state(lines: list[str], wanted: dict[str, Any]) -> dict[str, Any]:
    """What is to be done on a host, from the lines of files/look.sh; see DOCUMENTATION and RETURN."""
    found = found_on(lines)
    installed, files, texts = found["package"], wanted["files"], wanted["texts"]
    is_upstream, pin = wanted["source"] == "docker_ce", wanted["version"]
    missing = [package for package in wanted["packages"] if package not in installed]
    in_the_way = [package for package in wanted["conflicts"] if package in installed]
    core = wanted["engine"] + wanted["parts"]
    seen = {name: found["file"].get(path) for name, path in files.items()}
    source_due = (
        not is_right(seen["source"], texts["source"], "644")
        or (seen["key"] is not None) != is_upstream
        or bool(found["entry"])
    )
    pin_due = bool(pin) and any(not matches(installed.get(package, ""), pin) for package in wanted["engine"])
    core_due = pin_due or bool(in_the_way) or any(package in missing for package in core)
    managed = found["unit"].get("ActiveState") == "active"
    hook_due = not wanted["systemd"] and bool(found["hook"]) != bool(texts["proxies"])
    hook_due |= wanted["systemd"] and not is_right(seen["drop_in"], texts["drop_in"], "644")
    held = found["held"]
    state = {
        "missing": missing,
        "remove": in_the_way and in_the_way + [package for package in wanted["leftovers"] if package in installed],
        # What Debian offers is known to be there; everything else is tried before anything changes.
        "preflight": (is_upstream and (core_due or source_due)) or pin_due or bool(in_the_way and core),
        "source_due": source_due,
        "hold": [package for package in wanted["engine"] if pin and not held.get(package, False)],
        "release": [package for package in found["hold"] if not pin or package not in wanted["engine"]],
        "proxies_due": hook_due or not is_right(seen["proxies"], texts["proxies"], "600"),
    }
    outsiders = [user for user in wanted["users"] if "docker" not in found["user"].get(user, ["docker"])]
    return state | {
        "due": any(state.values()),
        "installed": installed,
        "entries": found["entry"],
        "held": found["hold"],
        "outsiders": list(dict.fromkeys(outsiders)),
        "running": bool(found["running"]) or managed,
        "identity": " ".join(map(str, found["running"])),
        "owed": found["owed"],
        "managed": managed,
        "enabled": found["unit"].get("UnitFileState", "")
        in ("enabled", "enabled-runtime", "static", "generated", "alias"),
        "problems": host_problems(found, wanted, in_the_way),
    }


def host_problems(found: dict[str, Any], wanted: dict[str, Any], in_the_way: list[str]) -> list[str]:
    """What makes a host unfit, in words."""
    problems = []
    source, engine = wanted["source"], found["engine"]
    if source == "none":
        if not engine:
            problems.append(
                "docker_engine_source is none, but no engine (dockerd) is on this host. Install one, or let the role "
                "do it: docker_engine_source: distro, or docker_ce."
            )
        elif wanted["users"] and not found["group"]:
            problems.append(
                "docker_engine_users is set, but the group docker does not exist on this host. Make it, or leave the "
                "users out."
            )
    elif in_the_way and not wanted["replace"]:
        other = "distro" if source == "docker_ce" else "docker_ce"
        problems.append(
            f"docker_engine_source is {source}, but {', '.join(in_the_way)} {'is' if len(in_the_way) == 1 else 'are'} "
            f"installed here, and {wanted['engine'][0]} would replace {'it' if len(in_the_way) == 1 else 'them'}. "
            + REMEDY.format(found=other)
        )
    elif engine and not in_the_way and wanted["engine"][0] not in found["package"]:
        problems.append(
            f"docker_engine_source is {source}, but {engine[0]} is here already, from "
            f"{engine[1] if len(engine) > 1 else 'no package'}. Remove it first, or set docker_engine_source: none, "
            "which configures it and leaves it where it is."
        )
    if wanted["texts"]["proxies"] and found["option"]:
        problems.append(
            "docker_engine_http_proxy or docker_engine_https_proxy is set, but /etc/docker/daemon.json holds proxies, "
            "and the engine would take those instead. Take them out of the file, or leave the variables out."
        )
    problems.extend(
        f"/etc/docker/daemon.json cannot be read: {reason}. Mend it, or remove it." for reason in found["broken"]
    )
    problems.extend(
        f"docker_engine_users names {user}, who does not exist on this host. Make the user first, or take the name out."
        for user in wanted["users"]
        if user not in found["user"]
    )
    return problems

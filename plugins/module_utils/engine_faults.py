"""Why the Docker engine of this host does not run, or would not start again."""

from __future__ import annotations

import re
from typing import Any

from .daemon_json import parse, read_bytes
from .engine import engine_keys, flag_values, flags_of, idle_argv
from .errors import WharfError
from .processes import run
from .text import one_line

DAEMON_JSON = "/etc/docker/daemon.json"
UNITS = ("docker.service", "docker.socket", "containerd.service")
START_ERROR = re.compile("failed to (?:start daemon|load listeners)|unable to configure the Docker daemon")

Fault = tuple[str, dict[str, Any]]  # a key of verdicts.yml, and what its texts name


def config_fault(argv: list[str]) -> tuple[dict[str, Any], Fault | None]:
    """Return the configuration of an engine that has these arguments, and what is wrong with it."""
    path = (flag_values(argv, "config-file") or [DAEMON_JSON])[-1]
    try:
        document = parse(read_bytes(path) or b"", path)
    except WharfError as error:
        return {}, ("engine_json", {"path": path, "reason": str(error).replace(" Nothing was changed.", "")})
    flags = flags_of(argv)
    twice = [key for key in engine_keys(document) if key in flags]
    fault = ("engine_conflict", {"path": path, "key": twice[0], "flag": flags[twice[0]]}) if twice else None
    return document, fault


def stopped_fault(module: Any) -> Fault:
    """Return why the engine of this host does not run. It is not asked: its socket would start it."""
    fault = config_fault(idle_argv(module))[1]
    if fault:
        return fault
    shown = run(["systemctl", "show", "--property=Id", "--property=UnitFileState", *UNITS])[1]
    if masked := re.findall(r"^Id=(\S+)\nUnitFileState=masked", shown, re.MULTILINE):
        option = " --runtime" if "=masked-runtime" in shown else ""
        return "engine_masked", {"unit": " ".join(masked), "option": option}
    return "engine_stopped", {"log": start_error()}


def start_error() -> str:
    """Return why the engine did not start the last time; empty where its log does not tell."""
    message = ""
    command = ["journalctl", "--unit=docker.service", "--lines=100", "--output=cat", "--no-pager"]
    for line in run(command)[1].splitlines():
        if "API listen on" in line:
            message = ""  # then it did start
        elif START_ERROR.search(line):
            message = line
    return one_line(message)

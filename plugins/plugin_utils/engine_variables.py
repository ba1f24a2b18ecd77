# SPDX-License-Identifier: MIT
"""The role docker_engine's variables: what cannot be right, and the proxies as a file."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

# useradd(8) of Debian.
USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}[a-z0-9_$-]?")
LOG_SIZE = re.compile(r"[1-9][0-9]*[kmg]")
VERSION = re.compile(r"[0-9]+(\.[0-9]+){0,2}(~(rc|beta|alpha)\.?[0-9]+)?")
FINGERPRINT = re.compile(r"[0-9A-F]{40}([0-9A-F]{24})?")
# What may stand in a file that systemd and a shell read alike, in single quotes.
PROXY = re.compile(r"(https?|socks5)://[^\s'\"\\/?#]+/?", re.ASCII)
ITSELF = ["localhost", "127.0.0.0/8", "::1"]
NO_PROXY = re.compile(r"[A-Za-z0-9_.:*\[\]-]+(/[0-9]+)?")


def docker_engine_problems(variables: dict[str, Any]) -> list[str]:
    """Find variables of the role docker_engine that cannot be right.

    Args:
        variables: the role's variables by name. Their types and choices are judged by the argument specification.

    Returns:
        messages that name the variable, what is wrong with it and what would be right.
    """
    problems = _source_problems(variables) + _proxy_problems(variables)

    for user in variables.get("docker_engine_users", []):
        if not USER_NAME.fullmatch(str(user)):
            problems.append(f"docker_engine_users holds {user!r}. It must be the name of a user of the host.")

    size = variables.get("docker_engine_log_max_size", "10m")
    if not LOG_SIZE.fullmatch(str(size)):
        problems.append(
            f"docker_engine_log_max_size is {size!r}. It must be a whole number followed by k, m or g, such as 10m."
        )
    options = variables.get("docker_engine_options", {})
    if "hosts" in options:
        problems.append(
            "docker_engine_options holds hosts. The service's command line sets it already (-H), and the engine does "
            "not start with both: set it in a drop-in of the service."
        )
    log_options = options.get("log-opts", {})
    if isinstance(log_options, dict):
        problems.extend(
            f"docker_engine_options.log-opts.{name} is {value!r}. The engine wants text: write it in quotes."
            for name, value in log_options.items()
            if not isinstance(value, str)
        )
    return problems


def _source_problems(variables: dict[str, Any]) -> list[str]:
    """Return messages about where the engine comes from, and which."""
    problems = []
    version = variables.get("docker_engine_version", "")
    if not isinstance(version, str):
        problems.append(
            f"docker_engine_version is {version!r}, a number, in which 28.10 and 28.1 are the same. Write it in quotes."
        )
    elif version and not VERSION.fullmatch(version):
        problems.append(
            f"docker_engine_version is {version!r}. It must be a version of Docker or its beginning, without an epoch "
            "and a revision, such as 28.5.2 or 28.5."
        )
    elif version and variables.get("docker_engine_source") == "none":
        problems.append(
            f"docker_engine_version is {version!r}, but docker_engine_source is none, which installs no engine. "
            "Leave the version out, or choose distro or docker_ce."
        )
    url = urlsplit(str(variables.get("docker_engine_repository_url", "https://repository.example/")))
    if "@" in url.netloc:
        problems.append(
            "docker_engine_repository_url holds a user or a password, which everybody on the host could read. Put it "
            "into a file in /etc/apt/auth.conf.d."
        )
    elif url.scheme not in ("http", "https") or not url.netloc or re.search(r"\s", url.geturl()):
        problems.append(
            f"docker_engine_repository_url is {url.geturl()!r}. It must be the address of a repository as Docker's, "
            "such as https://download.docker.com/linux/debian."
        )
    fingerprint = str(variables.get("docker_engine_repository_key_fingerprint", "0" * 40))
    if not FINGERPRINT.fullmatch(fingerprint.replace(" ", "").upper()):
        problems.append(
            f"docker_engine_repository_key_fingerprint is {fingerprint!r}. It must be the whole fingerprint, 40 "
            "hexadecimal digits, of the repository's primary key."
        )
    return problems


def _proxy_problems(variables: dict[str, Any]) -> list[str]:
    """Return messages about proxies, without their values: these can hold passwords."""
    problems = []
    names = [name for name in ("docker_engine_http_proxy", "docker_engine_https_proxy") if variables.get(name)]
    for name in names:
        value = str(variables[name])
        if "://" not in value:
            problems.append(f"{name} has no scheme. It must be an address such as http://proxy.example:3128.")
        elif not PROXY.fullmatch(value):
            problems.append(
                f"{name} is not an address such as http://proxy.example:3128. A quote, a blank or a backslash in a "
                "password is written with its code, such as %20; the scheme is http, https or socks5."
            )
    if names and "proxies" in variables.get("docker_engine_options", {}):
        problems.append(
            f"docker_engine_options holds proxies, and the engine takes them instead of {' and '.join(names)}. Leave "
            "one of the two out; everybody on the host can read daemon.json."
        )
    for name in ("docker_engine_no_proxy", "docker_engine_no_proxy_extra"):
        problems += [
            f"{name} holds {host!r}. It must be a name, a domain (.example.com), an address or a network (10.0.0.0/8)."
            for host in variables.get(name, [])
            if not NO_PROXY.fullmatch(str(host))
        ]
    throttle = variables.get("docker_engine_restart_throttle", 1)
    if int(throttle) < 0:
        problems.append(
            f"docker_engine_restart_throttle is {throttle}. It must be the number of engines that may restart at the "
            "same time, or 0 for all."
        )
    return problems


def docker_engine_proxies(variables: dict[str, Any]) -> str:
    """Return the text of the file that hands the proxies to the engine; empty without a proxy.

    Args:
        variables: the role's variables by name.
    """
    names = {"HTTP_PROXY": "docker_engine_http_proxy", "HTTPS_PROXY": "docker_engine_https_proxy"}
    proxies = {name: variables[variable] for name, variable in names.items() if variables.get(variable)}
    if not proxies:
        return ""
    others = [*variables.get("docker_engine_no_proxy_extra", []), *variables.get("docker_engine_no_proxy", [])]
    proxies["NO_PROXY"] = ",".join(dict.fromkeys([*ITSELF, *map(str, others)]))
    lines = [f"{name}='{value}'\n" for name, value in proxies.items()]
    return "# Ansible (the role docker_engine) writes this file.\n" + "".join(lines)

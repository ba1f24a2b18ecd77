# SPDX-License-Identifier: MIT
"""The role docker_engine's variables: what cannot be right, and the proxies as a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.wharf.registry.plugins.plugin_utils.values import problems_on_hosts

SPECIFICATION = Path(__file__).parents[2] / "roles/docker_engine/meta/argument_specs.yml"
# An address that holds a user or a password, which is another matter, and never shown.
LOGIN = r"([^/]*//)?[^/]*@(?s:.*)"
# What a value, or each of a list, must match, and what another one is.
NO_HOST = "no host: use a name, a domain (.example.com), an address or a network (10.0.0.0/8)"
FORMS = {
    "docker_engine_version": (
        r"([0-9]+(\.[0-9]+){0,2}(~(rc|beta|alpha)\.?[0-9]+)?)?",
        "no version: use a version of Docker or its beginning, without an epoch and a revision, such as 28.5.2 or 28.5",
    ),
    "docker_engine_repository_key_fingerprint": (
        r" *([0-9A-Fa-f] *){40}(([0-9A-Fa-f] *){24})?",
        "no fingerprint: use the whole one of the repository's primary key, 40 hexadecimal digits",
    ),
    # useradd(8) of Debian.
    "docker_engine_users": (r"[a-z_][a-z0-9_-]{0,30}[a-z0-9_$-]?", "no name of a user: use names of users of the host"),
    "docker_engine_log_max_size": (
        r"[1-9][0-9]*[kmg]",
        "no size: use a whole number followed by k, m or g, such as 10m",
    ),
    "docker_engine_repository_url": (
        rf"https?://[^/\s]\S*|{LOGIN}",
        "no address: use that of a repository such as Docker's, https://download.docker.com/linux/debian",
    ),
    "docker_engine_restart_throttle": (
        r"[0-9]+",
        "below zero: use the number of engines that may restart at the same time, or 0 for all",
    ),
    "docker_engine_no_proxy": (r"[A-Za-z0-9_.:*\[\]-]+(/[0-9]+)?", NO_HOST),
    "docker_engine_no_proxy_extra": (r"[A-Za-z0-9_.:*\[\]-]+(/[0-9]+)?", NO_HOST),
}
# What may stand in a file that systemd and a shell read alike, in single quotes.
PROXY = re.compile(r"(https?|socks5)://[^\s'\"\\/?#]+/?", re.ASCII)
PROXIES = {"HTTP_PROXY": "docker_engine_http_proxy", "HTTPS_PROXY": "docker_engine_https_proxy"}
ITSELF = ("localhost", "127.0.0.0/8", "::1")


def docker_engine_problems(hostvars: Mapping[str, Mapping[str, Any]], hosts: Sequence[str]) -> list[str]:
    """Return a line for each mistake in the role's variables of several hosts: see the filter of that name."""
    return problems_on_hosts(hostvars, hosts, "docker_engine_", problems_of)


def problems_of(given: Mapping[str, Any]) -> list[str]:
    """Return a line for each mistake in one host's variables."""
    specs = specification()
    result = ArgumentSpecValidator(specs).validate({name: value for name, value in given.items() if name in specs})
    if result.error_messages:
        return list(dict.fromkeys(map(_plain, result.error_messages)))
    values = {name: value for name, value in result.validated_parameters.items() if value is not None}
    # A number is text by now.
    values["docker_engine_version"] = given.get("docker_engine_version", "")
    problems = []
    for name, (form, otherwise) in FORMS.items():
        value = values.get(name, [])
        all_values = value if isinstance(value, list) else [value]
        problems += [f"{name}: {one!r} is {otherwise}" for one in all_values if not re.fullmatch(form, str(one))]
    return problems + [problem for is_wrong, problem in _judgements(values) if is_wrong]


def _judgements(values: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    """Yield what can be wrong beyond types and forms: whether it is, and what to say. Proxies can hold passwords."""
    version, source = values["docker_engine_version"], values.get("docker_engine_source")
    yield (
        not isinstance(version, str),
        f"docker_engine_version: {version!r} is a number, in which 28.10 and 28.1 are the same: write it in quotes",
    )
    yield (
        isinstance(version, str) and version != "" and source == "none",
        f"docker_engine_version: is {version!r}, but docker_engine_source is none, which installs no engine: leave the "
        "version out, or use distro or docker_ce",
    )
    yield (
        re.match(LOGIN, values.get("docker_engine_repository_url", "")) is not None,
        "docker_engine_repository_url: holds a user or a password, which everybody on the host could read: put it into "
        "a file in /etc/apt/auth.conf.d",
    )
    options = values.get("docker_engine_options", {})
    yield (
        "hosts" in options,
        "docker_engine_options: holds hosts, which the service's command line sets already (-H), and the engine does "
        "not start with both: set it in a drop-in of the service",
    )
    log_options = options.get("log-opts")
    for name, value in log_options.items() if isinstance(log_options, dict) else ():
        yield (
            not isinstance(value, str),
            f"docker_engine_options: log-opts.{name} is {value!r}, and the engine wants text: write it in quotes",
        )
    proxies = {name: values[name] for name in PROXIES.values() if values.get(name)}
    for name, proxy in proxies.items():
        yield "://" not in proxy, f"{name}: has no scheme: use an address such as http://proxy.example:3128"
        yield (
            "://" in proxy and not PROXY.fullmatch(proxy),
            f"{name}: is no address of a proxy: use one such as http://proxy.example:3128, its scheme http, https or "
            "socks5; a quote, a blank or a backslash in a password is written with its code, such as %20",
        )
    yield (
        bool(proxies) and "proxies" in options,
        f"docker_engine_options: holds proxies, and the engine takes them instead of {' and '.join(proxies)}: leave "
        "one of the two out; everybody on the host can read daemon.json",
    )


def _plain(message: str) -> str:
    """Return a validator's message in this project's form, without a value of another type: it could be a secret."""
    if choice := re.match(r"value of (\S+) must be one of: (.*), got: (.*)$", message):
        others, _, last = choice[2].rpartition(", ")
        return f"{choice[1]}: {choice[3]!r} is unknown: use {others} or {last}"
    if other := re.search(r"'(docker_engine_\w+)' is of type (?:<class ')?(\w+).*convert to (\w+)", message, re.DOTALL):
        return f"{other[1]}: is of type {other[2]}: use the type {other[3]}"
    return message


@lru_cache(maxsize=1)
def specification() -> dict[str, dict[str, Any]]:
    """Return the role's argument specification as a validator takes it, its defaults left to the role."""
    options = yaml.safe_load(SPECIFICATION.read_text("utf-8"))["argument_specs"]["main"]["options"]
    return {
        name: {key: spec[key] for key in spec.keys() - {"description", "default"}} for name, spec in options.items()
    }


def docker_engine_proxies(variables: Mapping[str, Any]) -> str:
    """Return the text of the file that hands the proxies to the engine; empty without a proxy."""
    proxies = {name: variables[variable] for name, variable in PROXIES.items() if variables.get(variable)}
    if not proxies:
        return ""
    others = [*variables.get("docker_engine_no_proxy_extra", []), *variables.get("docker_engine_no_proxy", [])]
    proxies["NO_PROXY"] = ",".join(dict.fromkeys([*ITSELF, *map(str, others)]))
    lines = [f"{name}='{value}'\n" for name, value in proxies.items()]
    return "# Ansible (the role docker_engine) writes this file.\n" + "".join(lines)

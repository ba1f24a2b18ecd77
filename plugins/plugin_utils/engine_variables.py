# SPDX-License-Identifier: MIT
"""The role docker_engine's variables: what cannot be right, and the proxies as a file."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.names import PROXY
from ansible_collections.wharf.registry.plugins.plugin_utils.paths import LOST
from ansible_collections.wharf.registry.plugins.plugin_utils.settings import unknown_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.specifications import judged, near
from ansible_collections.wharf.registry.plugins.plugin_utils.users import system_user_fault
from ansible_collections.wharf.registry.plugins.plugin_utils.values import kind, listed, problems_on_hosts, shown

ROLE = "docker_engine"
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
        r"( *([0-9A-Fa-f] *){40}(([0-9A-Fa-f] *){24})?)?",
        "no fingerprint: use the whole one of its primary key, 40 hexadecimal digits, or none for Docker's",
    ),
    "docker_engine_log_max_size": (
        r"[1-9][0-9]*[kmg]",
        "no size: use a whole number followed by k, m or g, such as 10m",
    ),
    "docker_engine_repository_url": (
        rf"(https?://(?!download\.docker\.com(?!/linux/))[^/\s](?!\S*/(gpg|dists|pool|docker-ce\.repo)(/|$))\S*|{LOGIN})?",
        "no address: use that of a repository such as Docker's, https://download.docker.com/linux/debian, or none",
    ),
    "docker_engine_restart_throttle": (
        r"[0-9]+",
        "below zero: use the number of engines that may restart at the same time, or 0 for all",
    ),
    "docker_engine_no_proxy": (r"[A-Za-z0-9_.:*\[\]-]+(/[0-9]+)?", NO_HOST),
    "docker_engine_no_proxy_extra": (r"[A-Za-z0-9_.:*\[\]-]+(/[0-9]+)?", NO_HOST),
}
# The types of keys that are often written in another one, with which the engine does not start.
OPTION_TYPES = {
    list: (
        "allow-nondistributable-artifacts authorization-plugins default-address-pools dns dns-opts dns-search exec-opts"
        " insecure-registries labels registry-mirrors storage-opts"
    ),
    bool: (
        "debug experimental icc init ip-forward ip-masq ip6tables iptables ipv6 live-restore no-new-privileges"
        " selinux-enabled tls tlsverify userland-proxy allow-direct-routing ip-forward-no-drop raw-logs rootless"
    ),
    dict: "builder containerd-opts default-network-opts default-ulimits features log-opts proxies runtimes",
    str: (
        "bip bridge cgroup-parent containerd data-root default-cgroupns-mode default-gateway default-gateway-v6"
        " default-ipc-mode default-runtime default-shm-size exec-root fixed-cidr fixed-cidr-v6 group init-path ip"
        " log-driver log-format log-level metrics-addr pidfile seccomp-profile storage-driver tlscacert tlscert tlskey"
        " userland-proxy-path userns-remap"
    ),
    int: (
        "max-concurrent-downloads max-concurrent-uploads max-download-attempts mtu oom-score-adjust shutdown-timeout"
    ),
}
# What others than these the engine does not know; a log driver may be a plugin's.
OPTION_CHOICES = {
    "log-level": ["debug", "info", "warn", "error", "fatal"],
    "storage-driver": [
        *("overlay2", "fuse-overlayfs", "btrfs", "zfs", "vfs"),
        *("overlayfs", "overlay", "aufs", "devicemapper"),
    ],
    "log-driver": [
        *("json-file", "local", "journald", "syslog", "fluentd"),
        *("gelf", "awslogs", "gcplogs", "splunk", "logentries", "none"),
    ],
}
# Keys that have these names on the command line, or had them once.
OPTION_NAMES = {
    **{f"{key[:-1]}": key for key in OPTION_TYPES[list].split() if key.endswith("s")},
    "log-opt": "log-opts",
    "default-ulimit": "default-ulimits",
    "default-network-opt": "default-network-opts",
    "add-runtime": "runtimes",
    "graph": "data-root",
    "H": "hosts",
    "host": "hosts",
    **{f"{scheme}-proxy": "proxies" for scheme in ("http", "https", "no")},
}
# The items of lists that are pairs, and what the values of mappings are.
PAIRED = ("exec-opts", "labels", "storage-opts")
OPTION_VALUES: dict[str, tuple[type, str]] = {
    "features": (bool, "true or false, without quotes"),
    "default-ulimits": (dict, "a mapping such as {Name: nofile, Soft: 64000, Hard: 64000}"),
    "runtimes": (dict, "a mapping such as {path: /usr/bin/crun}"),
}
# dns and its like are addresses, the others networks.
# Log drivers that keep no files of their own.
OF_NO_FILES = [driver for driver in OPTION_CHOICES["log-driver"] if driver not in ("json-file", "local", "none")]
NETWORK_OPTIONS: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(("dns", "ip", "default-gateway", "default-gateway-v6"), ipaddress.ip_address),
    **dict.fromkeys(("bip", "fixed-cidr", "fixed-cidr-v6", "default-address-pools"), ipaddress.ip_interface),
}
# What may stand in a file that systemd and a shell read alike, in single quotes.
PROXIES = {"HTTP_PROXY": "docker_engine_http_proxy", "HTTPS_PROXY": "docker_engine_https_proxy"}
ITSELF = ("localhost", "127.0.0.0/8", "::1")


def docker_engine_problems(hostvars: Mapping[str, Mapping[str, Any]], hosts: Sequence[str]) -> list[str]:
    """Return a line for each mistake in the role's variables of several hosts: see the filter of that name."""
    return problems_on_hosts(hostvars, hosts, "docker_engine_", problems_of)


def problems_of(given: Mapping[str, Any]) -> list[str]:
    """Return a line for each mistake in one host's variables."""
    version = given.get("docker_engine_version")
    number = isinstance(version, (int, float)) and not isinstance(version, bool)
    values, wrong = judged(given, ROLE)
    if number:
        wrong["docker_engine_version"] = (
            f"{version!r} is a number, in which 28.10 and 28.1 are the same: write it in quotes"
        )
    problems = [f"{name}: {fault}" for name, fault in wrong.items()]
    problems += unknown_problems(given, ROLE, "what roles/docker_engine/README.md lists")
    for name, (form, otherwise) in FORMS.items():
        value = values[name]
        all_values = value if isinstance(value, list) else [value]
        problems += [f"{name}: {shown(one)} is {otherwise}" for one in all_values if not re.fullmatch(form, str(one))]
    return problems + [problem for is_wrong, problem in _judgements(values) if is_wrong]


def _judgements(values: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    """Yield what can be wrong beyond types and forms: whether it is, and what to say. Proxies can hold passwords."""
    version, source = values["docker_engine_version"], values["docker_engine_source"]
    yield (
        version != "" and source == "none",
        f"docker_engine_version: is {version!r}, but docker_engine_source is none, which installs no engine: leave the "
        "version out, or use distro or docker_ce",
    )
    for user in values["docker_engine_users"]:
        yield system_user_fault(user) != "", f"docker_engine_users: {shown(user)} {system_user_fault(user)}"
    yield (
        re.match(LOGIN, values.get("docker_engine_repository_url", "")) is not None,
        "docker_engine_repository_url: holds a user or a password, which everybody on the host could read: put it into "
        "a file in /etc/apt/auth.conf.d",
    )
    options = values["docker_engine_options"]
    for fault in _options_faults(options):
        yield True, f"docker_engine_options: {fault}"
    proxies = {name: values[name] for name in PROXIES.values() if values.get(name)}
    for host in (*values["docker_engine_no_proxy"], *values["docker_engine_no_proxy_extra"]):
        try:
            ipaddress.ip_interface(host if re.fullmatch("[0-9a-f.:]+/[0-9]+", host) else "::1")
        except ValueError:
            yield True, f"docker_engine_no_proxy: {shown(host)} is no network: use one such as 10.0.0.0/8"
        yield (
            re.fullmatch(r"[0-9.]+", host) is not None
            and not is_ipv4(host)
            or "*" in host
            and re.fullmatch(r"\*\.[^*]+", host) is None
            or re.fullmatch(r"[0-9.]+-[0-9.]+", host) is not None,
            f"docker_engine_no_proxy: {shown(host)} is {NO_HOST}",
        )
    for name, proxy in proxies.items():
        port = re.search(r":([0-9]{1,5})/?$", proxy)
        if PROXY.fullmatch(proxy) and port and not 1 <= int(port[1]) <= 65535:
            yield True, f"{name}: {port[1]} is not a TCP port: use a number from 1 to 65535"
        host = re.match(r".*?://(?:.*@)?([0-9.]+)(?=[:/]|$)", proxy)
        yield (
            host is not None and not is_ipv4(host[1]),
            f"{name}: {host and host[1]} is no IPv4 address: use four numbers from 0 to 255, such as 192.0.2.10",
        )
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


def is_ipv4(text: str) -> bool:
    """Tell whether text is an IPv4 address."""
    try:
        return bool(ipaddress.IPv4Address(text))
    except ValueError:
        return False


def _options_faults(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield why the engine would not start with these keys of daemon.json. Source: moby, daemon/config/config.go."""
    if "hosts" in options:
        yield (
            "holds hosts, which the service's command line sets already (-H), and the engine does not start with both:"
            " set it in a drop-in of the service"
        )
    all_keys = " ".join(OPTION_TYPES.values()).split()
    for key, value in options.items():
        wanted = next((types for types, keys in OPTION_TYPES.items() if key in keys.split()), object)
        if not isinstance(key, str) or not re.fullmatch("[a-z0-9-]+", key):
            right = re.sub("[ _]", "-", str(key).lower())
            right = right if right != str(key) else "one that Docker documents"
            yield f"{shown(key)} is no key of daemon.json: use {right}"
        elif key not in all_keys and (right := OPTION_NAMES.get(key) or near(key, all_keys, 0.85)):
            yield f"{key} is no key of daemon.json: use {right}"
        elif value is not None and (not isinstance(value, wanted) or wanted is int and isinstance(value, bool)):
            names = {list: "a list", dict: "a mapping", bool: "true or false, without quotes", str: "text, in quotes"}
            yield f"{key} is {kind(value)}: use {names.get(wanted, 'a whole number, without quotes')}"
        elif key == "mtu" and value and value < 68 or str(key).startswith("max-") and value is not None and value < 0:
            yield f"{key}: {value} is too small: use a larger number, such as {1450 if key == 'mtu' else 3}"
        known = OPTION_CHOICES.get(key, [])
        right = near(str(value), known, 0.6)
        if known and value not in known and (right or key != "log-driver"):
            yield f"{key}: {shown(value)} is unknown: use {right or listed(known, 'or')}"
        for item in value if wanted is list and isinstance(value, list) else ():
            if key == "registry-mirrors" and not re.fullmatch("https?://[^/?#@]+/?", str(item)):
                wrong = "has a path or a user" if "://" in str(item) else "has no scheme"
                yield f"registry-mirrors: {shown(item)} {wrong}: use an address such as https://mirror.example"
            if key in PAIRED and "=" not in str(item):
                yield f"{key}: {shown(item)} is no pair: use NAME=VALUE"
            if key == "insecure-registries" and "/" in re.sub("/[0-9]+$", "", str(item)):
                yield f"insecure-registries: {shown(item)} is an address: use HOST:PORT or a network, without a scheme"
    for key, (kinds, right) in OPTION_VALUES.items():
        values = options.get(key)
        for name, value in values.items() if isinstance(values, Mapping) else ():
            if not isinstance(value, kinds) and isinstance(value, (str, int, bool, list)):
                yield f"{key}.{name} is {kind(value)}: use {right}"
    proxies = options.get("proxies")
    for name in proxies if isinstance(proxies, Mapping) else ():
        if name not in ("http-proxy", "https-proxy", "no-proxy"):
            yield f"proxies.{name} is no key of daemon.json: use http-proxy, https-proxy or no-proxy"
    for key, form in NETWORK_OPTIONS.items():
        values = options.get(key) or []
        for value in values if isinstance(values, list) else [values]:
            pool = value if isinstance(value, dict) else {}
            value = pool.get("base", "") if pool else value
            is_network = form is ipaddress.ip_interface
            try:
                found: Any = form(str(value))
                if is_network and "/" not in str(value):
                    raise ValueError
            except ValueError:
                what, example = ("network", "10.9.0.1/24") if is_network else ("address", "10.9.0.1")
                yield f"{key}: {shown(value)} is no {what}: use one such as {example}"
                continue
            size = pool.get("size", 128)
            if pool and (not isinstance(size, int) or size < found.network.prefixlen):
                yield (
                    f"{key}: size {shown(size)} is none of networks in {value}: use a number, without quotes, such as"
                    f" {min(found.network.prefixlen + 8, found.network.max_prefixlen)}"
                )
    root = options.get("data-root") or "/srv/docker"
    if not str(root).startswith("/"):
        yield f"data-root: {shown(root)} is not an absolute path: use one such as /srv/docker"
    elif f"{root}/".startswith(LOST):
        yield f"data-root: {shown(root)} is lost at the next reboot, or cleaned up by the system: use /srv/docker"
    metrics = options.get("metrics-addr") or "127.0.0.1:9323"
    if not re.fullmatch(r"[^\s/]*:[0-9]+", str(metrics)):
        yield f"metrics-addr: {shown(metrics)} is not ADDRESS:PORT: use one such as 127.0.0.1:9323"
    log_options = options.get("log-opts")
    driver = options.get("log-driver") or "json-file"
    for name in ("max-size", "max-file"):
        if isinstance(log_options, Mapping) and name in log_options and driver in OF_NO_FILES:
            yield f"log-opts.{name} is for json-file and local, and {driver} refuses it: leave it out"
    for name, value in log_options.items() if isinstance(log_options, Mapping) else ():
        if not isinstance(value, str):
            yield f"log-opts.{name} is {value!r}, and the engine wants text: write it in quotes"
    try:
        json.dumps(options)
    except TypeError:
        yield "holds what JSON cannot, such as a date: write it in quotes"


def docker_engine_proxies(variables: Mapping[str, Any]) -> str:
    """Return the text of the file that hands the proxies to the engine; empty without a proxy."""
    proxies = {name: variables[variable] for name, variable in PROXIES.items() if variables.get(variable)}
    if not proxies:
        return ""
    others = [*variables.get("docker_engine_no_proxy_extra", []), *variables.get("docker_engine_no_proxy", [])]
    proxies["NO_PROXY"] = ",".join(dict.fromkeys([*ITSELF, *map(str, others)]))
    lines = [f"{name}='{value}'\n" for name, value in proxies.items()]
    return "# Ansible (the role docker_engine) writes this file.\n" + "".join(lines)

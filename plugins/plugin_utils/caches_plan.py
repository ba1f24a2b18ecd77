"""The caches of other registries: what in their list cannot work, and what the registry is told of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import yaml
from ansible.module_utils.common.text.formatters import human_to_bytes
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.wharf.registry.plugins.module_utils.caches import HUB, SHELF, slug
from ansible_collections.wharf.registry.plugins.module_utils.parts import CACHE_PREFIX, CACHES_INSIDE
from ansible_collections.wharf.registry.plugins.module_utils.references import HOST, REPOSITORY_TAG
from ansible_collections.wharf.registry.plugins.plugin_utils.certificates import (
    certificates_pem,
    certificates_problems,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.names import PROXY, port_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.values import absent, shown

HUB_URL = "https://registry-1.docker.io"
CACHES_DATA = "/var/lib/wharf/caches"
EXAMPLE = "docker.io or registry.example.com:5000"
OF_UPSTREAM = ("remote", "user", "password", "ca", "proxy")  # what is of no use without it
_SIZE = re.compile(r"[0-9]+(\.[0-9]+)?[ ]?[MGTP]i?B?")
_URL = re.compile(rf"https?://{HOST}/?")


def cache_problems(
    caches: Sequence[Mapping[str, Any]], variable: str, name: str, port: int, aliases: Sequence[str], major: int
) -> list[str]:
    """Return a line for each mistake in the list of caches. No line holds a password.

    Args:
        caches: what the variable holds.
        variable: its name, for the messages.
        name: the registry's name.
        port: its port.
        aliases: its other names.
        major: the registry's major version; 0 where it is not known yet.
    """
    problems: list[str] = []
    own = {one for host in (name, *aliases) for one in (f"{host}:{port}", *([host] if port in (80, 443) else []))}
    upstreams = [cache["upstream"] for cache in caches]
    for number, cache in enumerate(caches, 1):
        upstream, where = cache["upstream"], f"{variable}: item {number}"
        fault = _upstream_fault(upstream, own)
        if not fault and upstream in upstreams[: number - 1]:
            fault = f"{shown(upstream)} stands in the list twice: use each upstream once"
        problems += [f"{where}: {one}" for one in (fault, *_faults(cache, own, major)) if one]
        problems += certificates_problems(cache.get("ca"), f"{where}, ca")
    return problems


def _upstream_fault(upstream: str, own: set[str]) -> str:
    """Return what is wrong with an upstream's name; empty where it is good."""
    host = re.sub(r":[0-9]+$", "", upstream)
    if "@" in upstream:
        return f"the upstream has a user in it: use its name alone, such as {EXAMPLE}, with user and password beside it"
    if "/" in upstream or not re.fullmatch(HOST, upstream) or upstream != upstream.lower() or host.startswith("["):
        return f"{shown(upstream)} is not a registry's name as it stands in image references: use one such as {EXAMPLE}"
    if host == "localhost" or host.startswith("127."):
        return f"{shown(upstream)} means another host to each client: use a name or an address that all of them reach"
    if "." not in host and ":" not in upstream:
        return f"{shown(upstream)} would be no registry in image references, having neither a dot nor a port: add one"
    if re.fullmatch(r"(.+\.)?docker\.(io|com)", host) and upstream != HUB:
        return f"{shown(upstream)} is not what Docker Hub is called in image references: use {HUB}"
    if upstream in own:
        return f"{shown(upstream)} is the registry itself: leave it out"
    return ""


def _faults(cache: Mapping[str, Any], own: set[str], major: int) -> list[str]:
    """Return what else is wrong with a cache."""
    upstream = shown(cache["upstream"])
    faults = [] if is_offline(cache) else _fetching_faults(cache, own, major)
    if is_offline(cache) and (unused := [key for key in OF_UPSTREAM if not absent(cache.get(key))]):
        faults.append(
            f"the cache of {upstream} is offline, and has no use for {', '.join(unused)}: leave that out, or offline"
        )
    size = cache.get("size") or ""
    if size and not (_SIZE.fullmatch(str(size)) and size_of(cache) >= 1 << 20):
        faults.append(f"the size of {upstream}, {shown(size)}, is not a number with a unit: use one such as 100G")
    for image in cache.get("keep") or []:
        if not REPOSITORY_TAG.fullmatch(str(image)):
            example = "library/debian:13" if cache["upstream"] == HUB else "team/app:1"
            faults.append(
                f"{shown(image)}, which the cache of {upstream} is to keep, is not NAME:TAG as the upstream has it:"
                f" use one such as {example}"
            )
        elif cache["upstream"] == HUB and "/" not in str(image):
            faults.append(f"Docker Hub has {shown(image)} as {shown(f'library/{image}')}: use that")
    return faults


def _fetching_faults(cache: Mapping[str, Any], own: set[str], major: int) -> list[str]:
    """Return what is wrong with how a cache gets to its upstream."""
    upstream, faults = shown(cache["upstream"]), []
    remote, user, password = cache.get("remote") or "", cache.get("user"), cache.get("password")
    proxy = cache.get("proxy") or ""
    if remote and "@" in remote:
        faults.append(f"the remote of {upstream} has a login in it: give user and password beside it")
    elif remote and not _URL.fullmatch(remote):
        faults.append(
            f"the remote of {upstream}, {shown(remote)}, is not the address of a registry: use one such as {HUB_URL}"
        )
    elif remote and urlsplit(remote).netloc in own:
        faults.append(f"the remote of {upstream}, {shown(remote)}, is the registry itself: use the upstream's address")
    if absent(user) != absent(password):
        lacks = "password" if absent(password) else "user"
        faults.append(f"the cache of {upstream} has no {lacks}: give user and password, or neither")
    elif not absent(password) and remote.startswith("http://"):
        faults.append(f"the password for {upstream} would go to {shown(remote)} unencrypted: use https, or no password")
    elif not absent(password) and major == 2:
        faults.append(
            f"the cache of {upstream} has a password, which version 2 of the registry may send to any host that the"
            " upstream names (CVE-2026-33540): use version 3.1.1 or newer (wharf_registry_image_source: pull or"
            " archive), or no password"
        )
    if proxy and not PROXY.fullmatch(proxy):
        faults.append(f"the proxy of {upstream} is no address of a proxy: use one such as http://proxy.example:3128")
    return faults


def size_of(cache: Mapping[str, Any]) -> int:
    """Return how much a cache's images may take, in bytes; 0 where nothing limits them."""
    return human_to_bytes(re.sub("i?B?$", "", str(cache.get("size") or "0")))


def is_offline(cache: Mapping[str, Any]) -> bool:
    """Tell whether a cache has no upstream, but only what bundles have brought."""
    return boolean(cache.get("offline") or False)


def known_caches(caches: Sequence[Mapping[str, Any]], data: str) -> dict[str, Any]:
    """Return what the command on the server is told of the caches."""
    upstreams = [
        {
            "upstream": cache["upstream"],
            "slug": slug(cache["upstream"]),
            "size": size_of(cache),
            "keep": cache.get("keep") or [],
            "offline": is_offline(cache),
        }
        for cache in caches
    ]
    return {"caches": {"data": data, "upstreams": upstreams}} if caches else {}


def mirror_problems(
    mirror_port: int, variable: str, port: int, caches: Sequence[Mapping[str, Any]], is_open: bool
) -> list[str]:
    """Judge the port at which the cache of Docker Hub is a mirror; 0 stands for none.

    Args:
        mirror_port: what the variable holds.
        variable: its name, for the messages.
        port: the registry's own.
        caches: the list of caches.
        is_open: whether they are read without a password.
    """
    if int(mirror_port) == 0:
        return []
    problems = port_problems(mirror_port, variable)
    if int(mirror_port) == int(port):
        problems.append(f"{variable}: {mirror_port} is the registry's own port: use another one, such as {port + 1}")
    if HUB not in [cache["upstream"] for cache in caches]:
        problems.append(f"{variable}: is set, but there is no cache of {HUB}: add it, or leave the port out")
    elif not is_open:
        problems.append(
            f"{variable}: is set, but Docker gives no password to a mirror, and the caches want one: set"
            f" {variable.removesuffix('mirror_port')}anonymous to true as well, or leave the port out"
        )
    return problems


def caches_plan(caches: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return values for CACHE_SPEC for each cache, and for the container that serves what they have."""
    if not caches:
        return []
    plan = []
    for cache in caches:
        name = slug(cache["upstream"])
        if is_offline(cache):
            plan.append({"name": name, "size": size_of(cache), "offline": True})
            continue
        fetching = {"remoteurl": remote_of(cache), "ttl": "0s"}  # nothing expires by itself; version 2 does not know it
        if not absent(cache.get("password")):
            fetching |= {"username": cache["user"], "password": cache["password"]}
        proxy = cache.get("proxy") or ""
        plan.append(
            {
                "name": name,
                "config": _config(f"{CACHES_INSIDE}/roots/{name}", proxy=fetching),
                "ca": certificates_pem(cache.get("ca")),
                "environment": [f"HTTPS_PROXY={proxy}", f"HTTP_PROXY={proxy}"] if proxy else [],
                "size": size_of(cache),
            }
        )
    shelf = {"storage": {"maintenance": {"readonly": {"enabled": True}}}}
    return [*plan, {"name": SHELF, "config": _config(CACHES_INSIDE, **shelf), "ca": "", "environment": [], "size": 0}]


def remote_of(cache: Mapping[str, Any]) -> str:
    """Return the address of a cache's upstream."""
    return (cache.get("remote") or usual_address(cache["upstream"])).rstrip("/")


def usual_address(upstream: str) -> str:
    """Return where clients that know nothing of caches go for an upstream's images."""
    return HUB_URL if upstream == HUB else f"https://{upstream}"


def _config(root: str, storage: Mapping[str, Any] | None = None, **more: Any) -> str:
    """Return the text of a configuration. Source: distribution, docs/content/about/configuration.md."""
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        # Without delete nothing expires in version 2, which would remove layers that other images need.
        "storage": {"filesystem": {"rootdirectory": root}, "delete": {"enabled": False}, **(storage or {})},
        "http": {
            "net": "unix",
            "addr": "/wharf/socket/registry.sock",
            "relativeurls": True,
            "prefix": f"{CACHE_PREFIX}/",
            "draintimeout": "8s",
            "headers": {"X-Content-Type-Options": ["nosniff"]},
        },
        # Images with layers that lie elsewhere, which the upstream has taken.
        "validation": {"manifests": {"urls": {"allow": [".*"]}}},
        **more,
    }
    return yaml.safe_dump(config, sort_keys=False)

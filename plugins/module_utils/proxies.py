"""The proxy that a program of this host goes through, where it is set, and whether it leads to a registry."""

from __future__ import annotations

import base64
import contextlib
import glob
import http.client
import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from .errors import WharfError
from .files import read_text
from .processes import processes_of
from .text import one_line

TIMEOUT = 10  # seconds
SETTING = re.compile(r"^[^#\n]*\bhttps?_proxy\b", re.IGNORECASE | re.MULTILINE)


def environment_of(program: str) -> dict[str, str]:
    """Return the environment of a program that runs on this host; empty where it does not run."""
    for process in processes_of(program):
        with contextlib.suppress(OSError):
            lines = (process / "environ").read_text("utf-8", "replace").split("\0")
            return dict(line.split("=", 1) for line in lines if "=" in line)
    return {}


def proxy_for(environment: Mapping[str, str], host: str, port: int, tls: bool) -> str:
    """Return the proxy through which a program in Go reaches a host; empty where it goes there by itself."""

    def value(name: str) -> str:
        return environment.get(name) or environment.get(name.lower()) or ""

    proxy = value("HTTPS_PROXY" if tls else "HTTP_PROXY")
    if not proxy or is_exempt(value("NO_PROXY"), host, port):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def is_exempt(no_proxy: str, host: str, port: int) -> bool:
    """Tell whether a program in Go goes to a host by itself, whatever its proxy is (golang.org/x/net/http/httpproxy).

    Unlike Python it takes "*.example.com", and ".example.com" not for example.com itself.
    """
    address = None
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
    if host == "localhost" or (address and address.is_loopback):
        return True
    for item in no_proxy.lower().replace(" ", "").split(","):
        with contextlib.suppress(ValueError):
            if "/" in item and address and address in ipaddress.ip_network(item, strict=False):
                return True
        with_port = re.fullmatch(r"(?:\[(.+)\]|([^:]+)):([0-9]+)", item)
        name = (with_port[1] or with_port[2]) if with_port else item.strip("[]")
        if with_port and int(with_port[3]) != port:
            continue
        with contextlib.suppress(ValueError):
            name = str(ipaddress.ip_address(name))
        name = name[1:] if name.startswith("*.") else name
        if name == "*" or (name and name == str(address or host)):
            return True
        if name and not address and host.endswith(name if name.startswith(".") else f".{name}"):
            return True
    return False


def file_with_proxy(*patterns: str) -> str:
    """Return the first file that sets a proxy, of those that these patterns match; empty where none does."""
    paths = (path for pattern in patterns for path in sorted(glob.glob(pattern)))
    return next((path for path in paths if SETTING.search(read_text(path))), "")


def check_proxy(proxy: str, host: str, port: int, tls: bool, timeout: float = TIMEOUT) -> None:
    """Raise WharfError where a proxy does not lead to a registry, with its answer. Only one for HTTP is asked."""
    parts = urlsplit(proxy)
    if parts.scheme != "http" or not parts.hostname:
        return
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout)
    headers = {}
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    shown = f"{parts.hostname}:{parts.port or 80}"  # without a password
    try:
        if tls:
            connection.set_tunnel(host, port, headers)
            connection.connect()
            return
        connection.request("GET", f"http://{host}:{port}/v2/", headers=headers)
        status = connection.getresponse().status
        if status in (200, 401):
            return
        answer = f"HTTP status {status}"
    except (OSError, http.client.HTTPException) as error:
        answer = one_line(error)
    finally:
        connection.close()
    raise WharfError(f"the proxy {shown} does not lead to {host}:{port} ({answer})")

"""What is wrong with the caches of a registry: their containers, and the upstreams from which these fetch."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from . import containers
from .api import Client, trust
from .caches import SHELF, container_name, direct, last_words
from .engine_faults import Fault
from .errors import WharfError
from .files import read_text
from .parts import CACHES_CONFIG
from .proxies import check_proxy, proxy_for
from .text import one_line

SECONDS = 5  # for all that is asked, side by side

Jobs = dict[tuple[str, str], Callable[[], object]]  # by the name of a cache, and who is asked


def faults(container: str, upstreams: Sequence[Mapping[str, Any]]) -> list[Fault]:
    """Return the first thing that is wrong with each cache, and with what serves all that they have.

    Args:
        container: name of the registry's.
        upstreams: as the command on the server knows them.

    Raises:
        WharfError: the engine does not answer.
    """
    known = {one["slug"]: one["upstream"] for one in upstreams if not one.get("offline")}
    names = {slug: container_name(container, slug) for slug in ([*known, SHELF] if upstreams else [])}
    remotes = {slug: remote_of(slug, upstream) for slug, upstream in known.items()}
    found: dict[str, Fault] = {}
    jobs: Jobs = {}

    def away(slug: str, output: str) -> Fault:
        details = {"upstream": known[slug], "remote": remotes[slug], "container": names[slug], "output": output}
        return "upstream_away", details

    for slug, name in names.items():
        inspected = containers.container(name)
        if inspected is None:
            found[slug] = ("container_absent", {"container": name})
            continue
        status = inspected["State"]["Status"]
        if status == "running":
            jobs[slug, "itself"] = direct(slug, SECONDS).ping
            if slug in remotes:
                jobs[slug, "upstream"] = partial(ask, remotes[slug], slug, inspected)
            continue
        words = last_words(name) if inspected["State"]["ExitCode"] else one_line(inspected["State"]["Error"])
        if status == "restarting" and slug in known and 'Get "' in words:  # in the words of Go's client
            found[slug] = away(slug, words)
            continue
        verb = {"restarting": "restart", "paused": "unpause"}.get(status, "start")
        details = {"container": name, "status": status, "log": words, "start": f"docker {verb} {name}"}
        found[slug] = ("container_stopped", details)
    for (slug, asked), problem in failures(jobs).items():  # the upstream last: without it its cache may not answer
        if problem:
            silent = ("cache_silent", {"container": names[slug], "output": problem})
            found[slug] = away(slug, problem) if asked == "upstream" else silent
    return [found[slug] for slug in names if slug in found]


def remote_of(slug: str, upstream: str) -> str:
    """Return the address of an upstream, as the cache's configuration has it."""
    config = read_text(f"{CACHES_CONFIG}/{slug}/config.yml")
    return (re.findall(r"^ +remoteurl: (\S+)$", config, re.MULTILINE) or [f"https://{upstream}"])[0]


def ask(remote: str, slug: str, inspected: Mapping[str, Any]) -> None:
    """Ask an upstream whether it is there, as its cache does, whose container is given: with its CA and its proxy.

    Raises:
        WharfError: it is not.
    """
    parts = urlsplit(remote)
    tls = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if tls else 80)
    environment = dict(line.partition("=")[::2] for line in inspected["Config"]["Env"] or [])
    if proxy := proxy_for(environment, host, port, tls):
        check_proxy(proxy, host, port, tls, SECONDS)
        return
    ca = [f"{CACHES_CONFIG}/{slug}/ca/ca.crt"] if environment.get("SSL_CERT_DIR") == "/wharf/config/ca" else []
    with Client(host, port, trust(*ca, system=True) if tls else None, timeout=SECONDS) as client:
        status = client.request("GET", "/v2/").status
    if status >= 400 and status != 401:
        raise WharfError(f"{host}:{port} answers GET /v2/ with HTTP status {status}")


def failures(jobs: Jobs) -> dict[tuple[str, str], str]:
    """Do all at the same time, and return why each fails; empty where it does not.

    What hangs is left behind: a name may take longer to resolve than anybody waits.
    """
    reasons = dict.fromkeys(jobs, f"no response within {SECONDS} s")

    def do(key: tuple[str, str]) -> None:
        try:
            jobs[key]()
            reasons[key] = ""
        except WharfError as error:
            reasons[key] = one_line(error)

    deadline = time.monotonic() + SECONDS
    threads = [threading.Thread(target=do, args=(key,), daemon=True) for key in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(reasons)

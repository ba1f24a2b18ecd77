"""Whether an image could be pulled: asked before anything changes, because a pull would fail late."""

from __future__ import annotations

import re
import ssl
import urllib.error
import urllib.request
from urllib.parse import quote

from .containers import call
from .errors import WharfError
from .references import REFERENCE
from .text import one_line

HUB = "registry-1.docker.io"
TIMEOUT = 15  # seconds
# The registry answers; whoever pulls may be logged in, or be let in again by then.
_ANSWERS = re.compile(r"unauthorized|denied|authentication|authorization|no basic auth|toomanyrequests", re.IGNORECASE)


def pull_problem(reference: str, engine: bool, proxy: str = "") -> str:
    """Return why an image cannot be pulled; empty where nothing speaks against it.

    Args:
        reference: the image's.
        engine: whether there is an engine: it is asked itself, because it has proxies, mirrors and trust of its own.
        proxy: that of an engine which is still to be installed or configured.
    """
    reason = _asked_of_the_engine(reference) if engine else ""
    if engine and (not reason or not proxy):
        return reason
    reasons = [_asked_directly(reference, way) for way in dict.fromkeys([proxy, ""])]
    return "" if "" in reasons else reason or reasons[0]


def _asked_of_the_engine(reference: str) -> str:
    try:
        found = call("GET", f"/distribution/{quote(reference, safe='/:@')}/json", timeout=2 * TIMEOUT)
    except WharfError as error:
        return "" if _ANSWERS.search(str(error)) else str(error)
    return "" if found else "its registry does not have it"


def _asked_directly(reference: str, proxy: str) -> str:
    """Return why a registry cannot be reached. Whatever answers is good: its certificate is the engine's business."""
    host = REFERENCE.fullmatch(reference)["host"] or HUB
    host = HUB if host in ("docker.io", "index.docker.io") else host
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"https": proxy} if proxy else {}))
    try:
        opener.open(f"https://{host}/v2/", timeout=TIMEOUT).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLError):
            return f"{host}: {one_line(getattr(reason, 'strerror', None) or reason)}"
    except ValueError as error:  # a proxy that is none
        return one_line(error)
    return ""

"""The grammar of image references: the only one in this project.

Source: distribution/reference, regexp.go and normalize.go. As the tools have it, what has no dot, no port and is not
localhost is no host but the first part of a path.
"""

from __future__ import annotations

import re

LABEL = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
DOMAIN = rf"{LABEL}(?:\.{LABEL})*"
HOST = rf"(?:{DOMAIN}|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
PATH = rf"{PART}(?:/{PART})*"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
DIGEST = r"sha256:[0-9a-f]{64}"

# [HOST/]PATH[:TAG][@DIGEST]
REFERENCE = re.compile(
    rf"(?:(?P<host>(?=[^/]*[.:]|localhost/){HOST})/)?(?P<path>{PATH})(?::(?P<tag>{TAG}))?(?:@(?P<digest>{DIGEST}))?"
)
# An image inside a registry: PATH:TAG
REPOSITORY_TAG = re.compile(rf"(?P<path>{PATH}):(?P<tag>{TAG})")


def spellings(name: str, port: int, tls: bool) -> list[str]:
    """Return how image references name a registry: NAME:PORT, and NAME alone where the port is that of the protocol."""
    host = f"[{name}]" if ":" in name else name
    is_host = REFERENCE.fullmatch(f"{host}/image")["host"] == host
    return [f"{host}:{port}", *([host] if port == (443 if tls else 80) and is_host else [])]

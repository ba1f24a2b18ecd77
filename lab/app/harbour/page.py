"""Makes the page from its template and its data."""

import html
import json
import pathlib
import socket
import string

from harbour import __version__


def render(root: pathlib.Path) -> str:
    """Return the page as HTML.

    root: the directory that holds templates/page.html and data/berths.json, a list of objects with the strings
    "berth" and "ship". Raises OSError or ValueError if one is missing or broken.
    """
    template = string.Template((root / "templates/page.html").read_text(encoding="utf-8"))
    berths = json.loads((root / "data/berths.json").read_text(encoding="utf-8"))
    rows = "\n".join(
        f"      <tr><td>{html.escape(row['berth'])}</td><td>{html.escape(row['ship'])}</td></tr>" for row in berths
    )
    return template.substitute(version=__version__, host=html.escape(socket.gethostname()), rows=rows)

"""The rules of the page in the browser that its files show; what it does is tested in a browser."""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from conftest import ROOT
from page import serve

PAGE = ROOT / "roles/server_programs/files/page"
HTML, SCRIPT, STYLE = (PAGE.joinpath(name).read_text("utf-8") for name in ("index.html", "page.js", "page.css"))
KEY = re.compile(r'(?:^ {4}|, )"?([\w-]+)"?: (?=["\[])', re.MULTILINE)


def language(name: str) -> dict[str, str]:
    """Return the page's texts in a language, as they are written."""
    (part,) = re.findall(rf"^  {name}: \{{\n(.*?)^  \}},$", SCRIPT, re.MULTILINE | re.DOTALL)
    pieces = KEY.split(part)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


class Elements(HTMLParser):
    """Collects what a page has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_holds_no_code_and_no_style_that_its_policy_forbids() -> None:
    elements = Elements(HTML).found
    assert [one for one in elements if one[0] == "style" or any(re.match("on|style", key) for key in one[1])] == []
    assert [attributes["src"] for tag, attributes in elements if tag == "script"] == ["/-/page.js"]


def test_the_page_loads_only_the_gateways_own_files() -> None:
    loaded = [attributes.get("src") or attributes.get("href") for _, attributes in Elements(HTML).found]
    assert {place for place in loaded if place} - {"#/"} == set(serve.FILES) - {"/"}
    assert re.findall(r"@import|url\(", STYLE) == []
    assert re.findall(r"^\s*import\b|\bimport\(", SCRIPT, re.MULTILINE) == []


def test_what_others_have_written_becomes_text_only() -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment"
    assert re.findall(rf"{forbidden}|\beval\b|\bFunction\(", SCRIPT) == []


def test_both_languages_have_the_same_texts() -> None:
    english, chinese = language("en"), language("zh")
    assert len(english) > 100
    assert english.keys() == chinese.keys()
    names = re.compile(r"\{(\w+)\}")
    assert [key for key in english if set(names.findall(english[key])) != set(names.findall(chinese[key]))] == []


def test_every_text_that_the_page_asks_for_is_there() -> None:
    asked = set(re.findall(r'\bt\("([\w-]+)"', SCRIPT)) | set(re.findall(r'new Failure\("(\w+)"', SCRIPT))
    asked |= {f"{kind}Text" for kind in re.findall(r'new Failure\("(\w+)"', SCRIPT)}
    assert len(asked) > 60
    assert asked - language("en").keys() == set()


@pytest.fixture(scope="module")
def stand_in() -> Iterator[str]:
    with serve.server("--port", "0", "--repositories", "8", "--tags", "40") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def ask(url: str) -> tuple[Any, str]:
    """Return what an address answers, and the digest in its header."""
    with urllib.request.urlopen(url) as answer:
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        return json.load(answer), answer.headers.get("Docker-Content-Digest", "")


def test_the_stand_in_has_every_image_that_it_lists(stand_in: str) -> None:
    repositories, _ = ask(f"{stand_in}/-/list")
    names = [name for name, *_ in repositories["repositories"] if re.fullmatch(r"[a-z0-9][a-z0-9./_-]*", name)]
    assert len(names) == 11
    for name in names:
        tags, _ = ask(f"{stand_in}/-/tags/{name}")
        for tag in tags["tags"]:
            manifest, digest = ask(f"{stand_in}/v2/{name}/manifests/{tag['name']}")
            found = tags["manifests"][tag["manifest"]]
            assert digest == found["digest"]
            if found["type"] == "image":
                ask(f"{stand_in}/v2/{name}/blobs/{manifest['config']['digest']}")
            for of in found["parts"]:
                for one in tags["attached"][of]:
                    assert ask(f"{stand_in}/v2/{name}/manifests/{one['digest']}")[0]["subject"]["digest"] == of


def test_the_stand_in_does_not_have_what_it_does_not_list(stand_in: str) -> None:
    for path in ("/-/tags/nothing", "/v2/library/manifests/nothing", "/-/page.py", "/../serve.py"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(stand_in + path)

"""The gateway's configuration, as nginx reads it: read here by its own rules of words, quotes and braces."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import jinja2
import pytest
from ansible.plugins.filter.core import regex_replace
from conftest import ROOT

from ansible_collections.wharf.registry.plugins.plugin_utils import gateway_plan as module

TEMPLATE = ROOT / "roles/registry_server/templates/etc/wharf/gateway/nginx.conf.j2"
NAMES = [
    *("ann", 'quo"te', "back\\slash", "end\\", "dollar$remote_user", "${arg_x}", "br{ace", "cl}ose", "semi;colon"),
    *(
        "sp ace",
        "ünïcode",
        "日本",
        "default",
        "~x",
        "~*.*",
        "hostnames",
        "include",
        "volatile",
        "#no",
        "'single'",
        "\\n",
    ),
]
RULES = [
    {"repositories": "team-a/**", "read": ["@readers"], "write": ["default"]},
    {"repositories": "team-*/app.x", "read": [], "write": ['quo"te']},
]


SERVED: dict[str, Any] = {"page": True, "metrics_addresses": [], "mirror": False}
SERVED |= {"caches": [], "offline": [], "open_caches": False, "standby_of": ""}


def words_of(text: str) -> list[tuple[str, bool]]:
    """Return a configuration's words with whether each was quoted, as ngx_conf_read_token() reads them."""
    found: list[tuple[str, bool]] = []
    place = 0
    while place < len(text):
        sign = text[place]
        if sign.isspace():
            place += 1
        elif sign == "#":
            place = text.index("\n", place)
        elif sign in "{};":
            found.append((sign, False))
            place += 1
        elif sign in "\"'":
            word, place = "", place + 1
            while text[place] != sign:
                if text[place] == "\\" and text[place + 1] in "\"'\\ trn":
                    word += {"t": "\t", "r": "\r", "n": "\n"}.get(text[place + 1], text[place + 1])
                    place += 2
                else:
                    word += text[place]
                    place += 1
            place += 1
            assert text[place] in " \t\n;{", f"unexpected {text[place]!r} behind {word!r}"
            found.append((word, True))
        else:
            match = re.compile(r"(?:\$\{[^}]*\}|\\.|[^\s;{}\\])+").match(text, place)
            assert match
            found.append((match[0], False))
            place = match.end()
    return found


def blocks_of(text: str) -> Any:
    """Return a configuration as nested lists: of each directive its words, and the directives in its block."""
    stack: list[list[Any]] = [[]]
    words: list[str] = []
    for word, is_quoted in words_of(text):
        if is_quoted or word not in "{};":
            words.append(word)
        elif word == "}":
            assert not words, f"no semicolon after {words}"
            stack.pop()
        else:
            assert words
            stack[-1].append((words, []))
            if word == "{":
                stack.append(stack[-1][-1][1])
            words = []
    assert len(stack) == 1, "a brace is open"
    return stack[0]


@functools.cache
def template() -> jinja2.Template:
    """Return the template, as Ansible has it."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["regex_replace"] = regex_replace
    return environment.from_string(TEMPLATE.read_text("utf-8"))


def rendered(**changes: Any) -> str:
    """Return the text for a plan, as Ansible renders it."""
    given: dict[str, Any] = {"tls": True, "blobs": "/var/lib/registry/docker/registry/v2", "log_pulls": False}
    given |= SERVED
    given |= {"users": [{"name": name, "role": "writer"} for name in NAMES], "rules": RULES, **changes}
    return template().render(__registry_server_plan={"gateway": module.gateway_plan(**given)}) + "\n"


def http(text: str) -> list[Any]:
    """Return what stands in the block http."""
    return next(block for words, block in blocks_of(text) if words == ["http"])


def maps(text: str) -> dict[str, dict[str, str]]:
    """Return the maps by the variable that each sets."""
    return {
        words[2].removeprefix("$"): {entry[0]: entry[1] for entry, _ in block}
        for words, block in http(text)
        if words[0] == "map"
    }


def test_a_user_s_name_is_one_word_whatever_is_in_it() -> None:
    levels = maps(rendered())["repository_level"]
    writers = {f"0:{name}": "2" for name in NAMES}
    assert levels == {"default": "0", **writers, "1:default": "2", '2:quo"te': "2"}
    assert maps(rendered())["source_level"] == levels


def test_no_name_is_taken_for_a_variable_a_regular_expression_or_a_word_of_nginx_s() -> None:
    """Each key begins with a rule's number and a colon: none of nginx's special words does."""
    for key in maps(rendered())["repository_level"].keys() - {"default"}:
        assert re.match(r"\d+:", key)


def test_roles_and_rules_decide_by_the_numbers_of_the_map() -> None:
    users = [{"name": "kiosk", "role": "reader"}, {"name": "ci", "role": "writer"}, {"name": "root", "role": "admin"}]
    rules = [{"repositories": "team-a/**", "read": ["@readers"], "write": []}]
    found = maps(rendered(users=users, rules=rules))
    assert found["repository_level"] == {
        "default": "0",
        "0:kiosk": "1",
        "0:ci": "2",
        "0:root": "3",
        "1:kiosk": "1",
        "1:root": "3",
    }
    patterns = dict(found["repository_rule"])
    # One that cannot be judged lets nobody in; the last matches all.
    assert patterns.pop("default") == "error"
    assert patterns.popitem() == ("~^", "0")
    assert patterns.pop("") == "0"
    assert list(patterns.values()) == ["1"]
    regex = re.compile(next(iter(patterns)).removeprefix("~"))
    assert [bool(regex.search(name)) for name in ("team-a/x", "team-a/x/y", "team-a", "xteam-a/x", "team-a/x\n")] == [
        *(True, True, False, False),
        True,  # of Python and of nginx: a path with a line's end has no kind
    ]


@pytest.mark.parametrize(("rules", "needed"), [([], "1"), ([{"repositories": "a/*", "read": [], "write": []}], "3")])
def test_the_catalogue_is_for_everybody_until_there_are_rules(rules: list[Any], needed: str) -> None:
    users = [{"name": "root", "role": "admin"}]
    assert maps(rendered(users=users, rules=rules))["needed"]["~^(GET|HEAD) catalog "] == needed


PATHS = [
    ("/v2/", "base", ""),
    ("/v2/_catalog", "catalog", ""),
    ("/health", "health", ""),
    ("/v2/app/tags/list", "tags", "app"),
    ("/v2/team/app/manifests/1.0", "manifest", "team/app"),
    ("/v2/team/manifests/manifests/1", "manifest", "team/manifests"),
    ("/v2/app/manifests/sha256:" + "a" * 64, "manifest", "app"),
    ("/v2/app/blobs/sha256:" + "a" * 64, "blob", "app"),
    ("/v2/app/blobs/uploads/", "uploads", "app"),
    ("/v2/app/blobs/uploads/0a-1b_2=.c", "upload", "app"),
    ("/v2/app/referrers/sha256:" + "a" * 64, "referrers", "app"),
    ("/v2/" + "a" * 255 + "/blobs/uploads/" + "a" * 150, "upload", "a" * 255),
    ("/v2/" + "a/" * 300 + "a/tags/list", "unknown", ""),
    ("/", "page", ""),
    ("/-/page.js", "page", ""),
    ("/-/list", "page", ""),
    ("/-/status", "page_status", ""),
    ("/-/tags/team/app", "page_tags", "team/app"),
    ("/metrics", "metrics", ""),
    *((path, "unknown", "") for path in ("/-/", "/-/tags/", "/-/tags/a/../b", "/-/state", "/-/page.txt", "/metrics/")),
    *((path, "unknown", "") for path in ("/index.html", "/-/list/", "/-/tags/A", "/-/list-all.json", "/METRICS")),
    *((path, "unknown", "") for path in ("/v2", "/v2/App/tags/list", "/v2/app/tags/list/", "/v2/a//b/tags/list")),
    *((path, "unknown", "") for path in ("/v2/../health", "/v2/app/blobs/", "/v2/_catalog/", "/v2/app/manifests/a b")),
    *(
        (path, "unknown", "")
        for path in ("/debug/vars", "/v2/app/manifests/1\nx", "/v2/-a/tags/list", "//v2/", "/.denied")
    ),
]


def look_up(entries: dict[str, str], value: str) -> str:
    """Return what a map of regular expressions gives for a value, with what it captured."""
    for key, result in entries.items():
        pattern = key.removeprefix("~").replace("(?<", "(?P<").replace(r"\z", r"\Z")
        if key.startswith("~") and (match := re.search(pattern, value)):
            for name, text in match.groupdict().items():
                result = result.replace(f"${name}", text)
            return result
    return entries["default"]


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/", "page/index.html"),
        ("/-/page.js", "page/page.js"),
        ("/-/list", "list-$class.json"),
        ("/-/shared", "shared-$class.json"),
        ("/-/tags/team/app", "tags/team/app/_.json"),
        ("/-/status", "status.json"),
        ("/v2/", ""),
    ],
)
def test_the_page_s_files_are_found(path: str, file: str) -> None:
    found = maps(rendered())
    patterns = {
        key[1:].replace("(?<", "(?P<").replace(r"\z", r"\Z"): found["page_file"][key] for key in found["page_file"]
    }
    result = next((patterns[pattern] for pattern in patterns if re.search(pattern, path)), "")
    captured = re.sub(r"\$(static|list)", lambda _: path.removeprefix("/-/"), result)
    assert captured.replace("$repository", look_up(found["repository"], path)) == file


def test_without_the_page_nothing_of_it_is_there() -> None:
    text = rendered(page=False)
    assert look_up(maps(text)["kind"], "/") == look_up(maps(text)["kind"], "/-/list") == "unknown"
    assert "/wharf/index" not in text


def test_figures_are_open_to_the_addresses_that_are_given_and_to_no_other() -> None:
    text = rendered(metrics_addresses=["192.0.2.0/24", "2001:db8::1"])
    geo = {words[0]: words[1] for words, _ in next(block for words, block in http(text) if words[0] == "geo")}
    assert geo == {"default": "metrics", "192.0.2.0/24": "health", "2001:db8::1": "health"}
    assert maps(text)["metrics_realm"] == {"default": "registry", "health": "off"}
    assert maps(text)["kind"][r"~^/metrics\z"] == "$metrics_kind"
    assert "geo" not in {words[0] for words, _ in http(rendered())}


@pytest.mark.parametrize(("path", "kind", "repository"), PATHS)
def test_each_path_is_of_one_kind(path: str, kind: str, repository: str) -> None:
    found = maps(rendered())
    assert (look_up(found["kind"], path), look_up(found["repository"], path)) == (kind, repository)


@pytest.mark.parametrize(
    ("request_", "needed"),
    [
        *(("GET base", "0"), ("HEAD manifest", "1"), ("GET blob", "1"), ("PUT manifest", "2"), ("POST uploads", "2")),
        *(("PATCH upload", "2"), ("GET upload", "2"), ("DELETE upload", "2"), ("DELETE manifest", "3")),
        *(("DELETE blob", "3"), ("GET unknown", "unknown"), ("POST manifest", "method"), ("DELETE tags", "method")),
        *(("PUT blob", "method"), ("TRACE base", "method"), ("GET uploads", "method"), ("POST health", "method")),
        *(("GET page", "0"), ("GET page_tags", "1"), ("HEAD page_status", "3"), ("POST page", "method")),
        *(("GET metrics", "figures"), ("PUT metrics", "method")),
    ],
)
@pytest.mark.parametrize("site", ["", "none"])
def test_each_request_needs_a_level(request_: str, needed: str, site: str) -> None:
    assert look_up(maps(rendered())["needed"], f"{request_} {site}") == needed


def test_nothing_is_changed_through_a_browser() -> None:
    needed = maps(rendered())["needed"]
    for site in ("cross-site", "same-site", "same-origin", "nonesuch", "https://reg.testnone", "null", "GET manifest "):
        assert [look_up(needed, f"{what} {site}") for what in ("POST uploads", "DELETE blob")] == ["nobody", "nobody"]
        assert look_up(needed, f"GET manifest {site}") == "1"
    assert look_up(maps(rendered())["decision"], "nobody:3") == "denied"


@pytest.mark.parametrize(
    ("needed_and_level", "decision"),
    [
        *(("0:0", "allowed"), ("1:0", "denied"), ("1:1", "allowed"), ("2:1", "denied"), ("2:2", "allowed")),
        *(("3:2", "denied"), ("3:3", "allowed"), ("1:3", "allowed"), ("unknown:3", "unknown"), ("method:3", "method")),
        *((":3", "denied"), ("4:3", "denied"), ("0:", "denied"), ("0:monitor", "allowed"), ("1:monitor", "denied")),
        *(("figures:3", "allowed"), ("figures:monitor", "allowed"), ("figures:2", "denied"), ("figures:0", "denied")),
    ],
)
def test_a_level_is_enough_or_not(needed_and_level: str, decision: str) -> None:
    assert look_up(maps(rendered())["decision"], needed_and_level) == decision


def test_without_users_everybody_pushes_and_nobody_deletes() -> None:
    text = rendered(users=[], rules=[], tls=False)
    assert maps(text)["repository_level"] == {"default": "2"}
    assert "auth_basic" not in text
    assert "ssl_certificate" not in text


def test_with_an_object_store_the_gateway_serves_no_blob_itself() -> None:
    assert maps(rendered(blobs=""))["served_here"] == {"default": "0"}
    assert "root " not in rendered(blobs="").replace("rootless", "")


@pytest.mark.parametrize("pulls", [True, False])
def test_pulls_are_logged_where_that_is_asked_for(pulls: bool) -> None:
    assert (look_up(maps(rendered(log_pulls=pulls))["event"], "200 GET manifest x") == "pulled") is pulls


def test_the_tables_grow_with_the_users_and_not_with_each_of_them() -> None:
    def size(count: int) -> int:
        users = [{"name": f"user{number}", "role": "reader"} for number in range(count)]
        return module.gateway_plan(tls=True, blobs="", users=users, rules=[], log_pulls=False, **SERVED)["hash_size"]

    assert (size(1), size(500), size(511)) == (2048, 2048, 2048)
    assert size(2000) == 8192
    assert all(size(count) >= 2 * count for count in (1, 100, 600, 3000))


def test_each_user_has_a_class_of_readers() -> None:
    users = [{"name": name, "role": "reader"} for name in NAMES] + [{"name": "root", "role": "admin"}]
    plan = module.gateway_plan(tls=True, blobs="", users=users, rules=RULES, log_pulls=False, **SERVED)
    classes = {words_of(f"{key};")[0]: value for key, value in plan["classes"]}
    assert classes.keys() == {(f":{user['name']}", True) for user in users}
    assert classes[":root", True] == classes[':quo"te', True] == "all"
    assert classes[":~x", True] == classes[":default", True] != "all"
    assert module.gateway_plan(tls=True, blobs="", users=[], rules=[], log_pulls=False, **SERVED)["classes"] == []


CACHED = {"caches": ["docker.io", "hub.test_5000"], "open_caches": False}


@pytest.mark.parametrize(
    ("path", "cache", "below", "kind", "repository"),
    [
        ("/v2/docker.io/a/x/manifests/1", "docker.io", "/v2/a/x/manifests/1", "manifest", "docker.io/a/x"),
        ("/v2/hub.test_5000/x/tags/list", "hub.test_5000", "/v2/x/tags/list", "tags", "hub.test_5000/x"),
        ("/v2/docker.io/", "docker.io", "/v2/", "cache", "docker.io/any"),
        ("/v2/dockerzio/x/manifests/1", "", "/v2/x/manifests/1", "manifest", "dockerzio/x"),
        ("/v2/docker.io2/x/tags/list", "", "/v2/x/tags/list", "tags", "docker.io2/x"),
        ("/v2/x/docker.io/tags/list", "", "/v2/docker.io/tags/list", "tags", "x/docker.io"),
        ("/v2/", "", "", "base", ""),
    ],
)  # fmt: skip
def test_what_begins_with_an_upstream_s_name_is_its_cache_s(
    path: str, cache: str, below: str, kind: str, repository: str
) -> None:
    found = maps(rendered(**CACHED))
    assert (look_up(found["cache"], path), look_up(found["kind"], path)) == (cache, kind)
    assert look_up(found["cache_path"], path) == (below and f"/cache{below}")
    assert look_up(found["repository"], path) == repository


@pytest.mark.parametrize(
    ("path", "asked"), [("/v2/docker.io/", "/v2/"), ("/v2/docker.io/app/tags/list", "$path"), ("/v2/", "$path")]
)
def test_a_cache_is_there_without_its_upstream_too(path: str, asked: str) -> None:
    assert look_up(maps(rendered(**CACHED))["shelf_path"], path) == asked


@pytest.mark.parametrize(
    ("cache_and_method", "answer"),
    [
        ("docker.io PUT", "cache_written"),
        ("docker.io DELETE", "cache_written"),
        ("docker.io GETS", "cache_written"),
        *(("docker.io GET", ""), ("docker.io HEAD", ""), (" PUT", ""), (" DELETE", "")),
    ],
)
def test_nothing_is_written_to_a_cache(cache_and_method: str, answer: str) -> None:
    assert look_up(maps(rendered(**CACHED))["cache_answer"], cache_and_method) == answer


def test_a_list_goes_on_at_the_cache_s_own_place() -> None:
    link = maps(rendered(**CACHED))["cache_link"]
    assert look_up(link, '</cache/v2/x/tags/list?last=1&n=1>; rel="next"') == (
        '</v2/$cache/x/tags/list?last=1&n=1>; rel="next"'
    )


@pytest.mark.parametrize("is_open", [False, True])
def test_caches_are_read_without_a_password_only_where_that_is_asked_for(is_open: bool) -> None:
    found = maps(rendered(**{**CACHED, "open_caches": is_open}))
    reading, writing = (look_up(found["open"], f"docker.io {method}") if is_open else "" for method in ("GET", "PUT"))
    assert (reading, writing) == ("open " if is_open else "", "")
    for level in ("0", "1"):
        is_allowed = is_open or level == "1"
        assert look_up(found["decision"], f"{reading}1:{level}") == ("allowed" if is_allowed else "denied")
    assert look_up(found["decision"], f"{reading}unknown:0") == "unknown"
    assert look_up(found["decision"], "2:0") == "denied"
    assert look_up(found["is_unknown"], f"{reading}manifest:") == ("0" if is_open else "1")
    assert look_up(found["is_unknown"], "manifest:") == "1"


def cache_lines(
    status: int, method: str, kind: str, uri: str, upstream_status: str, cache: str, **plan: Any
) -> tuple[str, str]:
    """Return as what a request is logged for people, and as what for figures."""
    found = maps(rendered(**CACHED, **plan))
    error = look_up(found["cache_error"], f"{cache} {upstream_status}")
    event = look_up(found["event"], f"{error}{status} {method} {kind} Basic x")
    if event == "$cache_event":
        event = look_up(found["cache_event"], f"{status} {method} {kind} {cache}")
    return event, look_up(found["cache_result"], f"{error}{cache} {method} {kind} {status} {uri}")


@pytest.mark.parametrize(
    ("status", "method", "kind", "uri", "upstream_status", "event", "result"),
    [
        (200, "GET", "blob", "/.blob", "", "", "hit"),
        (206, "GET", "blob", "/.blob", "", "", "hit"),
        (206, "GET", "blob", "/.cache", "206", "", "miss"),
        (200, "GET", "blob", "/.cache", "502, 200", "", "miss"),  # its connection had rested for too long
        (200, "HEAD", "blob", "/.blob", "", "", ""),
        (304, "GET", "blob", "/.cache", "304", "", ""),
        (404, "GET", "blob", "/.cache", "404", "", ""),
        (200, "GET", "manifest", "/.cache", "200", "cached", ""),
        (200, "GET", "manifest", "/.cache", "504 : 200", "cached", "error"),
        (200, "GET", "blob", "/.cache", "502, 502 : 200", "", "error"),
        (503, "GET", "manifest", "/.cache", "502 : 404", "upstream error", "error"),
        (429, "GET", "manifest", "/.cache", "429", "upstream error", "error"),
        (429, "GET", "manifest", "/v2/docker.io/x/manifests/1", "", "too many connections", ""),
        (403, "GET", "blob", "/.denied", "", "denied", ""),
    ],
)
def test_layers_of_caches_and_their_errors_are_noted(
    status: int, method: str, kind: str, uri: str, upstream_status: str, event: str, result: str
) -> None:
    assert cache_lines(status, method, kind, uri, upstream_status, "docker.io") == (event, result)


def test_layers_and_errors_of_the_registry_itself_are_no_cache_s() -> None:
    assert cache_lines(200, "GET", "blob", "/.blob", "", "") == ("", "")
    assert cache_lines(503, "GET", "manifest", "/v2/x/manifests/1", "502, 503", "") == (
        "the registry does not answer",
        "",
    )


@pytest.mark.parametrize(
    ("status", "kind", "uri", "upstream_status", "event", "result"),
    [
        (200, "blob", "/.blob", "", "", "hit"),
        (206, "blob", "/.offline", "206", "", "hit"),
        (200, "manifest", "/.offline", "200", "cached", ""),
        (404, "manifest", "/.offline", "404", "", ""),
        (503, "manifest", "/.offline", "502", "the registry does not answer", ""),
    ],
)
def test_a_cache_without_an_upstream_has_no_errors_and_fetches_nothing(
    status: int, kind: str, uri: str, upstream_status: str, event: str, result: str
) -> None:
    found = cache_lines(status, "GET", kind, uri, upstream_status, "docker.io", offline=["docker.io"])
    assert found == (event, result)
    other = cache_lines(503, "GET", "manifest", "/.cache", "502 : 404", "hub.test_5000", offline=["docker.io"])
    assert other == ("upstream error", "error")


def test_of_a_cache_without_an_upstream_only_what_serves_what_is_there_is_asked() -> None:
    text = rendered(**CACHED, offline=["docker.io"])
    [server] = [block for words, block in http(text) if words == ["server"] and len(block) > 9]
    upstreams = [words[1] for words, _ in http(text) if words[0] == "upstream"]
    assert upstreams == ["cache_hub.test_5000", "cache_shelf"]
    assert {cache: look_up(maps(text)["is_offline"], cache) for cache in ("", *CACHED["caches"])} == {
        "": "0",
        "docker.io": "1",
        "hub.test_5000": "0",
    }
    places = {tuple(words): {tuple(inner): block for inner, block in block} for words, block in server}
    cache, shelf = places["location", "=", "/.cache"], places["location", "=", "/.offline"]
    assert cache["if", "($is_offline)"] == [(["rewrite", "^", "/.offline", "last"], [])]
    assert ("proxy_pass", "http://cache_shelf/cache$shelf_path$is_args$query") in shelf
    assert ("error_page", "404", "@not_brought") in shelf
    [answer] = [words for words in places["location", "@not_brought"] if words[0] == "return"]
    assert answer[1] == "404" and "is not in the cache $cache, which has no upstream here" in answer[2]
    link = maps(text)["shelf_link"]
    assert look_up(link, '</cache/v2/docker.io/x/tags/list?n=1>; rel="next"') == (
        '</v2/docker.io/x/tags/list?n=1>; rel="next"'
    )
    assert "offline" not in rendered(**CACHED)


WRITING = ["PUT manifest", "POST uploads", "GET upload", "PATCH upload", "PUT upload", "DELETE upload"]


@pytest.mark.parametrize("request_", [*WRITING, "DELETE manifest", "DELETE blob"])
def test_a_standby_takes_nothing_that_writes(request_: str) -> None:
    found = maps(rendered(standby_of="server1"))
    assert look_up(found["needed"], f"{request_} ") == "method"
    assert look_up(found["decision"], "method:3") == look_up(found["decision"], "method:0") == "method"
    is_read = request_.startswith("GET ")  # where a browser may ask, too
    assert look_up(found["needed"], f"{request_} cross-site") == ("method" if is_read else "nobody")


def test_a_standby_is_read_as_its_server_is() -> None:
    found, of_server = maps(rendered(standby_of="server1")), maps(rendered())
    for request_ in ("GET base", "HEAD manifest", "GET blob", "GET tags", "GET page_status", "GET metrics", "PUT tags"):
        assert look_up(found["needed"], f"{request_} ") == look_up(of_server["needed"], f"{request_} ")


def test_a_standby_says_whose_it_is_as_json_and_only_there() -> None:
    def told(standby_of: str) -> str:
        server = next(block for words, block in http(rendered(standby_of=standby_of)) if words == ["server"])
        block = next(block for words, block in server if words == ["location", "@unsupported"])
        [(status, text)] = [words[1:] for words, _ in block if words[0] == "return"]
        [error] = json.loads(text)["errors"]
        assert (status, error["code"]) == ("405", "UNSUPPORTED")
        return error["message"]

    assert told("reg-1.example.com").startswith("this is a standby of reg-1.example.com and takes no pushes")
    assert told("") == "a registry does not do this"


def test_only_with_caches_there_is_a_second_kind_of_line() -> None:
    def logs(text: str) -> list[list[str]]:
        server = next(block for words, block in http(text) if words == ["server"])
        return [words[2:] for words, _ in server if words[0] == "access_log"]

    assert logs(rendered()) == [["wharf", "if=$event"]]
    assert logs(rendered(**CACHED)) == [["wharf", "if=$event"], ["cache", "if=$cache_result"]]


def test_without_caches_nothing_of_them_is_there_and_a_registry_without_users_is_open_anyway() -> None:
    assert "cache_" not in rendered().replace("page_cache", "")
    assert "$realm" not in rendered(**{**CACHED, "open_caches": True}, users=[])


@pytest.mark.parametrize(
    ("path", "is_passed"),
    [
        *(("/v2/library/x/manifests/1", True), ("/v2/library/x/blobs/sha256:0a", True)),
        *(
            ("/v2/a HTTP/1.1\r\nX:", False),
            ("/v2/a\n", False),
            ("/v2/%2e%2e/x", False),
            ("/v2/a?b", False),
            ("/v2/", False),
        ),
    ],
)
def test_a_mirror_passes_only_what_cannot_become_another_request(path: str, is_passed: bool) -> None:
    """What nginx has decoded goes into a request's first line as it is."""
    servers = [block for words, block in http(rendered(**CACHED, mirror=True)) if words[0] == "server"]
    [pattern] = [words[2] for words, _ in servers[1] if words[:2] == ["location", "~"]]
    assert bool(re.search(pattern.replace("(?<", "(?P<").replace(r"\z", r"\Z"), path)) == is_passed


def test_who_reads_without_a_password_is_nobody_in_the_log() -> None:
    assert look_up(maps(rendered(**{**CACHED, "open_caches": True}))["logged_user"], "open boss") == "-"


def servers_of(text: str) -> dict[str, list[Any]]:
    """Return what stands in each server, by its name or the socket at which it listens."""
    found = {}
    for words, block in http(text):
        if words == ["server"]:
            known = {tuple(one[:1]): one for one, _ in block}
            found[known.get(("server_name",), known.get(("listen",)))[1]] = block
    return found


def test_alone_a_gateway_knows_nothing_of_other_servers() -> None:
    assert "peers" not in rendered(blobs="")
    assert rendered(peers=False) == rendered()


def test_other_servers_get_to_the_registry_here_alone_and_only_with_their_key() -> None:
    peers = servers_of(rendered(blobs="", peers=True))["wharf-peers"]
    directives = {words[0]: words[1:] for words, _ in peers}
    assert directives["ssl_verify_client"] == ["on"]
    assert directives["ssl_client_certificate"] == ["/wharf/gateway/peers.crt"]
    assert directives["proxy_next_upstream"] == ["off"]
    assert [block for words, block in peers if words[0] == "location"] == [
        [(["proxy_pass", "http://own_$upstream$request_uri"], [])]
    ]


def test_a_server_trusts_no_other_certificate_of_the_others() -> None:
    way = {words[0]: words[1:] for words, _ in servers_of(rendered(blobs="", peers=True))["unix:/tmp/peers.sock"]}
    assert way["proxy_ssl_verify"] == ["on"]
    assert way["proxy_ssl_trusted_certificate"] == way["proxy_ssl_certificate"] == ["/wharf/gateway/peers.crt"]
    assert way["proxy_ssl_name"] == ["wharf-peers"]


def test_whether_a_server_is_well_is_asked_of_its_own_registry() -> None:
    for peers, passed in ((True, "http://own_reads/v2/"), (False, "http://reads/v2/")):
        main = servers_of(rendered(blobs="", peers=peers))["_"]
        health = next(block for words, block in main if words == ["location", "=", "/health"])
        assert (["proxy_pass", passed], []) in health


def test_uploads_break_off_and_manifests_are_repeated() -> None:
    main = servers_of(rendered(blobs="", peers=True))["_"]
    places = {words[2]: block for words, block in main if words[:2] == ["location", "~"]}
    manifest = next(block for place, block in places.items() if "manifests" in place)
    upload = next(block for place, block in places.items() if "uploads" in place)
    assert (["proxy_request_buffering", "on"], []) in manifest
    assert (["error_page", "500", "502", "504", "=", "@cut"], []) in upload
    for block in (manifest, upload):  # and who may do it is asked all the same
        assert any(words[:2] == ["if", "($answer"] for words, _ in block)

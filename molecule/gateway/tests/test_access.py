"""Who may do what, tried with real clients as each role, and as an attacker who sends what no client would.

Each of these tests was seen to fail with a gateway that is weakened as its docstring says under "Fails".
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from itertools import product
from typing import NamedTuple
from urllib.parse import quote

import pytest
from attacks import CA, FORM, OCI, WRONG, Answer, Client, digest_of
from clients import REGISTRY, login, make_image
from machines import in_background, program, put_back, wait_until

ROLES = ("kiosk", "ci", "ann", "boss")  # a reader, two writers of whom one is named in the rules, an admin
SPIES = ("kiosk", "ci", WRONG, "")  # who may not even see team-a/secret; nobody, too
STORAGE = "/var/lib/wharf/registry/docker/registry/v2"
SECRET = "the SECRET of team-a, which only ann and boss may read"
TAG = "unlisted-tag"  # no request holds it: whoever gets it was told


class Kept(NamedTuple):
    """What lies in the registry: digests of manifests and blobs, secret and open."""

    manifest: str
    blob: str
    open_manifest: str
    open_blob: str


@pytest.fixture(scope="module", autouse=True)
def idle(client) -> str:
    """Open 200 connections that ask for nothing, and return the file that will say how they ended."""
    file = f"/tmp/idle-{secrets.token_hex(4)}.json"
    client.host.check_output(in_background(program(client.host, "idle.py", REGISTRY, CA, 200, file)))
    return file


@pytest.fixture(scope="module")
def kept(client, server) -> Kept:
    """Push a secret image, and ones that more may see; the index of the page has them."""
    manifest = client.push("ann", "team-a/secret", SECRET, "1", TAG)
    open_manifest = client.push("ci", "lib/open", "open to all", "1")
    client.push("ann", "team-a/public/app", "for readers", "1")
    server.check_output("until wharf index; do sleep 1; done")  # its timer may be at it
    return Kept(manifest, digest_of(SECRET), open_manifest, digest_of("open to all"))


def assert_nothing_leaks(requests: dict[str, str], answers: list[Answer], kept: Kept) -> None:
    """Assert that nobody got what is secret, nor that it is there: names of the requests to themselves, and answers."""
    for name, answer in zip(requests, answers, strict=True):
        assert answer.status, f"{name}: no answer: {answer.all!r}"
        for what in ("SECRET", TAG, kept.manifest, kept.blob):
            # An error may name what was asked for.
            asked = what in requests[name] and answer.status >= 400
            assert what not in answer.all or asked, f"{name}: {answer.status} tells {what}: {answer.all[:500]}"
        assert answer.status >= 400, f"{name}: {answer.all[:500]}"


# Real clients -------------------------------------------------------------------------------------


def test_each_role_pulls_and_pushes_with_docker_what_it_may_and_no_more(hosts, passwords, kept):
    """Fails where rules are not looked at (map $repository_rule always 0)."""
    client, made = hosts["client2"], f"{REGISTRY}/made:1"
    make_image(client, made)
    repositories = {"lib/docker": "kiosk", "team-a/docker": "", "team-a/public/docker": "kiosk"}
    script = []
    for user in ("boss", *ROLES):  # the first one pushes what all others try to pull
        script.append(
            f"export DOCKER_CONFIG=/root/as-{user}; {login(passwords[user], user)} >/dev/null 2>&1 || echo no login"
        )
        for repository in repositories:
            image = f"{REGISTRY}/{repository}:1"
            script.append(
                f"docker tag {made} {image}; docker push {image} >/tmp/out 2>&1; echo push {user} {repository} $?"
                f" $(grep -ciE 'denied|UNAUTHORIZED' /tmp/out); docker image rm {image} >/dev/null;"
                f" docker pull {image} >/tmp/out 2>&1; echo pull {user} {repository} $? $(grep -ciE denied /tmp/out)"
            )
    seen = {}
    for line in client.check_output("\n".join([*script, "rm -r /root/as-*"])).splitlines():
        what, user, repository, code, denied = line.split()
        seen[user, repository, what] = code == "0"
        assert code == "0" or denied != "0", line  # they say why
    may = {
        (user, repository, what): user == "boss"
        or user == "ann"
        or (repository == "lib/docker" and (user == "ci" or what == "pull"))
        or (repository == "team-a/public/docker" and user == "kiosk" and what == "pull")
        for user, repository, what in product(ROLES, repositories, ("pull", "push"))
    }
    assert seen == may


def test_only_an_admin_deletes_and_podman_and_skopeo_understand_the_answers(hosts, passwords, client, kept):
    """Fails where $needed is 2 for DELETE."""
    tools = hosts["client2"]
    for user, repository in (("ci", "lib/gone"), ("ann", "team-a/gone")):
        client.push(user, repository, f"of {user}", "1")
    script = [
        f"skopeo delete --creds {user}:{passwords[user]} docker://{REGISTRY}/{repository}:1 2>&1;"
        f" echo {user} {repository} $?"
        for repository, user in product(("lib/gone", "team-a/gone"), ROLES)
    ]
    output = tools.check_output("\n".join(script))
    seen = re.findall(r"^(\w+) (\S+) (\d+)$", output, re.MULTILINE)
    assert [(user, repository) for user, repository, code in seen if code == "0"] == [
        ("boss", "lib/gone"),
        ("boss", "team-a/gone"),
    ], output
    assert output.lower().count("denied") >= 6, output
    refused = tools.run(f"podman pull --creds kiosk:{passwords['kiosk']} {REGISTRY}/team-a/secret:1")
    assert "denied: this user may not do that here" in refused.stderr, refused.stderr
    wrong = tools.run(f"podman login --username kiosk --password wrong {REGISTRY}")
    assert "invalid username/password" in wrong.stderr, wrong.stderr


# Who comes without a right ------------------------------------------------------------------------


def test_login_comes_before_all_else_and_a_guess_takes_its_time(client, kept):
    """Fails with `return 403` in the place of the rewrite to /.denied, and without auth_delay."""
    targets = {
        "/v2/": 200,
        "/v2/_catalog": 403,
        "/v2/lib/open/tags/list": 200,
        "/v2/team-a/secret/tags/list": 403,
        "/v2/team-a/secret/manifests/1": 403,
        f"/v2/team-a/secret/blobs/{kept.blob}": 403,
        "/v2/no/such/page": 404,
        "/.well-known": 404,
        "/-/status": 403,
        "/-/tags/team-a/secret": 403,
        "/-/tags/no/such/page": 404,
    }
    cases = [(user, method, target) for target in targets for user in ("", WRONG) for method in ("GET", "HEAD", "BREW")]
    cases += [("kiosk", "GET", target) for target in targets]
    for (user, method, target), answer in zip(
        cases, client.send(client.request(user, f"{method} {target}") for user, method, target in cases), strict=True
    ):
        case = f"{user} {method} {target}: {answer.all}"
        assert answer.status == (targets[target] if user == "kiosk" else 401), case
        assert answer.header("Docker-Distribution-Api-Version") == ["registry/2.0"], case
        if answer.status == 401:
            assert answer.header("WWW-Authenticate") == ['Basic realm="registry"'], case
            assert method == "HEAD" or answer.code == "UNAUTHORIZED", case
            assert (answer.seconds >= 1) == (user == WRONG), case
        elif answer.status == 403:
            assert answer.code == "DENIED", case
            assert not answer.header("WWW-Authenticate"), case


def test_the_page_lists_to_each_only_what_they_may_read(client, kept):
    """Fails with one list for all, or a map that knows the classes by the users' names alone."""
    for user in ROLES:
        found = [client.ask(user, f"GET /-/{name}") for name in ("list", "shared")]
        assert [answer.status for answer in found] == [200, 200]
        told = "".join(answer.all for answer in found)
        assert ('"team-a/secret"' in told) == (user in ("ann", "boss")), user
        assert '"team-a/public/app"' in told or user == "ci"
        assert '"lib/open"' in told
        assert found[0].header("Wharf-User") == [user]
    for user in (WRONG, ""):
        found = [client.ask(user, f"GET /{path}") for path in ("", "-/list", "-/page.js", "metrics")]
        assert {(answer.status, answer.code) for answer in found} == {(401, "UNAUTHORIZED")}


def test_nothing_is_written_because_another_site_says_so(client, kept):
    """Fails where the gateway does not look at who has made the browser ask."""
    for request in (
        "POST /v2/lib/open/blobs/uploads/",
        "PUT /v2/lib/open/manifests/2",
        "DELETE /v2/lib/open/manifests/1",
    ):
        for header in ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: https://wiki.wharf.test"):
            answer = client.send([client.request("boss", f"{request} HTTP/1.1", header)])[0]
            assert (answer.status, answer.code) == (403, "DENIED")
    answer = client.send(
        [client.request("boss", "GET /v2/lib/open/manifests/1 HTTP/1.1", "Sec-Fetch-Site: cross-site")]
    )[0]
    assert answer.status == 200


def test_reads_of_what_is_not_theirs_however_it_is_spelled(client, kept):
    """Fails with a map on $request_uri for the rules, which sees only one spelling."""
    secret, other = "team-a/secret", "team-a%2Fsecret"
    upper, blob = "team-a%2Fsecret", kept.blob
    targets = [
        *(
            f"/v2/{name}/manifests/1"
            for name in (secret, other, "team-a%2fsecret", "team%2Da/secret", "%74eam-a/secret")
        ),
        *(f"/{version}/{secret}/manifests/1" for version in ("%76%32", "v2/", "/v2", "v2/.", "./v2", "x/../v2")),
        *(
            f"/v2/{start}/{secret}/manifests/1"
            for start in ("lib/..", "lib/%2e%2e", "lib/%2E%2E", "lib/open/../..", "lib%2F..")
        ),
        f"/v2/{secret}//manifests/1",
        f"/v2/{secret}/manifests//1",
        f"/v2/{secret}/./manifests/1",
        f"/v2/{secret}/manifests/1?x=/v2/lib/open/manifests/1",
        f"/v2/{secret}/manifests/1#/v2/lib/open/manifests/1",
        f"/v2/lib/open/blobs/../../../{secret}/blobs/{blob}",
        f"/v2/lib/open/blobs/uploads/../../../../{secret}/manifests/1",
        f"/v2/{secret}/manifests/{kept.manifest}",
        f"/v2/{secret}/manifests/{quote(kept.manifest)}",
        f"/v2/{secret}/blobs/{blob}",
        f"/v2/{secret}/blobs/{quote(blob)}",
        f"/v2/{upper}/blobs/{blob.replace('sha256:', 'sha256%3a')}",
        f"/v2/{secret}/tags/list",
        f"/v2/{secret}/tags/%6cist",
        f"http://{REGISTRY}/v2/{secret}/manifests/1",
        f"HTTPS://{REGISTRY}/v2/{secret}/tags/list",
        f"http://lib/v2/{secret}/tags/list",
        *(f"/-/{name}" for name in (f"tags/{secret}", f"tags/{other}", f"tags/lib/../{secret}", f"./tags//{secret}")),
        *(f"/{start}/tags/{secret}?x" for start in ("%2d", "v2/../-", "-/list/..")),
    ]
    # The same means something else to a registry, or nothing.
    others = [
        *(
            f"/v2/{name}/manifests/1"
            for name in ("TEAM-A/secret", "team-a/SECRET", "team-a%252Fsecret", "team-a\\secret")
        ),
        *(f"/v2/{name}/manifests/1" for name in ("team-a%5Csecret", "team-a%c0%afsecret", "lib/..;/team-a/secret")),
        *(f"/v2/{secret}/manifests/1{end}" for end in ("%00", "%0a", "%0d%0a", "%20", ";x", "/", "%2f..%2f1%00")),
        *(f"/v2/{secret}/tags/list{end}" for end in ("%0a", "%0A%0A", "/", "%3fx", "%23")),
        f"/V2/{secret}/manifests/1",
        f"http://kiosk@{REGISTRY}/v2/{secret}/tags/list",
        f"/v1/../v2/{secret}\x00/manifests/1",
        f"v2/{secret}/manifests/1",
        f"*/v2/{secret}/manifests/1",
        f"/blobs/sha256/{blob[7:9]}/{blob[7:]}/data",
        f"/v2/blobs/{blob}",
        f"/health/blobs/{blob}",
        f"/v2/lib/open/_layers/sha256/{blob[7:]}/link",
        f"/v2/lib/open/blobs/{blob}",
        f"/v2/lib/open/blobs/{blob.upper()}",
        f"/v2/lib/open/manifests/{kept.manifest}",
        f"/v2/lib/open/manifests/{blob}",
        f"/v2/lib/open/blobs/{kept.manifest}",
        f"/v2/lib/open/referrers/{kept.manifest}",
        f"/v2/{secret}/referrers/{kept.manifest}",
        # The page's, and what lies beside.
        *(f"/-/{name}" for name in ("status", "state/state.db", "list-all.json", "shared-all.json", "list/../status")),
        *(
            f"/-/tags/{secret}{end}"
            for end in ("/_.json", "/", "%00", "%0a", "/../../status", "/blobs/sha256:" + 64 * "0")
        ),
        *(f"/.page/{name}" for name in ("list-all.json", f"tags/{secret}/_.json", "status.json", "../metrics/metrics")),
        *("/metrics", "/metrics/", "/METRICS", "/%6detrics", "/-/../metrics", "/.page/", "/-/tags/", "/wharf/index/"),
    ]
    reads = client.send(client.request("ann", f"GET {target}") for target in targets)
    wrong = [target for target, answer in zip(targets, reads, strict=True) if answer.status != 200]
    assert not wrong
    tricks = (
        "X-Original-URL: /v2/team-a/secret/manifests/1",
        "X-Rewrite-URL: /v2/team-a/secret/manifests/1",
        "X-Forwarded-Prefix: /v2/team-a/secret",
        "X-Accel-Redirect: /v2/team-a/secret/manifests/1",
        "Range: bytes=0-3",
        "If-None-Match: *",
        "Remote-User: boss",
        "X-Forwarded-User: boss",
    )
    for user in SPIES:
        requests = {
            f"{user} {method} {target} {version}": client.request(user, f"{method} {target} {version}")
            for method, target, version in [
                *product(("GET", "HEAD"), targets + others, ("HTTP/1.1",)),
                *product(("GET", "HEAD"), (targets + others)[::3], ("HTTP/1.0",)),
                *product(
                    ("get", "POST", "OPTIONS", "PROPFIND", "COPY", "TRACE", "CONNECT"), targets[::6], ("HTTP/1.1",)
                ),
            ]
        }
        requests |= {
            f"{user} {trick}": client.request(user, "GET /v2/team-a/secret/manifests/1 HTTP/1.1", trick)
            for trick in tricks
        }
        # A guess takes a second: some are enough to see that the password is asked for.
        requests = dict(list(requests.items())[:: 8 if user == WRONG else 1])
        assert_nothing_leaks(requests, client.send(requests.values()), kept)
    # What the tricks name is not what they get.
    for trick, answer in zip(
        tricks,
        client.send(client.request("ci", "GET /v2/lib/open/manifests/1", trick) for trick in tricks),
        strict=True,
    ):
        assert answer.status in (200, 304), trick
        assert "SECRET" not in answer.all


def test_no_request_brings_nginx_itself_into_trouble(client, server, kept):
    """Fails with error_page 400 @bad_request, which cannot be had for a path that nginx does not understand."""
    long = [
        "a" * 300,
        "a/" * 100 + "a",
        "a" * 15000,
        "a/" * 7000 + "a",
        "a-" * 7000 + "a",
        "a__" * 5000 + "a",
        "-" * 9000,
    ]
    targets = [
        "/v2/%00",
        "/v2/lib/open/manifests/1%00",
        "/%",
        "/%zz",
        "/../",
        "/v2/lib/../../..",
        "*",
        "x",
        "%2f",
        "//",
        "?",
    ]
    lines = [f"{method} {target}" for method, target in product(("GET", "PUT", "CONNECT"), targets)]
    lines += [f"GET /v2/{name}/{end}" for name, end in product(long, ("manifests/1", "tags/list", "blobs/uploads/x"))]
    lines += [f"POST /v2/lib/open/blobs/uploads/?mount={kept.blob}&from={name}" for name in long[:3]]
    requests = {line: client.request("ci", line, body="") for line in lines}
    answers = client.send(requests.values())
    # A name that is too long is the registry's own affair (version 2: 500, with an error of OCI's).
    statuses = {
        line: 400 if '{"errors":[{"code":"UNKNOWN"' in answer.body else answer.status
        for line, answer in zip(requests, answers, strict=True)
    }
    bad = {
        f"{line[:40]}...{line[-20:]}": status
        for line, status in statuses.items()
        if not 400 <= status < 500 and status != 202 and line != "GET //"  # the page
    }
    assert not bad
    assert client.ask("ci", "GET /v2/lib/open/tags/list").status == 200


def test_no_name_keeps_a_worker_busy(client):
    """Fails without `(?>`, and without a bound of the path's length: one request took a worker 15 seconds."""
    names = ["devtest" * 2000 + "prodx", "devtest" * 34 + "prodx", "dev-" * 60 + "prodx", "-dev" * 3000]
    lines = [f"GET /v2/{name}/{end}" for name, end in product(names, ("manifests/1", "tags/list"))]
    lines += [f"POST /v2/lib/open/blobs/uploads/?mount=sha256:{'0' * 64}&from={name}" for name in names]
    for user in ("", "ci"):
        for line, answer in zip(lines, client.send(client.request(user, line) for line in lines), strict=True):
            assert answer.status, line[:60]
            assert answer.seconds < 1, line[:60]
    for name in ("devtest" * 34 + "prod", "devxxtestyyprod"):
        assert client.ask("ci", f"GET /v2/{name}/tags/list").code == "DENIED"
        assert client.ask("ann", f"GET /v2/{name}/tags/list").code == "NAME_UNKNOWN"


def test_a_path_or_a_name_without_an_end_leaves_a_short_line(client, server):
    """Fails with $path in the place of $logged, and $remote_user in that of $logged_user."""
    client.send(client.request(WRONG, f"GET /{secrets.token_hex(4)}{'%ff' * 4000}") for _ in range(3))
    login = base64.b64encode(b"\xff" * 9000 + b":wrong").decode()
    assert client.ask("", "GET /v2/", f"Authorization: Basic {login}").status == 401
    lines = server.check_output("wharf log --since 1m").splitlines()
    assert [line for line in lines if "xFF" in line]
    assert max(map(len, lines)) < 3000


def test_names_of_repositories_and_tags_are_not_told(client, kept):
    """Fails with 1 in the place of 3 for the catalogue."""
    targets = ["/v2/_catalog", "/v2/_catalog/", "/v2/%5fcatalog", "/v2/_catalog?n=1", "/v2/_catalog?last=team-a&n=100"]
    targets += ["/v2//_catalog", "/v2/lib/../_catalog", "/v2/_catalog?from=lib/open", "/v2/team-a/secret/tags/list?n=1"]
    targets += ["/v2/team-a/secret/tags/list?last=0", "/v2/team-a/tags/list", "/v2/_CATALOG", "/v2/lib/open/_catalog"]
    for user in (*SPIES, "ann"):
        requests = {
            f"{user} {method} {target}": client.request(user, f"{method} {target}")
            for method, target in product(("GET", "HEAD", "POST"), targets)
            if user != "ann" or "_catalog" in target
        }
        answers = client.send(requests.values())
        assert_nothing_leaks(requests, answers, kept)
        assert not [answer for answer in answers if "team-a/public" in answer.all], user
    assert '"team-a/secret"' in client.ask("boss", "GET /v2/_catalog").body
    # What is there, and what is not, looks the same.
    there, not_there = (client.ask("ci", f"GET /v2/team-a/{name}/tags/list") for name in ("secret", "nothing"))
    assert (there.status, there.body) == (not_there.status, not_there.body)


# Who may write, but not that ----------------------------------------------------------------------


def test_blob_is_mounted_only_from_where_its_taker_may_read(client, kept):
    """Fails with $args, and with $content_type, for uploads."""
    digest, coded = kept.blob, quote(kept.blob)
    source = "team-a%2Fsecret"
    queries = [
        f"mount={digest}&from=team-a/secret",
        f"mount={coded}&from={source}",
        f"from={source}&mount={coded}",
        f"mount={coded}&from=team-a%2fsecret",
        f"mount={coded}&from=lib%2Fopen&from={source}",
        f"mount={coded}&from={source}&from=lib%2Fopen",
        f"mount={kept.open_blob}&mount={coded}&from=lib%2Fopen&from={source}",
        f"mount={coded}&FROM=lib%2Fopen&from={source}",
        f"mount={coded}&from=&from={source}",
        f"mount={coded}&from=lib%2Fopen;from={source}",
        f"mount={coded};from={source}",
        f"mount={coded}&from=lib%2Fopen%26from={source}",
        f"mount={coded}&%66rom={source}",
        f"%6dount={coded}&%66rom={source}",
        f"mount={coded}&from=%74eam-a/secret",
        f"mount={coded}&from=lib/../team-a/secret",
        f"mount={coded}&from=team-a//secret",
        f"mount={coded}&from=/team-a/secret",
        f"mount={coded}&from={source}%00",
        f"mount={coded}&from={source}%0a",
        f"mount={coded}&from=team-a%252Fsecret",
        f"mount={coded}&from=lib%2Fopen+{source}",
        f"mount[]={coded}&from[]={source}",
        f"digest={coded}%26mount={coded}%26from={source}",
        f"digest={kept.open_blob}&mount={coded}&from={source}",
    ]
    form = f"mount={coded}&from={source}"
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (("mount", digest), ("from", "team-a/secret"))
    )
    multipart = f"{parts}--b--\r\n"
    bodies = [
        (FORM, form),
        (f"{FORM}; charset=utf-8", form),
        (FORM.upper(), form),
        (FORM.replace("application", " application"), form),
        ("Content-Type: multipart/form-data; boundary=b", multipart),
        ("Content-Type: application/octet-stream, application/x-www-form-urlencoded", form),
        (f"Content-Type: application/octet-stream\r\n{FORM}", form),
        (f"Content_Type: application/x-www-form-urlencoded\r\n{FORM}", form),
        (f"Transfer-Encoding: chunked\r\n{FORM}", None),
    ]
    chunked = f"{len(form):x}\r\n{form}\r\n0\r\n\r\n"

    def attempts(user: str, to: str) -> dict[str, str]:
        start = f"POST /v2/{to}/blobs/uploads/"
        named = {f"?{query}": client.request(user, f"{start}?{query}", body="") for query in queries}
        for header, body in bodies:
            for query in ("", "?from=lib%2Fopen", f"?mount={coded}", f"?from=lib%2Fopen&mount={kept.open_blob}"):
                request = client.request(user, f"{start}{query}", header, body=body)
                named[f"{query} {header} {'multipart' if body == multipart else ''}"] = (
                    request if body is not None else request + chunked
                )
        return named

    for user in ("ci", "kiosk", WRONG, ""):
        named = attempts(user, "lib/open")
        answers = client.send(named.values())
        for name, answer in zip(named, answers, strict=True):
            assert answer.status != 201 or user == "ci" and kept.open_blob in answer.headers, (
                f"{user} {name}: {answer.all}"
            )
        assert client.ask("ci", f"GET /v2/lib/open/blobs/{digest}").status == 404, user
    # Whoever may read it takes it over, in each spelling that clients have; so does ci what is open to him.
    for number, query in enumerate((queries[0], queries[1], queries[2], queries[3])):
        answer = client.ask("ann", f"POST /v2/lib/own{number}/blobs/uploads/?{query}", body="")
        assert (answer.status, answer.header("Docker-Content-Digest")) == (201, [digest]), query
    own = client.ask("ci", f"POST /v2/lib/own/blobs/uploads/?mount={quote(kept.open_blob)}&from=lib%2Fopen", body="")
    assert own.status == 201


def test_who_may_not_write_or_delete_cannot_by_any_method(client, server, kept):
    """Fails where $needed is 1 for "PUT manifest", and where it is 2 for DELETE."""
    repositories = ("lib/open", "team-a/public/app", "team-a/secret")
    good = {one: client.ask("boss", f"GET /v2/{one}/manifests/1").body for one in repositories}
    where = {"ci": repositories[1:]}
    requests = {}
    for user in ("kiosk", "ci", WRONG, ""):
        for repository in where.get(user, repositories):
            for line in (
                f"PUT /v2/{repository}/manifests/1",
                f"PUT /v2/{quote(repository, safe='')}/manifests/new",
                f"POST /v2/{repository}/blobs/uploads/",
                f"POST /v2/{repository}/blobs/uploads",
                f"POST /v2/{repository}/blobs/uploads/?digest={kept.blob}",
                *(f"{method} /v2/{repository}/blobs/uploads/x" for method in ("PATCH", "PUT", "GET", "HEAD", "DELETE")),
            ):
                requests[f"{user} {line}"] = client.request(user, line, f"Content-Type: {OCI}", body=good[repository])
    for user, repository in product(("kiosk", "ci", "ann", WRONG, ""), repositories):
        for target in (
            "manifests/1",
            f"manifests/{kept.open_manifest}",
            f"blobs/{kept.open_blob}",
            f"manifests/{kept.manifest}",
        ):
            for method in ("DELETE", "delete", "DELETE_", "MOVE"):
                line = f"{method} /v2/{repository}/{target}"
                requests[f"{user} {line}"] = client.request(user, line)
            for trick in ("X-HTTP-Method-Override: DELETE", "X-Method-Override: DELETE", "X-HTTP-Method: DELETE"):
                line = f"PATCH /v2/{repository}/{target}?_method=DELETE"
                requests[f"{user} {line} {trick}"] = client.request(user, line, trick)
    before = server.check_output(f"find {STORAGE}/repositories -name link | sort | xargs sha256sum")
    for name, answer in zip(requests, client.send(requests.values()), strict=True):
        # nginx takes no method in small letters.
        wanted = (400,) if " delete " in name else (401, 403, 404, 405)
        assert answer.status in wanted, f"{name}: {answer.all}"
    assert server.check_output(f"find {STORAGE}/repositories -name link | sort | xargs sha256sum") == before


def test_uploads_of_somebody_else_cannot_be_used(client, kept):
    """Fails where $needed is 0 for uploads."""
    begun = client.ask("ann", "POST /v2/team-a/secret/blobs/uploads/", body="")
    (location,) = begun.header("Location")
    assert location.startswith("/v2/team-a/secret/blobs/uploads/"), location
    own = client.ask("ci", "POST /v2/lib/open/blobs/uploads/", body="").header("Location")[0]
    (path, state), (own_path, own_state) = location.split("?"), own.split("?")
    for user in SPIES:
        targets = [
            location,
            f"{path}?{own_state}",
            f"{own_path}?{state}",
            f"/v2/lib/open/blobs/uploads/{path.rpartition('/')[2]}?{state}",
        ]
        targets += [f"{path}?{own_state}&{state}", f"{own_path}?{own_state.replace('_state', 'state')}&{state}"]
        targets += [path, f"/v2/lib/open/blobs/uploads/{path.rpartition('/')[2]}"]
        requests = {}
        for method, target in product(("PATCH", "PUT", "GET", "HEAD", "DELETE"), targets):
            mark = "&" if "?" in target else "?"
            end = f"{mark}digest={digest_of('foisted')}" if method == "PUT" else ""
            requests[f"{user} {method} {target}"] = client.request(user, f"{method} {target}{end}", body="foisted")
        for name, answer in zip(requests, client.send(requests.values()), strict=True):
            assert answer.status in (400, 401, 403, 404), f"{name}: {answer.all}"
    # Ann's upload goes on as if nothing had been.
    ended = client.ask(
        "ann", f"PUT {location}&digest={digest_of('mine')}", "Content-Type: application/octet-stream", body="mine"
    )
    assert ended.status == 201, ended


def test_requests_cannot_be_smuggled_past_the_rules(client, server, kept):
    """Fails where nobody is asked for a password: what is hidden in a request would be answered."""
    inner = "GET /v2/team-a/secret/manifests/1 HTTP/1.1\r\nHost: x\r\n\r\n"
    delete = f"DELETE /v2/lib/open/manifests/{kept.open_manifest} HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"PUT /v2/lib/open/manifests/smuggled HTTP/1.1\r\nHost: {REGISTRY}\r\nContent-Type: {OCI}\r\nAUTH\r\n"
    get = f"GET /v2/lib/open/tags/list HTTP/1.1\r\nHost: {REGISTRY}\r\nAUTH\r\n"
    requests = {}
    for start, what in product((head, get), (inner, delete)):
        chunks = f"0\r\n\r\n{what}"
        requests |= {
            f"{start[:3]} {what[:3]} {name}": f"{start}{headers}\r\n\r\n{body}"
            for name, headers, body in (
                ("CL.TE", f"Content-Length: {len(chunks)}\r\nTransfer-Encoding: chunked", chunks),
                ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4", f"{len(what):x}\r\n{what}\r\n0\r\n\r\n"),
                ("TE twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", chunks),
                ("TE xchunked", f"Transfer-Encoding: xchunked\r\nContent-Length: {len(chunks)}", chunks),
                ("TE folded", f"X: x\r\n Transfer-Encoding: chunked\r\nContent-Length: {len(chunks)}", chunks),
                ("TE blank", f"Transfer-Encoding : chunked\r\nContent-Length: {len(chunks)}", chunks),
                ("TE tab", f"Transfer-Encoding:\tchunked\r\nContent-Length: {len(chunks)}", chunks),
                ("TE vertical tab", f"Transfer-Encoding: \x0bchunked\r\nContent-Length: {len(chunks)}", chunks),
                ("TE underscore", f"Transfer_Encoding: chunked\r\nContent-Length: {len(chunks)}", chunks),
                ("bare LF", f"X: x\nTransfer-Encoding: chunked\nContent-Length: {len(chunks)}", chunks),
                ("bare CR", f"X: x\rTransfer-Encoding: chunked\r\nContent-Length: {len(chunks)}", chunks),
                ("CL twice", f"Content-Length: 0\r\nContent-Length: {len(what)}", what),
                ("CL list", f"Content-Length: 0, {len(what)}", what),
                ("CL sign", f"Content-Length: +{len(what)}", what),
                ("CL negative", "Content-Length: -1", what),
                ("CL hex", f"Content-Length: 0x{len(what):x}", what),
                ("chunk's LF", "Transfer-Encoding: chunked", f"0\n\n{what}"),
                ("chunk's name", "Transfer-Encoding: chunked", f"0;\n{what}\r\n\r\n"),
                ("chunk too large", "Transfer-Encoding: chunked", f"ffffffffffffffff1\r\n{what}\r\n0\r\n\r\n"),
                ("pipelined", "Content-Length: 0", what),
            )
        }
    requests["0.9"] = "GET /v2/team-a/secret/manifests/1\r\n\r\n"
    requests["2"] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
    requests["3.0"] = client.request("ci", "GET /v2/team-a/secret/manifests/1 HTTP/3.0")
    requests["target's blank"] = client.request(
        "ci", "GET /v2/lib/open/tags/list HTTP/1.1\r\nX: /v2/team-a/secret HTTP/1.1"
    )
    requests["target's LF"] = client.request("ci", f"GET /v2/lib/open/tags/list%0d%0a%0d%0a{quote(inner)} HTTP/1.1")
    sent = {name: text.replace("AUTH", client.login("ci")) for name, text in requests.items()}
    for name, answer in zip(sent, client.send(sent.values()), strict=True):
        for what in ("SECRET", TAG, kept.manifest):
            assert what not in answer.all, f"{name}: {answer.all}"
        # What is hidden in another request comes without a user, and is refused as such.
        after = re.findall(r"HTTP/1\.[01] (\d{3})", answer.all)[1:]
        assert set(after) <= {"400", "401"}, f"{name}: {answer.all}"
    assert client.ask("ci", f"GET /v2/lib/open/manifests/{kept.open_manifest}").status == 200
    assert client.ask("boss", "GET /v2/lib/open/manifests/smuggled").status == 404
    # The next ones over the gateway's connections to the registry get what they ask for.
    for answer in client.send([client.request("kiosk", "GET /v2/lib/open/tags/list")] * 32):
        assert (answer.status, json.loads(answer.body)) == (200, {"name": "lib/open", "tags": ["1"]})


def test_blob_is_served_only_where_its_repository_has_it(client, server, kept):
    """Fails without the look at _layers, and without disable_symlinks."""
    content = "for a while"
    digest = client.push_blob("ci", "lib/while", content)
    assert client.push_blob("ci", "lib/other", content) == digest
    ask = f"GET /v2/lib/while/blobs/{digest}"
    assert client.ask("kiosk", ask).body == content
    assert client.ask("boss", f"DELETE /v2/lib/while/blobs/{digest}").status == 202
    gone = client.ask("kiosk", ask)
    assert (gone.status, gone.code) == (404, "BLOB_UNKNOWN")
    assert client.ask("kiosk", f"GET /v2/lib/other/blobs/{digest}").body == content

    # Links, as a registry that was broken into could plant them.
    owner = server.check_output("stat -c %u:%g /var/lib/wharf/registry/docker")
    planted = {"key": "/wharf/tls/registry.key", "users": "/wharf/gateway/users", "parent": "/wharf"}
    hashes = {name: digest_of(name)[7:] for name in planted}
    for name, target in planted.items():
        layer, place = (
            f"{STORAGE}/repositories/lib/open/_layers/sha256/{hashes[name]}",
            f"{STORAGE}/blobs/sha256/{hashes[name][:2]}",
        )
        link = f"mkdir -p {place}/{hashes[name]}; ln -s {target} {place}/{hashes[name]}/data"
        if name == "parent":
            link = (
                f"mkdir -p {place}; ln -s {target}/tls {place}/{hashes[name]}; ln -s registry.key /etc/wharf/tls/data"
            )
        server.check_output(
            f"mkdir -p {layer}; printf sha256:{hashes[name]} >{layer}/link; {link}; chown -hR {owner} {layer} {place}"
        )
    try:
        for name, hash_ in hashes.items():
            for headers in ((), ("Range: bytes=0-9",), ("If-None-Match: x",)):
                answer = client.ask("ci", f"GET /v2/lib/open/blobs/sha256:{hash_}", *headers)
                assert answer.status >= 400, (name, answer)
                assert "PRIVATE KEY" not in answer.all
                assert "{SSHA}" not in answer.all
    finally:
        for hash_ in hashes.values():
            server.check_output(
                f"rm -rf {STORAGE}/repositories/lib/open/_layers/sha256/{hash_}"
                f" {STORAGE}/blobs/sha256/{hash_[:2]}/{hash_} /etc/wharf/tls/data"
            )


def test_gateways_own_pages_are_for_itself(client, kept):
    """Fails without `internal` in /.denied, and where /health passes on whatever comes."""
    lines = {
        "GET /health": (200, 200),
        "HEAD /health": (200, 200),
        "POST /health": (405, 405),
        "DELETE /health": (405, 405),
        "GET /health/": (401, 404),
        "GET /health/../v2/_catalog": (401, 403),
        **{f"GET /.{name}": (401, 404) for name in ("registry", "denied", "unknown", "method", "page/list-all.json")},
        "GET /@denied": (401, 404),
        "GET /.denied/": (401, 404),
        "GET /%2edenied": (401, 404),
    }
    requests = [
        client.request(user, line, body="x" if "POST" in line else None) for line in lines for user in ("", "ci")
    ]
    answers = client.send(requests)
    seen = {line: (answers[2 * index].status, answers[2 * index + 1].status) for index, line in enumerate(lines)}
    assert seen == lines
    assert "team-a" not in "".join(answer.all for answer in answers)


# Past the gateway ---------------------------------------------------------------------------------


def test_registry_cannot_be_reached_without_the_gateway(hosts, server, client, kept):
    """Fails with a listener on another port in the network of the gateway."""
    assert client.host.check_output(program(client.host, "scan.py", "registry.wharf.test")).split() == [
        "22",
        "5000",
        "401",
    ]

    # A container on the server, in the default network: at the gateway's own address and at the host's. What asks is
    # the host's Python in the container's network: the lab has no image that holds a client.
    server.check_output(
        "docker run --detach --name spy --user 59500:59500 --volume /etc/wharf/gateway:/gateway:ro"
        " --tmpfs /tmp:mode=1777 --tmpfs /var/log/nginx:mode=1777 --entrypoint /usr/sbin/nginx"
        " $(docker inspect --format '{{.Image}}' registry-gateway) -c /gateway/network.conf"
    )
    try:
        enter = "nsenter --net --target $(docker inspect --format '{{.State.Pid}}' spy)"
        addresses = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}"
        own, gateway = server.check_output(f"docker inspect --format '{addresses}' registry-network").split()
        assert server.check_output(f"{enter} {program(server, 'scan.py', own)}").split() == ["5000", "401"]
        # The host has sshd.
        assert server.check_output(f"{enter} {program(server, 'scan.py', gateway)}").split() == ["22", "5000", "401"]
    finally:
        server.check_output("docker rm --force spy")
    gateway = "nsenter --net --target $(docker inspect --format '{{.State.Pid}}' registry-network) ss -Hltn"
    listening = [line.split()[3] for line in server.check_output(gateway).splitlines()]
    assert {address.rpartition(":")[2] for address in listening} == {"5000"}, listening

    # In its own network, which nobody else is in, the registry listens on its socket, and tells its figures.
    pid = server.check_output("docker inspect --format '{{.State.Pid}}' registry")
    listening = server.check_output(f"nsenter --net --target {pid} ss -Hltun").splitlines()
    assert [line.split()[4] for line in listening] == ["127.0.0.1:5001"]
    assert server.check_output("docker inspect --format '{{.HostConfig.NetworkMode}}' registry") == "none"

    # A user of the server, who may be in no group that matters.
    server.check_output("id spy >/dev/null 2>&1 || useradd spy")
    for path in (
        "/var/lib/wharf/sockets",
        "/var/lib/wharf/registry/docker",
        "/etc/wharf/gateway/users",
        "/etc/wharf/registry/http-secret",
        "/etc/wharf/registry/config.yml",
        "/etc/wharf/tls/registry.key",
        "/var/lib/docker/volumes",
        "/var/lib/docker/containers",
    ):
        assert server.run(f"test -e {path}").rc == 0, path
        seen = server.run(f"runuser -u spy -- sh -c 'ls {path}/* 2>/dev/null || cat {path}'")
        assert seen.rc != 0, path
        assert seen.stdout == "", path
    connect = "import socket,sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])"
    sockets = server.check_output("ls /var/lib/wharf/sockets/*.sock").split()
    roots = [f"/proc/{pid}/root/wharf/sockets/{path.rpartition('/')[2]}" for path in sockets]
    for path in (*sockets, *roots, "/run/docker.sock"):
        assert server.run(f"runuser -u spy -- python3 -c '{connect}' {path}").rc != 0, path
        if path != sockets[-1] or len(sockets) == 1:
            assert server.run(f"test -S {path}").rc == 0, path
    environment = server.run(f"runuser -u spy -- cat /proc/{pid}/environ")
    assert environment.stdout == ""
    assert "PrivateKey" not in server.check_output("runuser -u spy -- ps axe")


# What is noted ------------------------------------------------------------------------------------


def test_log_has_a_line_for_each_refusal_push_and_deletion_and_no_password(client, server, passwords, kept):
    """Fails where `$event` knows methods of letters only: a guess with another one left no line."""
    server.check_output("sleep 1")
    since = server.check_output("date +%Y-%m-%dT%H:%M:%S.%N")
    address = client.host.check_output("hostname --ip-address").split()[0]
    pushed = client.push("ann", "team-a/logged", "logged", "1")
    client.ask("kiosk", "GET /v2/lib/open/tags/list")
    client.ask("kiosk", f"GET /v2/lib/open/blobs/{kept.open_blob}")
    client.ask("kiosk", "GET /v2/lib/open/manifests/1")
    client.ask("", "GET /v2/")
    for line in ("GET /v2/", "BR-EW /v2/", "GET_ /v2/x%0a2026-01-01T00:00:00Z%20pushed:%20user%20%22boss%22"):
        client.ask(WRONG, line)
    client.ask("ci", "GET /v2/team-a/secret/manifests/1")
    client.ask("ci", "DELETE /v2/lib/open/manifests/1")
    assert client.ask("boss", f"DELETE /v2/team-a/logged/manifests/{pushed}").status == 202
    # Whoever does not wait for the answer may have pushed all the same.
    manifest = client.ask("ann", "GET /v2/team-a/secret/manifests/1").body
    put = [f"PUT /v2/team-a/secret/manifests/{tag}" for tag in ("hasty1", "hasty2", "hasty3")]
    client.send("!" + client.request("ann", line, f"Content-Type: {OCI}", body=manifest) for line in put)
    wait_until(server, f"[ $(wharf log --since {since} | grep -c hasty) = 3 ]", 10)
    log = server.check_output(f"wharf log --since {since}")
    lines = [re.sub(r"^\S+ ", "", line) for line in log.splitlines()]
    wanted = [
        f'pushed: user "ann" from {address}: PUT /v2/team-a/logged/manifests/1',
        f'login refused: user "ann" from {address}: GET /v2/',
        f'login refused: user "ann" from {address}: BR-EW /v2/',
        f'login refused: user "ann" from {address}: GET_ /v2/x\\x0A2026-01-01T00:00:00Z pushed: user \\x22boss\\x22',
        f'denied: user "ci" from {address}: GET /v2/team-a/secret/manifests/1',
        f'denied: user "ci" from {address}: DELETE /v2/lib/open/manifests/1',
        f'deleted: user "boss" from {address}: DELETE /v2/team-a/logged/manifests/{pushed}',
    ]
    assert lines[: len(wanted)] == wanted, log
    hasty = {re.sub("^(pushed|broken off)", "", line) for line in lines[len(wanted) :]}
    assert hasty == {f': user "ann" from {address}: {line}' for line in put}, log
    logs = server.check_output(
        "for name in registry registry-gateway registry-network; do docker logs $name 2>&1; done; journalctl --no-pager"
    )
    assert "login refused" in logs
    for user, password in passwords.items():
        assert password not in logs, user
        assert client.login(user).rpartition(" ")[2] not in logs, user


# Limits -------------------------------------------------------------------------------------------


def test_connections_that_ask_for_nothing_end_by_themselves(client, idle, number):
    """Fails with a client_header_timeout of an hour."""
    wait_until(client.host, f"[ -e {idle} ]", 90, every=0.5)
    seen = json.loads(client.host.check_output(f"cat {idle}"))
    assert seen["left"] == 0
    assert set(seen["longest"]) == {"silent", "handshake", "header"}
    longest = max(seen["longest"].values())
    number("a connection that asks for nothing ends after", longest, "s")
    assert longest < 20 + 10


def test_bodies_that_idle_end_and_no_address_has_too_many_of_them(hosts, client, server, passwords, kept):
    """Fails without limit_conn, and with a client_body_timeout of an hour.

    Here they are set to 32 connections instead of 512, and to 8 s instead of 120, to be seen.
    """
    file = "/etc/wharf/gateway/nginx.conf"
    smaller = "s/client_body_timeout 120s/client_body_timeout 8s/; s/limit_conn address 512/limit_conn address 32/"
    reload = "docker kill --signal HUP registry-gateway && sleep 1"
    with put_back(server, file, then=reload):
        server.check_output(f"sed -i '{smaller}' {file} && {reload}")
        client.host.check_output("rm -f /tmp/many.json /tmp/many.ready")
        many = program(client.host, "many.py", REGISTRY, CA, client.login("ci"), 40, "/tmp/many.json")
        client.host.check_output(in_background(many))
        wait_until(client.host, "[ -e /tmp/many.ready ]", 60, every=0.2)
        busy = client.ask("ci", "GET /v2/lib/open/tags/list")
        others = Client(hosts["client2"], passwords).ask("ci", "GET /v2/lib/open/tags/list")
        wait_until(client.host, "[ -e /tmp/many.json ]", 60, every=0.2)
    assert (busy.status, busy.code, busy.header("Retry-After")) == (429, "TOOMANYREQUESTS", ["5"])
    assert others.status == 200
    seen = json.loads(client.host.check_output("cat /tmp/many.json"))
    assert seen["left"] == 0
    assert seen["taken"] == 32
    assert seen["longest"] < 8 + 10

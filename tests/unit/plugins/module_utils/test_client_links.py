"""The links between a client and a registry: what can be told without a registry."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import client_links
from ansible_collections.wharf.registry.plugins.module_utils.client_links import BrokenError
from ansible_collections.wharf.registry.plugins.module_utils.parts import DENIED, NO_REGISTRY

pytest_plugins = ["tests.unit.served_registry"]
GET = 'Get "https://reg.test:5000/v2/": '


@pytest.fixture(autouse=True)
def no_engine(monkeypatch):
    monkeypatch.setattr(client_links, "has", lambda program: False)


def links(**params: object) -> client_links.Links:
    """Return the links of a host without an engine."""
    defaults = {"name": "reg.test", "port": 5000, "tls": True, "users": [], "logins": [], "ca": "", "timeout": 1}
    defaults["tools"] = ["auto"]
    return client_links.Links(SimpleNamespace(params=defaults | params))


@pytest.fixture
def engine():
    """Return a function that gives the engine's part where it answers with a message, and uses a proxy or none."""

    def make(message: str, tls: bool = True, proxy: str = "") -> client_links.ClientEngine:
        made = links(tls=tls).engine
        made.running, made.proxy = object(), proxy
        made.ask = lambda path, timeout, headers=None: {"message": message}
        made.proxy_source = lambda: "/etc/environment"
        return made

    return make


@pytest.mark.parametrize(
    "message",
    [
        "manifest unknown",
        "errors: name unknown: repository name not known to registry",
        "reg.test:5000/wharf-diagnosis/none:none: not found",
        f"{GET}Client sent an HTTP request to an HTTPS server",
        f"denied: {DENIED}",
    ],
)
@pytest.mark.parametrize("proxy", ["", "http://proxy:3128"])
def test_an_engine_that_hears_from_the_registry_gets_through_whatever_its_proxy(engine, message, proxy):
    assert engine(message, proxy=proxy).check_registry() is None


@pytest.mark.parametrize(
    ("message", "tls", "proxy", "code"),
    [
        (f"{GET}proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused", True, "http://p:9", "proxy"),
        (f"{GET}Forbidden", True, "http://p:9", "proxy"),
        # A proxy that opens TLS shows a certificate of its own.
        (f"{GET}x509: certificate signed by unknown authority", True, "http://p:9", "proxy"),
        ("missing key own.key for client certificate own.cert", True, "http://p:9", "engine_trust"),
        (f"{GET}x509: certificate signed by unknown authority", True, "", "engine_trust"),
        (f"{GET}http: server gave HTTP response to HTTPS client", False, "", "insecure_not_allowed"),
        (f"{GET}http: server gave HTTP response to HTTPS client", True, "", "engine_fails"),
        (f"{GET}context deadline exceeded", True, "", "engine_fails"),
    ],
)
def test_what_an_engine_says_tells_why_it_does_not_get_through(engine, message, tls, proxy, code):
    with pytest.raises(BrokenError) as caught:
        engine(message, tls, proxy).check_registry()
    assert caught.value.code == code
    assert caught.value.details["output"] == message


@pytest.mark.parametrize(
    ("exempt", "tls", "proxy"),
    [
        ("", True, "http://p:9"),
        ("localhost,.corp.test", True, "http://p:9"),
        (".test", True, ""),
        ("reg.test", True, ""),
        ("", False, "http://plain:9"),
    ],
)
def test_a_proxy_that_leaves_the_registry_out_is_none(engine, monkeypatch, exempt, tls, proxy):
    made = engine("", tls)
    information = {"HttpsProxy": "http://user:secret@p:9", "HttpProxy": "plain:9", "NoProxy": exempt}
    made.ask = lambda path, timeout, headers=None: information
    monkeypatch.setattr(client_links, "has", lambda program: True)
    monkeypatch.setattr(client_links, "running_engine", lambda: SimpleNamespace(argv=[]))
    monkeypatch.setattr(client_links, "config_fault", lambda argv: ({}, None))
    made.check()
    assert made.proxy == proxy


def test_the_proxys_exceptions_are_named(engine):
    made = engine("Forbidden", proxy="http://p:9")
    made.no_proxy = "localhost,.corp.test"
    with pytest.raises(BrokenError) as caught:
        made.check_registry()
    assert caught.value.details["no_proxy_note"] == " (except for localhost,.corp.test)"


def test_a_link_that_only_the_engine_gets_around_is_a_warning(engine):
    tried = links()
    tried.engine = engine("manifest unknown", proxy="http://p:9")
    tried.engine.check = lambda: None
    tried.connect = lambda: pytest.fail("the walk goes on")

    def broken():
        raise BrokenError("unresolved")

    tried.resolve = broken
    result = tried.walk()
    assert result["code"] == "ok"
    assert result["warnings_found"] == [{"code": "engine_gets_through", "details": {"otherwise": "unresolved"}}]


def test_the_walk_ends_at_the_first_broken_link():
    result = links(name="no-such-name.invalid").walk()
    assert (result["code"], result["addresses"], result["changed"]) == ("unresolved", [], False)


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("a/b:1", ("a/b", "1")),
        ("a/b", ("a/b", "latest")),
        ("a/b@sha256:0", ("a/b", "sha256:0")),
        ("a/b:1@sha256:0", ("a/b", "sha256:0")),
    ],
)
def test_image_has_a_repository_and_a_reference(image, parts):
    assert client_links.split_image(image) == parts


def test_text_for_a_message_has_no_credentials():
    assert client_links.plain("proxy http://user:secret@host:1\n refused") == "proxy http://host:1 refused"
    assert len(client_links.plain("x" * 1000)) == 300


def test_ca_files_are_those_that_the_tools_read(tmp_path):
    (tmp_path / "b.crt").write_text("x")
    (tmp_path / "a.pem").write_text("x")
    (tmp_path / "own.cert").write_text("x")
    (tmp_path / "hosts.toml").write_text('[host."https://reg.test:5000"]\n  ca = ["a.pem", "/missing.pem"]\n')
    assert client_links.ca_files(str(tmp_path)) == [str(tmp_path / "b.crt"), str(tmp_path / "a.pem")]
    assert client_links.ca_files(str(tmp_path / "nothing")) == []


def test_an_engine_that_hangs_is_asked_once(engine, monkeypatch):
    made = engine("")
    made.ask = lambda path, timeout, headers=None: {"message": "late", "late": True}
    monkeypatch.setattr(client_links, "has", lambda program: True)
    monkeypatch.setattr(client_links, "running_engine", lambda: SimpleNamespace(argv=[]))
    with pytest.raises(BrokenError) as caught:
        made.check()
    assert caught.value.code == "engine_hangs"


def test_an_address_that_is_dead_beside_one_that_answers_is_a_warning(monkeypatch):
    tried = links()
    tried.addresses = ["2001:db8::1", "127.0.0.1"]

    class Raw:
        def __enter__(self):
            return SimpleNamespace(getsockname=lambda: ("127.0.0.2", 1))

        def __exit__(self, *_):
            pass

    def connect(place, timeout):
        if ":" in place[0]:
            raise OSError(101, "Network is unreachable")
        return Raw()

    monkeypatch.setattr(client_links.socket, "create_connection", connect)
    tried.connect()
    assert (tried.address, tried.source) == ("127.0.0.1", "127.0.0.2")
    details = {"answers": "127.0.0.1", "address": "2001:db8::1", "reason": "Network is unreachable"}
    assert tried.warnings == [{"code": "address_dead", "details": details}]


def test_a_route_into_a_network_of_containers_is_told(monkeypatch):
    tried = links()
    tried.addresses = ["192.0.2.1"]
    monkeypatch.setattr(
        client_links.socket, "create_connection", lambda *_, **__: (_ for _ in ()).throw(OSError(113, "No route"))
    )
    monkeypatch.setattr(client_links, "route_device", lambda _address: "br-0123456789ab")
    with pytest.raises(BrokenError) as caught:
        tried.connect()
    assert caught.value.code == "route_inner"


# A gateway and the registry behind it --------------------------------------------------------------------------------


class Gateway:
    """What answers in the registry's place: by path, and what users may do."""

    def __init__(self, registry: Any) -> None:
        """Take the place of a registry."""
        self.health, self.denied, self.asked = (200, b"{}"), set(), []
        registry.instead = self.answer

    def answer(self, handler: Any) -> None:
        """Answer a request, without a user with 401."""
        self.asked.append((handler.command, handler.path))
        if handler.path == "/health":
            return handler.answer(*self.health)
        if "Authorization" not in handler.headers:
            return handler.error(401, "UNAUTHORIZED", "a user and a password are needed")
        if any(one in handler.path for one in self.denied):
            return handler.error(403, "DENIED", DENIED)
        return handler.answer(200 if handler.path == "/v2/" else 404, b"{}")


@pytest.fixture
def gateway(registry) -> Gateway:
    """Return a gateway with users, over plain HTTP."""
    return Gateway(registry)


def behind(registry: Any, **params: object) -> client_links.Links:
    """Return links that have come as far as the port, with a user and an image."""
    given = {"tls": False, "port": registry.port, "users": [{"name": "ci", "password": "secret"}], "contents": True}
    tried = links(**{"image": "", **given, **params})
    tried.address = "127.0.0.1"
    return tried


def broken(check: Callable[[], None]) -> tuple[str, dict]:
    """Return what a check finds."""
    with pytest.raises(BrokenError) as caught:
        check()
    return caught.value.code, caught.value.details


@pytest.mark.parametrize(
    ("health", "code"),
    [
        ((503, f'{{"errors":[{{"code":"UNAVAILABLE","message":"{NO_REGISTRY}"}}]}}'.encode()), "registry_away"),
        ((503, b'{"errors":[{"code":"UNAVAILABLE","message":"service unavailable"}]}'), "unhealthy"),
        ((429, b"{}"), "too_many_connections"),
    ],
)
def test_a_gateway_that_answers_is_no_registry_that_does(registry, gateway, health, code):
    gateway.health = health
    assert broken(behind(registry).check_protocol)[0] == code


def test_a_registry_that_hangs_behind_its_gateway_is_told(registry, gateway):
    tried = behind(registry)

    def hang(handler: Any) -> None:
        if handler.path == "/health":
            time.sleep(2)
        gateway.answer(handler)

    registry.instead = hang
    assert broken(tried.check_protocol)[0] == "registry_away"


def test_what_fills_large_packets_is_also_asked_of_the_registry_itself(registry, gateway):
    tried = behind(registry)
    tried.check_protocol()
    tried.authenticate()
    assert [path for _, path in gateway.asked].count(client_links.LONG_PATH) == 2
    # The way of the gateway's own answer is good.
    registry.instead = lambda handler: time.sleep(2) if "Authorization" in handler.headers else gateway.answer(handler)
    tried.accepts = lambda *_: True
    tried.check_small_packets = lambda _context, **login: pytest.fail(login["user"])
    with pytest.raises(pytest.fail.Exception, match="ci"):
        tried.authenticate()


def test_who_is_logged_in_and_may_not_pull_the_image_is_told(registry, gateway):
    tried = behind(registry, image="reg.test:5000/team/app:1")
    tried.registry, tried.port = "reg.test:5000", registry.port
    tried.params["image"] = f"reg.test:{registry.port}/team/app:1"
    tried.logins = {"kiosk": "secret"}
    tried.check_access()
    assert tried.warnings == []
    details = {"user": "kiosk", "image": "team/app:1", "repository": "team/app"}
    gateway.denied = {"/uploads/"}
    tried.check_access()
    assert tried.warnings == [{"code": "push_denied", "details": details}]
    gateway.denied = {"/manifests/"}
    assert broken(tried.check_access) == ("image_denied", details)
    # Nothing was changed.
    assert {method for method, _ in gateway.asked} <= {"GET", "HEAD"}


def test_contents_that_the_user_may_not_read_are_no_damage(registry, gateway):
    tried = behind(registry, image="team/app:1")
    gateway.denied = {"/manifests/"}
    details = {"user": "ci", "image": "team/app:1", "repository": "team/app"}
    assert broken(tried.check_contents) == ("image_denied", details)


def test_a_layer_that_the_gateway_may_not_read_is_no_matter_of_users(registry, gateway):
    config = {"digest": f"sha256:{'0' * 64}", "size": 3}
    manifest = json.dumps({"schemaVersion": 2, "config": config, "layers": []}).encode()
    gateway.denied = {"/blobs/"}

    def answer(handler: Any) -> None:
        handler.answer(200, manifest) if "/manifests/" in handler.path else gateway.answer(handler)

    registry.instead = answer
    code, details = broken(behind(registry, image="team/app:1").check_contents)
    assert (code, details["what"]) == ("unreadable", f"layer sha256:{'0' * 64}")

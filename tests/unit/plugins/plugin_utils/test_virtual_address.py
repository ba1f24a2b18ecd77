"""Who holds a virtual address before whom, who is told, and when it is given up."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
from conftest import ROOT

from ansible_collections.wharf.registry.plugins.plugin_utils.virtual_address import virtual_address_plan
from tests.unit.served_registry import certificates  # noqa: F401

TEMPLATES = ROOT / "roles/virtual_address/templates/etc/wharf/keepalived"


def found(number: int, *peers: str, priority: int = 0, of_server: int = 0) -> dict[str, object]:
    """Return what was found on a host."""
    known = {"peers": [*peers], "priority": priority, "server_priority": of_server}
    return {"interface": f"eth{number}", "source": f"192.0.2.{number}", **known}


def plans(server: str, **hosts: dict[str, object]) -> dict[str, dict[str, object]]:
    """Return what each host is told."""
    return {host: virtual_address_plan(hosts, host, server) for host in hosts}


def test_the_server_comes_first_and_the_standbys_in_their_order():
    told = plans("alpha", alpha=found(1), beta=found(2), gamma=found(3))
    assert told["alpha"] == {
        "interface": "eth1",
        "source": "192.0.2.1",
        "priority": 200,
        "server_priority": 200,
        "peers": ["192.0.2.2", "192.0.2.3"],
    }
    assert [told[host]["priority"] for host in ("beta", "gamma")] == [100, 99]
    assert told["gamma"]["peers"] == ["192.0.2.1", "192.0.2.2"] and told["gamma"]["server_priority"] == 200


def test_a_promoted_server_comes_before_the_one_that_was_lost_and_tells_it():
    beta = found(2, "192.0.2.1", priority=100, of_server=200)
    told = plans("beta", beta=beta)["beta"]
    assert told["priority"] == 201 and told["peers"] == ["192.0.2.1"]
    # The next run changes nothing.
    beta = found(2, "192.0.2.1", priority=201, of_server=201)
    assert plans("beta", beta=beta)["beta"] == told
    # Nor does a new standby, which comes before that server when its time has come.
    told = plans("beta", beta=beta, gamma=found(3))
    assert told["beta"]["priority"] == told["gamma"]["server_priority"] == 201
    assert told["beta"]["peers"] == ["192.0.2.3", "192.0.2.1"] and told["gamma"]["peers"] == ["192.0.2.2"]
    told = plans("gamma", gamma=found(3, "192.0.2.2", priority=100, of_server=201))["gamma"]
    assert told["priority"] == 202 and told["peers"] == ["192.0.2.2"]
    last = found(2, "192.0.2.1", priority=100, of_server=254)
    assert plans("beta", beta=last)["beta"]["priority"] == 254


def test_one_that_came_back_as_a_standby_is_one():
    told = plans("beta", beta=found(2, "192.0.2.1", priority=201, of_server=201), alpha=found(1, "192.0.2.2"))
    assert [told[host]["priority"] for host in ("beta", "alpha")] == [200, 100]


def test_a_server_whose_standby_is_gone_goes_on():
    told = plans("alpha", alpha=found(1, "192.0.2.2", priority=200, of_server=200))["alpha"]
    assert told["priority"] == 200 and told["peers"] == ["192.0.2.2"]


def test_peers_of_another_version_are_forgotten():
    own = found(2, "192.0.2.1", priority=100, of_server=200) | {"source": "2001:db8::2"}
    assert plans("beta", beta=own)["beta"]["peers"] == []


class Gateway(http.server.ThreadingHTTPServer):
    """Answers as the gateway does."""

    status = 200


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_GET(self) -> None:
        status = self.server.status if (self.path, self.headers["Host"]) == ("/health", "127.0.0.1") else 400
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def gateway(request, certificates: Path) -> Iterator[tuple[Gateway, bool]]:  # noqa: F811
    """Return a gateway, and whether it speaks TLS."""
    with Gateway(("127.0.0.1", 0), Handler) as server:
        if request.param:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "server.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server, request.param
        server.shutdown()


def test_the_check_succeeds_only_where_the_registry_answers_through_the_gateway(gateway):
    server, tls = gateway
    text = jinja2.Template((TEMPLATES / "check.j2").read_text("utf-8"), keep_trailing_newline=True).render(
        ansible_managed="managed", virtual_address_tls=tls, virtual_address_port=server.server_port
    )

    def succeeds() -> bool:
        return subprocess.run(["bash", "-c", text], stderr=subprocess.DEVNULL).returncode == 0

    assert succeeds()
    server.status = 503
    assert not succeeds()
    server.shutdown()
    server.server_close()
    assert not succeeds()

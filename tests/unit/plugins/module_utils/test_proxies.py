"""Which proxy a program uses for a registry, and what is said of one that does not lead there."""

from __future__ import annotations

import http.server
import os
import threading

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import proxies
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

PROXY = {"HTTPS_PROXY": "http://proxy.test:3128"}


@pytest.mark.parametrize(
    ("environment", "host", "proxy"),
    [
        ({}, "reg.test", ""),
        (PROXY, "reg.test", "http://proxy.test:3128"),
        ({"https_proxy": "proxy.test:3128"}, "reg.test", "http://proxy.test:3128"),
        ({"HTTP_PROXY": "http://proxy.test:3128"}, "reg.test", ""),
        *(
            ({**PROXY, "NO_PROXY": exempt}, "reg.test", "")
            for exempt in ("*", "a, reg.test", ".test", "test", "reg.test:5000", "*.test", "*.TEST:5000")
        ),
        *(
            ({**PROXY, "NO_PROXY": exempt}, "reg.test", "http://proxy.test:3128")
            for exempt in ("other.test,10.0.0.0/8", ".reg.test", "*.reg.test", "reg.test:5001", "g.test", "", ",", "/")
        ),
        ({**PROXY, "NO_PROXY": "[2001:DB8::1]:5000"}, "2001:db8::1", ""),
        ({**PROXY, "NO_PROXY": "2001:db8:0::1"}, "2001:db8::1", ""),
        ({**PROXY, "NO_PROXY": "10.1.2.3:5001,.2.3"}, "10.1.2.3", "http://proxy.test:3128"),
        ({**PROXY, "no_proxy": "10.0.0.0/8"}, "10.1.2.3", ""),
        ({**PROXY, "NO_PROXY": "10.0.0.0/8"}, "192.0.2.1", "http://proxy.test:3128"),
        (PROXY, "localhost", ""),
        (PROXY, "127.0.0.1", ""),
    ],
)
def test_proxy_is_the_one_that_go_takes(environment, host, proxy):
    assert proxies.proxy_for(environment, host, 5000, tls=True) == proxy


class Proxy(http.server.BaseHTTPRequestHandler):
    """Leads to good.test and nowhere else."""

    def do_CONNECT(self) -> None:
        is_known = self.headers["Proxy-Authorization"] == "Basic dXNlcjpwQHNz"  # user:p@ss
        self.send_response(403 if "good.test:5000" not in self.path else 200 if is_known else 407)
        self.end_headers()

    do_GET = do_CONNECT

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy():
    """Return the address of a proxy, with a password."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://user:p%40ss@127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("tls", [True, False])
def test_proxy_is_asked_and_its_answer_told(proxy, tls):
    proxies.check_proxy(proxy, "good.test", 5000, tls)
    with pytest.raises(
        WharfError, match=r"the proxy 127\.0\.0\.1:\d+ does not lead to bad\.test:5000 \(.*403"
    ) as error:
        proxies.check_proxy(proxy, "bad.test", 5000, tls)
    assert "p@ss" not in str(error.value) and "p%40ss" not in str(error.value)
    proxies.check_proxy("socks5://127.0.0.1:1", "bad.test", 5000, tls)
    with pytest.raises(WharfError, match="refused"):
        proxies.check_proxy("http://127.0.0.1:1", "bad.test", 5000, tls)


def test_environment_is_that_of_the_process():
    with open("/proc/self/comm", encoding="ascii") as file:
        name = file.read().strip()
    assert proxies.environment_of(name).keys() & os.environ.keys()
    assert proxies.environment_of("no-such-program") == {}


def test_the_first_file_that_sets_a_proxy_is_found(tmp_path):
    texts = ("# https_proxy=no\nA=1\n", "[Service]\nEnvironment=HTTPS_PROXY=http://p\n", "http_proxy = 1\n")
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.conf").write_text(text)
    assert proxies.file_with_proxy(f"{tmp_path}/none", f"{tmp_path}/*.conf") == f"{tmp_path}/1.conf"
    assert proxies.file_with_proxy(f"{tmp_path}/0.conf") == ""

"""The page switched off, and figures for an address: the last file of this scenario, as others need the page."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Callable

import pytest
from clients import REGISTRY
from testinfra.host import Host

ORIGIN = f"https://{REGISTRY}"
CA = f"/etc/docker/certs.d/{REGISTRY}/wharf-ca.crt"
CLIENT = """
import ssl, sys, urllib.error, urllib.request
origin, ca, login = sys.argv[1:]
headers = {"Authorization": f"Basic {login}"} if login else {}
for path in ("/", "/-/list", "/-/page.js", "/-/status", "/v2/", "/metrics"):
    try:
        request = urllib.request.Request(origin + path, headers=headers)
        print(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=ca)).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""


@pytest.fixture(scope="module")
def variables(hosts) -> dict[str, object]:
    """Return the settings: no page, and the desk's address."""
    desk = hosts["desk"]
    route = desk.check_output(f"ip -o route get $(getent hosts {REGISTRY.partition(':')[0]} | cut -d ' ' -f 1)")
    return {"wharf_registry_page": False, "wharf_metrics_addresses": [re.findall(r"src (\S+)", route)[0]]}


@pytest.fixture(scope="module")
def switched_off(ansible, variables) -> str:
    """Switch the page off, let the desk alone read figures without a password, and return what that said."""
    run = ansible("playbooks/deploy-registry.yml", **variables)
    assert run.returncode == 0, run.output
    return run.output


@pytest.fixture
def ask(passwords) -> Callable[..., list[int]]:
    """Return a function that asks for each path of CLIENT from a host, as a user or nobody; it returns the statuses."""

    def asked(host: Host, user: str = "") -> list[int]:
        login = base64.b64encode(f"{user}:{passwords[user]}".encode()).decode() if user else ""
        command = f"python3 -c {shlex.quote(CLIENT)} {ORIGIN} {CA} {shlex.quote(login)}"
        return [int(line) for line in host.check_output(command).split()]

    return asked


def test_a_page_that_is_switched_off_leaves_nothing_behind(hosts, switched_off):
    server = hosts["server"]
    assert not server.file("/var/lib/wharf/index").exists
    assert server.check_output("find /etc /run /var/lib/wharf -name 'wharf-index*'") == ""
    assert "wharf-index" not in server.check_output("systemctl list-units --all 'wharf-*'")
    assert "/wharf/index" not in server.check_output("docker inspect registry-gateway")
    assert "page" not in server.check_output("wharf status")


def test_only_the_address_that_is_given_reads_figures_without_a_password(hosts, switched_off, ask):
    """Without the page its paths are none of a registry."""
    assert ask(hosts["desk"]) == [401, 401, 401, 401, 401, 200]
    assert ask(hosts["desk"], "boss") == [404, 404, 404, 404, 200, 200]
    # The server asks by its own address.
    hosts["server"].check_output(f"install -D -m 644 /etc/wharf/tls/ca.crt {CA}")
    assert ask(hosts["server"]) == [401, 401, 401, 401, 401, 401]
    assert ask(hosts["server"], "kiosk")[-1] == 403
    assert ask(hosts["server"], "watcher")[-1] == 200


def test_a_second_run_changes_nothing(ansible, variables, switched_off):
    assert ansible("playbooks/deploy-registry.yml", **variables).changes == 0

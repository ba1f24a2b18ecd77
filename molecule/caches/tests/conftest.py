"""The upstream, which is a deployment of its own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from clients import REGISTRY, log_in
from machines import Hosts
from plays import INVENTORY, Ansible, Run
from testinfra.host import Host

CACHE = "upstream.wharf.test_5000"
THERE = "upstream.wharf.test:5000"
HERE = f"{REGISTRY}/{CACHE}"


class Upstream(NamedTuple):
    """The upstream, and what there was of its cache before it was there."""

    host: Host
    again: Run  # of site.yml
    pull: str  # what a client was told


@pytest.fixture(scope="session")
def upstream(hosts: Hosts, ansible: Ansible, passwords: dict[str, str]) -> Upstream:
    """Set the upstream up, and tell the cache its CA."""
    client, server = hosts["client1"], hosts["upstream"]
    known = Path(INVENTORY).parent / ".upstream-ca.crt"
    if known.exists():  # on hosts that were kept
        known.unlink()
        ansible.succeeds("site.yml", "--skip-tags", "install,verify")
    log_in(client, passwords["kiosk"], "kiosk")
    again = ansible("site.yml", "--skip-tags", "verify", "--check")
    pull = client.run(f"docker pull {HERE}/test/none:1").stderr
    Ansible("molecule/caches/inventory/upstream.yml").succeeds("site.yml", "--skip-tags", "verify")
    ca = server.file("/etc/wharf/tls/ca.crt").content_string
    known.write_text(ca)
    ansible.succeeds("site.yml", "--skip-tags", "install,verify")
    return Upstream(server, again, pull)

"""Who is asked and who asks, in all tests of this scenario."""

from __future__ import annotations

import pytest
from attacks import Client
from testinfra.host import Host


@pytest.fixture(scope="module")
def server(hosts) -> Host:
    return hosts["server"]


@pytest.fixture(scope="module")
def client(hosts, passwords) -> Client:
    return Client(hosts["client1"], passwords)

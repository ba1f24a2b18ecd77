"""A deployment that fails, wherever it does, leaves all as it was; a client that pulls all the time hardly notices."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from clients import log_in, make_image, plain_restart, push, served_certificate, watch
from machines import PREPARED, broken, engine_that, read_only, wait_until
from plays import state

REGISTRY = "registry.corp.test:5000"
PKI = PREPARED / "pki"
# Another certificate from another CA, one more user, another configuration: all at once.
WANTED = {
    "wharf_registry_certificate": str(PKI / "other-issuer.crt"),
    "wharf_registry_key": str(PKI / "other-issuer.key"),
    "wharf_registry_ca": str(PKI / "other-ca.crt"),
    "wharf_registry_users": [{"name": "ci"}, {"name": "second", "password": secrets.token_urlsafe(24)}],
    "registry_server_config": {"log": {"level": "warn"}},
    "registry_server_start_timeout": 3,
}
# The registry takes this configuration, and then answers where nobody asks it.
MUTE = {"registry_server_config": {"http": {"prefix": "/elsewhere/"}}}
REFUSED = {"registry_server_config": {"http": {"tls": {"minimumtls": "tls9"}}}}


@pytest.fixture(scope="module")
def steady(hosts, password) -> Iterator[str]:
    """Have an image that a client pulls all the time."""
    client, reference = hosts["client1"], f"{REGISTRY}/test/{secrets.token_hex(6)}:1"
    make_image(client, reference)
    log_in(client, password, registry=REGISTRY)
    push(client, reference)
    return reference


@pytest.fixture(scope="module")
def restart(hosts, steady) -> float:
    """Return for how long a plain restart keeps the client from pulling."""
    return plain_restart(hosts["server"], hosts["client1"], steady)


@pytest.mark.parametrize(
    ("breaks", "extra", "message"),
    [
        ("write /etc/wharf", {}, "Read-only file system"),
        ("write /etc/wharf/tls", {}, "Read-only file system"),
        ("write /etc/wharf/registry", {}, "Read-only file system"),
        ("", REFUSED, "the registry refuses this configuration"),
        ("POST .*/rename", {}, "broken by the test"),
        ("POST .*/containers/create.name=registry$", {}, "broken by the test"),
        ("POST .*/stop$", {}, "broken by the test"),
        ("POST .*/containers/registry/start", {}, "broken by the test"),
        ("", MUTE, "HTTP status 404"),
    ],
)
def test_deployment_that_fails_changes_nothing(hosts, ansible, steady, restart, breaks, extra, message):
    server, client = hosts["server"], hosts["client1"]
    place = breaks.removeprefix("write ")
    broken = read_only(server, place) if place != breaks else engine_that(server, "fail", breaks) if breaks else None
    # site.yml would go on with the clients.
    playbook = "playbooks/deploy-registry.yml" if breaks else "site.yml"
    arguments = (playbook, "--skip-tags", "verify,install")
    with watch(client, steady) as seen:
        result = ansible.fails_whole((server, client), broken or nullcontext(), *arguments, **WANTED | extra)
    assert message in result.stdout
    assert "PLAY [Trust the registry]" not in result.stdout
    if extra == MUTE:  # it is given its time to answer, and shows the other certificate meanwhile
        assert seen.seconds <= 2 * (restart + WANTED["registry_server_start_timeout"]), (seen.seconds, restart)
    else:
        assert seen.shows_no_more_than(restart), (seen.seconds, restart, seen.errors)
    assert "All is as it was before" in result.stdout or breaks.startswith("write")


def test_all_of_it_at_once_comes_with_one_restart(hosts, ansible, steady):
    """What the tests around this one let fail, and back again."""
    server, client = hosts["server"], hosts["client1"]
    before = served_certificate(server)
    for wanted, served in ((WANTED, False), ({}, True)):
        ansible.succeeds("site.yml", "--skip-tags", "verify,install", **wanted)
        assert (served_certificate(server) == before) is served
        client.check_output(f"docker pull --quiet {steady}")
        assert not server.file("/etc/wharf/before.json").exists


@pytest.mark.parametrize("call", ["rename", "create.name=registry$", "stop$", "containers/registry/start", "DELETE"])
def test_run_that_is_killed_is_rolled_back_by_the_next(hosts, ansible, steady, call):
    """The controller and what it started on the server, with -9."""
    server = hosts["server"]

    def files() -> list[str]:
        return [line for line in state(server, hosts["client1"]) if line.startswith(("/", "sha256 "))]

    before = files()
    pattern = "DELETE .*registry-before" if call == "DELETE" else f"POST .*{call}"
    with engine_that(server, "hold", pattern):
        with ansible.killed("playbooks/deploy-registry.yml", **WANTED):
            wait_until(server, "[ -e /run/wharf-test-hit ]", 90)
        server.check_output("kill -9 $(cat /run/wharf-test-hit)")
    ansible.succeeds("playbooks/deploy-registry.yml")
    assert files() == before
    hosts["client1"].check_output(f"docker pull --quiet {steady}")


def test_move_whose_last_step_fails_leaves_the_registry_on_its_old_data(hosts, ansible, steady, restart):
    server = hosts["server"]
    inspect = "docker inspect --format '{{.Id}}' registry; cat /var/lib/wharf/registry/.wharf /etc/wharf/registry/data"
    before = server.check_output(inspect)
    place = {"wharf_registry_data": "/srv/moved"}
    with broken(server, ":", "rm -rf /srv/moved"):
        with engine_that(server, "fail", "POST .*/containers/create.name=registry$"):
            result = ansible.fails("playbooks/move-registry-data.yml", **place)
        assert "All is as it was before" in result.stdout
        assert server.check_output(inspect) == before
        hosts["client1"].check_output(f"docker pull --quiet {steady}")
        # And it can be tried again.
        assert json.loads(server.check_output("wharf move-data --plan --json /srv/moved"))["done"] is False

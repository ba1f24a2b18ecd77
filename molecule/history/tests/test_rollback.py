"""A deployment that fails, wherever it does, leaves all as it was; a client that pulls all the time does not notice."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from clients import log_in, make_image, push, served_certificate, watch
from machines import PARTS, PREPARED, broken, containers, engine_that, read_only, some, wait_until
from plays import state

REGISTRY = "registry.corp.test:5000"
DATA = "/var/lib/wharf/registry"
PKI = PREPARED / "pki"
# Another certificate, one more CA, one more user, another configuration: all at once. Clients trust both certificates.
WANTED = {
    "wharf_registry_certificate": str(PKI / "soon.crt"),
    "wharf_registry_key": str(PKI / "soon.key"),
    "wharf_registry_ca": str(PKI / "both-ca.crt"),
    "wharf_registry_users": [{"name": "ci"}, {"name": "second", "password": secrets.token_urlsafe(24)}],
    "registry_server_config": {"log": {"level": "warn"}},
    "registry_server_start_timeout": 3,
}
# What only the registry itself refuses. (One that starts and does not answer is the scenario upgrade's matter.)
ENDPOINT = {"name": "ci", "url": "http://ci.corp.test", "timeout": "soon"}
REFUSED = {"registry_server_config": {"notifications": {"endpoints": [ENDPOINT]}}}


BROKEN = "broken by the test"
CALLS = [
    "rename", "create.name=registry$", "containers/registry/start", "registry-gateway/kill", "registry-before/stop",
    "DELETE",
]  # fmt: skip


@pytest.fixture(scope="module")
def steady(hosts, password) -> Iterator[str]:
    """Have an image that a client pulls all the time, and the file with both CAs."""
    (PKI / "both-ca.crt").write_text((PKI / "ca.crt").read_text() + (PKI / "other-ca.crt").read_text())
    client, reference = hosts["client1"], f"{REGISTRY}/test/{secrets.token_hex(6)}:1"
    make_image(client, reference)
    log_in(client, password, registry=REGISTRY)
    push(client, reference)
    return reference


@pytest.mark.parametrize(
    ("breaks", "extra", "message"),
    [
        # Some of the steps; the module's unit tests go through all, with an imitated engine.
        pytest.param("write /etc/wharf", {}, "Read-only file system", marks=pytest.mark.thorough),
        pytest.param("write /etc/wharf/tls", {}, "Read-only file system", marks=pytest.mark.thorough),
        pytest.param("write /etc/wharf/registry", {}, "Read-only file system", marks=pytest.mark.thorough),
        pytest.param("write /etc/wharf/gateway", {}, "Read-only file system", marks=pytest.mark.thorough),
        ("", REFUSED, "the container registry does not stay up"),
        pytest.param("POST .*/rename", {}, BROKEN, marks=pytest.mark.thorough),
        pytest.param("POST .*/containers/create.name=registry$", {}, BROKEN, marks=pytest.mark.thorough),
        pytest.param("POST .*/containers/registry/start", {}, BROKEN, marks=pytest.mark.thorough),
        # The new one answers, and the gateway is to ask it.
        ("POST .*/containers/registry-gateway/kill.signal=HUP", {}, BROKEN),
        pytest.param("POST .*/containers/registry-before/stop$", {}, BROKEN, marks=pytest.mark.thorough),
    ],
)
def test_deployment_that_fails_changes_nothing(hosts, ansible, steady, breaks, extra, message):
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
    assert seen.failures == 0, vars(seen)
    assert "All is as it was before" in result.stdout or breaks.startswith("write")


def test_all_of_it_at_once_comes_and_goes_without_a_failed_pull(hosts, ansible, steady, number):
    """What the tests around this one let fail, and back again."""
    server, client = hosts["server"], hosts["client1"]
    before = served_certificate(server)
    with watch(client, steady) as seen:
        for wanted, served in ((WANTED, False), ({}, True)):
            ansible.succeeds("site.yml", "--skip-tags", "verify,install", **wanted)
            assert (served_certificate(server) == before) is served
            assert not server.file("/etc/wharf/before.json").exists
    assert seen.failures == 0, vars(seen)
    number("configuration, certificate and users changed, pulls that failed", seen.failures, f"of {seen.pulls}")


@pytest.mark.parametrize("call", some(["registry-gateway/kill"], CALLS))
def test_run_that_is_killed_is_rolled_back_by_the_next(hosts, ansible, steady, call):
    """The controller and what it started on the server, with -9."""
    server = hosts["server"]

    def files() -> list[str]:
        return [line for line in state(server, hosts["client1"]) if line.startswith(("/", "sha256 "))]

    before = files()
    pattern = "DELETE .*registry-before" if call == "DELETE" else f"POST .*{call}"
    with watch(hosts["client1"], steady) as seen:
        with engine_that(server, "hold", pattern):
            with ansible.killed("playbooks/deploy-registry.yml", **WANTED):
                wait_until(server, "[ -e /run/wharf-test-hit ]", 90)
            server.check_output("kill -9 $(cat /run/wharf-test-hit)")
        ansible.succeeds("playbooks/deploy-registry.yml")
    assert files() == before
    assert containers(server) == PARTS
    assert seen.failures == 0, vars(seen)


@pytest.mark.thorough
def test_move_whose_last_step_fails_leaves_the_registry_on_its_old_data(hosts, ansible, steady):
    server = hosts["server"]
    inspect = f"docker inspect --format '{{{{.Id}}}}' {PARTS}; cat {DATA}/.wharf /etc/wharf/registry/data"
    before = server.check_output(inspect)
    place = {"wharf_registry_data": "/srv/moved"}
    with broken(server, ":", "rm -rf /srv/moved"):
        with engine_that(server, "fail", "POST .*/containers/create.name=registry-gateway$"):
            result = ansible.fails("playbooks/move-registry-data.yml", **place)
        assert "All is as it was before" in result.stdout
        assert server.check_output(inspect) == before
        hosts["client1"].check_output(f"docker pull --quiet {steady}")
        # And it can be tried again.
        assert json.loads(server.check_output("wharf move-data --plan --json /srv/moved"))["done"] is False

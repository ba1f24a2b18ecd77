"""The user's own certificate: it serves, and each wrong one is refused before anything changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients import make_image, push, served_certificate
from machines import PREPARED, put, put_back, snapshot, write
from plays import INVENTORY, assert_all_is_well

PKI = PREPARED / "pki"
REGISTRY = "registry.corp.test:443"


@pytest.fixture(scope="module")
def credential_store(hosts, ansible) -> Iterator[None]:
    """Have a client whose user has set a store for logins, and who is logged in that way."""
    client = hosts["client2"]
    put(client, "docker-credential-test.sh", "/usr/local/bin/docker-credential-test", mode="0755")
    with put_back(client, "/root/.docker/config.json"):
        client.check_output(f"docker logout {REGISTRY}")
        config = {"auths": {"other.test:5000": {"auth": "b3RoZXI6b3RoZXI="}}, "credsStore": "test"}
        write(client, "/root/.docker/config.json", json.dumps(config))
        ansible.succeeds("playbooks/trust-registry.yml", "--limit", "client2")
        yield
    client.check_output("rm /usr/local/bin/docker-credential-test /root/store.json")


@pytest.mark.parametrize(
    ("facts", "variable", "message"),
    [
        ({"key": "expired.key"}, "wharf_registry_key", "belong"),
        ({"certificate": "no-intermediate.crt"}, "wharf_registry_certificate", "intermediate"),
        ({"certificate": "other-issuer.crt", "key": "other-issuer.key"}, "wharf_registry_certificate", "CA"),
        (
            {"certificate": "other-name.crt", "key": "other-name.key"},
            "wharf_registry_certificate",
            "registry.corp.test",
        ),
        ({"certificate": "expired.crt", "key": "expired.key"}, "wharf_registry_certificate", "expired"),
        ({"certificate": "garbage.crt"}, "wharf_registry_certificate", "PEM"),
        ({"ca": "missing.crt"}, "wharf_registry_ca", "missing.crt"),
        ({"key": "good.crt"}, "wharf_registry_key", "key"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_wrong_certificate_is_refused_before_anything_changes(hosts, ansible, facts, variable, message):
    before = {name: snapshot(hosts[name]) for name in ("server", "client1")}
    extra = {f"wharf_registry_{fact}": str(PKI / file) for fact, file in facts.items()}
    result = ansible.fails("site.yml", **extra)
    assert f"{variable}: " in result.stdout
    assert message in result.stdout
    assert "PRIVATE KEY" not in result.stdout
    assert before == {name: snapshot(hosts[name]) for name in before}


def test_certificate_is_served_with_its_intermediate(hosts):
    chain = hosts["server"].check_output(
        "openssl s_client -connect 127.0.0.1:443 -servername registry.corp.test -showcerts -verify_return_error"
        " -verify_hostname registry.corp.test -CAfile /etc/wharf/tls/ca.crt </dev/null 2>&1"
    )
    assert chain.count("BEGIN CERTIFICATE") == 2
    assert "Verify return code: 0 (ok)" in chain


def test_replacing_the_files_and_running_again_is_all_it_takes(hosts, ansible):
    before = served_certificate(hosts["server"], 443)
    files = {
        f"wharf_registry_{fact}": str(PKI / f"soon.{end}") for fact, end in {"certificate": "crt", "key": "key"}.items()
    }
    result = ansible.succeeds("site.yml", "--tags", "deploy", **files)
    assert "[WARNING]: the provided certificate ends on" in result.stdout
    assert served_certificate(hosts["server"], 443) != before
    hosts["client1"].check_output(f"docker pull {REGISTRY}/test/any:1 2>&1 | grep 'manifest unknown'")

    result = ansible.succeeds("site.yml", "--tags", "deploy")
    assert "the provided certificate ends on" not in result.stdout
    assert served_certificate(hosts["server"], 443) == before


@pytest.mark.parametrize("playbook", ["renew-certificates.yml", "rotate-ca.yml"])
def test_what_only_the_owner_can_renew_is_refused_with_the_remedy(hosts, ansible, playbook):
    result = ansible.fails(f"playbooks/{playbook}")
    assert f"wharf_registry_trust: is provided, and {playbook} knows only" in result.stdout
    assert "put the new files where wharf_registry_certificate" in result.stdout


def test_no_ca_was_made_and_nothing_renews(hosts):
    for path in ("/etc/wharf/ca", "/etc/wharf/certificate.json", "/etc/systemd/system/wharf-renew-certificate.timer"):
        assert not hosts["server"].file(path).exists


def test_name_comes_from_the_hosts_file(hosts):
    address = hosts["server"].check_output("hostname --ip-address")
    lines = hosts["client1"].file("/etc/hosts").content_string.splitlines()
    assert f"{address} registry.corp.test reg.corp.test" in lines


def test_named_user_is_logged_in(hosts):
    config = hosts["client1"].file("/root/.docker/config.json")
    assert config.mode == 0o600
    assert REGISTRY in json.loads(config.content_string)["auths"]


def test_image_moves_without_another_login(hosts):
    reference = f"{REGISTRY}/test/provided:1"
    make_image(hosts["client1"], reference)
    push(hosts["client1"], reference)
    hosts["client2"].check_output(f"docker pull {reference}")


@pytest.mark.parametrize("name", ["registry.corp.test", "registry.corp.test:443", "reg.corp.test", "reg.corp.test:443"])
def test_every_tool_takes_every_name_with_the_port_and_without(hosts, ansible, name):
    """That of the certificate and its alias; nobody logs in for it."""
    make_image(hosts["client1"], f"{name}/test/names:1")
    push(hosts["client1"], f"{name}/test/names:1")
    for command in ("docker pull", "podman pull", "buildah pull"):
        hosts["client2"].check_output(f"STORAGE_DRIVER=vfs {command} {name}/test/names:1")
    hosts["client2"].check_output(f"skopeo inspect docker://{name}/test/names:1")
    # containerd has no login, and this name's directory is where the others look.
    password = (Path(INVENTORY).parent / ".credentials/users/ci").read_text().strip()
    hosts["client2"].check_output(
        f"ctr images pull --hosts-dir /etc/containers/certs.d --user ci:{password} {name}/test/names:1"
    )


def test_names_that_are_not_wanted_any_more_are_not_trusted(hosts, ansible):
    """An alias that was taken out, and all of it with the registry."""
    client = hosts["client2"]
    for variables, left in (
        ({"wharf_registry_aliases": []}, {"registry.corp.test", "registry.corp.test:443"}),
        ({"registry_client_state": "absent"}, set()),
    ):
        ansible.succeeds("playbooks/trust-registry.yml", "--limit", "client2", **variables)
        names = client.run("ls /etc/docker/certs.d /etc/containers/certs.d | grep corp.test").stdout.split()
        logins = client.run("cat /root/.docker/config.json /root/.config/containers/auth.json").stdout
        hosts_file = client.file("/etc/hosts").content_string
        assert set(names) == left
        assert ("reg.corp.test" in logins, "reg.corp.test" in hosts_file) == (False, False)
        assert ("registry.corp.test" in logins, "registry.corp.test" in hosts_file) == (bool(left), bool(left))
    ansible.succeeds("playbooks/trust-registry.yml", "--limit", "client2")
    assert ansible.succeeds("playbooks/trust-registry.yml", "--limit", "client2").changes == 0


def test_login_goes_through_the_credential_store(hosts, ansible, credential_store):
    """A store that the user has set is used, and other registries' entries stay."""
    client = hosts["client2"]
    after = json.loads(client.file("/root/.docker/config.json").content_string)
    assert after["auths"]["other.test:5000"] == {"auth": "b3RoZXI6b3RoZXI="}
    assert "auth" not in after["auths"].get(REGISTRY, {})
    assert json.loads(client.file("/root/store.json").content_string)["Username"] == "ci"
    assert ansible.succeeds("playbooks/trust-registry.yml", "--limit", "client2").changes == 0


@pytest.mark.usefixtures("credential_store")
def test_diagnosis_finds_all_well(ansible):
    assert_all_is_well(ansible, 3)


def test_name_that_resolves_to_nothing_is_named_with_the_remedy(hosts, ansible):
    result = ansible.fails("playbooks/trust-registry.yml", "--limit", "client1", wharf_manage_hosts_file=False)
    assert "fatal: [client1]: FAILED!" in result.stdout
    assert "registry.corp.test resolves to nothing on this host" in result.stdout
    assert "wharf_manage_hosts_file: true" in result.stdout
    ansible.succeeds("playbooks/trust-registry.yml", "--limit", "client1")

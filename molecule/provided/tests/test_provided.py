"""The user's own certificate: it serves, and each wrong one is refused before anything changes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import changes, snapshot, write

PKI = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "pki"
REGISTRY = "registry.corp.test:443"

# Speaks the protocol of Docker's credential helpers, with a file for a store.
CREDENTIAL_STORE = """#!/bin/sh
case $1 in
    store) cat >/root/store.json ;;
    get) cat /root/store.json 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
    erase) rm -f /root/store.json ;;
    list) echo '{}' ;;
esac
"""


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
    result = ansible("site.yml", "-e", json.dumps(extra))
    assert result.returncode != 0
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
    def served() -> str:
        return hosts["server"].check_output(
            "openssl s_client -connect 127.0.0.1:443 </dev/null 2>/dev/null | openssl x509 -noout -fingerprint"
        )

    before = served()
    files = {
        f"wharf_registry_{fact}": str(PKI / f"soon.{end}") for fact, end in {"certificate": "crt", "key": "key"}.items()
    }
    result = ansible("site.yml", "--tags", "deploy", "-e", json.dumps(files))
    assert result.returncode == 0, result.stdout
    assert "[WARNING]: the provided certificate ends on" in result.stdout
    assert served() != before
    hosts["client1"].check_output(f"docker pull {REGISTRY}/test/any:1 2>&1 | grep 'manifest unknown'")

    result = ansible("site.yml", "--tags", "deploy")
    assert result.returncode == 0, result.stdout
    assert "the provided certificate ends on" not in result.stdout
    assert served() == before


@pytest.mark.parametrize("playbook", ["renew-certificates.yml", "rotate-ca.yml"])
def test_what_only_the_owner_can_renew_is_refused_with_the_remedy(hosts, ansible, playbook):
    result = ansible(f"playbooks/{playbook}")
    assert result.returncode != 0
    assert f"wharf_registry_trust: is provided, and {playbook} knows only" in result.stdout
    assert "put the new files where wharf_registry_certificate" in result.stdout


def test_no_ca_was_made_and_nothing_renews(hosts):
    for path in ("/etc/wharf/ca", "/etc/wharf/certificate.json", "/etc/systemd/system/wharf-renew-certificate.timer"):
        assert not hosts["server"].file(path).exists


def test_name_comes_from_the_hosts_file(hosts):
    address = hosts["server"].check_output("hostname --ip-address")
    assert f"{address} registry.corp.test" in hosts["client1"].file("/etc/hosts").content_string.splitlines()


def test_named_user_is_logged_in(hosts):
    config = hosts["client1"].file("/root/.docker/config.json")
    assert config.mode == 0o600
    assert REGISTRY in json.loads(config.content_string)["auths"]


def test_image_moves_without_another_login(hosts):
    reference = f"{REGISTRY}/test/provided:1"
    hosts["client1"].check_output(f"echo hello >/tmp/hello; tar -C /tmp -c hello | docker import - {reference}")
    hosts["client1"].check_output(f"docker push {reference}")
    hosts["client2"].check_output(f"docker pull {reference}")


def test_login_goes_through_the_credential_store(hosts, ansible):
    """A store that the user has set is used, and other registries' entries stay."""
    client = hosts["client2"]
    write(client, "/usr/local/bin/docker-credential-test", CREDENTIAL_STORE)
    client.check_output(f"chmod +x /usr/local/bin/docker-credential-test; docker logout {REGISTRY}")
    config = {"auths": {"other.test:5000": {"auth": "b3RoZXI6b3RoZXI="}}, "credsStore": "test"}
    write(client, "/root/.docker/config.json", json.dumps(config))

    result = ansible("playbooks/trust-registry.yml", "--limit", "client2")
    assert result.returncode == 0, result.stdout
    after = json.loads(client.file("/root/.docker/config.json").content_string)
    assert after["auths"]["other.test:5000"] == {"auth": "b3RoZXI6b3RoZXI="}
    assert "auth" not in after["auths"].get(REGISTRY, {})
    assert json.loads(client.file("/root/store.json").content_string)["Username"] == "ci"
    assert changes(ansible("playbooks/trust-registry.yml", "--limit", "client2")) == 0


def test_diagnosis_finds_all_well(ansible):
    result = ansible("playbooks/diagnose-registry.yml")
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("all is well") >= 2 * 3  # a line and a row for each


def test_name_that_resolves_to_nothing_is_named_with_the_remedy(hosts, ansible):
    result = ansible("playbooks/trust-registry.yml", "-e", '{"wharf_manage_hosts_file": false}', "--limit", "client1")
    assert result.returncode != 0
    assert "fatal: [client1]: FAILED!" in result.stdout
    assert "registry.corp.test resolves to nothing on this host" in result.stdout
    assert "wharf_manage_hosts_file: true" in result.stdout
    assert ansible("playbooks/trust-registry.yml", "--limit", "client1").returncode == 0

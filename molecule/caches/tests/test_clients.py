"""Clients that pull what is upstream by its own name, and get it from the cache.

None of them trusts the upstream's CA: what they pull from there has come through the cache.
"""

from __future__ import annotations

import json
import secrets

import pytest
from clients import REGISTRY, cri_pull, make_image, push
from conftest import CACHE, THERE, Upstream
from machines import broken, program

HOSTS = "certs.d/upstream.wharf.test:5000/hosts.toml"
PODMAN = "/etc/containers/registries.conf.d/wharf-registry.wharf.test_5000-caches.conf"


@pytest.fixture(scope="session")
def image(upstream: Upstream) -> tuple[str, str]:
    """Return an image of the upstream's, and its digest."""
    reference = f"{THERE}/test/{secrets.token_hex(6)}:1"
    make_image(upstream.host, reference)
    return reference, push(upstream.host, reference)


@pytest.mark.parametrize("tool", ["podman", "buildah"])
def test_podman_and_its_kin_as_root(hosts, image, tool):
    reference, digest = image
    hosts["client2"].check_output(f"{tool} pull {reference}")
    shown = hosts["client2"].check_output(f"podman image inspect --format '{{{{.Digest}}}}' {reference}")
    assert shown == digest
    hosts["client2"].check_output(f"podman image rm {reference}")


def test_podman_of_a_user_without_root(hosts, image, passwords):
    client, (reference, _) = hosts["client2"], image
    with broken(
        client,
        "useradd --create-home --shell /bin/bash dev",
        "pkill -KILL -u dev; sleep 1; userdel --force --remove dev",
    ):
        as_dev = "su - dev -c"
        login = f"podman login --username kiosk --password-stdin {REGISTRY}"
        client.check_output(f"echo {passwords['kiosk']} | {as_dev} '{login}'")
        client.check_output(f"{as_dev} 'podman pull --quiet {reference}'")


def test_skopeo(hosts, image):
    reference, digest = image
    found = json.loads(hosts["client2"].check_output(f"skopeo inspect --no-tags docker://{reference}"))
    assert found["Digest"] == digest


def test_containerd(hosts, image):
    client, (reference, digest) = hosts["client3"], image
    client.check_output(f"ctr images pull --hosts-dir /etc/containerd/certs.d {reference}")
    assert digest in client.check_output(f"ctr images ls name=={reference}")
    assert "grpc-status: 0" in cri_pull(client, reference)
    assert digest in client.check_output(f"ctr --namespace k8s.io images ls name=={reference}")
    file = client.file(f"/etc/containerd/{HOSTS}")
    assert (file.mode, file.user) == (0o600, "root")


def test_docker_with_the_containerd_image_store(hosts, image):
    client, (reference, digest) = hosts["client4"], image
    client.check_output(f"docker pull --quiet {reference}")
    assert digest in client.check_output(f"docker image inspect --format '{{{{.RepoDigests}}}}' {reference}")
    client.check_output(f"docker image rm {reference}")
    client.check_output(f"printf 'FROM {reference}\\nLABEL a=b\\n' | docker buildx build --quiet -")
    assert client.file(f"/etc/docker/{HOSTS}").mode == 0o600


@pytest.mark.thorough
def test_an_older_docker_is_told_that_it_cannot_and_takes_the_cache_of_hub_as_a_mirror(hosts, ansible, upstream):
    """The upstream plays Docker Hub."""
    client, name = hosts["client1"], f"library/{secrets.token_hex(6)}:1"
    make_image(upstream.host, f"{THERE}/{name}")
    digest = push(upstream.host, f"{THERE}/{name}")
    ca = upstream.host.file("/etc/wharf/tls/ca.crt").content_string
    caches = [{"upstream": "docker.io", "remote": f"https://{THERE}", "ca": ca}]
    settings = {"wharf_caches": caches, "wharf_caches_anonymous": True, "wharf_caches_mirror_port": 5001}
    run = ("site.yml", "--limit", "server,client1", "--skip-tags")
    ansible.succeeds(*run, "install,verify", **settings)
    try:
        assert client.check_output(f"docker pull --quiet {name}") == f"docker.io/{name}"
        assert digest in client.check_output(f"docker image inspect --format '{{{{.RepoDigests}}}}' {name}")
        injected = "/v2/a%20HTTP/1.1%0d%0aHost:%20a%0d%0a%0d%0aGET%20/v2/"
        paths = [
            "/v2/",
            f"/v2/{name.replace(':', '/manifests/')}",
            injected,
            "/v2/%252e%252e/test/manifests/1",
            "/metrics",
        ]
        asked = client.check_output(program(client, "statuses.py", "registry.wharf.test", 5001, *paths)).split()
        assert asked == ["200", "200", "404", "404", "404"]
        assert ansible.succeeds(*run, "verify", **settings).changes == 0  # nor does the engine's role change anything
    finally:
        client.run(f"docker image rm {name}")
        result = ansible.succeeds(*run, "install,verify")
    # With the scenario's own settings again.
    assert f"docker pull does not go through the caches of {THERE} on this host" in result.stdout
    assert "registry-mirrors" not in client.check_output("cat /etc/docker/daemon.json 2>/dev/null || echo {}")
    assert not client.file("/etc/docker/certs.d/registry.wharf.test:5001").exists


def test_what_somebody_else_has_set_stays_and_ours_goes_without_the_setting(hosts, ansible, upstream):
    client2, client3 = hosts["client2"], hosts["client3"]
    theirs = "/etc/containers/registries.conf.d/zz-mine.conf"
    trust = ("playbooks/trust-registry.yml", "--limit")
    clients = "client2,client3,client4"
    lines = f'[[registry]]\\nprefix = "{THERE}"\\nlocation = "{THERE}"\\n'
    with broken(client2, f"printf '{lines}' >{theirs}", f"rm {theirs}"):
        result = ansible.succeeds(*trust, "client2")
        assert f"{theirs} says already how podman pulls from {THERE}" in result.stdout
    off = ansible.succeeds(*trust, clients, wharf_registry_clients_use_caches=False)
    assert off.changes
    assert not client2.file(PODMAN).exists
    assert not client3.file(f"/etc/containerd/{HOSTS}").exists
    assert not hosts["client4"].file(f"/etc/docker/{HOSTS}").exists
    ansible.succeeds(*trust, clients)
    assert ansible.succeeds(*trust, clients).changes == 0
    assert f"{REGISTRY}/{CACHE}" in client2.file(PODMAN).content_string
